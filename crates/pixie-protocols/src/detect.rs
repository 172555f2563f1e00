//! Which protocol a connection speaks, by its content.
//!
//! A port says little, and a connection may have been joined in mid-message. So every protocol that
//! could be meant is asked about the first bytes of either direction and, as long as nobody knows
//! them, about the start of later segments: sooner or later a message begins there.

use crate::parser::{PROBE_LIMIT, Protocol, Segment, Verdict};
use crate::registry::Registry;
use pixie_core::id::{Direction, Transport};
use pixie_core::time::MonotonicTime;
use std::net::SocketAddr;
use std::sync::Arc;

/// Unknown segments in a row after which only every [`SELDOM`]th is still looked at.
const EAGER: u32 = 64;

/// How often segments are looked at on a connection that nobody knows: one in so many.
const SELDOM: u32 = 16;

/// Finds the protocol of one connection.
#[derive(Debug)]
pub struct Detector {
    transport: Transport,
    /// What was offered and kept, in order, until it can be told whose it is.
    held: Vec<Held>,
    /// Bytes in `held`, by direction.
    held_bytes: [usize; 2],
    unknown_in_a_row: u32,
}

/// A segment that was kept while its protocol could not be told.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which way it went.
    pub direction: Direction,
    /// When.
    pub time: MonotonicTime,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The other end, where each datagram has its own.
    pub peer: Option<SocketAddr>,
}

impl Held {
    /// The segment, to feed to the parser that was found.
    #[must_use]
    pub fn segment(&self) -> Segment<'_> {
        let Self { direction, time, bytes, peer } = self;
        Segment { direction: *direction, time: *time, bytes, peer: *peer }
    }
}

/// What the candidates make of some bytes.
enum Answer {
    Found(Detection),
    NeedMore,
    Unknown,
}

/// What is known about a connection's protocol.
#[derive(Clone)]
pub enum Detection {
    /// It is this one. A parser of it is fed what [`Detector::take_held`] gives, and then the
    /// segment that was offered.
    Found {
        /// The protocol.
        protocol: Arc<dyn Protocol>,
        /// Which way its requests go.
        requests: Direction,
    },
    /// It cannot be told yet. The segment is kept.
    NeedMore,
    /// Nobody speaks like this: of the bytes offered so far, these belong to nothing. The next
    /// segment is looked at afresh.
    Unknown {
        /// How many, by [`Direction::index`].
        skipped: [u64; 2],
    },
}

impl Detector {
    /// For a connection over `transport` of which nothing has been seen.
    #[must_use]
    pub fn new(transport: Transport) -> Self {
        Self { transport, held: Vec::new(), held_bytes: [0; 2], unknown_in_a_row: 0 }
    }

    /// Looks at a segment, together with what was kept of its direction.
    pub fn offer(&mut self, registry: &Registry, segment: Segment<'_>) -> Detection {
        let kept = self.kept(segment.direction);
        if kept > 0 {
            let joined = self.joined(segment);
            match self.ask(registry, segment.direction, &joined) {
                Answer::Found(detection) => return detection,
                Answer::NeedMore => return self.keep(segment),
                // A message may begin with this segment instead.
                Answer::Unknown => {}
            }
        } else if !self.is_worth_a_look() {
            return self.unknown(segment);
        }
        match self.ask(registry, segment.direction, segment.bytes) {
            Answer::Found(detection) => detection,
            Answer::NeedMore if kept == 0 => self.keep(segment),
            Answer::NeedMore => {
                let skipped = self.skip(segment.direction, 0);
                self.keep(segment);
                skipped
            }
            Answer::Unknown => self.unknown(segment),
        }
    }

