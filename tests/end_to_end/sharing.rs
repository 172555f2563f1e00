//! Sockets that are shared, duplicated and passed on, and descriptors that are used again.

use crate::expect::HttpExt;
use crate::observe::Observed;
use crate::programs::{Facts, ours};
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::free_port;
use pixie::id::{ConnectionId, Role};
use std::collections::HashSet;

tests! {
    core: a_descriptor_is_used_again, descriptors_are_duplicated, a_child_goes_on, children_serve,
        a_connection_is_passed_to_a_worker, threads_share_a_connection, many_processes_wait,
        an_answer_comes_before_its_request_was_told;
}

const BODY: u64 = 100;

fn share(setup: &Setup, scenario: &str, requests: usize) -> Result<(Observed, Facts), Skip> {
    let port = free_port();
    let mut program = ours("sharing")?;
    program.args([scenario, &port.to_string()]);
    let tracer = setup.tracer_of(port);
    let (observed, facts) = setup.observe(tracer, 2 * requests, || Facts::of(&mut program));
    assert_eq!(observed.http().count(), 2 * requests, "records");
    Ok((observed, facts?))
}

/// Checks every exchange, and who it was between.
fn check(observed: &Observed, scenario: &str, between: &[(u32, u32)]) {
    for (number, (client, server)) in between.iter().enumerate() {
        let pair = observed.pair(&format!("/{scenario}/{number}"));
        pair.between(*client, *server).request("GET", 0).response(200, BODY);
    }
}

fn connections(observed: &Observed, role: Role) -> HashSet<ConnectionId> {
    observed.side(role).map(|http| http.traffic.connection.id).collect()
}

fn a_descriptor_is_used_again(setup: &Setup) -> Outcome {
    let (observed, facts) = share(setup, "reuse", 3)?;
    check(&observed, "reuse", &[(facts.one("client"), facts.one("server")); 3]);
    for (number, port) in facts.all("port").into_iter().enumerate() {
        observed.pair(&format!("/reuse/{number}")).client_port(port);
    }
    for role in [Role::Client, Role::Server] {
        assert_eq!(connections(&observed, role).len(), 3, "connections of the {role}");
    }
    Ok(())
}

fn descriptors_are_duplicated(setup: &Setup) -> Outcome {
    let (observed, facts) = share(setup, "dup", 3)?;
    check(&observed, "dup", &[(facts.one("client"), facts.one("server")); 3]);
    for role in [Role::Client, Role::Server] {
        assert_eq!(connections(&observed, role).len(), 1, "connections of the {role}");
    }
    Ok(())
}

fn a_child_goes_on(setup: &Setup) -> Outcome {
    let (observed, facts) = share(setup, "fork", 3)?;
    let (client, child, server) = (facts.one("client"), facts.one("child"), facts.one("server"));
    check(&observed, "fork", &[(client, server), (child, server), (client, server)]);
    Ok(())
}

fn children_serve(setup: &Setup) -> Outcome {
    let (observed, facts) = share(setup, "prefork", 2)?;
    let client = facts.one("client");
    let between: Vec<_> = facts.all("worker").into_iter().map(|worker| (client, worker)).collect();
    assert_eq!(between.len(), 2);
    check(&observed, "prefork", &between);
    Ok(())
}

fn a_connection_is_passed_to_a_worker(setup: &Setup) -> Outcome {
    let (observed, facts) = share(setup, "pass", 2)?;
    check(&observed, "pass", &[(facts.one("client"), facts.one("worker")); 2]);
    Ok(())
}

fn threads_share_a_connection(setup: &Setup) -> Outcome {
    let (observed, facts) = share(setup, "threads", 50)?;
    check(&observed, "threads", &[(facts.one("client"), facts.one("server")); 50]);
    // A response that answers another request would show in the path that it repeats.
    for http in observed.http() {
        assert_eq!(http.answered().headers.get("x-path"), Some(http.path().as_bytes()));
    }
    Ok(())
}

/// What is seen at the end of a call must not depend on how many others are waiting in theirs.
fn many_processes_wait(setup: &Setup) -> Outcome {
    let (observed, facts) = share(setup, "waiting", 100)?;
    let workers: Vec<u32> = facts.all("worker");
    for number in 0..100 {
        let pair = observed.pair(&format!("/waiting/{number}"));
        pair.request("GET", 0).response(200, BODY);
        assert!(workers.contains(&pair.server.traffic.process.pid.0), "one of the workers");
    }
    Ok(())
}

/// One thread is still sending, and what it sends is told of when it is done, when another receives
/// the answer to the first request of it.
fn an_answer_comes_before_its_request_was_told(setup: &Setup) -> Outcome {
    let (observed, facts) = share(setup, "early", 2)?;
    let (client, server) = (facts.one("client"), facts.one("server"));
    let body = 256 << 10;
    observed.pair("/early/0").between(client, server).request("GET", 0).response(200, BODY);
    observed.pair("/early/1").between(client, server).request("POST", body).response(200, BODY);
    Ok(())
}
