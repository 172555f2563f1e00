//! What is held is bounded, and what goes is counted.

use crate::wire::{Wire, answer, get};
use pixie::id::{ConnectionId, Direction};
use pixie::record::{Cause, Stage};
use pixie::{ConnectionLimits, Replay, sinks};
use std::time::Duration;

#[test]
fn the_least_recently_used_connection_goes_first() {
    let mut wire = Wire::new();
    for id in 0..10 {
        wire.open(id, 10);
        wire.send(id, Direction::Received, get("/unanswered").as_bytes());
    }
    wire.send(0, Direction::Sent, answer("/unanswered").as_bytes());
    wire.open(10, 10);
    wire.exchange(10, "/new");
    let limits = ConnectionLimits::default().with_count(10);
    let outcome = wire.play_with(Replay::new().connection_limits(limits));
    assert_eq!(outcome.stats.connections.evicted, 1);
    assert_eq!(wire.forgotten, [ConnectionId(1)]);
    let lost: Vec<_> = outcome.lost().collect();
    assert_eq!(lost, [(Stage::Stream, Cause::MemoryLimit, 1, 0)]);
    // What was under way there is a record all the same.
    assert_eq!(outcome.http().count(), 11);
}

#[test]
fn memory_is_bounded_whatever_is_held_back() {
    let limits = ConnectionLimits::default().with_memory(1 << 20);
    let mut player = Replay::new().connection_limits(limits).sink(sinks::Null).start().unwrap();
    let mut wire = Wire::new();
    for id in 0..200 {
        wire.send(id, Direction::Received, get("/").as_bytes());
        wire.lose(id, Direction::Received, 1);
        wire.send(id, Direction::Received, &[b'x'; 50_000]);
        player.play(&mut wire, false);
        assert!(player.stats().connections.memory <= 1 << 20);
    }
    let stats = player.finish();
    assert!(stats.connections.evicted > 150, "{stats}");
    assert_eq!(stats.lost_at(Stage::Stream), stats.connections.evicted + 200);
}

#[test]
fn silent_connections_are_forgotten_after_a_while() {
    let mut wire = Wire::new();
    for id in 0..10 {
        wire.open(id, 10);
        wire.exchange(id, "/");
    }
    for _ in 0..100 {
        wire.wait(1_000_000_000);
        wire.exchange(5, "/");
    }
    let limits = ConnectionLimits::default().with_idle(Duration::from_secs(60));
    let outcome = wire.play_with(Replay::new().connection_limits(limits));
    assert_eq!(outcome.stats.connections.evicted, 9);
    assert!(!wire.forgotten.contains(&ConnectionId(5)));
    assert_eq!(outcome.http().count(), 110);
}

#[test]
fn five_thousand_open_connections_fit_in_few_megabytes() {
    let mut player = Replay::new().sink(sinks::Null).start().unwrap();
    let mut wire = Wire::new();
    for id in 0..5_000 {
        wire.open(id, 10);
        wire.exchange(id, "/hello");
        wire.send(id, Direction::Received, get("/waiting").as_bytes());
    }
    while player.play(&mut wire, false) > 0 {}
    let connections = player.stats().connections;
    assert_eq!(connections.open, 5_000);
    assert!(connections.memory < 20 << 20, "{connections:?}");
}

#[test]
fn a_million_exchanges_leave_nothing_behind() {
    let mut player = Replay::new().sink(sinks::Null).start().unwrap();
    let mut held = Vec::new();
    let mut wire = Wire::new();
    for round in 0..100 {
        for id in 0..100 {
            for _ in 0..100 {
                wire.exchange(id, "/again");
            }
        }
        while player.play(&mut wire, false) > 0 {}
        wire.forget_played();
        if round % 10 == 0 {
            held.push(player.stats().connections.memory);
        }
    }
    let stats = player.stats();
    assert_eq!(stats.parser.records, 1_000_000);
    assert!(held.iter().all(|memory| *memory <= held[0]), "{held:?}");
    assert_eq!(stats.lost, []);
}
