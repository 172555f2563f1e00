//! Where the next message begins, after its place was lost.
//!
//! A message may begin with any byte, and of each it takes some more to tell. That with which a
//! message is proven to begin first, byte by byte, is taken: so what is found depends on the bytes
//! alone, not on how they are cut, and what only seems to begin a long message does not hide a
//! short one within.

use super::frame::{HEADER, Side};
use super::proof::{MAX_PROOF, Proof, proof};
use pixie_core::time::MonotonicTime;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// What is kept is cleared of what was passed over when it is longer than this.
const MAX_KEPT: usize = 2 * MAX_PROOF;

/// A search that goes on as bytes come in.
#[derive(Debug)]
pub(super) struct Search {
    side: Side,
    /// What may still be a message.
    buffer: Vec<u8>,
    /// The next place to look at.
    next: usize,
    /// Places that a message may begin at, by where it can be told.
    undecided: BinaryHeap<Reverse<Undecided>>,
    /// When the bytes of `buffer` were transferred: from each of these places on.
    times: Vec<(usize, MonotonicTime)>,
}

/// A place of which it can be told at `end` whether a message begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Undecided {
    end: usize,
    place: usize,
}

/// What came of searching on.
#[derive(Debug)]
pub(super) enum Searched {
    /// So many bytes were passed over, and nothing was found yet.
    Nothing { passed: usize },
    /// A message begins.
    Found {
        passed: usize,
        /// What was kept of it, and when that was transferred,
        head: Vec<(MonotonicTime, Vec<u8>)>,
        /// and where in the bytes it goes on.
        at: usize,
    },
}

impl Search {
    pub(super) fn new(side: Side) -> Self {
        Self { side, buffer: Vec::new(), next: 0, undecided: BinaryHeap::new(), times: Vec::new() }
    }

    /// Searches on. Ends with what it finds.
    pub(super) fn push(&mut self, time: MonotonicTime, bytes: &[u8]) -> Searched {
        let kept = self.buffer.len();
        if kept == 0 {
            if let Some(at) = self.find(bytes) {
                return Searched::Found { passed: at, head: Vec::new(), at };
            }
            let from = self.forget();
            self.buffer.extend_from_slice(bytes.get(from..).unwrap_or_default());
            self.times = vec![(0, time)];
            return Searched::Nothing { passed: from };
        }
        if self.times.last().is_none_or(|&(_, last)| last != time) {
            self.times.push((kept, time));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        if let Some(at) = self.find(&buffer) {
            let head = self.timed(&buffer, at..kept);
            return Searched::Found { passed: at, head, at: at.saturating_sub(kept) };
        }
        let mut passed = 0;
        if self.undecided.is_empty() || buffer.len() > MAX_KEPT {
            passed = self.forget();
            buffer.drain(..passed);
            buffer.shrink_to(MAX_KEPT);
        }
        self.buffer = buffer;
        Searched::Nothing { passed }
    }

    /// These bytes by the times at which they were transferred.
    fn timed(&self, buffer: &[u8], range: Range<usize>) -> Vec<(MonotonicTime, Vec<u8>)> {
        let ends = self.times.iter().skip(1).map(|&(from, _)| from).chain([range.end]);
        let parts = self.times.iter().zip(ends).map(|(&(from, time), end)| {
            let part = from.max(range.start)..end.min(range.end);
            (time, buffer.get(part).unwrap_or_default().to_vec())
        });
        parts.filter(|(_, part)| !part.is_empty()).collect()
    }

    /// The place where a message is proven first.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let fresh = Undecided { end: self.next + HEADER, place: self.next };
            let candidate = match self.undecided.peek() {
                Some(&Reverse(oldest)) if oldest.end <= fresh.end => oldest,
                _ => fresh,
            };
            let Undecided { end, place } = candidate;
            let verdict = proof(self.side, bytes.get(place..end)?);
            match candidate == fresh {
                true => self.next += 1,
                false => drop(self.undecided.pop()),
            }
            match verdict {
                Proof::No => {}
                Proof::NeedMore(need) => {
                    self.undecided.push(Reverse(Undecided { end: place + need, place }));
                }
                Proof::Proven => return Some(place),
            }
        }
    }

    /// Forgets what lies before all places that a message may begin at; returns how many bytes
    /// that are.
    fn forget(&mut self) -> usize {
        let oldest = self.undecided.iter().map(|Reverse(undecided)| undecided.place).min();
        let from = oldest.unwrap_or(self.next);
        self.next -= from;
        let moved = self.undecided.drain().map(|Reverse(Undecided { end, place })| {
            Reverse(Undecided { end: end - from, place: place - from })
        });
        self.undecided = moved.collect::<Vec<_>>().into();
        let last_before = self.times.iter().rposition(|&(place, _)| place <= from).unwrap_or(0);
        self.times.drain(..last_before);
        self.times.iter_mut().for_each(|(place, _)| *place = place.saturating_sub(from));
        from
    }

    /// No more bytes follow on these: returns how many are passed over.
    pub(super) fn end(&mut self) -> usize {
        let passed = self.buffer.len();
        *self = Self::new(self.side);
        passed
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        self.buffer.capacity()
            + self.undecided.capacity() * size_of::<Undecided>()
            + self.times.capacity() * size_of::<(usize, MonotonicTime)>()
    }
}
