//! Every system call that can carry bytes over a socket: nothing twice, nothing lost, nothing
//! changed.

use crate::expect::{HttpExt, starts_with};
use crate::observe::Observed;
use crate::programs::{Facts, ours};
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::free_port;
use pixie::Backend;
use pixie::id::Role;

tests! {
    core: write_and_read, send_and_recv, sendto_and_recvfrom, writev_and_readv, sendmsg_and_recvmsg,
        sendmmsg_and_recvmmsg, peeked_bytes_count_once, sendfile, splice,
        partial_writes_and_eagain, io_uring_beside_other_calls, io_uring_send_and_recv, io_uring_write_and_read,
        io_uring_sendmsg_and_recvmsg;
}

const EXCHANGES: usize = 5;
const REQUEST: u64 = 3000;
const RESPONSE: u64 = 5000;

/// A body as the program makes it: see `body_byte` in `peer.h`.
fn body(seed: usize, length: u64) -> Vec<u8> {
    (0..length as usize).map(|index| b'a' + ((seed + index * 7 + index / 251) % 26) as u8).collect()
}

/// Runs `transfers` with these calls, which should give a record of each exchange on both sides.
fn transfer(setup: &Setup, calls: &str) -> Result<(Observed, Facts), Skip> {
    transfer_until(setup, calls, 2 * EXCHANGES)
}

fn transfer_until(setup: &Setup, calls: &str, records: usize) -> Result<(Observed, Facts), Skip> {
    let port = free_port();
    let mut program = ours("transfers")?;
    program.args([calls, &port.to_string()]);
    let tracer = setup.tracer_of(port);
    let (observed, facts) = setup.observe(tracer, records, || Facts::of(&mut program));
    Ok((observed, facts?))
}

/// The bytes of an exchange's heads, as the program writes them.
fn heads(path: &str, request: u64, response: u64) -> (u64, u64) {
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {request}\r\n\r\n");
    let response =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {response}\r\nX-Path: {path}\r\n\r\n");
    (request.len() as u64, response.len() as u64)
}

/// Checks all exchanges on both sides, to the byte.
fn check(observed: &Observed, facts: &Facts, calls: &str, request: u64, response: u64) {
    for number in 0..EXCHANGES {
        let path = format!("/{calls}/{number}");
        let (request_head, response_head) = heads(&path, request, response);
        let pair = observed.pair(&path);
        pair.between(facts.one("client"), facts.one("server"))
            .client_port(facts.one("port"))
            .request("POST", request)
            .response(200, response)
            .bytes(request_head + request, response_head + response);
    }
    assert_eq!(observed.http().count(), 2 * EXCHANGES, "records");
    check_total(observed, calls, request, response);
}

/// Checks that the streams have as many bytes as went over the connection, once a side.
fn check_total(observed: &Observed, calls: &str, request: u64, response: u64) {
    let total: u64 = (0..EXCHANGES)
        .map(|number| heads(&format!("/{calls}/{number}"), request, response))
        .map(|(request_head, response_head)| request_head + request + response_head + response)
        .sum();
    assert_eq!(observed.stats.stream.bytes_total, 2 * total, "bytes on both sides");
}

/// Checks that what was captured of the bodies is what was transferred, and how much that is: all of
/// what was received, and all or nothing of what was sent.
fn check_payload(observed: &Observed, is_sent_captured: bool) {
    for http in observed.http() {
        let request = (&http.sent().body, body(1, REQUEST));
        let response = (&http.answered().body, body(2, RESPONSE));
        let is_client = http.traffic.role == Some(Role::Client);
        let (sent, received) = if is_client { (request, response) } else { (response, request) };
        starts_with(received.0, &received.1);
        if is_sent_captured {
            starts_with(sent.0, &sent.1);
        } else {
            assert_eq!(sent.0.captured, 0, "captured of what was sent");
        }
    }
    let sent = EXCHANGES as u64 * (REQUEST + RESPONSE);
    let holes = if is_sent_captured { 0 } else { sent };
    assert_eq!(observed.stats.stream.bytes_in_gaps, holes, "bytes in gaps");
}

