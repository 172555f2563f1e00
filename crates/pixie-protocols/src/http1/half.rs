//! One direction of a connection: bytes and gaps in, heads and bodies out.

use super::chunked::{Chunk, ChunkedDecoder, Stepped};
use super::exchanges::{AfterHead, Ended, Exchanges};
use super::fields::BodyLength;
use super::frame::{Fault, Head, HeadDecoder, Kind, LOOKED_AT, Progress};
use super::resync::{Outcome, Search};
use crate::body::Collector;
use crate::parser::Limits;
use memchr::memchr;
use pixie_core::record::{Cause, Headers};
use pixie_core::time::MonotonicTime;
use std::borrow::Cow;

/// Bytes passed over are reported at the end of a search and, so that a long one does not go
/// unnoticed, every so many.
const REPORT_EVERY: u64 = 64 << 10;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Half {
    kind: Kind,
    limits: Limits,
    state: State,
    /// When the message was begun that a search has found.
    starts_at: Option<MonotonicTime>,
    /// When the first byte of the message under way was transferred.
    started: MonotonicTime,
    /// When the last byte was.
    last: MonotonicTime,
    /// Bytes of the message under way on the connection so far.
    wire: u64,
    body: Collector,
    /// A head of which the end has not come yet, or what is blocked.
    buffer: Vec<u8>,
    /// Bytes that were fed and are to be fed again.
    left: Vec<u8>,
    /// A message was understood, and its place since then not lost.
    synced: bool,
    /// Passed over but not reported yet.
    skipped: u64,
    cause: Cause,
    /// Passed over since the last message that was understood.
    lost: u64,
}

#[derive(Debug)]
enum State {
    /// Between messages.
    Boundary,
    /// In a head, of which `buffer` holds what has come.
    Head(Box<HeadDecoder>),
    /// In a body of known length.
    Length { remaining: u64 },
    /// In a chunked body.
    Chunked(Box<ChunkedDecoder>),
    /// In a body that ends with the connection.
    UntilClose,
    /// Looking for the next message.
    Search(Box<Search>),
    /// Requests wait until it is known whether the connection changes its protocol.
    Blocked,
    /// The connection has changed its protocol; `buffer` is what follows.
    Switched,
}

impl Half {
    pub(super) fn new(kind: Kind, limits: Limits) -> Self {
        Self {
            kind,
            limits,
            // A connection that was joined midway begins with anything.
            state: State::Search(Box::new(Search::for_start(kind))),
            starts_at: None,
            started: MonotonicTime::default(),
            last: MonotonicTime::default(),
            wire: 0,
            body: Collector::default(),
            buffer: Vec::new(),
            left: Vec::new(),
            synced: false,
            skipped: 0,
            cause: Cause::Unobserved,
            lost: 0,
        }
    }

