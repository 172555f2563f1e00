//! Go's `crypto/tls`: all its calling conventions, stripped and not.

use super::exchange::{Client, Library, QUESTIONS, TIMES, check, converse};
use super::peers::{self, Peer};
use crate::chroot::Chroot;
use crate::expect::HttpExt;
use crate::fetch;
use crate::observe::Observed;
use crate::runner::{Outcome, Setup, Skip, tests};
use pixie::id::Role;

tests! {
    once: go_115, go_119, go_123, go_127, stripped_115, stripped_119, stripped_123, stripped_127,
        position_independent, stacks_that_grow, answers_that_come_at_once,
        writes_that_return_late;
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

/// What is seen of Debian's Go, whose client does this so many times, which makes so many records; and
/// the processes of the client and of the server.
fn observe(
    setup: &Setup,
    what: &[&str],
    times: usize,
    records: usize,
) -> Result<(Observed, [u32; 2]), Skip> {
    let go = peers::go_of_debian("", &[])?;
    let server = go.serve(setup, &["server", "-tls"])?;
    let watch = setup.watch_tls(server.port);
    let mut client = Client::start(go.client(&[what, &["-tls"]].concat(), &server, times));
    let pids = [client.pid(), server.pid()];
    for pid in pids {
        watch.wait_until_probed(setup, pid);
    }
    client.ask();
    watch.wait(records);
    client.leave();
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    Ok((observed, pids))
}

/// A function begins again when there was no room for it on the stack, and this is no other call.
fn stacks_that_grow(setup: &Setup) -> Outcome {
    const TIMES: usize = 150;
    // Each end also tells of the handshake.
    let (observed, pids) = observe(setup, &["deep"], TIMES, 2 + 2 * TIMES)?;
    let lines = (0..TIMES).map(|size| format!("GET /bytes/{size} 0 -> 200 {size}"));
    let lines: Vec<String> = lines.collect();
    let expected: Vec<&str> = lines.iter().map(String::as_str).collect();
    for (role, pid) in [Role::Client, Role::Server].into_iter().zip(pids) {
        check(&observed, role, Some(("go", "go1.")), pid, &expected);
    }
    observed.check_ends_agree();
    Ok(())
}

/// What answers a write may be read before the write returns, and is not told of first: of a connection's
/// first exchange, nothing else says what it answers.
fn answers_that_come_at_once(setup: &Setup) -> Outcome {
    const TIMES: usize = 2000;
    // Each end also tells of each handshake.
    let (observed, _) = observe(setup, &["fresh"], TIMES, 4 * TIMES)?;
    for role in [Role::Client, Role::Server] {
        let mut sizes: Vec<u64> =
            observed.side(role).map(|http| http.answered().body.size).collect();
        sizes.sort_unstable();
        assert!(sizes.into_iter().eq(0..TIMES as u64), "at the {role}");
        for http in observed.side(role) {
            let answered = format!("/bytes/{}", http.answered().body.size);
            assert_eq!(http.path(), answered, "at the {role}: {http}");
        }
    }
    Ok(())
}

/// Where an answer is read while its question is still being written, it is a message of its own all the
/// same: as much of it is captured as of any, also after a long one.
fn writes_that_return_late(setup: &Setup) -> Outcome {
    const TIMES: usize = 30;
    let questions = QUESTIONS.repeat(TIMES);
    let (observed, pids) = observe(setup, &["client", "-late"], TIMES, 2 + 2 * questions.len())?;
    for (role, pid) in [Role::Client, Role::Server].into_iter().zip(pids) {
        check(&observed, role, Some(("go", "go1.")), pid, &questions);
        for http in observed.side(role) {
            let body = &http.answered().body;
            assert!(body.bytes.len() as u64 >= body.size.min(1000), "at the {role}: {http}");
        }
    }
    observed.check_ends_agree();
    Ok(())
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
