//! Names, inlined functions and lines of random addresses in large files of this machine, held against
//! `llvm-symbolizer` and `blazesym`.
//!
//! Every difference has to be explained by a rule ([`Verdict`]); one that none explains fails the test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test asserts by panicking, in its helpers too"
)]

mod functions;
mod judges;

use functions::Functions;
use judges::Told;
use libtest_mimic::{Arguments, Failed, Trial};
use pixie_symbols::{ElfFile, Frame, Symbolizer, SymbolizerOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// How many addresses are asked for in each file.
const ADDRESSES: u64 = 10_000;

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let llvm = Command::new("llvm-symbolizer").arg("--version").output().is_ok();
    for (name, path, advice) in [
        (
            "C: libc, with lines",
            existing("/lib/x86_64-linux-gnu/libc.so.6"),
            "it is Debian's, for AMD64",
        ),
        ("C++: libstdc++", existing("/usr/lib/x86_64-linux-gnu/libstdc++.so.6"), "g++ brings it"),
        (
            "C++: libstdc++, with lines",
            existing("/usr/lib/x86_64-linux-gnu/debug/libstdc++.so.6"),
            "apt-get install libstdc++6-12-dbg",
        ),
        ("Rust: librustc_driver", rustc_driver(), "rustc brings it"),
        ("Rust: this program, with lines", existing("/proc/self/exe"), "it is always there"),
        ("C++: libLLVM", existing("/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1"), "llvm brings it"),
        ("stripped C: bash", existing("/bin/bash"), "apt-get install bash"),
        ("Go, with lines", go_program(), "apt-get install golang-go"),
    ] {
        let reason = match (llvm, &path) {
            (false, _) => ": skipped, apt-get install llvm".to_owned(),
            (true, None) => format!(": skipped, not here: {advice}"),
            (true, Some(_)) => String::new(),
        };
        let skipped = !reason.is_empty();
        let with_lines = name.ends_with("with lines");
        let check = move || check(&path.unwrap_or_default(), with_lines);
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

/// A program with generic functions, closures and much that is inlined, built by Debian's Go.
fn go_program() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("names-oracle");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("go.mod"), "module example.org/names\n\ngo 1.18\n").unwrap();
    fs::write(folder.join("main.go"), include_str!("program.go")).unwrap();
    let mut go = Command::new("/usr/bin/go");
    go.current_dir(&folder).args(["build", "-o", "program", "."]).envs([
        ("CGO_ENABLED", "0"),
        ("GOTOOLCHAIN", "local"),
        ("GOPROXY", "off"),
        ("GOFLAGS", "-mod=mod"),
    ]);
    go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"));
    assert!(go.status().ok()?.success(), "{go:?}");
    Some(folder.join("program"))
}

/// How our answer and a judge's go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// The same name.
    Same,
    /// Neither has a name.
    BothUnknown,
    /// Another name of the same function, or of the same label.
    Alias,
    /// The function that the compiler made of the one that the judge tells: `NAME.part.0`. Debug
    /// information leaves the rest of the name out.
    PartOf,
    /// Of C++ functions that are local to a file, and of all of Rust's where lines alone were asked for,
    /// debug information has the name alone, without where it belongs.
    Unqualified,
    /// Go's table of functions leaves out which convention a function is called by, and its type
    /// arguments: `NAME.abi0`, `NAME[go.shape.int_0]`.
    GoPlain,
    /// Only we have one: Go's table has no sizes, and the address is in the padding behind the function,
    /// where nothing runs.
    GoPadding,
    /// Only we have one: a function or label of the symbol table covers the address. Where there are lines, the
    /// judges do not look there.
    OnlyOurs,
    /// Only the judge has one: that of a label in assembly code, which is within a function that has ended.
    Label,
    /// Only the judge has one: no function of that name covers the address. What has no size (`_init`) is
    /// taken to reach into the next section.
    Beyond,
    /// No rule explains it.
    Unexplained,
}

