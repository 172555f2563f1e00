use super::{ElfFile, Machine, within};
use crate::ElfError;

/// The most bytes of relocations that are read.
const MAX_RELOCATIONS: u64 = 256 << 20;
/// `R_X86_64_RELATIVE` and `R_AARCH64_RELATIVE`.
const RELATIVE_X86_64: u64 = 8;
const RELATIVE_AARCH64: u64 = 1027;
/// The size of a record of a 64-bit `.rela` section.
const RECORD: usize = 24;
/// How much is read at once, in bytes: whole records.
const CHUNK: u64 = 24 << 10;

/// The addresses that the dynamic linker writes into a program that can be loaded anywhere
/// (RELATIVE relocations): in the file itself their places may hold zeros.
#[derive(Debug, Default)]
pub(crate) struct Relocations {
    /// Where, and which address; sorted by where.
    list: Vec<(u64, u64)>,
}

impl Relocations {
    /// Reads those of a 64-bit file; others are left out.
    pub(crate) fn read(file: &ElfFile) -> Result<Self, ElfError> {
        let relative = match file.machine() {
            Machine::X86_64 => RELATIVE_X86_64,
            Machine::Aarch64 => RELATIVE_AARCH64,
            Machine::Other(_) => return Ok(Self::default()),
        };
        let mut list = Vec::new();
        let mut budget = MAX_RELOCATIONS;
        for section in file.sections() {
            if !section.loaded || !section.name.starts_with(".rela") {
                continue;
            }
            within("bytes of relocations", section.size, budget)?;
            budget -= section.size;
            let mut done = 0;
            while done < section.size && section.in_file {
                let length = CHUNK.min(section.size - done);
                let offset = section.offset.saturating_add(done);
                let bytes = file.input.read(offset, length)?;
                list.extend(bytes.chunks_exact(RECORD).filter_map(|record| {
                    let [place, info, address] =
                        [0, 8, 16].map(|at| file.layout.u64(record, at).unwrap_or_default());
                    (info == relative).then_some((place, address))
                }));
                done += length;
            }
        }
        list.sort_unstable();
        Ok(Self { list })
    }

    /// The address that is written at `place`.
    pub(crate) fn at(&self, place: u64) -> Option<u64> {
        let index = self.list.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.list.get(index).map(|(_, address)| *address)
    }

    /// Where `address` is written.
    pub(crate) fn places_of(&self, address: u64) -> impl Iterator<Item = u64> {
        let matching = self.list.iter().filter(move |(_, written)| *written == address);
        matching.map(|(place, _)| *place)
    }

    /// Writes the addresses into `bytes`, which are loaded at `start`.
    pub(crate) fn apply(&self, file: &ElfFile, bytes: &mut [u8], start: u64) {
        let first = self.list.partition_point(|(place, _)| *place < start);
        for (place, address) in self.list.get(first..).unwrap_or_default() {
            let at = usize::try_from(place - start).unwrap_or(usize::MAX);
            if !file.layout.put_word(bytes, at, *address) {
                break;
            }
        }
    }
}
