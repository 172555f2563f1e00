//! What is counted, and that it adds up.

use crate::wire::{Wire, answer, get};
use pixie::Replay;
use pixie::id::Direction;
use pixie::record::{Cause, Stage};

#[test]
fn a_large_body_that_is_not_captured_costs_nothing_and_is_not_reported_as_lost() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n";
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.send(1, Direction::Received, get("/big").as_bytes());
    wire.send(1, Direction::Sent, head.as_bytes());
    for _ in 0..200 {
        wire.transfer(1, Direction::Sent, b"", 1_000_000);
    }
    wire.exchange(1, "/next");
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/big", "/next"]);
    let body = &outcome.http().next().unwrap().response.as_ref().unwrap().body;
    assert_eq!((body.size, body.captured), (200_000_000, 0));
    assert_eq!(outcome.stats.stream.bytes_in_gaps, 200_000_000);
    assert_eq!(outcome.stats.lost, []);
}

#[test]
fn a_lost_transfer_is_a_gap_and_the_exchanges_after_it_are_right() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.exchange(1, "/before");
    wire.lose(1, Direction::Received, get("/lost").len());
    wire.lose(1, Direction::Sent, answer("/lost").len());
    wire.exchange(1, "/after");
    // What is missing is given up after a while.
    wire.wait(1_000_000_000);
    wire.exchange(1, "/last");
    let outcome = wire.play();
    let paths = outcome.paths();
    assert_eq!(paths.first().map(String::as_str), Some("/before"));
    assert_eq!(paths.last().map(String::as_str), Some("/last"));
    assert!(outcome.http().all(|http| {
        let (Some(request), Some(response)) = (&http.request, &http.response) else { return true };
        response.body.bytes == request.path.as_bytes()
    }));
    let bytes = (get("/lost").len() + answer("/lost").len()) as u64;
    assert_eq!(outcome.stats.stream.bytes_in_gaps, bytes);
    let unobserved = outcome.lost().filter(|lost| lost.1 == Cause::Unobserved);
    assert_eq!(
        unobserved.filter(|lost| lost.0 == Stage::Stream).map(|lost| lost.3).sum::<u64>(),
        bytes
    );
}

#[test]
fn what_the_source_dropped_is_reported() {
    let mut wire = Wire::new();
    wire.dropped = 12;
    wire.open(1, 10);
    wire.exchange(1, "/");
    let outcome = wire.play();
    let lost: Vec<_> = outcome.lost().collect();
    assert_eq!(lost, [(Stage::Kernel, Cause::RingFull, 12, 1200)]);
    assert_eq!(outcome.stats.capture.events_dropped, 12);
}

#[test]
fn a_connection_that_nobody_understands_is_counted_and_ignored() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    for _ in 0..100 {
        wire.send(1, Direction::Sent, b"\x16\x03\x01 some bytes of another protocol");
        wire.send(1, Direction::Received, b"\x17\x03\x03 more of them");
    }
    let outcome = wire.play();
    assert_eq!(outcome.records, []);
    assert_eq!(outcome.stats.parser.undetected, 1);
    assert_eq!(outcome.stats.parser.bytes_skipped, wire.bytes);
    assert_eq!(wire.ignored.len(), 1);
}

#[test]
fn a_protocol_that_begins_late_is_found_all_the_same() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    for _ in 0..40 {
        wire.send(1, Direction::Sent, b"220 not HTTP yet\r\n");
    }
    for _ in 0..20 {
        wire.exchange(1, "/late");
    }
    let outcome = wire.play();
    assert_eq!(outcome.paths().last().map(String::as_str), Some("/late"));
    let parser = &outcome.stats.parser;
    assert_eq!((parser.detected, parser.undetected), (1, 0));
}

#[test]
fn the_same_events_make_the_same_records() {
    let run = || {
        let mut wire = Wire::new();
        for id in 0..20 {
            wire.open(id, 10);
            wire.exchange(id, "/a");
            wire.lose(id, Direction::Sent, 5);
            wire.send(id, Direction::Received, get("/open").as_bytes());
            wire.close(id);
        }
        wire.play().records
    };
    assert_eq!(run(), run());
}

#[test]
fn pipelines_side_by_side_do_not_meet() {
    let (sink, one) = pixie::sinks::Memory::new(100);
    let mut first = Replay::new().sink(sink).start().unwrap();
    let (sink, other) = pixie::sinks::Memory::new(100);
    let mut second = Replay::new().sink(sink).start().unwrap();
    let (mut wire, mut other_wire) = (Wire::new(), Wire::new());
    for round in 0..5 {
        // The same connection id means another connection in each.
        wire.exchange(1, &format!("/one/{round}"));
        other_wire.exchange(1, &format!("/other/{round}"));
        first.play(&mut wire, false);
        second.play(&mut other_wire, false);
    }
    assert_eq!((first.finish().parser.records, second.finish().parser.records), (5, 5));
    assert!(one.take().iter().all(|record| record.to_string().contains("/one/")));
    assert!(other.take().iter().all(|record| record.to_string().contains("/other/")));
}
