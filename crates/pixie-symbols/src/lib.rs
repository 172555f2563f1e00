//! Names and addresses in ELF files: build ids, symbols and demangling.
//!
//! ```no_run
//! use pixie_symbols::ElfFile;
//!
//! let libc = ElfFile::open("/lib/x86_64-linux-gnu/libc.so.6")?;
//! for symbol in libc.symbols()?.named("malloc") {
//!     println!("malloc is at {:#x}", symbol.address);
//! }
//! # Ok::<(), pixie_symbols::ElfError>(())
//! ```
//!
//! Both directions are here: an address is named with [`Symbols::at`], and a place to attach a
//! probe to is found with [`Symbols::named`] and [`ElfFile::file_offset`].
//!
//! Files are read, not mapped: a file that is cut short while it is mapped kills whoever looks at
//! it, and the files that are looked at belong to strangers. What is read is bounded (see
//! [`ElfError::TooLarge`]), and only names and addresses of functions are kept of it.
//!
//! Not here yet: inlined functions and lines (DWARF), Go's tables, the kernel's symbols, and the
//! maps of a process.
#![forbid(unsafe_code)]

mod build_id;
mod demangle;
mod elf;
mod go;
mod input;
mod layout;
mod pattern;
mod symbols;

pub use build_id::BuildId;
pub use elf::{ElfError, ElfFile, Machine, Section, Segment};
pub use go::{GoAttachPoints, GoBinary, GoBuildInfo, GoError, GoFrame, GoFunction};
pub use pattern::Pattern;
pub use symbols::{Symbol, Symbols};
