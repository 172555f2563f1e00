//! One direction of a byte stream, put in order.
//!
//! Transfers are observed, not received: some come late, some come twice, of some only the first
//! bytes were captured, and some never come. A [`Stream`] turns them into the bytes in their order,
//! with [gaps](Piece::Gap) of known length where bytes are missing.
//!
//! ```text
//!   arrivals   [0..10)   [20..30)            [10..20)
//!   pieces     0..10                         10..20  20..30      [20..30) was held meanwhile
//!
//!   arrivals   [0..10)   [20..30)   … the missing piece does not come within `held_for`
//!   pieces     0..10                Gap(10)  20..30
//! ```
//!
//! What arrives in its turn is handed on as it is, without a copy.

use pixie_core::StreamStats;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// Bounds on what a [`Stream`] holds back while it waits for a missing piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// The most bytes that are held. Default 256 KiB.
    pub held_bytes: usize,
    /// The most pieces that are held. Default 128.
    pub held_segments: usize,
    /// How long, in the time of events, to wait for a missing piece. Default 20 ms.
    pub held_for: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { held_bytes: 256 << 10, held_segments: 128, held_for: Duration::from_millis(20) }
    }
}

impl StreamLimits {
    /// The same with another limit on the time to wait; [`Duration::MAX`] to wait until other
    /// limits are reached.
    #[must_use]
    pub fn with_held_for(mut self, held_for: Duration) -> Self {
        self.held_for = held_for;
        self
    }
}

/// One transfer, as it was observed.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The place of its first byte in the stream, modulo 2^32, from an arbitrary origin.
    pub position: u32,
    /// When it was done.
    pub time: MonotonicTime,
    /// How many bytes it carried.
    pub length: u32,
    /// The first of them, as many as were captured; what is beyond `length` is not looked at.
    pub captured: &'a [u8],
    /// Why `captured` is shorter than `length`, where it is.
    pub hole: Cause,
}

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes, at least one.
    Bytes {
        /// When they were transferred.
        time: MonotonicTime,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Bytes that were on the connection but are not there.
    Gap {
        /// When they were transferred or, if that was not observed, when what follows them was.
        time: MonotonicTime,
        /// How many, at least one.
        length: u64,
        /// Why they are not there.
        cause: Cause,
    },
}

/// Takes pieces in the order of the stream.
type Deliver<'d> = &'d mut dyn FnMut(Piece<'_>);

/// The largest window that TCP can have (RFC 7323, section 2.2): nothing older than this can come
/// again, so what seems to be further behind is ahead instead.
const OLDEST: u32 = 1 << 30;

/// What holding one segment costs beside its bytes, about.
const HELD_OVERHEAD: usize = 128;

/// One direction of a connection.
///
/// Its counters obey `bytes_total == bytes_delivered + bytes_in_gaps` at every moment; held bytes
/// are not in the total until their turn has come.
#[derive(Debug)]
pub struct Stream {
    limits: StreamLimits,
    /// The place of the next byte to deliver, counted on beyond 32 bits; `None` until the first
    /// arrival sets the origin.
    next: Option<u64>,
    /// What came before its turn, by place. Segments do not overlap, and all lie beyond `next`.
    held: BTreeMap<u64, Held>,
    /// Bytes in `held`.
    held_bytes: usize,
    stats: StreamStats,
}

/// A segment that came before its turn: all of its bytes, or none.
#[derive(Debug)]
struct Held {
    time: MonotonicTime,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    Hole { length: u64, cause: Cause },
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Hole { length, .. } => *length,
        }
    }
}

