//! Redis, rule by rule.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::Record;
use pixie_core::record::{
    Cause, Redis as Exchange, RedisRequest, RedisResponse, RedisType, RedisValue,
};
use pixie_protocols::parser::{Limits, Next, Protocol, Verdict};
use pixie_protocols::redis::Redis;
use support::{Expected, REQUESTS, RESPONSES};

type Talk = support::Talk<Exchange>;

impl Expected for Exchange {
    fn of(record: Record) -> Self {
        match record {
            Record::Redis(redis) => *redis,
            other => panic!("{other:?}"),
        }
    }
}

fn talk() -> Talk {
    Talk::of(&Redis)
}

/// A command as clients send it.
fn command(words: &str) -> Vec<u8> {
    let words: Vec<&str> = words.split(' ').collect();
    let strings = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), strings.collect::<String>()).into_bytes()
}

fn bulk(text: &str) -> RedisValue {
    RedisValue::Text(text.to_owned().into())
}

/// An exchange in a line: `GET key -> bulk 3 B`; what is missing is a `?`.
fn line(exchange: &Exchange) -> String {
    let request = match &exchange.request {
        Some(request) => words(request),
        None => "?".to_owned(),
    };
    let response = match &exchange.response {
        Some(response) => answer(response),
        None => "?".to_owned(),
    };
    format!("{request} -> {response}")
}

fn words(request: &RedisRequest) -> String {
    let arguments = request.arguments.iter();
    let arguments = arguments.map(|argument| String::from_utf8_lossy(argument.bytes).into_owned());
    let words: Vec<String> =
        std::iter::once(request.command.to_string()).chain(arguments).collect();
    words.join(" ")
}

fn answer(response: &RedisResponse) -> String {
    let push = if response.push { "push " } else { "" };
    format!("{push}{} {}", response.kind.as_str(), show(&response.value))
}

fn show(value: &RedisValue) -> String {
    match value {
        RedisValue::Null => "null".to_owned(),
        RedisValue::Boolean(value) => value.to_string(),
        RedisValue::Integer(value) => value.to_string(),
        RedisValue::Double(value) => value.to_string(),
        RedisValue::Text(text) => String::from_utf8_lossy(text).into_owned(),
        RedisValue::Error(text) => format!("!{text}"),
        RedisValue::List(values) => {
            format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(","))
        }
        RedisValue::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{}:{}", show(key), show(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        other => panic!("{other:?}"),
    }
}

fn lines(talk: &Talk) -> Vec<String> {
    talk.records.iter().map(line).collect()
}

/// The answer to a command that is answered by these bytes.
#[track_caller]
fn answered(bytes: impl AsRef<[u8]>) -> RedisResponse {
    let mut talk = talk();
    talk.client(command("GET key")).server(bytes);
    assert_eq!((talk.records.len(), talk.bytes_skipped()), (1, 0), "{:?}", talk.records);
    let exchange = talk.records.remove(0);
    assert!(exchange.request.is_some());
    exchange.response.unwrap()
}

#[test]
fn a_command_and_its_answer_are_a_record() {
    let mut talk = talk();
    talk.client("*2\r\n$3\r\nget\r\n$3\r\nkey\r\n").server("$5\r\nvalue\r\n");
    assert_eq!(lines(&talk), ["GET key -> bulk value"]);
    let exchange = &talk.records[0];
    assert_eq!(exchange.traffic.request_bytes, 22);
    assert_eq!(exchange.traffic.response_bytes, 11);
    assert_eq!(exchange.traffic.latency.map(|latency| latency.as_millis()), Some(1));
    assert_eq!(exchange.request.as_ref().map(|request| request.arguments.count()), Some(1));
    assert_eq!(exchange.response.as_ref().map(|response| response.size), Some(5));
    assert!(!exchange.is_error());
}

#[test]
fn every_type_of_resp2_is_understood() {
    for (bytes, expected) in [
        ("+OK\r\n", "simple OK"),
        ("-WRONGTYPE no\r\n", "error !WRONGTYPE no"),
        (":-7\r\n", "integer -7"),
        ("$0\r\n\r\n", "bulk "),
        ("$-1\r\n", "null null"),
        ("*-1\r\n", "null null"),
        ("*0\r\n", "array []"),
        ("*3\r\n:1\r\n$1\r\na\r\n*1\r\n+b\r\n", "array [1,a,[b]]"),
        ("*2\r\n$-1\r\n-ERR x\r\n", "array [null,!ERR x]"),
    ] {
        assert_eq!(answer(&answered(bytes)), expected);
    }
}

