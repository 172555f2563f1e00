//! What is named in benchmarks.

use pixie_symbols::ElfFile;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library of the Rust compiler, which has some hundred thousand functions.
pub(crate) fn rustc_driver() -> PathBuf {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs");
    let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let files = fs::read_dir(Path::new(&root).join("lib")).expect("it has libraries");
    let mut paths = files.flatten().map(|file| file.path());
    paths
        .find(|path| path.to_string_lossy().contains("librustc_driver"))
        .expect("its driver is among them")
}

/// Random addresses of code that has a name, the same at each run.
pub(crate) fn random(file: &ElfFile, count: usize, known: impl Fn(u64) -> bool) -> Vec<u64> {
    let text = file.section(".text").expect("it has code");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        text.address + random % text.size
    };
    std::iter::from_fn(|| Some(next())).filter(|address| known(*address)).take(count).collect()
}
