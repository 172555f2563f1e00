//! Calls of gRPC, over HTTP/2 and as gRPC-Web.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::Record;
use pixie_core::record::{Grpc, GrpcStatus, HttpVersion};
use pixie_protocols::http1::Http1;
use pixie_protocols::http2::Http2;
use std::time::Duration;
use support::RESPONSES;
use support::http2::*;

type Talk = support::Talk<Record>;

fn begun() -> Talk {
    let mut talk = Talk::of(&Http2);
    talk.client(client_start()).server(server_start());
    talk
}

#[track_caller]
fn assert_summary(talk: &Talk, expected: &[&str]) {
    let told: Vec<String> = talk.records.iter().map(summary).collect();
    assert_eq!(told, expected);
}

fn grpc(record: &Record) -> &Grpc {
    let Record::Grpc(grpc) = record else { panic!("{record:?}") };
    grpc
}

fn head(stream: u32) -> Vec<u8> {
    headers(stream, 0, &[(":status", "200"), ("content-type", "application/grpc")])
}

fn trailers(stream: u32, status: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &[("grpc-status", status)])
}

#[test]
fn a_unary_call_has_all_its_parts() {
    let mut talk = begun();
    let fields = [
        (":method", "POST"),
        (":path", "/a.Greeter/Hello"),
        ("content-type", "application/grpc+proto"),
        ("grpc-timeout", "1500m"),
        ("x-metadata", "one"),
    ];
    talk.client([headers(1, 0, &fields), frame(DATA, END_STREAM, 1, message(b"hello"))].concat());
    talk.server([head(1), frame(DATA, 0, 1, message(b"hi")), trailers(1, "0")].concat());
    assert_summary(&talk, &["a.Greeter/Hello 1:5 | 1:2 ok"]);
    let call = grpc(&talk.records[0]);
    let (request, response) = (call.request.as_ref().unwrap(), call.response.as_ref().unwrap());
    assert_eq!(request.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(request.headers.get("x-metadata"), Some(&b"one"[..]));
    assert_eq!(request.version, HttpVersion::Http2);
    assert_eq!(&request.messages.first[0].bytes[..], b"hello");
    assert_eq!(&response.messages.first[0].bytes[..], b"hi");
    assert_eq!((response.http_status, response.status), (200, Some(GrpcStatus::OK)));
    assert!(!call.is_error());
    assert_eq!(call.traffic.latency, Some(Duration::from_millis(1)));
}

#[test]
fn streams_of_messages_are_counted_however_frames_cut_them() {
    let mut talk = begun();
    talk.client(call(1, "/a.B/Both"));
    let messages: Vec<u8> = (0..50).flat_map(|size| message(&vec![b'x'; size])).collect();
    for part in messages.chunks(13) {
        talk.client(frame(DATA, 0, 1, part));
    }
    talk.client(frame(DATA, END_STREAM, 1, [])).server(head(1));
    for part in messages.chunks(100) {
        talk.server(frame(DATA, 0, 1, part));
    }
    talk.server(trailers(1, "0"));
    assert_summary(&talk, &["a.B/Both 50:1225 | 50:1225 ok"]);
    assert_eq!(grpc(&talk.records[0]).request.as_ref().unwrap().messages.first.len(), 16);
}

#[test]
fn an_error_may_come_without_anything_else() {
    let mut talk = begun();
    talk.client([call(1, "/a.B/C"), frame(DATA, END_STREAM, 1, message(b""))].concat());
    let fields = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
        ("grpc-message", "no caf%C3%A9"),
    ];
    talk.server(headers(1, END_STREAM, &fields));
    assert_summary(&talk, &["a.B/C 1:0 | 0:0 not_found"]);
    let call = grpc(&talk.records[0]);
    assert_eq!(call.response.as_ref().unwrap().message, "no caf\u{e9}");
    assert!(call.is_error());
}

#[test]
fn an_error_page_has_no_messages() {
    let mut talk = begun();
    talk.client([call(1, "/a.B/C"), frame(DATA, END_STREAM, 1, message(b""))].concat());
    talk.server(headers(1, 0, &[(":status", "502"), ("content-type", "text/html")]));
    talk.server(frame(DATA, END_STREAM, 1, "<html>"));
    assert_summary(&talk, &["a.B/C 1:0 | 0+:0 no status"]);
    assert!(grpc(&talk.records[0]).is_error());
}

#[test]
fn a_call_that_is_cancelled_is_an_error() {
    let mut talk = begun();
    talk.client([call(1, "/a.B/C"), frame(DATA, END_STREAM, 1, message(b"a"))].concat());
    talk.server([head(1), frame(DATA, 0, 1, message(b"bc"))].concat());
    talk.client(frame(RST_STREAM, 0, 1, [0, 0, 0, 8]));
    assert_summary(&talk, &["a.B/C 1:1 | 1+:2 no status cancel"]);
    assert!(grpc(&talk.records[0]).is_error());
}

