//! Where other tracers find tracepoints.

use crate::command::{command, run};
use anyhow::Result;
use std::path::Path;

/// Mounted until it is dropped.
pub(super) struct Tracefs;

impl Tracefs {
    const PATH: &str = "/sys/kernel/tracing";

    /// Mounts it, unless it is mounted.
    pub(super) fn mount() -> Result<Option<Self>> {
        if Path::new(Self::PATH).join("events").exists() {
            return Ok(None);
        }
        run(&mut command("mount", &["-t", "tracefs", "tracefs", Self::PATH]))?;
        Ok(Some(Self))
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        drop(run(&mut command("umount", &[Self::PATH])));
    }
}
