//! Redis, as it was recorded; see `tests/fixtures/redis/record.sh`.

use super::captures::read;
use super::play;
use pixie::record::{Redis, RedisValue};
use pixie::{Record, Stats};

/// The exchanges of a capture in which nothing is missing.
fn exchanges(name: &str) -> (Vec<Redis>, Stats) {
    let (records, stats) = play(read(&format!("../redis/{name}")));
    assert_eq!((&stats.lost[..], stats.parser.malformed), (&[][..], 0), "{name}");
    assert_eq!(stats.parser.bytes_skipped, 0, "{name}");
    let exchanges = records.into_iter().filter_map(|record| match record {
        Record::Redis(redis) => Some(*redis),
        _ => None,
    });
    (exchanges.collect(), stats)
}

/// `GET key -> bulk value`
fn line(redis: &Redis) -> String {
    let mut words = Vec::new();
    if let Some(request) = &redis.request {
        words.push(request.command.to_string());
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        words.extend(request.arguments.iter().map(|argument| text(argument.bytes)));
    }
    let response = redis.response.as_ref().unwrap();
    words.push(if response.push { "=>" } else { "->" }.to_owned());
    words.push(format!("{} {}", response.kind.as_str(), show(&response.value)));
    words.join(" ")
}

fn show(value: &RedisValue) -> String {
    match value {
        RedisValue::Null => "null".to_owned(),
        RedisValue::Integer(value) => value.to_string(),
        RedisValue::Text(text) => String::from_utf8_lossy(text).into_owned(),
        RedisValue::Error(text) => text.to_string(),
        RedisValue::List(values) => {
            format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        RedisValue::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{}: {}", show(key), show(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(" "))
        }
        other => panic!("{other:?}"),
    }
}

fn lines(name: &str) -> Vec<String> {
    exchanges(name).0.iter().map(line).collect()
}

/// What is answered in RESP2.
const ANSWERED: [&str; 11] = [
    "FLUSHALL -> simple OK",
    "SET key value -> simple OK",
    "GET key -> bulk value",
    "GET absent -> null null",
    "HSET hash a 1 b 2 -> integer 2",
    "HGETALL hash -> array [a 1 b 2]",
    "LPUSH key x -> error WRONGTYPE Operation against a key holding the wrong kind of value",
    "EVAL return {1, {2, \"three\"}, false} 0 -> array [1 [2 three] null]",
    "CONFIG SET requirepass [redacted] -> simple OK",
    "AUTH [redacted] -> simple OK",
    "CONFIG SET requirepass [redacted] -> simple OK",
];

#[test]
fn commands_are_told_with_their_answers() {
    assert_eq!(lines("resp2.pcapng"), ANSWERED);
    let (exchanges, stats) = exchanges("resp2.pcapng");
    let bytes = exchanges.iter().map(|it| it.traffic.request_bytes + it.traffic.response_bytes);
    assert_eq!(bytes.sum::<u64>(), stats.stream.bytes_total, "every byte is in a record");
    assert!(exchanges.iter().all(|redis| redis.traffic.latency.is_some()));
}

#[test]
fn resp3_says_the_same_in_types_of_its_own() {
    let all = lines("resp3.pcapng");
    let (greetings, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|line| line.starts_with("HELLO 3 -> map {server: redis "));
    // A connection each.
    assert_eq!(greetings.len(), 10);
    let mut expected = ANSWERED;
    expected[5] = "HGETALL hash -> map {a: 1 b: 2}";
    assert_eq!(others, expected);
}

#[test]
fn messages_answer_nothing() {
    for (name, kind) in [("resp2", "array"), ("resp3", "push")] {
        let all = lines(&format!("subscription-{name}.pcapng"));
        let starting = |start: &str| -> Vec<String> {
            all.iter().filter(|line| line.starts_with(start)).cloned().collect()
        };
        let subscribed = format!("SUBSCRIBE news -> {kind} [subscribe news 1]");
        assert_eq!(starting("SUBSCRIBE"), [subscribed]);
        let message = |number| format!("=> {kind} [message news message {number}]");
        assert_eq!(starting("=>"), [1, 2, 3].map(message));
        let published = |number| format!("PUBLISH news message {number} -> integer 1");
        assert_eq!(starting("PUBLISH"), [1, 2, 3].map(published));
    }
}

#[test]
fn pipelined_commands_are_all_there() {
    let (exchanges, _) = exchanges("pipeline.pcapng");
    let count = |command: &str, answer: &str| {
        let lines = exchanges.iter().map(line);
        lines.filter(|line| line.starts_with(command) && line.ends_with(answer)).count()
    };
    assert_eq!(count("SET key:__rand_int__ ", "-> simple OK"), 64);
    assert_eq!(count("GET key:__rand_int__ ", "-> bulk VXK"), 64);
    let [.., set, get] = &exchanges[..] else { panic!("{} exchanges", exchanges.len()) };
    let arguments = &set.request.as_ref().unwrap().arguments;
    let value = arguments.get(1).unwrap();
    assert_eq!((value.bytes.len(), value.size), (4096 - "large".len(), 20_000));
    let response = get.response.as_ref().unwrap();
    assert_eq!((response.size, response.truncated, response.complete), (20_000, true, true));
    assert_eq!(exchanges.len(), 64 + 64 + 2 + 2, "two of them ask for settings");
}

#[test]
fn inline_commands_are_commands() {
    let all = lines("inline.pcapng");
    let expected = [
        "LPUSH list a b -> integer 1",
        "MULTI -> simple OK",
        "INCR n -> simple QUEUED",
        "EXEC -> array [1]",
        "MONITOR -> simple OK",
    ];
    assert_eq!(all[..5], expected);
    let monitored = all.iter().filter(|line| line.starts_with("=> simple "));
    assert_eq!(monitored.filter(|line| line.ends_with("\"GET\" \"key\"")).count(), 1, "{all:?}");
    assert!(all.iter().any(|line| line.starts_with("GET key -> ")), "{all:?}");
}
