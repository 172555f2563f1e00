//! Events, recorded as a capture and read again.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_capture_file::{CaptureFile, Recorder, RecordingSummary};
use pixie_core::id::{ConnectionId, Direction, Pid, Role, Transport};
use pixie_core::record::Address;
use pixie_core::time::{Clock, MonotonicTime, WallTime};
use pixie_probes::event::{Close, Counters, Data, Event, EventSource, Open};
use std::io::{self, Cursor, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use support::play;

const SENT: Direction = Direction::Sent;
const RECEIVED: Direction = Direction::Received;

const CLIENT: &str = "10.0.0.1:40000";
const SERVER: &str = "10.0.0.2:80";

/// What is written, to be read while it is. Takes no more than so many bytes.
#[derive(Clone)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    size: usize,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.bytes.lock().unwrap();
        if written.len() + bytes.len() > self.size {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room"));
        }
        written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `tell` tells, in a capture.
fn record(tell: impl FnOnce(&mut Recorder)) -> (Vec<u8>, RecordingSummary) {
    let disk = Disk { bytes: Arc::default(), size: usize::MAX };
    let (mut recorder, recording) = Recorder::new(disk.clone(), clock()).unwrap();
    tell(&mut recorder);
    recorder.finish(0);
    let summary = recording.summary();
    let bytes = disk.bytes.lock().unwrap().clone();
    assert_eq!((summary.bytes, &summary.error), (bytes.len() as u64, &None));
    (bytes, summary)
}

/// The same, read again: a line each event.
fn round_trip(tell: impl FnOnce(&mut Recorder)) -> (Vec<String>, RecordingSummary) {
    let (file, summary) = record(tell);
    let (lines, capture) = play(CaptureFile::new(Cursor::new(file)).unwrap());
    assert!(capture.error().is_none(), "{:?}", capture.error());
    assert_eq!(capture.summary().packets, summary.packets);
    let taken = capture.summary().tcp_segments + capture.summary().udp_datagrams;
    assert_eq!(taken, summary.packets, "none was skipped");
    (lines, summary)
}

fn clock() -> Clock {
    Clock::new(MonotonicTime(0), WallTime(1_700_000_000_000_000_000))
}

fn address(text: &str) -> Option<Address> {
    let inet = || Address::Inet(text.parse().unwrap());
    (!text.is_empty())
        .then(|| text.strip_prefix("unix:").map_or_else(inet, |path| Address::Unix(path.into())))
}

fn open(id: u64, transport: Transport, role: Option<Role>, ends: (&str, &str)) -> Open {
    let mut open = Open::new(ConnectionId(id), MonotonicTime(id), Pid(7), transport);
    open.comm[..4].copy_from_slice(b"test");
    open.role = role;
    open.local = address(ends.0);
    open.remote = address(ends.1);
    open
}

fn data(id: u64, direction: Direction, position: u32, bytes: &[u8]) -> Data<'_> {
    Data::new(ConnectionId(id), MonotonicTime(id + 10), direction, position, bytes)
}

fn end(id: u64, direction: Direction, position: u32) -> Data<'static> {
    Data { end: true, ..data(id, direction, position, b"") }
}

fn close(id: u64, positions: [Option<u32>; 2]) -> Event<'static> {
    Event::Close(Close { connection: ConnectionId(id), time: MonotonicTime(id + 20), positions })
}

/// The parts of a line that do not depend on where a stream's positions start.
fn without_positions(lines: &[String]) -> Vec<String> {
    let shorten = |line: &String| match line.split(' ').collect::<Vec<_>>()[..] {
        [what @ ("data" | "gap"), arrow, place, ref text @ ..] => {
            let (_, length) = place.split_once('+').unwrap();
            format!("{what} {arrow} {length} {}", text.join(" ")).trim_end().to_owned()
        }
        ["end", arrow, _] => format!("end {arrow}"),
        ["close", ..] => "close".to_owned(),
        _ => line.clone(),
    };
    lines.iter().map(shorten).collect()
}

