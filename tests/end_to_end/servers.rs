//! Real servers, each with its own configuration in its own folder.

use crate::nginx;
use crate::process::{Running, wait_for};
use crate::programs::{command, find, sources};
use crate::runner::{Setup, Skip, skip};
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A port that nobody has, for TCP or UDP, and another one each time. None of those that the kernel gives to
/// clients (`ip_local_port_range`, from 32,768 on): one of these could have it before a server does.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 10_000..32_768;
    // Two programs at once begin at different ones.
    let begin = std::process::id().wrapping_mul(101);
    let next = || begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let mut ports = std::iter::repeat_with(next)
        .map(|number| (PORTS.start + number % (PORTS.end - PORTS.start)) as u16)
        .take(PORTS.len());
    let is_free = |port: &u16| {
        let address = (Ipv4Addr::LOCALHOST, *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    ports.find(is_free).expect("a free port")
}

/// A server under way. Ends when it is dropped.
pub(crate) struct Server {
    running: Running,
    pub(crate) port: u16,
    /// What it serves lies in `www`, what it writes beside.
    folder: TempDir,
}

/// A request as the server logged it.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    /// Of the process that served it.
    pub(crate) pid: u32,
    pub(crate) client_port: u16,
    pub(crate) path: String,
    pub(crate) status: u16,
    /// Bytes of the request, head and body.
    pub(crate) received: u64,
    /// Bytes of the response, head and body.
    pub(crate) sent: u64,
}

impl Server {
    /// A new folder with something to serve.
    pub(crate) fn prepare() -> TempDir {
        Self::prepare_in(&std::env::temp_dir())
    }

