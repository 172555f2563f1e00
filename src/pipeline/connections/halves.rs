//! TLS sessions of libraries of which one object is written, and another one read.
//!
//! Each such half is a session of its own to whoever captures. They belong together as what one
//! connection carries, and what has them both is called whole here. Which connection that is may become
//! known only after the first bytes, when they are sent; so long they wait.

use super::Connections;
use crate::pipeline::{Request, Work};
use pixie_core::id::{ConnectionId, Direction};
use pixie_core::record::{Cause, Stage};
use pixie_core::time::MonotonicTime;
use pixie_probes::event::{Data, Secure};
use rustc_hash::{FxHashMap, FxHashSet};
use std::time::Duration;

/// For so long it is waited for the connection. Then what was said comes without one.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is of no interest without a connection is kept in mind for so long.
const MEMORY: Duration = Duration::from_secs(60);
/// The most bytes that wait of one half. rustls does not buffer as many, unless it is told to.
const MAX_HELD: usize = 256 << 10;
/// The most bytes that wait in all.
const MAX_ALL_HELD: usize = 8 << 20;

#[derive(Default)]
pub(super) struct Halves {
    halves: FxHashMap<ConnectionId, Half>,
    /// By the connection, or by the only half where that is not known.
    wholes: FxHashMap<ConnectionId, Whole>,
    /// Halves that are in no whole.
    waiting: FxHashSet<ConnectionId>,
    /// Bytes that wait.
    held: usize,
}

struct Half {
    secure: Secure,
    direction: Direction,
    /// What its whole is known by, once it is in one.
    whole: Option<ConnectionId>,
    /// What its own positions begin at in the whole.
    base: u32,
    held: Vec<Held>,
    /// What that takes.
    bytes: usize,
    /// Transfers that are not waited for any longer, and their bytes.
    given_up: (u64, u64),
    /// When it was last heard of.
    last_used: MonotonicTime,
}

struct Whole {
    /// Under which it is in the table.
    session: ConnectionId,
    /// The position after all that was told of, by [`Direction::index`].
    next: [u32; 2],
    /// When any of it last came.
    last: MonotonicTime,
    /// Something that was said before is missing, and that has been told.
    joined: bool,
    halves: Vec<ConnectionId>,
}

/// A transfer that waits.
struct Held {
    time: MonotonicTime,
    position: u32,
    length: u32,
    captured: Vec<u8>,
    hole: Cause,
}

/// How many transfers there are, and of how many bytes.
fn account(held: &[Held]) -> (u64, u64) {
    (held.len() as u64, held.iter().map(|held| u64::from(held.length)).sum())
}

