//! Other libraries: GnuTLS.

use super::exchange::{Library, SYSTEM, check};
use super::peers;
use crate::process::Running;
use crate::programs::command;
use crate::runner::{Outcome, Setup, tests};
use pixie::id::Role;

tests! {
    once: gnutls_of_wget;
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
