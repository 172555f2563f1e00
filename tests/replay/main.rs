//! Packet captures through the pipeline: what real programs said, in the order in which it was
//! recorded and in others.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod captures;
mod command;
mod dns;
mod http2;
mod postgres;
mod proxy_protocol;
mod recording;
mod redis;
mod tls;
mod websocket;

use captures::{Numbers, Packet, ethernet, pcap, read};
use pixie::protocols::stream::StreamLimits;
use pixie::record::{Body, Cause, Http, Stage};
use pixie::sinks::Memory;
use pixie::{Record, Replay, Stats};
use pixie_capture_file::CaptureFile;
use std::io::Cursor;
use std::time::Duration;

/// What curl asked for and what nginx answered; see `tests/fixtures/replay/record.sh`.
const EXCHANGES: [&str; 7] = [
    "v4 GET /hello.txt 0 -> 200 13",
    "v4 GET /numbers.txt 0 -> 200 13893",
    "v4 GET /missing 0 -> 404 153",
    "v4 GET /numbers.log 0 -> 200 compressed",
    "v4 POST /create 10 -> 201 8",
    "v6 HEAD /hello.txt 0 -> 200 0",
    "v6 GET /hello.txt?x=1 0 -> 200 13",
];

/// Plays a capture. Checks what holds of every one.
fn play(file: Vec<u8>) -> (Vec<Record>, Stats) {
    let mut capture = CaptureFile::new(Cursor::new(file)).unwrap();
    let (sink, records) = Memory::new(10_000);
    let limits = StreamLimits::default().with_held_for(Duration::MAX);
    let stats = Replay::new().sink(sink).stream_limits(limits).run(&mut capture).unwrap();
    assert!(capture.error().is_none(), "{:?}", capture.error());
    assert_eq!(stats.capture.events_seen, stats.capture.events_reserved);
    let stream = &stats.stream;
    assert_eq!(stream.bytes_total, stream.bytes_delivered + stream.bytes_in_gaps);
    assert_eq!((stats.connections.open, stats.connections.evicted), (0, 0));
    (records.take(), stats)
}

fn exchanges(records: &[Record]) -> Vec<&Http> {
    let http = records.iter().filter_map(|record| match record {
        Record::Http(http) => Some(&**http),
        _ => None,
    });
    http.collect()
}

/// An exchange as a line of [`EXCHANGES`].
fn line(http: &Http) -> String {
    let connection = &http.traffic.connection;
    let (local, remote) = (connection.local.as_ref().unwrap(), connection.remote.as_ref().unwrap());
    assert_eq!(remote.port(), Some(8080), "the client's side is told");
    assert_eq!(http.traffic.role.unwrap().as_str(), "client");
    let version = if local.to_string().starts_with('[') { "v6" } else { "v4" };
    let Some(request) = &http.request else { return format!("{version} no request") };
    let Some(response) = &http.response else { return format!("{version} no response") };
    let size = match response.headers.get("content-encoding") {
        Some(_) => "compressed".to_owned(),
        None => response.body.size.to_string(),
    };
    format!(
        "{version} {} {} {} -> {} {size}",
        request.method, request.path, request.body.size, response.status
    )
}

fn lines(records: &[Record]) -> Vec<String> {
    exchanges(records).into_iter().map(line).collect()
}

/// The same in an order that does not depend on that of the records.
fn sorted<T: Ord + Clone>(lines: &[T]) -> Vec<T> {
    let mut lines = lines.to_vec();
    lines.sort();
    lines
}

/// The body of the response to the request for `path`.
fn body<'a>(records: &'a [Record], path: &str) -> &'a Body {
    let asks = |http: &&Http| http.request.as_ref().unwrap().path == path;
    let http = exchanges(records).into_iter().find(asks).unwrap();
    &http.response.as_ref().unwrap().body
}

