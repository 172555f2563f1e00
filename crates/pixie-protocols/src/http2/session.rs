//! A connection: two directions, and what concerns both.

use super::half::Half;
use super::streams::{Kind, Streams};
use crate::parser::{Context, Next, Output, Parser, Protocol as _, Segment, Switch, Verdict};
use pixie_core::id::{Direction, Role};
use pixie_core::time::MonotonicTime;

/// When neither direction has been understood for this many bytes, another protocol is spoken.
const HAND_BACK: u64 = 64 << 10;

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
    responses: Half,
    streams: Streams,
    /// Another protocol is spoken now.
    switched: bool,
}

impl Session {
    pub(super) fn new(context: Context) -> Self {
        let begun = context.begun.as_ref().and_then(|record| record.traffic()?.role);
        let requests = context.requests.or(begun.map(requests_of));
        match requests {
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
            let requests = match (super::Http2.probe(bytes), context.traffic.role) {
                (Verdict::Yes, _) => direction,
                (Verdict::Reversed, _) => direction.reverse(),
                (_, Some(role)) => requests_of(role),
                (_, None) if bytes.first() == Some(&b'P') => direction,
                (_, None) => direction.reverse(),
            };
            self.established = Some(Established::new(context, requests));
        }
        self.established.as_mut()
    }
}

/// Which way the requests of a process in this role go.
fn requests_of(role: Role) -> Direction {
    match role {
        Role::Client => Direction::Sent,
        Role::Server => Direction::Received,
    }
}

impl Parser for Session {
    fn feed(&mut self, segment: Segment<'_>) {
        let Segment { direction, time, bytes, .. } = segment;
        if let Some(established) = self.established(direction, bytes) {
            let (half, streams) = established.half(direction);
            half.feed(time, bytes, streams);
            established.settle(time);
        }
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        // Before anything was seen, and which way requests go, there is nothing to lose.
        if let Some(established) = &mut self.established {
            let (half, streams) = established.half(direction);
            half.gap(time, length, streams);
            established.settle(time);
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.established.as_mut()?.streams.poll()
    }

    fn finish(&mut self, direction: Direction, time: MonotonicTime) {
        if let Some(established) = &mut self.established {
            established.finish(direction, time);
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
            requests: Half::new(Kind::Request, context.limits),
            responses: Half::new(Kind::Response, context.limits),
            streams: Streams::new(context, requests),
            switched: false,
        }
    }

    fn half(&mut self, direction: Direction) -> (&mut Half, &mut Streams) {
        match direction == self.requests_go {
            true => (&mut self.requests, &mut self.streams),
            false => (&mut self.responses, &mut self.streams),
        }
    }

    /// Gives the connection back when it speaks something else.
    fn settle(&mut self, time: MonotonicTime) {
        let (requests, responses) = (self.requests.lost(), self.responses.lost());
        let is_lost = requests.min(responses) > 0 && requests + responses >= HAND_BACK;
        if is_lost && !std::mem::replace(&mut self.switched, true) {
            self.finish(Direction::Sent, time);
            self.finish(Direction::Received, time);
            self.streams.push(Output::Switch(Switch::to(Next::Detect)));
        }
    }

    fn finish(&mut self, direction: Direction, time: MonotonicTime) {
        let (half, streams) = self.half(direction);
        half.finish(time, streams);
    }

    fn memory(&self) -> usize {
        self.requests.memory() + self.responses.memory() + self.streams.memory()
    }
}
