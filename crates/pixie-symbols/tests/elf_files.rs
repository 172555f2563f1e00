//! Real ELF files, and damaged ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test asserts by panicking, in its helpers too"
)]

use pixie_symbols::{ElfError, ElfFile, Pattern};
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

mod landmarks {
    /// A function with a mangled name, whatever the optimizer thinks of it.
    #[inline(never)]
    pub(super) fn mangled(number: u64) -> u64 {
        std::hint::black_box(number + 2)
    }
}

#[test]
fn this_program_knows_its_own_functions() {
    let program = ElfFile::open("/proc/self/exe").unwrap();
    assert_eq!((pixie_symbols_landmark(1), landmarks::mangled(1)), (2, 3));
    let symbols = program.symbols().unwrap();
    let landmark = symbols.named("pixie_symbols_landmark").next().unwrap();
    let middle = symbols.at(landmark.address + landmark.size / 2).unwrap();
    assert_eq!(middle, landmark);
    let rust = symbols.iter().map(|symbol| symbol.demangled().into_owned());
    assert!(rust.into_iter().any(|name| name.ends_with("landmarks::mangled")));
}

#[test]
fn the_file_offset_of_a_function_is_where_its_code_is() {
    let path = compile("offsets", &["-O1"]);
    let (bytes, file) = (fs::read(&path).unwrap(), ElfFile::open(&path).unwrap());
    let symbols = file.symbols().unwrap();
    let plain = symbols.named("plain").next().unwrap();
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
    let symbols = library.symbols().unwrap();
    let names: Vec<_> = symbols.iter().map(|symbol| symbol.demangled()).collect();
    assert!(names.iter().any(|name| name == "space::Thing::method(long)"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("hidden")), "{names:?}");
}

#[test]
fn a_stripped_program_has_none_and_says_so() {
    let path = compile("stripped", &["-s"]);
    let program = ElfFile::open(path).unwrap();
    assert_eq!(program.symbols().unwrap().named("plain").count(), 0);
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
    assert!(matches!(
        ElfFile::from_bytes(&bytes).unwrap().symbols(),
        Err(ElfError::TooLarge { .. })
    ));
}

#[test]
fn damaged_files_are_errors_or_partial_but_never_a_panic() {
    let bytes = fs::read(compile("damaged", &["-O1"])).unwrap();
    let whole = ElfFile::from_bytes(&bytes).unwrap().symbols().unwrap().len();
    for length in (0..bytes.len()).step_by(97) {
        let symbols = ElfFile::from_bytes(&bytes[..length]).and_then(|file| file.symbols());
        if let Ok(symbols) = symbols {
            assert!(symbols.len() <= whole);
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
        if let Ok(symbols) = ElfFile::from_bytes(&damaged).and_then(|file| file.symbols()) {
            for symbol in symbols.iter() {
                assert!(!symbol.name.is_empty());
                drop(symbol.demangled());
            }
            assert!(symbols.at(0).is_none_or(|symbol| symbol.address == 0));
        }
    }
}

#[test]
fn a_librarys_functions_have_their_versions() {
    let source = "int old(void) { return 1; } int new(void) { return 2; }\n\
                  __asm__(\".symver old,call@ONE\"); __asm__(\".symver new,call@@TWO\");\n";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source_path, script) = (folder.join("versions.c"), folder.join("versions.map"));
    fs::write(&source_path, source).unwrap();
    fs::write(&script, "ONE { global: call; }; TWO { global: call; } ONE;").unwrap();
    for strip in [false, true] {
        let library = folder.join(format!("libversions{strip}.so"));
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source_path);
        gcc.arg(format!("-Wl,--version-script={}", script.display()));
        if strip {
            gcc.arg("-s");
        }
        assert!(gcc.status().unwrap().success());
        let symbols = ElfFile::open(&library).unwrap().symbols().unwrap();
        let mut versions: Vec<_> = symbols
            .named("call")
            .map(|call| (str::from_utf8(call.version.unwrap()).unwrap(), call.default_version))
            .collect();
        versions.sort_unstable();
        assert_eq!(versions, [("ONE", false), ("TWO", true)], "stripped: {strip}");
    }
}

#[test]
fn what_only_chooses_a_function_is_told_from_functions() {
    let symbols = ElfFile::open("/lib/x86_64-linux-gnu/libc.so.6").unwrap().symbols().unwrap();
    assert!(symbols.named("strlen").next().unwrap().indirect, "glibc chooses by processor");
    assert!(!symbols.named("malloc").next().unwrap().indirect);
}

#[test]
fn mangled_functions_are_found_by_pattern() {
    let path = compile("patterns", &["-O1"]);
    let symbols = ElfFile::open(path).unwrap().symbols().unwrap();
    let names = |pattern: &str| -> Vec<String> {
        let pattern = Pattern::new(pattern);
        symbols.matching(&pattern).map(|symbol| symbol.demangled().into_owned()).collect()
    };
    assert_eq!(names("space::*::method(*)"), ["space::Thing::method(long)"]);
    assert_eq!(names("plain"), ["plain"]);
    assert!(names("nothing*").is_empty());
    assert_eq!(landmarks::mangled(1), 3);
    let own = ElfFile::open("/proc/self/exe").unwrap().symbols().unwrap();
    let pattern = Pattern::new("*landmarks::mangled");
    assert!(own.matching(&pattern).next().is_some(), "a Rust function");
}

#[test]
fn sections_are_found_and_read_within_a_limit() {
    let path = compile("sections", &["-O1"]);
    let file = ElfFile::open(&path).unwrap();
    let text = file.section(".text").unwrap();
    assert!(text.executable && !text.writable && text.loaded);
    let bytes = file.read(text, text.size).unwrap();
    let whole = fs::read(&path).unwrap();
    assert_eq!(*bytes, whole[text.offset as usize..][..text.size as usize]);
    assert!(matches!(file.read(text, text.size - 1), Err(ElfError::TooLarge { .. })));
    let bss = file.section(".bss").unwrap();
    assert!(file.read(bss, u64::MAX).is_err(), "it is not in the file");
}

#[test]
fn a_file_that_is_cut_short_while_it_is_open_is_an_error() {
    let path = compile("shrinks", &["-O1"]);
    let file = ElfFile::open(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    assert!(file.symbols().is_err());
    assert!(file.read(file.section(".symtab").unwrap(), u64::MAX).is_err());
}

#[test]
fn nothing_waits_for_a_fifo() {
    let fifo = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fifo");
    let _ = fs::remove_file(&fifo);
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(matches!(ElfFile::open(&fifo), Err(ElfError::Open { .. })));
}
