//! What processes map to execute it, as perf tells at once: records of `PERF_RECORD_MMAP2` and a few
//! others, from one ring a CPU (`man 2 perf_event_open`, `include/uapi/linux/perf_event.h`).

use crate::per_cpu::PerCpu;
use crate::ring::page_size;
use crate::sys::{
    PERF_FORMAT_TOTAL_TIME_ENABLED, PERF_TYPE_SOFTWARE, PerfEvent, open_perf_event, wait_readable,
};
use memmap2::{MmapOptions, MmapRaw};
use pixie_core::id::Pid;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Pages of a ring: room for about a hundred executions that nobody has looked at yet.
const PAGES: usize = 32;

/// What has happened. Pids are those of our pid namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A process has mapped a file to execute it.
    Mapped(Pid, MappedFile),
    /// A process runs another program now.
    Executed(Pid),
    /// A process has come to be, with all that its parent had mapped.
    Forked(Pid),
    /// Some were lost, or have happened on a CPU that has come or gone.
    Lost,
}

/// A file that is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappedFile {
    /// Its path, as the process sees it.
    pub(crate) path: PathBuf,
    /// Its device, as `st_dev` of `stat(2)`, in most file systems.
    pub(crate) device: u64,
    /// Its inode number.
    pub(crate) inode: u64,
}

/// One ring a CPU that is online.
pub(crate) struct Mappings {
    rings: PerCpu<Ring>,
    bytes: Vec<u8>,
}

impl Mappings {
    /// Begins to listen. Needs `CAP_PERFMON`.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { rings: PerCpu::open(Ring::open)?, bytes: Vec::new() })
    }

    /// Waits until something has happened, for at most so long.
    pub(crate) fn wait(&self, time: Duration) {
        let rings: Vec<_> = self.descriptors().collect();
        // When it is interrupted, that is as good as the time being up.
        let _ = wait_readable(&rings, time);
    }

    /// What becomes readable when something has happened.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(Ring::as_fd)
    }

    /// Hands over what has happened, in order for as long as a process stayed on one CPU.
    pub(crate) fn take(&mut self, mut handler: impl FnMut(Notice)) {
        for ring in self.rings.iter() {
            self.bytes.clear();
            ring.take(&mut self.bytes);
            notices(&self.bytes, &mut handler);
        }
        if self.rings.follow(Ring::open) {
            handler(Notice::Lost);
        }
    }
}

const PERF_COUNT_SW_DUMMY: u64 = 9;
/// Bits of `struct perf_event_attr`.
const MMAP: u64 = 1 << 8;
const COMM: u64 = 1 << 9;
const TASK: u64 = 1 << 13;
const WATERMARK: u64 = 1 << 14;
const MMAP2: u64 = 1 << 23;
const COMM_EXEC: u64 = 1 << 24;
/// Places in `struct perf_event_mmap_page`.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// An event that counts nothing, and its ring: a page of the kernel's, and the data.
struct Ring {
    event: OwnedFd,
    map: MmapRaw,
    page: usize,
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[expect(clippy::cast_ptr_alignment, reason = "the words are aligned within their page")]
impl Ring {
    fn open(cpu: u32) -> io::Result<Self> {
        let attributes = PerfEvent {
            kind: PERF_TYPE_SOFTWARE,
            config: PERF_COUNT_SW_DUMMY,
            read_format: PERF_FORMAT_TOTAL_TIME_ENABLED,
            flags: MMAP | MMAP2 | COMM | COMM_EXEC | TASK | WATERMARK,
            wakeup_events: 1,
            ..PerfEvent::default()
        };
        let event = open_perf_event(attributes, cpu)?;
        let page = page_size();
        // Writable, or the kernel would not wait for us to have read what it overwrites.
        let map = MmapOptions::new().len((1 + PAGES) * page).map_raw(&event)?;
        Ok(Self { event, map, page })
    }

    /// One of the two positions, which both sides know.
    fn position(&self, place: usize) -> &AtomicU64 {
        // SAFETY: the mapping begins with the kernel's page, which has an aligned word here, and lives
        // as long as `self`. Both sides access it only atomically.
        unsafe { &*self.map.as_ptr().add(place).cast::<AtomicU64>() }
    }

