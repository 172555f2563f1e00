//! HTTP/1 parsing with records built, beside `httparse` alone on the same bytes.
//!
//! Both read the same requests and responses, one message a segment. Ours pairs them, builds the
//! records and drops them; httparse only finds the places of the fields in the heads.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use pixie_core::id::{ConnectionId, Direction, Transport};
use pixie_core::record::{Connection, Traffic};
use pixie_core::time::MonotonicTime;
use pixie_protocols::http1::Http1;
use pixie_protocols::parser::{Context, Output, Parser, Protocol, Segment};
use std::hint::black_box;

/// What a load generator and a web server say to each other.
const SMALL: Exchange = Exchange {
    request: b"GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
    response: b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
        Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\
        Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: keep-alive\r\n\
        ETag: \"6580a1b2-c\"\r\nAccept-Ranges: bytes\r\n\r\n",
};

/// What a browser and an application say to each other.
const BROWSER: Exchange = Exchange {
    request: b"GET /static/js/application-4f1c2a.js?v=20260101 HTTP/1.1\r\n\
        Host: www.example.com\r\nConnection: keep-alive\r\n\
        sec-ch-ua: \"Chromium\";v=\"120\", \"Not A Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
        Chrome/120.0.0.0 Safari/537.36\r\nsec-ch-ua-platform: \"Linux\"\r\nAccept: */*\r\n\
        Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n\
        Referer: https://www.example.com/dashboard/overview\r\n\
        Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
        Cookie: session=8c1f0a3e5b7d9f2460a1c3e5; theme=dark; _ga=GA1.2.1234567890.1700000000\r\n\
        If-None-Match: \"4f1c2a-1b2c3\"\r\n\r\n",
    response: b"HTTP/1.1 304 Not Modified\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
        Server: nginx\r\nETag: \"4f1c2a-1b2c3\"\r\nCache-Control: public, max-age=31536000\r\n\
        Vary: Accept-Encoding\r\nStrict-Transport-Security: max-age=63072000\r\n\
        X-Content-Type-Options: nosniff\r\nX-Frame-Options: SAMEORIGIN\r\n\
        X-Request-Id: 1f0a3e5b-7d9f-2460-a1c3-e51f0a3e5b7d\r\nConnection: keep-alive\r\n\r\n",
};

struct Exchange {
    request: &'static [u8],
    response: &'static [u8],
}

fn parser() -> Box<dyn Parser> {
    let mut traffic = Traffic::default();
    traffic.connection = Connection::new(ConnectionId(1), Transport::Tcp).into();
    Http1.parser(Context::new(traffic, Some(Direction::Sent)))
}

fn feed(parser: &mut dyn Parser, direction: Direction, bytes: &[u8]) {
    parser.feed(Segment { direction, time: MonotonicTime(1), bytes, peer: None });
    while let Some(output) = parser.poll() {
        assert!(matches!(output, Output::Record(_)), "{output:?}");
        drop(black_box(output));
    }
}

fn bare_httparse(exchange: &Exchange) {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    assert!(request.parse(black_box(exchange.request)).is_ok_and(|status| status.is_complete()));
    black_box(&request);
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    assert!(response.parse(black_box(exchange.response)).is_ok_and(|status| status.is_complete()));
    black_box(&response);
}

fn heads<M: criterion::measurement::Measurement>(
    group: &mut BenchmarkGroup<'_, M>,
    exchange: &Exchange,
    body: &[u8],
) {
    let response = [exchange.response, body].concat();
    let mut ours = parser();
    group.bench_function("records", |bencher| {
        bencher.iter(|| {
            feed(&mut *ours, Direction::Sent, black_box(exchange.request));
            feed(&mut *ours, Direction::Received, black_box(&response));
        });
    });
    group.bench_function("httparse", |bencher| bencher.iter(|| bare_httparse(exchange)));
}

fn exchanges(criterion: &mut Criterion) {
    for (name, exchange, body) in
        [("small", SMALL, &b"hello world\n"[..]), ("browser", BROWSER, b"")]
    {
        let bytes = exchange.request.len() + exchange.response.len() + body.len();
        for (unit, throughput) in
            [("bytes", Throughput::Bytes(bytes as u64)), ("messages", Throughput::Elements(2))]
        {
            let mut group = criterion.benchmark_group(format!("http1/{name}/{unit}"));
            group.throughput(throughput);
            heads(&mut group, &exchange, body);
            group.finish();
        }
    }
}

/// A large body in segments of 16 KiB, with a length and in chunks.
fn bodies(criterion: &mut Criterion) {
    const SEGMENT: usize = 16 << 10;
    const SEGMENTS: usize = 64;
    let segment = vec![b'x'; SEGMENT];
    let mut group = criterion.benchmark_group("http1/body");
    group.throughput(Throughput::Bytes((SEGMENT * SEGMENTS) as u64));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SEGMENT * SEGMENTS);
    group.bench_function("length", |bencher| {
        let mut parser = parser();
        bencher.iter(|| {
            feed(&mut *parser, Direction::Sent, SMALL.request);
            feed(&mut *parser, Direction::Received, head.as_bytes());
            for _ in 0..SEGMENTS {
                feed(&mut *parser, Direction::Received, black_box(&segment));
            }
        });
    });
    let chunk = [b"4000\r\n", &segment[..], b"\r\n"].concat();
    group.bench_function("chunked", |bencher| {
        let mut parser = parser();
        bencher.iter(|| {
            feed(&mut *parser, Direction::Sent, SMALL.request);
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            feed(&mut *parser, Direction::Received, head);
            for _ in 0..SEGMENTS {
                feed(&mut *parser, Direction::Received, black_box(&chunk));
            }
            feed(&mut *parser, Direction::Received, b"0\r\n\r\n");
        });
    });
    group.finish();
}

criterion_group!(benches, exchanges, bodies);
criterion_main!(benches);
