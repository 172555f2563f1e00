//! What `.gnu_debugdata` holds once it is expanded, of any content: the input is that, and the file
//! around it is right. Nothing panics, the file's own function keeps its name, and functions have the
//! names that they have when the same bytes are a file of their own.
#![no_main]

mod elf;
mod same_hashes;
mod xz;

use libfuzzer_sys::fuzz_target;
use pixie_symbols::{ElfFile, Symbolizer, SymbolizerOptions};
use std::path::Path;

/// How many functions are looked at.
const SOME: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let around = elf::of_sections(&[(".gnu_debugdata", &xz::stored(bytes))]);
    let around = ElfFile::from_bytes(&around).expect("the head is right");
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let around = symbolizer.insert(around, Path::new("/nowhere/file"));
    let own = symbolizer.name_at(around, elf::TEXT).expect("a function covers it");
    assert!(&*own[0].function == "outer");
    let Ok(inner) = ElfFile::from_bytes(bytes) else { return };
    // These would be named by more than symbols.
    let more = inner.section(".gnu_debugdata").is_some() || !matches!(inner.go(), Ok(None));
    let Ok(symbols) = inner.symbols() else { return };
    let alone = symbolizer.insert(inner.clone(), Path::new("/nowhere/inner"));
    for symbol in symbols.iter().take(SOME) {
        let named = symbolizer.name_at(around, symbol.address);
        let covered = (elf::TEXT..elf::TEXT + elf::TEXT_SIZE).contains(&symbol.address);
        match symbolizer.name_at(alone, symbol.address) {
            Ok(expected) if !covered && !more => assert_eq!(named.as_ref(), Ok(&expected)),
            _ => drop(named),
        }
    }
});
