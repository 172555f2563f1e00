//! Which processes there are, what they have mapped, and the files behind it.

use crate::builder::Builder;
use crate::files::{Files, Table};
use crate::unwind::{UnwindError, unwind_table_unless};
use crate::{ProcessImage, ProfilerOptions};
use pixie_core::id::Pid;
use pixie_probes::sampler::{
    CodeMapping, Filter, MemoryError, News, Space, UnwindMemory, UnwindTable,
};
use pixie_symbols::{ElfFile, Mapping, Process};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most processes and former processes whose mappings are kept.
const MAX_IMAGES: usize = 32_768;
/// After so many more drains no stack refers to what has ended: each generation of counts is drained every
/// other time, and stays for another turn while programs are at work on it. Not a time: however long it
/// takes to name what was drained, it is there.
const KEPT_FOR_DRAINS: u64 = 6;
/// For how long what a process maps is gathered before it is looked at: programs map their libraries one
/// after the other as they start.
const SETTLES: Duration = Duration::from_millis(1);
/// How much time in a second is taken for processes that have not been sampled yet. What comes beyond is
/// looked at when it is sampled.
const AHEAD: Duration = Duration::from_millis(50);
/// The most processes that wait to be looked at; as above.
const MAX_CHANGED: usize = 4096;
/// The most processes that wait for tables; those beyond are asked about again.
const MAX_WAITING: usize = 4096;
/// How often it is looked whether a table is done that is built apart.
const BUILDING: Duration = Duration::from_millis(5);

/// What the thread that keeps processes tells others.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    images: HashMap<u32, Kept>,
    /// The newest image of each process.
    newest: HashMap<Pid, u32>,
    /// How often stacks were handed over.
    drains: u64,
    counters: ProcessCounters,
}

#[derive(Debug)]
struct Kept {
    image: Arc<ProcessImage>,
    /// After how many drains it was replaced, or its process ended.
    ended: Option<u64>,
}

/// What was done for processes, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessCounters {
    pub(crate) processes: u64,
    pub(crate) files: u64,
    pub(crate) files_failed: u64,
    pub(crate) files_refused: u64,
    pub(crate) files_evicted: u64,
    pub(crate) full: u64,
    pub(crate) rows: u64,
}

