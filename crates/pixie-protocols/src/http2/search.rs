//! The next place where a frame begins, after a gap or where a connection was joined midway.

use super::frame::{Frame, HEADER};
use super::streams::Plausible;
use pixie_core::time::MonotonicTime;

/// The most times that are remembered of what is kept.
const MAX_MARKS: usize = 64;

/// Looks for the header of a frame, byte by byte.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// What is kept, from `start` on: the first place that may be one and that cannot be told yet.
    kept: Vec<u8>,
    start: usize,
    /// From which place on what is kept came when.
    marks: Vec<(usize, MonotonicTime)>,
    /// How much has to be kept for it to be told.
    needed: usize,
    /// The very next place is one if it looks like one.
    trusted: bool,
    /// A frame that began before a gap ends after so many bytes more.
    expected: Option<u64>,
}

/// What has become of the search.
pub(super) enum Outcome<'a> {
    /// A frame begins after the bytes that were passed over: with these, which had been kept, and
    /// then the rest.
    Start { passed: usize, kept: Vec<u8>, marks: Vec<(usize, MonotonicTime)>, rest: &'a [u8] },
    /// None does, up to what is kept.
    Nothing { passed: usize },
}

/// What there is among some bytes.
enum Scan {
    /// A frame begins here.
    Found(usize),
    /// One may begin here; so many bytes from here on would tell.
    Wait(usize, usize),
}

impl Search {
    /// After a place where a frame must begin, if what follows are frames.
    pub(super) fn trusting() -> Self {
        Self { trusted: true, ..Self::default() }
    }

    /// Takes bytes; `judge` says whether a header is one.
    pub(super) fn push<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        judge: impl Fn(&Frame) -> Plausible,
    ) -> Outcome<'a> {
        let mut rest = bytes;
        let mut passed = 0;
        if let Some(expected) = self.expected {
            let length = usize::try_from(expected).unwrap_or(usize::MAX).min(rest.len());
            passed += length;
            rest = rest.get(length..).unwrap_or_default();
            self.trusted = length as u64 == expected;
            self.expected = Some(expected - length as u64).filter(|_| !self.trusted);
        }
        while !rest.is_empty() && self.kept() > 0 {
            let missing = self.needed.saturating_sub(self.kept());
            let (more, following) = rest.split_at(missing.min(rest.len()));
            self.keep(time, more);
            rest = following;
            if self.kept() < self.needed {
                return Outcome::Nothing { passed };
            }
            match self.scan(self.kept.get(self.start..).unwrap_or_default(), &judge) {
                Scan::Found(start) => {
                    passed += start;
                    self.drop_front(start);
                    self.compact();
                    let kept = std::mem::take(&mut self.kept);
                    let marks = std::mem::take(&mut self.marks);
                    return Outcome::Start { passed, kept, marks, rest };
                }
                Scan::Wait(start, needed) => {
                    passed += start;
                    self.drop_front(start);
                    self.needed = needed;
                    self.trusted &= start == 0;
                }
            }
        }
        if rest.is_empty() {
            return Outcome::Nothing { passed };
        }
        match self.scan(rest, &judge) {
            Scan::Found(start) => {
                let rest = rest.get(start..).unwrap_or_default();
                Outcome::Start { passed: passed + start, kept: Vec::new(), marks: Vec::new(), rest }
            }
            Scan::Wait(start, needed) => {
                self.keep(time, rest.get(start..).unwrap_or_default());
                self.needed = needed;
                self.trusted &= start == 0;
                Outcome::Nothing { passed: passed + start }
            }
        }
    }

    fn scan(&self, bytes: &[u8], judge: impl Fn(&Frame) -> Plausible) -> Scan {
        let mut place = 0;
        loop {
            let Some(rest) = bytes.get(place..).filter(|rest| !rest.is_empty()) else {
                return Scan::Wait(bytes.len(), HEADER);
            };
            let Some(frame) = Frame::read(rest) else { return Scan::Wait(place, HEADER) };
            match judge(&frame) {
                Plausible::No => {}
                Plausible::Strong => return Scan::Found(place),
                Plausible::Weak if place == 0 && self.trusted => return Scan::Found(place),
                Plausible::Weak => {
                    let end = frame.length as usize + HEADER;
                    let following = rest.get(end..).and_then(Frame::read);
                    match following.map(|following| judge(&following)) {
                        None => return Scan::Wait(place, end + HEADER),
                        Some(Plausible::No) => {}
                        Some(_) => return Scan::Found(place),
                    }
                }
            }
            // All that are looked for are shorter than 64 KiB.
            let following = rest.get(1..).unwrap_or_default();
            place += 1 + memchr::memchr(0, following).unwrap_or(following.len());
        }
    }

    fn keep(&mut self, time: MonotonicTime, bytes: &[u8]) {
        let is_new = self.marks.last().is_none_or(|&(_, last)| last != time);
        if !bytes.is_empty() && is_new && self.marks.len() < MAX_MARKS {
            self.marks.push((self.kept.len(), time));
        }
        self.kept.extend_from_slice(bytes);
    }

    fn drop_front(&mut self, length: usize) {
        self.start += length.min(self.kept());
        // Seldom, so that a byte is not moved again and again.
        if self.start > self.kept.len() / 2 {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let start = std::mem::take(&mut self.start);
        self.kept.drain(..start);
        let before = self.marks.iter().take_while(|(place, _)| *place <= start).count();
        self.marks.drain(..before.saturating_sub(1));
        for (place, _) in &mut self.marks {
            *place = place.saturating_sub(start);
        }
        if self.kept.is_empty() {
            self.marks.clear();
        }
    }

    /// Steps over bytes that are not there; returns how many of those that were kept are passed
    /// over by that.
    pub(super) fn gap(&mut self, length: u64) -> usize {
        let end = match self.expected {
            Some(expected) => Some(expected),
            // The end of the frame that may begin here, if it is after what is kept.
            None => self.needed.checked_sub(HEADER + self.kept()).map(|end| end as u64),
        };
        let is_frame = self.expected.is_some() || self.kept() >= HEADER;
        self.expected = end.filter(|_| is_frame).and_then(|end| end.checked_sub(length));
        self.trusted = self.expected == Some(0);
        self.expected = self.expected.filter(|&expected| expected > 0);
        self.needed = 0;
        self.marks.clear();
        let dropped = self.kept();
        self.kept.clear();
        self.start = 0;
        dropped
    }

    /// How much is kept.
    pub(super) fn kept(&self) -> usize {
        self.kept.len() - self.start
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        self.kept.capacity() + self.marks.capacity() * size_of::<(usize, MonotonicTime)>()
    }
}
