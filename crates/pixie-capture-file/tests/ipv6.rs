//! IPv6 and its extension headers.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_capture_file::{CaptureFile, Skipped, Summary};
use std::io::Cursor;
use support::{Packet, pcap, play};

/// Numbers of <https://www.iana.org/assignments/protocol-numbers>.
const HOP_BY_HOP: u8 = 0;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const LINKTYPE_RAW: u32 = 101;

/// A UDP datagram from 2001:db8::1 to 2001:db8::2, after these extension headers: each without the
/// number of what follows it.
fn packet(extensions: &[(u8, &[u8])]) -> Packet {
    let mut rest = [&40_000_u16.to_be_bytes()[..], &[0, 53, 0, 13, 0, 0], b"query"].concat();
    let mut next = UDP;
    for (kind, header) in extensions.iter().rev() {
        rest = [&[next], *header, &rest].concat();
        next = *kind;
    }
    let address = |last| [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let length = (rest.len() as u16).to_be_bytes();
    let start = [0x60, 0, 0, 0, length[0], length[1], next, 64];
    Packet::new(1, [&start[..], &address(1), &address(2), &rest].concat())
}

fn run(packets: &[Packet]) -> (Vec<String>, Summary) {
    let file = pcap(LINKTYPE_RAW, packets);
    let (lines, capture) = play(CaptureFile::new(Cursor::new(file)).unwrap());
    (lines, capture.summary().clone())
}

/// Every extension header that is stepped over, 56 bytes in all.
const EXTENSIONS: [(u8, &[u8]); 5] = [
    (HOP_BY_HOP, &[0; 7]),
    (ROUTING, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    // Of a datagram that is whole.
    (FRAGMENT, &[0, 0, 0, 0, 0, 0, 7]),
    (AUTHENTICATION, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    (DESTINATION, &[0; 7]),
];

const QUERY: [&str; 3] = [
    "open udp ? [2001:db8::1]:40000 -> [2001:db8::2]:53",
    "data > 0+5 query",
    "close [None, None]",
];

#[test]
fn extension_headers_are_stepped_over() {
    assert_eq!(run(&[packet(&[])]).0, QUERY);
    for extension in EXTENSIONS {
        assert_eq!(run(&[packet(&[extension])]).0, QUERY, "{extension:?}");
    }
    assert_eq!(run(&[packet(&EXTENSIONS)]).0, QUERY);
}

#[test]
fn headers_that_were_cut_are_counted() {
    let headers = 40 + 56 + 8;
    for length in 1..headers {
        let (lines, summary) = run(&[packet(&EXTENSIONS).cut(length)]);
        assert!(lines.is_empty(), "{length}: {lines:?}");
        assert_eq!(summary.skipped(Skipped::TruncatedHeader), 1, "{length}");
    }
    let (lines, _) = run(&[packet(&EXTENSIONS).cut(headers + 2)]);
    assert_eq!(lines[1], "data > 0+5 qu");
}

#[test]
fn headers_that_reach_beyond_the_packet_are_counted() {
    for kind in [HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION] {
        let (lines, summary) = run(&[packet(&[(kind, &[200, 0, 0, 0, 0, 0, 0])])]);
        assert!(lines.is_empty(), "{kind}: {lines:?}");
        assert_eq!(summary.skipped(Skipped::MalformedHeader), 1, "{kind}");
    }
}

#[test]
fn fragments_are_put_together() {
    let whole = packet(&[]).bytes;
    let datagram = &whole[40..];
    let part = |from: usize, to: usize| {
        let place = from as u16 | u16::from(to < datagram.len());
        let place = place.to_be_bytes();
        let header = [UDP, 0, place[0], place[1], 0, 0, 0, 7];
        let mut bytes = [&whole[..40], &header, &datagram[from..to]].concat();
        bytes[5] = (8 + to - from) as u8;
        bytes[6] = FRAGMENT;
        Packet::new(1, bytes)
    };
    let (lines, summary) = run(&[part(8, 13), part(0, 8)]);
    assert_eq!(lines, QUERY);
    assert_eq!((summary.fragments_joined, summary.udp_datagrams), (1, 1));
}
