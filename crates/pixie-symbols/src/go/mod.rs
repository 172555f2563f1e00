//! Programs written in Go: their functions, lines and build, stripped or not.

mod build_info;
mod functions;
mod locate;
mod pclntab;
mod returns;
mod way_out;

pub use build_info::GoBuildInfo;
pub use functions::{GoFoundFunction, GoFunctions};

use crate::elf::Relocations;
use crate::{ElfError, ElfFile, ProbePlace};
use pclntab::{Entry, Table, Version};
use std::borrow::Cow;

/// The deepest chain of inlined calls that is followed.
const MAX_INLINED: usize = 64;
/// `FUNCDATA_InlTree` and `PCDATA_InlTreeIndex` (Go's `internal/abi/symtab.go`), since Go 1.14.
const INLINE_TREE: u8 = 3;
const INLINE_INDEX: u32 = 2;
/// `FuncFlagTopFrame` and `FuncFlagSPWrite` (Go's `internal/abi/symtab.go`), since Go 1.17.
const TOP_FRAME: u8 = 1;
const WRITES_STACK_POINTER: u8 = 2;

/// What a program or library built by Go says of itself: Go 1.2 to 1.27.
///
/// It is taken from the table that Go's runtime walks its stacks by (`.gopclntab`), which `strip`
/// and `-ldflags=-s` leave.
#[derive(Clone, Debug)]
pub struct GoBinary {
    file: ElfFile,
    table: Table,
    info: Option<GoBuildInfo>,
    /// Where functions' data is counted from.
    function_data: Option<u64>,
}

/// A function of a Go program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoFunction<'a> {
    /// Its name with its package, such as `crypto/tls.(*Conn).Read`. Type arguments are not told:
    /// `main.generic[...]`.
    pub name: &'a [u8],
    /// Its first address, as the file counts them.
    pub address: u64,
    /// Where the next function begins; what is between is padding.
    pub end: u64,
    entry: Entry,
}

/// What a Go function does with its thread's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GoStackUse {
    /// It takes some of it: see [`GoBinary::stack_depths`].
    Ordinary,
    /// Nothing called it.
    Top,
    /// It goes to another stack, or does otherwise with the stack pointer what the table does not
    /// tell.
    Switches,
    /// Ordinary, but signal handlers make it seem called by what they interrupted.
    Injected,
    /// Signal handlers return to it.
    ReturnsFromSignal,
}

/// A function that an address belongs to, and where in its source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoFrame<'a> {
    /// The function's name.
    pub function: Cow<'a, str>,
    /// The source file and line; `None` when they are not known.
    pub line: Option<(Cow<'a, str>, u32)>,
    /// Whether the function was inlined into the one of the next frame.
    pub inlined: bool,
}

/// Where probes see a function begin and end, as offsets in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoAttachPoints {
    /// Where every call comes by with its arguments where Go passes them: in registers since 1.17
    /// ([`GoBinary::passes_in_registers`]), on the stack before. A call whose stack has to grow may
    /// come by again.
    pub entry: ProbePlace,
    /// Each of its instructions that returns. A return probe of the kernel's must not be used on Go:
    /// it replaces the return address on a stack that Go moves.
    pub returns: Vec<u64>,
    /// A cheaper place for most of the calls. `None` when there is none that is certain.
    pub deferred: Option<GoDeferred>,
}

/// Where a function that it deferred, and that is called directly on its way out, sees its result:
/// a probe on the `ret` behind it costs ten times as much. The deferred function may be called by Go's
/// runtime, too, as in a panic; then the stack is deeper than [`GoDeferred::frame`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoDeferred {
    /// The offset in the file of an instruction of the deferred function, which the kernel emulates. A
    /// call whose stack has to grow may come by again.
    pub offset: u64,
    /// How many bytes the stack pointer is lower there than where the function itself began.
    pub frame: u32,
    /// How many bytes above the stack pointer the first result lies there.
    pub result: u32,
    /// Of [`GoAttachPoints::returns`], those that are reached in other ways.
    pub other_returns: Vec<u64>,
}

