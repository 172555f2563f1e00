//! What sampling of call stacks costs, beside what others take for it: `--row profiler`.
//!
//! What it takes away is measured of all in the same way: a program that spins at the end of a known
//! chain counts what it gets done in its CPU time, sampled and not sampled in turn. Of eBPF
//! programs the kernel's own account is shown too.

mod tracers;

use super::Options;
use super::processes;
use super::rounds::Ratios;
use crate::command::{cargo, command, output, root, run};
use crate::folder::Folder;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tracers::Tracer;

/// So often a second stacks are taken where the cost of one is measured: so that it can be seen.
const OFTEN: u32 = 4999;
/// And where the rest is measured.
const USUAL: u32 = 99;
const SAMPLED: Duration = Duration::from_secs(10);
/// For how long the program works in each round.
const WORK: Duration = Duration::from_secs(3);
/// Processes that run beside it, as those of a machine do.
const BESIDES: usize = 100;
/// How many functions a program has that is large: it becomes 250 MB.
const FUNCTIONS: usize = 720_000;

const HEADING: &str = "\
profiler              taken away a sample      kernel's    BPF     agent's    peak   whole   first flame graph
                      (middle half), ns        account, ns MiB     CPU, % 1)  MiB    stacks  small 2)  250 MB";

/// Measures the rows that are named, or all.
pub(super) fn measure(options: &Options) -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--quiet",
        "--release",
        "--example=profile",
        "--example=flamegraph",
    ]))?;
    let folder = Folder::new()?;
    let work = folder.join("deep_work");
    let source = root().join("tests/programs/deep_work.c");
    run(command("cc", &["-O2", "-o"]).arg(&work).arg(source))?;
    let large = large_program(&folder)?;
    println!("\n{HEADING}");
    let _statistics = Statistics::on()?;
    let mut wanted = tracers::all().to_vec();
    if options.rows.len() > 1 {
        wanted.retain(|tracer| options.wants(tracer.name()));
    }
    for tracer in wanted {
        match tracer.missing() {
            Some(reason) => println!("{:<21} not here: {reason}", tracer.name()),
            None => match row(&tracer, &folder, &work, &large, options.rounds) {
                Ok(line) => println!("{:<21} {line}", tracer.name()),
                Err(error) => println!("{:<21} does not run: {error:#}", tracer.name()),
            },
        }
    }
    println!(
        "1) of one processor, at {USUAL} Hz on each, beside {BESIDES} processes\n\
         2) after the second in which it samples; perf: its text of stacks, without a picture"
    );
    Ok(())
}

fn row(
    tracer: &Tracer,
    folder: &Folder,
    work: &Path,
    large: &Path,
    rounds: usize,
) -> Result<String> {
    let _tracefs = tracer.tracefs()?;
    let out = folder.join("out");
    let (mut ratios, mut account) = (Ratios::default(), Account::default());
    for _ in 0..rounds {
        let untraced = work_alone(work)?;
        let mut agent = Agent::start(tracer, OFTEN, WORK + Duration::from_secs(6), &out)?;
        thread::sleep(Duration::from_secs(3));
        let traced = work_alone(work)?;
        account.add(&Account::now()?);
        agent.stop()?;
        ratios.push((1.0 - traced / untraced) * 1e9 / f64::from(OFTEN));
    }
    let usage = beside_others(tracer, work, &out)?;
    let whole = tracer.chains(&out)?.map_or("-".to_owned(), |chains| share_of_whole(&chains));
    let small = first_picture(tracer, work, &out)?;
    let of_large = first_picture(tracer, large, &out)?;
    Ok(format!(
        "{:<24} {:<11} {:<7.1} {:<10.2} {:<6.0} {whole:<7} {small:<9} {of_large}",
        ratios.to_string(),
        account.nanoseconds().map_or("-".to_owned(), |it| format!("{it:.0}")),
        account.memory as f64 / f64::from(1 << 20),
        usage.cpu.as_secs_f64() * 100.0 / SAMPLED.as_secs_f64(),
        usage.peak_kib as f64 / 1024.0,
    ))
}

