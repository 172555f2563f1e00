//! Programs in a cgroup of their own.

use crate::programs::find;
use crate::runner::{Skip, skip};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A cgroup (version 2) of its own, gone with the test.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    pub(crate) fn new() -> Result<Self, Skip> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        let Some(root) = roots.into_iter().find(|root| root.join("cgroup.procs").exists()) else {
            skip!("no cgroup hierarchy of version 2 is mounted");
        };
        let folder = root.join(format!("pixie-test-{}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => Ok(Self(folder)),
            Err(error) => skip!("no cgroup can be made: {error}"),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.metadata().expect("the cgroup is there").ino()
    }

    /// The same command in this cgroup.
    pub(crate) fn wrap(&self, command: &Command) -> Result<Command, Skip> {
        let mut shell = Command::new(find("sh")?);
        let procs = self.0.join("cgroup.procs");
        shell.args(["-c", r#"echo $$ > "$1"; shift; exec "$@""#, "sh"]).arg(procs);
        shell.arg(command.get_program()).args(command.get_args());
        Ok(shell)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Processes take a moment to leave it.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
