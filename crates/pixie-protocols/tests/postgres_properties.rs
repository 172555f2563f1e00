//! What holds for PostgreSQL whatever is on the connection.

mod support;

use pixie_core::id::Direction;
use pixie_core::record::Postgres as Exchange;
use pixie_protocols::parser::Limits;
use pixie_protocols::postgres::Postgres;
use proptest::prelude::*;
use support::effort::assert_linear;
use support::postgres::{
    answer, bind, close, columns, describe_portal, error, execute, extended, extended_result,
    message, notice, packet, parse, query, ready, row, ssl_request, startup, sync, tag, welcome,
};
use support::script::{Step, check_stream};
use support::{REQUESTS, RESPONSES};

type Talk = support::Talk<Exchange>;

/// What a connection may carry that is PostgreSQL, nearly PostgreSQL, or none at all.
fn fragments() -> Vec<Vec<u8>> {
    vec![
        startup(),
        ssl_request(),
        packet(0x04d2_1630, ""),
        packet(0x04d2_162e, "\0\0\x12\x34KEYS"),
        welcome(),
        query("SELECT 1"),
        query("DISCARD ALL; SELECT 2"),
        parse("s", "SELECT $1"),
        parse("", "SELECT 2"),
        bind("", "s", &["x"]),
        bind("p", "", &[]),
        describe_portal(),
        execute("", 0),
        execute("p", 2),
        close("s"),
        sync(),
        extended("SELECT 3", &["x", "yy"]),
        extended_result(&["x"]),
        answer(&["1", "22"]),
        columns(&["a", "b"]),
        row(&["1", "India"]),
        row(&["Z", "C"]),
        tag("SELECT 1"),
        tag("INSERT 0 7"),
        ready(b'I'),
        ready(b'T'),
        error("ERROR", "42703", "no x"),
        error("FATAL", "57P01", "shutdown"),
        notice("beware"),
        message(b'A', b"\0\0\0\x07news\0hello\0"),
        message(b'G', [0, 0, 1, 0, 0]),
        message(b'H', [0, 0, 1, 0, 0]),
        message(b'W', [0, 0, 0]),
        message(b'd', "data"),
        message(b'c', ""),
        message(b'f', "failed\0"),
        message(b'1', ""),
        message(b'2', ""),
        message(b'3', ""),
        message(b'n', ""),
        message(b's', ""),
        message(b'I', ""),
        message(b'H', ""),
        message(b'F', b"\0\0\x03\xe8\0\0\0\0\0\0"),
        message(b'V', b"\0\0\0\x01x"),
        message(b'S', "TimeZone\0UTC\0"),
        message(b'p', "secret\0"),
        b"N".to_vec(),
        b"S".to_vec(),
        b"Q\0\0\0\x09".to_vec(),
        b"D\0\0\x10\0\0\x01".to_vec(),
        b"T\0\0\x10\0\0\x01name\0".to_vec(),
        b"Z\0\0\0\x05".to_vec(),
        b"E\0\0\x01\0SERROR\0".to_vec(),
        b"\0\0\0".to_vec(),
        b"\xff\xfe\x01".to_vec(),
        b"hello".to_vec(),
    ]
}

/// Steps that a failed test shows as text.
#[derive(Clone)]
struct Steps(Vec<Step>);

impl std::fmt::Debug for Steps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.0 {
            match step {
                Step::Feed(way, bytes) => {
                    writeln!(formatter, "{way:?} \"{}\"", bytes.escape_ascii())?;
                }
                gap => writeln!(formatter, "{gap:?}")?,
            }
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Steps> {
    let direction = prop_oneof![Just(REQUESTS), Just(RESPONSES)];
    let run = prop::collection::vec(prop::sample::select(fragments()), 1..8);
    let feed = (direction.clone(), run).prop_map(|(way, run)| Step::Feed(way, run.concat()));
    let gap = (direction, 1_u64..60).prop_map(|(way, length)| Step::Gap(way, length));
    let step = prop_oneof![6 => feed, 1 => gap];
    prop::collection::vec(step, 1..20).prop_map(Steps)
}

/// Bytes that a failed test shows as text.
#[derive(Clone)]
struct Shown(Vec<u8>);

impl std::ops::Deref for Shown {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "\"{}\"", self.0.escape_ascii())
    }
}

