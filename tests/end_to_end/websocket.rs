//! WebSockets: the servers of Python and Node, and Python's client.

use crate::observe::Observed;
use crate::process;
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::{Server, free_port};
use pixie::Record;
use pixie::id::Role;
use pixie::record::{BodyDecoding, WebSocket, WebSocketOpcode};
use std::process::Command;

tests! {
    core: python_and_python;
    once: compressed_messages, node_and_python, a_close_with_an_error;
}

/// Answers every message with the same, and `fail` with a close.
const PYTHON_SERVER: &str = r#"
import asyncio, sys, websockets
async def serve(peer):
    try:
        async for message in peer:
            if message == "fail":
                await peer.close(1011, "out of order")
            await peer.send(message)
    except websockets.ConnectionClosed:
        pass
async def main():
    compression = sys.argv[2] if sys.argv[2] != "none" else None
    async with websockets.serve(serve, "127.0.0.1", int(sys.argv[1]), ping_interval=None,
                                max_size=None, compression=compression, subprotocols=["echo"]):
        await asyncio.Future()
asyncio.run(main())
"#;

const NODE_SERVER: &str = r#"
const { WebSocketServer } = require("ws");
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[1]) });
server.on("connection", peer =>
    peer.on("message", (data, isBinary) => peer.send(data, { binary: isBinary })));
"#;

/// Sends messages of these sizes and waits for each answer; then one in three fragments, and a ping.
const CLIENT: &str = r#"
import asyncio, sys, websockets
async def main():
    port, compression, *sizes = sys.argv[1:]
    compression = compression if compression != "none" else None
    url = f"ws://127.0.0.1:{port}/echo?x=1"
    async with websockets.connect(url, ping_interval=None, max_size=None, compression=compression,
                                  subprotocols=["echo"]) as server:
        for number, size in enumerate(sizes):
            if size == "fail":
                await server.send("fail")
                await server.wait_closed()
                return
            message = "x" * int(size) if number % 2 == 0 else b"y" * int(size)
            await server.send(message)
            assert await server.recv() == message
        await server.send(iter(["one ", "two ", "three"]))
        assert await server.recv() == "one two three"
        await (await server.ping(b"are you there"))
asyncio.run(main())
"#;

const SIZES: [u64; 8] = [0, 1, 125, 126, 5000, 65_535, 65_536, 1_000_000];

/// Python with the library of that name.
fn python(script: &str, arguments: &[&str]) -> Result<Command, Skip> {
    let mut check = command("python3")?;
    if !process::output(check.args(["-c", "import websockets"])).status.success() {
        skip!("Python's websockets is not installed (python3-websockets)");
    }
    crate::clients::python(script, arguments)
}

fn python_server(setup: &Setup, compression: &str) -> Result<Server, Skip> {
    let (folder, port) = (Server::prepare(), free_port());
    let program = python(PYTHON_SERVER, &[&port.to_string(), compression])?;
    Ok(Server::start(setup, folder, port, program))
}

impl Observed {
    /// The messages that this end sent, as they were seen where the traced process had this role.
    fn messages(&self, sender: Role, seen_by: Role) -> Vec<&WebSocket> {
        let all = self.records.iter().filter_map(|record| match record {
            Record::WebSocket(message) => Some(&**message),
            _ => None,
        });
        all.filter(|message| message.sender == sender)
            .filter(|message| message.traffic.role == Some(seen_by))
            .collect()
    }
}

/// Opcode, size, and whether it is whole.
type Seen = (WebSocketOpcode, u64, bool);

fn seen(message: &&WebSocket) -> Seen {
    (message.opcode, message.body.size, message.body.complete)
}

/// What an end sends that sends messages of all sizes.
fn said(control: WebSocketOpcode) -> Vec<Seen> {
    let mut said: Vec<Seen> = Vec::new();
    for (number, size) in SIZES.into_iter().enumerate() {
        let opcode = if number % 2 == 0 { WebSocketOpcode::Text } else { WebSocketOpcode::Binary };
        said.push((opcode, size, true));
    }
    said.push((WebSocketOpcode::Text, "one two three".len() as u64, true));
    said.push((control, "are you there".len() as u64, true));
    said.push((WebSocketOpcode::Close, 2, true));
    said
}

fn observe(setup: &Setup, server: &Server, compression: &str) -> Result<Observed, Skip> {
    let sizes = SIZES.map(|size| size.to_string());
    let port = server.port.to_string();
    let arguments: Vec<&str> =
        [&port[..], compression].into_iter().chain(sizes.iter().map(String::as_str)).collect();
    let mut client = python(CLIENT, &arguments)?;
    // The upgrade and the messages of both ends, at both ends.
    let expected = 2 * (1 + 2 * (SIZES.len() + 3));
    let tracer = setup.tracer_of(server.port);
    let (observed, (pid, _)) = setup.observe(tracer, expected, || process::run(&mut client));
    for (seen_by, pid) in [(Role::Client, pid), (Role::Server, server.pid())] {
        for sender in [Role::Client, Role::Server] {
            for message in observed.messages(sender, seen_by) {
                assert_eq!(message.traffic.process.pid.0, pid, "{message}");
                assert_eq!(message.path.as_ref().unwrap().to_string(), "/echo?x=1");
                assert_eq!(message.masked, sender == Role::Client, "{message}");
                assert!(!message.is_error(), "{message}");
            }
        }
    }
    assert_eq!(observed.stats.parser.malformed, 0);
    Ok(observed)
}

