//! Many requests: none missing, or every missing one accounted for.

use crate::expect::HttpExt;
use crate::observe::Observed;
use crate::process;
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::{Logged, Server, nginx};
use pixie::id::Role;
use pixie::record::{Address, Cause, Http, Stage};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::process::Command;
use std::time::Duration;

tests! {
    core: ten_thousand_requests_by_ab, ten_thousand_connections_by_ab, a_ring_that_is_too_small;
    once: ten_thousand_requests_by_wrk, pipelined_requests_by_wrk;
}

/// How many requests are many: fewer where the machine is slow.
fn many(setup: &Setup) -> usize {
    if setup.slow > 1 { 1000 } else { 10_000 }
}

/// Room for all of it, so that every request must be there.
const AMPLE: usize = 64 << 20;

fn ab(server: &Server, requests: usize, options: &[&str]) -> Result<Command, Skip> {
    let mut ab = command("ab")?;
    ab.args(["-q", "-c", "16", "-n", &requests.to_string()]).args(options);
    ab.arg(server.url("/small.txt"));
    Ok(ab)
}

/// What ab says of requests that did not go well.
fn check_ab(said: &str) {
    let failed = said.lines().find_map(|line| line.strip_prefix("Failed requests:"));
    assert_eq!(failed.map(str::trim), Some("0"), "failed requests");
}

/// The bytes of all requests and responses in a server's log.
fn wire_bytes(log: &[Logged]) -> u64 {
    log.iter().map(|logged| logged.received + logged.sent).sum()
}

/// Lets ab make ten thousand requests. Every one must be there, once a side.
fn requests_by_ab(setup: &Setup, options: &[&str]) -> Result<(Observed, usize), Skip> {
    let requests = many(setup);
    let server = nginx(setup)?;
    let mut ab = ab(&server, requests, options)?;
    let tracer = setup.tracer_of(server.port).ring_bytes(AMPLE);
    let (observed, (pid, said)) = setup.observe(tracer, 2 * requests, || process::run(&mut ab));
    check_ab(&said);
    let log = server.log(setup, requests);
    assert_eq!(log.len(), requests, "requests that nginx logged");
    let workers: HashSet<u32> = log.iter().map(|logged| logged.pid).collect();
    for (role, pids) in [(Role::Client, HashSet::from([pid])), (Role::Server, workers)] {
        assert_eq!(observed.side(role).count(), requests, "records of the {role}");
        for http in observed.side(role) {
            check_small(http);
            assert!(pids.contains(&http.traffic.process.pid.0));
        }
    }
    assert_eq!(observed.http().count(), 2 * requests, "records");
    assert_eq!(observed.stats.stream.bytes_total, 2 * wire_bytes(&log), "bytes on both sides");
    Ok((observed, requests))
}

fn ten_thousand_requests_by_ab(setup: &Setup) -> Outcome {
    requests_by_ab(setup, &["-k"]).map(drop)
}

/// Each request has a connection of its own.
fn ten_thousand_connections_by_ab(setup: &Setup) -> Outcome {
    let (observed, requests) = requests_by_ab(setup, &[])?;
    let connections: HashSet<_> = observed.http().map(|http| http.traffic.connection.id).collect();
    assert_eq!(connections.len(), 2 * requests, "connections");
    // In the end ab opens some that it has no request for.
    let seen = &observed.stats.connections;
    assert!(seen.opened >= 2 * requests as u64, "{} connections opened", seen.opened);
    assert_eq!((seen.closed, seen.open), (seen.opened, 0), "closed, and open still");
    Ok(())
}

/// Checks a complete exchange of the small file.
fn check_small(http: &Http) {
    assert!(http.path().starts_with("/small.txt"));
    assert_eq!((http.answered().status, http.answered().body.size), (200, 1000));
    http.check_times();
}

/// Every request has a path of its own; `responses` counts what came back.
const WRK_SCRIPT: &str = r#"
local threads = {}
function setup(thread) thread:set("number", #threads); table.insert(threads, thread) end
function init(arguments)
  responses, sent, depth = 0, 0, tonumber(arguments[1])
  limit = tonumber(arguments[2])
end
function request()
  local pipelined = {}
  for i = 1, depth do
    sent = sent + 1
    pipelined[i] = wrk.format("GET", "/small.txt?" .. number .. "/" .. sent)
  end
  return table.concat(pipelined)
end
function response()
  responses = responses + 1
  if responses == limit then wrk.thread:stop() end
end
function done()
  local total = 0
  for _, thread in ipairs(threads) do total = total + thread:get("responses") end
  io.write("responses ", total, "\n")
end
"#;

/// Lets wrk send requests, `depth` at a time, until `limit` are answered; it ends only after its time. Returns its pid and how
/// many were.
fn wrk(server: &Server, depth: usize, limit: usize) -> Result<(u32, usize), Skip> {
    let mut wrk = command("wrk")?;
    let script = server.file("wrk.lua");
    fs::write(&script, WRK_SCRIPT).expect("a script");
    wrk.args(["-t", "1", "-c", "16", "-d", "5s", "-s"]).arg(&script).arg(server.url("/"));
    wrk.args(["--", &depth.to_string(), &limit.to_string()]);
    let (pid, said) = process::run(&mut wrk);
    let responses = said.lines().find_map(|line| line.strip_prefix("responses "));
    Ok((pid, responses.expect("the script's count").parse().expect("a number")))
}

fn by_path<'a>(side: impl Iterator<Item = &'a Http>) -> HashMap<String, &'a Http> {
    let mut found = HashMap::new();
    for http in side {
        assert!(found.insert(http.path(), http).is_none(), "{} is there twice", http.path());
    }
    found
}

