//! What tracing costs: `cargo xtask overhead`.
//!
//! Times neither pass nor fail: machines differ, and so do their neighbours. What is measured is
//! always a pair, with and without, in turn, and shown as a ratio with its spread. Only counts of
//! instructions repeat well enough for a gate.

mod agent;
mod instructions;
mod load;
mod measure;
mod processes;
mod profiler;
mod rounds;
mod tax;
mod tls;
mod tracefs;

use crate::command::{command, installed, is_root, output};
use anyhow::{Context, Result, bail};
pub(crate) use instructions::gate;
use load::{Nginx, Traffic};
use measure::{Bench, Row};
use std::process::ExitCode;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
cargo xtask overhead [OPTIONS]

Measures nginx and wrk on loopback, at full load, traced and untraced in turn, parsing included:
requests a second kept, CPU time a request, memory. Also a bpftrace script that reads the same
system calls, the idle cost, and what system calls pay that have nothing to do with sockets. The
same over TLS, and with a server of Go's and h2load; beside bpftrace, and sslsniff of the packages
bpfcc-tools and linux-headers-cloud-amd64. Needs root, and a machine with nothing else to do.

  --rounds N       pairs of rounds for each row (default 7)
  --seconds S      how long each round runs (default 3)
  --row NAME       only this row; can be given several times (see the first column); `profiler` is
                   a table of its own: what call stacks cost, beside other profilers (all, or
                   those that are named too)
  --instructions   instead, count instructions in virtual machines, which repeats";

/// What was asked for.
struct Options {
    rounds: usize,
    seconds: u64,
    rows: Vec<String>,
    instructions: bool,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut options = Self { rounds: 7, seconds: 3, rows: Vec::new(), instructions: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().with_context(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
                "--row" => options.rows.push(value()?.clone()),
                "--instructions" => options.instructions = true,
                _ => bail!("no option {argument}\n\n{USAGE}"),
            }
        }
        Ok(options)
    }

    fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| wanted == row)
    }
}

pub(crate) fn main(arguments: &[String]) -> Result<ExitCode> {
    let options = Options::read(arguments)?;
    if options.instructions {
        instructions::count()?;
        return Ok(ExitCode::SUCCESS);
    }
    if !is_root() {
        bail!("it attaches to the kernel: run it as root");
    }
    if options.rows.iter().any(|row| row == "profiler") {
        return profiler::measure(&options).map(|()| ExitCode::SUCCESS);
    }
    for program in ["nginx", "wrk", "bpftool", "cc"] {
        installed(program).with_context(|| format!("{program} is not installed"))?;
    }
    refuse_company()?;
    agent::build()?;
    println!("{}", measure::HEADING);
    bench(&options, measure::rows(), || Nginx::start(false))?;
    bench(&options, tls::rows_of_nginx(), || Nginx::start(true))?;
    bench(&options, tls::rows_of_go()?, tls::Go::start)?;
    if options.wants("idle") {
        measure::idle()?;
    }
    if options.wants("tax") {
        println!("\nSystem calls that are no socket's, traced to untraced:");
        tax::measure(options.rounds)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures those of these rows that are wanted, which are of one kind of traffic.
fn bench<T: Traffic + 'static>(
    options: &Options,
    mut rows: Vec<Row>,
    traffic: impl Fn() -> Result<T>,
) -> Result<()> {
    rows.retain(|row| options.wants(row.name));
    if rows.is_empty() {
        return Ok(());
    }
    let bench = Bench::new(traffic()?, options.rounds, Duration::from_secs(options.seconds))?;
    rows.iter().try_for_each(|row| bench.measure(row))
}

/// Another tool's probes would slow the untraced rounds down too.
fn refuse_company() -> Result<()> {
    let programs = output(&mut command("bpftool", &["prog", "list"]))?;
    let tracing = ["tracing", "raw_tracepoint", "tracepoint", "kprobe", "perf_event"];
    let company = programs
        .lines()
        .find(|line| tracing.iter().any(|kind| line.contains(&format!(": {kind} "))));
    match company {
        Some(line) => bail!("something is attached already, which spoils the baseline: {line}"),
        None => Ok(()),
    }
}
