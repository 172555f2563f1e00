//! The fuzz targets: `cargo xtask fuzz`.
//!
//! Built as cargo-fuzz builds them, without the need to install it; `cargo fuzz` works as well. No
//! sanitizer: there is no unsafe code in what is fuzzed, and without one it is several times as
//! fast.

use crate::command::{self, cargo, metadata, output, root, run};
use crate::steps::Tally;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
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
        total.add(fuzz(&built, targets, |_| Effort { seconds, repeated: None }));
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

/// How much of the inputs is tried.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// For how long.
    pub(crate) seconds: u64,
    /// The same inputs in the same order every time, as far as the time allows; else others.
    pub(crate) repeated: Option<Repeated>,
}

/// What makes two runs try the same.
#[derive(Clone, Copy)]
pub(crate) struct Repeated {
    /// With what the inputs are chosen; 0 is none to libFuzzer.
    pub(crate) seed: u32,
    /// How many inputs are tried: no machine goes further than another, however fast.
    pub(crate) runs: u64,
}

impl Repeated {
    /// The target, begun from the kept inputs in the order of their names (a folder has its own
    /// order on each machine) and at the same addresses, which it sees in what it compares.
    fn command(self, program: &Path, kept: &Path, found: &Path) -> Result<Command> {
        let mut inputs = Vec::new();
        for entry in std::fs::read_dir(kept)? {
            inputs.push(entry?.path().to_string_lossy().into_owned());
        }
        inputs.sort();
        let mut command = match fixed_addresses() {
            Some(mut setarch) => {
                setarch.arg(program);
                setarch
            }
            None => Command::new(program),
        };
        if !inputs.is_empty() {
            let list = found.with_extension("inputs");
            std::fs::write(&list, inputs.join(","))?;
            command.arg(format!("-seed_inputs=@{}", list.display()));
        }
        command.arg(format!("-seed={}", self.seed)).arg(format!("-runs={}", self.runs)).arg(found);
        Ok(command)
    }
}

/// `setarch -R`, where it is there and may do that: in some containers it may not.
fn fixed_addresses() -> Option<Command> {
    let setarch = command::installed("setarch")?;
    let tried = Command::new(&setarch).args(["-R", "true"]).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new(setarch);
    command.arg("-R");
    Some(command)
}

/// Runs fuzz targets at once, each with its effort, and shows what each said.
pub(crate) fn fuzz(
    built: &Built,
    targets: &[String],
    effort: impl Fn(&str) -> Effort + Sync,
) -> Tally {
    let one = |target: &String| (target.clone(), fuzz_one(built, target, effort(target)));
    let one = &one;
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

/// Runs a fuzz target, and returns what it said.
fn fuzz_one(built: &Built, target: &str, effort: Effort) -> Result<String> {
    let artifacts = root().join("fuzz/artifacts").join(target);
    let kept = root().join("fuzz/corpus").join(target);
    // What is found goes here, so that the kept corpus grows only when somebody wants it to. What
    // an earlier run found would be where this one begins: one that repeats begins without.
    let found = match effort.repeated {
        Some(_) => built.0.join("repeated").join(target),
        None => built.0.join("corpus").join(target),
    };
    if effort.repeated.is_some() && found.exists() {
        std::fs::remove_dir_all(&found)?;
    }
    for folder in [&artifacts, &kept, &found] {
        std::fs::create_dir_all(folder)?;
    }
    let program = built.0.join(target);
    let mut command = match effort.repeated {
        Some(repeated) => repeated.command(&program, &kept, &found)?,
        None => {
            let mut command = Command::new(program);
            command.args([&found, &kept]);
            command
        }
    };
    let run = command
        .arg(format!("-max_total_time={}", effort.seconds))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        // Else what was found is read again every second, which no two runs do at the same point.
        .arg("-reload=0")
        .args(["-rss_limit_mb=1024", "-timeout=20", "-print_final_stats=1", "-verbosity=0"])
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
