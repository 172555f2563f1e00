//! Commands paired with their answers, in order.
//!
//! An answer that is given to the wrong command is worse than none. Whoever has lost something is
//! *in doubt*: answers are told without their commands, until the direction turns. What the server
//! says first after a command that it had not been silent since must be the answer to that command,
//! or to the first of those that came together with it.

use super::commands::{self, Effect, Reply};
use super::search::is_monitor_line;
use super::secrets;
use super::value::Said;
use crate::parser::{Context, Next, Output, Switch};
use pixie_core::Record;
use pixie_core::id::Direction;
use pixie_core::record::{
    Cause, Redis, RedisRequest, RedisResponse, RedisType, RedisValue, Timing,
};
use pixie_core::time::MonotonicTime;
use std::collections::VecDeque;
use std::time::Duration;

/// The most answers that wait for a command that is seen late.
const MAX_EARLY: usize = 16;

/// How much later than its answer a command may be seen: when one thread writes and another reads,
/// the read may be done first.
const LATE: Duration = Duration::from_millis(10);

/// Room for this many exchanges is kept when there are none.
const USUAL_SLOTS: usize = 64;

/// What waits may take this many times [`Limits::buffer`](crate::parser::Limits::buffer).
const PENDING_BUFFERS: usize = 8;

/// Bytes passed over are reported when they come to an end and every so many.
const REPORT_EVERY: u64 = 64 << 10;

/// The exchanges that are under way on a connection.
#[derive(Debug)]
pub(super) struct Exchanges {
    context: Context,
    requests: Direction,
    /// Commands that are not answered yet, in order.
    slots: VecDeque<Slot>,
    early: VecDeque<Answer>,
    outputs: VecDeque<Output>,
    skipped: [Skipped; 2],
    /// Which command is answered next is not known.
    in_doubt: bool,
    /// Commands may have been lost since the last one that was seen.
    lost: bool,
    /// Commands that came since the server last said something.
    fresh: usize,
    /// Commands that were given up for want of room, and whose answers are still to come.
    abandoned: u64,
    reply: ReplyMode,
    subscribed: bool,
    monitoring: bool,
    switching: bool,
    /// Bytes in `slots`, about.
    memory: usize,
}

/// Whether commands are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyMode {
    On,
    Off,
    SkipNext,
}

/// A command under way.
#[derive(Debug)]
struct Slot {
    redis: Box<Redis>,
    timing: Timing,
    effect: Effect,
    /// Confirmations of subscriptions that are still to come.
    confirmations: u64,
    /// Commands may have been lost before this one.
    after_loss: bool,
    memory: usize,
}

/// A value of the server's.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: RedisResponse,
    pub(super) said: Said,
    pub(super) started: MonotonicTime,
    /// When its last byte came, if that was seen.
    pub(super) ended: Option<MonotonicTime>,
    /// Bytes on the connection.
    pub(super) wire: u64,
}

/// Bytes passed over that are not reported yet.
#[derive(Clone, Copy, Debug)]
struct Skipped {
    bytes: u64,
    cause: Cause,
}

impl Exchanges {
    pub(super) fn new(context: Context, requests: Direction) -> Self {
        Self {
            context,
            requests,
            // Most connections never need more, and the least that it takes by itself is 4.
            slots: VecDeque::with_capacity(1),
            early: VecDeque::new(),
            outputs: VecDeque::with_capacity(1),
            skipped: [Skipped { bytes: 0, cause: Cause::Unobserved }; 2],
            // The connection may have been joined midway.
            in_doubt: true,
            lost: false,
            fresh: 0,
            abandoned: 0,
            reply: ReplyMode::On,
            subscribed: false,
            monitoring: false,
            switching: false,
            memory: 0,
        }
    }

