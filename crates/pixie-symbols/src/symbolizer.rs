use crate::binary::Names;
use crate::elf::ElfError;
use crate::perf_map::PerfMap;
use crate::process::PerfMapVersion;
use crate::{BuildId, ElfFile, KernelFunction, KernelSymbols, Mapping, Process};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names for addresses: of processes and of the kernel.
///
/// A sample is named in two steps. [`Symbolizer::locate`] is for when it is taken: it finds the file
/// and keeps it open, so that it can be named even when the process has ended. [`Symbolizer::name`]
/// is for when the name is needed, and reads symbols.
///
/// ```no_run
/// use pixie_symbols::{Process, Symbolizer, SymbolizerOptions};
///
/// let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
/// let process = Process::new(1)?;
/// let place = symbolizer.locate(&process, 0x7f00_0000_1234);
/// match place.and_then(|place| symbolizer.name(place)) {
///     Ok(frames) => frames.iter().for_each(|frame| println!("{}", frame.function)),
///     Err(unknown) => println!("unknown: {unknown}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Symbolizer {
    options: SymbolizerOptions,
    files: HashMap<FileId, OpenFile>,
    by_inode: HashMap<(Box<str>, u64), FileId>,
    by_build_id: HashMap<(BuildId, u64), FileId>,
    /// Files that are no use, so that they are not opened again.
    useless: HashMap<(Box<str>, u64), Unknown>,
    perf_maps: HashMap<u32, (PerfMapVersion, PerfMap)>,
    kernel: Option<KernelSymbols>,
    next: u32,
    /// Counts what was used, and orders it.
    clock: u64,
}

/// What a [`Symbolizer`] may use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SymbolizerOptions {
    /// Whether lines and inlined functions are wanted. Off by default: they are read from debug
    /// information, which is much larger than symbols. Those of Go cost little.
    pub lines: bool,
    /// How many bytes of one file's debug information are read at most: 256 MiB. Functions of a file
    /// that has more keep their names, and have no lines.
    pub debug_information: u64,
    /// About how many bytes of symbols and debug information are kept: 512 MiB. What was not used
    /// for longest goes first, and is read again when it is needed.
    pub memory: u64,
    /// How many files are kept open: 256.
    pub open_files: usize,
    /// Folders that are searched for debug files as if they were the root folder, after the
    /// process's own and before ours.
    pub debug_roots: Vec<PathBuf>,
}

impl Default for SymbolizerOptions {
    fn default() -> Self {
        Self {
            lines: false,
            debug_information: 256 << 20,
            memory: 512 << 20,
            open_files: 256,
            debug_roots: Vec::new(),
        }
    }
}

/// A file that a [`Symbolizer`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

/// Where an address of a process belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// In a file.
    File {
        /// Which.
        file: FileId,
        /// The address as the file counts.
        address: u64,
    },
    /// In code that was made at run time.
    Generated {
        /// The process.
        pid: u32,
        /// The address as the process counts.
        address: u64,
    },
}

/// A function that an address is in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Its name, as its language writes it.
    pub function: Arc<str>,
    /// Where in its source; `None` when that is not known or was not asked for.
    pub line: Option<SourceLine>,
    /// Whether it was inlined into the function of the next frame.
    pub inlined: bool,
}

/// A line of source code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceLine {
    /// The file, as the compiler knew it.
    pub file: Arc<str>,
    /// Counted from 1; 0 for code that belongs to no line.
    pub line: u32,
}

