//! HTTP/2 as it is spoken: framing, pairing, what ends a stream.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::Record;
use pixie_core::id::{Direction, Role, Transport};
use pixie_core::record::{Cause, Headers, Http, HttpVersion, Traffic};
use pixie_protocols::http1::Http1;
use pixie_protocols::http2::Http2;
use pixie_protocols::parser::{Limits, Next, Protocol, Verdict};
use std::time::Duration;
use support::http2::*;
use support::{REQUESTS, RESPONSES, context};

type Talk = support::Talk<Record>;

/// A connection that has begun.
fn begun() -> Talk {
    begun_with(Limits::default())
}

fn begun_with(limits: Limits) -> Talk {
    let mut talk = Talk::limited(&Http2, limits);
    talk.client(client_start()).server(server_start());
    talk
}

#[track_caller]
fn assert_summary(talk: &Talk, expected: &[&str]) {
    let told: Vec<String> = talk.records.iter().map(summary).collect();
    assert_eq!(told, expected);
}

fn http(record: &Record) -> &Http {
    let Record::Http(http) = record else { panic!("{record:?}") };
    http
}

fn pairs(headers: &Headers) -> Vec<String> {
    let text = |part: Option<&[u8]>| {
        part.map_or("?".into(), |part| String::from_utf8_lossy(part).into_owned())
    };
    headers.fields().map(|field| format!("{}: {}", text(field.name), text(field.value))).collect()
}

#[test]
fn an_exchange_has_all_its_parts() {
    let request = [
        headers(
            1,
            0,
            &[
                (":method", "PUT"),
                (":scheme", "http"),
                (":authority", "a.test"),
                (":path", "/a?b"),
                ("x-a", "1"),
            ],
        ),
        frame(DATA, END_STREAM, 1, "abc"),
    ]
    .concat();
    let response = [
        headers(1, 0, &[(":status", "404"), ("x-b", "2")]),
        frame(DATA, 0, 1, "hello "),
        frame(DATA, 0, 1, "world"),
        headers(1, END_STREAM, &[("x-sum", "11")]),
    ]
    .concat();
    let mut talk = begun();
    talk.client(&request).server(&response);
    let record = http(&talk.records[0]);
    let (asked, answered) = (record.request.as_ref().unwrap(), record.response.as_ref().unwrap());
    assert_eq!((&asked.method, &asked.path), (&"PUT".into(), &"/a?b".into()));
    assert_eq!((asked.version, answered.version), (HttpVersion::Http2, HttpVersion::Http2));
    assert_eq!(pairs(&asked.headers), [":scheme: http", ":authority: a.test", "x-a: 1"]);
    assert_eq!((&asked.body.bytes[..], asked.body.complete), (&b"abc"[..], true));
    assert_eq!((answered.status, pairs(&answered.headers)), (404, vec!["x-b: 2".into()]));
    assert_eq!((&answered.body.bytes[..], answered.body.size), (&b"hello world"[..], 11));
    assert_eq!(pairs(&answered.trailers), ["x-sum: 11"]);
    assert!(answered.headers.is_complete() && record.is_error());
    assert_eq!(record.traffic.role, Some(Role::Client));
    assert_eq!(record.traffic.request_bytes, request.len() as u64);
    assert_eq!(record.traffic.response_bytes, response.len() as u64);
    assert_eq!(talk.skipped, []);
}

#[test]
fn times_are_those_of_first_and_last_bytes() {
    let mut talk = begun(); // 1 and 2 ms
    let request = get(1, "/");
    let response = [ok(1, b"ab"), frame(PING, 0, 0, [0; 8])].concat();
    talk.client(&request[..4]); // 3 ms
    talk.client(&request[4..]); // 4 ms
    talk.server(&response[..5]); // 5 ms
    talk.server(&response[5..30]); // 6 ms
    talk.server(&response[30..]); // 7 ms
    let traffic = &http(&talk.records[0]).traffic;
    assert_eq!(traffic.monotonic.0, 3_000_000);
    assert_eq!(traffic.time_to_first_byte, Some(Duration::from_millis(2)));
    assert_eq!(traffic.latency, Some(Duration::from_millis(4)));
}