#[test]
fn every_type_of_resp3_is_understood() {
    for (bytes, expected) in [
        ("_\r\n", "null null"),
        ("#t\r\n", "boolean true"),
        (",1.25\r\n", "double 1.25"),
        (",inf\r\n", "double inf"),
        ("(123456789012345678901\r\n", "big_number 123456789012345678901"),
        ("!9\r\nERR wrong\r\n", "bulk_error !ERR wrong"),
        ("=8\r\ntxt:some\r\n", "verbatim txt:some"),
        ("%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n:2\r\n", "map {a:1,b:[2]}"),
        ("~2\r\n:1\r\n:2\r\n", "set [1,2]"),
        ("|1\r\n+ttl\r\n:3600\r\n*2\r\n:1\r\n|1\r\n+x\r\n:9\r\n:2\r\n", "array [1,2]"),
        ("$?\r\n;4\r\nHell\r\n;5\r\no wor\r\n;0\r\n", "bulk Hello wor"),
        ("*?\r\n:1\r\n%?\r\n+a\r\n:2\r\n.\r\n.\r\n", "array [1,{a:2}]"),
        ("~?\r\n.\r\n", "set []"),
    ] {
        assert_eq!(answer(&answered(bytes)), expected);
    }
    assert_eq!(answered("%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n").count, Some(2));
    assert_eq!(answered("*?\r\n:1\r\n:2\r\n.\r\n").count, Some(2));
}

#[test]
fn errors_of_both_types_are_errors() {
    for bytes in ["-ERR no\r\n", "!6\r\nERR no\r\n"] {
        let mut talk = talk();
        talk.client(command("GET a")).server(bytes);
        assert!(talk.records[0].is_error());
        let error = talk.records[0].response.as_ref().unwrap().error().unwrap();
        assert_eq!(error.to_string(), "ERR no");
    }
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut talk = talk();
    talk.client([command("SET a 1"), command("GET a"), command("INCR a")].concat());
    talk.server("+OK\r\n$1\r\n1\r").server("\n:2\r\n");
    assert_eq!(lines(&talk), ["SET a 1 -> simple OK", "GET a -> bulk 1", "INCR a -> integer 2"]);
}

#[test]
fn inline_commands_are_commands() {
    let mut talk = talk();
    talk.client("PING\r\n").server("+PONG\r\n").client("\r\nset k \"a b\"\n").server("+OK\r\n");
    assert_eq!(lines(&talk), ["PING -> simple PONG", "SET k a b -> simple OK"]);
    assert_eq!(talk.records[1].traffic.request_bytes, 12);
}

#[test]
fn empty_arrays_are_no_commands() {
    let mut talk = talk();
    talk.client("*0\r\n*-1\r\n").client(command("PING")).server("+PONG\r\n");
    assert_eq!(lines(&talk), ["PING -> simple PONG"]);
}

#[test]
fn a_transaction_is_its_commands() {
    let mut talk = talk();
    for words in ["MULTI", "INCR a", "GET b", "EXEC"] {
        talk.client(command(words));
    }
    talk.server("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n$1\r\nx\r\n");
    let expected = [
        "MULTI -> simple OK",
        "INCR a -> simple QUEUED",
        "GET b -> simple QUEUED",
        "EXEC -> array [1,x]",
    ];
    assert_eq!(lines(&talk), expected);
}

