//! Requests paired with responses, in order, as pipelining has it (RFC 9112, section 9.3.2).
//!
//! Either half of an exchange may be lost, or be seen late. An answer that is given to the wrong
//! question is worse than none, so wherever something is missing, times decide:
//!
//! - a response is not to a request that began after it;
//! - where responses were lost and requests are not pipelined, a response is to the newest request:
//!   the client would not have sent it before it had the answer to the one before;
//! - where both were lost, what waits for an answer is not given one.

use super::fields::{self, BodyLength};
use super::frame::{Head, Kind};
use super::methods;
use crate::body::{self, Collector};
use crate::grpc::{self, Messages};
use crate::parser::{Context, Next, Output, Switch};
use pixie_core::Text;
use pixie_core::id::Direction;
use pixie_core::record::{Cause, Headers, Http, HttpRequest, HttpResponse, Timing};
use pixie_core::time::MonotonicTime;
use std::collections::VecDeque;

/// The most status codes of interim responses that a record has.
const MAX_INTERIM: usize = 16;

/// The most responses that wait for a request that is seen late.
const MAX_EARLY: usize = 16;

/// Room for this many exchanges is kept when there are none.
const USUAL_SLOTS: usize = 16;

/// When neither direction has been understood for this many bytes, another protocol is spoken.
const GIVE_UP: u64 = 64 << 10;

/// What waits may take this many times [`Limits::buffer`](crate::parser::Limits::buffer).
const PENDING_BUFFERS: usize = 8;

/// The exchanges that are under way on a connection.
#[derive(Debug)]
pub(super) struct Exchanges {
    context: Context,
    requests: Direction,
    /// In the order of requests. Those at the front that are complete are emitted.
    slots: VecDeque<Slot>,
    outputs: VecDeque<Output>,
    /// Nothing has been paired yet: the connection may have been joined midway.
    joined: bool,
    /// Requests, or responses, may have been lost since the last pairing.
    requests_lost: bool,
    responses_lost: bool,
    /// How often requests may have been lost.
    request_losses: u64,
    /// A request was sent before the one before it was answered.
    pipelined: bool,
    /// Requests that were given up for want of room, and whose responses are still to come.
    abandoned: u64,
    /// No more will be seen, of requests and of responses.
    finished: [bool; 2],
    /// Bytes of requests, and of responses, since the last that were understood.
    not_understood: [u64; 2],
    /// The connection changes its protocol.
    switch: Option<Switch>,
    /// Requests wait until it is known whether the connection changes its protocol.
    blocked: bool,
    /// It does not: they need not wait any more.
    release: bool,
    /// Bytes in `slots`, about.
    memory: usize,
}

/// An exchange under way.
#[derive(Debug)]
struct Slot {
    http: Box<Http>,
    timing: Timing,
    interim: Vec<u16>,
    request: Part,
    response: Part,
    /// Bytes of memory, about.
    memory: usize,
    /// The codings of the body under way have to be undone.
    coded: [bool; 2],
    /// It is a call of gRPC-Web, with these messages.
    is_call: bool,
    messages: [Option<Box<Messages>>; 2],
    /// The response decides whether the protocol changes.
    may_switch: bool,
    /// How often requests had been lost before this one.
    request_losses: u64,
}

/// How far one half of an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It has not been seen yet.
    Awaited,
    /// It is under way.
    Open,
    /// It has ended.
    Ended,
    /// It will not be seen.
    Missing,
}

impl Part {
    fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Missing)
    }
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterHead {
    /// A body of this length.
    Body(BodyLength),
    /// The final response.
    Interim,
    /// Another protocol.
    Switch,
}

/// A message that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) body: Collector,
    pub(super) complete: bool,
    pub(super) trailers: Option<Headers>,
    /// Bytes of the message on the connection.
    pub(super) wire: u64,
    /// When, if its end was seen.
    pub(super) time: Option<MonotonicTime>,
}

