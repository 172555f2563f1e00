//! HTTP/1: what was asked for, what came of it, and how long it took.

use super::records::{Record, list, show};
use super::tshark::Row;
use super::{Capture, Judge};
use serde_json::Value;

pub(super) const JUDGE: Judge = Judge {
    protocol: "http1",
    // What began as HTTP/1 and was answered in HTTP/2 is told of here by the response that says so.
    is_ours: |record| {
        let halves = ["request", "response"].map(|half| record.at(&[half, "version"]).as_str());
        let is_one = |version: &str| version.starts_with("1.");
        record.is("http") && halves.into_iter().flatten().all(is_one)
    },
    decode_as: &[],
    filter: "http.request or http.response",
    fields: &[
        "http.request.method",
        "http.request.uri",
        "http.response.code",
        "http.content_length_header",
        "http.time",
    ],
    theirs,
    ours,
    needs_all_bytes: false,
    excused: &[],
    not_judged: "bodies; the latency of interim responses, and of bodies that the connection ends",
};

fn theirs(row: &Row<'_>) -> Vec<String> {
    let methods = row.all("http.request.method").into_iter();
    let requests = methods.zip(row.all("http.request.uri"));
    let requests = requests.map(|(method, uri)| request(row.from(), method, uri));
    let codes = row.all("http.response.code");
    // Both have one of each, as far as responses come in packets of their own.
    let length = row.one("http.content_length_header");
    let nanoseconds = nanoseconds(row.one("http.time"));
    let responses = codes.iter().map(|code| response(row.to(), code, length, nanoseconds));
    requests.chain(responses).collect()
}

fn ours(record: &Record, capture: &Capture) -> Vec<String> {
    let port = record.client().to_string();
    let mut lines = Vec::new();
    if !record.at(&["request"]).is_null() {
        let at = |name| show(record.at(&["request", name]));
        lines.push(request(&port, &at("method"), &at("path")));
    }
    if !record.at(&["response"]).is_null() {
        for interim in list(record.at(&["response", "interim"])) {
            lines.push(response(&port, &show(interim), "-", None));
        }
        let headers = list(record.at(&["response", "headers"]));
        let length = headers.iter().find_map(|header| {
            let name = header[0].as_str()?;
            name.eq_ignore_ascii_case("content-length").then(|| show(&header[1]))
        });
        // It is timed by its last packet, or by the first where not all was captured.
        let time = if capture.has_all(&record.ends()) { "latency_ns" } else { "ttfb_ns" };
        let time = record.at(&[time]).as_u64();
        let status = show(record.at(&["response", "status"]));
        lines.push(response(&port, &status, length.as_deref().unwrap_or("-"), time));
    }
    lines
}

fn request(port: &str, method: &str, uri: &str) -> String {
    format!("{port} {method} {uri}")
}

fn response(port: &str, status: &str, length: &str, nanoseconds: Option<u64>) -> String {
    // Without a length, the end of the connection may be the end of the body.
    let time = nanoseconds.filter(|_| length != "-" && !status.starts_with('1'));
    format!(
        "{port} {status} {length} bytes after {} ns",
        show(&time.map_or(Value::Null, Value::from))
    )
}

/// The nanoseconds in `1.000000002`.
fn nanoseconds(seconds: &str) -> Option<u64> {
    let (seconds, rest) = seconds.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + format!("{rest:0<9}").parse::<u64>().ok()?)
}
