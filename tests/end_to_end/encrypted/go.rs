//! Go's `crypto/tls`: all its calling conventions, stripped and not.

use super::exchange::{Library, TIMES, converse};
use super::peers::{self, Peer};
use crate::chroot::Chroot;
use crate::fetch;
use crate::runner::{Outcome, Setup, tests};

tests! {
    once: go_115, go_119, go_123, go_127, stripped_115, stripped_119, stripped_123, stripped_127,
        position_independent;
    // Each compiles the standard library once more, and differs little from the others.
    soak: go_121, stripped_121, position_independent_123, boringcrypto, with_cgo;
}

const STRIPPED: &str = "-ldflags=-s -w";

/// A server and a client, over HTTP/1.1 and HTTP/2.
fn both(setup: &Setup, peer: &Peer, version: &'static str) -> Outcome {
    let library: Library = Some(("go", version));
    for options in [&["-tls"][..], &["-tls", "-h2"]] {
        let server = peer.serve(setup, &[&["server"], options].concat())?;
        let client = peer.client(&[&["client"], options].concat(), &server, TIMES);
        converse(setup, &server, client, [library; 2])?;
    }
    Ok(())
}

/// A Go of PyPI.
fn of_pypi(
    setup: &Setup,
    version: &'static str,
    name: &str,
    options: &[&str],
    environment: &[(&str, &str)],
) -> Outcome {
    let go = std::process::Command::new(fetch::go(version.trim_start_matches("go"))?);
    let peer = peers::go(&format!("{version}{name}"), go, options, environment)?;
    both(setup, &peer, version)
}

const PURE: &[(&str, &str)] = &[("CGO_ENABLED", "0")];

/// Go's before 1.17 pass arguments on the stack. This one runs only where it was installed.
fn go_of_bullseye(setup: &Setup, name: &str, options: &[&str]) -> Outcome {
    let bullseye = Chroot::new("bullseye", &["golang-go"])?;
    let peer = peers::go_in(&bullseye, &format!("go1.15{name}"), options)?;
    both(setup, &peer, "go1.15")
}

fn go_115(setup: &Setup) -> Outcome {
    go_of_bullseye(setup, "", &[])
}

fn stripped_115(setup: &Setup) -> Outcome {
    go_of_bullseye(setup, "-stripped", &[STRIPPED])
}

fn go_of_debian(setup: &Setup, name: &str, options: &[&str]) -> Outcome {
    both(setup, &peers::go_of_debian(name, options)?, "go1.")
}

fn go_119(setup: &Setup) -> Outcome {
    go_of_debian(setup, "", &[])
}

fn stripped_119(setup: &Setup) -> Outcome {
    go_of_debian(setup, "-stripped", &[STRIPPED])
}

fn go_121(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.21", "", &[], PURE)
}

fn go_123(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.23", "", &[], PURE)
}

fn go_127(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.27", "", &[], PURE)
}

fn stripped_121(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.21", "-stripped", &[STRIPPED], PURE)
}

fn stripped_123(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.23", "-stripped", &[STRIPPED], PURE)
}

fn stripped_127(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.27", "-stripped", &[STRIPPED], PURE)
}

fn position_independent(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.27", "-pie", &["-buildmode=pie", STRIPPED], PURE)
}

fn position_independent_123(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.23", "-pie", &["-buildmode=pie", STRIPPED], PURE)
}

/// BoringCrypto does the ciphers; the TLS is Go's own.
fn boringcrypto(setup: &Setup) -> Outcome {
    let environment = [("CGO_ENABLED", "1"), ("GOEXPERIMENT", "boringcrypto")];
    of_pypi(setup, "go1.23", "-boringcrypto", &[], &environment)
}

fn with_cgo(setup: &Setup) -> Outcome {
    of_pypi(setup, "go1.27", "-cgo", &["-tags=netcgo"], &[("CGO_ENABLED", "1")])
}
