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
    /// The backend with which not every way to use a socket is tried on it: it is not the one that a
    /// session takes there by itself, and all are tried with it on another kernel.
    pub(crate) spared: Option<&'static str>,
}

/// The kernels that are tested on, oldest first.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel { version: "5.10", suite: "bullseye", spared: None },
    Kernel { version: "6.1", suite: "bookworm", spared: Some("sysexit") },
    Kernel { version: "6.12", suite: "bookworm-backports", spared: Some("fentry") },
];

/// What there is of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The image to boot.
    pub(crate) image: PathBuf,
    /// Its modules that are wanted, in a folder of their own, if they are there. They are loaded in the
    /// order of their names.
    pub(crate) modules: PathBuf,
}

/// The modules by which it encrypts what goes over a socket (kTLS). Ciphers are asked for by name, which
/// no module says of another. They may be part of the image, or left out, as `tls` is of Linux 5.10.
const MODULES: &[&str] = &["ghash-generic", "ctr", "gcm", "tls"];

/// The package that names the latest kernel for virtual machines.
const LATEST: &str = "linux-image-cloud-amd64";

impl Kernel {
    /// What to boot, downloaded once and then kept in the user's cache.
    pub(crate) fn files(self, log: &Log) -> Result<Files> {
        // Two machines with the same kernel must not both download it.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = cache()?.join("kernels").join(self.version);
        let files = Files { image: folder.join("vmlinuz"), modules: folder.join("modules") };
        if files.image.is_file() && files.modules.is_dir() {
            return Ok(files);
        }
        log.line(&format!("downloading Linux {} of Debian {}", self.version, self.suite));
        let work = folder.with_file_name(format!("{}.part", self.version));
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        let downloaded = self
            .download(&work, log)
            .with_context(|| format!("cannot get Linux {} of {}", self.version, self.suite));
        match downloaded {
            // It is from before modules were kept.
            Err(error) if files.image.is_file() => {
                log.line(&format!("{error:#}; what is here is booted, without modules"));
                return Ok(files);
            }
            result => result?,
        }
        // Both of one build: an image of before goes.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        fs::rename(work.join("modules"), &files.modules)?;
        fs::rename(work.join("vmlinuz"), &files.image)?;
        fs::remove_dir_all(&work)?;
        Ok(files)
    }

    /// Puts the files into `work`.
    fn download(self, work: &Path, log: &Log) -> Result<()> {
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
        fs::rename(image, work.join("vmlinuz"))?;
        take_modules(work, log)
    }
}

/// Moves those of the package that is unpacked in `work` into a folder of their own.
fn take_modules(work: &Path, log: &Log) -> Result<()> {
    let all = output(command("find", &[]).arg(work.join("tree/lib/modules")))?;
    let mut modules =
        Modules { files: all.lines().map(PathBuf::from).collect(), taken: Vec::new() };
    let folder = work.join("modules");
    fs::create_dir(&folder)?;
    for name in MODULES {
        modules.take(name, &folder, log)?;
    }
    Ok(())
}

/// The modules of a package.
struct Modules {
    files: Vec<PathBuf>,
    /// Names of those that were taken.
    taken: Vec<String>,
}

impl Modules {
    /// Moves a module into the folder, behind those that it needs.
    fn take(&mut self, name: &str, folder: &Path, log: &Log) -> Result<()> {
        // Files and modules do not agree about dashes.
        let name = name.replace('-', "_");
        if self.taken.contains(&name) {
            return Ok(());
        }
        let is_it = |file: &&PathBuf| {
            let file = file.file_name().unwrap_or_default().to_string_lossy().replace('-', "_");
            file.strip_prefix(&name).is_some_and(|rest| rest.starts_with(".ko"))
        };
        let Some(mut file) = self.files.iter().find(is_it).cloned() else {
            log.line(&format!("there is no module {name}"));
            return Ok(());
        };
        if file.extension().is_some_and(|extension| extension == "xz") {
            run(command("xz", &["--decompress"]).arg(&file))?;
            file.set_extension("");
        }
        self.taken.push(name);
        for needed in needed_by(&fs::read(&file)?) {
            self.take(&needed, folder, log)?;
        }
        let number = fs::read_dir(folder)?.count();
        Ok(fs::rename(file, folder.join(format!("{number:02}.ko")))?)
    }
}

/// The names of the modules that a module says it needs (`depends` in its section `.modinfo`).
fn needed_by(module: &[u8]) -> Vec<String> {
    const WORD: &[u8] = b"\0depends=";
    let Some(start) = module.windows(WORD.len()).position(|bytes| bytes == WORD) else {
        return Vec::new();
    };
    let names = module[start + WORD.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(names);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
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
pub(super) fn cache() -> Result<PathBuf> {
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
