//! What system calls pay that have nothing to do with sockets.

use super::agent::Agent;
use super::rounds::Ratios;
use crate::command::{command, output, root, run};
use crate::folder::Folder;
use anyhow::{Context, Result};
use std::path::Path;

/// The loops of `tests/programs/calls.c`.
const LOOPS: &[&str] = &["getppid", "pipe"];

pub(super) fn measure(rounds: usize) -> Result<()> {
    let folder = Folder::new()?;
    let program = folder.join("calls");
    let source = root().join("tests/programs/calls.c");
    run(command("cc", &["-O2", "-o"]).arg(&program).arg(source))?;
    for backend in ["auto", "sysexit"] {
        for name in LOOPS {
            let mut ratios = Ratios::default();
            for _ in 0..rounds {
                let before = nanoseconds(&program, name)?;
                let agent = Agent::start(&["--backend".to_owned(), backend.to_owned()])?;
                let traced = nanoseconds(&program, name)?;
                drop(agent);
                let after = nanoseconds(&program, name)?;
                ratios.push(traced / ((before + after) / 2.0));
            }
            println!("  {backend:<10} {name:<10} {ratios}");
        }
    }
    Ok(())
}

/// What one turn of the loop takes.
fn nanoseconds(program: &Path, name: &str) -> Result<f64> {
    let text = output(&mut command(&program.display().to_string(), &[name]))?;
    text.trim().parse().with_context(|| format!("not a number: {text:?}"))
}
