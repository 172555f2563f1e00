mod halves;

use self::halves::Halves;
use super::connection::Connection;
use super::conversation::Conversation;
use super::options::ConnectionLimits;
use super::processes::Processes;
use super::{Request, Work};
use indexmap::IndexMap;
use pixie_core::Text;
use pixie_core::id::{ConnectionId, Direction, Pid, Role, Transport};
use pixie_core::record::{self, Address, Cause, Process, Stage, Traffic};
use pixie_core::time::MonotonicTime;
use pixie_probes::event::{Close, Data, Open, Secure};
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Of so many connections, the least recently used one goes first. Keeping all of them in order
/// would cost every event; this costs only when one has to go, and is nearly as good.
const SAMPLE: usize = 16;

/// For so long a TLS session is still listened to when its connection has ended.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The connections that are known.
pub(super) struct Connections {
    limits: ConnectionLimits,
    table: IndexMap<ConnectionId, Box<Connection>, FxBuildHasher>,
    processes: Processes,
    /// The process of connections of which no [`Open`] told.
    unknown: Arc<Process>,
    /// Which connections end with a process, because nothing else tells of their end.
    by_process: FxHashMap<Pid, HashSet<ConnectionId, FxBuildHasher>>,
    /// Which TLS sessions each connection carries.
    sessions: FxHashMap<ConnectionId, Vec<ConnectionId>>,
    /// TLS sessions whose connection has ended, and when: a call that wrote may still be on its way
    /// back, and what it wrote is told of then.
    ending: Vec<(ConnectionId, MonotonicTime)>,
    /// TLS sessions of which one object is written, and another one read.
    halves: Halves,
    /// Connections with bytes that wait for others to come first.
    holding: Vec<ConnectionId>,
    /// What all connections hold, in bytes.
    memory: usize,
    /// Where the table is looked at next, for connections that can go.
    hand: usize,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits, live: bool) -> Self {
        Self {
            limits,
            table: IndexMap::default(),
            processes: Processes::new(live),
            unknown: Arc::default(),
            by_process: FxHashMap::default(),
            sessions: FxHashMap::default(),
            ending: Vec::new(),
            halves: Halves::default(),
            holding: Vec::new(),
            memory: 0,
            hand: 0,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// What they hold, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Takes note of a connection, or of what is new about it.
    pub(super) fn open(&mut self, open: &Open, work: &mut Work) {
        let process = self.processes.get(open);
        match self.table.get_mut(&open.connection) {
            Some(connection) => connection.conversation.learn(open, process),
            None => {
                let mut known = record::Connection::new(open.connection, open.transport);
                known.local.clone_from(&open.local);
                known.remote.clone_from(&open.remote);
                self.insert(open.connection, process, known, open.role, open.time, work);
            }
        }
        self.update_sessions(open.connection, work);
        // The end of a TCP connection is told of; that of others is not.
        if open.transport != Transport::Tcp
            && self.by_process.entry(open.pid).or_default().insert(open.connection)
            && let Some(connection) = self.table.get_mut(&open.connection)
        {
            connection.users.push(open.pid);
        }
    }

    /// Takes note of a TLS session, or of what is new about it.
    pub(super) fn secure(&mut self, secure: &Secure, work: &mut Work) {
        match secure.half {
            Some(direction) => self.half(secure, direction, work),
            None => self.session(secure, work),
        }
    }

    fn session(&mut self, secure: &Secure, work: &mut Work) {
        let mut open = Open::new(secure.session, secure.time, secure.pid, Transport::Tcp);
        (open.start_time_ns, open.comm, open.cgroup) =
            (secure.start_time_ns, secure.comm, secure.cgroup);
        let process = self.processes.get(&open);
        let carrier = secure.carrier.unwrap_or(secure.session);
        let mut known = record::Connection::new(carrier, Transport::Tcp);
        known.encrypted = secure.library.map(|library| Text::from(library.as_str()));
        known.encrypted_version = secure.version.as_deref().map(Text::from);
        known.encrypted_by_kernel = secure.by_kernel;
        // Bytes that it had missed may have been told of first.
        let is_new = |known: &Connection| {
            known.users.is_empty() && known.conversation.traffic.process.pid.0 == 0
        };
        if self.table.get(&secure.session).is_none_or(|known| is_new(known)) {
            work.stats.tls.sessions += 1;
            if !secure.from_start {
                work.stats.tls.sessions_joined += 1;
                // How many bytes of plaintext that was cannot be told.
                let kind = (Stage::Stream, Cause::BeforeTracing);
                work.losses.add(kind, Some(carrier), 1, 0);
            }
        }
        match self.table.get_mut(&secure.session) {
            Some(session) => session.conversation.learn_carrier(known, None, process),
            None => {
                self.insert(secure.session, process, known, None, secure.time, work);
            }
        }
        let Some(session) = self.table.get_mut(&secure.session) else { return };
        // It ends with its connection, if that is known.
        if self.by_process.entry(secure.pid).or_default().insert(secure.session) {
            session.users.push(secure.pid);
        }
        if let Some(carrier) = secure.carrier
            && session.carrier.is_none()
        {
            session.carrier = Some(carrier);
            work.stats.tls.sessions_on_connections += 1;
            self.sessions.entry(carrier).or_default().push(secure.session);
        }
        // Also where something else is new: what is known of the connection is not said again.
        if let Some(carrier) = secure.carrier {
            self.update_sessions(carrier, work);
        }
    }

    /// Tells the sessions that a connection carries what is known of it.
    fn update_sessions(&mut self, carrier: ConnectionId, work: &mut Work) {
        let Some(sessions) = self.sessions.get(&carrier) else { return };
        let Some(carrying) = self.table.get_mut(&carrier) else { return };
        carrying.conversation.carries_session(work);
        let Traffic { connection, role, .. } = carrying.conversation.traffic.clone();
        for session in sessions {
            let Some(session) = self.table.get_mut(session) else { continue };
            let conversation = &mut session.conversation;
            let mut known = record::Connection::clone(&connection);
            let old = &conversation.traffic.connection;
            known.encrypted.clone_from(&old.encrypted);
            known.encrypted_version.clone_from(&old.encrypted_version);
            known.encrypted_by_kernel = old.encrypted_by_kernel;
            let given = given_protocol(&known, work);
            conversation.learn_carrier(known, role, Arc::clone(&conversation.traffic.process));
            if let Some((protocol, requests)) = given
                && conversation.is_detecting()
            {
                conversation.begin(&*protocol, Some(requests), None, work);
            }
        }
    }

    /// Takes a transfer.
    pub(super) fn data(&mut self, data: &Data<'_>, work: &mut Work) {
        let Some(data) = &self.whole(data, work) else { return };
        let index = match self.table.get_index_of(&data.connection) {
            Some(index) => index,
            None => self.insert_unknown(data, work),
        };
        let Some((_, connection)) = self.table.get_index_mut(index) else { return };
        let (before, held) = (connection.memory, connection.holding);
        connection.data(data, work);
        if connection.holding && !held {
            self.holding.push(data.connection);
        }
        self.memory = self.memory + connection.memory - before;
        while self.memory > self.limits.memory && self.table.len() > 1 {
            self.evict_one(data.time, work);
        }
    }

    /// Takes note of the end of a connection.
    pub(super) fn close(&mut self, close: &Close, work: &mut Work) {
        if self.is_half(close.connection) {
            self.half_ended(close.connection, close.time, work);
        } else if let Some(index) = self.table.get_index_of(&close.connection) {
            self.remove(index, close.positions, close.time, work);
            work.stats.connections.closed += 1;
        }
        self.end_sessions(close.connection, close.time);
    }

    /// Takes note of the end of a process: the connections that only it used end with it.
    pub(super) fn exit(&mut self, pid: Pid, time: MonotonicTime, work: &mut Work) {
        for id in self.by_process.remove(&pid).unwrap_or_default() {
            let Some((index, _, connection)) = self.table.get_full_mut(&id) else { continue };
            connection.users.retain(|user| *user != pid);
            if connection.users.is_empty() {
                self.remove(index, [None; 2], time, work);
                work.stats.connections.closed += 1;
                self.end_sessions(id, time);
            }
        }
    }

    /// Gives up on bytes that do not come, and forgets some connections that have long been silent.
    pub(super) fn tick(&mut self, now: MonotonicTime, work: &mut Work) {
        let table = &mut self.table;
        self.holding.retain(|id| {
            let Some(connection) = table.get_mut(id) else { return false };
            connection.expire(now, work);
            connection.holding
        });
        self.end_overdue_sessions(now, work);
        self.expire_halves(now, work);
        // A part of the table each time: all of it in a minute or so.
        for _ in 0..self.table.len().min(64 + self.table.len() / 512) {
            let index = self.advance_hand();
            let Some((_, connection)) = self.table.get_index(index) else { break };
            if now.since(connection.last_used) > self.limits.idle {
                self.forget(index, now, work);
            }
        }
    }

    /// Ends all connections.
    pub(super) fn finish(&mut self, now: MonotonicTime, work: &mut Work) {
        self.finish_halves(work);
        // In the order in which they came, to make the same of the same events.
        for (_, mut connection) in self.table.drain(..) {
            connection.finish([None; 2], now, work);
        }
        self.by_process.clear();
        self.sessions.clear();
        self.ending.clear();
        self.clear_halves();
        self.holding.clear();
        self.memory = 0;
    }

    /// Adds a connection, and returns its place in the table.
    fn insert(
        &mut self,
        id: ConnectionId,
        process: Arc<Process>,
        known: record::Connection,
        role: Option<Role>,
        time: MonotonicTime,
        work: &mut Work,
    ) -> usize {
        while self.table.len() >= self.limits.count.max(1) {
            self.evict_one(time, work);
        }
        let mut traffic = Traffic::default();
        (traffic.process, traffic.connection, traffic.role) = (process, Arc::new(known), role);
        let known = Arc::clone(&traffic.connection);
        let mut conversation = Conversation::new(id, traffic);
        if let Some((protocol, requests)) = given_protocol(&known, work) {
            conversation.begin(&*protocol, Some(requests), None, work);
        }
        let connection = Box::new(Connection::new(conversation, work.stream, time));
        self.memory += connection.memory;
        work.stats.connections.opened += 1;
        self.table.insert_full(id, connection).0
    }

    /// Makes do with what a transfer says about a connection of which no [`Open`] told.
    fn insert_unknown(&mut self, data: &Data<'_>, work: &mut Work) -> usize {
        let transport = if data.peer.is_some() { Transport::Udp } else { Transport::Tcp };
        let mut known = record::Connection::new(data.connection, transport);
        known.remote = data.peer.map(Address::Inet);
        self.insert(data.connection, Arc::clone(&self.unknown), known, None, data.time, work)
    }

    /// Forgets the least recently used connection of a sample.
    fn evict_one(&mut self, now: MonotonicTime, work: &mut Work) {
        let last_used =
            |index: usize| self.table.get_index(index).map(|(_, found)| found.last_used);
        let sample =
            (0..SAMPLE.min(self.table.len())).map(|step| (self.hand + step) % self.table.len());
        let Some(oldest) = sample.min_by_key(|&index| last_used(index)) else { return };
        self.hand += SAMPLE;
        if let Some((id, _)) = self.table.get_index(oldest) {
            work.losses.add((Stage::Stream, Cause::MemoryLimit), Some(*id), 1, 0);
            self.forget(oldest, now, work);
        }
    }

    fn forget(&mut self, index: usize, now: MonotonicTime, work: &mut Work) {
        if let Some((id, connection)) = self.table.get_index(index) {
            work.requests.push(Request::Forget(*id));
            self.halves.forget(*id, connection.carrier, work);
            self.remove(index, [None; 2], now, work);
            work.stats.connections.evicted += 1;
        }
    }

    fn remove(
        &mut self,
        index: usize,
        positions: [Option<u32>; 2],
        time: MonotonicTime,
        work: &mut Work,
    ) {
        let Some((id, mut connection)) = self.table.swap_remove_index(index) else { return };
        self.memory -= connection.memory;
        connection.finish(positions, time, work);
        self.halves.removed(id, connection.carrier);
        for user in &connection.users {
            if let Some(connections) = self.by_process.get_mut(user) {
                connections.remove(&id);
                if connections.is_empty() {
                    self.by_process.remove(user);
                }
            }
        }
        if let Some(carrier) = connection.carrier
            && let Some(sessions) = self.sessions.get_mut(&carrier)
        {
            sessions.retain(|session| *session != id);
            if sessions.is_empty() {
                self.sessions.remove(&carrier);
            }
        }
    }

    /// The TLS sessions that a connection carried end, because it has ended.
    fn end_sessions(&mut self, carrier: ConnectionId, time: MonotonicTime) {
        let sessions = self.sessions.remove(&carrier).unwrap_or_default();
        self.ending.extend(sessions.into_iter().map(|session| (session, time)));
    }

    /// Ends those that were listened to for long enough after that.
    fn end_overdue_sessions(&mut self, now: MonotonicTime, work: &mut Work) {
        let is_due = |ending: &mut (ConnectionId, MonotonicTime)| now.since(ending.1) >= LAST_WORDS;
        let due: Vec<_> = self.ending.extract_if(.., is_due).collect();
        for (session, _) in due {
            if let Some(index) = self.table.get_index_of(&session) {
                self.remove(index, [None; 2], now, work);
                work.stats.connections.closed += 1;
            }
        }
    }

    fn advance_hand(&mut self) -> usize {
        self.hand = if self.hand + 1 < self.table.len() { self.hand + 1 } else { 0 };
        self.hand
    }
}

/// The protocol of a connection whose port says it, and which way its requests go.
fn given_protocol(
    connection: &record::Connection,
    work: &Work,
) -> Option<(Arc<dyn pixie_protocols::parser::Protocol>, Direction)> {
    let port = |end: &Option<Address>| end.as_ref().and_then(Address::port);
    let (local, remote) = (port(&connection.local), port(&connection.remote));
    work.decode_as.iter().find_map(|(port, protocol)| {
        let requests = match Some(*port) {
            port if port == remote => Direction::Sent,
            port if port == local => Direction::Received,
            _ => return None,
        };
        Some((Arc::clone(protocol), requests))
    })
}
