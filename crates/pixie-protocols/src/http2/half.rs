//! One direction of a connection: bytes to frames, and frames to header blocks and data.

use super::detour::Detour;
use super::frame::{self, Frame, HEADER, PREFACE, kind};
use super::head::Head;
use super::hpack::{Decoder, FieldList};
use super::search::{Outcome, Search};
use super::streams::{Kind, Place, Streams};
use crate::parser::Limits;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;

/// Bytes that were passed over are reported after so many.
const REPORT_EVERY: u64 = 64 << 10;

/// Reads what goes one way.
#[derive(Debug)]
pub(super) struct Half {
    kind: Kind,
    limits: Limits,
    state: State,
    /// The start of a frame, or of its payload.
    buffer: Vec<u8>,
    /// When the first byte of the frame came.
    started: MonotonicTime,
    hpack: Decoder,
    list: FieldList,
    /// A header block that goes on in the next frame.
    block: Option<Block>,
    /// The last frame, if it was `DATA`.
    data: Option<Frame>,
    /// What may explain all of the bytes that are being passed over.
    detour: Option<Detour>,
    /// Bytes since the last place that was known, both there and not.
    passed: u64,
    /// Bytes passed over that are not reported yet, and why.
    skipped: u64,
    cause: Cause,
    /// Bytes passed over since frames were last understood.
    lost: u64,
}

#[derive(Debug)]
enum State {
    /// Nothing has been seen.
    Start,
    /// A frame begins.
    Frame,
    /// In a payload that is read as a whole.
    Payload { frame: Frame, left: u32, whole: bool },
    /// In the payload of a `DATA` frame.
    Data { frame: Frame, left: u32, padding: Padding },
    /// In a payload that nobody needs; it belongs to nothing when it is `stray`.
    Pass { left: u32, stray: bool },
    /// A frame begins, but where is not known.
    Search(Box<Search>),
}

/// The padding at the end of a payload.
#[derive(Clone, Copy, Debug)]
enum Padding {
    /// Its length is the next byte.
    Unread,
    /// It is this long.
    Is(u32),
}

/// A header block in several frames.
#[derive(Debug)]
struct Block {
    place: Place,
    bytes: Vec<u8>,
    /// Nothing of it is missing.
    whole: bool,
}

impl Half {
    pub(super) fn new(kind: Kind, limits: Limits) -> Self {
        Self {
            kind,
            limits,
            state: State::Start,
            buffer: Vec::new(),
            started: MonotonicTime::default(),
            hpack: Decoder::new(),
            list: FieldList::default(),
            block: None,
            data: None,
            detour: None,
            passed: 0,
            skipped: 0,
            cause: Cause::Unobserved,
            lost: 0,
        }
    }