impl Exchanges {
    pub(super) fn new(context: Context, requests: Direction) -> Self {
        Self {
            context,
            requests,
            // Most connections never need more, and the least that it takes by itself is 4.
            slots: VecDeque::with_capacity(1),
            outputs: VecDeque::with_capacity(1),
            joined: true,
            requests_lost: false,
            responses_lost: false,
            request_losses: 0,
            blocked: false,
            pipelined: false,
            abandoned: 0,
            finished: [false; 2],
            not_understood: [0; 2],
            switch: None,
            release: false,
            memory: 0,
        }
    }

    /// A request's head has come.
    pub(super) fn request(&mut self, head: &mut Head, started: MonotonicTime) -> AfterHead {
        let place = self.place_of_request(started);
        let Some(slot) = self.slots.get_mut(place) else {
            return AfterHead::Body(BodyLength::Unknown);
        };
        let start = &head.start;
        let size = head.bytes.len();
        let method = methods::text(&head.bytes, start.first.clone());
        let path = Text::from_bytes(head.bytes.slice(start.second.clone()));
        slot.may_switch = method == "CONNECT" || head.framing.upgrade;
        let request = slot.http.request.insert(HttpRequest::new(method, path, start.version));
        request.headers = head.take_headers();
        slot.request = Part::Open;
        slot.timing.request_start = Some(started);
        slot.coded[0] = head.framing.coded;
        slot.is_call |= head.framing.call.is_some();
        slot.memory += size;
        self.memory += size;
        self.enforce_limits();
        AfterHead::Body(head.framing.request_body())
    }

    /// The slot for a request that began at `started`: that of a response which was seen before
    /// it, or a new one.
    fn place_of_request(&mut self, started: MonotonicTime) -> usize {
        let in_doubt = self.joined || self.requests_lost;
        while let Some(early) = self.slots.iter().position(|slot| slot.request == Part::Awaited) {
            let Some(slot) = self.slots.get_mut(early) else { break };
            let answered = slot.timing.response_end.or(slot.timing.response_start);
            if !in_doubt || answered.is_none_or(|answered| started <= answered) {
                return early;
            }
            slot.request = Part::Missing;
            self.emit_complete();
        }
        let response = self.awaited(Kind::Response);
        self.push_slot(self.slots.len(), Part::Open, response)
    }

    /// A response's head has come.
    pub(super) fn response(&mut self, head: &mut Head, started: MonotonicTime) -> AfterHead {
        let place = self.place_of_response(started);
        let Some(slot) = self.slots.get_mut(place) else {
            return AfterHead::Body(BodyLength::Unknown);
        };
        let status = head.start.status;
        slot.response = Part::Open;
        if fields::is_interim(status) {
            if slot.interim.len() < MAX_INTERIM {
                slot.interim.push(status);
            }
            return AfterHead::Interim;
        }
        let size = head.bytes.len();
        let response = HttpResponse::new(status, reason(head), head.start.version);
        let response = slot.http.response.insert(response);
        response.headers = head.take_headers();
        if !slot.interim.is_empty() {
            response.interim = std::mem::take(&mut slot.interim);
        }
        slot.timing.response_start = Some(started);
        slot.coded[1] = head.framing.coded;
        slot.is_call |= head.framing.call.is_some();
        slot.memory += size;
        self.memory += size;

        let method = slot.http.request.as_ref().map(|request| &request.method);
        let is = |name: &str| method.is_some_and(|method| *method == name);
        let switch = match status {
            101 => Some(Switch::to(fields::upgraded_to(&response.headers))),
            200..=299 if is("CONNECT") => Some(Switch::to(Next::Detect)),
            _ => None,
        };
        if let Some(mut switch) = switch {
            if matches!(switch.next, Next::Protocol(_)) {
                let mut begun = slot.http.clone();
                begun.traffic.set_timing(Some(Context::role(self.requests)), slot.timing);
                switch.begun = Some(Box::new(pixie_core::Record::Http(begun)));
            }
            self.switch = Some(switch);
            return AfterHead::Switch;
        }
        self.release |= self.blocked && slot.may_switch;
        AfterHead::Body(match status {
            204 | 304 => BodyLength::Known(0),
            _ if is("HEAD") => BodyLength::Known(0),
            _ => head.framing.response_body(),
        })
    }

