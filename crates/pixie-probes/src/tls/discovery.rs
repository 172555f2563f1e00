//! Which files processes have mapped to execute them.

use super::target::Found;
use pixie_core::id::Pid;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What has changed.
#[derive(Debug)]
pub(super) enum Change {
    /// A process has mapped a file.
    Found(Found),
    /// A process has ended.
    Ended(Pid),
}

/// Looks at all processes, again and again.
#[derive(Default)]
pub(super) struct Discovery {
    known: HashMap<Pid, HashSet<(u64, u64)>>,
}

impl Discovery {
    pub(super) fn poll(&mut self, changes: &mut Vec<Change>) {
        let Ok(processes) = fs::read_dir("/proc") else { return };
        let running: HashSet<Pid> = processes
            .filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok().map(Pid))
            .collect();
        self.known.retain(|pid, _| {
            let runs = running.contains(pid);
            if !runs {
                changes.push(Change::Ended(*pid));
            }
            runs
        });
        for pid in running {
            let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { continue };
            let known = self.known.entry(pid).or_default();
            for found in maps.split(|byte| *byte == b'\n').filter_map(|line| mapping(pid, line)) {
                if known.insert((found.device, found.inode)) {
                    changes.push(Change::Found(found));
                }
            }
        }
    }
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
