//! Go's table of functions, `.gopclntab`: which function is where, and which line. The runtime needs
//! it to walk stacks, so it is in every program, stripped or not.
//!
//! The layouts are those of the linker, `cmd/link/internal/ld/pcln.go`, and of the runtime,
//! `runtime/symtab.go` and `runtime/runtime2.go` (`_func`), of the Go versions concerned.

use super::GoError;
use crate::layout::Layout;

/// The longest name of a function or file that is looked at, in bytes.
const MAX_NAME: usize = 64 << 10;

/// A table of functions.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    bytes: Vec<u8>,
    layout: Layout,
    version: Version,
    /// What distances between instructions are counted in, in bytes.
    quantum: u32,
    /// What functions' addresses are counted from.
    text: u64,
    count: usize,
    /// Where the parts of the table begin.
    parts: Parts,
}

/// By the Go version that a layout came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Go12,
    Go116,
    Go118,
    Go120,
}

#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    functions: usize,
    /// Where the list of entries begins; what an entry points to is counted from `functions`.
    entries: usize,
}

/// The head of a table, which says where everything else is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) version: Version,
    pub(crate) count: u64,
    /// What addresses are counted from, where the head says so: Go 1.18 to 1.25.
    pub(crate) text: Option<u64>,
    quantum: u32,
    parts: Parts,
}

/// Where in the table a function is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) address: u64,
    /// Where the next function begins.
    pub(crate) end: u64,
    record: usize,
}

impl Head {
    /// The number of bytes at the start of a table that [`Head::parse`] looks at.
    pub(crate) const SIZE: usize = 8 + 8 * 8;

    /// The head of the table that begins here; `None` when none does.
    pub(crate) fn parse(bytes: &[u8], layout: Layout) -> Option<Self> {
        let version = match layout.u32(bytes, 0)? {
            0xffff_fffb => Version::Go12,
            0xffff_fffa => Version::Go116,
            0xffff_fff0 => Version::Go118,
            0xffff_fff1 => Version::Go120,
            _ => return None,
        };
        let (&[0, 0, quantum @ (1 | 2 | 4), pointer], word) =
            (bytes.get(4..8)?, usize::from(layout.pointer))
        else {
            return None;
        };
        if pointer != layout.pointer {
            return None;
        }
        let number = |index: usize| layout.word(bytes, 8 + index * word);
        let place = |index: usize| usize::try_from(number(index)?).ok();
        let count = number(0)?;
        let parts = match version {
            Version::Go12 => {
                let entries = 8 + word;
                let files = usize::try_from(count).ok()?.checked_mul(2 * word)?;
                // Replaced by what is written there, when the whole table is known.
                let files = files.checked_add(entries + word)?;
                Parts { entries, files, ..Parts::default() }
            }
            _ => {
                // After 1.18 the text's start is (or was) between the counts and the offsets.
                let first = if version >= Version::Go118 { 3 } else { 2 };
                let [names, units, files, values, functions] =
                    [0, 1, 2, 3, 4].map(|i| place(first + i));
                let functions = functions?;
                let (names, units, files) = (names?, units?, files?);
                Parts { names, units, files, values: values?, functions, entries: functions }
            }
        };
        let text = (version >= Version::Go118).then(|| number(2)).flatten();
        let text = text.filter(|text| *text != 0);
        Some(Self { version, count, text, quantum: quantum.into(), parts })
    }

    /// Where the names begin.
    pub(crate) fn names(&self) -> usize {
        self.parts.names
    }

    /// Where the names end, in the order that the linker writes the parts in.
    pub(crate) fn end_of_names(&self) -> usize {
        self.parts.units
    }

    /// Where the list of functions begins.
    pub(crate) fn functions(&self) -> usize {
        self.parts.functions
    }

    /// Whether the parts follow each other as the linker writes them.
    pub(crate) fn is_ordered(&self) -> bool {
        let parts = &self.parts;
        let order = [parts.names, parts.units, parts.files, parts.values, parts.functions];
        self.version == Version::Go12 || (parts.names >= 32 && order.is_sorted())
    }
}