/// Checks both sides against what wrk counted and what nginx logged. wrk hangs up with requests
/// under way: these are in the log, but not among its responses.
fn check_wrk(observed: &Observed, log: &[Logged], pid: u32, responses: usize) {
    let client = by_path(observed.side(Role::Client));
    let server = by_path(observed.side(Role::Server));
    let answered: Vec<_> = client
        .values()
        .filter(|http| http.response.as_ref().is_some_and(|response| response.body.complete))
        .collect();
    assert!(answered.len() >= responses, "{} answered of {responses}", answered.len());
    for http in &answered {
        check_small(http);
        assert_eq!(http.traffic.process.pid.0, pid);
        let there = server.get(&http.path()).expect("each answer comes from the server");
        assert_eq!(there.traffic.connection.remote, http.traffic.connection.local);
    }
    for logged in log.iter().filter(|logged| logged.status == 200) {
        let http = server.get(&logged.path).expect("each logged request has its record");
        assert_eq!(http.traffic.process.pid.0, logged.pid, "the worker");
        let remote = http.traffic.connection.remote.as_ref().and_then(Address::port);
        assert_eq!(remote, Some(logged.client_port), "the client's port");
        assert_eq!(http.traffic.request_bytes, logged.received, "bytes of {}", logged.path);
        if http.answered().body.complete {
            assert_eq!(http.traffic.response_bytes, logged.sent, "bytes of {}", logged.path);
        }
    }
    assert_eq!(server.len(), log.len(), "records of the server, and lines of its log");
}

fn requests_by_wrk(setup: &Setup, depth: usize) -> Outcome {
    let server = nginx(setup)?;
    let tracer = setup.tracer_of(server.port).ring_bytes(AMPLE);
    let watch = setup.watch(tracer);
    let (pid, responses) = wrk(&server, depth, many(setup))?;
    assert!(responses >= many(setup), "wrk got {responses} responses");
    // What was under way when wrk hung up is served and logged yet.
    let mut log = server.log(setup, responses);
    loop {
        std::thread::sleep(setup.patience(Duration::from_millis(100)));
        let now = server.log_now();
        if now.len() == log.len() {
            break;
        }
        log = now;
    }
    let observed = watch.stop_after(responses + log.len());
    observed.check_nothing_dropped();
    check_wrk(&observed, &log, pid, responses);
    Ok(())
}

fn ten_thousand_requests_by_wrk(setup: &Setup) -> Outcome {
    requests_by_wrk(setup, 1)
}

fn pipelined_requests_by_wrk(setup: &Setup) -> Outcome {
    requests_by_wrk(setup, 10)
}

/// Events are lost for want of room: every one is counted, in the kernel, in-band and in the account,
/// and no byte is counted twice or made up.
fn a_ring_that_is_too_small(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    let requests = many(setup);
    let mut ab = ab(&server, requests, &["-k"])?;
    let tracer =
        setup.tracer_of(server.port).ring_bytes(16 << 10).poll_interval(Duration::from_millis(100));
    let watch = setup.watch(tracer);
    let (_, said) = process::run(&mut ab);
    check_ab(&said);
    let observed = watch.stop_after(0);
    let log = server.log(setup, requests);

    // That seen is reserved, and that bytes are delivered or in gaps, is checked of all sessions.
    let capture = &observed.stats.capture;
    assert!(capture.events_dropped > 0, "nothing was lost: the ring was not too small");
    assert!(capture.events_seen > 0, "nothing was seen");
    let (events, bytes) = observed.lost(Stage::Kernel, Cause::RingFull);
    assert_eq!(events, capture.events_dropped, "events lost, in-band");
    assert_eq!(bytes, capture.bytes_dropped, "bytes lost, in-band");

    let on_the_wire = 2 * wire_bytes(&log);
    let total = observed.stats.stream.bytes_total;
    assert!(total <= on_the_wire, "{total} bytes of {on_the_wire}: some were made up");
    let missing = on_the_wire - total;
    assert!(
        missing <= capture.bytes_dropped,
        "{missing} bytes are missing, but {} were dropped",
        capture.bytes_dropped
    );
    let records = observed.http().count();
    assert!(records < 2 * requests, "all records in spite of losses");
    for http in observed.http().filter(|http| http.request.is_some()) {
        assert_eq!(http.path(), "/small.txt", "what is there is right");
    }
    Ok(())
}
