//! Reads what a file loads, piece by piece, and looks for bytes.

use super::{Candidate, MAX_PLACES, Signature};
use crate::elf::within;
use crate::{ElfError, ElfFile, Segment};
use memchr::memmem::Finder;
use std::collections::{BTreeMap, BTreeSet};

/// How much is looked at at once, in bytes.
const PIECE: u64 = 1 << 20;
/// The most bytes of one file that are looked at.
const MAX_SEARCHED: u64 = 1 << 30;

/// Whether the file has a text that ends in one of these. Programs cannot write to it.
pub(super) fn has_text(file: &ElfFile, texts: &BTreeSet<&str>) -> Result<bool, ElfError> {
    let ended: Vec<Vec<u8>> = texts.iter().map(|text| [text.as_bytes(), b"\0"].concat()).collect();
    let finders: Vec<Finder<'_>> = ended.iter().map(Finder::new).collect();
    let longest = ended.iter().map(Vec::len).max().unwrap_or(0);
    let found = |ranges: &[Loaded]| {
        pieces(file, ranges, longest, |_, bytes| {
            finders.iter().any(|finder| finder.find(bytes).is_some())
        })
    };
    // Where there is a section of constants, it is there or nowhere.
    let constants: Vec<Loaded> = file
        .sections()
        .iter()
        .filter(|section| section.loaded && section.in_file && section.name.starts_with(".rodata"))
        .map(|section| Loaded { address: section.address, size: section.size })
        .collect();
    if !constants.is_empty() {
        return found(&constants);
    }
    let segments = |executable| -> Vec<Loaded> {
        let wanted = |segment: &&Segment| segment.executable == executable && !segment.writable;
        file.segments().iter().filter(wanted).map(Loaded::from).collect()
    };
    Ok(found(&segments(false))? || found(&segments(true))?)
}

/// A part of the file, by where it is loaded.
struct Loaded {
    address: u64,
    size: u64,
}

impl From<&Segment> for Loaded {
    fn from(segment: &Segment) -> Self {
        Self { address: segment.address, size: segment.size }
    }
}

/// Where the bytes of signatures are; for each function at most a few more than are of use.
pub(super) fn candidates<'a>(
    file: &ElfFile,
    signatures: &'a [Signature],
) -> Result<Vec<Candidate<'a>>, ElfError> {
    let finders: Vec<(&Signature, Finder<'_>)> = signatures
        .iter()
        .map(|one| (one, Finder::new(one.bytes.get(one.anchor.clone()).unwrap_or_default())))
        .collect();
    let longest = signatures.iter().map(|signature| signature.bytes.len()).max().unwrap_or(0);
    let mut found: Vec<Candidate<'a>> = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let code: Vec<Loaded> =
        file.segments().iter().filter(|one| one.executable).map(Loaded::from).collect();
    pieces(file, &code, longest, |address, bytes| {
        for (signature, finder) in &finders {
            let count = counts.entry(&signature.function).or_default();
            for at in finder.find_iter(bytes) {
                // What begins in the next piece is found there.
                let Some(start) = at.checked_sub(signature.anchor.start) else { continue };
                if *count < MAX_PLACES && (start as u64) < PIECE {
                    let candidate =
                        signature.at(address.wrapping_add(start as u64), bytes.get(start..));
                    *count += usize::from(candidate.is_some());
                    found.extend(candidate);
                }
            }
        }
        false
    })?;
    Ok(found)
}

/// Shows these bytes with their addresses, each piece together with the first bytes of the next,
/// until `enough` says so. Returns whether it did.
fn pieces(
    file: &ElfFile,
    ranges: &[Loaded],
    overlap: usize,
    mut enough: impl FnMut(u64, &[u8]) -> bool,
) -> Result<bool, ElfError> {
    let mut budget = MAX_SEARCHED;
    for range in ranges {
        within("bytes to search", range.size, budget)?;
        budget -= range.size;
        let mut done = 0;
        while done < range.size {
            let address = range.address.wrapping_add(done);
            let size = PIECE.saturating_add(overlap as u64).min(range.size - done);
            if enough(address, &file.read_at(address, size)?) {
                return Ok(true);
            }
            done += PIECE;
        }
    }
    Ok(false)
}

impl Signature {
    /// What is at this address, if it is this.
    fn at(&self, address: u64, bytes: Option<&[u8]>) -> Option<Candidate<'_>> {
        let bytes = bytes?.get(..self.bytes.len())?;
        let mut pairs = bytes.iter().zip(self.bytes.iter().zip(&self.mask));
        if !pairs.all(|(byte, (wanted, mask))| byte & mask == *wanted) {
            return None;
        }
        let targets = self.references.iter().map(|reference| {
            let value = bytes.get(reference.at..)?.first_chunk::<4>()?;
            if reference.absolute {
                return Some(u64::from(u32::from_le_bytes(*value)));
            }
            let behind = address.wrapping_add(reference.at as u64 + 4);
            Some(behind.wrapping_add_signed(i64::from(i32::from_le_bytes(*value))))
        });
        Some(Candidate { signature: self, address, targets: targets.collect::<Option<_>>()? })
    }
}
