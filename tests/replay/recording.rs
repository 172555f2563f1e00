//! Events, recorded as a capture and replayed from it: the same exchanges come out.

use super::{exchanges, play};
use pixie::event::{Close, Data, Event, Open};
use pixie::id::{ConnectionId, Direction, Pid, Role, Transport};
use pixie::protocols::stream::StreamLimits;
use pixie::record::{Address, Body, Cause, Http, Traffic};
use pixie::sinks::Memory;
use pixie::time::{Clock, MonotonicTime, WallTime};
use pixie::{Record, Replay, Stats};
use pixie_capture_file::Recorder;
use proptest::prelude::*;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// By how much the wall clock of these tests is ahead of the monotonic one.
const BOOT: u64 = 1_700_000_000_000_000_000;

const STEP: u64 = 100_000;

/// An event that owns its bytes.
#[derive(Clone, Debug)]
enum Told {
    Open(Open),
    Data(Data<'static>, Vec<u8>),
    Close(Close),
}

impl Told {
    fn tell(&self, mut handler: impl FnMut(Event<'_>)) {
        match self {
            Self::Open(open) => handler(Event::Open(open)),
            Self::Data(data, captured) => handler(Event::Data(Data { captured, ..*data })),
            Self::Close(close) => handler(Event::Close(*close)),
        }
    }
}

/// What becomes of a transfer.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Captured,
    /// Only so many bytes of it, for this reason.
    Cut(usize, Cause),
    /// No event tells of it.
    Lost,
}

/// One connection as one of its ends sees it.
struct Connection {
    id: ConnectionId,
    transport: Transport,
    local: (&'static str, u16),
    remote: (&'static str, u16),
    role: Option<Role>,
    time: u64,
    positions: [u32; 2],
    events: Vec<Told>,
}

impl Connection {
    fn new(
        id: u64,
        role: Option<Role>,
        local: (&'static str, u16),
        remote: (&'static str, u16),
    ) -> Self {
        Self {
            id: ConnectionId(id),
            transport: Transport::Tcp,
            local,
            remote,
            role,
            time: 1_000_000,
            // Such that they soon begin anew.
            positions: [u32::MAX - 500, u32::MAX - 100],
            events: Vec::new(),
        }
    }

    /// The usual one, seen from its client or from its server.
    fn seen_by(role: Role) -> Self {
        let (client, server) = (("10.0.0.1", 40_000), ("10.0.0.2", 8080));
        let (local, remote) =
            if role == Role::Client { (client, server) } else { (server, client) };
        Self::new(1, Some(role), local, remote)
    }

    fn tick(&mut self) -> MonotonicTime {
        self.time += STEP;
        MonotonicTime(self.time)
    }

    fn open(mut self) -> Self {
        let address = |(ip, port): (&str, u16)| {
            Some(Address::Inet((ip.parse::<std::net::IpAddr>().unwrap(), port).into()))
        };
        let mut open = Open::new(self.id, self.tick(), Pid(7), self.transport);
        open.comm[..4].copy_from_slice(b"test");
        open.role = self.role;
        open.local = address(self.local);
        open.remote = address(self.remote);
        self.events.push(Told::Open(open));
        // Where the streams start: a first transfer that is lost would not be missed otherwise.
        self.transfer(Direction::Sent, b"", Fate::Captured);
        self.transfer(Direction::Received, b"", Fate::Captured);
        self
    }

    fn transfer(&mut self, direction: Direction, bytes: &[u8], fate: Fate) {
        let position = self.positions[direction.index()];
        let length = bytes.len() as u32;
        self.positions[direction.index()] = position.wrapping_add(length);
        let (captured, hole) = match fate {
            Fate::Captured => (bytes.len(), Cause::CaptureLimit),
            Fate::Cut(most, hole) => (most.min(bytes.len()), hole),
            Fate::Lost => return,
        };
        let time = self.tick();
        let data = Data::new(self.id, time, direction, position, &[]);
        let data = Data { length, hole, ..data };
        self.events.push(Told::Data(data, bytes[..captured].to_vec()));
    }

    /// A message of the client or of the server, in transfers of at most so many bytes.
    fn message(
        &mut self,
        from: Role,
        bytes: &[u8],
        most: usize,
        fates: &mut impl Iterator<Item = Fate>,
    ) {
        let direction = if self.role.unwrap_or(Role::Client) == from {
            Direction::Sent
        } else {
            Direction::Received
        };
        for part in bytes.chunks(most) {
            self.transfer(direction, part, fates.next().unwrap_or(Fate::Captured));
        }
    }

    fn exchange(&mut self, exchange: &Exchange, fates: &mut impl Iterator<Item = Fate>) {
        self.message(Role::Client, &exchange.request(), exchange.most, fates);
        self.message(Role::Server, &exchange.response(), exchange.most, fates);
    }

    fn close(mut self) -> Vec<Told> {
        let time = self.tick();
        let positions = self.positions.map(Some);
        self.events.push(Told::Close(Close { connection: self.id, time, positions }));
        self.events
    }
}

#[derive(Clone, Debug)]
struct Exchange {
    path: u32,
    request_body: usize,
    response_body: usize,
    /// The most bytes of a transfer.
    most: usize,
}

impl Exchange {
    fn request(&self) -> Vec<u8> {
        let head = format!(
            "POST /{} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            self.path, self.request_body
        );
        [head.as_bytes(), &vec![b'q'; self.request_body]].concat()
    }

    fn response(&self) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Path: {}\r\n\r\n",
            self.response_body, self.path
        );
        [head.as_bytes(), &vec![b'r'; self.response_body]].concat()
    }
}

/// What is written, to be read while it is.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The capture that these events make.
fn record(events: &[Told]) -> Vec<u8> {
    let file = Shared::default();
    let clock = Clock::new(MonotonicTime(0), WallTime(BOOT));
    let (mut recorder, recording) = Recorder::new(file.clone(), clock).unwrap();
    events.iter().for_each(|told| told.tell(|event| recorder.event(&event)));
    recorder.finish(0);
    let bytes = file.0.lock().unwrap().clone();
    let summary = recording.summary();
    assert_eq!((summary.bytes, &summary.error), (bytes.len() as u64, &None));
    bytes
}

/// What these events mean. They are in order, so that what is missing will not come.
fn mean(events: &[Told]) -> (Vec<Record>, Stats) {
    let (sink, records) = Memory::new(10_000);
    let limits = StreamLimits::default().with_held_for(Duration::ZERO);
    let mut player = Replay::new().stream_limits(limits).sink(sink).start().unwrap();
    events.iter().for_each(|told| told.tell(|event| player.event(event)));
    let stats = player.finish();
    (records.take(), stats)
}

/// An exchange with all that does not depend on whose side it is told from.
fn told(http: &Http, boot: u64) -> String {
    let body = |body: &Body| {
        let Body { bytes, size, captured, complete, .. } = body;
        format!("{} of {captured} of {size}, complete: {complete}", bytes.len())
    };
    let request = http.request.as_ref();
    let request = request.map(|it| format!("{} {:?} {}", it.path, it.headers, body(&it.body)));
    let response = http.response.as_ref();
    let response = response.map(|it| format!("{} {:?} {}", it.status, it.headers, body(&it.body)));
    let Traffic { monotonic, latency, time_to_first_byte, .. } = &http.traffic;
    let times = format!("{} {latency:?} {time_to_first_byte:?}", monotonic.0 - boot);
    let Traffic { request_bytes, response_bytes, .. } = &http.traffic;
    format!("{request:?} {response:?} {times} {request_bytes} {response_bytes}\n")
}

/// Asserts that a capture of these events has the same bytes and gaps in it, and returns the
/// exchanges in them before and after.
fn round_trip(events: &[Told]) -> [String; 2] {
    let (records, stats) = mean(events);
    let (replayed, stats_replayed) = play(record(events));
    let account = |stats: &Stats| (stats.stream.bytes_delivered, stats.stream.bytes_in_gaps);
    assert_eq!(account(&stats), account(&stats_replayed));
    let told = |records: &[Record], boot| {
        exchanges(records).into_iter().map(|http| told(http, boot)).collect()
    };
    [told(&records, 0), told(&replayed, BOOT)]
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    (0..1000_u32, 0..300_usize, prop_oneof![0..300_usize, 60_000..200_000_usize], 20..40_000_usize)
        .prop_map(|(path, request_body, response_body, most)| {
            // Few enough transfers.
            let most = most.max(response_body / 20);
            Exchange { path, request_body, response_body, most }
        })
}

/// Most transfers are captured, of some only the first bytes.
fn fate() -> impl Strategy<Value = Fate> {
    let cut = |cause| (0..200_usize).prop_map(move |most| Fate::Cut(most, cause));
    prop_oneof![
        8 => Just(Fate::Captured),
        1 => cut(Cause::CaptureLimit),
        1 => cut(Cause::NotInUserSpace),
        1 => cut(Cause::Unreadable),
    ]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

/// These exchanges in events.
fn events(role: Role, exchanges: &[Exchange], fates: Vec<Fate>, closes: bool) -> Vec<Told> {
    let mut connection = Connection::seen_by(role).open();
    let mut fates = fates.into_iter();
    for exchange in exchanges {
        connection.exchange(exchange, &mut fates);
    }
    let mut events = connection.close();
    if !closes {
        events.pop();
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_exchanges_come_out(
        role in role(),
        exchanges in prop::collection::vec(any_exchange(), 1..5),
        fates in prop::collection::vec(fate(), 0..60),
        closes in any::<bool>(),
    ) {
        let whole = fates.iter().all(|fate| matches!(fate, Fate::Captured));
        let [before, after] = round_trip(&events(role, &exchanges, fates, closes));
        prop_assert!(before.lines().count() == exchanges.len() || !whole);
        prop_assert_eq!(before, after);
    }

    /// When a loss is noticed differs, and with it what is paired around it; how much it is does not.
    #[test]
    fn the_same_bytes_are_missed(
        role in role(),
        exchanges in prop::collection::vec(any_exchange(), 1..5),
        fates in prop::collection::vec(prop_oneof![4 => fate(), 1 => Just(Fate::Lost)], 0..60),
        closes in any::<bool>(),
    ) {
        round_trip(&events(role, &exchanges, fates, closes));
    }
}
