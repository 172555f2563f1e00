//! Call stacks into records: what a session does beside traffic.

use crate::pipeline::BATCH;
use crate::pipeline::delivery::SharedDelivery;
use crate::pipeline::processes::{Processes, Seen};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use pixie_core::id::Pid;
use pixie_core::record::{Cause, Lost, Stage};
use pixie_core::time::{MonotonicTime, WallTime};
use pixie_core::{CauseStats, ProfileStats, Record, Stats};
use pixie_probes::{Filter, monotonic_now};
use pixie_profiler::{Counters, Namer, Profiler, ProfilerOptions, Sample, Truncation};
use pixie_symbols::SymbolizerOptions;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked whether an interval has ended.
const POLL: Duration = Duration::from_millis(100);

/// The most processes whose names are remembered.
const MAX_NAMES: usize = 4096;

/// What to sample, and how it is told: see [`Tracer::profiler`](crate::Tracer::profiler).
///
/// ```
/// use pixie::Profiling;
/// use std::time::Duration;
///
/// let profiling = Profiling::new(99)
///     .interval(Duration::from_secs(10))
///     .lines();
/// # drop(profiling);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is to be given to a tracer"]
pub struct Profiling {
    pub(crate) sampling: ProfilerOptions,
    pub(crate) naming: SymbolizerOptions,
}

impl Profiling {
    /// Samples every CPU so many times a second, as far as it is not idle. At most 10,000; one that
    /// is no multiple of what others do at regular times, such as 99, does not always meet these.
    pub fn new(frequency: u32) -> Self {
        let mut sampling = ProfilerOptions::default();
        sampling.frequency = frequency;
        Self { sampling, naming: SymbolizerOptions::default() }
    }

    /// Samples by the cycles that processors count, which also reach where the kernel lets nothing else
    /// interrupt it. Where there are none, as in most virtual machines, by a timer, as without this; the
    /// report says so. Beside [`Profiling::off_cpu`] this needs Linux 5.11.
    pub fn cycles(mut self) -> Self {
        self.sampling.cycles = true;
        self
    }

    /// How long stacks are added up before they become records. Default 1 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.sampling.interval = interval;
        self
    }

    /// Tells where threads wait, too, for at least this long at a time: for a lock, for input, for their
    /// turn. Their stacks are records with [`StackState::OffCpu`](pixie_core::record::StackState), made
    /// when they run again; a thread that still waits at the end is not told of. Threads of the kernel
    /// are left out.
    ///
    /// Every time a thread begins to wait its stack is walked, whatever the threshold: about as much
    /// as a sample costs.
    pub fn off_cpu(mut self, threshold: Duration) -> Self {
        self.sampling.off_cpu = Some(threshold);
        self
    }

    /// Tells the threads of a process apart.
    pub fn per_thread(mut self) -> Self {
        self.sampling.per_thread = true;
        self
    }

    /// Tells source lines and inlined functions too, where there is debug information: it takes time
    /// and memory to read.
    pub fn lines(mut self) -> Self {
        self.naming.lines = true;
        self
    }

    /// The most distinct stacks of an interval; what is beyond is dropped and counted. Default
    /// 16,384.
    pub fn stacks(mut self, stacks: u32) -> Self {
        self.sampling.stacks = stacks;
        self
    }

    /// The most bytes of unwind tables in the kernel. Default 64 MiB.
    pub fn table_bytes(mut self, bytes: u64) -> Self {
        self.sampling.table_bytes = bytes;
        self
    }

    /// About how many bytes of symbols and debug information are kept. Default 512 MiB; what was not
    /// used for longest is read again when it is needed.
    pub fn symbol_bytes(mut self, bytes: u64) -> Self {
        self.naming.memory = bytes;
        self
    }

    /// Looks for debug files in this folder too, as if it were the root folder.
    pub fn debug_root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.naming.debug_roots.push(folder.into());
        self
    }

    /// Samples only what passes the filter.
    pub(crate) fn filtered(mut self, filter: &Filter, include_self: bool) -> Self {
        let of_sampler = &mut self.sampling.filter;
        of_sampler.pids.clone_from(&filter.pids);
        of_sampler.cgroups.clone_from(&filter.cgroups);
        of_sampler.exclude_pids.clone_from(&filter.exclude_pids);
        of_sampler.exclude_cgroups.clone_from(&filter.exclude_cgroups);
        self.sampling.include_self = include_self;
        self
    }
}

