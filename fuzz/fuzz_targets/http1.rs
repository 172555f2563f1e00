//! HTTP/1: any bytes, in any pieces, with any gaps.
//!
//! The input is a script of lines: what its first byte says is done with the rest of the line.
//! `>` and `<` feed a request's or a response's bytes, `)` and `(` leave as many bytes out as the
//! line is long. `|` sets the length of the pieces.
//!
//! Checked is that nothing panics or holds more than it may; that pieces of one byte give the same
//! records as whole lines; that bytes are in records or reported, not both; and that a head which
//! httparse understands is understood, and is the same.
#![no_main]

mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_core::Record;
use pixie_core::id::Direction;
use pixie_core::record::{Headers, Http, Timing, Traffic};
use pixie_core::time::MonotonicTime;
use pixie_protocols::http1::Http1;
use pixie_protocols::parser::{Context, Limits, Output, Parser, Protocol, Segment};

const REQUESTS: Direction = Direction::Sent;
const RESPONSES: Direction = Direction::Received;

/// What one line of the script does.
enum Step {
    Feed(Direction, Vec<u8>),
    Gap(Direction, u64),
}

struct Talk {
    parser: Box<dyn Parser>,
    now: u64,
    records: Vec<Http>,
    skipped: u64,
    switched: bool,
    unread: u64,
}

impl Talk {
    fn new() -> Self {
        let context = Context::new(Traffic::default(), Some(REQUESTS));
        let parser = Http1.parser(context);
        Self { parser, now: 0, records: Vec::new(), skipped: 0, switched: false, unread: 0 }
    }

    fn run(&mut self, steps: &[Step], piece: usize) {
        for step in steps {
            if self.switched {
                return;
            }
            self.now += 1;
            let time = MonotonicTime(self.now);
            match step {
                Step::Feed(direction, bytes) => {
                    for bytes in bytes.chunks(piece.max(1)) {
                        let direction = *direction;
                        if self.switched {
                            self.unread += bytes.len() as u64;
                        } else {
                            self.parser.feed(Segment { direction, time, bytes, peer: None });
                            self.poll();
                        }
                    }
                }
                Step::Gap(direction, length) => {
                    self.parser.gap(*direction, time, *length);
                    self.poll();
                }
            }
            assert!(self.parser.memory() < 4 << 20);
        }
        for direction in [REQUESTS, RESPONSES] {
            self.parser.finish(direction, MonotonicTime(self.now));
            self.poll();
        }
    }

    fn poll(&mut self) {
        while let Some(output) = self.parser.poll() {
            match output {
                Output::Record(Record::Http(mut http)) => {
                    check(&http);
                    http.traffic.set_timing(None, Timing::default());
                    self.records.push(*http);
                }
                Output::Skipped { bytes, .. } => self.skipped += bytes,
                Output::Switch(switch) => {
                    assert!(!self.switched);
                    self.switched = true;
                    self.unread +=
                        switch.unread.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
                }
                output => unreachable!("{output:?}"),
            }
        }
    }

    fn accounted(&self) -> u64 {
        let bytes = |http: &Http| http.traffic.request_bytes + http.traffic.response_bytes;
        self.records.iter().map(bytes).sum::<u64>() + self.skipped + self.unread
    }
}

/// A record does not contradict itself.
fn check(http: &Http) {
    let Http { traffic, request, response, .. } = http;
    assert!(request.is_some() || response.is_some());
    assert!(traffic.time_to_first_byte <= traffic.latency || traffic.latency.is_none());
    let bodies = [request.as_ref().map(|r| &r.body), response.as_ref().map(|r| &r.body)];
    for body in bodies.into_iter().flatten() {
        assert!(body.captured <= body.size);
        assert!(body.bytes.len() <= Limits::default().body);
    }
}

/// The script, line by line.
fn script(input: &[u8]) -> (Vec<Step>, usize) {
    let mut piece = 1;
    let mut steps = Vec::new();
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        let Some((what, bytes)) = line.split_first() else { continue };
        let direction = if matches!(what, b'>' | b')') { REQUESTS } else { RESPONSES };
        match (what, steps.last_mut()) {
            (b'|', _) => piece = bytes.len(),
            (b'(' | b')', _) => steps.push(Step::Gap(direction, bytes.len() as u64)),
            (b'<' | b'>', Some(Step::Feed(same, fed))) if *same == direction => {
                fed.extend_from_slice(bytes);
            }
            (b'<' | b'>', _) => steps.push(Step::Feed(direction, bytes.to_vec())),
            _ => {}
        }
    }
    (steps, piece)
}

/// A head that httparse understands is understood, and is the same.
fn compare_with_httparse(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut theirs = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = theirs.parse(bytes) else { return };
    // On a connection that is known to speak HTTP any method is taken.
    let whole = [b"GET / HTTP/1.1\r\n\r\n", &bytes[..length]].concat();
    let mut talk = Talk::new();
    talk.run(&[Step::Feed(REQUESTS, whole)], usize::MAX);
    let ours = talk.records.get(1).and_then(|http| http.request.as_ref());
    let ours = ours.expect("httparse understands it");
    assert_eq!(ours.method, theirs.method.unwrap_or_default());
    assert_eq!(ours.path.as_bytes(), theirs.path.unwrap_or_default().as_bytes());
    same_fields(&ours.headers, theirs.headers);
}

fn same_fields(ours: &Headers, theirs: &[httparse::Header<'_>]) {
    assert_eq!(ours.len(), theirs.len());
    for ((name, value), their) in ours.iter().zip(theirs) {
        assert_eq!(name, their.name.as_bytes());
        assert_eq!(value, their.value);
    }
}

fuzz_target!(|input: &[u8]| {
    compare_with_httparse(input);
    let (steps, piece) = script(input);
    let mut whole = Talk::new();
    whole.run(&steps, usize::MAX);
    let mut pieces = Talk::new();
    pieces.run(&steps, piece);
    assert_eq!(whole.records, pieces.records);
    assert_eq!(whole.skipped, pieces.skipped);
    assert_eq!(whole.switched, pieces.switched);
    let length = |step: &Step| match step {
        Step::Feed(_, bytes) => bytes.len() as u64,
        Step::Gap(_, length) => *length,
    };
    assert!(whole.accounted() <= steps.iter().map(length).sum());
});
