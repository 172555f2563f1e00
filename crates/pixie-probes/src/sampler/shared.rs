//! Arrays that the kernel's programs and user space share (`BPF_F_MMAPABLE`).

use crate::ring::page_size;
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// An array map, mapped. Its elements are what programs read at the same time: an element that they
/// may look at is changed only where they can do with either value of each of its words.
pub(crate) struct SharedArray<T> {
    map: MmapRaw,
    length: usize,
    _element: PhantomData<T>,
}

#[expect(
    clippy::cast_ptr_alignment,
    reason = "the mapping is aligned to pages, and elements to what they are made of"
)]
impl<T: aya::Pod> SharedArray<T> {
    /// Maps an array of `length` elements, each of which takes a multiple of 8 bytes.
    pub(crate) fn new(map: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let bytes = length * size_of::<T>();
        let bytes = bytes.next_multiple_of(page_size());
        let map = MmapOptions::new().len(bytes).map_raw(map.as_raw_fd())?;
        Ok(Self { map, length, _element: PhantomData })
    }

    /// Writes elements from `index` on; false when they would not lie within the array.
    #[must_use]
    pub(crate) fn write(&mut self, index: usize, elements: &[T]) -> bool {
        let Some(end) = index.checked_add(elements.len()) else { return false };
        if end > self.length {
            return false;
        }
        // SAFETY: the range lies within the mapping, which is aligned to pages; elements are plain,
        // and the source is not part of the mapping.
        unsafe {
            let to = self.map.as_mut_ptr().cast::<T>().add(index);
            std::ptr::copy_nonoverlapping(elements.as_ptr(), to, elements.len());
        }
        // What refers to them is written afterwards.
        std::sync::atomic::fence(Ordering::Release);
        true
    }

    /// The 32-bit word with this number, counted over the whole array.
    pub(crate) fn word(&self, index: usize) -> Option<&AtomicU32> {
        if (index + 1) * 4 > self.length * size_of::<T>() {
            return None;
        }
        // SAFETY: the word lies within the mapping, is aligned, and both sides change it atomically.
        Some(unsafe { &*self.map.as_ptr().cast::<AtomicU32>().add(index) })
    }
}