#[test]
fn streams_are_told_apart_and_told_of_as_they_end() {
    let mut talk = begun();
    talk.client([get(1, "/1"), get(3, "/3"), get(5, "/5")].concat());
    talk.server(
        [headers(3, 0, &[(":status", "200")]), headers(1, 0, &[(":status", "201")])].concat(),
    );
    talk.server([frame(DATA, 0, 3, "aaa"), frame(DATA, 0, 1, "b")].concat());
    talk.server([frame(DATA, END_STREAM, 1, "b"), frame(DATA, END_STREAM, 3, "")].concat());
    talk.server(ok(5, b""));
    assert_summary(&talk, &["GET /1 0 | 201 2", "GET /3 0 | 200 3", "GET /5 0 | 200 0"]);
}

#[test]
fn padding_and_priority_are_not_content() {
    let mut talk = begun();
    let fields = block(&[(":method", "POST"), (":path", "/")]);
    let request = [vec![2], vec![0, 0, 0, 0, 15], fields, vec![0, 0]].concat();
    let flags = END_HEADERS | PADDED | PRIORITY;
    talk.client(frame(HEADERS, flags, 1, request));
    let data = frame(DATA, PADDED | END_STREAM, 1, b"\x03abc\0\0\0");
    let length = data.len() as u64;
    talk.client(data).server(ok(1, b""));
    assert_summary(&talk, &["POST / 3 | 200 0"]);
    let record = http(&talk.records[0]);
    assert_eq!(&record.request.as_ref().unwrap().body.bytes[..], b"abc");
    assert!(record.traffic.request_bytes > length);
    assert_eq!(talk.skipped, []);
}

#[test]
fn a_header_block_may_be_in_several_frames() {
    let mut talk = begun();
    let fields = block(&[(":method", "GET"), (":path", "/split"), ("x-a", "1")]);
    let (first, rest) = fields.split_at(13);
    let (second, third) = rest.split_at(1);
    talk.client(frame(HEADERS, END_STREAM, 1, first)).client(frame(CONTINUATION, 0, 1, second));
    talk.client(frame(CONTINUATION, END_HEADERS, 1, third)).server(ok(1, b"x"));
    assert_summary(&talk, &["GET /split 0 | 200 1"]);
    let sent = http(&talk.records[0]).traffic.request_bytes;
    assert_eq!(sent, fields.len() as u64 + 27);
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let mut talk = begun();
    talk.client(get(1, "/"));
    talk.server(headers(1, 0, &[(":status", "100")]));
    talk.server(headers(1, 0, &[(":status", "103"), ("link", "</a>")]));
    talk.server(ok(1, b"x"));
    assert_summary(&talk, &["GET / 0 | 200 1"]);
    assert_eq!(http(&talk.records[0]).response.as_ref().unwrap().interim, [100, 103]);
}

#[test]
fn a_pushed_response_is_an_exchange_of_its_own() {
    let mut talk = begun();
    talk.client(get(1, "/page"));
    let promised = block(&[(":method", "GET"), (":path", "/style")]);
    let promise = [vec![0, 0, 0, 2], promised].concat();
    talk.server(frame(PUSH_PROMISE, END_HEADERS, 1, promise));
    talk.server([ok(2, b"css"), ok(1, b"html")].concat());
    assert_summary(&talk, &["GET /style 0 | 200 3", "GET /page 0 | 200 4"]);
    assert!(http(&talk.records[0]).request.as_ref().unwrap().pushed);
    assert!(!http(&talk.records[1]).request.as_ref().unwrap().pushed);
}

