//! Which processes there are, what they have mapped, and the files behind it.

use crate::ProcessImage;
use crate::unwind::unwind_table;
use pixie_core::id::Pid;
use pixie_probes::sampler::{CodeMapping, MemoryError, News, TableId, UnwindMemory};
use pixie_symbols::{BuildId, ElfFile, Mapping, Process};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most processes and former processes whose mappings are kept.
const MAX_IMAGES: usize = 32_768;

/// What the thread that keeps processes tells others.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    images: HashMap<u32, Kept>,
    /// The newest image of each process.
    newest: HashMap<Pid, u32>,
    counters: ProcessCounters,
}

#[derive(Debug)]
struct Kept {
    image: Arc<ProcessImage>,
    ended: Option<Instant>,
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
    /// How long the mappings of processes that have ended are kept.
    keep: Duration,
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
        keep: Duration,
    ) -> Self {
        Self {
            memory,
            shared,
            live: HashMap::new(),
            files: Files::new(open_files),
            next_image: 1,
            keep,
        }
    }

    /// Waits for something to do, and does it.
    pub(crate) fn work(&mut self, timeout: Duration) {
        if !self.memory.wait(timeout) {
            return;
        }
        let mut done = HashSet::new();
        for news in self.memory.news() {
            let (News::Process { pid, space } | News::Address { pid, space }) = news else {
                continue;
            };
            if done.insert((pid, space)) {
                self.take_in(pid, space);
            }
        }
    }

    /// Looks at a process, and tells the kernel.
    pub(crate) fn take_in(&mut self, pid: Pid, space: u64) {
        let Ok(process) = Process::new(pid.0) else {
            self.forget(pid);
            self.memory.hide_process(pid, space);
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
                kept.ended = Some(Instant::now());
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
        let keep = self.keep;
        self.shared.with(|told| {
            let old = |kept: &Kept| kept.ended.is_some_and(|ended| ended.elapsed() > keep);
            told.images.retain(|_, kept| !old(kept));
            let Told { images, newest, .. } = told;
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
