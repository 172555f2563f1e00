//! The streams of a connection: requests paired with responses by the number of their stream
//! (RFC 9113, section 5).

use super::frame::{Frame, HEADER, LARGEST_MAX, USUAL_MAX, kind};
use super::head::Head;
use super::stream::{Part, Stream};
use crate::parser::{Context, Output};
use pixie_core::Record;
use pixie_core::id::Direction;
use pixie_core::record::{Cause, Http2Error};
use pixie_core::time::MonotonicTime;
use std::collections::{BTreeMap, VecDeque};

/// What is under way may take this many times [`Limits::buffer`](crate::parser::Limits::buffer).
const PENDING_BUFFERS: usize = 32;

/// So many streams are remembered of which something may still come: they were reset, and the other end
/// did not know of it yet, or were taken to have ended where bytes are missing.
const MAX_LINGERING: usize = 128;

/// A new request's stream is not further than this from the last one's.
const USUAL_STEP: u32 = 512;

/// Room for this many outputs is kept when there are none.
const USUAL_OUTPUTS: usize = 16;

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From the client.
    Request,
    /// From the server.
    Response,
}

impl Kind {
    fn other(self) -> Self {
        match self {
            Self::Request => Self::Response,
            Self::Response => Self::Request,
        }
    }
}

/// Whether bytes that look like the header of a frame are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plausible {
    /// They are not.
    No,
    /// They are if another frame follows.
    Weak,
    /// They are: they refer to what is known of the connection.
    Strong,
}

/// Where a header block came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) stream: u32,
    /// The stream that is promised, by `PUSH_PROMISE`.
    pub(super) promised: Option<u32>,
    pub(super) ends_stream: bool,
    /// Bytes of the frames.
    pub(super) wire: u64,
    /// When its first and its last byte came.
    pub(super) started: MonotonicTime,
    pub(super) ended: MonotonicTime,
}

/// What has to pass unseen.
#[derive(Clone, Copy, Debug)]
struct Missing {
    bytes: u64,
    /// How many streams are to have ended by that.
    streams: usize,
    /// The newest stream of which something may have been in the last hole.
    newest: u32,
}

/// How many bytes so much content is in frames of this size, of which there are at least so many.
fn on_wire(content: u64, usual: u64, at_least: u64) -> u64 {
    let frames = content.div_ceil(usual).max(at_least);
    content.saturating_add(frames.saturating_mul(HEADER as u64))
}

/// The streams that are under way on a connection.
#[derive(Debug)]
pub(super) struct Streams {
    context: Context,
    requests: Direction,
    open: BTreeMap<u32, Box<Stream>>,
    outputs: VecDeque<Output>,
    /// The last ones that are over, and of which something may still come.
    lingering: VecDeque<u32>,
    /// The newest request's stream.
    last_request: u32,
    /// How many of `open` have a response and still wait for their request.
    early: usize,
    /// The first frame of the connection was seen, by kind.
    begun: [bool; 2],
    /// Not all frames from the start on were seen, by kind.
    incomplete: [bool; 2],
    /// No more will be seen, by kind.
    finished: [bool; 2],
    /// The largest frame that may come, by kind, as far as it is known.
    largest: [u32; 2],
    /// The largest `DATA` that came, by kind.
    usual: [u32; 2],
    /// Bytes that have passed unseen since streams are open: their content, and the headers of its frames.
    unseen: [u64; 2],
    /// What has to pass unseen for all streams to have ended.
    missing: [Option<Missing>; 2],
    /// Why the connection ends, where that is an error.
    failure: Option<Http2Error>,
    /// Bytes in `open`, about.
    memory: usize,
}

