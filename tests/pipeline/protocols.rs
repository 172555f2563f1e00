//! Which protocols are parsed, a user's own among them.

#[path = "../../examples/custom_protocol/ping.rs"]
mod ping;

use crate::wire::Wire;
use pixie::id::{Direction, Role};
use pixie::record::{Cause, Custom, Stage, Value};
use pixie::{Error, Record, Replay, sinks};

fn ping(wire: &mut Wire, id: u64, text: &str) {
    wire.send(id, Direction::Sent, format!("PING {text}\n").as_bytes());
    wire.send(id, Direction::Received, format!("PONG {text}\n").as_bytes());
}

fn custom(records: &[Record]) -> Vec<&Custom> {
    let mut found = Vec::new();
    for record in records {
        if let Record::Custom(custom) = record {
            found.push(&**custom);
        }
    }
    found
}

#[test]
fn a_users_protocol_is_parsed_beside_ours() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.open(2, 10);
    ping(&mut wire, 1, "one");
    wire.exchange(2, "/http");
    ping(&mut wire, 1, "two");
    let outcome = wire.play_with(Replay::new().protocol(ping::Ping));
    assert_eq!(outcome.paths(), ["/http"]);
    let pings = custom(&outcome.records);
    assert_eq!(pings.len(), 2);
    assert_eq!(pings[1].traffic.role, Some(Role::Client));
    assert_eq!(pings[1].traffic.latency.unwrap().as_nanos(), 1_000);
    assert_eq!(pings[1].response, [("text".into(), Value::Text("two".to_owned()))]);
}

#[test]
fn a_users_parser_that_loses_its_way_is_replaced() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    ping(&mut wire, 1, "one");
    for _ in 0..20 {
        wire.send(1, Direction::Sent, b"nonsense\n");
    }
    wire.exchange(1, "/http-after-all");
    let outcome = wire.play_with(Replay::new().protocol(ping::Ping));
    assert_eq!(outcome.paths(), ["/http-after-all"]);
    let stats = &outcome.stats;
    assert!(stats.parser.malformed >= 8, "{stats}");
    assert_eq!(stats.parser.bytes_skipped, 20 * 9);
    let lost = stats.lost.iter().find(|lost| lost.cause == Cause::Malformed).unwrap();
    assert_eq!((lost.stage, lost.count), (Stage::Parser, stats.parser.malformed));
}

#[test]
fn only_what_is_named_is_parsed() {
    let mut wire = Wire::new();
    ping(&mut wire, 1, "one");
    wire.exchange(2, "/http");
    let outcome = wire.play_with(Replay::new().protocol(ping::Ping).only_protocol("ping"));
    assert_eq!((outcome.records.len(), custom(&outcome.records).len()), (1, 1));
}

#[test]
fn a_port_can_say_the_protocol() {
    // Nobody would recognise this: it begins in the middle of a line.
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.send(1, Direction::Received, b"ING half a line\nPING whole\n");
    wire.send(1, Direction::Sent, b"PONG whole\n");
    let replay = Replay::new().protocol(ping::Ping).decode_as(80, "ping");
    let outcome = wire.play_with(replay);
    let pings = custom(&outcome.records);
    assert_eq!(pings.len(), 1);
    assert_eq!(pings[0].traffic.role, Some(Role::Server));
}

#[test]
fn a_protocol_that_there_is_not_is_an_error() {
    let unknown = |replay: Replay| match replay.sink(sinks::Null).start() {
        Err(Error::UnknownProtocol { name, known }) => (name, known),
        other => panic!("{other:?}"),
    };
    let (name, known) = unknown(Replay::new().only_protocol("gopher"));
    assert_eq!(name, "gopher");
    assert!(known.contains("http1"), "{known}");
    assert_eq!(unknown(Replay::new().decode_as(70, "gopher")).0, "gopher");
}

/// A connection that becomes a WebSocket.
fn chat() -> Wire {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.exchange(1, "/first");
    wire.send(
        1,
        Direction::Received,
        b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    wire.send(
        1,
        Direction::Sent,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    for _ in 0..100 {
        wire.send(1, Direction::Received, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        wire.send(1, Direction::Sent, b"\x81\x05Hello");
    }
    wire
}

#[test]
fn an_upgrade_is_followed() {
    let mut wire = chat();
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/first", "/chat"]);
    let is_message = |record: &&Record| matches!(record, Record::WebSocket(_));
    assert_eq!(outcome.records.iter().filter(is_message).count(), 200);
    assert_eq!((outcome.stats.parser.bytes_skipped, wire.ignored.len()), (0, 0));
}

#[test]
fn an_upgrade_to_something_that_nobody_parses_is_left_alone() {
    let mut wire = chat();
    let outcome = wire.play_with(Replay::new().only_protocol("http1"));
    assert_eq!(outcome.paths(), ["/first", "/chat"]);
    assert_eq!(outcome.stats.parser.malformed, 0);
    assert_eq!(outcome.stats.parser.bytes_skipped, 100 * (11 + 7));
    assert_eq!(wire.ignored.len(), 1);
}