impl Table {
    /// The table that `bytes` begin with. `text` is what addresses are counted from, since Go 1.18.
    pub(crate) fn new(bytes: Vec<u8>, layout: Layout, text: u64) -> Result<Self, GoError> {
        let head = Head::parse(&bytes, layout).ok_or(GoError::Malformed("the table's head"))?;
        let mut parts = head.parts;
        if head.version == Version::Go12 {
            let files = layout.u32(&bytes, parts.files);
            parts.files = files.ok_or(GoError::Malformed("the list of files"))? as usize;
        }
        let (version, quantum) = (head.version, head.quantum);
        let count = usize::try_from(head.count).unwrap_or(usize::MAX);
        let table = Self { bytes, layout, version, quantum, text, count, parts };
        // The address after the last is where the last function ends.
        match count.checked_add(1).and_then(|all| all.checked_mul(table.entry_size())) {
            Some(size) if size <= table.bytes.len() && count > 0 => Ok(table),
            _ => Err(GoError::Malformed("the number of functions")),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// The function with this number, in the order of addresses.
    pub(crate) fn entry(&self, index: usize) -> Option<Entry> {
        if index >= self.count {
            return None;
        }
        let (address, end) = (self.address(index)?, self.address(index + 1)?);
        let offset = match self.version {
            Version::Go12 | Version::Go116 => {
                let word = usize::from(self.layout.pointer);
                self.layout.word(&self.bytes, self.entry_at(index)?.checked_add(word)?)?
            }
            _ => self.layout.u32(&self.bytes, self.entry_at(index)?.checked_add(4)?)?.into(),
        };
        let record = self.parts.functions.checked_add(usize::try_from(offset).ok()?)?;
        Some(Entry { address, end, record })
    }

    /// The function that covers `address`.
    pub(crate) fn at(&self, address: u64) -> Option<Entry> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.address(middle)? <= address { low = middle + 1 } else { high = middle }
        }
        let entry = self.entry(low.checked_sub(1)?)?;
        (entry.address <= address && address < entry.end).then_some(entry)
    }

    pub(crate) fn name(&self, entry: &Entry) -> Option<&[u8]> {
        self.name_at(self.field(entry, 0)?)
    }

    /// The name at an offset among the names.
    pub(crate) fn name_at(&self, offset: u32) -> Option<&[u8]> {
        let name = self.string(self.parts.names.checked_add(offset as usize)?)?;
        (!name.is_empty()).then_some(name)
    }

    /// The file and line of the instruction at `address`.
    pub(crate) fn line(&self, entry: &Entry, address: u64) -> Option<(&[u8], u32)> {
        let file = self.value(entry, self.field(entry, 4)?, address)?;
        let line = self.value(entry, self.field(entry, 5)?, address)?;
        let (file, line) = (u32::try_from(file).ok()?, u32::try_from(line).ok()?);
        let at = |start: usize, index: u32| {
            let place = start.checked_add((index as usize).checked_mul(4)?)?;
            self.layout.u32(&self.bytes, place).map(|offset| offset as usize)
        };
        let name = match self.version {
            Version::Go12 => at(self.parts.files, file)?,
            _ => {
                let unit = self.field(entry, 7)?.checked_add(file)?;
                let offset = at(self.parts.units, unit)?;
                if offset == u32::MAX as usize {
                    return None;
                }
                self.parts.files.checked_add(offset)?
            }
        };
        Some((self.string(name)?, line))
    }

    /// The value of one of the function's tables (`PCDATA_…`) at `address`.
    pub(crate) fn pc_data(&self, entry: &Entry, number: u32, address: u64) -> Option<i32> {
        if number >= self.field(entry, 6)? {
            return None;
        }
        let place = self.after_record(entry)?.checked_add(number as usize * 4)?;
        self.value(entry, self.layout.u32(&self.bytes, place)?, address)
    }

    /// Where one of the function's data (`FUNCDATA_…`) is, counted from where all of them begin.
    /// Since Go 1.18; before, addresses were written here.
    pub(crate) fn function_data(&self, entry: &Entry, number: u8) -> Option<u32> {
        let after = self.after_record(entry)?;
        let count = *self.bytes.get(after.checked_sub(1)?)?;
        if number >= count || self.version < Version::Go118 {
            return None;
        }
        let values = (self.field(entry, 6)? as usize).checked_mul(4)?;
        let place = after.checked_add(values)?.checked_add(usize::from(number) * 4)?;
        self.layout.u32(&self.bytes, place).filter(|offset| *offset != u32::MAX)
    }

    fn entry_size(&self) -> usize {
        match self.version {
            Version::Go12 | Version::Go116 => 2 * usize::from(self.layout.pointer),
            _ => 8,
        }
    }

    fn entry_at(&self, index: usize) -> Option<usize> {
        self.parts.entries.checked_add(index.checked_mul(self.entry_size())?)
    }

    fn address(&self, index: usize) -> Option<u64> {
        let at = self.entry_at(index)?;
        match self.version {
            Version::Go12 | Version::Go116 => self.layout.word(&self.bytes, at),
            _ => self.text.checked_add(self.layout.u32(&self.bytes, at)?.into()),
        }
    }

    /// A 32-bit field of a function's record, counted from the one after its address.
    fn field(&self, entry: &Entry, index: usize) -> Option<u32> {
        let first = entry.record.checked_add(self.address_size())?;
        self.layout.u32(&self.bytes, first.checked_add(index * 4)?)
    }

