//! Connections to try parsers on. The fuzz targets use this too.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests assert by panicking.

pub mod dns;
pub mod effort;
pub mod http1;
pub mod http2;
pub mod postgres;
pub mod script;
pub mod tls;

use pixie_core::Record;
use pixie_core::id::{ConnectionId, Direction, Transport};
use pixie_core::record::{Cause, Connection, Timing, Traffic};
use pixie_core::time::MonotonicTime;
use pixie_protocols::parser::{Context, Limits, Output, Parser, Protocol, Segment, Switch};
use std::net::SocketAddr;

/// Requests go this way in all tests: the traced process is a client.
pub const REQUESTS: Direction = Direction::Sent;
pub const RESPONSES: Direction = Direction::Received;

/// A kind of record that a test expects to be the only one.
pub trait Expected: Sized {
    /// Panics on a record of another kind.
    fn of(record: Record) -> Self;
}

impl Expected for Record {
    fn of(record: Record) -> Self {
        record
    }
}

/// What a parser is told of a connection over `transport`.
pub fn context(transport: Transport) -> Context {
    let mut traffic = Traffic::default();
    traffic.connection = Connection::new(ConnectionId(1), transport).into();
    Context::new(traffic, Some(REQUESTS))
}

/// A connection on which a millisecond passes between any two transfers.
pub struct Talk<R = Record> {
    parser: Box<dyn Parser>,
    pub now: u64,
    pub records: Vec<R>,
    pub skipped: Vec<(Direction, u64, Cause)>,
    pub switch: Option<Switch>,
}

impl<R: Expected> Talk<R> {
    /// A connection over TCP.
    pub fn of(protocol: &dyn Protocol) -> Self {
        Self::with(protocol, context(Transport::Tcp))
    }

    /// A connection of which the parser is told this.
    pub fn with(protocol: &dyn Protocol, context: Context) -> Self {
        let parser = protocol.parser(context);
        Self { parser, now: 0, records: Vec::new(), skipped: Vec::new(), switch: None }
    }

    /// A connection over TCP, with other limits.
    pub fn limited(protocol: &dyn Protocol, limits: Limits) -> Self {
        Self::with(protocol, context(Transport::Tcp).with_limits(limits))
    }

    pub fn client(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.feed(REQUESTS, bytes.as_ref())
    }

    pub fn server(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.feed(RESPONSES, bytes.as_ref())
    }

    pub fn feed(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        self.now += 1_000_000;
        self.piece(direction, bytes, None)
    }

    /// Feeds a datagram to or from `peer`.
    pub fn datagram(
        &mut self,
        direction: Direction,
        peer: SocketAddr,
        bytes: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.now += 1_000_000;
        self.piece(direction, bytes.as_ref(), Some(peer))
    }

    /// Feeds these bytes in pieces of the given lengths, over and over, all at one time.
    pub fn feed_in_pieces(&mut self, direction: Direction, bytes: &[u8], lengths: &[usize]) {
        self.now += 1_000_000;
        let mut lengths = lengths.iter().copied().cycle();
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = lengths.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let (piece, following) = rest.split_at(length);
            self.piece(direction, piece, None);
            rest = following;
        }
    }

    fn piece(&mut self, direction: Direction, bytes: &[u8], peer: Option<SocketAddr>) -> &mut Self {
        let time = MonotonicTime(self.now);
        match &mut self.switch {
            // Whoever follows reads what was left, and then this.
            Some(switch) => switch.unread[direction.index()].extend_from_slice(bytes),
            None => self.parser.feed(Segment { direction, time, bytes, peer }),
        }
        self.poll()
    }

    pub fn gap(&mut self, direction: Direction, length: u64) -> &mut Self {
        self.now += 1_000_000;
        if self.switch.is_none() {
            self.parser.gap(direction, MonotonicTime(self.now), length);
        }
        self.poll()
    }

    pub fn finish(&mut self) -> &mut Self {
        self.now += 1_000_000;
        for direction in [REQUESTS, RESPONSES] {
            if self.switch.is_none() {
                self.parser.finish(direction, MonotonicTime(self.now));
            }
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

    fn poll(&mut self) -> &mut Self {
        while let Some(output) = self.parser.poll() {
            match output {
                Output::Record(record) => self.records.push(R::of(record)),
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

impl Talk<Record> {
    /// The records without their times, which depend on how bytes are cut.
    pub fn timeless(&self) -> Vec<Record> {
        let mut records = self.records.clone();
        for traffic in records.iter_mut().filter_map(Record::traffic_mut) {
            traffic.set_timing(None, Timing::default());
        }
        records
    }

    /// Bytes that records say they were made of, both ways.
    pub fn bytes_in_records(&self) -> u64 {
        let traffic = self.records.iter().filter_map(Record::traffic);
        traffic.map(|traffic| traffic.request_bytes + traffic.response_bytes).sum()
    }
}
