use crate::processes::{Processes, Shared, Wanted};
use crate::{Counters, ProcessImage, ProfilerOptions, Sample, StackEnd, Truncation};
use pixie_core::id::Pid;
use pixie_probes::ProbeError;
use pixie_probes::sampler::{RawStack, Report, Sampler, SamplerOptions};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the processes that run already are looked at before sampling starts; the others are when
/// they are sampled first.
const PREPARATION: Duration = Duration::from_millis(700);
/// How often the thread that keeps processes looks whether it is to stop.
const BREATH: Duration = Duration::from_millis(100);
/// How often processes that have ended are looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(1);

/// Why profiling could not be started. The message tells what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The kernel side could not be loaded or attached.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The threads that build unwind tables could not be started.
    #[error("a thread for unwind tables could not be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// Samples what the CPUs of the machine do, with the call stacks that lead there.
///
/// Threads of its own look at processes and build the tables that their stacks are unwound by: one for
/// most, and one for those of large files, for which nobody else waits.
/// Dropping the profiler detaches everything; so does the end of the process, however it comes
/// about.
#[derive(Debug)]
pub struct Profiler {
    sampler: Sampler,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
    interval: Duration,
    drained: Instant,
    detached: bool,
}

impl Profiler {
    /// Loads what samples, looks at the processes that there are, and attaches.
    ///
    /// # Errors
    /// [`ProfileError`] tells what is missing: privileges, a kernel feature, memory.
    pub fn start(options: &ProfilerOptions) -> Result<Self, ProfileError> {
        let (sampler, memory) = Sampler::load(&sampler_options(options))?;
        let shared = Arc::new(Shared::default());
        let wanted = Wanted::new(options);
        let stop = Arc::new(AtomicBool::new(false));
        let (told, limit) = (shared.clone(), options.open_files);
        let mut processes = Processes::new(memory, told, limit, wanted, stop.clone())
            .map_err(ProfileError::Thread)?;
        processes.prepare(busiest(options), PREPARATION);
        let stopped = stop.clone();
        let keeper = std::thread::Builder::new()
            .name("pixie-unwind".to_owned())
            .spawn(move || keep_processes(&mut processes, &stopped))
            .map_err(ProfileError::Thread)?;
        let mut profiler = Self {
            sampler,
            shared,
            stop,
            keeper: Some(keeper),
            interval: options.interval,
            drained: Instant::now(),
            detached: false,
        };
        profiler.sampler.attach()?;
        profiler.drained = Instant::now();
        Ok(profiler)
    }

    /// Hands over the stacks of an interval that has ended, if one has; after
    /// [`Profiler::detach`] all that are left. To be called every 100 ms or so; it costs little
    /// when there is nothing.
    pub fn poll(&mut self, handler: &mut dyn FnMut(Sample)) {
        self.preview(&mut |_| {});
        if self.detached {
            self.sampler.drain(&mut |stack| handler(sample(stack)));
            self.sampler.drain(&mut |stack| handler(sample(stack)));
        } else if self.drained.elapsed() >= self.interval {
            self.drained = Instant::now();
            self.shared.drained();
            self.sampler.drain(&mut |stack| handler(sample(stack)));
        }
    }

    /// Shows the stacks that are new since the last time, without their counts, before their interval
    /// ends: what it takes to name them can be got ready meanwhile ([`Namer::get_ready`]).
    ///
    /// [`Namer::get_ready`]: crate::Namer::get_ready
    pub fn preview(&mut self, handler: &mut dyn FnMut(Sample)) {
        self.sampler.collect(&mut |stack| handler(sample(stack.clone())));
    }

    /// What the process of a sample had mapped; `None` when that was never known, or the process
    /// ended long ago: images are kept for at least five more intervals in which [`Profiler::poll`] was
    /// called.
    #[must_use]
    pub fn process(&self, sample: &Sample) -> Option<Arc<ProcessImage>> {
        self.shared.image(sample.pid, sample.image)
    }

    /// What became of all samples, since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (kernel, processes) = (self.sampler.counters(), self.shared.counters());
        let [complete, truncated @ ..] = kernel.ends;
        Counters {
            samples: kernel.samples,
            lost_table_full: kernel.lost_table_full,
            lost_ring_full: kernel.lost_ring_full,
            complete,
            truncated,
            by_frame_pointer: kernel.by_frame_pointer,
            processes_full: kernel.processes_full + processes.full,
            processes: processes.processes,
            files: processes.files,
            files_failed: processes.files_failed,
            files_refused: processes.files_refused,
            files_evicted: processes.files_evicted,
            rows: processes.rows,
        }
    }

    /// What was attached, what was not, and why.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.sampler.report()
    }

    /// Detaches everything. What was sampled can still be polled.
    pub fn detach(&mut self) {
        self.sampler.detach();
        self.detached = true;
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.sampler.detach();
        if let Some(keeper) = self.keeper.take() {
            // It ends within a breath: what it builds is given up. If it panicked there is nothing to be done about it here.
            drop(keeper.join());
        }
    }
}

fn keep_processes(processes: &mut Processes, stop: &AtomicBool) {
    let mut cleaned = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        processes.work(BREATH);
        if cleaned.elapsed() >= CLEAN_EVERY {
            cleaned = Instant::now();
            processes.clean();
        }
    }
}

fn sampler_options(options: &ProfilerOptions) -> SamplerOptions {
    let mut sampler = SamplerOptions::default();
    sampler.frequency = options.frequency;
    sampler.cycles = options.cycles;
    sampler.filter = options.filter.clone();
    sampler.include_self = options.include_self;
    sampler.per_thread = options.per_thread;
    sampler.off_cpu = options.off_cpu;
    sampler.stacks = options.stacks;
    sampler.table_bytes = options.table_bytes;
    sampler
}

/// The processes that may be sampled, those first that used the CPU most.
fn busiest(options: &ProfilerOptions) -> Vec<Pid> {
    let filter = &options.filter;
    let mut pids: Vec<(u64, Pid)> = match filter.pids.as_slice() {
        [] => fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid))
            .filter_map(|pid| Some((cpu_time(pid)?, pid)))
            .collect(),
        pids => pids.iter().map(|pid| (0, *pid)).collect(),
    };
    pids.retain(|(_, pid)| !filter.exclude_pids.contains(pid));
    pids.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    pids.into_iter().map(|(_, pid)| pid).collect()
}

/// The CPU time of a process in clock ticks; `None` for one that has used none, and for threads of
/// the kernel.
fn cpu_time(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // Fields 14 and 15 of proc_pid_stat(5), and 23, the size of its memory; ours begin with 3.
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let memory: u64 = fields.nth(7)?.parse().ok()?;
    (memory > 0 && user + system > 0).then_some(user + system)
}

fn sample(stack: RawStack) -> Sample {
    let end = match stack.end.checked_sub(1) {
        None => StackEnd::Complete,
        Some(cause) => StackEnd::Truncated(
            Truncation::ALL.get(cause).copied().unwrap_or(Truncation::Unsupported),
        ),
    };
    Sample {
        pid: stack.pid,
        tid: stack.tid,
        image: stack.image,
        start_time_ns: stack.start_time_ns,
        comm: stack.comm,
        cgroup: stack.cgroup,
        kernel: stack.kernel,
        user: stack.user,
        interrupted: stack.interrupted,
        count: stack.count,
        blocked_ns: stack.blocked_ns,
        end,
    }
}