impl Streams {
    pub(super) fn new(mut context: Context, requests: Direction) -> Self {
        let begun = context.begun.take();
        let mut streams = Self {
            context,
            requests,
            open: BTreeMap::new(),
            // Most connections never need more, and the least that it takes by itself is 4.
            outputs: VecDeque::with_capacity(1),
            lingering: VecDeque::new(),
            last_request: 0,
            early: 0,
            begun: [false; 2],
            incomplete: [true; 2],
            finished: [false; 2],
            largest: [USUAL_MAX; 2],
            usual: [0; 2],
            unseen: [0; 2],
            missing: [None; 2],
            failure: None,
            memory: 0,
        };
        if let Some(Record::Http(http)) = begun.map(|record| *record) {
            // A request of HTTP/1.1 that asked for the change is stream 1 (RFC 7540, section 3.2).
            let mut stream = Stream::new(streams.context.traffic.clone());
            stream.upgraded(*http);
            streams.last_request = 1;
            streams.insert(1, stream);
            streams.largest = [LARGEST_MAX; 2];
        }
        streams
    }

    /// The frames of this kind are seen from the first one on.
    pub(super) fn begins(&mut self, kind: Kind) {
        self.begun[kind as usize] = true;
        self.incomplete[kind as usize] = false;
    }

    /// A header block has come.
    pub(super) fn head(&mut self, kind: Kind, place: Place, head: Head) {
        match (kind, place.promised) {
            (Kind::Request, None) => self.request(place, head),
            (Kind::Request, Some(_)) => self.skipped(kind, place.wire, Cause::Malformed),
            (Kind::Response, None) => self.response(place, head),
            (Kind::Response, Some(promised)) => self.promise(promised, place, head),
        }
    }

    fn request(&mut self, place: Place, head: Head) {
        let id = place.stream;
        let limit = self.context.limits.body;
        if let Some(stream) = self.open.get_mut(&id) {
            match stream.request.part {
                Part::Awaited => {
                    stream.request(place, head, limit);
                    self.early = self.early.saturating_sub(1);
                    self.last_request = self.last_request.max(id);
                }
                Part::Open => stream.request_trailers(place, head),
                Part::Ended | Part::Missing => return self.stray(Kind::Request, place.wire, id),
            }
        } else {
            let is_known = id > self.last_request || head.has_pseudo;
            if id.is_multiple_of(2) || self.lingers(id) || !is_known {
                return self.stray(Kind::Request, place.wire, id);
            }
            let mut stream = Stream::new(self.context.traffic.clone());
            if self.finished[Kind::Response as usize] {
                stream.response.part = Part::Missing;
            }
            stream.request(place, head, limit);
            self.insert(id, stream);
            self.last_request = self.last_request.max(id);
        }
        if self.early > 0 {
            self.give_up_early(id);
        }
        self.update(Kind::Request, id, place);
    }

    /// Requests come in the order of their streams: those before this one were missed.
    fn give_up_early(&mut self, before: u32) {
        let missed = |stream: &Stream| stream.request.part == Part::Awaited;
        let missed: Vec<u32> = self
            .open
            .range(..before)
            .filter(|(_, stream)| missed(stream))
            .map(|(&id, _)| id)
            .collect();
        for id in missed {
            if let Some(stream) = self.open.get_mut(&id) {
                stream.request.part = Part::Missing;
            }
            self.early = self.early.saturating_sub(1);
            self.emit_if_over(id);
        }
    }

    fn response(&mut self, place: Place, head: Head) {
        let id = place.stream;
        let limit = self.context.limits.body;
        if !self.open.contains_key(&id) {
            if self.lingers(id) {
                return self.stray(Kind::Response, place.wire, id);
            }
            let mut stream = Stream::new(self.context.traffic.clone());
            // The request may be seen late, but not if a later one has been.
            let is_missed = id.is_multiple_of(2)
                || id <= self.last_request
                || self.finished[Kind::Request as usize];
            if is_missed {
                stream.request.part = Part::Missing;
            } else {
                self.early += 1;
            }
            stream.response.lost = is_missed || self.incomplete[Kind::Response as usize];
            self.insert(id, stream);
        }
        let Some(stream) = self.open.get_mut(&id) else { return };
        if stream.response.part.is_over() {
            return self.stray(Kind::Response, place.wire, id);
        }
        stream.response(place, head, limit);
        self.update(Kind::Response, id, place);
    }

