//! Writes what is captured as a packet capture.

mod background;
mod flow;
mod packet;
mod pairs;
mod pcapng;
mod summary;

pub use summary::RecordingSummary;

use crate::CaptureFileError;
use background::{Background, Offered};
use flow::{Flow, Packet};
use packet::Ends;
use pairs::Pairs;
use pixie_core::id::{ConnectionId, Direction};
use pixie_core::record::Address;
use pixie_core::time::{Clock, MonotonicTime, WallTime};
use pixie_probes::event::{Close, Counters, Data, Event, EventSource, Open};
use pixie_probes::monotonic_now;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The most connections that are recorded at a time; others are counted as unaddressed.
const MAX_CONNECTIONS: usize = 1 << 16;

/// As many bytes are written at once, where there are that many.
const CHUNK: usize = 64 << 10;

/// Writes events as a packet capture in the pcapng format, for [`CaptureFile`](crate::CaptureFile)
/// and every other program that reads such files: the events become the packets that might have
/// carried them.
///
/// ```no_run
/// use pixie_capture_file::{CaptureFileError, Recorder, Recording};
/// use pixie_probes::event::EventSource;
///
/// /// The same source, recorded: this is what `Tracer::through` takes.
/// fn recorded(
///     source: Box<dyn EventSource>,
/// ) -> Result<(Box<dyn EventSource>, Recording), CaptureFileError> {
///     let (recorder, recording) = Recorder::create("traffic.pcapng".as_ref())?;
///     Ok((recorder.tee(source), recording))
/// }
/// ```
///
/// What is told of a connection, and how:
///
/// - Bytes of streams are TCP segments, with sequence numbers from their positions. A transfer of
///   which not all was captured is a packet that was cut short, as with a capture length; one of
///   which no event told is missing in the sequence. So a replay sees the same gaps, though it cannot
///   tell why a packet was cut short.
/// - Where it is known which end is the client, a handshake says so. It stands for when the
///   connection was first seen: it may be older than that. A FIN stands for the end of a direction,
///   a reset for an end of which more is not known.
/// - Datagrams are UDP, each with its own peer. A socket that is bound to no address is given one of
///   its peer's: loopback, or else 0.0.0.0 or `::`.
/// - Unix sockets become TCP and UDP between made-up addresses in `fd75:6e69:7800::/48`, which end in
///   the connection's id. Each end that is traced is recorded on its own.
/// - A connection whose both ends are traced is recorded once, from the end that was seen first.
/// - Packets have the time of their event, by the wall clock. The first of each connection, and of
///   each process that takes it over, has a comment like `pid=123 comm=nginx`, and the paths of a
///   Unix socket.
///
/// Link-layer headers there are none, checksums are right where the packet is whole.
///
/// The recording never disturbs what it records: nothing waits for the disk. When it is too slow,
/// packets are dropped, and counted; when it fails, the recording stops, and says why in its
/// [summary](Recording::summary). At most some 8 MiB wait to be written, and at most 65,536
/// connections are recorded at a time.
pub struct Recorder {
    output: Output,
    clock: Clock,
    flows: HashMap<ConnectionId, Recorded>,
    pairs: Pairs,
    opened: u32,
    now: MonotonicTime,
    summary: RecordingSummary,
    recording: Recording,
    finished: bool,
}

/// What is known of a connection.
enum Recorded {
    Here {
        flow: Box<Flow>,
        /// For its next packet.
        comment: Option<String>,
    },
    /// From its other end, or not at all.
    Elsewhere,
}

/// Reads how a recording goes, while it is made and after it. Clones read the same one.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    summary: Arc<Mutex<RecordingSummary>>,
}

