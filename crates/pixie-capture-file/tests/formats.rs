//! File formats, link types and damaged files.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_capture_file::{CaptureFile, CaptureFileError, Skipped};
use pixie_probes::event::{Event, EventSource as _};
use std::io::Cursor;
use support::{Packet, events, pcap, pcap_with, play, udp};

const TIME: u64 = 1_700_000_000_123_456_000;

const QUERY: [&str; 3] =
    ["open udp ? 10.0.0.1:40000 -> 10.0.0.2:53", "data > 0+5 query", "close [None, None]"];

fn query() -> Packet {
    udp(TIME, 40_000, 53, b"query")
}

fn capture(file: Vec<u8>) -> CaptureFile {
    CaptureFile::new(Cursor::new(file)).unwrap()
}

/// When the first event happened.
fn time(file: Vec<u8>) -> u64 {
    let mut time = None;
    capture(file).poll(false, &mut |event| {
        if let Event::Open(open) = event {
            time.get_or_insert(open.time.0);
        }
    });
    time.unwrap()
}

/// Writes pcapng in one byte order.
struct PcapNg {
    big_endian: bool,
    file: Vec<u8>,
}

impl PcapNg {
    fn new(big_endian: bool) -> Self {
        let mut this = Self { big_endian, file: Vec::new() };
        this.section();
        this
    }

