//! A connection: two directions, and which of them is which.

use super::Redis;
use super::exchanges::Exchanges;
use super::request::Requests;
use super::response::Responses;
use crate::oriented::{self, Oriented};
use crate::parser::{Context, Output, Protocol as _, Verdict};
use pixie_core::id::Direction;
use pixie_core::time::MonotonicTime;

pub(super) type Session = oriented::Session<Connection>;

/// Parses one connection.
#[derive(Debug)]
pub(super) struct Connection {
    requests_go: Direction,
    requests: Requests,
    responses: Responses,
    exchanges: Exchanges,
    switched: bool,
}

impl Oriented for Connection {
    fn new(context: Context, requests: Direction) -> Self {
        Self {
            requests_go: requests,
            requests: Requests::new(requests, context.limits),
            responses: Responses::new(requests.reverse(), context.limits),
            exchanges: Exchanges::new(context, requests),
            switched: false,
        }
    }

    fn probe(bytes: &[u8]) -> Verdict {
        Redis.probe(bytes)
    }

    fn feed(&mut self, direction: Direction, time: MonotonicTime, bytes: &[u8]) {
        if self.switched {
            return;
        }
        let mut rest = bytes;
        match direction == self.requests_go {
            true => self.requests.feed(time, &mut rest, &mut self.exchanges),
            false => self.responses.feed(time, &mut rest, &mut self.exchanges),
        }
        self.settle(direction, rest);
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        if self.switched {
            return;
        }
        match direction == self.requests_go {
            true => self.requests.gap(length, &mut self.exchanges),
            false => self.responses.gap(time, length, &mut self.exchanges),
        }
        self.settle(direction, &[]);
    }

    fn poll(&mut self) -> Option<Output> {
        self.exchanges.poll()
    }

    fn finish(&mut self, direction: Direction, time: MonotonicTime) {
        if self.switched {
            return;
        }
        match direction == self.requests_go {
            true => self.requests.finish(&mut self.exchanges),
            false => self.responses.finish(time, &mut self.exchanges),
        }
        self.exchanges.finish(direction);
    }

    fn memory(&self) -> usize {
        self.requests.memory() + self.responses.memory() + self.exchanges.memory()
    }
}

impl Connection {
    /// Hands over when another protocol has begun; `rest` is the first of it in `direction`.
    fn settle(&mut self, direction: Direction, rest: &[u8]) {
        if !self.exchanges.is_switching() || self.switched {
            return;
        }
        self.switched = true;
        let [mut requests, mut responses] =
            [self.requests.take_unread(), self.responses.take_unread()];
        match direction == self.requests_go {
            true => requests.extend_from_slice(rest),
            false => responses.extend_from_slice(rest),
        }
        let back = self.requests_go.reverse();
        self.exchanges.switch([(self.requests_go, requests), (back, responses)]);
    }
}
