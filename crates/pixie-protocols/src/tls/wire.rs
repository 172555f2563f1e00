//! Numbers and vectors as TLS writes them (RFC 8446, section 3).

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Option<usize> {
        let bytes: [u8; 3] = self.take(3)?.try_into().ok()?;
        let [high, middle, low] = bytes;
        u32::from_be_bytes([0, high, middle, low]).try_into().ok()
    }

    /// A vector after its length in one byte.
    pub(super) fn vector8(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.take(length.into()).map(Self)
    }

    /// A vector after its length in two bytes.
    pub(super) fn vector16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(length.into()).map(Self)
    }

    /// All numbers of two bytes.
    pub(super) fn numbers(self) -> Vec<u16> {
        let (numbers, _) = self.0.as_chunks::<2>();
        numbers.iter().map(|bytes| u16::from_be_bytes(*bytes)).collect()
    }
}

/// Values that stand for nothing, so that others learn to bear what they do not know (RFC 8701).
pub(super) fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}
