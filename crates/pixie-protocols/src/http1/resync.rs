//! Where the next message begins, after its place was lost.
//!
//! Both kinds of start line contain `HTTP/1.`, so that is searched for, and what is around it
//! checked more strictly than between messages whose place is known: only registered methods, no
//! spaces in targets. A start line may follow on anything, because bodies do not end in a line end.
//! The search depends on the bytes alone, not on how they are cut into segments.

use super::frame::{FieldsDecoder, Kind, Progress};
use super::methods;
use crate::arrivals::Arrivals;
use memchr::{memmem, memrchr};
use pixie_core::time::MonotonicTime;
use std::borrow::Cow;

/// The longest request target that is found.
const MAX_TARGET: usize = 8 << 10;

/// The longest method, the space after it, the space before the version.
const AROUND_TARGET: usize = 32;

const RESPONSE: &[u8] = b"HTTP/1.";
const REQUEST: &[u8] = b" HTTP/1.";

/// A search that goes on as bytes come in.
#[derive(Debug)]
pub(super) struct Search {
    kind: Kind,
    /// The search is also for the end of a chunked body.
    in_chunked: bool,
    /// What may still be a part of what is searched for, from `candidate` on.
    buffer: Vec<u8>,
    candidate: usize,
    /// Where in `buffer` each search goes on.
    start_from: usize,
    end_from: usize,
    /// `buffer` follows directly on a gap.
    fresh: bool,
    /// When the bytes of `buffer` were transferred.
    arrivals: Arrivals,
    /// When what lies before `buffer` was.
    before: MonotonicTime,
}

/// What a search came to, and how many bytes were passed over since the last time.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    /// A message begins with `rest`. Its first byte was transferred at `since`, and what lies before
    /// it at `before`.
    Start { passed: usize, rest: Cow<'a, [u8]>, since: MonotonicTime, before: MonotonicTime },
    /// The chunked body has ended, and `rest` follows.
    End { passed: usize, rest: Cow<'a, [u8]> },
    /// Nothing yet.
    Nothing { passed: usize },
}

impl Search {
    /// For the start of a message.
    pub(super) fn for_start(kind: Kind) -> Self {
        Self {
            kind,
            in_chunked: false,
            buffer: Vec::new(),
            candidate: 0,
            start_from: 0,
            end_from: 0,
            fresh: true,
            arrivals: Arrivals::default(),
            before: MonotonicTime::default(),
        }
    }

    /// For the end of a chunked body, directly after a gap that came at `before`, or the start of a
    /// message.
    pub(super) fn in_chunked(kind: Kind, before: MonotonicTime) -> Self {
        Self { in_chunked: true, before, ..Self::for_start(kind) }
    }

    /// True when the end of a chunked body is searched for.
    pub(super) fn is_in_chunked(&self) -> bool {
        self.in_chunked
    }

    /// Searches on. Only what may be a part of what is searched for is copied.
    pub(super) fn push<'a>(&mut self, time: MonotonicTime, bytes: &'a [u8]) -> Outcome<'a> {
        if self.buffer.is_empty() {
            self.arrivals = Arrivals::at(time);
            let hit = self.find(bytes);
            if let Hit::Nothing { keep } = hit {
                self.buffer = bytes.get(keep..).unwrap_or_default().to_vec();
                return Outcome::Nothing { passed: self.forgotten(keep) };
            }
            return self.outcome(hit, |at| Cow::Borrowed(bytes.get(at..).unwrap_or_default()));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.arrivals.push(buffer.len(), time);
        buffer.extend_from_slice(bytes);
        let hit = self.find(&buffer);
        if let Hit::Nothing { keep } = hit {
            self.buffer = buffer;
            return Outcome::Nothing { passed: self.forget(keep) };
        }
        self.outcome(hit, |at| Cow::Owned(buffer.split_off(at)))
    }

    fn outcome<'a>(&self, hit: Hit, rest: impl FnOnce(usize) -> Cow<'a, [u8]>) -> Outcome<'a> {
        match hit {
            Hit::Start(passed) => Outcome::Start {
                passed,
                rest: rest(passed),
                since: self.arrivals.of(passed),
                before: self.arrived_before(passed),
            },
            Hit::End(passed) => Outcome::End { passed, rest: rest(passed) },
            Hit::Nothing { keep } => Outcome::Nothing { passed: keep },
        }
    }

    /// When the byte came that lies before this place in the buffer.
    fn arrived_before(&self, place: usize) -> MonotonicTime {
        place.checked_sub(1).map_or(self.before, |last| self.arrivals.of(last))
    }

    /// Which of the things that are searched for comes first.
    fn find(&mut self, bytes: &[u8]) -> Hit {
        let start = find_start(self.kind, bytes, self.start_from);
        let end = match self.in_chunked {
            true => find_last_chunk(bytes, self.end_from, self.fresh),
            false => Found::Nothing { keep: usize::MAX, resume: 0 },
        };
        match (start, end) {
            (Found::At(start), Found::At(end)) if end <= start => Hit::End(end),
            (Found::At(start), _) => Hit::Start(start),
            (_, Found::At(end)) => Hit::End(end),
            (
                Found::Nothing { keep: start_keep, resume: start_from },
                Found::Nothing { keep: end_keep, resume: end_from },
            ) => {
                self.start_from = start_from;
                self.end_from = end_from;
                Hit::Nothing { keep: start_keep.min(end_keep) }
            }
        }
    }

    /// Forgets what lies before `keep`. Not at once, but when it is half of everything: so that
    /// bytes that trickle in are not moved each time.
    fn forget(&mut self, keep: usize) -> usize {
        self.candidate = keep;
        if keep < self.buffer.len() / 2 {
            return 0;
        }
        self.buffer.drain(..keep);
        self.buffer.shrink_to(2 * MAX_TARGET);
        self.forgotten(keep)
    }

    /// The buffer begins `length` bytes later than it did, with what may be a part of what is
    /// searched for.
    fn forgotten(&mut self, length: usize) -> usize {
        self.candidate = 0;
        self.start_from = self.start_from.saturating_sub(length);
        self.end_from = self.end_from.saturating_sub(length);
        self.fresh &= length == 0;
        self.before = self.arrived_before(length);
        self.arrivals = self.arrivals.after(length);
        length
    }

    /// Bytes that are kept, and known to be no part of what is searched for.
    pub(super) fn dismissed(&self) -> usize {
        self.candidate
    }

    /// Bytes that are kept, and not passed over yet.
    pub(super) fn kept(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        self.buffer.capacity() + self.arrivals.memory()
    }
}

