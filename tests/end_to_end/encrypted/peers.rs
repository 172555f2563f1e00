//! Servers and clients of HTTPS, by the library that each has inside.

use crate::chroot::Chroot;
use crate::fetch::{self, kept, making};
use crate::nginx;
use crate::programs::{built_before, command, find, sources};
use crate::runner::{Setup, Skip, skip};
use crate::servers::{Server, certificate, free_port};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A program of ours, as a server or a client.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    /// The system that it runs in, if it is not this one.
    chroot: Option<Chroot>,
}

impl Peer {
    fn new(program: PathBuf, arguments: &[&Path]) -> Self {
        let arguments = arguments.iter().map(|word| word.display().to_string()).collect();
        Self { program, arguments, environment: Vec::new(), chroot: None }
    }

    fn command(&self) -> Command {
        let mut command = match &self.chroot {
            Some(chroot) => chroot.command(&self.program.to_string_lossy()),
            None => Command::new(&self.program),
        };
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command
    }

    /// The program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The same by another program.
    pub(crate) fn by(&self, program: PathBuf) -> Self {
        Self { program, ..self.clone() }
    }

    /// The same with this in its environment.
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut peer = self.clone();
        peer.environment.push((name, value.into()));
        peer
    }

    /// Starts it as a server: `what` it is called by, and its options.
    pub(crate) fn serve(&self, setup: &Setup, what: &[&str]) -> Result<Server, Skip> {
        let (folder, port) = (folder(self.chroot.as_ref()), free_port());
        certificate(folder.path());
        let inside = inside(self.chroot.as_ref(), folder.path());
        let mut command = self.command();
        command.args(what).arg(port.to_string());
        command.args([inside.join("cert.pem"), inside.join("key.pem")]);
        Ok(Server::start(setup, folder, port, command))
    }

    /// A client of a server.
    pub(crate) fn client(&self, what: &[&str], server: &Server, number: usize) -> Command {
        let mut command = self.command();
        command.args(what).args([server.port.to_string(), number.to_string()]);
        command
    }
}

/// A folder for a server, on this machine or in a Debian system.
fn folder(chroot: Option<&Chroot>) -> TempDir {
    chroot.map_or_else(Server::prepare, |chroot| Server::prepare_in(&chroot.path("tmp")))
}

/// What a folder's path is to those who run there.
fn inside(chroot: Option<&Chroot>, folder: &Path) -> PathBuf {
    chroot.map_or_else(|| folder.to_owned(), |chroot| chroot.inside(folder))
}

/// A source of ours.
fn source(name: &str) -> Result<PathBuf, Skip> {
    let file = sources().join("tls").join(name);
    if !file.is_file() {
        skip!("{name} is not in {}", sources().display());
    }
    Ok(file)
}

/// Where programs are built, and when they were.
fn built(
    name: &str,
    source: &Path,
    build: impl FnOnce(&Path) -> Result<(), Skip>,
) -> Result<PathBuf, Skip> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls");
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let program = folder.join(name);
    let modified = |file: &Path| file.metadata().and_then(|metadata| metadata.modified()).ok();
    if modified(&program) < modified(source) {
        build(&program)?;
    }
    Ok(program)
}

/// `peer.c` with what these arguments of the compiler link.
pub(crate) fn c(name: &str, arguments: &[&str]) -> Result<Peer, Skip> {
    let source = source("peer.c")?;
    let program = built(name, &source, |program| {
        let mut compiler = command("cc")?;
        compiler.args(["-O1", "-D_GNU_SOURCE", "-o"]).args([program, &source]).args(arguments);
        making(name, &mut compiler)
    })?;
    Ok(Peer::new(program, &[]))
}

/// `peer.py`, with these packages of PyPI.
pub(crate) fn python(packages: &[&str]) -> Result<Peer, Skip> {
    let mut peer = Peer::new(find("python3")?, &[&source("peer.py")?]);
    if !packages.is_empty() {
        peer.environment.push(("PYTHONPATH", fetch::python_packages(packages)?));
    }
    Ok(peer)
}

/// `peer.js`, by this program.
pub(crate) fn script(program: PathBuf) -> Result<Peer, Skip> {
    Ok(Peer::new(program, &[&source("peer.js")?]))
}

/// A script of ours, by a program of a Debian system.
pub(crate) fn script_in(chroot: &Chroot, program: &str, script: &str) -> Result<Peer, Skip> {
    let inside = Path::new("/tmp").join(script);
    let outside = chroot.path(&inside.to_string_lossy());
    fs::copy(source(script)?, outside).expect("the cache can be written");
    let mut peer = Peer::new(program.into(), &[&inside]);
    peer.chroot = Some(chroot.clone());
    Ok(peer)
}

