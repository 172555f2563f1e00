//! What is traced, written as a packet capture, and read again: by replay and by tshark.

use crate::clients::{curl, python};
use crate::observe::Observed;
use crate::process;
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::{free_port, nginx, text};
use pixie::event::EventSource as _;
use pixie::id::Role;
use pixie::protocols::stream::StreamLimits;
use pixie::record::Http;
use pixie::sinks::Memory;
use pixie::{Record, Replay};
use pixie_capture_file::{CaptureFile, Recorder, RecordingSummary};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

tests! {
    core: a_recording_has_the_same_exchanges;
    once: tshark_reads_a_recording, what_nobody_parses_is_recorded;
}

/// Traces what happens at this port, and records it into `file`.
fn observe(
    setup: &Setup,
    port: u16,
    file: &Path,
    expected: usize,
    traffic: impl FnOnce() -> Result<(), Skip>,
) -> Result<(Observed, RecordingSummary), Skip> {
    let (recorder, recording) = Recorder::create(file).unwrap();
    let tracer = setup.tracer_of(port).through(|source| recorder.tee(source));
    let (observed, outcome) = setup.observe(tracer, expected, traffic);
    outcome?;
    let summary = recording.summary();
    assert_eq!((summary.packets_dropped, &summary.error), (0, &None));
    Ok((observed, summary))
}

/// Six exchanges, with bodies larger and smaller than what is captured of them, recorded.
fn exchanges(setup: &Setup) -> Result<(TempDir, PathBuf, Observed), Skip> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording.pcapng");
    let server = nginx(setup)?;
    fs::write(server.www().join("large.txt"), text(300_000)).unwrap();
    let (observed, summary) = observe(setup, server.port, &file, 12, || {
        let got = server.file("got");
        for (path, arguments) in [
            ("/small.txt", &[][..]),
            ("/small.txt", &["--header", "X-Test: one"]),
            ("/page.html", &["--head"]),
            ("/page.html", &[]),
            ("/large.txt", &[]),
            ("/absent", &[]),
        ] {
            curl(&server.url(path), &got, arguments)?;
        }
        Ok(())
    })?;
    assert_eq!((summary.connections, summary.mirrored), (6, 6), "each from one of its ends");
    assert_eq!(summary.bytes, fs::metadata(&file).unwrap().len());
    Ok((folder, file, observed))
}

fn replay(file: &Path) -> Vec<Record> {
    let mut capture = CaptureFile::open(file).unwrap();
    let (sink, records) = Memory::new(1000);
    let limits = StreamLimits::default().with_held_for(Duration::MAX);
    Replay::new().stream_limits(limits).sink(sink).run(&mut capture).unwrap();
    assert!(capture.take_error().is_none());
    records.take()
}

/// An exchange with all that a capture tells of it.
fn line(http: &Http) -> String {
    let (request, response) = (http.request.as_ref().unwrap(), http.response.as_ref().unwrap());
    let traffic = &http.traffic;
    format!(
        "{} {} {:?} {} {:?} {} {:?} {} {} {:?} {:?}",
        request.method,
        request.path,
        request.headers,
        response.status,
        response.headers,
        response.body.size,
        response.body.complete,
        traffic.request_bytes,
        traffic.response_bytes,
        traffic.latency,
        traffic.time_to_first_byte,
    )
}

fn a_recording_has_the_same_exchanges(setup: &Setup) -> Outcome {
    let (_folder, file, observed) = exchanges(setup)?;
    let replayed = replay(&file);
    assert_eq!(replayed.len(), 6, "each once");
    for record in &replayed {
        let Record::Http(http) = record else { panic!("{record}") };
        assert_eq!(http.traffic.role, Some(Role::Client), "the client's side is told");
        // It was recorded from one side or the other.
        let same = |other: &&Http| {
            let ends = |http: &Http| {
                let connection = &http.traffic.connection;
                let mut ends = [connection.local.clone(), connection.remote.clone()];
                ends.sort_by_key(|end| end.as_ref().map(ToString::to_string));
                ends
            };
            ends(other) == ends(http) && line(other) == line(http)
        };
        let twin = observed.http().find(same);
        let twin = twin.unwrap_or_else(|| panic!("{} was not seen live", line(http)));
        let between = twin.traffic.time.0.abs_diff(http.traffic.time.0);
        // The session takes the offset between the clocks anew now and then.
        assert!(between < 1_000_000_000, "{between} ns between live and replayed");
    }
    Ok(())
}

fn tshark_reads_a_recording(setup: &Setup) -> Outcome {
    let mut tshark = command("tshark")?;
    let (_folder, file, observed) = exchanges(setup)?;
    tshark.arg("-r").arg(&file).args([
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
    ]);
    tshark.args([
        "-Y",
        "http.request || tcp.checksum.status == 0 || ip.checksum.status == 0 || tcp.analysis.flags",
    ]);
    tshark.args(["-T", "fields", "-e", "http.request.uri", "-e", "frame.comment"]);
    let (_, lines) = process::run(&mut tshark);
    let uris: Vec<&str> = lines.lines().map(|line| line.split('\t').next().unwrap()).collect();
    let asked = ["/small.txt", "/small.txt", "/page.html", "/page.html", "/large.txt", "/absent"];
    assert_eq!(uris, asked, "and nothing that is wrong with a segment");

    let mut tshark = command("tshark")?;
    tshark.arg("-r").arg(&file).args(["-Y", "tcp.flags.syn == 1 && tcp.flags.ack == 0"]);
    tshark.args(["-T", "fields", "-e", "frame.comment"]);
    let (_, comments) = process::run(&mut tshark);
    let known = |comment: &str| {
        observed.http().any(|http| {
            let process = &http.traffic.process;
            comment == format!("pid={} comm={}", process.pid, process.comm)
        })
    };
    assert_eq!(comments.lines().count(), 6);
    assert!(comments.lines().all(known), "{comments}");
    Ok(())
}

/// A connection that nobody parses is soon ignored, but not when it is recorded.
fn what_nobody_parses_is_recorded(setup: &Setup) -> Outcome {
    const SCRIPT: &str = r"
import socket, sys, threading
def serve(listener):
    peer, _ = listener.accept()
    for _ in range(100):
        peer.sendall(peer.recv(1000))
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
client = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
for number in range(100):
    client.sendall(b'\0\1\2\3no protocol %04d' % number)
    client.recv(1000)
";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recording.pcapng");
    let port = free_port();
    let (_, summary) = observe(setup, port, &file, 0, || {
        process::run(&mut python(SCRIPT, &[&port.to_string()])?);
        Ok(())
    })?;
    assert_eq!(summary.connections, 1);
    let mut capture = CaptureFile::open(&file).unwrap();
    while capture.poll(true, &mut |_| {}) > 0 {}
    let summary = capture.summary();
    assert_eq!((summary.payload_bytes, summary.payload_bytes_not_captured), (2 * 100 * 20, 0));
    Ok(())
}
