//! Redis: what holds of every connection, however it is cut and whatever is lost of it.

mod support;

use pixie_core::Record;
use pixie_core::record::RedisValue;
use pixie_protocols::parser::Limits;
use pixie_protocols::redis::Redis;
use proptest::prelude::*;
use support::effort::assert_linear;
use support::script::{self, Step};
use support::{REQUESTS, RESPONSES, Talk};

/// A command with a number, and an answer that has the same number in it.
fn exchange(number: usize, size: usize) -> (Vec<u8>, Vec<u8>) {
    let value = format!("{number}:{}", "v".repeat(size));
    let request =
        format!("*3\r\n$3\r\nSET\r\n$4\r\n{number:04}\r\n${}\r\n{value}\r\n", value.len());
    let length = value.len();
    let response = match number % 4 {
        0 => format!("${length}\r\n{value}\r\n"),
        1 => format!("*2\r\n${length}\r\n{value}\r\n:1\r\n"),
        2 => format!("+{value}\r\n"),
        _ => format!("%1\r\n${length}\r\n{value}\r\n#t\r\n"),
    };
    (request.into(), response.into())
}

/// Batches of pipelined commands with their answers.
fn conversation() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(prop::collection::vec(0_usize..300, 1..6), 1..8).prop_map(|batches| {
        let mut number = 0;
        let mut steps = Vec::new();
        for batch in batches {
            let (mut requests, mut responses) = (Vec::new(), Vec::new());
            for size in batch {
                let (request, response) = exchange(number, size);
                requests.extend(request);
                responses.extend(response);
                number += 1;
            }
            steps.push(Step::Feed(REQUESTS, requests));
            steps.push(Step::Feed(RESPONSES, responses));
        }
        steps
    })
}

/// The first number in a value.
fn number_in(value: &RedisValue) -> Option<String> {
    match value {
        RedisValue::Text(text) => {
            let text = String::from_utf8_lossy(text);
            text.split_once(':').map(|(number, _)| number.to_owned())
        }
        RedisValue::List(values) => values.first().and_then(number_in),
        RedisValue::Map(pairs) => pairs.first().and_then(|(key, _)| number_in(key)),
        _ => None,
    }
}