    fn promise(&mut self, promised: u32, place: Place, head: Head) {
        if promised == 0 || !promised.is_multiple_of(2) || self.open.contains_key(&promised) {
            return self.skipped(Kind::Response, place.wire, Cause::Malformed);
        }
        let mut stream = Stream::new(self.context.traffic.clone());
        stream.request(Place { ends_stream: false, ..place }, head, self.context.limits.body);
        stream.promised();
        self.insert(promised, stream);
        let ended = Place { stream: promised, ends_stream: true, ..place };
        self.update(Kind::Request, promised, ended);
    }

    /// What is true after a header block, whatever it was.
    fn update(&mut self, kind: Kind, id: u32, place: Place) {
        if let Some(stream) = self.open.get_mut(&id) {
            self.memory += stream.memory_grown();
        }
        if place.ends_stream {
            self.end(kind, id, place.ended);
        }
        self.emit_if_over(id);
        self.enforce_memory();
    }

    fn insert(&mut self, id: u32, mut stream: Stream) {
        while self.open.len() >= self.context.limits.pending.max(1) {
            self.give_up_oldest();
        }
        self.memory += stream.memory_grown();
        self.open.insert(id, Box::new(stream));
    }

    /// Frames that belong to nothing: sent before the other end knew that the stream was over, or
    /// the stream was never seen.
    fn stray(&mut self, kind: Kind, wire: u64, id: u32) {
        if self.lingers(id) || self.incomplete[kind as usize] {
            self.skipped(kind, wire, Cause::Unobserved);
        } else {
            self.skipped(kind, wire, Cause::Malformed);
        }
    }

    fn lingers(&self, id: u32) -> bool {
        self.lingering.contains(&id)
    }

    /// The header of a `DATA` frame has come. False when its content belongs to nothing.
    pub(super) fn data_begins(&mut self, kind: Kind, frame: &Frame, wire: u64) -> bool {
        let usual = &mut self.usual[kind as usize];
        *usual = frame.length.max(*usual);
        match self.open.get_mut(&frame.stream) {
            Some(stream) => stream.data_begins(kind, wire),
            None => false,
        }
    }

    /// Why the content of a `DATA` frame belongs to nothing.
    pub(super) fn cause_of_stray(&self, kind: Kind, id: u32) -> Cause {
        let is_late = self.lingers(id) || self.incomplete[kind as usize];
        if is_late { Cause::Unobserved } else { Cause::Malformed }
    }

    /// Content of a `DATA` frame, and how many bytes it was on the connection.
    #[inline]
    pub(super) fn data(&mut self, kind: Kind, id: u32, content: &[u8], wire: u64) {
        if let Some(stream) = self.open.get_mut(&id) {
            let message = stream.message(kind);
            message.wire += wire;
            message.body.bytes(content);
            self.memory += stream.memory_grown();
        }
    }

    /// The same, which was not captured.
    pub(super) fn data_gap(&mut self, kind: Kind, id: u32, content: u64, wire: u64) {
        if let Some(stream) = self.open.get_mut(&id) {
            let message = stream.message(kind);
            message.wire += wire;
            message.body.gap(content);
        }
    }

