//! Our records, in the JSON form that `replay` writes.

use crate::command::{cargo, output, run};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A record.
pub(super) struct Record(Value);

/// Builds `replay`, and tells where it is.
pub(super) fn build() -> Result<PathBuf> {
    let arguments = ["build", "--quiet", "--package=pixie", "--example=replay", "--all-features"];
    run(&mut cargo(&arguments))?;
    let metadata = crate::command::metadata(&crate::command::root().join("Cargo.toml"))?;
    let target = metadata["target_directory"].as_str().context("cargo knows no target folder")?;
    Ok(Path::new(target).join("debug/examples/replay"))
}

/// What `replay` makes of a capture.
pub(super) fn of(replay: &Path, capture: &Path) -> Result<Vec<Record>> {
    let mut replay = std::process::Command::new(replay);
    let lines = output(replay.arg("--json").arg(capture))?;
    let record = |line| serde_json::from_str(line).map(Record).context("replay writes JSON");
    lines.lines().map(record).collect()
}

impl Record {
    /// What is found by these names, one within the other.
    pub(super) fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(&self.0, |value, name| &value[name])
    }

    /// The text of this name; empty when it is no text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.at(&[name]).as_str().unwrap_or_default()
    }

    /// True for a record of this kind.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.text("kind") == kind
    }

    /// The client's port.
    pub(super) fn client(&self) -> u16 {
        let end = if self.text("role") == "server" { "remote" } else { "local" };
        port(self.text(end)).unwrap_or_default()
    }

    /// Both ports, as [`Row::ends`](super::tshark::Row::ends) has them.
    pub(super) fn ends(&self) -> String {
        let ports = ["local", "remote"].map(|end| port(self.text(end)).unwrap_or_default());
        format!("{}-{}", ports[0].min(ports[1]), ports[0].max(ports[1]))
    }

    /// The server's port.
    pub(super) fn server(&self) -> Option<u16> {
        let end = if self.text("role") == "server" { "local" } else { "remote" };
        port(self.text(end))
    }
}

fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

/// A value as text: without quotes where it is text, `-` where it is not there.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// The list at this place; empty when there is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
