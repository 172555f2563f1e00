//! The JSON form of records, as other programs rely on it.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, reason = "a test asserts by panicking, in its helpers too")]

use pixie_core::id::{ConnectionId, Pid, Role, Transport};
use pixie_core::record::{
    Address, Body, Cause, CgroupId, Connection, Custom, Frame, Grpc, GrpcMessage, GrpcRequest,
    GrpcResponse, GrpcStatus, HeadersBuilder, Http, Http2Error, HttpRequest, HttpResponse,
    HttpVersion, Lost, Process, Stack, Stage, Timing, Traffic, Value,
};
use pixie_core::time::{MonotonicTime, WallTime};
use pixie_core::{Record, Stats, Text};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::Duration;

fn process() -> Arc<Process> {
    let mut process = Process::new(Pid(1234), "nginx".into());
    process.start_time_ns = 5;
    process.exe = Some("/usr/sbin/nginx".into());
    process.cgroup = Some(CgroupId(42));
    Arc::new(process)
}

fn traffic() -> Traffic {
    let mut connection = Connection::new(ConnectionId(0xabc), Transport::Tcp);
    connection.local = Some(Address::Inet("127.0.0.1:80".parse().unwrap()));
    connection.remote = Some(Address::Inet("[::1]:5000".parse().unwrap()));
    let mut traffic = Traffic::default().timed(
        Some(Role::Server),
        Timing {
            request_start: Some(MonotonicTime(1_000)),
            response_start: Some(MonotonicTime(3_000)),
            response_end: Some(MonotonicTime(9_000)),
        },
    );
    traffic.time = WallTime(1_700_000_000_000_000_001);
    traffic.process = process();
    traffic.connection = Arc::new(connection);
    traffic.request_bytes = 40;
    traffic.response_bytes = 60;
    traffic
}

/// The record as other programs see it, and the text that it was.
fn json(record: impl Into<Record>) -> (Json, String) {
    let text = serde_json::to_string(&record.into()).unwrap();
    (serde_json::from_str(&text).unwrap(), text)
}

fn body(bytes: &'static [u8], size: u64) -> Body {
    let mut body = Body::default();
    body.bytes = bytes.into();
    body.size = size;
    body.captured = bytes.len() as u64;
    body.complete = true;
    body
}

