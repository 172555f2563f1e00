//! What is traced: a server of a file of 1 KiB, and a program that asks for it.

use super::{processes, tls};
use crate::folder::Folder;
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const FILE_SIZE: usize = 1024;
const CONNECTIONS: &str = "32";
const THREADS: &str = "2";

/// nginx with two workers, until it is dropped.
pub(super) struct Nginx {
    child: Child,
    url: String,
    _folder: Folder,
}

impl Nginx {
    /// In the clear, or over TLS.
    pub(super) fn start(encrypted: bool) -> Result<Self> {
        let folder = Folder::new()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        fs::write(folder.join("file"), vec![b'x'; FILE_SIZE])?;
        let root = folder.path().display();
        let (scheme, listen) = if encrypted {
            tls::certificate(&folder)?;
            (
                "https",
                format!(
                    "{port} ssl; ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem"
                ),
            )
        } else {
            ("http", port.to_string())
        };
        let configuration = format!(
            "daemon off; worker_processes 2; pid {root}/pid; error_log {root}/errors;
             events {{ worker_connections 1024; }}
             http {{ access_log off; sendfile on; keepalive_requests 1000000000;
                     client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
                     fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi;
                     scgi_temp_path {root}/scgi;
                     server {{ listen 127.0.0.1:{listen}; root {root}; }} }}"
        );
        // Its workers are another user, who must be let in.
        let path = folder.join("nginx.conf");
        fs::write(&path, configuration)?;
        let child = Command::new("nginx")
            .arg("-e")
            .arg(folder.join("errors"))
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .context("nginx does not start")?;
        let url = format!("{scheme}://127.0.0.1:{port}/file");
        let nginx = Self { child, url, _folder: folder };
        wait_for(port)?;
        Ok(nginx)
    }
}

impl Traffic for Nginx {
    fn servers(&self) -> Result<Vec<u32>> {
        processes::children(self.child.id())
    }

    fn load(&self, duration: Duration) -> Result<Load> {
        wrk(&self.url, duration)
    }
}

/// Waits until a server answers at this port.
pub(super) fn wait_for(port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            bail!("the server does not answer");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        drop(Command::new("kill").args(["-TERM", &id]).status());
        drop(self.child.wait());
    }
}

/// A server, and what asks it.
pub(super) trait Traffic {
    /// The processes that serve.
    fn servers(&self) -> Result<Vec<u32>>;

    /// Asks as fast as it can, for so long.
    fn load(&self, duration: Duration) -> Result<Load>;
}

/// How many requests were made, in how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) per_second: f64,
}

/// Asks for the file, as fast as it can be had.
fn wrk(url: &str, duration: Duration) -> Result<Load> {
    let output = Command::new("wrk")
        .args(["-t", THREADS, "-c", CONNECTIONS, "-d"])
        .arg(format!("{}s", duration.as_secs()))
        .arg(url)
        .output()
        .context("wrk does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Socket errors") || text.contains("Non-2xx") {
        bail!("wrk met errors:\n{text}");
    }
    let number = |before: &str, after: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.contains(before) && line.contains(after))?;
        line.split_whitespace().find_map(|word| word.parse().ok())
    };
    Ok(Load {
        requests: number(" requests in ", "").context("wrk tells no count")? as u64,
        per_second: number("Requests/sec:", "").context("wrk tells no rate")?,
    })
}
