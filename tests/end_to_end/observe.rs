//! Traces while there is traffic, and checks the account of it.

use crate::runner::Setup;
use pixie::record::{Cause, Http, Stage};
use pixie::{Record, Report, Session, Stats, Tracer};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The records of a session so far.
#[derive(Clone, Default)]
pub(crate) struct Records {
    all: Arc<Mutex<Vec<Record>>>,
    exchanges: Arc<AtomicUsize>,
}

impl Records {
    /// A sink that adds to these records.
    fn sink(&self) -> impl pixie::Sink + 'static {
        let Self { all, exchanges } = self.clone();
        pixie::sinks::each(move |record: &Record| {
            all.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
            exchanges.fetch_add(usize::from(record.traffic().is_some()), Ordering::Relaxed);
        })
    }

    /// How many of them are traffic.
    pub(crate) fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::Relaxed)
    }

    fn of_pids(&self, pids: &[u32]) -> usize {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|record| is_of(record, pids)).count()
    }

    fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a record is of the traffic of one of these processes.
fn is_of(record: &Record, pids: &[u32]) -> bool {
    record.traffic().is_some_and(|traffic| pids.contains(&traffic.process.pid.0))
}

/// A session under way.
pub(crate) struct Watch {
    session: Session,
    records: Records,
    patience: Duration,
}

/// What a session saw. When a test fails, it is shown.
pub(crate) struct Observed {
    pub(crate) records: Vec<Record>,
    pub(crate) stats: Stats,
    pub(crate) report: Report,
}

impl Setup {
    /// A tracer with the backend of this test.
    pub(crate) fn tracer(&self) -> Tracer {
        // Enough for all records of a test: where the sink's thread gets no CPU for a while, that is
        // not what is tested.
        Tracer::new().kprobes().backend(self.backend).queue_records(1 << 17).queue_bytes(1 << 30)
    }

    /// A tracer of connections with this port.
    pub(crate) fn tracer_of(&self, port: u16) -> Tracer {
        self.tracer().port(port)
    }

    /// Starts tracing.
    pub(crate) fn watch(&self, tracer: Tracer) -> Watch {
        let records = Records::default();
        // Detaching a kprobe takes the kernel a while, one after the other.
        let tracer = tracer.stop_timeout(self.patience(Duration::from_secs(60)));
        let session = tracer.sink(records.sink()).start().unwrap_or_else(|error| panic!("{error}"));
        Watch { session, records, patience: self.patience(Duration::from_secs(5)) }
    }

    /// Traces while `traffic` is under way, until there are `expected` records of exchanges. Nothing
    /// may have been dropped.
    pub(crate) fn observe<T>(
        &self,
        tracer: Tracer,
        expected: usize,
        traffic: impl FnOnce() -> T,
    ) -> (Observed, T) {
        let watch = self.watch(tracer);
        let result = traffic();
        let observed = watch.stop_after(expected);
        observed.check_nothing_dropped();
        (observed, result)
    }
}

impl Watch {
    /// Waits until there are as many records of exchanges, or there is no hope of them any more.
    pub(crate) fn wait(&self, expected: usize) {
        self.wait_until(|| self.records.exchanges() >= expected);
    }

    /// What is attached by now.
    pub(crate) fn report(&self) -> Report {
        self.session.report().clone()
    }

    /// How many records of exchanges there are already.
    pub(crate) fn exchanges(&self) -> usize {
        self.records.exchanges()
    }

    /// Waits as [`Watch::wait`] does for records of these processes.
    pub(crate) fn wait_for_pids(&self, pids: &[u32], expected: usize) {
        self.wait_until(|| self.records.of_pids(pids) >= expected);
    }

    fn wait_until(&self, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() && began.elapsed() < self.patience {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits as [`Watch::wait`] does, stops, and checks the account.
    pub(crate) fn stop_after(self, expected: usize) -> Observed {
        self.wait(expected);
        let report = self.session.report().clone();
        let stats = self.session.stop().unwrap_or_else(|error| panic!("{error}"));
        let observed = Observed { records: self.records.take(), stats, report };
        observed.check_account();
        observed
    }
}

impl Observed {
    /// The equations that hold for every session, whatever was lost.
    fn check_account(&self) {
        let Stats { capture, stream, parser, sinks, .. } = &self.stats;
        assert_eq!(capture.events_seen, capture.events_reserved, "events seen and reserved");
        assert_eq!(capture.events_malformed, 0, "malformed events");
        assert_eq!(
            stream.bytes_total,
            stream.bytes_delivered + stream.bytes_in_gaps,
            "bytes in total, and delivered or in gaps"
        );
        assert_eq!(
            parser.records,
            self.records.iter().filter(|record| record.traffic().is_some()).count() as u64,
            "records that were counted and that were emitted"
        );
        for sink in sinks {
            assert_eq!(sink.emitted, self.records.len() as u64, "records that the sink accepted");
            assert_eq!(sink.dropped_queue_full, 0, "records dropped before the sink");
        }
        for lost in &self.stats.lost {
            let in_band = self.lost(lost.stage, lost.cause);
            assert_eq!(in_band, (lost.count, lost.bytes), "lost in-band and in the account");
        }
    }

    /// What holds when the tracer can keep up.
    pub(crate) fn check_nothing_dropped(&self) {
        let capture = &self.stats.capture;
        assert_eq!((capture.events_dropped, capture.probes_missed), (0, 0), "dropped and missed");
        assert_eq!(self.lost(Stage::Kernel, Cause::RingFull), (0, 0), "lost in full rings");
    }

    /// All traffic came through this TLS library, and at both ends on the connection that carried it.
    pub(crate) fn check_encrypted(&self, library: &str) {
        for traffic in self.records.iter().filter_map(Record::traffic) {
            let connection = &traffic.connection;
            let encrypted = connection.encrypted.as_ref().map(ToString::to_string);
            assert_eq!(encrypted.as_deref(), Some(library), "the library of {connection:?}");
            assert!(connection.local.is_some() && connection.remote.is_some(), "{connection:?}");
        }
    }

    /// Events or the like, and bytes, of which records say that they were lost so.
    pub(crate) fn lost(&self, stage: Stage, cause: Cause) -> (u64, u64) {
        let sum = |(count, bytes), record: &Record| match record {
            Record::Lost(lost) if lost.stage == stage && lost.cause == cause => {
                (count + lost.count, bytes + lost.bytes)
            }
            _ => (count, bytes),
        };
        self.records.iter().fold((0, 0), sum)
    }

    /// Forgets the traffic of all other processes.
    pub(crate) fn keep_pids(&mut self, pids: &[u32]) {
        self.records.retain(|record| is_of(record, pids));
    }

    /// The HTTP exchanges.
    pub(crate) fn http(&self) -> impl Iterator<Item = &Http> {
        self.records.iter().filter_map(|record| match record {
            Record::Http(http) => Some(&**http),
            _ => None,
        })
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        const SHOWN: usize = 30;
        if !std::thread::panicking() {
            return;
        }
        eprintln!("{}\n{}", self.report, self.stats);
        for record in self.records.iter().take(SHOWN) {
            eprintln!("  {:.200}", record.to_string());
        }
        if let Some(more) = self.records.len().checked_sub(SHOWN) {
            eprintln!("  and {more} records more");
        }
    }
}
