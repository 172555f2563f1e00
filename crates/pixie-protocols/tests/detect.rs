//! Detection by content: no protocol is taken for another.

#[path = "support/samples.rs"]
mod samples;

use pixie_core::id::{Direction, Transport};
use pixie_core::time::MonotonicTime;
use pixie_protocols::detect::{Detection, Detector};
use pixie_protocols::http1::Http1;
use pixie_protocols::parser::{PROBE_LIMIT, Protocol, Segment, Verdict};
use pixie_protocols::registry::Registry;
use samples::{SAMPLES, Sample};

fn segment(direction: Direction, bytes: &[u8]) -> Segment<'_> {
    Segment { direction, time: MonotonicTime(1), bytes, peer: None }
}

#[test]
fn requests_and_responses_are_recognised() {
    let long_target = [b"GET /".to_vec(), vec![b'a'; PROBE_LIMIT]].concat();
    let requests: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.0\nHost: a\n",
        b"VERSION-CONTROL /a HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"CONNECT [::1]:443 HTTP/1.1\r\n",
        b"GET http://a.test/?q=%20 HTTP/1.1\r\n",
        &long_target[..PROBE_LIMIT],
    ];
    for bytes in requests {
        assert_eq!(Http1.probe(bytes), Verdict::Yes, "{}", bytes.escape_ascii());
    }
    let responses: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404\r\n", b"HTTP/1.1 299 "];
    for bytes in responses {
        assert_eq!(Http1.probe(bytes), Verdict::Reversed, "{}", bytes.escape_ascii());
    }
}

#[test]
fn other_protocols_are_not_taken_for_http() {
    for sample in SAMPLES.iter().filter(|sample| sample.protocol != Some("http1")) {
        let Sample { name, bytes, .. } = sample;
        assert_eq!(Http1.probe(bytes), Verdict::No, "{name}");
        for length in 0..bytes.len() {
            let verdict = Http1.probe(&bytes[..length]);
            assert!(matches!(verdict, Verdict::No | Verdict::NeedMore), "{name}, {length} bytes");
        }
    }
}

#[test]
fn random_bytes_are_not_taken_for_http() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..10_000 {
        let mut bytes = [0; 64];
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        assert_eq!(Http1.probe(&bytes), Verdict::No);
    }
}

#[test]
fn every_prefix_of_a_message_may_become_one() {
    for (message, verdict) in [
        (&b"GET /index.html HTTP/1.1\r\n"[..], Verdict::Yes),
        (b"UNLOCK /a HTTP/1.0\n", Verdict::Yes),
        (b"HTTP/1.1 200 ", Verdict::Reversed),
    ] {
        for length in 0..message.len() {
            let prefix = &message[..length];
            assert_eq!(Http1.probe(prefix), Verdict::NeedMore, "{}", prefix.escape_ascii());
        }
        assert_eq!(Http1.probe(message), verdict);
    }
}

#[test]
fn bytes_are_kept_until_the_protocol_is_known() {
    let registry = Registry::new();
    let mut detector = Detector::new(Transport::Tcp);
    let offer = |detector: &mut Detector, bytes| {
        detector.offer(&registry, segment(Direction::Received, bytes))
    };
    assert!(matches!(offer(&mut detector, b"GE"), Detection::NeedMore));
    assert!(matches!(offer(&mut detector, b"T / HT"), Detection::NeedMore));
    let Detection::Found { protocol, requests } = offer(&mut detector, b"TP/1.1\r\n") else {
        panic!("not found");
    };
    assert_eq!((protocol.name(), requests), ("http1", Direction::Received));
    let held: Vec<u8> = detector.take_held().into_iter().flat_map(|held| held.bytes).collect();
    assert_eq!(held, b"GET / HT");
    assert!(detector.take_held().is_empty());
}

#[test]
fn a_response_tells_which_way_requests_go() {
    let mut detector = Detector::new(Transport::Tcp);
    let response = segment(Direction::Received, b"HTTP/1.1 200 OK\r\n\r\n");
    let detection = detector.offer(&Registry::new(), response);
    assert!(matches!(detection, Detection::Found { requests: Direction::Sent, .. }));
}

#[test]
fn a_message_may_begin_with_any_segment() {
    let registry = Registry::new();
    let mut detector = Detector::new(Transport::Tcp);
    let mut offer =
        |bytes: &'static [u8]| detector.offer(&registry, segment(Direction::Sent, bytes));
    let Detection::Unknown { skipped } = offer(b"the middle of a body") else {
        panic!("taken for something");
    };
    assert_eq!(skipped, [20, 0]);
    assert!(matches!(offer(b"PO"), Detection::NeedMore));
    // Not what it seemed to be; but what comes now may be something.
    let Detection::Unknown { skipped } = offer(b"PATCH") else { panic!("taken for something") };
    assert_eq!(skipped, [2, 0]);
    assert!(matches!(offer(b" /a HTTP/1.1\r\n"), Detection::Found { .. }));
}

#[test]
fn an_unknown_connection_is_looked_at_seldom_but_never_given_up() {
    // Alone, so that it is certain what is not known.
    let registry = Registry::new().only(|protocol| protocol.name() == "http1");
    let mut detector = Detector::new(Transport::Tcp);
    for _ in 0..1000 {
        let detection = detector.offer(&registry, segment(Direction::Sent, b"\x00\x01"));
        assert!(matches!(detection, Detection::Unknown { skipped: [2, 0] }));
    }
    assert_eq!(detector.unknown_in_a_row(), 1000);
    let request = segment(Direction::Sent, b"GET / HTTP/1.1\r\n\r\n");
    let found =
        (0..16).any(|_| matches!(detector.offer(&registry, request), Detection::Found { .. }));
    assert!(found);
    assert_eq!(detector.unknown_in_a_row(), 0);
}

#[test]
fn what_is_kept_is_bounded() {
    let registry = Registry::new();
    let mut detector = Detector::new(Transport::Tcp);
    for _ in 0..10_000 {
        for direction in [Direction::Sent, Direction::Received] {
            detector.offer(&registry, segment(direction, b"GET /"));
            detector.offer(&registry, segment(direction, b"a"));
            assert!(detector.memory() < 64 << 10);
        }
    }
}

#[test]
fn a_datagram_is_whole() {
    let mut detector = Detector::new(Transport::Udp);
    let detection = detector.offer(&Registry::new(), segment(Direction::Sent, b"GE"));
    assert!(matches!(detection, Detection::Unknown { .. }));
}
