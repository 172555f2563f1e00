//! Sampling of call stacks: what each CPU does, a number of times a second, and where threads block.
//!
//! ```text
//!   clock of each CPU ─► [program]: walks the stack ─► adds to its count ─► Sampler::drain
//!                            ▲                │
//!                      tables, mappings       └─ what it wants to know ─┐
//!                            └──────────────── UnwindMemory ◄───────────┘
//! ```
//!
//! Stacks are walked by unwind tables and by what processes have mapped, both of which user space
//! gives the kernel through [`UnwindMemory`]. Programs that sample never wait, and never wake
//! anybody but for news of processes.

mod abi;
mod memory;
mod options;
mod perf;
mod ranges;
mod rule;
mod shared;

pub use memory::{CodeMapping, MemoryError, News, Space, TableId, UnwindMemory};
pub use options::{Filter, Report, SamplerOptions};
pub use rule::{Cfa, Row, Rule, Saved, UnwindTable};

use crate::error::chain;
use crate::mappings::Mappings;
use crate::ring::Ring;
use crate::{Attachment, ProbeError, kernel, load, sys};
use abi::{StackCount, StackEvent, StackKey, Tallies};
use aya::maps::{HashMap as KernelHashMap, Map, MapData, PerCpuArray};
use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::{PerfEvent, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use perf::{Clock, Clocks};
use pixie_core::id::Pid;
use pixie_core::record::CgroupId;
use shared::SharedArray;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

type BoxError = Box<dyn Error + Send + Sync>;

#[cfg(not(target_arch = "aarch64"))]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../prebuilt/x86_64/profiler.bpf.o");
#[cfg(target_arch = "aarch64")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../prebuilt/aarch64/profiler.bpf.o");

/// Sizes of maps in the object (`bpf/include/profiler/maps.h`).
const MAPPINGS: usize = 65536;
const TABLES: usize = 8192;
const PAGES: usize = 262_144;
const RULES: usize = 16384;
const NEWS_BYTES: u32 = 1 << 16;
/// How many threads that block are followed at a time; each takes 1.7 KB.
const BLOCKED: u32 = 8192;
/// How long to wait for programs that are in the midst of counting: they take microseconds.
const PATIENCE: Duration = Duration::from_millis(20);

/// One distinct stack, and how often it was seen since the last drain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawStack {
    /// The process.
    pub pid: Pid,
    /// The thread; 0 unless it was asked for.
    pub tid: u32,
    /// What [`UnwindMemory::set_process`] was called with; 0 when the process was not known.
    pub image: u32,
    /// When the process started, in nanoseconds since boot.
    pub start_time_ns: u64,
    /// The name of the thread that was seen first.
    pub comm: [u8; 16],
    /// The process's cgroup.
    pub cgroup: Option<CgroupId>,
    /// Whether it tells where threads blocked; else what a CPU did.
    pub blocked: bool,
    /// The kernel's frames, leaf first.
    pub kernel: Vec<u64>,
    /// The process's frames, leaf first.
    pub user: Vec<u64>,
    /// User frames, by index, whose address is no return address: they were interrupted.
    pub interrupted: Vec<u16>,
    /// How often.
    pub count: u64,
    /// For how long, in nanoseconds.
    pub blocked_ns: u64,
    /// Why the user stack ends: an index into the ends of [`SamplerCounters`].
    pub end: usize,
}

/// What the programs count, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SamplerCounters {
    /// Stacks that were taken.
    pub samples: u64,
    /// Those lost because there were too many distinct ones.
    pub lost_table_full: u64,
    /// Those lost because the frames of distinct ones found no room.
    pub lost_ring_full: u64,
    /// Frames found by frame pointer, without unwind information.
    pub by_frame_pointer: u64,
    /// Samples of processes that could not be asked about, because too many are known.
    pub processes_full: u64,
    /// Questions about processes that found no room; they are asked again.
    pub news_lost: u64,
    /// Threads that blocked and were not followed, because too many do.
    pub blocked_lost: u64,
    /// User stacks by how they ended: complete, too deep, of an unknown process, at an address
    /// that is not mapped, without unwind information, at a rule that is not understood, at memory
    /// that cannot be read, at a frame that is not above the one before, in a 32-bit process,
    /// without registers.
    pub ends: [u64; abi::ENDS],
}

