//! ELF files: where their parts are, and what identifies them.

mod data;
mod dynamic;
mod relocations;
mod search;
mod symbol_table;

pub(crate) use relocations::Relocations;
pub use search::{FoundFunction, Wanted};

use crate::contents::Contents;
use crate::function_index::FunctionIndex;
use crate::input::Input;
use crate::layout::Layout;
use crate::{BuildId, Symbols};
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};
use object::read::{FileKind, ReadCache, ReadRef};
use object::{Endianness, elf};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The most sections and segments that are looked at.
const MAX_HEADERS: u64 = 1 << 16;
/// The largest note that is read, in bytes.
const MAX_NOTE: u64 = 1 << 20;
/// The longest name of a section that is kept, in bytes.
const MAX_SECTION_NAME: usize = 256;

/// An ELF file: a program, a library, or what was debugged out of one.
///
/// Opening it reads its headers and notes; everything else is read when it is asked for, and not
/// kept here. The file stays open, so that it can be read even when it has been deleted.
#[derive(Clone, Debug)]
pub struct ElfFile {
    pub(crate) input: Input,
    build_id: Option<BuildId>,
    machine: Machine,
    entry: u64,
    pub(crate) layout: Layout,
    segments: Vec<Segment>,
    sections: Vec<Section>,
}

/// The processor that a file's code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Machine {
    /// AMD64.
    X86_64,
    /// AArch64.
    Aarch64,
    /// Another, by its number in the ELF header (`e_machine`).
    Other(u16),
}

/// A section of an ELF file: a part with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Section {
    /// Its name, such as `.text`.
    pub name: String,
    /// Its address; 0 when it is not loaded.
    pub address: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it holds code.
    pub executable: bool,
    /// Whether processes may write to it.
    pub writable: bool,
    /// Whether it takes part in memory.
    pub loaded: bool,
    /// Whether the file has its bytes: what is `.bss` in a program has none, and in a file of debug
    /// information nor has `.text`.
    pub in_file: bool,
    /// Whether its bytes are compressed (`SHF_COMPRESSED`).
    pub compressed: bool,
    /// What it holds (`sh_type`).
    kind: elf::SectionType,
    /// The number of the section that it belongs with (`sh_link`).
    link: u32,
}

/// A part of the file that is loaded into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment {
    /// Its address, before the file is moved to where a process has it.
    pub address: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes of it are in the file.
    pub size: u64,
    /// Whether it holds code.
    pub executable: bool,
    /// Whether processes may write to it.
    pub writable: bool,
}

/// Why an ELF file, or a part of one, could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A part of the file could not be read; it may have been cut short.
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    /// The file is no ELF file, or is damaged.
    #[error("not a readable ELF file: {0}")]
    Malformed(String),
    /// The file has more of something than any real one.
    #[error("the file has more than {limit} {what}, and is not read")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much would be read.
        limit: u64,
    },
}

impl From<object::Error> for ElfError {
    fn from(error: object::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl ElfFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is no ELF file, or has more headers than anything real.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ElfError> {
        let path = path.as_ref();
        let input =
            Input::open(path).map_err(|source| ElfError::Open { path: path.to_owned(), source })?;
        Self::parse(&input)
    }

    /// Takes a file that is open.
    ///
    /// # Errors
    /// As [`ElfFile::open`].
    pub fn from_file(file: File) -> Result<Self, ElfError> {
        Self::parse(&Input::file(file)?)
    }

    /// Takes a file that is in memory.
    ///
    /// # Errors
    /// When it is no ELF file, or has more headers than anything real.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ElfError> {
        Self::parse(&Input::memory(bytes))
    }

    pub(crate) fn parse(input: &Input) -> Result<Self, ElfError> {
        let cache = ReadCache::new(input.reader());
        match FileKind::parse(&cache)? {
            FileKind::Elf32 => parse::<elf::FileHeader32<Endianness>, _>(&cache, input),
            FileKind::Elf64 => parse::<elf::FileHeader64<Endianness>, _>(&cache, input),
            kind => Err(ElfError::Malformed(format!("it is of kind {kind:?}"))),
        }
    }

    /// The build id, when the linker was asked for one.
    #[must_use]
    pub fn build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    /// The processor that the code is for.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// What is loaded into memory, in the order of the file.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The sections, in the order of the file. A program needs none to run.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The first section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Reads a section, as it stands in the file.
    ///
    /// # Errors
    /// When the file does not have its bytes, or has more than `limit`.
    pub fn read(&self, section: &Section, limit: u64) -> Result<Contents, ElfError> {
        if !section.in_file {
            return Err(ElfError::Malformed(format!("{} is not in this file", section.name)));
        }
        within("bytes in a section", section.size, limit)?;
        Ok(self.input.read_contents(section.offset, section.size)?)
    }

    /// Reads the functions of both symbol tables: the full one, which `strip` removes, and the
    /// dynamic one.
    ///
    /// # Errors
    /// When the tables are damaged, or larger than those of anything real.
    pub fn symbols(&self) -> Result<Symbols, ElfError> {
        symbol_table::read(self)
    }

    /// Reads where the functions of both symbol tables are: for names of addresses.
    pub(crate) fn function_index(&self) -> Result<FunctionIndex, ElfError> {
        symbol_table::index(self)
    }

