//! The table of connections.

use crate::connection::Connection;
use crate::decode::Segment;
use crate::summary::{Skipped, Summary};
use pixie_core::id::{ConnectionId, Transport};
use pixie_core::time::MonotonicTime;
use pixie_probes::event::Event;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a connection is kept after its end, for segments that were captured late.
const LINGER: Duration = Duration::from_secs(1);

/// How long a pair of UDP addresses may be silent before it counts as another connection.
const UDP_SILENCE: Duration = Duration::from_secs(60);

/// The most bytes of segments that wait for what they acknowledge, on all connections together.
const MAX_WAITING: usize = 16 << 20;

/// Where events go, and what is counted of them.
pub(crate) struct Output<'a> {
    pub(crate) summary: &'a mut Summary,
    pub(crate) handler: &'a mut dyn FnMut(Event<'_>),
}

impl Output<'_> {
    pub(crate) fn emit(&mut self, event: Event<'_>) {
        (self.handler)(event);
    }
}

/// All connections that are under way.
pub(crate) struct Connections {
    limit: usize,
    table: HashMap<Key, Connection>,
    /// Connections that have ended, and until when they are kept.
    ended: VecDeque<(MonotonicTime, Key, ConnectionId)>,
    /// What [`Connection::waiting`] says of all connections.
    waiting: usize,
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

impl Connections {
    /// No connections; at most `limit` at once.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            table: HashMap::new(),
            ended: VecDeque::new(),
            waiting: 0,
            last_id: 0,
            last_sweep: MonotonicTime::default(),
        }
    }

    /// Takes in a segment.
    pub(crate) fn take(&mut self, segment: &Segment<'_>, output: &mut Output<'_>) {
        self.end_lingering(segment.time, output);
        self.end_silent(segment.time, output);
        let key = Key::of(segment);
        if self.table.get(&key).is_some_and(|known| known.is_succeeded_by(segment)) {
            self.close(&key, output);
        }
        if !self.table.contains_key(&key) && !self.open(key, segment, output) {
            return output.summary.skip(Skipped::Stray);
        }
        let Some(connection) = self.table.get_mut(&key) else { return };
        let (ended, waiting) = (connection.ended(), connection.waiting());
        connection.take(segment, output);
        if self.waiting + connection.waiting() > waiting + MAX_WAITING {
            connection.wait_no_more(output);
        }
        self.waiting = self.waiting + connection.waiting() - waiting;
        if connection.ended() && !ended {
            let until = connection.last().0.saturating_add(LINGER.as_nanos() as u64);
            self.ended.push_back((MonotonicTime(until), key, connection.id()));
        }
    }

    /// Ends all connections.
    pub(crate) fn finish(&mut self, output: &mut Output<'_>) {
        self.close_oldest(usize::MAX, |_, _| true, output);
        self.ended.clear();
    }

    /// Gives up what is known of a connection. Should more come of it, it begins anew.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        let of_id = |(_, connection): &(&Key, &Connection)| connection.id() == id;
        if let Some(key) = self.table.iter().find(of_id).map(|(key, _)| *key) {
            let forgotten = self.table.remove(&key);
            self.waiting -= forgotten.map_or(0, |connection| connection.waiting());
        }
    }

    /// Begins a connection. False when this segment does not tell that there is one.
    fn open(&mut self, key: Key, segment: &Segment<'_>, output: &mut Output<'_>) -> bool {
        if segment.length == 0 && segment.tcp.is_some_and(|tcp| !tcp.syn) {
            return false;
        }
        self.make_room(output);
        self.last_id += 1;
        let connection = Connection::new(ConnectionId(self.last_id), segment);
        output.emit(Event::Open(&connection.open(segment)));
        output.summary.connections += 1;
        self.table.insert(key, connection);
        true
    }

    /// Closes the connections that ended a while ago.
    fn end_lingering(&mut self, now: MonotonicTime, output: &mut Output<'_>) {
        while let Some(&(until, key, id)) = self.ended.front() {
            if until > now && self.ended.len() <= self.limit {
                break;
            }
            self.ended.pop_front();
            // The same ends may have begun another connection since.
            if self.table.get(&key).is_some_and(|connection| connection.id() == id) {
                self.close(&key, output);
            }
        }
    }

    /// Closes the UDP connections that have long been silent; looks for them now and then.
    fn end_silent(&mut self, now: MonotonicTime, output: &mut Output<'_>) {
        if now.since(self.last_sweep) < UDP_SILENCE / 4 {
            return;
        }
        self.last_sweep = now;
        let silent = |key: &Key, connection: &Connection| {
            key.0 == Transport::Udp && now.since(connection.last()) > UDP_SILENCE
        };
        self.close_oldest(usize::MAX, silent, output);
    }

    /// Closes the connections that were silent for longest, if there are as many as there may be.
    fn make_room(&mut self, output: &mut Output<'_>) {
        if self.table.len() >= self.limit {
            let count = (self.limit / 16).max(1);
            output.summary.connections_evicted += count as u64;
            self.close_oldest(count, |_, _| true, output);
        }
    }

    /// Closes up to `count` of the connections that are chosen, those silent for longest.
    fn close_oldest(
        &mut self,
        count: usize,
        chosen: impl Fn(&Key, &Connection) -> bool,
        output: &mut Output<'_>,
    ) {
        let mut keys = self
            .table
            .iter()
            .filter(|(key, connection)| chosen(key, connection))
            .map(|(key, connection)| (connection.last(), connection.id(), *key))
            .collect::<Vec<_>>();
        keys.sort_unstable_by_key(|&(last, id, _)| (last, id));
        for (_, _, key) in keys.iter().take(count) {
            self.close(key, output);
        }
    }

    fn close(&mut self, key: &Key, output: &mut Output<'_>) {
        if let Some(mut connection) = self.table.remove(key) {
            self.waiting -= connection.waiting();
            connection.close(output);
        }
    }
}
