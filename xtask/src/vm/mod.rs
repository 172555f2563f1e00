//! Other kernels, in virtual machines: `cargo xtask vm`.

mod image;
mod kernel;
mod machine;
mod programs;

pub(crate) use image::Image;
pub(crate) use kernel::{KERNELS, Kernel};
pub(crate) use machine::{Ended, Machine};
pub(crate) use programs::Tests;

use crate::folder::Folder;
use crate::steps::{Log, Outcome, Steps, Stop, Tally, skip};
use anyhow::{Context, Result, anyhow, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
cargo xtask vm [OPTIONS] [-- ARGUMENT...]

Boots Debian's kernels, one after the other, each in a virtual machine that runs the core of the
end-to-end tests as root, on loopback alone. The kernels come from the Debian mirror that apt is configured
with, and are kept in ${XDG_CACHE_HOME:-~/.cache}/pixie (remove that to get newer ones). Nothing is
installed, and no privileges are needed.

  --kernel VERSION   5.10, 6.1 or 6.12 (default: all)
  --all              run all end-to-end tests; takes an hour or so a kernel
  --program FILE     run this program instead of the tests
  --instructions     let clocks count instructions, so that times measured in it repeat
  --minutes N        how long each kernel may take (default 30, and 120 with --all)
  -- ARGUMENT...     arguments for the program; for the tests, names of those to run";

/// By how much an emulated machine is slower: what the tests multiply their patience with.
const SLOWER: u32 = 15;

/// The end-to-end tests that are run on every kernel, by what their names contain: one of each way
/// in which a kernel can differ from others. An emulated processor takes too long for all of them.
const CORE: &[&str] = &[
    "backends::",
    "calls::sendfile",
    "exchanges::nginx_and_curl",
    "tls_sessions::curl_and_nginx",
    "encrypted::go::go_119",
    "encrypted::ktls::the_server",
    "encrypted::choices::a_confined_program",
    "encrypted::openssl::early_data",
    "encrypted::uprobes::many_at_once",
    "profiler::chains",
    "profiler::waits",
    "processors::",
    "faults::a_killed_agent_leaves_nothing",
    "faults::no_memory_to_lock",
    "lockdown::",
];

/// As [`CORE`], but with each backend that is not [spared](Kernel::spared): ways to use a socket, and to
/// share it.
const USES_OF_SOCKETS: &[&str] = &[
    "calls::write_and_read",
    "calls::sendmmsg_and_recvmmsg",
    "calls::peeked_bytes_count_once",
    "datagrams::one_by_one_to_named_peers",
    "transports::unix_sockets",
    "transports::ipv6",
    "sharing::a_connection_is_passed_to_a_worker",
    "sharing::threads_share_a_connection",
    "sharing::many_processes_wait",
    "lifetimes::a_server_leaves_in_its_answer",
    "filters::by_pid",
];

/// What a session can capture traffic with.
pub(crate) const BACKENDS: &[&str] = &["socket", "fentry", "kprobe", "sysexit"];

/// What is run on this kernel when nothing else is asked for.
fn core(kernel: Kernel) -> Vec<String> {
    let backends = BACKENDS.iter().filter(|backend| kernel.spared != Some(**backend));
    let uses = backends
        .flat_map(|backend| USES_OF_SOCKETS.iter().map(move |name| format!("{name} [{backend}]")));
    CORE.iter().map(|name| (*name).to_owned()).chain(uses).collect()
}

/// What to run in the machines.
#[derive(Debug, Default)]
pub(crate) struct Options {
    kernels: Vec<Kernel>,
    program: Option<PathBuf>,
    all: bool,
    instructions: bool,
    minutes: Option<u64>,
    arguments: Vec<String>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().with_context(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "--kernel" => {
                    let version = value()?;
                    let kernel = KERNELS.iter().find(|kernel| kernel.version == version);
                    options.kernels.push(*kernel.with_context(|| format!("no kernel {version}"))?);
                }
                "--program" => options.program = Some(value()?.into()),
                "--minutes" => options.minutes = Some(value()?.parse().context("--minutes")?),
                "--all" => options.all = true,
                "--instructions" => options.instructions = true,
                "--" => options.arguments = arguments.by_ref().cloned().collect(),
                _ => bail!("no option {argument}\n\n{USAGE}"),
            }
        }
        if options.kernels.is_empty() {
            options.kernels = KERNELS.to_vec();
        }
        Ok(options)
    }
}

