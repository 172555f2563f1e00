//! What the end-to-end tests need in a virtual machine.

use super::image::Image;
use super::kernel::cache;
use crate::command::{cargo, command, installed, output, root, run};
use crate::steps::Log;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Programs that are traced. Node is left out: it alone would be half of the image, and starts in
/// minutes there.
const PROGRAMS: &[&str] = &[
    "nginx", "apache2", "python3", "curl", "wget", "wrk", "ab", "openssl", "zstd", "bpftool",
    "setpriv", "prlimit", "unshare",
];

/// Where the programs of our own are in the machine.
pub(crate) const OURS: &str = "/usr/lib/pixie-test-programs";

/// The program of the end-to-end tests.
pub(crate) struct Tests(PathBuf);

impl Tests {
    /// Builds it.
    pub(crate) fn build() -> Result<Self> {
        let messages = output(
            cargo(&["test", "--release", "--no-run", "--message-format=json"])
                .args(["--package=pixie", "--test=end_to_end"]),
        )?;
        let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut tests = messages.filter(|message| message["target"]["name"] == "end_to_end");
        let program = tests.find_map(|message| message["executable"].as_str().map(PathBuf::from));
        Ok(Self(program.context("cargo built no end-to-end tests")?))
    }

    /// Where it is, here and in the machine.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Adds it and all it needs to an image. `work` is a temporary folder.
    pub(crate) fn add_to(&self, image: &mut Image, work: &Path, log: &Log) -> Result<()> {
        image.program_as(&strip(&self.0, work)?, &self.0.to_string_lossy())?;
        for program in ours(work)?.into_iter().chain(of_go(work, log)?).chain(of_rust(work, log)?) {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            image.program_as(&program, &format!("{OURS}/{name}"))?;
        }
        let script = "tls/peer.py";
        image.copy(&root().join("tests/programs").join(script), &format!("{OURS}/{script}"));
        for name in PROGRAMS {
            match debians(name) {
                Some(program) => add_program(image, name, &program)?,
                None => log
                    .line(&format!("{name} is not installed, and will be missing in the machine")),
            }
        }
        Ok(())
    }
}

/// An installed program, where Debian has it: what else is found first may be a version manager's script.
fn debians(name: &str) -> Option<PathBuf> {
    let usual = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(name));
    usual.into_iter().find(|program| program.is_file()).or_else(|| installed(name))
}

/// A copy without debug information, which is most of a program.
fn strip(program: &Path, work: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program has a name")?;
    let stripped = work.join(name);
    run(command("strip", &["--strip-debug", "-o"]).arg(&stripped).arg(program))?;
    Ok(stripped)
}

/// Compiles the programs of our own that are traced: the same sources that the end-to-end tests
/// compile where there is a compiler.
fn ours(work: &Path) -> Result<Vec<PathBuf>> {
    let sources = root().join("tests/programs");
    let mut programs = Vec::new();
    for entry in fs::read_dir(&sources)? {
        let source = entry?.path();
        if source.extension().is_none_or(|extension| extension != "c") {
            continue;
        }
        let program = work.join(source.file_stem().context("a file has a name")?);
        run(command("cc", &["-O1", "-pthread", "-o"]).arg(&program).arg(&source))?;
        programs.push(program);
    }
    if programs.is_empty() {
        bail!("there are no programs in {}", sources.display());
    }
    Ok(programs)
}

/// Compiles the server and client of Go's TLS, under the name by which the end-to-end tests know it.
fn of_go(work: &Path, log: &Log) -> Result<Option<PathBuf>> {
    if installed("go").is_none() {
        log.line("go is not installed, and what it compiles will be missing in the machine");
        return Ok(None);
    }
    let program = work.join("go-debian");
    let source = root().join("tests/programs/tls/peer.go");
    let mut go = command("go", &["build", "-o"]);
    go.arg(&program).arg(source).env("CGO_ENABLED", "0").env("GO111MODULE", "off");
    run(go.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").env("GOFLAGS", ""))?;
    Ok(Some(program))
}

/// Takes the program with rustls that the end-to-end tests have built, if they have. It is traced by its
/// symbols.
fn of_rust(work: &Path, log: &Log) -> Result<Option<PathBuf>> {
    let built = cache()?.join("rust/rustls-0.23.46-ring/program");
    if !built.is_file() {
        log.line("the program with rustls was not built yet, and will be missing in the machine");
        return Ok(None);
    }
    let program = work.join("rustls");
    fs::copy(&built, &program)?;
    Ok(Some(program))
}

/// Adds an installed program where Debian has it, with the files that it will not start without.
fn add_program(image: &mut Image, name: &str, program: &Path) -> Result<()> {
    let folder = if program.parent().is_some_and(|folder| folder.ends_with("sbin")) {
        "/usr/sbin"
    } else {
        "/usr/bin"
    };
    image.program_as(&fs::canonicalize(program)?, &format!("{folder}/{name}"))?;
    match name {
        "nginx" => {
            image.folder("/var/log/nginx");
            image.folder("/var/lib/nginx");
        }
        "apache2" => image.tree(Path::new("/usr/lib/apache2/modules"), &|_| true)?,
        "python3" => {
            // The interpreter finds its library beside itself, so this is where it is.
            let code = "import sysconfig; print(sysconfig.get_path('stdlib'))";
            let library = output(command("/usr/bin/python3", &["-c", code]).env_clear())?;
            let unused = ["test", "idlelib", "tkinter", "lib2to3", "ensurepip", "pydoc_data"];
            image.tree(Path::new(library.trim()), &|name| {
                !unused.contains(&name) && !name.starts_with("config-")
            })?;
        }
        _ => {}
    }
    Ok(())
}
