//! gRPC: methods, outcomes and messages.

use super::records::{Record, show};
use super::tshark::Row;
use super::{Capture, Judge};

pub(super) const JUDGE: Judge = Judge {
    protocol: "grpc",
    is_ours: |record| record.is("grpc"),
    decode_as: &[("tcp", "http2")],
    filter: "grpc or http2.header.name == \"grpc-status\" or http2.header.value contains \"application/grpc\"",
    fields: &[
        "http2.headers.path",
        "http2.header.name",
        "http2.header.value",
        "grpc.message_length",
    ],
    theirs,
    ours,
    needs_all_bytes: true,
    excused: &[],
    not_judged: "what messages say; those of which not all was captured",
};

fn theirs(row: &Row<'_>) -> Vec<String> {
    let ends = row.ends();
    let paths = row.all("http2.headers.path").into_iter();
    let mut lines: Vec<_> = paths.map(|path| call(&ends, path)).collect();
    let headers = row.every("http2.header.name").into_iter().zip(row.every("http2.header.value"));
    let statuses = headers.filter(|(name, _)| *name == "grpc-status");
    lines.extend(statuses.map(|(_, status)| outcome(&ends, status)));
    lines.extend(row.all("grpc.message_length").into_iter().map(|_| message(&ends)));
    lines
}

fn ours(record: &Record, _: &Capture) -> Vec<String> {
    let ends = record.ends();
    let mut lines = Vec::new();
    if !record.at(&["request"]).is_null() {
        let at = |name| show(record.at(&["request", name]));
        lines.push(call(&ends, &format!("/{}/{}", at("service"), at("method"))));
    }
    let status = record.at(&["response", "grpc_status"]);
    if !status.is_null() {
        lines.push(outcome(&ends, &show(status)));
    }
    for half in ["request", "response"] {
        let messages = record.at(&[half, "messages"]).as_u64().unwrap_or(0);
        lines.extend((0..messages).map(|_| message(&ends)));
    }
    lines
}

fn call(ends: &str, path: &str) -> String {
    format!("{ends} {path}")
}

fn outcome(ends: &str, status: &str) -> String {
    format!("{ends} grpc-status {status}")
}

fn message(ends: &str) -> String {
    format!("{ends} message")
}
