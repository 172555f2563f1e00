//! Memory for what is read of files, and soon dropped.

use memmap2::MmapMut;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

/// What is larger, in bytes, has memory of its own.
const LARGE: usize = 64 << 10;

/// Bytes of a file that are read, looked at, and dropped.
///
/// What is large does not come from the allocator, which may keep for itself what was freed: glibc's does
/// once it was given something as large. Dropped, it is the system's again at once.
pub struct Contents(Memory);

enum Memory {
    Small(Vec<u8>),
    /// Anonymous memory: no file is mapped.
    Large(MmapMut),
}

impl Contents {
    /// So many zeros.
    pub(crate) fn zeroed(size: usize) -> io::Result<Self> {
        Ok(Self(match size {
            0..LARGE => Memory::Small(vec![0; size]),
            _ => Memory::Large(MmapMut::map_anon(size)?),
        }))
    }
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Small(bytes) => bytes,
            Memory::Large(bytes) => bytes,
        }
    }
}

impl DerefMut for Contents {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Small(bytes) => bytes,
            Memory::Large(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Contents {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contents").field("length", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_or_large_it_holds_what_is_written() {
        for size in [0, 1, LARGE - 1, LARGE, LARGE + 1] {
            let mut contents = Contents::zeroed(size).unwrap();
            assert_eq!(contents.len(), size);
            assert!(contents.iter().all(|byte| *byte == 0));
            if let Some(last) = contents.last_mut() {
                *last = 7;
                assert_eq!(contents.last(), Some(&7), "{size}");
            }
        }
    }
}
