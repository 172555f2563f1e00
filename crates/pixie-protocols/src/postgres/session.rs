//! A connection: two directions, and what in one concerns the other.

use super::exchanges::{Encryption, Exchanges};
use super::frame::Side;
use super::half::Half;
use crate::oriented::{self, Oriented};
use crate::parser::{Context, Next, Output, Protocol, Switch, Verdict};
use pixie_core::id::Direction;
use pixie_core::time::MonotonicTime;

pub(super) type Session = oriented::Session<Connection>;

/// Parses one connection.
#[derive(Debug)]
pub(super) struct Connection {
    requests_go: Direction,
    requests: Half,
    answers: Half,
    exchanges: Exchanges,
    /// Another protocol is spoken now.
    switched: bool,
}

impl Oriented for Connection {
    fn new(context: Context, requests: Direction) -> Self {
        Self {
            requests_go: requests,
            requests: Half::new(Side::Frontend, context.limits),
            answers: Half::new(Side::Backend, context.limits),
            exchanges: Exchanges::new(context, requests),
            switched: false,
        }
    }

    fn probe(bytes: &[u8]) -> Verdict {
        super::Postgres.probe(bytes)
    }

    fn feed(&mut self, direction: Direction, time: MonotonicTime, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.switched {
            let (half, exchanges) = self.half(direction);
            rest = half.feed(time, rest, exchanges);
            self.settle(time, direction, rest);
        }
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        let (half, exchanges) = self.half(direction);
        half.gap(time, length, exchanges);
        self.settle(time, direction, &[]);
    }

    fn poll(&mut self) -> Option<Output> {
        self.exchanges.poll()
    }

    fn finish(&mut self, direction: Direction, _: MonotonicTime) {
        let (half, exchanges) = self.half(direction);
        half.finish(exchanges);
        if direction != self.requests_go {
            self.exchanges.finish();
        }
    }

    fn memory(&self) -> usize {
        self.requests.memory() + self.answers.memory() + self.exchanges.memory()
    }
}

impl Connection {
    fn half(&mut self, direction: Direction) -> (&mut Half, &mut Exchanges) {
        match direction == self.requests_go {
            true => (&mut self.requests, &mut self.exchanges),
            false => (&mut self.answers, &mut self.exchanges),
        }
    }

    /// Does what has come up in one direction and concerns the other. `rest` is what was not taken
    /// yet of the bytes that go in `direction`.
    fn settle(&mut self, time: MonotonicTime, direction: Direction, rest: &[u8]) {
        if self.exchanges.take_started() {
            self.answers.synchronize();
        }
        let next = match self.exchanges.take_encryption() {
            Encryption::Tls => Next::Protocol("tls"),
            Encryption::Gss => Next::Opaque,
            Encryption::Unknown => Next::Detect,
            Encryption::Refused => {
                // What the client sent without waiting for the answer.
                let held = self.requests.refused();
                self.feed(self.requests_go, time, &held);
                return;
            }
            Encryption::Asked | Encryption::None => return,
        };
        let switch = Switch::to(next)
            .with_unread(self.requests_go, self.requests.take_unread())
            .with_unread(direction, rest.to_vec());
        self.switched = true;
        self.finish(Direction::Sent, time);
        self.finish(Direction::Received, time);
        self.exchanges.push_output(Output::Switch(switch));
    }
}
