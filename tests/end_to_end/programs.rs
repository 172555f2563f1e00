//! Finds the programs that are traced, and compiles our own.

use crate::process;
use crate::process::Running;
use crate::runner::{Skip, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The status by which our programs say that what they need is refused here.
const CANNOT_RUN: i32 = 77;

/// An installed program.
pub(crate) fn find(name: &str) -> Result<PathBuf, Skip> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    // Not shims of a version manager: these are scripts, and another process does the work.
    let preferred = [PathBuf::from("/usr/bin"), PathBuf::from("/usr/sbin")];
    let file = preferred.into_iter().chain(folders).map(|folder| folder.join(name));
    match file.into_iter().find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => skip!("{name} is not installed"),
    }
}

/// A command that runs an installed program.
pub(crate) fn command(name: &str) -> Result<Command, Skip> {
    Ok(Command::new(find(name)?))
}

/// The folder given for machines without a compiler: compiled programs, and scripts.
fn ready_made() -> Option<PathBuf> {
    std::env::var_os("PIXIE_TEST_PROGRAMS").map(PathBuf::from)
}

/// One of our programs by the name it was built under, where they come ready-made; `None` where they
/// are built.
pub(crate) fn built_before(name: &str) -> Result<Option<PathBuf>, Skip> {
    let Some(folder) = ready_made() else { return Ok(None) };
    let program = folder.join(name);
    if !program.is_file() {
        skip!("{name} is not in PIXIE_TEST_PROGRAMS");
    }
    Ok(Some(program))
}

/// The folder of our programs' sources.
pub(crate) fn sources() -> PathBuf {
    ready_made().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs"))
}

/// One of our programs, compiled where it is not yet.
pub(crate) fn ours(name: &str) -> Result<Command, Skip> {
    if let Some(program) = built_before(name)? {
        return Ok(Command::new(program));
    }
    let source = sources().join(name).with_extension("c");
    if !source.is_file() {
        skip!("there is neither PIXIE_TEST_PROGRAMS nor the source of {name}");
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if modified(&program) < newest_source() {
        compile(&source, &program)?;
    }
    Ok(Command::new(program))
}

fn compile(source: &Path, program: &Path) -> Result<(), Skip> {
    let compiler = find("cc")?;
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    let mut command = Command::new(compiler);
    command.args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(program).arg(source);
    let output = process::output(&mut command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} does not compile:\n{errors}", source.display());
    Ok(())
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}

fn newest_source() -> Option<SystemTime> {
    let files = sources().read_dir().ok()?;
    files.filter_map(|file| modified(&file.ok()?.path())).max()
}

/// What one of our programs said: a name and a value a line.
#[derive(Debug)]
pub(crate) struct Facts(Vec<(String, String)>);

impl Facts {
    /// Runs a program to its end, and takes what it said.
    pub(crate) fn of(command: &mut Command) -> Result<Self, Skip> {
        let running = Running::start(command);
        let (status, lines) = running.end();
        if status.code() == Some(CANNOT_RUN) {
            skip!("{}: refused by this kernel", command.get_program().to_string_lossy());
        }
        assert!(status.success(), "{command:?}: {status}; it said {lines:?}");
        Ok(lines.into_iter().collect())
    }

    /// Everything said under a name.
    pub(crate) fn all<T: std::str::FromStr>(&self, name: &str) -> Vec<T> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        values.filter_map(|(_, value)| value.parse().ok()).collect()
    }

    /// The one thing said under a name.
    pub(crate) fn one<T: std::str::FromStr>(&self, name: &str) -> T {
        let mut values = self.all(name);
        assert_eq!(values.len(), 1, "one {name:?} in {self:?}");
        values.remove(0)
    }
}

impl FromIterator<String> for Facts {
    fn from_iter<I: IntoIterator<Item = String>>(lines: I) -> Self {
        let split = |line: String| match line.split_once(' ') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (line, String::new()),
        };
        Self(lines.into_iter().map(split).collect())
    }
}
