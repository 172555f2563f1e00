//! Where Go's tables are in a file. A stripped one may not name the section, and in a program that
//! can be loaded anywhere the linker may have put the table among other data.

use super::pclntab::{Head, Table, Version};
use super::{GoBuildInfo, GoError};
use crate::elf::Relocations;
use crate::{ElfFile, Segment};

/// The largest table that is read, in bytes; those of the largest programs have 100 MB.
const MAX_TABLE: u64 = 512 << 20;
/// How much of a file is searched, in bytes.
const MAX_SEARCH: u64 = 1 << 30;
/// How much is read at once in search of something.
const CHUNK: u64 = 1 << 20;
/// How many numbers of the runtime's `moduledata` are looked at.
const MODULE_WORDS: u64 = 48;
/// How many places are looked at that may be the `moduledata`.
const MAX_CANDIDATES: usize = 64;

/// What the runtime's `moduledata` says.
#[derive(Clone, Copy, Debug)]
struct Module {
    /// What functions' addresses are counted from.
    text: u64,
    /// What the offsets of functions' data are counted from; where it is in the `moduledata`
    /// depends on the Go version.
    function_data: Option<u64>,
    /// Where the table of functions ends; its parts lie one after the other.
    end: u64,
}

/// Where a table is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) address: u64,
    /// How many bytes it has at most.
    pub(super) size: u64,
    pub(super) head: Head,
    /// What functions' addresses are counted from, when that is known without reading the table.
    pub(super) text: Option<u64>,
    /// What the offsets of functions' data are counted from.
    function_data: Option<u64>,
}

/// Where the table is. Reads but its head.
pub(super) fn find(
    file: &ElfFile,
    relocations: &Relocations,
    info: Option<&GoBuildInfo>,
) -> Result<Option<Located>, GoError> {
    let Some((address, size)) = place(file) else { return Ok(None) };
    if size > MAX_TABLE {
        return Err(GoError::TooLarge);
    }
    let mut head = file.read_at(address, Head::SIZE as u64)?;
    relocations.apply(file, &mut head, address);
    let head = Head::parse(&head, file.layout).ok_or(GoError::Malformed("the table's head"))?;
    let module = module(file, relocations, address, &head, info);
    let size = module.map_or(size, |module| size.min(module.end.saturating_sub(address)));
    let text = match module {
        Some(module) => Some(module.text),
        None if head.version < Version::Go118 => Some(0), // Addresses are written as they are.
        None => head.text,
    };
    let function_data = module.and_then(|module| module.function_data);
    Ok(Some(Located { address, size, head, text, function_data }))
}

/// The table, and what the offsets of functions' data are counted from.
pub(super) fn locate(
    file: &ElfFile,
    relocations: &Relocations,
    info: Option<&GoBuildInfo>,
) -> Result<Option<(Table, Option<u64>)>, GoError> {
    let Some(located) = find(file, relocations, info)? else { return Ok(None) };
    let mut bytes = file.read_at(located.address, located.size)?;
    relocations.apply(file, &mut bytes, located.address);
    let text = located.text.or_else(|| text_by_entry(file, &bytes));
    let table = Table::new(bytes, file.layout, text.ok_or(GoError::UnknownText)?)?;
    Ok(Some((table, located.function_data)))
}

/// Whether Go may have built the file. A look at the names of its sections saves looking through all
/// of what it did not build.
pub(super) fn may_be_go(file: &ElfFile) -> bool {
    let go = |name: &str| {
        name.starts_with(".go.") || name == ".note.go.buildid" || name.ends_with(".gopclntab")
    };
    file.sections().is_empty() || file.sections().iter().any(|section| go(&section.name))
}

/// The table's address and how many bytes it has at most.
fn place(file: &ElfFile) -> Option<(u64, u64)> {
    let named = |name| file.section(name).filter(|section| section.in_file && section.size > 0);
    if let Some(section) = named(".gopclntab").or_else(|| named(".data.rel.ro.gopclntab")) {
        return Some((section.address, section.size));
    }
    // One byte first: this is asked everywhere in the data.
    let telling = if file.layout.big_endian { 3 } else { 0 };
    let address = find_in_data(file, file.layout.pointer.into(), &mut |bytes| {
        matches!(bytes.get(telling), Some(0xfb | 0xfa | 0xf0 | 0xf1)) && plausible(file, bytes)
    })?;
    let end = |segment: &Segment| segment.address.checked_add(segment.size);
    let inside = |segment: &&Segment| {
        segment.address <= address && end(segment).is_some_and(|end| address < end)
    };
    let size = file.segments().iter().find(inside).and_then(end)? - address;
    Some((address, size))
}

/// Whether a table begins here whose parts are in a possible order.
fn plausible(file: &ElfFile, bytes: &[u8]) -> bool {
    let Some(head) = Head::parse(bytes, file.layout) else { return false };
    (1..1 << 26).contains(&head.count) && head.is_ordered()
}

