//! Names and addresses: ELF, Go's tables, DWARF, the kernel's symbols, and the maps of processes.
//!
//! From a name to a place to attach a probe to:
//!
//! ```no_run
//! use pixie_symbols::ElfFile;
//!
//! let libc = ElfFile::open("/lib/x86_64-linux-gnu/libc.so.6")?;
//! for symbol in libc.symbols()?.named("malloc") {
//!     println!("malloc is at {:?} in the file", libc.file_offset(symbol.address));
//! }
//! # Ok::<(), pixie_symbols::ElfError>(())
//! ```
//!
//! [`Symbols::matching`] finds mangled names by pattern, and [`ElfFile::go`] the functions of Go
//! programs, stripped or not, with their returns; [`Signatures`] finds those of other stripped files
//! by their bytes. From an address to a name: see [`Symbolizer`].
//!
//! Files are read, not mapped: a file that is cut short while it is mapped kills whoever looks at
//! it, and the files that are looked at belong to strangers. Only what is asked for is read, all of
//! it has bounds ([`ElfError::TooLarge`]), and what is damaged is an error or a reason
//! ([`Unknown`]), never a panic. An address whose function is not known has no name: none is made
//! up, and the nearest function does not lend its own.
//!
//! Two files with the same build id and length are taken for the same.
#![forbid(unsafe_code)]

mod binary;
mod build_id;
mod code;
mod contents;
mod debug_file;
mod demangle;
mod elf;
mod function_index;
mod go;
mod input;
mod kernel;
mod layout;
mod lines;
mod pattern;
mod perf_map;
mod process;
mod signatures;
mod symbolizer;
mod symbols;

pub use build_id::BuildId;
pub use code::{AttachPoints, ProbePlace};
pub use contents::Contents;
pub use demangle::demangle;
pub use elf::{ElfError, ElfFile, FoundFunction, Machine, Section, Segment, Wanted};
pub use go::{
    GoAttachPoints, GoBinary, GoBuildInfo, GoDeferred, GoError, GoFoundFunction, GoFrame,
    GoFunction, GoFunctions, GoStackUse,
};
pub use kernel::{KernelFunction, KernelSymbols};
pub use pattern::Pattern;
pub use perf_map::PerfMap;
pub use process::{Mapping, Process};
pub use signatures::{SignatureError, SignatureMatch, SignatureMatches, Signatures};
pub use symbolizer::{FileId, Frame, Place, SourceLine, Symbolizer, SymbolizerOptions, Unknown};
pub use symbols::{Symbol, Symbols};