#[test]
fn an_http_exchange_is_one_flat_object() {
    let mut request = HttpRequest::new("POST".into(), "/a?b=c".into(), HttpVersion::Http11);
    request.headers = [("Host", "a.test"), ("X", "1"), ("X", "2")].into_iter().collect();
    request.trailers = [("Sum", "7")].into_iter().collect();
    request.body = body(b"hi", 2);
    let mut response = HttpResponse::new(200, "OK".into(), HttpVersion::Http10);
    response.interim = vec![100];
    response.body = body(&[0xff, 0x00], 1000);
    let (json, text) = json(Http::new(traffic(), Some(request), Some(response)));
    assert!(text.starts_with(r#"{"kind":"http","time_unix_ns":1700000000000000001,"#), "{text}");
    let expected = json!({
        "kind": "http",
        "time_unix_ns": 1_700_000_000_000_000_001_u64,
        "monotonic_ns": 1000,
        "latency_ns": 8000,
        "ttfb_ns": 2000,
        "pid": 1234,
        "comm": "nginx",
        "exe": "/usr/sbin/nginx",
        "process_start_ns": 5,
        "cgroup": 42,
        "container": null,
        "role": "server",
        "connection": "0000000000000abc",
        "transport": "tcp",
        "local": "127.0.0.1:80",
        "remote": "[::1]:5000",
        "encrypted": null,
        "request_bytes": 40,
        "response_bytes": 60,
        "request": {
            "method": "POST", "path": "/a?b=c", "version": "1.1",
            "headers": [["Host", "a.test"], ["X", "1"], ["X", "2"]],
            "trailers": [["Sum", "7"]],
            "body": "hi", "body_size": 2, "body_captured": 2, "body_complete": true,
            "body_decoding": "none",
        },
        "response": {
            "status": 200, "reason": "OK", "version": "1.0", "interim": [100],
            "headers": [],
            "body": null, "body_base64": "/wA=",
            "body_size": 1000, "body_captured": 2, "body_complete": true,
            "body_decoding": "none",
        },
    });
    assert_eq!(json, expected);
}

#[test]
fn what_is_not_known_is_null() {
    let (json, _) = json(Http::new(Traffic::default(), None, None));
    for name in ["latency_ns", "ttfb_ns", "role", "local", "remote", "request", "response"] {
        assert_eq!(json.get(name), Some(&Json::Null), "{name}");
    }
}

#[test]
fn what_could_not_be_known_of_http2_is_null() {
    let mut builder = HeadersBuilder::new(b"x-avalue"[..].into());
    builder.push_known(Some(0..3), None);
    builder.push_known(None, Some(3..8));
    builder.set_incomplete();
    let mut request = HttpRequest::new("GET".into(), Text::default(), HttpVersion::Http2);
    request.headers = builder.build();
    let response = HttpResponse::new(0, Text::default(), HttpVersion::Http2);
    let mut http = Http::new(Traffic::default(), Some(request), Some(response));
    http.reset = Some(Http2Error(8));
    let (json, _) = json(http);
    let request = &json["request"];
    assert_eq!((&request["method"], &request["path"]), (&json!("GET"), &Json::Null));
    assert_eq!(request["headers"], json!([["x-a", null], [null, "value"]]));
    assert_eq!(request["headers_complete"], false);
    assert_eq!((&request["version"], request.get("pushed")), (&json!("2"), None));
    let response = &json["response"];
    assert_eq!((&response["status"], response.get("headers_complete")), (&Json::Null, None));
    assert_eq!(json["reset"], "cancel");
}

#[test]
fn a_call_has_its_messages_and_its_status() {
    let mut message = GrpcMessage::default();
    (message.size, message.captured, message.bytes) = (3, 1, b"a"[..].into());
    let mut request = GrpcRequest::default();
    (request.service, request.method) = ("a.Greeter".into(), "Hello".into());
    request.timeout = Some(Duration::from_millis(2));
    request.messages.count = 1;
    request.messages.bytes = 3;
    request.messages.first.push(message);
    let mut response = GrpcResponse::default();
    (response.http_status, response.status) = (200, Some(GrpcStatus(5)));
    let (json, line) = json(Grpc::new(Traffic::default(), Some(request), Some(response)));
    assert!(line.starts_with(r#"{"kind":"grpc","#), "{line}");
    let request = &json["request"];
    assert_eq!((&request["service"], &request["method"]), (&json!("a.Greeter"), &json!("Hello")));
    assert_eq!((&request["timeout_ns"], &request["messages"]), (&json!(2_000_000), &json!(1)));
    let first =
        json!([{"size": 3, "captured": 1, "compressed": false, "decoding": "none", "body": "a"}]);
    assert_eq!(request["first_messages"], first);
    let response = &json["response"];
    assert_eq!((&response["status"], &response["grpc_status"]), (&json!(200), &json!(5)));
    assert_eq!((&response["grpc_message"], json.get("reset")), (&json!(""), None));
}

#[test]
fn text_that_is_not_utf8_is_still_valid_json() {
    let path = Text::from_bytes(&b"/\xff\"\n"[..]);
    let request = HttpRequest::new("GET".into(), path, HttpVersion::Http11);
    let (json, _) = json(Http::new(Traffic::default(), Some(request), None));
    assert_eq!(json["request"]["path"], "/\u{fffd}\"\n");
}

#[test]
fn a_loss_names_its_stage_and_cause() {
    let lost = Lost::new(MonotonicTime(9), Stage::Stream, Cause::CaptureLimit, 2, 300);
    let (json, _) = json(lost.on(ConnectionId(1)));
    let expected = json!({
        "kind": "lost", "monotonic_ns": 9, "stage": "stream", "cause": "capture_limit",
        "count": 2, "bytes": 300, "connection": "0000000000000001",
    });
    assert_eq!(json, expected);
}

#[test]
fn a_custom_exchange_has_its_fields_as_objects() {
    let mut custom = Custom::new(Traffic::default(), "memo");
    custom.request.push(("key".into(), Value::Bytes(b"\x01"[..].into())));
    custom.response.push(("rows".into(), Value::List(vec![1_u64.into(), "two".into()])));
    custom.response.push(("ratio".into(), f64::NAN.into()));
    let (json, _) = json(custom);
    assert_eq!(json["kind"], "custom");
    assert_eq!(json["protocol"], "memo");
    assert_eq!(json["request"], json!({"key": "AQ=="}));
    assert_eq!(json["response"], json!({"rows": [1, "two"], "ratio": null}));
    assert_eq!(json["error"], Json::Null);
}

#[test]
fn a_stack_has_its_frames_leaf_first() {
    let mut leaf = Frame::default();
    leaf.function = Some("memcpy".into());
    leaf.file = Some("string.c".into());
    leaf.line = Some(12);
    leaf.inlined = true;
    let mut unknown = Frame::default();
    unknown.address = 0x10;
    unknown.unknown = Some("not mapped".into());
    let mut stack = Stack::new(process(), 3, vec![leaf, unknown]);
    stack.time = WallTime(1_700_000_000_000_000_001);
    stack.interval = Duration::from_secs(1);
    stack.total = Duration::from_millis(30);
    stack.thread = Some(1235);
    stack.cut = Some("no unwind information".into());
    let (json, text) = json(stack);
    assert!(text.starts_with(r#"{"kind":"stack","time_unix_ns":1700000000000000001,"#), "{text}");
    let expected = json!({
        "kind": "stack",
        "time_unix_ns": 1_700_000_000_000_000_001_u64,
        "interval_ns": 1_000_000_000,
        "state": "on_cpu",
        "count": 3,
        "total_ns": 30_000_000,
        "pid": 1234,
        "comm": "nginx",
        "exe": "/usr/sbin/nginx",
        "process_start_ns": 5,
        "cgroup": 42,
        "container": null,
        "thread": 1235,
        "frames": [
            {
                "function": "memcpy", "file": "string.c", "line": 12, "inlined": true,
                "binary": null, "build_id": null, "kernel": false, "address": 0,
                "file_address": null,
            },
            {
                "function": null, "file": null, "line": null, "inlined": false,
                "binary": null, "build_id": null, "kernel": false, "address": 16,
                "file_address": null, "unknown": "not mapped",
            },
        ],
        "cut": "no unwind information",
    });
    assert_eq!(json, expected);
}

#[test]
fn statistics_use_the_same_names_as_records() {
    let mut stats = Stats::default();
    stats.add_lost(Stage::Kernel, Cause::RingFull, 2, 300);
    let json = serde_json::to_value(&stats).unwrap();
    assert_eq!(json["capture"]["events_seen"], 0);
    let lost = json!({"stage": "kernel", "cause": "ring_full", "count": 2, "bytes": 300});
    assert_eq!(json["lost"][0], lost);
}
