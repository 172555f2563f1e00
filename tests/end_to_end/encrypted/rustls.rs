//! rustls, in programs that have their symbols; and that others are named.

use super::exchange::{self, Client, Library, QUESTIONS, TIMES, converse, line};
use super::peers::{self, Peer};
use crate::process::{self, wait_for};
use crate::programs::command;
use crate::runner::{Outcome, Setup, tests};
use crate::servers::free_port;
use pixie::id::Role;
use pixie::record::{Cause, Stage};
use pixie::tls::OpenSsl;
use std::time::Duration;

tests! {
    core: sockets_and_tokio;
    once: tls_12, with_openssl_at_the_other_end, a_crowd_on_one_thread, older_connections, another_port,
        stripped_it_is_named;
    // They take two minutes of processor time to build, once.
    soak: with_aws_lc, beside_openssl_in_a_program;
}

const RUSTLS: Library = Some(("rustls", "0.23.46"));

/// Each kind of server with each kind of client.
fn all_kinds(setup: &Setup, peer: &Peer) -> Outcome {
    for server in ["server", "aserver"] {
        for client in ["client", "aclient"] {
            let server = peer.serve(setup, &[server])?;
            converse(setup, &server, peer.client(&[client], &server, TIMES), [RUSTLS; 2])?;
        }
    }
    Ok(())
}

/// Sockets of the standard library, and tokio with vectors.
fn sockets_and_tokio(setup: &Setup) -> Outcome {
    let peer = peers::rustls()?;
    let server = peer.serve(setup, &["aserver"])?;
    converse(setup, &server, peer.client(&["client"], &server, TIMES), [RUSTLS; 2])?;
    let server = peer.serve(setup, &["server"])?;
    converse(setup, &server, peer.client(&["aclient"], &server, TIMES), [RUSTLS; 2])
}

fn tls_12(setup: &Setup) -> Outcome {
    all_kinds(setup, &peers::rustls()?.with("OLD_TLS", "yes"))
}

fn with_aws_lc(setup: &Setup) -> Outcome {
    let peer = peers::rustls_with_aws_lc()?;
    all_kinds(setup, &peer)?;
    all_kinds(setup, &peer.with("OLD_TLS", "yes"))
}

/// Both are found in the file, and probed.
fn beside_openssl_in_a_program(setup: &Setup) -> Outcome {
    let peer = peers::rustls_with_openssl()?;
    let server = peer.serve(setup, &["aserver"])?;
    let client = peer.client(&["client"], &server, TIMES);
    let watch = setup.watch_tls(server.port);
    let observed = exchange::observe(setup, watch, &server, client, [RUSTLS; 2], "");
    let found = observed.report.traffic.as_ref().expect("it was captured").tls.iter();
    let probed = found.filter(|file| file.path == peer.program() && !file.attached.is_empty());
    let mut libraries: Vec<_> = probed.filter_map(|file| file.library).collect();
    libraries.sort_unstable();
    assert_eq!(libraries, [pixie::tls::Library::OpenSsl, pixie::tls::Library::Rustls]);
    Ok(())
}

/// It sends what rustls would not: records of other sizes.
fn with_openssl_at_the_other_end(setup: &Setup) -> Outcome {
    let (rustls, openssl) = (peers::rustls()?, peers::python(&[])?);
    let server = rustls.serve(setup, &["aserver"])?;
    let client = openssl.client(&["client"], &server, TIMES);
    converse(setup, &server, client, [exchange::SYSTEM, RUSTLS])?;
    let server = openssl.serve(setup, &["server"])?;
    let client = rustls.client(&["client"], &server, TIMES);
    converse(setup, &server, client, [RUSTLS, exchange::SYSTEM])
}