    /// A command has come.
    pub(super) fn request(&mut self, request: RedisRequest, started: MonotonicTime, wire: u64) {
        self.report_skipped(self.requests);
        let effect = effect(&request);
        let arguments = request.arguments.count();
        let memory = size_of::<Slot>() + size_of::<Redis>() + request.arguments.memory();
        let traffic = self.context.traffic.clone();
        let mut redis = Box::new(Redis::new(traffic, Some(request), None));
        redis.traffic.request_bytes = wire;
        let timing = Timing { request_start: Some(started), ..Timing::default() };
        let slot = Slot {
            redis,
            timing,
            effect,
            confirmations: arguments.max(1),
            after_loss: std::mem::take(&mut self.lost),
            memory,
        };
        if !self.is_answered(effect) {
            self.lost |= slot.after_loss;
            return self.emit(slot);
        }
        if let Some(answer) = self.take_early(started) {
            return self.pair(slot, answer);
        }
        self.memory += memory;
        self.slots.push_back(slot);
        self.fresh += 1;
        self.enforce_limits();
        self.replicate_at_once();
    }

    /// Whether the server answers this command, by what `CLIENT REPLY` said.
    fn is_answered(&mut self, effect: Effect) -> bool {
        match (effect, self.reply) {
            (Effect::Reply(Reply::On), _) => {
                self.reply = ReplyMode::On;
                true
            }
            (Effect::Reply(Reply::Off), _) => {
                self.reply = ReplyMode::Off;
                false
            }
            (_, ReplyMode::Off) => false,
            (Effect::Reply(Reply::Skip), _) => {
                self.reply = ReplyMode::SkipNext;
                false
            }
            (_, ReplyMode::SkipNext) => {
                self.reply = ReplyMode::On;
                false
            }
            (_, ReplyMode::On) => true,
        }
    }

    /// The answer to a command that is seen late.
    fn take_early(&mut self, started: MonotonicTime) -> Option<Answer> {
        let early = self.early.pop_front()?;
        if !self.lost && started.since(early.started) <= LATE {
            return Some(early);
        }
        self.emit_alone(early);
        self.flush_early();
        self.in_doubt = true;
        None
    }

    fn flush_early(&mut self) {
        while let Some(early) = self.early.pop_front() {
            self.emit_alone(early);
        }
    }

    /// The server is about to say something.
    pub(super) fn responding(&mut self) -> bool {
        let all_fresh = std::mem::take(&mut self.fresh);
        let fresh = all_fresh.min(self.slots.len());
        let first = self.slots.len() - fresh;
        // Where commands were lost just before the first, they are answered before it.
        if !self.in_doubt || self.slots.get(first).is_none_or(|slot| slot.after_loss) {
            return false;
        }
        for _ in 0..first {
            self.emit_front();
        }
        self.in_doubt = false;
        self.abandoned = (all_fresh - fresh) as u64;
        self.replicate_at_once();
        true
    }

    /// The server has said something.
    pub(super) fn response(&mut self, answer: Answer) {
        self.report_skipped(self.requests.reverse());
        if self.confirms(&answer) {
            return self.confirmation(answer);
        }
        if self.is_push(&answer) {
            return self.push(answer);
        }
        if !self.in_doubt && self.abandoned > 0 {
            self.abandoned -= 1;
            return self.emit_alone(answer);
        }
        self.in_doubt |= self.slots.front().map_or(self.lost, |front| front.after_loss);
        if self.in_doubt {
            return self.emit_alone(answer);
        }
        match self.slots.pop_front() {
            Some(slot) => {
                self.memory = self.memory.saturating_sub(slot.memory);
                self.pair(slot, answer);
            }
            None if self.early.len() < MAX_EARLY => self.early.push_back(answer),
            None => {
                self.flush_early();
                self.emit_alone(answer);
                self.in_doubt = true;
            }
        }
    }

    /// Whether this confirms a subscription of the command that waits first.
    fn confirms(&self, answer: &Answer) -> bool {
        let waits = |slot: &Slot| {
            let command = slot.redis.request.as_ref().map(|request| &request.command);
            slot.effect == Effect::Subscription
                && command.is_some_and(|command| {
                    command.as_bytes().eq_ignore_ascii_case(answer.said.word())
                })
        };
        !self.in_doubt
            && matches!(answer.response.kind, RedisType::Array | RedisType::Push)
            && self.slots.front().is_some_and(waits)
    }