#[test]
fn a_reset_ends_an_exchange() {
    let mut talk = begun();
    talk.client([get(1, "/1"), get(3, "/3"), get(5, "/5")].concat());
    talk.server([headers(1, 0, &[(":status", "200")]), frame(DATA, 0, 1, "ab")].concat());
    talk.client(frame(RST_STREAM, 0, 1, [0, 0, 0, 8]));
    talk.server(frame(RST_STREAM, 0, 3, [0, 0, 0, 7]));
    // What was under way as the client reset the stream belongs to nothing.
    talk.server(frame(DATA, END_STREAM, 1, "cd")).server(ok(5, b""));
    assert_summary(
        &talk,
        &["GET /1 0 | 200 2+ cancel", "GET /3 0 | - refused_stream", "GET /5 0 | 200 0"],
    );
    assert!(http(&talk.records[0]).is_error() && http(&talk.records[1]).is_error());
    assert_eq!(talk.skipped, []);
    talk.finish();
    assert_eq!(talk.skipped, [(RESPONSES, 11, Cause::Unobserved)]);
}

#[test]
fn a_server_that_has_answered_need_not_hear_the_rest() {
    let mut talk = begun();
    talk.client(
        [headers(1, 0, &[(":method", "POST"), (":path", "/")]), frame(DATA, 0, 1, "a")].concat(),
    );
    talk.server(ok(1, b"no")).server(frame(RST_STREAM, 0, 1, [0; 4]));
    assert_summary(&talk, &["POST / 1+ | 200 2 no_error"]);
    assert!(!http(&talk.records[0]).is_error());
    assert!(http(&talk.records[0]).traffic.latency.is_some());
}

#[test]
fn goaway_tells_what_will_not_be_answered() {
    let mut talk = begun();
    talk.client([get(1, "/1"), get(3, "/3")].concat());
    talk.server(frame(GOAWAY, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0]));
    talk.server(ok(1, b""));
    assert_summary(&talk, &["GET /3 0 | - no_error", "GET /1 0 | 200 0"]);
    assert!(http(&talk.records[0]).is_error() && !http(&talk.records[1]).is_error());
}

#[test]
fn the_end_of_the_connection_ends_what_is_under_way() {
    let mut talk = begun();
    talk.client([get(1, "/1"), get(3, "/3")].concat());
    talk.client(
        [headers(5, 0, &[(":method", "PUT"), (":path", "/5")]), frame(DATA, 0, 5, "a")].concat(),
    );
    talk.server([headers(3, 0, &[(":status", "200")]), frame(DATA, 0, 3, "abc")].concat());
    talk.finish();
    let expected = ["GET /1 0 | -", "GET /3 0 | 200 3+", "PUT /5 1+ | -"];
    assert_summary(&talk, &expected);
    // The same, after the server said that the client speaks badly.
    let mut talk = begun();
    talk.client(get(1, "/1"));
    talk.server(frame(GOAWAY, 0, 0, [0, 0, 0, 1, 0, 0, 0, 9])).finish();
    assert_summary(&talk, &["GET /1 0 | - compression_error"]);
}

#[test]
fn fields_may_refer_to_those_before() {
    let mut talk = begun();
    let fields = block_indexed(&[(":method", "GET"), (":path", "/same"), ("x-a", "1")]);
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 1, fields));
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 3, [0xc0, 0xbf, 0xbe]));
    talk.server(ok(1, b"")).server(ok(3, b""));
    assert_summary(&talk, &["GET /same 0 | 200 0", "GET /same 0 | 200 0"]);
    let [first, second] = [0, 1].map(|n| http(&talk.records[n]).request.as_ref().unwrap());
    assert_eq!(first.headers, second.headers);
}