/// Asserts that this capture has all exchanges, and nothing is missing of them.
fn assert_complete(what: &str, file: Vec<u8>) {
    let (records, stats) = play(file);
    assert_eq!(sorted(&lines(&records)), sorted(&EXCHANGES), "{what}");
    assert_eq!(stats.stream.bytes_in_gaps, 0, "{what}");
    assert_eq!(stats.lost, [], "{what}");
    assert_eq!(stats.parser.malformed, 0, "{what}");
    assert!(body(&records, "/numbers.txt").bytes.starts_with(b"1\n2\n3\n"));
    assert!(body(&records, "/numbers.txt").complete);
}

#[test]
fn every_recorded_form_tells_the_same_exchanges() {
    for name in
        ["ethernet.pcapng", "ethernet.pcap", "nanoseconds.pcap", "cooked1.pcapng", "cooked2.pcapng"]
    {
        let (records, _) = play(read(name));
        assert_eq!(lines(&records), EXCHANGES, "{name}");
        assert_complete(name, read(name));
    }
}

#[test]
fn a_compressed_chunked_body_is_decoded() {
    let (records, _) = play(read("ethernet.pcapng"));
    let body = body(&records, "/numbers.log");
    assert!(body.bytes.starts_with(b"1\n2\n3\n"), "{body:?}");
    assert!(body.complete && body.size > 5_000 && body.size < 13_893, "{body:?}");
}

#[test]
fn times_are_those_of_the_packets() {
    let packets = ethernet();
    let time = |text| packets.iter().find(|packet| packet.starts_with(text)).unwrap().microseconds;
    let (records, _) = play(read("ethernet.pcap"));
    let create = exchanges(&records)[4];
    let (request, response) = (time("POST /create"), time("HTTP/1.1 201"));
    assert_eq!(create.traffic.time.0, request * 1000);
    let latency = Duration::from_micros(response - request);
    assert_eq!(create.traffic.latency, Some(latency));
    assert_eq!(create.traffic.time_to_first_byte, Some(latency));
}

#[test]
fn other_link_types_tell_the_same_exchanges() {
    let packets = ethernet();
    let variant = |link_type, header: &dyn Fn(&Packet) -> Vec<u8>| {
        let changed = packets.iter().map(|packet| packet.with_link(&header(packet)));
        pcap(link_type, &changed.collect::<Vec<_>>())
    };
    let tagged = |packet: &Packet| {
        let (addresses, kind) = packet.bytes[..14].split_at(12);
        [addresses, &[0x81, 0x00, 0x00, 0x2a], kind].concat()
    };
    let loopback = |packet: &Packet| vec![if packet.is_ipv4() { 2 } else { 30 }, 0, 0, 0];
    assert_complete("VLAN", variant(1, &tagged));
    assert_complete("BSD loopback", variant(0, &loopback));
    assert_complete("raw IP", variant(101, &|_| Vec::new()));
}

#[test]
fn repeated_packets_change_nothing() {
    let twice = ethernet().into_iter().flat_map(|packet| [packet.clone(), packet]);
    let (records, stats) = play(pcap(1, &twice.collect::<Vec<_>>()));
    assert_eq!(lines(&records), EXCHANGES);
    assert!(stats.stream.bytes_duplicate > 13_893);
    assert_eq!(stats.stream.bytes_in_gaps, 0);
}

#[test]
fn packets_in_disorder_change_nothing() {
    for seed in 0..200 {
        let mut numbers = Numbers(seed);
        let mut packets = ethernet();
        // What follows a handshake comes up to six places late or early, in either direction.
        let runs = packets.split_mut(|packet| packet.is_syn());
        for window in runs.flat_map(|run| run.chunks_mut(7)) {
            for place in (1..window.len()).rev() {
                window.swap(place, numbers.below(place + 1));
            }
        }
        assert_complete(&format!("disorder {seed}"), pcap(1, &packets));
    }
}