/// What comes first.
#[derive(Clone, Copy, Debug)]
enum Hit {
    Start(usize),
    End(usize),
    Nothing { keep: usize },
}

/// What one search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// A message begins, or the body ends, here.
    At(usize),
    /// None before this place; one may from here on, when there is more. The search is to go on at
    /// `resume`.
    Nothing { keep: usize, resume: usize },
}

/// Searches for the start of a message. What ends before `from` was searched already.
fn find_start(kind: Kind, bytes: &[u8], from: usize) -> Found {
    match kind {
        Kind::Request => find_request(bytes, from),
        Kind::Response => find_response(bytes, from),
    }
}

fn find_response(bytes: &[u8], mut from: usize) -> Found {
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let Some(at) = memmem::find(rest, RESPONSE).map(|at| from + at) else {
            let keep = bytes.len() - partial_suffix(rest, RESPONSE);
            return Found::Nothing { keep, resume: keep };
        };
        match bytes.get(at + RESPONSE.len()..).unwrap_or_default() {
            [b'0' | b'1', b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'\n', ..]
            | [b'0' | b'1', b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b'\r', b'\n', ..] => {
                return Found::At(at);
            }
            []
            | [b'0' | b'1']
            | [b'0' | b'1', b' ']
            | [b'0' | b'1', b' ', b'1'..=b'9']
            | [b'0' | b'1', b' ', b'1'..=b'9', b'0'..=b'9']
            | [b'0' | b'1', b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']
            | [b'0' | b'1', b' ', b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b'\r'] => {
                return Found::Nothing { keep: at, resume: at };
            }
            _ => from = at + RESPONSE.len(),
        }
    }
}

fn find_request(bytes: &[u8], mut from: usize) -> Found {
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let Some(at) = memmem::find(rest, REQUEST).map(|at| from + at) else {
            let resume = bytes.len() - partial_suffix(rest, REQUEST);
            return Found::Nothing { keep: request_keep(bytes), resume };
        };
        match bytes.get(at + REQUEST.len()..).unwrap_or_default() {
            [b'0' | b'1', b'\n', ..] | [b'0' | b'1', b'\r', b'\n', ..] => {
                if let Some(start) = request_start(bytes, at) {
                    return Found::At(start);
                }
            }
            [] | [b'0' | b'1'] | [b'0' | b'1', b'\r'] => {
                return Found::Nothing { keep: request_keep(bytes), resume: at };
            }
            _ => {}
        }
        from = at + REQUEST.len();
    }
}

