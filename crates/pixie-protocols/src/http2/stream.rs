//! One stream: a request and the response to it, each with its body.

use super::head::Head;
use super::streams::{Kind, Place};
use crate::body::{self, Collector};
use crate::grpc::{self, Format};
use pixie_core::Record;
use pixie_core::id::Role;
use pixie_core::record::{
    Headers, Http, Http2Error, HttpRequest, HttpResponse, HttpVersion, Timing, Traffic,
};
use pixie_core::time::MonotonicTime;

/// The most status codes of interim responses that a record has.
const MAX_INTERIM: usize = 16;

/// How far one half of a stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// Its head has not been seen yet.
    #[default]
    Awaited,
    /// It is under way.
    Open,
    /// It has ended.
    Ended,
    /// It will not be seen.
    Missing,
}

impl Part {
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Missing)
    }
}

/// One half of a stream.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) part: Part,
    pub(super) body: Collector,
    /// What `content-length` says.
    length: Option<u64>,
    /// There is a content coding.
    coded: bool,
    /// Bytes on the connection.
    pub(super) wire: u64,
    /// Frames of it may have been lost.
    pub(super) lost: bool,
    /// Its end was seen, and so was all that came before.
    complete: bool,
}

impl Message {
    /// Frames of it may be lost.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.body.lose();
    }

    /// What is still to come of the body, or of the message in it, when that is known.
    pub(super) fn rest(&self) -> Option<u64> {
        self.missing().or_else(|| self.body.message_rest())
    }

    /// The content that has not been seen yet, or was lost; `None` when it is not known.
    pub(super) fn missing(&self) -> Option<u64> {
        let length = self.length.filter(|_| self.part == Part::Open)?;
        length.checked_sub(self.body.size())
    }

    fn end(&mut self) {
        self.part = Part::Ended;
        self.complete = !self.lost;
        if self.lost
            && let Some(length) = self.length
        {
            // It must have been that long (RFC 9113, section 8.1.1).
            self.body.set_size(length);
            self.complete = true;
        }
    }
}

/// A stream under way.
#[derive(Debug)]
pub(super) struct Stream {
    http: Box<Http>,
    timing: Timing,
    interim: Vec<u16>,
    pub(super) request: Message,
    pub(super) response: Message,
    is_call: bool,
    /// Bytes of heads.
    heads: usize,
    /// Bytes of memory, as of the last time that they were asked for.
    pub(super) memory: usize,
}

impl Stream {
    pub(super) fn new(traffic: Traffic) -> Self {
        Self {
            http: Box::new(Http::new(traffic, None, None)),
            timing: Timing::default(),
            interim: Vec::new(),
            request: Message::default(),
            response: Message::default(),
            is_call: false,
            heads: 0,
            memory: 0,
        }
    }

    /// Its request came over HTTP/1.1, and has been counted there.
    pub(super) fn upgraded(&mut self, http: Http) {
        self.timing.request_start = http.request.as_ref().map(|_| http.traffic.monotonic);
        self.request.part = if http.request.is_some() { Part::Ended } else { Part::Missing };
        self.request.complete = http.request.as_ref().is_some_and(|request| request.body.complete);
        self.http.request = http.request;
    }

    pub(super) fn message(&mut self, kind: Kind) -> &mut Message {
        match kind {
            Kind::Request => &mut self.request,
            Kind::Response => &mut self.response,
        }
    }

    pub(super) fn message_of(&self, kind: Kind) -> &Message {
        match kind {
            Kind::Request => &self.request,
            Kind::Response => &self.response,
        }
    }

    /// By how much more memory is held than the last time.
    pub(super) fn memory_grown(&mut self) -> usize {
        let bodies = self.request.body.memory() + self.response.body.memory();
        let memory = size_of::<Self>() + size_of::<Http>() + self.heads + bodies;
        let grown = memory.saturating_sub(self.memory);
        self.memory += grown;
        grown
    }

    /// The head of the request.
    pub(super) fn request(&mut self, place: Place, head: Head, limit: usize) {
        self.request.begin(&head, place, limit, &mut self.is_call);
        self.heads += head.size();
        let request = HttpRequest::new(head.method, head.path, HttpVersion::Http2);
        self.http.request.insert(request).headers = head.headers;
        self.timing.request_start = Some(place.started);
    }

    /// It is the server that says what is asked.
    pub(super) fn promised(&mut self) {
        if let Some(request) = &mut self.http.request {
            request.pushed = true;
        }
    }

    pub(super) fn request_trailers(&mut self, place: Place, head: Head) {
        self.request.wire += place.wire;
        self.heads += head.size();
        if let Some(request) = &mut self.http.request {
            request.trailers = head.headers;
        }
    }