#[test]
fn joined_midway_what_refers_to_the_unseen_is_unknown_and_nothing_is_shifted() {
    let mut talk = Talk::of(&Http2);
    // Entries 62 and 63 were added before; then two more, so that they are now 64 and 65.
    let fields = [vec![0x82, 0xbe], block_indexed(&[("x-a", "1"), ("x-b", "2")]), vec![0xbf, 0xc1]];
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 7, fields.concat()));
    talk.client(frame(PING, 0, 0, [0; 8]));
    let answer = [vec![0xbe], literal(0x40, "x-c", "3"), vec![0xbe]].concat();
    talk.server(frame(HEADERS, END_STREAM | END_HEADERS, 7, answer));
    talk.server(frame(PING, 1, 0, [0; 8])).finish();
    assert_summary(&talk, &["GET ? 0 | ? 0"]);
    let record = http(&talk.records[0]);
    let (request, response) = (record.request.as_ref().unwrap(), record.response.as_ref().unwrap());
    assert_eq!(pairs(&request.headers), ["?: ?", "x-a: 1", "x-b: 2", "x-a: 1", "?: ?"]);
    assert_eq!(pairs(&response.headers), ["?: ?", "x-c: 3", "x-c: 3"]);
    assert!(!record.is_error());
}

#[test]
fn a_hole_in_a_header_block_makes_the_older_entries_unknown() {
    let mut talk = begun();
    let first = block_indexed(&[(":path", "/old"), ("x-a", "1")]);
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 1, [vec![0x82], first].concat()));
    talk.server(ok(1, b""));
    // The next one has a hole of 6 bytes in its last field.
    let second = [vec![0x82, 0xbf], block_indexed(&[("x-b", "2"), ("x-c", "3333")])].concat();
    let bytes = frame(HEADERS, END_STREAM | END_HEADERS, 3, second);
    talk.client(&bytes[..bytes.len() - 6]).gap(REQUESTS, 6);
    talk.server(ok(3, b""));
    // After it, only what comes now is known.
    let third = [vec![0x82, 0xbf], block_indexed(&[("x-d", "4")]), vec![0xbe, 0xc0]].concat();
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 5, third)).server(ok(5, b""));
    assert_summary(&talk, &["GET /old 0 | 200 0", "GET /old 0 | 200 0", "GET ? 0 | 200 0"]);
    let [_, second, third] =
        [0, 1, 2].map(|n| &http(&talk.records[n]).request.as_ref().unwrap().headers);
    assert_eq!((pairs(second), second.is_complete()), (vec!["x-b: 2".into()], false));
    assert_eq!(pairs(third), ["?: ?", "x-d: 4", "x-d: 4", "?: ?"]);
    assert!(third.is_complete());
}

#[test]
fn a_hole_in_data_is_stepped_over_and_breaks_nothing() {
    let mut talk = begun();
    let fields = block_indexed(&[(":path", "/big"), ("x-a", "1")]);
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 1, [vec![0x82], fields].concat()));
    let data = frame(DATA, 0, 1, vec![b'x'; 16_000]);
    talk.server(headers(1, 0, &[(":status", "200")]));
    talk.server(&data[..200]).gap(RESPONSES, data.len() as u64 - 200);
    talk.server(&data[..9]).gap(RESPONSES, 16_000);
    talk.server(frame(DATA, END_STREAM, 1, "end"));
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 3, [0x82, 0xbf])).server(ok(3, b""));
    assert_summary(&talk, &["GET /big 0 | 200 32003", "GET /big 0 | 200 0"]);
    let body = &http(&talk.records[0]).response.as_ref().unwrap().body;
    assert_eq!((body.captured, body.complete), (191, true));
    assert_eq!(talk.skipped, []);
}

#[test]
fn after_a_hole_over_frames_the_next_one_is_found() {
    let mut talk = begun();
    talk.client([get(1, "/1"), get(3, "/3")].concat());
    let data = frame(DATA, 0, 1, vec![b'x'; 1000]);
    talk.server(headers(1, 0, &[(":status", "200")])).server(&data[..500]);
    talk.gap(RESPONSES, 2000); // The rest, and more frames.
    talk.server("the end of a frame").server(frame(DATA, END_STREAM, 1, "end"));
    talk.server(ok(3, b"abc"));
    assert_summary(&talk, &["GET /1 0 | 200 1003+", "GET /3 0 | 200 3"]);
    assert_eq!(talk.skipped, [(RESPONSES, 18, Cause::Unobserved)]);
}