/// The place from which on a request line may lie of which the end has not come: `METHOD`,
/// `METHOD target` or `METHOD target HTTP/1.1`, or the start of one of them.
fn request_keep(bytes: &[u8]) -> usize {
    let longest = bytes.len().saturating_sub(MAX_TARGET + AROUND_TARGET);
    let visible = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let line = visible.iter().rposition(|byte| !(0x20..0x7f).contains(byte));
    let line_start = line.map_or(0, |before| before + 1).max(longest);
    let line = visible.get(line_start..).unwrap_or_default();

    let (before_last, last) = split_last_word(line);
    let (before_two, _) = split_last_word(before_last.unwrap_or_default());
    // The method may be the third to last word, the second to last, or the start of one the last.
    let method_end = [before_two, before_last].into_iter().flatten();
    let mut methods = method_end.filter_map(|end| Some((end, methods::suffix(end)?)));
    let from_end = match methods.next() {
        Some((end, method)) => line.len() - (end.len() - method.len()),
        None => methods::partial_suffix(last),
    };
    bytes.len() - from_end - usize::from(visible.len() < bytes.len())
}

/// What lies before the last space, if there is one, and after it.
fn split_last_word(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match memrchr(b' ', line) {
        Some(space) => {
            let (before, after) = line.split_at(space);
            (Some(before), after.get(1..).unwrap_or_default())
        }
        None => (None, line),
    }
}

/// The start of the request line whose target ends at `target_end`.
fn request_start(bytes: &[u8], target_end: usize) -> Option<usize> {
    let window = target_end.saturating_sub(MAX_TARGET + 1);
    let before = bytes.get(window..target_end)?;
    let target = before.iter().rposition(|&byte| !(0x21..0x7f).contains(&byte))?;
    if before.get(target) != Some(&b' ') || target + 1 == before.len() {
        return None;
    }
    let method_end = window + target;
    let method = methods::suffix(bytes.get(..method_end)?)?;
    Some(method_end - method.len())
}

/// The last chunk of a chunked body, with the line end before it. The trailer section follows.
const LAST_CHUNK: &[u8] = b"\n0\r\n";

/// The longest trailer section that is found. It is looked at anew with every piece that comes.
const MAX_TRAILERS: usize = 1 << 10;

/// Searches for the end of a chunked body of which the framing was lost. `fresh` says that the
/// first of the bytes follows directly on a gap, which may have ended with a line.
fn find_last_chunk(bytes: &[u8], mut from: usize, fresh: bool) -> Found {
    let after_gap = LAST_CHUNK.get(1..).unwrap_or_default();
    if fresh && from == 0 {
        if after_gap.starts_with(bytes) {
            return Found::Nothing { keep: 0, resume: 0 };
        }
        if bytes.starts_with(after_gap)
            && let Some(found) = end_of_trailers(bytes, 0, after_gap.len())
        {
            return found;
        }
    }
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let Some(at) = memmem::find(rest, LAST_CHUNK).map(|at| from + at) else {
            let resume = bytes.len() - partial_suffix(rest, LAST_CHUNK);
            return Found::Nothing { keep: resume, resume };
        };
        if let Some(found) = end_of_trailers(bytes, at, at + LAST_CHUNK.len()) {
            return found;
        }
        from = at + 1;
    }
}

/// Where the trailer section ends that begins at `section`, after the last chunk at `last_chunk`.
/// `None` when it is no such section.
fn end_of_trailers(bytes: &[u8], last_chunk: usize, section: usize) -> Option<Found> {
    let lines = bytes.get(section..)?;
    match FieldsDecoder::with_capacity(0).advance(lines) {
        Ok(Progress::Complete(length)) if length <= MAX_TRAILERS => {
            Some(Found::At(section + length))
        }
        Ok(Progress::Partial) if lines.len() < MAX_TRAILERS => {
            Some(Found::Nothing { keep: last_chunk, resume: last_chunk })
        }
        _ => None,
    }
}

/// The length of the longest end of `bytes` that `pattern` begins with, but is longer than.
fn partial_suffix(bytes: &[u8], pattern: &[u8]) -> usize {
    (1..pattern.len())
        .rev()
        .find(|&length| {
            bytes.len().checked_sub(length).and_then(|at| bytes.get(at..)) == pattern.get(..length)
        })
        .unwrap_or(0)
}
