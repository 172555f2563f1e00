//! Parsers that must know which way requests go before they can begin.

use crate::parser::{Context, Output, Parser, Segment, Verdict};
use pixie_core::id::{Direction, Role};
use pixie_core::time::MonotonicTime;

/// Parses a connection of which it is known which way requests go. As [`Parser`], but for what is
/// said here.
pub(crate) trait Oriented: Send {
    /// A connection whose requests go in this direction.
    fn new(context: Context, requests: Direction) -> Self;

    /// Whose these bytes are, as detection would say.
    fn probe(bytes: &[u8]) -> Verdict;

    /// Which way requests go where nothing tells: these are the first bytes, in `direction`.
    fn guess(direction: Direction, bytes: &[u8]) -> Direction {
        let _ = bytes;
        direction
    }

    fn feed(&mut self, direction: Direction, time: MonotonicTime, bytes: &[u8]);

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64);

    fn poll(&mut self) -> Option<Output>;

    fn finish(&mut self, direction: Direction, time: MonotonicTime);

    /// Bytes that are held beside its own size.
    fn memory(&self) -> usize;
}

/// Finds out which way requests go, and lets the connection be parsed.
#[derive(Debug)]
pub(crate) struct Session<C> {
    /// What is not needed until it is known.
    context: Option<Context>,
    connection: Option<C>,
}

impl<C: Oriented> Session<C> {
    pub(crate) fn new(context: Context) -> Self {
        let begun = context.begun.as_ref().and_then(|record| record.traffic()?.role);
        match context.requests.or(begun.map(requests_of)) {
            Some(requests) => Self { context: None, connection: Some(C::new(context, requests)) },
            None => Self { context: Some(context), connection: None },
        }
    }

    /// Without word from detection, the first bytes or else the socket's role tell which way
    /// requests go.
    fn connection(&mut self, direction: Direction, bytes: &[u8]) -> Option<&mut C> {
        if let Some(context) = self.context.take() {
            let requests = match (C::probe(bytes), context.traffic.role) {
                (Verdict::Yes, _) => direction,
                (Verdict::Reversed, _) => direction.reverse(),
                (_, Some(role)) => requests_of(role),
                (_, None) => C::guess(direction, bytes),
            };
            self.connection = Some(C::new(context, requests));
        }
        self.connection.as_mut()
    }
}

/// Which way the requests of a process in this role go.
fn requests_of(role: Role) -> Direction {
    match role {
        Role::Client => Direction::Sent,
        Role::Server => Direction::Received,
    }
}

impl<C: Oriented> Parser for Session<C> {
    fn feed(&mut self, segment: Segment<'_>) {
        let Segment { direction, time, bytes, .. } = segment;
        if let Some(connection) = self.connection(direction, bytes) {
            connection.feed(direction, time, bytes);
        }
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        // Before anything was seen, and which way requests go, there is nothing to lose.
        if let Some(connection) = &mut self.connection {
            connection.gap(direction, time, length);
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.connection.as_mut()?.poll()
    }

    fn finish(&mut self, direction: Direction, time: MonotonicTime) {
        if let Some(connection) = &mut self.connection {
            connection.finish(direction, time);
        }
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.connection.as_ref().map_or(0, C::memory)
    }
}