#[test]
fn large_messages_are_stepped_over() {
    let mut talk = begun();
    talk.client([call(1, "/a.B/C"), frame(DATA, END_STREAM, 1, message(b"a"))].concat());
    let body = message(&vec![b'x'; 40_000]);
    talk.server(head(1));
    for part in body.chunks(16_384) {
        let data = frame(DATA, 0, 1, part);
        talk.server(&data[..100]).gap(RESPONSES, data.len() as u64 - 100);
    }
    talk.server(frame(DATA, 0, 1, message(b"end"))).server(trailers(1, "0"));
    assert_summary(&talk, &["a.B/C 1:1 | 2:40003 ok"]);
}

#[test]
fn frames_that_were_lost_leave_the_count_open() {
    let mut talk = begun();
    talk.client([call(1, "/a.B/C"), frame(DATA, END_STREAM, 1, message(b"a"))].concat());
    talk.server([head(1), frame(DATA, 0, 1, message(b"one"))].concat()).gap(RESPONSES, 100);
    talk.server(frame(DATA, 0, 1, message(b"two"))).server(trailers(1, "0"));
    assert_summary(&talk, &["a.B/C 1:1 | 1+:3 ok"]);
}

#[test]
fn a_call_that_was_joined_midway_is_known_by_its_trailers() {
    let mut talk = Talk::of(&Http2);
    talk.server([frame(DATA, 0, 9, message(b"x")), frame(DATA, 0, 9, message(b"y"))].concat());
    talk.server(trailers(9, "13")).finish();
    assert_summary(&talk, &["- | 0+:0 internal"]);
    let response = grpc(&talk.records[0]).response.as_ref().unwrap();
    assert_eq!(response.http_status, 0);
}

/// A request of gRPC-Web over HTTP/1.1, and a response in this format.
fn web(format: &str, request: &[u8], response: &[u8]) -> Talk {
    let mut talk = Talk::of(&Http1);
    let length = request.len();
    let fields = format!("Content-Type: {format}\r\nContent-Length: {length}\r\n\r\n");
    let head = format!("POST /a.Greeter/Hello HTTP/1.1\r\n{fields}");
    talk.client([head.as_bytes(), request].concat());
    // The response comes in chunks, and its trailers are the last of its messages.
    let fields = format!("Content-Type: {format}+proto\r\nTransfer-Encoding: chunked\r\n\r\n");
    talk.server(format!("HTTP/1.1 200 OK\r\n{fields}"));
    for part in response.chunks(7) {
        talk.server([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
    }
    talk.server("0\r\n\r\n");
    talk
}

#[test]
fn calls_from_browsers_have_their_trailers_in_the_body() {
    let mut answer = [message(b"hi"), message(b"there")].concat();
    let trailers = b"grpc-status: 9\r\ngrpc-message: not%20now\r\n";
    answer.extend([&[0x80][..], &(trailers.len() as u32).to_be_bytes(), trailers].concat());
    let talk = web("application/grpc-web", &message(b"hello"), &answer);
    assert_summary(&talk, &["a.Greeter/Hello 1:5 | 2:7 failed_precondition"]);
    let call = grpc(&talk.records[0]);
    let (request, response) = (call.request.as_ref().unwrap(), call.response.as_ref().unwrap());
    assert_eq!(request.version, HttpVersion::Http11);
    assert_eq!(response.message, "not now");
    assert_eq!(&response.messages.first[1].bytes[..], b"there");
    assert!(call.is_error());
}

#[test]
fn calls_from_browsers_may_be_in_base64() {
    // A message "hi", and trailers "grpc-status:0", each padded for itself.
    let answer = b"AAAAAAJoaQ==gAAAAA1ncnBjLXN0YXR1czow";
    let talk = web("application/grpc-web-text", b"AAAAAAVoZWxsbw==", answer);
    assert_summary(&talk, &["a.Greeter/Hello 1:5 | 1:2 ok"]);
}

#[test]
fn calls_from_browsers_over_http2() {
    let mut talk = begun();
    let kind = ("content-type", "application/grpc-web");
    let fields = [(":method", "POST"), (":path", "/a.B/C"), kind];
    talk.client([headers(1, 0, &fields), frame(DATA, END_STREAM, 1, message(b"a"))].concat());
    let trailers = [&[0x80, 0, 0, 0, 14][..], b"grpc-status: 0"].concat();
    let body = [message(b"bc"), trailers].concat();
    let head = headers(1, 0, &[(":status", "200"), kind]);
    talk.server([head, frame(DATA, END_STREAM, 1, body)].concat());
    assert_summary(&talk, &["a.B/C 1:1 | 1:2 ok"]);
}
