use crate::demangle::demangle;
use crate::pattern::Pattern;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

/// The most bytes of names that are kept of one file.
pub(crate) const MAX_NAMES: u64 = 512 << 20;
/// The longest name of a function in bytes; what is beyond is cut off.
const MAX_NAME: usize = 64 << 10;

/// The functions of a file, by address and by name.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Sorted by address; of entries at the same address the preferred one comes last.
    entries: Box<[Entry]>,
    /// The file's tables of names, one after the other: names that end with a zero byte.
    names: Vec<u8>,
    versions: Vec<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    /// Where the file gives no size: up to the next function or the end of the section.
    size: u32,
    /// Where the name begins among the names.
    name: u32,
    /// The version's place among the versions, counted from 1; 0 for none.
    version: u16,
    default_version: bool,
    binding: Binding,
    indirect: bool,
}

/// How widely a symbol is known; of several at one address the widest gives the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Binding {
    Local,
    Weak,
    Global,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Symbol<'a> {
    /// Its name as it stands in the file, without the version: mangled, where the language mangles.
    pub name: &'a [u8],
    /// The version of a library's function that has any, such as `GLIBC_2.14`.
    pub version: Option<&'a [u8]>,
    /// Whether a program that is linked now gets this version of it (`@@` in `nm`).
    pub default_version: bool,
    /// Its first address, as the file counts them: not where a process has it mapped.
    pub address: u64,
    /// Its size in bytes. Where the file does not say: up to the next function, or the end of the
    /// section.
    pub size: u64,
    /// Whether this only chooses the function that will be called (`STT_GNU_IFUNC`). It runs once;
    /// a probe on it sees no calls.
    pub indirect: bool,
}

impl Symbols {
    /// How many functions there are, under all their names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there are none: the file was stripped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All functions, by address. One that has several names is there several times.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.entries.iter().map(|entry| self.symbol(entry))
    }

    /// The function that covers `address`; of several, the one that starts last. Of several names,
    /// the one that is known most widely.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<Symbol<'_>> {
        /// How many functions that end too early are passed over in search of one that encloses
        /// them. Functions in functions are rare; this bounds the search.
        const NESTED: usize = 64;
        let after = self.entries.partition_point(|entry| entry.address <= address);
        let before = self.entries.get(..after)?;
        before
            .iter()
            .rev()
            .take(NESTED)
            .find(|entry| address - entry.address < u64::from(entry.size))
            .map(|entry| self.symbol(entry))
    }

    /// The functions that start at `address`: all names of one function.
    pub fn starting_at(&self, address: u64) -> impl Iterator<Item = Symbol<'_>> {
        let first = self.entries.partition_point(|entry| entry.address < address);
        let from = self.entries.get(first..).unwrap_or_default();
        let aliases = from.iter().take_while(move |entry| entry.address == address);
        aliases.map(|entry| self.symbol(entry))
    }

    /// The functions of this name, as it stands in the file; names of local functions can be there
    /// more than once, and names of a library's functions with several versions. Looks at every
    /// function.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Symbol<'a>> {
        self.iter().filter(move |symbol| symbol.name == name.as_bytes())
    }

    /// The functions whose demangled name matches. Looks at every function, and demangles those
    /// that may match.
    pub fn matching<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = Symbol<'a>> {
        self.iter().filter(move |symbol| {
            pattern.may_match(symbol.name) && pattern.matches(&symbol.demangled())
        })
    }

    /// How much memory the index takes, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let versions: usize = self.versions.iter().map(|version| version.len()).sum();
        size_of_val(&*self.entries) + self.names.capacity() + versions
    }

    fn symbol(&self, entry: &Entry) -> Symbol<'_> {
        let (name, at_version) = split_version(name_at(&self.names, entry.name));
        let version = usize::from(entry.version).checked_sub(1);
        let version = version.and_then(|index| self.versions.get(index)).map(AsRef::as_ref);
        Symbol {
            name,
            version: version.or(at_version.map(|(version, _)| version)),
            default_version: entry.default_version,
            address: entry.address,
            size: entry.size.into(),
            indirect: entry.indirect,
        }
    }
}