impl Halves {
    /// A transfer as one of the whole's; `None` where it waits.
    fn place<'a>(&mut self, data: &Data<'a>, work: &mut Work) -> Option<Data<'a>> {
        let Some(half) = self.halves.get_mut(&data.connection) else { return Some(*data) };
        half.last_used = data.time;
        if let Some(whole) = half.whole.and_then(|whole| self.wholes.get_mut(&whole)) {
            let position = half.base.wrapping_add(data.position);
            whole.next[data.direction.index()] = position.wrapping_add(data.length);
            whole.last = whole.last.max(data.time);
            return Some(Data { connection: whole.session, position, ..*data });
        }
        let length = data.captured.len() + size_of::<Held>();
        if half.bytes + length > MAX_HELD || self.held + length > MAX_ALL_HELD {
            // Its place stays empty, which is a gap.
            let kind = (Stage::Stream, Cause::MemoryLimit);
            work.losses.add(kind, Some(data.connection), 1, u64::from(data.length));
            return None;
        }
        half.bytes += length;
        self.held += length;
        half.held.push(Held {
            time: data.time,
            position: data.position,
            length: data.length,
            captured: data.captured.to_vec(),
            hole: data.hole,
        });
        None
    }

    /// Takes what a half has held.
    fn release(&mut self, id: ConnectionId) -> Vec<Held> {
        let Some(half) = self.halves.get_mut(&id) else { return Vec::new() };
        self.held -= std::mem::take(&mut half.bytes);
        std::mem::take(&mut half.held)
    }

    /// Forgets a half.
    fn remove(&mut self, id: ConnectionId) {
        drop(self.release(id));
        self.waiting.remove(&id);
        if let Some(half) = self.halves.remove(&id)
            && let Some(whole) = half.whole.and_then(|whole| self.wholes.get_mut(&whole))
        {
            whole.halves.retain(|other| *other != id);
        }
    }

    /// What the whole that is in the table under `session` is known by.
    fn known_by(
        &self,
        session: ConnectionId,
        carrier: Option<ConnectionId>,
    ) -> Option<ConnectionId> {
        let key = carrier.unwrap_or(session);
        self.wholes.get(&key).filter(|whole| whole.session == session).map(|_| key)
    }

    /// Forgets the whole that was in the table under `session`, with its halves.
    pub(super) fn removed(&mut self, session: ConnectionId, carrier: Option<ConnectionId>) {
        let Some(key) = self.known_by(session, carrier) else { return };
        for half in self.wholes.remove(&key).map(|whole| whole.halves).unwrap_or_default() {
            self.remove(half);
        }
    }

    /// Asks that halves of a whole that is forgotten be introduced anew.
    pub(super) fn forget(
        &self,
        session: ConnectionId,
        carrier: Option<ConnectionId>,
        work: &mut Work,
    ) {
        let whole = self.known_by(session, carrier).and_then(|key| self.wholes.get(&key));
        let halves = whole.into_iter().flat_map(|whole| &whole.halves);
        let others = halves.filter(|half| **half != session);
        work.requests.extend(others.map(|half| Request::Forget(*half)));
    }
}

impl Connections {
    /// Takes note of a half, or of what is new about it.
    pub(super) fn half(&mut self, secure: &Secure, direction: Direction, work: &mut Work) {
        let halves = &mut self.halves;
        let half = halves.halves.entry(secure.session).or_insert_with(|| {
            halves.waiting.insert(secure.session);
            Half {
                secure: secure.clone(),
                direction,
                whole: None,
                base: 0,
                held: Vec::new(),
                bytes: 0,
                given_up: (0, 0),
                last_used: secure.time,
            }
        });
        half.secure.clone_from(secure);
        match (half.whole, secure.carrier) {
            (Some(whole), Some(carrier)) if whole != carrier => {
                self.leave(secure.session, work);
                self.join(secure.session, carrier, work);
            }
            (None, Some(carrier)) => self.join(secure.session, carrier, work),
            _ => {}
        }
    }

    /// Takes a half out of a whole that only it was in, on a connection that was not known.
    fn leave(&mut self, id: ConnectionId, work: &mut Work) {
        let Some(half) = self.halves.halves.get_mut(&id) else { return };
        let Some(old) = half.whole.take().and_then(|whole| self.halves.wholes.remove(&whole))
        else {
            return;
        };
        // What comes next is told from there.
        half.base = 0_u32.wrapping_sub(old.next[half.direction.index()]);
        let time = half.last_used;
        if let Some(index) = self.table.get_index_of(&old.session) {
            self.remove(index, [None; 2], time, work);
            work.stats.connections.closed += 1;
        }
    }

