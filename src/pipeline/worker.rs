//! The one thread that captures and parses.

use super::Pipeline;
use super::delivery::SharedDelivery;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use pixie_core::Stats;
use pixie_core::time::{Clock, MonotonicTime, WallTime};
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
    pub(crate) delivery: SharedDelivery,
    /// The time between two polls while there is traffic; up to four times that when there is none.
    pub(crate) poll_interval: Duration,
    /// Disconnected when the session is to stop.
    pub(crate) stop: Receiver<()>,
    /// How long the last events may take.
    pub(crate) drain_timeout: Duration,
    /// The account without the sinks, as of the last housekeeping.
    pub(crate) stats: Arc<Mutex<Stats>>,
}

impl Worker {
    pub(crate) fn run(mut self) {
        let mut interval = self.poll_interval;
        let mut housekeeping = Instant::now();
        let mut clock_check = Instant::now();
        self.set_clock();
        loop {
            // What happened by then has been seen when it has been polled, however long that takes: what is
            // waited for may be in the rings when it ends.
            let seen_until = monotonic_now();
            let seen = self.poll(false);
            let now = Instant::now();
            if now >= housekeeping {
                housekeeping = now + HOUSEKEEPING;
                self.keep_house(seen_until);
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
        let seen = pipeline
            .poll(&mut **source, finish, |time, records| delivery.lock().send(time, records));
        self.deliver();
        seen
    }

    fn deliver(&mut self) {
        let time = self.pipeline.now();
        self.delivery.lock().send(time, self.pipeline.records());
    }

    fn keep_house(&mut self, now: MonotonicTime) {
        self.pipeline.counters(self.source.counters());
        self.pipeline.pass_time(now);
        self.deliver();
        self.delivery.lock().report_drops(self.pipeline.now());
        self.publish();
    }

    fn set_clock(&mut self) {
        self.pipeline.set_clock(Clock::new(monotonic_now(), WallTime::now()));
    }

    /// Detaches, drains and closes the account, in bounded time.
    fn finish(mut self) {
        self.source.detach();
        let drained_by = Instant::now() + self.drain_timeout;
        while self.poll(true) > 0 && Instant::now() < drained_by {}
        self.pipeline.counters(self.source.counters());
        self.pipeline.finish(monotonic_now());
        self.deliver();
        self.publish();
    }

    fn publish(&self) {
        let stats = self.pipeline.stats();
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Options;
    use crate::pipeline::delivery::{Delivery, QueueLimits};
    use crossbeam_channel::bounded;
    use pixie_core::id::{ConnectionId, Direction};
    use pixie_core::sinks::Memory;
    use pixie_core::time::MonotonicTime;
    use pixie_core::{Interest, Record};
    use pixie_probes::event::{Counters, Data, Event};
    use std::thread;

    const EXCHANGE: [(Direction, &[u8]); 2] = [
        (Direction::Sent, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        (Direction::Received, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ];

    /// Tells of an exchange in each poll, and of one more once it is detached.
    #[derive(Default)]
    struct Steady {
        exchanges: u64,
        limit: u64,
        detached: bool,
    }

    impl EventSource for Steady {
        fn poll(&mut self, finish: bool, handler: &mut dyn FnMut(Event<'_>)) -> usize {
            assert_eq!(finish, self.detached);
            if self.exchanges == self.limit + u64::from(self.detached) {
                return 0;
            }
            self.exchanges += 1;
            for (direction, bytes) in EXCHANGE {
                // Each on a connection of its own.
                let id = ConnectionId(self.exchanges);
                let time = MonotonicTime(monotonic_now().0);
                handler(Event::Data(Data::new(id, time, direction, 0, bytes)));
            }
            2
        }

        fn ignore(&mut self, _: ConnectionId) {}

        fn counters(&mut self) -> Counters {
            let mut counters = Counters::default();
            counters.seen = self.exchanges * 2;
            counters.reserved = counters.seen;
            counters
        }

        fn detach(&mut self) {
            self.detached = true;
        }
    }

    #[test]
    fn a_session_drains_its_source_and_closes_the_account() {
        let (sink, kept) = Memory::new(1000);
        let limits = QueueLimits { records: 1000, memory: 1 << 20 };
        let delivery = Delivery::start(vec![Box::new(sink)], limits).unwrap();
        let delivery = SharedDelivery::new(delivery);
        let (stop, stopped) = bounded(0);
        let stats = Arc::new(Mutex::new(Stats::default()));
        let worker = Worker {
            source: Box::new(Steady { limit: 20, ..Steady::default() }),
            pipeline: Pipeline::new(&Options::default(), Interest::all(), true).unwrap(),
            delivery: delivery.clone(),
            poll_interval: Duration::from_millis(1),
            stop: stopped,
            drain_timeout: Duration::from_secs(10),
            stats: Arc::clone(&stats),
        };
        let before = WallTime::now();
        let thread = thread::spawn(move || worker.run());
        while kept.len() < 20 {
            thread::yield_now();
        }
        drop(stop);
        thread.join().unwrap();

        let mut stats = stats.lock().unwrap().clone();
        delivery.lock().stop(monotonic_now(), Instant::now() + Duration::from_secs(10));
        delivery.lock().account(&mut stats);
        assert_eq!((stats.parser.records, stats.sinks[0].emitted), (21, 21));
        assert_eq!((stats.capture.events_seen, stats.connections.opened), (42, 21));
        assert_eq!((stats.connections.open, stats.lost), (0, vec![]));
        let second = Duration::from_secs(1).as_nanos() as u64;
        for record in kept.take() {
            let time = Record::traffic(&record).unwrap().time;
            assert!(time.0 + second > before.0 && time < WallTime::now(), "{record}");
        }
    }
}
