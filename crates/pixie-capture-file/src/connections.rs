//! From segments to the events of connections.

use crate::decode::{Segment, TcpFields};
use crate::sequence::{Seen, before, later};
use crate::summary::{Skipped, Summary};
use pixie_core::id::{ConnectionId, Direction, Pid, Role, Transport};
use pixie_core::record::{Address, Cause};
use pixie_core::time::MonotonicTime;
use pixie_probes::event::{Close, Data, Event, Open};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a connection is kept after its end, for segments that were captured late.
const LINGER: Duration = Duration::from_secs(1);

/// How long bytes that the other side has acknowledged may still turn up: where several queues are
/// captured, an acknowledgment can stand before what it acknowledges.
const LATENESS: Duration = Duration::from_millis(100);

/// How long a pair of UDP addresses may be silent before it counts as another connection.
const UDP_SILENCE: Duration = Duration::from_secs(60);

/// The largest window that TCP allows (RFC 7323, 2.3): nothing can be further ahead than this.
const MAX_WINDOW: u32 = 1 << 30;

/// Ports from here on are chosen by clients (Linux's default range starts here, and RFC 6335's a
/// little later).
const FIRST_EPHEMERAL_PORT: u16 = 32768;

/// Where events go.
pub(crate) type Emit<'a> = dyn FnMut(Event<'_>) + 'a;

/// All connections that are under way.
pub(crate) struct Connections {
    limit: usize,
    table: HashMap<Key, Connection>,
    /// Connections that have ended, and until when they are kept.
    ended: VecDeque<(MonotonicTime, Key, ConnectionId)>,
    last_id: u64,
    last_sweep: MonotonicTime,
}

/// What packets of one connection have in common: the two ends, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(Transport, SocketAddr, SocketAddr);

impl Key {
    fn of(segment: &Segment<'_>) -> Self {
        let (a, b) = (segment.source, segment.destination);
        Self(segment.transport(), a.min(b), a.max(b))
    }
}

struct Connection {
    id: ConnectionId,
    transport: Transport,
    client: SocketAddr,
    server: SocketAddr,
    /// When its last packet came.
    last: MonotonicTime,
    ended: bool,
    /// By [`Direction::index`], as the client sees it.
    streams: [Stream; 2],
}

/// One direction of a TCP connection.
#[derive(Default)]
struct Stream {
    seen: Option<Seen>,
    /// Its first byte, when the SYN was seen or else the first that was.
    start: u32,
    /// The other side has acknowledged all before this, more than was seen; and since when.
    acknowledged: Option<(u32, MonotonicTime)>,
    /// The place after its last byte.
    fin: Option<u32>,
    /// True when its end has been told.
    end_told: bool,
}

impl Connections {
    /// No connections; at most `limit` at once.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            table: HashMap::new(),
            ended: VecDeque::new(),
            last_id: 0,
            last_sweep: MonotonicTime::default(),
        }
    }

    /// Takes in a segment.
    pub(crate) fn take(
        &mut self,
        segment: &Segment<'_>,
        summary: &mut Summary,
        emit: &mut Emit<'_>,
    ) {
        self.end_lingering(segment.time, summary, emit);
        self.end_silent(segment.time, summary, emit);
        let key = Key::of(segment);
        if self.table.get(&key).is_some_and(|known| known.is_succeeded_by(segment)) {
            self.close(&key, summary, emit);
        }
        if !self.table.contains_key(&key) {
            if segment.length == 0 && !segment.tcp.is_none_or(|tcp| tcp.syn) {
                return summary.skip(Skipped::Stray);
            }
            self.make_room(summary, emit);
            self.last_id += 1;
            let connection = Connection::new(ConnectionId(self.last_id), segment);
            emit(Event::Open(&connection.open(segment)));
            self.table.insert(key, connection);
            summary.connections += 1;
        }
        let Some(connection) = self.table.get_mut(&key) else { return };
        connection.last = connection.last.max(segment.time);
        let ended_before = connection.ended;
        match segment.tcp {
            Some(tcp) => connection.take_tcp(segment, tcp, summary, emit),
            None => connection.take_udp(segment, summary, emit),
        }
        if connection.ended && !ended_before {
            let until = connection.last.0.saturating_add(LINGER.as_nanos() as u64);
            self.ended.push_back((MonotonicTime(until), key, connection.id));
        }
    }

    /// Ends all connections.
    pub(crate) fn finish(&mut self, summary: &mut Summary, emit: &mut Emit<'_>) {
        self.close_oldest(usize::MAX, |_| true, summary, emit);
        self.ended.clear();
    }

    /// Closes the connections that ended a while ago.
    fn end_lingering(&mut self, now: MonotonicTime, summary: &mut Summary, emit: &mut Emit<'_>) {
        while let Some(&(until, key, id)) = self.ended.front() {
            if until > now && self.ended.len() <= self.limit {
                break;
            }
            self.ended.pop_front();
            // The same ends may have begun another connection since.
            if self.table.get(&key).is_some_and(|connection| connection.id == id) {
                self.close(&key, summary, emit);
            }
        }
    }

    /// Closes the UDP connections that have long been silent; looks for them now and then.
    fn end_silent(&mut self, now: MonotonicTime, summary: &mut Summary, emit: &mut Emit<'_>) {
        if now.since(self.last_sweep) < UDP_SILENCE / 4 {
            return;
        }
        self.last_sweep = now;
        let silent = |connection: &Connection| {
            connection.transport == Transport::Udp && now.since(connection.last) > UDP_SILENCE
        };
        self.close_oldest(usize::MAX, silent, summary, emit);
    }

    /// Closes the connections that were silent for longest, if there are as many as there may be.
    fn make_room(&mut self, summary: &mut Summary, emit: &mut Emit<'_>) {
        if self.table.len() >= self.limit {
            let count = (self.limit / 16).max(1);
            summary.connections_evicted += count as u64;
            self.close_oldest(count, |_| true, summary, emit);
        }
    }

    /// Closes up to `count` of the connections that are chosen, those silent for longest.
    fn close_oldest(
        &mut self,
        count: usize,
        chosen: impl Fn(&Connection) -> bool,
        summary: &mut Summary,
        emit: &mut Emit<'_>,
    ) {
        let mut keys = self
            .table
            .iter()
            .filter(|(_, connection)| chosen(connection))
            .map(|(key, connection)| (connection.last, connection.id, *key))
            .collect::<Vec<_>>();
        keys.sort_unstable_by_key(|&(last, id, _)| (last, id));
        for (_, _, key) in keys.iter().take(count) {
            self.close(key, summary, emit);
        }
    }

    fn close(&mut self, key: &Key, summary: &mut Summary, emit: &mut Emit<'_>) {
        if let Some(mut connection) = self.table.remove(key) {
            connection.close(summary, emit);
        }
    }
}