    /// Where a function's record ends and its lists of data begin.
    fn after_record(&self, entry: &Entry) -> Option<usize> {
        let fields = match self.version {
            Version::Go12 => 8,
            Version::Go116 | Version::Go118 => 9,
            Version::Go120 => 10,
        };
        entry.record.checked_add(self.address_size() + fields * 4)
    }

    fn address_size(&self) -> usize {
        match self.version {
            Version::Go12 | Version::Go116 => self.layout.pointer.into(),
            _ => 4,
        }
    }

    /// What a table of values says for `address`.
    fn value(&self, entry: &Entry, offset: u32, address: u64) -> Option<i32> {
        self.values(entry, offset)?.find_map(|(end, value)| (address < end).then_some(value))
    }

    /// A table of values, each with the address up to which it holds: pairs of how much the value
    /// changes and for how many instructions it stays, both in variable length.
    fn values(&self, entry: &Entry, offset: u32) -> Option<impl Iterator<Item = (u64, i32)>> {
        if offset == 0 {
            return None;
        }
        let start = self.parts.values.checked_add(offset as usize)?;
        let mut rest = self.bytes.get(start..)?;
        let (first, end, quantum) = (entry.address, entry.end, u64::from(self.quantum));
        let (mut at, mut value) = (first, -1_i32);
        Some(std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let change = variable(&mut rest)?;
            if change == 0 && at != first {
                return None;
            }
            let change = if change & 1 == 1 { !(change >> 1) } else { change >> 1 };
            value = value.wrapping_add(change as i32);
            let length = u64::from(variable(&mut rest)?) * quantum;
            at = at.checked_add(length).filter(|_| length > 0)?;
            Some((at, value))
        }))
    }

    /// How far the stack pointer is below where it was when the function was entered, with the
    /// address up to which it is (`pcsp`).
    pub(crate) fn stack(&self, entry: &Entry) -> impl Iterator<Item = (u64, i32)> {
        let offset = self.field(entry, 3).unwrap_or_default();
        self.values(entry, offset).into_iter().flatten()
    }

    /// What is special about the function (`internal/abi`, `FuncFlag`). Since Go 1.17; before, there
    /// are none.
    pub(crate) fn flags(&self, entry: &Entry) -> u8 {
        // Which function, flags, a byte that is not used, and how much data follows.
        let flags = || self.bytes.get(self.after_record(entry)?.checked_sub(3)?);
        match self.version {
            Version::Go12 => 0,
            _ => flags().copied().unwrap_or_default(),
        }
    }

    fn string(&self, start: usize) -> Option<&[u8]> {
        let rest = self.bytes.get(start..)?;
        let longest = rest.get(..MAX_NAME).unwrap_or(rest);
        let end = longest.iter().position(|byte| *byte == 0)?;
        longest.get(..end)
    }
}

