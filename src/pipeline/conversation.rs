use super::{Request, Work};
use pixie_core::Record;
use pixie_core::id::{ConnectionId, Direction, Role, Transport};
use pixie_core::record::{self, Cause, Process, Stage, Traffic};
use pixie_core::time::MonotonicTime;
use pixie_probes::event::Open;
use pixie_protocols::detect::{Detection, Detector};
use pixie_protocols::parser::{Context, Next, Output, Parser, Protocol, Segment, Switch};
use std::net::SocketAddr;
use std::sync::Arc;

/// So many times in a row, without a record in between, may a parser pass over something that its
/// protocol does not allow. Then the protocol is looked for anew.
const STUMBLES: u32 = 8;

/// After so many segments in a row that nobody knows, the source need not tell of all the others.
const UNKNOWN_SEGMENTS: u32 = 16;

/// What is said on a connection: in which protocol, and what its parser makes of it.
pub(super) struct Conversation {
    /// Its id, by which the source knows it.
    id: ConnectionId,
    /// What every record says of the connection and the process.
    pub(super) traffic: Traffic,
    state: State,
    /// How often the parser passed over something malformed since its last record.
    stumbles: u32,
    /// What was counted of detection.
    detected: Detected,
    /// The source was asked not to tell of it.
    ignored: bool,
    /// It carries a TLS session.
    carries_session: bool,
}

enum State {
    /// The protocol is looked for.
    Detecting(Detector),
    Parsing(Box<dyn Parser>),
    /// The protocol is known, and nothing parses it.
    Unparsed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Detected {
    NotYet,
    Found,
    /// Counted as undetected, until it is found after all.
    Not,
}

/// A segment that has waited for the parser that is to take it.
struct Unread {
    direction: Direction,
    time: MonotonicTime,
    bytes: Vec<u8>,
    peer: Option<SocketAddr>,
}

impl Conversation {
    /// A conversation whose protocol is to be found.
    pub(super) fn new(id: ConnectionId, traffic: Traffic) -> Self {
        Self {
            id,
            state: State::Detecting(Detector::new(traffic.connection.transport)),
            traffic,
            stumbles: 0,
            detected: Detected::NotYet,
            ignored: false,
            carries_session: false,
        }
    }

    /// Takes note of what an event says that is new: another process, or an address.
    pub(super) fn learn(&mut self, open: &Open, process: Arc<Process>) {
        let Traffic { process: user, connection, role, .. } = &mut self.traffic;
        *user = process;
        *role = role.or(open.role);
        if connection.local != open.local || connection.remote != open.remote {
            let known = Arc::make_mut(connection);
            known.local = open.local.clone().or(known.local.take());
            known.remote = open.remote.clone().or(known.remote.take());
        }
    }

    /// Takes note of what carries it, as it is a TLS session.
    pub(super) fn learn_carrier(
        &mut self,
        known: record::Connection,
        role: Option<Role>,
        process: Arc<Process>,
    ) {
        self.traffic.process = process;
        self.traffic.role = role.or(self.traffic.role);
        if *self.traffic.connection != known {
            self.traffic.connection = Arc::new(known);
        }
    }

    /// Takes note that it carries a TLS session: its own bytes are ciphertext or, where the kernel
    /// encrypts, what is told of as the session's. What the handshake says is still told.
    pub(super) fn carries_session(&mut self, work: &mut Work) {
        self.carries_session = true;
        if let State::Detecting(detector) = &mut self.state {
            for direction in [Direction::Sent, Direction::Received] {
                work.stats.parser.bytes_skipped += detector.gap(direction);
            }
            self.state = State::Unparsed;
            if std::mem::replace(&mut self.detected, Detected::Found) == Detected::Not {
                work.stats.parser.undetected -= 1;
            }
            self.ignore(work);
        }
    }

    /// Whether its protocol is still looked for.
    pub(super) fn is_detecting(&self) -> bool {
        matches!(self.state, State::Detecting(_))
    }

    pub(super) fn transport(&self) -> Transport {
        self.traffic.connection.transport
    }

