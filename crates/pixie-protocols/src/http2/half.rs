//! One direction of a connection: bytes to frames, and frames to header blocks and data.

mod recovery;

use super::detour::Detour;
use super::frame::{self, Frame, HEADER, PREFACE, kind};
use super::head::Head;
use super::hpack::{Decoder, FieldList};
use super::search::Search;
use super::streams::{Kind, Place, Streams};
use crate::parser::Limits;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;

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
    /// When that place was, or the last hole since.
    last_hole: MonotonicTime,
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
            last_hole: MonotonicTime::default(),
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
            self.lose_place(Cause::Malformed, time, streams);
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
