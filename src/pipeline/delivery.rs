//! Threads and queues between the pipeline and its sinks: one of each a sink, so that none of them
//! can harm another or hold up the capture.

use crate::Error;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use pixie_core::record::{Cause, Lost, Stage};
use pixie_core::time::MonotonicTime;
use pixie_core::{Interest, Record, RecordKind, Sink, SinkError, SinkStats, Stats};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Records that travel together; all sinks share one copy.
type Batch = Arc<Records>;

struct Records {
    records: Box<[Record]>,
    /// About how many bytes of memory they take.
    memory: u64,
}

impl Records {
    fn new(records: impl IntoIterator<Item = Record>) -> Batch {
        let records: Box<[Record]> = records.into_iter().collect();
        let memory = records.iter().map(|record| record.memory() as u64).sum();
        Arc::new(Self { records, memory })
    }
}

/// What may wait before one sink.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) records: u64,
    /// Bytes of memory.
    pub(crate) memory: u64,
}

/// The most batches that wait before a sink. [`QueueLimits`] bound what is in them.
const QUEUED_BATCHES: usize = 4096;

/// The sinks of a session, for each thread that has records for them.
#[derive(Clone)]
pub(crate) struct SharedDelivery(Arc<Mutex<Delivery>>);

impl SharedDelivery {
    pub(crate) fn new(delivery: Delivery) -> Self {
        Self(Arc::new(Mutex::new(delivery)))
    }

    /// The sinks, for as long as the caller holds them. Nothing that is done with them waits, but
    /// for [`Delivery::stop`].
    pub(crate) fn lock(&self) -> MutexGuard<'_, Delivery> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sinks of a session, each with its thread.
pub(crate) struct Delivery {
    outlets: Vec<Outlet>,
    /// Each sink's thread says here that it has ended, by its index.
    ended: Receiver<usize>,
}

/// The way to one sink.
struct Outlet {
    /// `None` once the session stops.
    queue: Option<Sender<Batch>>,
    limits: QueueLimits,
    interest: Interest,
    account: Arc<Account>,
    dropped: u64,
    /// Drops that have not been reported in-band yet.
    unreported: u64,
    abandoned: bool,
}

/// What a sink's thread counts.
#[derive(Default)]
struct Account {
    /// Records that wait, or that the sink is busy with.
    queued: AtomicU64,
    /// The memory of batches that wait, or that the sink is busy with.
    memory: AtomicU64,
    emitted: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    retired: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl Delivery {
    /// Starts a thread for each sink.
    pub(crate) fn start(sinks: Vec<Box<dyn Sink>>, limits: QueueLimits) -> Result<Self, Error> {
        let (announce, ended) = bounded(sinks.len().max(1));
        let mut outlets = Vec::with_capacity(sinks.len());
        for (index, sink) in sinks.into_iter().enumerate() {
            let (queue, batches) = bounded(QUEUED_BATCHES);
            let interest = sink.interest();
            let account = Arc::new(Account::default());
            let end = End { announce: announce.clone(), index };
            let outlet = SinkThread { interest, account: Arc::clone(&account), batches };
            thread::Builder::new()
                .name("pixie-sink".to_owned())
                .spawn(move || {
                    let _end = end;
                    outlet.run(sink);
                })
                .map_err(|cause| Error::Thread { name: "pixie-sink", cause })?;
            outlets.push(Outlet {
                queue: Some(queue),
                limits,
                interest,
                account,
                dropped: 0,
                unreported: 0,
                abandoned: false,
            });
        }
        Ok(Self { outlets, ended })
    }

    /// Hands records to every sink that wants any of them. Never waits.
    pub(crate) fn send(&mut self, time: MonotonicTime, records: &mut Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let batch = Records::new(records.drain(..));
        for outlet in &mut self.outlets {
            outlet.send(time, &batch);
        }
    }

    /// Tells sinks of what they missed, where there is room again.
    pub(crate) fn report_drops(&mut self, time: MonotonicTime) {
        for outlet in &mut self.outlets {
            outlet.report_drops(time);
        }
    }

    /// Enters the sinks into an account that does not have them yet.
    pub(crate) fn account(&self, stats: &mut Stats) {
        for outlet in &self.outlets {
            let sink = outlet.stats();
            for (cause, count) in [
                (Cause::QueueFull, sink.dropped_queue_full),
                (Cause::SinkFailed, sink.dropped_failed),
                (Cause::SinkPanicked, sink.dropped_panicked),
            ] {
                if count > 0 {
                    stats.add_lost(Stage::Sink, cause, count, 0);
                }
            }
            stats.sinks.push(sink);
        }
    }

    /// Lets the sinks finish with what waits for them, but not for longer than until `deadline`:
    /// a sink that is not done by then is abandoned, and what waited for it counts as dropped.
    pub(crate) fn stop(&mut self, time: MonotonicTime, deadline: Instant) {
        for outlet in &mut self.outlets {
            outlet.report_drops_now(time);
            outlet.queue = None;
            outlet.abandoned = true;
        }
        for _ in 0..self.outlets.len() {
            let Ok(index) = self.ended.recv_deadline(deadline) else { break };
            if let Some(outlet) = self.outlets.get_mut(index) {
                outlet.abandoned = false;
            }
        }
    }
}

impl Outlet {
    fn send(&mut self, time: MonotonicTime, batch: &Batch) {
        let wanted = match self.interest == Interest::all() {
            true => batch.records.len(),
            false => {
                batch.records.iter().filter(|record| self.interest.wants(record.kind())).count()
            }
        };
        if wanted > 0 {
            self.report_drops(time);
            if !self.offer(batch, wanted as u64) {
                self.dropped += wanted as u64;
                self.unreported += wanted as u64;
            }
        }
    }

