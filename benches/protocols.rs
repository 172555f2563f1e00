//! Every protocol on recorded traffic: what real programs said, fed to the parsers segment by segment,
//! records built and dropped.
//!
//! Each capture under `tests/fixtures` is a benchmark, found by itself. Bytes are those of payload;
//! elements are records. Detection is done beforehand, a parser for each connection is not.

#[path = "../tests/support/fixtures.rs"]
mod fixtures;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fixtures::{Conversation, Fixture, Step};
use pixie::id::Direction;
use pixie::protocols::detect::{Detection, Detector};
use pixie::protocols::parser::{Context, Next, Output, Parser, Protocol, Segment};
use pixie::protocols::registry::Registry;
use pixie::record::{Connection, Traffic};
use pixie::time::MonotonicTime;
use std::hint::black_box;
use std::sync::Arc;

/// A connection whose protocol is known.
struct Known {
    conversation: Conversation,
    protocol: Arc<dyn Protocol>,
    requests: Direction,
}

impl Known {
    fn new(registry: &Registry, conversation: Conversation) -> Option<Self> {
        let mut detector = Detector::new(conversation.transport);
        let found = conversation.steps.iter().find_map(|step| {
            match detector.offer(registry, segment(step)?) {
                Detection::Found { protocol, requests } => Some((protocol, requests)),
                _ => None,
            }
        });
        let (protocol, requests) = found?;
        Some(Self { conversation, protocol, requests })
    }

    fn bytes(&self) -> u64 {
        let segments = self.conversation.steps.iter().filter_map(segment);
        segments.map(|segment| segment.bytes.len() as u64).sum()
    }

    /// Parses all of it. Returns how many records that gave.
    fn parse(&self, registry: &Registry) -> u64 {
        let mut traffic = Traffic::default();
        traffic.connection =
            Connection::new(Default::default(), self.conversation.transport).into();
        let context = Context::new(traffic.clone(), Some(self.requests));
        let mut parser = self.protocol.parser(context);
        let mut records = 0;
        for step in &self.conversation.steps {
            match segment(step) {
                Some(segment) => parser.feed(black_box(segment)),
                None => {
                    if let Step::Gap { direction, time, length } = *step {
                        parser.gap(direction, time, length);
                    }
                }
            }
            if !drain(&mut parser, registry, &traffic, &mut records) {
                return records;
            }
        }
        for direction in [Direction::Sent, Direction::Received] {
            parser.finish(direction, MonotonicTime(u64::MAX));
            drain(&mut parser, registry, &traffic, &mut records);
        }
        records
    }
}

/// Takes what a parser has made. False when nothing parses what follows.
fn drain(
    parser: &mut Box<dyn Parser>,
    registry: &Registry,
    traffic: &Traffic,
    records: &mut u64,
) -> bool {
    while let Some(output) = parser.poll() {
        match output {
            Output::Record(record) => {
                drop(black_box(record));
                *records += 1;
            }
            Output::Switch(switch) => {
                let next = match switch.next {
                    Next::Protocol(name) => registry.get(name),
                    _ => None,
                };
                let Some(next) = next else { return false };
                let context = Context::new(traffic.clone(), None).with_begun(switch.begun);
                *parser = next.parser(context);
                for (direction, bytes) in
                    [Direction::Sent, Direction::Received].into_iter().zip(&switch.unread)
                {
                    let time = MonotonicTime(0);
                    parser.feed(Segment { direction, time, bytes, peer: None });
                }
            }
            _ => {}
        }
    }
    true
}

fn segment(step: &Step) -> Option<Segment<'_>> {
    match step {
        Step::Bytes { direction, time, bytes, peer } => {
            Some(Segment { direction: *direction, time: *time, bytes, peer: *peer })
        }
        Step::Gap { .. } => None,
    }
}

fn protocols(criterion: &mut Criterion) {
    let registry = Registry::new();
    for fixture in Fixture::all() {
        let known: Vec<Known> = fixture
            .conversations()
            .into_iter()
            .filter_map(|conversation| Known::new(&registry, conversation))
            .collect();
        let parse = || known.iter().map(|known| known.parse(&registry)).sum::<u64>();
        let elements = parse();
        let bytes = known.iter().map(Known::bytes).sum();
        if elements == 0 {
            continue;
        }
        let mut group = criterion.benchmark_group("protocols");
        group.throughput(Throughput::ElementsAndBytes { elements, bytes });
        group.bench_function(fixture.name(), |bencher| bencher.iter(parse));
        group.finish();
    }
}

criterion_group!(benches, protocols);
criterion_main!(benches);
