//! From events to records: the connections, their protocols, and the account of both.
//!
//! ```text
//!   EventSource ──► Pipeline ──────────────────────────────► Delivery ──► sinks
//!                   │ connections: whose bytes, in order     a queue and a
//!                   │   └ conversation: detection, parser    thread each
//!                   └ losses: summed up, then reported
//!   └────────────── Worker: one thread ───────────────────┘
//! ```
//!
//! [`Pipeline`] itself does no I/O: [`Worker`](worker::Worker) drives it live, and
//! [`Replay`](crate::Replay) from what is there already.

mod answers;
mod connection;
mod connections;
mod conversation;
pub(crate) mod delivery;
mod losses;
mod options;
pub(crate) mod processes;
pub(crate) mod worker;

pub use options::ConnectionLimits;
pub(crate) use options::Options;

use crate::Error;
use connections::Connections;
use losses::Losses;
use options::DecodeAs;
use pixie_core::id::ConnectionId;
use pixie_core::record::{Cause, Stage};
use pixie_core::time::{Clock, MonotonicTime};
use pixie_core::{Interest, Record, Stats};
use pixie_probes::event::{Counters, Event, EventSource};
use pixie_protocols::parser::Limits;
use pixie_protocols::registry::Registry;
use pixie_protocols::stream::StreamLimits;
use std::time::Duration;

/// As many records are handed on at once, where there are that many.
pub(crate) const BATCH: usize = 256;

/// How often losses are reported, and what is overdue is given up.
const TICK: Duration = Duration::from_millis(100);

/// Makes records of events.
pub(crate) struct Pipeline {
    connections: Connections,
    work: Work,
    /// The source's account as of the last look.
    counters: Counters,
    /// The latest time that anything told of.
    now: MonotonicTime,
    /// When it was last done what is due now and then.
    ticked: MonotonicTime,
}

/// What the work on one connection needs and leaves behind.
struct Work {
    registry: Registry,
    decode_as: DecodeAs,
    stream: StreamLimits,
    limits: Limits,
    clock: Clock,
    records: Vec<Record>,
    stats: Stats,
    losses: Losses,
    /// What the source is to be told.
    requests: Vec<Request>,
}

/// Something to tell an [`EventSource`], once it is done handing over events.
enum Request {
    Ignore(ConnectionId),
    Heed(ConnectionId),
    Forget(ConnectionId),
}

impl Pipeline {
    /// A pipeline that makes the records that are of `interest`. When `live`, the events are of
    /// this machine, now, so that `/proc` can be asked about processes.
    pub(crate) fn new(options: &Options, interest: Interest, live: bool) -> Result<Self, Error> {
        let registry = options.registry(interest)?;
        let work = Work {
            decode_as: options.decode_as(&registry)?,
            registry,
            stream: options.stream,
            limits: options.parser,
            clock: Clock::default(),
            records: Vec::with_capacity(2 * BATCH),
            stats: Stats::default(),
            losses: Losses::default(),
            requests: Vec::new(),
        };
        Ok(Self {
            connections: Connections::new(options.connections, live),
            work,
            counters: Counters::default(),
            now: MonotonicTime::default(),
            ticked: MonotonicTime::default(),
        })
    }

    /// The names of the protocols that are parsed.
    pub(crate) fn protocols(&self) -> Vec<&'static str> {
        self.work.registry.iter().map(|protocol| protocol.name()).collect()
    }

    /// Tells the wall-clock time from now on.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.work.clock = clock;
    }

    /// The latest time that anything told of.
    pub(crate) fn now(&self) -> MonotonicTime {
        self.now
    }

    /// The records that have been made and wait to be handed on.
    pub(crate) fn records(&mut self) -> &mut Vec<Record> {
        &mut self.work.records
    }

    /// Takes what `source` has, with `deliver` called whenever there are enough records to be
    /// handed on. Returns how many events there were.
    pub(crate) fn poll(
        &mut self,
        source: &mut dyn EventSource,
        finish: bool,
        mut deliver: impl FnMut(MonotonicTime, &mut Vec<Record>),
    ) -> usize {
        let seen = source.poll(finish, &mut |event| {
            self.event(event);
            if self.work.records.len() >= BATCH {
                deliver(self.now, &mut self.work.records);
            }
        });
        for request in self.work.requests.drain(..) {
            match request {
                Request::Ignore(connection) => source.ignore(connection),
                Request::Heed(connection) => source.heed(connection),
                Request::Forget(connection) => source.forget(connection),
            }
        }
        seen
    }

    /// Takes one event.
    pub(crate) fn event(&mut self, event: Event<'_>) {
        let Self { connections, work, .. } = self;
        let time = match event {
            Event::Open(open) => {
                connections.open(open, work);
                open.time
            }
            Event::Data(data) => {
                connections.data(&data, work);
                data.time
            }
            Event::Close(close) => {
                connections.close(&close, work);
                close.time
            }
            Event::Secure(secure) => {
                connections.secure(secure, work);
                secure.time
            }
            Event::Exit { pid, time } => {
                connections.exit(pid, time, work);
                time
            }
            _ => self.now,
        };
        self.pass_time(time);
    }

    /// Takes the source's account, and notes what it lost since the last time.
    pub(crate) fn counters(&mut self, counters: Counters) {
        let dropped = counters.dropped.saturating_sub(self.counters.dropped);
        let bytes = counters.dropped_bytes.saturating_sub(self.counters.dropped_bytes);
        let missed = counters.missed.saturating_sub(self.counters.missed);
        if dropped > 0 {
            self.work.losses.add((Stage::Kernel, Cause::RingFull), None, dropped, bytes);
        }
        if missed > 0 {
            self.work.losses.add((Stage::Kernel, Cause::ProbeMissed), None, missed, 0);
        }
        let unproven = counters.unproven_calls.saturating_sub(self.counters.unproven_calls);
        if unproven > 0 {
            self.work.losses.add((Stage::Kernel, Cause::Unobserved), None, unproven, 0);
        }
        self.counters = counters;
    }

    /// Takes note of the time and, ten times a second, does what is due by then: gives up on bytes
    /// that do not come, forgets connections that have long been silent, reports losses.
    pub(crate) fn pass_time(&mut self, now: MonotonicTime) {
        self.now = self.now.max(now);
        if self.now.since(self.ticked) >= TICK {
            self.ticked = self.now;
            self.connections.tick(self.now, &mut self.work);
            self.report_losses();
        }
    }

    /// Ends all connections, as no more events will come.
    pub(crate) fn finish(&mut self, now: MonotonicTime) {
        self.now = self.now.max(now);
        self.connections.finish(self.now, &mut self.work);
        self.report_losses();
    }

    /// The account so far, without the sinks.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.work.stats.clone();
        stats.connections.open = self.connections.len() as u64;
        stats.connections.memory = self.connections.memory() as u64;
        let Counters { reserved, seen, dropped, dropped_bytes, missed, .. } = self.counters;
        stats.capture.events_reserved = reserved;
        stats.capture.events_seen = seen;
        stats.capture.events_dropped = dropped;
        stats.capture.bytes_dropped = dropped_bytes;
        stats.capture.probes_missed = missed;
        stats.capture.events_malformed = self.counters.malformed;
        stats.capture.bytes_captured = self.counters.captured_bytes;
        stats.tls.calls_unmatched = self.counters.unmatched_calls;
        stats.tls.calls_unproven = self.counters.unproven_calls;
        stats
    }

    fn report_losses(&mut self) {
        let Work { losses, stats, records, .. } = &mut self.work;
        losses.report(self.now, stats, records);
    }
}
