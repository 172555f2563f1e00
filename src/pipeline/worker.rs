//! The one thread that captures and parses.

use super::Pipeline;
use super::delivery::Delivery;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use pixie_core::Stats;
use pixie_core::time::{Clock, WallTime};
use pixie_probes::event::EventSource;
use pixie_probes::monotonic_now;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the kernel's counters are read and the account is published.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// How often the offset of the wall clock is taken anew.
const CLOCK_CHECK: Duration = Duration::from_secs(5);

/// A poll that brings more events than this is followed by the next one at once.
const BUSY: usize = 16 << 10;

/// Moves events from a source through the pipeline to the sinks, until it is told to stop.
pub(crate) struct Worker {
    pub(crate) source: Box<dyn EventSource>,
    pub(crate) pipeline: Pipeline,
    pub(crate) delivery: Delivery,
    /// The time between two polls while there is traffic; up to four times that when there is none.
    pub(crate) poll_interval: Duration,
    /// Disconnected when the session is to stop.
    pub(crate) stop: Receiver<()>,
    /// How long stopping may take.
    pub(crate) stop_timeout: Duration,
    /// The account, as of the last housekeeping.
    pub(crate) stats: Arc<Mutex<Stats>>,
}

impl Worker {
    pub(crate) fn run(mut self) {
        let mut interval = self.poll_interval;
        let mut housekeeping = Instant::now();
        let mut clock_check = Instant::now();
        self.set_clock();
        loop {
            let seen = self.poll(false);
            let now = Instant::now();
            if now >= housekeeping {
                housekeeping = now + HOUSEKEEPING;
                self.keep_house();
            }
            if now >= clock_check {
                clock_check = now + CLOCK_CHECK;
                self.set_clock();
            }
            interval = match seen {
                0 => (interval * 2).min(self.poll_interval * 4),
                1..BUSY => self.poll_interval,
                BUSY.. => Duration::ZERO,
            };
            if let Err(RecvTimeoutError::Disconnected) = self.stop.recv_timeout(interval) {
                break;
            }
            interval = interval.max(Duration::from_millis(1));
        }
        self.finish();
    }

    /// Takes the events that have come in and hands on the records that they make.
    fn poll(&mut self, finish: bool) -> usize {
        let Self { source, pipeline, delivery, .. } = self;
        let seen =
            pipeline.poll(&mut **source, finish, |time, records| delivery.send(time, records));
        self.deliver();
        seen
    }

    fn deliver(&mut self) {
        let time = self.pipeline.now();
        self.delivery.send(time, self.pipeline.records());
    }

    fn keep_house(&mut self) {
        self.pipeline.counters(self.source.counters());
        self.pipeline.pass_time(monotonic_now());
        self.deliver();
        self.delivery.report_drops(self.pipeline.now());
        self.publish();
    }

    fn set_clock(&mut self) {
        self.pipeline.set_clock(Clock::new(monotonic_now(), WallTime::now()));
    }

    /// Detaches, drains, flushes and closes the account, in bounded time.
    fn finish(mut self) {
        let deadline = Instant::now() + self.stop_timeout;
        self.source.detach();
        // Half of the time is for the sinks.
        let drained_by = Instant::now() + self.stop_timeout / 2;
        while self.poll(true) > 0 && Instant::now() < drained_by {}
        self.pipeline.counters(self.source.counters());
        self.pipeline.finish(monotonic_now());
        self.deliver();
        self.delivery.stop(self.pipeline.now(), deadline);
        self.publish();
    }

    fn publish(&self) {
        let mut stats = self.pipeline.stats();
        self.delivery.account(&mut stats);
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}
