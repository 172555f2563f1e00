//! BoringSSL: as a library, and inside of programs, with symbols and without.

use super::exchange::{Library, SYSTEM, TIMES, converse, converse_by};
use super::peers;
use crate::clients::python as python_script;
use crate::fetch::{npm_package, python_packages};
use crate::runner::{Outcome, Setup, skip, tests};
use std::path::Path;

tests! {
    once: android, bun, curl_cffi;
    // It takes five minutes of processor time to build, once.
    soak: crate_boring;
}

const BORINGSSL: Library = Some(("boringssl", ""));

/// Debian has it as a library.
fn android(setup: &Setup) -> Outcome {
    let include = Path::new("/usr/include/android");
    if !include.join("openssl/ssl.h").exists() {
        skip!("android-libboringssl-dev is not installed");
    }
    let folder = format!("/usr/lib/{}-linux-gnu/android", std::env::consts::ARCH);
    let arguments =
        [&format!("-I{}", include.display()), &format!("-L{folder}"), "-lssl", "-lcrypto"];
    let peer =
        peers::c("boringssl", &[&arguments[..], &[&format!("-Wl,-rpath,{folder}")]].concat())?;
    let server = peer.serve(setup, &["server"])?;
    let client = peer.client(&["client"], &server, TIMES);
    converse(setup, &server, client, [BORINGSSL; 2])
}

/// Has no symbols: found by signatures.
fn bun(setup: &Setup) -> Outcome {
    let bun = peers::script(npm_package("@oven/bun-linux-x64@1.4.5")?.join("bin/bun"))?;
    let server = bun.serve(setup, &["server"])?;
    let client = bun.client(&["client"], &server, TIMES);
    converse(setup, &server, client, [BORINGSSL; 2])
}

const CURL_CFFI: &str = r#"
import os, sys
from curl_cffi import requests, CurlHttpVersion
version = CurlHttpVersion.V2_0 if sys.argv[2] == "2" else CurlHttpVersion.V1_1
print("ready", flush=True)
sys.stdin.readline()
with requests.Session(verify=False, http_version=version) as session:
    for _ in range(int(sys.argv[3])):
        base = f"https://127.0.0.1:{sys.argv[1]}"
        assert len(session.get(base + "/bytes/1000").content) == 1000
        assert session.post(base + "/count", data=b"y" * 100000).content == b"100000\n"
        assert len(session.get(base + "/bytes/50000").content) == 50000
    big = os.environ.get("BIG")
    if big:
        assert len(session.get(f"{base}/bytes/{big}").content) == int(big)
        assert session.post(base + "/count", data=b"y" * int(big)).content == f"{big}\n".encode()
print("done", flush=True)
sys.stdin.readline()
"#;

/// curl with BoringSSL inside, which has local symbols.
fn curl_cffi(setup: &Setup) -> Outcome {
    let packages = python_packages(&["curl_cffi==0.17.0"])?;
    let server = peers::nginx(setup, None)?;
    for version in ["1", "2"] {
        let arguments = [&server.port.to_string(), version, &TIMES.to_string()];
        let mut client = python_script(CURL_CFFI, &arguments)?;
        client.env("PYTHONPATH", &packages);
        let libraries = [BORINGSSL, SYSTEM];
        converse_by(setup, &server, client, libraries, "_wrapper.")?;
    }
    Ok(())
}

/// Part of a program in Rust, which has its symbols.
fn crate_boring(setup: &Setup) -> Outcome {
    let server = peers::nginx(setup, None)?;
    let client = peers::boring()?.client(&["client"], &server, TIMES);
    converse(setup, &server, client, [BORINGSSL, SYSTEM])
}
