//! Runs other programs.

use crate::steps::Tally;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// Runs a command that runs tests, shows what it writes, and adds up what it says of them.
pub(crate) fn tally(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| not_started(command))?;
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("no output")?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.add(Tally::of_line(&line));
    }
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        bail!("{}: {status}", show(command));
    }
    Ok(tally)
}

fn not_started(command: &Command) -> String {
    format!("cannot run {}", command.get_program().to_string_lossy())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
