//! HTTP/2: what was asked for, and what came of it; calls of gRPC are exchanges too.

use super::records::{Record, list, show};
use super::tshark::Row;
use super::{Capture, Judge};

pub(super) const JUDGE: Judge = Judge {
    protocol: "http2",
    is_ours: |record| {
        let version = |half| record.at(&[half, "version"]) == "2";
        record.is("grpc") || record.is("http") && (version("request") || version("response"))
    },
    decode_as: &[("tcp", "http2")],
    filter: "http2.headers.method or http2.headers.status",
    fields: &["http2.headers.method", "http2.headers.path", "http2.headers.status"],
    theirs,
    ours,
    needs_all_bytes: true,
    excused: &[],
    not_judged: "streams (records have none), bodies, times; what was compressed with reference to \
                 what was not captured",
};

fn theirs(row: &Row<'_>) -> Vec<String> {
    let ends = row.ends();
    let requests = row.all("http2.headers.method").into_iter().zip(row.all("http2.headers.path"));
    let requests = requests.map(|(method, path)| format!("{ends} {method} {path}"));
    let statuses = row.all("http2.headers.status").into_iter();
    requests.chain(statuses.map(|status| format!("{ends} {status}"))).collect()
}

fn ours(record: &Record, _: &Capture) -> Vec<String> {
    let ends = record.ends();
    let mut lines = Vec::new();
    if record.at(&["request", "version"]) == "2" {
        let at = |name| show(record.at(&["request", name]));
        lines.push(match record.is("grpc") {
            true => format!("{ends} POST /{}/{}", at("service"), at("method")),
            false => format!("{ends} {} {}", at("method"), at("path")),
        });
    }
    if record.is("http") && record.at(&["response", "version"]) != "2" {
        return lines;
    }
    let interim = list(record.at(&["response", "interim"])).iter();
    let status = std::iter::once(record.at(&["response", "status"]));
    let statuses = interim.chain(status).filter(|status| !status.is_null());
    lines.extend(statuses.map(|status| format!("{ends} {status}")));
    lines
}
