//! IPv4, IPv6 and Unix sockets; connections that are pipelined, interleaved and older than the
//! tracer.

use crate::backends;
use crate::clients::curl;
use crate::expect::HttpExt;
use crate::observe::Observed;
use crate::process::Running;
use crate::programs::{Facts, ours};
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::{free_port, nginx};
use pixie::Backend;
use pixie::id::Transport;
use pixie::record::Address;
use std::net::{Ipv6Addr, TcpListener};

tests! {
    core: connections_are_interleaved, requests_are_pipelined, ipv6, unix_sockets,
        abstract_unix_sockets, a_connection_is_older_than_the_tracer;
    once: nginx_over_ipv6, nginx_over_a_unix_socket, a_unix_connection_is_older_than_the_tracer;
}

/// Checks that each of these exchanges is there once a side, and answered by its own response.
fn check_all(observed: &Observed, facts: &Facts, connections: usize, rounds: usize, depth: usize) {
    let (client, server) = (facts.one("client"), facts.one("server"));
    for connection in 0..connections {
        for round in 0..rounds {
            for number in 0..depth {
                let path = format!("/c{connection}/r{round}/{number}");
                let pair = observed.pair(&path);
                pair.between(client, server).request("GET", 0).response(200, 100);
                for side in [pair.client, pair.server] {
                    assert_eq!(side.answered().headers.get("x-path"), Some(path.as_bytes()));
                }
            }
        }
    }
    assert_eq!(observed.http().count(), 2 * connections * rounds * depth, "records");
}

fn exchange(setup: &Setup, connections: usize, rounds: usize, depth: usize) -> Outcome {
    let port = free_port();
    let mut program = ours("exchange")?;
    program.args(["-p", &port.to_string(), "-c", &connections.to_string()]);
    program.args(["-n", &rounds.to_string(), "-d", &depth.to_string()]);
    let expected = 2 * connections * rounds * depth;
    let tracer = setup.tracer_of(port);
    let (observed, facts) = setup.observe(tracer, expected, || Facts::of(&mut program));
    check_all(&observed, &facts?, connections, rounds, depth);
    Ok(())
}

fn connections_are_interleaved(setup: &Setup) -> Outcome {
    exchange(setup, 20, 5, 1)
}

fn requests_are_pipelined(setup: &Setup) -> Outcome {
    exchange(setup, 5, 3, 20)
}

fn need_ipv6() -> Outcome {
    match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => Ok(()),
        Err(error) => skip!("no IPv6 here: {error}"),
    }
}

fn check_ipv6(observed: &Observed, path: &str, port: u16) {
    let pair = observed.pair(path);
    let connection = &pair.client.traffic.connection;
    assert_eq!(connection.transport, Transport::Tcp);
    let remote = connection.remote.as_ref().map(ToString::to_string);
    assert_eq!(remote, Some(format!("[::1]:{port}")));
}

fn ipv6(setup: &Setup) -> Outcome {
    need_ipv6()?;
    let port = free_port();
    let mut program = ours("exchange")?;
    program.args(["-f", "inet6", "-p", &port.to_string(), "-n", "3"]);
    let (observed, facts) = setup.observe(setup.tracer_of(port), 6, || Facts::of(&mut program));
    check_all(&observed, &facts?, 1, 3, 1);
    check_ipv6(&observed, "/c0/r0/0", port);
    Ok(())
}

fn nginx_over_ipv6(setup: &Setup) -> Outcome {
    need_ipv6()?;
    let server = nginx(setup)?;
    let url = format!("http://[::1]:{}/small.txt", server.port);
    let tracer = setup.tracer_of(server.port);
    let (observed, curl) =
        setup.observe(tracer, 2, || curl(&url, &server.file("got"), &["--globoff"]));
    let curl = curl?;
    let log = server.log(setup, 1);
    let pair = observed.pair("/small.txt");
    pair.between(curl.pid, log[0].pid).client_port(curl.local_port).response(200, 1000);
    check_ipv6(&observed, "/small.txt", server.port);
    Ok(())
}

