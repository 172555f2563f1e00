//! Which processes there are, what they have mapped, and the files behind it.

use crate::unwind::unwind_table;
use crate::{ProcessImage, ProfilerOptions};
use pixie_core::id::Pid;
use pixie_probes::sampler::{CodeMapping, Filter, MemoryError, News, Space, TableId, UnwindMemory};
use pixie_symbols::{BuildId, ElfFile, Mapping, Process};
use std::collections::{HashMap, HashSet};
use std::path::Path;
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

impl Processes {
    pub(crate) fn new(
        memory: UnwindMemory,
        shared: Arc<Shared>,
        open_files: usize,
        wanted: Wanted,
    ) -> Self {
        Self {
            memory,
            shared,
            live: HashMap::new(),
            files: Files::new(open_files),
            next_image: 1,
            wanted,
            hidden: HashSet::new(),
            changed: HashMap::new(),
            ahead: (Instant::now(), Duration::ZERO),
        }
    }

    /// Waits for something to do, and does it.
    pub(crate) fn work(&mut self, timeout: Duration) {
        let timeout = if self.changed.is_empty() { timeout } else { SETTLES };
        let mut done = HashSet::new();
        if self.memory.wait(timeout) {
            for news in self.memory.news() {
                self.heed(news, &mut done);
            }
        }
        self.look_ahead();
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
            self.take_in(pid, Space::Asked(space));
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
                self.memory.hide_process(pid, space);
                self.hidden.insert(pid);
            }
            return;
        };
        let files: Vec<Option<usize>> =
            process.mappings().iter().map(|mapping| self.files.find(&process, mapping)).collect();
        for file in files.iter().flatten() {
            self.build(*file);
        }
        let mappings: Vec<CodeMapping> = process
            .mappings()
            .iter()
            .zip(&files)
            .map(|(mapping, file)| {
                let file = file.and_then(|file| self.files.get(file));
                CodeMapping {
                    start: mapping.start,
                    end: mapping.end,
                    bias: file.map_or(0, |file| bias(&file.elf, mapping).unwrap_or_default()),
                    table: file.and_then(|file| file.table()),
                }
            })
            .collect();
        let image = self.next_image;
        self.next_image = self.next_image.checked_add(1).unwrap_or(1);
        self.forget(pid);
        let kept = files.iter().map(|file| Some(self.files.get((*file)?)?.elf.clone())).collect();
        let mut files: Vec<usize> = files.into_iter().flatten().collect();
        files.dedup();
        for file in &files {
            self.files.use_by(*file, 1);
        }
        self.live.insert(pid, Live { image, files });
        let rows = self.memory.rows();
        self.shared.with(|told| {
            told.counters.processes += 1;
            told.counters.rows = rows;
            if told.images.len() < MAX_IMAGES {
                let image_of = ProcessImage { process, files: kept };
                told.images.insert(image, Kept { image: Arc::new(image_of), ended: None });
                told.newest.insert(pid, image);
            }
        });
        // Last: from then on samples refer to the image.
        if self.memory.set_process(pid, space, image, &mappings).is_err() {
            self.shared.with(|told| told.counters.full += 1);
        }
    }

    /// Notes that what a process had mapped is not any more.
    fn forget(&mut self, pid: Pid) {
        let Some(live) = self.live.remove(&pid) else { return };
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
        let ended: Vec<Pid> = self
            .live
            .keys()
            .copied()
            .filter(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            .collect();
        for pid in ended {
            self.forget(pid);
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

    /// Builds a file's unwind table, if that was not done before.
    fn build(&mut self, index: usize) {
        let Some(file) = self.files.get_mut(index) else { return };
        if !matches!(file.state, Table::Unbuilt) {
            return;
        }
        let table = match unwind_table(&file.elf) {
            Ok(table) if table.rows.is_empty() => {
                file.state = Table::None;
                return;
            }
            Ok(table) => table,
            Err(_) => {
                file.state = Table::None;
                self.shared.with(|told| told.counters.files_failed += 1);
                return;
            }
        };
        loop {
            match self.memory.add_table(&table) {
                Ok(id) => {
                    self.shared.with(|told| told.counters.files += 1);
                    if let Some(file) = self.files.get_mut(index) {
                        file.state = Table::Built(id);
                    }
                    return;
                }
                Err(MemoryError::Full(_)) if self.evict(index) => {}
                Err(_) => {
                    // It is tried again when another process maps the file.
                    self.shared.with(|told| told.counters.files_failed += 1);
                    return;
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

/// The files that processes have mapped.
struct Files {
    files: HashMap<usize, OpenFile>,
    by_inode: HashMap<(Box<str>, u64), Option<usize>>,
    by_build_id: HashMap<BuildId, usize>,
    next: usize,
    limit: usize,
    /// Counts uses, and orders them.
    clock: u64,
}

struct OpenFile {
    elf: ElfFile,
    state: Table,
    keys: Vec<(Box<str>, u64)>,
    /// How many processes have it mapped.
    users: i64,
    used: u64,
}

/// What became of a file's unwind table.
#[derive(Clone, Copy, Debug)]
enum Table {
    Unbuilt,
    None,
    Built(TableId),
}

impl OpenFile {
    fn table(&self) -> Option<TableId> {
        match self.state {
            Table::Built(id) => Some(id),
            Table::Unbuilt | Table::None => None,
        }
    }
}

impl Files {
    fn new(limit: usize) -> Self {
        Self {
            files: HashMap::new(),
            by_inode: HashMap::new(),
            by_build_id: HashMap::new(),
            next: 0,
            limit,
            clock: 0,
        }
    }

    fn get(&self, index: usize) -> Option<&OpenFile> {
        self.files.get(&index)
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut OpenFile> {
        self.files.get_mut(&index)
    }

    fn use_by(&mut self, index: usize, change: i64) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(file) = self.files.get_mut(&index) {
            file.users += change;
            file.used = clock;
        }
    }

    /// The file of a mapping, opened if it is not open yet.
    fn find(&mut self, process: &Process, mapping: &Mapping) -> Option<usize> {
        let vdso = &*mapping.path == Path::new("[vdso]");
        if mapping.inode == 0 && !vdso {
            return None;
        }
        let device = if vdso { "[vdso]".into() } else { mapping.device.clone() };
        let key = (device, mapping.inode);
        if let Some(known) = self.by_inode.get(&key) {
            return *known;
        }
        let Ok(elf) = process.open(mapping) else { return None };
        let same = elf.build_id().and_then(|id| self.by_build_id.get(id)).copied();
        let index = match same {
            Some(index) => index,
            None => self.insert(elf)?,
        };
        if let Some(file) = self.files.get_mut(&index) {
            file.keys.push(key.clone());
        }
        self.by_inode.insert(key, Some(index));
        Some(index)
    }

    fn insert(&mut self, elf: ElfFile) -> Option<usize> {
        if self.files.len() >= self.limit {
            self.close_oldest()?;
        }
        let index = self.next;
        self.next += 1;
        if let Some(id) = elf.build_id() {
            self.by_build_id.insert(id.clone(), index);
        }
        let file =
            OpenFile { elf, state: Table::Unbuilt, keys: Vec::new(), users: 0, used: self.clock };
        self.files.insert(index, file);
        Some(index)
    }

    /// Closes the file that was not used for longest, of those that no process has mapped and that
    /// have no table. `None` when there is none.
    fn close_oldest(&mut self) -> Option<()> {
        let unused =
            self.files.iter().filter(|(_, file)| file.users <= 0 && file.table().is_none());
        let (index, _) = unused.min_by_key(|(_, file)| file.used)?;
        let index = *index;
        let file = self.files.remove(&index)?;
        for key in file.keys {
            self.by_inode.remove(&key);
        }
        if let Some(id) = file.elf.build_id() {
            self.by_build_id.remove(id);
        }
        Some(())
    }

    /// The file whose table was not used for longest; those that no process has mapped come first.
    fn oldest_table(&self, except: usize) -> Option<usize> {
        self.files
            .iter()
            .filter(|(index, file)| **index != except && file.table().is_some())
            .min_by_key(|(_, file)| (file.users > 0, file.used))
            .map(|(index, _)| *index)
    }
}
