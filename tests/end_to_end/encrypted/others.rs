//! Other libraries: GnuTLS; and rustls, which is not covered, and is named.

use super::exchange::{Library, SYSTEM, check};
use super::peers;
use crate::process::{self, Running, wait_for};
use crate::programs::command;
use crate::runner::{Outcome, Setup, tests};
use crate::servers::free_port;
use pixie::id::Role;
use pixie::tls::OpenSsl;
use std::process::Command;
use std::time::Duration;

tests! {
    once: gnutls_of_wget, rustls_is_named;
}

/// wget gets two files, over one connection.
fn gnutls_of_wget(setup: &Setup) -> Outcome {
    let server = peers::nginx(setup, None)?;
    let mut wget = command("wget")?;
    wget.args(["--quiet", "--no-proxy", "--no-check-certificate", "--output-document=/dev/null"]);
    let paths = ["/bytes/1000", "/bytes/50000"];
    wget.args(paths.map(|path| format!("https://127.0.0.1:{}{path}", server.port)));
    let watch = setup.watch_tls(server.port);
    // The first to use the library is not seen from its beginning.
    let mut keeps_it_mapped = Running::start(command("gnutls-cli")?.arg("--benchmark-ciphers"));
    watch.wait_until_probed(setup, keeps_it_mapped.pid());
    watch.wait_until_probed(setup, server.pid());
    let running = Running::start(&mut wget);
    let pid = running.pid();
    running.succeed();
    assert!(keeps_it_mapped.has_ended().is_none(), "the library was mapped all the time");
    let observed = watch.stop_after(2 + 2 * paths.len());
    observed.check_nothing_dropped();
    let expected = ["GET /bytes/1000 0 -> 200 1000", "GET /bytes/50000 0 -> 200 50000"];
    let gnutls: Library = Some(("gnutls", "3."));
    check(&observed, Role::Client, gnutls, pid, &expected);
    check(&observed, Role::Server, SYSTEM, server.pid(), &expected);
    observed.check_ends_agree();
    Ok(())
}

/// With its symbols and without, and only where all libraries are asked for.
fn rustls_is_named(setup: &Setup) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [whole, stripped] = ["whole", "stripped"].map(|name| folder.path().join(name));
    std::fs::copy(peers::rustls()?, &whole).expect("a folder of our own");
    process::run(command("strip")?.arg("-o").args([&stripped, &whole]));
    let all = setup.watch_tls(free_port());
    let some = setup.watch(setup.tracer().tls(OpenSsl).port(free_port()));
    let mut programs = [&whole, &stripped].map(|file| Running::start(&mut Command::new(file)));
    for program in &mut programs {
        assert!(program.line().is_some_and(|said| said.starts_with("ready ")), "it uses rustls");
    }
    for file in [&whole, &stripped] {
        let named = wait_for("word of it", setup.patience(Duration::from_secs(60)), || {
            all.report().traffic?.tls.into_iter().find(|found| found.path == *file)
        });
        assert!(named.attached.is_empty() && named.library.is_none(), "{named:?}");
        let notes = named.notes.join("\n");
        assert!(notes.contains("rustls 0.23.46") && notes.contains("not covered"), "{named:?}");
    }
    programs.into_iter().for_each(|program| drop(program.succeed()));
    all.stop_after(0);
    let observed = some.stop_after(0);
    let found = &observed.report.traffic.as_ref().expect("it was captured").tls;
    assert!(found.iter().all(|file| !file.path.starts_with(folder.path())), "{found:?}");
    Ok(())
}
