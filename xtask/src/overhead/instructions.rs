//! The same by counted instructions, in virtual machines whose clock ticks once an instruction: it
//! repeats to a fraction of a percent, whatever else this machine does.

use super::agent;
use crate::command::{command, root, run};
use crate::folder::Folder;
use crate::vm::{Image, KERNELS, Kernel, Machine};
use anyhow::{Result, bail};
use std::time::Duration;

/// Requests and answers over one connection, untraced and under each backend. With one processor,
/// the agent's own share is in the numbers.
const SCRIPT: &str = r#"
measure() { echo "$1 $(/calls exchange 2000)"; }
: > /tmp/said
measure warm-up; measure untraced
for backend in socket fentry kprobe sysexit; do
    /trace --quiet --backend $backend 2> /tmp/said & agent=$!
    while kill -0 $agent 2> /dev/null && ! grep -q '^ready' /tmp/said; do sleep 0.1; done
    if kill -0 $agent 2> /dev/null; then measure $backend; kill -INT $agent; fi
    wait $agent
done
"#;

pub(super) fn count() -> Result<()> {
    agent::build()?;
    let folder = Folder::new()?;
    let calls = folder.join("calls");
    let source = root().join("tests/programs/calls.c");
    run(command("cc", &["-O2", "-static", "-o"]).arg(&calls).arg(source))?;
    println!(
        "instructions a request and its answer, in client, server, kernel and agent together:"
    );
    for kernel in KERNELS {
        let mut image = Image::new()?;
        image.program_as(&agent::binary(), "/trace")?;
        image.program_as(&calls, "/calls")?;
        report(*kernel, image)?;
    }
    Ok(())
}

fn report(kernel: Kernel, image: Image) -> Result<()> {
    let machine = Machine {
        kernel: kernel.image()?,
        command: SCRIPT.to_owned(),
        image,
        memory: 1024,
        processors: 1,
        instructions: true,
        limit: Duration::from_secs(600),
    };
    let ended = machine.run()?;
    let counts: Vec<(&str, f64)> = ended
        .lines
        .iter()
        .filter_map(|line| line.trim().split_once(' '))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect();
    let Some((_, untraced)) = counts.iter().find(|(name, _)| *name == "untraced") else {
        bail!("the machine with Linux {} told nothing", kernel.version);
    };
    for (name, count) in counts.iter().filter(|(name, _)| *name != "warm-up") {
        let ratio = untraced / count;
        println!(
            "  {:<6} {name:<10} {count:>10.0}  {ratio:.3} of the untraced speed",
            kernel.version
        );
    }
    Ok(())
}