/// A request with its answer; the answer tells in its tag which one it is to.
fn exchanges() -> impl Strategy<Value = Vec<(Shown, Shown)>> {
    let kind = (any::<bool>(), prop::collection::vec("[ -~]{0,40}", 0..6));
    prop::collection::vec(kind, 1..8).prop_map(|kinds| {
        let numbered = kinds.into_iter().enumerate();
        numbered
            .map(|(number, (simple, rows))| {
                let rows: Vec<u8> = rows.iter().flat_map(|value| row(&[value])).collect();
                let result = [columns(&["a"]), rows, tag(&format!("SELECT {number}"))].concat();
                let text = format!("SELECT {number}");
                match simple {
                    true => (Shown(query(&text)), Shown([result, ready(b'I')].concat())),
                    false => {
                        let start = [message(b'1', ""), message(b'2', "")].concat();
                        let answer = [start, result, ready(b'I')].concat();
                        (Shown(extended(&text, &["x"])), Shown(answer))
                    }
                }
            })
            .collect()
    })
}

/// Whether a record that has both a statement and a tag has them of the same exchange.
fn is_paired_rightly(exchange: &Exchange) -> bool {
    let statement = exchange.request.as_ref().and_then(|request| request.statement.as_ref());
    let tag = exchange.response.as_ref().and_then(|response| response.command_tag());
    match (statement, tag) {
        // There may be a hole in the statement.
        (Some(statement), Some(tag)) => tag.as_bytes().starts_with(statement.text.as_bytes()),
        _ => true,
    }
}

fn feed_exchange(talk: &mut Talk, request: &[u8], answer: &[u8], pieces: &[usize]) {
    talk.feed_in_pieces(REQUESTS, request, pieces);
    talk.feed_in_pieces(RESPONSES, answer, pieces);
}

proptest! {
    #[test]
    fn any_split_gives_the_same_records(
        steps in steps(), piece in 1_usize..40, pending in 1_usize..6,
    ) {
        check_stream(&Postgres, Limits::default(), &steps.0, piece);
        let mut limits = Limits::default();
        (limits.pending, limits.buffer) = (pending, 64);
        check_stream(&Postgres, limits, &steps.0, piece);
    }

    #[test]
    fn well_formed_exchanges_come_out_as_they_went_in(
        exchanges in exchanges(), pieces in prop::collection::vec(1_usize..80, 1..5),
        pipelined in any::<bool>(), joined in any::<bool>(),
    ) {
        let mut talk = Talk::new();
        if !joined {
            talk.client(startup()).server(welcome());
            talk.records.clear();
        }
        if pipelined {
            let requests: Vec<u8> = exchanges.iter().flat_map(|(ask, _)| ask.iter()).copied().collect();
            let answers: Vec<u8> = exchanges.iter().flat_map(|(_, say)| say.iter()).copied().collect();
            feed_exchange(&mut talk, &requests, &answers, &pieces);
        } else {
            for (request, answer) in &exchanges {
                feed_exchange(&mut talk, request, answer, &pieces);
            }
        }
        prop_assert_eq!(talk.records.len(), exchanges.len());
        prop_assert!(talk.skipped.is_empty());
        for (record, (request, answer)) in talk.records.iter().zip(&exchanges) {
            prop_assert!(is_paired_rightly(record) && record.response.as_ref().unwrap().complete);
            prop_assert_eq!(record.traffic.request_bytes, request.len() as u64);
            prop_assert_eq!(record.traffic.response_bytes, answer.len() as u64);
        }
    }

    #[test]
    fn after_a_gap_nothing_is_paired_wrongly_and_later_exchanges_are_whole(
        exchanges in exchanges(), at in any::<prop::sample::Index>(), length in 1_usize..200,
        requests in any::<bool>(),
    ) {
        let mut talk = Talk::new();
        talk.client(startup()).server(welcome());
        talk.records.clear();
        let all: usize = exchanges
            .iter()
            .map(|(ask, say)| if requests { ask.len() } else { say.len() })
            .sum();
        let hole = at.index(all);
        let hole = hole..hole + length;
        let mut place = 0;
        let mut feed = |talk: &mut Talk, way: Direction, bytes: &[u8]| {
            if (way == REQUESTS) != requests {
                talk.feed(way, bytes);
                return;
            }
            let from = hole.start.clamp(place, place + bytes.len()) - place;
            let to = hole.end.clamp(place, place + bytes.len()) - place;
            talk.feed(way, &bytes[..from]);
            talk.gap(way, (to - from) as u64);
            talk.feed(way, &bytes[to..]);
            place += bytes.len();
        };
        for (request, answer) in &exchanges {
            feed(&mut talk, REQUESTS, request);
            feed(&mut talk, RESPONSES, answer);
        }
        let last = [query("SELECT 77"), query("SELECT 78")];
        talk.client(&last[0]).server([columns(&["a"]), tag("SELECT 77"), ready(b'I')].concat());
        talk.client(&last[1]).server([columns(&["a"]), tag("SELECT 78"), ready(b'I')].concat());
        let summary = talk.summary();
        for record in &talk.records {
            prop_assert!(is_paired_rightly(record), "{:?}", summary);
        }
        prop_assert_eq!(&summary[summary.len() - 1], "query SELECT 78 | SELECT 78 78 idle");
    }
}

