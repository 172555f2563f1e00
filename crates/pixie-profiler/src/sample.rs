use pixie_core::id::Pid;
use pixie_core::record::CgroupId;
use pixie_symbols::{ElfFile, Mapping, Process};

/// One distinct call stack of an interval, as addresses.
///
/// Addresses are as they were found. Of a stack, the first user address and the first kernel
/// address are those of the instruction that ran, or the one after it where a system call was
/// made; the others are return addresses, which may belong to the next line or even the next
/// function: name the address before ([`Sample::lookup_address`]).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// The process.
    pub pid: Pid,
    /// The thread; 0 unless [`per_thread`](crate::ProfilerOptions::per_thread) was asked for.
    pub tid: u32,
    /// What the process had mapped when it was sampled: see
    /// [`Profiler::process`](crate::Profiler::process). 0 when that was not known yet.
    pub image: u32,
    /// When the process started, in nanoseconds since boot.
    pub start_time_ns: u64,
    /// The name of the thread that was sampled first, padded with NUL.
    pub comm: [u8; 16],
    /// The process's cgroup, where cgroups of version 2 are in use.
    pub cgroup: Option<CgroupId>,
    /// The kernel's part of the stack, leaf first; empty when user code ran.
    pub kernel: Vec<u64>,
    /// The process's part, leaf first; empty for threads of the kernel.
    pub user: Vec<u64>,
    /// Indices into `user` of addresses that are no return addresses although they are not first:
    /// code that was interrupted by a signal.
    pub interrupted: Vec<u16>,
    /// How many samples had this stack, or how often a thread was blocked with it.
    pub count: u64,
    /// For how long threads were blocked with this stack, in nanoseconds; 0 for samples of the CPU.
    pub blocked_ns: u64,
    /// Whether `user` goes all the way.
    pub end: StackEnd,
}

impl Sample {
    /// An empty stack of a process: for tests, and for sources of other kinds.
    #[must_use]
    pub fn new(pid: Pid, count: u64) -> Self {
        Self {
            pid,
            tid: 0,
            image: 0,
            start_time_ns: 0,
            comm: [0; 16],
            cgroup: None,
            kernel: Vec::new(),
            user: Vec::new(),
            interrupted: Vec::new(),
            count,
            blocked_ns: 0,
            end: StackEnd::Complete,
        }
    }

    /// The address to look up for the user frame `index`: of a return address, the last byte of
    /// the call before it. `None` when there is no such frame.
    #[must_use]
    pub fn lookup_address(&self, index: usize) -> Option<u64> {
        let address = *self.user.get(index)?;
        let exact = index == 0 || self.interrupted.iter().any(|at| usize::from(*at) == index);
        Some(if exact { address } else { address.saturating_sub(1) })
    }
}

/// Where a user stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StackEnd {
    /// At the thread's first function, or there is no user stack.
    Complete,
    /// Before that; frames are missing at the root.
    Truncated(Truncation),
}

/// Why a stack was not followed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Truncation {
    /// It is deeper than what is followed.
    Depth,
    /// What the process has mapped was not known yet.
    UnknownProcess,
    /// An address is in nothing that is known to be mapped.
    NotMapped,
    /// There is no unwind information for the code, and it does not keep a frame pointer.
    NoUnwindInformation,
    /// The unwind information is of a form that is not understood.
    Unsupported,
    /// The stack could not be read: it was not in memory, or the process is ending.
    Unreadable,
    /// A frame would not be above the one that it called.
    BadFrame,
    /// The process is a 32-bit one.
    Compatibility,
    /// The registers of the process were not to be had.
    NoRegisters,
}

impl Truncation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Depth,
        Self::UnknownProcess,
        Self::NotMapped,
        Self::NoUnwindInformation,
        Self::Unsupported,
        Self::Unreadable,
        Self::BadFrame,
        Self::Compatibility,
        Self::NoRegisters,
    ];

    /// Its name in reports: `depth`, `unknown_process`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::UnknownProcess => "unknown_process",
            Self::NotMapped => "not_mapped",
            Self::NoUnwindInformation => "no_unwind_information",
            Self::Unsupported => "unsupported",
            Self::Unreadable => "unreadable",
            Self::BadFrame => "bad_frame",
            Self::Compatibility => "compatibility",
            Self::NoRegisters => "no_registers",
        }
    }
}

impl std::fmt::Display for Truncation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a process had mapped, and the files behind it, opened while it lived: all that naming its
/// addresses needs, also when it has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessImage {
    /// The process and its mappings.
    pub process: Process,
    /// The file of each of the process's mappings, in their order. `None` where there is none, or
    /// too many files are open already.
    pub files: Vec<Option<ElfFile>>,
}

impl ProcessImage {
    /// A process, of which no file is open yet.
    #[must_use]
    pub fn new(process: Process) -> Self {
        Self { process, files: Vec::new() }
    }

    /// The mapping that an address is in, and its file.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<(&Mapping, Option<&ElfFile>)> {
        let mapping = self.process.mapping(address)?;
        let index = self.process.mappings().iter().position(|other| other.start == mapping.start);
        let file = index.and_then(|index| self.files.get(index)?.as_ref());
        Some((mapping, file))
    }
}
