//! No protocol is taken for another: every one is shown all recorded traffic, and what other protocols
//! say, and says yes to its own alone.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "../crates/pixie-protocols/tests/support/samples.rs"]
mod samples;

use fixtures::{Conversation, Fixture, Step};
use pixie::id::{Direction, Transport};
use pixie::protocols::detect::{Detection, Detector};
use pixie::protocols::parser::{PROBE_LIMIT, Segment, Verdict};
use pixie::protocols::registry::Registry;
use samples::SAMPLES;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What a fixture may be found to be.
struct Expected {
    /// From the start of a connection.
    first: &'static str,
    /// When joined midway, too: what it may change to, or be told as.
    later: &'static [&'static str],
}

/// Folders that are not named as their protocol is, and those where more than one is spoken.
const EXCEPTIONS: &[(&str, Expected)] = &[
    ("replay/", Expected { first: "http1", later: &[] }),
    ("grpc/", Expected { first: "http2", later: &[] }),
    ("http2/upgrade", Expected { first: "http1", later: &["http2"] }),
    ("websocket/", Expected { first: "http1", later: &["websocket"] }),
    ("proxy_protocol/", Expected { first: "proxy_protocol", later: &["http1"] }),
    ("postgres/", Expected { first: "postgres", later: &["tls"] }),
    ("websocket", Expected { first: "http1", later: &[] }),
    ("proxy_protocol", Expected { first: "proxy_protocol", later: &["http1"] }),
];

/// Recordings of no protocol that is parsed.
const UNKNOWN: &[&str] = &["replay/fragments.pcapng"];

/// Recordings that do not always tell which way requests go: of what is encrypted nothing shows it,
/// and in multicast DNS everybody both asks and answers.
const EITHER_WAY: &[&str] = &["dns/multicast.pcapng", "tls/handshakes.pcapng"];

impl Expected {
    fn of(fixture: &Fixture, registry: &Registry) -> Option<Self> {
        let name = fixture.name();
        if UNKNOWN.contains(&name.as_str()) {
            return None;
        }
        for (folder, Expected { first, later }) in EXCEPTIONS {
            if name.starts_with(folder) {
                return Some(Self { first, later });
            }
        }
        let Some(protocol) = registry.get(&fixture.folder) else {
            panic!("{name}: its folder is not the name of a protocol: add it to EXCEPTIONS");
        };
        Some(Self { first: protocol.name(), later: &[] })
    }

    fn allows(this: &Option<Self>, name: &str) -> bool {
        this.as_ref().is_some_and(|this| this.first == name || this.later.contains(&name))
    }
}

/// Which protocol was said to be which, how often, and where first.
#[derive(Default)]
struct Matrix {
    counts: BTreeMap<(String, &'static str), u64>,
    wrong: Vec<String>,
}

impl Matrix {
    fn count(&mut self, what: &str, said: &'static str) {
        *self.counts.entry((what.to_owned(), said)).or_default() += 1;
    }

    fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    fn assert(&self) {
        assert!(self.wrong.is_empty(), "{self}");
    }
}

impl std::fmt::Display for Matrix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 30;
        let said: BTreeSet<_> = self.counts.keys().map(|(_, said)| *said).collect();
        let what: BTreeSet<_> = self.counts.keys().map(|(what, _)| what).collect();
        write!(formatter, "\n{:<32}", "what was said to be what")?;
        said.iter().try_for_each(|said| write!(formatter, "{said:>12}"))?;
        for what in what {
            write!(formatter, "\n{what:<32}")?;
            for said in &said {
                let count = self.counts.get(&(what.clone(), said)).copied().unwrap_or_default();
                write!(formatter, "{count:>12}")?;
            }
        }
        writeln!(formatter, "\n{} wrong verdicts:", self.wrong.len())?;
        self.wrong.iter().take(SHOWN).try_for_each(|wrong| writeln!(formatter, "  {wrong}"))
    }
}

/// Asks every protocol about these bytes. Returns those that are sure.
fn sure(registry: &Registry, transport: Transport, bytes: &[u8]) -> Vec<(&'static str, Verdict)> {
    let sure = registry.candidates(transport).filter_map(|protocol| {
        let verdict = protocol.probe(bytes);
        matches!(verdict, Verdict::Yes | Verdict::Reversed).then_some((protocol.name(), verdict))
    });
    sure.collect()
}

fn excerpt(bytes: &[u8]) -> String {
    format!("{} bytes: {}", bytes.len(), bytes[..bytes.len().min(48)].escape_ascii())
}

/// What a direction says, from each of its segments on; as much as a probe is shown.
fn joined(segments: &[&[u8]]) -> Vec<Vec<u8>> {
    let from = |start: usize| {
        let bytes = segments[start..].iter().flat_map(|segment| segment.iter().copied());
        bytes.take(PROBE_LIMIT).collect()
    };
    (0..segments.len()).map(from).collect()
}

#[test]
fn probes_say_yes_to_their_own_alone() {
    let registry = Registry::new();
    let mut matrix = Matrix::default();
    for fixture in Fixture::all() {
        let expected = Expected::of(&fixture, &registry);
        for conversation in fixture.conversations() {
            for direction in [Direction::Sent, Direction::Received] {
                probe(&registry, &fixture, &expected, &conversation, direction, &mut matrix);
            }
        }
    }
    assert!(!matrix.counts.is_empty(), "there are fixtures");
    matrix.assert();
}