    /// How much of a `DATA` frame is content was not captured.
    pub(super) fn data_lost(&mut self, kind: Kind, id: u32) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.message(kind).lose();
        }
    }

    /// A `DATA` frame has ended.
    pub(super) fn data_ends(&mut self, kind: Kind, id: u32, ends_stream: bool, at: MonotonicTime) {
        if ends_stream {
            self.end(kind, id, at);
            self.emit_if_over(id);
        }
        self.enforce_memory();
    }

    /// One half of a stream has ended.
    fn end(&mut self, kind: Kind, id: u32, at: MonotonicTime) {
        let usual = self.usual(kind);
        if let Some(stream) = self.open.get_mut(&id) {
            // What was missing of it was among what passed unseen: all of that, where it is not
            // known how much.
            let message = stream.message_of(kind);
            if message.lost {
                let missing =
                    message.missing().map_or(u64::MAX, |content| on_wire(content, usual, 1));
                let unseen = &mut self.unseen[kind as usize];
                *unseen = unseen.saturating_sub(missing);
            }
            stream.end(kind, Some(at));
        }
    }

    /// All that a message has to have has come, and the connection goes on with other streams: that it ended
    /// was said in what has passed unseen, or will be said with nothing.
    pub(super) fn end_if_filled(&mut self, kind: Kind, id: u32, at: MonotonicTime) {
        if self.open.get(&id).and_then(|stream| stream.message_of(kind).missing()) == Some(0) {
            self.end(kind, id, at);
            self.remember(id);
            self.emit_if_over(id);
        }
    }

    /// `RST_STREAM`: neither end sends more.
    pub(super) fn reset(&mut self, id: u32, code: u32) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.reset(Http2Error(code));
            self.close_reset(id);
        }
    }

    fn close_reset(&mut self, id: u32) {
        // How much of what passed unseen was its own is not known.
        self.unseen = [0; 2];
        self.remember(id);
        self.emit_if_over(id);
    }

    /// What still comes of this stream is not an error.
    fn remember(&mut self, id: u32) {
        if self.lingering.len() >= MAX_LINGERING {
            self.lingering.pop_front();
        }
        self.lingering.push_back(id);
    }

    /// `GOAWAY`: the sender does nothing about streams of the other end after the last one.
    pub(super) fn goaway(&mut self, kind: Kind, last: u32, code: u32) {
        let is_theirs = |id: u32| id.is_multiple_of(2) == (kind == Kind::Request);
        let left: Vec<u32> = self.open.range(last.saturating_add(1)..).map(|(&id, _)| id).collect();
        for id in left.into_iter().filter(|&id| is_theirs(id)) {
            if let Some(stream) = self.open.get_mut(&id) {
                stream.reset(Http2Error(code));
                self.close_reset(id);
            }
        }
        if Http2Error(code) != Http2Error::NO_ERROR {
            self.failure = Some(Http2Error(code));
        }
    }

    /// The sender takes frames up to this size.
    pub(super) fn takes_frames_of(&mut self, kind: Kind, size: u32) {
        let largest = &mut self.largest[kind.other() as usize];
        *largest = size.clamp(*largest, LARGEST_MAX);
    }

    /// Whether a frame is not larger than the other end takes.
    pub(super) fn is_allowed(&self, kind: Kind, frame: &Frame) -> bool {
        // Where the other end's settings may have been missed, content may be as large as it likes.
        let is_unsettled = frame.kind <= kind::HEADERS && self.incomplete[kind.other() as usize];
        is_unsettled || frame.length <= self.largest[kind as usize]
    }

    /// Where the next frame of this kind begins is not known. Works out what has to pass for all
    /// that is under way to have ended.
    pub(super) fn suspect(&mut self, kind: Kind) {
        // Where requests are unknown, responses to them may be in what was lost.
        let is_known = kind == Kind::Request || !self.incomplete[Kind::Request as usize];
        let mut missing = is_known.then_some(0_u64);
        let mut open = 0;
        for message in self.open.values().map(|stream| stream.message_of(kind)) {
            if !message.part.is_over() {
                open += 1;
                missing = missing.zip(message.missing()).map(|(sum, more)| sum + more);
            }
        }
        let (unseen, usual) = (self.unseen[kind as usize], self.usual(kind));
        self.missing[kind as usize] = missing.filter(|_| open > 0).map(|missing| {
            let rest = on_wire(missing, usual, open).saturating_sub(unseen);
            let bytes = rest.max(open * HEADER as u64);
            Missing { bytes, streams: self.open.len(), newest: u32::MAX }
        });
    }

    /// Frames of this kind may have been lost.
    pub(super) fn lost(&mut self, kind: Kind) {
        for stream in self.open.values_mut() {
            let message = stream.message(kind);
            if !message.part.is_over() {
                message.lose();
            }
        }
        self.incomplete[kind as usize] = true;
    }

    /// How much of a stream's message is still to come, when that is known.
    pub(super) fn rest(&self, kind: Kind, id: u32) -> Option<u64> {
        self.open.get(&id)?.message_of(kind).rest()
    }

    /// How much content a frame has, as far as was seen.
    fn usual(&self, kind: Kind) -> u64 {
        match self.usual[kind as usize] {
            0 => USUAL_MAX.into(),
            usual => usual.into(),
        }
    }

    /// There is a hole: frames of all streams that there are by now may be in it.
    pub(super) fn hides(&mut self, kind: Kind) {
        let newest = self.open.keys().next_back().copied().unwrap_or(0);
        if let Some(missing) = &mut self.missing[kind as usize] {
            missing.newest = newest;
        }
    }

    /// So many bytes of this kind have passed since then. When they are all that the streams under
    /// way had to send, then these have ended.
    pub(super) fn passed(&mut self, kind: Kind, bytes: u64, at: MonotonicTime) {
        let Some(missing) = self.missing[kind as usize] else { return };
        if bytes < missing.bytes {
            return;
        }
        self.missing[kind as usize] = None;
        self.unseen[kind as usize] = 0;
        if missing.streams == self.open.range(..=missing.newest).count() {
            let under_way = |stream: &Stream| !stream.message_of(kind).part.is_over();
            let open: Vec<u32> = self
                .open
                .range(..=missing.newest)
                .filter(|(_, stream)| under_way(stream))
                .map(|(&id, _)| id)
                .collect();
            // Which one of several ended when is not known.
            let at = Some(at).filter(|_| open.len() == 1);
            for id in open {
                if let Some(stream) = self.open.get_mut(&id) {
                    stream.message(kind).lose();
                    stream.end(kind, at);
                    // Frames' headers may have been fewer, and some content is still to come.
                    self.remember(id);
                    self.emit_if_over(id);
                }
            }
        }
    }

    /// Whether this half of a stream goes on, of which something may have been in the last hole.
    pub(super) fn goes_on(&self, kind: Kind, id: u32) -> bool {
        let is_newer = self.missing[kind as usize].is_some_and(|missing| id > missing.newest);
        !is_newer
            && self.open.get(&id).is_some_and(|stream| !stream.message_of(kind).part.is_over())
    }

    /// Whether content can be of no other stream.
    pub(super) fn is_alone(&self, kind: Kind, id: u32) -> bool {
        let under_way = |stream: &Stream| stream.message_of(kind).part == Part::Open;
        self.open.iter().all(|(&other, stream)| other == id || !under_way(stream))
    }

    /// The next frame of this kind has been found, and no other frame was lost than those of one
    /// stream's content.
    pub(super) fn explained(&mut self, kind: Kind) {
        self.missing[kind as usize] = None;
    }

    /// The next frame of this kind has been found, after so many bytes.
    pub(super) fn resumed(&mut self, kind: Kind, bytes: u64) {
        self.missing[kind as usize] = None;
        let unseen = &mut self.unseen[kind as usize];
        *unseen = unseen.saturating_add(bytes);
    }

    /// Whether these bytes, found anywhere, are the header of a frame.
    pub(super) fn judge(&self, kind: Kind, frame: &Frame) -> Plausible {
        if !frame.is_usual() {
            return Plausible::No;
        }
        let is_odd = !frame.stream.is_multiple_of(2);
        let is_known = self.open.contains_key(&frame.stream);
        // How far the connection has come is known, so that streams far beyond are none of its.
        let is_dated = self.last_request > 0 || self.begun[Kind::Request as usize];
        let is_near = frame.stream <= self.last_request + USUAL_STEP;
        let is_new = is_odd && is_dated && is_near && frame.stream > self.last_request;
        match frame.kind {
            kind::SETTINGS | kind::PING | kind::GOAWAY => Plausible::Strong,
            kind::WINDOW_UPDATE if frame.stream == 0 => Plausible::Strong,
            kind::PUSH_PROMISE if kind == Kind::Request => Plausible::No,
            kind::HEADERS if kind == Kind::Request && !is_odd => Plausible::No,
            kind::HEADERS if kind == Kind::Request && is_new => Plausible::Strong,
            _ if is_known => Plausible::Strong,
            _ if is_dated && !is_near => Plausible::No,
            kind::HEADERS | kind::PUSH_PROMISE => Plausible::Weak,
            // Of a connection that was seen from its start, other frames of a stream that is not
            // known tell nothing, and may as well be something else.
            _ if self.begun[kind as usize] => Plausible::No,
            _ => Plausible::Weak,
        }
    }

    /// Bytes of this kind were passed over.
    pub(super) fn skipped(&mut self, kind: Kind, bytes: u64, cause: Cause) {
        let direction = match kind {
            Kind::Request => self.requests,
            Kind::Response => self.requests.reverse(),
        };
        if bytes > 0 {
            self.outputs.push_back(Output::Skipped { direction, bytes, cause });
        }
    }

    /// No more frames of this kind will come.
    pub(super) fn finish(&mut self, kind: Kind) {
        self.finished[kind as usize] = true;
        let open: Vec<u32> = self.open.keys().copied().collect();
        for id in open {
            if let Some(stream) = self.open.get_mut(&id) {
                let message = stream.message(kind);
                if kind == Kind::Request && message.part == Part::Awaited {
                    self.early = self.early.saturating_sub(1);
                }
                stream.cut(kind, self.failure);
                self.emit_if_over(id);
            }
        }
    }

    fn emit_if_over(&mut self, id: u32) {
        if self.open.get(&id).is_some_and(|stream| stream.is_over()) {
            self.emit(id);
        }
    }

    fn emit(&mut self, id: u32) {
        let Some(stream) = self.open.remove(&id) else { return };
        self.memory = self.memory.saturating_sub(stream.memory);
        if self.open.is_empty() {
            self.unseen = [0; 2];
        }
        if stream.request.part == Part::Awaited {
            self.early = self.early.saturating_sub(1);
        }
        let (request, response) = (stream.request.wire, stream.response.wire);
        match stream.into_record(Context::role(self.requests)) {
            Some(record) => self.outputs.push_back(Output::Record(record)),
            // Nothing but interim responses, or data: to what is not known.
            None => {
                self.skipped(Kind::Request, request, Cause::Unobserved);
                self.skipped(Kind::Response, response, Cause::Unobserved);
            }
        }
    }

    /// What is under way is bounded in size, as it is in number: the oldest goes first.
    fn enforce_memory(&mut self) {
        let limit = self.context.limits.buffer.saturating_mul(PENDING_BUFFERS);
        while self.memory > limit && !self.open.is_empty() {
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) {
        if let Some((&oldest, stream)) = self.open.iter_mut().next() {
            stream.cut(Kind::Request, None);
            stream.cut(Kind::Response, None);
            self.emit(oldest);
        }
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs.shrink_to(USUAL_OUTPUTS);
        }
        output
    }

    /// Bytes of memory that are held, about.
    pub(super) fn memory(&self) -> usize {
        self.memory + self.lingering.capacity() * size_of::<u32>()
    }
}