/// A number of seven bits a byte, the lowest first.
pub(super) fn variable(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Head, Table, Version};
    use crate::layout::Layout;

    const LAYOUT: Layout = Layout { big_endian: false, pointer: 8 };
    const TEXT: u64 = 0x40_1000;

    /// A table of two functions, `main.first` from `TEXT` to 0x20 and `main.second` to 0x40, written
    /// as the linkers of these Go versions write it. The first has line 7 for 8 bytes, then line 9.
    fn table(version: Version) -> Vec<u8> {
        let names = b"main.first\0main.second\0";
        let files = b"/src/main.go\0";
        // An unused byte, then: file 0; line 7, line 9.
        let values = [0, 2, 0x20, 0, 16, 8, 4, 0x18, 0];
        let word = |number: u64| number.to_le_bytes().to_vec();
        let half = |number: u32| number.to_le_bytes().to_vec();
        let record = |address: u64, name: u32, file: u32, line: u32| {
            let mut record = match version {
                Version::Go12 | Version::Go116 => word(address),
                _ => half((address - TEXT) as u32),
            };
            for field in [name, 0, 0, line, file, line, 0] {
                record.extend(half(field));
            }
            if version >= Version::Go116 {
                record.extend(half(0)); // The unit.
            }
            if version >= Version::Go120 {
                record.extend(half(5)); // The first line.
            }
            record.extend(half(0)); // What kind of function, and no data.
            record
        };
        let magic: u32 = match version {
            Version::Go12 => 0xffff_fffb,
            Version::Go116 => 0xffff_fffa,
            Version::Go118 => 0xffff_fff0,
            Version::Go120 => 0xffff_fff1,
        };
        let mut bytes = half(magic);
        bytes.extend([0, 0, 1, 8]);
        bytes.extend(word(2));
        if version == Version::Go12 {
            let list = 16 + 5 * 8 + 8;
            let [names_at, files_at] = [list + 16, list + 16 + names.len()];
            let values_at = (files_at + files.len()) as u32;
            let first = (values_at as usize + values.len()) as u64;
            let at = names_at as u32;
            let second = record(TEXT + 0x20, at + 11, values_at + 1, 0);
            let first_record = record(TEXT, at, values_at + 1, values_at + 4);
            let addresses =
                [TEXT, first, TEXT + 0x20, first + first_record.len() as u64, TEXT + 0x40];
            bytes.extend(addresses.into_iter().flat_map(word));
            bytes.extend(half(list as u32));
            bytes.resize(list, 0);
            bytes.extend([1, files_at as u32, 0, 0].into_iter().flat_map(half));
            for part in [names.as_slice(), files, &values, &first_record, &second] {
                bytes.extend(part);
            }
            // File numbers begin at 1 in this list; its first element is its length.
            bytes[values_at as usize + 1] = 4;
            return bytes;
        }
        bytes.extend(word(1));
        if version >= Version::Go118 {
            bytes.extend(word(TEXT));
        }
        let names_at = bytes.len() + 5 * 8;
        let units_at = names_at + names.len();
        let files_at = units_at + 4;
        let values_at = files_at + files.len();
        let functions_at = values_at + values.len();
        for part in [names_at, units_at, files_at, values_at, functions_at] {
            bytes.extend(word(part as u64));
        }
        bytes.extend(names);
        bytes.extend(half(0));
        bytes.extend(files);
        bytes.extend(values);
        let entry_size = if version == Version::Go116 { 8 } else { 4 };
        let first = record(TEXT, 0, 1, 4);
        let second = record(TEXT + 0x20, 11, 1, 0);
        let start = entry_size * 5;
        let entries = [TEXT, start, TEXT + 0x20, start + first.len() as u64, TEXT + 0x40];
        for (index, entry) in entries.into_iter().enumerate() {
            match version {
                Version::Go116 => bytes.extend(word(entry)),
                _ if index % 2 == 0 => bytes.extend(half((entry - TEXT) as u32)),
                _ => bytes.extend(half(entry as u32)),
            }
        }
        bytes.extend(first);
        bytes.extend(second);
        bytes
    }

    const VERSIONS: [Version; 4] = [Version::Go12, Version::Go116, Version::Go118, Version::Go120];

    #[test]
    fn the_layouts_of_all_versions_are_read() {
        for version in VERSIONS {
            let bytes = table(version);
            let head = Head::parse(&bytes, LAYOUT).unwrap();
            assert_eq!((head.version, head.count), (version, 2));
            assert_eq!(head.text, (version >= Version::Go118).then_some(TEXT));
            let text = if version >= Version::Go118 { TEXT } else { 0 };
            let table = Table::new(bytes, LAYOUT, text).unwrap();
            let name =
                |address| table.at(address).map(|entry| table.name(&entry).unwrap().to_vec());
            assert_eq!(name(TEXT - 1), None);
            assert_eq!(name(TEXT + 0x1f).as_deref(), Some(&b"main.first"[..]), "{version:?}");
            assert_eq!(name(TEXT + 0x20).as_deref(), Some(&b"main.second"[..]));
            assert_eq!(name(TEXT + 0x40), None);
            let line = |address| table.at(address).and_then(|entry| table.line(&entry, address));
            assert_eq!(line(TEXT + 7), Some((&b"/src/main.go"[..], 7)), "{version:?}");
            assert_eq!(line(TEXT + 8), Some((&b"/src/main.go"[..], 9)), "{version:?}");
            assert_eq!(line(TEXT + 0x20), None, "it has no lines");
            let stack = |address| -> Vec<_> {
                table.at(address).iter().flat_map(|entry| table.stack(entry)).collect()
            };
            // The table that has lines 7 and 9, here as distances.
            assert_eq!(stack(TEXT), [(TEXT + 8, 7), (TEXT + 0x20, 9)], "{version:?}");
            assert_eq!(stack(TEXT + 0x20), []);
        }
    }

    #[test]
    fn a_table_that_is_cut_short_or_counts_wrong_is_an_error_or_says_less() {
        for version in VERSIONS {
            let whole = table(version);
            for length in 0..whole.len() {
                let Ok(cut) = Table::new(whole[..length].to_vec(), LAYOUT, TEXT) else { continue };
                for entry in (0..cut.count()).filter_map(|index| cut.entry(index)) {
                    cut.line(&entry, entry.address);
                    cut.function_data(&entry, 3);
                    cut.stack(&entry).count();
                    cut.flags(&entry);
                    cut.pc_data(&entry, 2, entry.address);
                }
            }
            let mut wrong = whole;
            wrong[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(Table::new(wrong, LAYOUT, TEXT).is_err());
        }
    }
}