impl Shared {
    /// What a process had mapped: by the number of the image, or the newest where that is 0.
    pub(crate) fn image(&self, pid: Pid, image: u32) -> Option<Arc<ProcessImage>> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let image = if image == 0 { *told.newest.get(&pid)? } else { image };
        told.images.get(&image).map(|kept| kept.image.clone())
    }

    /// Notes that stacks were handed over, and that those of before have been named.
    pub(crate) fn drained(&self) {
        self.with(|told| told.drains += 1);
    }

    pub(crate) fn counters(&self) -> ProcessCounters {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counters
    }

    fn with<R>(&self, change: impl FnOnce(&mut Told) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps the kernel's knowledge of processes up to date.
pub(crate) struct Processes {
    memory: UnwindMemory,
    shared: Arc<Shared>,
    live: HashMap<Pid, Live>,
    files: Files,
    next_image: u32,
    wanted: Wanted,
    /// Processes that could not be looked at.
    hidden: HashSet<Pid>,
    /// Processes that have come to be or mapped something, and since when that is known.
    changed: HashMap<Pid, Instant>,
    /// Processes that the kernel is told of once the tables of their files are there.
    waiting: HashMap<Pid, Waiting>,
    builder: Builder,
    stop: Arc<AtomicBool>,
    /// The second that passes, and how much of it was taken ahead of samples.
    ahead: (Instant, Duration),
}

/// Which processes may be sampled, as far as that can be told by their pids.
pub(crate) struct Wanted {
    filter: Filter,
    but: Option<Pid>,
}

impl Wanted {
    pub(crate) fn new(options: &ProfilerOptions) -> Self {
        let ours = (!options.include_self).then(|| Pid(std::process::id()));
        Self { filter: options.filter.clone(), but: ours }
    }

    fn pid(&self, pid: Pid) -> bool {
        let Filter { pids, exclude_pids, .. } = &self.filter;
        (pids.is_empty() || pids.contains(&pid))
            && !exclude_pids.contains(&pid)
            && self.but != Some(pid)
    }
}

/// A process that the kernel knows.
struct Live {
    image: u32,
    files: Vec<usize>,
}

/// A process that the kernel is to know.
struct Waiting {
    space: Space,
    live: Live,
    mappings: Vec<Unbound>,
}

/// A mapping of code, and the number of its file.
struct Unbound {
    start: u64,
    end: u64,
    bias: u64,
    file: Option<usize>,
}

impl Processes {
    pub(crate) fn new(
        memory: UnwindMemory,
        shared: Arc<Shared>,
        open_files: usize,
        wanted: Wanted,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        Ok(Self {
            memory,
            shared,
            live: HashMap::new(),
            files: Files::new(open_files),
            next_image: 1,
            wanted,
            hidden: HashSet::new(),
            changed: HashMap::new(),
            waiting: HashMap::new(),
            builder: Builder::start(stop.clone())?,
            stop,
            ahead: (Instant::now(), Duration::ZERO),
        })
    }

    /// Looks at these processes before they are sampled, for so long at most.
    pub(crate) fn prepare(&mut self, pids: impl IntoIterator<Item = Pid>, limit: Duration) {
        let begun = Instant::now();
        for pid in pids {
            self.take_in_unasked(pid);
            self.take_tables();
            if begun.elapsed() > limit {
                return;
            }
        }
        while self.builder.is_busy() && begun.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(1));
            self.take_tables();
        }
    }

    /// Waits for something to do, and does it.
    pub(crate) fn work(&mut self, timeout: Duration) {
        let timeout = match (self.changed.is_empty(), self.builder.is_busy()) {
            (false, _) => SETTLES,
            (true, true) => BUILDING,
            (true, false) => timeout,
        };
        // While something is gathered, the rest of it is waited for, not woken by.
        self.memory.wait(timeout, self.changed.is_empty());
        let mut done = HashSet::new();
        for news in self.memory.news() {
            self.heed(news, &mut done);
        }
        self.look_ahead();
        self.take_tables();
    }

    /// Does what the kernel asks for, once for each address space, and notes what it tells.
    fn heed(&mut self, news: News, done: &mut HashSet<(Pid, u64)>) {
        let (pid, space) = match news {
            News::Process { pid, space } | News::Address { pid, space } => (pid, space),
            News::Changed { pid } => {
                if self.wanted.pid(pid) && self.changed.len() < MAX_CHANGED {
                    self.changed.entry(pid).or_insert_with(Instant::now);
                }
                return;
            }
            _ => return,
        };
        if done.insert((pid, space)) {
            self.changed.remove(&pid);
            let space = Space::Asked(space);
            // What asks while it waits is not looked at again each time.
            let process = matches!(news, News::Process { .. });
            let waits = self.waiting.get(&pid).is_some_and(|waiting| waiting.space == space);
            if !(process && waits) {
                self.take_in(pid, space);
            }
        }
    }

    /// Looks at processes before they are sampled, so that their first samples are whole, and named
    /// however short they live.
    fn look_ahead(&mut self) {
        let settled = |since: &Instant| since.elapsed() >= SETTLES;
        let settled: Vec<Pid> =
            self.changed.iter().filter(|(_, since)| settled(since)).map(|(pid, _)| *pid).collect();
        for pid in settled {
            self.changed.remove(&pid);
            let begun = Instant::now();
            if begun.duration_since(self.ahead.0) >= Duration::from_secs(1) {
                self.ahead = (begun, Duration::ZERO);
            }
            if self.ahead.1 < AHEAD {
                self.take_in_unasked(pid);
                self.ahead.1 += begun.elapsed();
            }
        }
    }

    /// Looks at a process that the kernel has not asked about, unless it is just becoming another.
    pub(crate) fn take_in_unasked(&mut self, pid: Pid) {
        if let Some(arguments) = arguments(pid).filter(|address| *address != 0) {
            self.take_in(pid, Space::WithArgumentsAt(arguments));
        }
    }

    /// Looks at a process, and tells the kernel.
    fn take_in(&mut self, pid: Pid, space: Space) {
        let process = Process::new(pid.0).ok();
        let process = process.filter(|_| match space {
            Space::Asked(_) => true,
            Space::WithArgumentsAt(address) => arguments(pid) == Some(address),
        });
        let Some(process) = process else {
            if let Space::Asked(space) = space {
                self.forget(pid);
                self.give_up_waiting(pid);
                self.memory.hide_process(pid, space);
                self.hidden.insert(pid);
            }
            return;
        };
        let files: Vec<Option<usize>> =
            process.mappings().iter().map(|mapping| self.files.find(&process, mapping)).collect();
        for file in files.iter().flatten() {
            self.want(*file);
        }
        let mappings = process.mappings().iter().zip(&files).map(|(mapping, file)| {
            let elf = file.and_then(|file| self.files.get(file)).map(|file| &file.elf);
            let bias = elf.and_then(|elf| bias(elf, mapping)).unwrap_or_default();
            Unbound { start: mapping.start, end: mapping.end, bias, file: *file }
        });
        let mappings = mappings.collect();
        let live = self.tell_of(pid, process, files);
        self.give_up_waiting(pid);
        self.settle(pid, Waiting { space, live, mappings });
    }

    /// Tells others what a process has mapped, by which its addresses are named.
    fn tell_of(&mut self, pid: Pid, process: Process, files: Vec<Option<usize>>) -> Live {
        let image = self.next_image;
        self.next_image = self.next_image.checked_add(1).unwrap_or(1);
        let kept = files.iter().map(|file| Some(self.files.get((*file)?)?.elf.clone())).collect();
        let mut files: Vec<usize> = files.into_iter().flatten().collect();
        files.dedup();
        for file in &files {
            self.files.use_by(*file, 1);
        }
        let (rows, refused) = (self.memory.rows(), self.files.refused());
        self.shared.with(|told| {
            told.counters.processes += 1;
            told.counters.rows = rows;
            told.counters.files_refused = refused;
            if told.images.len() < MAX_IMAGES {
                let image_of = ProcessImage { process, files: kept };
                told.images.insert(image, Kept { image: Arc::new(image_of), ended: None });
                told.newest.insert(pid, image);
            }
        });
        Live { image, files }
    }

    /// Tells the kernel of a process, or lets it wait for tables.
    fn settle(&mut self, pid: Pid, process: Waiting) {
        if process.live.files.iter().any(|file| self.is_wanted(*file)) {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.insert(pid, process);
            } else {
                self.retire(process.live);
                self.shared.with(|told| told.counters.full += 1);
            }
            return;
        }
        let table = |file: Option<usize>| self.files.get(file?)?.table();
        let mappings: Vec<CodeMapping> = process
            .mappings
            .iter()
            .map(|&Unbound { start, end, bias, file }| CodeMapping {
                start,
                end,
                bias,
                table: table(file),
            })
            .collect();
        self.forget(pid);
        let image = process.live.image;
        self.live.insert(pid, process.live);
        // Last: from then on samples refer to the image.
        if self.memory.set_process(pid, process.space, image, &mappings).is_err() {
            self.shared.with(|told| told.counters.full += 1);
        }
    }

    fn is_wanted(&self, file: usize) -> bool {
        self.files.get(file).is_some_and(|file| matches!(file.state, Table::Wanted))
    }

    fn give_up_waiting(&mut self, pid: Pid) {
        if let Some(waiting) = self.waiting.remove(&pid) {
            self.retire(waiting.live);
        }
    }

    /// Notes that what a process had mapped is not any more.
    fn forget(&mut self, pid: Pid) {
        if let Some(live) = self.live.remove(&pid) {
            self.retire(live);
        }
    }

    fn retire(&mut self, live: Live) {
        for file in live.files {
            self.files.use_by(file, -1);
        }
        self.shared.with(|told| {
            if let Some(kept) = told.images.get_mut(&live.image) {
                kept.ended = Some(told.drains);
            }
        });
    }

    /// Forgets processes that have ended, and images of which no more samples come.
    pub(crate) fn clean(&mut self) {
        let mut ended: Vec<Pid> = self.live.keys().chain(self.waiting.keys()).copied().collect();
        ended.retain(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        for pid in ended {
            self.forget(pid);
            self.give_up_waiting(pid);
            self.memory.remove_process(pid);
        }
        for pid in self.hidden.extract_if(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            if !self.live.contains_key(&pid) {
                self.memory.remove_process(pid);
            }
        }
        self.shared.with(|told| {
            let Told { images, newest, drains, .. } = told;
            let old = |ended: u64| drains.saturating_sub(ended) > KEPT_FOR_DRAINS;
            images.retain(|_, kept| !kept.ended.is_some_and(old));
            newest.retain(|_, image| images.contains_key(image));
        });
    }

    /// Builds a file's unwind table if that was not done before: at once, if that takes no time.
    fn want(&mut self, index: usize) {
        let Some(file) = self.files.get_mut(index) else { return };
        if !matches!(file.state, Table::Unbuilt) {
            return;
        }
        if file.is_small() {
            let table = unwind_table_unless(&file.elf, &self.stop);
            self.take_table(index, table);
        } else {
            file.state = Table::Wanted;
        }
    }

    /// Takes the table that was built apart, has the next one built, and tells the kernel of the processes
    /// that waited.
    fn take_tables(&mut self) {
        let built = self.builder.take();
        let mut news = built.is_some();
        if let Some((index, table)) = built {
            self.take_table(index, table);
        }
        while !self.builder.is_busy()
            && let Some(index) = self.files.next_wanted()
            && let Some(file) = self.files.get_mut(index)
        {
            let elf = file.elf.clone();
            if !self.builder.give(index, elf) {
                self.take_table(index, Err(UnwindError::Stopped));
                news = true;
            }
        }
        if news {
            for (pid, process) in std::mem::take(&mut self.waiting) {
                self.settle(pid, process);
            }
        }
    }

    /// Takes in the table of a file.
    fn take_table(&mut self, index: usize, table: Result<UnwindTable, UnwindError>) {
        let state = match table {
            Ok(table) if table.rows.is_empty() => Table::None,
            Ok(table) => self.add_table(index, &table),
            Err(UnwindError::Stopped) => Table::None,
            Err(_) => {
                self.shared.with(|told| told.counters.files_failed += 1);
                Table::None
            }
        };
        if let Some(file) = self.files.get_mut(index) {
            file.state = state;
        }
    }

    /// Tells the kernel of a table, and makes room for it.
    fn add_table(&mut self, index: usize, table: &UnwindTable) -> Table {
        loop {
            match self.memory.add_table(table) {
                Ok(id) => {
                    self.shared.with(|told| told.counters.files += 1);
                    return Table::Built(id);
                }
                Err(MemoryError::Full(_)) if self.evict(index) => {}
                Err(_) => {
                    // It is tried again when another process maps the file.
                    self.shared.with(|told| told.counters.files_failed += 1);
                    return Table::Unbuilt;
                }
            }
        }
    }

    /// Gives up the table that was not used for longest, but not that of `index`. False when there
    /// is none.
    fn evict(&mut self, index: usize) -> bool {
        let Some(victim) = self.files.oldest_table(index) else { return false };
        if let Some(file) = self.files.get_mut(victim)
            && let Table::Built(id) = file.state
        {
            file.state = Table::Unbuilt;
            self.memory.remove_table(id);
            self.memory.settle();
            self.shared.with(|told| told.counters.files_evicted += 1);
        }
        true
    }
}

/// Where the arguments of a process lie, which is elsewhere once it runs another program.
fn arguments(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything. Field 48 of proc_pid_stat(5); ours begin with 3.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(45)?.parse().ok()
}

/// The difference between addresses of a mapping and those that its file counts.
fn bias(file: &ElfFile, mapping: &Mapping) -> Option<u64> {
    let length = mapping.end.checked_sub(mapping.start)?;
    let segment = file.segments().iter().find(|segment| {
        segment.executable
            && segment.offset < mapping.offset.saturating_add(length)
            && mapping.offset < segment.offset.saturating_add(segment.size)
    })?;
    // A segment may begin within a page that is mapped as a whole.
    let address = segment.address.wrapping_add(mapping.offset).wrapping_sub(segment.offset);
    Some(mapping.start.wrapping_sub(address))
}
