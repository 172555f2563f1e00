use crate::Attachment;
use pixie_core::id::Pid;
use pixie_core::record::CgroupId;
use std::time::Duration;

/// Who is sampled. An empty list does not restrict; a process must pass all lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only these processes.
    pub pids: Vec<Pid>,
    /// Only processes in exactly these cgroups.
    pub cgroups: Vec<CgroupId>,
    /// Not these processes.
    pub exclude_pids: Vec<Pid>,
    /// Not processes in exactly these cgroups.
    pub exclude_cgroups: Vec<CgroupId>,
}

/// How to sample.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SamplerOptions {
    /// Samples a second on each CPU: 100. At most 10,000.
    pub frequency: u32,
    /// By the cycles that processors count, where they do; else, and by default, by a timer.
    pub cycles: bool,
    /// Of whom.
    pub filter: Filter,
    /// Sample this process too. Default false.
    pub include_self: bool,
    /// Tell threads apart. Default false.
    pub per_thread: bool,
    /// Also tell where threads block for at least this long. Default `None`.
    pub off_cpu: Option<Duration>,
    /// The most distinct stacks between two drains: 16,384.
    pub stacks: u32,
    /// The most bytes of unwind tables in the kernel: 64 MiB.
    pub table_bytes: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            frequency: 100,
            cycles: false,
            filter: Filter::default(),
            include_self: false,
            per_thread: false,
            off_cpu: None,
            stacks: 16_384,
            table_bytes: 64 << 20,
        }
    }
}

/// What was attached, what was not, and why.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The kernel's release, as `uname -r` shows it.
    pub kernel: String,
    /// Every program, attached or not.
    pub attachments: Vec<Attachment>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}