    pub(super) fn feed(&mut self, time: MonotonicTime, bytes: &[u8], streams: &mut Streams) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match &self.state {
                State::Start if self.kind == Kind::Request => self.preface(time, rest, streams),
                State::Start | State::Frame => self.header(time, rest, streams),
                State::Payload { .. } => self.payload(time, rest, streams),
                State::Data { .. } => self.data(time, rest, streams),
                State::Pass { .. } => self.pass(rest, streams),
                State::Search(_) => self.search(time, rest, streams),
            };
        }
    }

    /// What a client sends first. Where it does not, the connection was joined midway.
    fn preface<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        streams: &mut Streams,
    ) -> &'a [u8] {
        let expected = PREFACE.get(self.buffer.len()..).unwrap_or_default();
        let same =
            expected.iter().zip(bytes).take_while(|(expected, byte)| expected == byte).count();
        let (start, rest) = bytes.split_at(same);
        if self.buffer.is_empty() {
            self.started = time;
        }
        if same == expected.len() {
            self.buffer.clear();
            self.state = State::Frame;
            streams.begins(self.kind);
        } else if rest.is_empty() {
            self.buffer.extend_from_slice(start);
        } else {
            self.buffer.extend_from_slice(start);
            let kept = std::mem::take(&mut self.buffer);
            self.state = State::Search(Box::new(Search::trusting()));
            self.feed(self.started, &kept, streams);
        }
        rest
    }

    fn header<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        streams: &mut Streams,
    ) -> &'a [u8] {
        if self.buffer.is_empty() {
            self.started = time;
            if let Some(frame) = Frame::read(bytes) {
                let used = self.begin(time, frame, streams);
                return bytes.get(used..).unwrap_or_default();
            }
        }
        let missing = HEADER - self.buffer.len();
        let (start, rest) = bytes.split_at(missing.min(bytes.len()));
        self.buffer.extend_from_slice(start);
        if let Some(frame) = Frame::read(&self.buffer) {
            let kept = std::mem::take(&mut self.buffer);
            if self.begin(time, frame, streams) == 0 {
                // It is none: among these bytes one may begin.
                self.feed(self.started, &kept, streams);
            } else {
                self.recycle(kept);
            }
        }
        rest
    }

    /// The header of a frame has come. Returns how many bytes that was: none if it is no header.
    fn begin(&mut self, time: MonotonicTime, frame: Frame, streams: &mut Streams) -> usize {
        if matches!(self.state, State::Start) {
            // What a server sends first (RFC 9113, section 3.4).
            let is_first = frame.kind == kind::SETTINGS && !frame.is_ack() && frame.is_usual();
            if !is_first {
                self.state = State::Search(Box::new(Search::trusting()));
                return 0;
            }
            streams.begins(self.kind);
        }
        self.state = State::Frame;
        if !frame.is_valid() || !streams.is_allowed(self.kind, &frame) {
            self.lose_place(Cause::Malformed, streams);
            return 0;
        }
        self.lost = 0;
        self.data = Some(frame).filter(|frame| frame.kind == kind::DATA);
        let continues = frame.kind == kind::CONTINUATION
            && self.block.as_ref().is_some_and(|block| block.place.stream == frame.stream);
        if !continues && (self.block.is_some() || frame.kind == kind::CONTINUATION) {
            // The rest of a block was lost, or its start.
            self.break_block(streams);
            if frame.kind == kind::CONTINUATION {
                self.stray(frame, streams.cause_of_stray(self.kind, frame.stream), streams);
                return HEADER;
            }
        }
        let left = frame.length;
        let held = self.block.as_ref().map_or(0, |block| block.bytes.len());
        let is_small = held.saturating_add(left as usize) <= self.limits.buffer;
        self.state = match frame.kind {
            kind::DATA => {
                if !streams.data_begins(self.kind, &frame, HEADER as u64) {
                    let cause = streams.cause_of_stray(self.kind, frame.stream);
                    self.stray(frame, cause, streams);
                    return HEADER;
                }
                let padding = if frame.is_padded() { Padding::Unread } else { Padding::Is(0) };
                State::Data { frame, left, padding }
            }
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION if !is_small => {
                self.break_block(streams);
                self.stray(frame, Cause::MemoryLimit, streams);
                return HEADER;
            }
            kind::RST_STREAM | kind::SETTINGS | kind::GOAWAY if !is_small => {
                State::Pass { left, stray: false }
            }
            kind::HEADERS
            | kind::PUSH_PROMISE
            | kind::CONTINUATION
            | kind::RST_STREAM
            | kind::SETTINGS
            | kind::GOAWAY => State::Payload { frame, left, whole: true },
            _ => State::Pass { left, stray: false },
        };
        if left == 0 {
            self.end_frame(time, streams);
        }
        HEADER
    }

    /// Steps over a frame that belongs to nothing. When it is a part of a header block, what the
    /// compression refers to is lost.
    fn stray(&mut self, frame: Frame, cause: Cause, streams: &mut Streams) {
        if frame.has_block() {
            self.hpack.forget();
        }
        self.skip(HEADER as u64, cause, streams);
        self.state = State::Pass { left: frame.length, stray: true };
        if frame.length == 0 {
            self.state = State::Frame;
        }
    }

    /// The payload has come to its end, or will not.
    fn end_frame(&mut self, time: MonotonicTime, streams: &mut Streams) {
        match std::mem::replace(&mut self.state, State::Frame) {
            State::Payload { frame, left, whole } => {
                let payload = std::mem::take(&mut self.buffer);
                let wire = frame.size() - u64::from(left);
                self.whole_frame((frame, wire), &payload, whole, time, streams);
                self.recycle(payload);
            }
            State::Data { frame, .. } => {
                streams.data_ends(self.kind, frame.stream, frame.ends_stream(), time);
            }
            _ => {}
        }
    }

    /// Keeps the memory of a buffer for the next frame.
    fn recycle(&mut self, mut buffer: Vec<u8>) {
        const USUAL: usize = 4096;
        if self.buffer.capacity() == 0 && buffer.capacity() <= USUAL {
            buffer.clear();
            self.buffer = buffer;
        }
    }

    fn payload<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        streams: &mut Streams,
    ) -> &'a [u8] {
        let State::Payload { frame, left, whole } = &mut self.state else { return bytes };
        let (part, rest) = bytes.split_at((*left as usize).min(bytes.len()));
        *left -= part.len() as u32;
        let (frame, is_done, whole) = (*frame, *left == 0, *whole);
        if is_done && self.buffer.is_empty() && whole {
            self.state = State::Frame;
            self.whole_frame((frame, frame.size()), part, true, time, streams);
            return rest;
        }
        if whole {
            self.buffer.extend_from_slice(part);
        }
        if is_done {
            self.end_frame(time, streams);
        }
        rest
    }

    /// A frame has come to its end, with so many bytes; `payload` is all of it, or what came before
    /// a hole in it.
    fn whole_frame(
        &mut self,
        (frame, wire): (Frame, u64),
        payload: &[u8],
        whole: bool,
        time: MonotonicTime,
        streams: &mut Streams,
    ) {
        match frame.kind {
            kind::HEADERS | kind::PUSH_PROMISE => {
                let place = Place {
                    stream: frame.stream,
                    promised: match frame.kind {
                        kind::PUSH_PROMISE => {
                            let at = usize::from(frame.is_padded());
                            Some(frame::number(payload, at).unwrap_or(0) & 0x7fff_ffff)
                        }
                        _ => None,
                    },
                    ends_stream: frame.ends_stream(),
                    wire,
                    started: self.started,
                    ended: time,
                };
                let part = frame.block(payload);
                if frame.ends_headers() {
                    self.end_block(place, part, whole, streams);
                } else {
                    self.block = Some(Block { place, bytes: part.to_vec(), whole });
                }
            }
            kind::CONTINUATION => {
                let Some(mut block) = self.block.take() else { return };
                if block.whole {
                    block.bytes.extend_from_slice(payload);
                }
                block.whole &= whole;
                block.place.wire += wire;
                block.place.ended = time;
                match frame.ends_headers() {
                    true => self.end_block(block.place, &block.bytes, block.whole, streams),
                    false => self.block = Some(block),
                }
            }
            kind::RST_STREAM => {
                if let Some(code) = frame::number(payload, 0) {
                    streams.reset(frame.stream, code);
                }
            }
            kind::GOAWAY => {
                if let (Some(last), Some(code)) =
                    (frame::number(payload, 0), frame::number(payload, 4))
                {
                    streams.goaway(self.kind, last & 0x7fff_ffff, code);
                }
            }
            kind::SETTINGS => {
                for (identifier, value) in frame::settings(payload) {
                    if identifier == frame::MAX_FRAME_SIZE {
                        streams.takes_frames_of(self.kind, value);
                    }
                }
            }
            _ => {}
        }
    }

    fn end_block(&mut self, place: Place, block: &[u8], whole: bool, streams: &mut Streams) {
        self.list.clear(block.len());
        // A fault shows in that the fields are not complete.
        let _ = self.hpack.decode(block, self.limits.buffer, &mut self.list);
        if !whole {
            self.list.incomplete = true;
            self.hpack.forget();
        }
        let head = Head::new(&mut self.list);
        streams.head(self.kind, place, head);
    }

    /// What was missing of a header block will not come.
    fn break_block(&mut self, streams: &mut Streams) {
        if let Some(block) = self.block.take() {
            self.end_block(block.place, &block.bytes, false, streams);
        }
    }

    fn data<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        streams: &mut Streams,
    ) -> &'a [u8] {
        let State::Data { frame, left, padding } = &mut self.state else { return bytes };
        let stream = frame.stream;
        let Padding::Is(padded) = *padding else {
            let (&length, rest) = bytes.split_first().unwrap_or((&0, bytes));
            *left -= 1;
            // More padding than there is room for is a fault of the peer's.
            *padding = Padding::Is(u32::from(length).min(*left));
            streams.data(self.kind, stream, &[], 1);
            if *left == 0 {
                self.end_frame(time, streams);
            }
            return rest;
        };
        let (part, rest) = bytes.split_at((*left as usize).min(bytes.len()));
        let content = part.get(..(*left - padded.min(*left)) as usize).unwrap_or(part);
        *left -= part.len() as u32;
        *padding = Padding::Is(padded.min(*left));
        let is_done = *left == 0;
        streams.data(self.kind, stream, content, part.len() as u64);
        if is_done {
            self.end_frame(time, streams);
        }
        rest
    }

    fn pass<'a>(&mut self, bytes: &'a [u8], streams: &mut Streams) -> &'a [u8] {
        let State::Pass { left, stray } = &mut self.state else { return bytes };
        let length = (*left as usize).min(bytes.len());
        *left -= length as u32;
        let (is_done, is_stray) = (*left == 0, *stray);
        if is_stray {
            self.skip(length as u64, self.cause, streams);
        }
        if is_done {
            self.state = State::Frame;
        }
        bytes.get(length..).unwrap_or_default()
    }

    fn search<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        streams: &mut Streams,
    ) -> &'a [u8] {
        let kind = self.kind;
        let State::Search(search) = &mut self.state else { return bytes };
        match search.push(time, bytes, |frame| streams.judge(kind, frame)) {
            Outcome::Start { passed, kept, marks, rest } => {
                self.pass_over(passed, streams);
                self.report_skipped(streams);
                let next = Frame::read(if kept.is_empty() { rest } else { &kept });
                self.resume(next, time, streams);
                self.state = State::Frame;
                self.feed_kept(&kept, &marks, streams);
                rest
            }
            Outcome::Nothing { passed } => {
                self.pass_over(passed, streams);
                &[]
            }
        }
    }

    /// The next frame has been found: now it can be told what was lost.
    fn resume(&mut self, next: Option<Frame>, time: MonotonicTime, streams: &mut Streams) {
        // A stream that goes on with this frame has not ended.
        if !next.is_some_and(|next| streams.is_under_way(self.kind, next.stream)) {
            streams.passed(self.kind, self.passed, time);
        }
        let explained = self.detour.and_then(|detour| {
            let content = detour.content(self.passed)?;
            Some((detour.stream, content))
        });
        if let Some((stream, content)) = explained {
            self.detour = None;
            if streams.is_alone(self.kind, stream) {
                // What was there of it has been reported already.
                let wire = self.passed.saturating_sub(self.lost);
                streams.data_gap(self.kind, stream, content, wire);
                streams.explained(self.kind);
            } else {
                // No header block was lost, but whose content it was is not known.
                streams.lost(self.kind);
                streams.resumed(self.kind, self.passed);
            }
        } else {
            self.give_up_detour(streams);
            streams.resumed(self.kind, self.passed);
        }
    }

    /// Frames of any kind may have been lost.
    fn give_up_detour(&mut self, streams: &mut Streams) {
        if self.detour.take().is_some() {
            self.hpack.forget();
            streams.lost(self.kind);
        }
    }

    /// Reads what the search had kept, each part at its time.
    fn feed_kept(&mut self, kept: &[u8], marks: &[(usize, MonotonicTime)], streams: &mut Streams) {
        let ends = marks.iter().skip(1).map(|(place, _)| *place).chain([kept.len()]);
        for (&(start, time), end) in marks.iter().zip(ends) {
            self.feed(time, kept.get(start..end).unwrap_or_default(), streams);
        }
    }

    fn pass_over(&mut self, bytes: usize, streams: &mut Streams) {
        self.skip(bytes as u64, self.cause, streams);
        self.passed += bytes as u64;
        self.lost += bytes as u64;
    }

    /// Steps over bytes that are not there.
    pub(super) fn gap(&mut self, time: MonotonicTime, length: u64, streams: &mut Streams) {
        let within = |left: &mut u32| {
            let within = length.min(u64::from(*left));
            *left -= within as u32;
            (within, *left == 0)
        };
        let inside = match &mut self.state {
            State::Payload { left, whole, .. } => {
                let (inside, is_done) = within(left);
                *whole = false;
                if is_done {
                    self.end_frame(time, streams);
                }
                inside
            }
            State::Data { frame, left, padding } => {
                let padded = match *padding {
                    Padding::Is(padded) => padded,
                    Padding::Unread => {
                        streams.data_lost(self.kind, frame.stream);
                        u32::from(u8::MAX)
                    }
                };
                let content = length.min(u64::from(left.saturating_sub(padded)));
                let (inside, is_done) = within(left);
                *padding = Padding::Is(padded.min(*left));
                streams.data_gap(self.kind, frame.stream, content, inside);
                if is_done {
                    self.end_frame(time, streams);
                }
                inside
            }
            State::Pass { left, .. } => {
                let (inside, is_done) = within(left);
                if is_done {
                    self.state = State::Frame;
                }
                inside
            }
            State::Search(search) => {
                let dropped = search.gap(length);
                self.pass_over(dropped, streams);
                self.passed += length;
                streams.passed(self.kind, self.passed, time);
                return;
            }
            State::Start | State::Frame => 0,
        };
        if length > inside {
            let started = std::mem::take(&mut self.buffer).len();
            self.lose_place(Cause::Unobserved, streams);
            self.pass_over(started, streams);
            self.passed += length - inside;
            streams.passed(self.kind, self.passed, time);
        }
    }

    /// Frames may begin anywhere from here on, and some may have been lost.
    fn lose_place(&mut self, cause: Cause, streams: &mut Streams) {
        self.break_block(streams);
        self.report_skipped(streams);
        streams.suspect(self.kind);
        self.detour = self
            .data
            .filter(|_| cause == Cause::Unobserved)
            .and_then(|frame| Detour::after(&frame, streams.rest(self.kind, frame.stream)));
        if self.detour.is_none() {
            self.hpack.forget();
            streams.lost(self.kind);
        }
        self.cause = cause;
        self.passed = 0;
        self.lost = 0;
        self.state = State::Search(Box::default());
    }

    fn skip(&mut self, bytes: u64, cause: Cause, streams: &mut Streams) {
        if cause != self.cause {
            self.report_skipped(streams);
            self.cause = cause;
        }
        self.skipped += bytes;
        if self.skipped >= REPORT_EVERY {
            self.report_skipped(streams);
        }
    }

    fn report_skipped(&mut self, streams: &mut Streams) {
        streams.skipped(self.kind, std::mem::take(&mut self.skipped), self.cause);
    }

    /// No more bytes will come.
    pub(super) fn finish(&mut self, time: MonotonicTime, streams: &mut Streams) {
        match &self.state {
            State::Payload { frame, .. } if frame.has_block() => {
                if let State::Payload { whole, .. } = &mut self.state {
                    *whole = false;
                }
                self.end_frame(time, streams);
            }
            State::Search(search) => {
                let kept = search.kept();
                self.pass_over(kept, streams);
                streams.passed(self.kind, self.passed, time);
            }
            State::Start | State::Frame => {
                let started = self.buffer.len() as u64;
                self.skip(started, Cause::Malformed, streams);
            }
            _ => {}
        }
        self.give_up_detour(streams);
        self.break_block(streams);
        self.buffer = Vec::new();
        self.report_skipped(streams);
        self.state = State::Frame;
        streams.finish(self.kind);
    }

    /// Bytes passed over while no frame could be understood; 0 when its place is known.
    pub(super) fn lost(&self) -> u64 {
        match self.state {
            State::Search(_) => self.lost,
            _ => 0,
        }
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        let search = match &self.state {
            State::Search(search) => search.memory(),
            _ => 0,
        };
        let block = self.block.as_ref().map_or(0, |block| block.bytes.capacity());
        self.buffer.capacity() + self.hpack.memory() + search + block
    }
}