    /// Takes bytes. Those that are to be taken only after something else was done about the other
    /// direction, or not here at all, are left for [`Half::take_left`].
    pub(super) fn feed(&mut self, time: MonotonicTime, bytes: &[u8], exchanges: &mut Exchanges) {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            // Also when what follows a head that was given up is looked at anew.
            exchanges.not_understood(self.kind, self.lost());
            let waits = self.kind == Kind::Response && exchanges.releases();
            if waits || exchanges.gives_up() {
                self.left.extend_from_slice(bytes);
                break;
            }
            bytes = match &mut self.state {
                State::Boundary => self.boundary(time, bytes, exchanges),
                State::Head(_) => self.head(time, bytes, exchanges),
                State::Length { .. } => self.counted(time, bytes, exchanges),
                State::Chunked(_) => self.chunked(time, bytes, exchanges),
                State::UntilClose => self.until_close(bytes),
                State::Search(_) => self.search(time, bytes, exchanges),
                State::Blocked => self.blocked(time, bytes, exchanges),
                State::Switched => {
                    self.buffer.extend_from_slice(bytes);
                    &[]
                }
            };
        }
        exchanges.not_understood(self.kind, self.lost());
        self.last = time;
    }

    /// What [`Half::feed`] has left.
    pub(super) fn take_left(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.left)
    }

    /// Between messages: the head often lies whole in what has come.
    fn boundary<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        // Empty lines before a start line are let pass (RFC 9112, section 2.2).
        let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let (_, bytes) = bytes.split_at(empty);
        self.wire += empty as u64;
        if bytes.is_empty() {
            return bytes;
        }
        self.started = self.starts_at.take().unwrap_or(time);
        let mut decoder = HeadDecoder::new(self.kind);
        let window = bytes.get(..self.limits.buffer).unwrap_or(bytes);
        match decoder.advance(window) {
            Ok(Progress::Complete(length)) => {
                let (head, rest) = bytes.split_at(length);
                self.wire += length as u64;
                self.begin(decoder.finish(head.to_vec()), time, exchanges);
                rest
            }
            Ok(Progress::Partial) if window.len() < self.limits.buffer => {
                self.buffer = window.to_vec();
                self.state = State::Head(Box::new(decoder));
                &[]
            }
            Ok(Progress::Partial) => {
                self.give_up(window.len(), Cause::MemoryLimit, exchanges);
                bytes.get(window.len()..).unwrap_or_default()
            }
            Err(fault) => {
                let at = self.give_up_at(fault, exchanges);
                bytes.get(at..).unwrap_or_default()
            }
        }
    }

    /// In a head that comes in pieces: line by line, so that no byte is looked at twice and none
    /// beyond the head is buffered.
    fn head<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let State::Head(decoder) = &mut self.state else { return bytes };
        let room = self.limits.buffer.saturating_sub(self.buffer.len());
        let line = memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1).min(room);
        let (line, rest) = bytes.split_at(line);
        let is_young = self.buffer.len() < LOOKED_AT;
        self.buffer.extend_from_slice(line);
        let progress = match line {
            [.., b'\n'] => decoder.advance(&self.buffer),
            _ if is_young => decoder.advance(&self.buffer),
            _ => Ok(Progress::Partial),
        };
        match progress {
            Ok(Progress::Complete(_)) => {
                let State::Head(decoder) = std::mem::replace(&mut self.state, State::Boundary)
                else {
                    return rest;
                };
                let head = std::mem::take(&mut self.buffer);
                self.wire += head.len() as u64;
                self.begin(decoder.finish(head), time, exchanges);
            }
            Ok(Progress::Partial) if self.buffer.len() < self.limits.buffer => {}
            Ok(Progress::Partial) => {
                let length = std::mem::take(&mut self.buffer).len();
                self.give_up(length, Cause::MemoryLimit, exchanges);
            }
            Err(fault) => {
                let head = std::mem::take(&mut self.buffer);
                let at = self.give_up_at(fault, exchanges);
                self.feed(time, head.get(at..).unwrap_or_default(), exchanges);
            }
        }
        rest
    }

    /// A head is complete: what follows it?
    fn begin(&mut self, mut head: Head, time: MonotonicTime, exchanges: &mut Exchanges) {
        self.report_skipped(exchanges);
        self.synced = true;
        self.lost = 0;
        let next = match self.kind {
            Kind::Request => exchanges.request(&mut head, self.started),
            Kind::Response => exchanges.response(&mut head, self.started),
        };
        match next {
            AfterHead::Body(BodyLength::Known(0)) => {
                self.body = Collector::default();
                self.end(Some(time), true, None, exchanges);
            }
            AfterHead::Body(length) => {
                self.body = match head.framing.call {
                    Some(format) => Collector::of_call(format, self.limits.body),
                    None => Collector::new(self.limits.body),
                };
                self.state = match length {
                    BodyLength::Known(remaining) => State::Length { remaining },
                    BodyLength::Chunked => {
                        State::Chunked(Box::new(ChunkedDecoder::new(self.limits.buffer)))
                    }
                    BodyLength::UntilClose => State::UntilClose,
                    BodyLength::Unknown => {
                        self.end(None, false, None, exchanges);
                        return self.give_up(0, Cause::Malformed, exchanges);
                    }
                };
            }
            AfterHead::Interim => self.state = State::Boundary,
            AfterHead::Switch => {
                self.end(Some(time), true, None, exchanges);
                self.state = State::Switched;
            }
        }
    }

    /// The message under way has ended; `ended` is when, if its end was seen.
    fn end(
        &mut self,
        ended: Option<MonotonicTime>,
        complete: bool,
        trailers: Option<Headers>,
        exchanges: &mut Exchanges,
    ) {
        let body = std::mem::take(&mut self.body);
        let wire = std::mem::take(&mut self.wire);
        let message = Ended { body, complete, trailers, wire, time: ended };
        let blocked = match self.kind {
            Kind::Request => exchanges.request_ended(message),
            Kind::Response => {
                exchanges.response_ended(message);
                false
            }
        };
        self.state = if blocked { State::Blocked } else { State::Boundary };
    }

    fn counted<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let State::Length { remaining } = &mut self.state else { return bytes };
        let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
        let (body, rest) = bytes.split_at(length);
        *remaining -= length as u64;
        let is_done = *remaining == 0;
        self.wire += length as u64;
        self.body.bytes(body);
        if is_done {
            self.end(Some(time), true, None, exchanges);
        }
        rest
    }

    fn chunked<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let State::Chunked(decoder) = &mut self.state else { return bytes };
        let mut rest = bytes;
        let outcome = loop {
            match decoder.next(&mut rest) {
                Chunk::Data(data) => self.body.bytes(data),
                Chunk::Partial => break Ok(false),
                Chunk::End => break Ok(true),
                Chunk::Malformed => break Err(Cause::Malformed),
                Chunk::TooLarge => break Err(Cause::MemoryLimit),
            }
        };
        self.wire += (bytes.len() - rest.len()) as u64;
        if outcome == Ok(false) {
            return rest;
        }
        let State::Chunked(decoder) = std::mem::replace(&mut self.state, State::Boundary) else {
            return rest;
        };
        match outcome {
            Ok(_) => self.end(Some(time), true, Some(decoder.finish()), exchanges),
            Err(cause) => {
                // A line that is no trailer may be the start of the next message.
                let unread = decoder.into_unread();
                self.wire -= unread.len() as u64;
                self.end(None, false, None, exchanges);
                self.give_up(0, cause, exchanges);
                self.feed(time, &unread, exchanges);
            }
        }
        rest
    }

    fn until_close<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        self.body.bytes(bytes);
        self.wire += bytes.len() as u64;
        &[]
    }

    fn search<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let State::Search(search) = &mut self.state else { return bytes };
        let in_chunked = search.is_in_chunked();
        // Not beyond where the connection is given up: which message that is must not depend on how
        // the bytes are cut.
        let patience = match in_chunked {
            true => usize::MAX,
            false => exchanges.patience(self.kind, self.lost + search.kept() as u64),
        };
        let (now, later) = bytes.split_at(patience.min(bytes.len()));
        let rest = match search.push(time, now) {
            Outcome::Start { passed, rest, since, before } => {
                self.starts_at = Some(since);
                self.pass(in_chunked, passed, exchanges);
                if in_chunked {
                    // It has ended with what was transferred last before this.
                    self.end(Some(before), false, None, exchanges);
                }
                self.state = State::Boundary;
                rest
            }
            Outcome::End { passed, rest } => {
                self.pass(in_chunked, passed, exchanges);
                self.end(Some(time), false, None, exchanges);
                rest
            }
            Outcome::Nothing { passed } => {
                self.pass(in_chunked, passed, exchanges);
                return later;
            }
        };
        match rest {
            Cow::Borrowed(rest) => bytes.get(now.len() - rest.len()..).unwrap_or_default(),
            Cow::Owned(rest) => {
                self.feed(time, &rest, exchanges);
                later
            }
        }
    }

    /// Passes over bytes: of a chunked body that has lost its framing they still are a part.
    fn pass(&mut self, in_chunked: bool, bytes: usize, exchanges: &mut Exchanges) {
        if in_chunked {
            self.wire += bytes as u64;
        } else {
            self.skip(bytes, exchanges);
        }
    }

    /// Requests after one that may change the protocol are kept until that is known.
    fn blocked<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        if self.buffer.len() + bytes.len() > self.limits.buffer {
            self.release(exchanges);
            return bytes;
        }
        if self.buffer.is_empty() {
            self.started = time;
        }
        self.buffer.extend_from_slice(bytes);
        &[]
    }

    /// The protocol has not changed: what was kept is more of the same.
    pub(super) fn release(&mut self, exchanges: &mut Exchanges) {
        if let State::Blocked = self.state {
            self.state = State::Boundary;
            let kept = std::mem::take(&mut self.buffer);
            self.feed(self.started, &kept, exchanges);
        }
    }

    /// What follows a change of protocol.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        match self.state {
            State::Blocked | State::Switched => std::mem::take(&mut self.buffer),
            _ => Vec::new(),
        }
    }

    /// Steps over bytes that are not there.
    pub(super) fn gap(&mut self, time: MonotonicTime, length: u64, exchanges: &mut Exchanges) {
        self.release(exchanges);
        let beyond = match &mut self.state {
            State::Length { remaining } => {
                let within = length.min(*remaining);
                *remaining -= within;
                let is_done = *remaining == 0;
                self.body.gap(within);
                self.wire += within;
                if is_done {
                    self.end(Some(time), true, None, exchanges);
                }
                length - within
            }
            State::Chunked(_) => {
                self.gap_in_chunked(time, length, exchanges);
                0
            }
            State::UntilClose => {
                self.body.gap(length);
                self.wire += length;
                0
            }
            State::Search(search) if search.is_in_chunked() => {
                self.wire += search.kept() as u64 + length;
                **search = Search::in_chunked(self.kind, time);
                0
            }
            State::Search(_) | State::Head(_) | State::Boundary => length,
            State::Blocked | State::Switched => 0,
        };
        if beyond > 0 {
            self.lose_place(exchanges);
        }
        exchanges.not_understood(self.kind, self.lost());
        self.last = time;
    }

    fn gap_in_chunked(&mut self, time: MonotonicTime, length: u64, exchanges: &mut Exchanges) {
        let State::Chunked(decoder) = &mut self.state else { return };
        let (within, stepped) = decoder.gap(length);
        self.body.gap(within);
        self.wire += length;
        match stepped {
            Stepped::Within => {}
            Stepped::End => self.end(Some(time), true, None, exchanges),
            Stepped::Lost => {
                self.state = State::Search(Box::new(Search::in_chunked(self.kind, time)));
                self.synced = false;
                exchanges.lost(self.kind);
            }
        }
    }

    /// What lies behind a gap between messages, or in a head, may be anything.
    fn lose_place(&mut self, exchanges: &mut Exchanges) {
        self.drop_buffers(exchanges);
        // Whole messages may have been there, the very first one too.
        self.synced = false;
        exchanges.lost(self.kind);
        self.cause = Cause::Unobserved;
        self.state = State::Search(Box::new(Search::for_start(self.kind)));
    }

    /// What was held in the hope of more is passed over.
    fn drop_buffers(&mut self, exchanges: &mut Exchanges) {
        let wire = usize::try_from(std::mem::take(&mut self.wire)).unwrap_or_default();
        let dropped = match &self.state {
            State::Search(search) => search.kept(),
            State::Head(_) => std::mem::take(&mut self.buffer).len() + wire,
            // Empty lines after the last message are nothing.
            _ => 0,
        };
        self.skip(dropped, exchanges);
    }

    /// Gives up the message that begins here; returns from where on the next one is looked for.
    fn give_up_at(&mut self, fault: Fault, exchanges: &mut Exchanges) -> usize {
        let (at, cause) = match fault {
            Fault::Malformed { at } => (at, Cause::Malformed),
            Fault::TooMany { at } => (at, Cause::MemoryLimit),
        };
        let at = at.max(1);
        self.give_up(at, cause, exchanges);
        at
    }

    /// Passes over this many bytes, and looks for the next message after them.
    fn give_up(&mut self, bytes: usize, cause: Cause, exchanges: &mut Exchanges) {
        self.report_skipped(exchanges);
        // What comes before the first message of a connection that was joined midway is no fault.
        self.cause = if self.synced { cause } else { self.cause };
        let before = usize::try_from(std::mem::take(&mut self.wire)).unwrap_or_default();
        self.skip(before + bytes, exchanges);
        self.lose_sync(exchanges);
        self.state = State::Search(Box::new(Search::for_start(self.kind)));
    }

    fn lose_sync(&mut self, exchanges: &mut Exchanges) {
        if std::mem::take(&mut self.synced) {
            exchanges.lost(self.kind);
        }
    }

    fn skip(&mut self, bytes: usize, exchanges: &mut Exchanges) {
        self.skipped += bytes as u64;
        self.lost += bytes as u64;
        if self.skipped >= REPORT_EVERY {
            self.report_skipped(exchanges);
        }
    }

    fn report_skipped(&mut self, exchanges: &mut Exchanges) {
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            exchanges.skipped(self.kind, skipped, self.cause);
        }
    }

    /// No more bytes will come.
    pub(super) fn finish(&mut self, exchanges: &mut Exchanges) {
        match &self.state {
            State::Length { .. } | State::Chunked(_) => {
                self.end(None, false, None, exchanges);
            }
            State::UntilClose => self.end(Some(self.last), true, None, exchanges),
            State::Search(search) if search.is_in_chunked() => {
                self.wire += search.kept() as u64;
                // Whether that was all of it cannot be told, but when the last of it came can.
                self.end(Some(self.last), false, None, exchanges);
            }
            State::Blocked | State::Switched => return,
            State::Head(_) if self.synced => self.cause = Cause::Malformed,
            State::Search(_) | State::Head(_) | State::Boundary => {}
        }
        self.drop_buffers(exchanges);
        self.report_skipped(exchanges);
        self.state = State::Boundary;
    }

    /// Bytes that are known to be no part of a message since the last one that was understood; 0
    /// when its place is known.
    fn lost(&self) -> u64 {
        match &self.state {
            State::Search(search) if !search.is_in_chunked() => {
                self.lost + search.dismissed() as u64
            }
            _ => 0,
        }
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        let state = match &self.state {
            State::Search(search) => search.memory(),
            State::Chunked(decoder) => decoder.memory(),
            _ => 0,
        };
        self.buffer.capacity() + self.body.memory() + state
    }
}
