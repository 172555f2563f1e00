//! Received bytes that wait for what they may answer.
//!
//! A transfer is told of when its call ends. While one thread is on its way back from sending a
//! request, another can receive the answer: that is then told of first. The source knows by TCP's
//! own count, or because a call that writes is under way, that something was sent that it has not told
//! of yet, and says so.

use pixie_core::id::{ConnectionId, Direction};
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;
use pixie_probes::event::Data;
use pixie_protocols::stream::StreamLimits;
use std::collections::VecDeque;

/// What is known to be on its way is waited for so many times as long as what may be lost.
const PATIENCE: u32 = 10;

/// What was received of one connection and waits, in its order.
#[derive(Debug, Default)]
pub(super) struct Answers {
    queue: VecDeque<Answer>,
    /// Bytes in the queue.
    bytes: usize,
    /// The place that what was sent has reached, or was waited for in vain.
    reached: Option<u32>,
}

/// A transfer that waits.
#[derive(Debug)]
pub(super) struct Answer {
    /// The place that what was sent must reach first, if this does not only wait for its turn.
    until: Option<u32>,
    connection: ConnectionId,
    time: MonotonicTime,
    position: u32,
    length: u32,
    captured: Vec<u8>,
    hole: Cause,
    end: bool,
}

impl Answer {
    /// The transfer, as it was told of.
    pub(super) fn data(&self) -> Data<'_> {
        let Self { connection, time, position, length, ref captured, hole, end, .. } = *self;
        let data = Data::new(connection, time, Direction::Received, position, captured);
        Data { length, hole, end, ..data }
    }
}

impl Answers {
    /// Holds the transfer back, if it was received when more had been sent than was told of, or
    /// after one that waits. True when it was.
    pub(super) fn hold(&mut self, data: &Data<'_>) -> bool {
        let until = data.sent_until.filter(|until| self.lacks(*until));
        if self.queue.is_empty() && until.is_none() {
            return false;
        }
        self.bytes += data.captured.len();
        self.queue.push_back(Answer {
            until,
            connection: data.connection,
            time: data.time,
            position: data.position,
            length: data.length,
            captured: data.captured.to_vec(),
            hole: data.hole,
            end: data.end,
        });
        true
    }

    /// Takes note that all that was sent before this place has been told.
    pub(super) fn reach(&mut self, position: u32) {
        if self.lacks(position) {
            self.reached = Some(position);
        }
    }

    /// When the first one was received: what it waits for was sent by then, whenever that is told of.
    pub(super) fn first(&self) -> Option<MonotonicTime> {
        self.queue.front().map(|first| first.time)
    }

    /// The first one that need not wait any longer: what it waited for has been told, or has not
    /// come for too long, or too much waits.
    pub(super) fn next(&mut self, now: MonotonicTime, limits: &StreamLimits) -> Option<Answer> {
        let first = self.queue.front()?;
        if let Some(until) = first.until.filter(|until| self.lacks(*until)) {
            let too_much =
                self.queue.len() > limits.held_segments || self.bytes > limits.held_bytes;
            let patience = limits.held_for.saturating_mul(PATIENCE);
            if now.since(first.time) <= patience && !too_much {
                return None;
            }
            self.reached = Some(until);
        }
        self.pop()
    }

    /// The first one, whatever it waits for.
    pub(super) fn pop(&mut self) -> Option<Answer> {
        let first = self.queue.pop_front()?;
        self.bytes -= first.captured.len();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(first)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of memory that are held now.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.queue.capacity() * size_of::<Answer>()
    }

    /// Whether what was sent has yet to reach this place: within half of the sequence's numbers
    /// behind it.
    fn lacks(&self, place: u32) -> bool {
        self.reached.is_none_or(|reached| (place.wrapping_sub(reached) as i32) > 0)
    }
}