    fn word(&self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn half(&self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn section(&mut self) {
        let length = [0xff; 8];
        let body = [&self.word(0x1a2b_3c4d)[..], &self.half(1), &self.half(0), &length].concat();
        self.block(0x0a0d_0d0a, &body);
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = self.word((12 + body.len() + padding.len()) as u32);
        self.file.extend(self.word(kind));
        self.file.extend(length);
        self.file.extend([body, &padding].concat());
        self.file.extend(length);
    }

    fn interface(&mut self, link_type: u16, options: &[(u16, &[u8])]) {
        let mut body = [&self.half(link_type)[..], &[0; 2], &self.word(0)].concat();
        for (code, value) in options {
            body.extend(self.half(*code));
            body.extend(self.half(value.len() as u16));
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body.extend([0; 4]);
        self.block(1, &body);
    }

    fn packet(&mut self, interface: u32, ticks: u64, bytes: &[u8]) {
        let length = bytes.len() as u32;
        let words = [interface, (ticks >> 32) as u32, ticks as u32, length, length];
        let body = words.iter().flat_map(|&word| self.word(word)).chain(bytes.iter().copied());
        self.block(6, &body.collect::<Vec<_>>());
    }
}

#[test]
fn pcap_is_read_in_both_byte_orders_and_resolutions() {
    for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
        for word in [u32::to_le_bytes, u32::to_be_bytes] {
            let file = pcap_with(1, &[query()], magic, word);
            assert_eq!(time(file.clone()), TIME);
            assert_eq!(events(file), QUERY);
        }
    }
}

#[test]
fn pcapng_is_read_in_both_byte_orders() {
    for big_endian in [false, true] {
        let mut file = PcapNg::new(big_endian);
        file.interface(1, &[]);
        file.packet(0, TIME / 1000, &query().bytes);
        assert_eq!(time(file.file.clone()), TIME);
        assert_eq!(events(file.file), QUERY);
    }
}

#[test]
fn the_resolution_and_offset_of_an_interface_count() {
    for big_endian in [false, true] {
        let offset = 1_000_000_000_u64;
        let offset = if big_endian { offset.to_be_bytes() } else { offset.to_le_bytes() };
        for (resolution, ticks, nanoseconds) in [
            (9, 5_000_000_007, 5_000_000_007),
            (0, 5, 5_000_000_000),
            (0x80 | 10, 5 << 10 | 512, 5_500_000_000),
        ] {
            let mut file = PcapNg::new(big_endian);
            file.interface(1, &[(9, &[resolution]), (14, &offset)]);
            file.packet(0, ticks, &query().bytes);
            assert_eq!(time(file.file), 1_000_000_000_000_000_000 + nanoseconds);
        }
    }
}

#[test]
fn interfaces_have_their_own_link_types_and_sections_their_own_interfaces() {
    let mut file = PcapNg::new(true);
    file.interface(147, &[]); // for private use
    file.interface(1, &[]);
    file.packet(0, 1, &query().bytes);
    file.packet(1, 1, &query().bytes);
    file.packet(2, 1, &query().bytes);
    file.big_endian = false;
    file.section();
    file.interface(101, &[]);
    file.packet(0, 2, &query().bytes[14..]);
    file.packet(1, 2, &query().bytes);
    let (lines, capture) = play(capture(file.file));
    assert_eq!(lines, [QUERY[0], QUERY[1], QUERY[1], QUERY[2]]);
    assert_eq!(capture.summary().skipped(Skipped::UnknownLinkType), 1);
    assert_eq!(capture.summary().skipped(Skipped::UnknownInterface), 2);
}

#[test]
fn simple_packets_and_other_blocks_are_read() {
    let mut file = PcapNg::new(false);
    file.interface(1, &[]);
    let packet = query().bytes;
    file.block(3, &[&(packet.len() as u32).to_le_bytes()[..], &packet].concat());
    file.block(0x0bad, b"private");
    file.block(2, &[0; 24]);
    // Statistics of interface 0: 7 packets dropped by the interface.
    let dropped = [&[0; 12][..], &[5, 0, 8, 0], &7_u64.to_le_bytes(), &[0; 4]].concat();
    file.block(5, &dropped);
    let (lines, mut capture) = play(capture(file.file));
    assert_eq!(lines, QUERY);
    assert_eq!(capture.summary().skipped(Skipped::ObsoleteBlock), 1);
    assert_eq!(capture.summary().packets_dropped, 7);
    assert_eq!(capture.counters().dropped, 7);
}

#[test]
fn link_types_are_stepped_over() {
    let ethernet = query().bytes;
    let ip = &ethernet[14..];
    let vlan = [&ethernet[..12], &[0x81, 0, 0, 5, 0x88, 0xa8, 0, 6, 0x08, 0], ip].concat();
    let cooked1 = [&[0; 14][..], &[0x08, 0], ip].concat();
    let cooked2 = [&[0x08, 0][..], &[0; 18], ip].concat();
    for (link_type, bytes) in [
        (0, [&[2, 0, 0, 0], ip].concat()),
        (0, [&[0, 0, 0, 2], ip].concat()),
        (1, vlan),
        (12, ip.to_vec()),
        (14, ip.to_vec()),
        (101, ip.to_vec()),
        (108, [&[0, 0, 0, 2], ip].concat()),
        (113, cooked1),
        (228, ip.to_vec()),
        (276, cooked2),
    ] {
        assert_eq!(events(pcap(link_type, &[Packet::new(1, bytes)])), QUERY, "{link_type}");
    }
}

#[test]
fn a_malformed_block_is_stepped_over() {
    let mut file = PcapNg::new(false);
    file.block(6, &[0; 8]);
    file.interface(1, &[]);
    file.packet(0, 1, &query().bytes);
    let (lines, capture) = play(capture(file.file));
    assert_eq!(lines, QUERY);
    assert_eq!(capture.summary().skipped(Skipped::MalformedBlock), 1);
    assert!(capture.error().is_none());
}

#[test]
fn a_file_cut_short_gives_what_it_has_and_says_so() {
    let packets = [query(), query()];
    let whole = pcap(1, &packets);
    let packet = 16 + packets[1].bytes.len();
    for missing in 1..packet {
        let (lines, capture) = play(capture(whole[..whole.len() - missing].to_vec()));
        assert_eq!(lines, QUERY);
        let offset = (whole.len() - packet) as u64;
        match capture.error() {
            Some(CaptureFileError::CutShort { offset: told }) => assert_eq!(*told, offset),
            other => panic!("{other:?}"),
        }
    }
    let mut file = PcapNg::new(false);
    file.interface(1, &[]);
    file.packet(0, 1, &query().bytes);
    let first = file.file.len();
    file.packet(0, 1, &query().bytes);
    for length in first + 1..file.file.len() {
        let (lines, capture) = play(capture(file.file[..length].to_vec()));
        assert_eq!(lines, QUERY);
        assert!(matches!(capture.error(), Some(CaptureFileError::CutShort { .. })));
    }
}

#[test]
fn a_length_that_makes_no_sense_ends_the_file() {
    let mut file = pcap(1, &[query()]);
    file.extend([0xff; 32]);
    let mut next_generation = PcapNg::new(false);
    next_generation.interface(1, &[]);
    next_generation.packet(0, 1, &query().bytes);
    next_generation.file.extend([6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0]);
    for file in [file, next_generation.file] {
        let (lines, capture) = play(capture(file));
        assert_eq!(lines, QUERY);
        assert!(matches!(capture.error(), Some(CaptureFileError::Damaged { .. })));
    }
}

#[test]
fn what_is_no_capture_is_refused() {
    for start in [&b""[..], b"abc", b"GET / HTTP/1.1\r\n", b"\x1f\x8b\x08\x00\x00\x00\x00"] {
        match CaptureFile::new(Cursor::new(start.to_vec())) {
            Err(CaptureFileError::Unrecognised { start: told }) => {
                assert_eq!(told, start[..start.len().min(4)]);
            }
            other => panic!("{:?}", other.err()),
        }
    }
    let missing = CaptureFile::open("no/such.pcap".as_ref()).err().unwrap();
    assert!(missing.to_string().starts_with("cannot open no/such.pcap: "), "{missing}");
}

#[test]
fn packets_that_tell_nothing_are_counted_by_reason() {
    let arp = [&query().bytes[..12], &[0x08, 0x06], &[0; 28]].concat();
    let mut icmp = query().bytes;
    icmp[14 + 9] = 1;
    let mut bad_udp = query().bytes;
    bad_udp[14 + 20 + 4..][..2].copy_from_slice(&[0, 3]);
    let mut bad_ip = query().bytes;
    bad_ip[14] = 0x41;
    let mut packets: Vec<_> =
        [arp, icmp, bad_udp, bad_ip].map(|bytes| Packet::new(0, bytes)).into();
    packets.push(query().cut(14 + 20 + 4));
    packets.push(query().cut(14 + 8));
    let (lines, capture) = play(capture(pcap(1, &packets)));
    assert!(lines.is_empty(), "{lines:?}");
    let summary = capture.summary();
    let counts = [
        (Skipped::NotIp, 1),
        (Skipped::OtherTransport, 1),
        (Skipped::MalformedHeader, 2),
        (Skipped::TruncatedHeader, 2),
    ];
    for (reason, count) in counts {
        assert_eq!(summary.skipped(reason), count, "{reason}");
    }
    assert_eq!(summary.packets, 6);
}