    fn confirmation(&mut self, answer: Answer) {
        self.subscribed = answer.said.last.is_some_and(|left| left > 0);
        let Some(slot) = self.slots.front_mut() else { return };
        slot.confirmations = slot.confirmations.saturating_sub(1);
        if slot.confirmations == 0 || answer.ended.is_none() {
            if let Some(slot) = self.slots.pop_front() {
                self.memory = self.memory.saturating_sub(slot.memory);
                self.pair(slot, answer);
            }
        } else {
            slot.timing.response_start.get_or_insert(answer.started);
            slot.redis.traffic.response_bytes += answer.wire;
        }
    }

    /// Whether this answers no command.
    fn is_push(&self, answer: &Answer) -> bool {
        let Answer { response, said, .. } = answer;
        let is_unexpected = self.slots.is_empty();
        match (response.kind, response.count) {
            (RedisType::Push, _) => true,
            (RedisType::Array, Some(count)) if self.subscribed || is_unexpected => {
                match said.word() {
                    b"message" | b"smessage" => count == 3,
                    b"pmessage" => count == 4,
                    b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe"
                    | b"punsubscribe" | b"sunsubscribe" => count == 3 && said.last.is_some(),
                    _ => false,
                }
            }
            (RedisType::Simple, _) if self.monitoring || is_unexpected => {
                matches!(&response.value, RedisValue::Text(text) if is_monitor_line(text))
            }
            _ => false,
        }
    }

    fn push(&mut self, mut answer: Answer) {
        answer.response.push = true;
        match answer.response.kind {
            RedisType::Simple => secrets::cut_monitored(&mut answer.response),
            RedisType::Array => self.subscribed = answer.said.last.is_none_or(|left| left > 0),
            _ => {}
        }
        self.emit_alone(answer);
    }

    /// Gives the answer to the command.
    fn pair(&mut self, mut slot: Slot, answer: Answer) {
        let Answer { mut response, started, ended, wire, .. } = answer;
        if slot.redis.request.as_ref().is_some_and(secrets::answers_secrets) {
            secrets::remove_answer(&mut response);
        }
        match slot.effect {
            Effect::Monitor => self.monitoring |= response.error().is_none(),
            Effect::Replicate => {
                if matches!(&response.value, RedisValue::Text(text) if is_replication(text)) {
                    self.switching = true;
                }
            }
            _ => {}
        }
        slot.timing.response_start.get_or_insert(started);
        slot.timing.response_end = ended;
        slot.redis.traffic.response_bytes += wire;
        slot.redis.response = Some(response);
        self.emit(slot);
        self.replicate_at_once();
    }

    /// `SYNC` has no answer but the stream itself.
    fn replicate_at_once(&mut self) {
        let is_sync = |slot: &Slot| slot.effect == Effect::ReplicateAtOnce;
        if !self.in_doubt && self.slots.front().is_some_and(is_sync) {
            self.emit_front();
            self.switching = true;
        }
    }

    /// Emits what the server said without what it may have been said to.
    fn emit_alone(&mut self, answer: Answer) {
        let Answer { mut response, started, ended, wire, .. } = answer;
        if !response.push && response.count.is_some() {
            // It may be the answer to `CONFIG GET` or `ACL LIST`.
            secrets::remove_settings(&mut response);
        }
        let timing =
            Timing { request_start: None, response_start: Some(started), response_end: ended };
        let traffic = self.context.traffic.clone();
        let mut redis = Redis::new(traffic, None, Some(response));
        redis.traffic.response_bytes = wire;
        redis.traffic.set_timing(Some(Context::role(self.requests)), timing);
        self.outputs.push_back(Output::Record(redis.into()));
    }

