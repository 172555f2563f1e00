//! TLS objects that are used by several threads, and by a process and its child.

use super::exchange::{Client, QUESTIONS, SYSTEM, check, client_port, line};
use super::peers;
use crate::runner::{Outcome, Setup, tests};
use pixie::id::Role;
use std::collections::HashSet;

tests! {
    once: a_thread_writes_and_another_reads, a_child_goes_on;
}

/// Requests are not waited for: what is read meanwhile answers one of long ago. All positions are
/// right, or sizes would not be.
fn a_thread_writes_and_another_reads(setup: &Setup) -> Outcome {
    const REQUESTS: usize = 200;
    let peer = peers::python(&[])?;
    let server = peer.serve(setup, &["server"])?;
    let watch = setup.watch_tls(server.port);
    let mut client = Client::start(peer.client(&["threads"], &server, REQUESTS));
    watch.wait_until_probed(setup, client.pid());
    watch.wait_until_probed(setup, server.pid());
    client.ask();
    watch.wait(2 + 2 * REQUESTS);
    let pid = client.pid();
    client.leave();
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    let expected: Vec<String> =
        (0..REQUESTS).map(|number| format!("GET /bytes/{number} 0 -> 200 {number}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&observed, Role::Client, SYSTEM, pid, &expected);
    check(&observed, Role::Server, SYSTEM, server.pid(), &expected);
    observed.check_ends_agree();
    for role in [Role::Client, Role::Server] {
        let ports: HashSet<_> = observed.side(role).map(|http| client_port(http, role)).collect();
        assert_eq!(ports.len(), 1, "connections at the {role}");
    }
    assert_eq!(observed.stats.tls.sessions, 2, "{}", observed.stats);
    Ok(())
}

/// The server's parent shakes hands, and its child does all the rest. The client's child takes over in
/// the middle of the connection. An object is then at the same address in both processes.
fn a_child_goes_on(setup: &Setup) -> Outcome {
    let peer = peers::python(&[])?;
    let server = peer.serve(setup, &["fserver"])?;
    let watch = setup.watch_tls(server.port);
    let mut client = Client::start(peer.client(&["fclient"], &server, 2));
    watch.wait_until_probed(setup, client.pid());
    watch.wait_until_probed(setup, server.pid());
    let said = client.ask();
    let child: u32 =
        said[0].strip_prefix("child ").and_then(|pid| pid.parse().ok()).expect("a pid");
    watch.wait(2 + 2 * 2 * QUESTIONS.len());
    let pid = client.pid();
    client.leave();
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    observed.check_ends_agree();
    for role in [Role::Client, Role::Server] {
        let exchanges = observed.in_order(role);
        let lines: Vec<String> = exchanges.iter().map(|http| line(http)).collect();
        assert_eq!(lines, QUESTIONS.repeat(2), "at the {role}");
        for http in &exchanges {
            let library = http.traffic.connection.encrypted.as_ref().map(ToString::to_string);
            assert_eq!(library.as_deref(), Some("openssl"), "{http}");
        }
        let ports: HashSet<_> = exchanges.iter().map(|http| client_port(http, role)).collect();
        assert_eq!(ports.len(), 1, "connections at the {role}");
    }
    let pids = |role| -> Vec<u32> {
        observed.in_order(role).iter().map(|http| http.traffic.process.pid.0).collect()
    };
    let both = [vec![pid; QUESTIONS.len()], vec![child; QUESTIONS.len()]].concat();
    assert_eq!(pids(Role::Client), both, "who asked");
    let served: HashSet<u32> = pids(Role::Server).into_iter().collect();
    assert!(served.len() == 1 && !served.contains(&server.pid()), "its child served: {served:?}");
    // Of what the child says, the beginning was said by its parent.
    let tls = &observed.stats.tls;
    assert_eq!((tls.sessions, tls.sessions_joined), (4, 2), "{tls}");
    assert_eq!(observed.stats.parser.malformed, 0, "{}", observed.stats);
    Ok(())
}
