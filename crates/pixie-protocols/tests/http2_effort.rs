//! Effort on HTTP/2 grows with the bytes, not with their square, however they trickle in.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::Record;
use pixie_protocols::http2::Http2;
use pixie_protocols::parser::Protocol;
use support::effort::assert_linear;
use support::http2::*;
use support::{REQUESTS, RESPONSES};

type Talk = support::Talk<Record>;

fn begun() -> Talk {
    let mut talk = Talk::of(&Http2);
    talk.client(client_start()).server(server_start());
    talk
}

#[test]
fn a_header_block_that_trickles_in() {
    assert_linear(|size| {
        let block = block(&[("x-a", "b")]).repeat(size / 7);
        let mut talk = begun();
        for part in block.chunks(16_000) {
            let flags = END_STREAM | END_HEADERS;
            talk.feed_in_pieces(REQUESTS, &frame(HEADERS, flags, 1, part), &[1]);
        }
    });
}

#[test]
fn many_small_frames() {
    for small in [
        frame(DATA, 0, 1, b""),
        frame(DATA, PADDED, 1, b"\0"),
        frame(PING, 0, 0, [0; 8]),
        frame(RST_STREAM, 0, 7, [0; 4]),
        frame(0x77, 0, 0, b""),
    ] {
        assert_linear(|size| {
            let mut talk = begun();
            talk.client(headers(1, 0, &[(":method", "PUT")]));
            talk.feed_in_pieces(REQUESTS, &small.repeat(size / small.len()), &[1]);
        });
    }
}

#[test]
fn continuations_without_end() {
    assert_linear(|size| {
        let mut talk = begun();
        talk.client(frame(HEADERS, 0, 1, [0x82]));
        talk.client(frame(CONTINUATION, 0, 1, [0x84]).repeat(size / 10));
    });
}

#[test]
fn references_to_a_large_entry() {
    assert_linear(|size| {
        let mut talk = begun();
        let large = literal(0x40, "n", &"v".repeat(100));
        talk.client(frame(HEADERS, END_HEADERS, 1, large));
        for stream in 0..size / 1000 {
            let stream = 2 * stream as u32 + 3;
            talk.client(frame(HEADERS, END_HEADERS | END_STREAM, stream, vec![0xbe; 1000]));
        }
    });
}

#[test]
fn a_search_among_what_looks_like_frames() {
    let nearly: [&[u8]; 6] = [
        &[0],
        &[0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 0, 9],
        &[0, 0x3f, 0xff, 0, 0, 0, 0, 0, 9],
        &[0, 0x3f, 0, 1, 4, 0, 0],
        &[0, 1, 0, 0, 1],
    ];
    for nearly in nearly {
        for pieces in [1, usize::MAX] {
            assert_linear(|size| {
                let mut talk = Talk::of(&Http2);
                talk.gap(RESPONSES, 1);
                talk.feed_in_pieces(RESPONSES, &nearly.repeat(size / nearly.len()), &[pieces]);
            });
        }
    }
}

#[test]
fn frames_and_what_is_none_in_turn() {
    assert_linear(|size| {
        let mut talk = begun();
        let both = [frame(PING, 0, 0, [0; 8]), frame(PING, 0, 7, [0; 8])].concat();
        talk.client(both.repeat(size / both.len()));
    });
}

#[test]
fn streams_that_are_never_answered() {
    assert_linear(|size| {
        let mut talk = begun();
        for stream in 0..size / 16 {
            talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 2 * stream as u32 + 1, [0x82]));
        }
    });
}

#[test]
fn detection_of_many_frames() {
    assert_linear(|size| {
        let frames = frame(PING, 0, 0, [0; 8]).repeat(size / 17);
        for part in frames.chunks(4096) {
            let _ = Http2.probe(part);
        }
    });
}
