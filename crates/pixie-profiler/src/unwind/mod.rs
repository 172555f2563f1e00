//! Unwind tables, made of what files say about their code.

mod expression;
mod frames;
mod go;
mod layout;

use layout::Layout;
use pixie_probes::sampler::UnwindTable;
use pixie_symbols::{ElfError, ElfFile, Machine, Section};
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
    let mut layout = Layout::new(stop);
    if file.machine() != Machine::X86_64 {
        return Ok(UnwindTable::default());
    }
    // What comes first holds: Go's `.debug_frame` does not tell where stacks are switched. Where its
    // tables cannot be used there is still the frame pointer.
    if let Ok(Some(go)) = file.go() {
        go::read(&go, &mut layout)?;
    }
    for name in [".eh_frame", ".debug_frame"] {
        let Some(section) = file.section(name) else { continue };
        // Compilers that leave frames out of memory compress them; such code is unwound otherwise.
        if !section.in_file || section.compressed {
            continue;
        }
        let bytes = file.read(section, MAX_SECTION)?;
        frames::read(&bytes, &addresses(file, section), name == ".eh_frame", &mut layout)?;
    }
    Ok(layout.finish())
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
