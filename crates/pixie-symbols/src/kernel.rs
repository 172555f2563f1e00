use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// The most symbols, and bytes of names, that are kept.
const MAX_SYMBOLS: usize = 4 << 20;
const MAX_NAMES: usize = 256 << 20;
/// The longest line that is looked at, in bytes.
const MAX_LINE: usize = 4096;
/// How far a function reaches that nothing follows, in bytes: code that was loaded after the list of
/// modules was read, or made at run time.
const MAX_UNBOUNDED: u64 = 64 << 10;

/// The kernel's functions, and those of its modules: `/proc/kallsyms`.
#[derive(Clone, Debug, Default)]
pub struct KernelSymbols {
    /// Sorted by address.
    entries: Vec<Entry>,
    names: Vec<u8>,
    modules: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    end: u64,
    name: (u32, u16),
    /// Counted from 1; 0 is the kernel itself.
    module: u16,
}

/// A function of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelFunction<'a> {
    /// Its name.
    pub name: &'a str,
    /// The module that it is of; `None` for the kernel itself.
    pub module: Option<&'a str>,
    /// Its first address.
    pub address: u64,
}

/// A symbol as it is read, with its end not yet known.
struct Line {
    address: u64,
    code: bool,
    /// Whether it is known outside of its own file: of several names, such a one is told.
    global: bool,
    name: (u32, u16),
    module: u16,
}

impl KernelSymbols {
    /// Reads those of the running kernel. Empty when the kernel hides its addresses from us
    /// (`kernel.kptr_restrict`, or no `CAP_SYSLOG`).
    ///
    /// # Errors
    /// When `/proc/kallsyms` cannot be read.
    pub fn read() -> io::Result<Self> {
        let symbols = BufReader::new(File::open("/proc/kallsyms")?);
        match File::open("/proc/modules") {
            Ok(modules) => Self::parse(symbols, BufReader::new(modules)),
            Err(_) => Self::parse(symbols, io::empty()), // A kernel without modules.
        }
    }

    /// Reads lists in the format of `/proc/kallsyms` and `/proc/modules`.
    ///
    /// # Errors
    /// When one cannot be read. Lines that are not understood are passed over.
    pub fn parse(symbols: impl BufRead, modules: impl BufRead) -> io::Result<Self> {
        let ends = module_ends(modules)?;
        let mut parsed = Self::default();
        let mut numbers = HashMap::new();
        let mut lines: Vec<Line> = Vec::new();
        for_each_line(symbols, |line| {
            if let Some(line) = parsed.line(line, &mut numbers) {
                lines.push(line);
            }
            lines.len() < MAX_SYMBOLS && parsed.names.len() < MAX_NAMES
        })?;
        // Of those that are alike, the one that was read last comes last.
        lines.sort_unstable_by_key(|line| (line.address, line.code, line.global, line.name.0));
        let (mut next, mut current) = (None::<(u64, u16)>, None::<(u64, u16)>);
        for line in lines.iter().rev() {
            if current.is_none_or(|(address, _)| line.address < address) {
                (next, current) = (current, Some((line.address, line.module)));
            }
            let module = usize::from(line.module).checked_sub(1);
            let name = module.and_then(|index| parsed.modules.get(index));
            let limit = name.and_then(|name| ends.get(name)).copied();
            let follows = next.filter(|(_, module)| limit.is_some() || *module == line.module);
            let limit = limit.filter(|limit| *limit > line.address).unwrap_or(u64::MAX);
            let unbounded = line.address.saturating_add(MAX_UNBOUNDED);
            let end = match (follows, limit) {
                (None, u64::MAX) => next.map_or(unbounded, |(start, _)| start.min(unbounded)),
                (follows, limit) => follows.map_or(limit, |(start, _)| start.min(limit)),
            };
            if line.code && line.address < end {
                let (address, name, module) = (line.address, line.name, line.module);
                parsed.entries.push(Entry { address, end, name, module });
            }
        }
        parsed.entries.reverse();
        parsed.entries.shrink_to_fit();
        Ok(parsed)
    }

