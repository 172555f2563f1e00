//! Which files processes have mapped to execute them.

use super::target::{Found, Key};
use crate::mappings::{MappedFile, Mappings, Notice};
use pixie_core::id::Pid;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// What has changed.
#[derive(Debug)]
pub(super) enum Change {
    /// A process has mapped a file.
    Found(Found),
    /// A process has ended.
    Ended(Pid),
}

/// How often it is looked which processes have ended.
const INTERVAL: Duration = Duration::from_secs(1);

/// Knows what all processes have mapped. Perf tells which ones to look at; where it does not, and at
/// first, all are looked at.
pub(super) struct Discovery {
    known: HashMap<Pid, HashSet<Key>>,
    mappings: Option<Mappings>,
    /// When it was last looked which processes have ended.
    looked: Option<Instant>,
}

impl Discovery {
    pub(super) fn new() -> Self {
        // What lets programs on functions of user space be attached is all that perf wants, too. Where
        // there are not as many descriptors as CPUs, it is gone without.
        Self { known: HashMap::new(), mappings: Mappings::listen().ok(), looked: None }
    }

    /// Waits until there may be something new, for at most so long.
    pub(super) fn wait(&self, time: Duration) {
        match &self.mappings {
            Some(mappings) => mappings.wait(time),
            None => thread::sleep(time),
        }
    }

    /// Says what has changed since the last time.
    pub(super) fn poll(&mut self, changes: &mut Vec<Change>) {
        let now = Instant::now();
        let first = self.looked.is_none();
        if self.looked.is_none_or(|looked| now - looked >= INTERVAL) {
            self.looked = Some(now);
            self.forget_ended(changes);
        }
        let mut lost = false;
        let mut told: BTreeMap<Pid, Vec<MappedFile>> = BTreeMap::new();
        let Self { mappings, known, .. } = self;
        if let Some(mappings) = mappings {
            mappings.take(|notice| match notice {
                Notice::Mapped(pid, file) => told.entry(pid).or_default().push(file),
                Notice::Executed(pid) | Notice::Forked(pid) => {
                    // What is known of this pid is another program's, or another process's.
                    if known.remove(&pid).is_some() {
                        changes.push(Change::Ended(pid));
                    }
                    told.entry(pid).or_default();
                }
                Notice::Lost => lost = true,
            });
        }
        if first || lost || self.mappings.is_none() {
            for pid in running() {
                self.look_at(pid, changes);
            }
        }
        for (pid, files) in told {
            if !self.look_at(pid, changes) {
                has_been(pid, files, changes);
            }
        }
    }

    fn forget_ended(&mut self, changes: &mut Vec<Change>) {
        let running = running();
        self.known.retain(|pid, _| {
            let runs = running.contains(pid);
            if !runs {
                changes.push(Change::Ended(*pid));
            }
            runs
        });
    }

    /// Looks at what a process has mapped; false if it has ended.
    fn look_at(&mut self, pid: Pid, changes: &mut Vec<Change>) -> bool {
        let files = executable_files(pid);
        if files.is_empty() {
            return false;
        }
        let known = self.known.entry(pid).or_default();
        let new = files.into_iter().filter(|found| known.insert(found.key()));
        changes.extend(new.map(Change::Found));
        true
    }
}

/// A process that has ended before it could be looked at. The next that runs the same program may be
/// as quick, so its files are looked for, under their names.
fn has_been(pid: Pid, files: Vec<MappedFile>, changes: &mut Vec<Change>) {
    if files.is_empty() {
        return;
    }
    changes.extend(files.into_iter().map(|MappedFile { path, device, inode }| {
        Change::Found(Found { pid, name: path.clone(), path, device, inode })
    }));
    changes.push(Change::Ended(pid));
}

/// The files that a process has mapped to execute them, now; none if it has ended. A file that is
/// mapped in several parts can be among them more than once.
pub(super) fn executable_files(pid: Pid) -> Vec<Found> {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.split(|byte| *byte == b'\n').filter_map(|line| mapping(pid, line)).collect()
}

/// The processes that run.
fn running() -> HashSet<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid)).collect()
}

/// `7f00-7f10 r-xp 00001000 fd:00 1234     /usr/lib/libssl.so.3`
fn mapping(pid: Pid, line: &[u8]) -> Option<Found> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.splitn(6, ' ');
    let (range, permissions) = (fields.next()?, fields.next()?);
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let device = fields.nth(1)?;
    let inode: u64 = fields.next()?.parse().ok()?;
    let name = fields.next()?.trim_start();
    if inode == 0 || !name.starts_with('/') {
        return None;
    }
    let (major, minor) = device.split_once(':')?;
    let device =
        libc::makedev(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    // Low addresses, of programs that are not position independent, have zeros in front in `maps`
    // alone.
    let (start, end) = range.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let path = PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"));
    Some(Found {
        pid,
        path,
        name: Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())).into(),
        device,
        inode,
    })
}