    /// Queues a batch of which the sink wants `wanted` records; false when there is no room.
    fn offer(&self, batch: &Batch, wanted: u64) -> bool {
        // An empty queue takes a batch of any size, or one larger than the queue would never pass.
        let queued = self.queued();
        let memory = self.account.memory.load(Relaxed);
        let fits =
            queued + wanted <= self.limits.records && memory + batch.memory <= self.limits.memory;
        (queued == 0 || fits) && self.push(batch, wanted)
    }

    fn push(&self, batch: &Batch, wanted: u64) -> bool {
        let Some(queue) = &self.queue else { return false };
        self.account.queued.fetch_add(wanted, Relaxed);
        self.account.memory.fetch_add(batch.memory, Relaxed);
        let taken = queue.try_send(Arc::clone(batch)).is_ok();
        if !taken {
            self.account.queued.fetch_sub(wanted, Relaxed);
            self.account.memory.fetch_sub(batch.memory, Relaxed);
        }
        taken
    }

    /// Tells the sink what it missed, once it has caught up by half: each time that one record
    /// fits in would be a flood of its own.
    fn report_drops(&mut self, time: MonotonicTime) {
        let QueueLimits { records, memory } = self.limits;
        if self.queued() <= records / 2 && self.account.memory.load(Relaxed) <= memory / 2 {
            self.report_drops_now(time);
        }
    }

    fn report_drops_now(&mut self, time: MonotonicTime) {
        if self.unreported == 0 || !self.interest.wants(RecordKind::Lost) {
            return;
        }
        let lost = Lost::new(time, Stage::Sink, Cause::QueueFull, self.unreported, 0);
        if self.push(&Records::new([lost.into()]), 1) {
            self.unreported = 0;
        }
    }

    fn queued(&self) -> u64 {
        self.account.queued.load(Relaxed)
    }

    fn stats(&self) -> SinkStats {
        let account = &*self.account;
        let mut stats = SinkStats::default();
        stats.emitted = account.emitted.load(Relaxed);
        stats.dropped_queue_full = self.dropped;
        stats.dropped_failed = account.failed.load(Relaxed);
        stats.dropped_panicked = account.panicked.load(Relaxed);
        stats.last_error = account.last_error().clone();
        if self.abandoned {
            stats.dropped_failed += self.queued();
            stats.last_error = Some("it did not finish in time, and was abandoned".to_owned());
        }
        stats
    }
}

impl Account {
    fn last_error(&self) -> MutexGuard<'_, Option<String>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Announces the end of a thread, however it ends.
struct End {
    announce: Sender<usize>,
    index: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        // Nobody listens any more when the thread was abandoned.
        let _ = self.announce.try_send(self.index);
    }
}

/// What runs in a sink's thread.
struct SinkThread {
    batches: Receiver<Batch>,
    interest: Interest,
    account: Arc<Account>,
}

impl SinkThread {
    fn run(&self, mut sink: Box<dyn Sink>) {
        let mut unflushed = false;
        loop {
            let batch = match self.batches.try_recv() {
                Ok(batch) => batch,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    if std::mem::take(&mut unflushed) {
                        self.guarded(0, || sink.flush());
                    }
                    let Ok(batch) = self.batches.recv() else { break };
                    batch
                }
            };
            for records in batch.records.chunk_by(|one, other| self.wants(one) == self.wants(other))
            {
                if records.first().is_some_and(|record| self.wants(record)) {
                    self.guarded(records.len(), || sink.emit(records));
                    self.account.queued.fetch_sub(records.len() as u64, Relaxed);
                }
            }
            self.account.memory.fetch_sub(batch.memory, Relaxed);
            unflushed = true;
        }
        self.guarded(0, || sink.flush());
        // What is dropped here may be a sink that has panicked before.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
    }

