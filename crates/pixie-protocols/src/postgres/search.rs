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

/// What is kept is cleared of what was passed over when it is longer than this.
const MAX_KEPT: usize = 4 * MAX_PROOF;

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
    /// When the first byte of `buffer` was transferred, or one before it.
    since: MonotonicTime,
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
        /// What was kept of it,
        head: Vec<u8>,
        /// when that was transferred,
        since: MonotonicTime,
        /// and where in the bytes it goes on.
        at: usize,
    },
}

impl Search {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            buffer: Vec::new(),
            next: 0,
            undecided: BinaryHeap::new(),
            since: MonotonicTime::default(),
        }
    }

    /// Searches on. Ends with what it finds.
    pub(super) fn push(&mut self, time: MonotonicTime, bytes: &[u8]) -> Searched {
        let kept = self.buffer.len();
        if kept == 0 {
            if let Some(at) = self.find(bytes) {
                return Searched::Found { passed: at, head: Vec::new(), since: time, at };
            }
            let from = self.forget();
            self.buffer.extend_from_slice(bytes.get(from..).unwrap_or_default());
            self.since = time;
            return Searched::Nothing { passed: from };
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        if let Some(at) = self.find(&buffer) {
            let (since, rest) = if at < kept { (self.since, 0) } else { (time, at - kept) };
            let head = buffer.get(at..kept).unwrap_or_default().to_vec();
            return Searched::Found { passed: at, head, since, at: rest };
        }
        let mut passed = 0;
        if self.undecided.is_empty() || buffer.len() > MAX_KEPT {
            passed = self.forget();
            buffer.drain(..passed);
            buffer.shrink_to(MAX_KEPT);
            self.since = if passed >= kept { time } else { self.since };
        }
        self.buffer = buffer;
        Searched::Nothing { passed }
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
        self.buffer.capacity() + self.undecided.capacity() * size_of::<Undecided>()
    }
}
