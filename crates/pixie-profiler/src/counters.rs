use crate::Truncation;

/// What became of all samples, since the start.
///
/// `samples` = what [`Profiler::poll`](crate::Profiler::poll) handed over (the sum of all `count`)
/// + `lost_table_full` + `lost_ring_full`, once everything has been handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Stacks that were taken: samples, and blocked threads. Idle CPUs do not count.
    pub samples: u64,
    /// Those that were lost because an interval had too many distinct stacks.
    pub lost_table_full: u64,
    /// Those that were lost because the ring of distinct stacks had no room.
    pub lost_ring_full: u64,
    /// User stacks that were followed to the thread's first function.
    pub complete: u64,
    /// User stacks that were cut, in the order of [`Truncation::ALL`].
    pub truncated: [u64; Truncation::ALL.len()],
    /// Frames that were found by frame pointer, for want of unwind information.
    pub by_frame_pointer: u64,
    /// Processes that could not be taken in because too many are known.
    pub processes_full: u64,
    /// Processes that were taken in.
    pub processes: u64,
    /// Files whose unwind tables were built.
    pub files: u64,
    /// Files whose unwind tables could not be built.
    pub files_failed: u64,
    /// How often a process had mapped a file that was not opened, because too many are open
    /// ([`ProfilerOptions::open_files`](crate::ProfilerOptions::open_files)): its code is followed by frame
    /// pointers.
    pub files_refused: u64,
    /// Files whose unwind tables were given up to make room.
    pub files_evicted: u64,
    /// Rows of unwind tables in the kernel now.
    pub rows: u64,
}

impl Counters {
    /// How many user stacks were cut for this reason.
    #[must_use]
    pub fn truncated_by(&self, cause: Truncation) -> u64 {
        Truncation::ALL
            .iter()
            .zip(self.truncated)
            .find_map(|(other, count)| (*other == cause).then_some(count))
            .unwrap_or_default()
    }
}