impl Connection {
    /// The connection that this segment is the first of.
    fn new(id: ConnectionId, segment: &Segment<'_>) -> Self {
        let (client, server) = if comes_from_client(segment) {
            (segment.source, segment.destination)
        } else {
            (segment.destination, segment.source)
        };
        Self {
            id,
            transport: segment.transport(),
            client,
            server,
            last: segment.time,
            ended: false,
            streams: Default::default(),
        }
    }

    fn open(&self, segment: &Segment<'_>) -> Open {
        let handshake = segment.tcp.is_some_and(|tcp| tcp.syn);
        Open {
            connection: self.id,
            time: segment.time,
            pid: Pid(0),
            start_time_ns: 0,
            comm: [0; 16],
            cgroup: None,
            transport: self.transport,
            local: Some(Address::Inet(self.client)),
            remote: Some(Address::Inet(self.server)),
            role: handshake.then_some(Role::Client),
        }
    }

    /// True when the segment opens another connection between the same ends.
    fn is_succeeded_by(&self, segment: &Segment<'_>) -> bool {
        let opens = segment.tcp.filter(|tcp| tcp.syn && tcp.acknowledgment.is_none());
        let stream = &self.streams[self.direction(segment).index()];
        opens.is_some_and(|tcp| {
            stream.seen.is_some() && stream.start != tcp.sequence.wrapping_add(1)
        })
    }

    fn direction(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.client { Direction::Sent } else { Direction::Received }
    }

