//! What others say.

use crate::demangle;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Symbolizer};
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// A function, and where in its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// As its language writes it.
    pub(crate) function: Option<String>,
    pub(crate) line: Option<(PathBuf, u32)>,
}

/// What llvm-symbolizer says of each address: the functions, the innermost first.
pub(crate) fn llvm(path: &Path, addresses: &[u64]) -> Vec<Vec<Told>> {
    let mut command = Command::new("llvm-symbolizer");
    command.args(["--functions=linkage", "--no-demangle", "--inlines"]).arg("--obj").arg(path);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = text.split("\n\n").filter(|answer| !answer.trim().is_empty());
    let answers: Vec<Vec<Told>> = answers
        .map(|answer| {
            let lines: Vec<&str> = answer.trim().lines().collect();
            let frames = lines.chunks(2).map(|pair| {
                // file:line:column
                let mut place = pair[1].rsplitn(3, ':').skip(1);
                let line = place.next().and_then(|line| line.parse().ok());
                let file = place.next().filter(|file| *file != "??");
                Told {
                    function: Some(pair[0]).filter(|name| *name != "??").map(demangle),
                    line: file.map(plain_path).zip(line.filter(|line| *line > 0)),
                }
            });
            frames.collect()
        })
        .collect();
    assert_eq!(answers.len(), addresses.len());
    answers
}

/// What blazesym says, in the same order.
pub(crate) fn blazesym(path: &Path, addresses: &[u64]) -> Vec<Vec<Told>> {
    let symbolizer = Symbolizer::builder().enable_demangling(false).build();
    let source = Source::Elf(Elf::new(path));
    let answers = symbolizer.symbolize(&source, Input::VirtOffset(addresses)).unwrap();
    let answers = answers.iter().map(|answer| {
        let Some(symbol) = answer.as_sym() else {
            return vec![Told { function: None, line: None }];
        };
        let told = |name: &str, place: Option<&CodeInfo<'_>>| Told {
            function: Some(demangle(name)),
            line: place.and_then(|place| {
                let path = plain_path(&place.to_path().to_string_lossy());
                Some((path, place.line.filter(|line| *line > 0)?))
            }),
        };
        let inlined = symbol.inlined.iter().rev();
        let mut frames: Vec<Told> =
            inlined.map(|inlined| told(&inlined.name, inlined.code_info.as_ref())).collect();
        frames.push(told(&symbol.name, symbol.code_info.as_deref()));
        frames
    });
    answers.collect()
}

/// The line that Go's own tool tells.
pub(crate) fn go(path: &Path, address: u64) -> Option<(PathBuf, u32)> {
    let mut command = Command::new("/usr/bin/go");
    command.args(["tool", "addr2line"]).arg(path).env("GOTOOLCHAIN", "local");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    // It is told once its input ends.
    child.stdin.take()?.write_all(format!("{address:#x}\n").as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (file, line) = text.lines().nth(1)?.rsplit_once(':')?;
    Some((plain_path(file), line.parse().ok()?))
}

/// A path without what does not change where it leads: `a/../b/./c`.
pub(crate) fn plain_path(path: &str) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir if plain.file_name().is_some() => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}
