//! What happens on a connection, as bytes that a fuzzer can change; and what must hold of any parser
//! whatever happens.
//!
//! ```text
//! length of the pieces (1 byte), then steps:
//!   0 | length (2 bytes, little endian) | bytes     a request's bytes; on UDP, one datagram
//!   1 | length | bytes                              a response's
//!   2 | length                                      bytes of requests that are not there
//!   3 | length                                      of responses
//! ```

use super::{REQUESTS, RESPONSES, Talk, context};
use pixie_core::Record;
use pixie_core::id::{Direction, Transport};
use pixie_protocols::parser::{Limits, Protocol};

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Feed(Direction, Vec<u8>),
    Gap(Direction, u64),
}

/// The steps and the length of the pieces that these bytes stand for. Any bytes stand for some.
pub fn decode(input: &[u8]) -> (Vec<Step>, usize) {
    let Some((piece, mut rest)) = input.split_first() else { return (Vec::new(), 1) };
    let mut steps = Vec::new();
    while let [what, low, high, following @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let direction = if what % 2 == 0 { REQUESTS } else { RESPONSES };
        rest = following;
        if what % 4 < 2 {
            let (bytes, following) = rest.split_at(length.min(rest.len()));
            steps.push(Step::Feed(direction, bytes.to_vec()));
            rest = following;
        } else {
            steps.push(Step::Gap(direction, length as u64));
        }
    }
    (steps, usize::from(*piece).max(1))
}

/// The bytes that stand for these steps. Longer runs of bytes than 65,535 become several.
pub fn encode(steps: &[Step], piece: u8) -> Vec<u8> {
    let mut output = vec![piece];
    let mut step = |what: u8, length: usize, bytes: &[u8]| {
        output.push(what);
        output.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        output.extend(bytes);
    };
    for what in steps {
        match what {
            Step::Feed(direction, bytes) => {
                for bytes in bytes.chunks(usize::from(u16::MAX)) {
                    step(u8::from(*direction == RESPONSES), bytes.len(), bytes);
                }
            }
            Step::Gap(direction, length) => {
                let length = usize::try_from(*length).unwrap_or(usize::MAX);
                step(2 + u8::from(*direction == RESPONSES), length, &[]);
            }
        }
    }
    output
}

/// The most memory that a parser may say it holds with the default limits, in bytes: twice what
/// they allow for what is buffered in both directions, and what waits for its counterpart.
pub const MEMORY: usize = 4 << 20;

/// Runs the steps on a connection over TCP, in pieces of this length.
pub fn run(protocol: &dyn Protocol, limits: Limits, steps: &[Step], piece: usize) -> Talk {
    let mut talk = Talk::limited(protocol, limits);
    for step in steps {
        match step {
            Step::Feed(direction, bytes) => talk.feed_in_pieces(*direction, bytes, &[piece]),
            Step::Gap(direction, length) => {
                talk.gap(*direction, *length);
            }
        }
        assert!(talk.memory() < MEMORY, "{} bytes are held", talk.memory());
    }
    talk.finish();
    talk
}

/// What must hold on a stream: the same records however the bytes are cut; no byte is both in a
/// record and reported as skipped; no more of anything than was fed.
pub fn check_stream(protocol: &dyn Protocol, limits: Limits, steps: &[Step], piece: usize) {
    let whole = run(protocol, limits, steps, usize::MAX);
    let pieces = run(protocol, limits, steps, piece);
    assert_eq!(whole.timeless(), pieces.timeless());
    assert_eq!(whole.bytes_skipped(), pieces.bytes_skipped());
    let unread = |talk: &Talk| talk.switch.as_ref().map(|switch| switch.unread.clone());
    assert_eq!(unread(&whole), unread(&pieces));
    let fed: u64 = steps.iter().map(length).sum();
    let unread: usize = unread(&whole).iter().flatten().map(Vec::len).sum();
    let accounted = whole.bytes_in_records() + whole.bytes_skipped() + unread as u64;
    assert!(accounted <= fed, "{accounted} bytes are accounted for, of {fed}");
    whole.records.iter().for_each(is_consistent);
}

/// What must hold of datagrams: bounded memory, and no more of anything than was fed.
pub fn check_datagrams(protocol: &dyn Protocol, limits: Limits, steps: &[Step]) {
    let mut talk = Talk::<Record>::with(protocol, context(Transport::Udp).with_limits(limits));
    for step in steps {
        match step {
            // A few peers, so that answers find their questions.
            Step::Feed(direction, bytes) => {
                let peer = ([127, 0, 0, 1], 53 + u16::from(bytes.first().unwrap_or(&0) & 1));
                talk.datagram(*direction, peer.into(), bytes);
            }
            Step::Gap(direction, length) => {
                talk.gap(*direction, *length);
            }
        }
        assert!(talk.memory() < MEMORY, "{} bytes are held", talk.memory());
    }
    talk.finish();
    let fed: u64 = steps.iter().map(length).sum();
    assert!(talk.bytes_in_records() + talk.bytes_skipped() <= fed);
    talk.records.iter().for_each(is_consistent);
}

/// All of this for whatever these bytes stand for.
pub fn check(protocol: &dyn Protocol, input: &[u8]) {
    let (steps, piece) = decode(input);
    if protocol.transport(Transport::Tcp) {
        check_stream(protocol, Limits::default(), &steps, piece);
    }
    if protocol.transport(Transport::Udp) {
        check_datagrams(protocol, Limits::default(), &steps);
    }
    let mut bytes = input;
    for step in &steps {
        if let Step::Feed(_, fed) = step {
            bytes = fed;
            break;
        }
    }
    let _ = protocol.probe(bytes);
}

fn length(step: &Step) -> u64 {
    match step {
        Step::Feed(_, bytes) => bytes.len() as u64,
        Step::Gap(_, length) => *length,
    }
}

/// A record does not contradict itself, and can be shown.
fn is_consistent(record: &Record) {
    let traffic = record.traffic().expect("parsers emit traffic");
    assert!(traffic.time_to_first_byte <= traffic.latency || traffic.latency.is_none());
    assert!(!record.to_string().is_empty());
    let _ = record.is_error();
}