impl From<u32> for Profiling {
    /// So many samples a second.
    fn from(frequency: u32) -> Self {
        Self::new(frequency)
    }
}

/// The part of a session's account that is about call stacks.
#[derive(Debug, Default)]
struct Account {
    stats: ProfileStats,
    lost: Vec<(Cause, u64)>,
}

/// The account of a [`ProfileWorker`], for others to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedAccount(Arc<Mutex<Account>>);

impl SharedAccount {
    /// Enters it into the account of a session.
    pub(crate) fn enter(&self, stats: &mut Stats) {
        let account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stats.profile = account.stats.clone();
        for (cause, count) in &account.lost {
            stats.add_lost(Stage::Sampler, *cause, *count, 0);
        }
    }
}

/// Until when what was sampled is told of: for so long after the session was stopped, whatever is under way
/// then.
struct Deadline<'a> {
    stop: &'a Receiver<()>,
    drain_timeout: Duration,
    at: Option<Instant>,
}

impl Deadline<'_> {
    /// Whether the session was stopped.
    fn is_set(&mut self) -> bool {
        if self.at.is_none() && self.stop.try_recv() == Err(TryRecvError::Disconnected) {
            self.at = Some(Instant::now() + self.drain_timeout);
        }
        self.at.is_some()
    }

    fn is_over(&mut self) -> bool {
        self.is_set() && self.at.is_some_and(|at| Instant::now() >= at)
    }
}

/// Moves samples through the namer to the sinks, until it is told to stop.
pub(crate) struct ProfileWorker {
    profiler: Profiler,
    namer: Namer,
    processes: Processes,
    /// The names of main threads: samples have that of the thread that they were taken of.
    names: HashMap<(Pid, u64, u32), [u8; 16]>,
    exclude_executables: Vec<PathBuf>,
    period: Duration,
    interval: Duration,
    delivery: SharedDelivery,
    account: SharedAccount,
    counted: Counters,
    records: Vec<Record>,
    /// How many records were made.
    made: u64,
    /// Samples of executables that are not to be told of.
    passed_over: u64,
    /// Samples that were not named by the deadline; and how many of them were told of.
    late: u64,
    late_told: u64,
    /// When stacks were last handed over.
    last: (Instant, WallTime),
}

impl ProfileWorker {
    pub(crate) fn new(
        profiler: Profiler,
        options: Profiling,
        exclude_executables: Vec<PathBuf>,
        delivery: SharedDelivery,
        account: SharedAccount,
    ) -> Self {
        let Profiling { sampling, naming } = options;
        Self {
            profiler,
            namer: Namer::new(naming),
            processes: Processes::new(true),
            names: HashMap::new(),
            exclude_executables,
            period: Duration::from_secs(1) / sampling.frequency.max(1),
            interval: sampling.interval,
            delivery,
            account,
            counted: Counters::default(),
            records: Vec::new(),
            made: 0,
            passed_over: 0,
            late: 0,
            late_told: 0,
            last: (Instant::now(), WallTime::now()),
        }
    }

