//! Debian systems of other suites, in folders of the cache: their programs run on this kernel.

use crate::fetch::{kept, making};
use crate::programs::command;
use crate::runner::Skip;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Debian system in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Chroot(PathBuf);

impl Chroot {
    /// One of this suite, with these packages.
    pub(crate) fn new(suite: &str, packages: &[&str]) -> Result<Self, Skip> {
        let folder = kept(&format!("chroot/{suite}"), |folder| {
            let mut debootstrap = command("debootstrap")?;
            debootstrap.args(["--variant=minbase", suite]).arg(folder).arg(mirror());
            making(&format!("Debian's {suite}"), &mut debootstrap)?;
            // 101: "action forbidden by policy" (invoke-rc.d(8)).
            let policy = folder.join("usr/sbin/policy-rc.d");
            fs::write(&policy, "#!/bin/sh\nexit 101\n").expect("the cache can be written");
            executable(&policy);
            Ok(())
        })?;
        let chroot = Self(folder);
        let missing: Vec<&str> =
            packages.iter().filter(|package| !chroot.has(package)).copied().collect();
        if !missing.is_empty() {
            let _ = fs::copy("/etc/resolv.conf", chroot.path("etc/resolv.conf"));
            let script = format!(
                "export DEBIAN_FRONTEND=noninteractive; apt-get update -q &&
                 apt-get install -q -y --no-install-recommends {}",
                missing.join(" ")
            );
            let mut apt = chroot.command("sh");
            making(&format!("{} of {suite}", missing.join(", ")), apt.args(["-c", &script]))?;
        }
        Ok(chroot)
    }

    fn has(&self, package: &str) -> bool {
        let list = self.path(&format!("var/lib/dpkg/info/{package}.list"));
        list.exists() || self.path(&format!("var/lib/dpkg/info/{package}:amd64.list")).exists()
    }

    /// Where something in it is.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside.trim_start_matches('/'))
    }

    /// What the path of something in it is to its programs.
    pub(crate) fn inside(&self, outside: &Path) -> PathBuf {
        let inside = outside.strip_prefix(&self.0).expect("something in it");
        Path::new("/").join(inside)
    }

    /// A command that runs one of its programs: in the same process.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.0).arg(program).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

fn executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(file, mode).expect("a file of our own");
}

/// Where this machine has its packages from.
fn mirror() -> String {
    const USUAL: &str = "http://deb.debian.org/debian";
    let folder = Path::new("/etc/apt/sources.list.d");
    let lists = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let lists = lists.chain([PathBuf::from("/etc/apt/sources.list")]);
    let text: String = lists.filter_map(|list| fs::read_to_string(list).ok()).collect();
    let words = text.split_whitespace();
    let mirror = words.filter(|word| word.starts_with("http") && word.ends_with("/debian"));
    mirror.map(str::to_owned).next().unwrap_or_else(|| USUAL.to_owned())
}
