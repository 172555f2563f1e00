//! Debug information with any content: lines and inlined functions of a file whose one function is
//! known. Nothing panics, and the function keeps its name.
//!
//! The input begins with the lengths of the sections, two bytes each.
#![no_main]

mod elf;
mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_symbols::{ElfFile, Symbolizer, SymbolizerOptions};
use std::path::Path;

const SECTIONS: [&str; 9] = [
    ".debug_info",
    ".debug_abbrev",
    ".debug_line",
    ".debug_str",
    ".debug_line_str",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_addr",
    ".debug_str_offsets",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((lengths, mut content)) = bytes.split_at_checked(2 * SECTIONS.len()) else { return };
    let mut sections = Vec::new();
    for (name, length) in SECTIONS.iter().zip(lengths.chunks_exact(2)) {
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let (section, rest) = content.split_at(length.min(content.len()));
        sections.push((*name, section));
        content = rest;
    }
    let file = ElfFile::from_bytes(&elf::of_sections(&sections)).expect("the head is right");
    let mut options = SymbolizerOptions::default();
    options.lines = true;
    let mut symbolizer = Symbolizer::new(options);
    let id = symbolizer.insert(file, Path::new("/nowhere/file"));
    for address in (elf::TEXT..elf::TEXT + 64).step_by(3).chain([elf::TEXT + elf::TEXT_SIZE - 1]) {
        let frames = symbolizer.name_at(id, address).expect("a function covers it");
        let (outer, inlined) = frames.split_last().expect("there is always one");
        assert!(&*outer.function == "outer" && !outer.inlined);
        assert!(inlined.iter().all(|frame| frame.inlined));
    }
    assert!(symbolizer.name_at(id, elf::TEXT + elf::TEXT_SIZE).is_err());
});