/// `peer.go`, by Debian's `go` command. Where there is none, it comes ready-made.
pub(crate) fn go_of_debian(name: &str, options: &[&str]) -> Result<Peer, Skip> {
    let name = format!("go-debian{name}");
    match built_before(&name)? {
        Some(program) => Ok(Peer::new(program, &[])),
        None => go(&name, command("go")?, options, &[("CGO_ENABLED", "0")]),
    }
}

/// `peer.go`, by this `go` command, with these options and variables.
pub(crate) fn go(
    name: &str,
    mut go: Command,
    options: &[&str],
    environment: &[(&str, &str)],
) -> Result<Peer, Skip> {
    let source = source("peer.go")?;
    let program = built(name, &source, |program| {
        go.args(["build", "-o"]).arg(program).args(options).arg(&source);
        let caches = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-build");
        go.env("GOCACHE", caches).env("GO111MODULE", "off").env("GOFLAGS", "");
        go.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").envs(environment.iter().copied());
        making(name, &mut go)
    })?;
    Ok(Peer::new(program, &[]))
}

/// `peer.go`, by the `go` command of a Debian system. What it builds runs anywhere.
pub(crate) fn go_in(chroot: &Chroot, name: &str, options: &[&str]) -> Result<Peer, Skip> {
    let source = source("peer.go")?;
    let program = built(name, &source, |program| {
        fs::copy(&source, chroot.path("tmp/peer.go")).expect("the cache can be written");
        let mut go = chroot.command("go");
        go.args(["build", "-o", "/tmp/peer-go"]).args(options).arg("/tmp/peer.go");
        go.env("GOCACHE", "/tmp/go-build").env("CGO_ENABLED", "0").env("GO111MODULE", "off");
        making(name, &mut go)?;
        fs::copy(chroot.path("tmp/peer-go"), program).expect("the target folder is writable");
        Ok(())
    })?;
    Ok(Peer::new(program, &[]))
}

/// What handshakes do not need of OpenSSL; it takes long to compile.
const WITHOUT: &str = "no-asm no-engine no-dtls no-srp no-ec2m no-gost no-camellia no-seed no-idea \
    no-cast no-bf no-rc4 no-rc2 no-mdc2 no-whirlpool no-rmd160 no-ct no-cms no-ts no-ocsp no-srtp \
    no-psk no-async no-comp no-des no-md4 no-blake2 no-scrypt";

/// OpenSSL 1.1.0: the folder with its headers and libraries.
pub(crate) fn openssl_110() -> Result<PathBuf, Skip> {
    openssl("1.1.0", "110.0.7", "shared", "rm -rf apps test fuzz")
}

/// OpenSSL 4.0. Its sources are there without what makes shared libraries, so the compiler does.
pub(crate) fn openssl_40() -> Result<PathBuf, Skip> {
    openssl(
        "4.0",
        "400.0.2",
        "no-shared -fPIC no-apps no-tests no-docs no-quic no-legacy no-module",
        "share() { cc -shared -o lib$1.so.4 -Wl,-soname,lib$1.so.4 -Wl,--whole-archive lib$1.a \
             -Wl,--no-whole-archive $2 && ln -s lib$1.so.4 lib$1.so && rm lib$1.a; } &&
         share crypto -pthread && share ssl '-L. -lcrypto'",
    )
}

/// OpenSSL, from its sources in a crate, configured with these options. What is to be done then is
/// done in the folder, which is returned.
fn openssl(version: &str, source: &str, options: &str, then: &str) -> Result<PathBuf, Skip> {
    kept(&format!("openssl-{version}"), |folder| {
        fetch::crate_sources("openssl-src", source, folder)?;
        let mut make = command("sh")?;
        let script = format!(
            "cd openssl && perl ./Configure linux-x86_64 {WITHOUT} {options} -O1 &&
             make -j2 build_libs && {then} && find . -name '*.o' -delete"
        );
        making(&format!("OpenSSL {version}"), make.args(["-c", &script]).current_dir(folder))
    })
    .map(|folder| folder.join("openssl"))
}

/// nginx, with what our clients ask for: on this machine, or in a Debian system.
pub(crate) fn nginx(setup: &Setup, chroot: Option<&Chroot>) -> Result<Server, Skip> {
    nginx_with(setup, chroot, "")
}

