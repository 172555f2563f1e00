//! The tracers that are measured: our own reference agent, and a bpftrace script.

use super::processes::{self, Usage};
use super::tracefs::Tracefs;
use crate::command::{cargo, installed, root, run};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Compiles the agent as it would be shipped.
pub(super) fn build() -> Result<()> {
    run(&mut cargo(&["build", "--quiet", "--release", "--package=pixie", "--example=trace"]))
}

/// Where [`build`] puts it.
pub(super) fn binary() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release/examples/trace")
}

/// A tracer that runs, until it is dropped.
pub(super) struct Agent {
    child: Child,
    _tracefs: Option<Tracefs>,
}

impl Agent {
    /// Our agent, without output, once everything is attached.
    pub(super) fn start(arguments: &[String]) -> Result<Self> {
        let mut command = Command::new(binary());
        command.arg("--quiet").args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        Self::spawn(&mut command, "ready")
    }

    /// A bpftrace script, which says that it is ready as it begins.
    pub(super) fn bpftrace(script: &str) -> Result<Self> {
        installed("bpftrace").context("bpftrace is not installed")?;
        let tracefs = Tracefs::mount()?;
        let mut command = Command::new("bpftrace");
        command.args(["-e", script]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut agent = Self::spawn(&mut command, "ready")?;
        agent._tracefs = tracefs;
        // It says so before the other probes are attached.
        thread::sleep(Duration::from_secs(1));
        Ok(agent)
    }

    /// Starts it, and waits until it says something that begins so.
    pub(super) fn spawn(command: &mut Command, ready: &str) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let output: Box<dyn Read + Send> = match (child.stderr.take(), child.stdout.take()) {
            (Some(stderr), _) => Box::new(stderr),
            (None, Some(stdout)) => Box::new(stdout),
            (None, None) => bail!("its output is not ours"),
        };
        let agent = Self { child, _tracefs: None };
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while !line.starts_with(ready) {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                bail!("the tracer ended before it was ready");
            }
        }
        // What it says from here on must not fill the pipe.
        thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(agent)
    }

    /// CPU time that it used so far, and the most memory that it had.
    pub(super) fn usage(&self) -> Result<Usage> {
        processes::usage(self.child.id())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        if Command::new("kill").args(["-INT", &id]).status().is_err() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}