#[test]
fn messages_of_a_resp2_subscription_answer_nothing() {
    let mut talk = talk();
    talk.client(command("SUBSCRIBE a b"));
    talk.server(
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n",
    );
    talk.server("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
    talk.client(command("PING"));
    talk.server(
        "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$2\r\nyo\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n",
    );
    talk.client(command("UNSUBSCRIBE"));
    talk.server("*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n");
    talk.client(command("LRANGE l 0 -1"));
    talk.server("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
    let expected = [
        "SUBSCRIBE a b -> array [subscribe,b,2]",
        "? -> push array [message,a,hi]",
        "? -> push array [pmessage,*,a,yo]",
        "PING -> array [pong,]",
        "UNSUBSCRIBE -> array [unsubscribe,a,1]",
        "? -> push array [unsubscribe,b,0]",
        "LRANGE l 0 -1 -> array [message,a,hi]",
    ];
    assert_eq!(lines(&talk), expected);
    assert_eq!(talk.records[0].traffic.response_bytes, 60);
    assert_eq!(talk.records[1].traffic.latency, None);
}

#[test]
fn pushes_of_resp3_are_out_of_band() {
    let mut talk = talk();
    talk.client(command("SUBSCRIBE a"));
    talk.server(">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    talk.client([command("GET a"), command("GET b")].concat());
    talk.server("$1\r\n1\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n$1\r\n2\r\n");
    let expected = [
        "SUBSCRIBE a -> push [subscribe,a,1]",
        "GET a -> bulk 1",
        "? -> push push [invalidate,[a]]",
        "GET b -> bulk 2",
    ];
    assert_eq!(lines(&talk), expected);
}

#[test]
fn an_error_answers_a_subscription() {
    let mut talk = talk();
    talk.client(command("SUBSCRIBE a b")).server("-NOPERM no\r\n");
    assert_eq!(lines(&talk), ["SUBSCRIBE a b -> error !NOPERM no"]);
}

#[test]
fn what_a_monitor_is_told_answers_nothing() {
    let mut talk = talk();
    talk.client(command("MONITOR")).server("+OK\r\n");
    talk.server("+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n");
    talk.server("+1339518083.207412 [0 127.0.0.1:60866] \"AUTH\" \"secret\"\r\n");
    talk.client(command("QUIT")).server("+OK\r\n");
    let expected = [
        "MONITOR -> simple OK",
        "? -> push simple 1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"",
        "? -> push simple 1339518083.207412 [0 127.0.0.1:60866] ",
        "QUIT -> simple OK",
    ];
    assert_eq!(lines(&talk), expected);
}

#[test]
fn replies_that_are_off_are_not_waited_for() {
    let mut talk = talk();
    talk.client([command("CLIENT REPLY SKIP"), command("SET a 1"), command("GET a")].concat());
    talk.server("$1\r\n1\r\n");
    talk.client([command("CLIENT REPLY OFF"), command("SET b 1")].concat());
    talk.client([command("CLIENT REPLY ON"), command("GET b")].concat());
    talk.server("+OK\r\n$1\r\n2\r\n");
    let expected = [
        "CLIENT REPLY SKIP -> ?",
        "SET a 1 -> ?",
        "GET a -> bulk 1",
        "CLIENT REPLY OFF -> ?",
        "SET b 1 -> ?",
        "CLIENT REPLY ON -> simple OK",
        "GET b -> bulk 2",
    ];
    assert_eq!(lines(&talk), expected);
}

#[test]
fn secrets_are_never_kept() {
    let mut talk = talk();
    for (request, response) in [
        ("HELLO 3 AUTH me secret", "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        ("AUTH secret", "+OK\r\n"),
        ("CONFIG SET requirepass secret", "+OK\r\n"),
        ("CONFIG GET requirepass", "*2\r\n$11\r\nrequirepass\r\n$6\r\nsecret\r\n"),
        ("ACL SETUSER me >secret", "+OK\r\n"),
        ("ACL GENPASS", "$6\r\nsecret\r\n"),
        ("MIGRATE h 1 k 0 5 AUTH secret", "+OK\r\n"),
    ] {
        talk.client(command(request)).server(response);
    }
    talk.client("AUTH secret\r\n").server("+OK\r\n");
    // What is only half there has none either.
    talk.client("*2\r\n$4\r\nAUTH\r\n$9\r\nsecret").finish();
    assert_eq!(talk.records.len(), 9);
    assert!(!format!("{:?}", talk.records).contains("secret"), "{:?}", talk.records);
    // Nor has an answer of which the command was not seen.
    let mut talk = self::talk();
    talk.server("*2\r\n$11\r\nrequirepass\r\n$6\r\nsecret\r\n").finish();
    assert!(!format!("{:?}", talk.records).contains("secret"), "{:?}", talk.records);
}

#[test]
fn the_stream_of_a_replica_is_not_parsed() {
    let mut talk = talk();
    talk.client(command("PSYNC ? -1")).server("\n+FULLRESYNC abc 0\r\n$5\r\nREDIS");
    assert_eq!(lines(&talk), ["PSYNC ? -1 -> simple FULLRESYNC abc 0"]);
    let switch = talk.switch.unwrap();
    assert_eq!(switch.next, Next::Opaque);
    assert_eq!(switch.unread[RESPONSES.index()], b"$5\r\nREDIS");

    let mut talk = self::talk();
    talk.client(command("PING")).server("+PONG\r\n").client(command("SYNC"));
    assert_eq!(lines(&talk), ["PING -> simple PONG", "SYNC -> ?"]);
    assert!(talk.switch.is_some());
}

#[test]
fn large_strings_are_kept_in_part_and_counted_whole() {
    let value = vec![b'x'; 1 << 20];
    let set = [&b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048576\r\n"[..], &value, b"\r\n"].concat();
    let get = [&b"$1048576\r\n"[..], &value, b"\r\n"].concat();
    let mut talk = talk();
    talk.client(&set).server("+OK\r\n").client(command("GET a"));
    for piece in get.chunks(1000) {
        talk.server(piece);
        assert!(talk.memory() < 16 << 10, "{}", talk.memory());
    }
    let [set, get] = &talk.records[..] else { panic!("{:?}", talk.records) };
    let arguments = &set.request.as_ref().unwrap().arguments;
    assert_eq!((arguments.count(), arguments.size()), (2, (1 << 20) + 1));
    let argument = arguments.get(1).unwrap();
    assert_eq!((argument.bytes.len(), argument.size), (Limits::default().body - 1, 1 << 20));
    let response = get.response.as_ref().unwrap();
    assert_eq!((response.size, response.truncated), (1 << 20, true));
    assert_eq!(response.value, RedisValue::Text(value[..Limits::default().body].to_vec().into()));
}

#[test]
fn many_elements_are_kept_in_part_and_counted_whole() {
    let response = answered([&b"*1000\r\n"[..], &b":1\r\n".repeat(1000)].concat());
    assert_eq!((response.count, response.truncated), (Some(1000), true));
    let RedisValue::List(values) = &response.value else { panic!("{response:?}") };
    assert_eq!(values.len(), 256);
}

#[test]
fn gaps_in_strings_are_stepped_over() {
    let mut talk = talk();
    // As it is captured: the start of a run, then the start of each transfer.
    talk.client("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10000000\r\nxxx").gap(REQUESTS, 9_999_997);
    talk.client("\r\n").server("+OK\r\n");
    talk.client(command("GET a")).server("$10000000\r\nxxx").gap(RESPONSES, 5_000_000);
    talk.server([b'x'; 256]).gap(RESPONSES, 9_999_997 - 5_000_000 - 256 + 2);
    talk.client(command("GET b")).server("$1\r\nb\r\n");
    assert_eq!(talk.records.len(), 3);
    assert_eq!(talk.records[0].request.as_ref().unwrap().arguments.size(), 10_000_001);
    let response = talk.records[1].response.as_ref().unwrap();
    assert_eq!((response.size, response.complete, response.truncated), (10_000_000, true, true));
    assert_eq!(response.value, bulk("xxx"));
    assert_eq!(line(&talk.records[2]), "GET b -> bulk b");
    assert_eq!(talk.bytes_skipped(), 0);
}

#[test]
fn a_gap_beyond_a_string_ends_the_command_that_it_was_in() {
    let mut talk = talk();
    talk.client("*2\r\n$3\r\nGET\r\n$3\r\nke").gap(REQUESTS, 100);
    talk.client(command("GET b")).server("$1\r\na\r\n");
    // Which of the lost commands the second answer is to is not known.
    talk.server("$1\r\nb\r\n").client(command("GET c")).server("$1\r\nc\r\n").finish();
    let expected = ["GET ke -> bulk a", "? -> bulk b", "GET b -> ?", "GET c -> bulk c"];
    assert_eq!(lines(&talk), expected);
}

#[test]
fn after_lost_answers_pairing_goes_on_with_the_next_command() {
    let mut talk = talk();
    talk.client(command("GET a")).server("$1\r\na\r\n").client(command("GET b"));
    talk.gap(RESPONSES, 7).client(command("GET c")).server("$1\r\nc\r\n");
    talk.client([command("GET d"), command("GET e")].concat()).gap(RESPONSES, 7);
    // An element of what was lost, or an answer: that cannot be told.
    talk.server("$1\r\ne\r\n").client(command("GET f")).server("$1\r\nf\r\n").finish();
    let expected = [
        "GET a -> bulk a",
        "GET b -> ?",
        "GET c -> bulk c",
        "GET d -> ?",
        "GET e -> ?",
        "GET f -> bulk f",
    ];
    assert_eq!(lines(&talk), expected);
    assert_eq!(talk.skipped, [(RESPONSES, 7, Cause::Unobserved)]);
}

#[test]
fn messages_are_found_again_after_a_gap() {
    let mut talk = talk();
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n";
    talk.server(message).gap(RESPONSES, 1000).server(["le\r\n:1\r\n", message].concat());
    assert_eq!(lines(&talk), ["? -> push array [message,a,hi]"; 2]);
    assert_eq!(talk.bytes_skipped(), 8);
}

#[test]
fn a_connection_may_be_joined_midway() {
    let mut talk = talk();
    talk.server("of a value\r\n$3\r\nfoo\r\n").client("lost\r\n").client(command("GET a"));
    talk.server("$1\r\na\r\n").client(command("GET b")).server("$1\r\nb\r\n");
    assert_eq!(lines(&talk), ["GET a -> ?", "GET b -> bulk b"]);
    let unobserved = |(_, _, cause): &(_, _, Cause)| *cause == Cause::Unobserved;
    assert!(talk.skipped.iter().all(unobserved), "{:?}", talk.skipped);
}

#[test]
fn an_answer_may_be_seen_before_its_command() {
    let mut talk = talk();
    talk.client(command("GET a")).server("$1\r\na\r\n");
    talk.server("$1\r\nb\r\n").client(command("GET b"));
    talk.client(command("GET c")).server("$1\r\nc\r\n");
    assert_eq!(lines(&talk), ["GET a -> bulk a", "GET b -> bulk b", "GET c -> bulk c"]);
    // But not much before it.
    talk.server("-ERR idle\r\n");
    talk.now += 20_000_000;
    talk.client(command("GET d")).server("$1\r\nd\r\n").finish();
    assert_eq!(lines(&talk)[3..], ["? -> error !ERR idle", "GET d -> bulk d"]);
}

#[test]
fn what_is_malformed_is_passed_over() {
    let mut talk = talk();
    talk.client(command("GET a")).server("$1\r\na\r\n");
    talk.client("*2\r\n$3\r\nGET\r\n+b\r\n").server("-ERR Protocol error\r\n");
    talk.client(command("GET c")).server("$1\r\nc\r\n");
    talk.client(command("GET d")).server("$1\r\nd\r\n");
    let expected = [
        "GET a -> bulk a",
        "? -> error !ERR Protocol error",
        "? -> bulk c",
        "GET c -> ?",
        "GET d -> bulk d",
    ];
    assert_eq!(lines(&talk), expected);
    assert_eq!(talk.skipped, [(REQUESTS, 17, Cause::Malformed)]);
}

#[test]
fn half_an_exchange_is_told_at_the_end() {
    let mut talk = talk();
    talk.client(command("GET a")).server("*2\r\n$1\r\na\r\n$5\r\nab");
    talk.client("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n").finish();
    assert_eq!(
        lines(&talk),
        ["SET b -> ?", "GET a -> array [a,ab]"][..].iter().rev().copied().collect::<Vec<_>>()
    );
    let response = talk.records[0].response.as_ref().unwrap();
    assert_eq!((response.complete, response.count), (false, Some(2)));
    assert_eq!(talk.records[0].traffic.latency, None);
    assert!(!talk.records[1].request.as_ref().unwrap().complete);
}

#[test]
fn what_waits_is_bounded() {
    let mut limits = Limits::default();
    limits.pending = 10;
    let mut talk = Talk::limited(&Redis, limits);
    for number in 0..15 {
        talk.client(command(&format!("GET {number}")));
    }
    assert_eq!(talk.records.len(), 5);
    // The answers to those that were given up are not given to others.
    for number in 0..15 {
        talk.server(format!(":{number}\r\n"));
    }
    let lines = lines(&talk);
    assert_eq!(lines[4..6], ["GET 4 -> ?", "? -> integer 0"]);
    assert_eq!(lines.last().map(String::as_str), Some("GET 14 -> integer 14"));
}

#[test]
fn absurd_lengths_are_not_believed() {
    for bytes in ["$99999999999999\r\n", "*99999999999\r\n", "$-5\r\n", "%4294967296\r\n"] {
        let mut talk = talk();
        talk.client(command("GET a")).server(bytes).finish();
        assert_eq!(lines(&talk), ["GET a -> ?"], "{bytes}");
        assert_eq!(talk.bytes_skipped(), bytes.len() as u64, "{bytes}");
    }
    // One that may be true costs nothing before it is.
    let mut talk = talk();
    talk.client("*2147483647\r\n$3\r\nDEL\r\n").server("*2147483647\r\n*2147483647\r\n");
    assert!(talk.memory() < 32 << 10, "{}", talk.memory());
}

#[test]
fn nesting_is_bounded() {
    let mut talk = talk();
    talk.client(command("GET a")).server("*1\r\n".repeat(100_000));
    assert!(talk.memory() < 16 << 10);
    assert!(talk.skipped.iter().any(|(_, _, cause)| *cause != Cause::Malformed));
    assert_eq!(answered(["*1\r\n".repeat(60), ":1\r\n".into()].concat()).count, Some(1));
}

#[test]
fn a_line_that_never_ends_is_given_up() {
    let mut talk = talk();
    talk.client(command("GET a")).server("$1\r\na\r\n").client(vec![b'a'; 200_000]);
    assert!(talk.memory() < 128 << 10);
    assert!(talk.skipped.contains(&(REQUESTS, 64 << 10, Cause::MemoryLimit)), "{:?}", talk.skipped);
    talk.client(command("GET b")).server("$1\r\nb\r\n");
    talk.client(command("GET c")).server("$1\r\nc\r\n");
    // Whether what was given up is answered first is not known.
    let expected = ["GET a -> bulk a", "? -> bulk b", "GET b -> ?", "GET c -> bulk c"];
    assert_eq!(lines(&talk), expected);
}

#[test]
fn commands_and_answers_are_recognised() {
    let commands: &[&str] = &[
        "*1\r\n$4\r\nPING\r\n",
        "*2\r\n$3\r\nget\r\n$",
        "*2\r\n$8\r\nFT._LIST\r\n$",
        "*2\r\n$9\r\nSUBSCRIBE\r\n$",
        "*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n",
        "LPUSH key value\r\n",
        "dbsize\r\n",
    ];
    for bytes in commands {
        assert_eq!(Redis.probe(bytes.as_bytes()), Verdict::Yes, "{bytes}");
    }
    let answers: &[&str] = &[
        "$5\r\nvalue\r\n",
        "$-1\r\n",
        "*3\r\n$7\r\nmessage\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
        ">2\r\n$10\r\ninvalidate\r\n",
        "%7\r\n$6\r\nserver\r\n",
    ];
    for bytes in answers {
        assert_eq!(Redis.probe(bytes.as_bytes()), Verdict::Reversed, "{bytes}");
    }
    for bytes in commands.iter().chain(answers) {
        let decided = (1..bytes.len())
            .find(|length| Redis.probe(&bytes.as_bytes()[..*length]) != Verdict::NeedMore);
        if let Some(length) = decided {
            let verdict = Redis.probe(&bytes.as_bytes()[..length]);
            assert_eq!(verdict, Redis.probe(bytes.as_bytes()), "{length} bytes of {bytes}");
        }
    }
}

#[test]
fn other_protocols_are_not_taken_for_redis() {
    let others: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "PING\r\n",
        "+OK\r\n",
        "-ERR 'Unknown Protocol Operation'\r\n",
        "INFO {\"server_id\":\"A\"}\r\n",
        "get key\r\n",
        "set key 0 0 5\r\nvalue\r\n",
        "VALUE key 0 5\r\n",
        "STAT pid 1\r\n",
        "* OK IMAP4rev1 ready\r\n",
        "*1 a\r\n",
        "*2\r\n$5\r\nthree\r\n$5\r\nwords\r\n",
        "*2\r\n$4\r\nsave\r\n$0\r\n\r\n",
        "*2\r\n$5\r\nsmove\r\n*2\r\n",
        "$GPGGA,123519,4807.038,N\r\n",
        "EHLO a.test\r\n",
        "QUIT\r\n",
        "AUTH PLAIN abc\r\n",
        "SUBSCRIBE\nid:0\n",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "\x16\x03\x01\x02\x00\x01",
        "%PDF-1.7\n",
        ">>> hello\n",
        "LPUSHED key\r\n",
    ];
    for bytes in others {
        assert_eq!(Redis.probe(bytes.as_bytes()), Verdict::No, "{bytes}");
        for length in 0..bytes.len() {
            let verdict = Redis.probe(&bytes.as_bytes()[..length]);
            assert!(matches!(verdict, Verdict::No | Verdict::NeedMore), "{bytes}, {length} bytes");
        }
    }
}

#[test]
fn the_type_is_told_also_of_what_is_not_kept() {
    let mut talk = Talk::limited(&Redis, Limits::default().with_body(0));
    talk.client(command("CLIENT REPLY SKIP")).client(command("SET a 1")).client(command("GET a"));
    talk.server(format!("$100\r\n{}\r\n", "x".repeat(100)));
    assert_eq!(talk.records.len(), 3);
    let response = talk.records[2].response.as_ref().unwrap();
    assert_eq!((response.kind, response.size, response.truncated), (RedisType::Bulk, 100, true));
}