fn name_at(names: &[u8], start: u32) -> &[u8] {
    let rest = names.get(start as usize..).unwrap_or_default();
    let longest = rest.get(..MAX_NAME).unwrap_or(rest);
    longest.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A name and its version with whether it is the default: the full symbol table has them in one,
/// `memcpy@@GLIBC_2.14`.
pub(crate) fn split_version(name: &[u8]) -> (&[u8], Option<(&[u8], bool)>) {
    let at = memchr::memchr(b'@', name).filter(|at| *at > 0);
    let Some((base, version)) = at.and_then(|at| name.split_at_checked(at)) else {
        return (name, None);
    };
    match version.strip_prefix(b"@@") {
        Some(version) => (base, Some((version, true))),
        None => (base, Some((version.get(1..).unwrap_or_default(), false))),
    }
}

impl<'a> Symbol<'a> {
    /// The name as its language writes it (C++, Rust); the name itself when it is not mangled.
    #[must_use]
    pub fn demangled(&self) -> Cow<'a, str> {
        demangle(self.name)
    }
}

/// What a symbol table says of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    pub(crate) address: u64,
    /// 0 when the table does not say.
    pub(crate) size: u64,
    /// Where a function whose size is not known ends at the latest.
    pub(crate) limit: u64,
    pub(crate) binding: Binding,
    pub(crate) indirect: bool,
    /// The version's number, as it was given by [`SymbolsBuilder::add_version`], and whether it is
    /// the default.
    pub(crate) version: Option<(u16, bool)>,
}

/// Gathers what [`Symbols`] holds.
#[derive(Debug, Default)]
pub(crate) struct SymbolsBuilder {
    functions: Vec<(Definition, u32)>,
    names: Vec<u8>,
    versions: HashMap<Box<[u8]>, u16>,
}

impl SymbolsBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a table of names, and returns where its names begin; `None` when there is no more room.
    pub(crate) fn add_names(&mut self, table: &[u8]) -> Option<u32> {
        let start = self.names.len();
        if (start + table.len()) as u64 >= MAX_NAMES {
            return None;
        }
        self.names.reserve_exact(table.len() + 1);
        self.names.extend_from_slice(table);
        self.names.push(0); // The last name of a damaged table ends with the table.
        u32::try_from(start).ok()
    }

    /// The number of a version; `None` when there are too many.
    pub(crate) fn add_version(&mut self, name: &[u8]) -> Option<u16> {
        if let Some(number) = self.versions.get(name) {
            return Some(*number);
        }
        let number = u16::try_from(self.versions.len() + 1).ok()?;
        self.versions.insert(name.into(), number);
        Some(number)
    }

    /// Adds a function whose name is at `offset` in the table that begins at `base`.
    pub(crate) fn add(&mut self, base: u32, offset: u32, definition: Definition) {
        let Some(name) = base.checked_add(offset) else { return };
        if !matches!(self.names.get(name as usize), None | Some(0)) {
            self.functions.push((definition, name));
        }
    }

    pub(crate) fn finish(self) -> Symbols {
        let Self { mut functions, names, versions } = self;
        functions.sort_unstable_by_key(|(definition, _)| definition.address);
        let ends = extents(&functions);
        let entries = functions.iter().zip(ends).map(|((definition, name), size)| {
            let at_version = split_version(name_at(&names, *name)).1;
            let default_version =
                definition.version.map_or(at_version.is_some_and(|at| at.1), |version| version.1);
            Entry {
                address: definition.address,
                size,
                name: *name,
                version: definition.version.map_or(0, |version| version.0),
                default_version,
                binding: definition.binding,
                indirect: definition.indirect,
            }
        });
        let mut entries: Vec<Entry> = entries.collect();
        drop(functions);
        let base_name = |entry: &Entry| split_version(name_at(&names, entry.name)).0;
        let told = |entry: &Entry| (entry.default_version, entry.version != 0);
        // What is the same function under the same name twice comes to lie side by side.
        // Names are looked at only where that decides: they are long.
        entries.sort_unstable_by(|a, b| {
            let key = |entry: &Entry| {
                let name = base_name(entry);
                let underscores = name.iter().take_while(|byte| **byte == b'_').count();
                (entry.binding, !entry.indirect, Reverse(underscores), Reverse(name))
            };
            let by_name = || key(a).cmp(&key(b)).then_with(|| told(b).cmp(&told(a)));
            a.address.cmp(&b.address).then_with(by_name)
        });
        entries.dedup_by(|a, b| a.address == b.address && base_name(a) == base_name(b));
        let mut in_order: Vec<(Box<[u8]>, u16)> = versions.into_iter().collect();
        in_order.sort_unstable_by_key(|(_, number)| *number);
        let versions = in_order.into_iter().map(|(name, _)| name).collect();
        Symbols { entries: entries.into(), names, versions }
    }
}

