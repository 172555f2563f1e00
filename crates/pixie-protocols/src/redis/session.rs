//! A connection: two directions, and which of them is which.

use super::Redis;
use super::exchanges::Exchanges;
use super::request::Requests;
use super::response::Responses;
use crate::parser::{Context, Output, Parser, Protocol as _, Segment, Verdict};
use pixie_core::id::{Direction, Role};
use pixie_core::time::MonotonicTime;

/// Parses one connection.
#[derive(Debug)]
pub(super) struct Session {
    /// What is not needed until it is known which way commands go.
    context: Option<Context>,
    established: Option<Established>,
}

#[derive(Debug)]
struct Established {
    requests_go: Direction,
    requests: Requests,
    responses: Responses,
    exchanges: Exchanges,
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
    /// commands go.
    fn established(&mut self, direction: Direction, bytes: &[u8]) -> Option<&mut Established> {
        if let Some(context) = self.context.take() {
            let requests = match (Redis.probe(bytes), context.traffic.role) {
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
        if let Some(established) = self.established.as_mut().filter(|it| !it.switched) {
            let Established { requests, responses, exchanges, .. } = established;
            match direction == established.requests_go {
                true => requests.gap(length, exchanges),
                false => responses.gap(time, length, exchanges),
            }
            established.settle(direction, &[]);
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.established.as_mut()?.exchanges.poll()
    }

    fn finish(&mut self, direction: Direction, time: MonotonicTime) {
        if let Some(established) = self.established.as_mut().filter(|it| !it.switched) {
            let Established { requests, responses, exchanges, .. } = established;
            match direction == established.requests_go {
                true => requests.finish(exchanges),
                false => responses.finish(time, exchanges),
            }
            exchanges.finish(direction);
        }
    }

    fn memory(&self) -> usize {
        let held = self.established.as_ref().map_or(0, |established| {
            let Established { requests, responses, exchanges, .. } = established;
            requests.memory() + responses.memory() + exchanges.memory()
        });
        size_of::<Self>() + held
    }
}

impl Established {
    fn new(context: Context, requests: Direction) -> Self {
        Self {
            requests_go: requests,
            requests: Requests::new(requests, context.limits),
            responses: Responses::new(requests.reverse(), context.limits),
            exchanges: Exchanges::new(context, requests),
            switched: false,
        }
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