    /// How many functions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there are none: the kernel hides them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The function that covers `address`.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<KernelFunction<'_>> {
        let after = self.entries.partition_point(|entry| entry.address <= address);
        let before = self.entries.get(..after)?;
        // Of several names at one address, the last is the one to tell.
        let entry = before.last().filter(|entry| address < entry.end)?;
        Some(self.function(entry))
    }

    /// The functions of this name. Looks at every function.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = KernelFunction<'a>> {
        self.entries
            .iter()
            .map(|entry| self.function(entry))
            .filter(move |function| function.name == name)
    }

    fn function(&self, entry: &Entry) -> KernelFunction<'_> {
        let (start, length) = (entry.name.0 as usize, usize::from(entry.name.1));
        let name = self.names.get(start..start + length).unwrap_or_default();
        let module = usize::from(entry.module).checked_sub(1);
        KernelFunction {
            name: str::from_utf8(name).unwrap_or_default(),
            module: module.and_then(|index| self.modules.get(index)).map(String::as_str),
            address: entry.address,
        }
    }

    /// `ffffffff81000000 T _stext`, and `\t[module]` where it is of one.
    fn line(&mut self, line: &str, numbers: &mut HashMap<String, u16>) -> Option<Line> {
        let mut words = line.split_ascii_whitespace();
        let address =
            u64::from_str_radix(words.next()?, 16).ok().filter(|address| *address != 0)?;
        let kind = words.next()?;
        let (code, global) = (matches!(kind, "t" | "T" | "w" | "W"), kind == "T");
        let name = words.next()?;
        let module = match words.next() {
            None => 0,
            Some(word) => {
                let name = word.strip_prefix('[')?.strip_suffix(']')?;
                match numbers.get(name) {
                    Some(number) => *number,
                    None => {
                        let number = u16::try_from(self.modules.len() + 1).ok()?;
                        self.modules.push(name.to_owned());
                        numbers.insert(name.to_owned(), number);
                        number
                    }
                }
            }
        };
        let start = u32::try_from(self.names.len()).ok()?;
        if code {
            self.names.extend_from_slice(name.as_bytes());
        }
        let length = if code { u16::try_from(name.len()).ok()? } else { 0 };
        // Marks of the linker's, which share the address of what they precede or follow.
        let mark = matches!(name, "_text" | "_stext" | "_etext" | "_sinittext" | "_einittext");
        Some(Line { address, code: code && !mark, global, name: (start, length), module })
    }
}

/// Where each module ends. `name size references used-by state address`.
fn module_ends(modules: impl BufRead) -> io::Result<HashMap<String, u64>> {
    const MAX_MODULES: usize = 1 << 16;
    let mut ends = HashMap::new();
    for_each_line(modules, |line| {
        let words: Vec<&str> = line.split_ascii_whitespace().take(6).collect();
        if let [name, size, _, _, _, address] = *words {
            let size: u64 = size.parse().unwrap_or_default();
            let address = address.strip_prefix("0x").unwrap_or(address);
            let address = u64::from_str_radix(address, 16).unwrap_or_default();
            if let Some(end) = address.checked_add(size).filter(|_| address != 0) {
                ends.insert(name.to_owned(), end);
            }
        }
        ends.len() < MAX_MODULES
    })?;
    Ok(ends)
}

/// Calls `each` with every line that is UTF-8 and not too long, until it says no.
pub(crate) fn for_each_line(
    mut reader: impl BufRead,
    mut each: impl FnMut(&str) -> bool,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = io::Read::take(&mut reader, MAX_LINE as u64);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() == MAX_LINE {
            skip_line(&mut reader)?;
            continue;
        }
        let text = str::from_utf8(&line).map(str::trim_end);
        if text.is_ok_and(|text| !each(text)) {
            return Ok(());
        }
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        let done = end.is_some() || buffer.is_empty();
        reader.consume(used);
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KernelSymbols;

    const SYMBOLS: &str = "\
ffff0000 T _stext
ffff0000 t startup
ffff0100 t lock
ffff0100 T spin_lock
ffff0200 D data
ffff0300 T last
ffff0400 T _etext
ffffa000 t probe\t[driver]
ffffa100 d state\t[driver]
ffffa200 t remove\t[driver]
ffffe000 t bpf_prog_6deef7357e7b4530\t[bpf]
nonsense
";

    fn names(symbols: &str, modules: &str) -> KernelSymbols {
        KernelSymbols::parse(symbols.as_bytes(), modules.as_bytes()).unwrap()
    }

    #[test]
    fn functions_end_where_anything_else_begins() {
        let kernel = names(SYMBOLS, "driver 4096 0 - Live 0xffffa000\n");
        let name = |address| kernel.at(address).map(|function| function.name);
        assert_eq!(name(0xfffe_ffff), None);
        assert_eq!(name(0xffff_0000), Some("startup"));
        assert_eq!(name(0xffff_01ff), Some("spin_lock"));
        assert_eq!(name(0xffff_0200), None, "data");
        assert_eq!(name(0xffff_03ff), Some("last"));
        assert_eq!(name(0xffff_0400), None, "after the code");
        assert_eq!(name(0xffff_a150), None, "a module's data");
        assert_eq!(name(0xffff_afff), Some("remove"), "to the module's end");
        assert_eq!(name(0xffff_b000), None);
        assert_eq!(name(0xffff_e010), Some("bpf_prog_6deef7357e7b4530"));
        assert_eq!(name(0xffff_e000 + (64 << 10)), None);
        assert_eq!(kernel.at(0xffff_a000).unwrap().module, Some("driver"));
        assert_eq!(kernel.named("last").next().unwrap().address, 0xffff_0300);
    }

    #[test]
    fn hidden_addresses_are_none() {
        assert!(names("0000000000000000 T _stext\n0000000000000000 T f\n", "").is_empty());
    }

    #[test]
    fn lines_that_are_too_long_are_passed_over() {
        let symbols = format!("1000 T {}\n2000 T after\n", "a".repeat(10_000));
        let kernel = names(&symbols, "");
        assert_eq!(kernel.len(), 1);
        assert_eq!(kernel.at(0x2000).unwrap().name, "after");
    }
}
