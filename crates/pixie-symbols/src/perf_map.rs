use crate::kernel::for_each_line;
use std::io::{self, BufRead};

/// The most functions, and bytes of names, that are kept of one map.
const MAX_ENTRIES: usize = 4 << 20;
const MAX_NAMES: usize = 256 << 20;
/// How many functions that end too early are passed over in search of one that covers an address.
const OVERLAPPING: usize = 64;

/// The functions that a run-time compiler made: `/tmp/perf-PID.map`, which Node.js, Java agents and
/// others write for `perf`.
#[derive(Clone, Debug, Default)]
pub struct PerfMap {
    /// Sorted by address; of those at one address, what was written last comes last.
    entries: Vec<Entry>,
    names: String,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    size: u32,
    name: u32,
    length: u16,
    /// What was written later replaces what was there.
    order: u32,
}

impl PerfMap {
    /// Reads a map: lines of `START SIZE NAME`, in hexadecimal. Lines that are not understood are
    /// passed over.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn parse(reader: impl BufRead) -> io::Result<Self> {
        let mut map = Self::default();
        for_each_line(reader, |line| {
            map.add(line);
            map.entries.len() < MAX_ENTRIES && map.names.len() < MAX_NAMES
        })?;
        map.entries.sort_by_key(|entry| entry.start);
        Ok(map)
    }

    /// How many functions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The name and first address of the function that covers `address`; of several, the one that
    /// was made last.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<(&str, u64)> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        let before = self.entries.get(..after)?.iter().rev().take(OVERLAPPING);
        let covering = before.filter(|entry| address - entry.start < u64::from(entry.size));
        let entry = covering.max_by_key(|entry| entry.order)?;
        let start = entry.name as usize;
        Some((self.names.get(start..start + usize::from(entry.length))?, entry.start))
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.names.capacity()
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (start, rest) = line.split_once(' ')?;
        let (size, name) = rest.split_once(' ')?;
        let hexadecimal =
            |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
        let entry = Entry {
            start: hexadecimal(start)?,
            size: u32::try_from(hexadecimal(size)?).ok()?,
            name: u32::try_from(self.names.len()).ok()?,
            length: u16::try_from(name.len()).ok().filter(|length| *length > 0)?,
            order: u32::try_from(self.entries.len()).ok()?,
        };
        self.names.push_str(name);
        self.entries.push(entry);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::PerfMap;

    #[test]
    fn what_was_made_last_replaces_what_was_there() {
        let text = "1000 100 old one\n2000 10 LazyCompile:~f a.js:1\n1080 20 new\nbad\n3000 x y\n";
        let map = PerfMap::parse(text.as_bytes()).unwrap();
        assert_eq!(map.len(), 3);
        let name = |address| map.at(address).map(|(name, _)| name);
        assert_eq!(name(0x1000), Some("old one"));
        assert_eq!(name(0x1080), Some("new"));
        assert_eq!(name(0x10a0), Some("old one"));
        assert_eq!(name(0x200f), Some("LazyCompile:~f a.js:1"));
        assert_eq!(name(0x2010), None);
        assert_eq!(name(0xfff), None);
    }
}