fn check(path: &Path, lines_are_known: bool) -> Result<(), Failed> {
    let addresses = addresses(path);
    let ours = our_answers(path, &addresses)?;
    let functions = Functions::read(path);
    let answers = [
        ("llvm-symbolizer", judges::llvm(path, &addresses)),
        ("blazesym", judges::blazesym(path, &addresses)),
    ];
    let mut failures = Vec::new();
    for (judge, theirs) in &answers {
        let other = answers.iter().find(|(other, _)| other != judge).map(|(_, other)| other);
        let mut names: BTreeMap<Verdict, u64> = BTreeMap::new();
        let mut told = Chains::default();
        for (index, address) in addresses.iter().enumerate() {
            let (ours, theirs) = (&ours[index], &theirs[index]);
            let verdict = functions.verdict(*address, name(ours), name(theirs));
            *names.entry(verdict).or_default() += 1;
            if verdict == Verdict::Unexplained {
                failures.push(format!("name at {address:#x}: {ours:#?}\n    {judge}: {theirs:#?}"));
            }
            if name(theirs).is_none() || theirs.iter().all(|told| told.line.is_none()) {
                continue; // It has no debug information there, or of lines alone.
            }
            let by_other = || other.and_then(|other| compare(ours, &other[index])).is_some();
            let by_go = || {
                let line = ours.first().and_then(|told| told.line.clone());
                functions.of_go && judges::go(path, *address) == line
            };
            match compare(ours, theirs) {
                Some(lines) => told.add(ours, lines),
                None if by_other() || by_go() => told.as_others_say += 1,
                None => {
                    failures.push(format!("at {address:#x}: {ours:#?}\n    {judge}: {theirs:#?}"));
                }
            }
        }
        println!("{}, {judge}: {names:?}; {told:?}", path.display());
        assert!(!lines_are_known || told.lines > 4_000 && told.with_inlined > 300, "{told:?}");
        assert!(told.as_others_say * 1000 <= told.equal, "{told:?}");
        assert!(names.get(&Verdict::Same).is_some_and(|same| *same > 3_000), "{names:?}");
    }
    match failures.first() {
        Some(first) => Err(format!("{} unexplained: {first}", failures.len()).into()),
        None => Ok(()),
    }
}

/// What became of chains of functions with lines.
#[derive(Debug, Default)]
struct Chains {
    equal: u64,
    with_inlined: u64,
    /// Equal files and lines in them.
    lines: u64,
    /// Those of which this judge says something else, and another the same as we: the other one, or
    /// Go's own tool, whose table of lines is not always that of the debug information.
    as_others_say: u64,
}

impl Chains {
    fn add(&mut self, ours: &[Told], lines: u64) {
        self.equal += 1;
        self.with_inlined += u64::from(ours.len() > 1);
        self.lines += lines;
    }
}

fn our_answers(path: &Path, addresses: &[u64]) -> Result<Vec<Vec<Told>>, Failed> {
    let mut options = SymbolizerOptions::default();
    let mut plain = Symbolizer::new(options.clone());
    let plain_file = plain.open(path)?;
    options.lines = true;
    let mut with_lines = Symbolizer::new(options);
    let file = with_lines.open(path)?;
    let answers = addresses.iter().map(|address| {
        let frames = with_lines.name_at(file, *address).ok();
        let chain: Vec<Told> = frames.iter().flat_map(|it| it.iter()).map(told_by_us).collect();
        // Whether lines are wanted makes no other name.
        let plain = plain.name_at(plain_file, *address).ok();
        let plain = plain.map(|frames| frames.last().unwrap().function.to_string());
        assert_eq!(plain.as_deref(), name(&chain), "{address:#x}");
        chain
    });
    Ok(answers.collect())
}

fn name(chain: &[Told]) -> Option<&str> {
    chain.last()?.function.as_deref()
}

/// How many lines are equal of two equal chains: equal in the functions that were inlined, and in all
/// files and lines that the judge knows. `None` where they are not.
fn compare(ours: &[Told], theirs: &[Told]) -> Option<u64> {
    let (outer, inlined_of_us) = ours.split_last()?;
    let (_, inlined_of_them) = theirs.split_last()?;
    // Go's compiler makes methods of pointers of those of values. What it puts into these is not in its
    // debug information; the line is.
    let generated =
        outer.line.as_ref().is_some_and(|(file, _)| file == Path::new("<autogenerated>"));
    if let (true, [innermost, ..], [only]) = (generated, inlined_of_us, theirs) {
        return (innermost.line == only.line).then_some(1);
    }
    let functions = |chain: &[Told]| -> Vec<_> {
        chain.iter().map(|told| told.function.clone().unwrap_or_default()).collect()
    };
    if functions(inlined_of_us) != functions(inlined_of_them) {
        return None;
    }
    let mut equal = 0;
    for (ours, theirs) in ours.iter().zip(theirs) {
        let Some(line_of_them) = &theirs.line else { continue };
        let line_of_us = ours.line.as_ref()?;
        if line_of_us.1 != line_of_them.1 || !leads_to_same(&line_of_us.0, &line_of_them.0) {
            return None;
        }
        equal += 1;
    }
    Some(equal)
}

/// Whether two paths are of the same file. Of paths that are relative to where the compiler ran,
/// llvm-symbolizer 14 tells the first folder twice (`posix/posix/wordexp.c`).
fn leads_to_same(ours: &Path, theirs: &Path) -> bool {
    ours == theirs || (ours.is_relative() && theirs.ends_with(ours))
}

fn told_by_us(frame: &Frame) -> Told {
    let line = frame.line.as_ref().filter(|line| line.line > 0);
    Told {
        function: Some(frame.function.to_string()),
        line: line.map(|line| (judges::plain_path(&line.file), line.line)),
    }
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
    // Not the version of a library's function.
    let base = name.char_indices().find(|(at, letter)| *at > 0 && *letter == '@');
    let base = base.map_or(name, |(at, _)| &name[..at]);
    symbolic_demangle::demangle(base).into_owned()
}