/// Programs that sample, attached for as long as it lives.
pub struct Sampler {
    ebpf: Ebpf,
    clocks: Option<Clocks>,
    /// Where threads block, if that was asked for.
    cycles: bool,
    off_cpu: bool,
    switches: Option<RawTracePointLink>,
    clock_program: OwnedFd,
    frequency: u32,
    report: Report,
    control: SharedArray<abi::Control>,
    counts: [OwnedFd; 2],
    ring: Ring,
    /// Stacks that were told of, by generation.
    told: [HashMap<StackKey, RawStack>; 2],
    generation: u32,
    lost: u64,
    malformed: u64,
}

impl Sampler {
    /// Loads the programs. They do not run before [`Sampler::attach`], so that processes can be made
    /// known first.
    ///
    /// # Errors
    /// [`ProbeError`] tells what is missing.
    pub fn load(options: &SamplerOptions) -> Result<(Self, UnwindMemory), ProbeError> {
        kernel::check()?;
        if !kernel::is_at_least(5, 11) {
            // If that is not allowed, the limit may still be high enough: making the maps will tell.
            drop(sys::lift_memory_lock_limit());
        }
        kernel::has_types()?;
        Self::load_with(options).map_err(|source| match load::is_memory_lock(&*source) {
            true => ProbeError::MemoryLockLimit(io::Error::other(source)),
            false => ProbeError::Kernel { action: "loading the sampler", source },
        })
    }

    fn load_with(options: &SamplerOptions) -> Result<(Self, UnwindMemory), BoxError> {
        let stacks = options.stacks.clamp(64, 1 << 20);
        let ring_bytes = ring_bytes(options.frequency);
        let settings = settings(options);
        // It reads the kernel's types, whether it is given them or not.
        let mut ebpf = EbpfLoader::new()
            .override_global("settings", &settings, true)
            .map_max_entries("counts_even", stacks)
            .map_max_entries("counts_odd", stacks)
            .map_max_entries("stacks", ring_bytes)
            .map_max_entries("blocked", if options.off_cpu.is_some() { BLOCKED } else { 1 })
            .load(OBJECT)?;
        set_filters(&mut ebpf, &options.filter)?;
        load::identify(&mut ebpf)?;
        let program: &mut PerfEvent =
            ebpf.program_mut("sample").ok_or("the object has no program \"sample\"")?.try_into()?;
        program.load()?;
        let clock_program = program.fd()?.as_fd().try_clone_to_owned()?;
        let memory = UnwindMemory {
            news: Ring::new(descriptor(&ebpf, "news")?, NEWS_BYTES)?,
            news_descriptor: descriptor(&ebpf, "news")?,
            processes: KernelHashMap::try_from(
                ebpf.take_map("processes").ok_or("the object has no map \"processes\"")?,
            )?,
            mappings: SharedArray::new(descriptor(&ebpf, "mappings")?.as_fd(), MAPPINGS)?,
            tables: SharedArray::new(descriptor(&ebpf, "tables")?.as_fd(), TABLES)?,
            pages: SharedArray::new(descriptor(&ebpf, "pages")?.as_fd(), PAGES)?,
            rules: SharedArray::new(descriptor(&ebpf, "rules")?.as_fd(), RULES)?,
            chunks_map: descriptor(&ebpf, "chunks")?,
            mappings_told: Mappings::listen().ok(),
            state: memory::State::new(options.table_bytes, [MAPPINGS, TABLES, PAGES, RULES]),
        };
        let sampler = Self {
            control: SharedArray::new(descriptor(&ebpf, "control")?.as_fd(), 1)?,
            counts: [descriptor(&ebpf, "counts_even")?, descriptor(&ebpf, "counts_odd")?],
            ring: Ring::new(descriptor(&ebpf, "stacks")?, ring_bytes)?,
            ebpf,
            clocks: None,
            cycles: options.cycles,
            off_cpu: options.off_cpu.is_some(),
            switches: None,
            clock_program,
            frequency: options.frequency.clamp(1, 10_000),
            report: Report { kernel: kernel::release(), ..Report::default() },
            told: Default::default(),
            generation: 0,
            lost: 0,
            malformed: 0,
        };
        Ok((sampler, memory))
    }

    /// Attaches the programs: from now on stacks are taken.
    ///
    /// # Errors
    /// When no CPU can be sampled.
    pub fn attach(&mut self) -> Result<(), ProbeError> {
        let by_cycles = if self.cycles { self.start(Clock::Cycles).ok() } else { None };
        let clocks = match by_cycles {
            Some(clocks) => clocks,
            None => self.start(Clock::Timer).map_err(|error| ProbeError::Kernel {
                action: "starting the clock that samples (perf_event_open)",
                source: error.into(),
            })?,
        };
        self.clocks = Some(clocks);
        if self.off_cpu {
            let attached = self.attach_switches();
            let refused = attached.as_ref().err().map(ToString::to_string);
            self.report.attachments.push(Attachment {
                target: "raw_tracepoint/sched_switch".to_owned(),
                purpose: "where threads block",
                refused,
            });
            self.switches = Some(attached.map_err(|source| ProbeError::Kernel {
                action: "attaching to sched_switch, to tell where threads block",
                source,
            })?);
        }
        Ok(())
    }

