//! A connection: two directions, and the changes of protocol that concern both.

use super::exchanges::Exchanges;
use super::frame::Kind;
use super::half::Half;
use crate::parser::Protocol as _;
use crate::parser::{Context, Next, Output, Parser, Segment, Switch, Verdict};
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

    /// Without word from detection, the socket's role or else the first bytes tell which way
    /// requests go.
    fn established(&mut self, direction: Direction, bytes: &[u8]) -> Option<&mut Established> {
        if let Some(context) = self.context.take() {
            let requests = match (context.traffic.role, super::Http1.probe(bytes)) {
                (_, Verdict::Yes) => direction,
                (_, Verdict::Reversed) => direction.reverse(),
                (Some(Role::Client), _) => Direction::Sent,
                (Some(Role::Server), _) => Direction::Received,
                (None, _) if bytes.first() == Some(&b'H') => direction.reverse(),
                (None, _) => direction,
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
            established.settle();
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
            requests: Half::new(Kind::Request, context.limits),
            responses: Half::new(Kind::Response, context.limits),
            exchanges: Exchanges::new(context, requests),
            switched: false,
        }
    }

    fn half(&mut self, direction: Direction) -> (&mut Half, &mut Exchanges) {
        match direction == self.requests_go {
            true => (&mut self.requests, &mut self.exchanges),
            false => (&mut self.responses, &mut self.exchanges),
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
        let lost = self.requests.lost().min(self.responses.lost());
        if lost > 0 && self.requests.lost() + self.responses.lost() >= HAND_BACK {
            self.hand_over(Switch::to(Next::Detect));
        }
    }

    fn hand_over(&mut self, switch: Switch) {
        if !std::mem::replace(&mut self.switched, true) {
            self.finish(Direction::Sent);
            self.finish(Direction::Received);
            self.exchanges.push(Output::Switch(switch));
        }
    }

    fn finish(&mut self, direction: Direction) {
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

    fn memory(&self) -> usize {
        self.requests.memory() + self.responses.memory() + self.exchanges.memory()
    }
}
