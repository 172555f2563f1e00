//! What a command was called with, packed.

use crate::record::heap::heap;
use crate::sinks::REDACTED;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// The arguments of a command, as sent; of long ones the start, and of many the first.
///
/// They are kept as one piece of memory.
///
/// ```
/// use pixie_core::record::RedisArgumentsBuilder;
///
/// let mut builder = RedisArgumentsBuilder::default();
/// builder.push(b"key", 3);
/// builder.push(b"the start of", 1000);
/// let arguments = builder.build(2, 1003);
/// assert_eq!(arguments.get(0).map(|argument| argument.bytes), Some(&b"key"[..]));
/// assert_eq!(arguments.get(1).map(|argument| argument.size), Some(1000));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisArguments {
    /// For each argument that is kept: how many bytes are kept, how many there were, the bytes.
    packed: Bytes,
    count: u64,
    size: u64,
}

/// One argument of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisArgument<'a> {
    /// The bytes that were kept: its start.
    pub bytes: &'a [u8],
    /// Its true size in bytes.
    pub size: u64,
}

impl RedisArguments {
    /// How many there were, also those that were not kept.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many bytes they had in all, also those that were not kept.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Those that were kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = RedisArgument<'_>> {
        let mut rest: &[u8] = &self.packed;
        std::iter::from_fn(move || {
            let (kept, after) = rest.split_first_chunk()?;
            let (size, after) = after.split_first_chunk()?;
            let (bytes, after) = after.split_at_checked(u32::from_le_bytes(*kept) as usize)?;
            rest = after;
            Some(RedisArgument { bytes, size: u64::from_le_bytes(*size) })
        })
    }

    /// The one at this place, counted from 0, when it was kept.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<RedisArgument<'_>> {
        let mut arguments = self.iter();
        arguments.nth(place)
    }

    /// The same, with [`REDACTED`] where `removes` says so of an argument's place and bytes.
    #[must_use]
    pub fn redacted(&self, mut removes: impl FnMut(usize, &[u8]) -> bool) -> Self {
        let mut builder = RedisArgumentsBuilder::default();
        for (place, argument) in self.iter().enumerate() {
            match removes(place, argument.bytes) {
                true => builder.push(REDACTED.as_bytes(), argument.size),
                false => builder.push(argument.bytes, argument.size),
            }
        }
        builder.build(self.count, self.size)
    }

    /// Bytes of memory that are held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.packed.len()
    }
}

impl fmt::Debug for RedisArguments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.iter().map(|argument| argument.bytes.escape_ascii().to_string());
        formatter.debug_list().entries(texts).finish()
    }
}

/// Builds [`RedisArguments`], of several commands in the same piece of memory: small ones are worth
/// no piece each.
#[derive(Debug, Default)]
pub struct RedisArgumentsBuilder {
    packed: BytesMut,
    /// Where the last argument begins in `packed`.
    last: usize,
}

/// The least size of a piece of memory, in bytes. A record that is kept holds its piece.
const PIECE: usize = 1 << 10;

/// Bytes in front of each argument in [`RedisArguments`].
const PREFIX: usize = size_of::<u32>() + size_of::<u64>();

impl RedisArgumentsBuilder {
    /// Adds an argument of `size` bytes that begins with `kept`.
    #[inline]
    pub fn push(&mut self, kept: &[u8], size: u64) {
        let length = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        self.last = self.packed.len();
        self.make_room(PREFIX + kept.len());
        self.packed.extend_from_slice(&length.to_le_bytes());
        self.packed.extend_from_slice(&size.to_le_bytes());
        self.packed.extend_from_slice(kept.get(..length as usize).unwrap_or(kept));
    }

    /// Adds bytes to the argument that was added last.
    pub fn extend_last(&mut self, kept: &[u8]) {
        self.make_room(kept.len());
        self.packed.extend_from_slice(kept);
        let length = self.packed.len().saturating_sub(self.last + PREFIX);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(place) = self.packed.get_mut(self.last..).and_then(<[u8]>::first_chunk_mut) {
            *place = length.to_le_bytes();
        }
    }

    /// What was added, of `count` arguments with `size` bytes in all. The builder begins anew.
    #[inline]
    pub fn build(&mut self, count: u64, size: u64) -> RedisArguments {
        let packed = self.packed.split().freeze();
        self.last = 0;
        RedisArguments { packed, count, size }
    }

    /// Begins another piece of memory where there is no room for so many bytes.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        let length = self.packed.len();
        if self.packed.capacity() - length < bytes {
            let mut piece = BytesMut::with_capacity(PIECE.max(2 * (length + bytes)));
            piece.extend_from_slice(&self.packed);
            self.packed = piece;
        }
    }

    /// Forgets what was added.
    pub fn clear(&mut self) {
        self.packed.clear();
        self.last = 0;
    }

    /// Bytes of memory that are held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.packed.capacity()
    }
}

heap! {
    RedisArguments { packed }
}
