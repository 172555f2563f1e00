//! kTLS: the library shakes hands, and the kernel encrypts.

use super::exchange::{SYSTEM, check};
use super::peers;
use crate::process::Running;
use crate::runner::{Outcome, Setup, skip, tests};
use pixie::id::Role;
use std::fs;

tests! {
    once: the_server;
}

/// On how many sockets the kernel encrypts, or decrypts, since it was started
/// (Documentation/networking/tls.rst).
fn sockets(direction: &str) -> u32 {
    let counters = fs::read_to_string("/proc/net/tls_stat").expect("the kernel's counters");
    let line = counters.lines().find_map(|line| line.strip_prefix(direction));
    line.and_then(|count| count.trim().parse().ok()).expect("a counter")
}

/// The server leaves it to the kernel, and curl does it by itself. Of TLS 1.3, this OpenSSL leaves only
/// what is sent. The plaintext, which the kernel is given by the socket, is told of once: files that nginx
/// sends by `SSL_sendfile`, and what goes through `SSL_read` and `SSL_write`.
fn the_server(setup: &Setup) -> Outcome {
    let available = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    if !available.split_whitespace().any(|name| name == "tls") {
        skip!("this kernel has no kTLS, or its module is not loaded");
    }
    for version in ["1.2", "1.3"] {
        let before = [sockets("TlsTxSw"), sockets("TlsRxSw")];
        let server = peers::nginx_with(setup, None, "sendfile on; ssl_conf_command Options KTLS;")?;
        let watch = setup.watch_tls(server.port);
        watch.wait_until_probed(setup, server.pid());
        let curl = peers::curl(setup, &server, None, &["--http1.1", "--tls-max", version]);
        let curl = Running::start(&mut curl?);
        let pid = curl.pid();
        curl.succeed();
        let expected = setup.questions();
        let observed = watch.stop_after(2 + 2 * expected.len());
        let now = [sockets("TlsTxSw"), sockets("TlsRxSw")];
        assert!(now[0] > before[0], "the kernel encrypts: {before:?}, {now:?}");
        assert!(now[1] > before[1] || version != "1.2", "and decrypts: {before:?}, {now:?}");
        observed.check_nothing_dropped();
        check(&observed, Role::Client, SYSTEM, pid, &expected);
        check(&observed, Role::Server, SYSTEM, server.pid(), &expected);
        observed.check_ends_agree();
        for http in observed.http() {
            let server = http.traffic.role == Some(Role::Server);
            assert_eq!(http.traffic.connection.encrypted_by_kernel, server, "{http}");
        }
        let traffic = observed.records.iter().filter(|record| record.traffic().is_some());
        assert_eq!(traffic.count(), 2 + 2 * expected.len(), "nothing is told of twice");
    }
    Ok(())
}
