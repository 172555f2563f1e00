//! Every crate as it would be published.

use crate::command::{cargo, command, installed, output, root};
use crate::steps::{Outcome, Tally, skip};
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes the packages, and builds what is in them.
pub(crate) fn check() -> Outcome {
    let uncommitted = match installed("git") {
        Some(_) => output(&mut command("git", &["status", "--porcelain"])).unwrap_or_default(),
        None => String::new(),
    };
    if !uncommitted.is_empty() {
        return skip("there are changes that are not committed");
    }
    let target = root().join("target/packaging");
    forget(&target)?;
    // What they need was built before: nothing is to be fetched.
    let mut package = cargo(&["package", "--workspace", "--exclude=xtask", "--offline"]);
    let result = output(package.arg("--target-dir").arg(&target));
    forget(&target)?;
    result?;
    Ok(Tally::ONE)
}

/// Removes what cargo keeps of our packages: another one of the same version is the same to it, so
/// that it would build against what our crates once were.
fn forget(target: &Path) -> Result<()> {
    remove(target)?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let in_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let Some(home) = home.or_else(in_home) else { return Ok(()) };
    for kept in ["registry/src", "registry/cache"] {
        // The names of registries begin with their hosts, and one of files has none.
        for registry in entries(&home.join(kept), "-") {
            for package in entries(&registry, "pixie") {
                remove(&package)?;
            }
        }
    }
    Ok(())
}

/// What is in the folder and has a name that begins so.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let begins = |path: &PathBuf| {
        path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(begins).collect()
}

fn remove(path: &Path) -> Result<()> {
    let result = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false if path.exists() => fs::remove_file(path),
        false => Ok(()),
    };
    result.with_context(|| format!("cannot remove {}", path.display()))
}
