//! Messages on a stream: each after its length in two bytes (RFC 1035, section 4.2.2; RFC 7766).

use super::message::Header;
use super::probe;
use crate::arrivals::Arrivals;
use crate::parser::Verdict;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;

/// Bytes of the length before each message.
const PREFIX: usize = 2;

/// A message, or what is there of it.
#[derive(Debug)]
pub(super) struct Framed<'a> {
    pub(super) bytes: &'a [u8],
    /// Some of its end is missing.
    pub(super) cut: bool,
    /// Bytes that it took on the stream, with its length and what is missing.
    pub(super) size: u64,
    pub(super) started: MonotonicTime,
    /// `None` when its end was not seen.
    pub(super) ended: Option<MonotonicTime>,
}

/// What becomes of what is in a stream.
pub(super) trait Take {
    /// Takes a message. False when it cannot be understood.
    fn message(&mut self, framed: &Framed<'_>) -> bool;

    /// So many bytes were passed over.
    fn skipped(&mut self, bytes: u64, cause: Cause);
}

/// One direction of a stream.
#[derive(Debug)]
pub(super) struct Framing {
    /// The most bytes of a message that are kept.
    limit: usize,
    state: State,
    /// The start of a message, its length included.
    held: Vec<u8>,
    /// When these came: all, while it is not known with which of them a message begins.
    arrivals: Arrivals,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next message begins where the last one ended.
    InStep,
    /// Of the message that is held `passed` bytes are missing so far, and `left` are to come.
    Cut { passed: u64, left: u64 },
    /// Nobody knows where a message begins.
    Searching(Cause),
}

impl Framing {
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.max(Header::SIZE + PREFIX);
        Self { limit, state: State::InStep, held: Vec::new(), arrivals: Arrivals::default() }
    }

    pub(super) fn feed(&mut self, time: MonotonicTime, bytes: &[u8], take: &mut impl Take) {
        let joined;
        let mut rest = bytes;
        // Short in either case: half a length, or what `probe` needs more of.
        let is_undecided = match self.state {
            State::InStep => self.held.len() < PREFIX,
            State::Cut { .. } => false,
            State::Searching(_) => true,
        };
        let mut arrivals = Arrivals::at(time);
        if is_undecided && !self.held.is_empty() {
            arrivals = std::mem::take(&mut self.arrivals);
            arrivals.push(self.held.len(), time);
            joined = [&*std::mem::take(&mut self.held), bytes].concat();
            rest = &joined;
        }
        let all = rest.len();
        while !rest.is_empty() {
            let place = all - rest.len();
            rest = match self.state {
                State::InStep => self.read(arrivals.of(place), time, rest, take),
                State::Cut { passed, left } => self.step_over(time, rest, passed, left, take),
                State::Searching(cause) => self.search(&arrivals, place, rest, cause, take),
            };
        }
    }

