//! The consumer's side of the kernel's ring buffers (`kernel/bpf/ringbuf.c`).
//!
//! Unlike a reader that takes one record at a time, this one can look at the next record of several
//! rings without consuming any, which is how they are merged by time.

use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// `BPF_RINGBUF_BUSY_BIT`: the record is still being written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: the record was given up.
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEADER: u64 = 8;
/// Free room is given back to the kernel when this share of the ring has been consumed.
const COMMIT_SHARE: u64 = 8;

/// One ring, mapped: a page with the consumer's position, a page with the producer's, and the data
/// twice in a row, so that a record that wraps around is still in one piece.
pub(crate) struct Ring {
    consumer: MmapRaw,
    /// The producer's page, and the data behind it.
    producer: MmapRaw,
    page: usize,
    bytes: u64,
    /// What has been looked at; ahead of what the kernel knows of.
    position: u64,
    committed: u64,
    _map: OwnedFd,
}

#[expect(
    clippy::cast_ptr_alignment,
    reason = "pages begin with the kernel's own words, and records are aligned to 8 bytes"
)]
impl Ring {
    /// Maps the ring buffer `map`, which has room for `bytes`.
    pub(crate) fn new(map: OwnedFd, bytes: u32) -> io::Result<Self> {
        let page = page_size();
        let consumer = MmapOptions::new().len(page).map_raw(&map)?;
        let producer = MmapOptions::new()
            .offset(page as u64)
            .len(page + 2 * bytes as usize)
            .map_raw_read_only(&map)?;
        Ok(Self {
            consumer,
            producer,
            page,
            bytes: u64::from(bytes),
            position: 0,
            committed: 0,
            _map: map,
        })
    }

    /// The first byte of the data.
    fn data(&self) -> *const u8 {
        // SAFETY: the data follow the producer's page within the same mapping.
        unsafe { self.producer.as_ptr().add(self.page) }
    }

    /// The next record, if there is one that is complete. It stays there until [`Ring::advance`].
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<&[u8]> {
        loop {
            // SAFETY: the page begins with this word, is mapped for as long as `self` lives, and is
            // only atomically written.
            let produced =
                unsafe { &*self.producer.as_ptr().cast::<AtomicU64>() }.load(Ordering::Acquire);
            if self.position >= produced {
                return None;
            }
            let (length, discarded) = self.header()?;
            if discarded {
                self.advance_by(length);
                continue;
            }
            let start = (self.position % self.bytes + HEADER) as usize;
            // SAFETY: the kernel has completed this record (its busy bit is clear, read with
            // acquire), and does not write there again before we give the room back, which needs
            // `&mut self`. A record is at most as long as the ring, and the ring is mapped twice.
            return Some(unsafe {
                std::slice::from_raw_parts(self.data().add(start), length as usize)
            });
        }
    }

    /// Steps over the record that [`Ring::peek`] showed.
    #[inline]
    pub(crate) fn advance(&mut self) {
        if let Some((length, _)) = self.header() {
            self.advance_by(length);
        }
    }

    /// Gives the room of what was stepped over back to the kernel.
    pub(crate) fn commit(&mut self) {
        self.committed = self.position;
        // SAFETY: the page begins with this word, is mapped for as long as `self` lives, and is only
        // atomically accessed.
        unsafe { &*self.consumer.as_ptr().cast::<AtomicU64>() }
            .store(self.position, Ordering::Release);
    }

    /// Length and discard bit of the record at our position; `None` while it is being written.
    fn header(&self) -> Option<(u32, bool)> {
        let offset = (self.position % self.bytes) as usize;
        // SAFETY: the kernel aligns records to 8 bytes, and the position is that of one. The first
        // word is only atomically written.
        let word = unsafe { &*self.data().add(offset).cast::<AtomicU32>() };
        let word = word.load(Ordering::Acquire);
        let length = word & !(BUSY | DISCARD);
        (word & BUSY == 0 && u64::from(length) <= self.bytes)
            .then_some((length, word & DISCARD != 0))
    }

    fn advance_by(&mut self, length: u32) {
        self.position += (u64::from(length) + HEADER).next_multiple_of(8);
        if self.position - self.committed > self.bytes / COMMIT_SHARE {
            self.commit();
        }
    }
}

/// The size of a page in bytes.
pub(crate) fn page_size() -> usize {
    // SAFETY: it has no arguments that could be wrong.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