/// Why Go's tables could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoError {
    /// The file could not be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The table of functions is damaged.
    #[error("Go's table of functions is damaged: {0}")]
    Malformed(&'static str),
    /// The table is larger than that of any real program.
    #[error("Go's table of functions is larger than any real one")]
    TooLarge,
    /// There is a table, but nothing says which address its functions are counted from.
    #[error("where the Go code of the file begins is not known")]
    UnknownText,
    /// The function's instructions could not be told apart.
    #[error("the instructions at {address:#x} are not known")]
    Undecodable {
        /// The address in the file of the first that is not known.
        address: u64,
    },
    /// The code is for a processor whose instructions are not known here.
    #[error("the instructions of this processor are not known")]
    UnknownMachine,
}

impl ElfFile {
    /// What Go's tables say, when Go built the file.
    ///
    /// # Errors
    /// When it did and the tables cannot be used.
    pub fn go(&self) -> Result<Option<GoBinary>, GoError> {
        if !locate::may_be_go(self) {
            return Ok(None);
        }
        let relocations = Relocations::read(self)?;
        let info = GoBuildInfo::read(self, &relocations);
        let located = locate::locate(self, &relocations, info.as_ref())?;
        Ok(located.map(|(table, function_data)| GoBinary {
            file: self.clone(),
            table,
            info,
            function_data,
        }))
    }

    /// What the Go command wrote into the file: version, module and settings. Cheaper than
    /// [`ElfFile::go`].
    #[must_use]
    pub fn go_build_info(&self) -> Option<GoBuildInfo> {
        if !locate::may_be_go(self) {
            return None;
        }
        let relocations = Relocations::read(self).unwrap_or_default();
        GoBuildInfo::read(self, &relocations)
    }
}

impl GoBinary {
    /// What the Go command wrote into the file; `None` before Go 1.13, or when it was removed.
    #[must_use]
    pub fn build_info(&self) -> Option<&GoBuildInfo> {
        self.info.as_ref()
    }