fn uncompressed(setup: &Setup, server: &Server, subprotocol: Option<&str>) -> Outcome {
    let observed = observe(setup, server, "none")?;
    for seen_by in [Role::Client, Role::Server] {
        for (sender, control) in
            [(Role::Client, WebSocketOpcode::Ping), (Role::Server, WebSocketOpcode::Pong)]
        {
            let messages = observed.messages(sender, seen_by);
            let all: Vec<Seen> = messages.iter().map(seen).collect();
            assert_eq!(all, said(control), "sent by the {sender}, seen by the {seen_by}");
            for (number, message) in messages.iter().take(SIZES.len()).enumerate() {
                let byte = if number % 2 == 0 { b'x' } else { b'y' };
                assert!(message.body.bytes.iter().all(|unmasked| *unmasked == byte));
                assert!(!message.compressed);
                let name = message.subprotocol.as_ref().map(ToString::to_string);
                assert_eq!(name.as_deref(), subprotocol);
            }
            let fragments = messages[SIZES.len()].fragments;
            assert_eq!(fragments > 1, sender == Role::Client, "{fragments} fragments");
            assert_eq!(messages.last().unwrap().close_code, Some(1000));
        }
        let bytes = |sender| -> u64 {
            let of_end = observed.messages(sender, seen_by).into_iter();
            of_end.map(|it| it.traffic.request_bytes + it.traffic.response_bytes).sum()
        };
        let http = observed.http().find(|http| http.traffic.role == Some(seen_by)).unwrap();
        let upgrade = http.traffic.request_bytes + http.traffic.response_bytes;
        let all = upgrade + bytes(Role::Client) + bytes(Role::Server);
        assert_eq!(observed.stats.stream.bytes_total, 2 * all, "every byte is in a record");
    }
    Ok(())
}

fn python_and_python(setup: &Setup) -> Outcome {
    uncompressed(setup, &python_server(setup, "none")?, Some("echo"))
}

/// Node with Debian's libraries, wherever it comes from itself.
fn node(script: &str) -> Result<Command, Skip> {
    let mut node = command("node")?;
    node.env("NODE_PATH", "/usr/share/nodejs").args(["-e", script]);
    Ok(node)
}

fn node_and_python(setup: &Setup) -> Outcome {
    if !process::output(&mut node("require('ws')")?).status.success() {
        skip!("Node's ws is not installed (node-ws)");
    }
    let (folder, port) = (Server::prepare(), free_port());
    let mut program = node(NODE_SERVER)?;
    program.arg(port.to_string());
    uncompressed(setup, &Server::start(setup, folder, port, program), Some("echo"))
}

fn compressed_messages(setup: &Setup) -> Outcome {
    let observed = observe(setup, &python_server(setup, "deflate")?, "deflate")?;
    for seen_by in [Role::Client, Role::Server] {
        for sender in [Role::Client, Role::Server] {
            let messages = observed.messages(sender, seen_by);
            assert_eq!(messages.len(), SIZES.len() + 3);
            let of_data = |message: &&&WebSocket| {
                matches!(message.opcode, WebSocketOpcode::Text | WebSocketOpcode::Binary)
            };
            let data: Vec<_> = messages.iter().filter(of_data).collect();
            assert!(data.iter().all(|message| message.compressed && message.body.complete));
            // A million of the same bytes.
            assert!(data[SIZES.len() - 1].body.size < 10_000);
            // What the first one decodes to is nothing; the others depend on those before them.
            assert_eq!(data[0].body.decoding, BodyDecoding::Decoded);
            assert!(data[0].body.bytes.is_empty());
            assert_eq!(data[1].body.decoding, BodyDecoding::None);
        }
    }
    Ok(())
}

fn a_close_with_an_error(setup: &Setup) -> Outcome {
    let server = python_server(setup, "none")?;
    let mut client = python(CLIENT, &[&server.port.to_string(), "none", "fail"])?;
    let tracer = setup.tracer_of(server.port);
    let (observed, _) = setup.observe(tracer, 8, || process::run(&mut client));
    for seen_by in [Role::Client, Role::Server] {
        let messages = observed.messages(Role::Server, seen_by);
        let [close] = &messages[..] else { panic!("{messages:?}") };
        assert!(close.is_error());
        assert_eq!(
            (close.close_code, &close.close_reason.to_string()[..]),
            (Some(1011), "out of order")
        );
        assert_eq!(observed.messages(Role::Client, seen_by).len(), 2, "a message and a close");
    }
    Ok(())
}
