//! Lists of functions with any content: those of run-time compilers, and of the kernel and its modules,
//! one after the other with a zero byte between. Nothing panics, and no address has the name of a
//! function that does not cover it.
#![no_main]

mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_symbols::{KernelSymbols, PerfMap};

/// How many functions are looked at.
const SOME: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let first = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    let map = PerfMap::parse(first).expect("memory can be read");
    assert!(map.len() <= first.len() && map.is_empty() == (map.len() == 0));
    let kernel = KernelSymbols::parse(first, second).expect("memory can be read");
    for line in first.split(|byte| *byte == b'\n').take(SOME) {
        let text = String::from_utf8_lossy(line);
        let Some(word) = text.split_whitespace().next() else { continue };
        let Ok(start) = u64::from_str_radix(word, 16) else { continue };
        for address in [start, start.wrapping_sub(1), start.wrapping_add(1)] {
            if let Some((name, from)) = map.at(address) {
                assert!(from <= address && !name.is_empty(), "{name:?}");
            }
            if let Some(function) = kernel.at(address) {
                assert!(function.address <= address && !function.name.is_empty());
            }
        }
    }
});
