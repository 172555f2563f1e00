//! Functions by address, whose names stay in the file: a large program has a hundred megabytes of names,
//! and few of them are asked for.

use crate::demangle::demangle;
use crate::input::Input;
use crate::symbols::{Binding, split_version};
use std::cmp::Reverse;
use std::io;
use std::ops::Range;

/// The longest name of a function in bytes; what is beyond is cut off.
const MAX_NAME: usize = 64 << 10;
/// Most names are not longer, in bytes: so much is read at first.
const USUAL_NAME: usize = 256;
/// How many functions that end too early are passed over in search of one that encloses them. Functions in
/// functions are rare; this bounds the search.
const NESTED: usize = 64;
/// How many names of one function are looked at; real ones have five or so.
const MAX_ALIASES: usize = 64;

/// Where the functions of a file are, and where in the file their names are.
pub(crate) struct FunctionIndex {
    /// Sorted by address; of those at the same address labels come last, before them small functions.
    entries: Box<[Entry]>,
    tables: Vec<Range<u64>>,
    input: Input,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    size: u32,
    /// Where in its table the name begins.
    name: u32,
    table: u8,
    rank: Rank,
    /// It does not only choose the function that will be called.
    direct: bool,
}

impl Entry {
    fn order(&self) -> impl Ord + use<> {
        let label = self.rank == Rank::Label;
        (self.address, label, Reverse(self.size), self.table, self.name)
    }
}

/// How widely a name is known; of several at one address the widest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// A place in code that is not said to be a function: as assembly has them. It gives a name to what no
    /// function covers.
    Label,
    Local,
    Weak,
    Global,
}

impl From<Binding> for Rank {
    fn from(binding: Binding) -> Self {
        match binding {
            Binding::Local => Self::Local,
            Binding::Weak => Self::Weak,
            Binding::Global => Self::Global,
        }
    }
}

impl FunctionIndex {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let input = if self.input.as_file().is_some() { 0 } else { self.input.length() };
        size_of_val(&*self.entries) + usize::try_from(input).unwrap_or(usize::MAX)
    }

    /// The number of the function that covers `address`; of several, the one that starts last.
    pub(crate) fn find(&self, address: u64) -> Option<usize> {
        let after = self.entries.partition_point(|entry| entry.address <= address);
        let before = self.entries.get(..after)?.iter().enumerate().rev().take(NESTED);
        let mut label = None;
        for (number, entry) in before {
            if address - entry.address < u64::from(entry.size) {
                match entry.rank {
                    Rank::Label => label = label.or(Some(number)),
                    _ => return Some(number),
                }
            }
        }
        label
    }

    /// The name of the function of this number, as its language writes it. Of several names, the one that
    /// is known most widely. `None` when it has none.
    pub(crate) fn name(&self, number: usize) -> io::Result<Option<String>> {
        let Some(found) = self.entries.get(number) else { return Ok(None) };
        let first = self.entries.partition_point(|entry| entry.address < found.address);
        let is_alias = |entry: &&Entry| {
            let label = |entry: &Entry| entry.rank == Rank::Label;
            // The size of the one that was found is the least that covers what was looked for.
            label(entry) == label(found) && entry.size >= found.size
        };
        let from = self.entries.get(first..).unwrap_or_default();
        let same = from.iter().take_while(|entry| entry.address == found.address);
        if same.clone().nth(1).is_none() {
            let name = self.read_name(found)?;
            let name = name.base();
            return Ok((!name.is_empty()).then(|| demangle(name).into_owned()));
        }
        let aliases: Vec<&Entry> = same.filter(is_alias).take(MAX_ALIASES).collect();
        let rank = |entry: &Entry| (entry.rank, entry.direct);
        let Some(widest) = aliases.iter().map(|entry| rank(entry)).max() else { return Ok(None) };
        let mut names = Vec::new();
        for alias in aliases.iter().filter(|entry| rank(entry) == widest) {
            names.push(self.read_name(alias)?);
        }
        let names = names.iter().map(Name::base).filter(|name| !name.is_empty());
        let best = names.max_by_key(|name| {
            let underscores = name.iter().take_while(|byte| **byte == b'_').count();
            (Reverse(underscores), Reverse(*name))
        });
        Ok(best.map(|name| demangle(name).into_owned()))
    }

    fn read_name(&self, entry: &Entry) -> io::Result<Name> {
        let Some(table) = self.tables.get(usize::from(entry.table)) else { return Ok(Name::EMPTY) };
        let start = table.start.saturating_add(entry.name.into());
        let rest = usize::try_from(table.end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut name = Name::EMPTY;
        let short = name.short.get_mut(..rest.min(USUAL_NAME)).unwrap_or_default();
        self.input.read_into(start, short)?;
        match memchr::memchr(0, short) {
            Some(end) => name.length = end,
            // The last name of a damaged table ends with the table.
            None if rest <= USUAL_NAME => name.length = rest,
            None => {
                let mut long = self.input.read(start, rest.min(MAX_NAME) as u64)?;
                long.truncate(memchr::memchr(0, &long).unwrap_or(long.len()));
                name.long = Some(long);
            }
        }
        Ok(name)
    }
}

