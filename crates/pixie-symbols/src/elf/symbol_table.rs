//! The tables of a file's symbols: the full one, which `strip` removes, and the dynamic one.

use super::{ElfFile, within};
use crate::function_index::{FunctionIndex, IndexBuilder, Rank};
use crate::symbols::{Binding, Definition, MAX_NAMES, SymbolsBuilder};
use crate::{ElfError, Symbols};
use object::read::elf::{FileHeader, SectionHeader as _, SectionTable, VersionTable};
use object::read::{ReadCache, ReadRef, SymbolIndex};
use object::{Endianness, elf};

/// The largest tables, in bytes, that are read. The largest browsers have 200 MB of symbols.
const MAX_TABLES: u64 = 512 << 20;
/// The largest table of versions, in bytes, that is read.
const MAX_VERSIONS: u64 = 16 << 20;
/// How much is read at once, in bytes: both sizes of a symbol divide it.
const CHUNK: u64 = 48 << 12;

/// A table of symbols and the table of their names.
pub(super) struct Table {
    /// What programs that load the file can call.
    pub(super) dynamic: bool,
    /// Where in the file it begins, and its size in bytes.
    pub(super) symbols: (u64, u64),
    pub(super) names: (u64, u64),
}

/// A symbol as it stands in its table: `Elf32_Sym` and `Elf64_Sym` of the System V ABI, chapter 4.
pub(super) struct Symbol {
    /// Where in the table of names its name begins.
    pub(super) name: u32,
    pub(super) kind: elf::SymbolType,
    binding: elf::SymbolBind,
    /// The number of its section.
    section: u16,
    pub(super) address: u64,
    pub(super) size: u64,
}

impl Symbol {
    /// Whether the file itself defines it.
    pub(super) fn is_defined(&self) -> bool {
        self.section != elf::SHN_UNDEF.0
    }
}

/// The symbol tables of a file. `limit` is how many bytes they may have.
pub(super) fn tables(file: &ElfFile, limit: u64) -> Result<Vec<Table>, ElfError> {
    let mut budget = limit;
    let mut tables = Vec::new();
    for section in &file.sections {
        if !matches!(section.kind, elf::SHT_SYMTAB | elf::SHT_DYNSYM) {
            continue;
        }
        let names = usize::try_from(section.link).ok().filter(|link| *link > 0);
        let Some(names) = names.and_then(|link| file.sections.get(link)) else {
            return Err(ElfError::Malformed("a symbol table has no names".to_owned()));
        };
        for size in [section.size, names.size] {
            within("bytes of symbols", size, budget)?;
            budget -= size;
        }
        let end = section.offset.checked_add(section.size);
        if end.is_none_or(|end| end > file.input.length()) {
            return Err(ElfError::Malformed("a symbol table ends beyond the file".to_owned()));
        }
        tables.push(Table {
            dynamic: section.kind == elf::SHT_DYNSYM,
            symbols: (section.offset, section.size),
            names: (names.offset, if names.in_file { names.size } else { 0 }),
        });
    }
    Ok(tables)
}

/// Shows every symbol of a table, with its number.
pub(super) fn for_each(
    file: &ElfFile,
    table: &Table,
    mut each: impl FnMut(usize, Symbol),
) -> Result<(), ElfError> {
    let (record, size_at, info_at) = match file.layout.pointer {
        4 => (16, 8, 12),
        _ => (24, 16, 4),
    };
    let value_at = if record == 16 { 4 } else { 8 };
    let layout = file.layout;
    let symbol = |bytes: &[u8]| {
        let info = *bytes.get(info_at)?;
        Some(Symbol {
            name: layout.u32(bytes, 0)?,
            kind: elf::SymbolType(info & 0xf),
            binding: elf::SymbolBind(info >> 4),
            section: layout.u16(bytes, info_at + 2)?,
            address: layout.word(bytes, value_at)?,
            size: layout.word(bytes, size_at)?,
        })
    };
    let (start, size) = table.symbols;
    let mut buffer = vec![0; usize::try_from(CHUNK.min(size)).unwrap_or_default()];
    let mut number = 0;
    let mut done = 0;
    while done < size {
        let length = CHUNK.min(size - done);
        let chunk = buffer.get_mut(..usize::try_from(length).unwrap_or_default());
        let chunk = chunk.unwrap_or_default();
        file.input.read_into(start.saturating_add(done), chunk)?;
        done += length;
        for bytes in chunk.chunks_exact(record) {
            if let Some(symbol) = symbol(bytes) {
                each(number, symbol);
            }
            number += 1;
        }
    }
    Ok(())
}

