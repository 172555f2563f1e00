//! What holds for HTTP/2 whatever is on the connection.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::Record;
use pixie_core::id::Direction;
use pixie_core::record::Http;
use pixie_protocols::http2::Http2;
use pixie_protocols::parser::Limits;
use proptest::prelude::*;
use support::http2::*;
use support::script::{Step, check_stream, run};
use support::{REQUESTS, RESPONSES};

/// An exchange: the sizes of the frames of its bodies, and whether it has trailers.
#[derive(Clone, Debug)]
struct Exchange {
    request: Vec<usize>,
    response: Vec<usize>,
    trailers: bool,
    padding: u8,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let sizes = || prop::collection::vec(prop_oneof![0usize..50, 200usize..3000], 0..4);
    (sizes(), sizes(), any::<bool>(), 0u8..4).prop_map(|(request, response, trailers, padding)| {
        Exchange { request, response, trailers, padding }
    })
}

impl Exchange {
    /// The next frames of one half, of which `nth` have gone before; what is in them has the number
    /// of the exchange in all that can be told apart.
    fn frames(
        &self,
        encoder: &mut Encoder,
        kind: Direction,
        number: usize,
        nth: usize,
    ) -> Option<Vec<u8>> {
        let stream = (2 * number + 1) as u32;
        let (path, number) = (format!("/{number}"), number.to_string());
        let (head, sizes) = match kind {
            REQUESTS => (vec![(":method", "PUT"), (":path", &path[..])], &self.request),
            RESPONSES => (vec![(":status", "200"), ("server", "x")], &self.response),
        };
        if nth == 0 {
            let head = [&head[..], &[("x-number", &number[..]), ("x-same", "same")]].concat();
            let block = encoder.block(&head);
            let (first, rest) = block.split_at(block.len() / 2);
            let first = frame(HEADERS, 0, stream, first);
            return Some([first, frame(CONTINUATION, END_HEADERS, stream, rest)].concat());
        }
        if let Some(&size) = sizes.get(nth - 1) {
            let padding = vec![0; usize::from(self.padding)];
            let content = [vec![self.padding], vec![number.as_bytes()[0]; size], padding].concat();
            return Some(frame(DATA, PADDED, stream, content));
        }
        if nth > sizes.len() + 1 {
            return None;
        }
        if self.trailers && kind == RESPONSES {
            let block = encoder.block(&[("x-trailer", &number)]);
            return Some(frame(HEADERS, END_HEADERS | END_STREAM, stream, block));
        }
        Some(frame(DATA, END_STREAM, stream, []))
    }
}

/// A connection on which these exchanges are under way at once, as many as `width`.
fn conversation(exchanges: &[Exchange], width: usize) -> Vec<Step> {
    let mut encoders = [Encoder::default(), Encoder::default()];
    let mut steps =
        vec![Step::Feed(REQUESTS, client_start()), Step::Feed(RESPONSES, server_start())];
    for (round, group) in exchanges.chunks(width.max(1)).enumerate() {
        for (kind, encoder) in [REQUESTS, RESPONSES].into_iter().zip(&mut encoders) {
            // A frame of each in turn.
            let (mut bytes, mut nth) = (Vec::new(), 0);
            loop {
                let before = bytes.len();
                for (place, exchange) in group.iter().enumerate() {
                    let number = round * width.max(1) + place;
                    bytes.extend(exchange.frames(encoder, kind, number, nth).unwrap_or_default());
                }
                nth += 1;
                if bytes.len() == before {
                    break;
                }
            }
            steps.push(Step::Feed(kind, bytes));
        }
    }
    steps
}

fn http(record: &Record) -> &Http {
    let Record::Http(http) = record else { panic!("{record:?}") };
    http
}

