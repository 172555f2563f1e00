//! A connection: two directions, each with messages of its own.

use super::agreement::Agreement;
use super::half::{Half, Message, Said};
use crate::parser::{Context, Output, Parser, Segment};
use pixie_core::id::{Direction, Role};
use pixie_core::record::{Timing, Traffic, WebSocket};
use pixie_core::time::MonotonicTime;
use std::collections::VecDeque;

/// Parses one connection.
#[derive(Debug)]
pub(super) struct Session {
    traffic: Traffic,
    agreement: Agreement,
    /// By [`Direction::index`].
    halves: [Half; 2],
    said: VecDeque<Said>,
    outputs: VecDeque<Output>,
}

impl Session {
    pub(super) fn new(context: Context) -> Self {
        let begun = context.begun.as_deref();
        let asked = begun.and_then(|record| record.traffic()).and_then(|traffic| traffic.role);
        let role = context.requests.map(Context::role).or(asked).or(context.traffic.role);
        let mut traffic = context.traffic;
        traffic.role = role;
        let half = |direction: Direction| {
            let sends = |role| if direction == Direction::Sent { role } else { other(role) };
            Half::new(role.map(sends), context.limits)
        };
        let halves = [half(Direction::Sent), half(Direction::Received)];
        Self {
            agreement: Agreement::of(begun),
            traffic,
            halves,
            said: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    fn tell(&mut self, direction: Direction) {
        while let Some(said) = self.said.pop_front() {
            self.outputs.push_back(match said {
                Said::Message(message) => Output::Record(self.record(message, direction).into()),
                Said::Skipped(bytes, cause) => Output::Skipped { direction, bytes, cause },
            });
        }
    }

    fn record(&self, message: Message, direction: Direction) -> WebSocket {
        let mut traffic = self.traffic.clone();
        let mut timing = Timing::default();
        match message.sender {
            Role::Client => {
                timing.request_start = Some(message.started);
                traffic.request_bytes = message.wire;
            }
            Role::Server => {
                timing.response_start = Some(message.started);
                traffic.response_bytes = message.wire;
            }
        }
        let role = match direction {
            Direction::Sent => message.sender,
            Direction::Received => other(message.sender),
        };
        traffic.set_timing(Some(role), timing);
        let mut record = WebSocket::new(traffic, message.sender, message.opcode);
        record.path.clone_from(&self.agreement.path);
        record.subprotocol.clone_from(&self.agreement.subprotocol);
        record.body = message.body;
        record.fragments = message.fragments;
        record.masked = message.masked;
        record.compressed = message.compressed;
        record.close_code = message.close_code;
        record.close_reason = message.close_reason;
        record.violation = message.violation;
        record
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

impl Parser for Session {
    fn feed(&mut self, segment: Segment<'_>) {
        let Segment { direction, time, bytes, .. } = segment;
        if let Some(half) = self.halves.get_mut(direction.index()) {
            half.feed(time, bytes, &self.agreement, &mut self.said);
        }
        self.tell(direction);
    }

    fn gap(&mut self, direction: Direction, _: MonotonicTime, length: u64) {
        if let Some(half) = self.halves.get_mut(direction.index()) {
            half.gap(length, &self.agreement, &mut self.said);
        }
        self.tell(direction);
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn finish(&mut self, direction: Direction, _: MonotonicTime) {
        if let Some(half) = self.halves.get_mut(direction.index()) {
            half.finish(&self.agreement, &mut self.said);
        }
        self.tell(direction);
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.halves.iter().map(Half::memory).sum::<usize>()
    }
}
