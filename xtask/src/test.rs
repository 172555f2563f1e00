//! Every check and every test: `cargo xtask test`.

use crate::command::{cargo, is_root, metadata, output, root, run, tally, targets};
use crate::steps::{Job, Log, Outcome, Steps, Tally, skip};
use crate::{bpf, fuzz, oracle, overhead, packages, packaging, vm};
use anyhow::{Context, Result, bail};
use std::process::{Command, ExitCode};

pub(crate) const USAGE: &str = "\
cargo xtask test [--quick] [--fuzz-seconds N]

Runs every check and every test of the project. As root it installs the Debian packages that are
missing, and cargo-deny; else it says which are. What cannot be done here is skipped, with the reason, and counted:
the last line is the sum.

  --quick            without fuzzing and virtual machines
  --fuzz-seconds N   how long a fuzz target runs at most (default 60); lesser ones run for a third";

/// What was asked for.
struct Options {
    quick: bool,
    fuzz_seconds: u64,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut options = Self { quick: false, fuzz_seconds: 60 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--fuzz-seconds" => {
                    let value = arguments.next().context("--fuzz-seconds wants a number")?;
                    options.fuzz_seconds =
                        value.parse().context("--fuzz-seconds wants a number")?;
                }
                _ => bail!("no option {argument}\n\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

pub(crate) fn main(arguments: &[String]) -> Result<ExitCode> {
    let options = Options::read(arguments)?;
    let mut steps = Steps::default();
    steps.step("packages", |_| done(packages::install()));
    checks(&mut steps);
    tests(&mut steps);
    if options.quick {
        let quick = |_: &Log| skip("--quick was given");
        steps.step("fuzz targets", quick);
        steps.step("virtual machines", quick);
    } else {
        fuzz_targets(&mut steps, options.fuzz_seconds);
        steps.at_once(2, machines());
    }
    Ok(if steps.close() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What runs in virtual machines, each of which keeps about one processor busy, the longest first.
fn machines() -> Vec<Job> {
    let mut kernels = vm::KERNELS.to_vec();
    kernels.sort_by_key(|kernel| kernel.version != SLOWEST);
    let test = |kernel: vm::Kernel| Job {
        name: format!("end to end on Linux {}", kernel.version),
        action: Box::new(move |log| vm::test(kernel, log)),
    };
    let mut jobs: Vec<Job> = kernels.into_iter().map(test).collect();
    jobs.push(Job {
        name: "instructions that tracing takes".to_owned(),
        action: Box::new(overhead::gate),
    });
    jobs
}

/// The kernel that takes longest: half a second for each trampoline that comes or goes.
const SLOWEST: &str = "6.1";

/// What is wrong without running anything.
fn checks(steps: &mut Steps) {
    steps.step("format", |_| done(run(&mut cargo(&["fmt", "--all", "--check"]))));
    let all = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    steps.step("lints", |_| done(run(&mut cargo(&all))));
    let bare = ["clippy", "--workspace", "--no-default-features", "--", "-D", "warnings"];
    steps.step("lints without features", |_| done(run(&mut cargo(&bare))));
    steps.step("documentation", |_| {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
        done(run(doc.env("RUSTDOCFLAGS", "-D warnings")))
    });
    steps.step("eBPF objects", |_| bpf::check());
    steps.step("dependencies", |_| dependencies());
    steps.step("advisories", |_| advisories());
    steps.step("packaging", |_| packaging::check());
}

fn tests(steps: &mut Steps) {
    steps.step("tests", |log| {
        let mut total =
            tally(&mut test(&["--workspace", "--exclude=pixie", "--all-targets"]), log)?;
        let named = own_tests()?;
        total.add(tally(
            test(&["--package=pixie", "--lib", "--bins", "--examples"]).args(named),
            log,
        )?);
        Ok(total)
    });
    steps
        .step("documentation's tests", |log| Ok(tally(&mut test(&["--workspace", "--doc"]), log)?));
    steps.step("captures as tshark sees them", |_| oracle::test());
    steps.step("end to end", |log| {
        if !is_root() {
            return skip("it attaches to the kernel: run it as root");
        }
        Ok(tally(&mut test(&["--package=pixie", "--test", END_TO_END]), log)?)
    });
}

/// With what the inputs of property tests and of fuzz targets are chosen: a change is not to fail by
/// what was wrong before it.
const SEED: u32 = 20_261_124;

/// What property tests take for their seed, if it is set. `cargo test` by itself takes another one
/// each time.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// How many inputs each fuzz target tries: about what it does in its time on a slow machine. Those
/// of [`LONGER`] have all of the time, others a third.
const FUZZ_RUNS: &[(&str, u64)] = &[
    ("dns", 150_000),
    ("http1", 600_000),
    ("http2", 100_000),
    ("postgres", 40_000),
    ("proxy_protocol", 1_000_000),
    ("redis", 300_000),
    ("replay", 600_000),
    ("stream", 600_000),
    ("symbols_debugdata", 150_000),
    ("symbols_elf", 20_000),
    ("symbols_lines", 60_000),
    ("symbols_lists", 200_000),
    ("symbols_pclntab", 100_000),
    ("tls", 300_000),
    ("tls_inspect", 20_000),
    ("unwind_tables", 60_000),
    ("websocket", 300_000),
];

/// How many inputs a fuzz target tries that is not in [`FUZZ_RUNS`].
const OTHER_FUZZ_RUNS: u64 = 50_000;

/// The fuzz targets that all else stands on.
const LONGER: &[&str] = &["http1", "replay", "stream"];

/// What is tried of a fuzz target. A check of a change should pass or fail for the change's sake:
/// `cargo xtask fuzz` is what finds the unknown.
fn fuzz_effort(target: &str, seconds: u64) -> fuzz::Effort {
    let runs = FUZZ_RUNS.iter().find(|(name, _)| *name == target);
    fuzz::Effort {
        seconds: if LONGER.contains(&target) { seconds } else { seconds.div_ceil(3) },
        repeated: Some(fuzz::Repeated {
            seed: SEED,
            runs: runs.map_or(OTHER_FUZZ_RUNS, |(_, runs)| *runs),
        }),
    }
}

/// The name of the end-to-end tests, which are a step of their own.
const END_TO_END: &str = "end_to_end";

/// The options that choose the root package's other tests.
fn own_tests() -> Result<Vec<String>> {
    let metadata = metadata(&root().join("Cargo.toml"))?;
    let tests = targets(&metadata, "pixie", "test").into_iter();
    Ok(tests.filter(|name| name != END_TO_END).map(|name| format!("--test={name}")).collect())
}

fn test(arguments: &[&str]) -> Command {
    let mut command = cargo(&["test", "--all-features", "--no-fail-fast"]);
    command.args(arguments);
    if std::env::var_os(PROPERTY_SEED).is_none() {
        command.env(PROPERTY_SEED, SEED.to_string());
    }
    command
}

fn fuzz_targets(steps: &mut Steps, seconds: u64) {
    let mut built = None;
    let mut targets = Vec::new();
    steps.step("fuzz targets build", |_| {
        targets = fuzz::targets()?;
        built = Some(fuzz::build()?);
        Ok(Tally::ONE)
    });
    let Some(built) = built else { return };
    // Those that take the same time beside each other.
    targets.sort_by_key(|target| !LONGER.contains(&target.as_str()));
    for targets in targets.chunks(fuzz::at_once()) {
        let name = format!("fuzz {}", targets.join(", "));
        let effort = |target: &str| fuzz_effort(target, seconds);
        steps.step(&name, |_| Ok(fuzz::fuzz(&built, targets, effort)));
    }
}

/// Licences, bans and sources of what we depend on.
fn dependencies() -> Outcome {
    if !packages::has_deny() {
        return skip(NO_DENY);
    }
    done(run(&mut cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"])))
}

/// Known faults of what we depend on.
fn advisories() -> Outcome {
    if !packages::has_deny() {
        return skip(NO_DENY);
    }
    match output(&mut cargo(&["deny", "--all-features", "check", "advisories"])) {
        Err(error) if error.to_string().contains("failed to fetch advisory database") => {
            skip("the database of advisories, on GitHub, cannot be reached from here")
        }
        result => done(result.map(drop)),
    }
}

const NO_DENY: &str = "cargo-deny is not installed: cargo install --locked cargo-deny";

fn done(result: Result<()>) -> Outcome {
    result?;
    Ok(Tally::ONE)
}
