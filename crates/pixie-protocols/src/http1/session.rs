//! A connection: two directions, and the changes of protocol that concern both.

use super::exchanges::Exchanges;
use super::frame::Kind;
use super::half::Half;
use crate::oriented::{self, Oriented};
use crate::parser::{Context, Next, Output, Protocol as _, Switch, Verdict};
use pixie_core::id::Direction;
use pixie_core::time::MonotonicTime;

pub(super) type Session = oriented::Session<Connection>;

/// Parses one connection.
#[derive(Debug)]
pub(super) struct Connection {
    requests_go: Direction,
    requests: Half,
    responses: Half,
    exchanges: Exchanges,
    /// Another protocol is spoken now.
    switched: bool,
}

impl Oriented for Connection {
    fn new(context: Context, requests: Direction) -> Self {
        Self {
            requests_go: requests,
            requests: Half::new(Kind::Request, context.limits),
            responses: Half::new(Kind::Response, context.limits),
            exchanges: Exchanges::new(context, requests),
            switched: false,
        }
    }

    fn probe(bytes: &[u8]) -> Verdict {
        super::Http1.probe(bytes)
    }

    fn guess(direction: Direction, bytes: &[u8]) -> Direction {
        match bytes.first() {
            Some(b'H') => direction.reverse(),
            _ => direction,
        }
    }

    fn feed(&mut self, direction: Direction, time: MonotonicTime, bytes: &[u8]) {
        let (half, exchanges) = self.half(direction);
        half.feed(time, bytes, exchanges);
        self.settle();
        loop {
            let (half, exchanges) = self.half(direction);
            let left = half.take_left();
            if left.is_empty() {
                break;
            }
            half.feed(time, &left, exchanges);
            self.settle();
        }
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        let (half, exchanges) = self.half(direction);
        half.gap(time, length, exchanges);
        self.settle();
    }

    fn poll(&mut self) -> Option<Output> {
        self.exchanges.poll()
    }

    fn finish(&mut self, direction: Direction, _: MonotonicTime) {
        self.end(direction);
    }

    fn memory(&self) -> usize {
        self.requests.memory() + self.responses.memory() + self.exchanges.memory()
    }
}

impl Connection {
    fn half(&mut self, direction: Direction) -> (&mut Half, &mut Exchanges) {
        match direction == self.requests_go {
            true => (&mut self.requests, &mut self.exchanges),
            false => (&mut self.responses, &mut self.exchanges),
        }
    }

    /// Does what has come up in one direction and concerns the other.
    fn settle(&mut self) {
        if let Some(switch) = self.exchanges.take_switch() {
            let switch = switch
                .with_unread(self.requests_go, self.requests.take_unread())
                .with_unread(self.requests_go.reverse(), self.responses.take_unread());
            self.hand_over(switch);
        } else if self.exchanges.take_release() {
            self.requests.release(&mut self.exchanges);
        }
        if self.exchanges.gives_up() {
            let switch = Switch::to(Next::Detect)
                .with_unread(self.requests_go, self.requests.take_left())
                .with_unread(self.requests_go.reverse(), self.responses.take_left());
            self.hand_over(switch);
        }
    }

    fn hand_over(&mut self, switch: Switch) {
        if !std::mem::replace(&mut self.switched, true) {
            self.end(Direction::Sent);
            self.end(Direction::Received);
            self.exchanges.push(Output::Switch(switch));
        }
    }

    fn end(&mut self, direction: Direction) {
        let (half, exchanges) = self.half(direction);
        half.finish(exchanges);
        let is_requests = direction == self.requests_go;
        let kind = if is_requests { Kind::Request } else { Kind::Response };
        self.exchanges.finish(kind);
        if self.exchanges.take_release() {
            self.requests.release(&mut self.exchanges);
            if self.exchanges.is_finished(Kind::Request) {
                self.requests.finish(&mut self.exchanges);
                self.exchanges.finish(Kind::Request);
            }
        }
    }
}