    /// Asks the candidates, in order, about the first bytes of a message.
    fn ask(&mut self, registry: &Registry, direction: Direction, bytes: &[u8]) -> Answer {
        let bytes = bytes.get(..PROBE_LIMIT).unwrap_or(bytes);
        let can_wait = !self.transport.is_datagram() && bytes.len() < PROBE_LIMIT;
        let mut answer = Answer::Unknown;
        for protocol in registry.candidates(self.transport) {
            let requests = match protocol.probe(bytes) {
                Verdict::Yes => direction,
                Verdict::Reversed => direction.reverse(),
                Verdict::NeedMore if can_wait => {
                    answer = Answer::NeedMore;
                    continue;
                }
                Verdict::NeedMore | Verdict::No => continue,
            };
            self.unknown_in_a_row = 0;
            return Answer::Found(Detection::Found { protocol: Arc::clone(protocol), requests });
        }
        answer
    }

    /// Steps over bytes that are not there: what was kept of this direction begins nothing that
    /// could be known. Returns how many bytes that were.
    pub fn gap(&mut self, direction: Direction) -> u64 {
        self.drop_held(direction)
    }

    /// What was kept, in order; the detector keeps it no longer.
    pub fn take_held(&mut self) -> Vec<Held> {
        self.held_bytes = [0; 2];
        std::mem::take(&mut self.held)
    }

    /// How many segments in a row nobody knew. Where this grows large, it is not worth capturing
    /// all of the connection.
    #[must_use]
    pub fn unknown_in_a_row(&self) -> u32 {
        self.unknown_in_a_row
    }

    /// Bytes of memory that are held now.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.held.len() * size_of::<Held>() + self.held_bytes.iter().sum::<usize>()
    }

    /// Bounds the effort on connections that nobody knows, without ever giving them up.
    fn is_worth_a_look(&self) -> bool {
        self.unknown_in_a_row < EAGER || self.unknown_in_a_row.is_multiple_of(SELDOM)
    }

    /// Bytes kept of this direction.
    fn kept(&self, direction: Direction) -> usize {
        self.held_bytes.get(direction.index()).copied().unwrap_or_default()
    }

    fn joined(&self, segment: Segment<'_>) -> Vec<u8> {
        let mut joined = Vec::with_capacity(PROBE_LIMIT);
        for held in self.held.iter().filter(|held| held.direction == segment.direction) {
            joined.extend_from_slice(&held.bytes);
        }
        joined.extend_from_slice(segment.bytes.get(..PROBE_LIMIT).unwrap_or(segment.bytes));
        joined
    }

    fn keep(&mut self, segment: Segment<'_>) -> Detection {
        let Segment { direction, time, bytes, peer } = segment;
        if let Some(held) = self.held_bytes.get_mut(direction.index()) {
            *held += bytes.len();
        }
        match self.held.last_mut() {
            // Bytes that trickle in must not cost a segment each.
            Some(last) if last.direction == direction => last.bytes.extend_from_slice(bytes),
            _ => self.held.push(Held { direction, time, bytes: bytes.to_vec(), peer }),
        }
        Detection::NeedMore
    }

    /// Gives up on what was offered. What is kept of the other direction stays.
    fn unknown(&mut self, segment: Segment<'_>) -> Detection {
        self.skip(segment.direction, segment.bytes.len())
    }

    /// Drops what is kept of this direction, and `more` bytes that are not kept.
    fn skip(&mut self, direction: Direction, more: usize) -> Detection {
        self.unknown_in_a_row = self.unknown_in_a_row.saturating_add(1);
        let mut skipped = [0; 2];
        if let Some(count) = skipped.get_mut(direction.index()) {
            *count = self.drop_held(direction) + more as u64;
        }
        Detection::Unknown { skipped }
    }

    fn drop_held(&mut self, direction: Direction) -> u64 {
        self.held.retain(|held| held.direction != direction);
        let held = self.held_bytes.get_mut(direction.index()).map(std::mem::take);
        held.unwrap_or_default() as u64
    }
}

impl std::fmt::Debug for Detection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Found { protocol, requests } => formatter
                .debug_struct("Found")
                .field("protocol", &protocol.name())
                .field("requests", requests)
                .finish(),
            Self::NeedMore => formatter.write_str("NeedMore"),
            Self::Unknown { skipped } => {
                formatter.debug_struct("Unknown").field("skipped", skipped).finish()
            }
        }
    }
}