/// Why an address has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unknown {
    /// The process had ended before it was looked at.
    #[error("the process was not known")]
    NoProcess,
    /// The process has no code at the address, as far as its mappings were known.
    #[error("nothing is mapped there")]
    NotMapped,
    /// The code is in no file, and what made it left no list of names.
    #[error("code without a file")]
    NoFile,
    /// The file cannot be opened or read; the process may have ended.
    #[error("the file cannot be read")]
    Unreadable,
    /// The file that is there now is not the one that is mapped.
    #[error("the file was replaced")]
    Replaced,
    /// The file is no ELF file, or is damaged.
    #[error("the file is damaged")]
    Damaged,
    /// The file has more of something than any real one.
    #[error("the file is too large")]
    TooLarge,
    /// The file has no symbols.
    #[error("the file has no symbols")]
    Stripped,
    /// No function covers the address.
    #[error("no symbol covers it")]
    NoSymbol,
    /// The kernel hides its addresses (`kernel.kptr_restrict`).
    #[error("the kernel hides its symbols")]
    KernelHidden,
    /// The file was given up since, to make room for others.
    #[error("forgotten for want of room")]
    Forgotten,
}

impl Unknown {
    pub(crate) fn of_file(error: &ElfError) -> Self {
        match error {
            ElfError::Open { .. } | ElfError::Read(_) => Self::Unreadable,
            ElfError::TooLarge { .. } => Self::TooLarge,
            ElfError::Malformed(_) => Self::Damaged,
        }
    }
}

/// What is kept of a file.
struct OpenFile {
    elf: ElfFile,
    path: PathBuf,
    /// The root folder of the process that had it mapped first.
    root: PathBuf,
    keys: Vec<(Box<str>, u64)>,
    names: Option<Result<Names, Unknown>>,
    memory: u64,
    used: u64,
}

impl Symbolizer {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(options: SymbolizerOptions) -> Self {
        Self {
            options,
            files: HashMap::new(),
            by_inode: HashMap::new(),
            by_build_id: HashMap::new(),
            useless: HashMap::new(),
            perf_maps: HashMap::new(),
            kernel: None,
            next: 0,
            clock: 0,
        }
    }

    /// Finds the file that an address of a process belongs to, and opens it if it is not open yet.
    ///
    /// # Errors
    /// Why the place is not known. After [`Unknown::NotMapped`] it may be worth to
    /// [`Process::refresh`] and ask again.
    pub fn locate(&mut self, process: &Process, address: u64) -> Result<Place, Unknown> {
        let mapping = process.mapping(address).ok_or(Unknown::NotMapped)?;
        self.locate_in(process, mapping, address, None)
    }

    /// The same in a mapping of the process, whose file may have been opened before: so it works for
    /// a process that has ended.
    ///
    /// # Errors
    /// As [`Symbolizer::locate`].
    pub fn locate_in(
        &mut self,
        process: &Process,
        mapping: &Mapping,
        address: u64,
        opened: Option<&ElfFile>,
    ) -> Result<Place, Unknown> {
        let vdso = &*mapping.path == Path::new("[vdso]");
        if mapping.inode == 0 && !vdso {
            return Ok(Place::Generated { pid: process.pid(), address });
        }
        // All processes share one, and those of 32 bits another.
        let wide = u64::from(mapping.start > u64::from(u32::MAX));
        let vdso_key = || (Box::from("[vdso]"), wide);
        let key = if vdso { vdso_key() } else { (mapping.device.clone(), mapping.inode) };
        let known = self.by_inode.get(&key).copied();
        let file = match known {
            Some(file) => file,
            None => {
                let elf = match opened {
                    Some(elf) => elf.clone(),
                    None => self.open_mapping(process, mapping, &key)?,
                };
                self.add(elf, &mapping.path, process.root(), Some(key))
            }
        };
        let offset = address.checked_sub(mapping.start);
        let offset = offset.and_then(|offset| offset.checked_add(mapping.offset));
        self.clock += 1;
        let open = self.files.get_mut(&file).ok_or(Unknown::Forgotten)?;
        open.used = self.clock;
        let address = offset.and_then(|offset| open.elf.address(offset));
        Ok(Place::File { file, address: address.ok_or(Unknown::NotMapped)? })
    }

