//! Queries and the responses to them.

use super::message::Decoded;
use super::transfer::Transfer;
use crate::parser::{Context, Limits, Output};
use pixie_core::id::{Direction, Role};
use pixie_core::record::{
    Address, Cause, Connection, Dns, DnsData, DnsMessage, DnsQuestion, Timing, Traffic,
};
use pixie_core::time::MonotonicTime;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long a query on a datagram socket waits for its response.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much earlier than its query a response may seem to be: they can be seen by two threads, and
/// that which sends may be told of late.
const OVERTAKING: Duration = Duration::from_millis(100);

/// Responses that wait for a query which has been overtaken.
const MAX_EARLY: usize = 16;

/// All queries that wait take at most so many times the memory of [`Limits::buffer`].
const WAITING_BUFFERS: usize = 8;

/// Room for so many is not given back.
const USUAL: usize = 16;

/// The size of the smallest resource record.
const SMALLEST_RECORD: usize = 11;

/// A message with what is known of how it came.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) decoded: Decoded,
    pub(super) direction: Direction,
    pub(super) peer: Option<SocketAddr>,
    pub(super) started: MonotonicTime,
    pub(super) ended: Option<MonotonicTime>,
    /// Bytes that it took on the connection.
    pub(super) size: u64,
}

/// Pairs queries with responses.
#[derive(Debug)]
pub(super) struct Exchanges {
    traffic: Traffic,
    limits: Limits,
    is_datagram: bool,
    local_port: Option<u16>,
    /// The last peer's connection: mostly there is but one.
    connection: Option<(SocketAddr, Arc<Connection>)>,
    /// Queries without a response, the one that was sent longest ago first.
    waiting: VecDeque<Waiting>,
    /// Memory of these.
    memory: usize,
    early: VecDeque<Early>,
    outputs: VecDeque<Output>,
}

/// A query.
#[derive(Debug)]
struct Waiting {
    id: u16,
    direction: Direction,
    peer: Option<SocketAddr>,
    /// When it, or a part of the response, was last seen.
    active: MonotonicTime,
    timing: Timing,
    dns: Box<Dns>,
    transfer: Option<Transfer>,
    memory: usize,
}

/// A response whose query may come yet.
#[derive(Debug)]
struct Early {
    direction: Direction,
    peer: Option<SocketAddr>,
    started: MonotonicTime,
    ended: Option<MonotonicTime>,
    dns: Box<Dns>,
}

