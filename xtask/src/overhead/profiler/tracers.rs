//! Who is measured, and how each is told what to do.

use super::super::tracefs::Tracefs;
use crate::command::{installed, root};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One that takes call stacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracer {
    Ours,
    /// `perf record -g`: by frame pointers.
    Perf,
    /// With a copy of the stack, which is unwound afterwards.
    PerfDwarf,
    Bpftrace,
    /// `cargo install profile-bee --no-default-features`
    ProfileBee,
    /// See [`LIGHTSWITCH`].
    Lightswitch,
}

/// It is linked with static libraries, of libelf-dev and zlib1g-dev.
const LIGHTSWITCH: &str = "RUSTFLAGS='-L native=/usr/lib/x86_64-linux-gnu' cargo install --locked \
    --no-default-features --features libbpf-rs-static lightswitch";

pub(super) fn all() -> [Tracer; 6] {
    use Tracer::{Bpftrace, Lightswitch, Ours, Perf, PerfDwarf, ProfileBee};
    [Ours, Perf, PerfDwarf, Bpftrace, ProfileBee, Lightswitch]
}

/// A chain of functions, root first, and how often it was seen.
pub(super) type Chain = (Vec<String>, u64);

impl Tracer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Perf => "perf -g",
            Self::PerfDwarf => "perf dwarf",
            Self::Bpftrace => "bpftrace",
            Self::ProfileBee => "profile-bee",
            Self::Lightswitch => "lightswitch",
        }
    }

    /// Why it cannot be measured here, if it cannot.
    pub(super) fn missing(self) -> Option<String> {
        match self {
            Self::Ours => None,
            Self::Perf | Self::PerfDwarf => absent("perf", "apt-get install linux-perf"),
            Self::Bpftrace => absent("bpftrace", "apt-get install bpftrace"),
            Self::ProfileBee => {
                absent("probee", "cargo install --locked --no-default-features profile-bee")
            }
            Self::Lightswitch => absent("lightswitch", LIGHTSWITCH),
        }
    }

    /// Mounts tracefs for those that do not begin without it.
    pub(super) fn tracefs(self) -> Result<Option<Tracefs>> {
        match self {
            Self::ProfileBee => Tracefs::mount(),
            Self::Lightswitch => Tracefs::mount_in_debugfs(),
            Self::Ours | Self::Perf | Self::PerfDwarf | Self::Bpftrace => Ok(None),
        }
    }

    /// Samples all processors for a while, and writes stacks to `out`.
    pub(super) fn command(self, frequency: u32, time: Duration, out: &Path) -> Command {
        let frequency = frequency.to_string();
        let seconds = time.as_secs().to_string();
        let mut command;
        match self {
            Self::Ours => {
                command = Command::new(example("profile"));
                command.args(["--format", "folded", "--hz", &frequency, "--seconds", &seconds]);
                command.arg("-o").arg(out);
            }
            Self::Perf | Self::PerfDwarf => {
                command = Command::new("perf");
                command.args(["record", "-q", "-a", "-e", "cpu-clock", "-F", &frequency, "-o"]);
                command.arg(out).args(match self {
                    Self::Perf => &["-g"][..],
                    _ => &["--call-graph", "dwarf"],
                });
                command.args(["--", "sleep", &seconds]);
            }
            Self::Bpftrace => {
                let script = format!(
                    "profile:hz:{frequency} {{ @[ustack(127), kstack, comm] = count(); }} \
                     interval:s:{seconds} {{ exit(); }}"
                );
                command = Command::new("bpftrace");
                command.arg("-o").arg(out).arg("-e").arg(script);
            }
            Self::ProfileBee => {
                let milliseconds = time.as_millis().to_string();
                command = Command::new("probee");
                command.args(["--dwarf", "true", "--skip-idle", "-f", &frequency]);
                command.args(["-t", &milliseconds, "--collapse"]).arg(out);
            }
            Self::Lightswitch => {
                // It takes primes only.
                let prime = if frequency == "99" { "97" } else { &frequency };
                command = Command::new("lightswitch");
                command.args(["--sample-freq", prime, "--duration", &seconds]);
                command.args(["--profile-format", "flame-graph", "--profile-name"]).arg(out);
            }
        }
        command
    }

    /// Samples for a second, and makes of that what a person can look at.
    pub(super) fn picture(self, out: &Path) -> Option<Command> {
        let mut command;
        match self {
            Self::Ours => {
                command = Command::new(example("flamegraph"));
                command.args(["--seconds", "1", "-o"]).arg(out);
            }
            Self::Perf | Self::PerfDwarf => {
                let how = if self == Self::Perf { "fp" } else { "dwarf" };
                let path = out.display();
                command = Command::new("sh");
                command.arg("-c").arg(format!(
                    "perf record -q -a -e cpu-clock -F 99 --call-graph {how} -o {path} -- sleep 1 && \
                     perf script -i {path} > {path}.text"
                ));
            }
            Self::ProfileBee => {
                command = Command::new("probee");
                command.args(["--dwarf", "true", "--skip-idle", "-t", "1000", "--svg"]).arg(out);
            }
            Self::Lightswitch => {
                command = Command::new("lightswitch");
                command.args(["--duration", "1", "--profile-format", "flame-graph"]);
                command.arg("--profile-name").arg(out);
            }
            Self::Bpftrace => return None,
        }
        Some(command)
    }

    /// What it wrote, where that is known to be read.
    pub(super) fn chains(self, out: &Path) -> Result<Option<Vec<Chain>>> {
        Ok(Some(match self {
            Self::Ours | Self::ProfileBee => folded(&fs::read_to_string(out)?),
            Self::Perf | Self::PerfDwarf => {
                let mut script = Command::new("perf");
                script.args(["script", "-F", "comm,ip,sym", "-i"]).arg(out);
                let output = script.output()?;
                blocks(&String::from_utf8_lossy(&output.stdout))
            }
            Self::Bpftrace => blocks(&fs::read_to_string(out)?.replace("@[", "\n@[\n")),
            Self::Lightswitch => return Ok(None),
        }))
    }
}

fn absent(program: &str, advice: &str) -> Option<String> {
    installed(program).is_none().then(|| advice.to_owned())
}

fn example(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release/examples").join(name)
}

/// Lines of `a;b;c COUNT`.
fn folded(text: &str) -> Vec<Chain> {
    let lines = text.lines().filter_map(|line| {
        let (chain, count) = line.rsplit_once(' ')?;
        let frames = chain.split(';').map(|frame| plain(frame).to_owned()).collect();
        Some((frames, count.parse().ok()?))
    });
    lines.collect()
}

/// Stacks as perf and bpftrace write them: a frame a line, leaf first, with an empty line between. A line
/// `…]: COUNT` tells how often; without one it was once.
fn blocks(text: &str) -> Vec<Chain> {
    let stacks = text.split("\n\n").map(|block| {
        let mut frames: Vec<String> = Vec::new();
        let mut count = 1;
        for line in block.lines() {
            match line.rsplit_once("]: ").and_then(|(_, count)| count.trim().parse().ok()) {
                Some(told) => count = told,
                None => frames.push(plain(line.split_whitespace().last().unwrap_or("")).to_owned()),
            }
        }
        frames.reverse();
        (frames, count)
    });
    stacks.collect()
}

/// The name alone: without what some add to it (`+0x12`, `_[k]`).
fn plain(frame: &str) -> &str {
    frame.trim().split('+').next().unwrap_or(frame).trim_end_matches("_[k]")
}