    fn start(&mut self, clock: Clock) -> io::Result<Clocks> {
        let started = match clock {
            // The interrupt of a counter can come while `switched` holds a lock of a map, which the
            // kernel does not look out for before (`htab_lock_bucket`, kernel/bpf/hashtab.c).
            Clock::Cycles if self.off_cpu && !kernel::is_at_least(5, 11) => Err(io::Error::other(
                "where threads wait is told, which needs Linux 5.11 beside it",
            )),
            _ => self
                .clock_program
                .try_clone()
                .and_then(|program| Clocks::start(clock, program, self.frequency)),
        };
        self.report.attachments.push(Attachment {
            target: clock.name().to_owned(),
            purpose: "what CPUs do",
            refused: started.as_ref().err().map(|error| chain(error)),
        });
        started
    }

    fn attach_switches(&mut self) -> Result<RawTracePointLink, BoxError> {
        let program = self.ebpf.program_mut("switched");
        let program = program.ok_or("the object has no program \"switched\"")?;
        let program: &mut RawTracePoint = program.try_into()?;
        program.load()?;
        let link = program.attach("sched_switch")?;
        Ok(program.take_link(link)?)
    }

    /// What was attached, what was not, and why.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Takes what was written out of the ring, so that it does not run full. To be called more often
    /// than [`Sampler::drain`]. Stacks that are new are shown, without their counts.
    pub fn collect(&mut self, show: &mut dyn FnMut(&RawStack)) {
        if let Some(clocks) = &mut self.clocks {
            clocks.follow();
        }
        while let Some(record) = self.ring.peek() {
            match decode(record) {
                Some((key, generation, stack)) => {
                    if let Some(told) = self.told.get_mut(generation) {
                        show(&stack);
                        told.insert(key, stack);
                    }
                }
                None => self.malformed += 1,
            }
            self.ring.advance();
        }
        self.ring.commit();
    }

    /// Hands over every stack that was seen since the last time, with its count. Stacks that are
    /// counted while it is at work come the next time.
    pub fn drain(&mut self, handler: &mut dyn FnMut(RawStack)) {
        let old = self.generation & 1;
        self.generation ^= 1;
        if let Some(word) = self.control.word(0) {
            word.store(self.generation, Ordering::SeqCst);
        }
        if !self.has_settled(old) {
            // A program that counts is itself held up; it will have finished by the next time. The
            // counts stay where they are.
            return;
        }
        self.collect(&mut |_| {});
        let Some(counts) = self.counts.get(old as usize) else { return };
        let mut told = self.told.get_mut(old as usize).map(std::mem::take).unwrap_or_default();
        let mut lost = 0;
        let taken = sys::take_all(counts.as_fd(), |key: StackKey, count: StackCount| {
            match told.remove(&key) {
                Some(mut stack) => {
                    stack.count = count.count;
                    stack.blocked_ns = count.blocked;
                    handler(stack);
                }
                None => lost += count.count,
            }
        });
        if taken.is_err() {
            // They come with the next drain of this generation.
            if let Some(kept) = self.told.get_mut(old as usize) {
                kept.extend(told);
            }
        }
        self.lost += lost;
    }