    /// Opens a file by its path in our own file system, to name its addresses.
    ///
    /// # Errors
    /// When it is not there, or no ELF file.
    pub fn open(&mut self, path: &Path) -> Result<FileId, ElfError> {
        Ok(self.insert(ElfFile::open(path)?, path))
    }

    /// Takes in a file that is open already, whose path is, or was, this.
    pub fn insert(&mut self, file: ElfFile, path: &Path) -> FileId {
        self.add(file, path, PathBuf::from("/"), None)
    }

    /// Reads the list of functions that a run-time compiler in the process keeps. Each call reads it
    /// anew if it has changed: it grows.
    ///
    /// # Errors
    /// When there is none.
    pub fn read_perf_map(&mut self, process: &Process) -> io::Result<()> {
        let version = process.perf_map_version()?;
        let known = self.perf_maps.get(&process.pid());
        if known.is_some_and(|(known, _)| *known == version) {
            return Ok(());
        }
        let map = process.perf_map()?;
        if self.perf_maps.len() >= self.options.open_files {
            self.perf_maps.clear();
        }
        self.perf_maps.insert(process.pid(), (version, map));
        Ok(())
    }

    /// Reads the kernel's symbols anew: for when modules were loaded.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read_kernel(&mut self) -> io::Result<()> {
        self.kernel = Some(KernelSymbols::read()?);
        Ok(())
    }

    /// The functions at a place, the innermost first: those inlined there, if lines are wanted, and
    /// the one that they were inlined into. There is always at least one.
    ///
    /// # Errors
    /// Why there is no name.
    pub fn name(&mut self, place: Place) -> Result<Arc<[Frame]>, Unknown> {
        match place {
            Place::File { file, address } => self.name_at(file, address),
            Place::Generated { pid, address } => {
                let (_, map) = self.perf_maps.get(&pid).ok_or(Unknown::NoFile)?;
                let (name, _) = map.at(address).ok_or(Unknown::NoSymbol)?;
                Ok(Arc::from([Frame { function: name.into(), line: None, inlined: false }]))
            }
        }
    }

    /// The function of the kernel at an address, with its module: `btrfs_sync_file [btrfs]`. Reads
    /// the kernel's symbols at first use.
    ///
    /// # Errors
    /// Why there is no name.
    pub fn name_in_kernel(&mut self, address: u64) -> Result<Arc<[Frame]>, Unknown> {
        let function = self.kernel_function(address)?;
        let name = match function.module {
            Some(module) => format!("{} [{module}]", function.name),
            None => function.name.to_owned(),
        };
        Ok(Arc::from([Frame { function: name.into(), line: None, inlined: false }]))
    }

    /// The same, with the module apart.
    ///
    /// # Errors
    /// Why there is no name.
    pub fn kernel_function(&mut self, address: u64) -> Result<KernelFunction<'_>, Unknown> {
        if self.kernel.is_none() {
            self.read_kernel().map_err(|_| Unknown::Unreadable)?;
        }
        let kernel = self.kernel.as_ref().filter(|kernel| !kernel.is_empty());
        kernel.ok_or(Unknown::KernelHidden)?.at(address).ok_or(Unknown::NoSymbol)
    }

    /// The path of a file, as the process saw it that had it mapped first.
    #[must_use]
    pub fn path(&self, file: FileId) -> Option<&Path> {
        self.files.get(&file).map(|open| open.path.as_path())
    }

    /// The build id of a file that has one.
    #[must_use]
    pub fn build_id(&self, file: FileId) -> Option<&BuildId> {
        self.files.get(&file)?.elf.build_id()
    }

    /// The file itself.
    #[must_use]
    pub fn elf(&self, file: FileId) -> Option<&ElfFile> {
        self.files.get(&file).map(|open| &open.elf)
    }

    /// About how many bytes of symbols and debug information are kept.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.files.values().map(|open| open.memory).sum()
    }

    /// The functions at an address as the file counts. See [`Symbolizer::name`].
    ///
    /// # Errors
    /// Why there is no name.
    pub fn name_at(&mut self, file: FileId, address: u64) -> Result<Arc<[Frame]>, Unknown> {
        self.clock += 1;
        let open = self.files.get_mut(&file).ok_or(Unknown::Forgotten)?;
        open.used = self.clock;
        let first = open.names.is_none();
        let names = open.names.get_or_insert_with(|| {
            let mut roots = vec![open.root.clone()];
            roots.extend(self.options.debug_roots.iter().cloned());
            roots.push(PathBuf::from("/"));
            Names::read(&open.elf, &open.path, &roots)
        });
        let names = names.as_mut().map_err(|unknown| *unknown)?;
        let lines = self.options.lines.then_some(self.options.debug_information);
        let frames = names.at(&open.elf, address, lines);
        // To count is not free; what is read at first is nearly all there will be.
        if first || self.clock.is_multiple_of(1024) || (lines.is_some() && open.memory == 0) {
            open.memory = names.memory();
            self.make_room(file);
        }
        frames
    }

    fn open_mapping(
        &mut self,
        process: &Process,
        mapping: &Mapping,
        key: &(Box<str>, u64),
    ) -> Result<ElfFile, Unknown> {
        /// How many useless files are remembered.
        const MOST: usize = 4096;
        if let Some(reason) = self.useless.get(key) {
            return Err(*reason);
        }
        process.open(mapping).inspect_err(|reason| {
            if matches!(reason, Unknown::Damaged | Unknown::TooLarge) {
                if self.useless.len() >= MOST {
                    self.useless.clear();
                }
                self.useless.insert(key.clone(), *reason);
            }
        })
    }

    /// Takes in a file, unless its like is known.
    fn add(
        &mut self,
        elf: ElfFile,
        path: &Path,
        root: PathBuf,
        key: Option<(Box<str>, u64)>,
    ) -> FileId {
        self.clock += 1;
        // Files with the same build id have the same code; the length tells a debug file apart.
        let build = elf.build_id().cloned().map(|id| (id, elf.input.length()));
        let known = build.as_ref().and_then(|build| self.by_build_id.get(build)).copied();
        let id = known.unwrap_or_else(|| {
            self.make_room_for_file();
            let id = FileId(self.next);
            self.next = self.next.wrapping_add(1);
            id
        });
        self.by_build_id.extend(build.map(|build| (build, id)));
        self.by_inode.extend(key.clone().map(|key| (key, id)));
        let (path, used) = (path.to_owned(), self.clock);
        let open = self.files.entry(id).or_insert_with(|| OpenFile {
            elf,
            path,
            root,
            keys: Vec::new(),
            names: None,
            memory: 0,
            used,
        });
        open.keys.extend(key);
        id
    }

    /// Gives up the file that was not used for longest, if there are too many.
    fn make_room_for_file(&mut self) {
        while self.files.len() >= self.options.open_files.max(1) {
            let oldest = self.files.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id);
            let Some(open) = oldest.and_then(|oldest| self.files.remove(&oldest)) else { return };
            for key in open.keys {
                self.by_inode.remove(&key);
            }
            if let Some(id) = open.elf.build_id() {
                self.by_build_id.remove(&(id.clone(), open.elf.input.length()));
            }
        }
    }

    /// Forgets the names that were not used for longest, if they take too much memory.
    fn make_room(&mut self, but: FileId) {
        while self.memory() > self.options.memory {
            let others = self.files.iter_mut().filter(|(id, open)| **id != but && open.memory > 0);
            let Some((_, oldest)) = others.min_by_key(|(_, open)| open.used) else { return };
            (oldest.names, oldest.memory) = (None, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Symbolizer;

    #[test]
    fn it_can_be_given_to_another_thread() {
        fn sends<T: Send>(_: &T) {}
        sends(&Symbolizer::new(super::SymbolizerOptions::default()));
    }
}
