//! One direction of a TCP connection.

use crate::decode::{Segment, TcpFields};
use crate::sequence::{Seen, before, later};
use pixie_core::time::MonotonicTime;
use std::collections::VecDeque;
use std::time::Duration;

/// How long bytes that the other side has acknowledged may still turn up: where several queues are
/// captured, an acknowledgment can stand before what it acknowledges.
const LATENESS: Duration = Duration::from_millis(100);

/// The largest window that TCP allows (RFC 7323, 2.3): nothing can be further ahead than this.
const MAX_WINDOW: u32 = 1 << 30;

/// What a segment that waits costs beside its bytes, about.
const WAITING_OVERHEAD: usize = 96;

/// True when what was missed at `since` will not turn up any more.
pub(crate) fn is_late(since: MonotonicTime, now: MonotonicTime) -> bool {
    now.since(since) >= LATENESS
}

/// What is known of one direction.
#[derive(Default)]
pub(crate) struct Stream {
    seen: Option<Seen>,
    /// Its first byte, when the SYN was seen, or else the first that was.
    start: u32,
    /// The other side has acknowledged all before this, more than was seen; and since when.
    acknowledged: Option<(u32, MonotonicTime)>,
    /// The place after its last byte.
    pub(crate) fin: Option<u32>,
    /// True when its end has been told.
    pub(crate) end_told: bool,
    /// Segments that acknowledge bytes of the other direction that have not turned up, in order.
    pub(crate) waiting: VecDeque<WaitingSegment>,
}

/// A segment that came before what it answers.
pub(crate) struct WaitingSegment {
    pub(crate) time: MonotonicTime,
    pub(crate) position: u32,
    pub(crate) acknowledgment: Option<u32>,
    pub(crate) payload: Vec<u8>,
    pub(crate) length: u32,
}

impl WaitingSegment {
    pub(crate) fn new(tcp: TcpFields, segment: &Segment<'_>) -> Self {
        Self {
            time: segment.time,
            position: tcp.position(),
            acknowledgment: tcp.acknowledgment,
            payload: segment.payload.to_vec(),
            length: segment.length,
        }
    }

    /// What it costs, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.payload.len() + WAITING_OVERHEAD
    }
}

impl Stream {
    /// Sets where the stream starts, unless that is known.
    pub(crate) fn begin(&mut self, position: u32) -> &mut Seen {
        self.seen.get_or_insert_with(|| {
            self.start = position;
            Seen::from(position)
        })
    }

    /// True when it has begun, and somewhere else than here.
    pub(crate) fn begins_elsewhere(&self, position: u32) -> bool {
        self.seen.is_some() && self.start != position
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.seen.is_some()
    }

    /// The first byte that has not been seen.
    pub(crate) fn next(&self) -> Option<u32> {
        self.seen.as_ref().map(Seen::next)
    }

    pub(crate) fn is_out_of_window(&self, position: u32) -> bool {
        self.next().is_some_and(|next| before(next.wrapping_add(MAX_WINDOW), position))
    }

    /// True when all of it has been seen, and told.
    pub(crate) fn is_complete(&self) -> bool {
        self.waiting.is_empty()
            && matches!((self.next(), self.fin), (Some(next), Some(fin)) if !before(next, fin))
    }

    /// True when some byte before this one has not been seen.
    pub(crate) fn lacks(&self, acknowledged: u32) -> bool {
        let position = self.without_fin(acknowledged);
        self.next().is_some_and(|next| before(next, position)) && !self.is_out_of_window(position)
    }

    /// Lets a segment wait.
    pub(crate) fn wait(&mut self, segment: WaitingSegment) {
        let comes_first = |other: &WaitingSegment| !before(segment.position, other.position);
        let place = self.waiting.partition_point(comes_first);
        self.waiting.insert(place, segment);
    }

    /// True when some byte before this one is in a segment that waits.
    pub(crate) fn keeps_waiting(&self, acknowledged: u32) -> bool {
        self.waiting.front().is_some_and(|first| before(first.position, acknowledged))
    }

    /// Notes that the other side has all bytes before this one. False when that is not news.
    pub(crate) fn acknowledge(&mut self, acknowledged: u32, time: MonotonicTime) -> bool {
        let news = self.acknowledged.is_none() && self.lacks(acknowledged);
        if news {
            self.acknowledged = Some((self.without_fin(acknowledged), time));
        }
        news
    }

    /// A FIN takes the place of one byte.
    fn without_fin(&self, acknowledged: u32) -> u32 {
        match self.fin {
            Some(fin) if before(fin, acknowledged) => fin,
            _ => acknowledged,
        }
    }

    /// The next gap that the other side has long acknowledged, and when it did; with `force`, also
    /// one that it has just acknowledged.
    pub(crate) fn certain_gap(
        &mut self,
        now: MonotonicTime,
        force: bool,
    ) -> Option<((u32, u32), MonotonicTime)> {
        let (position, since) = self.acknowledged?;
        // The FIN may have come since.
        let position = self.without_fin(position);
        let seen = self.seen.as_mut()?;
        if before(seen.next(), position) && !is_late(since, now) && !force {
            return None;
        }
        let gap = seen.give_up(position);
        if gap.is_none() {
            self.acknowledged = None;
        }
        Some((gap?, since))
    }

    /// The next gap, when nothing more will come.
    pub(crate) fn any_gap(&mut self) -> Option<(u32, u32)> {
        let fin = self.fin;
        let seen = self.seen.as_mut()?;
        let end = seen.end();
        seen.give_up(fin.map_or(end, |fin| later(end, fin)))
    }
}