/// The address of what `is` says yes to, of all that is loaded and is no code. It is shown the bytes
/// from each multiple of `step` on.
pub(super) fn find_in_data(
    file: &ElfFile,
    step: usize,
    is: &mut dyn FnMut(&[u8]) -> bool,
) -> Option<u64> {
    const OVERLAP: u64 = 128;
    let mut budget = MAX_SEARCH;
    for segment in file.segments().iter().filter(|segment| !segment.executable) {
        let aligned = segment.address.checked_next_multiple_of(step as u64);
        let Some(mut done) = aligned.map(|aligned| aligned - segment.address) else { continue };
        while done < segment.size && budget > 0 {
            budget = budget.saturating_sub(CHUNK);
            let address = segment.address.checked_add(done)?;
            let bytes = file.read_at(address, CHUNK + OVERLAP).ok()?;
            for at in (0..bytes.len().min(CHUNK as usize)).step_by(step) {
                if is(bytes.get(at..).unwrap_or_default()) {
                    return address.checked_add(at as u64);
                }
            }
            done += CHUNK;
        }
    }
    None
}

/// The runtime's description of this module: it begins with the table's address.
fn module(
    file: &ElfFile,
    relocations: &Relocations,
    table: u64,
    head: &Head,
    info: Option<&GoBuildInfo>,
) -> Option<Module> {
    if head.version < Version::Go116 {
        return None;
    }
    let parse = |address| parse_module(file, relocations, address, table, head, info);
    if let Some(module) = relocations.places_of(table).take(MAX_CANDIDATES).find_map(parse) {
        return Some(module);
    }
    let (layout, word) = (file.layout, usize::from(file.layout.pointer));
    let mut candidates = Vec::new();
    let mut budget = MAX_SEARCH;
    // A search that ends at the first that is right would have to read while it reads.
    for segment in file.segments().iter().filter(|segment| segment.writable) {
        let mut done = 0;
        while done < segment.size && candidates.len() < MAX_CANDIDATES && budget > 0 {
            budget = budget.saturating_sub(CHUNK);
            let address = segment.address.checked_add(done)?;
            let bytes = file.read_at(address, CHUNK).ok()?;
            let places = (0..bytes.len()).step_by(word);
            let right = places.filter(|at| layout.word(&bytes, *at) == Some(table));
            candidates.extend(right.map(|at| address + at as u64));
            done += CHUNK;
        }
    }
    candidates.into_iter().take(MAX_CANDIDATES).find_map(parse)
}

/// The `moduledata` at `address`, if that is what is there: its lists must be those of the table.
fn parse_module(
    file: &ElfFile,
    relocations: &Relocations,
    address: u64,
    table: u64,
    head: &Head,
    info: Option<&GoBuildInfo>,
) -> Option<Module> {
    let size = u64::from(file.layout.pointer);
    let mut bytes = file.read_at(address, MODULE_WORDS * size).ok()?;
    relocations.apply(file, &mut bytes, address);
    let word = |index: usize| file.layout.word(&bytes, index * usize::from(file.layout.pointer));
    // pcHeader; funcnametab, cutab, filetab, pctab, pclntable, ftab as address, length, capacity;
    // findfunctab, minpc, maxpc, text, etext: the same from 1.16 to 1.27.
    let names = table.checked_add(head.names() as u64)?;
    let functions = table.checked_add(head.functions() as u64)?;
    let right = word(0)? == table
        && word(1)? == names
        && word(13)? == functions
        && word(17)? == head.count.checked_add(1)?
        && word(22)? <= word(20)?
        && word(20)? <= word(21)?;
    if !right || head.text.is_some_and(|text| Some(text) != word(22)) {
        return None;
    }
    let function_data = match (head.version, info.and_then(GoBuildInfo::release)) {
        (Version::Go118, _) => word(38),
        (Version::Go120, Some((1, 20..=26))) => word(40),
        (Version::Go120, Some((1, 27))) => word(43),
        _ => None,
    };
    let end = word(13)?.checked_add(word(14)?)?;
    Some(Module { text: word(22)?, function_data, end })
}

/// What addresses are counted from, known by the function that the program begins in. The linker
/// put that there itself, unless a C compiler's linker was used.
fn text_by_entry(file: &ElfFile, bytes: &[u8]) -> Option<u64> {
    let table = Table::new(bytes.to_vec(), file.layout, 0).ok()?;
    let mut entries = (0..table.count()).filter_map(|index| table.entry(index));
    let start = entries.find(|entry| {
        let name = table.name(entry).unwrap_or_default();
        name.starts_with(b"_rt0_") && name.ends_with(b"_linux")
    })?;
    let text = file.entry().checked_sub(start.address)?;
    (file.section(".text")?.address == text).then_some(text)
}