#[test]
fn content_length_tells_the_size_where_frames_were_lost() {
    let mut talk = begun();
    talk.client(get(1, "/1"));
    talk.server(headers(1, 0, &[(":status", "200"), ("content-length", "5000")]));
    talk.server(&frame(DATA, 0, 1, vec![b'x'; 1000])[..500]).gap(RESPONSES, 2000);
    talk.server(frame(DATA, END_STREAM, 1, "end"));
    assert_summary(&talk, &["GET /1 0 | 200 5000"]);
    let body = &http(&talk.records[0]).response.as_ref().unwrap().body;
    assert_eq!(body.captured, 491);
}

#[test]
fn a_hole_that_holds_nothing_but_content_breaks_nothing() {
    let mut talk = begun();
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 1, [0x82, 0x84]));
    let head = block_indexed(&[(":status", "203"), ("x-a", "1")]);
    talk.server(frame(HEADERS, END_HEADERS, 1, head));
    let data = frame(DATA, 0, 1, vec![b'x'; 8192]);
    // Two frames and the start of a third are a hole, the rest of the third is there.
    talk.server(&data[..1000]).gap(RESPONSES, 7201 + 8201 + 100).server(&data[100..]);
    talk.server(frame(DATA, END_STREAM, 1, "end"));
    talk.client(get(3, "/3")).server(frame(HEADERS, END_HEADERS | END_STREAM, 3, [0xbf, 0xbe]));
    assert_summary(&talk, &["GET / 0 | 203 24579", "GET /3 0 | 203 0"]);
    let response = http(&talk.records[1]).response.as_ref().unwrap();
    assert_eq!(pairs(&response.headers), ["x-a: 1"]);
}

#[test]
fn content_in_a_hole_is_nobodys_where_several_streams_are_open() {
    let mut talk = begun();
    talk.client([get(1, "/1"), get(3, "/3")].concat());
    let head = |stream| headers(stream, 0, &[(":status", "200"), ("content-length", "8200")]);
    talk.server(frame(HEADERS, END_HEADERS, 1, block_indexed(&[(":status", "200"), ("x-a", "1")])));
    talk.server(head(3)).server(frame(DATA, 0, 1, vec![b'x'; 8192]));
    // A frame as large, of either.
    talk.gap(RESPONSES, 8201);
    talk.server([frame(DATA, END_STREAM, 1, "end"), frame(DATA, END_STREAM, 3, "")].concat());
    assert_summary(&talk, &["GET /1 0 | 200 8195+", "GET /3 0 | 200 8200"]);
    // No header block was in it, so that the fields are known as before.
    talk.client(get(5, "/5")).server(frame(HEADERS, END_HEADERS | END_STREAM, 5, [0xbf, 0xbe]));
    assert_eq!(pairs(&http(&talk.records[2]).response.as_ref().unwrap().headers), ["x-a: 1"]);
}

#[test]
fn a_response_whose_end_was_lost_has_ended_when_all_of_it_must_have_passed() {
    let mut talk = begun();
    talk.client(get(1, "/1"));
    talk.server(headers(1, 0, &[(":status", "200"), ("content-length", "50000")]));
    talk.server(&frame(DATA, 0, 1, vec![b'x'; 16_384])[..9]); // 5 ms
    talk.gap(RESPONSES, 16_384 + 20_000); // 6 ms
    assert_summary(&talk, &[]);
    talk.gap(RESPONSES, 13_616 + 3 * 9); // 7 ms: the rest in three frames
    assert_summary(&talk, &["GET /1 0 | 200 50000"]);
    let traffic = &http(&talk.records[0]).traffic;
    assert_eq!(traffic.latency, Some(Duration::from_millis(4)));
    talk.client(get(3, "/3")).server(ok(3, b""));
    assert_summary(&talk, &["GET /1 0 | 200 50000", "GET /3 0 | 200 0"]);
}

