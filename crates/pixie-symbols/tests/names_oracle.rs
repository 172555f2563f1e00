//! Names of random addresses in large files of this machine, held against `llvm-symbolizer`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test asserts by panicking, in its helpers too"
)]

use libtest_mimic::{Arguments, Failed, Trial};
use pixie_symbols::{ElfFile, Frame, Symbolizer, SymbolizerOptions};
use std::collections::HashMap;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{fs, thread};

/// How many addresses are asked for in each file.
const ADDRESSES: u64 = 10_000;

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let judge = Command::new("llvm-symbolizer").arg("--version").output().is_ok();
    for (name, path, advice) in [
        ("C: libc", existing("/lib/x86_64-linux-gnu/libc.so.6"), "it is Debian's, for AMD64"),
        ("C++: libstdc++", existing("/usr/lib/x86_64-linux-gnu/libstdc++.so.6"), "g++ brings it"),
        ("Rust: librustc_driver", rustc_driver(), "rustc brings it"),
        ("Rust: this program", existing("/proc/self/exe"), "it is always there"),
        ("C++: libLLVM", existing("/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1"), "llvm brings it"),
        ("stripped C: bash", existing("/bin/bash"), "apt-get install bash"),
    ] {
        let reason = match (judge, &path) {
            (false, _) => ": skipped, apt-get install llvm".to_owned(),
            (true, None) => format!(": skipped, not here: {advice}"),
            (true, Some(_)) => String::new(),
        };
        let skipped = !reason.is_empty();
        let check = move || check(&path.unwrap_or_default());
        trials.push(Trial::test(format!("{name}{reason}"), check).with_ignored_flag(skipped));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn existing(path: &str) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

fn rustc_driver() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let folder = Path::new(str::from_utf8(&output.stdout).ok()?.trim()).join("lib");
    let mut files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| path.to_string_lossy().contains("librustc_driver"))
}

fn check(path: &Path) -> Result<(), Failed> {
    let addresses = addresses(path);
    let theirs = judge(path, &addresses);
    let mut options = SymbolizerOptions::default();
    let mut ours = Symbolizer::new(options.clone());
    let file = ours.open(path)?;
    options.lines = true;
    let mut with_lines = Symbolizer::new(options);
    let file_with_lines = with_lines.open(path)?;
    let all_names = all_names(ours.elf(file).unwrap());
    let (mut same, mut aliases, mut both_unknown) = (0, 0, 0);
    let (mut missed, mut wrong, mut chains, mut lines) = (Vec::new(), Vec::new(), 0, Vec::new());
    for (address, theirs) in addresses.iter().zip(&theirs) {
        let name = ours.name_at(file, *address).ok();
        let name = name.map(|frames| frames.last().unwrap().function.to_string());
        let told = &theirs.last().unwrap().0;
        match name {
            None if told == "??" => both_unknown += 1,
            None => missed.push((*address, told)),
            Some(ours) if ours == demangle(told) => same += 1,
            // Debug information leaves out what the compiler added, such as `.part.0`.
            Some(ours) if ours.split('.').next() == Some(told) => same += 1,
            // Of several names of one function, they and we may choose different ones. Where there
            // are lines and no function, they do not look into the symbol table.
            Some(ours) if told == "??" && covers(&all_names, &ours, *address) => aliases += 1,
            Some(_) if covers(&all_names, told, *address) => aliases += 1,
            Some(ours) => wrong.push((*address, ours, told)),
        }
        if told != "??" && theirs.iter().any(|(_, line)| line.is_some()) {
            let frames = with_lines.name_at(file_with_lines, *address)?;
            let ours: Vec<Told> = frames.iter().map(told_by_us).collect();
            let inlined = |frames: &[Told]| {
                frames.split_last().map(|(last, inlined)| {
                    (
                        inlined
                            .iter()
                            .map(|(name, line)| (demangle(name), *line))
                            .collect::<Vec<_>>(),
                        last.1,
                    )
                })
            };
            match inlined(&ours) == inlined(theirs) {
                true => chains += 1,
                false => lines.push((*address, ours, theirs)),
            }
        }
    }
    println!(
        "{}: {same} the same, {aliases} by another name, {both_unknown} unknown, {} missed; \
         of chains with lines {chains} the same, {} others",
        path.display(),
        missed.len(),
        lines.len(),
    );
    assert!(wrong.is_empty(), "{} wrong: {:?}", wrong.len(), wrong.first());
    assert!(missed.len() < 10, "{} missed: {:?}", missed.len(), missed.first());
    assert!(lines.len() * 50 <= chains, "{} other lines: {:#?}", lines.len(), lines.first());
    assert!(same + aliases > 3_000);
    Ok(())
}

/// A function's name, and its line where that is known.
type Told = (String, Option<u32>);

fn told_by_us(frame: &Frame) -> Told {
    let line = frame.line.as_ref().map(|line| line.line).filter(|line| *line > 0);
    (frame.function.to_string(), line)
}

/// Random addresses in the file's code, the same at each run.
fn addresses(path: &Path) -> Vec<u64> {
    let file = ElfFile::open(path).unwrap();
    let code: Vec<_> = file.sections().iter().filter(|section| section.executable).collect();
    let total: u64 = code.iter().map(|section| section.size).sum();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut at = random % total;
        for section in &code {
            if at < section.size {
                return section.address + at;
            }
            at -= section.size;
        }
        unreachable!()
    };
    (0..ADDRESSES).map(|_| next()).collect()
}

fn demangle(name: &str) -> String {
    symbolic_demangle::demangle(name.split('@').next().unwrap()).into_owned()
}

/// Where the functions are of each name, in the file and in its debug file.
fn all_names(file: &ElfFile) -> HashMap<String, Vec<Range<u64>>> {
    let id = file.build_id().map(ToString::to_string).unwrap_or_default();
    let (folder, name) = id.split_at(id.len().min(2));
    let debug = ElfFile::open(format!("/usr/lib/debug/.build-id/{folder}/{name}.debug")).ok();
    let mut names: HashMap<String, Vec<Range<u64>>> = HashMap::new();
    for part in [Some(file), debug.as_ref()].into_iter().flatten() {
        for symbol in part.symbols().unwrap().iter() {
            let name = String::from_utf8_lossy(symbol.name).into_owned();
            let range = symbol.address..symbol.address + symbol.size;
            names.entry(name).or_default().push(range);
        }
    }
    names
}

fn covers(names: &HashMap<String, Vec<Range<u64>>>, name: &str, address: u64) -> bool {
    let ranges = names.get(name.split('@').next().unwrap());
    ranges.is_some_and(|ranges| ranges.iter().any(|range| range.contains(&address)))
}

/// What llvm-symbolizer says of each: the functions, the innermost first, with their names as they
/// stand in the file.
fn judge(path: &Path, addresses: &[u64]) -> Vec<Vec<Told>> {
    let mut command = Command::new("llvm-symbolizer");
    command.args(["--functions=linkage", "--no-demangle", "--inlines"]).arg("--obj").arg(path);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Vec<Told>> = text
        .split("\n\n")
        .filter(|answer| !answer.trim().is_empty())
        .map(|answer| {
            let lines: Vec<&str> = answer.trim().lines().collect();
            let frames = lines.chunks(2).map(|pair| {
                // file:line:column
                let line = pair[1].rsplit(':').nth(1).and_then(|line| line.parse().ok());
                (pair[0].to_owned(), line.filter(|line| *line > 0))
            });
            frames.collect()
        })
        .collect();
    assert_eq!(answers.len(), addresses.len());
    answers
}