    /// Takes a message, or what is there of it. Returns what follows.
    fn read<'a>(
        &mut self,
        started: MonotonicTime,
        time: MonotonicTime,
        bytes: &'a [u8],
        take: &mut impl Take,
    ) -> &'a [u8] {
        if self.held.is_empty() {
            self.arrivals = Arrivals::at(started);
            if let Some((length, rest)) = bytes.split_first_chunk() {
                let length = usize::from(u16::from_be_bytes(*length));
                if length < Header::SIZE {
                    self.state = State::Searching(Cause::Malformed);
                    return bytes;
                }
                if let Some((message, rest)) = rest.split_at_checked(length)
                    && length <= self.limit
                {
                    let ended = Some(time);
                    let size = (PREFIX + length) as u64;
                    self.give(&Framed { bytes: message, cut: false, size, started, ended }, take);
                    return rest;
                }
            }
        }
        let wanted = match self.length() {
            None => PREFIX,
            Some(length) => PREFIX + length.min(self.limit),
        };
        let (more, rest) = bytes.split_at_checked(wanted - self.held.len()).unwrap_or((bytes, &[]));
        self.held.reserve(wanted.min(self.held.len() + bytes.len()) - self.held.len());
        self.held.extend_from_slice(more);
        if self.held.len() < wanted {
            return rest;
        }
        match self.length() {
            Some(length) if wanted == PREFIX + length => self.give_held(0, Some(time), take),
            Some(length) if wanted > PREFIX => {
                let left = (PREFIX + length - wanted) as u64;
                self.state = State::Cut { passed: 0, left };
            }
            _ => {}
        }
        rest
    }

    /// The length of the message that is held.
    fn length(&self) -> Option<usize> {
        self.held.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)))
    }

    fn step_over<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        passed: u64,
        left: u64,
        take: &mut impl Take,
    ) -> &'a [u8] {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.pass(time, passed, left, length as u64, take);
        bytes.get(length..).unwrap_or_default()
    }

    /// Passes some of the bytes that are missing of the message that is held.
    fn pass(
        &mut self,
        time: MonotonicTime,
        passed: u64,
        left: u64,
        length: u64,
        take: &mut impl Take,
    ) {
        let (passed, left) = (passed + length, left - length);
        self.state = State::Cut { passed, left };
        if left == 0 {
            self.state = State::InStep;
            self.give_held(passed, Some(time), take);
        }
    }

    /// Looks for the start of a message in the bytes that are at `start` among those of which
    /// `arrivals` tells. Returns it and what follows.
    fn search<'a>(
        &mut self,
        arrivals: &Arrivals,
        start: usize,
        bytes: &'a [u8],
        cause: Cause,
        take: &mut impl Take,
    ) -> &'a [u8] {
        let candidates = (0..bytes.len()).filter_map(|place| {
            let rest = bytes.get(place..)?;
            match probe::place(rest) {
                Verdict::No => None,
                verdict => Some((place, rest, verdict)),
            }
        });
        let (skipped, rest) = match { candidates }.next() {
            None => (bytes.len(), &[][..]),
            Some((place, rest, Verdict::NeedMore)) => {
                self.held = rest.to_vec();
                self.arrivals = arrivals.after(start + place);
                (place, &[][..])
            }
            Some((place, rest, _)) => {
                self.state = State::InStep;
                (place, rest)
            }
        };
        if skipped > 0 {
            take.skipped(skipped as u64, cause);
        }
        rest
    }

    pub(super) fn gap(&mut self, time: MonotonicTime, length: u64, take: &mut impl Take) {
        let beyond = match (self.state, self.length()) {
            (State::Cut { passed, left }, _) => {
                let within = length.min(left);
                self.pass(time, passed, left, within, take);
                length - within
            }
            (State::InStep, Some(message)) => {
                let left = (PREFIX + message - self.held.len()) as u64;
                let within = length.min(left);
                self.pass(time, 0, left, within, take);
                length - within
            }
            _ => {
                self.drop_held(Cause::Unobserved, take);
                length
            }
        };
        if beyond > 0 {
            self.state = State::Searching(Cause::Unobserved);
        }
    }

    pub(super) fn finish(&mut self, take: &mut impl Take) {
        match self.state {
            State::Cut { passed, .. } => self.give_held(passed, None, take),
            State::InStep if self.held.len() >= PREFIX + Header::SIZE => {
                self.give_held(0, None, take);
            }
            State::InStep => self.drop_held(Cause::Unobserved, take),
            State::Searching(cause) => self.drop_held(cause, take),
        }
        self.state = State::InStep;
    }

    fn drop_held(&mut self, cause: Cause, take: &mut impl Take) {
        let held = std::mem::take(&mut self.held);
        self.arrivals = Arrivals::default();
        if !held.is_empty() {
            take.skipped(held.len() as u64, cause);
        }
    }

    /// Hands on the message that is held, of which so many bytes are missing.
    fn give_held(&mut self, missing: u64, ended: Option<MonotonicTime>, take: &mut impl Take) {
        let held = std::mem::take(&mut self.held);
        let framed = Framed {
            bytes: held.get(PREFIX..).unwrap_or_default(),
            cut: missing > 0 || ended.is_none(),
            size: held.len() as u64 + missing,
            started: self.arrivals.of(0),
            ended,
        };
        self.give(&framed, take);
    }

    fn give(&mut self, framed: &Framed<'_>, take: &mut impl Take) {
        if take.message(framed) {
            return;
        }
        let size = (PREFIX + framed.bytes.len()) as u64;
        if framed.cut {
            take.skipped(size, Cause::Unobserved);
        } else {
            take.skipped(size, Cause::Malformed);
            // Whether what follows is a message is to be seen.
            self.state = State::Searching(Cause::Malformed);
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.held.capacity() + self.arrivals.memory()
    }
}