    /// Takes the protocol for known: requests go in this direction, if that is known too, and this
    /// exchange led to it.
    pub(super) fn begin(
        &mut self,
        protocol: &dyn Protocol,
        requests: Option<Direction>,
        begun: Option<Box<Record>>,
        work: &mut Work,
    ) {
        let mut traffic = self.traffic.clone();
        traffic.role = requests.map(Context::role).or(traffic.role);
        let context = Context::new(traffic, requests).with_limits(work.limits).with_begun(begun);
        self.state = State::Parsing(protocol.parser(context));
        self.stumbles = 0;
        match std::mem::replace(&mut self.detected, Detected::Found) {
            Detected::Found => {}
            Detected::NotYet => work.stats.parser.detected += 1,
            Detected::Not => {
                work.stats.parser.detected += 1;
                work.stats.parser.undetected -= 1;
            }
        }
        if std::mem::take(&mut self.ignored) {
            work.requests.push(Request::Heed(self.id));
        }
    }

    /// Takes what comes next in one direction.
    pub(super) fn bytes(&mut self, segment: Segment<'_>, work: &mut Work) {
        let mut unread = self.take(segment, work);
        // The last is the next.
        while let Some(Unread { direction, time, bytes, peer }) = unread.pop() {
            let more = self.take(Segment { direction, time, bytes: &bytes, peer }, work);
            unread.extend(more);
        }
    }

    /// Takes note that what comes next in one direction is not there.
    pub(super) fn gap(
        &mut self,
        direction: Direction,
        time: MonotonicTime,
        length: u64,
        cause: Cause,
        work: &mut Work,
    ) {
        match &mut self.state {
            State::Unparsed => return,
            State::Detecting(detector) => {
                work.stats.parser.bytes_skipped += detector.gap(direction);
            }
            State::Parsing(parser) => parser.gap(direction, time, length),
        }
        // What is left out by intent costs no record, and each record says so itself.
        let by_intent =
            matches!(cause, Cause::CaptureLimit | Cause::NotInUserSpace | Cause::BeforeTracing);
        if !by_intent {
            work.losses.add((Stage::Stream, cause), Some(self.id()), 1, length);
        }
        self.drain(time, work);
    }

    /// Takes note that nothing more comes in one direction.
    pub(super) fn finish(&mut self, direction: Direction, time: MonotonicTime, work: &mut Work) {
        match &mut self.state {
            State::Unparsed => {}
            State::Detecting(detector) => {
                work.stats.parser.bytes_skipped += detector.gap(direction);
                if detector.unknown_in_a_row() > 0 && self.detected == Detected::NotYet {
                    self.detected = Detected::Not;
                    work.stats.parser.undetected += 1;
                }
            }
            State::Parsing(parser) => {
                parser.finish(direction, time);
                self.drain(time, work);
            }
        }
    }

    /// Bytes of memory that are held now.
    pub(super) fn memory(&self) -> usize {
        match &self.state {
            State::Detecting(detector) => detector.memory(),
            State::Parsing(parser) => parser.memory(),
            State::Unparsed => 0,
        }
    }

    fn id(&self) -> ConnectionId {
        self.traffic.connection.id
    }

    /// Takes what the parser makes of something other than bytes.
    fn drain(&mut self, time: MonotonicTime, work: &mut Work) {
        for Unread { direction, time, bytes, peer } in self.collect(time, work).into_iter().rev() {
            self.bytes(Segment { direction, time, bytes: &bytes, peer }, work);
        }
    }

    /// Takes a segment. Returns what is to be taken next, last first.
    fn take(&mut self, segment: Segment<'_>, work: &mut Work) -> Vec<Unread> {
        match &mut self.state {
            State::Parsing(parser) => {
                parser.feed(segment);
                self.collect(segment.time, work)
            }
            State::Detecting(_) => self.detect(segment, work),
            State::Unparsed => {
                work.stats.parser.bytes_skipped += segment.bytes.len() as u64;
                Vec::new()
            }
        }
    }

    /// Takes from the parser whatever it has made. Returns what it left to another one.
    fn collect(&mut self, time: MonotonicTime, work: &mut Work) -> Vec<Unread> {
        while let State::Parsing(parser) = &mut self.state {
            match parser.poll() {
                None => break,
                Some(Output::Record(record)) => self.record(record, work),
                Some(Output::Switch(switch)) => return self.switch(switch, time, work),
                Some(Output::Skipped { bytes, cause, .. }) => self.skipped(bytes, cause, work),
                Some(_) => {}
            }
        }
        Vec::new()
    }