    /// Appends all that there is, and gives the room back.
    fn take(&self, bytes: &mut Vec<u8>) {
        let size = PAGES * self.page;
        let head = self.position(DATA_HEAD).load(Ordering::Acquire);
        let tail = self.position(DATA_TAIL).load(Ordering::Relaxed);
        let length = usize::try_from(head.wrapping_sub(tail)).map_or(0, |length| length.min(size));
        let start = (tail % size as u64) as usize;
        let first = length.min(size - start);
        for (from, length) in [(start, first), (0, length - first)] {
            // SAFETY: these bytes are within the data, which follow the kernel's page. They lie between
            // tail and head, where the kernel has written (read with acquire) and does not write again
            // before we move the tail.
            bytes.extend_from_slice(unsafe {
                std::slice::from_raw_parts(self.map.as_ptr().add(self.page + from), length)
            });
        }
        self.position(DATA_TAIL).store(head, Ordering::Release);
    }
}

const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
/// `PERF_RECORD_MISC_COMM_EXEC`.
const MISC_COMM_EXEC: u16 = 1 << 13;
const HEADER: usize = 8;

/// Reads records, one after the other.
fn notices(mut bytes: &[u8], handler: &mut impl FnMut(Notice)) {
    while let (Some(kind), Some(misc), Some(size)) =
        (number(bytes, 0), half(bytes, 4), half(bytes, 6))
    {
        let Some(record) = bytes.get(HEADER..usize::from(size)) else { return };
        bytes = bytes.get(usize::from(size)..).unwrap_or_default();
        if let Some(notice) = notice(kind, misc, record) {
            handler(notice);
        }
    }
}

fn notice(kind: u32, misc: u16, record: &[u8]) -> Option<Notice> {
    // Processes that our namespace does not know have the pid 0.
    let pid = |at| number(record, at).filter(|pid| *pid != 0 && *pid != u32::MAX).map(Pid);
    match kind {
        RECORD_LOST => Some(Notice::Lost),
        RECORD_COMM if misc & MISC_COMM_EXEC != 0 => Some(Notice::Executed(pid(0)?)),
        // Not a thread of the same process.
        RECORD_FORK if number(record, 0) != number(record, 4) => Some(Notice::Forked(pid(0)?)),
        RECORD_MMAP2 => Some(Notice::Mapped(pid(0)?, mapped(record)?)),
        _ => None,
    }
}

/// What is mapped, unless it is not a file: `//anon`, `[vdso]`.
fn mapped(record: &[u8]) -> Option<MappedFile> {
    let (major, minor) = (number(record, 32)?, number(record, 36)?);
    let inode = u64::from(number(record, 40)?) | u64::from(number(record, 44)?) << 32;
    let name = record.get(64..)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = name.get(..end)?;
    let is_file = inode != 0 && name.starts_with(b"/") && !name.starts_with(b"//");
    is_file.then(|| MappedFile {
        path: PathBuf::from(OsStr::from_bytes(name)),
        device: libc::makedev(major, minor),
        inode,
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, misc: u16, content: &[u8]) -> Vec<u8> {
        let size = (HEADER + content.len()) as u16;
        [&kind.to_ne_bytes()[..], &misc.to_ne_bytes(), &size.to_ne_bytes(), content].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn all(bytes: &[u8]) -> Vec<Notice> {
        let mut all = Vec::new();
        notices(bytes, &mut |notice| all.push(notice));
        all
    }

    fn mmap2(pid: u32, inode: u32, name: &[u8]) -> Vec<u8> {
        let fixed = [pid, pid, 0, 0, 0, 0, 0, 0, 8, 1, inode, 0, 0, 0, 5, 2];
        record(RECORD_MMAP2, 2, &[&words(&fixed)[..], name, &[0; 8]].concat())
    }

    #[test]
    fn records_are_told_apart() {
        let bytes = [
            mmap2(7, 99, b"/lib/libssl.so.3"),
            mmap2(7, 0, b"//anon"),
            mmap2(0, 99, b"/elsewhere"),
            record(RECORD_COMM, MISC_COMM_EXEC, &words(&[8, 8, 0, 0])),
            record(RECORD_COMM, 0, &words(&[8, 8, 0, 0])),
            record(RECORD_FORK, 0, &words(&[9, 8, 9, 8, 0, 0])),
            record(RECORD_FORK, 0, &words(&[8, 8, 10, 8, 0, 0])),
            record(RECORD_LOST, 0, &words(&[0, 0, 1, 0])),
        ];
        let device = libc::makedev(8, 1);
        let file = MappedFile { path: "/lib/libssl.so.3".into(), device, inode: 99 };
        assert_eq!(
            all(&bytes.concat()),
            [
                Notice::Mapped(Pid(7), file),
                Notice::Executed(Pid(8)),
                Notice::Forked(Pid(9)),
                Notice::Lost
            ]
        );
    }

    #[test]
    fn what_is_cut_short_ends_it() {
        let whole = mmap2(7, 99, b"/lib/libssl.so.3");
        for length in 0..whole.len() {
            assert_eq!(all(&whole[..length]), [], "{length} bytes");
        }
        assert_eq!(all(&record(RECORD_MMAP2, 0, &[])), []);
        // A size that is less than a header does not lead anywhere.
        assert_eq!(all(&[1; 64]), []);
        assert_eq!(all(&[0; 64]), []);
    }
}