    /// An event about bytes, to be completed.
    fn data(&self, direction: Direction, position: u32) -> Data<'static> {
        Data {
            connection: self.id,
            time: self.last,
            direction,
            position,
            length: 0,
            captured: &[],
            hole: Cause::CaptureLimit,
            peer: None,
            end: false,
        }
    }

    fn take_udp(&mut self, segment: &Segment<'_>, summary: &mut Summary, emit: &mut Emit<'_>) {
        let data = self.data(self.direction(segment), 0);
        summary.udp_datagrams += 1;
        count_payload(segment, summary);
        emit(Event::Data(Data {
            length: segment.length,
            captured: segment.payload,
            peer: Some(self.server),
            ..data
        }));
    }

    fn take_tcp(
        &mut self,
        segment: &Segment<'_>,
        tcp: TcpFields,
        summary: &mut Summary,
        emit: &mut Emit<'_>,
    ) {
        let direction = self.direction(segment);
        // A SYN takes the place of one byte.
        let position = tcp.sequence.wrapping_add(tcp.syn.into());
        let end = position.wrapping_add(segment.length);
        let data = self.data(direction, position);
        let stream = &mut self.streams[direction.index()];
        if tcp.syn && stream.seen.is_none() {
            stream.begin(position);
            // Tells where the stream starts, so that a first segment that is lost is missed.
            emit(Event::Data(data));
        }
        if stream.is_out_of_window(end) {
            return summary.skip(Skipped::OutOfWindow);
        }
        summary.tcp_segments += 1;
        if segment.length > 0 {
            count_payload(segment, summary);
            emit(Event::Data(Data { length: segment.length, captured: segment.payload, ..data }));
            let gap = stream.begin(position).insert(position, end);
            self.tell_gap(direction, gap, summary, emit);
        }
        if tcp.fin {
            self.streams[direction.index()].fin.get_or_insert(end);
        }
        if let Some(acknowledged) = tcp.acknowledgment {
            self.streams[direction.reverse().index()].acknowledge(acknowledged, self.last);
        }
        self.tell_certain(Direction::Sent, summary, emit);
        self.tell_certain(Direction::Received, summary, emit);
        self.ended |= tcp.rst || self.streams.iter().all(|stream| stream.end_told);
    }

    /// Tells of the gaps in a direction that nothing will fill any more, and of its end when all
    /// before it has been told.
    fn tell_certain(&mut self, direction: Direction, summary: &mut Summary, emit: &mut Emit<'_>) {
        let last = self.last;
        while let Some(gap) = self.streams[direction.index()].certain_gap(last) {
            self.tell_gap(direction, Some(gap), summary, emit);
        }
        let stream = &self.streams[direction.index()];
        if let (Some(fin), Some(next)) = (stream.fin, stream.next())
            && !before(next, fin)
        {
            self.tell_end(direction, fin, emit);
        }
    }

    fn tell_gap(
        &self,
        direction: Direction,
        gap: Option<(u32, u32)>,
        summary: &mut Summary,
        emit: &mut Emit<'_>,
    ) {
        let Some((start, end)) = gap else { return };
        let length = end.wrapping_sub(start);
        summary.payload_bytes_missing += u64::from(length);
        let data = self.data(direction, start);
        emit(Event::Data(Data { length, hole: Cause::Unobserved, ..data }));
    }

    fn tell_end(&mut self, direction: Direction, position: u32, emit: &mut Emit<'_>) {
        let told = std::mem::replace(&mut self.streams[direction.index()].end_told, true);
        if !told {
            emit(Event::Data(Data { end: true, ..self.data(direction, position) }));
        }
    }

    fn close(&mut self, summary: &mut Summary, emit: &mut Emit<'_>) {
        for direction in [Direction::Sent, Direction::Received] {
            while let Some(gap) = self.streams[direction.index()].any_gap() {
                self.tell_gap(direction, Some(gap), summary, emit);
            }
            if let Some(fin) = self.streams[direction.index()].fin {
                self.tell_end(direction, fin, emit);
            }
        }
        let positions = [self.streams[0].next(), self.streams[1].next()];
        emit(Event::Close(Close { connection: self.id, time: self.last, positions }));
    }
}

impl Stream {
    /// Sets where the stream starts, unless that is known.
    fn begin(&mut self, position: u32) -> &mut Seen {
        self.seen.get_or_insert_with(|| {
            self.start = position;
            Seen::from(position)
        })
    }

    /// The first byte that has not been seen.
    fn next(&self) -> Option<u32> {
        self.seen.as_ref().map(Seen::next)
    }

    fn is_out_of_window(&self, position: u32) -> bool {
        self.next().is_some_and(|next| before(next.wrapping_add(MAX_WINDOW), position))
    }

    /// Notes that the other side has all bytes before this one.
    fn acknowledge(&mut self, position: u32, time: MonotonicTime) {
        // A FIN takes the place of one byte.
        let position = match self.fin {
            Some(fin) if before(fin, position) => fin,
            _ => position,
        };
        let unseen = self.next().is_some_and(|next| before(next, position));
        if unseen && !self.is_out_of_window(position) {
            self.acknowledged.get_or_insert((position, time));
        }
    }

    /// The next gap that the other side has long acknowledged.
    fn certain_gap(&mut self, now: MonotonicTime) -> Option<(u32, u32)> {
        let (position, since) = self.acknowledged?;
        let seen = self.seen.as_mut()?;
        if before(seen.next(), position) && now.since(since) < LATENESS {
            return None;
        }
        let gap = seen.give_up(position);
        if gap.is_none() {
            self.acknowledged = None;
        }
        gap
    }

    /// The next gap, when nothing more will come.
    fn any_gap(&mut self) -> Option<(u32, u32)> {
        let seen = self.seen.as_mut()?;
        let acknowledged = self.acknowledged.map_or(seen.end(), |(position, _)| position);
        let limit = later(later(seen.end(), acknowledged), self.fin.unwrap_or(seen.end()));
        seen.give_up(limit)
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

fn count_payload(segment: &Segment<'_>, summary: &mut Summary) {
    let missing = u64::from(segment.length).saturating_sub(segment.payload.len() as u64);
    summary.payload_bytes += u64::from(segment.length);
    summary.payload_bytes_not_captured += missing;
}
