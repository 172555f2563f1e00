//! The fuzz targets: `cargo xtask fuzz`.
//!
//! Built as cargo-fuzz builds them, without the need to install it; `cargo fuzz` works as well. No
//! sanitizer: there is no unsafe code in what is fuzzed, and without one it is several times as
//! fast.

use crate::command::{self, cargo, metadata, output, root, run};
use crate::steps::Tally;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

pub(crate) const USAGE: &str = "\
cargo xtask fuzz [--seconds N] [TARGET]...

Runs fuzz targets, all by default, as many at once as there are processors, from the corpora that
are kept in fuzz/corpus. What makes a target fail is left in fuzz/artifacts.

  --seconds N   how long each target runs (default 60)";

/// What libFuzzer needs to see of the program it runs.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1 -Cdebug-assertions \
    -Coverflow-checks --cfg fuzzing";

pub(crate) fn main(arguments: &[String]) -> Result<ExitCode> {
    let mut seconds = 60;
    let mut wanted = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let value = arguments.next().context("--seconds wants a number")?;
                seconds = value.parse().context("--seconds wants a number")?;
            }
            option if option.starts_with('-') => bail!("no option {option}\n\n{USAGE}"),
            target => wanted.push(target.to_owned()),
        }
    }
    let all = targets()?;
    for target in &wanted {
        if !all.contains(target) {
            bail!("no target {target}; there are {}", all.join(", "));
        }
    }
    let chosen = if wanted.is_empty() { all } else { wanted };
    let built = build()?;
    let mut total = Tally::default();
    for targets in chosen.chunks(at_once()) {
        total.add(fuzz(&built, targets, seconds, None));
    }
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many targets run at once.
pub(crate) fn at_once() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn manifest() -> PathBuf {
    root().join("fuzz/Cargo.toml")
}

/// The names of the fuzz targets.
pub(crate) fn targets() -> Result<Vec<String>> {
    let targets = command::targets(&metadata(&manifest())?, "pixie-fuzz", "bin");
    if targets.is_empty() {
        bail!("there are no fuzz targets in {}", manifest().display());
    }
    Ok(targets)
}

/// The folder of the fuzz targets that were built.
pub(crate) struct Built(PathBuf);

/// Builds all fuzz targets.
pub(crate) fn build() -> Result<Built> {
    let host = host()?;
    let folder = target_folder()?;
    run(cargo(&["build", "--release", "--manifest-path"])
        .arg(manifest())
        .args(["--target", &host, "--target-dir"])
        .arg(&folder)
        // The flags are not stable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS))?;
    Ok(Built(folder.join(host).join("release")))
}

/// Runs fuzz targets at once, for so many seconds, and shows what each said. With a seed they try
/// the same inputs in the same order every time, as far as they come.
pub(crate) fn fuzz(built: &Built, targets: &[String], seconds: u64, seed: Option<u32>) -> Tally {
    let one = |target: &String| (target.clone(), fuzz_one(built, target, seconds, seed));
    let results: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> =
            targets.iter().map(|target| scope.spawn(move || one(target))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut tally = Tally { failed: (targets.len() - results.len()) as u64, ..Tally::default() };
    for (target, result) in results {
        match result {
            Ok(said) => {
                println!("{target}:");
                said.lines()
                    .filter(|line| line.starts_with("stat::"))
                    .for_each(|line| println!("{line}"));
                tally.passed += 1;
            }
            Err(error) => {
                println!("{target}: failed: {error:#}");
                tally.failed += 1;
            }
        }
    }
    tally
}

/// Runs a fuzz target for so many seconds, and returns what it said.
fn fuzz_one(built: &Built, target: &str, seconds: u64, seed: Option<u32>) -> Result<String> {
    let artifacts = root().join("fuzz/artifacts").join(target);
    let kept = root().join("fuzz/corpus").join(target);
    // What is found goes here, so that the kept corpus grows only when somebody wants it to.
    let found = built.0.join("corpus").join(target);
    for folder in [&artifacts, &kept, &found] {
        std::fs::create_dir_all(folder)?;
    }
    let run = Command::new(built.0.join(target))
        .arg(format!("-max_total_time={seconds}"))
        // To libFuzzer 0 is none.
        .arg(format!("-seed={}", seed.unwrap_or(0)))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        // Else what was found is read again every second, which no two runs do at the same point.
        .arg("-reload=0")
        .args(["-rss_limit_mb=1024", "-timeout=20", "-print_final_stats=1", "-verbosity=0"])
        .args([&found, &kept])
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{target} cannot be run"))?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    if !run.status.success() {
        bail!("{}; the input is in {}\n{said}", run.status, artifacts.display());
    }
    Ok(said)
}

fn host() -> Result<String> {
    let version = output(&mut command::command("rustc", &["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it runs on")?.to_owned())
}

/// Beside what cargo builds else, so that the two do not undo each other's work.
fn target_folder() -> Result<PathBuf> {
    let metadata = metadata(&root().join("Cargo.toml"))?;
    let folder = metadata["target_directory"].as_str().context("no target directory")?;
    Ok(PathBuf::from(folder).join("fuzz"))
}