impl Exchanges {
    pub(super) fn new(context: Context) -> Self {
        let Context { traffic, limits, .. } = context;
        Self {
            is_datagram: traffic.connection.transport.is_datagram(),
            local_port: traffic.connection.local.as_ref().and_then(Address::port),
            traffic,
            limits,
            connection: None,
            waiting: VecDeque::new(),
            memory: 0,
            early: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn message(&mut self, arrival: Arrival) {
        self.expire(arrival.started);
        let multicast = self.is_multicast(&arrival);
        if multicast && arrival.decoded.message.id == 0 {
            self.one_way(arrival);
        } else if arrival.decoded.is_response {
            self.response(arrival, multicast);
        } else {
            self.query(arrival, multicast);
        }
    }

    /// Multicast DNS (RFC 6762): sent to its group, or with a bit that only it has. Its port alone
    /// does not tell, unless there is no id either (section 18.1).
    fn is_multicast(&self, arrival: &Arrival) -> bool {
        const PORT: u16 = 5353;
        const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251));
        const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb));
        let Arrival { decoded, peer, .. } = arrival;
        let by_port = self.local_port == Some(PORT) || peer.is_some_and(|peer| peer.port() == PORT);
        let by_group = peer.is_some_and(|peer| peer.ip() == V4 || peer.ip() == V6);
        let by_port = by_port && decoded.message.id == 0;
        self.is_datagram && (by_group || by_port || decoded.has_multicast_bit)
    }

    /// A message that is answered by nobody in particular, or answers nobody in particular.
    fn one_way(&mut self, arrival: Arrival) {
        let (is_response, size) = (arrival.decoded.is_response, arrival.size);
        let asks = if is_response { arrival.direction.reverse() } else { arrival.direction };
        let traffic = self.traffic(arrival.peer);
        let message = Some(arrival.decoded.message);
        let (mut dns, timing) = match is_response {
            true => {
                let (response_start, response_end) = (Some(arrival.started), arrival.ended);
                let timing = Timing { request_start: None, response_start, response_end };
                (Dns::new(traffic, None, message), timing)
            }
            false => {
                let request_start = Some(arrival.started);
                (Dns::new(traffic, message, None), Timing { request_start, ..Timing::default() })
            }
        };
        if is_response {
            dns.traffic.response_bytes = size;
        } else {
            dns.traffic.request_bytes = size;
        }
        dns.multicast = true;
        dns.traffic.set_timing(Some(Context::role(asks)), timing);
        self.emit(Box::new(dns));
    }

    fn query(&mut self, arrival: Arrival, multicast: bool) {
        let Arrival { decoded, direction, peer, started, size, .. } = arrival;
        let id = decoded.message.id;
        if self.is_datagram {
            let is_same = |waiting: &Waiting| {
                waiting.is_of(id, direction, peer) && waiting.asks(&decoded.message.questions, true)
            };
            // It is sent again, because nobody has answered.
            if let Some(place) = self.waiting.iter().position(is_same)
                && let Some(mut again) = self.waiting.remove(place)
            {
                again.dns.retries += 1;
                again.dns.traffic.request_bytes += size;
                again.active = started;
                self.waiting.push_back(again);
                return;
            }
        }
        let transfer = match self.is_datagram {
            true => None,
            false => Transfer::asked_by(&decoded.message),
        };
        let memory = size_of::<Waiting>() + size_of::<Dns>() + memory_of(&decoded.message);
        let mut dns = Box::new(Dns::new(self.traffic(peer), Some(decoded.message), None));
        dns.multicast = multicast;
        dns.traffic.request_bytes = size;
        let timing = Timing { request_start: Some(started), ..Timing::default() };
        let waiting =
            Waiting { id, direction, peer, active: started, timing, dns, transfer, memory };
        if let Some(early) = self.take_early(&waiting) {
            return self.overtaken(waiting, early);
        }
        self.memory += memory;
        self.waiting.push_back(waiting);
        let most = self.limits.buffer.saturating_mul(WAITING_BUFFERS);
        while self.waiting.len() > self.limits.pending.max(1) || self.memory > most {
            if !self.give_up_oldest() {
                break;
            }
        }
    }

    fn response(&mut self, arrival: Arrival, multicast: bool) {
        let message = &arrival.decoded.message;
        let (asked, peer) = (arrival.direction.reverse(), arrival.peer);
        let place = self.waiting.iter().position(|waiting| {
            waiting.is_of(message.id, asked, peer) && waiting.asks(&message.questions, false)
        });
        let Some(place) = place else { return self.unasked(arrival, multicast) };
        let Some(waiting) = self.waiting.get_mut(place) else { return };
        let is_over = match &mut waiting.transfer {
            Some(transfer) => transfer.is_ended_by(&arrival.decoded),
            None => true,
        };
        waiting.timing.response_start = waiting.timing.response_start.or(Some(arrival.started));
        waiting.timing.response_end = arrival.ended;
        waiting.active = arrival.ended.unwrap_or(arrival.started);
        waiting.answer(arrival.decoded.message, arrival.size, self.limits);
        if is_over && let Some(waiting) = self.waiting.remove(place) {
            self.end(waiting);
        }
    }

    /// A response to a query that has not been seen.
    fn unasked(&mut self, arrival: Arrival, multicast: bool) {
        let Arrival { decoded, direction, peer, started, ended, size } = arrival;
        let mut dns = Box::new(Dns::new(self.traffic(peer), None, Some(decoded.message)));
        dns.multicast = multicast;
        dns.traffic.response_bytes = size;
        if self.early.len() >= MAX_EARLY
            && let Some(oldest) = self.early.pop_front()
        {
            self.end_early(oldest);
        }
        self.early.push_back(Early { direction, peer, started, ended, dns });
    }

    /// The response that has overtaken this query.
    fn take_early(&mut self, waiting: &Waiting) -> Option<Early> {
        let place = self.early.iter().position(|early| {
            early.dns.response.as_ref().is_some_and(|response| {
                early.direction == waiting.direction.reverse()
                    && waiting.is_of(response.id, waiting.direction, early.peer)
                    && waiting.asks(&response.questions, false)
            })
        })?;
        self.early.remove(place)
    }

    fn overtaken(&mut self, mut waiting: Waiting, early: Early) {
        waiting.timing.response_start = Some(early.started);
        waiting.timing.response_end = early.ended;
        let size = early.dns.traffic.response_bytes;
        if let Some(response) = early.dns.response {
            waiting.answer(response, size, self.limits);
        }
        waiting.memory = 0;
        self.end(waiting);
    }

    /// Gives up what has waited for too long by now.
    fn expire(&mut self, now: MonotonicTime) {
        let is_late = |early: &Early| now.since(early.started) > OVERTAKING;
        while self.early.front().is_some_and(is_late) {
            self.early.pop_front().into_iter().for_each(|early| self.end_early(early));
        }
        let is_over = |waiting: &Waiting| now.since(waiting.active) > PATIENCE;
        while self.is_datagram && self.waiting.front().is_some_and(is_over) {
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) -> bool {
        let Some(oldest) = self.waiting.pop_front() else { return false };
        self.end(oldest);
        true
    }

    fn end(&mut self, mut waiting: Waiting) {
        self.memory = self.memory.saturating_sub(waiting.memory);
        let role = Context::role(waiting.direction);
        waiting.dns.traffic.set_timing(Some(role), waiting.timing);
        self.emit(waiting.dns);
        if self.waiting.is_empty() {
            // A burst must not cost memory for as long as the connection lasts.
            self.waiting.shrink_to(USUAL);
        }
    }

    fn end_early(&mut self, early: Early) {
        let Early { direction, started, ended, mut dns, .. } = early;
        let timing =
            Timing { request_start: None, response_start: Some(started), response_end: ended };
        let role: Role = Context::role(direction.reverse());
        dns.traffic.set_timing(Some(role), timing);
        self.emit(dns);
    }

    /// No more messages come in this direction.
    pub(super) fn finish(&mut self, direction: Direction) {
        for early in std::mem::take(&mut self.early) {
            self.end_early(early);
        }
        let (over, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|waiting| waiting.direction == direction.reverse());
        self.waiting = waiting;
        over.into_iter().for_each(|waiting| self.end(waiting));
    }

    /// The template for a record of an exchange with this peer.
    fn traffic(&mut self, peer: Option<SocketAddr>) -> Traffic {
        let Some(peer) = peer.filter(|_| self.is_datagram) else { return self.traffic.clone() };
        let connection = match &self.connection {
            Some((known, connection)) if *known == peer => Arc::clone(connection),
            _ => {
                let mut connection = Arc::clone(&self.traffic.connection);
                let remote = Some(Address::Inet(peer));
                if connection.remote != remote {
                    Arc::make_mut(&mut connection).remote = remote;
                }
                self.connection = Some((peer, Arc::clone(&connection)));
                connection
            }
        };
        let mut traffic = Traffic::default();
        traffic.role = self.traffic.role;
        traffic.process = Arc::clone(&self.traffic.process);
        traffic.connection = connection;
        traffic
    }

    pub(super) fn skipped(&mut self, direction: Direction, bytes: u64, cause: Cause) {
        if bytes > 0 {
            self.outputs.push_back(Output::Skipped { direction, bytes, cause });
        }
    }

    fn emit(&mut self, dns: Box<Dns>) {
        self.outputs.push_back(Output::Record(pixie_core::Record::Dns(dns)));
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs.shrink_to(USUAL);
        }
        output
    }

    pub(super) fn memory(&self) -> usize {
        let early = |early: &Early| early.dns.response.as_ref().map_or(0, memory_of);
        self.memory + self.early.iter().map(early).sum::<usize>()
    }
}

