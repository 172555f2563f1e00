//! Looks for functions by name without holding all of a file's names.

use super::ElfFile;
use super::symbol_table::{self, Table};
use crate::ElfError;
use object::elf;
use std::collections::HashMap;
use std::io;

/// How much is read at once, in bytes.
const CHUNK: u64 = 1 << 18;
/// The most bytes of names and symbols that are looked through.
const MAX_SEARCHED: u64 = 1 << 30;
/// The longest name that is looked for, in bytes; of longer ones in a file the start is not seen.
const MAX_NAME: usize = 4 << 10;
/// The most functions that are found.
const MAX_FOUND: usize = 4 << 10;

/// Which functions to look for.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Wanted<'a> {
    /// By their names, as they stand in the file: names of four bytes and more.
    pub names: &'a [&'a str],
    /// Those whose names, as they stand in the file, have all parts of one of these in them: how
    /// mangled names are found.
    pub parts: &'a [&'a [&'a str]],
}

impl<'a> Wanted<'a> {
    /// These names.
    #[must_use]
    pub fn names(names: &'a [&'a str]) -> Self {
        Self { names, parts: &[] }
    }

    /// Besides, the names that have all parts of one of these in them.
    #[must_use]
    pub fn or_with_parts(self, parts: &'a [&'a [&'a str]]) -> Self {
        Self { parts, ..self }
    }
}

/// A function that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct FoundFunction {
    /// Its name, as it stands in the file, without its version.
    pub name: String,
    /// Its first address.
    pub address: u64,
    /// Its size in bytes; 0 when the file does not say.
    pub size: u64,
    /// Whether programs that load the file can call it: it is in the dynamic symbol table.
    pub exported: bool,
}

impl FoundFunction {
    /// A function that is known in another way: 0 for a size that is not known.
    #[must_use]
    pub fn new(name: String, address: u64, size: u64) -> Self {
        Self { name, address, size, exported: false }
    }
}

impl ElfFile {
    /// Looks for functions that the file defines. Each is told once a name, the exported ones first.
    ///
    /// Takes little memory and no more time than reading the symbols takes, however many there are:
    /// for a few functions of many files. [`ElfFile::symbols`] holds all of them.
    ///
    /// # Errors
    /// When the tables are damaged, or larger than those of anything real.
    pub fn find_functions(&self, wanted: Wanted<'_>) -> Result<Vec<FoundFunction>, ElfError> {
        let mut tables = symbol_table::tables(self, MAX_SEARCHED)?;
        tables.sort_by_key(|table| !table.dynamic);
        // A real file has one of each.
        tables.truncate(2);
        let mut found: Vec<FoundFunction> = Vec::new();
        for table in tables {
            let names = self.names_in(table.names, wanted)?;
            if !names.is_empty() {
                self.symbols_of(&table, &names, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Where in a table of names the wanted ones are. A name may be the end of another.
    fn names_in(
        &self,
        (start, size): (u64, u64),
        wanted: Wanted<'_>,
    ) -> Result<HashMap<u32, String>, ElfError> {
        let ends = Ends::new(wanted.names);
        let mut found = HashMap::new();
        self.for_each_name(start, size, &mut |at, name| {
            let mut add = |at: usize, name: &[u8]| {
                if let (Ok(at), Ok(name)) = (u32::try_from(at), str::from_utf8(name))
                    && found.len() < MAX_FOUND
                {
                    found.insert(at, name.to_owned());
                }
            };
            for end in ends.of(name) {
                add(at + (name.len() - end.len()), end.as_bytes());
            }
            let has = |part: &&str| memchr::memmem::find(name, part.as_bytes()).is_some();
            if wanted.parts.iter().any(|parts| parts.iter().all(has)) {
                add(at, name);
            }
        })?;
        Ok(found)
    }

    /// Shows every name in a table, and where it begins in it; a version at its end is cut off.
    fn for_each_name(
        &self,
        start: u64,
        size: u64,
        each: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), ElfError> {
        let mut rest: Vec<u8> = Vec::new();
        let (mut rest_at, mut done) = (0_usize, 0);
        while done < size {
            let length = CHUNK.min(size - done);
            let chunk = self.input.read(in_file(start, done)?, length)?;
            done += length;
            rest.extend_from_slice(&chunk);
            let mut at = 0;
            while let Some(end) = memchr::memchr(0, rest.get(at..).unwrap_or_default()) {
                let name = rest.get(at..at + end).unwrap_or_default();
                if !name.is_empty() {
                    each(rest_at + at, unversioned(name));
                }
                at += end + 1;
            }
            // What is not ended yet is looked at with what follows; of endless names, the end.
            let keep = at.max(rest.len().saturating_sub(MAX_NAME));
            rest.drain(..keep);
            rest_at += keep;
        }
        if !rest.is_empty() {
            each(rest_at, unversioned(&rest));
        }
        Ok(())
    }

    /// The functions of a table that have these names.
    fn symbols_of(
        &self,
        table: &Table,
        names: &HashMap<u32, String>,
        found: &mut Vec<FoundFunction>,
    ) -> Result<(), ElfError> {
        symbol_table::for_each(self, table, |_, symbol| {
            let Some(name) = names.get(&symbol.name) else { return };
            if symbol.kind != elf::STT_FUNC || !symbol.is_defined() || found.len() >= MAX_FOUND {
                return;
            }
            let known =
                |other: &FoundFunction| other.address == symbol.address && other.name == *name;
            if !found.iter().any(known) {
                found.push(FoundFunction {
                    name: name.clone(),
                    address: symbol.address,
                    size: symbol.size,
                    exported: table.dynamic,
                });
            }
        })
    }
}

fn in_file(start: u64, distance: u64) -> Result<u64, ElfError> {
    let beyond = || ElfError::Read(io::ErrorKind::UnexpectedEof.into());
    start.checked_add(distance).ok_or_else(beyond)
}

/// The full symbol table has names and versions in one: `memcpy@@GLIBC_2.14`.
fn unversioned(name: &[u8]) -> &[u8] {
    match memchr::memchr(b'@', name) {
        Some(at) if at > 0 => name.get(..at).unwrap_or(name),
        _ => name,
    }
}

/// Names, to be found at the ends of others.
struct Ends<'a> {
    /// By their last bytes.
    by_tail: HashMap<[u8; 4], Vec<&'a str>>,
}

impl<'a> Ends<'a> {
    fn new(names: &'a [&'a str]) -> Self {
        let mut by_tail: HashMap<[u8; 4], Vec<&str>> = HashMap::new();
        for name in names {
            if let Some(tail) = name.as_bytes().last_chunk() {
                by_tail.entry(*tail).or_default().push(name);
            }
        }
        Self { by_tail }
    }

    /// Those that `name` ends with.
    fn of(&self, name: &[u8]) -> impl Iterator<Item = &'a str> {
        let candidates = name.last_chunk().and_then(|tail| self.by_tail.get(tail));
        let candidates = candidates.map(Vec::as_slice).unwrap_or_default();
        candidates.iter().copied().filter(move |end| name.ends_with(end.as_bytes()))
    }
}