/// A name as it stands in the file. Most are short, and take no memory of their own.
struct Name {
    short: [u8; USUAL_NAME],
    length: usize,
    long: Option<Vec<u8>>,
}

impl Name {
    const EMPTY: Self = Self { short: [0; USUAL_NAME], length: 0, long: None };

    /// Without its version.
    fn base(&self) -> &[u8] {
        let all = match &self.long {
            Some(long) => long,
            None => self.short.get(..self.length).unwrap_or_default(),
        };
        split_version(all).0
    }
}

/// Gathers what a [`FunctionIndex`] holds.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    entries: Vec<Entry>,
    /// Where those end at the latest that do not say where they do.
    limits: Vec<(u64, u64)>,
    tables: Vec<Range<u64>>,
}

impl IndexBuilder {
    /// Begins a table, whose names lie there in the file.
    pub(crate) fn begin_table(&mut self, offset: u64, size: u64) {
        self.tables.push(offset..offset.saturating_add(size));
    }

    /// Adds a function of the last table. `limit` is where one whose size is 0 ends at the latest.
    pub(crate) fn add(
        &mut self,
        address: u64,
        size: u64,
        limit: u64,
        name: u32,
        (rank, direct): (Rank, bool),
    ) {
        let Some(table) = self.tables.last() else { return };
        let Ok(number) = u8::try_from(self.tables.len() - 1) else { return };
        if name == 0 || u64::from(name) >= table.end - table.start {
            return;
        }
        if size == 0 && limit <= address {
            return;
        }
        let size = match size {
            0 => 0,
            size => u32::try_from(size).unwrap_or(u32::MAX),
        };
        if size == 0 {
            self.limits.push((address, limit));
        }
        self.entries.push(Entry { address, size, name, table: number, rank, direct });
    }

    pub(crate) fn finish(self, input: &Input) -> FunctionIndex {
        let Self { mut entries, mut limits, tables } = self;
        limits.sort_unstable();
        entries.sort_unstable_by_key(|entry| entry.address);
        extend(&mut entries, &limits);
        let mut covered = 0;
        entries.retain(|entry| {
            let end = entry.address.saturating_add(entry.size.into());
            match entry.rank {
                // One within a function adds nothing, and would reach beyond its end.
                Rank::Label => entry.address >= covered,
                _ => {
                    covered = end.max(covered);
                    true
                }
            }
        });
        FunctionIndex { entries: entries.into_boxed_slice(), tables, input: input.clone() }
    }
}

/// Gives those a size that have none: functions reach to the next function, labels to whatever comes next,
/// and none beyond its limit. They are sorted by address, and then in full.
fn extend(entries: &mut [Entry], limits: &[(u64, u64)]) {
    let limit = |address: u64| {
        let at = limits.partition_point(|(other, _)| *other < address);
        limits.get(at).filter(|(other, _)| *other == address).map_or(address, |(_, limit)| *limit)
    };
    // The nearest function, and the nearest of any kind, that are behind what is at the same address.
    let (mut function, mut any) = (u64::MAX, u64::MAX);
    for here in entries.chunk_by_mut(|a, b| a.address == b.address).rev() {
        let Some(address) = here.first().map(|entry| entry.address) else { continue };
        for entry in here.iter_mut().filter(|entry| entry.size == 0) {
            let next = if entry.rank == Rank::Label { any } else { function };
            let size = next.min(limit(address)).saturating_sub(address);
            entry.size = u32::try_from(size).unwrap_or(u32::MAX);
        }
        here.sort_unstable_by_key(Entry::order);
        if here.iter().any(|entry| entry.rank > Rank::Label) {
            function = address;
        }
        any = address;
    }
}