    /// Puts a half into the whole that is known by `key`.
    fn join(&mut self, id: ConnectionId, key: ConnectionId, work: &mut Work) {
        let Some(half) = self.halves.halves.get_mut(&id) else { return };
        let mut secure = half.secure.clone();
        let (calls, bytes) = std::mem::take(&mut half.given_up);
        if calls > 0 {
            let kind = (Stage::Stream, Cause::UnknownConnection);
            work.losses.add(kind, Some(key), calls, bytes);
            secure.from_start = false;
        }
        let (direction, from_start) = (half.direction.index(), secure.from_start);
        let whole = self.halves.wholes.entry(key).or_insert_with(|| Whole {
            session: id,
            next: [0; 2],
            last: MonotonicTime(0),
            joined: !from_start,
            halves: Vec::new(),
        });
        // What the other half has said since may be the answer. It has come without a question.
        let late = half.held.first().is_some_and(|held| held.time < whole.last);
        // Or something is missing between what was told of and this. It is another session.
        let interrupted = late || (!from_start && whole.next[direction] != 0);
        let ended = interrupted.then(|| std::mem::replace(&mut whole.session, id));
        let missing = !from_start && !interrupted && !whole.joined;
        whole.joined |= !from_start || interrupted;
        whole.halves.push(id);
        half.whole = Some(key);
        half.base = half.base.wrapping_add(whole.next[direction]);
        (secure.session, secure.half) = (whole.session, None);
        if let Some(index) = ended.and_then(|ended| self.table.get_index_of(&ended)) {
            self.remove(index, [None; 2], secure.time, work);
            work.stats.connections.closed += 1;
        }
        if missing {
            work.stats.tls.sessions_joined += 1;
            work.losses.add((Stage::Stream, Cause::BeforeTracing), secure.carrier, 1, 0);
        }
        self.halves.waiting.remove(&id);
        if late {
            let (calls, bytes) = account(&self.halves.release(id));
            let kind = (Stage::Stream, Cause::Unobserved);
            work.losses.add(kind, secure.carrier, calls, bytes);
            secure.from_start = false;
        }
        self.session(&secure, work);
        self.say(id, work);
    }

    /// Tells of what a half has held.
    fn say(&mut self, id: ConnectionId, work: &mut Work) {
        let Some(half) = self.halves.halves.get(&id) else { return };
        let direction = half.direction;
        for held in self.halves.release(id) {
            let data = Data::new(id, held.time, direction, held.position, &held.captured);
            self.data(&Data { length: held.length, hole: held.hole, ..data }, work);
        }
    }

    /// A transfer, as one of a whole where it is a half's; `None` where it waits.
    pub(super) fn whole<'a>(&mut self, data: &Data<'a>, work: &mut Work) -> Option<Data<'a>> {
        match self.halves.halves.is_empty() {
            true => Some(*data),
            false => self.halves.place(data, work),
        }
    }

    /// Takes note of the end of a half. The whole ends with its connection.
    pub(super) fn half_ended(&mut self, id: ConnectionId, now: MonotonicTime, work: &mut Work) {
        let Some(half) = self.halves.halves.get(&id) else { return };
        let waits = half.whole.is_none();
        if waits {
            self.give_up(id, work);
        }
        let alone = self.halves.wholes.contains_key(&id);
        self.halves.remove(id);
        if alone && let Some(index) = self.table.get_index_of(&id) {
            self.remove(index, [None; 2], now, work);
            work.stats.connections.closed += 1;
        }
    }

    /// Whether this is half a session.
    pub(super) fn is_half(&self, id: ConnectionId) -> bool {
        self.halves.halves.contains_key(&id)
    }

    /// Waits no longer for the connection of a half.
    fn give_up(&mut self, id: ConnectionId, work: &mut Work) {
        let Some(half) = self.halves.halves.get(&id) else { return };
        if half.secure.filtered {
            let (calls, bytes) = account(&self.halves.release(id));
            if let Some(half) = self.halves.halves.get_mut(&id) {
                half.given_up = (half.given_up.0 + calls, half.given_up.1 + bytes);
            }
        } else if !half.held.is_empty() {
            self.join(id, id, work);
        }
    }

    /// Gives up on connections that have not become known for too long.
    pub(super) fn expire_halves(&mut self, now: MonotonicTime, work: &mut Work) {
        for id in self.halves.waiting.clone() {
            let Some(half) = self.halves.halves.get(&id) else { continue };
            let oldest = half.held.first().map(|held| held.time);
            if oldest.is_some_and(|oldest| now.since(oldest) >= PATIENCE) {
                self.give_up(id, work);
            } else if now.since(half.last_used) >= MEMORY {
                self.halves.remove(id);
            }
        }
    }

    /// Gives up on all of them.
    pub(super) fn finish_halves(&mut self, work: &mut Work) {
        for id in self.halves.waiting.clone() {
            self.give_up(id, work);
        }
    }

    pub(super) fn clear_halves(&mut self) {
        self.halves = Halves::default();
    }
}