/// One byte at a time.
fn trickle(direction: Direction, bytes: &[u8]) {
    let mut talk = Talk::new();
    talk.client(query("SELECT 1"));
    talk.feed_in_pieces(direction, bytes, &[1]);
}

#[test]
fn effort_is_linear_where_a_message_is_searched_for() {
    let nearly: &[&[u8]] = &[
        b"Z\0\0\0\x05Ix",
        b"D\0\0\x03\0\0\x01",
        b"T\0\0\x03\0\0\x01name\0",
        b"E\0\0\x03\0SERROR\0",
        b"B\0\0\x03\0\0\0",
        b"Q\0\0\x03\0SELECT ",
        b"C\0\0\x03\0SELECT",
        b"1\0\0\0\x04x",
        b"S\0\0\0\x04",
        b"t\0\0\x04\0\x0f\xff",
    ];
    for direction in [REQUESTS, RESPONSES] {
        for nearly in nearly {
            assert_linear(|size| {
                trickle(direction, &[b"\xff", &nearly.repeat(size / nearly.len())[..]].concat());
            });
            assert_linear(|size| {
                let mut talk = Talk::new();
                let bytes = [b"\xff", &nearly.repeat(size / nearly.len())[..]].concat();
                talk.client(query("SELECT 1")).feed(direction, &bytes);
            });
        }
    }
}

#[test]
fn effort_is_linear_where_messages_and_garbage_take_turns() {
    for unit in [[&ready(b'I')[..], &tag("BEGIN"), b"\xff"].concat(), query("SELECT 1")] {
        assert_linear(|size| {
            let mut talk = Talk::new();
            talk.server(unit.repeat(size / unit.len()));
        });
    }
}

#[test]
fn effort_is_linear_in_messages_that_trickle_in_and_in_pipelines() {
    assert_linear(|size| trickle(REQUESTS, &query(&"x".repeat(size))));
    assert_linear(|size| trickle(RESPONSES, &row(&[&"x".repeat(size)])));
    let run = [bind("", "s", &["x"]), execute("", 0)].concat();
    assert_linear(|size| {
        let mut talk = Talk::new();
        talk.client(query("SELECT 1")).client(run.repeat(size / run.len()));
    });
    assert_linear(|size| {
        let mut talk = Talk::new();
        talk.client(sync().repeat(size / 5)).server(ready(b'I').repeat(size / 6));
    });
    assert_linear(|size| {
        let mut talk = Talk::new();
        talk.client(query("SELECT 1")).client([close("s")].concat().repeat(size / 8));
    });
    assert_linear(|size| {
        let mut talk = Talk::new();
        let copy = message(b'd', "row\n");
        talk.client(query("COPY t FROM STDIN")).server(message(b'G', [0, 0, 0]));
        talk.client(copy.repeat(size / copy.len()));
    });
}
