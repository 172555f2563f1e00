//! Packet captures as a source of events: the traffic in a pcap or pcapng file, told in the same
//! form as live traffic, so that the same code parses both. Needs no privileges. And the other way
//! round: a [`Recorder`] writes live events as a capture.
//!
//! ```no_run
//! use pixie_capture_file::CaptureFile;
//! use pixie_probes::event::EventSource as _;
//!
//! let mut capture = CaptureFile::open("traffic.pcapng".as_ref())?;
//! while capture.poll(false, &mut |event| drop(event)) > 0 {}
//! capture.poll(true, &mut |event| drop(event));
//! println!("{}", capture.summary());
//! # Ok::<(), pixie_capture_file::CaptureFileError>(())
//! ```
//!
//! What is read: pcap (microseconds and nanoseconds) and pcapng (several sections and interfaces,
//! any resolution of time), in either byte order; Ethernet with VLAN tags, Linux cooked captures
//! (both versions), BSD loopback and raw IP; IPv4 and IPv6 with fragments and extension headers;
//! TCP and UDP. Everything else is counted, in [`Summary`].
//!
//! # Whose side a capture is on
//!
//! Events tell of a connection as one process sees it, but a capture sees it from outside. It is
//! told once, from the client's side: `local` is the client and what it sends is
//! [`Direction::Sent`](pixie_core::id::Direction::Sent). The client is who sent the SYN; when that
//! is not in the capture, the end with the higher port or, between two ports from 32768 on, the
//! one that speaks first. There is no process: the pid is 0 and the name is empty.
//!
//! # Loss
//!
//! Segments are told of in the order of the file, repeated and reordered ones too; their positions
//! put them right. A gap is told of, as bytes that were not observed, when the other side
//! has acknowledged them and they do not turn up within 100 ms, or when the connection ends. Until
//! then, the segments that acknowledge them are held back: an answer does not overtake its
//! question, though packets do.
//!
//! Whoever puts the bytes in order should thus wait for missing ones for as long as it takes; a
//! retransmission can take seconds, and what will never come is told.
#![forbid(unsafe_code)]

mod bytes;
mod connection;
mod connections;
mod decode;
mod error;
mod fragments;
mod ip;
mod link;
mod reader;
mod recorder;
mod sequence;
mod stream;
mod summary;

pub use error::CaptureFileError;
pub use recorder::{Recorder, Recording, RecordingSummary};
pub use summary::{Skipped, Summary};

use connections::{Connections, Output};
use fragments::Fragments;
use pixie_core::id::ConnectionId;
use pixie_probes::event::{Counters, Event, EventSource};
use reader::PacketReader;
use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A packet capture, read from a file or from any other input.
///
/// Memory is bounded: at most 65,536 connections (less than 1 KiB each), 256 datagrams whose
/// fragments are incomplete (64 KiB each), segments that wait for what they acknowledge (16 MiB in
/// all) and one packet or block (16 MiB) are held at once.
pub struct CaptureFile {
    /// `None` when there is nothing more to read.
    reader: Option<PacketReader>,
    fragments: Fragments,
    connections: Connections,
    summary: Summary,
    events: u64,
    error: Option<CaptureFileError>,
}

/// The most connections that are followed at once.
const MAX_CONNECTIONS: usize = 1 << 16;

impl CaptureFile {
    /// Opens the capture file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened or read, or is not a capture file.
    pub fn open(path: &Path) -> Result<Self, CaptureFileError> {
        match File::open(path) {
            Ok(file) => Self::new(file),
            Err(source) => Err(CaptureFileError::Open { path: path.to_owned(), source }),
        }
    }

    /// Reads a capture from `input`, which need not be buffered.
    ///
    /// # Errors
    /// When it cannot be read, or does not start like a capture.
    pub fn new(input: impl Read + Send + 'static) -> Result<Self, CaptureFileError> {
        Ok(Self {
            reader: Some(PacketReader::new(Box::new(input))?),
            fragments: Fragments::default(),
            connections: Connections::new(MAX_CONNECTIONS),
            summary: Summary::default(),
            events: 0,
            error: None,
        })
    }

    /// The same with another bound on the connections that are followed at once; at least 1. The
    /// one that was silent for longest goes first. Default 65,536.
    #[must_use]
    pub fn with_connection_limit(mut self, connections: usize) -> Self {
        self.connections = Connections::new(connections);
        self
    }

    /// The account of what was read so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Why reading stopped before the end of the file, if it did. What was read before that is
    /// good.
    #[must_use]
    pub fn error(&self) -> Option<&CaptureFileError> {
        self.error.as_ref()
    }

    /// The same, to keep it.
    pub fn take_error(&mut self) -> Option<CaptureFileError> {
        self.error.take()
    }

    /// Reads one packet. False when there is none.
    fn read_packet(&mut self, handler: &mut dyn FnMut(Event<'_>)) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let (fragments, connections) = (&mut self.fragments, &mut self.connections);
        let read = reader.next(&mut self.summary, |packet, summary| {
            decode::decode(packet, fragments, summary, |segment, summary| {
                connections.take(&segment, &mut Output { summary, handler });
            });
        });
        if let Ok(true) = read {
            return true;
        }
        self.error = read.err();
        self.reader = None;
        false
    }
}

/// How many packets are read before the caller may look after other things.
const PACKETS_PER_POLL: usize = 64;

impl EventSource for CaptureFile {
    /// Reads on until packets tell something: returns 0 only at the end of the file, or when it
    /// cannot be read further (see [`CaptureFile::error`]). With `finish`, reads all that is left
    /// and ends all connections.
    fn poll(&mut self, finish: bool, handler: &mut dyn FnMut(Event<'_>)) -> usize {
        let events = Cell::new(0);
        let mut counting = |event: Event<'_>| {
            events.set(events.get() + 1);
            handler(event);
        };
        let mut packets = 0;
        while self.read_packet(&mut counting) {
            packets += 1;
            if packets >= PACKETS_PER_POLL && events.get() > 0 && !finish {
                break;
            }
        }
        if finish {
            self.fragments.finish(&mut self.summary);
            let mut output = Output { summary: &mut self.summary, handler: &mut counting };
            self.connections.finish(&mut output);
        }
        self.events += events.get() as u64;
        events.get()
    }

    /// Does nothing: a file is read at leisure, there is nothing to spare.
    fn ignore(&mut self, _connection: ConnectionId) {}

    fn forget(&mut self, connection: ConnectionId) {
        self.connections.forget(connection);
    }

    fn counters(&mut self) -> Counters {
        let Summary { packets_dropped, payload_bytes, payload_bytes_not_captured, .. } =
            self.summary;
        let mut counters = Counters::default();
        counters.reserved = self.events;
        counters.seen = self.events;
        counters.dropped = packets_dropped;
        counters.malformed = self.summary.malformed();
        counters.captured_bytes = payload_bytes - payload_bytes_not_captured;
        counters
    }

    /// Stops reading: what was not read by then is not told of.
    fn detach(&mut self) {
        self.reader = None;
    }
}