impl Recording {
    /// What has been written so far. It is complete when the recorder is gone: after the end of the
    /// session that it was handed to.
    #[must_use]
    pub fn summary(&self) -> RecordingSummary {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Recorder {
    /// Records into a new file at `path`, in the place of what was there. A thread of its own writes
    /// it. The events are to be live ones, of this machine.
    ///
    /// # Errors
    /// When the file cannot be made or written to.
    pub fn create(path: &Path) -> Result<(Self, Recording), CaptureFileError> {
        let failed = |source| CaptureFileError::Create { path: path.to_owned(), source };
        let mut file = File::create(path).map_err(failed)?;
        let mut header = Vec::new();
        pcapng::file_header(&mut header);
        file.write_all(&header).map_err(failed)?;
        let background = Background::start(file).map_err(failed)?;
        let clock = Clock::new(monotonic_now(), WallTime::now());
        Ok(Self::with(Writer::Background(background), clock, header.len()))
    }

    /// Records into `writer`, which is waited for. The times of the events are turned into times of
    /// packets by `clock`.
    ///
    /// # Errors
    /// When nothing can be written to it.
    pub fn new(
        mut writer: impl Write + Send + 'static,
        clock: Clock,
    ) -> io::Result<(Self, Recording)> {
        let mut header = Vec::new();
        pcapng::file_header(&mut header);
        writer.write_all(&header)?;
        Ok(Self::with(Writer::Inline(Box::new(writer)), clock, header.len()))
    }

    fn with(writer: Writer, clock: Clock, written: usize) -> (Self, Recording) {
        let recording = Recording::default();
        let recorder = Self {
            output: Output { writer, chunk: Vec::new(), packets: 0, packet: Vec::new() },
            clock,
            flows: HashMap::new(),
            pairs: Pairs::default(),
            opened: 0,
            now: MonotonicTime::default(),
            summary: RecordingSummary { bytes: written as u64, ..RecordingSummary::default() },
            recording: recording.clone(),
            finished: false,
        };
        (recorder, recording)
    }

    /// A source that hands on the events of `source`, and records them.
    ///
    /// It does not pass on [`EventSource::ignore`]: what nobody parses is recorded, too, and so
    /// costs more than it would.
    #[must_use]
    pub fn tee(self, source: Box<dyn EventSource>) -> Box<dyn EventSource> {
        Box::new(Tee { recorder: self, source })
    }

    /// Records an event.
    pub fn event(&mut self, event: &Event<'_>) {
        if self.summary.error.is_some() {
            return;
        }
        match event {
            Event::Open(open) => self.open(open),
            Event::Data(data) => self.data(data),
            Event::Close(close) => self.close(close),
            _ => {}
        }
        if self.output.chunk.len() >= CHUNK {
            self.write();
        }
    }

    /// Writes what is left, and how many packets are missing: so many as were not written, and so
    /// many events as the source had to drop.
    pub fn finish(mut self, dropped: u64) {
        self.end(dropped);
    }

    fn open(&mut self, open: &Open) {
        self.now = self.now.max(open.time);
        if let Some(known) = self.flows.get_mut(&open.connection) {
            if let Recorded::Here { comment, .. } = known {
                *comment = Some(describe(open));
            }
            return;
        }
        let recorded = self.begin(open);
        if self.flows.len() < MAX_CONNECTIONS {
            self.flows.insert(open.connection, recorded);
        }
    }

    fn begin(&mut self, open: &Open) -> Recorded {
        let flow = Flow::new(open, self.opened).filter(|_| self.flows.len() < MAX_CONNECTIONS);
        let Some(mut flow) = flow else {
            self.summary.unaddressed += 1;
            return Recorded::Elsewhere;
        };
        if let (false, Some(remote)) = (open.transport.is_datagram(), flow.remote)
            && self.pairs.is_mirror(open.transport, flow.local, remote, open.time)
        {
            self.summary.mirrored += 1;
            return Recorded::Elsewhere;
        }
        self.opened = self.opened.wrapping_add(1);
        self.summary.connections += 1;
        let mut comment = Some(describe(open));
        let mut sheet = Sheet { output: &mut self.output, clock: self.clock };
        flow.begin(open, |packet| sheet.add(packet, &mut comment, &mut self.summary));
        Recorded::Here { flow: Box::new(flow), comment }
    }

    fn data(&mut self, data: &Data<'_>) {
        self.now = self.now.max(data.time);
        let Self { flows, pairs, output, summary, clock, .. } = self;
        let (flow, comment) = match flows.get_mut(&data.connection) {
            Some(Recorded::Here { flow, comment }) => (flow, comment),
            Some(Recorded::Elsewhere) => return,
            None => {
                summary.unaddressed += 1;
                return;
            }
        };
        let mut sheet = Sheet { output, clock: *clock };
        if !flow.transport.is_datagram() {
            if let Some(remote) = flow.remote {
                // Keeps the memory of it fresh.
                pairs.is_mirror(flow.transport, flow.local, remote, data.time);
            }
            return flow.transfer(data, |packet| sheet.add(packet, comment, summary));
        }
        if data.end {
            return;
        }
        let Some(ends) = flow.ends(data.direction, data.peer) else {
            summary.unaddressed += 1;
            return;
        };
        let Ends { from, to } = ends;
        let (local, remote) =
            if data.direction == Direction::Sent { (from, to) } else { (to, from) };
        if pairs.is_mirror(flow.transport, local, remote, data.time) {
            summary.mirrored += 1;
            return;
        }
        summary.oversized += u64::from(data.length > packet::MAX_DATAGRAM);
        flow.datagram(data, ends, |packet| sheet.add(packet, comment, summary));
    }

    fn close(&mut self, close: &Close) {
        self.now = self.now.max(close.time);
        let Some(Recorded::Here { mut flow, mut comment }) = self.flows.remove(&close.connection)
        else {
            return;
        };
        let mut sheet = Sheet { output: &mut self.output, clock: self.clock };
        flow.close(close, |packet| sheet.add(packet, &mut comment, &mut self.summary));
    }

    /// Hands what there is to the writer, and tells how it goes.
    fn write(&mut self) {
        if self.summary.error.is_none() {
            self.output.write(&mut self.summary);
        }
        self.publish();
    }

    fn publish(&self) {
        *self.recording.summary.lock().unwrap_or_else(PoisonError::into_inner) =
            self.summary.clone();
    }

    fn end(&mut self, dropped: u64) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if self.summary.error.is_none() {
            self.output.write(&mut self.summary);
            let time = self.clock.wall(self.now);
            let not_written = self.summary.packets_dropped;
            pcapng::statistics(&mut self.output.chunk, time, not_written, dropped);
            self.output.write(&mut self.summary);
            self.output.finish(&mut self.summary);
        }
        self.publish();
    }
}

impl Drop for Recorder {
    /// As [`Recorder::finish`], when that was not called.
    fn drop(&mut self) {
        self.end(0);
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Recorder").field("summary", &self.summary).finish_non_exhaustive()
    }
}

/// Who uses a connection.
fn describe(open: &Open) -> String {
    let name = open.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut comment = format!("pid={} comm={}", open.pid, String::from_utf8_lossy(name));
    for (name, address) in [("local", &open.local), ("remote", &open.remote)] {
        if let Some(Address::Unix(path)) = address {
            // Writing to a string does not fail.
            let _ = write!(comment, " {name}=unix:{path}");
        }
    }
    comment
}

/// Where packets are put.
struct Sheet<'a> {
    output: &'a mut Output,
    clock: Clock,
}