    fn emit_front(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.memory = self.memory.saturating_sub(slot.memory);
            self.emit(slot);
        }
    }

    #[inline]
    fn emit(&mut self, mut slot: Slot) {
        slot.redis.traffic.set_timing(Some(Context::role(self.requests)), slot.timing);
        self.outputs.push_back(Output::Record(Record::Redis(slot.redis)));
    }

    /// Commands may have been lost.
    pub(super) fn requests_lost(&mut self) {
        self.flush_early();
        self.lost = true;
    }

    /// Answers may have been lost.
    pub(super) fn responses_lost(&mut self) {
        self.flush_early();
        self.in_doubt = true;
        self.fresh = 0;
    }

    /// Bytes were passed over, for this cause or the same as before.
    pub(super) fn skipped(&mut self, direction: Direction, bytes: usize, cause: Option<Cause>) {
        if cause.is_some() {
            self.report_skipped(direction);
        }
        let Some(skipped) = self.skipped.get_mut(direction.index()) else { return };
        skipped.cause = cause.unwrap_or(skipped.cause);
        skipped.bytes += bytes as u64;
        if skipped.bytes >= REPORT_EVERY {
            self.report_skipped(direction);
        }
    }

    #[inline]
    fn report_skipped(&mut self, direction: Direction) {
        let Some(skipped) = self.skipped.get_mut(direction.index()) else { return };
        let Skipped { bytes, cause } = *skipped;
        if bytes > 0 {
            skipped.bytes = 0;
            self.outputs.push_back(Output::Skipped { direction, bytes, cause });
        }
    }

    /// What waits for an answer is bounded, in number and in size: the oldest goes first.
    fn enforce_limits(&mut self) {
        let limits = self.context.limits;
        while self.slots.len() > limits.pending.max(1)
            || (self.memory > limits.buffer.saturating_mul(PENDING_BUFFERS) && self.slots.len() > 1)
        {
            self.abandoned += 1;
            self.emit_front();
        }
    }

    /// No more will be seen in this direction.
    pub(super) fn finish(&mut self, direction: Direction) {
        self.report_skipped(direction);
        match direction == self.requests {
            true => self.flush_early(),
            false => {
                while !self.slots.is_empty() {
                    self.emit_front();
                }
            }
        }
    }

    /// Whether another protocol begins here.
    #[inline]
    pub(super) fn is_switching(&self) -> bool {
        self.switching
    }

    /// Hands over to the stream of a replica, which nobody parses.
    pub(super) fn switch(&mut self, unread: [(Direction, Vec<u8>); 2]) {
        let [first, second] = unread;
        self.flush_early();
        while !self.slots.is_empty() {
            self.emit_front();
        }
        for direction in [self.requests, self.requests.reverse()] {
            self.report_skipped(direction);
        }
        let switch = Switch::to(Next::Opaque);
        let switch = switch.with_unread(first.0, first.1).with_unread(second.0, second.1);
        self.outputs.push_back(Output::Switch(switch));
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // A burst must not cost memory for as long as the connection lasts.
            self.outputs.shrink_to(USUAL_SLOTS);
            if self.slots.is_empty() {
                self.slots.shrink_to(USUAL_SLOTS);
            }
        }
        output
    }

    /// Bytes of memory that are held, about.
    pub(super) fn memory(&self) -> usize {
        self.memory + self.early.len() * size_of::<Answer>()
    }
}

#[inline]
fn effect(request: &RedisRequest) -> Effect {
    let name = request.command.as_bytes();
    let argument = |place| request.arguments.get(place).map(|argument| argument.bytes);
    match name {
        b"CLIENT" => {
            let [first, second] = [argument(0), argument(1)];
            commands::effect(name, [first.unwrap_or_default(), second.unwrap_or_default()])
        }
        name => commands::effect(name, [b""; 2]),
    }
}

/// What a master answers to `PSYNC` before its stream.
fn is_replication(text: &[u8]) -> bool {
    text.starts_with(b"FULLRESYNC") || text.starts_with(b"CONTINUE")
}