/// Shows all probes what is said in one direction, from every segment on, in whole and as it begins.
fn probe(
    registry: &Registry,
    fixture: &Fixture,
    expected: &Option<Expected>,
    conversation: &Conversation,
    direction: Direction,
    matrix: &mut Matrix,
) {
    let transport = conversation.transport;
    let segments = conversation.segments(direction);
    let texts = match transport.is_datagram() {
        true => segments.iter().map(|segment| segment.to_vec()).collect(),
        false => joined(&segments),
    };
    let name = fixture.name();
    for (place, bytes) in texts.iter().enumerate() {
        let lengths = (1..bytes.len().min(64)).chain([bytes.len()]);
        for length in lengths.filter(|length| !transport.is_datagram() || *length == bytes.len()) {
            let shown = &bytes[..length];
            let sure = sure(registry, transport, shown);
            for (protocol, verdict) in &sure {
                matrix.count(&name, protocol);
                let requests = match verdict {
                    Verdict::Yes => direction,
                    _ => direction.reverse(),
                };
                let is_way = requests == Direction::Sent || EITHER_WAY.contains(&&*name);
                if !Expected::allows(expected, protocol) || !is_way {
                    matrix.wrong(format!(
                        "{name}: {protocol} says {verdict:?} to segment {place} of what was \
                         {direction:?}, {}",
                        excerpt(shown)
                    ));
                }
            }
            if sure.len() > 1 {
                matrix.wrong(format!("{name}: {sure:?} overlap on {}", excerpt(shown)));
            }
        }
    }
}

/// What detection makes of a conversation that is joined at this step.
fn detect(
    registry: &Registry,
    conversation: &Conversation,
    start: usize,
) -> Option<(&'static str, Direction)> {
    let mut detector = Detector::new(conversation.transport);
    for step in &conversation.steps[start..] {
        match step {
            Step::Gap { direction, .. } => drop(detector.gap(*direction)),
            Step::Bytes { direction, time, bytes, peer } => {
                let (direction, time, peer) = (*direction, *time, *peer);
                let segment = Segment { direction, time, bytes, peer };
                if let Detection::Found { protocol, requests } = detector.offer(registry, segment) {
                    // The names are those of the registry, which outlive it.
                    return Some((protocol.name(), requests));
                }
            }
        }
    }
    None
}

#[test]
fn detection_finds_what_is_spoken_wherever_it_is_joined() {
    let registry = Registry::new();
    let mut matrix = Matrix::default();
    for fixture in Fixture::all() {
        let expected = Expected::of(&fixture, &registry);
        let name = fixture.name();
        for (number, conversation) in fixture.conversations().iter().enumerate() {
            for start in 0..conversation.steps.len() {
                let found = detect(&registry, conversation, start);
                matrix.count(&name, found.map_or("nothing", |(protocol, _)| protocol));
                let right = match (found, &expected) {
                    (Some((protocol, Direction::Sent)), _) => Expected::allows(&expected, protocol),
                    (Some((protocol, Direction::Received)), _) => {
                        EITHER_WAY.contains(&&*name) && Expected::allows(&expected, protocol)
                    }
                    (None, _) => true,
                };
                let at_first = start > 0
                    || found.map(|(protocol, _)| protocol)
                        == expected.as_ref().map(|expected| expected.first);
                if !right || !at_first {
                    matrix.wrong(format!(
                        "{name}: joined at step {start} of conversation {number}: {found:?}"
                    ));
                }
            }
        }
    }
    matrix.assert();
}

#[test]
fn what_others_say_is_nobodys() {
    let registry = Registry::new();
    let mut matrix = Matrix::default();
    for sample in SAMPLES {
        for transport in [Transport::Tcp, Transport::Udp] {
            for length in 0..=sample.bytes.len() {
                let shown = &sample.bytes[..length];
                let sure = sure(&registry, transport, shown);
                for (protocol, verdict) in &sure {
                    matrix.count(sample.name, protocol);
                    if sample.protocol != Some(protocol) {
                        matrix.wrong(format!(
                            "{}: {protocol} says {verdict:?} to {}",
                            sample.name,
                            excerpt(shown)
                        ));
                    }
                }
                if sure.len() > 1 {
                    matrix.wrong(format!("{}: {sure:?} overlap", sample.name));
                }
            }
        }
    }
    matrix.assert();
}

/// A probe that never gives up keeps bytes that others might know.
#[test]
fn probes_come_to_a_verdict() {
    let registry = Registry::new();
    let mut late = String::new();
    for sample in SAMPLES {
        // More of the same, up to what a probe is shown.
        let mut bytes = sample.bytes.to_vec();
        while bytes.len() < PROBE_LIMIT {
            bytes.extend(sample.bytes);
        }
        for protocol in registry.iter().filter(|known| sample.protocol != Some(known.name())) {
            if protocol.probe(&bytes[..PROBE_LIMIT]) == Verdict::NeedMore {
                writeln!(late, "{}: {} needs more", sample.name, protocol.name()).unwrap();
            }
        }
    }
    assert_eq!(late, "");
}

#[test]
fn random_bytes_are_nobodys() {
    let registry = Registry::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut matrix = Matrix::default();
    for round in 0..20_000 {
        let mut bytes = [0; 64];
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        for transport in [Transport::Tcp, Transport::Udp] {
            for (protocol, verdict) in sure(&registry, transport, &bytes) {
                matrix.count("random bytes", protocol);
                matrix.wrong(format!("{protocol} says {verdict:?} in round {round}"));
            }
        }
    }
    matrix.assert();
}
