//! What holds for HTTP/1 whatever is on the connection.

mod support;

use pixie_core::id::Direction;
use pixie_core::record::{Http, Timing};
use pixie_protocols::http1::Http1;
use pixie_protocols::parser::Limits;
use proptest::prelude::*;
use support::http1::summary;
use support::script::{self, Step};
use support::{REQUESTS, RESPONSES};

type Talk = support::Talk<Http>;

/// Records without their times.
fn timeless(talk: &Talk) -> Vec<Http> {
    let mut records = talk.records.clone();
    for http in &mut records {
        http.traffic.set_timing(None, Timing::default());
    }
    records
}

/// Either a message's body or how it is framed.
#[derive(Clone, Debug)]
enum Framing {
    Length,
    Chunked(usize),
}

#[derive(Clone, Debug)]
struct Message {
    body: Vec<u8>,
    framing: Framing,
}

impl Message {
    fn bytes(&self, start: &str, number: usize) -> Vec<u8> {
        let mut bytes = format!("{start}X-Number: {number}\r\n").into_bytes();
        match self.framing {
            Framing::Length => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", self.body.len()).bytes());
                bytes.extend(&self.body);
            }
            Framing::Chunked(size) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in self.body.chunks(size) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\nX-Trailer: yes\r\n\r\n");
            }
        }
        bytes
    }
}

fn message() -> impl Strategy<Value = Message> {
    let framing = prop_oneof![Just(Framing::Length), (1usize..40).prop_map(Framing::Chunked)];
    let body = prop::collection::vec(
        prop_oneof![0x61u8..0x7b, any::<u8>(), Just(b'\n'), Just(b'0')],
        0..200,
    );
    (body, framing).prop_map(|(body, framing)| Message { body, framing })
}

fn exchanges() -> impl Strategy<Value = Vec<(Shown, Shown)>> {
    prop::collection::vec((message(), message()), 1..8).prop_map(|messages| {
        let numbered = messages.into_iter().enumerate();
        numbered
            .map(|(number, (request, response))| {
                let request = request.bytes(&format!("POST /{number} HTTP/1.1\r\n"), number);
                (Shown(request), Shown(response.bytes("HTTP/1.1 200 OK\r\n", number)))
            })
            .collect()
    })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), Just(vec![usize::MAX]), prop::collection::vec(1usize..80, 1..10),]
}

/// What a connection may carry that is HTTP, nearly HTTP, or none at all.
fn fragments() -> impl Strategy<Value = Vec<(Direction, Shown)>> {
    const FRAGMENTS: &[&[u8]] = &[
        b"GET /a HTTP/1.1\r\n",
        b"POST /b HTTP/1.1\nContent-Length: 5\n\n",
        b"HEAD /c HTTP/1.0\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"GET /d HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.0 100 Continue\r\n\r\n",
        b"HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"X: y\r\n z\r\n",
        b"X: HTTP/1.1 200 OK\r\n",
        b": no name\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"hello",
        b"5\r\nhello\r\n",
        b"3;x=y\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: u\r\n\r\n",
        b"ffffffffffffffff1\r\n",
        b"\x00\x01\x02\xff",
        b"HTTP/1.",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let fragment = prop::sample::select(FRAGMENTS).prop_map(<[u8]>::to_vec);
    let direction = prop_oneof![Just(REQUESTS), Just(RESPONSES)];
    let run = prop::collection::vec(fragment, 1..6).prop_map(|run| Shown(run.concat()));
    prop::collection::vec((direction, run), 1..12)
}

/// Bytes that a failed test shows as text.
#[derive(Clone)]
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "\"{}\"", self.0.escape_ascii())
    }
}

/// Bytes in records, both ways.
fn bytes_in_records(talk: &Talk) -> u64 {
    let bytes = |http: &Http| http.traffic.request_bytes + http.traffic.response_bytes;
    talk.records.iter().map(bytes).sum()
}

