use super::Work;
use super::answers::Answers;
use super::conversation::Conversation;
use pixie_core::StreamStats;
use pixie_core::id::{ConnectionId, Direction, Pid};
use pixie_core::time::MonotonicTime;
use pixie_probes::event::Data;
use pixie_protocols::parser::Segment;
use pixie_protocols::stream::{Arrival, Piece, Stream, StreamLimits};

/// One connection: its bytes, put in order, and what is made of them.
pub(super) struct Connection {
    pub(super) conversation: Conversation,
    /// By [`Direction::index`]. Not used on a datagram transport.
    streams: [Stream; 2],
    /// What was received before what it may answer was told of.
    answers: Answers,
    /// When something last happened on it.
    pub(super) last_used: MonotonicTime,
    /// What it was last found to hold, in bytes.
    pub(super) memory: usize,
    /// The processes that use it, where their end is the only sign of its own.
    pub(super) users: Vec<Pid>,
    /// The connection that carries it, when it is a TLS session.
    pub(super) carrier: Option<ConnectionId>,
    /// Bytes wait for others to come first.
    pub(super) holding: bool,
}

/// What a connection costs beside what it buffers, about: itself, its place in the table and what
/// names it.
const OVERHEAD: usize = size_of::<Connection>() + 512;

impl Connection {
    pub(super) fn new(
        conversation: Conversation,
        limits: StreamLimits,
        time: MonotonicTime,
    ) -> Self {
        let stream = || Stream::new(limits);
        Self {
            conversation,
            streams: [stream(), stream()],
            answers: Answers::default(),
            last_used: time,
            memory: OVERHEAD,
            users: Vec::new(),
            carrier: None,
            holding: false,
        }
    }

    /// Takes a transfer.
    pub(super) fn data(&mut self, data: &Data<'_>, work: &mut Work) {
        self.last_used = data.time;
        if self.holding {
            // Both ways, before one of them goes on: what is held there belongs to what is held here.
            self.expire(data.time, work);
        }
        if self.conversation.transport().is_datagram() {
            self.datagram(data, work);
        } else if data.direction == Direction::Sent {
            // What was received before this was sent has waited for no more than it.
            self.sent(Some(data.position), data.time, work);
            let time = self.answers.first().map_or(data.time, |answered| answered.min(data.time));
            self.transfer(&Data { time, ..*data }, work);
            self.sent(None, data.time, work);
        } else if !self.answers.hold(data) {
            self.transfer(data, work);
        }
        self.holding = self.is_holding();
        self.memory = OVERHEAD
            + self.conversation.memory()
            + self.answers.memory()
            + self.streams.iter().map(Stream::memory).sum::<usize>();
    }

    /// Gives up on bytes that have not come for too long.
    pub(super) fn expire(&mut self, now: MonotonicTime, work: &mut Work) {
        for direction in [Direction::Sent, Direction::Received] {
            self.stream(direction, work, |stream, deliver| stream.expire(now, deliver));
        }
        self.sent(None, now, work);
        self.holding = self.is_holding();
    }

    fn is_holding(&self) -> bool {
        !self.answers.is_empty() || self.streams.iter().any(|stream| stream.memory() > 0)
    }

    /// Takes the next transfer of a stream, or its end.
    fn transfer(&mut self, data: &Data<'_>, work: &mut Work) {
        if data.end {
            self.finish_stream(data.direction, Some(data.position), data.time, work);
            self.conversation.finish(data.direction, data.time, work);
            return;
        }
        let arrival = Arrival {
            position: data.position,
            time: data.time,
            length: data.length,
            captured: data.captured,
            hole: data.hole,
        };
        self.stream(data.direction, work, |stream, deliver| stream.push(arrival, deliver));
    }

    /// Takes what was received and need not wait any longer for what was sent. That begins at
    /// `origin`, if nothing was told of it before.
    fn sent(&mut self, origin: Option<u32>, now: MonotonicTime, work: &mut Work) {
        if let Some(position) = self.streams[Direction::Sent.index()].position().or(origin) {
            self.answers.reach(position);
        }
        while let Some(answer) = self.answers.next(now, &work.stream) {
            self.transfer(&answer.data(), work);
        }
    }

    /// Ends the connection, whose streams end at `positions`.
    pub(super) fn finish(
        &mut self,
        positions: [Option<u32>; 2],
        time: MonotonicTime,
        work: &mut Work,
    ) {
        // All bytes first: what they say may be what ends the exchange.
        for (direction, position) in
            [Direction::Sent, Direction::Received].into_iter().zip(positions)
        {
            self.finish_stream(direction, position, time, work);
            while let Some(answer) = self.answers.pop() {
                self.transfer(&answer.data(), work);
            }
        }
        for direction in [Direction::Sent, Direction::Received] {
            self.conversation.finish(direction, time, work);
        }
    }

    fn finish_stream(
        &mut self,
        direction: Direction,
        position: Option<u32>,
        time: MonotonicTime,
        work: &mut Work,
    ) {
        self.stream(direction, work, |stream, deliver| stream.finish(position, time, deliver));
    }

    /// Does something to a stream, passes on what that delivers, and enters it into the account.
    fn stream(
        &mut self,
        direction: Direction,
        work: &mut Work,
        act: impl FnOnce(&mut Stream, &mut dyn FnMut(Piece<'_>)),
    ) {
        let Self { conversation, streams, .. } = self;
        let [sent, received] = streams;
        let stream = match direction {
            Direction::Sent => sent,
            Direction::Received => received,
        };
        let before = stream.stats().clone();
        act(stream, &mut |piece| match piece {
            Piece::Bytes { time, bytes } => {
                conversation.bytes(Segment { direction, time, bytes, peer: None }, work);
            }
            Piece::Gap { time, length, cause } => {
                conversation.gap(direction, time, length, cause, work);
            }
        });
        add_growth(&mut work.stats.stream, &before, stream.stats());
    }

    fn datagram(&mut self, data: &Data<'_>, work: &mut Work) {
        if data.end {
            return self.conversation.finish(data.direction, data.time, work);
        }
        let Data { direction, time, captured, peer, .. } = *data;
        let missing = u64::from(data.length).saturating_sub(captured.len() as u64);
        let stats = &mut work.stats.stream;
        stats.bytes_total += captured.len() as u64 + missing;
        stats.bytes_delivered += captured.len() as u64;
        stats.bytes_in_gaps += missing;
        stats.gaps += u64::from(missing > 0);
        if !captured.is_empty() {
            self.conversation.bytes(Segment { direction, time, bytes: captured, peer }, work);
        }
        if missing > 0 {
            self.conversation.gap(direction, time, missing, data.hole, work);
        }
    }
}

/// Adds what one stream counted between `before` and `after`.
fn add_growth(total: &mut StreamStats, before: &StreamStats, after: &StreamStats) {
    total.bytes_total += after.bytes_total - before.bytes_total;
    total.bytes_delivered += after.bytes_delivered - before.bytes_delivered;
    total.bytes_in_gaps += after.bytes_in_gaps - before.bytes_in_gaps;
    total.gaps += after.gaps - before.gaps;
    total.out_of_order += after.out_of_order - before.out_of_order;
    total.bytes_duplicate += after.bytes_duplicate - before.bytes_duplicate;
}
