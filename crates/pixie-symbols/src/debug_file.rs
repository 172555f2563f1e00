//! Where the names and lines are of a program that was stripped: in `.gnu_debugdata`
//! ("MiniDebugInfo"), or in a file of its own, found by build id or by `.gnu_debuglink`.

use crate::ElfFile;
use crate::elf::ElfError;
use crate::input::Input;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The most bytes that `.gnu_debugdata` may have, compressed and not.
const MAX_COMPRESSED: u64 = 64 << 20;
const MAX_EXPANDED: u64 = 256 << 20;
/// The most memory that unpacking may take, in KiB.
const MAX_MEMORY: u32 = 128 << 10;
/// The largest debug file whose checksum is computed, in bytes.
const MAX_CHECKED: u64 = 1 << 30;
/// Where debug files are installed, below the root of each file system that is searched.
const FOLDER: &str = "usr/lib/debug";

/// The symbols that distributions leave in stripped files, compressed.
pub(crate) fn mini_debug_info(file: &ElfFile) -> Result<Option<ElfFile>, ElfError> {
    let Some(section) = file.section(".gnu_debugdata") else { return Ok(None) };
    let compressed = file.read(section, MAX_COMPRESSED)?;
    let mut bytes = Vec::new();
    let reader = lzma_rust2::XzReader::new_mem_limit(&*compressed, false, MAX_MEMORY);
    reader.take(MAX_EXPANDED + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_EXPANDED {
        return Err(ElfError::TooLarge { what: "bytes of debug data", limit: MAX_EXPANDED });
    }
    ElfFile::parse(&Input::memory(bytes)).map(Some)
}

/// The debug file of a program or library that is at `path`. `roots` are searched in turn: the root
/// folder of the process that has it loaded, and our own.
pub(crate) fn find(file: &ElfFile, path: &Path, roots: &[PathBuf]) -> Option<ElfFile> {
    by_build_id(file, roots).or_else(|| by_link(file, path, roots))
}

fn by_build_id(file: &ElfFile, roots: &[PathBuf]) -> Option<ElfFile> {
    let id = file.build_id()?.to_string();
    let (folder, name) = id.split_at_checked(2)?;
    let tail = format!("{FOLDER}/.build-id/{folder}/{name}.debug");
    let candidates = roots.iter().map(|root| root.join(&tail));
    let mut files = candidates.filter_map(|path| ElfFile::open(path).ok());
    files.find(|debug| debug.build_id() == file.build_id())
}

fn by_link(file: &ElfFile, path: &Path, roots: &[PathBuf]) -> Option<ElfFile> {
    let (name, checksum) = link(file)?;
    let inside: PathBuf =
        path.parent()?.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    for root in roots {
        let folders = [inside.clone(), inside.join(".debug"), Path::new(FOLDER).join(&inside)];
        for folder in folders {
            let Ok(debug) = ElfFile::open(root.join(folder).join(&name)) else { continue };
            let same_id = file.build_id().is_some() && debug.build_id() == file.build_id();
            if same_id || (debug.build_id().is_none() && checksum_of(&debug) == Some(checksum)) {
                return Some(debug);
            }
        }
    }
    None
}

/// The name and checksum of the debug file. The name must be one: with a path in it, files could be
/// read that are none of its business.
fn link(file: &ElfFile) -> Option<(String, u32)> {
    let bytes = file.read(file.section(".gnu_debuglink")?, 4096).ok()?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = str::from_utf8(bytes.get(..end)?).ok()?;
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let checksum = file.layout.u32(&bytes, (end + 1).next_multiple_of(4))?;
    plain.then(|| (name.to_owned(), checksum))
}

fn checksum_of(file: &ElfFile) -> Option<u32> {
    let mut reader = file.input.reader().take(MAX_CHECKED);
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer).ok()? {
            0 => return Some(hasher.finalize()),
            count => hasher.update(buffer.get(..count)?),
        }
    }
}