/// Runs and checks calls whose buffers can be read.
fn plain(setup: &Setup, calls: &str) -> Outcome {
    let (observed, facts) = transfer(setup, calls)?;
    check(&observed, &facts, calls, REQUEST, RESPONSE);
    check_payload(&observed, true);
    Ok(())
}

fn write_and_read(setup: &Setup) -> Outcome {
    plain(setup, "write")
}

fn send_and_recv(setup: &Setup) -> Outcome {
    plain(setup, "send")
}

fn sendto_and_recvfrom(setup: &Setup) -> Outcome {
    plain(setup, "sendto")
}

fn writev_and_readv(setup: &Setup) -> Outcome {
    plain(setup, "writev")
}

fn sendmsg_and_recvmsg(setup: &Setup) -> Outcome {
    plain(setup, "sendmsg")
}

fn sendmmsg_and_recvmmsg(setup: &Setup) -> Outcome {
    plain(setup, "sendmmsg")
}

fn peeked_bytes_count_once(setup: &Setup) -> Outcome {
    plain(setup, "peek")
}

/// Bodies that never were in user space have the right size; where they are read, they are captured.
fn without_user_space(setup: &Setup, calls: &str) -> Outcome {
    let (observed, facts) = transfer(setup, calls)?;
    check(&observed, &facts, calls, REQUEST, RESPONSE);
    check_payload(&observed, false);
    Ok(())
}

fn sendfile(setup: &Setup) -> Outcome {
    without_user_space(setup, "sendfile")
}

fn splice(setup: &Setup) -> Outcome {
    without_user_space(setup, "splice")
}

fn partial_writes_and_eagain(setup: &Setup) -> Outcome {
    const LARGE: u64 = 4 << 20;
    let (observed, facts) = transfer(setup, "nonblocking")?;
    for kind in ["client_partials", "client_refusals", "server_partials", "server_refusals"] {
        assert!(facts.one::<u64>(kind) > 0, "the program met no {kind}");
    }
    check(&observed, &facts, "nonblocking", LARGE, LARGE);
    Ok(())
}

fn backend(observed: &Observed) -> Backend {
    observed.report.traffic.as_ref().expect("traffic was asked for").backend
}

/// What io_uring sends between other calls has its place and size with every backend. Only the
/// socket backend knows where its payload is.
fn io_uring_beside_other_calls(setup: &Setup) -> Outcome {
    let (observed, facts) = transfer(setup, "uring-body")?;
    check(&observed, &facts, "uring-body", REQUEST, RESPONSE);
    check_payload(&observed, backend(&observed) == Backend::Socket);
    Ok(())
}

/// A connection that io_uring alone uses. Trampolines and kprobes see how much it transfers, but not
/// what; what watches system calls sees nothing of it.
fn io_uring(setup: &Setup, calls: &str) -> Outcome {
    if setup.backend == Backend::SysExit {
        skip!("io_uring passes by the system calls that backend {} watches", setup.backend);
    }
    let records = if setup.backend == Backend::Socket { 2 * EXCHANGES } else { 0 };
    let (observed, facts) = transfer_until(setup, calls, records)?;
    match backend(&observed) {
        Backend::Socket => {
            check(&observed, &facts, calls, REQUEST, RESPONSE);
            check_payload(&observed, true);
        }
        Backend::Fentry | Backend::Kprobe => {
            check_total(&observed, calls, REQUEST, RESPONSE);
            let stream = &observed.stats.stream;
            assert_eq!(stream.bytes_in_gaps, stream.bytes_total, "bytes in gaps");
        }
        other => panic!("backend {other} was not asked for"),
    }
    Ok(())
}

fn io_uring_send_and_recv(setup: &Setup) -> Outcome {
    io_uring(setup, "uring-send")
}

fn io_uring_write_and_read(setup: &Setup) -> Outcome {
    io_uring(setup, "uring-write")
}

fn io_uring_sendmsg_and_recvmsg(setup: &Setup) -> Outcome {
    io_uring(setup, "uring-sendmsg")
}