/// As libraries of TLS write them: in pieces of 16 KiB, of which the first bytes and the last are captured.
#[test]
fn a_large_response_ends_where_it_does_although_most_of_it_is_not_captured() {
    for size in (100_000..300_000).step_by(1237) {
        let mut talk = begun();
        talk.client(get(1, "/1"));
        let length = size.to_string();
        let mut response = headers(1, 0, &[(":status", "200"), ("content-length", &length)]);
        let body = vec![b'x'; size];
        let mut parts = body.chunks(8192).peekable();
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_none() { END_STREAM } else { 0 };
            response.extend(frame(DATA, end, 1, part));
        }
        let mut took = 0;
        for piece in response.chunks(16 << 10) {
            took += 1;
            let Some(unseen) = piece.len().checked_sub(256 + 64) else {
                talk.server(piece);
                continue;
            };
            talk.server(&piece[..256]).gap(RESPONSES, unseen as u64);
            talk.server(&piece[piece.len() - 64..]);
            took += 2;
        }
        talk.client(get(3, "/3"));
        talk.server([frame(WINDOW_UPDATE, 0, 3, [0, 0, 1, 0]), ok(3, b"")].concat());
        assert_summary(&talk, &[&format!("GET /1 0 | 200 {size}"), "GET /3 0 | 200 0"]);
        // The last hole may be one or two pieces before the end.
        let latency = http(&talk.records[0]).traffic.latency.unwrap().as_millis() as u64;
        assert!((took - 2..=took).contains(&latency), "{latency} of {took} ms for {size} bytes");
    }
}

#[test]
fn a_response_whose_head_was_lost_has_no_status() {
    let mut talk = begun();
    talk.client([get(1, "/1"), get(3, "/3")].concat());
    talk.gap(RESPONSES, 30).server(frame(DATA, END_STREAM, 1, "abc")).server(ok(3, b""));
    assert_summary(&talk, &["GET /1 0 | ? 3+", "GET /3 0 | 200 0"]);
    let response = http(&talk.records[0]).response.as_ref().unwrap();
    assert!(!response.headers.is_complete());
}

#[test]
fn a_response_may_be_seen_before_its_request() {
    let mut talk = begun();
    talk.server(ok(1, b"a"));
    assert_summary(&talk, &[]);
    talk.client(get(1, "/1")).server(ok(3, b"b")).client(get(5, "/5"));
    assert_summary(&talk, &["GET /1 0 | 200 1", "- | 200 1"]);
    talk.server(ok(5, b"c"));
    assert_summary(&talk, &["GET /1 0 | 200 1", "- | 200 1", "GET /5 0 | 200 1"]);
}

