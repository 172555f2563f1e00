//! From the segments of one connection to its events.

use crate::connections::Output;
use crate::decode::{Segment, TcpFields};
use crate::stream::{Stream, WaitingSegment, is_late};
use crate::summary::Skipped;
use pixie_core::id::{ConnectionId, Direction, Pid, Role};
use pixie_core::record::{Address, Cause};
use pixie_core::time::MonotonicTime;
use pixie_probes::event::{Close, Data, Event, Open};
use std::net::SocketAddr;

/// Ports from here on are chosen by clients (Linux's default range starts here, and that of RFC
/// 6335 a little later).
const FIRST_EPHEMERAL_PORT: u16 = 32768;

const DIRECTIONS: [Direction; 2] = [Direction::Sent, Direction::Received];

/// A connection, as the client sees it.
pub(crate) struct Connection {
    id: ConnectionId,
    client: SocketAddr,
    server: SocketAddr,
    /// When its last packet came.
    last: MonotonicTime,
    ended: bool,
    /// By [`Direction::index`].
    streams: [Stream; 2],
    waiting: usize,
}

impl Connection {
    /// The connection that this segment is the first of.
    pub(crate) fn new(id: ConnectionId, segment: &Segment<'_>) -> Self {
        let (client, server) = if comes_from_client(segment) {
            (segment.source, segment.destination)
        } else {
            (segment.destination, segment.source)
        };
        Self {
            id,
            client,
            server,
            last: segment.time,
            ended: false,
            streams: Default::default(),
            waiting: 0,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// When its last packet came.
    pub(crate) fn last(&self) -> MonotonicTime {
        self.last
    }

    /// True when nothing but late segments is to be expected.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The memory of segments that wait for what they acknowledge, in bytes.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The event that tells of it.
    pub(crate) fn open(&self, segment: &Segment<'_>) -> Open {
        let handshake = segment.tcp.is_some_and(|tcp| tcp.syn);
        Open {
            local: Some(Address::Inet(self.client)),
            remote: Some(Address::Inet(self.server)),
            role: handshake.then_some(Role::Client),
            ..Open::new(self.id, segment.time, Pid(0), segment.transport())
        }
    }

    /// True when the segment opens another connection between the same ends.
    pub(crate) fn is_succeeded_by(&self, segment: &Segment<'_>) -> bool {
        let opens = segment.tcp.filter(|tcp| tcp.syn && tcp.acknowledgment.is_none());
        let stream = &self.streams[self.direction(segment).index()];
        opens.is_some_and(|tcp| stream.begins_elsewhere(tcp.position()))
    }

    /// Takes in a segment.
    pub(crate) fn take(&mut self, segment: &Segment<'_>, output: &mut Output<'_>) {
        self.last = self.last.max(segment.time);
        match segment.tcp {
            Some(tcp) => self.take_tcp(segment, tcp, output),
            None => self.take_udp(segment, output),
        }
    }

    /// Lets no segment wait any more for what it acknowledges.
    pub(crate) fn wait_no_more(&mut self, output: &mut Output<'_>) {
        self.settle(true, output);
    }

    /// Tells of all that is left, and of the end.
    pub(crate) fn close(&mut self, output: &mut Output<'_>) {
        self.settle(true, output);
        for direction in DIRECTIONS {
            while let Some(gap) = self.streams[direction.index()].any_gap() {
                self.tell_gap(direction, gap, self.last, output);
            }
            self.tell_end(direction, self.last, output);
        }
        let positions = [self.streams[0].next(), self.streams[1].next()];
        output.emit(Event::Close(Close { connection: self.id, time: self.last, positions }));
    }

    fn direction(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.client { Direction::Sent } else { Direction::Received }
    }

    fn take_udp(&mut self, segment: &Segment<'_>, output: &mut Output<'_>) {
        output.summary.udp_datagrams += 1;
        output.summary.count_payload(segment.length, segment.payload.len());
        let direction = self.direction(segment);
        let peer = Some(self.server);
        let data = Data::new(self.id, segment.time, direction, 0, segment.payload);
        output.emit(Event::Data(Data { length: segment.length, peer, ..data }));
    }

    fn take_tcp(&mut self, segment: &Segment<'_>, tcp: TcpFields, output: &mut Output<'_>) {
        let direction = self.direction(segment);
        let stream = &mut self.streams[direction.index()];
        if stream.is_out_of_window(tcp.position().wrapping_add(segment.length)) {
            return output.summary.skip(Skipped::OutOfWindow);
        }
        output.summary.tcp_segments += 1;
        output.summary.count_payload(segment.length, segment.payload.len());
        if tcp.syn && !stream.has_begun() {
            stream.begin(tcp.position());
            // Tells where the stream starts, so that a first segment that is lost is missed.
            let data = Data::new(self.id, segment.time, direction, tcp.position(), &[]);
            output.emit(Event::Data(data));
        }
        if segment.length > 0 {
            self.take_bytes(direction, segment, tcp, output);
        }
        if tcp.fin {
            let end = tcp.position().wrapping_add(segment.length);
            self.streams[direction.index()].fin.get_or_insert(end);
        }
        if let Some(acknowledged) = tcp.acknowledgment {
            self.streams[direction.reverse().index()].acknowledge(acknowledged, self.last);
        }
        self.settle(false, output);
        self.ended |= tcp.rst || self.streams.iter().all(|stream| stream.end_told);
    }

    /// Takes in the bytes of a segment. When they answer what has not turned up yet, they are told
    /// of later: an answer is not told of before its question.
    fn take_bytes(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        tcp: TcpFields,
        output: &mut Output<'_>,
    ) {
        let other = &self.streams[direction.reverse().index()];
        let early = tcp.acknowledgment.is_some_and(|acknowledged| {
            other.lacks(acknowledged) || other.keeps_waiting(acknowledged)
        });
        let position = tcp.position();
        let stream = &mut self.streams[direction.index()];
        let end = position.wrapping_add(segment.length);
        let given_up = stream.begin(position).insert(position, end);
        if early {
            let segment = WaitingSegment::new(tcp, segment);
            self.waiting += segment.memory();
            stream.wait(segment);
        } else {
            let data = Data::new(self.id, segment.time, direction, position, segment.payload);
            output.emit(Event::Data(Data { length: segment.length, ..data }));
        }
        if let Some(gap) = given_up {
            self.tell_gap(direction, gap, self.last, output);
        }
    }

    /// Tells of what has become certain: of gaps that nothing will fill any more, and of segments
    /// that have waited. With `force`, nothing waits any longer.
    fn settle(&mut self, force: bool, output: &mut Output<'_>) {
        loop {
            for direction in DIRECTIONS {
                self.tell_certain(direction, force, output);
            }
            // Where two wait for each other, both have waited long enough at some time.
            let released = [false, true].into_iter().any(|overdue| {
                DIRECTIONS
                    .into_iter()
                    .any(|direction| self.release(direction, overdue, force, output))
            });
            if !released {
                break;
            }
        }
    }

    /// Tells of the gaps in a direction that nothing will fill any more, and of its end.
    fn tell_certain(&mut self, direction: Direction, force: bool, output: &mut Output<'_>) {
        while let Some((gap, time)) = self.streams[direction.index()].certain_gap(self.last, force)
        {
            self.tell_gap(direction, gap, time, output);
        }
        if self.streams[direction.index()].is_complete() {
            self.tell_end(direction, self.last, output);
        }
    }

    /// Tells of the first segment that waits in a direction, when what it answers has been told
    /// or, if that is asked for, when it has waited long enough. True when something has changed.
    fn release(
        &mut self,
        direction: Direction,
        overdue: bool,
        force: bool,
        output: &mut Output<'_>,
    ) -> bool {
        let [sent, received] = &mut self.streams;
        let (stream, other) = match direction {
            Direction::Sent => (sent, received),
            Direction::Received => (received, sent),
        };
        let Some(first) = stream.waiting.front() else { return false };
        let (time, acknowledged) = (first.time, first.acknowledgment);
        if let Some(acknowledged) = acknowledged.filter(|place| other.lacks(*place)) {
            return other.acknowledge(acknowledged, time);
        }
        let answers_waiting = acknowledged.is_some_and(|place| other.keeps_waiting(place));
        if answers_waiting && !(overdue && (force || is_late(time, self.last))) {
            return false;
        }
        let Some(segment) = stream.waiting.pop_front() else { return false };
        self.waiting -= segment.memory();
        let data = Data::new(self.id, time, direction, segment.position, &segment.payload);
        output.emit(Event::Data(Data { length: segment.length, ..data }));
        true
    }

    fn tell_gap(
        &self,
        direction: Direction,
        (start, end): (u32, u32),
        time: MonotonicTime,
        output: &mut Output<'_>,
    ) {
        let length = end.wrapping_sub(start);
        output.summary.payload_bytes_missing += u64::from(length);
        let data = Data::new(self.id, time, direction, start, &[]);
        output.emit(Event::Data(Data { length, hole: Cause::Unobserved, ..data }));
    }

    /// Tells of the end of a direction, once, if it is known.
    fn tell_end(&mut self, direction: Direction, time: MonotonicTime, output: &mut Output<'_>) {
        let stream = &mut self.streams[direction.index()];
        if let (Some(fin), false) = (stream.fin, stream.end_told) {
            stream.end_told = true;
            let data = Data::new(self.id, time, direction, fin, &[]);
            output.emit(Event::Data(Data { end: true, ..data }));
        }
    }
}

/// Whether the first segment that was seen of a connection was sent by its client.
fn comes_from_client(segment: &Segment<'_>) -> bool {
    if let Some(TcpFields { syn: true, acknowledgment, .. }) = segment.tcp {
        return acknowledgment.is_none();
    }
    let (source, destination) = (segment.source.port(), segment.destination.port());
    // Between two ports that clients choose, who speaks first is the client. Otherwise the lower
    // one is more likely to be a service.
    source >= destination || source.min(destination) >= FIRST_EPHEMERAL_PORT
}
