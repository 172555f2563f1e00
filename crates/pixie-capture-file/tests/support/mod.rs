//! Captures made by hand, and events in a form that is easy to compare.
#![allow(dead_code, unreachable_pub, missing_docs)] // Each test file uses a part.

use etherparse::PacketBuilder;
use pixie_capture_file::CaptureFile;
use pixie_core::id::Direction;
use pixie_core::record::Cause;
use pixie_probes::event::{Event, EventSource as _};
use std::io::Cursor;

pub const CLIENT: [u8; 4] = [10, 0, 0, 1];
pub const SERVER: [u8; 4] = [10, 0, 0, 2];

/// A packet for a capture: when, in nanoseconds, and what.
pub struct Packet {
    pub time: u64,
    pub bytes: Vec<u8>,
    /// The length it had before it was cut.
    pub original: u32,
}

impl Packet {
    pub fn new(time: u64, bytes: Vec<u8>) -> Self {
        let original = bytes.len() as u32;
        Self { time, bytes, original }
    }

    pub fn cut(mut self, length: usize) -> Self {
        self.bytes.truncate(length);
        self
    }
}

pub fn udp(time: u64, source: u16, destination: u16, payload: &[u8]) -> Packet {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4(CLIENT, SERVER, 64)
        .udp(source, destination)
        .write(&mut bytes, payload)
        .unwrap();
    Packet::new(time, bytes)
}

/// A TCP segment between [`CLIENT`]:40000 and [`SERVER`]:80.
#[derive(Clone, Copy, Default)]
pub struct Tcp<'a> {
    pub time: u64,
    pub from_server: bool,
    pub sequence: u32,
    pub acknowledgment: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub payload: &'a [u8],
}

impl Tcp<'_> {
    pub fn packet(self) -> Packet {
        let ((from, source), (to, destination)) = if self.from_server {
            ((SERVER, 80), (CLIENT, 40000))
        } else {
            ((CLIENT, 40000), (SERVER, 80))
        };
        let mut tcp = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from, to, 64).tcp(
            source,
            destination,
            self.sequence,
            1000,
        );
        if let Some(acknowledgment) = self.acknowledgment {
            tcp = tcp.ack(acknowledgment);
        }
        if self.syn {
            tcp = tcp.syn();
        }
        if self.fin {
            tcp = tcp.fin();
        }
        if self.rst {
            tcp = tcp.rst();
        }
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, self.payload).unwrap();
        Packet::new(self.time, bytes)
    }
}

/// A pcap file with nanoseconds.
pub fn pcap(link_type: u32, packets: &[Packet]) -> Vec<u8> {
    pcap_with(link_type, packets, 0xa1b2_3c4d, u32::to_le_bytes)
}

/// A pcap file with this magic number and byte order.
pub fn pcap_with(
    link_type: u32,
    packets: &[Packet],
    magic: u32,
    word: fn(u32) -> [u8; 4],
) -> Vec<u8> {
    let unit = if magic == 0xa1b2_3c4d { 1 } else { 1000 };
    // The version is two halfwords: 2 and 4.
    let version = if word(1)[0] == 1 { 0x0004_0002 } else { 0x0002_0004 };
    let mut file = Vec::new();
    for value in [magic, version, 0, 0, 262_144, link_type] {
        file.extend(word(value));
    }
    for packet in packets {
        let (seconds, rest) = (packet.time / 1_000_000_000, packet.time % 1_000_000_000 / unit);
        let length = packet.bytes.len() as u32;
        for value in [seconds as u32, rest as u32, length, packet.original] {
            file.extend(word(value));
        }
        file.extend(&packet.bytes);
    }
    file
}

/// Every event of a capture, a line each.
pub fn events(file: Vec<u8>) -> Vec<String> {
    play(CaptureFile::new(Cursor::new(file)).unwrap()).0
}

/// Every event of a capture, a line each, and the capture afterwards.
pub fn play(mut capture: CaptureFile) -> (Vec<String>, CaptureFile) {
    let mut lines = Vec::new();
    let mut handler = |event: Event<'_>| lines.push(line(event));
    while capture.poll(false, &mut handler) > 0 {}
    capture.poll(true, &mut handler);
    assert_eq!(capture.counters().seen, lines.len() as u64);
    (lines, capture)
}

fn line(event: Event<'_>) -> String {
    match event {
        Event::Open(open) => {
            let role = open.role.map_or("?", |role| role.as_str());
            let (local, remote) = (open.local.as_ref().unwrap(), open.remote.as_ref().unwrap());
            format!("open {} {role} {local} -> {remote}", open.transport.as_str())
        }
        Event::Data(data) => {
            let arrow = if data.direction == Direction::Sent { '>' } else { '<' };
            let (position, length) = (data.position, data.length);
            let text = String::from_utf8_lossy(data.captured);
            match (data.end, data.hole) {
                (true, _) => format!("end {arrow} {position}"),
                (_, Cause::Unobserved) => format!("gap {arrow} {position}+{length}"),
                _ => format!("data {arrow} {position}+{length} {text}").trim_end().to_owned(),
            }
        }
        Event::Close(close) => format!("close {:?}", close.positions),
        _ => panic!("a capture knows nothing of {event:?}"),
    }
}
