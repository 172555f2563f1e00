//! The recorded traffic under `tests/fixtures`, connection by connection.
#![allow(dead_code, unreachable_pub, missing_docs)] // Each of those who include it uses a part.
#![allow(clippy::panic)] // A fixture that cannot be read fails the test.

use pixie::event::{Data, Event, EventSource as _};
use pixie::id::{ConnectionId, Direction, Transport};
use pixie::protocols::stream::{Arrival, Piece, Stream, StreamLimits};
use pixie::time::MonotonicTime;
use pixie_capture_file::CaptureFile;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A packet capture, and the folder that it lies in: the name of its protocol.
#[derive(Clone, Debug)]
pub struct Fixture {
    pub folder: String,
    pub path: PathBuf,
}

/// What was said on a connection, in order. What the client sends is [`Direction::Sent`].
#[derive(Clone, Debug)]
pub struct Conversation {
    pub transport: Transport,
    pub steps: Vec<Step>,
}

/// What happened next.
#[derive(Clone, Debug)]
pub enum Step {
    Bytes { direction: Direction, time: MonotonicTime, bytes: Vec<u8>, peer: Option<SocketAddr> },
    Gap { direction: Direction, time: MonotonicTime, length: u64 },
}

impl Fixture {
    /// All there are, in the order of their names.
    pub fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let mut fixtures = Vec::new();
        for folder in files(&root) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let captures = files(&folder).into_iter();
            let is_capture = |path: &PathBuf| {
                path.extension()
                    .is_some_and(|extension| extension == "pcap" || extension == "pcapng")
            };
            let fixture = |path| Self { folder: name.clone(), path };
            fixtures.extend(captures.filter(is_capture).map(fixture));
        }
        fixtures
    }

    /// Its folder and name.
    pub fn name(&self) -> String {
        format!("{}/{}", self.folder, self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    /// What was said on its connections.
    pub fn conversations(&self) -> Vec<Conversation> {
        let mut capture = CaptureFile::open(&self.path).unwrap_or_else(|error| panic!("{error}"));
        let mut recorded = BTreeMap::new();
        capture.poll(true, &mut |event| take(&mut recorded, event));
        assert!(capture.error().is_none(), "{}: {:?}", self.path.display(), capture.error());
        recorded.into_values().map(|recorded| recorded.conversation).collect()
    }
}

/// A connection, as it is put in order.
struct Recorded {
    conversation: Conversation,
    streams: [Stream; 2],
}

fn take(recorded: &mut BTreeMap<ConnectionId, Recorded>, event: Event<'_>) {
    match event {
        Event::Open(open) => {
            let limits = StreamLimits::default().with_held_for(Duration::MAX);
            let conversation = Conversation { transport: open.transport, steps: Vec::new() };
            let streams = [Stream::new(limits), Stream::new(limits)];
            recorded.insert(open.connection, Recorded { conversation, streams });
        }
        Event::Data(data) if !data.end => {
            if let Some(recorded) = recorded.get_mut(&data.connection) {
                recorded.data(&data);
            }
        }
        _ => {}
    }
}

impl Recorded {
    fn data(&mut self, data: &Data<'_>) {
        let Self { conversation: Conversation { transport, steps }, streams } = self;
        let Data { direction, time, position, length, captured, hole, peer, .. } = *data;
        if transport.is_datagram() {
            let missing = u64::from(length) - captured.len() as u64;
            steps.push(Step::Bytes { direction, time, bytes: captured.to_vec(), peer });
            if missing > 0 {
                steps.push(Step::Gap { direction, time, length: missing });
            }
            return;
        }
        let arrival = Arrival { position, time, length, captured, hole };
        streams[direction.index()].push(arrival, &mut |piece| {
            steps.push(match piece {
                Piece::Bytes { time, bytes } => {
                    Step::Bytes { direction, time, bytes: bytes.to_vec(), peer: None }
                }
                Piece::Gap { time, length, .. } => Step::Gap { direction, time, length },
            });
        });
    }
}

impl Conversation {
    /// What was said in a direction, by segment, up to the first gap.
    pub fn segments(&self, wanted: Direction) -> Vec<&[u8]> {
        let mut segments = Vec::new();
        for step in &self.steps {
            match step {
                Step::Bytes { direction, bytes, .. } if *direction == wanted => {
                    segments.push(&**bytes);
                }
                Step::Gap { direction, .. } if *direction == wanted => break,
                _ => {}
            }
        }
        segments
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
