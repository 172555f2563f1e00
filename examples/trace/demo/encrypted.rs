//! The encrypted part of the demo: OpenSSL's own server, asked by curl. Where one of them is not
//! installed, there is none.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// A server that ends with this.
pub(crate) struct Encrypted {
    server: Child,
    /// Its certificate and key.
    _folder: TempDir,
}

impl Encrypted {
    /// Starts the server, and a thread that asks it something every second.
    pub(crate) fn start() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        certificate(folder.path())?;
        // Nobody else takes a port that was free a moment ago.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let server = quiet("openssl", folder.path())
            .args(["s_server", "-www", "-quiet", "-cert", "cert.pem", "-key", "key.pem"])
            .args(["-accept", &format!("127.0.0.1:{port}")])
            .spawn()?;
        let encrypted = Self { server, _folder: folder };
        thread::spawn(move || ask(port));
        Ok(encrypted)
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn ask(port: u16) -> io::Result<()> {
    loop {
        thread::sleep(Duration::from_secs(1));
        let url = format!("https://127.0.0.1:{port}/encrypted");
        quiet("curl", Path::new("/"))
            .args(["--silent", "--insecure", "--noproxy", "*", &url])
            .status()?;
    }
}

fn certificate(folder: &Path) -> io::Result<()> {
    let made = quiet("openssl", folder)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=localhost", "-days", "1", "-keyout", "key.pem", "-out", "cert.pem"])
        .status()?;
    if made.success() { Ok(()) } else { Err(io::Error::other("openssl made no certificate")) }
}

fn quiet(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
