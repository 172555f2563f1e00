//! Processes: what they have mapped, and the files behind it.

mod maps;

pub use maps::Mapping;

use crate::ElfFile;
use crate::input::Input;
use crate::perf_map::PerfMap;
use crate::symbolizer::Unknown;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The largest vDSO that is read, in bytes; real ones have 8 KiB.
const MAX_VDSO: u64 = 1 << 18;
/// The largest map of a run-time compiler that is read, in bytes.
const MAX_PERF_MAP: u64 = 1 << 30;

/// The inode, the length, and the time of the last change of a run-time compiler's map.
pub(crate) type PerfMapVersion = (u64, u64, i64, i64);

/// The code that a process has mapped, as it was when it was looked at.
///
/// Mappings stay known when the process has ended. Files that were not opened before
/// ([`Symbolizer::locate`](crate::Symbolizer::locate) opens them) are then out of reach.
#[derive(Clone, Debug)]
pub struct Process {
    pid: u32,
    mappings: Vec<Mapping>,
}

impl Process {
    /// Looks at the process with this id in our pid namespace.
    ///
    /// # Errors
    /// When there is none, or we may not look at it.
    pub fn new(pid: u32) -> io::Result<Self> {
        let mut process = Self { pid, mappings: Vec::new() };
        process.refresh()?;
        Ok(process)
    }

    /// Looks again: for when an address is in none of the mappings, which change as libraries are
    /// loaded.
    ///
    /// # Errors
    /// When the process has ended; the mappings stay as they were.
    pub fn refresh(&mut self) -> io::Result<()> {
        let mappings = maps::parse(BufReader::new(File::open(self.folder("maps"))?))?;
        // A process that is ending has none.
        if mappings.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has nothing mapped"));
        }
        self.mappings = mappings;
        Ok(())
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has mapped that holds code, in the order of addresses.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// The mapping that an address is in.
    #[must_use]
    pub fn mapping(&self, address: u64) -> Option<&Mapping> {
        let after = self.mappings.partition_point(|mapping| mapping.start <= address);
        self.mappings.get(..after)?.last().filter(|mapping| address < mapping.end)
    }

    /// The root folder of its file system, through which its files can be reached.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder("root")
    }

    /// Opens the file of a mapping: by `map_files`, which leads to the very file that is mapped,
    /// deleted or not, or else by its path in the process's own file system. The vDSO is read from
    /// the process's memory.
    ///
    /// # Errors
    /// Why it cannot be used; [`Unknown::NoFile`] for memory that is of no file.
    pub fn open(&self, mapping: &Mapping) -> Result<ElfFile, Unknown> {
        if &*mapping.path == Path::new("[vdso]") {
            return self.vdso(mapping);
        }
        let (start, end) = (mapping.start, mapping.end);
        let input = Input::open(&self.folder(&format!("map_files/{start:x}-{end:x}")));
        let input = match input {
            Ok(input) => input,
            Err(_) => self.open_by_path(mapping)?,
        };
        ElfFile::parse(&input).map_err(|error| Unknown::of_file(&error))
    }

    fn open_by_path(&self, mapping: &Mapping) -> Result<Input, Unknown> {
        let Ok(inside) = mapping.path.strip_prefix("/") else { return Err(Unknown::NoFile) };
        let input = Input::open(&self.root().join(inside)).map_err(|_| Unknown::Unreadable)?;
        // Another file may have taken the place, and links lead out of a container.
        let same = input.as_file().and_then(|file| file.metadata().ok());
        match same.is_some_and(|metadata| metadata.ino() == mapping.inode && !mapping.deleted) {
            true => Ok(input),
            false => Err(Unknown::Replaced),
        }
    }

    /// The library that the kernel maps into every process is in no file.
    fn vdso(&self, mapping: &Mapping) -> Result<ElfFile, Unknown> {
        let size = mapping.end.saturating_sub(mapping.start).min(MAX_VDSO);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let memory = File::open(self.folder("mem")).map_err(|_| Unknown::Unreadable)?;
        memory.read_exact_at(&mut bytes, mapping.start).map_err(|_| Unknown::Unreadable)?;
        ElfFile::from_bytes(&bytes).map_err(|error| Unknown::of_file(&error))
    }

    /// The functions that a run-time compiler in the process made, as it wrote them down.
    ///
    /// # Errors
    /// When it wrote none, they cannot be read, or another user wrote them.
    pub fn perf_map(&self) -> io::Result<PerfMap> {
        let input = Input::open(&self.perf_map_path()?)?;
        // Everybody may write there: it must be of the process's user, or of root.
        let owner = input.as_file().map(|file| file.metadata().map(|metadata| metadata.uid()));
        let user = fs::metadata(self.folder(""))?.uid();
        if !matches!(owner, Some(Ok(owner)) if owner == 0 || owner == user) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
        }
        PerfMap::parse(BufReader::new(io::Read::take(input.reader(), MAX_PERF_MAP)))
    }

    /// By what to know that the map has changed.
    pub(crate) fn perf_map_version(&self) -> io::Result<PerfMapVersion> {
        let metadata = fs::metadata(self.perf_map_path()?)?;
        Ok((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }

    fn perf_map_path(&self) -> io::Result<PathBuf> {
        Ok(self.root().join(format!("tmp/perf-{}.map", self.own_pid()?)))
    }

    /// The process's id as it sees it itself: the last of `NSpid`.
    fn own_pid(&self) -> io::Result<u32> {
        let status = fs::read_to_string(self.folder("status"))?;
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let last = ids.and_then(|ids| ids.split_ascii_whitespace().last()?.parse().ok());
        Ok(last.unwrap_or(self.pid))
    }

    fn folder(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }
}
