//! Where in a function probes are attached best.
//!
//! A probe in a program is a breakpoint. What stood in its place is then either done by the kernel
//! itself, which is cheap, or executed out of line with a second trap, which costs ten times as much
//! (measured: under 1 µs for `push`, 12 for `sub` or `endbr64`, in a virtual machine). So a little
//! further into a function, or before its end, may be a much better place than its edges.

pub(crate) mod x86_64;

use crate::{ElfError, ElfFile, Machine};

/// The largest function whose code is looked at, in bytes.
const MAX_FUNCTION: u64 = 1 << 18;
/// How much is looked at of a function whose size is not known, in bytes.
const START: u64 = 64;

/// Where probes see a C function begin and end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachPoints {
    /// Where every call comes by once, with all arguments still in the registers that the platform's
    /// ABI passes them in. The stack may have grown since the function began.
    pub entry: ProbePlace,
    /// Where every call comes by once with the return address still on top of the stack: what a
    /// return probe of the kernel's needs, which replaces that.
    pub return_probe: ProbePlace,
    /// Where every call comes by that returns, with the result in its register: one place for each
    /// way out. `None` when the function may leave in ways that are not known here: by jumping into
    /// another function, or to an address that it computes. The stack is never deeper there than at
    /// [`AttachPoints::entry`].
    pub returns: Option<Vec<ProbePlace>>,
    /// The addresses of what it calls, or jumps out to, other than by pointers; in order.
    pub calls: Vec<u64>,
    /// Whether all it does is to jump on into another function, with other arguments perhaps.
    pub forwards: bool,
}

/// An instruction that a probe can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ProbePlace {
    /// Its offset in the file.
    pub offset: u64,
    /// Whether every kernel since 5.8 carries it out by itself: the cheap kind.
    pub emulated: bool,
}

impl ElfFile {
    /// Where probes see the C function begin and end that has `size` bytes at `address`; of one whose
    /// size is not known (0), its start is looked at and no more.
    ///
    /// Nothing is guessed: where the code is not understood, the places are those that are always
    /// right. On other processors than x86-64 they are always those.
    ///
    /// # Errors
    /// When the function is not in the file.
    pub fn attach_points(&self, address: u64, size: u64) -> Result<AttachPoints, ElfError> {
        let nowhere = || ElfError::Malformed(format!("no function is at {address:#x}"));
        let first = self.file_offset(address).ok_or_else(nowhere)?;
        let plain = ProbePlace { offset: first, emulated: false };
        let plain = AttachPoints {
            entry: plain,
            return_probe: plain,
            returns: None,
            calls: Vec::new(),
            forwards: false,
        };
        if self.machine() != Machine::X86_64 || size > MAX_FUNCTION {
            return Ok(plain);
        }
        let code = self.read_at(address, if size == 0 { START } else { size })?;
        let body = match size {
            0 => x86_64::Body::start(&code, address),
            _ if code.len() as u64 != size => None,
            _ => x86_64::Body::decode(&code, address),
        };
        let Some(body) = body else { return Ok(plain) };
        let place = |instruction: x86_64::Found| ProbePlace {
            offset: first.saturating_add(instruction.address.saturating_sub(address)),
            emulated: instruction.emulated,
        };
        let (entry, returns) = body.ends();
        Ok(AttachPoints {
            entry: entry.map_or(plain.entry, place),
            return_probe: body.entry(x86_64::STACK_POINTER).map_or(plain.return_probe, place),
            returns: returns.map(|returns| returns.into_iter().map(place).collect()),
            forwards: body.forwards(),
            calls: body.calls(),
        })
    }
}
