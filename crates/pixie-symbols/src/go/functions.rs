//! Looks for a few functions of a Go program without holding the table of all of them.

use super::locate::{self, Located};
use super::pclntab::Version;
use super::{GoAttachPoints, GoBuildInfo, GoError, in_registers, returns};
use crate::ElfFile;
use crate::elf::Relocations;
use std::collections::HashMap;
use std::ops::Range;

/// How much is read at once, in bytes.
const CHUNK: u64 = 1 << 18;
/// The longest name that is kept between two reads, in bytes.
const MAX_NAME: usize = 64 << 10;
/// The size of an entry of the list of functions, since Go 1.18: its offset in the code and where
/// it is described (`functab` in Go's `runtime/symtab.go`).
const ENTRY: usize = 8;
/// The start of a description: the function's offset in the code and that of its name (`_func` in
/// Go's `runtime/runtime2.go`).
const DESCRIPTION: u64 = 8;

/// The functions that were looked for in a Go program.
#[derive(Debug)]
#[non_exhaustive]
pub struct GoFunctions {
    /// What the Go command wrote into the file.
    pub info: Option<GoBuildInfo>,
    /// Whether functions take arguments and give results in registers: Go 1.17 and later.
    pub registers: bool,
    /// Those that are there, by address.
    pub functions: Vec<GoFoundFunction>,
}

/// A function that was looked for.
#[derive(Debug)]
#[non_exhaustive]
pub struct GoFoundFunction {
    /// Its name.
    pub name: String,
    /// Where probes see it begin and end, or why that is not known.
    pub points: Result<GoAttachPoints, GoError>,
}

impl ElfFile {
    /// Looks for functions of a Go program by their names; `None` when Go did not build the file.
    ///
    /// Since Go 1.18 this takes little memory, however large the program is. [`ElfFile::go`] holds
    /// the table of all functions.
    ///
    /// # Errors
    /// When Go's tables cannot be used.
    pub fn go_functions(&self, names: &[&str]) -> Result<Option<GoFunctions>, GoError> {
        if !locate::may_be_go(self) {
            return Ok(None);
        }
        let relocations = Relocations::read(self)?;
        let info = GoBuildInfo::read(self, &relocations);
        let Some(located) = locate::find(self, &relocations, info.as_ref())? else {
            return Ok(None);
        };
        let registers = in_registers(info.as_ref(), located.head.version);
        drop(relocations);
        let places = match located.text {
            Some(text) if located.head.version >= Version::Go118 => {
                Search { file: self, located, text }.functions(names)?
            }
            _ => self.go_functions_of_whole(names)?,
        };
        let functions = places.into_iter().map(|(code, name)| GoFoundFunction {
            name,
            points: returns::attach_points(self, code, registers),
        });
        Ok(Some(GoFunctions { registers, functions: functions.collect(), info }))
    }

    fn go_functions_of_whole(&self, names: &[&str]) -> Result<Vec<(Range<u64>, String)>, GoError> {
        let Some(go) = self.go()? else { return Ok(Vec::new()) };
        let wanted = go.functions().filter_map(|function| {
            let name = names.iter().find(|name| name.as_bytes() == function.name)?;
            Some((function.address..function.end, (*name).to_owned()))
        });
        Ok(wanted.collect())
    }
}

/// A table that is read piece by piece: since Go 1.18.
struct Search<'a> {
    file: &'a ElfFile,
    located: Located,
    text: u64,
}

