//! Debian's packages that the tests need.

use crate::command::{cargo, command, installed, is_root, output, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Each package and what it is for. The programs that are traced come first.
const NEEDED: &[(&str, &str)] = &[
    ("nginx-light", "a server"),
    ("apache2-bin", "a server"),
    ("nodejs", "a server"),
    ("python3", "a server and a client"),
    ("nghttp2-server", "a server of HTTP/2"),
    ("nghttp2-client", "a client of HTTP/2"),
    ("etcd-server", "a server of gRPC"),
    ("etcd-client", "a client of gRPC"),
    ("python3-pip", "fetches grpcio, a server and a client of gRPC"),
    ("postgresql", "a server and its clients"),
    ("python3-psycopg2", "a client"),
    ("curl", "a client"),
    ("wget", "a client"),
    ("wrk", "a client"),
    ("apache2-utils", "a client"),
    ("redis-server", "a server"),
    ("redis-tools", "its clients"),
    ("python3-websockets", "a server and a client"),
    ("node-ws", "a server"),
    ("haproxy", "a proxy"),
    ("bind9", "a server of names"),
    ("bind9-dnsutils", "its clients"),
    ("unbound", "a server of names"),
    ("dnsmasq-base", "a server of names"),
    ("dnsperf", "asks many names"),
    ("openssl", "a server and a client of TLS"),
    ("libssl-dev", "for programs of our own that are traced"),
    ("android-libboringssl-dev", "for programs of our own that are traced"),
    ("gnutls-bin", "a client of TLS"),
    ("debootstrap", "fetches the programs of other Debians"),
    ("gcc", "compiles the programs of our own that are traced"),
    ("g++", "compiles programs to find symbols in, and the fuzzer"),
    ("musl-tools", "compiles programs that are profiled"),
    ("xz-utils", "a program that is profiled"),
    ("golang-go", "builds Go programs to find functions in"),
    ("golang-google-grpc-dev", "for a server and a client of gRPC of our own"),
    ("libc6-dbg", "has lines and inlined functions to find"),
    ("libstdc++6-12-dbg", "a library with lines and inlined functions of C++"),
    ("clang", "compiles the eBPF programs"),
    ("llvm", "strips them, and judges names of addresses"),
    ("libbpf-dev", "their headers"),
    ("bpftool", "sees what is attached"),
    ("tshark", "reads captures as an independent judge"),
    ("qemu-system-x86", "boots other kernels"),
    ("busybox-static", "what runs first in them"),
    ("debian-archive-keyring", "proves that they are Debian's"),
];

/// Installs what is missing.
pub(crate) fn install() -> Result<()> {
    install_packages()?;
    if !has_deny() && is_root() {
        println!("missing: cargo-deny (judges what we depend on)");
        // Not from a package: Debian has none. What needs it skips itself if this fails.
        if let Err(error) = run(&mut cargo(&["install", "--locked", "--quiet", "cargo-deny"])) {
            println!("{error:#}");
        }
    }
    Ok(())
}

/// Whether cargo-deny is installed.
pub(crate) fn has_deny() -> bool {
    output(&mut cargo(&["deny", "--version"])).is_ok()
}

fn install_packages() -> Result<()> {
    if installed("dpkg-query").is_none() {
        let all: Vec<&str> = NEEDED.iter().map(|(package, _)| *package).collect();
        bail!("this is not Debian; install what is there called {}", all.join(" "));
    }
    let missing: Vec<&(&str, &str)> =
        NEEDED.iter().filter(|(package, _)| !is_installed(package)).collect();
    if missing.is_empty() {
        println!("all {} packages are there", NEEDED.len());
        return Ok(());
    }
    for (package, purpose) in &missing {
        println!("missing: {package} ({purpose})");
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    if !is_root() {
        bail!("as root, run: apt-get install -y --no-install-recommends {}", names.join(" "));
    }
    let _quiet = NoServices::new()?;
    run(apt(&["update", "-q"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    run(apt(&["install", "-q", "-y", "--no-install-recommends"])
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

fn apt(arguments: &[&str]) -> std::process::Command {
    command("apt-get", arguments)
}

fn is_installed(package: &str) -> bool {
    let query = output(&mut command("dpkg-query", &["-W", "-f", "${Status}", package]));
    query.is_ok_and(|status| status == "install ok installed")
}

/// Keeps servers from being started by their installation, for as long as it lives.
struct NoServices {
    policy: Option<PathBuf>,
}

impl NoServices {
    fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self { policy: None });
        }
        // 101: "action forbidden by policy" (invoke-rc.d(8)).
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("cannot write policy-rc.d")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
        Ok(Self { policy: Some(policy.to_owned()) })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.policy {
            // Were it to stay, it would say so itself to whoever starts a service.
            let _ = fs::remove_file(policy);
        }
    }
}