#[test]
fn an_upgraded_connection_answers_the_request_that_asked_for_it() {
    let mut first = support::Talk::<Record>::of(&Http1);
    let request = "GET /up HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    first.client(request);
    first.server("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    let switch = first.switch.take().unwrap();
    assert_eq!(switch.next, Next::Protocol("http2"));
    let mut context = context(Transport::Tcp).with_begun(switch.begun);
    context.requests = None;
    let mut talk = Talk::with(&Http2, context);
    talk.now = first.now;
    talk.server([server_start(), ok(1, b"hello")].concat()); // 3 ms
    talk.client(client_start()).client(get(3, "/next")).server(ok(3, b""));
    assert_summary(&talk, &["GET /up 0 | 200 5", "GET /next 0 | 200 0"]);
    let record = http(&talk.records[0]);
    assert_eq!(record.request.as_ref().unwrap().version, HttpVersion::Http11);
    assert_eq!(record.response.as_ref().unwrap().version, HttpVersion::Http2);
    assert_eq!(record.traffic.latency, Some(Duration::from_millis(2)));
    assert_eq!(record.traffic.request_bytes, 0, "they are told of with the upgrade");
}

#[test]
fn the_sockets_role_tells_which_way_requests_go_where_nothing_else_does() {
    let mut traffic = Traffic::default();
    traffic.role = Some(Role::Server);
    let context = pixie_protocols::parser::Context::new(traffic, None);
    let mut talk = Talk::with(&Http2, context);
    talk.feed(Direction::Sent, &server_start());
    talk.feed(Direction::Received, &[client_start(), get(1, "/")].concat());
    talk.feed(Direction::Sent, &ok(1, b""));
    assert_summary(&talk, &["GET / 0 | 200 0"]);
    assert_eq!(http(&talk.records[0]).traffic.role, Some(Role::Server));
}

#[test]
fn frames_may_be_as_large_as_the_other_end_takes() {
    let mut talk = begun();
    talk.client(frame(SETTINGS, 0, 0, [0, 5, 0, 1, 0, 0])).client(get(1, "/"));
    talk.server(ok(1, &vec![b'x'; 65_536]));
    assert_summary(&talk, &["GET / 0 | 200 65536"]);
    // This one is larger, so that something is wrong.
    talk.client(get(3, "/")).server(ok(3, &vec![b'x'; 65_537]));
    talk.client(get(5, "/")).server(ok(5, b""));
    talk.finish();
    assert_eq!(talk.records.len(), 3);
    assert!(
        talk.skipped.iter().any(|(_, bytes, cause)| *bytes > 65_000 && *cause == Cause::Malformed)
    );
}

#[test]
fn kinds_that_are_not_known_are_passed_over() {
    let mut talk = begun();
    talk.client([frame(0x10, 0, 0, [0; 20]), get(1, "/"), frame(0xfa, 0xff, 1, [1; 9])].concat());
    talk.server([frame(0xc, 0, 0, [0; 10]), ok(1, b"")].concat());
    assert_summary(&talk, &["GET / 0 | 200 0"]);
    assert_eq!(talk.skipped, []);
}

#[test]
fn a_flood_of_streams_is_bounded() {
    let mut limits = Limits::default();
    limits.pending = 10;
    let mut talk = begun_with(limits);
    for number in 0..1000 {
        talk.client(get(2 * number + 1, "/"));
        assert!(talk.memory() < 64 << 10);
    }
    assert_eq!(talk.records.len(), 990);
    // The first one is told of already, without an answer.
    talk.server([ok(1, b"late"), ok(1999, b"in time")].concat());
    assert_eq!(summary(&talk.records[990]), "GET / 0 | -", "it makes room");
    assert_eq!(summary(&talk.records[991]), "- | 200 4");
    assert_eq!(summary(&talk.records[992]), "GET / 0 | 200 7");
}

#[test]
fn a_flood_of_continuations_is_bounded() {
    let mut talk = begun();
    let start = block(&[(":method", "GET"), (":path", "/flood")]);
    talk.client(frame(HEADERS, END_STREAM, 1, start));
    for _ in 0..1000 {
        talk.client(frame(CONTINUATION, 0, 1, block(&[("x-a", &"x".repeat(100))])));
        assert!(talk.memory() < 256 << 10);
    }
    talk.client(frame(CONTINUATION, END_HEADERS, 1, [])).client(get(3, "/3"));
    talk.server([ok(1, b""), ok(3, b"")].concat());
    assert_summary(&talk, &["GET /flood 0 | 200 0", "GET /3 0 | 200 0"]);
    assert!(!http(&talk.records[0]).request.as_ref().unwrap().headers.is_complete());
    assert!(talk.skipped.iter().any(|(_, _, cause)| *cause == Cause::MemoryLimit));
}

#[test]
fn a_header_bomb_is_bounded() {
    let mut talk = begun();
    let mut fields = literal(0x40, "n", &"v".repeat(120));
    fields.extend([0xbe; 16_000]);
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 1, [vec![0x82, 0x84], fields].concat()));
    assert!(talk.memory() < 512 << 10, "{} bytes", talk.memory());
    talk.client(frame(HEADERS, END_STREAM | END_HEADERS, 3, [0x82, 0x84, 0xbe]));
    talk.server([ok(1, b""), ok(3, b"")].concat());
    assert_summary(&talk, &["GET / 0 | 200 0", "GET / 0 | 200 0"]);
    let headers = |n: usize| &http(&talk.records[n]).request.as_ref().unwrap().headers;
    assert!(!headers(0).is_complete());
    assert_eq!(headers(1).get("n"), Some("v".repeat(120).as_bytes()));
}