#[test]
fn a_retransmission_after_seconds_fills_its_gap() {
    let mut packets = ethernet();
    let lost = second_segment(&packets);
    let mut late = packets.remove(lost);
    // The receiver acknowledges nothing beyond until it comes again.
    let end = (lost..).find(|&place| packets[place].starts_with("GET /missing")).unwrap();
    packets = packets
        .iter()
        .enumerate()
        .filter(|(place, packet)| !(lost..end).contains(place) || packet.payload() > 0)
        .map(|(_, packet)| packet.clone())
        .collect();
    let end = packets.iter().position(|packet| packet.starts_with("GET /missing")).unwrap();
    for packet in &mut packets[end..] {
        packet.microseconds += 3_000_000;
    }
    late.microseconds = packets[end].microseconds - 1;
    packets.insert(end, late);
    assert_complete("retransmission", pcap(1, &packets));
}

/// The second segment of the largest response.
fn second_segment(packets: &[Packet]) -> usize {
    let request = packets.iter().position(|packet| packet.starts_with("GET /numbers.txt")).unwrap();
    let first = (request + 1..).find(|&place| packets[place].payload() > 0).unwrap();
    (first + 1..).find(|&place| packets[place].payload() > 0).unwrap()
}

#[test]
fn a_lost_segment_is_a_gap_of_its_length_in_one_record() {
    let mut packets = ethernet();
    let lost = second_segment(&packets);
    let length = packets.remove(lost).payload() as u64;
    let (records, stats) = play(pcap(1, &packets));
    assert_eq!(sorted(&lines(&records)), sorted(&EXCHANGES));
    assert_eq!(stats.stream.bytes_in_gaps, length);
    let body = body(&records, "/numbers.txt");
    assert_eq!((body.size, body.complete), (13_893, true));
    let lost = records.iter().find_map(|record| match record {
        Record::Lost(lost) => Some(lost),
        _ => None,
    });
    let lost = lost.unwrap();
    assert_eq!((lost.stage, lost.cause, lost.bytes), (Stage::Stream, Cause::Unobserved, length));
}

#[test]
fn any_lost_packet_costs_at_most_its_exchange() {
    let packets = ethernet();
    for lost in 0..packets.len() {
        let mut rest = packets.clone();
        let packet = rest.remove(lost);
        let (records, stats) = play(pcap(1, &rest));
        let told = lines(&records);
        let missing = EXCHANGES.iter().filter(|line| !told.iter().any(|told| told == *line));
        // The response to HEAD says that it has a body, which without the request looks true.
        let allowed = match packet.payload() {
            0 => 0,
            _ if packet.starts_with("HEAD") => 2,
            _ => 1,
        };
        assert!(missing.count() <= allowed, "without packet {lost}: {told:#?}");
        // A FIN that is lost looks like a byte of payload.
        let gap = stats.stream.bytes_in_gaps;
        assert!(gap <= packet.payload().max(1) as u64, "without packet {lost}: {gap} bytes");
    }
}

#[test]
fn a_capture_that_starts_midway_tells_what_follows() {
    let packets = ethernet();
    let start = packets.iter().position(|packet| packet.starts_with("GET /numbers.txt")).unwrap();
    let (records, _) = play(pcap(1, &packets[start..]));
    assert_eq!(lines(&records), EXCHANGES[1..]);
}

#[test]
fn what_was_not_captured_of_bodies_is_stated() {
    let (records, stats) = play(read("short.pcapng"));
    let told = lines(&records);
    assert_eq!(told, EXCHANGES);
    let body = body(&records, "/numbers.txt");
    assert_eq!((body.size, body.complete), (13_893, true));
    assert!(body.captured < body.size, "{body:?}");
    assert!(stats.stream.bytes_in_gaps > 0);
}

#[test]
fn fragments_are_put_together() {
    let (_, stats) = play(read("fragments.pcapng"));
    // 3,000 bytes and "3000 bytes", over IPv4 and over IPv6.
    assert_eq!(stats.stream.bytes_total, 2 * (3_000 + 10));
    assert_eq!(stats.stream.bytes_in_gaps, 0);
    assert_eq!(stats.connections.opened, 2);
}