fn a_crowd_on_one_thread(setup: &Setup) -> Outcome {
    let observed = exchange::crowd(setup, &peers::rustls()?, 100)?;
    let tls = &observed.stats.tls;
    assert_eq!((tls.sessions, tls.sessions_on_connections), (2 * 100, 2 * 100), "{tls}");
    assert_eq!((tls.sessions_joined, tls.calls_unproven), (0, 0), "{tls}");
    Ok(())
}

/// What was said before is a loss, and all that follows is told of; but for the first exchange, if the
/// server waited for it in a system call whose end this backend does not see then.
fn older_connections(setup: &Setup) -> Outcome {
    let peer = peers::rustls()?;
    for what in [["server", "client"], ["aserver", "aclient"]] {
        let server = peer.serve(setup, &[what[0]])?;
        let client = peer.with("OLDER", "yes").client(&[what[1]], &server, TIMES);
        let mut client = Client::start(client);
        let watch = setup.watch_tls(server.port);
        watch.wait_until_probed(setup, client.pid());
        watch.wait_until_probed(setup, server.pid());
        client.ask();
        watch.wait(2 * QUESTIONS.len() * TIMES);
        let pid = client.pid();
        client.leave();
        let observed = watch.stop_after(0);
        observed.check_nothing_dropped();
        let expected = QUESTIONS.repeat(TIMES);
        for (role, pid) in [(Role::Client, pid), (Role::Server, server.pid())] {
            let mut exchanges = observed.in_order(role);
            assert!(exchanges.len() >= expected.len() - 1, "at the {role}");
            let exchanges = exchanges.split_off(exchanges.len() - (expected.len() - 1));
            let lines: Vec<String> = exchanges.iter().map(|http| line(http)).collect();
            assert_eq!(lines, expected[1..], "at the {role}");
            for http in exchanges {
                let connection = &http.traffic.connection;
                let encrypted = connection.encrypted.as_ref().map(ToString::to_string);
                assert_eq!(encrypted.as_deref(), Some("rustls"), "{http}");
                assert!(connection.local.is_some() && connection.remote.is_some(), "{http}");
                assert_eq!(http.traffic.process.pid.0, pid, "{http}");
            }
        }
        let tls = &observed.stats.tls;
        // What it answered without a question that was seen is then a session of its own.
        assert!(matches!(tls.sessions, 2 | 3), "{tls}");
        assert_eq!(tls.sessions_joined, tls.sessions, "{tls}");
        assert_eq!(observed.lost(Stage::Stream, Cause::BeforeTracing), (tls.sessions, 0));
        assert_eq!(observed.stats.parser.malformed, 0, "{}", observed.stats);
    }
    Ok(())
}

fn another_port(setup: &Setup) -> Outcome {
    exchange::another_port(setup, &peers::rustls()?, "aserver")
}

/// Only where it is asked for.
fn stripped_it_is_named(setup: &Setup) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stripped = folder.path().join("stripped");
    let peer = peers::rustls()?;
    process::run(command("strip")?.arg("-o").args([stripped.as_path(), peer.program()]));
    let asked = setup.watch_tls(free_port());
    let not_asked = setup.watch(setup.tracer().tls(OpenSsl).port(free_port()));
    let server = peer.by(stripped.clone()).serve(setup, &["server"])?;
    let named = wait_for("word of it", setup.patience(Duration::from_secs(60)), || {
        asked.report().traffic?.tls.into_iter().find(|found| found.path == stripped)
    });
    assert!(named.attached.is_empty(), "{named:?}");
    assert_eq!(named.library.map(|library| library.as_str()), Some("rustls"));
    let notes = named.notes.join("\n");
    assert!(notes.contains("rustls 0.23.46") && notes.contains("symbols"), "{named:?}");
    drop(server);
    asked.stop_after(0);
    let observed = not_asked.stop_after(0);
    let found = &observed.report.traffic.as_ref().expect("it was captured").tls;
    assert!(found.iter().all(|file| !file.path.starts_with(folder.path())), "{found:?}");
    Ok(())
}