#[cfg(test)]
mod tests {
    use super::Rank::{Global, Label, Local, Weak};
    use super::*;

    fn index(list: &[(&str, u64, u64, Rank)]) -> FunctionIndex {
        let mut names = vec![0];
        let mut places = Vec::new();
        for (name, ..) in list {
            places.push(u32::try_from(names.len()).unwrap());
            names.extend(name.as_bytes());
            names.push(0);
        }
        let mut builder = IndexBuilder::default();
        builder.begin_table(0, names.len() as u64);
        for ((_, address, size, rank), name) in list.iter().zip(places) {
            builder.add(*address, *size, 1000, name, (*rank, true));
        }
        builder.finish(&Input::memory(names))
    }

    fn name_at(index: &FunctionIndex, address: u64) -> Option<String> {
        index.name(index.find(address)?).unwrap()
    }

    #[test]
    fn an_address_is_named_by_the_innermost_function_that_covers_it() {
        let index = index(&[
            ("late", 300, 10, Global),
            ("outer", 100, 100, Global),
            ("inner", 120, 10, Global),
        ]);
        let names = [99, 100, 119, 120, 129, 130, 199, 200, 309, 310]
            .map(|address| name_at(&index, address).unwrap_or_default());
        let expected = ["", "outer", "outer", "inner", "inner", "outer", "outer", "", "late", ""];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_label_names_what_no_function_covers() {
        let index = index(&[
            ("before", 50, 0, Label),
            ("function", 100, 20, Global),
            ("inside", 110, 0, Label),
            ("open", 200, 0, Global),
            ("within_open", 210, 0, Label),
            ("next", 300, 10, Local),
            ("beside", 300, 0, Label),
            ("last", 400, 0, Label),
        ]);
        let names = [49, 50, 99, 109, 110, 119, 120, 215, 299, 305, 310, 399, 400, 999, 1000]
            .map(|address| name_at(&index, address).unwrap_or_default());
        let expected = [
            "", "before", "before", "function", "function", "function", "", "open", "open", "next",
            "", "", "last", "last", "",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn of_several_names_the_most_widely_known_wins() {
        let index = index(&[
            ("__libc_write", 10, 5, Local),
            ("write@@GLIBC_2.2.5", 10, 5, Global),
            ("__write", 10, 5, Weak),
            ("_write", 10, 5, Global),
            ("longer", 10, 9, Global),
        ]);
        assert_eq!(name_at(&index, 12).as_deref(), Some("longer"));
        assert_eq!(name_at(&index, 16).as_deref(), Some("longer"));
        let without = self::index(&[("_write", 10, 5, Global), ("write", 10, 5, Global)]);
        assert_eq!(name_at(&without, 12).as_deref(), Some("write"));
    }

    #[test]
    fn a_long_name_is_read_in_full_and_one_without_end_ends_with_its_table() {
        let long = "n".repeat(3000);
        let list = index(&[(&long, 10, 5, Global), ("_ZN3foo3barEi", 20, 5, Global)]);
        assert_eq!(name_at(&list, 12).as_deref(), Some(&*long));
        assert_eq!(name_at(&list, 22).as_deref(), Some("foo::bar(int)"));
        let mut builder = IndexBuilder::default();
        builder.begin_table(0, 4);
        builder.add(10, 5, 1000, 1, (Global, true));
        builder.add(20, 5, 1000, 4, (Global, true));
        let open = builder.finish(&Input::memory(*b"\0abcdef"));
        assert_eq!(name_at(&open, 12).as_deref(), Some("abc"));
        assert_eq!(name_at(&open, 22), None);
    }
}
