//! What is known of one file: its names, and its lines once they are asked for.

use crate::debug_file;
use crate::function_index::FunctionIndex;
use crate::lines::Lines;
use crate::symbolizer::{Frame, SourceLine, Unknown};
use crate::{ElfFile, GoBinary};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most names, and places with lines, that are kept ready of one file.
const MAX_READY: usize = 1 << 16;

/// The names in a file, ready to be looked up.
pub(crate) struct Names {
    go: Option<GoBinary>,
    /// The file's own, those left in it compressed, and those of its debug file: whichever has one
    /// for an address. Those that know more come first.
    symbols: Vec<FunctionIndex>,
    /// Where the debug information is.
    debug: Option<ElfFile>,
    lines: Option<Result<Option<Lines>, Unknown>>,
    functions: HashMap<Function, Arc<[Frame]>>,
    /// By address.
    places: HashMap<u64, Arc<[Frame]>>,
    texts: Texts,
}

/// Which function.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// By its address.
    Go(u64),
    /// By the table that it is in, and its number there.
    Symbol(usize, usize),
}

/// Names and paths, each once.
#[derive(Default)]
struct Texts(HashMap<Box<str>, Arc<str>>);

impl Names {
    /// Reads where the functions of a file are, and of what belongs to it. A part that is damaged is passed over
    /// as long as another has names.
    pub(crate) fn read(file: &ElfFile, path: &Path, roots: &[PathBuf]) -> Result<Self, Unknown> {
        let mut failure = None;
        let mut symbols = Vec::new();
        let debug = debug_file::find(file, path, roots);
        let mini = debug_file::mini_debug_info(file).unwrap_or_else(|error| {
            failure = Some(Unknown::of_file(&error));
            None
        });
        for part in [debug.as_ref(), Some(file), mini.as_ref()].into_iter().flatten() {
            match part.function_index() {
                Ok(part) if part.is_empty() => {}
                Ok(part) => symbols.push(part),
                Err(error) => failure = Some(Unknown::of_file(&error)),
            }
        }
        let go = file.go().unwrap_or_else(|_| {
            failure = Some(Unknown::Damaged);
            None
        });
        match (symbols.is_empty() && go.is_none(), failure) {
            (true, failure) => Err(failure.unwrap_or(Unknown::Stripped)),
            (false, _) => Ok(Self {
                go,
                symbols,
                debug,
                lines: None,
                functions: HashMap::new(),
                places: HashMap::new(),
                texts: Texts::default(),
            }),
        }
    }

    /// The functions that an address of the file is in, the innermost first. `lines` is how many
    /// bytes of debug information may be read for lines and inlined functions, if they are wanted.
    pub(crate) fn at(
        &mut self,
        file: &ElfFile,
        address: u64,
        lines: Option<u64>,
    ) -> Result<Arc<[Frame]>, Unknown> {
        match lines {
            None => self.function(address),
            Some(budget) => {
                if let Some(frames) = self.places.get(&address) {
                    return Ok(frames.clone());
                }
                let frames = self.place(file, address, budget)?;
                if self.places.len() >= MAX_READY {
                    self.places.clear();
                }
                self.places.insert(address, frames.clone());
                Ok(frames)
            }
        }
    }

    fn function(&mut self, address: u64) -> Result<Arc<[Frame]>, Unknown> {
        let go = self.go.as_ref().and_then(|go| go.at(address));
        let function =
            match go {
                Some(function) => Some(Function::Go(function.address)),
                None => self.symbols.iter().enumerate().find_map(|(table, symbols)| {
                    Some(Function::Symbol(table, symbols.find(address)?))
                }),
            };
        let function = function.ok_or(Unknown::NoSymbol)?;
        if let Some(frames) = self.functions.get(&function) {
            return Ok(frames.clone());
        }
        let name = match (function, go) {
            (Function::Symbol(table, number), _) => {
                let symbols = self.symbols.get(table).ok_or(Unknown::NoSymbol)?;
                symbols.name(number).map_err(|_| Unknown::Unreadable)?
            }
            (Function::Go(_), go) => {
                go.map(|function| String::from_utf8_lossy(function.name).into_owned())
            }
        };
        let name = name.ok_or(Unknown::NoSymbol)?;
        let frame = Frame { function: name.into(), line: None, inlined: false };
        let frames: Arc<[Frame]> = Arc::from([frame]);
        if self.functions.len() >= MAX_READY {
            self.functions.clear();
        }
        self.functions.insert(function, frames.clone());
        Ok(frames)
    }

    fn place(
        &mut self,
        file: &ElfFile,
        address: u64,
        budget: u64,
    ) -> Result<Arc<[Frame]>, Unknown> {
        let go = self.go.as_ref().map(|go| go.frames(address)).unwrap_or_default();
        if !go.is_empty() {
            let frames = go.into_iter().map(|frame| {
                let line = frame.line.as_ref().map(|(file, line)| (&**file, *line));
                self.texts.frame(&frame.function, line, frame.inlined)
            });
            return Ok(frames.collect());
        }
        let function = self.function(address)?;
        let debug = self.debug.as_ref().unwrap_or(file);
        let read = || Lines::read(debug, budget).map_err(|error| Unknown::of_file(&error));
        let told = match self.lines.get_or_insert_with(read) {
            Ok(Some(lines)) => lines.at(address),
            _ => Vec::new(), // Without lines, the name is still known.
        };
        let Some((outer, inlined)) = told.split_last() else { return Ok(function) };
        let Some(name) = function.first().map(|frame| frame.function.clone()) else {
            return Ok(function);
        };
        // A function that was inlined under a name that is not told makes the lines misleading.
        if inlined.iter().any(|frame| frame.function.is_none()) {
            return Ok(function);
        }
        let mut frames: Vec<Frame> = Vec::with_capacity(told.len());
        for frame in inlined {
            let function = frame.function.as_deref().unwrap_or_default();
            frames.push(self.texts.frame(function, frame.line(), true));
        }
        frames.push(self.texts.frame(&name, outer.line(), false));
        Ok(frames.into())
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        /// What a name that is kept ready takes, with its place in the table.
        const READY: usize = 200;
        let symbols: usize = self.symbols.iter().map(FunctionIndex::memory).sum();
        let go = self.go.as_ref().map_or(0, GoBinary::memory);
        let ready = self.functions.len() + self.places.len() + self.texts.0.len();
        let lines = self.lines.as_ref().and_then(|lines| lines.as_ref().ok()?.as_ref());
        // What addr2line makes of the sections is at most as large again, as measured.
        let lines = lines.map_or(0, |lines| lines.memory() * 2);
        (symbols + go + ready * READY) as u64 + lines
    }
}

impl Texts {
    fn frame(&mut self, function: &str, line: Option<(&str, u32)>, inlined: bool) -> Frame {
        let line = line.map(|(file, line)| SourceLine { file: self.once(file), line });
        Frame { function: self.once(function), line, inlined }
    }

    fn once(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        if self.0.len() >= MAX_READY {
            self.0.clear();
        }
        let known: Arc<str> = text.into();
        self.0.insert(text.into(), known.clone());
        known
    }
}
