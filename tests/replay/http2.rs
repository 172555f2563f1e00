//! HTTP/2 and gRPC, as they were recorded; see `tests/fixtures/http2/record.sh` and
//! `tests/fixtures/grpc/record.sh`.

use super::captures::read;
use super::play;
use pixie::record::{Grpc, Http, HttpVersion};
use pixie::{Record, Stats};

/// The records of a capture.
fn replay(name: &str) -> (Vec<Record>, Stats) {
    play(read(&format!("../{name}")))
}

fn http(records: &[Record]) -> Vec<&Http> {
    let http = records.iter().filter_map(|record| match record {
        Record::Http(http) => Some(&**http),
        _ => None,
    });
    http.collect()
}

/// `GET /path 0 -> 200 13`, with trailers, and the version of both where they differ.
fn line(http: &Http) -> String {
    let (request, response) = (http.request.as_ref().unwrap(), http.response.as_ref().unwrap());
    assert!(request.headers.is_complete() && response.headers.is_complete(), "{http}");
    assert!(request.body.complete && response.body.complete, "{http}");
    let mut line = format!(
        "{} {} {} -> {} {}",
        request.method, request.path, request.body.size, response.status, response.body.size
    );
    for (name, value) in response.trailers.iter() {
        line += &format!(" {}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    }
    if request.pushed {
        line += " pushed";
    }
    line
}

#[track_caller]
fn assert_lines(name: &str, expected: &[&str]) {
    let (records, stats) = replay(name);
    let lines: Vec<String> = http(&records).into_iter().map(line).collect();
    assert_eq!(lines, expected, "{name}");
    assert_eq!((&stats.lost[..], stats.parser.malformed), (&[][..], 0), "{name}");
    assert_eq!(stats.parser.bytes_skipped, 0, "{name}");
}

#[test]
fn exchanges_of_http2() {
    let (records, _) = replay("http2/browse.pcapng");
    let compressed = http(&records)[2].response.as_ref().unwrap();
    assert_eq!(compressed.headers.get("content-encoding"), Some(&b"gzip"[..]));
    assert!(compressed.body.bytes.starts_with(b"1\n2\n3\n"), "it is decoded");
    let size = compressed.body.size;
    assert!(size < 13_893);
    assert_lines(
        "http2/browse.pcapng",
        &[
            "GET /hello.txt 0 -> 200 13",
            "GET /missing 0 -> 404 153",
            &format!("GET /numbers.txt 0 -> 200 {size}"),
            "POST /create 10 -> 201 8",
            "HEAD /hello.txt 0 -> 200 0",
        ],
    );
}

#[test]
fn an_upgrade_to_http2() {
    let name = "http2/upgrade.pcapng";
    assert_lines(name, &["GET /hello.txt 0 -> 101 0", "GET /hello.txt 0 -> 200 13"]);
    let (records, _) = replay(name);
    let versions = http(&records).into_iter().map(|http| {
        (http.request.as_ref().unwrap().version, http.response.as_ref().unwrap().version)
    });
    let (one, two) = (HttpVersion::Http11, HttpVersion::Http2);
    assert_eq!(versions.collect::<Vec<_>>(), [(one, one), (one, two)]);
}

#[test]
fn a_pushed_response_with_padding_and_trailers() {
    assert_lines(
        "http2/push.pcapng",
        &[
            "GET /hello.txt 0 -> 200 13 x-trailer: yes",
            "GET /numbers.txt 0 -> 200 13893 x-trailer: yes pushed",
        ],
    );
}

#[test]
fn streams_at_once() {
    assert_lines("http2/streams.pcapng", &["GET /hello.txt 0 -> 200 13"; 40]);
}

/// `Unary 1:5 -> 1:10 ok`
fn call(grpc: &Grpc) -> String {
    let (request, response) = (grpc.request.as_ref().unwrap(), grpc.response.as_ref().unwrap());
    assert_eq!(request.service, "test.Echo");
    let status = response.status.map_or("no status".to_owned(), |status| status.to_string());
    format!(
        "{} {}:{} -> {}:{} {status}",
        request.method,
        request.messages.count,
        request.messages.bytes,
        response.messages.count,
        response.messages.bytes
    )
}

#[test]
fn calls_of_grpc() {
    let (records, stats) = replay("grpc/calls.pcapng");
    let calls: Vec<String> = records
        .iter()
        .filter_map(|record| match record {
            Record::Grpc(grpc) => Some(call(grpc)),
            _ => None,
        })
        .collect();
    let expected = [
        "Unary 1:5 -> 1:10 ok",
        "ClientStream 10:45 -> 1:2 ok",
        "ServerStream 1:2 -> 20:190 ok",
        "Both 5:500 -> 5:500 ok",
        "Unary 1:29 -> 1:2000 ok",
        "Unary 1:4 -> 0:0 not_found",
        "Absent 1:0 -> 0:0 unimplemented",
        "Forever 1:0 -> 1:5 no status",
        "Unary 1:20000 -> 1:40000 ok",
    ];
    assert_eq!(calls, expected);
    assert!(http(&records).is_empty());
    assert_eq!((&stats.lost[..], stats.parser.bytes_skipped), (&[][..], 0));
}
