//! The eBPF objects: `cargo xtask bpf`.

use crate::command::{command, installed, output, root, run};
use crate::folder::Folder;
use crate::steps::{Outcome, Stop, Tally, skip};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) const USAGE: &str = "\
cargo xtask bpf [--check]

Rebuilds crates/pixie-probes/prebuilt/ARCHITECTURE/*.bpf.o from crates/pixie-probes/bpf/*.bpf.c,
and writes their hashes to SHA256SUMS. The same compiler gives the same bytes in any folder.

  --check   build into a temporary folder instead, and compare with what is committed";

/// The compiler whose objects are committed: Debian 12's.
const CLANG: &str = "14";
/// Each architecture, and what the headers of libbpf call it.
const ARCHITECTURES: &[(&str, &str)] = &[("aarch64", "arm64"), ("x86_64", "x86")];
const SUMS: &str = "SHA256SUMS";

pub(crate) fn main(arguments: &[String]) -> Result<ExitCode> {
    match arguments {
        [] => {
            if let Some(reason) = other_compiler()? {
                bail!("{reason}");
            }
            let sums = build(&prebuilt())?;
            println!("{sums}");
            Ok(ExitCode::SUCCESS)
        }
        [option] if option == "--check" => match check() {
            Ok(_) => {
                println!("the committed objects are what the sources give");
                Ok(ExitCode::SUCCESS)
            }
            Err(Stop::Skipped(reason)) => {
                println!("skipped: {reason}");
                Ok(ExitCode::SUCCESS)
            }
            Err(Stop::Failed(error)) => Err(error),
        },
        _ => bail!("unknown arguments\n\n{USAGE}"),
    }
}

/// Compares what the sources give with what is committed.
pub(crate) fn check() -> Outcome {
    if let Some(reason) = other_compiler()? {
        return skip(reason);
    }
    let folder = Folder::new()?;
    let built = build(folder.path())?;
    let recorded = fs::read_to_string(prebuilt().join(SUMS)).context("there are no hashes")?;
    let committed = sums(&prebuilt())?;
    println!("{built}");
    for (what, sums) in [("the hashes recorded", &recorded), ("the committed objects", &committed)]
    {
        if let Some(line) = difference(&built, sums) {
            let advice = "run `cargo xtask bpf` and commit the result";
            return Err(
                anyhow::anyhow!("{what} are not what the sources give: {line}; {advice}").into()
            );
        }
    }
    Ok(Tally::ONE)
}

/// A line that only one of the two has.
fn difference<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    let missing =
        |a: &'a str, b: &str| a.lines().find(|line| !b.lines().any(|other| other == *line));
    missing(one, other).or_else(|| missing(other, one))
}

/// Why objects that are built here cannot be compared with the committed ones.
fn other_compiler() -> Result<Option<String>> {
    for program in ["clang", "llvm-strip"] {
        if installed(program).is_none() {
            let advice = "apt-get install clang llvm libbpf-dev";
            return Ok(Some(format!("{program} is not installed: {advice}")));
        }
    }
    let version = output(&mut command("clang", &["-dumpversion"]))?;
    let version = version.trim();
    Ok((version.split('.').next() != Some(CLANG))
        .then(|| format!("the objects are built by clang {CLANG}, and this is {version}")))
}

fn crate_folder() -> PathBuf {
    root().join("crates/pixie-probes")
}

fn prebuilt() -> PathBuf {
    crate_folder().join("prebuilt")
}

/// Builds every object into `folder`, and returns their hashes.
fn build(folder: &Path) -> Result<String> {
    let sources = files(&crate_folder().join("bpf"), ".bpf.c")?;
    if sources.is_empty() {
        bail!("there are no sources in {}", crate_folder().join("bpf").display());
    }
    for (architecture, define) in ARCHITECTURES {
        let folder = folder.join(architecture);
        fs::create_dir_all(&folder)?;
        for stale in files(&folder, ".bpf.o")? {
            fs::remove_file(folder.join(stale))?;
        }
        for source in &sources {
            let object = folder.join(source.replace(".bpf.c", ".bpf.o"));
            compile(source, define, &object).with_context(|| format!("cannot build {source}"))?;
        }
    }
    let sums = sums(folder)?;
    fs::write(folder.join(SUMS), &sums)?;
    Ok(sums)
}

/// Compiles one program. Nothing of the folder it is done in gets into the object.
fn compile(source: &str, architecture: &str, object: &Path) -> Result<()> {
    let folder = crate_folder().join("bpf");
    // Loops count in `int`: the verifier follows that best.
    let warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-sign-compare"];
    run(command("clang", &["-g", "-O2", "-target", "bpf", "-mcpu=v3"])
        .args(warnings)
        .arg(format!("-D__TARGET_ARCH_{architecture}"))
        .arg(format!("-ffile-prefix-map={}=.", folder.display()))
        .args(["-fdebug-compilation-dir=.", "-c", source, "-o"])
        .arg(object)
        .current_dir(&folder))?;
    // The debug information goes; BTF, which the kernel reads, stays.
    run(command("llvm-strip", &["-g"]).arg(object))
}

/// The hashes of all objects below `folder`, in the form of sha256sum(1).
fn sums(folder: &Path) -> Result<String> {
    let mut objects = Vec::new();
    for (architecture, _) in ARCHITECTURES {
        let names = files(&folder.join(architecture), ".bpf.o")?;
        objects.extend(names.into_iter().map(|name| format!("{architecture}/{name}")));
    }
    output(command("sha256sum", &[]).args(objects).current_dir(folder))
}

/// The names of the files in `folder` that end so, in order.
fn files(folder: &Path, end: &str) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(end) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn sums_differ_by_whatever_only_one_of_them_has() {
        assert_eq!(difference("a\nb\n", "b\na\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n"), Some("b"));
        assert_eq!(difference("a\n", "a\nc\n"), Some("c"));
        assert_eq!(difference("a\n", ""), Some("a"));
    }
}