/// The program's exchanges over a Unix socket: there are no ports to tell them by, so that all
/// traffic is captured and the program's is picked out by its pids.
fn unix(setup: &Setup, path: &str) -> Result<(Observed, Facts), Skip> {
    if setup.backend == Backend::Kprobe && backends::kernel() < (6, 0) {
        skip!("kretprobes of this kernel have one instance a CPU, and each waiting read takes one");
    }
    let mut program = ours("exchange")?;
    program.args(["-f", "unix", "-u", path, "-c", "3", "-n", "2"]);
    let watch = setup.watch(setup.tracer());
    let facts = Facts::of(&mut program)?;
    let pids = [facts.one::<u32>("client"), facts.one("server")];
    watch.wait_for_pids(&pids, 12);
    let mut observed = watch.stop_after(0);
    observed.keep_pids(&pids);
    check_all(&observed, &facts, 3, 2, 1);
    for http in observed.http() {
        assert_eq!(http.traffic.connection.transport, Transport::UnixStream);
    }
    let remote = observed.pair("/c0/r0/0").client.traffic.connection.remote.clone();
    assert_eq!(remote.map(|remote| remote.to_string()), Some(format!("unix:{path}")));
    Ok((observed, facts))
}

fn unix_sockets(setup: &Setup) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("exchange.sock");
    unix(setup, path.to_str().unwrap()).map(drop)
}

fn abstract_unix_sockets(setup: &Setup) -> Outcome {
    unix(setup, &format!("@pixie-exchange-{}", std::process::id())).map(drop)
}

fn nginx_over_a_unix_socket(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    let socket = server.file("nginx.sock");
    let socket = socket.to_str().unwrap();
    let watch = setup.watch(setup.tracer());
    let url = "http://localhost/small.txt";
    let curl = curl(url, &server.file("got"), &["--unix-socket", socket])?;
    let log = server.log(setup, 1);
    let pids = [curl.pid, log[0].pid];
    watch.wait_for_pids(&pids, 2);
    let mut observed = watch.stop_after(0);
    observed.keep_pids(&pids);
    let pair = observed.pair("/small.txt");
    pair.between(curl.pid, log[0].pid)
        .request("GET", 0)
        .response(200, 1000)
        .bytes(curl.sent, curl.head + curl.downloaded);
    let remote = pair.client.traffic.connection.remote.as_ref();
    assert!(matches!(remote, Some(Address::Unix(path)) if path == socket), "remote {remote:?}");
    Ok(())
}

/// A program that has opened its connections, used them once, and waits.
fn start_waiting(arguments: &[&str]) -> Result<(Running, Facts), Skip> {
    let mut program = ours("exchange")?;
    let mut running = Running::start(program.args(arguments).arg("-w"));
    let mut said = Vec::new();
    while let Some(line) = running.line() {
        if line == "waiting" {
            return Ok((running, said.into_iter().collect()));
        }
        said.push(line);
    }
    panic!("exchange ended early; it said {said:?}");
}

/// Checks rounds 1 and 2, which are the ones after the wait.
fn check_later_rounds(observed: &Observed, facts: &Facts, connections: usize) {
    for connection in 0..connections {
        for round in 1..3 {
            let pair = observed.pair(&format!("/c{connection}/r{round}/0"));
            pair.between(facts.one("client"), facts.one("server")).response(200, 100);
            assert!(pair.client.traffic.process.comm == "exchange");
        }
    }
    assert_eq!(observed.http().count(), 4 * connections, "records");
}

fn a_connection_is_older_than_the_tracer(setup: &Setup) -> Outcome {
    let port = free_port();
    let (mut running, facts) = start_waiting(&["-p", &port.to_string(), "-c", "3", "-n", "2"])?;
    let (observed, ()) = setup.observe(setup.tracer_of(port), 12, || {
        running.say("go");
        running.succeed();
    });
    check_later_rounds(&observed, &facts, 3);
    Ok(())
}

fn a_unix_connection_is_older_than_the_tracer(setup: &Setup) -> Outcome {
    let path = format!("@pixie-older-{}", std::process::id());
    let (mut running, facts) = start_waiting(&["-f", "unix", "-u", &path, "-c", "2", "-n", "2"])?;
    let tracer = setup.tracer().pid(facts.one("client")).pid(facts.one("server"));
    let (observed, ()) = setup.observe(tracer, 8, || {
        running.say("go");
        running.succeed();
    });
    check_later_rounds(&observed, &facts, 2);
    Ok(())
}
