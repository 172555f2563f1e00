//! Connections that change their protocol, and processes that leave in the middle.

use crate::clients::python;
use crate::expect::{HttpExt, header};
use crate::observe::Observed;
use crate::process;
use crate::programs::{Facts, ours};
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::{free_port, node};
use pixie::id::{Pid, Role};

tests! {
    core: a_server_leaves_without_an_answer, a_server_leaves_in_its_answer,
        a_client_does_not_wait, a_client_is_killed_in_its_request;
    once: a_connection_becomes_a_web_socket;
}

fn leave(setup: &Setup, scenario: &str, records: usize) -> Result<(Observed, Facts), Skip> {
    let port = free_port();
    let mut program = ours("leave")?;
    program.args([scenario, &port.to_string()]);
    let tracer = setup.tracer_of(port);
    let (observed, facts) = setup.observe(tracer, records, || Facts::of(&mut program));
    assert_eq!(observed.http().count(), records, "records");
    Ok((observed, facts?))
}

fn a_server_leaves_without_an_answer(setup: &Setup) -> Outcome {
    let (observed, facts) = leave(setup, "server", 2)?;
    for (role, name) in [(Role::Client, "client"), (Role::Server, "server")] {
        let http = observed.one(role, "/leave");
        assert_eq!(http.traffic.process.pid, Pid(facts.one(name)));
        assert_eq!(http.response, None, "response in the {role}");
        assert_eq!(http.traffic.latency, None, "latency in the {role}");
    }
    Ok(())
}

fn a_server_leaves_in_its_answer(setup: &Setup) -> Outcome {
    let (observed, facts) = leave(setup, "body", 2)?;
    for (role, name) in [(Role::Client, "client"), (Role::Server, "server")] {
        let http = observed.one(role, "/leave");
        assert_eq!(http.traffic.process.pid, Pid(facts.one(name)));
        let body = &http.answered().body;
        assert_eq!((http.answered().status, body.size), (200, 100), "response in the {role}");
        assert!(!body.complete, "100 of 1,000 bytes are not all of it");
    }
    Ok(())
}

fn a_client_does_not_wait(setup: &Setup) -> Outcome {
    let (observed, facts) = leave(setup, "client", 2)?;
    let client = observed.one(Role::Client, "/leave");
    assert_eq!(client.traffic.process.pid, Pid(facts.one("client")));
    assert_eq!(client.response, None);
    let server = observed.one(Role::Server, "/leave");
    assert_eq!(server.traffic.process.pid, Pid(facts.one("server")));
    assert_eq!(server.answered().status, 200);
    Ok(())
}

/// Half a head is no request: nothing is made up.
fn a_client_is_killed_in_its_request(setup: &Setup) -> Outcome {
    let (observed, _) = leave(setup, "killed", 0)?;
    assert_eq!(observed.stats.stream.bytes_total, 2 * 29, "bytes on both sides");
    Ok(())
}

/// A handshake (RFC 6455), and then frames whose contents look like HTTP.
const WEB_SOCKET_CLIENT: &str = r#"
import os, socket, struct, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"GET /socket HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
def read(n):
    got = b""
    while len(got) < n:
        got += s.recv(n - len(got)) or sys.exit("the server closed")
    return got
head = b""
while not head.endswith(b"\r\n\r\n"):
    head += read(1)
assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
text = b"GET /not-a-request HTTP/1.1\r\nHost: nowhere\r\n\r\n"
for mask in [bytes(4), os.urandom(4)] * 20:
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
    frame = b"\x81" + bytes([0x80 | len(text)]) + mask + masked
    s.sendall(frame)
    assert read(len(frame)) == frame
# Bytes that are a request by themselves, right at the start of a transfer.
s.sendall(text)
assert read(len(text)) == text
"#;

fn a_connection_becomes_a_web_socket(setup: &Setup) -> Outcome {
    let server = node(setup)?;
    let mut client = python(WEB_SOCKET_CLIENT, &[&server.port.to_string()])?;
    let tracer = setup.tracer_of(server.port);
    let (observed, (pid, _)) = setup.observe(tracer, 2, || process::run(&mut client));
    assert_eq!(observed.http().count(), 2, "records");
    let pair = observed.pair("/socket");
    pair.between(pid, server.pid()).request("GET", 0).response(101, 0);
    for side in [pair.client, pair.server] {
        assert_eq!(header(&side.answered().headers, "upgrade"), "websocket");
    }
    Ok(())
}
