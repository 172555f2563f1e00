//! Traffic over TLS: OpenSSL and Go.

use super::agent::Agent;
use super::load::{Load, Traffic, wait_for};
use super::measure::{Row, Tracer};
use crate::command::{command, installed, output, root, run};
use crate::folder::Folder;
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// What attaches to the same functions of OpenSSL and reads their plaintext, without parsing it.
const OPENSSL: &str = r#"
BEGIN { printf("ready\n"); }
uprobe:LIBRARY:SSL_read, uprobe:LIBRARY:SSL_write { @buffer[tid] = arg1; }
uretprobe:LIBRARY:SSL_read, uretprobe:LIBRARY:SSL_write
/@buffer[tid]/ {
    if ((int32)retval > 0) { printf("%d %d %s\n", pid, retval, str(@buffer[tid], 64)); }
    delete(@buffer[tid]);
}
"#;

/// The same of a Go program, of which it cannot catch returns: what is read is not seen.
const GO: &str = r#"
BEGIN { printf("ready\n"); }
uprobe:PROGRAM:"crypto/tls.(*Conn).Read" { @reads = count(); }
uprobe:PROGRAM:"crypto/tls.(*Conn).Write" { printf("%d %d %s\n", pid, reg("cx"), str(reg("bx"), 64)); }
"#;

/// Writes a certificate for `localhost` and its key.
pub(super) fn certificate(folder: &Folder) -> Result<()> {
    let fixtures = root().join("tests/fixtures/tls");
    fs::copy(fixtures.join("localhost.pem"), folder.join("cert.pem"))?;
    fs::copy(fixtures.join("localhost.key"), folder.join("key.pem"))?;
    Ok(())
}

/// Those of nginx and wrk, both of which use OpenSSL.
pub(super) fn rows_of_nginx() -> Vec<Row> {
    let row = |name, tracer| Row { name, tracer };
    vec![
        row("tls-nginx", Tracer::Server(vec!["--tls", "all"])),
        row("tls-both", Tracer::BothEnds(vec!["--tls", "all"])),
        row("tls-ciphertext", Tracer::BothEnds(Vec::new())),
        row("tls-bpftrace", Tracer::Bpftrace(script(OPENSSL, "LIBRARY", &library()))),
        row("tls-sslsniff", Tracer::Other(sslsniff)),
    ]
}

/// Those of a server of Go's and h2load, which uses OpenSSL.
pub(super) fn rows_of_go() -> Result<Vec<Row>> {
    let row = |name, tracer| Row { name, tracer };
    Ok(vec![
        row("tls-go", Tracer::Server(vec!["--tls", "all"])),
        row("tls-go-both", Tracer::BothEnds(vec!["--tls", "all"])),
        row("tls-go-bpftrace", Tracer::Bpftrace(script(GO, "PROGRAM", &Go::program()?))),
    ])
}

fn script(script: &str, place: &str, file: &Path) -> String {
    script.replace(place, &file.to_string_lossy())
}

/// The OpenSSL that nginx uses.
fn library() -> PathBuf {
    let listing = installed("nginx").map(|nginx| output(command("ldd", &[]).arg(nginx)));
    let listing = listing.and_then(Result::ok).unwrap_or_default();
    let path = listing.lines().find_map(|line| line.trim().strip_prefix("libssl.so.3 => "));
    path.and_then(|path| path.split(' ').next()).unwrap_or("/usr/lib/libssl.so.3").into()
}