/// What the program gets done in a second on the first processor.
fn work_alone(work: &Path) -> Result<f64> {
    let milliseconds = WORK.as_millis().to_string();
    let text = output(command("taskset", &["-c", "0"]).arg(work).arg(milliseconds))?;
    let (rounds, time) = text.trim().split_once(' ').context("it says what it did")?;
    Ok(rounds.parse::<f64>()? * 1e9 / time.parse::<f64>()?)
}

/// A tracer that runs, on the second processor.
struct Agent {
    child: Child,
}

impl Agent {
    fn start(tracer: &Tracer, frequency: u32, time: Duration, out: &Path) -> Result<Self> {
        drop(fs::remove_file(out));
        let wanted = tracer.command(frequency, time, out);
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "1"]).arg(wanted.get_program()).args(wanted.get_args());
        let output = fs::File::create(out.with_extension("output"))?;
        pinned.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(Self { child: pinned.spawn()? })
    }

    /// Lets it come to its end.
    fn stop(&mut self) -> Result<()> {
        match self.child.wait()?.success() {
            true => Ok(()),
            false => bail!("it failed"),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A process that is ended with this.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs the tracer as it is used, with a hundred processes beside the one that works.
fn beside_others(tracer: &Tracer, work: &Path, out: &Path) -> Result<processes::Usage> {
    let idle = "import time\nwhile True: sum(range(20000)); time.sleep(0.5)";
    let start = |command: &mut Command| -> Result<Kept> { Ok(Kept(command.spawn()?)) };
    let mut others = Vec::new();
    for _ in 0..BESIDES {
        others.push(start(&mut command("python3", &["-c", idle]))?);
    }
    let milliseconds = (SAMPLED + Duration::from_secs(20)).as_millis().to_string();
    let mut working = command("taskset", &["-c", "0"]);
    let _working = start(working.arg(work).arg(milliseconds).stdout(Stdio::null()))?;
    thread::sleep(Duration::from_secs(2));
    let mut agent = Agent::start(tracer, USUAL, SAMPLED, out)?;
    let mut usage = processes::Usage::default();
    // Until it is gone: what it has used then can be seen no more.
    while agent.child.try_wait()?.is_none() {
        if let Ok(now) = processes::usage(agent.child.id()) {
            usage.cpu = usage.cpu.max(now.cpu);
            usage.peak_kib = usage.peak_kib.max(now.peak_kib);
        }
        thread::sleep(Duration::from_millis(20));
    }
    agent.stop()?;
    Ok(usage)
}

/// How many of the stacks of the program that works are whole.
fn share_of_whole(chains: &[(Vec<String>, u64)]) -> String {
    let (mut whole, mut all) = (0, 0);
    for (chain, count) in chains {
        let is = |name: &str| chain.iter().filter(|frame| frame.as_str() == name).count();
        if !chain
            .iter()
            .any(|frame| frame.contains("deep_work") || frame == "one_round" || frame == "work")
        {
            continue;
        }
        all += count;
        if is("descend") == 27 && is("main") == 1 && is("_start") == 1 && is("work") == 1 {
            whole += count;
        }
    }
    match all {
        0 => "none".to_owned(),
        all => format!("{:.1}%", 100.0 * whole as f64 / all as f64),
    }
}

/// How long it takes, beyond the second in which it samples, until there is a picture.
fn first_picture(tracer: &Tracer, program: &Path, out: &Path) -> Result<String> {
    let Some(mut command) = tracer.picture(out) else { return Ok("-".to_owned()) };
    let mut working = Command::new("taskset");
    let working =
        working.args(["-c", "0"]).arg(program).arg("60000").stdout(Stdio::null()).spawn()?;
    let _working = Kept(working);
    thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let output = fs::File::create(out.with_extension("output"))?;
    command.stdout(output.try_clone()?).stderr(output).stdin(Stdio::null());
    if !command.status()?.success() {
        return Ok("fails".to_owned());
    }
    Ok(format!("{:.2} s", begun.elapsed().as_secs_f64() - 1.0))
}

/// Lets the kernel count what eBPF programs take, until it is dropped.
struct Statistics;

impl Statistics {
    const PATH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn on() -> Result<Self> {
        fs::write(Self::PATH, "1").context("bpf_stats_enabled")?;
        Ok(Self)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        drop(fs::write(Self::PATH, "0"));
    }
}

/// What the kernel says of eBPF programs that sample, and of their maps. Chunks of unwind tables, 256 KiB
/// each, are in a map of maps and are not among these.
#[derive(Default)]
struct Account {
    time: u64,
    runs: u64,
    memory: u64,
}

impl Account {
    /// Of all that there are: nobody else may sample meanwhile.
    fn now() -> Result<Self> {
        let mut account = Self::default();
        let list = |kind: &str| -> Result<Vec<Value>> {
            let text = output(&mut command("bpftool", &[kind, "show", "-j"]))?;
            Ok(serde_json::from_str::<Value>(&text)?.as_array().cloned().unwrap_or_default())
        };
        let mut maps = BTreeSet::new();
        for program in list("prog")?.iter().filter(|program| program["type"] == "perf_event") {
            account.time += program["run_time_ns"].as_u64().unwrap_or_default();
            account.runs += program["run_cnt"].as_u64().unwrap_or_default();
            let ids = program["map_ids"].as_array().into_iter().flatten();
            maps.extend(ids.filter_map(Value::as_u64));
        }
        for map in list("map")? {
            if map["id"].as_u64().is_some_and(|id| maps.contains(&id)) {
                account.memory += map["bytes_memlock"].as_u64().unwrap_or_default();
            }
        }
        Ok(account)
    }

    fn add(&mut self, other: &Self) {
        self.time += other.time;
        self.runs += other.runs;
        self.memory = self.memory.max(other.memory);
    }

    /// Of one run. Those on the processor that idles, or runs the agent, are among them.
    fn nanoseconds(&self) -> Option<f64> {
        (self.runs > 0).then(|| self.time as f64 / self.runs as f64)
    }
}

/// A program of 250 MB, with symbols and unwind information of 720,000 functions: what works in it is
/// called by the last of these.
fn large_program(folder: &Folder) -> Result<PathBuf> {
    use std::io::Write as _;
    let (source, program) = (folder.join("large.s"), folder.join("large"));
    let mut text = std::io::BufWriter::new(fs::File::create(&source)?);
    writeln!(text, ".text")?;
    let padding = "a_name_that_is_as_long_as_those_of_templates".repeat(4);
    for number in 0..FUNCTIONS {
        let last = number + 1 == FUNCTIONS;
        let name = if last { "main".to_owned() } else { format!("f{number}_{padding}") };
        let body = if last { "1: jmp 1b" } else { ".fill 96, 1, 0x90" };
        writeln!(
            text,
            ".globl {name}\n.type {name}, @function\n{name}:\n.cfi_startproc\npush %rbp\n\
             .cfi_adjust_cfa_offset 8\n.cfi_offset %rbp, -16\nsub $32, %rsp\n\
             .cfi_adjust_cfa_offset 32\n{body}\nadd $32, %rsp\n.cfi_adjust_cfa_offset -32\n\
             pop %rbp\n.cfi_adjust_cfa_offset -8\nret\n.cfi_endproc\n.size {name}, .-{name}"
        )?;
    }
    text.into_inner()?;
    run(command("cc", &["-o"]).arg(&program).arg(&source))?;
    fs::remove_file(&source)?;
    println!("the large program has {} MB", fs::metadata(&program)?.len() / 1_000_000);
    Ok(program)
}
