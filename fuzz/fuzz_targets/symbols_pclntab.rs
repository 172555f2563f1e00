//! Go's table of functions with any content, in a program without sections, where it is found by
//! search. Nothing panics, and what is told of it holds together.
#![no_main]

mod elf;
mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_symbols::ElfFile;

/// How many functions are looked at.
const SOME: usize = 64;

fuzz_target!(|table: &[u8]| {
    let file = ElfFile::from_bytes(&elf::of_segment(table)).expect("the head is right");
    let Ok(Some(go)) = file.go() else { return };
    for function in go.functions().take(SOME) {
        assert!(!function.name.is_empty());
        if let Some(found) = go.at(function.address) {
            assert!(found.address <= function.address && function.address < found.end);
        }
        for address in [function.address, function.end.wrapping_sub(1)] {
            if let Some(last) = go.frames(address).last() {
                assert!(!last.inlined);
            }
        }
        if let Ok(points) = go.attach_points(&function) {
            assert!(points.returns.iter().all(|at| *at >= points.entry.offset));
        }
    }
    let _ = go.named("main.main").count();
});
