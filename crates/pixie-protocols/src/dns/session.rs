//! A connection: its messages, in datagrams or in two streams.

use super::exchanges::{Arrival, Exchanges};
use super::framing::{Framed, Framing, Take};
use super::message;
use crate::parser::{Context, Output, Parser, Segment};
use pixie_core::id::Direction;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;

/// Parses one connection, or one socket that datagrams come and go over.
#[derive(Debug)]
pub(super) struct Session {
    is_datagram: bool,
    /// Bytes of records that are kept of one message.
    keep: usize,
    /// By [`Direction::index`].
    framings: [Framing; 2],
    /// A datagram that ends too early, which is right only if its end was not captured.
    cut: Option<Arrival>,
    exchanges: Exchanges,
}

impl Session {
    pub(super) fn new(context: Context) -> Self {
        let framing = || Framing::new(context.limits.buffer);
        Self {
            is_datagram: context.traffic.connection.transport.is_datagram(),
            keep: context.limits.body,
            framings: [framing(), framing()],
            cut: None,
            exchanges: Exchanges::new(context),
        }
    }

    /// Does something to the stream of one direction.
    fn stream(&mut self, direction: Direction, act: impl FnOnce(&mut Framing, &mut Stream<'_>)) {
        let Self { keep, framings: [sent, received], exchanges, .. } = self;
        let framing = match direction {
            Direction::Sent => sent,
            Direction::Received => received,
        };
        act(framing, &mut Stream { direction, keep: *keep, exchanges });
    }

    fn datagram(&mut self, segment: Segment<'_>) {
        self.settle_cut(None);
        let Segment { direction, time, bytes, peer } = segment;
        let arrival = |decoded| Arrival {
            decoded,
            direction,
            peer,
            started: time,
            ended: Some(time),
            size: bytes.len() as u64,
        };
        if let Some(decoded) = message::decode(bytes, false, self.keep) {
            self.exchanges.message(arrival(decoded));
            return;
        }
        match message::decode(bytes, true, self.keep) {
            // Some servers cut in the middle of a record.
            Some(decoded) if decoded.message.truncated => {
                self.exchanges.message(arrival(decoded));
            }
            Some(decoded) => self.cut = Some(arrival(decoded)),
            None => self.exchanges.skipped(direction, bytes.len() as u64, Cause::Malformed),
        }
    }

    /// Takes the datagram that ended too early, if so many bytes of it were not captured.
    fn settle_cut(&mut self, missing: Option<u64>) {
        let Some(mut cut) = self.cut.take() else { return };
        match missing {
            Some(missing) => {
                cut.size += missing;
                self.exchanges.message(cut);
            }
            None => self.exchanges.skipped(cut.direction, cut.size, Cause::Malformed),
        }
    }
}

impl Parser for Session {
    fn feed(&mut self, segment: Segment<'_>) {
        if self.is_datagram {
            return self.datagram(segment);
        }
        let Segment { direction, time, bytes, .. } = segment;
        self.stream(direction, |framing, stream| framing.feed(time, bytes, stream));
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        if self.is_datagram {
            let is_of_cut = self.cut.as_ref().is_some_and(|cut| cut.direction == direction);
            return self.settle_cut(is_of_cut.then_some(length));
        }
        self.stream(direction, |framing, stream| framing.gap(time, length, stream));
    }

    fn poll(&mut self) -> Option<Output> {
        self.exchanges.poll()
    }

    fn finish(&mut self, direction: Direction, _: MonotonicTime) {
        self.settle_cut(None);
        self.stream(direction, |framing, stream| framing.finish(stream));
        self.exchanges.finish(direction);
    }

    fn memory(&self) -> usize {
        let framings: usize = self.framings.iter().map(Framing::memory).sum();
        size_of::<Self>() + framings + self.exchanges.memory()
    }
}

/// Takes what is in one direction of a stream.
struct Stream<'a> {
    direction: Direction,
    keep: usize,
    exchanges: &'a mut Exchanges,
}

impl Take for Stream<'_> {
    fn message(&mut self, framed: &Framed<'_>) -> bool {
        let Framed { bytes, cut, size, started, ended } = *framed;
        let Some(decoded) = message::decode(bytes, cut, self.keep) else { return false };
        let direction = self.direction;
        self.exchanges.message(Arrival { decoded, direction, peer: None, started, ended, size });
        true
    }

    fn skipped(&mut self, bytes: u64, cause: Cause) {
        self.exchanges.skipped(self.direction, bytes, cause);
    }
}