impl Sheet<'_> {
    fn add(
        &mut self,
        packet: Packet<'_>,
        comment: &mut Option<String>,
        summary: &mut RecordingSummary,
    ) {
        let Packet { time, ends, header, payload, length } = packet;
        let Output { chunk, packets, packet, .. } = self.output;
        let original = packet::write(packet, ends, header, payload, length);
        pcapng::packet(chunk, self.clock.wall(time), packet, original, comment.take().as_deref());
        *packets += 1;
        summary.packets += 1;
        if chunk.len() >= CHUNK {
            self.output.write(summary);
        }
    }
}

/// What has been made, and where it goes.
struct Output {
    writer: Writer,
    chunk: Vec<u8>,
    /// How many packets are in `chunk`.
    packets: u64,
    /// Where one is made.
    packet: Vec<u8>,
}

enum Writer {
    Inline(Box<dyn Write + Send>),
    Background(Background),
}

impl Output {
    fn write(&mut self, summary: &mut RecordingSummary) {
        if self.chunk.is_empty() {
            return;
        }
        let (bytes, packets) = (self.chunk.len() as u64, std::mem::take(&mut self.packets));
        let offered = match &mut self.writer {
            Writer::Inline(writer) => match writer.write_all(&self.chunk) {
                Ok(()) => Offered::Taken,
                Err(error) => Offered::Failed(error),
            },
            Writer::Background(background) => background.offer(std::mem::take(&mut self.chunk)),
        };
        self.chunk.clear();
        match offered {
            Offered::Taken => summary.bytes += bytes,
            Offered::Refused => summary.drop_packets(packets),
            Offered::Failed(error) => {
                summary.drop_packets(packets);
                summary.error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn finish(&mut self, summary: &mut RecordingSummary) {
        let finished = match &mut self.writer {
            Writer::Inline(writer) => writer.flush(),
            Writer::Background(background) => background.finish(),
        };
        if let Err(error) = finished {
            summary.error.get_or_insert_with(|| error.to_string());
        }
    }
}

impl RecordingSummary {
    fn drop_packets(&mut self, packets: u64) {
        self.packets -= packets;
        self.packets_dropped += packets;
    }
}

/// Hands events on, and records them.
struct Tee {
    recorder: Recorder,
    source: Box<dyn EventSource>,
}

impl EventSource for Tee {
    fn poll(&mut self, finish: bool, handler: &mut dyn FnMut(Event<'_>)) -> usize {
        let Self { recorder, source } = self;
        let seen = source.poll(finish, &mut |event| {
            recorder.event(&event);
            handler(event);
        });
        if seen > 0 {
            recorder.write();
        }
        seen
    }

    fn ignore(&mut self, connection: ConnectionId) {
        // Recorded all the same, unless there is no recording any more.
        if self.recorder.summary.error.is_some() {
            self.source.ignore(connection);
        }
    }

    fn heed(&mut self, connection: ConnectionId) {
        self.source.heed(connection);
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.recorder.flows.remove(&connection);
        self.source.forget(connection);
    }

    fn counters(&mut self) -> Counters {
        self.source.counters()
    }

    fn detach(&mut self) {
        self.source.detach();
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        let dropped = self.source.counters().dropped;
        self.recorder.end(dropped);
    }
}
