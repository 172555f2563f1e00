use std::borrow::Cow;

/// The most bytes of names that are kept of one file. In a file that was made to harm, a million
/// symbols can share one long name.
pub(crate) const MAX_NAMES: u64 = 512 << 20;

/// The functions of a file, by address and by name.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Sorted by address; of entries at the same address the preferred one comes last.
    entries: Vec<Entry>,
    /// All names, one after the other.
    names: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    size: u64,
    /// Where the name is among the names.
    name: (u32, u32),
    binding: Binding,
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
    /// Its name as it stands in the file: mangled, where the language mangles.
    pub name: &'a [u8],
    /// Its first address, as the file counts them: not where a process has it mapped.
    pub address: u64,
    /// Its size in bytes; 0 when the file does not say.
    pub size: u64,
}

impl Symbols {
    /// How many functions there are.
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

    /// The function that covers `address`; of several, the one that starts last. One whose size
    /// the file does not say reaches to the next function.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<Symbol<'_>> {
        /// How many functions that end too early are passed over in search of one that encloses
        /// them. Functions in functions are rare; this bounds the search.
        const NESTED: usize = 16;
        let after = self.entries.partition_point(|entry| entry.address <= address);
        let before = self.entries.get(..after)?;
        before
            .iter()
            .rev()
            .take(NESTED)
            .find(|entry| entry.size == 0 || address - entry.address < entry.size)
            .map(|entry| self.symbol(entry))
    }

    /// The functions of this name, as it stands in the file; names of local functions can be there
    /// more than once. Looks at every function.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Symbol<'a>> {
        self.iter().filter(move |symbol| symbol.name == name.as_bytes())
    }

    fn symbol(&self, entry: &Entry) -> Symbol<'_> {
        Symbol { name: self.name(entry), address: entry.address, size: entry.size }
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let (start, end) = entry.name;
        self.names.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Adds a function; false when there is no more room for names.
    pub(crate) fn push(&mut self, name: &[u8], address: u64, size: u64, binding: Binding) -> bool {
        let start = self.names.len();
        let end = start + name.len();
        if end as u64 > MAX_NAMES {
            return false;
        }
        // No truncation: the bound on names is less than 4 GiB.
        let name_at = (start as u32, end as u32);
        self.names.extend_from_slice(name);
        self.entries.push(Entry { address, size, name: name_at, binding });
        true
    }

    /// Puts what was added in order, and drops what is there twice.
    pub(crate) fn finish(mut self) -> Self {
        let mut entries = std::mem::take(&mut self.entries);
        let key = |entry: &Entry| (entry.address, entry.size != 0, entry.binding);
        entries.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| self.name(b).cmp(self.name(a))));
        entries.dedup_by(|a, b| a.address == b.address && self.name(a) == self.name(b));
        entries.shrink_to_fit();
        Self { entries, names: self.names }
    }
}

impl<'a> Symbol<'a> {
    /// The name as its language writes it (C++, Rust); the name itself when it is not mangled.
    #[must_use]
    pub fn demangled(&self) -> Cow<'a, str> {
        /// Longer names are shown as they are: whoever wrote one did not mean it to be read.
        const LONGEST: usize = 32 << 10;
        match String::from_utf8_lossy(self.name) {
            Cow::Borrowed(name) if name.len() <= LONGEST => symbolic_demangle::demangle(name),
            name => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Binding, Symbols};

    fn symbols(list: &[(&str, u64, u64, Binding)]) -> Symbols {
        let mut symbols = Symbols::default();
        for (name, address, size, binding) in list {
            assert!(symbols.push(name.as_bytes(), *address, *size, *binding));
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
    fn a_function_without_a_size_reaches_to_the_next() {
        let symbols =
            symbols(&[("_start", 10, 0, Binding::Global), ("main", 20, 5, Binding::Global)]);
        assert_eq!(name_at(&symbols, 19), Some("_start"));
        assert_eq!(name_at(&symbols, 24), Some("main"));
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
