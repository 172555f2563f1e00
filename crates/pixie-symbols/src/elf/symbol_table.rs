use super::{ElfFile, within};
use crate::function_index::{FunctionIndex, IndexBuilder, Rank};
use crate::symbols::{Binding, Definition, MAX_NAMES, SymbolsBuilder};
use crate::{ElfError, Symbols};
use object::read::elf::{FileHeader, SectionHeader as _, SectionTable, Sym as _, VersionTable};
use object::read::{ReadCache, ReadRef, SymbolIndex};
use object::{Endianness, elf};

/// The largest tables, in bytes, that are read. The largest browsers have 200 MB of symbols.
const MAX_TABLES: u64 = 512 << 20;

/// The largest table of versions, in bytes, that is read.
const MAX_VERSIONS: u64 = 16 << 20;

pub(super) fn read(file: &ElfFile) -> Result<Symbols, ElfError> {
    let cache = ReadCache::new(file.input.reader());
    match file.layout.pointer {
        4 => tables::<elf::FileHeader32<Endianness>, _>(file, &cache),
        _ => tables::<elf::FileHeader64<Endianness>, _>(file, &cache),
    }
}

fn tables<'data, E, R>(file: &ElfFile, data: R) -> Result<Symbols, ElfError>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut builder = SymbolsBuilder::new();
    for (table, names) in pairs(&sections, endian)? {
        let kind = table.sh_type(endian);
        let versions = match kind {
            elf::SHT_DYNSYM => versions(&sections, endian, data),
            _ => None,
        };
        let base = builder
            .add_names(names.data(endian, data)?)
            .ok_or(ElfError::TooLarge { what: "bytes of names", limit: MAX_NAMES })?;
        let symbols = table.data_as_array::<E::Sym, R>(endian, data)?;
        for (index, symbol) in symbols.iter().enumerate() {
            if let Some(mut definition) = function::<E>(file, symbol, endian) {
                let version = versions.as_ref().and_then(|table| version(table, endian, index));
                definition.version =
                    version.and_then(|(name, default)| Some((builder.add_version(name)?, default)));
                builder.add(base, symbol.st_name(endian), definition);
            }
        }
    }
    Ok(builder.finish())
}

/// Reads where functions are, and not their names.
pub(super) fn index(file: &ElfFile) -> Result<FunctionIndex, ElfError> {
    let cache = ReadCache::new(file.input.reader());
    match file.layout.pointer {
        4 => places::<elf::FileHeader32<Endianness>, _>(file, &cache),
        _ => places::<elf::FileHeader64<Endianness>, _>(file, &cache),
    }
}

fn places<'data, E, R>(file: &ElfFile, data: R) -> Result<FunctionIndex, ElfError>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut builder = IndexBuilder::default();
    for (table, names) in pairs(&sections, endian)? {
        let Some((offset, size)) = names.file_range(endian) else { continue };
        builder.begin_table(offset, size);
        for symbol in table.data_as_array::<E::Sym, R>(endian, data)? {
            let section = usize::from(symbol.st_shndx(endian).0);
            let name = symbol.st_name(endian);
            if let Some(it) = function::<E>(file, symbol, endian) {
                let rank = (it.binding.into(), !it.indirect);
                builder.add(it.address, it.size, it.limit, name, rank);
            } else if symbol.st_type() == elf::STT_NOTYPE
                && file.sections.get(section).is_some_and(|section| section.executable)
            {
                let address = symbol.st_value(endian).into();
                let limit = end_of_section(file, section, address);
                builder.add(address, 0, limit, name, (Rank::Label, true));
            }
        }
    }
    Ok(builder.finish(&file.input))
}

/// A symbol table, and the table of its names.
type Pair<'a, E> = (&'a <E as FileHeader>::SectionHeader, &'a <E as FileHeader>::SectionHeader);

/// The symbol tables, each with the table of its names.
fn pairs<'data, 'a, E, R>(
    sections: &'a SectionTable<'data, E, R>,
    endian: Endianness,
) -> Result<Vec<Pair<'a, E>>, ElfError>
where
    E: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let mut budget = MAX_TABLES;
    let mut pairs = Vec::new();
    let kinds = [elf::SHT_SYMTAB, elf::SHT_DYNSYM];
    for table in sections.iter().filter(|table| kinds.contains(&table.sh_type(endian))) {
        let Ok(names) = sections.section(table.link(endian)) else {
            return Err(ElfError::Malformed("a symbol table has no names".to_owned()));
        };
        for section in [table, names] {
            let size = section.sh_size(endian).into();
            within("bytes of symbols", size, budget)?;
            budget -= size;
        }
        pairs.push((table, names));
    }
    Ok(pairs)
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
fn function<E: FileHeader<Endian = Endianness>>(
    file: &ElfFile,
    symbol: &E::Sym,
    endian: Endianness,
) -> Option<Definition> {
    let function = matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC);
    if !function || symbol.is_undefined(endian) {
        return None;
    }
    let address = symbol.st_value(endian).into();
    Some(Definition {
        address,
        size: symbol.st_size(endian).into(),
        limit: end_of_section(file, usize::from(symbol.st_shndx(endian).0), address),
        binding: match symbol.st_bind() {
            elf::STB_LOCAL => Binding::Local,
            elf::STB_WEAK => Binding::Weak,
            _ => Binding::Global,
        },
        indirect: symbol.st_type() == elf::STT_GNU_IFUNC,
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