pub(crate) fn main(arguments: &[String]) -> Result<ExitCode> {
    let options = Options::read(arguments)?;
    let mut steps = Steps::default();
    for kernel in &options.kernels {
        let name = format!("Linux {}", kernel.version);
        steps.step(&name, |log| match &options.program {
            Some(program) => run_program(*kernel, program, &options, log),
            None => run_tests(*kernel, &options, log),
        });
    }
    Ok(if steps.close() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the end-to-end tests on this kernel.
pub(crate) fn test(kernel: Kernel, log: &Log) -> Outcome {
    run_tests(kernel, &Options::default(), log)
}

fn run_tests(kernel: Kernel, options: &Options, log: &Log) -> Outcome {
    if cfg!(not(target_arch = "x86_64")) {
        return skip("the kernels are for x86_64, and so must the tests be");
    }
    let tests = Tests::build()?;
    let work = Folder::new()?;
    let mut image = Image::new()?;
    tests.add_to(&mut image, work.path(), log)?;
    let settings = format!(
        "export PIXIE_TEST_SLOW={SLOWER} PIXIE_TEST_PROGRAMS={} PIXIE_TEST_DISPOSABLE=1\n",
        programs::OURS
    );
    let asked_for = options.all || !options.arguments.is_empty();
    let names = if asked_for { options.arguments.clone() } else { core(kernel) };
    let command = settings + &shell_line(tests.path(), &names);
    let ended = machine(kernel, image, command, options, log)?.run(log)?;
    let tally = ended
        .lines
        .iter()
        .rev()
        .map(|line| Tally::of_line(line))
        .find(|tally| *tally != Tally::default());
    match (tally, ended.status) {
        (Some(tally), 0) if tally.passed > 0 => Ok(tally),
        (Some(tally), _) if tally.failed > 0 => Ok(tally),
        (_, status) => Err(Stop::Failed(anyhow!("no test passed, and the status is {status}"))),
    }
}

fn run_program(kernel: Kernel, program: &Path, options: &Options, log: &Log) -> Outcome {
    let program = program.canonicalize().with_context(|| format!("{}", program.display()))?;
    let mut image = Image::new()?;
    image.program(&program)?;
    let command = shell_line(&program, &options.arguments);
    let Ended { status, took, .. } = machine(kernel, image, command, options, log)?.run(log)?;
    log.line(&format!("status {status} after {:.1} s", took.as_secs_f64()));
    match status {
        0 => Ok(Tally::ONE),
        _ => Err(Stop::Failed(anyhow!("status {status}"))),
    }
}

fn machine(
    kernel: Kernel,
    mut image: Image,
    command: String,
    options: &Options,
    log: &Log,
) -> Result<Machine> {
    let files = kernel.files(log)?;
    for module in fs::read_dir(&files.modules).into_iter().flatten() {
        let module = module?;
        image.copy(&module.path(), &format!("lib/modules/{}", module.file_name().display()));
    }
    let usual = if options.all { 120 } else { 30 };
    Ok(Machine {
        kernel: files.image,
        command,
        image,
        memory: 3072,
        processors: 2,
        instructions: options.instructions,
        limit: Duration::from_secs(60 * options.minutes.unwrap_or(usual)),
    })
}

/// A program and its arguments, quoted for the shell.
fn shell_line(program: &Path, arguments: &[String]) -> String {
    let program = program.to_string_lossy();
    let words = std::iter::once(&*program).chain(arguments.iter().map(String::as_str));
    words.map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" ")
}
