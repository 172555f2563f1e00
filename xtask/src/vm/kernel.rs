//! Debian's kernels, as they come.

use crate::command::{command, installed, output, run};
use crate::steps::Log;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A kernel to test on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Its version, to the minor one.
    pub(crate) version: &'static str,
    /// The suite of Debian that has it.
    suite: &'static str,
}

/// The kernels that are tested on, oldest first.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel { version: "5.10", suite: "bullseye" },
    Kernel { version: "6.1", suite: "bookworm" },
    Kernel { version: "6.12", suite: "bookworm-backports" },
];

/// The package that names the latest kernel for virtual machines.
const LATEST: &str = "linux-image-cloud-amd64";

impl Kernel {
    /// The image to boot, downloaded once and then kept in the user's cache.
    pub(crate) fn image(self, log: &Log) -> Result<PathBuf> {
        // Two machines with the same kernel must not both download it.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = cache()?.join("kernels").join(self.version);
        let image = folder.join("vmlinuz");
        if image.is_file() {
            return Ok(image);
        }
        log.line(&format!("downloading Linux {} of Debian {}", self.version, self.suite));
        let work = folder.with_extension("part");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        self.download(&work)
            .with_context(|| format!("cannot get Linux {} of {}", self.version, self.suite))?;
        fs::create_dir_all(&folder)?;
        fs::rename(work.join("vmlinuz"), &image)?;
        fs::remove_dir_all(&work)?;
        Ok(image)
    }

    /// Puts the image into `work` as `vmlinuz`.
    fn download(self, work: &Path) -> Result<()> {
        if installed("apt-get").is_none() {
            bail!("Debian's kernels are got by apt-get, which is not here");
        }
        let apt = Apt::new(work, self.suite)?;
        run(&mut apt.command("apt-get", &["update", "-q"]))?;
        let depends = output(&mut apt.command("apt-cache", &["depends", LATEST]))?;
        let prefix = format!("Depends: linux-image-{}.", self.version);
        let line = depends.lines().map(str::trim).find(|line| line.starts_with(&prefix));
        let package = line
            .and_then(|line| line.strip_prefix("Depends: "))
            .with_context(|| format!("{LATEST} of {} is no {}", self.suite, self.version))?;
        run(&mut apt.command("apt-get", &["download", "-q", package]))?;
        let archive = entry(work, |name| name.ends_with(".deb"))?;
        run(command("dpkg-deb", &["-x"]).arg(&archive).arg("tree").current_dir(work))?;
        let image = entry(&work.join("tree/boot"), |name| name.starts_with("vmlinuz-"))?;
        Ok(fs::rename(image, work.join("vmlinuz"))?)
    }
}

/// The file in `folder` whose name is `wanted`.
fn entry(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    bail!("what was looked for is not in {}", folder.display())
}

/// Where what takes time to get is kept, outside of the project.
fn cache() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => bail!("neither XDG_CACHE_HOME nor HOME is set"),
    };
    Ok(folder.join("pixie"))
}

/// Debian's packages of one suite, from the mirror that this machine uses, without a change to this
/// machine's own lists of packages.
struct Apt {
    work: PathBuf,
}

impl Apt {
    fn new(work: &Path, suite: &str) -> Result<Self> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(work.join(folder))?;
        }
        let source = format!(
            "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {} {suite} main\n",
            mirror()?
        );
        fs::write(work.join("sources.list"), source)?;
        Ok(Self { work: work.to_owned() })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(program, &[]);
        for (name, path) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::State::Lists", "state/lists"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{name}={}", self.work.join(path).display()));
        }
        command.args(["-o", "Dir::Etc::SourceParts=-", "-o", "APT::Architecture=amd64"]);
        // apt's own user may not write where we keep our files.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command.args(arguments).current_dir(&self.work);
        command
    }
}

/// The mirror of Debian's main archive that this machine's apt is configured with.
fn mirror() -> Result<String> {
    let format = "$(ORIGIN) $(LABEL) $(REPO_URI)";
    let targets = output(&mut command("apt-get", &["indextargets", "--format", format]))?;
    let mirror = targets.lines().find_map(|line| line.strip_prefix("Debian Debian "));
    Ok(mirror.context("apt knows no mirror of Debian; run apt-get update")?.trim().to_owned())
}