#[test]
fn a_connection_has_a_beginning_bytes_and_ends() {
    for (role, ends) in [(Role::Client, (CLIENT, SERVER)), (Role::Server, (SERVER, CLIENT))] {
        let (asks, answers) =
            if role == Role::Client { (SENT, RECEIVED) } else { (RECEIVED, SENT) };
        let (lines, summary) = round_trip(|recorder| {
            recorder.event(&Event::Open(&open(1, Transport::Tcp, Some(role), ends)));
            recorder.event(&Event::Data(data(1, asks, u32::MAX - 1, b"ask")));
            recorder.event(&Event::Data(data(1, answers, 77, b"answer")));
            recorder.event(&Event::Data(end(1, asks, 1)));
            recorder.event(&close(1, [Some(83); 2]));
        });
        assert_eq!(
            without_positions(&lines),
            [
                "open tcp client 10.0.0.1:40000 -> 10.0.0.2:80",
                "data > 0",
                "data < 0",
                "data > 3 ask",
                "data < 6 answer",
                "end >",
                "end <",
                "close"
            ]
        );
        assert_eq!((summary.connections, summary.packets), (1, 3 + 2 + 2));
    }
}

#[test]
fn without_a_known_role_nothing_is_made_up() {
    let ends = ("10.0.0.2:45000", "10.0.0.1:40000");
    let (lines, summary) = round_trip(|recorder| {
        recorder.event(&Event::Open(&open(1, Transport::Tcp, None, ends)));
        recorder.event(&Event::Data(data(1, RECEIVED, 5, b"ask")));
        recorder.event(&Event::Data(data(1, SENT, 7, b"answer")));
    });
    assert_eq!(
        without_positions(&lines),
        ["open tcp ? 10.0.0.1:40000 -> 10.0.0.2:45000", "data > 3 ask", "data < 6 answer", "close"]
    );
    assert_eq!(summary.packets, 2);
}

#[test]
fn an_answer_that_was_told_of_before_its_request_is_read_after_it() {
    let (lines, _) = round_trip(|recorder| {
        let ends = (CLIENT, SERVER);
        recorder.event(&Event::Open(&open(1, Transport::Tcp, Some(Role::Client), ends)));
        recorder.event(&Event::Data(data(1, SENT, 10, b"ask")));
        recorder.event(&Event::Data(data(1, RECEIVED, 50, b"answer")));
        let early = Data { sent_until: Some(18), ..data(1, RECEIVED, 56, b"other") };
        recorder.event(&Event::Data(early));
        recorder.event(&Event::Data(data(1, SENT, 13, b"again")));
    });
    assert_eq!(
        without_positions(&lines)[3..],
        ["data > 3 ask", "data < 6 answer", "data > 5 again", "data < 5 other", "close"]
    );
}

#[test]
fn holes_keep_their_length_and_losses_are_missed() {
    let (lines, _) = round_trip(|recorder| {
        let ends = (CLIENT, SERVER);
        recorder.event(&Event::Open(&open(1, Transport::Tcp, Some(Role::Client), ends)));
        // 100,000 bytes of which two were captured.
        let hole = Data { length: 100_000, ..data(1, SENT, 0, b"ab") };
        recorder.event(&Event::Data(hole));
        // 20 bytes are not told of.
        recorder.event(&Event::Data(data(1, SENT, 100_020, b"d")));
        recorder.event(&close(1, [Some(100_030), Some(0)]));
    });
    assert_eq!(
        without_positions(&lines)[3..],
        [
            "data > 65495 ab",
            "data > 34505",
            "data > 1 d",
            "end <",
            "gap > 20",
            "gap > 9",
            "end >",
            "close"
        ]
    );
}

