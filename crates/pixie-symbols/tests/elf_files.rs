//! Real ELF files, and damaged ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test asserts by panicking, in its helpers too"
)]

use pixie_symbols::{ElfError, ElfFile};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A function to look for in this very program.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pixie_symbols_landmark(value: u32) -> u32 {
    std::hint::black_box(value).wrapping_add(1)
}

const SOURCE: &str = r#"
extern "C" int plain(int value) { return value + 1; }
namespace space { struct Thing { int method(long); }; }
int space::Thing::method(long value) { return plain(value); }
static __attribute__((noinline, used)) int hidden(int value) { return value * 3; }
int main(int count, char **) { return hidden(space::Thing().method(count)); }
"#;

/// Compiles the source above with these options.
fn compile(name: &str, options: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join(format!("{name}.cc")), folder.join(name));
    fs::write(&source, SOURCE).unwrap();
    let status = Command::new("g++").args(options).arg("-o").args([&program, &source]).status();
    assert!(status.expect("g++ is needed: apt-get install g++").success());
    program
}

#[test]
fn this_program_knows_its_own_functions() {
    let program = ElfFile::open("/proc/self/exe").unwrap();
    assert_eq!(pixie_symbols_landmark(1), 2);
    let landmark = program.symbols().named("pixie_symbols_landmark").next().unwrap();
    let middle = program.symbols().at(landmark.address + landmark.size / 2).unwrap();
    assert_eq!(middle, landmark);
    let rust = program.symbols().iter().map(|symbol| symbol.demangled().into_owned());
    assert!(rust.into_iter().any(|name| name.ends_with("this_program_knows_its_own_functions")));
}

#[test]
fn the_file_offset_of_a_function_is_where_its_code_is() {
    let path = compile("offsets", &["-O1"]);
    let (bytes, file) = (fs::read(&path).unwrap(), ElfFile::open(&path).unwrap());
    let plain = file.symbols().named("plain").next().unwrap();
    let offset = file.file_offset(plain.address).unwrap();
    assert_eq!(file.address(offset), Some(plain.address));
    assert_eq!(file.file_offset(u64::MAX), None);
    // lea 1(%rdi), %eax; ret, after the landing pad where there is one.
    let code = &bytes[offset as usize..][..plain.size as usize];
    #[cfg(target_arch = "x86_64")]
    assert!(code.windows(3).any(|window| window == [0x8d, 0x47, 0x01]), "{code:x?}");
    assert!(!code.is_empty());
}

#[test]
fn the_build_id_is_the_one_that_the_linker_was_given() {
    let path = compile("build_id", &["-Wl,--build-id=0x0123456789abcdef"]);
    let id = ElfFile::open(path).unwrap().build_id().unwrap().to_string();
    assert_eq!(id, "0123456789abcdef");
    let path = compile("no_build_id", &["-Wl,--build-id=none"]);
    assert_eq!(ElfFile::open(path).unwrap().build_id(), None);
}

#[test]
fn a_stripped_library_still_has_its_dynamic_symbols() {
    let path = compile("library.so", &["-shared", "-fPIC", "-s"]);
    let library = ElfFile::open(path).unwrap();
    let names: Vec<_> = library.symbols().iter().map(|symbol| symbol.demangled()).collect();
    assert!(names.iter().any(|name| name == "space::Thing::method(long)"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("hidden")), "{names:?}");
}

#[test]
fn a_stripped_program_has_none_and_says_so() {
    let path = compile("stripped", &["-s"]);
    let program = ElfFile::open(path).unwrap();
    assert_eq!(program.symbols().named("plain").count(), 0);
}

#[test]
fn what_is_not_elf_is_refused() {
    for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0; 4096]] {
        assert!(matches!(ElfFile::from_bytes(bytes), Err(ElfError::Malformed(_))), "{bytes:?}");
    }
    assert!(matches!(ElfFile::open("/nowhere"), Err(ElfError::Open { .. })));
    assert!(ElfFile::open("/").is_err(), "a folder");
}

#[test]
fn a_table_larger_than_anything_real_is_refused() {
    let path = compile("huge", &["-O1"]);
    let mut bytes = fs::read(path).unwrap();
    let section_headers = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    let count = u16::from_le_bytes(bytes[60..62].try_into().unwrap()) as usize;
    let headers = (0..count).map(|index| section_headers + index * 64);
    const SHT_SYMTAB: u32 = 2;
    let table =
        headers.into_iter().find(|header| bytes[header + 4..][..4] == SHT_SYMTAB.to_le_bytes());
    bytes[table.unwrap() + 32..][..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    assert!(matches!(ElfFile::from_bytes(&bytes), Err(ElfError::TooLarge { .. })));
}

#[test]
fn damaged_files_are_errors_or_partial_but_never_a_panic() {
    let bytes = fs::read(compile("damaged", &["-O1"])).unwrap();
    let whole = ElfFile::from_bytes(&bytes).unwrap().symbols().len();
    for length in (0..bytes.len()).step_by(97) {
        if let Ok(file) = ElfFile::from_bytes(&bytes[..length]) {
            assert!(file.symbols().len() <= whole);
        }
    }
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2000 {
        let mut damaged = bytes.clone();
        for _ in 0..8 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // The headers are where damage matters.
            let tail = damaged.len() - 2048;
            let place = random as usize % 2048;
            let place = if random & 1 << 40 == 0 { place } else { tail + place };
            damaged[place] = (random >> 32) as u8;
        }
        if let Ok(file) = ElfFile::from_bytes(&damaged) {
            for symbol in file.symbols().iter() {
                assert!(!symbol.name.is_empty());
                drop(symbol.demangled());
            }
            assert!(file.symbols().at(0).is_none_or(|symbol| symbol.address == 0));
        }
    }
}
