//! The same by counted instructions, in virtual machines whose clock ticks once an instruction: it
//! repeats to a few percent, whatever else this machine does, and so can be a gate.

use super::agent;
use crate::command::{command, root, run};
use crate::folder::Folder;
use crate::steps::{Log, Outcome, Stop, Tally};
use crate::vm::{BACKENDS, Image, KERNELS, Kernel, Machine};
use anyhow::{Result, anyhow, bail};
use std::time::Duration;

/// Requests and answers over one connection, untraced and under each backend. With one processor,
/// the agent's own share is in the numbers. Time that is slept costs nothing: at first, what the
/// kernel still does after it has booted would be counted.
const SCRIPT: &str = r#"
measure() { for round in 1 2 3 4 5; do echo "$1 $(/calls exchange 1000)"; done; }
sleep 60
measure untraced
for backend in socket fentry kprobe sysexit; do
    : > /tmp/said
    /trace --quiet --backend $backend 2> /tmp/said & agent=$!
    while kill -0 $agent 2> /dev/null && ! grep -q '^ready' /tmp/said; do sleep 0.1; done
    if kill -0 $agent 2> /dev/null; then measure $backend; kill -INT $agent; fi
    wait $agent
    sleep 30
done
"#;

/// The kernel of the gate.
const GATE: &str = "6.12";

/// How many instructions an exchange may take there, of those that it takes untraced: what it took
/// when this was written, and a tenth. Whoever makes it cheaper lowers it.
const MOST: &[(&str, f64)] =
    &[("socket", 2.02), ("fentry", 2.02), ("kprobe", 2.83), ("sysexit", 2.29)];

/// What an exchange takes: untraced, or under a backend.
struct Count {
    name: String,
    instructions: f64,
    /// Of what it takes untraced.
    ratio: f64,
}

/// Shows what an exchange takes on each kernel.
pub(super) fn count() -> Result<()> {
    println!("instructions a request and its answer, in both ends, kernel and agent together:");
    let programs = Programs::build()?;
    for kernel in KERNELS {
        for Count { name, instructions, ratio } in programs.count(*kernel, &Log::default())? {
            println!("  {:<6} {name:<10} {instructions:>10.0}  x {ratio:.2}", kernel.version);
        }
    }
    Ok(())
}

/// Whether tracing takes no more than it did.
pub(crate) fn gate(log: &Log) -> Outcome {
    let kernel = KERNELS.iter().find(|kernel| kernel.version == GATE);
    let kernel = kernel.ok_or_else(|| anyhow!("there is no kernel {GATE}"))?;
    let counts = Programs::build()?.count(*kernel, log)?;
    let mut tally = Tally::default();
    for (name, most) in MOST {
        let Some(Count { ratio, .. }) = counts.iter().find(|count| count.name == *name) else {
            return Err(Stop::Failed(anyhow!("{name} did not run")));
        };
        log.line(&format!("{name}: x {ratio:.2}, at most {most:.2}"));
        if ratio <= most {
            tally.passed += 1;
        } else {
            tally.failed += 1;
        }
    }
    Ok(tally)
}

/// What runs in the machines.
struct Programs {
    folder: Folder,
}

impl Programs {
    fn build() -> Result<Self> {
        agent::build()?;
        let folder = Folder::new()?;
        let source = root().join("tests/programs/calls.c");
        run(command("cc", &["-O2", "-static", "-o"]).arg(folder.join("calls")).arg(source))?;
        Ok(Self { folder })
    }

    fn count(&self, kernel: Kernel, log: &Log) -> Result<Vec<Count>> {
        let mut image = Image::new()?;
        image.program_as(&agent::binary(), "/trace")?;
        image.program_as(&self.folder.join("calls"), "/calls")?;
        let machine = Machine {
            kernel: kernel.files(log)?.image,
            command: SCRIPT.to_owned(),
            image,
            memory: 1024,
            processors: 1,
            instructions: true,
            limit: Duration::from_secs(600),
        };
        let lines = machine.run(log)?.lines;
        let rounds = |wanted: &str| -> Vec<f64> {
            let words = lines.iter().filter_map(|line| line.trim().split_once(' '));
            words.filter(|(name, _)| *name == wanted).filter_map(|(_, n)| n.parse().ok()).collect()
        };
        let Some(untraced) = median(rounds("untraced")) else {
            bail!("the machine with Linux {} told nothing", kernel.version);
        };
        let names = std::iter::once("untraced").chain(BACKENDS.iter().copied());
        let count = |name: &str| {
            let instructions = median(rounds(name))?;
            Some(Count { name: name.to_owned(), instructions, ratio: instructions / untraced })
        };
        Ok(names.filter_map(count).collect())
    }
}

/// The one in the middle; `None` of none.
fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
