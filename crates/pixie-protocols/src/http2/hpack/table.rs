//! The tables that fields are looked up in (RFC 7541, section 2.3).

use std::collections::VecDeque;
use std::ops::Range;

/// What an entry of the dynamic table takes besides its name and value (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// The size that a table begins with (RFC 9113, section 6.5.2).
const INITIAL_SIZE: usize = 4096;

/// The newest entries of the dynamic table, as far as they were seen.
///
/// Entries are found by their distance from the newest. So where the connection was joined midway,
/// or the table was lost, those that have come since are known all the same. An entry that is kept
/// for longer than the peers keep it does no harm, because it is not referred to any more.
#[derive(Debug)]
pub(crate) struct DynamicTable {
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// Names and values of the entries, one after the other.
    bytes: Vec<u8>,
    /// How many bytes went from the start of `bytes` since the connection began.
    dropped: u64,
    /// The size of the entries as far as they are known.
    size: usize,
    /// The size that it may have.
    max: usize,
    /// The size that we let it have at most.
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    /// Where the name starts, in bytes since the connection began.
    start: u64,
    /// The lengths; `None` for what is not known.
    name: Option<u32>,
    value: Option<u32>,
}

impl Entry {
    fn length(&self) -> usize {
        (self.name.unwrap_or_default() + self.value.unwrap_or_default()) as usize
    }

    /// At least.
    fn size(&self) -> usize {
        self.length() + ENTRY_OVERHEAD
    }
}

/// A name and a value, as far as they are known.
pub(crate) type Known<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

impl DynamicTable {
    /// An empty table that never takes more than about twice `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: Vec::new(),
            dropped: 0,
            size: 0,
            max: INITIAL_SIZE.min(limit),
            limit,
        }
    }

    /// The entry that is so many places before the newest.
    pub(crate) fn get(&self, distance: usize) -> Known<'_> {
        let place = self.entries.len().checked_sub(distance + 1);
        let Some(entry) = place.and_then(|place| self.entries.get(place)) else {
            return (None, None);
        };
        let start = usize::try_from(entry.start - self.dropped).unwrap_or(usize::MAX);
        let middle = start.saturating_add(entry.name.unwrap_or_default() as usize);
        let end = middle.saturating_add(entry.value.unwrap_or_default() as usize);
        let slice = |range: Range<usize>| self.bytes.get(range).unwrap_or_default();
        (entry.name.map(|_| slice(start..middle)), entry.value.map(|_| slice(middle..end)))
    }

    /// Adds an entry; the oldest go to make room.
    pub(crate) fn insert(&mut self, (name, value): Known<'_>) {
        let length = |part: Option<&[u8]>| part.map(|part| u32::try_from(part.len()).unwrap_or(0));
        let start = self.dropped + self.bytes.len() as u64;
        let entry = Entry { start, name: length(name), value: length(value) };
        self.evict_to(self.max.saturating_sub(entry.size()));
        // One that is too large leaves the table empty (RFC 7541, section 4.4).
        if entry.size() <= self.max {
            self.size += entry.size();
            self.bytes.extend_from_slice(name.unwrap_or_default());
            self.bytes.extend_from_slice(value.unwrap_or_default());
            self.entries.push_back(entry);
        }
    }

    /// Changes the size that it may have (RFC 7541, section 4.3).
    pub(crate) fn resize(&mut self, max: usize) {
        self.max = max.min(self.limit);
        self.evict_to(self.max);
    }

    /// Entries may have come that were not seen: where those are that were there is not known any
    /// more.
    pub(crate) fn forget(&mut self) {
        self.evict_to(0);
        // Whatever size it had been given, this one is enough until another is given.
        self.max = self.max.max(INITIAL_SIZE.min(self.limit));
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.size();
        }
        let unused = match self.entries.front() {
            Some(oldest) => usize::try_from(oldest.start - self.dropped).unwrap_or_default(),
            None => self.bytes.len(),
        };
        // Seldom, so that a byte is not moved again and again.
        if unused > self.bytes.len() / 2 {
            self.bytes.drain(..unused.min(self.bytes.len()));
            self.dropped += unused as u64;
        }
    }

    /// Bytes of memory that are held.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// The entry of the static table with this index, from 1 on (RFC 7541, appendix A).
pub(crate) fn static_entry(index: usize) -> Option<(&'static str, &'static str)> {
    STATIC.get(index.checked_sub(1)?).copied()
}

/// How many entries the static table has.
pub(crate) const STATIC_ENTRIES: usize = STATIC.len();

const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(name: &'a str, value: &'a str) -> Known<'a> {
        (Some(name.as_bytes()), Some(value.as_bytes()))
    }

    #[test]
    fn the_oldest_entries_go_first() {
        let mut table = DynamicTable::new(200);
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            table.insert(entry(name, "x"));
        }
        // 34 bytes each, so that five find room in 200.
        assert_eq!(table.get(0), entry("g", "x"));
        assert_eq!(table.get(4), entry("c", "x"));
        assert_eq!(table.get(5), (None, None));
        table.resize(70);
        assert_eq!((table.get(1), table.get(2)), (entry("f", "x"), (None, None)));
        table.insert(entry(&"n".repeat(100), ""));
        assert_eq!(table.get(0), (None, None), "too large");
    }

    #[test]
    fn what_is_not_known_takes_its_place() {
        let mut table = DynamicTable::new(4096);
        table.insert(entry("a", "1"));
        table.insert((None, Some(b"2")));
        table.insert(entry("c", "3"));
        assert_eq!(table.get(1), (None, Some(&b"2"[..])));
        assert_eq!(table.get(2), entry("a", "1"));
        table.forget();
        assert_eq!(table.get(0), (None, None));
        table.insert(entry("d", "4"));
        assert_eq!((table.get(0), table.get(1)), (entry("d", "4"), (None, None)));
    }

    #[test]
    fn memory_does_not_grow_with_what_has_gone() {
        let mut table = DynamicTable::new(4096);
        for number in 0..100_000 {
            table.insert(entry("name", &number.to_string()));
        }
        assert_eq!(table.get(0), entry("name", "99999"));
        assert!(table.memory() < 32 << 10, "{} bytes", table.memory());
    }
}