/// The same, with more in its configuration of the server.
pub(crate) fn nginx_with(
    setup: &Setup,
    chroot: Option<&Chroot>,
    more: &str,
) -> Result<Server, Skip> {
    let folder = folder(chroot);
    certificate(folder.path());
    let bytes = folder.path().join("www/bytes");
    fs::create_dir(&bytes).expect("a folder of our own");
    for size in [1000, 50_000, 50 << 20] {
        let file = fs::File::create(bytes.join(size.to_string())).expect("a folder of our own");
        file.set_len(size).expect("room for it");
    }
    let (port, inner) = (free_port(), free_port());
    let file = folder.path().join("nginx.conf");
    let inside = inside(chroot, folder.path());
    fs::write(&file, configuration(&inside, port, inner, more)).expect("a configuration file");
    let mut command = match chroot {
        Some(chroot) => chroot.command("nginx"),
        None => Command::new(find("nginx")?),
    };
    command.arg("-c").arg(inside.join("nginx.conf")).arg("-p").arg(&inside);
    Ok(Server::start(setup, folder, port, command))
}

/// Uploads are passed on to another server, so that they are read to their end.
fn configuration(folder: &Path, port: u16, inner: u16, more: &str) -> String {
    let server = nginx::over_tls(folder, port) + more;
    let http = format!(
        r"
        server {{ {server} location /count {{ proxy_pass http://127.0.0.1:{inner}/; }} }}
        server {{ listen 127.0.0.1:{inner}; location / {{ return 200 '$content_length\n'; }} }}"
    );
    nginx::configuration(folder, 0, &http)
}

/// curl asks what our clients ask, over one connection. On this machine, or in a Debian system.
pub(crate) fn curl(
    setup: &Setup,
    server: &Server,
    chroot: Option<&Chroot>,
    options: &[&str],
) -> Result<Command, Skip> {
    let mut curl = match chroot {
        Some(chroot) => chroot.command("curl"),
        None => command("curl")?,
    };
    let url = |path: &str| format!("https://127.0.0.1:{}{path}", server.port);
    let upload = server.file("upload");
    for (number, question) in setup.questions().into_iter().enumerate() {
        let words: Vec<&str> = question.split(' ').collect();
        if number > 0 {
            curl.arg("--next");
        }
        curl.args(["--silent", "--show-error", "--insecure", "--noproxy", "*"]).args(options);
        curl.args(["--header", "Expect:", "--output", "/dev/null"]);
        let size: u64 = words[2].parse().expect("a number");
        if size > 0 {
            let upload = upload.with_extension(words[2]);
            let file = fs::File::create(&upload).expect("a folder of our own");
            file.set_len(size).expect("room for it");
            let upload = chroot.map_or(upload.clone(), |chroot| chroot.inside(&upload));
            curl.args(["--data-binary", &format!("@{}", upload.display())]);
        }
        curl.arg(url(words[1]));
    }
    Ok(curl)
}

/// `rustls.rs`. Where there are no registries, it comes ready-made.
pub(crate) fn rustls() -> Result<Peer, Skip> {
    match built_before("rustls")? {
        Some(program) => Ok(Peer::new(program, &[])),
        None => rustls_with("ring", "ring", &[]),
    }
}

/// The same, with the other library for cryptography.
pub(crate) fn rustls_with_aws_lc() -> Result<Peer, Skip> {
    rustls_with("aws_lc_rs", "aws_lc_rs", &[])
}

/// The same, with OpenSSL linked into it, as in a program whose parts use different libraries.
pub(crate) fn rustls_with_openssl() -> Result<Peer, Skip> {
    let libraries = "-Clink-args=-Wl,-u,SSL_read,-u,SSL_write -l:libssl.a -l:libcrypto.a";
    rustls_with("ring-openssl", "ring", &[("CARGO_ENCODED_RUSTFLAGS", libraries.into())])
}

fn rustls_with(
    name: &str,
    cryptography: &str,
    environment: &[(&str, PathBuf)],
) -> Result<Peer, Skip> {
    let dependencies = format!(
        "rustls = {{ version = \"=0.23.46\", default-features = false, \
                    features = [\"{cryptography}\", \"std\", \"tls12\"] }}\n\
         tokio-rustls = {{ version = \"=0.26.6\", default-features = false, features = [\"tls12\"] }}\n\
         tokio = {{ version = \"=1.54.1\", features = [\"io-util\", \"net\", \"rt\"] }}"
    );
    let name = format!("rustls-0.23.46-{name}");
    let program = fetch::rust_program(&name, &dependencies, &source("rustls.rs")?, environment);
    Ok(Peer::new(program?, &[]))
}

/// `boring.rs`, which has BoringSSL inside by the crate of that name, built with CMake from PyPI.
pub(crate) fn boring() -> Result<Peer, Skip> {
    let cmake = fetch::python_packages(&["cmake==4.4.5"])?.join("cmake/data/bin/cmake");
    let (name, dependency) = ("boring-5.4.0", "boring = \"=5.4.0\"");
    let program = fetch::rust_program(name, dependency, &source("boring.rs")?, &[("CMAKE", cmake)]);
    Ok(Peer::new(program?, &[]))
}
