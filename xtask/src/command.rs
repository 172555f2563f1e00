//! Runs other programs.

use crate::steps::{Log, Tally};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// The folder of the project.
pub(crate) fn root() -> PathBuf {
    let built_in = || env!("CARGO_MANIFEST_DIR").into();
    let here: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(built_in, PathBuf::from);
    here.parent().unwrap_or(&here).to_owned()
}

/// A command that runs in the project's folder, without input.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Cargo, the one that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    command(&cargo, arguments)
}

/// What cargo knows of the workspace with this manifest.
pub(crate) fn metadata(manifest: &Path) -> Result<Value> {
    let arguments = ["metadata", "--no-deps", "--format-version=1", "--manifest-path"];
    Ok(serde_json::from_str(&output(cargo(&arguments).arg(manifest))?)?)
}

/// The names of the targets of this kind (`bin`, `test`) of a package.
pub(crate) fn targets(metadata: &Value, package: &str, kind: &str) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]).into_iter();
    let targets = packages
        .filter(|found| found["name"] == package)
        .flat_map(|found| list(&found["targets"]))
        .filter(|target| target["kind"][0] == kind);
    targets.filter_map(|target| target["name"].as_str().map(str::to_owned)).collect()
}

/// Where an installed program is. Also looks where only root has it in the search path.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    let usual = ["/usr/bin", "/usr/sbin"].map(PathBuf::from);
    folders.chain(usual).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// True when we are root.
pub(crate) fn is_root() -> bool {
    output(&mut command("id", &["-u"])).is_ok_and(|id| id.trim() == "0")
}

/// Runs a command to its end, which must be a success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("{}: {status}", show(command));
    }
    Ok(())
}

/// Runs a command to its end, which must be a success, and returns what it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::piped()).output().with_context(|| not_started(command))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}\n{}", show(command), output.status, errors.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that runs tests, logs what it writes, and adds up what it says of them.
pub(crate) fn tally(command: &mut Command, log: &Log) -> Result<Tally> {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| not_started(command))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let mut tally = Tally::default();
    thread::scope(|scope| -> Result<()> {
        let errors = scope.spawn(|| each_line(errors, |line| log.line(line)));
        each_line(output, |line| {
            log.line(line);
            tally.add(Tally::of_line(line));
        })?;
        errors.join().unwrap_or_else(|_| bail!("its errors could not be shown"))
    })?;
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        bail!("{}: {status}", show(command));
    }
    Ok(tally)
}

fn each_line(output: Option<impl Read>, mut action: impl FnMut(&str)) -> Result<()> {
    for line in BufReader::new(output.context("no output")?).split(b'\n') {
        action(&String::from_utf8_lossy(&line?));
    }
    Ok(())
}

fn not_started(command: &Command) -> String {
    format!("cannot run {}", command.get_program().to_string_lossy())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