impl Waiting {
    /// Whether this is the id and the peer of a message that goes with it.
    fn is_of(&self, id: u16, direction: Direction, peer: Option<SocketAddr>) -> bool {
        // What was sent to a group is answered by one of its members.
        let is_peer =
            self.peer == peer || self.peer.is_none() || peer.is_none() || self.dns.multicast;
        self.id == id && self.direction == direction && is_peer
    }

    /// Whether these are its questions. A response need not repeat them.
    fn asks(&self, questions: &[DnsQuestion], all: bool) -> bool {
        let Some(request) = &self.dns.request else { return false };
        let same = |(one, other): (&DnsQuestion, &DnsQuestion)| {
            one.kind == other.kind
                && one.class == other.class
                && one.name.as_bytes().eq_ignore_ascii_case(other.name.as_bytes())
        };
        let are_same = request.questions.len() == questions.len()
            && request.questions.iter().zip(questions).all(same);
        are_same || !all && questions.is_empty()
    }

    /// Takes a response, or another part of it.
    fn answer(&mut self, mut message: DnsMessage, size: u64, limits: Limits) {
        let dns = &mut *self.dns;
        dns.traffic.response_bytes += size;
        let Some(response) = &mut dns.response else {
            message.questions = Vec::new();
            dns.response = Some(message);
            dns.response_messages = 1;
            return;
        };
        dns.response_messages = dns.response_messages.saturating_add(1);
        response.complete &= message.complete;
        response.rcode = message.rcode;
        for (count, more) in response.record_counts.iter_mut().zip(message.record_counts) {
            *count += more;
        }
        let room = (limits.body / SMALLEST_RECORD).saturating_sub(response.answers.len());
        response.answers.extend(message.answers.into_iter().take(room));
    }
}

/// Memory that a message takes beside its own size, about.
fn memory_of(message: &DnsMessage) -> usize {
    let questions =
        message.questions.iter().map(|question| size_of_val(question) + question.name.len());
    let records = message.records().map(|record| {
        let data = match &record.data {
            DnsData::Txt(strings) => {
                strings.iter().map(|string| size_of_val(string) + string.len()).sum()
            }
            DnsData::Other(bytes) => bytes.len(),
            DnsData::Name(name) => name.len(),
            _ => 128,
        };
        size_of_val(record) + record.name.len() + data
    });
    let options = message.edns.as_ref().map_or(0, |edns| 64 + edns.options.len() * 128);
    questions.sum::<usize>() + records.sum::<usize>() + options
}