    /// Such a folder, in this one.
    pub(crate) fn prepare_in(place: &Path) -> TempDir {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::new_in(place).expect("a temporary folder");
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), readable).expect("a folder that everybody may read");
        let www = folder.path().join("www");
        fs::create_dir(&www).expect("a folder to serve");
        fs::write(www.join("small.txt"), text(1000)).expect("a small file");
        fs::write(www.join("page.html"), text(50_000)).expect("a larger file");
        folder
    }

    pub(crate) fn start(
        setup: &Setup,
        folder: TempDir,
        port: u16,
        mut command: std::process::Command,
    ) -> Self {
        let errors = fs::File::create(folder.path().join("stderr")).expect("a file for errors");
        let running = Running::start(command.stderr(Stdio::from(errors)));
        let mut server = Self { running, port, folder };
        wait_for("listening server", setup.patience(Duration::from_secs(20)), || {
            if let Some(status) = server.running.has_ended() {
                let said = fs::read_to_string(server.file("stderr")).unwrap_or_default();
                panic!("{command:?} ended with {status}:\n{said}");
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A file beside the ones that are served.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder that is served.
    pub(crate) fn www(&self) -> PathBuf {
        self.file("www")
    }

    /// The requests that were logged once there are at least this many.
    pub(crate) fn log(&self, setup: &Setup, at_least: usize) -> Vec<Logged> {
        wait_for("log of all requests", setup.patience(Duration::from_secs(10)), || {
            let log = self.log_now();
            (log.len() >= at_least).then_some(log)
        })
    }

    /// The requests that have been logged.
    pub(crate) fn log_now(&self) -> Vec<Logged> {
        let log = fs::read_to_string(self.file("access.log")).unwrap_or_default();
        log.lines().filter_map(Logged::read).collect()
    }
}

/// Writes a certificate for `localhost` and its key.
pub(crate) fn certificate(folder: &Path) {
    let key = include_str!("../fixtures/tls/localhost.key");
    let certificate = include_str!("../fixtures/tls/localhost.pem");
    fs::write(folder.join("key.pem"), key).expect("a key");
    fs::write(folder.join("cert.pem"), certificate).expect("a certificate");
}

impl Logged {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next();
        Some(Self {
            pid: word()?.parse().ok()?,
            // A Unix socket has none.
            client_port: word()?.parse().unwrap_or(0),
            path: word()?.to_owned(),
            status: word()?.parse().ok()?,
            received: word()?.parse().ok()?,
            sent: word()?.parse().ok()?,
        })
    }
}

/// Text of this length; it compresses, but not to nothing.
pub(crate) fn text(length: usize) -> Vec<u8> {
    let lines = (0_u64..).flat_map(|line| {
        let noise = line.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        format!("line {line} of a text, with {noise:x} in it\n").into_bytes()
    });
    lines.take(length).collect()
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
}

/// nginx: files by sendfile; `/gzip/` compresses them; `/proxy/` asks itself for them. It listens on
/// IPv4, IPv6, and the Unix socket `nginx.sock` in its folder.
pub(crate) fn nginx(setup: &Setup) -> Result<Server, Skip> {
    let (folder, port) = (Server::prepare(), free_port());
    let path = folder.path().display();
    let ipv6 = if Path::new("/proc/net/if_inet6").exists() {
        format!("listen [::1]:{port};")
    } else {
        String::new()
    };
    let http = format!(
        r"
        sendfile on; default_type application/octet-stream;
        types {{ text/html html; text/plain txt; }}
        server {{
            listen 127.0.0.1:{port} backlog=8192; {ipv6} listen unix:{path}/nginx.sock;
            root {path}/www;
            location /gzip/ {{
                alias {path}/www/; gzip on; gzip_types *; gzip_http_version 1.0;
            }}
            location /proxy/ {{ proxy_pass http://127.0.0.1:{port}/; }}
            location /teapot {{ return 418 'short and stout'; }}
            location /count {{ stub_status; }}
        }}"
    );
    nginx::start(setup, folder, port, 2, &http)
}

/// Apache httpd, with threads.
pub(crate) fn apache(setup: &Setup) -> Result<Server, Skip> {
    let program = find("apache2")?;
    let modules = Path::new("/usr/lib/apache2/modules");
    if !modules.is_dir() {
        skip!("apache2's modules are not in {}", modules.display());
    }
    let folder = Server::prepare();
    let port = free_port();
    let (path, modules) = (folder.path().display(), modules.display());
    let configuration = format!(
        r#"
        ServerRoot {path}
        ServerName localhost
        Listen 127.0.0.1:{port}
        PidFile {path}/pid
        ErrorLog {path}/errors
        LoadModule mpm_event_module {modules}/mod_mpm_event.so
        LoadModule authz_core_module {modules}/mod_authz_core.so
        LoadModule deflate_module {modules}/mod_deflate.so
        LoadModule filter_module {modules}/mod_filter.so
        User nobody
        Group nogroup
        KeepAlive On
        MaxKeepAliveRequests 0
        DocumentRoot {path}/www
        <IfModule !logio_module>
            LoadModule logio_module {modules}/mod_logio.so
        </IfModule>
        LogFormat "%P %{{remote}}p %U%q %>s %I %O" facts
        CustomLog {path}/access.log facts
        "#
    );
    let file = folder.path().join("apache.conf");
    fs::write(&file, configuration).expect("a configuration file");
    let mut command = std::process::Command::new(program);
    command.arg("-f").arg(&file).arg("-DFOREGROUND");
    Ok(Server::start(setup, folder, port, command))
}

/// Python's `http.server`.
pub(crate) fn python(setup: &Setup) -> Result<Server, Skip> {
    let mut command = command("python3")?;
    let folder = Server::prepare();
    let port = free_port();
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "--protocol", "HTTP/1.1"]);
    command.arg("--directory").arg(folder.path().join("www")).arg(port.to_string());
    Ok(Server::start(setup, folder, port, command))
}

/// Node's `http`: the server in `server.js`.
pub(crate) fn node(setup: &Setup) -> Result<Server, Skip> {
    let mut command = command("node")?;
    let script = sources().join("server.js");
    if !script.is_file() {
        skip!("server.js is not in {}", sources().display());
    }
    let folder = Server::prepare();
    let port = free_port();
    command.arg(script).arg(port.to_string()).arg(folder.path());
    Ok(Server::start(setup, folder, port, command))
}