/// The numbers that a record has of its exchange, wherever it has one.
fn numbers(http: &Http) -> Vec<String> {
    let mut numbers = Vec::new();
    let mut add = |value: Option<&[u8]>| {
        numbers.extend(value.map(|value| String::from_utf8_lossy(value).into_owned()));
    };
    if let Some(request) = &http.request {
        add(request.path.as_bytes().get(1..));
        add(request.headers.get("x-number"));
    }
    if let Some(response) = &http.response {
        add(response.headers.get("x-number"));
        add(response.trailers.get("x-trailer"));
    }
    numbers
}

/// What one direction carries, nearly.
fn fragments() -> impl Strategy<Value = Vec<Step>> {
    let streams = prop::sample::select(vec![0_u32, 1, 1, 2, 3, 3, 5, 0x7fff_ffff]);
    let blocks = prop::sample::select(vec![
        vec![0x82, 0x84],
        vec![0x88],
        vec![0xbe, 0xbf],
        vec![0x80],
        block(&[(":method", "GET"), (":path", "/")]),
        block_indexed(&[(":status", "200"), ("x-a", "1")]),
        block(&[(":status", "100")]),
        block(&[(":status", "200"), ("content-length", "40")]),
        block(&[(":path", "/a/b"), ("content-type", "application/grpc")]),
        block(&[("grpc-status", "3")]),
        vec![0x3f, 0xff, 0xff, 0x03],
        vec![0, 0, 0, 2, 0x82],
        vec![2, 0x88, 0, 0],
        vec![],
    ]);
    let framed = (0u8..10, any::<u8>(), streams, blocks)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags & 0x2d, stream, payload));
    let fixed = prop::sample::select(vec![
        client_start(),
        server_start(),
        frame(RST_STREAM, 0, 1, [0, 0, 0, 8]),
        frame(GOAWAY, 0, 0, [0, 0, 0, 1, 0, 0, 0, 2]),
        frame(DATA, 0, 1, message(b"hello")),
        frame(DATA, END_STREAM, 3, b""),
        frame(SETTINGS, 0, 0, [0, 5, 0, 1, 0, 0]),
        frame(0x20, 0xff, 9, b"unknown"),
        vec![0, 0, 40, 0, 0, 0, 0, 0, 1],
        vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 20],
    ]);
    let bytes =
        prop_oneof![3 => framed, 2 => fixed, 1 => prop::collection::vec(any::<u8>(), 1..30)];
    let direction = || prop_oneof![Just(REQUESTS), Just(RESPONSES)];
    let run = prop::collection::vec(bytes, 1..6).prop_map(|run| run.concat());
    let step = prop_oneof![
        6 => (direction(), run).prop_map(|(direction, bytes)| Step::Feed(direction, bytes)),
        1 => (direction(), 1u64..60).prop_map(|(direction, length)| Step::Gap(direction, length)),
    ];
    prop::collection::vec(step, 1..15)
}

