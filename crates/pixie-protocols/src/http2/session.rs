//! A connection: two directions, and what concerns both.

use super::half::Half;
use super::streams::{Kind, Streams};
use crate::oriented::{self, Oriented};
use crate::parser::{Context, Next, Output, Protocol as _, Switch, Verdict};
use pixie_core::id::Direction;
use pixie_core::time::MonotonicTime;

/// When neither direction has been understood for this many bytes, another protocol is spoken.
const HAND_BACK: u64 = 64 << 10;

pub(super) type Session = oriented::Session<Connection>;

/// Parses one connection.
#[derive(Debug)]
pub(super) struct Connection {
    requests_go: Direction,
    requests: Half,
    responses: Half,
    streams: Streams,
    /// Another protocol is spoken now.
    switched: bool,
}

impl Oriented for Connection {
    fn new(context: Context, requests: Direction) -> Self {
        Self {
            requests_go: requests,
            requests: Half::new(Kind::Request, context.limits),
            responses: Half::new(Kind::Response, context.limits),
            streams: Streams::new(context, requests),
            switched: false,
        }
    }

    fn probe(bytes: &[u8]) -> Verdict {
        super::Http2.probe(bytes)
    }

    fn guess(direction: Direction, bytes: &[u8]) -> Direction {
        match bytes.first() {
            Some(b'P') => direction,
            _ => direction.reverse(),
        }
    }

    fn feed(&mut self, direction: Direction, time: MonotonicTime, bytes: &[u8]) {
        let (half, streams) = self.half(direction);
        half.feed(time, bytes, streams);
        self.settle(time);
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        let (half, streams) = self.half(direction);
        half.gap(time, length, streams);
        self.settle(time);
    }

    fn poll(&mut self) -> Option<Output> {
        self.streams.poll()
    }

    fn finish(&mut self, direction: Direction, time: MonotonicTime) {
        let (half, streams) = self.half(direction);
        half.finish(time, streams);
    }

    fn memory(&self) -> usize {
        self.requests.memory() + self.responses.memory() + self.streams.memory()
    }
}

impl Connection {
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
}
