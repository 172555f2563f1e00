//! The whole pipeline on one core, from events to a sink that does nothing: connections, order,
//! detection, parsing, records.
//!
//! ```text
//! cargo bench --bench pipeline
//! ```
#![allow(missing_docs, clippy::expect_used, reason = "a bench asserts by panicking")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pixie::event::{Data, Event, Open};
use pixie::id::{ConnectionId, Direction, Pid, Transport};
use pixie::time::MonotonicTime;
use pixie::{Player, Replay, sinks};

/// Exchanges in a row on each connection, before it is the next one's turn.
const IN_A_ROW: usize = 4;

/// Exchanges of one measured round.
const EXCHANGES: usize = 4096;

/// What is said in one exchange.
struct Exchange {
    name: &'static str,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// What `wrk` and `nginx` say to each other about a file of 1 KiB.
fn wrk_and_nginx() -> Exchange {
    let head = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 17:20:00 GMT\r\n\
                Content-Type: application/octet-stream\r\nContent-Length: 1024\r\n\
                Last-Modified: Mon, 23 Nov 2026 16:00:00 GMT\r\nConnection: keep-alive\r\n\
                ETag: \"6742f6a0-400\"\r\nAccept-Ranges: bytes\r\n\r\n";
    Exchange {
        name: "wrk and nginx",
        request: b"GET /1k HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n".to_vec(),
        response: [head.as_bytes(), &[b'x'; 1024]].concat(),
    }
}

/// What a browser says to an API.
fn browser() -> Exchange {
    let request = "POST /api/v1/orders?page=2 HTTP/1.1\r\nHost: shop.example\r\n\
                   User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
                   Accept: application/json\r\nAccept-Language: en-US,en;q=0.5\r\n\
                   Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example/cart\r\n\
                   Content-Type: application/json\r\nContent-Length: 27\r\nConnection: keep-alive\r\n\
                   Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n\
                   {\"items\":[1,2,3],\"paid\":0}\n";
    let response = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\
                    Location: /api/v1/orders/77\r\nX-Request-Id: 4f1c2a9e\r\n\
                    Cache-Control: no-store\r\n\r\n{\"id\": 77}\n";
    Exchange { name: "browser", request: request.into(), response: response.into() }
}

/// Plays exchanges on connections that stay open.
struct Wire {
    player: Player,
    positions: Vec<[u32; 2]>,
    now: u64,
    exchanges: u64,
}

impl Wire {
    fn new(connections: usize) -> Self {
        let mut player = Replay::new().sink(sinks::Null).start().expect("the options are valid");
        for id in 0..connections as u64 {
            let time = MonotonicTime(1);
            let open = Open::new(ConnectionId(id), time, Pid(1), Transport::Tcp);
            player.event(Event::Open(&open));
        }
        Self { player, positions: vec![[0; 2]; connections], now: 1, exchanges: 0 }
    }

    fn round(&mut self, exchange: &Exchange) {
        let connections = self.positions.len();
        for index in 0..EXCHANGES / IN_A_ROW {
            for _ in 0..IN_A_ROW {
                let connection = index % connections;
                self.send(connection, Direction::Sent, &exchange.request);
                self.send(connection, Direction::Received, &exchange.response);
                self.exchanges += 1;
            }
        }
    }

    fn send(&mut self, connection: usize, direction: Direction, bytes: &[u8]) {
        self.now += 1000;
        let position = &mut self.positions[connection][direction.index()];
        let id = ConnectionId(connection as u64);
        let data = Data::new(id, MonotonicTime(self.now), direction, *position, bytes);
        self.player.event(Event::Data(data));
        *position = position.wrapping_add(bytes.len() as u32);
    }

    /// A pipeline that made no records would be very quick.
    fn check(&self) {
        let stats = self.player.stats();
        assert_eq!(stats.parser.records, self.exchanges, "{stats}");
        assert_eq!(stats.parser.bytes_skipped, 0, "{stats}");
    }
}

fn pipeline(criterion: &mut Criterion) {
    for exchange in [wrk_and_nginx(), browser()] {
        let bytes = (exchange.request.len() + exchange.response.len()) * EXCHANGES;
        let mut group = criterion.benchmark_group(format!("pipeline/{}", exchange.name));
        group.throughput(Throughput::ElementsAndBytes {
            elements: EXCHANGES as u64,
            bytes: bytes as u64,
        });
        for connections in [1, 64, 1024] {
            let mut wire = Wire::new(connections);
            group.bench_with_input(
                BenchmarkId::from_parameter(format!("{connections} connections")),
                &exchange,
                |bencher, exchange| bencher.iter(|| wire.round(exchange)),
            );
            wire.check();
        }
        group.finish();
    }
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
