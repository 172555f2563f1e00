use crate::symbols::{Binding, MAX_NAMES};
use crate::{BuildId, Symbols};
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::read::{FileKind, ReadCache, ReadRef};
use object::{Endianness, elf};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The most sections and segments that are looked at.
const MAX_HEADERS: u64 = 1 << 16;
/// The largest table, in bytes, that is read. The largest browsers have 200 MB of symbols.
const MAX_TABLE: u64 = 512 << 20;
/// The longest name of a function in bytes; what is beyond is cut off.
const MAX_NAME: usize = 64 << 10;
/// The largest note that is read, in bytes.
const MAX_NOTE: u64 = 1 << 20;

/// What an ELF file says of its functions.
#[derive(Clone, Debug)]
pub struct ElfFile {
    build_id: Option<BuildId>,
    segments: Vec<Segment>,
    symbols: Symbols,
}

/// A part of the file that is loaded into memory.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: u64,
    size: u64,
}

/// Why an ELF file could not be used.
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
    /// The file is no ELF file, is damaged, or could not be read.
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
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is no ELF file, or is larger than anything real.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ElfError> {
        let path = path.as_ref();
        let file =
            File::open(path).map_err(|source| ElfError::Open { path: path.to_owned(), source })?;
        Self::parse(&ReadCache::new(file))
    }

    /// Reads a file that is in memory.
    ///
    /// # Errors
    /// When it is no ELF file, or has tables larger than anything real.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ElfError> {
        Self::parse(bytes)
    }

    fn parse<'data>(data: impl ReadRef<'data>) -> Result<Self, ElfError> {
        match FileKind::parse(data)? {
            FileKind::Elf32 => parse::<elf::FileHeader32<Endianness>, _>(data),
            FileKind::Elf64 => parse::<elf::FileHeader64<Endianness>, _>(data),
            kind => Err(ElfError::Malformed(format!("it is of kind {kind:?}"))),
        }
    }

    /// The build id, when the linker was asked for one.
    #[must_use]
    pub fn build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    /// The functions.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Where in the file the byte at `address` is: what a uprobe is attached by. `None` when
    /// nothing of the file is loaded there.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let distance = address.checked_sub(segment.address)?;
            if distance < segment.size { segment.offset.checked_add(distance) } else { None }
        })
    }

    /// At which address the byte at `offset` of the file is loaded: the reverse of
    /// [`ElfFile::file_offset`].
    #[must_use]
    pub fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let distance = offset.checked_sub(segment.offset)?;
            if distance < segment.size { segment.address.checked_add(distance) } else { None }
        })
    }
}

fn parse<'data, E, R>(data: R) -> Result<ElfFile, ElfError>
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
        build_id: build_id::<E, R>(header, endian, data)?,
        segments: loaded
            .map(|segment| Segment {
                address: segment.p_vaddr(endian).into(),
                offset: segment.p_offset(endian).into(),
                size: segment.p_filesz(endian).into(),
            })
            .collect(),
        symbols: symbols::<E, R>(header, endian, data)?,
    })
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

/// The functions of both symbol tables: the full one, which `strip` removes, and the dynamic one.
fn symbols<'data, E, R>(header: &E, endian: Endianness, data: R) -> Result<Symbols, ElfError>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let sections = header.section_headers(endian, data)?;
    let mut budget = MAX_TABLE;
    let mut symbols = Symbols::default();
    for table in sections {
        if !matches!(table.sh_type(endian), elf::SHT_SYMTAB | elf::SHT_DYNSYM) {
            continue;
        }
        let Some(names) = sections.get(table.sh_link(endian) as usize) else {
            return Err(ElfError::Malformed("a symbol table has no names".to_owned()));
        };
        for section in [table, names] {
            let size = section.sh_size(endian).into();
            within("bytes of symbols", size, budget)?;
            budget -= size;
        }
        let names = names.data(endian, data)?;
        for symbol in table.data_as_array::<E::Sym, R>(endian, data)? {
            add_function::<E>(&mut symbols, symbol, names, endian)?;
        }
    }
    Ok(symbols.finish())
}

/// Adds the symbol if it is a function that the file itself defines.
fn add_function<E: FileHeader<Endian = Endianness>>(
    symbols: &mut Symbols,
    symbol: &E::Sym,
    names: &[u8],
    endian: Endianness,
) -> Result<(), ElfError> {
    let function = matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC);
    let rest = names.get(symbol.st_name(endian) as usize..).unwrap_or_default();
    let longest = rest.get(..MAX_NAME).unwrap_or(rest);
    let name = longest.split(|byte| *byte == 0).next().unwrap_or_default();
    if !function || symbol.is_undefined(endian) || name.is_empty() {
        return Ok(());
    }
    let binding = match symbol.st_bind() {
        elf::STB_LOCAL => Binding::Local,
        elf::STB_WEAK => Binding::Weak,
        _ => Binding::Global,
    };
    let (address, size) = (symbol.st_value(endian).into(), symbol.st_size(endian).into());
    match symbols.push(name, address, size, binding) {
        true => Ok(()),
        false => Err(ElfError::TooLarge { what: "bytes of names", limit: MAX_NAMES }),
    }
}

fn within(what: &'static str, count: impl Into<u64>, limit: u64) -> Result<(), ElfError> {
    if count.into() <= limit { Ok(()) } else { Err(ElfError::TooLarge { what, limit }) }
}