    fn wants(&self, record: &Record) -> bool {
        self.interest.wants(record.kind())
    }

    /// Calls the sink, unless it has been retired, and counts what became of the records.
    fn guarded(&self, offered: usize, call: impl FnOnce() -> Result<(), SinkError>) {
        let account = &*self.account;
        let records = offered as u64;
        if account.retired.load(Relaxed) {
            account.panicked.fetch_add(records, Relaxed);
            return;
        }
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(())) => {
                account.emitted.fetch_add(records, Relaxed);
            }
            Ok(Err(error)) => {
                let dropped = error.dropped(offered);
                account.failed.fetch_add(dropped, Relaxed);
                account.emitted.fetch_add(records - dropped, Relaxed);
                *account.last_error() = Some(error.to_string());
            }
            Err(_) => {
                account.panicked.fetch_add(records, Relaxed);
                account.retired.store(true, Relaxed);
                *account.last_error() = Some("it panicked, and was retired".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixie_core::record::{Custom, Traffic};
    use pixie_core::sinks::{Memory, MemoryHandle};
    use std::time::Duration;

    const NOW: MonotonicTime = MonotonicTime(7);

    fn records(count: usize) -> Vec<Record> {
        (0..count).map(|_| Custom::new(Traffic::default(), "test").into()).collect()
    }

    fn start(sinks: Vec<Box<dyn Sink>>, records: u64) -> Delivery {
        Delivery::start(sinks, QueueLimits { records, memory: 1 << 20 }).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn memory() -> (Box<dyn Sink>, MemoryHandle) {
        let (sink, handle) = Memory::new(usize::MAX);
        (Box::new(sink), handle)
    }

    fn stats(delivery: &Delivery) -> Stats {
        let mut stats = Stats::default();
        delivery.account(&mut stats);
        stats
    }

    /// Passes each call on once it is let through. Tells of each flush.
    struct Gate {
        inner: Box<dyn Sink>,
        open: Receiver<()>,
        flushes: Sender<()>,
    }

    impl Sink for Gate {
        fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
            // An error means that the gate is open for good.
            let _ = self.open.recv();
            self.inner.emit(records)
        }

        fn flush(&mut self) -> Result<(), SinkError> {
            self.flushes.send(()).map_err(SinkError::new)
        }
    }

    fn gate(inner: Box<dyn Sink>) -> (Box<dyn Sink>, Sender<()>, Receiver<()>) {
        let ((opener, open), (flushes, flushed)) = (bounded(100), bounded(100));
        (Box::new(Gate { inner, open, flushes }), opener, flushed)
    }

    #[test]
    fn a_slow_sink_drops_is_told_of_it_and_harms_nobody() {
        let ((slow, of_slow), (quick, of_quick)) = (memory(), memory());
        let (slow, opener, _flushed) = gate(slow);
        let mut delivery = start(vec![slow, quick], 10);
        for round in 1..=5 {
            delivery.send(NOW, &mut records(4));
            // The quick one is given time, the slow one is not let through.
            while of_quick.len() < 4 * round {
                thread::yield_now();
            }
        }
        let before = stats(&delivery);
        assert_eq!(before.sinks[0].dropped_queue_full, 12, "two batches of five fit in");
        drop(opener);
        while of_slow.len() < 8 {
            thread::yield_now();
        }
        delivery.report_drops(NOW);
        delivery.stop(NOW, soon());
        let lost: Vec<_> = of_slow.take().into_iter().skip(8).collect();
        assert_eq!(lost, [Lost::new(NOW, Stage::Sink, Cause::QueueFull, 12, 0).into()]);
        let stats = stats(&delivery);
        assert_eq!((stats.sinks[0].emitted, stats.sinks[0].dropped_queue_full), (9, 12));
        assert_eq!((stats.sinks[1].emitted, of_quick.len()), (20, 20));
        assert_eq!(stats.lost_at(Stage::Sink), 12);
    }

    #[test]
    fn large_records_are_dropped_before_they_fill_the_memory() {
        let (sink, kept) = memory();
        let (sink, opener, _flushed) = gate(sink);
        let mut delivery = start(vec![sink], 1000);
        let large = || {
            let mut record = Custom::new(Traffic::default(), "test");
            record.error = Some("x".repeat(300 << 10));
            vec![record.into()]
        };
        for _ in 0..10 {
            delivery.send(NOW, &mut large());
        }
        assert_eq!(
            stats(&delivery).sinks[0].dropped_queue_full,
            7,
            "three of 300 KiB fit in 1 MiB"
        );
        drop(opener);
        delivery.stop(NOW, soon());
        assert_eq!(kept.len(), 3 + 1, "with a record that tells of the loss");
        assert_eq!(delivery.outlets[0].account.memory.load(Relaxed), 0);
    }

    #[test]
    fn a_batch_larger_than_the_queue_passes_when_the_queue_is_empty() {
        let (sink, kept) = memory();
        let mut delivery = start(vec![sink], 1);
        delivery.send(NOW, &mut records(100));
        delivery.stop(NOW, soon());
        assert_eq!(kept.len(), 100);
    }

    #[test]
    fn a_sink_that_panics_is_retired_and_the_others_go_on() {
        let (sound, kept) = memory();
        let mut calls = 0;
        let panicking = pixie_core::sinks::each(move |_: &Record| {
            calls += 1;
            assert!(calls < 5, "a fault of the sink");
        });
        let mut delivery = start(vec![Box::new(panicking), sound], 1000);
        for _ in 0..10 {
            delivery.send(NOW, &mut records(2));
        }
        delivery.stop(NOW, soon());
        let stats = stats(&delivery);
        // The third batch of two is the one in which it panics.
        assert_eq!((stats.sinks[0].emitted, stats.sinks[0].dropped_panicked), (4, 16));
        assert!(stats.sinks[0].last_error.as_ref().unwrap().contains("panicked"));
        assert_eq!((stats.sinks[1].emitted, kept.len()), (20, 20));
    }

    #[test]
    fn a_sink_that_hangs_is_abandoned_in_time() {
        let ((inner, _), (sound, kept)) = (memory(), memory());
        let (hanging, _opener, _flushed) = gate(inner);
        let mut delivery = start(vec![hanging, sound], 1000);
        delivery.send(NOW, &mut records(3));
        let began = Instant::now();
        delivery.stop(NOW, began + Duration::from_millis(200));
        assert!(began.elapsed() < Duration::from_secs(5));
        let stats = stats(&delivery);
        assert_eq!((stats.sinks[0].emitted, stats.sinks[0].dropped_failed), (0, 3));
        assert!(stats.sinks[0].last_error.as_ref().unwrap().contains("abandoned"));
        assert_eq!((stats.sinks[1].emitted, kept.len()), (3, 3));
        assert_eq!(stats.sinks[1].last_error, None);
    }

    #[test]
    fn a_sink_is_flushed_when_its_queue_is_empty() {
        let (inner, _) = memory();
        let (sink, opener, flushed) = gate(inner);
        let mut delivery = start(vec![sink], 1000);
        delivery.send(NOW, &mut records(1));
        delivery.send(NOW, &mut records(1));
        opener.send(()).unwrap();
        assert!(flushed.recv_timeout(Duration::from_millis(50)).is_err(), "one more waits");
        opener.send(()).unwrap();
        flushed.recv_deadline(soon()).expect("flushed when there is nothing more");
        drop(opener);
        delivery.send(NOW, &mut records(1));
        delivery.stop(NOW, soon());
        flushed.try_recv().expect("flushed at the end");
    }
}
