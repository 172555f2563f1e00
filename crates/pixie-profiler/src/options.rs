use pixie_probes::sampler::Filter;
use std::time::Duration;

/// What to sample, of whom, and how much memory that may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProfilerOptions {
    /// Samples a second on each CPU: 100. At most 10,000.
    pub frequency: u32,
    /// By the cycles that processors count, where they do; else, and by default, by a timer.
    pub cycles: bool,
    /// Of whom.
    pub filter: Filter,
    /// Sample the profiler's own process too. Default false.
    pub include_self: bool,
    /// Tell threads apart. Default false: stacks of all threads of a process are added up.
    pub per_thread: bool,
    /// Also tell where threads block for at least this long, once they run again. Default `None`. Every
    /// time a thread blocks its stack is walked, which costs microseconds: see `docs/profiling.md`.
    pub off_cpu: Option<Duration>,
    /// How long stacks are added up before they are handed over: 1 s.
    pub interval: Duration,
    /// The most distinct stacks of one interval: 16,384. Each takes some 100 bytes in the kernel.
    pub stacks: u32,
    /// The most bytes of unwind tables in the kernel: 64 MiB, for 16 million rows. They are taken
    /// as they are needed; what was not used for longest goes first.
    pub table_bytes: u64,
    /// The most files that are kept open to be named: 256.
    pub open_files: usize,
}

impl Default for ProfilerOptions {
    fn default() -> Self {
        Self {
            frequency: 100,
            cycles: false,
            filter: Filter::default(),
            include_self: false,
            per_thread: false,
            off_cpu: None,
            interval: Duration::from_secs(1),
            stacks: 16_384,
            table_bytes: 64 << 20,
            open_files: 256,
        }
    }
}