/// `sslsniff` of bcc, as Debian 12 has it. It prints what it sees.
fn sslsniff() -> Result<Agent> {
    static COPY: OnceLock<Folder> = OnceLock::new();
    let program = installed("sslsniff-bpfcc").context("bpfcc-tools is not installed")?;
    let folder = match COPY.get() {
        Some(folder) => folder,
        None => {
            let folder = Folder::new()?;
            // Debian's kernels have got another `min` since, which bcc's compiler does not take. For what
            // is shorter than the most that it shows, as here, this is the same.
            let text = fs::read_to_string(program)?
                .replace("min((size_t)MAX_BUF_SIZE, (size_t)len)", "(u32)len & (MAX_BUF_SIZE - 1)");
            let text = text.replace(
                "# header\n",
                "import sys\nprint(\"ready\")\nsys.stdout.flush()\n# header\n",
            );
            fs::write(folder.join("sslsniff"), text)?;
            headers(&folder)?;
            COPY.get_or_init(|| folder)
        }
    };
    let mut command = Command::new("/usr/bin/python3");
    command.arg(folder.join("sslsniff")).args(["--no-gnutls", "--no-nss"]);
    command.env("BCC_KERNEL_SOURCE", folder.join("headers"));
    Agent::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()), "ready")
}

/// Headers of some kernel in one folder, as bcc wants them. It takes from them only what all kernels
/// have alike.
fn headers(folder: &Folder) -> Result<()> {
    let sources = fs::read_dir("/usr/src")?.filter_map(|entry| Some(entry.ok()?.path()));
    let ends = |end: &'static str| move |path: &PathBuf| path.to_string_lossy().ends_with(end);
    let (mut own, mut common): (Vec<_>, Vec<_>) =
        sources.filter(|path| path.join("include").is_dir()).partition(ends("-amd64"));
    common.retain(ends("-common"));
    own.sort();
    common.sort();
    let (Some(own), Some(common)) = (own.pop(), common.pop()) else {
        bail!("linux-headers-cloud-amd64 is not installed");
    };
    for source in [common, own] {
        let into = folder.join("headers");
        run(command("cp", &["-asfT"]).arg(source).arg(into))?;
    }
    Ok(())
}

/// A server of Go's, until it is dropped.
pub(super) struct Go {
    child: Child,
    url: String,
    _folder: Folder,
}

impl Go {
    /// The program, compiled.
    fn program() -> Result<PathBuf> {
        let program = root().join("target/overhead/go-peer");
        let source = root().join("tests/programs/tls/peer.go");
        let mut go = command("go", &["build", "-o"]);
        go.arg(&program).arg(source).env("CGO_ENABLED", "0").env("GO111MODULE", "off");
        run(&mut go).context("apt-get install golang-go")?;
        Ok(program)
    }

    pub(super) fn start() -> Result<Self> {
        let folder = Folder::new()?;
        certificate(&folder)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let child = Command::new(Self::program()?)
            .args(["server", "-tls", "-h2", &port.to_string()])
            .args([folder.join("cert.pem"), folder.join("key.pem")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let url = format!("https://127.0.0.1:{port}/bytes/1024");
        let go = Self { child, url, _folder: folder };
        wait_for(port)?;
        Ok(go)
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Traffic for Go {
    fn servers(&self) -> Result<Vec<u32>> {
        Ok(vec![self.child.id()])
    }

    fn load(&self, duration: Duration) -> Result<Load> {
        let text = output(
            command("h2load", &["-c", "16", "-m", "4", "-D"])
                .arg(duration.as_secs().to_string())
                .arg(&self.url),
        )?;
        // `finished in 3.00s, 12345.67 req/s, 1.2MB/s`, and `requests: 3000 total, …, 0 failed, …`.
        let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
        let word = |line: &str, name: &str| -> Option<f64> {
            let part = line.split(',').find(|part| part.trim_end().ends_with(name))?;
            part.split_whitespace().next()?.parse().ok()
        };
        let counts = line("requests:").context("h2load tells no count")?;
        if word(counts, "failed") != Some(0.0) {
            bail!("h2load met errors:\n{text}");
        }
        Ok(Load {
            requests: word(counts, "succeeded").context("h2load tells no count")? as u64,
            per_second: line("finished in")
                .and_then(|line| word(line, "req/s"))
                .context("h2load tells no rate")?,
        })
    }
}
