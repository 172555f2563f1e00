//! An ELF file of any content: nothing panics, and what is told of it holds together.
#![no_main]

mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_symbols::{ElfFile, Pattern, Symbolizer, SymbolizerOptions};
use std::path::Path;

/// How many of each are looked at.
const SOME: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ElfFile::from_bytes(bytes) else { return };
    for section in file.sections() {
        if let Ok(read) = file.read(section, 1 << 20) {
            assert_eq!(read.len() as u64, section.size);
        }
    }
    let _ = file.go_build_info();
    let mut options = SymbolizerOptions::default();
    options.lines = true;
    let mut symbolizer = Symbolizer::new(options);
    let id = symbolizer.insert(file.clone(), Path::new("/nowhere/file"));
    let _ = symbolizer.name_at(id, 0x40_1000);
    let Ok(symbols) = file.symbols() else { return };
    for symbol in symbols.iter().take(SOME) {
        assert!(!symbol.name.is_empty());
        assert!(symbols.starting_at(symbol.address).any(|other| other == symbol));
        if let Some(found) = symbols.at(symbol.address) {
            assert!(found.address <= symbol.address);
            assert!(symbol.address - found.address < found.size);
        }
        if let Some(offset) = file.file_offset(symbol.address) {
            assert!(file.address(offset).is_some());
        }
        if let Ok(frames) = symbolizer.name_at(id, symbol.address) {
            assert!(!frames.is_empty());
        }
    }
    let _ = symbols.matching(&Pattern::new("*main*")).take(SOME).count();
});
