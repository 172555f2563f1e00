//! A connection: two directions, and what in one concerns the other.

use super::exchanges::{Encryption, Exchanges};
use super::frame::Side;
use super::half::Half;
use crate::parser::{Context, Next, Output, Parser, Protocol, Segment, Switch, Verdict};
use pixie_core::id::{Direction, Role};
use pixie_core::time::MonotonicTime;

/// Parses one connection.
#[derive(Debug)]
pub(super) struct Session {
    /// What is not needed until it is known which way requests go.
    context: Option<Context>,
    established: Option<Established>,
}

#[derive(Debug)]
struct Established {
    requests_go: Direction,
    requests: Half,
    answers: Half,
    exchanges: Exchanges,
    /// Another protocol is spoken now.
    switched: bool,
}

impl Session {
    pub(super) fn new(context: Context) -> Self {
        match context.requests {
            Some(requests) => {
                Self { context: None, established: Some(Established::new(context, requests)) }
            }
            None => Self { context: Some(context), established: None },
        }
    }

    /// Without word from detection, the first bytes or else the socket's role tell which way
    /// requests go.
    fn established(&mut self, direction: Direction, bytes: &[u8]) -> Option<&mut Established> {
        if let Some(context) = self.context.take() {
            let requests = match (super::Postgres.probe(bytes), context.traffic.role) {
                (Verdict::Yes, _) => direction,
                (Verdict::Reversed, _) => direction.reverse(),
                (_, Some(Role::Client)) => Direction::Sent,
                (_, Some(Role::Server)) => Direction::Received,
                (_, None) => direction,
            };
            self.established = Some(Established::new(context, requests));
        }
        self.established.as_mut()
    }
}

impl Parser for Session {
    fn feed(&mut self, segment: Segment<'_>) {
        let Segment { direction, time, bytes, .. } = segment;
        if let Some(established) = self.established(direction, bytes) {
            established.feed(direction, time, bytes);
        }
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        if let Some(established) = &mut self.established {
            let (half, exchanges) = established.half(direction);
            half.gap(time, length, exchanges);
            established.settle(time, direction, &[]);
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.established.as_mut()?.exchanges.poll()
    }

    fn finish(&mut self, direction: Direction, _: MonotonicTime) {
        if let Some(established) = &mut self.established {
            established.finish(direction);
        }
    }

    fn memory(&self) -> usize {
        let held = self.established.as_ref().map_or(0, Established::memory);
        size_of::<Self>() + held
    }
}

impl Established {
    fn new(context: Context, requests: Direction) -> Self {
        Self {
            requests_go: requests,
            requests: Half::new(Side::Frontend, context.limits),
            answers: Half::new(Side::Backend, context.limits),
            exchanges: Exchanges::new(context, requests),
            switched: false,
        }
    }

    fn half(&mut self, direction: Direction) -> (&mut Half, &mut Exchanges) {
        match direction == self.requests_go {
            true => (&mut self.requests, &mut self.exchanges),
            false => (&mut self.answers, &mut self.exchanges),
        }
    }

    fn feed(&mut self, direction: Direction, time: MonotonicTime, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.switched {
            let (half, exchanges) = self.half(direction);
            rest = half.feed(time, rest, exchanges);
            self.settle(time, direction, rest);
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
        self.finish(Direction::Sent);
        self.finish(Direction::Received);
        self.exchanges.push_output(Output::Switch(switch));
    }

    fn finish(&mut self, direction: Direction) {
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
