//! Events as a source would tell them, and what becomes of them.

use pixie::event::{Close, Counters, Data, Event, EventSource, Open, Secure};
use pixie::id::{ConnectionId, Direction, Pid, Transport};
use pixie::record::{Address, Cause, Http};
use pixie::time::MonotonicTime;
use pixie::tls::Library;
use pixie::{Record, Replay, Stats, sinks};
use std::collections::HashMap;

/// The place of a stream's first byte: not far below 2^32, so that every test wraps around.
const ORIGIN: u32 = u32::MAX - 100;

/// Time between two events, unless something else is said: 1 µs.
const STEP: u64 = 1_000;

/// A sequence of events, with their bytes.
#[derive(Default)]
pub(crate) struct Wire {
    now: u64,
    positions: HashMap<(u64, Direction), u32>,
    events: Vec<Told>,
    /// What there was on the connections, told or not.
    pub(crate) bytes: u64,
    played: usize,
    pub(crate) ignored: Vec<ConnectionId>,
    pub(crate) forgotten: Vec<ConnectionId>,
    /// What the source says was dropped.
    pub(crate) dropped: u64,
}

enum Told {
    Open(Open),
    Data { data: Data<'static>, captured: Vec<u8> },
    Close(Close),
    Secure(Secure),
    Exit { pid: Pid, time: MonotonicTime },
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
    }

    pub(crate) fn open(&mut self, id: u64, pid: u32) {
        self.open_over(id, pid, Transport::Tcp);
    }

    pub(crate) fn open_over(&mut self, id: u64, pid: u32, transport: Transport) {
        let mut open = Open::new(ConnectionId(id), self.tick(), Pid(pid), transport);
        open.comm[..6].copy_from_slice(b"server");
        open.local = Some(Address::Inet(([127, 0, 0, 1], 80).into()));
        open.remote = Some(Address::Inet(([127, 0, 0, 1], 40_000).into()));
        self.events.push(Told::Open(open));
    }

    pub(crate) fn send(&mut self, id: u64, direction: Direction, bytes: &[u8]) {
        self.transfer(id, direction, bytes, bytes.len());
    }

    /// A transfer of `length` bytes of which only `captured` were captured.
    pub(crate) fn transfer(
        &mut self,
        id: u64,
        direction: Direction,
        captured: &[u8],
        length: usize,
    ) {
        let position = self.advance(id, direction, length);
        let mut data = Data::new(ConnectionId(id), self.tick(), direction, position, b"");
        data.length = u32::try_from(length).unwrap();
        self.events.push(Told::Data { data, captured: captured.to_vec() });
    }

    /// Bytes that were received when this end had sent so many, told of or not.
    pub(crate) fn receive_after(&mut self, id: u64, sent: u32, bytes: &[u8]) {
        self.send(id, Direction::Received, bytes);
        if let Some(Told::Data { data, .. }) = self.events.last_mut() {
            data.sent_until = Some(ORIGIN.wrapping_add(sent));
        }
    }

    /// A transfer of which no event tells.
    pub(crate) fn lose(&mut self, id: u64, direction: Direction, length: usize) {
        self.advance(id, direction, length);
    }

    /// A request and its response, as a server sees them.
    pub(crate) fn exchange(&mut self, id: u64, path: &str) {
        self.send(id, Direction::Received, get(path).as_bytes());
        self.send(id, Direction::Sent, answer(path).as_bytes());
    }

    /// The same, as a client sees them.
    pub(crate) fn exchange_as_client(&mut self, id: u64, path: &str) {
        self.send(id, Direction::Sent, get(path).as_bytes());
        self.send(id, Direction::Received, answer(path).as_bytes());
    }

    pub(crate) fn close(&mut self, id: u64) {
        let position = |direction| self.positions.get(&(id, direction)).copied();
        let positions = [position(Direction::Sent), position(Direction::Received)];
        let close = Close { connection: ConnectionId(id), time: self.tick(), positions };
        self.events.push(Told::Close(close));
    }

    /// A TLS session on a connection, seen from its beginning.
    pub(crate) fn secure(&mut self, session: u64, carrier: u64, pid: u32) {
        self.secure_by(session, carrier, pid, false);
    }

    /// The same, which says whether the kernel encrypts.
    pub(crate) fn secure_by(&mut self, session: u64, carrier: u64, pid: u32, by_kernel: bool) {
        let mut secure = Secure::new(ConnectionId(session), self.tick(), Pid(pid));
        secure.carrier = Some(ConnectionId(carrier));
        secure.from_start = true;
        secure.by_kernel = by_kernel;
        secure.library = Some(Library::OpenSsl);
        self.events.push(Told::Secure(secure));
    }

    /// Half a session, or that its connection is known.
    pub(crate) fn half(&mut self, session: u64, direction: Direction, carrier: Option<u64>) {
        self.half_by(session, direction, carrier, |_| ());
    }