/// Pairs of the numbers in a command and in the answer that it was given.
fn paired(talk: &Talk) -> Vec<(usize, usize)> {
    let exchanges = talk.records.iter().filter_map(|record| match record {
        Record::Redis(redis) => Some((redis.request.as_ref()?, redis.response.as_ref()?)),
        _ => None,
    });
    exchanges
        .filter_map(|(request, response)| {
            let key = request.arguments.get(0)?;
            if response.truncated || key.bytes.len() as u64 != key.size {
                return None;
            }
            let key = String::from_utf8_lossy(key.bytes);
            Some((key.parse().ok()?, number_in(&response.value)?.parse().ok()?))
        })
        .collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_same(steps in conversation(), piece in 1_usize..50) {
        script::check_stream(&Redis, Limits::default(), &steps, piece);
        let talk = script::run(&Redis, Limits::default(), &steps, piece);
        let expected = steps.iter().filter(|step| matches!(step, Step::Feed(..))).count();
        prop_assert!(talk.records.len() * 2 >= expected);
        prop_assert_eq!(talk.bytes_skipped(), 0);
        let paired = paired(&talk);
        prop_assert_eq!(paired.len(), talk.records.len());
        prop_assert!(paired.iter().all(|(asked, answered)| asked == answered));
    }

    #[test]
    fn a_gap_anywhere_pairs_nothing_wrongly(
        steps in conversation(),
        place in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        length in 1_usize..400,
        piece in 1_usize..400,
    ) {
        let at = place.index(steps.len());
        let mut changed = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Feed(direction, bytes) if number == at => {
                    let from = from.index(bytes.len());
                    let to = (from + length).min(bytes.len());
                    changed.push(Step::Feed(*direction, bytes[..from].to_vec()));
                    changed.push(Step::Gap(*direction, (to - from) as u64));
                    changed.push(Step::Feed(*direction, bytes[to..].to_vec()));
                }
                step => changed.push(step.clone()),
            }
        }
        // After the batch with the gap and one more, all is as before.
        let (request, response) = exchange(9000, 10);
        let last = [
            Step::Feed(REQUESTS, exchange(8999, 1).0), Step::Feed(RESPONSES, exchange(8999, 1).1),
            Step::Feed(REQUESTS, request), Step::Feed(RESPONSES, response),
        ];
        changed.extend(last);
        script::check_stream(&Redis, Limits::default(), &changed, piece);
        let talk = script::run(&Redis, Limits::default(), &changed, usize::MAX);
        for (asked, answered) in paired(&talk) {
            prop_assert_eq!(asked, answered, "{:?}", talk.records);
        }
        prop_assert!(paired(&talk).contains(&(9000, 9000)));
    }

    #[test]
    fn whatever_comes_is_survived(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        script::check(&Redis, &input);
    }

    #[test]
    fn whatever_looks_like_redis_is_survived(
        words in prop::collection::vec(
            (0_u8..4, prop::sample::select(vec![
                "*2\r\n", "$3\r\n", "GET\r\n", "abc\r\n", "+OK\r\n", "-ERR\r\n", ":1\r\n", "_\r\n",
                "*-1\r\n", "$-1\r\n", "*?\r\n", "$?\r\n", ";3\r\n", ";0\r\n", ".\r\n", "%1\r\n",
                ">2\r\n", "|1\r\n", "$7\r\nmessage\r\n", "PING\r\n", "*1\r\n$7\r\nMONITOR\r\n",
                "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
                "*1\r\n$4\r\nSYNC\r\n", "*2\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n", "+FULLRESYNC\r\n", "\r\n",
                "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n", "$100000\r\n", "*9\r\n",
            ])),
            0..60,
        ),
        piece in 1_usize..20,
    ) {
        let steps: Vec<Step> = words.into_iter().map(|(what, word)| match what {
            0 => Step::Feed(REQUESTS, word.into()),
            1 => Step::Feed(RESPONSES, word.into()),
            2 => Step::Gap(REQUESTS, word.len() as u64),
            _ => Step::Gap(RESPONSES, word.len() as u64),
        }).collect();
        script::check_stream(&Redis, Limits::default(), &steps, piece);
    }
}

/// One byte at a time.
fn trickle(bytes: &[u8]) {
    for direction in [REQUESTS, RESPONSES] {
        let mut talk = Talk::<Record>::of(&Redis);
        talk.client("*1\r\n$4\r\nPING\r\n");
        talk.feed_in_pieces(direction, bytes, &[1]);
    }
}

#[test]
fn effort_grows_with_the_bytes() {
    let nearly = [
        "*1\r\n",
        "*2\r\n$3\r\nGET",
        "$?\r\n;1\r\na\r\n",
        "|1\r\n+a\r\n",
        "*",
        ">1\r\n$1\r\na",
        "+x",
        "*9\r\n$3\r\nGET\r\n+\r\n",
        ":1\r\n",
        "\r\n",
        "a\n",
        "+1339518083.107412 ",
        "\"",
    ];
    for nearly in nearly {
        assert_linear(|size| trickle(&nearly.as_bytes().repeat(size / nearly.len())));
    }
    assert_linear(|size| {
        trickle(&[format!("${size}\r\n").into_bytes(), vec![b'x'; size]].concat());
    });
    assert_linear(|size| trickle(&vec![b'x'; size]));
}

#[test]
fn a_flood_of_pushes_costs_no_memory() {
    let mut talk = Talk::<Record>::of(&Redis);
    for _ in 0..10_000 {
        talk.server(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n");
        talk.records.clear();
        assert!(talk.memory() < 16 << 10);
    }
}
