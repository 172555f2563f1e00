//! Where other tracers find tracepoints.

use crate::command::{command, run};
use anyhow::Result;
use std::path::Path;

/// A file system that is mounted until this is dropped.
pub(super) struct Tracefs(&'static str);

impl Tracefs {
    /// Mounts it where it belongs, unless it is mounted.
    pub(super) fn mount() -> Result<Option<Self>> {
        Self::mount_at("tracefs", "/sys/kernel/tracing", "events")
    }

    /// Mounts debugfs, in which tracefs comes by itself where it was once.
    pub(super) fn mount_in_debugfs() -> Result<Option<Self>> {
        Self::mount_at("debugfs", "/sys/kernel/debug", "tracing")
    }

    fn mount_at(kind: &str, path: &'static str, content: &str) -> Result<Option<Self>> {
        if Path::new(path).join(content).exists() {
            return Ok(None);
        }
        run(&mut command("mount", &["-t", kind, kind, path]))?;
        Ok(Some(Self(path)))
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        drop(run(&mut command("umount", &["--recursive", self.0])));
    }
}
