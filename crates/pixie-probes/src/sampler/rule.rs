use super::abi;

/// How to get from a function to its caller, at one instruction or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The canonical frame address: what the stack pointer was before the call.
    pub cfa: Cfa,
    /// Where the caller's frame pointer is.
    pub frame_pointer: Saved,
    /// Where the return address is.
    pub return_address: Saved,
}

/// How the canonical frame address is computed (DWARF 5, section 6.4). Registers have the numbers
/// that DWARF gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cfa {
    /// In a way that is not understood.
    Unsupported,
    /// There is no caller.
    End,
    /// Stack pointer plus this.
    StackPointer(i32),
    /// Stack pointer plus this, of a function that the caller did not call: it was interrupted, and made
    /// to seem to have called.
    Injected(i32),
    /// Frame pointer plus this.
    FramePointer(i32),
    /// Another register plus this: in the innermost frame only.
    Register(u8, i32),
    /// What lies at stack pointer plus the first, plus the second.
    AtStackPointer(i32, i32),
    /// What lies at frame pointer plus the first, plus the second.
    AtFramePointer(i32, i32),
    /// What lies at stack pointer plus 8 times a register plus the first, plus the second: in the
    /// innermost frame only.
    AtStackPointerIndexed(u8, i32, i32),
    /// Stack pointer plus the first, and 8 more from this byte of 16 on: how the stubs of a
    /// procedure linkage table push.
    Stub(i32, u8),
    /// The frame that the kernel made for a signal; the code that was interrupted is the caller.
    Signal,
    /// Frame pointer plus this, possibly on another stack.
    OtherStack(i32),
}

/// Where a register of the caller's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Saved {
    /// Where it was.
    Kept,
    /// In memory, at the canonical frame address plus this.
    AtCfa(i16),
    /// In memory, at the stack pointer plus this.
    AtStackPointer(i16),
    /// In memory, at the frame pointer plus this.
    AtFramePointer(i16),
    /// Nowhere.
    Lost,
}

impl Rule {
    /// For code whose callers cannot be found.
    pub const UNSUPPORTED: Self = Self::only(Cfa::Unsupported);
    /// For a thread's first function.
    pub const END: Self = Self::only(Cfa::End);
    /// For the return from a signal.
    pub const SIGNAL: Self = Self::only(Cfa::Signal);

    const fn only(cfa: Cfa) -> Self {
        Self { cfa, frame_pointer: Saved::Kept, return_address: Saved::AtCfa(-8) }
    }

    pub(crate) fn encode(self) -> abi::Rule {
        let (cfa, offset, second, cfa_register) = match self.cfa {
            Cfa::Unsupported => (1, 0, 0, 0),
            Cfa::End => (2, 0, 0, 0),
            Cfa::StackPointer(offset) => (3, offset, 0, 0),
            Cfa::Injected(offset) => (3, offset, 1, 0),
            Cfa::FramePointer(offset) => (4, offset, 0, 0),
            Cfa::Register(register, offset) => (5, offset, 0, register),
            Cfa::AtStackPointer(offset, second) => (6, offset, second, 0),
            Cfa::AtFramePointer(offset, second) => (7, offset, second, 0),
            Cfa::AtStackPointerIndexed(register, offset, second) => (8, offset, second, register),
            Cfa::Stub(offset, from) => (9, offset, from.into(), 0),
            Cfa::Signal => (10, 0, 0, 0),
            Cfa::OtherStack(offset) => (11, offset, 0, 0),
        };
        let (fp, fp_offset) = self.frame_pointer.encode();
        let (ra, ra_offset) = self.return_address.encode();
        abi::Rule { offset, second, fp_offset, ra_offset, cfa, fp, ra, cfa_register }
    }
}

impl Saved {
    fn encode(self) -> (u8, i16) {
        match self {
            Self::Kept => (0, 0),
            Self::AtCfa(offset) => (1, offset),
            Self::AtStackPointer(offset) => (2, offset),
            Self::Lost => (3, 0),
            Self::AtFramePointer(offset) => (4, offset),
        }
    }
}

/// Which rule holds where in a file's code.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UnwindTable {
    /// The rules.
    pub rules: Vec<Rule>,
    /// In the order of addresses.
    pub rows: Vec<Row>,
}

/// From an address on, up to that of the next row, a rule holds. Packed: large files have millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(2))]
pub struct Row {
    /// As the file counts.
    pub address: u64,
    /// Index of the rule; [`Row::NONE`] where there is no unwind information.
    pub rule: u16,
}

impl Row {
    /// No rule.
    pub const NONE: u16 = u16::MAX;
}