#[test]
fn what_is_no_frame_is_passed_over() {
    let mut talk = begun();
    talk.client(frame(RST_STREAM, 0, 1, [0; 5])).client(get(1, "/1")).server(ok(1, b""));
    assert_summary(&talk, &["GET /1 0 | 200 0"]);
    assert_eq!(talk.skipped, [(REQUESTS, 14, Cause::Malformed)]);
}

#[test]
fn another_protocol_is_handed_back() {
    let mut talk = begun();
    for _ in 0..50 {
        talk.client([0xff; 1000]).server([0xff; 1000]);
    }
    assert_eq!(talk.switch.map(|switch| switch.next), Some(Next::Detect));
}

#[test]
fn bodies_are_decoded() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"hello hello hello").unwrap();
    let body = encoder.finish().unwrap();
    let mut talk = begun();
    talk.client(get(1, "/"));
    talk.server(headers(1, 0, &[(":status", "200"), ("content-encoding", "gzip")]));
    talk.server(frame(DATA, END_STREAM, 1, &body));
    let response = http(&talk.records[0]).response.as_ref().unwrap();
    assert_eq!(&response.body.bytes[..], b"hello hello hello");
    assert_eq!(response.body.size, body.len() as u64);
}

fn probe(bytes: impl AsRef<[u8]>) -> Verdict {
    Http2.probe(bytes.as_ref())
}

#[test]
fn a_client_is_known_by_its_preface() {
    for length in 0..PREFACE.len() {
        assert_eq!(probe(&PREFACE[..length]), Verdict::NeedMore, "{length}");
    }
    assert_eq!(probe(client_start()), Verdict::Yes);
    assert_eq!(probe("PRI * HTTP/1.1\r\n"), Verdict::No);
}

#[test]
fn a_server_is_known_by_what_it_answers() {
    let start = [server_start(), frame(WINDOW_UPDATE, 0, 0, [0, 0, 1, 0])].concat();
    let whole = [start.clone(), ok(1, b"abc")].concat();
    // Settings may come from either end.
    for length in 1..=start.len() {
        assert_eq!(probe(&whole[..length]), Verdict::NeedMore, "{length}");
    }
    let fields = [(":status", "200"), ("server", "x")];
    let answer = [start, headers(1, 0, &fields)].concat();
    assert_eq!(probe(&answer), Verdict::Reversed);
    assert_eq!(probe([headers(9, 0, &fields), frame(DATA, 0, 9, "x")].concat()), Verdict::Reversed);
}

#[test]
fn midway_frames_prove_it_by_a_header_block() {
    assert_eq!(probe(get(7, "/a")), Verdict::Yes);
    assert_eq!(probe([frame(PING, 0, 0, [0; 8]), get(7, "/a")].concat()), Verdict::Yes);
    assert_eq!(probe(&get(7, "/a")[..20]), Verdict::NeedMore);
    // What it refers to was not seen, so that it proves nothing.
    let unknown = frame(HEADERS, 5, 7, [0xbe, 0xbf, 0xc0]);
    assert_eq!(probe(&unknown), Verdict::NeedMore);
    assert_eq!(probe([unknown, get(9, "/")].concat()), Verdict::Yes);
    for not in [
        frame(HEADERS, 5, 7, [0x80]),
        frame(HEADERS, 5, 7, block(&[(":method", "GET"), ("Upper", "case")])),
        frame(HEADERS, 5, 7, block(&[(":status", "200"), (":method", "GET")])),
        frame(SETTINGS, 0, 0, [0, 2, 0, 0, 0, 9]),
        frame(RST_STREAM, 0, 0, [0; 4]),
        vec![0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0, 0, 5, 99],
        vec![0xff],
    ] {
        assert_eq!(probe(&not), Verdict::No, "{not:?}");
    }
}