/// The size of each function, which are sorted by address.
fn extents(functions: &[(Definition, u32)]) -> Vec<u32> {
    let mut sizes = vec![0; functions.len()];
    let (mut next, mut current) = (u64::MAX, u64::MAX);
    for ((definition, _), size) in functions.iter().zip(&mut sizes).rev() {
        if definition.address != current {
            (next, current) = (current, definition.address);
        }
        let to_next = next.min(definition.limit).saturating_sub(definition.address);
        let extent = if definition.size == 0 { to_next } else { definition.size };
        *size = u32::try_from(extent).unwrap_or(u32::MAX);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::{Binding, Definition, Symbols, SymbolsBuilder};

    fn symbols(list: &[(&str, u64, u64, Binding)]) -> Symbols {
        let mut symbols = SymbolsBuilder::new();
        for (name, address, size, binding) in list {
            let base = symbols.add_names(name.as_bytes()).unwrap();
            let definition = Definition {
                address: *address,
                size: *size,
                limit: 1000,
                binding: *binding,
                indirect: false,
                version: None,
            };
            symbols.add(base, 0, definition);
        }
        symbols.finish()
    }

    fn name_at(symbols: &Symbols, address: u64) -> Option<&str> {
        symbols.at(address).map(|symbol| std::str::from_utf8(symbol.name).unwrap())
    }

    #[test]
    fn an_address_is_named_by_the_innermost_function_that_covers_it() {
        use Binding::Global;
        let symbols = symbols(&[
            ("late", 300, 10, Global),
            ("outer", 100, 100, Global),
            ("inner", 120, 10, Global),
        ]);
        let names = [99, 100, 119, 120, 129, 130, 199, 200, 309, 310]
            .map(|address| name_at(&symbols, address));
        let [outer, inner, late] = [Some("outer"), Some("inner"), Some("late")];
        let expected = [None, outer, outer, inner, inner, outer, outer, None, late, None];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_function_without_a_size_reaches_to_the_next_or_to_the_end_of_its_section() {
        let symbols = symbols(&[
            ("_start", 10, 0, Binding::Global),
            ("main", 20, 5, Binding::Global),
            ("_fini", 990, 0, Binding::Global),
        ]);
        assert_eq!(name_at(&symbols, 19), Some("_start"));
        assert_eq!(name_at(&symbols, 24), Some("main"));
        assert_eq!(name_at(&symbols, 999), Some("_fini"));
        assert_eq!(name_at(&symbols, 1000), None);
    }

    #[test]
    fn of_several_names_the_most_widely_known_wins_and_all_are_found() {
        let symbols = symbols(&[
            ("__libc_write", 10, 5, Binding::Local),
            ("write", 10, 5, Binding::Global),
            ("__write", 10, 5, Binding::Weak),
            ("write", 10, 5, Binding::Global),
        ]);
        assert_eq!(name_at(&symbols, 12), Some("write"));
        assert_eq!(symbols.named("__libc_write").count(), 1);
        assert_eq!(symbols.named("write").count(), 1, "the same symbol of both tables is one");
        assert_eq!(symbols.len(), 3);
        assert_eq!(symbols.starting_at(10).count(), 3);
        assert_eq!(symbols.starting_at(11).count(), 0);
    }

    #[test]
    fn a_version_in_the_name_is_told_apart_from_it() {
        let symbols = symbols(&[
            ("memcpy@@GLIBC_2.14", 10, 5, Binding::Global),
            ("memcpy@GLIBC_2.2.5", 20, 5, Binding::Global),
            ("@odd", 30, 5, Binding::Global),
        ]);
        let versions: Vec<_> = symbols
            .named("memcpy")
            .map(|symbol| (symbol.version, symbol.default_version))
            .collect();
        let expected: [(Option<&[u8]>, bool); 2] =
            [(Some(b"GLIBC_2.14"), true), (Some(b"GLIBC_2.2.5"), false)];
        assert_eq!(versions, expected);
        assert_eq!(name_at(&symbols, 30), Some("@odd"));
    }

    #[test]
    fn names_are_demangled_by_their_language() {
        let symbols = symbols(&[
            ("_ZN3foo3barEi", 1, 1, Binding::Global),
            ("_RNvC6_123foo3bar", 2, 1, Binding::Global),
            ("_ZN4core3fmt5write17h0123456789abcdefE", 3, 1, Binding::Global),
            ("main", 4, 1, Binding::Global),
            ("_Z", 5, 1, Binding::Global),
        ]);
        let names = [1, 2, 3, 4, 5].map(|address| symbols.at(address).unwrap().demangled());
        assert_eq!(names, ["foo::bar(int)", "123foo::bar", "core::fmt::write", "main", "_Z"]);
    }
}
