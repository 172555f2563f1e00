//! WebSocket: what kind of messages there were, and how large.

use super::records::{Record, show};
use super::tshark::Row;
use super::{Capture, Judge};

pub(super) const JUDGE: Judge = Judge {
    protocol: "websocket",
    is_ours: |record| record.is("websocket"),
    decode_as: &[],
    filter: "websocket",
    fields: &[
        "websocket.fin",
        "websocket.opcode",
        "websocket.payload_length",
        "websocket.payload_length_ext_16",
        "websocket.payload_length_ext_64",
    ],
    theirs,
    ours,
    needs_all_bytes: true,
    excused: &[],
    not_judged: "payload; the size of messages in several frames",
};

/// RFC 6455, section 11.8.
const OPCODES: &[(&str, &str)] =
    &[("1", "text"), ("2", "binary"), ("8", "close"), ("9", "ping"), ("10", "pong")];

fn theirs(row: &Row<'_>) -> Vec<String> {
    let ends = row.ends();
    let (mut short, mut long) = (
        row.all("websocket.payload_length_ext_16").into_iter(),
        row.all("websocket.payload_length_ext_64").into_iter(),
    );
    let frames = row.all("websocket.opcode").into_iter().zip(row.all("websocket.payload_length"));
    let ends_message = row.all("websocket.fin").into_iter().map(|fin| matches!(fin, "1" | "True"));
    let mut lines = Vec::new();
    for ((opcode, length), is_last) in frames.zip(ends_message) {
        // Section 5.2: two lengths say that the true one follows.
        let length = match length {
            "126" => short.next().unwrap_or(length),
            "127" => long.next().unwrap_or(length),
            length => length,
        };
        // What goes on is counted by its first frame.
        if let Some((_, name)) = OPCODES.iter().find(|(known, _)| *known == opcode) {
            lines.push(message(&ends, name, is_last.then_some(length)));
        }
    }
    lines
}

fn ours(record: &Record, _: &Capture) -> Vec<String> {
    let halves = ["request", "response"].map(|half| record.at(&[half]));
    let said = halves.into_iter().filter(|half| !half.is_null());
    let line = |half: &serde_json::Value| {
        let size = (half["fragments"].as_u64() <= Some(1)).then(|| show(&half["body_size"]));
        message(&record.ends(), &show(&half["opcode"]), size.as_deref())
    };
    said.map(line).collect()
}

fn message(ends: &str, opcode: &str, length: Option<&str>) -> String {
    match length {
        Some(length) => format!("{ends} {opcode} of {length} bytes"),
        None => format!("{ends} {opcode} in several frames"),
    }
}