    /// The slot for a response that began at `started`.
    fn place_of_response(&mut self, started: MonotonicTime) -> usize {
        if let Some(open) = self.slots.iter().position(|slot| slot.response == Part::Open) {
            // It has had interim responses.
            return open;
        }
        let Some(first) = self.first_unanswered() else {
            self.bound_early();
            let request = self.awaited(Kind::Request);
            return self.push_slot(self.slots.len(), request, Part::Open);
        };
        if self.abandoned > 0 {
            self.abandoned -= 1;
            return self.push_slot(first, Part::Missing, Part::Open);
        }
        let chosen = match self.responses_lost && !self.pipelined {
            true => self.newest_unanswered(started).unwrap_or(first),
            false => first,
        };
        let in_doubt = self.joined || self.requests_lost || self.responses_lost;
        if in_doubt && self.began_after(chosen, started) {
            return self.push_slot(first, Part::Missing, Part::Open);
        }
        // That a request is seen before the one before it was answered says little: the answer may
        // be late, or lost without that being known yet. That an answer comes first to the older of
        // two that were asked before it says that they were pipelined.
        self.pipelined |= !self.responses_lost && self.newest_unanswered(started) > Some(chosen);
        let passed_over = self.slots.range_mut(first..chosen);
        let passed_over = passed_over.map(|slot| slot.response = Part::Missing).count();
        self.joined = false;
        self.responses_lost = false;
        if self.slots.get(chosen).is_some_and(|slot| slot.request_losses == self.request_losses) {
            self.requests_lost = false;
        }
        match passed_over {
            0 => chosen,
            // Nothing before the chosen one is under way now but, perhaps, early responses.
            _ => chosen - self.emit_complete(),
        }
    }

    /// The first request that no response has come to.
    fn first_unanswered(&self) -> Option<usize> {
        self.slots.iter().position(Slot::is_unanswered)
    }

    /// The newest such request that did not begin after `time`.
    fn newest_unanswered(&self, time: MonotonicTime) -> Option<usize> {
        let began = |slot: &Slot| slot.timing.request_start.is_none_or(|start| start <= time);
        self.slots.iter().rposition(|slot| slot.is_unanswered() && began(slot))
    }

    fn began_after(&self, place: usize, time: MonotonicTime) -> bool {
        let slot = self.slots.get(place);
        slot.and_then(|slot| slot.timing.request_start).is_some_and(|start| start > time)
    }

    /// The state of a half that has not been seen.
    fn awaited(&self, kind: Kind) -> Part {
        if self.is_finished(kind) { Part::Missing } else { Part::Awaited }
    }

    fn push_slot(&mut self, place: usize, request: Part, response: Part) -> usize {
        let http = Box::new(Http::new(self.context.traffic.clone(), None, None));
        let memory = size_of::<Slot>() + size_of::<Http>();
        self.memory += memory;
        let slot = Slot {
            http,
            timing: Timing::default(),
            interim: Vec::new(),
            request,
            response,
            memory,
            coded: [false; 2],
            is_call: false,
            messages: [None, None],
            may_switch: false,
            request_losses: self.request_losses,
        };
        if place == self.slots.len() {
            self.slots.push_back(slot);
        } else {
            self.slots.insert(place, slot);
        }
        place
    }