/// Reads the functions with their names and versions.
pub(super) fn read(file: &ElfFile) -> Result<Symbols, ElfError> {
    let cache = ReadCache::new(file.input.reader());
    match file.layout.pointer {
        4 => functions::<elf::FileHeader32<Endianness>, _>(file, &cache),
        _ => functions::<elf::FileHeader64<Endianness>, _>(file, &cache),
    }
}

fn functions<'data, E, R>(file: &ElfFile, data: R) -> Result<Symbols, ElfError>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut builder = SymbolsBuilder::new();
    for table in tables(file, MAX_TABLES)? {
        let versions = match table.dynamic {
            true => versions(&sections, endian, data),
            false => None,
        };
        let names = file.input.read_contents(table.names.0, table.names.1)?;
        let base = builder
            .add_names(&names)
            .ok_or(ElfError::TooLarge { what: "bytes of names", limit: MAX_NAMES })?;
        drop(names);
        for_each(file, &table, |number, symbol| {
            if let Some(mut definition) = function(file, &symbol) {
                let version = versions.as_ref().and_then(|table| version(table, endian, number));
                definition.version =
                    version.and_then(|(name, default)| Some((builder.add_version(name)?, default)));
                builder.add(base, symbol.name, definition);
            }
        })?;
    }
    Ok(builder.finish())
}

/// Reads where functions are, and not their names.
pub(super) fn index(file: &ElfFile) -> Result<FunctionIndex, ElfError> {
    let mut builder = IndexBuilder::default();
    for table in tables(file, MAX_TABLES)? {
        builder.begin_table(table.names.0, table.names.1);
        for_each(file, &table, |_, symbol| {
            let section = usize::from(symbol.section);
            if let Some(it) = function(file, &symbol) {
                let rank = (it.binding.into(), !it.indirect);
                builder.add(it.address, it.size, it.limit, symbol.name, rank);
            } else if symbol.kind == elf::STT_NOTYPE
                && file.sections.get(section).is_some_and(|section| section.executable)
            {
                let limit = end_of_section(file, section, symbol.address);
                builder.add(symbol.address, 0, limit, symbol.name, (Rank::Label, true));
            }
        })?;
    }
    Ok(builder.finish(&file.input))
}

/// The table of versions. One that is damaged, or too large, costs the versions and not the symbols.
fn versions<'data, E, R>(
    sections: &SectionTable<'data, E, R>,
    endian: Endianness,
    data: R,
) -> Option<VersionTable<'data, E>>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let kinds = [elf::SHT_GNU_VERSYM, elf::SHT_GNU_VERDEF, elf::SHT_GNU_VERNEED];
    let mut tables = sections.iter().filter(|table| kinds.contains(&table.sh_type(endian)));
    if tables.any(|table| table.sh_size(endian).into() > MAX_VERSIONS) {
        return None;
    }
    sections.versions(endian, data).ok().flatten()
}

/// The version of a dynamic symbol, and whether it is the one that a program is linked to now.
fn version<'data, E: FileHeader<Endian = Endianness>>(
    table: &VersionTable<'data, E>,
    endian: Endianness,
    symbol: usize,
) -> Option<(&'data [u8], bool)> {
    let index = table.version_index(endian, SymbolIndex(symbol));
    let version = table.version(index.index()).ok()??;
    Some((version.name(), !index.is_hidden()))
}

/// What the symbol says, if it is a function that the file itself defines.
fn function(file: &ElfFile, symbol: &Symbol) -> Option<Definition> {
    let function = matches!(symbol.kind, elf::STT_FUNC | elf::STT_GNU_IFUNC);
    if !function || !symbol.is_defined() {
        return None;
    }
    Some(Definition {
        address: symbol.address,
        size: symbol.size,
        limit: end_of_section(file, usize::from(symbol.section), symbol.address),
        binding: match symbol.binding {
            elf::STB_LOCAL => Binding::Local,
            elf::STB_WEAK => Binding::Weak,
            _ => Binding::Global,
        },
        indirect: symbol.kind == elf::STT_GNU_IFUNC,
        version: None,
    })
}

/// Where the section ends that the symbol is in; a function does not reach beyond.
fn end_of_section(file: &ElfFile, index: usize, address: u64) -> u64 {
    let section = file.sections.get(index).filter(|section| {
        address.checked_sub(section.address).is_some_and(|distance| distance < section.size)
    });
    section.map_or(address, |section| section.address.saturating_add(section.size))
}