/// The steps, without `length` bytes of the feed with this number from `start` on.
fn with_hole(steps: &[Step], nth: usize, start: usize, length: usize) -> Vec<Step> {
    let nth = 2 + nth % (steps.len() - 2);
    let mut with_hole = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        match step {
            Step::Feed(direction, bytes) if place == nth => {
                let start = start % bytes.len();
                let end = (start + length).min(bytes.len());
                with_hole.push(Step::Feed(*direction, bytes[..start].to_vec()));
                with_hole.push(Step::Gap(*direction, (end - start) as u64));
                with_hole.push(Step::Feed(*direction, bytes[end..].to_vec()));
            }
            step => with_hole.push(step.clone()),
        }
    }
    with_hole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_exchange_is_told_of_with_its_own_parts(
        exchanges in prop::collection::vec(exchange(), 1..12),
        width in 1usize..6,
        piece in prop_oneof![Just(1), Just(usize::MAX), 2usize..100],
    ) {
        let steps = conversation(&exchanges, width);
        let talk = run(&Http2, Limits::default(), &steps, piece);
        prop_assert_eq!(talk.records.len(), exchanges.len());
        prop_assert_eq!(talk.bytes_skipped(), 0);
        for record in &talk.records {
            let http = http(record);
            let numbers = numbers(http);
            prop_assert!(numbers.len() >= 3 && numbers.iter().all(|number| *number == numbers[0]));
            let exchange = &exchanges[numbers[0].parse::<usize>().unwrap()];
            let (request, response) = (http.request.as_ref().unwrap(), http.response.as_ref().unwrap());
            let total = |sizes: &[usize]| sizes.iter().sum::<usize>() as u64;
            prop_assert_eq!(request.body.size, total(&exchange.request));
            prop_assert_eq!(response.body.size, total(&exchange.response));
            prop_assert!(request.body.complete && response.body.complete);
        }
        check_stream(&Http2, Limits::default(), &steps, piece);
    }

    #[test]
    fn after_a_hole_nothing_is_shifted_or_paired_wrongly(
        exchanges in prop::collection::vec(exchange(), 4..16),
        width in 1usize..5,
        nth: usize,
        start: usize,
        length in prop_oneof![1usize..40, 1usize..5000],
    ) {
        let steps = conversation(&exchanges, width);
        let steps = with_hole(&steps, nth, start, length);
        let talk = run(&Http2, Limits::default(), &steps, usize::MAX);
        for record in &talk.records {
            let http = http(record);
            let numbers = numbers(http);
            prop_assert!(numbers.iter().all(|number| *number == numbers[0]), "{:?}", record);
            let headers = [
                http.request.as_ref().map(|request| &request.headers),
                http.response.as_ref().map(|response| &response.headers),
            ];
            for headers in headers.into_iter().flatten() {
                for (name, value) in headers.iter() {
                    let expected = match name {
                        b"x-same" => &b"same"[..],
                        b"server" => b"x",
                        b"x-number" => value,
                        name => panic!("{name:?} was not sent as a header"),
                    };
                    prop_assert_eq!(value, expected);
                }
            }
            // A body that is said to be complete is.
            let number = numbers.first().and_then(|number| number.parse::<usize>().ok());
            if let (Some(response), Some(number)) = (&http.response, number) {
                let size = exchanges[number].response.iter().sum::<usize>() as u64;
                prop_assert!(response.body.size <= size);
                prop_assert!(!response.body.complete || response.body.size == size);
            }
        }
        // What began after the hole is there: at most two rounds are hurt.
        prop_assert!(talk.records.len() + 2 * width >= exchanges.len());
        check_stream(&Http2, Limits::default(), &steps, 7);
    }

    #[test]
    fn joined_anywhere_nothing_is_shifted_or_paired_wrongly(
        exchanges in prop::collection::vec(exchange(), 2..10),
        width in 1usize..4,
        starts in any::<(u16, u16)>(),
    ) {
        // Of each direction only what comes after some place.
        let mut left = [usize::from(starts.0) % 4000, usize::from(starts.1) % 4000];
        let mut steps = Vec::new();
        for step in conversation(&exchanges, width) {
            let Step::Feed(direction, bytes) = step else { continue };
            let left = &mut left[direction.index()];
            let skipped = (*left).min(bytes.len());
            *left -= skipped;
            if skipped < bytes.len() {
                steps.push(Step::Feed(direction, bytes[skipped..].to_vec()));
            }
        }
        let talk = run(&Http2, Limits::default(), &steps, usize::MAX);
        for record in &talk.records {
            let numbers = numbers(http(record));
            prop_assert!(numbers.iter().all(|number| *number == numbers[0]), "{:?}", record);
        }
        check_stream(&Http2, Limits::default(), &steps, 5);
    }

    #[test]
    fn anything_at_all(steps in fragments(), piece in 1usize..40) {
        check_stream(&Http2, Limits::default(), &steps, piece);
        let mut tight = Limits::default();
        (tight.buffer, tight.pending, tight.body) = (64, 2, 3);
        check_stream(&Http2, tight, &steps, piece);
    }
}
