//! Source lines and inlined functions, from DWARF.

use crate::ElfFile;
use crate::demangle::demangle;
use crate::elf::{ElfError, within};
use addr2line::Context;
use flate2::read::ZlibDecoder;
use gimli::{EndianArcSlice, RunTimeEndian};
use std::borrow::Cow;
use std::io::Read as _;
use std::sync::Arc;

type Slice = EndianArcSlice<RunTimeEndian>;

/// The deepest chain of inlined calls that is told.
const MAX_INLINED: usize = 64;

/// A file's debug information.
pub(crate) struct Lines {
    context: Context<Slice>,
    /// How many bytes of sections are kept.
    size: u64,
}

/// What DWARF says of an address: a function that it is in.
pub(crate) struct LineFrame {
    /// `None` where the file does not say.
    pub(crate) function: Option<String>,
    pub(crate) line: Option<(String, u32)>,
}

impl LineFrame {
    pub(crate) fn line(&self) -> Option<(&str, u32)> {
        self.line.as_ref().map(|(file, line)| (file.as_str(), *line))
    }
}

impl Lines {
    /// Reads a file's debug information, which is `None` when it has none.
    ///
    /// # Errors
    /// When it is damaged, or has more bytes than `budget`.
    pub(crate) fn read(file: &ElfFile, budget: u64) -> Result<Option<Self>, ElfError> {
        let has = |name| file.section(name).is_some_and(|section| section.in_file);
        if !has(".debug_info") || !has(".debug_line") {
            return Ok(None);
        }
        let endian =
            if file.layout.big_endian { RunTimeEndian::Big } else { RunTimeEndian::Little };
        let mut rest = budget;
        let dwarf = gimli::Dwarf::load(|section| {
            let bytes = section_bytes(file, section.name(), rest)?;
            rest -= bytes.len() as u64;
            Ok::<_, ElfError>(Slice::new(Arc::from(bytes), endian))
        })?;
        let damaged = |error: gimli::Error| ElfError::Malformed(error.to_string());
        let context = Context::from_dwarf(dwarf).map_err(damaged)?;
        Ok(Some(Self { context, size: budget - rest }))
    }

    /// The functions that the address is in, the innermost first. Empty when nothing is known.
    pub(crate) fn at(&self, address: u64) -> Vec<LineFrame> {
        if address == u64::MAX {
            return Vec::new(); // addr2line asks for the byte after it.
        }
        let Ok(mut frames) = self.context.find_frames(address).skip_all_loads() else {
            return Vec::new();
        };
        let mut list = Vec::new();
        // What is damaged on the way makes all of it doubtful.
        while let Ok(frame) = frames.next() {
            let Some(frame) = frame else { return list };
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let line = frame.location.and_then(|place| Some((place.file?.to_owned(), place.line?)));
            let function = name.map(|name| demangle(name.as_bytes()).into_owned());
            list.push(LineFrame { function, line });
            if list.len() > MAX_INLINED {
                break;
            }
        }
        Vec::new()
    }

    /// How many bytes it takes, as far as that is known.
    pub(crate) fn memory(&self) -> u64 {
        self.size
    }
}

fn section_bytes(file: &ElfFile, name: &str, limit: u64) -> Result<Vec<u8>, ElfError> {
    let Some(section) = file.section(name).filter(|section| section.in_file) else {
        return Ok(Vec::new());
    };
    if !section.compressed {
        within("bytes of debug information", section.size, limit)?;
        return Ok(file.input.read(section.offset, section.size)?);
    }
    let bytes = file.read(section, limit)?;
    // Elf64_Chdr: type, reserved, size, alignment; Elf32_Chdr has no reserved field.
    let (size, header) = match file.layout.pointer {
        4 => (file.layout.u32(&bytes, 4).map(u64::from), 12),
        _ => (file.layout.u64(&bytes, 8), 24),
    };
    let size = size.ok_or_else(|| ElfError::Malformed(format!("{name} is cut short")))?;
    within("bytes of debug information", size, limit)?;
    let compressed = Cow::from(bytes.get(header..).unwrap_or_default());
    let mut expanded = Vec::new();
    match file.layout.u32(&bytes, 0) {
        Some(1) => ZlibDecoder::new(&*compressed).take(size).read_to_end(&mut expanded)?,
        kind => {
            return Err(ElfError::Malformed(format!("{name} is compressed by method {kind:?}")));
        }
    };
    Ok(expanded)
}