    /// Asks who speaks like this.
    fn detect(&mut self, segment: Segment<'_>, work: &mut Work) -> Vec<Unread> {
        let State::Detecting(detector) = &mut self.state else { return Vec::new() };
        match detector.offer(&work.registry, segment) {
            Detection::Found { protocol, requests } => {
                let held = detector.take_held();
                self.begin(&*protocol, Some(requests), None, work);
                if held.is_empty() {
                    return self.take(segment, work);
                }
                let Segment { direction, time, bytes, peer } = segment;
                let last = Unread { direction, time, bytes: bytes.to_vec(), peer };
                let held = held.into_iter().map(|held| Unread {
                    direction: held.direction,
                    time: held.time,
                    bytes: held.bytes,
                    peer: held.peer,
                });
                std::iter::once(last).chain(held.rev()).collect()
            }
            Detection::NeedMore => Vec::new(),
            Detection::Unknown { skipped } => {
                work.stats.parser.bytes_skipped += skipped.iter().sum::<u64>();
                if detector.unknown_in_a_row() >= UNKNOWN_SEGMENTS {
                    self.give_up(work);
                }
                Vec::new()
            }
        }
    }

    /// Counts the connection as one whose protocol is not known, and asks to be spared of it. It is
    /// still looked at when the source tells of it now and then.
    fn give_up(&mut self, work: &mut Work) {
        if self.detected == Detected::NotYet {
            self.detected = Detected::Not;
            work.stats.parser.undetected += 1;
        }
        self.ignore(work);
    }

    fn ignore(&mut self, work: &mut Work) {
        if !std::mem::replace(&mut self.ignored, true) {
            work.requests.push(Request::Ignore(self.id));
        }
    }

    fn record(&mut self, mut record: Record, work: &mut Work) {
        self.stumbles = 0;
        work.stats.parser.records += 1;
        if let Some(traffic) = record.traffic_mut() {
            traffic.time = work.clock.wall(traffic.monotonic);
            // More may be known by now than when the parser was made, and the connection may have
            // passed to another process.
            if !Arc::ptr_eq(&traffic.process, &self.traffic.process) {
                traffic.process = Arc::clone(&self.traffic.process);
            }
            if !self.traffic.connection.transport.is_datagram()
                && !Arc::ptr_eq(&traffic.connection, &self.traffic.connection)
            {
                traffic.connection = Arc::clone(&self.traffic.connection);
            }
        }
        work.records.push(record);
    }

    fn skipped(&mut self, bytes: u64, cause: Cause, work: &mut Work) {
        work.stats.parser.bytes_skipped += bytes;
        work.losses.add((Stage::Parser, cause), Some(self.id()), 1, bytes);
        if cause == Cause::Malformed {
            work.stats.parser.malformed += 1;
            self.stumbles += 1;
            if self.stumbles > STUMBLES {
                self.detect_anew(work);
            }
        }
    }

    /// Lets another protocol follow. Returns the bytes that belong to it.
    fn switch(&mut self, switch: Switch, time: MonotonicTime, work: &mut Work) -> Vec<Unread> {
        if switch.proxied.is_some() {
            Arc::make_mut(&mut self.traffic.connection).proxied = switch.proxied;
        }
        let protocol = match switch.next {
            Next::Protocol(name) => work.registry.get(name).cloned(),
            _ => None,
        };
        match protocol {
            Some(protocol) => self.begin(&*protocol, None, switch.begun, work),
            None if switch.next == Next::Detect => self.detect_anew(work),
            None => {
                self.state = State::Unparsed;
                self.ignore(work);
            }
        }
        let [sent, received] = switch.unread;
        [(Direction::Received, received), (Direction::Sent, sent)]
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(direction, bytes)| Unread { direction, time, bytes, peer: None })
            .collect()
    }

    fn detect_anew(&mut self, work: &mut Work) {
        if self.carries_session {
            self.state = State::Unparsed;
            self.ignore(work);
        } else {
            self.state = State::Detecting(Detector::new(self.transport()));
        }
    }
}