    /// All functions, by address.
    pub fn functions(&self) -> impl Iterator<Item = GoFunction<'_>> {
        let entries = (0..self.table.count()).filter_map(|index| self.table.entry(index));
        entries.filter_map(|entry| self.function(entry))
    }

    /// The function that covers `address`.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<GoFunction<'_>> {
        self.table.at(address).and_then(|entry| self.function(entry))
    }

    /// The functions of this name. Looks at every function.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = GoFunction<'a>> {
        self.functions().filter(move |function| function.name == name.as_bytes())
    }

    /// The functions that `address` belongs to, the innermost first: those that were inlined there,
    /// and the one that they were inlined into. Empty when there are none.
    ///
    /// What was inlined is known since Go 1.18. Before, no lines are told: a line could be one of an
    /// inlined function.
    #[must_use]
    pub fn frames(&self, address: u64) -> Vec<GoFrame<'_>> {
        let Some(entry) = self.table.at(address) else { return Vec::new() };
        let Some(function) = self.function(entry) else { return Vec::new() };
        let mut frames = Vec::new();
        let mut at = Some(address);
        let inlines = self.inlines_known(&entry);
        while let Some((name, parent)) = at.and_then(|at| self.inlined(&entry, at)) {
            if frames.len() == MAX_INLINED {
                return vec![frame(function.name, None, false)];
            }
            frames.push(frame(name, at.and_then(|at| self.table.line(&entry, at)), true));
            at = entry.address.checked_add(parent.into());
        }
        let line = at.filter(|_| inlines).and_then(|at| self.table.line(&entry, at));
        frames.push(frame(function.name, line, false));
        frames
    }

    /// Where probes see the function begin and end.
    ///
    /// A function that ends by jumping into another, as some of those written in assembly do, does
    /// not return there.
    ///
    /// # Errors
    /// When its instructions cannot be told apart, so that a return might be missed.
    pub fn attach_points(&self, function: &GoFunction<'_>) -> Result<GoAttachPoints, GoError> {
        let code = function.address..function.end;
        returns::attach_points(&self.file, code, self.passes_in_registers())
    }

    /// How far below where it was on entry the stack pointer is, in bytes, each with the address up
    /// to which that holds; the first holds from the function's first address on. The return address
    /// is above. Empty when that is not known.
    pub fn stack_depths(&self, function: &GoFunction<'_>) -> impl Iterator<Item = (u64, i32)> {
        self.table.stack(&function.entry)
    }

    /// What the function does with the stack. Before Go 1.17 only the runtime's own are known that do
    /// anything out of the ordinary.
    #[must_use]
    pub fn stack_use(&self, function: &GoFunction<'_>) -> GoStackUse {
        let flags = self.table.flags(&function.entry);
        match function.name {
            b"runtime.sigreturn" | b"runtime.sigreturn__sigaction" => GoStackUse::ReturnsFromSignal,
            // A top frame to Go, but what was interrupted is beyond it.
            b"runtime.sigtramp" | b"runtime.cgoSigtramp" => GoStackUse::Ordinary,
            b"runtime.asyncPreempt" | b"runtime.sigpanic" => GoStackUse::Injected,
            // They never return to their caller: it goes on otherwise.
            b"runtime.goexit" | b"runtime.mstart" | b"runtime.rt0_go" | b"runtime.mcall"
            | b"runtime.morestack" => GoStackUse::Top,
            b"runtime.systemstack"
            | b"runtime.asmcgocall"
            | b"runtime.gogo"
            | b"runtime.cgocallback"
            | b"runtime.cgocallback_gofunc"
            | b"runtime.clone"
            | b"runtime.walltime"
            | b"runtime.walltime1"
            | b"runtime.nanotime"
            | b"runtime.nanotime1" => GoStackUse::Switches,
            _ if flags & TOP_FRAME != 0 => GoStackUse::Top,
            _ if flags & WRITES_STACK_POINTER != 0 => GoStackUse::Switches,
            _ => GoStackUse::Ordinary,
        }
    }

    /// Whether functions take arguments and give results in registers: Go 1.17 and later.
    #[must_use]
    pub fn passes_in_registers(&self) -> bool {
        in_registers(self.info.as_ref(), self.table.version())
    }

    /// How much memory the tables take, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory()
    }

    fn function(&self, entry: Entry) -> Option<GoFunction<'_>> {
        let name = self.table.name(&entry)?;
        Some(GoFunction { name, address: entry.address, end: entry.end, entry })
    }

    /// Whether it is known what was inlined into the function, which may be nothing.
    fn inlines_known(&self, entry: &Entry) -> bool {
        let none = self.table.function_data(entry, INLINE_TREE).is_none();
        self.table.version() >= Version::Go118 && (none || self.function_data.is_some())
    }

    /// The name of the innermost function that was inlined at `address`, and the distance from the
    /// function's start to where it was called (`runtime.inlinedCall`).
    fn inlined(&self, entry: &Entry, address: u64) -> Option<(&[u8], u32)> {
        let tree = self.table.function_data(entry, INLINE_TREE)?;
        let index = u64::try_from(self.table.pc_data(entry, INLINE_INDEX, address)?).ok()?;
        let (size, name, parent) = match self.table.version() {
            Version::Go120 => (16, 4, 8),
            _ => (20, 12, 16),
        };
        let tree = self.function_data?.checked_add(tree.into())?;
        let call = self.file.read_at(tree.checked_add(index.checked_mul(size)?)?, size).ok()?;
        let name = self.table.name_at(self.file.layout.u32(&call, name)?)?;
        Some((name, self.file.layout.u32(&call, parent)?))
    }
}

fn in_registers(info: Option<&GoBuildInfo>, table: Version) -> bool {
    match info.and_then(GoBuildInfo::release) {
        Some(release) => release >= (1, 17),
        None => table >= Version::Go118,
    }
}

impl GoFunction<'_> {
    /// How many bytes it has, with the padding after it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.end.saturating_sub(self.address)
    }
}

fn frame<'a>(name: &'a [u8], line: Option<(&'a [u8], u32)>, inlined: bool) -> GoFrame<'a> {
    GoFrame {
        function: String::from_utf8_lossy(name),
        line: line.map(|(file, line)| (String::from_utf8_lossy(file), line)),
        inlined,
    }
}
