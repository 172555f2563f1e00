//! Effort grows with the bytes, not with their square, however they trickle in.

mod support;

use pixie_core::id::{Direction, Transport};
use pixie_core::time::MonotonicTime;
use pixie_protocols::detect::Detector;
use pixie_protocols::parser::{Limits, Segment};
use pixie_protocols::registry::Registry;
use support::effort::assert_linear;
use support::{REQUESTS, http1};

type Talk = support::Talk<pixie_core::record::Http>;

/// One byte at a time.
fn trickle(bytes: &[u8]) {
    let mut limits = Limits::default();
    limits.buffer = 1 << 20;
    let mut talk = Talk::with_limits(limits);
    talk.client(http1::get("/"));
    talk.feed_in_pieces(REQUESTS, bytes, &[1]);
}

#[test]
fn a_head_that_trickles_in() {
    assert_linear(|size| trickle(&[b"GET / HTTP/1.1\r\nA: ", &vec![b'x'; size][..]].concat()));
}

#[test]
fn many_fields_and_folds_that_trickle_in() {
    assert_linear(|size| {
        trickle(&[&b"GET / HTTP/1.1\r\nA: b\r\n"[..], &b" c\r\n".repeat(size / 4)].concat());
    });
}

#[test]
fn a_method_that_never_ends() {
    assert_linear(|size| trickle(&vec![b'G'; size]));
}

#[test]
fn trailers_that_trickle_in() {
    let head = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n";
    assert_linear(|size| trickle(&[&head[..], &b" c\r\n".repeat(size / 4)].concat()));
}

#[test]
fn a_search_among_what_looks_like_messages() {
    for nearly in ["GET /", "GET / HTTP/1.1\r\n: \r\n", "X HTTP/1.", "POST ", "GET / HTTP/1.1 "] {
        let nearly = nearly.as_bytes();
        assert_linear(|size| {
            trickle(&[&b"\0"[..], &nearly.repeat(size / nearly.len())].concat());
        });
        assert_linear(|size| {
            let mut talk = Talk::new();
            talk.client([&b"\0"[..], &nearly.repeat(size / nearly.len())].concat());
        });
    }
}

#[test]
fn heads_within_heads() {
    for nearly in ["X: HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n"] {
        assert_linear(|size| {
            let mut talk = Talk::new();
            talk.server([&b"\0"[..], &nearly.as_bytes().repeat(size / nearly.len())].concat());
        });
    }
}

#[test]
fn detection_that_needs_more() {
    // Bounded for each message, so that many of them are compared.
    assert_linear(|size| {
        let registry = Registry::new();
        let mut detector = Detector::new(Transport::Tcp);
        let nearly = [&b"GET /"[..], &[b'x'; 250], b" "].concat();
        for byte in nearly.iter().cycle().take(size) {
            let bytes = std::slice::from_ref(byte);
            let (direction, time) = (Direction::Sent, MonotonicTime(1));
            detector.offer(&registry, Segment { direction, time, bytes, peer: None });
        }
    });
}