#[test]
fn the_end_of_which_nothing_is_known_is_a_reset() {
    let (file, summary) = record(|recorder| {
        let ends = (CLIENT, SERVER);
        recorder.event(&Event::Open(&open(1, Transport::Tcp, Some(Role::Client), ends)));
        recorder.event(&Event::Data(data(1, SENT, 0, b"ask")));
        recorder.event(&close(1, [None, None]));
        // The same ends at once again.
        recorder.event(&Event::Open(&open(2, Transport::Tcp, Some(Role::Client), ends)));
        recorder.event(&Event::Data(data(2, SENT, 0, b"ask")));
    });
    const RST: u8 = 4;
    // Flags are byte 13 of the TCP header, after 20 bytes of IP: "P.." at 33 of a raw packet.
    let resets = file.windows(34).filter(|at| at[0] == 0x45 && at[9] == 6 && at[33] & RST != 0);
    assert_eq!(resets.count(), 1);
    let (lines, _) = play(CaptureFile::new(Cursor::new(file)).unwrap());
    assert_eq!(lines.iter().filter(|line| line.starts_with("open")).count(), 2, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.ends_with(" ask")).count(), 2, "{lines:?}");
    assert_eq!(summary.connections, 2);
}

#[test]
fn two_views_of_one_connection_are_recorded_once() {
    let (lines, summary) = round_trip(|recorder| {
        for (id, role, ends) in
            [(1, Role::Client, (CLIENT, SERVER)), (2, Role::Server, (SERVER, CLIENT))]
        {
            recorder.event(&Event::Open(&open(id, Transport::Tcp, Some(role), ends)));
        }
        recorder.event(&Event::Data(data(1, SENT, 0, b"ask")));
        recorder.event(&close(1, [Some(3), Some(0)]));
        // The server is late.
        recorder.event(&Event::Data(data(2, RECEIVED, 0, b"ask")));
        recorder.event(&close(2, [Some(0), Some(3)]));
    });
    assert_eq!(lines.iter().filter(|line| line.starts_with("open")).count(), 1, "{lines:?}");
    assert_eq!((summary.connections, summary.mirrored), (1, 1));
}

#[test]
fn datagrams_have_each_its_peer() {
    let peers: [SocketAddr; 2] =
        ["127.0.0.1:41000".parse().unwrap(), "[::1]:42000".parse().unwrap()];
    let (lines, summary) = round_trip(|recorder| {
        recorder.event(&Event::Open(&open(1, Transport::Udp, Some(Role::Server), ("[::]:53", ""))));
        for peer in peers.map(Some) {
            recorder.event(&Event::Data(Data { peer, ..data(1, RECEIVED, 0, b"question") }));
            let answer = Data { length: 500, peer, ..data(1, SENT, 0, b"answer") };
            recorder.event(&Event::Data(answer));
        }
        recorder.event(&Event::Data(data(1, SENT, 0, b"to nobody")));
        // The other end of the first.
        recorder.event(&Event::Open(&open(
            2,
            Transport::Udp,
            None,
            ("127.0.0.1:41000", "127.0.0.1:53"),
        )));
        recorder.event(&Event::Data(data(2, SENT, 0, b"question")));
        recorder.event(&close(1, [None, None]));
    });
    assert_eq!(
        without_positions(&lines),
        [
            "open udp ? 127.0.0.1:41000 -> 127.0.0.1:53",
            "data > 8 question",
            "data < 500 answer",
            "open udp ? [::1]:42000 -> [::1]:53",
            "data > 8 question",
            "data < 500 answer",
            "close",
            "close",
        ]
    );
    assert_eq!((summary.connections, summary.mirrored, summary.unaddressed), (2, 1, 1));
}

#[test]
fn unix_sockets_have_made_up_addresses() {
    let (file, summary) = record(|recorder| {
        let ends = ("", "unix:/run/x.sock");
        recorder.event(&Event::Open(&open(9, Transport::UnixStream, Some(Role::Client), ends)));
        recorder.event(&Event::Data(data(9, SENT, 0, b"ask")));
    });
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains("pid=7 comm=test remote=unix:/run/x.sock"), "{text}");
    let (lines, _) = play(CaptureFile::new(Cursor::new(file)).unwrap());
    assert_eq!(
        lines[0],
        "open tcp client [fd75:6e69:7800:1::9]:50001 -> [fd75:6e69:7800:2::9]:50002"
    );
    assert_eq!(summary.connections, 1);
}