    /// Whether nobody works on a generation that was turned over.
    fn has_settled(&self, generation: u32) -> bool {
        let begun = Instant::now();
        let Some(running) = self.control.word(1 + generation as usize) else { return true };
        while running.load(Ordering::SeqCst) != 0 {
            if begun.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        true
    }

    /// What the programs count.
    #[must_use]
    pub fn counters(&self) -> SamplerCounters {
        let mut sum = SamplerCounters { lost_ring_full: self.lost, ..SamplerCounters::default() };
        for tallies in self.tallies().unwrap_or_default() {
            sum.samples += tallies.samples;
            sum.lost_table_full += tallies.lost_table_full;
            sum.by_frame_pointer += tallies.by_frame_pointer;
            sum.processes_full += tallies.processes_full;
            sum.news_lost += tallies.news_lost;
            sum.blocked_lost += tallies.blocked_lost;
            for (sum, count) in sum.ends.iter_mut().zip(tallies.ends) {
                *sum += count;
            }
        }
        sum
    }

    fn tallies(&self) -> Result<Vec<Tallies>, BoxError> {
        let map = self.ebpf.map("tallies").ok_or("the object has no map \"tallies\"")?;
        let array: PerCpuArray<&MapData, Tallies> = PerCpuArray::try_from(map)?;
        Ok(array.get(&0, 0)?.iter().copied().collect())
    }

    /// Detaches everything. What was sampled can still be drained: twice, once a generation.
    pub fn detach(&mut self) {
        self.switches = None;
        if let Some(clocks) = self.clocks.take() {
            clocks.stop();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.detach();
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sampler").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Room for the distinct stacks of a second: some 500 bytes each, with a margin.
fn ring_bytes(frequency: u32) -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let bytes = (cpus * u64::from(frequency) * 1024).clamp(1 << 20, 16 << 20);
    (bytes as u32).next_power_of_two()
}

fn settings(options: &SamplerOptions) -> abi::Settings {
    let Filter { pids, cgroups, exclude_pids, exclude_cgroups } = &options.filter;
    abi::Settings {
        off_cpu_threshold: options
            .off_cpu
            .map_or(0, |threshold| u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX)),
        filter_pids: (!pids.is_empty()).into(),
        filter_cgroups: (!cgroups.is_empty()).into(),
        exclude_pids: (!exclude_pids.is_empty()).into(),
        exclude_cgroups: (!exclude_cgroups.is_empty()).into(),
        include_self: options.include_self.into(),
        per_thread: options.per_thread.into(),
        pad: 0,
    }
}

fn set_filters(ebpf: &mut Ebpf, filter: &Filter) -> Result<(), BoxError> {
    for (pids, wanted) in [(&filter.pids, 1), (&filter.exclude_pids, 0)] {
        for pid in pids {
            load::insert(ebpf, "pids", pid.0, wanted)?;
        }
    }
    for (cgroups, wanted) in [(&filter.cgroups, 1), (&filter.exclude_cgroups, 0)] {
        for cgroup in cgroups {
            load::insert(ebpf, "cgroups", cgroup.0, wanted)?;
        }
    }
    Ok(())
}

/// A descriptor of one of the object's maps.
fn descriptor(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, BoxError> {
    let map = ebpf.map(name).ok_or_else(|| format!("the object has no map {name:?}"))?;
    let data = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::RingBuf(data)
        | Map::ArrayOfMaps(data)
        | Map::PerCpuArray(data) => data,
        _ => return Err(format!("the map {name:?} is of another type").into()),
    };
    Ok(data.fd().as_fd().try_clone_to_owned()?)
}

/// Reads a record of the ring. `None` when it is not in the form that we expect.
fn decode(record: &[u8]) -> Option<(StackKey, usize, RawStack)> {
    let (event, rest): (StackEvent, _) = abi::read(record)?;
    let (kernel, user) = (usize::from(event.kernel), usize::from(event.user));
    let (kernel, rest) = rest.split_at_checked(8 * kernel)?;
    let user = rest.get(..8 * user)?;
    let words = |bytes: &[u8]| {
        let words = bytes.chunks_exact(8);
        words.filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?))).collect()
    };
    let key = event.key;
    let stack = RawStack {
        pid: Pid(key.pid),
        tid: key.tid,
        image: key.image,
        start_time_ns: event.start_time,
        comm: event.comm,
        cgroup: Some(CgroupId(event.cgroup)).filter(|cgroup| cgroup.0 != 0),
        blocked: key.kind == abi::SAMPLE_BLOCKED,
        kernel: words(kernel),
        user: words(user),
        interrupted: event.interrupted.into_iter().take(usize::from(event.interruptions)).collect(),
        count: 0,
        blocked_ns: 0,
        end: usize::from(key.end),
    };
    Some((key, usize::from(event.generation), stack))
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn a_record_that_is_cut_short_is_refused() {
        let mut record = vec![0; 24 + 32];
        record.extend(1_u16.to_ne_bytes());
        record.extend(2_u16.to_ne_bytes());
        record.extend([0; 12]);
        assert!(decode(&record).is_none());
        for word in [10_u64, 20, 30] {
            record.extend(word.to_ne_bytes());
        }
        let (_, generation, stack) = decode(&record).unwrap();
        assert_eq!((stack.kernel, stack.user, generation), (vec![10], vec![20, 30], 0));
    }
}
