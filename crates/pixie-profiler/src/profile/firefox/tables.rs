use super::super::frame::{Kind, file_name};
use super::super::json::{Object, OrNull, Quoted};
use super::super::table::Table;
use super::super::tree::Tree;
use super::super::{Profile, ProfileFrame, Values};
use std::collections::HashMap;
use std::io;

/// What frames are told apart by, in colours: name, colour, and what it is divided into. One that is
/// grey has to be there.
const CATEGORIES: [(&str, &str, &[&str]); 3] = [
    ("Other", "grey", &["Other"]),
    ("User", "yellow", &["Other", "Inlined"]),
    ("Kernel", "orange", &["Other"]),
];

/// The number of a frame's category, and of the part of it.
fn category(kind: Kind) -> (u32, u32) {
    match kind {
        Kind::User | Kind::Unnamed => (1, 0),
        Kind::Inlined => (1, 1),
        Kind::Kernel => (2, 0),
        Kind::Cut | Kind::Group => (0, 0),
    }
}

/// What a resource is, as the profiler numbers it: a library.
const LIBRARY: u32 = 1;

/// What all threads share.
pub(super) struct Tables {
    strings: Table<String>,
    /// Source files, by string.
    sources: Table<u64>,
    /// The binaries: path and build id.
    libraries: Table<(String, String)>,
    functions: Table<Function>,
    frames: Table<Frame>,
    /// The stack of the caller, and the frame.
    stacks: Vec<(Option<u64>, u64)>,
    /// One for each place in the tree.
    places: Vec<Place>,
    groups: HashMap<u32, String>,
    /// The stack of what was dropped.
    pub(super) dropped: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Function {
    name: u64,
    library: Option<u64>,
    source: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Frame {
    function: u64,
    category: (u32, u32),
    address: Option<u64>,
    /// How many calls that were inlined are between it and the function that was compiled.
    inline_depth: u32,
    line: Option<u32>,
}

/// Where a place in the tree is in these tables.
#[derive(Clone, Copy)]
struct Place {
    /// The innermost group that it is in: its place.
    group: u32,
    stack: Option<u64>,
    inline_depth: u32,
}

impl Tables {
    pub(super) fn of(profile: &Profile) -> Self {
        let mut tables = Self {
            strings: Table::new(),
            sources: Table::new(),
            libraries: Table::new(),
            functions: Table::new(),
            frames: Table::new(),
            stacks: Vec::new(),
            places: Vec::new(),
            groups: HashMap::new(),
            dropped: 0,
        };
        let dropped = ProfileFrame::group("[dropped]".into());
        tables.dropped = tables.stack(None, &dropped, 0);
        for (number, node) in (0..).zip(profile.tree.nodes()) {
            let frame = profile.frames.get(node.frame);
            let above = tables.places.get(node.parent as usize).copied();
            let place = match frame.kind {
                Kind::Group => {
                    let group = match above.and_then(|above| tables.groups.get(&above.group)) {
                        Some(above) => format!("{above}/{}", frame.shown()),
                        None => frame.shown(),
                    };
                    tables.groups.insert(number, group);
                    // Samples without any frame must be seen, too.
                    let bare = node.own != Values::default();
                    let stack = bare.then(|| tables.stack(None, frame, 0));
                    Place { group: number, stack, inline_depth: 0 }
                }
                kind => {
                    let inside = above.filter(|_| kind == Kind::Inlined);
                    let inline_depth = inside.map_or(0, |above| above.inline_depth + 1);
                    let is_group = tables.groups.contains_key(&node.parent);
                    let caller = above.and_then(|above| above.stack).filter(|_| !is_group);
                    let stack = Some(tables.stack(caller, frame, inline_depth));
                    let group = above.map_or(Tree::ROOT, |above| above.group);
                    Place { group, stack, inline_depth }
                }
            };
            tables.places.push(place);
        }
        tables
    }

    /// The group that a place in the tree is in: its place, and what it is called.
    pub(super) fn group(&self, node: u32) -> Option<(u32, &str)> {
        let group = self.places.get(node as usize)?.group;
        Some((group, self.groups.get(&group)?))
    }

    /// The number of a place's stack.
    pub(super) fn stack_of(&self, node: u32) -> Option<u64> {
        self.places.get(node as usize)?.stack
    }

    fn stack(&mut self, caller: Option<u64>, frame: &ProfileFrame, inline_depth: u32) -> u64 {
        let name = self.strings.number(frame.shown());
        let library = frame.binary.as_ref().map(|binary| {
            let build_id = frame.build_id.as_ref().map(|id| id.to_string()).unwrap_or_default();
            self.libraries.number((binary.to_string(), build_id))
        });
        let source = frame.file.as_ref().map(|file| {
            let name = self.strings.number(file.to_string());
            self.sources.number(name)
        });
        let function = self.functions.number(Function { name, library, source });
        let frame = self.frames.number(Frame {
            function,
            category: category(frame.kind),
            address: (frame.address != 0).then_some(frame.address),
            inline_depth,
            line: frame.line,
        });
        self.stacks.push((caller, frame));
        self.stacks.len() as u64 - 1
    }

    pub(super) fn write_categories<W: io::Write>(
        &self,
        meta: &mut Object<'_, W>,
    ) -> io::Result<()> {
        meta.objects("categories", CATEGORIES, |category, (name, color, parts)| {
            category.member("name", Quoted(name))?;
            category.member("color", Quoted(color))?;
            category.list("subcategories", parts.iter().map(Quoted))
        })
    }

    pub(super) fn write_libraries<W: io::Write>(
        &self,
        profile: &mut Object<'_, W>,
    ) -> io::Result<()> {
        profile.objects("libs", &self.libraries.list, |library, (path, build_id)| {
            let name = file_name(path);
            library.member("arch", Quoted(std::env::consts::ARCH))?;
            library.member("name", Quoted(name))?;
            library.member("path", Quoted(path))?;
            library.member("debugName", Quoted(name))?;
            library.member("debugPath", Quoted(path))?;
            library.member("breakpadId", Quoted(breakpad_id(build_id)))?;
            let build_id = (!build_id.is_empty()).then_some(Quoted(build_id));
            library.member("codeId", OrNull(build_id))
        })
    }

    pub(super) fn write_shared<W: io::Write>(&self, shared: &mut Object<'_, W>) -> io::Result<()> {
        shared.object("stackTable", |table| {
            table.member("length", self.stacks.len())?;
            table.list("prefix", self.stacks.iter().map(|(caller, _)| OrNull(*caller)))?;
            table.list("frame", self.stacks.iter().map(|(_, frame)| frame))
        })?;
        shared.object("frameTable", |table| self.write_frames(table))?;
        shared.object("funcTable", |table| self.write_functions(table))?;
        // Each library is a resource of the same number; those are named below, the last to need names.
        let names = self.libraries.list.iter().map(|(path, _)| file_name(path).to_owned());
        let mut strings: Vec<String> = self.strings.list.clone();
        let first = strings.len();
        strings.extend(names);
        shared.object("resourceTable", |table| {
            let length = self.libraries.list.len();
            table.member("length", length)?;
            table.list("lib", 0..length)?;
            table.list("name", first..first + length)?;
            table.list("host", nulls(length))?;
            table.list("type", std::iter::repeat_n(LIBRARY, length))
        })?;
        shared.object("nativeSymbols", |table| {
            table.member("length", 0)?;
            ["libIndex", "address", "name", "functionSize"]
                .into_iter()
                .try_for_each(|column| table.list(column, nulls(0)))
        })?;
        shared.object("sources", |table| {
            let length = self.sources.list.len();
            table.member("length", length)?;
            table.list("id", nulls(length))?;
            table.list("filename", &self.sources.list)
        })?;
        shared.list("stringArray", strings.iter().map(Quoted))
    }

    fn write_frames<W: io::Write>(&self, table: &mut Object<'_, W>) -> io::Result<()> {
        let frames = &self.frames.list;
        let length = frames.len();
        table.member("length", length)?;
        let addresses = frames.iter().map(|frame| match frame.address {
            Some(address) => i128::from(address),
            None => -1,
        });
        table.list("address", addresses)?;
        table.list("inlineDepth", frames.iter().map(|frame| frame.inline_depth))?;
        table.list("category", frames.iter().map(|frame| frame.category.0))?;
        table.list("subcategory", frames.iter().map(|frame| frame.category.1))?;
        table.list("func", frames.iter().map(|frame| frame.function))?;
        table.list("nativeSymbol", nulls(length))?;
        table.list("innerWindowID", nulls(length))?;
        table.list("line", frames.iter().map(|frame| OrNull(frame.line)))?;
        table.list("column", nulls(length))
    }

    fn write_functions<W: io::Write>(&self, table: &mut Object<'_, W>) -> io::Result<()> {
        let functions = &self.functions.list;
        let length = functions.len();
        table.member("length", length)?;
        table.list("name", functions.iter().map(|function| function.name))?;
        for column in ["isJS", "relevantForJS"] {
            table.list(column, std::iter::repeat_n(false, length))?;
        }
        let libraries = functions.iter().map(|function| match function.library {
            Some(library) => i128::from(library),
            None => -1,
        });
        table.list("resource", libraries)?;
        table.list("source", functions.iter().map(|function| OrNull(function.source)))?;
        table.list("lineNumber", nulls(length))?;
        table.list("columnNumber", nulls(length))
    }
}

/// A column without values.
fn nulls(length: usize) -> impl Iterator<Item = OrNull<u64>> {
    std::iter::repeat_with(|| OrNull(None)).take(length)
}

/// A build id as Breakpad has it: the first 16 bytes as a GUID, whose first three numbers are
/// little-endian in the build id, and an age of 0.
/// <https://chromium.googlesource.com/breakpad/breakpad/+/main/docs/symbol_files.md>
fn breakpad_id(build_id: &str) -> String {
    let bytes = build_id.as_bytes().chunks(2).filter_map(|pair| str::from_utf8(pair).ok());
    let mut bytes: Vec<&str> = bytes.chain(std::iter::repeat("00")).take(16).collect();
    for number in [0..4, 4..6, 6..8] {
        if let Some(number) = bytes.get_mut(number) {
            number.reverse();
        }
    }
    bytes.concat().to_uppercase() + "0"
}
