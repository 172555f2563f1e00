//! Go's table of functions with any content, in a program without sections, where it is found by
//! search. Nothing panics, and what is told of it holds together.
#![no_main]

mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_symbols::ElfFile;

/// How many functions are looked at.
const SOME: usize = 64;

fuzz_target!(|table: &[u8]| {
    let file = ElfFile::from_bytes(&program(table)).expect("the head is right");
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

/// A program of one segment, at 0x400000, which begins with the table.
fn program(table: &[u8]) -> Vec<u8> {
    const HEAD: u64 = 0x1000;
    const ADDRESS: u64 = 0x40_0000;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // ET_EXEC, EM_X86_64, EV_CURRENT; entry, program headers, no section headers.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    file.extend([ADDRESS, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    // Flags; the sizes of this head and of a program header, and how many there are.
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // PT_LOAD, readable and writable.
    file.extend([1, 0, 0, 0, 6, 0, 0, 0]);
    let size = table.len() as u64;
    file.extend(
        [HEAD, ADDRESS, ADDRESS, size, size, 0x1000].iter().flat_map(|word| word.to_le_bytes()),
    );
    file.resize(HEAD as usize, 0);
    file.extend(table);
    file
}
