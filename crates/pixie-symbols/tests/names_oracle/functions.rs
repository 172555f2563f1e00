//! What the symbol tables say, read by `object` and not by us.

use crate::{Verdict, demangle};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use pixie_symbols::ElfFile;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// The functions and labels of a file and of its debug file, by name as its language writes it.
pub(crate) struct Functions {
    by_name: HashMap<String, Vec<(Range<u64>, bool)>>,
    /// The places between Go's functions, which hold nothing but padding.
    padding: Vec<Range<u64>>,
    pub(crate) of_go: bool,
}

impl Functions {
    pub(crate) fn read(path: &Path) -> Self {
        let file = ElfFile::open(path).unwrap();
        let mut all = Vec::new();
        let id = file.build_id().map(ToString::to_string).unwrap_or_default();
        let (folder, name) = id.split_at(id.len().min(2));
        let debug = format!("/usr/lib/debug/.build-id/{folder}/{name}.debug");
        for part in [path, Path::new(&debug)] {
            let Ok(bytes) = fs::read(part) else { continue };
            let file = object::File::parse(&*bytes).unwrap();
            for symbol in file.symbols().chain(file.dynamic_symbols()) {
                let is_function = symbol.kind() == SymbolKind::Text;
                let is_label = matches!(symbol.kind(), SymbolKind::Label | SymbolKind::Unknown);
                let name = symbol.name().unwrap_or_default();
                let is_defined = symbol.section_index().is_some();
                if (is_function || is_label) && is_defined && !name.is_empty() {
                    let section =
                        symbol.section_index().and_then(|it| file.section_by_index(it).ok());
                    let limit = section.map_or(u64::MAX, |it| it.address() + it.size());
                    let size = symbol.size();
                    all.push((symbol.address(), size, name.to_owned(), is_function, limit));
                }
            }
        }
        all.sort_unstable();
        let mut by_name: HashMap<String, Vec<(Range<u64>, bool)>> = HashMap::new();
        for (index, (address, size, name, is_function, limit)) in all.iter().enumerate() {
            // Without a size, up to what comes next or the end of the section.
            let next = || all[index..].iter().find(|(next, ..)| next > address);
            let end = match size {
                0 => next().map_or(*limit, |(next, ..)| *next.min(limit)),
                size => address + size,
            };
            by_name.entry(demangle(name)).or_default().push((*address..end, *is_function));
        }
        let of_go = file.section(".gopclntab").is_some();
        Self { by_name, padding: if of_go { padding(path) } else { Vec::new() }, of_go }
    }

    pub(crate) fn verdict(&self, address: u64, ours: Option<&str>, told: Option<&str>) -> Verdict {
        match (ours, told) {
            (None, None) => Verdict::BothUnknown,
            (Some(ours), Some(told)) if ours == told => Verdict::Same,
            (Some(ours), None) if self.covers(ours, address) || self.labels(ours, address) => {
                Verdict::OnlyOurs
            }
            (Some(_), None) if self.padding.iter().any(|range| range.contains(&address)) => {
                Verdict::GoPadding
            }
            (Some(ours), Some(told)) if self.of_go && ours == go_plain(told) => Verdict::GoPlain,
            (Some(ours), Some(told))
                if self.covers(ours, address)
                    && ours.strip_prefix(told).is_some_and(|rest| rest.starts_with('.')) =>
            {
                Verdict::PartOf
            }
            (Some(ours), Some(told))
                if self.covers(ours, address) && self.covers(told, address) =>
            {
                Verdict::Alias
            }
            (Some(ours), Some(told))
                if self.labels(ours, address) && self.labels(told, address) =>
            {
                Verdict::Alias
            }
            (Some(ours), Some(told)) if self.covers(ours, address) && is_qualified(ours, told) => {
                Verdict::Unqualified
            }
            (None, Some(told)) if self.is_label(told, address) => Verdict::Label,
            (None, Some(told)) if !self.covers(told, address) => Verdict::Beyond,
            _ => Verdict::Unexplained,
        }
    }

    /// Whether a function of this name covers the address.
    fn covers(&self, name: &str, address: u64) -> bool {
        let all = self.by_name.get(name).into_iter().flatten();
        all.into_iter().any(|(range, is_function)| *is_function && range.contains(&address))
    }

    /// Whether a label of this name is the last that comes before the address, of labels and functions.
    fn labels(&self, name: &str, address: u64) -> bool {
        let all = self.by_name.get(name).into_iter().flatten();
        all.into_iter().any(|(range, is_function)| !*is_function && range.contains(&address))
    }

    /// Whether a label of this name, and no function, is before the address.
    fn is_label(&self, name: &str, address: u64) -> bool {
        let all = self.by_name.get(name).into_iter().flatten();
        !self.covers(name, address)
            && all.into_iter().any(|(range, is_function)| !is_function && range.start <= address)
    }
}

/// Whether a function's full name is of the function that debug information calls `bare`.
fn is_qualified(full: &str, bare: &str) -> bool {
    let identifier = match bare.split(['<', '(', '[']).next().unwrap_or(bare) {
        // Which of several, is in the hash that is left out of Rust's names.
        closure if closure.starts_with("{closure#") => "{{closure}}",
        identifier => identifier,
    };
    full.match_indices(identifier).any(|(at, _)| {
        let (before, after) = (&full[..at], &full[at + identifier.len()..]);
        (before.is_empty() || before.ends_with("::") || before.ends_with(' '))
            && (after.is_empty() || after.starts_with(['(', '<', '[', '{']))
    })
}

/// Where the code of a Go program is filled up with instructions that trap: behind a function, up to the
/// next one.
fn padding(path: &Path) -> Vec<Range<u64>> {
    let bytes = fs::read(path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let text = file.section_by_name(".text").unwrap();
    let (start, code) = (text.address(), text.data().unwrap());
    let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let mut functions: Vec<_> = functions.map(|it| (it.address(), it.size())).collect();
    functions.sort_unstable();
    let gaps = functions.windows(2).map(|pair| pair[0].0 + pair[0].1..pair[1].0);
    gaps.filter(|gap| gap.start >= start && gap.start < gap.end)
        .filter(|gap| {
            let code = code.get((gap.start - start) as usize..(gap.end - start) as usize);
            code.is_some_and(|code| code.iter().all(|byte| *byte == 0xcc))
        })
        .collect()
}

/// The name as Go's own table of functions has it: without the convention that the function is called by,
/// and with `...` for what is in brackets (`cmd/link/internal/ld/pcln.go`).
fn go_plain(name: &str) -> String {
    let name = name.strip_suffix(".abi0").unwrap_or(name);
    match (name.find('['), name.rfind(']')) {
        (Some(from), Some(to)) if from < to => {
            format!("{}[...]{}", &name[..from], &name[to + 1..])
        }
        _ => name.to_owned(),
    }
}