    /// The same, with something else about it.
    pub(crate) fn half_by(
        &mut self,
        session: u64,
        direction: Direction,
        carrier: Option<u64>,
        change: impl FnOnce(&mut Secure),
    ) {
        self.positions.entry((session, direction)).or_insert(0);
        let mut secure = Secure::new(ConnectionId(session), self.tick(), Pid(10));
        secure.carrier = carrier.map(ConnectionId);
        secure.half = Some(direction);
        secure.from_start = true;
        secure.library = Some(Library::Rustls);
        change(&mut secure);
        self.events.push(Told::Secure(secure));
    }

    pub(crate) fn exit(&mut self, pid: u32) {
        let time = self.tick();
        self.events.push(Told::Exit { pid: Pid(pid), time });
    }

    /// Exchanges two events: the last, and the one before it.
    pub(crate) fn swap_last(&mut self) {
        let last = self.events.len() - 1;
        self.events.swap(last, last - 1);
    }

    /// Gives up the memory of events that have been played.
    pub(crate) fn forget_played(&mut self) {
        self.events.drain(..self.played);
        self.played = 0;
    }

    /// What becomes of these events.
    pub(crate) fn play(&mut self) -> Outcome {
        self.play_with(Replay::new())
    }

    pub(crate) fn play_with(&mut self, replay: Replay) -> Outcome {
        let (sink, records) = sinks::Memory::new(usize::MAX);
        let stats = replay.sink(sink).run(self).expect("the options are valid");
        let outcome = Outcome { records: records.take(), stats };
        outcome.check(self.bytes);
        outcome
    }

    fn advance(&mut self, id: u64, direction: Direction, length: usize) -> u32 {
        let position = self.positions.entry((id, direction)).or_insert(ORIGIN);
        let start = *position;
        *position = start.wrapping_add(u32::try_from(length).unwrap());
        self.bytes += length as u64;
        start
    }

    fn tick(&mut self) -> MonotonicTime {
        self.now += STEP;
        MonotonicTime(self.now)
    }
}

/// As many events are handed over at once.
const AT_ONCE: usize = 100;

impl EventSource for Wire {
    fn poll(&mut self, _: bool, handler: &mut dyn FnMut(Event<'_>)) -> usize {
        let told = self.events.iter().skip(self.played).take(AT_ONCE);
        let count = told.len();
        for told in told {
            handler(match told {
                Told::Open(open) => Event::Open(open),
                Told::Data { data, captured } => Event::Data(Data { captured, ..*data }),
                Told::Close(close) => Event::Close(*close),
                Told::Secure(secure) => Event::Secure(secure),
                Told::Exit { pid, time } => Event::Exit { pid: *pid, time: *time },
            });
        }
        self.played += count;
        count
    }

    fn ignore(&mut self, connection: ConnectionId) {
        self.ignored.push(connection);
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.forgotten.push(connection);
    }

    fn counters(&mut self) -> Counters {
        let mut counters = Counters::default();
        counters.reserved = self.played as u64;
        counters.seen = self.played as u64;
        counters.dropped = self.dropped;
        counters.dropped_bytes = self.dropped * 100;
        counters
    }

    fn detach(&mut self) {}
}

/// What became of a sequence of events.
pub(crate) struct Outcome {
    pub(crate) records: Vec<Record>,
    pub(crate) stats: Stats,
}

impl Outcome {
    /// What holds whatever the events were, given how many bytes were on the connections.
    fn check(&self, bytes: u64) {
        let Stats { capture, connections, stream, parser, .. } = &self.stats;
        assert_eq!(stream.bytes_total, bytes, "bytes on the connections");
        assert_eq!(stream.bytes_delivered + stream.bytes_in_gaps, bytes, "delivered and in gaps");
        assert_eq!(capture.events_seen, capture.events_reserved);
        assert_eq!((connections.open, connections.memory), (0, 0), "held at the end");
        let exchanges = self.records.iter().filter(|record| record.traffic().is_some()).count();
        assert_eq!(parser.records, exchanges as u64);
        for lost in &self.stats.lost {
            let in_band = self.lost().filter(|told| (told.0, told.1) == (lost.stage, lost.cause));
            let in_band = in_band.fold((0, 0), |sum, told| (sum.0 + told.2, sum.1 + told.3));
            assert_eq!(in_band, (lost.count, lost.bytes), "{} in {}", lost.cause, lost.stage);
        }
    }

    /// Stage, cause, count and bytes of everything that was reported as lost.
    pub(crate) fn lost(
        &self,
    ) -> impl Iterator<Item = (pixie::record::Stage, Cause, u64, u64)> + '_ {
        self.records.iter().filter_map(|record| match record {
            Record::Lost(lost) => Some((lost.stage, lost.cause, lost.count, lost.bytes)),
            _ => None,
        })
    }

    pub(crate) fn http(&self) -> impl Iterator<Item = &Http> {
        self.records.iter().filter_map(|record| match record {
            Record::Http(http) => Some(&**http),
            _ => None,
        })
    }

    /// The request targets, in the order of the records.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.http().map(path).collect()
    }
}

/// The request target of an exchange; `?` where the request was not seen.
pub(crate) fn path(http: &Http) -> String {
    http.request.as_ref().map_or_else(|| "?".to_owned(), |request| request.path.to_string())
}

/// A request.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// The response to [`get`] of this path.
pub(crate) fn answer(path: &str) -> String {
    let length = path.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}")
}