impl Search<'_> {
    /// Where the code of the functions with these names is.
    fn functions(&self, names: &[&str]) -> Result<Vec<(Range<u64>, String)>, GoError> {
        let names = self.names(names)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.located.head.functions() as u64;
        let count = self.located.head.count;
        let room = self.located.size.saturating_sub(first) / ENTRY as u64;
        if count >= room {
            return Err(GoError::Malformed("the number of functions"));
        }
        let mut found = Vec::new();
        let mut window = Window { search: self, start: 0, bytes: Vec::new(), read: 0 };
        let per_chunk = CHUNK / ENTRY as u64;
        let mut index = 0;
        while index < count {
            // With the one after the last of them: that is where the last ends.
            let entries = per_chunk.min(count - index) + 1;
            let bytes = self.read(first + index * ENTRY as u64, entries * ENTRY as u64)?;
            let number = |at: usize| self.file.layout.u32(&bytes, at).map(u64::from);
            for at in (0..bytes.len().saturating_sub(ENTRY)).step_by(ENTRY) {
                let (start, description) = (number(at), number(at + 4));
                let (Some(start), Some(description)) = (start, description) else { break };
                let name = window.name_of(first.saturating_add(description))?;
                let Some(name) = names.get(&name) else { continue };
                let end = number(at + ENTRY).unwrap_or(start);
                let address = |offset| self.text.checked_add(offset);
                if let (Some(start), Some(end)) = (address(start), address(end)) {
                    found.push((start..end, name.clone()));
                }
            }
            index += per_chunk;
        }
        Ok(found)
    }

    /// The offsets of the wanted names among all.
    fn names(&self, wanted: &[&str]) -> Result<HashMap<u32, String>, GoError> {
        let head = &self.located.head;
        let (start, end) = (head.names() as u64, head.end_of_names() as u64);
        if end < start || end > self.located.size {
            return Err(GoError::Malformed("the list of names"));
        }
        let mut found = HashMap::new();
        let mut rest: Vec<u8> = Vec::new();
        let (mut rest_at, mut done) = (0, start);
        while done < end && found.len() < wanted.len() {
            let chunk = self.read(done, CHUNK.min(end - done))?;
            done += chunk.len() as u64;
            rest.extend_from_slice(&chunk);
            let mut at = 0;
            while let Some(length) = memchr::memchr(0, rest.get(at..).unwrap_or_default()) {
                let name = rest.get(at..at + length).unwrap_or_default();
                if let Some(name) = wanted.iter().find(|wanted| wanted.as_bytes() == name) {
                    let offset = u32::try_from(rest_at + at);
                    found.insert(offset.unwrap_or(u32::MAX), (*name).to_owned());
                }
                at += length + 1;
            }
            let keep = at.max(rest.len().saturating_sub(MAX_NAME));
            rest.drain(..keep);
            rest_at += keep;
        }
        Ok(found)
    }

    /// A part of the table, which must be there in full.
    fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>, GoError> {
        let address = self.located.address.checked_add(offset);
        let address = address.ok_or(GoError::Malformed("an offset"))?;
        let bytes = self.file.read_at(address, size)?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(GoError::Malformed("its end")) }
    }
}

/// The part of the table that descriptions are looked up in. They follow each other in the order of
/// the list, so that each is read but once.
struct Window<'a> {
    search: &'a Search<'a>,
    start: u64,
    bytes: Vec<u8>,
    /// How much was read so far: a table whose list leads to and fro is damaged.
    read: u64,
}

impl Window<'_> {
    /// The offset of the name of the function that is described at `at`.
    fn name_of(&mut self, at: u64) -> Result<u32, GoError> {
        let end = self.start.saturating_add(self.bytes.len() as u64);
        if at < self.start || at.saturating_add(DESCRIPTION) > end {
            self.read = self.read.saturating_add(CHUNK);
            if self.read > self.search.located.size.saturating_mul(2).saturating_add(CHUNK) {
                return Err(GoError::Malformed("the order of functions"));
            }
            let rest = self.search.located.size.saturating_sub(at);
            self.bytes = self.search.read(at, CHUNK.min(rest))?;
            self.start = at;
        }
        let place = usize::try_from(at - self.start).unwrap_or(usize::MAX).saturating_add(4);
        let name = self.search.file.layout.u32(&self.bytes, place);
        name.ok_or(GoError::Malformed("a function's description"))
    }
}