proptest! {
    #[test]
    fn well_formed_exchanges_come_out_as_they_went_in(
        exchanges in exchanges(), pieces in pieces(), pipelined in any::<bool>(),
    ) {
        let mut talk = Talk::new();
        let all: u64 = exchanges.iter().map(|(a, b)| (a.0.len() + b.0.len()) as u64).sum();
        if pipelined {
            let requests: Vec<u8> = exchanges.iter().flat_map(|(a, _)| &a.0).copied().collect();
            let responses: Vec<u8> = exchanges.iter().flat_map(|(_, b)| &b.0).copied().collect();
            talk.feed_in_pieces(REQUESTS, &requests, &pieces);
            talk.feed_in_pieces(RESPONSES, &responses, &pieces);
        } else {
            for (Shown(request), Shown(response)) in &exchanges {
                talk.feed_in_pieces(REQUESTS, request, &pieces);
                talk.feed_in_pieces(RESPONSES, response, &pieces);
            }
        }
        prop_assert_eq!(talk.records.len(), exchanges.len());
        prop_assert_eq!(&talk.skipped, &[]);
        prop_assert_eq!(bytes_in_records(&talk), all);
        for (number, http) in talk.records.iter().enumerate() {
            let number = number.to_string();
            let request = http.request.as_ref().unwrap();
            let response = http.response.as_ref().unwrap();
            prop_assert_eq!(request.headers.get("x-number"), Some(number.as_bytes()));
            prop_assert_eq!(response.headers.get("x-number"), Some(number.as_bytes()));
            prop_assert!(request.body.complete && response.body.complete);
        }
    }

    #[test]
    fn any_split_gives_the_same_records(
        fragments in fragments(), pieces in pieces(), small in any::<bool>(),
    ) {
        let mut limits = Limits::default();
        if small {
            limits.buffer = 40;
        }
        let mut whole = Talk::with_limits(limits);
        let mut split = Talk::with_limits(limits);
        for (direction, Shown(bytes)) in &fragments {
            whole.feed(*direction, bytes);
            split.feed_in_pieces(*direction, bytes, &pieces);
            if whole.switch.is_some() || split.switch.is_some() {
                break;
            }
        }
        prop_assert_eq!(whole.switch.is_some(), split.switch.is_some());
        whole.finish();
        split.finish();
        prop_assert_eq!(timeless(&whole), timeless(&split), "{:?} {:?}", whole.summary(), split.summary());
        prop_assert_eq!(whole.bytes_skipped(), split.bytes_skipped());
        let fed: u64 = fragments.iter().map(|(_, bytes)| bytes.0.len() as u64).sum();
        prop_assert!(bytes_in_records(&whole) + whole.bytes_skipped() <= fed);
    }

    #[test]
    fn after_a_gap_messages_are_understood_again_and_never_mismatched(
        exchanges in exchanges(),
        pieces in pieces(),
        gaps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1usize..400), 1..3),
    ) {
        // The streams with their gaps, as what is left of each message.
        let mut streams = [Vec::new(), Vec::new()];
        for (number, (Shown(request), Shown(response))) in exchanges.iter().enumerate() {
            streams[0].extend(request.iter().map(|&byte| (number, Some(byte))));
            streams[1].extend(response.iter().map(|&byte| (number, Some(byte))));
        }
        let mut last_hit = 0;
        for (responses, at, length) in gaps {
            let stream = &mut streams[usize::from(responses)];
            let at = at.index(stream.len());
            for (number, byte) in stream.iter_mut().skip(at).take(length) {
                *byte = None;
                last_hit = last_hit.max(*number);
            }
        }
        let mut talk = Talk::new();
        for number in 0..exchanges.len() {
            for (stream, direction) in streams.iter().zip([REQUESTS, RESPONSES]) {
                let of_message: Vec<Option<u8>> =
                    stream.iter().filter(|(n, _)| *n == number).map(|(_, byte)| *byte).collect();
                for run in of_message.chunk_by(|a, b| a.is_some() == b.is_some()) {
                    match run.iter().copied().collect::<Option<Vec<u8>>>() {
                        Some(bytes) => talk.feed_in_pieces(direction, &bytes, &pieces),
                        None => { talk.gap(direction, run.len() as u64); }
                    }
                }
            }
        }
        talk.finish();
        for http in &talk.records {
            if let (Some(request), Some(response)) = (&http.request, &http.response) {
                prop_assert_eq!(
                    request.headers.get("x-number"), response.headers.get("x-number"),
                    "{:?}", talk.summary()
                );
            }
        }
        // One message may be needed to find the way back.
        for number in last_hit + 2..exchanges.len() {
            let path = format!("POST /{number} ");
            let found = talk.records.iter().find(|http| summary(http).starts_with(&path));
            prop_assert!(
                found.is_some_and(|http| http.response.is_some()), "{path}: {:?}", talk.summary()
            );
        }
        prop_assert!(talk.memory() < 1 << 20);
    }

    #[test]
    fn nothing_makes_it_panic_or_hold_too_much(
        segments in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0u64..50), 0..40,
        ),
    ) {
        let mut talk = Talk::new();
        for (responses, bytes, gap) in segments {
            let direction = if responses { RESPONSES } else { REQUESTS };
            if talk.switch.is_none() {
                talk.feed(direction, &bytes);
            }
            if talk.switch.is_none() {
                talk.gap(direction, gap);
            }
            prop_assert!(talk.memory() < 256 << 10);
        }
        talk.finish();
    }
}

/// A message, what is none, and what could be the start of one, again and again.
fn babble() -> impl Strategy<Value = Shown> {
    let part = prop_oneof![
        Just(b"GET /1 HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 204 No\nno head\r\n".to_vec()),
        (1usize..9000).prop_map(|length| [b"GET /", &*vec![b'x'; length]].concat()),
        (1usize..30_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        (65_500usize..65_560).prop_map(|length| vec![0x17; length]),
    ];
    prop::collection::vec(part, 1..8).prop_map(|parts| Shown(parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn where_it_is_given_up_does_not_depend_on_how_bytes_are_cut(
        steps in prop::collection::vec((any::<bool>(), babble()), 2..5),
        piece in prop_oneof![1usize..4, 4usize..5000],
    ) {
        let steps: Vec<_> = steps.into_iter().map(|(responses, bytes)| {
            Step::Feed(if responses { RESPONSES } else { REQUESTS }, bytes.0)
        }).collect();
        script::check_stream(&Http1, Limits::default(), &steps, piece);
    }
}

#[test]
fn a_line_that_ends_at_the_limit_is_given_up_in_pieces_as_it_is_whole() {
    let line = [b"GET /".as_slice(), &[b'x'; 24], &[0x17; 65_506]].concat();
    let next = b"GET /1 HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let steps = [Step::Feed(RESPONSES, line), Step::Feed(REQUESTS, next)];
    script::check_stream(&Http1, Limits::default(), &steps, 1);
}
