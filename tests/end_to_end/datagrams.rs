//! Datagrams, by a protocol of the user's own: each is one record, with its own peer.

use crate::programs::{Facts, ours};
use crate::runner::{Outcome, Setup, tests};
use crate::servers::free_port;
use pixie::id::{Direction, Transport};
use pixie::protocols::parser::{Context, Output, Parser, Protocol, Segment, Verdict};
use pixie::record::{Custom, Timing, Traffic, Value};
use pixie::time::MonotonicTime;
use pixie::{Record, RecordKind};
use std::collections::VecDeque;

tests! {
    core: many_in_one_call, one_by_one_to_named_peers, on_connected_sockets;
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

fn check(setup: &Setup, scenario: &str) -> Outcome {
    let port = free_port();
    let mut program = ours("datagrams")?;
    program.args([scenario, &port.to_string()]);
    // Not by port: a socket without a peer of its own has but the port at its own end.
    let tracer = setup.tracer().protocol(Numbered).only_protocol("numbered");
    let expected = 4 * CLIENTS * DATAGRAMS;
    let (observed, facts) = setup.observe(tracer, expected, || Facts::of(&mut program));
    let facts = facts?;
    let mut all: Vec<Seen> = observed
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Custom(custom) => Some(seen(custom)),
            _ => None,
        })
        .collect();

    let server_pid: u32 = facts.one("server");
    let server = format!("127.0.0.1:{port}");
    let mut wanted = Vec::with_capacity(expected);
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
    all.sort();
    wanted.sort();
    assert_eq!(all.len(), wanted.len(), "datagrams");
    for (seen, wanted) in all.iter().zip(&wanted) {
        assert_eq!(seen, wanted);
    }
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