#[test]
fn what_has_no_address_is_counted() {
    let (lines, summary) = round_trip(|recorder| {
        recorder.event(&Event::Open(&open(1, Transport::Tcp, None, (CLIENT, ""))));
        recorder.event(&Event::Data(data(1, SENT, 0, b"ask")));
        recorder.event(&Event::Data(data(2, SENT, 0, b"of a connection that is not known")));
    });
    assert_eq!((lines.len(), summary.unaddressed), (0, 2));
}

/// Two connections with as many bytes as are asked for.
struct Steady {
    transfers: u32,
    ignored: Arc<Mutex<Vec<ConnectionId>>>,
}

impl EventSource for Steady {
    fn poll(&mut self, _: bool, handler: &mut dyn FnMut(Event<'_>)) -> usize {
        handler(Event::Open(&open(1, Transport::Tcp, Some(Role::Client), (CLIENT, SERVER))));
        for number in 0..self.transfers {
            handler(Event::Data(data(1, SENT, number * 1000, &[b'x'; 1000])));
        }
        self.transfers as usize + 1
    }

    fn ignore(&mut self, connection: ConnectionId) {
        self.ignored.lock().unwrap().push(connection);
    }

    fn counters(&mut self) -> Counters {
        let mut counters = Counters::default();
        counters.dropped = 5;
        counters
    }

    fn detach(&mut self) {}
}

#[test]
fn a_full_disk_stops_the_recording_and_nothing_else() {
    let disk = Disk { bytes: Arc::default(), size: 200_000 };
    let (recorder, recording) = Recorder::new(disk.clone(), clock()).unwrap();
    let ignored = Arc::default();
    let source = Steady { transfers: 1000, ignored: Arc::clone(&ignored) };
    let mut source = recorder.tee(Box::new(source));
    let mut events = 0;
    assert_eq!(source.poll(false, &mut |_| events += 1), 1001);
    assert_eq!(events, 1001);
    source.ignore(ConnectionId(1));
    drop(source);
    let summary = recording.summary();
    assert_eq!(summary.error.as_deref(), Some("no room"));
    assert!(summary.packets > 100 && summary.packets_dropped > 0, "{summary:?}");
    assert!(summary.to_string().ends_with("the recording stopped early: no room"), "{summary}");
    assert_eq!(*ignored.lock().unwrap(), [ConnectionId(1)], "nothing is recorded any more");
    // What was written before is good.
    let (_, capture) =
        play(CaptureFile::new(Cursor::new(disk.bytes.lock().unwrap().clone())).unwrap());
    assert!(capture.error().is_none());
    assert_eq!(capture.summary().packets, summary.packets);
}

#[test]
fn a_file_is_written_by_its_own_thread() {
    let path = std::env::temp_dir().join(format!("pixie-recorder-{}.pcapng", std::process::id()));
    let (recorder, recording) = Recorder::create(&path).unwrap();
    let ignored = Arc::default();
    let source = Steady { transfers: 100, ignored: Arc::clone(&ignored) };
    let mut source = recorder.tee(Box::new(source));
    source.poll(true, &mut |_| {});
    source.ignore(ConnectionId(1));
    drop(source);
    let summary = recording.summary();
    assert_eq!((summary.packets, &summary.error), (103, &None));
    assert!(ignored.lock().unwrap().is_empty(), "what nobody parses is recorded, too");
    let file = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(file.len() as u64, summary.bytes);
    let (_, capture) = play(CaptureFile::new(Cursor::new(file)).unwrap());
    assert_eq!(capture.summary().payload_bytes, 100_000);
    assert_eq!(capture.summary().packets_dropped, 5, "as the source says");
    let error = Recorder::create("/no/such/folder/x".as_ref()).unwrap_err();
    assert!(error.to_string().starts_with("cannot write /no/such/folder/x: "), "{error}");
}