    /// Works until `stop` is disconnected; then detaches, and hands over what was sampled by then
    /// for at most `drain_timeout`.
    pub(crate) fn run(mut self, stop: &Receiver<()>, drain_timeout: Duration) {
        let mut deadline = Deadline { stop, drain_timeout, at: None };
        while stop.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
            self.get_ready(&mut deadline);
            self.poll(&mut deadline);
            self.keep_house();
        }
        self.profiler.detach();
        while self.poll(&mut deadline) > 0 && !deadline.is_over() {}
        self.keep_house();
    }

    /// Reads what it takes to name what is being sampled, so that it is there when the interval ends.
    fn get_ready(&mut self, deadline: &mut Deadline<'_>) {
        let mut samples = Vec::new();
        self.profiler.preview(&mut |sample| samples.push(sample));
        for sample in samples {
            if deadline.is_set() {
                return;
            }
            let image = self.profiler.process(&sample);
            self.namer.get_ready(&sample, image.as_deref());
        }
    }

    /// Makes records of what was sampled in an interval that has ended. Those that are not made by
    /// the deadline are dropped. Returns how many stacks there were.
    fn poll(&mut self, deadline: &mut Deadline<'_>) -> usize {
        let mut samples = Vec::new();
        self.profiler.poll(&mut |sample| samples.push(sample));
        let handed_over = samples.len();
        if samples.is_empty() {
            return 0;
        }
        let (now, wall) = (Instant::now(), WallTime::now());
        let (last, since) = std::mem::replace(&mut self.last, (now, wall));
        // Nothing is handed over of an interval in which nothing ran.
        let interval = now.duration_since(last).min(self.interval + POLL);
        let earliest =
            wall.0.saturating_sub(u64::try_from(interval.as_nanos()).unwrap_or_default());
        let time = WallTime(since.0.max(earliest));
        self.namer.next_interval();
        for sample in &samples {
            if deadline.is_over() {
                self.late += sample.count;
                continue;
            }
            self.record(sample, time, interval);
            if self.records.len() >= BATCH {
                self.deliver();
            }
        }
        self.deliver();
        handed_over
    }

    fn record(&mut self, sample: &Sample, time: WallTime, interval: Duration) {
        let comm = self.main_name(sample);
        let Sample { pid, start_time_ns, cgroup, .. } = *sample;
        let process = self.processes.get(Seen { pid, start_time_ns, comm, cgroup });
        if let Some(exe) = process.exe.as_ref().filter(|_| !self.exclude_executables.is_empty()) {
            let exe = exe.to_str();
            if self.exclude_executables.iter().any(|excluded| excluded.as_os_str() == &*exe) {
                self.passed_over += sample.count;
                return;
            }
        }
        let image = self.profiler.process(sample);
        let mut stack = self.namer.stack(sample, image.as_deref(), process, self.period);
        stack.time = time;
        stack.interval = interval;
        self.made += 1;
        self.records.push(stack.into());
    }

    /// The name of the process that was sampled: of its main thread, as long as that can be asked.
    fn main_name(&mut self, sample: &Sample) -> [u8; 16] {
        let key = (sample.pid, sample.start_time_ns, sample.image);
        if let Some(name) = self.names.get(&key) {
            return *name;
        }
        let mut comm = sample.comm;
        if let Ok(name) = std::fs::read(format!("/proc/{}/comm", sample.pid)) {
            let name = name.trim_ascii_end();
            comm = [0; 16];
            comm.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        }
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.insert(key, comm);
        comm
    }

    fn deliver(&mut self) {
        self.delivery.lock().send(monotonic_now(), &mut self.records);
    }

    /// Reads the counters, and tells of what was lost since the last time.
    fn keep_house(&mut self) {
        let counters = self.profiler.counters();
        let now = monotonic_now();
        let lost = [
            (Cause::TableFull, counters.lost_table_full, self.counted.lost_table_full),
            (Cause::RingFull, counters.lost_ring_full, self.counted.lost_ring_full),
            (Cause::StopTimeout, self.late, self.late_told),
        ];
        for (cause, count, before) in lost {
            let more = count.saturating_sub(before);
            if more > 0 {
                self.records.push(loss(now, cause, more));
            }
        }
        self.counted = counters;
        self.late_told = self.late;
        self.deliver();
        self.delivery.lock().report_drops(now);
        let account = Account {
            stats: self.stats(&counters),
            lost: lost
                .into_iter()
                .filter_map(|(cause, count, _)| (count > 0).then_some((cause, count)))
                .collect(),
        };
        *self.account.0.lock().unwrap_or_else(PoisonError::into_inner) = account;
    }

    fn stats(&self, counters: &Counters) -> ProfileStats {
        let cut =
            Truncation::ALL.into_iter().zip(counters.truncated).filter(|(_, count)| *count > 0);
        let named = self.namer.counters();
        let mut stats = ProfileStats::default();
        stats.samples = counters.samples;
        stats.dropped = counters.lost_table_full + counters.lost_ring_full;
        stats.passed_over = self.passed_over + self.late;
        stats.records = self.made;
        stats.complete = counters.complete;
        stats.cut = cut.map(|(cause, count)| CauseStats::new(cause.as_str(), count)).collect();
        stats.named = named.named;
        let unnamed = named.unnamed.iter();
        stats.unnamed =
            unnamed.map(|(cause, count)| CauseStats::new(cause.to_string(), *count)).collect();
        stats.by_frame_pointer = counters.by_frame_pointer;
        stats.processes = counters.processes;
        stats.processes_refused = counters.processes_full;
        stats.files = counters.files;
        stats.files_failed = counters.files_failed;
        stats.files_refused = counters.files_refused;
        stats.files_evicted = counters.files_evicted;
        stats.rows = counters.rows;
        stats
    }
}

fn loss(now: MonotonicTime, cause: Cause, count: u64) -> Record {
    Lost::new(now, Stage::Sampler, cause, count, 0).into()
}
