//! Answers that are told of before what they answer: one thread receives while another is on its
//! way back from sending.

use crate::wire::{Wire, answer, get};
use pixie::id::Direction;
use pixie::{Player, Replay, sinks};

const MILLISECOND: u64 = 1_000_000;

fn length(path: &str) -> u32 {
    u32::try_from(get(path).len()).unwrap()
}

#[test]
fn an_answer_waits_for_its_request() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    let mut sent = 0;
    for path in ["/a", "/b", "/c"] {
        sent += length(path);
        wire.receive_after(1, sent, answer(path).as_bytes());
        wire.send(1, Direction::Sent, get(path).as_bytes());
    }
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/a", "/b", "/c"]);
    for http in outcome.http() {
        assert_eq!(http.traffic.latency.map(|latency| latency.as_nanos()), Some(0));
    }
    assert_eq!(outcome.stats.stream.gaps, 0);
}

#[test]
fn what_follows_an_answer_that_waits_waits_too() {
    let answer = answer("/a");
    let (head, rest) = answer.split_at(20);
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.receive_after(1, length("/a"), head.as_bytes());
    wire.send(1, Direction::Received, rest.as_bytes());
    wire.send(1, Direction::Sent, get("/a").as_bytes());
    wire.close(1);
    assert_eq!(wire.play().paths(), ["/a"]);
}

#[test]
fn a_greeting_comes_before_what_is_sent_after_it() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    // As a connection that is older than the tracer looks: that nothing was sent is not known.
    wire.receive_after(1, 0, b"220 at your service\r\n");
    wire.send(1, Direction::Sent, get("/a").as_bytes());
    wire.receive_after(1, length("/a"), answer("/a").as_bytes());
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/a"]);
    assert_eq!(outcome.stats.lost, []);
}

#[test]
fn an_answer_does_not_wait_for_long() {
    let mut wire = Wire::new();
    let mut player = Replay::new().sink(sinks::Null).start().unwrap();
    wire.open(1, 10);
    wire.exchange_as_client(1, "/a");
    wire.lose(1, Direction::Sent, get("/b").len());
    let sent = length("/a") + length("/b");
    let delivered = |player: &Player| player.stats().stream.bytes_delivered;
    player.play(&mut wire, false);
    let before = delivered(&player);
    wire.receive_after(1, sent, answer("/b").as_bytes());
    player.play(&mut wire, false);
    assert_eq!(delivered(&player), before, "it waits");
    wire.wait(300 * MILLISECOND);
    // Once waited for in vain, it is not waited for again.
    for answers in [2, 3] {
        wire.receive_after(1, sent, answer("/b").as_bytes());
        player.play(&mut wire, false);
        assert_eq!(delivered(&player), before + answers * answer("/b").len() as u64);
    }
}

#[test]
fn not_much_waits() {
    let mut wire = Wire::new();
    let mut player = Replay::new().sink(sinks::Null).start().unwrap();
    wire.open(1, 10);
    wire.receive_after(1, 100, b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
    for _ in 0..100 {
        wire.send(1, Direction::Received, &[b'x'; 100_000]);
        player.play(&mut wire, false);
        assert!(player.stats().connections.memory < 1 << 20);
    }
    assert_eq!(player.finish().parser.records, 1);
}
