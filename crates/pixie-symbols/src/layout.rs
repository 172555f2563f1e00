/// How the numbers in a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) big_endian: bool,
    /// The size of an address in bytes: 4 or 8.
    pub(crate) pointer: u8,
}

impl Layout {
    pub(crate) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = take(bytes, at)?;
        Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    pub(crate) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = take(bytes, at)?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub(crate) fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = take(bytes, at)?;
        Some(if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// An address, or a number of its size.
    pub(crate) fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        match self.pointer {
            4 => self.u32(bytes, at).map(u64::from),
            _ => self.u64(bytes, at),
        }
    }

    /// Writes an address; false when it is beyond the end.
    pub(crate) fn put_word(self, bytes: &mut [u8], at: usize, value: u64) -> bool {
        let size = usize::from(self.pointer);
        let place = at.checked_add(size).and_then(|end| bytes.get_mut(at..end));
        let Some(place) = place else { return false };
        let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
        let value = match self.big_endian {
            true => big.get(8 - size..),
            false => little.get(..size),
        };
        place.copy_from_slice(value.unwrap_or_default());
        true
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
