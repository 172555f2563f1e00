//! Whose TLS is traced and whose is not, and programs that are confined, many, or soon gone.

use super::exchange::{Client, QUESTIONS, SYSTEM, TIMES, check};
use super::peers;
use crate::expect::HttpExt;
use crate::observe::Observed;
use crate::process;
use crate::programs::{command, find};
use crate::runner::{Outcome, Setup, tests};
use pixie::id::Role;
use pixie::record::{Cause, Stage};
use pixie::tls::All;
use std::collections::HashSet;
use std::fs;
use std::time::Duration;

tests! {
    once: one_process_alone, without_an_executable, a_confined_program,
        many_programs_that_are_soon_gone, a_ring_that_is_too_small;
}

impl Observed {
    fn pids(&self) -> HashSet<u32> {
        self.http().map(|http| http.traffic.process.pid.0).collect()
    }
}

/// Three processes have the library mapped; one is asked for.
fn one_process_alone(setup: &Setup) -> Outcome {
    let peer = peers::python(&[])?;
    let server = peer.serve(setup, &["server"])?;
    let start = || Client::start(peer.client(&["client"], &server, TIMES));
    let mut clients = [start(), start()];
    let pid = clients[0].pid();
    let watch = setup.watch(setup.tracer().tls(All).pid(pid));
    watch.wait_until_probed(setup, pid);
    for client in &mut clients {
        client.ask();
    }
    watch.wait(QUESTIONS.len() * TIMES);
    clients.into_iter().for_each(Client::leave);
    let observed = watch.stop_after(0);
    check(&observed, Role::Client, SYSTEM, pid, &QUESTIONS.repeat(TIMES));
    assert_eq!(observed.pids(), HashSet::from([pid]));
    Ok(())
}

/// What runs this executable does not want to be traced.
fn without_an_executable(setup: &Setup) -> Outcome {
    let node = find("node")?;
    let server = peers::script(node.clone())?.serve(setup, &["server"])?;
    let mut client = Client::start(peers::python(&[])?.client(&["client"], &server, TIMES));
    let program = fs::canonicalize(&node).expect("it is there");
    let watch = setup.watch(setup.tracer_of(server.port).tls(All).exclude_executable(program));
    watch.wait_until_probed(setup, client.pid());
    client.ask();
    watch.wait(QUESTIONS.len() * TIMES);
    let pid = client.pid();
    client.leave();
    let observed = watch.stop_after(0);
    check(&observed, Role::Client, SYSTEM, pid, &QUESTIONS.repeat(TIMES));
    assert_eq!(observed.pids(), HashSet::from([pid]));
    Ok(())
}

/// Its filter of system calls kills it if it makes one that it does not know. Kernels from 6.11 on
/// catch a function's return by such a one.
fn a_confined_program(setup: &Setup) -> Outcome {
    let peer = peers::python(&[])?;
    let server = peer.serve(setup, &["server"])?;
    let mut client = peer.client(&["client"], &server, TIMES);
    let mut client = Client::start({
        client.env("CONFINED", "yes");
        client
    });
    let status = fs::read_to_string(format!("/proc/{}/status", client.pid())).expect("it runs");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    let watch = setup.watch_tls(server.port);
    watch.wait_until_probed(setup, client.pid());
    client.ask();
    watch.wait(2 * QUESTIONS.len() * TIMES);
    let pid = client.pid();
    client.leave();
    let observed = watch.stop_after(0);
    check(&observed, Role::Client, SYSTEM, pid, &QUESTIONS.repeat(TIMES));
    Ok(())
}

/// Each of hundreds of programs that live for some milliseconds is seen.
fn many_programs_that_are_soon_gone(setup: &Setup) -> Outcome {
    const PROGRAMS: usize = 200;
    let server = peers::nginx(setup, None)?;
    let watch = setup.watch_tls(server.port);
    watch.wait_until_probed(setup, server.pid());
    let mut starter = command("sh")?;
    let script = format!(
        "for i in $(seq {}); do for j in 1 2 3 4; do
            curl -sk --http1.1 --noproxy '*' -o /dev/null https://127.0.0.1:{}/bytes/1000 || kill $$ &
         done; wait; done",
        PROGRAMS / 4,
        server.port
    );
    process::run(starter.args(["-c", &script]));
    // The connection's handshake is a record, too.
    watch.wait(2 * 2 * PROGRAMS);
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    for role in [Role::Client, Role::Server] {
        assert_eq!(observed.side(role).count(), PROGRAMS, "at the {role}");
        for http in observed.side(role) {
            assert_eq!((&*http.path(), http.answered().body.size), ("/bytes/1000", 1000), "{http}");
        }
    }
    let clients: HashSet<u32> =
        observed.side(Role::Client).map(|http| http.traffic.process.pid.0).collect();
    assert_eq!(clients.len(), PROGRAMS);
    assert_eq!(observed.stats.tls.sessions_joined, 0, "{}", observed.stats);
    Ok(())
}

/// What is lost for want of room is counted, and what comes when there is room again is whole.
fn a_ring_that_is_too_small(setup: &Setup) -> Outcome {
    const REQUESTS: usize = 10_000;
    let server = peers::nginx(setup, None)?;
    let url = format!("https://127.0.0.1:{}/bytes/1000", server.port);
    let tracer = setup.tracer_of(server.port).tls(All).only_protocol("http1");
    let watch = setup.watch(tracer.ring_bytes(16 << 10).poll_interval(Duration::from_millis(100)));
    watch.wait_until_probed(setup, server.pid());
    let mut load = command("h2load")?;
    load.args(["--h1", "-n", &REQUESTS.to_string(), "-c", "10", &url]);
    let (_, said) = process::run(&mut load);
    assert!(said.contains(&format!("{REQUESTS} succeeded")), "{said}");
    // Once all of that has been read there is room again.
    std::thread::sleep(setup.patience(Duration::from_secs(2)));
    let mut curl = command("curl")?;
    curl.args(["-sk", "--http1.1", "--noproxy", "*", "-o", "/dev/null"])
        .arg(format!("{url}?after"));
    let (pid, _) = process::run(&mut curl);
    watch.wait_for_pids(&[pid], 1);
    let observed = watch.stop_after(0);

    // That seen is reserved, and that bytes are delivered or in gaps, is checked of all sessions.
    let capture = &observed.stats.capture;
    assert!(capture.events_dropped > 0, "nothing was lost: the ring was not too small");
    let (events, bytes) = observed.lost(Stage::Kernel, Cause::RingFull);
    assert_eq!((events, bytes), (capture.events_dropped, capture.bytes_dropped), "in-band");
    assert!(observed.side(Role::Server).count() < REQUESTS, "all records in spite of losses");
    let after: Vec<_> = observed
        .http()
        .filter(|http| http.request.is_some() && http.path() == "/bytes/1000?after")
        .collect();
    assert_eq!(after.len(), 2, "one a side");
    for http in after {
        assert_eq!((http.answered().status, http.answered().body.size), (200, 1000), "{http}");
    }
    for http in observed.http().filter(|http| http.request.is_some()) {
        assert!(http.path().starts_with("/bytes/1000"), "what is there is right: {http}");
    }
    Ok(())
}