    /// A header block of the response: of an interim one, its head, or its trailers.
    pub(super) fn response(&mut self, place: Place, head: Head, limit: usize) {
        let is_interim = (100..200).contains(&head.status) && !place.ends_stream;
        if let Some(response) = self.http.response.as_mut().filter(|_| !is_interim) {
            // A head whose status was not known, and nothing after it, was an interim response.
            let was_interim = response.status == 0 && self.response.body.size() == 0;
            if !(was_interim && head.status != 0) {
                self.response.wire += place.wire;
                self.heads += head.size();
                response.trailers = head.headers;
                return;
            }
        }
        if is_interim {
            self.response.wire += place.wire;
            self.response.part = Part::Open;
            if self.interim.len() < MAX_INTERIM {
                self.interim.push(head.status);
            }
            return;
        }
        self.response.begin(&head, place, limit, &mut self.is_call);
        self.heads += head.size();
        let mut response = HttpResponse::new(head.status, "".into(), HttpVersion::Http2);
        if self.response.lost && head.is_trailers {
            response.headers = Headers::unseen();
            response.trailers = head.headers;
        } else {
            response.headers = head.headers;
            // Nothing comes before a head, if it is one.
            self.response.lost &= !head.has_pseudo;
        }
        response.interim = std::mem::take(&mut self.interim);
        self.http.response = Some(response);
        self.timing.response_start = Some(place.started);
    }

    /// The header of a `DATA` frame has come. False when its content is not to be had.
    pub(super) fn data_begins(&mut self, kind: Kind, wire: u64) -> bool {
        let is_headless = kind == Kind::Response && self.http.response.is_none();
        let message = self.message(kind);
        let is_expected = match message.part {
            Part::Open => !is_headless || message.lost,
            // Its head was lost.
            Part::Awaited => is_headless && message.lost,
            Part::Ended | Part::Missing => false,
        };
        if !is_expected {
            return false;
        }
        message.part = Part::Open;
        message.wire += wire;
        if is_headless {
            let mut response = HttpResponse::new(0, "".into(), HttpVersion::Http2);
            response.headers = Headers::unseen();
            self.http.response = Some(response);
        }
        true
    }

    /// One half has ended; when, if that is known.
    pub(super) fn end(&mut self, kind: Kind, at: Option<MonotonicTime>) {
        let message = self.message(kind);
        if message.part.is_over() {
            return;
        }
        message.end();
        if kind == Kind::Response {
            self.timing.response_end = at;
            if self.request.lost && self.request.part == Part::Open {
                // The end of the request was among what was lost, or nobody waits for it.
                self.request.part = Part::Ended;
            }
        }
    }

    /// Neither half goes on.
    pub(super) fn reset(&mut self, code: Http2Error) {
        self.http.reset = Some(code);
        self.cut(Kind::Request, None);
        self.cut(Kind::Response, None);
    }

    /// One half does not go on, and the connection failed for this reason.
    pub(super) fn cut(&mut self, kind: Kind, failure: Option<Http2Error>) {
        let message = self.message(kind);
        if message.part.is_over() {
            return;
        }
        message.part = if message.part == Part::Awaited { Part::Missing } else { Part::Ended };
        self.http.reset = self.http.reset.or(failure);
    }

    pub(super) fn is_over(&self) -> bool {
        self.request.part.is_over() && self.response.part.is_over()
    }

    /// The record; `None` when neither the head of a request nor that of a response was seen.
    pub(super) fn into_record(mut self: Box<Self>, role: Role) -> Option<Record> {
        let http = &mut self.http;
        if http.request.is_none() && http.response.is_none() {
            return None;
        }
        http.traffic.request_bytes = self.request.wire;
        http.traffic.response_bytes = self.response.wire;
        http.traffic.set_timing(Some(role), self.timing);
        let messages = [self.request.body.take_messages(), self.response.body.take_messages()];
        if let Some(request) = http.request.as_mut().filter(|r| r.version == HttpVersion::Http2) {
            self.request.finish(&request.headers, &mut request.body);
        }
        if let Some(response) = &mut http.response {
            self.response.finish(&response.headers, &mut response.body);
            response.interim.append(&mut self.interim);
        }
        // Where its fields could not be known, this one tells.
        let is_status = |headers: &Headers| headers.get("grpc-status").is_some();
        self.is_call |= http
            .response
            .as_ref()
            .is_some_and(|response| is_status(&response.trailers) || is_status(&response.headers));
        if self.is_call {
            let [request, response] = messages;
            return Some(grpc::call(*self.http, request, response).into());
        }
        Some(Record::Http(self.http))
    }
}

impl Message {
    /// Its head has come.
    fn begin(&mut self, head: &Head, place: Place, limit: usize, is_call: &mut bool) {
        self.part = Part::Open;
        self.wire += place.wire;
        self.length = head.content_length;
        self.coded = head.coded;
        let format = head.content_type().and_then(Format::of);
        *is_call |= format.is_some();
        self.body = match format {
            Some(format) => Collector::of_call(format, limit),
            None if head.content_type().is_none() && head.has_unknown => {
                Collector::of_either(limit)
            }
            None => Collector::new(limit),
        };
    }

    fn finish(&mut self, headers: &Headers, body: &mut pixie_core::record::Body) {
        let codings = if self.coded { body::codings(headers) } else { Vec::new() };
        std::mem::take(&mut self.body).finish(self.complete, &codings, body);
    }
}
