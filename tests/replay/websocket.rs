//! WebSockets, as they were recorded; see `tests/fixtures/websocket/record.sh`.

use super::captures::read;
use super::{exchanges, play};
use pixie::Record;
use pixie::id::Role;
use pixie::record::{BodyDecoding, WebSocket, WebSocketOpcode as Opcode};

/// The messages of a capture in which nothing is missing.
fn messages(name: &str) -> Vec<WebSocket> {
    let (records, stats) = play(read(&format!("../websocket/{name}")));
    assert_eq!((&stats.lost[..], stats.parser.malformed), (&[][..], 0), "{name}");
    assert_eq!(exchanges(&records).len(), 1, "the request that opens it");
    let messages: Vec<WebSocket> = records
        .into_iter()
        .filter_map(|record| match record {
            Record::WebSocket(message) => Some(*message),
            _ => None,
        })
        .collect();
    for message in &messages {
        assert_eq!(message.path.as_ref().unwrap().to_string(), "/echo");
        assert_eq!(message.subprotocol.as_ref().unwrap().to_string(), "echo");
        assert_eq!(message.traffic.role, Some(Role::Client));
        assert_eq!(message.masked, message.sender == Role::Client);
        assert!(message.body.complete && !message.is_error(), "{message}");
    }
    messages
}

fn of(messages: &[WebSocket], sender: Role) -> Vec<(Opcode, u64, u64)> {
    let sent = messages.iter().filter(|message| message.sender == sender);
    sent.map(|message| (message.opcode, message.body.size, message.fragments)).collect()
}

#[test]
fn messages_are_told_both_ways() {
    let all = messages("plain.pcapng");
    let sent = |fragments, control| {
        let data = [(Opcode::Text, 5, 1), (Opcode::Binary, 200, 1), (Opcode::Text, 5000, 1)];
        let rest = [(Opcode::Text, 13, fragments), (control, 4, 1), (Opcode::Close, 8, 1)];
        [data, rest].concat()
    };
    // The library ends its fragments with an empty one.
    assert_eq!(of(&all, Role::Client), sent(4, Opcode::Ping));
    assert_eq!(of(&all, Role::Server), sent(1, Opcode::Pong));
    let hello = all.iter().filter(|message| message.body.bytes == "hello");
    assert_eq!(hello.count(), 2, "unmasked, and never masked");
    for close in all.iter().filter(|message| message.opcode == Opcode::Close) {
        assert_eq!((close.close_code, &close.close_reason.to_string()[..]), (Some(1001), "enough"));
    }
}

#[test]
fn a_first_compressed_message_is_decoded() {
    let all = messages("compressed.pcapng");
    for sender in [Role::Client, Role::Server] {
        let sent: Vec<_> = all.iter().filter(|message| message.sender == sender).collect();
        assert!(sent[..4].iter().all(|message| message.compressed));
        assert_eq!(sent[0].body.bytes, "hello");
        assert_eq!(sent[0].body.decoding, BodyDecoding::Decoded);
        assert_eq!(sent[1].body.decoding, BodyDecoding::None, "it depends on the first");
        assert!(sent[2].body.size < 100, "five thousand times the same");
    }
}
