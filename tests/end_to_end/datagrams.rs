//! Datagrams, by a protocol of the user's own: each is one record, with its own peer.

use crate::observe::Observed;
use crate::programs::{Facts, ours};
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::free_port;
use pixie::id::{Direction, Transport};
use pixie::protocols::parser::{Context, Output, Parser, Protocol, Segment, Verdict};
use pixie::record::{Custom, Timing, Traffic, Value};
use pixie::time::MonotonicTime;
use pixie::{Backend, Record, RecordKind, Tracer};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

tests! {
    core: many_in_one_call, one_by_one_to_named_peers, on_connected_sockets, by_the_port_of_the_peer,
        a_timeout_ends_a_call;
}

const DATAGRAMS: usize = 40;
const CLIENTS: usize = 2;

/// What `datagrams` sends.
struct Numbered;

impl Protocol for Numbered {
    fn name(&self) -> &'static str {
        "numbered"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::Custom]
    }

    fn transport(&self, transport: Transport) -> bool {
        transport.is_datagram()
    }

    fn probe(&self, bytes: &[u8]) -> Verdict {
        if bytes.starts_with(b"client ") {
            Verdict::Yes
        } else if bytes.starts_with(b"re: client ") {
            Verdict::Reversed
        } else {
            Verdict::No
        }
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(NumberedParser { traffic: context.traffic, records: VecDeque::new() })
    }
}

/// Makes a record of each datagram.
struct NumberedParser {
    traffic: Traffic,
    records: VecDeque<Record>,
}

impl Parser for NumberedParser {
    fn feed(&mut self, segment: Segment<'_>) {
        let timing = Timing { request_start: Some(segment.time), ..Timing::default() };
        let mut record = Custom::new(self.traffic.clone().timed(None, timing), "numbered");
        let text = String::from_utf8_lossy(segment.bytes).into_owned();
        let peer = segment.peer.map(|peer| peer.to_string()).unwrap_or_default();
        record.request = vec![
            ("sent".into(), Value::Bool(segment.direction == Direction::Sent)),
            ("text".into(), Value::Text(text)),
            ("peer".into(), Value::Text(peer)),
        ];
        self.records.push_back(record.into());
    }

    fn gap(&mut self, _: Direction, _: MonotonicTime, _: u64) {}

    fn poll(&mut self) -> Option<Output> {
        self.records.pop_front().map(Output::Record)
    }

    fn finish(&mut self, _: Direction, _: MonotonicTime) {}

    fn memory(&self) -> usize {
        self.records.len() * size_of::<Record>()
    }
}

/// What is compared: pid, whether it was sent, its text, and its peer.
type Seen = (u32, bool, String, String);

fn seen(custom: &Custom) -> Seen {
    let field = |name| custom.request.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let (Some(Value::Bool(sent)), Some(Value::Text(text)), Some(Value::Text(peer))) =
        (field("sent"), field("text"), field("peer"))
    else {
        panic!("fields in {custom}");
    };
    (custom.traffic.process.pid.0, *sent, text.clone(), peer.clone())
}

/// What client number `client` sends as number `number`: see `compose` in `datagrams.c`.
fn text(client: usize, number: usize) -> String {
    let filling = (0..number * 10).map(|i| b'a' + ((client + i * 7 + i / 251) % 26) as u8);
    format!("client {client} datagram {number} ") + &String::from_utf8(filling.collect()).unwrap()
}

/// The program, which talks to this port.
fn program(scenario: &str, port: u16) -> Result<Command, Skip> {
    let mut program = ours("datagrams")?;
    program.args([scenario, &port.to_string()]);
    Ok(program)
}

/// How many datagrams a program sends and receives in its processes together.
const TRANSFERS: usize = 4 * CLIENTS * DATAGRAMS;

/// A tracer of these datagrams.
fn tracer(setup: &Setup) -> Tracer {
    setup.tracer().protocol(Numbered).only_protocol("numbered")
}

/// All datagrams that were seen, in order.
fn all(observed: &Observed) -> Vec<Seen> {
    let custom = |record: &Record| match record {
        Record::Custom(custom) => Some(seen(custom)),
        _ => None,
    };
    let mut all: Vec<Seen> = observed.records.iter().filter_map(custom).collect();
    all.sort();
    all
}

/// All datagrams that such a program sends and receives, in order.
fn wanted(facts: &Facts, port: u16) -> Vec<Seen> {
    let server_pid: u32 = facts.one("server");
    let server = format!("127.0.0.1:{port}");
    let mut wanted = Vec::with_capacity(TRANSFERS);
    let clients = facts.all::<u32>("client").into_iter().zip(facts.all::<u16>("port"));
    for (client, (pid, client_port)) in clients.enumerate() {
        let address = format!("127.0.0.1:{client_port}");
        for number in 0..DATAGRAMS {
            let text = text(client, number);
            let answer = format!("re: {text}");
            wanted.push((pid, true, text.clone(), server.clone()));
            wanted.push((server_pid, false, text, address.clone()));
            wanted.push((server_pid, true, answer.clone(), address.clone()));
            wanted.push((pid, false, answer, server.clone()));
        }
    }
    wanted.sort();
    wanted
}

fn check_all(observed: &Observed, facts: &Facts, port: u16) {
    let (all, wanted) = (all(observed), wanted(facts, port));
    assert_eq!(all.len(), wanted.len(), "datagrams");
    for (seen, wanted) in all.iter().zip(&wanted) {
        assert_eq!(seen, wanted);
    }
}

fn check(setup: &Setup, scenario: &str) -> Outcome {
    let port = free_port();
    let mut program = program(scenario, port)?;
    let (observed, facts) = setup.observe(tracer(setup), TRANSFERS, || Facts::of(&mut program));
    check_all(&observed, &facts?, port);
    Ok(())
}

fn many_in_one_call(setup: &Setup) -> Outcome {
    check(setup, "mmsg")
}

fn one_by_one_to_named_peers(setup: &Setup) -> Outcome {
    check(setup, "named")
}

fn on_connected_sockets(setup: &Setup) -> Outcome {
    check(setup, "connected")
}

/// The clients' sockets are not connected: that they talk to the port, only their datagrams tell.
fn by_the_port_of_the_peer(setup: &Setup) -> Outcome {
    let (port, other) = (free_port(), free_port());
    let mut programs = [program("named", other)?, program("named", port)?];
    let tracer = tracer(setup).port(port);
    let (observed, facts) = setup.observe(tracer, TRANSFERS, || {
        // No client of the other is given this port.
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        Facts::of(&mut programs[0])?;
        drop(held);
        Facts::of(&mut programs[1])
    });
    check_all(&observed, &facts?, port);
    Ok(())
}

/// A recvmmsg that its timeout has ended: where the next one puts its datagrams is not taken for
/// where this one would have gone on. Backends that see the single messages then capture nothing.
fn a_timeout_ends_a_call(setup: &Setup) -> Outcome {
    let port = free_port();
    let mut program = program("timeout", port)?;
    let expected = match setup.backend {
        Backend::Socket | Backend::Fentry => TRANSFERS / 2,
        _ => TRANSFERS,
    };
    let (observed, facts) = setup.observe(tracer(setup), expected, || Facts::of(&mut program));
    let (all, mut wanted) = (all(&observed), wanted(&facts?, port));
    if expected < TRANSFERS {
        wanted.retain(|(_, sent, ..)| *sent);
    }
    assert_eq!(all, wanted);
    Ok(())
}