    /// Where in the file the byte at `address` is: what a uprobe is attached by. `None` when
    /// nothing of the file is loaded there. A damaged file may say of bytes behind its end that
    /// they are.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let (segment, distance) = self.segment_at(address)?;
        let offset = segment.offset.checked_add(distance)?;
        (offset < self.input.length()).then_some(offset)
    }

    /// At which address the byte at `offset` of the file is loaded: the reverse of
    /// [`ElfFile::file_offset`]. A byte that is loaded twice is taken as code.
    #[must_use]
    pub fn address(&self, offset: u64) -> Option<u64> {
        let mut found = None;
        for segment in &self.segments {
            let Some(distance) = offset.checked_sub(segment.offset) else { continue };
            if distance < segment.size && (segment.executable || found.is_none()) {
                found = segment.address.checked_add(distance);
                if segment.executable {
                    break;
                }
            }
        }
        found
    }

    /// Reads what is loaded at `address`: at most `size` bytes, less where the segment ends.
    pub(crate) fn read_at(&self, address: u64, size: u64) -> Result<Vec<u8>, ElfError> {
        let (segment, distance) = self
            .segment_at(address)
            .ok_or_else(|| ElfError::Malformed(format!("nothing is loaded at {address:#x}")))?;
        let offset = segment.offset.saturating_add(distance);
        Ok(self.input.read(offset, size.min(segment.size - distance))?)
    }

    /// Where a program begins to run.
    pub(crate) fn entry(&self) -> u64 {
        self.entry
    }

    fn segment_at(&self, address: u64) -> Option<(&Segment, u64)> {
        self.segments.iter().find_map(|segment| {
            let distance = address.checked_sub(segment.address)?;
            (distance < segment.size).then_some((segment, distance))
        })
    }
}

fn parse<'data, E, R>(data: R, input: &Input) -> Result<ElfFile, ElfError>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    within("segments", header.phnum(endian, data)?, MAX_HEADERS)?;
    within("sections", header.shnum(endian, data)?, MAX_HEADERS)?;
    let segments = header.program_headers(endian, data)?;
    let loaded = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    Ok(ElfFile {
        input: input.clone(),
        build_id: build_id::<E, R>(header, endian, data)?,
        machine: match header.e_machine(endian) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_AARCH64 => Machine::Aarch64,
            other => Machine::Other(other.0),
        },
        entry: header.e_entry(endian).into(),
        layout: Layout {
            big_endian: endian == Endianness::Big,
            pointer: if header.is_class_64() { 8 } else { 4 },
        },
        segments: loaded
            .map(|segment| Segment {
                address: segment.p_vaddr(endian).into(),
                offset: segment.p_offset(endian).into(),
                size: segment.p_filesz(endian).into(),
                executable: segment.p_flags(endian).contains(elf::PF_X),
                writable: segment.p_flags(endian).contains(elf::PF_W),
            })
            .collect(),
        sections: sections::<E, R>(header, endian, data)?,
    })
}

fn sections<'data, E, R>(header: &E, endian: Endianness, data: R) -> Result<Vec<Section>, ElfError>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let table = header.sections(endian, data)?;
    let section = |section: &'data E::SectionHeader| {
        let name = table.section_name(endian, section).unwrap_or_default();
        let name = name.get(..MAX_SECTION_NAME).unwrap_or(name);
        let flags = section.sh_flags(endian);
        Section {
            name: String::from_utf8_lossy(name).into_owned(),
            address: section.sh_addr(endian).into(),
            offset: section.sh_offset(endian).into(),
            size: section.sh_size(endian).into(),
            executable: flags.contains(elf::SHF_EXECINSTR),
            writable: flags.contains(elf::SHF_WRITE),
            loaded: flags.contains(elf::SHF_ALLOC),
            in_file: section.sh_type(endian) != elf::SHT_NOBITS,
            compressed: flags.contains(elf::SHF_COMPRESSED),
            kind: section.sh_type(endian),
            link: section.sh_link(endian),
        }
    };
    Ok(table.iter().map(section).collect())
}

/// The build id, from the notes of the segments or, where there are none, of the sections.
fn build_id<'data, E, R>(
    header: &E,
    endian: Endianness,
    data: R,
) -> Result<Option<BuildId>, ElfError>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let small = |size: u64| size <= MAX_NOTE;
    let segments = header.program_headers(endian, data)?.iter();
    let sections = header.section_headers(endian, data)?.iter();
    let notes = segments
        .filter(|segment| small(segment.p_filesz(endian).into()))
        .map(|segment| segment.notes(endian, data))
        .chain(
            sections
                .filter(|section| small(section.sh_size(endian).into()))
                .map(|section| section.notes(endian, data)),
        );
    for mut notes in notes.filter_map(|notes| notes.ok().flatten()) {
        // A damaged note ends the search in its own segment only.
        while let Ok(Some(note)) = notes.next() {
            if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                return Ok(BuildId::new(note.desc()));
            }
        }
    }
    Ok(None)
}

pub(crate) fn within(
    what: &'static str,
    count: impl Into<u64>,
    limit: u64,
) -> Result<(), ElfError> {
    if count.into() <= limit { Ok(()) } else { Err(ElfError::TooLarge { what, limit }) }
}