    /// A request has ended. True when what follows it must wait for the response.
    pub(super) fn request_ended(&mut self, mut ended: Ended) -> bool {
        let Some(slot) = self.slots.iter_mut().rfind(|slot| slot.request == Part::Open) else {
            return false;
        };
        slot.request = Part::Ended;
        slot.http.traffic.request_bytes = ended.wire;
        slot.messages[0] = ended.body.take_messages();
        let coded = slot.coded[0];
        if let Some(request) = &mut slot.http.request {
            let codings = if coded { body::codings(&request.headers) } else { Vec::new() };
            ended.body.finish(ended.complete, &codings, &mut request.body);
            if let Some(trailers) = ended.trailers {
                request.trailers = trailers;
            }
            let messages = slot.messages[0].as_ref().map_or(0, |messages| messages.memory());
            let size = request.body.bytes.len() + messages;
            slot.memory += size;
            self.memory += size;
        }
        self.blocked = slot.may_switch && slot.response == Part::Awaited;
        self.emit_complete();
        self.blocked
    }

    /// A response has ended.
    pub(super) fn response_ended(&mut self, mut ended: Ended) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.response == Part::Open) else {
            return;
        };
        slot.response = Part::Ended;
        slot.timing.response_end = ended.time;
        slot.http.traffic.response_bytes = ended.wire;
        slot.messages[1] = ended.body.take_messages();
        let coded = slot.coded[1];
        if let Some(response) = &mut slot.http.response {
            let codings = if coded { body::codings(&response.headers) } else { Vec::new() };
            ended.body.finish(ended.complete, &codings, &mut response.body);
            if let Some(trailers) = ended.trailers {
                response.trailers = trailers;
            }
            let messages = slot.messages[1].as_ref().map_or(0, |messages| messages.memory());
            let size = response.body.bytes.len() + messages;
            slot.memory += size;
            self.memory += size;
        }
        self.emit_complete();
    }

    /// Messages of this kind may have been lost.
    pub(super) fn lost(&mut self, kind: Kind) {
        match kind {
            Kind::Request => {
                self.requests_lost = true;
                self.request_losses += 1;
            }
            Kind::Response => self.responses_lost = true,
        }
        if self.requests_lost && self.responses_lost {
            for slot in self.slots.iter_mut().filter(|slot| slot.is_unanswered()) {
                slot.response = Part::Missing;
            }
            self.release |= self.blocked;
            self.emit_complete();
        }
    }

    /// Bytes of this kind of message were passed over.
    pub(super) fn skipped(&mut self, kind: Kind, bytes: u64, cause: Cause) {
        let direction = match kind {
            Kind::Request => self.requests,
            Kind::Response => self.requests.reverse(),
        };
        self.outputs.push_back(Output::Skipped { direction, bytes, cause });
    }

    /// So many bytes of this kind of message have come since the last that were understood.
    pub(super) fn not_understood(&mut self, kind: Kind, bytes: u64) {
        if let Some(count) = self.not_understood.get_mut(kind as usize) {
            *count = bytes;
        }
    }

    /// Nothing has been understood for so long that something else must be spoken.
    pub(super) fn gives_up(&self) -> bool {
        let [requests, responses] = self.not_understood;
        requests.min(responses) > 0 && requests.saturating_add(responses) >= GIVE_UP
    }

    /// How many bytes may be searched at once of this kind of message without looking whether that
    /// is to be given up, when so many that were not understood, or are not yet, lie before them.
    pub(super) fn patience(&self, kind: Kind, before: u64) -> usize {
        let [requests, responses] = self.not_understood;
        let other = match kind {
            Kind::Request => responses,
            Kind::Response => requests,
        };
        match other {
            0 => usize::MAX,
            _ => GIVE_UP.saturating_sub(other.saturating_add(before)).max(1) as usize,
        }
    }

    /// No more messages of this kind will come.
    pub(super) fn finish(&mut self, kind: Kind) {
        if let Some(finished) = self.finished.get_mut(kind as usize) {
            *finished = true;
        }
        for slot in &mut self.slots {
            let part = match kind {
                Kind::Request => &mut slot.request,
                Kind::Response => &mut slot.response,
            };
            if matches!(part, Part::Awaited | Part::Open) {
                *part = Part::Missing;
            }
        }
        self.release |= self.blocked && kind == Kind::Response;
        self.emit_complete();
    }

    pub(super) fn is_finished(&self, kind: Kind) -> bool {
        self.finished.get(kind as usize).copied().unwrap_or_default()
    }

    /// Emits what is complete at the front; returns how many exchanges that were.
    fn emit_complete(&mut self) -> usize {
        let is_over = |slot: &Slot| slot.request.is_over() && slot.response.is_over();
        let mut emitted = 0;
        while self.slots.front().is_some_and(is_over) {
            if let Some(slot) = self.slots.pop_front() {
                self.emit(slot);
                emitted += 1;
            }
        }
        if self.slots.is_empty() {
            // A burst must not cost memory for as long as the connection lasts.
            self.slots.shrink_to(USUAL_SLOTS);
        }
        emitted
    }

    fn emit(&mut self, mut slot: Slot) {
        self.memory = self.memory.saturating_sub(slot.memory);
        if slot.http.request.is_none() && slot.http.response.is_none() {
            // Interim responses alone: to what is not known, nor what came of it.
            return;
        }
        let role = Context::role(self.requests);
        slot.http.traffic.set_timing(Some(role), slot.timing);
        let record = if slot.is_call {
            let [request, response] = slot.messages;
            grpc::call(*slot.http, request, response).into()
        } else {
            pixie_core::Record::Http(slot.http)
        };
        self.outputs.push_back(Output::Record(record));
    }

    /// What waits for an answer is bounded, in number and in size: the oldest goes first.
    fn enforce_limits(&mut self) {
        let limits = self.context.limits;
        let is_too_much = |exchanges: &Self| {
            exchanges.slots.len() > limits.pending.max(1)
                || exchanges.memory > limits.buffer.saturating_mul(PENDING_BUFFERS)
        };
        while is_too_much(self) {
            let oldest = self
                .slots
                .iter()
                .position(|slot| slot.request == Part::Ended && slot.response == Part::Awaited);
            let Some(mut slot) = oldest.and_then(|oldest| self.slots.remove(oldest)) else { break };
            slot.response = Part::Missing;
            self.abandoned += 1;
            self.emit(slot);
        }
    }

    /// Responses that wait for their request are bounded, too.
    fn bound_early(&mut self) {
        let early = |slot: &&mut Slot| slot.request == Part::Awaited;
        if self.slots.iter_mut().filter(early).count() >= MAX_EARLY {
            if let Some(oldest) = self.slots.iter_mut().find(early) {
                oldest.request = Part::Missing;
            }
            self.emit_complete();
        }
    }

    /// The change of protocol that a response has brought, once.
    pub(super) fn take_switch(&mut self) -> Option<Switch> {
        self.switch.take()
    }

    /// Whether requests that were kept back are to be read now, before anything else.
    pub(super) fn releases(&self) -> bool {
        self.release
    }

    /// The same, once.
    pub(super) fn take_release(&mut self) -> bool {
        self.blocked &= !self.release;
        std::mem::take(&mut self.release)
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs.shrink_to(USUAL_SLOTS);
        }
        output
    }

    /// Bytes of memory that are held, about.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

impl Slot {
    fn is_unanswered(&self) -> bool {
        self.response == Part::Awaited && matches!(self.request, Part::Open | Part::Ended)
    }
}

/// The reason phrase, without memory of its own if it is the usual one.
fn reason(head: &Head) -> Text {
    let place = head.start.second.clone();
    let bytes = head.bytes.get(place.clone()).unwrap_or_default();
    match bytes {
        b"OK" => Text::from_bytes(bytes::Bytes::from_static(b"OK")),
        _ => Text::from_bytes(head.bytes.slice(place)),
    }
}
