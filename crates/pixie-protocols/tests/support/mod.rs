//! A connection to try a parser on.
#![allow(dead_code, unreachable_pub)]

use pixie_core::Record;
use pixie_core::id::{ConnectionId, Direction, Transport};
use pixie_core::record::{Cause, Connection, Http, Traffic};
use pixie_core::time::MonotonicTime;
use pixie_protocols::http1::Http1;
use pixie_protocols::parser::{Context, Limits, Output, Parser, Protocol, Segment, Switch};

/// Requests go this way in all tests: the traced process is a client.
pub const REQUESTS: Direction = Direction::Sent;
pub const RESPONSES: Direction = Direction::Received;

/// A connection on which a millisecond passes between any two transfers.
pub struct Talk {
    parser: Box<dyn Parser>,
    pub now: u64,
    pub records: Vec<Http>,
    pub skipped: Vec<(Direction, u64, Cause)>,
    pub switch: Option<Switch>,
}

impl Talk {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let mut traffic = Traffic::default();
        traffic.connection = Connection::new(ConnectionId(1), Transport::Tcp).into();
        let context = Context { traffic, requests: Some(REQUESTS), limits };
        let parser = Http1.parser(context);
        Self { parser, now: 0, records: Vec::new(), skipped: Vec::new(), switch: None }
    }

    pub fn client(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.feed(REQUESTS, bytes.as_ref())
    }

    pub fn server(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.feed(RESPONSES, bytes.as_ref())
    }

    pub fn feed(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        self.now += 1_000_000;
        self.parser.feed(Segment { direction, time: MonotonicTime(self.now), bytes, peer: None });
        self.poll()
    }

    /// Feeds these bytes in pieces of the given lengths, over and over, all at one time.
    pub fn feed_in_pieces(&mut self, direction: Direction, bytes: &[u8], lengths: &[usize]) {
        self.now += 1_000_000;
        let mut lengths = lengths.iter().copied().cycle();
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = lengths.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let (piece, following) = rest.split_at(length);
            let time = MonotonicTime(self.now);
            self.parser.feed(Segment { direction, time, bytes: piece, peer: None });
            self.poll();
            rest = following;
        }
    }

    pub fn gap(&mut self, direction: Direction, length: u64) -> &mut Self {
        self.now += 1_000_000;
        self.parser.gap(direction, MonotonicTime(self.now), length);
        self.poll()
    }

    pub fn finish(&mut self) -> &mut Self {
        self.now += 1_000_000;
        for direction in [REQUESTS, RESPONSES] {
            self.parser.finish(direction, MonotonicTime(self.now));
            self.poll();
        }
        self
    }

    pub fn memory(&self) -> usize {
        self.parser.memory()
    }

    /// Bytes passed over, both ways.
    pub fn bytes_skipped(&self) -> u64 {
        self.skipped.iter().map(|(_, bytes, _)| bytes).sum()
    }

    /// Each record as method, path, status and the sizes of the bodies.
    pub fn summary(&self) -> Vec<String> {
        self.records.iter().map(summary).collect()
    }

    fn poll(&mut self) -> &mut Self {
        while let Some(output) = self.parser.poll() {
            match output {
                Output::Record(Record::Http(http)) => self.records.push(*http),
                Output::Skipped { direction, bytes, cause } => {
                    assert_ne!(bytes, 0, "an empty report");
                    self.skipped.push((direction, bytes, cause));
                }
                Output::Switch(switch) => {
                    assert!(self.switch.is_none(), "a second change of protocol");
                    self.switch = Some(switch);
                }
                output => unreachable!("{output:?}"),
            }
        }
        self
    }
}

/// A record as method, path, size of the request's body, status and size of the response's body;
/// sizes have a `+` where the body is not complete.
pub fn summary(http: &Http) -> String {
    let size = |body: &pixie_core::record::Body| {
        format!("{}{}", body.size, if body.complete { "" } else { "+" })
    };
    let request = http.request.as_ref().map_or("-".into(), |request| {
        format!("{} {} {}", request.method, request.path, size(&request.body))
    });
    let response = http
        .response
        .as_ref()
        .map_or("-".into(), |response| format!("{} {}", response.status, size(&response.body)));
    format!("{request} | {response}")
}

/// A response with this body and its length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A request without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}