impl Stream {
    /// A stream of which nothing has been seen.
    #[must_use]
    pub fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            next: None,
            held: BTreeMap::new(),
            held_bytes: 0,
            stats: StreamStats::default(),
        }
    }

    /// Sets the place of the stream's first byte, where it is known before any has arrived: from a
    /// handshake, say. Does nothing once it is set.
    pub fn start_at(&mut self, position: u32) {
        self.origin(position);
    }

    /// Takes a transfer, and delivers whatever is in order now.
    ///
    /// The first arrival sets the origin: what lies before it is taken to have been there already.
    pub fn push(&mut self, arrival: Arrival<'_>, deliver: Deliver<'_>) {
        let next = self.origin(arrival.position);
        let length = u64::from(arrival.length);
        let captured = arrival.captured.get(..arrival.length as usize).unwrap_or(arrival.captured);
        let start = unwrap(next, arrival.position);
        let end = start.saturating_add(length);

        let late = next.saturating_sub(start).min(length);
        self.stats.bytes_duplicate += late;
        let captured = captured.get(late as usize..).unwrap_or_default();
        let start = start + late;
        if start == end {
            return;
        }
        let segment = Segment { start, end, time: arrival.time, captured, hole: arrival.hole };

        let in_turn = start == next && self.held.first_key_value().is_none_or(|(&at, _)| end <= at);
        if in_turn {
            self.deliver_segment(&segment, deliver);
        } else {
            self.stats.out_of_order += u64::from(start > next);
            self.hold(&segment);
        }
        if !self.held.is_empty() {
            self.deliver_held(deliver);
            self.enforce_limits(deliver);
            self.expire(arrival.time, deliver);
        }
    }

    /// Gives up on what has been missing for longer than [`StreamLimits::held_for`].
    pub fn expire(&mut self, now: MonotonicTime, deliver: Deliver<'_>) {
        while let Some((_, first)) = self.held.first_key_value() {
            if now.since(first.time) <= self.limits.held_for {
                break;
            }
            self.give_up_first(deliver);
        }
    }

    /// Delivers what is held, with gaps for what is missing; the stream ends at `position` if that
    /// is known.
    pub fn finish(&mut self, position: Option<u32>, time: MonotonicTime, deliver: Deliver<'_>) {
        while !self.held.is_empty() {
            self.give_up_first(deliver);
        }
        if let (Some(next), Some(position)) = (self.next, position) {
            let end = unwrap(next, position);
            self.deliver_gap(end.saturating_sub(next), Cause::Unobserved, time, deliver);
        }
    }

    /// The place of the next byte to deliver, modulo 2^32; `None` before the first arrival.
    #[must_use]
    pub fn position(&self) -> Option<u32> {
        self.next.map(|next| next as u32)
    }

    /// Bytes of memory that are held now.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.held_bytes + self.held.len() * HELD_OVERHEAD
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> &StreamStats {
        &self.stats
    }

    /// The place of the next byte; `position` becomes the origin if there is none yet.
    fn origin(&mut self, position: u32) -> u64 {
        // The first lap is left free, so that places before the origin have a number too.
        *self.next.get_or_insert((1 << 32) + u64::from(position))
    }

    /// Holds a segment back: the parts of it that are not held yet, and the parts that are there
    /// only as a hole where this segment has the bytes.
    fn hold(&mut self, segment: &Segment<'_>) {
        let bytes_end = segment.start + segment.captured.len() as u64;
        self.hold_bytes(segment.start, bytes_end, segment);
        let hole = |length| Content::Hole { length, cause: segment.hole };
        self.fill(bytes_end, segment.end, segment.time, |start, end| hole(end - start));
    }

    fn hold_bytes(&mut self, start: u64, end: u64, segment: &Segment<'_>) {
        self.cut_holes(start, end);
        self.fill(start, end, segment.time, |from, to| {
            let range = (from - segment.start) as usize..(to - segment.start) as usize;
            Content::Bytes(segment.captured.get(range).unwrap_or_default().to_vec())
        });
    }

    /// Takes away what is held of `start..end` without bytes.
    fn cut_holes(&mut self, start: u64, end: u64) {
        let first = self.held.range(..start).next_back().map_or(start, |(&at, _)| at);
        let holes: Vec<(u64, u64, Cause)> = self
            .held
            .range(first..end)
            .filter_map(|(&at, held)| match held.content {
                Content::Hole { length, cause } if at + length > start => {
                    Some((at, at + length, cause))
                }
                _ => None,
            })
            .collect();
        for (hole_start, hole_end, cause) in holes {
            let Some(held) = self.held.remove(&hole_start) else { continue };
            let mut keep = |from: u64, to: u64| {
                if from < to {
                    let content = Content::Hole { length: to - from, cause };
                    self.held.insert(from, Held { time: held.time, content });
                }
            };
            keep(hole_start, start);
            keep(end, hole_end);
        }
    }

    /// Holds those parts of `start..end` that are not held yet.
    fn fill(
        &mut self,
        start: u64,
        end: u64,
        time: MonotonicTime,
        content: impl Fn(u64, u64) -> Content,
    ) {
        let mut at = start;
        if let Some((&before, held)) = self.held.range(..start).next_back() {
            at = at.max(before + held.content.length()).min(end.max(start));
        }
        self.stats.bytes_duplicate += at - start;
        while at < end {
            let following = self.held.range(at..end).next();
            let (free_end, taken_end) = match following {
                Some((&at, held)) => (at, (at + held.content.length()).min(end)),
                None => (end, end),
            };
            if at < free_end {
                let content = content(at, free_end);
                if let Content::Bytes(bytes) = &content {
                    self.held_bytes += bytes.len();
                }
                self.held.insert(at, Held { time, content });
            }
            self.stats.bytes_duplicate += taken_end - free_end;
            at = taken_end;
        }
    }

    /// Delivers what is held and has its turn now.
    fn deliver_held(&mut self, deliver: Deliver<'_>) {
        while let Some(entry) = self.held.first_entry() {
            if Some(*entry.key()) != self.next {
                break;
            }
            let Held { time, content } = entry.remove();
            match content {
                Content::Bytes(bytes) => {
                    self.held_bytes -= bytes.len();
                    self.deliver_bytes(&bytes, time, deliver);
                }
                Content::Hole { length, cause } => self.deliver_gap(length, cause, time, deliver),
            }
        }
    }

    fn enforce_limits(&mut self, deliver: Deliver<'_>) {
        while self.held_bytes > self.limits.held_bytes
            || self.held.len() > self.limits.held_segments
        {
            self.give_up_first(deliver);
        }
    }

    /// Gives up on the first missing piece, and delivers what that makes room for.
    fn give_up_first(&mut self, deliver: Deliver<'_>) {
        if let (Some((&at, held)), Some(next)) = (self.held.first_key_value(), self.next) {
            let time = held.time;
            self.deliver_gap(at.saturating_sub(next), Cause::Unobserved, time, deliver);
            self.deliver_held(deliver);
        }
    }

    fn deliver_segment(&mut self, segment: &Segment<'_>, deliver: Deliver<'_>) {
        let missing = segment.end - segment.start - segment.captured.len() as u64;
        self.deliver_bytes(segment.captured, segment.time, deliver);
        self.deliver_gap(missing, segment.hole, segment.time, deliver);
    }

    fn deliver_bytes(&mut self, bytes: &[u8], time: MonotonicTime, deliver: Deliver<'_>) {
        if !bytes.is_empty() {
            self.advance(bytes.len() as u64);
            self.stats.bytes_delivered += bytes.len() as u64;
            deliver(Piece::Bytes { time, bytes });
        }
    }

    fn deliver_gap(
        &mut self,
        length: u64,
        cause: Cause,
        time: MonotonicTime,
        deliver: Deliver<'_>,
    ) {
        if length > 0 {
            self.advance(length);
            self.stats.bytes_in_gaps += length;
            self.stats.gaps += 1;
            deliver(Piece::Gap { time, length, cause });
        }
    }

    fn advance(&mut self, length: u64) {
        self.stats.bytes_total += length;
        self.next = self.next.map(|next| next.saturating_add(length));
    }
}

/// An arrival with its place counted on beyond 32 bits, without what was delivered before.
struct Segment<'a> {
    start: u64,
    end: u64,
    time: MonotonicTime,
    captured: &'a [u8],
    hole: Cause,
}

/// The place that `position` stands for, given that it is near `next`: up to [`OLDEST`] behind it,
/// else ahead.
fn unwrap(next: u64, position: u32) -> u64 {
    let behind = (next as u32).wrapping_sub(position);
    if behind <= OLDEST {
        next.saturating_sub(u64::from(behind))
    } else {
        next.saturating_add(u64::from(position.wrapping_sub(next as u32)))
    }
}
