//! Unwind tables, made of what files say about their code.

mod expression;
mod frames;
mod go;
mod layout;

use frames::Frames;
use layout::{Layout, MAX_ROWS};
use pixie_probes::sampler::UnwindTable;
use pixie_symbols::{Contents, ElfError, ElfFile, Machine, Section};
use std::sync::atomic::AtomicBool;

/// The largest section of call frame information that is read, in bytes: browsers have 20 MiB.
const MAX_SECTION: u64 = 64 << 20;

/// Why a file has no unwind table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnwindError {
    /// The file could not be read, or has more of something than any real one.
    #[error(transparent)]
    File(#[from] ElfError),
    /// The file has more rows than any real one.
    #[error("the file has more than {0} rows of call frame information")]
    TooManyRows(usize),
    /// It was not wanted any more before it was done.
    #[error("it was not wanted any more")]
    Stopped,
}

/// Makes a file's unwind table of its `.eh_frame` and `.debug_frame`, and of Go's own tables. Functions
/// whose information is damaged are left out, as are those that there is none of. A file without any has
/// an empty table.
///
/// # Errors
/// When the file cannot be read, or has more than any real one.
pub fn unwind_table(file: &ElfFile) -> Result<UnwindTable, UnwindError> {
    unwind_table_unless(file, &AtomicBool::new(false))
}

/// About how many bytes are read for a file's table.
pub(crate) fn effort(file: &ElfFile) -> u64 {
    let tells = |section: &&Section| {
        let name = section.name.as_str();
        [".eh_frame", ".debug_frame"].contains(&name) || name.ends_with("gopclntab")
    };
    file.sections().iter().filter(tells).map(|section| section.size).sum()
}

/// The same, until it is not wanted any more.
pub(crate) fn unwind_table_unless(
    file: &ElfFile,
    stop: &AtomicBool,
) -> Result<UnwindTable, UnwindError> {
    if file.machine() != Machine::X86_64 {
        return Ok(UnwindTable::default());
    }
    // Where Go's tables cannot be used there is still the frame pointer.
    let go = file.go().ok().flatten();
    let exceptions = Content::read(file, ".eh_frame")?;
    let debugging = Content::read(file, ".debug_frame")?;
    let mut exceptions = exceptions.as_ref().map(|it| Frames::of_exceptions(&it.bytes, it.bases()));
    let mut debugging = debugging.as_ref().map(|it| Frames::of_debugging(&it.bytes, it.bases()));

    let mut places = Places(Vec::new());
    if let Some(go) = &go {
        go::functions(go, places.of(Source::Go))?;
    }
    if let Some(frames) = &mut exceptions {
        frames.functions(places.of(Source::Exceptions))?;
    }
    if let Some(frames) = &mut debugging {
        frames.functions(places.of(Source::Debugging))?;
    }
    places.0.sort_unstable();

    let mut layout = Layout::new(stop);
    for Place { start, source, at } in places.0 {
        let at = at as usize;
        match source {
            Source::Go => go.iter().try_for_each(|go| go::read(go, start, at, &mut layout))?,
            Source::Exceptions => {
                exceptions.iter_mut().try_for_each(|frames| frames.read(at, &mut layout))?;
            }
            Source::Debugging => {
                debugging.iter_mut().try_for_each(|frames| frames.read(at, &mut layout))?;
            }
        }
    }
    Ok(layout.finish())
}

/// What tells of a function. Of several, that which comes first holds: Go's `.debug_frame` does not tell
/// where stacks are switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Go,
    Exceptions,
    Debugging,
}

/// Where a function begins, and where its source tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    start: u64,
    source: Source,
    at: u32,
}

/// The functions of a file, in any order. They are put in order before they are read, so that rows, of
/// which there are many more, need not be.
struct Places(Vec<Place>);

impl Places {
    /// Takes in those of a source.
    fn of(&mut self, source: Source) -> impl FnMut(u64, usize) -> Result<(), UnwindError> {
        move |start, at| {
            if self.0.len() >= MAX_ROWS {
                return Err(UnwindError::TooManyRows(MAX_ROWS));
            }
            // No section that is read is larger.
            self.0.push(Place { start, source, at: u32::try_from(at).unwrap_or(u32::MAX) });
            Ok(())
        }
    }
}

/// A section of call frame information.
struct Content<'a> {
    file: &'a ElfFile,
    section: &'a Section,
    bytes: Contents,
}

impl<'a> Content<'a> {
    fn read(file: &'a ElfFile, name: &str) -> Result<Option<Self>, UnwindError> {
        let section = file.section(name);
        // Compilers that leave frames out of memory compress them; such code is unwound otherwise.
        let Some(section) = section.filter(|section| section.in_file && !section.compressed) else {
            return Ok(None);
        };
        let bytes = file.read(section, MAX_SECTION)?;
        Ok(Some(Self { file, section, bytes }))
    }

    fn bases(&self) -> gimli::BaseAddresses {
        addresses(self.file, self.section)
    }
}

/// What addresses in the section may be counted from.
fn addresses(file: &ElfFile, section: &Section) -> gimli::BaseAddresses {
    let mut bases = gimli::BaseAddresses::default().set_eh_frame(section.address);
    if let Some(text) = file.section(".text") {
        bases = bases.set_text(text.address);
    }
    if let Some(got) = file.section(".got") {
        bases = bases.set_got(got.address);
    }
    bases
}
