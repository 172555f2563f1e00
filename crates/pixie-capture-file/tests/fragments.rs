//! IP datagrams that came in several packets.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use etherparse::{IpFragOffset, Ipv4Header};
use pixie_capture_file::{CaptureFile, Skipped, Summary};
use std::io::Cursor;
use support::{CLIENT, Packet, SERVER, pcap, play, udp};

const SECOND: u64 = 1_000_000_000;

/// The part `offset..end` of the UDP datagram with this payload, in the IP datagram with this
/// identification.
fn fragment(time: u64, identification: u16, payload: &[u8], offset: usize, end: usize) -> Packet {
    let whole = udp(0, 40_000, 53, payload).bytes;
    let (ethernet, datagram) = (&whole[..14], &whole[14 + 20..]);
    let end = end.min(datagram.len());
    let part = &datagram[offset..end];
    let mut header =
        Ipv4Header::new(part.len() as u16, 64, etherparse::IpNumber::UDP, CLIENT, SERVER).unwrap();
    header.identification = identification;
    header.dont_fragment = false;
    header.more_fragments = end < datagram.len();
    header.fragment_offset = IpFragOffset::try_new(offset as u16 / 8).unwrap();
    let mut bytes = ethernet.to_vec();
    header.write(&mut bytes).unwrap();
    bytes.extend_from_slice(part);
    Packet::new(time, bytes)
}

fn summary(packets: &[Packet]) -> (Vec<String>, Summary) {
    let (lines, capture) = play(CaptureFile::new(Cursor::new(pcap(1, packets))).unwrap());
    let summary = capture.summary();
    let skipped: u64 = Skipped::ALL.iter().map(|&reason| summary.skipped(reason)).sum();
    assert_eq!(summary.fragments_held, 0, "nothing is held in the end");
    assert_eq!(
        summary.packets,
        summary.udp_datagrams + summary.fragments_joined + skipped,
        "every packet is accounted for"
    );
    (lines, summary.clone())
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let payload = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let parts = [(0, 16), (16, 32), (32, 44)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let packets = order.map(|index| {
            let (start, end) = parts[index];
            fragment(0, 7, payload, start, end)
        });
        let (lines, summary) = summary(&packets);
        assert_eq!(
            lines,
            [
                "open udp ? 10.0.0.1:40000 -> 10.0.0.2:53",
                "data > 0+36 0123456789abcdefghijklmnopqrstuvwxyz",
                "close [None, None]"
            ]
        );
        assert_eq!((summary.fragments_joined, summary.udp_datagrams), (2, 1));
    }
}

#[test]
fn a_fragment_that_comes_too_late_is_counted() {
    let packets =
        [fragment(0, 7, b"0123456789", 0, 8), fragment(61 * SECOND, 7, b"0123456789", 8, 18)];
    let (lines, summary) = summary(&packets);
    assert!(lines.is_empty(), "{lines:?}");
    assert_eq!(summary.skipped(Skipped::LoneFragment), 2);
}

#[test]
fn incomplete_datagrams_are_bounded() {
    let packets = (0..1000).map(|id| fragment(0, id, b"0123456789", 0, 8)).collect::<Vec<_>>();
    let (_, summary) = summary(&packets);
    assert_eq!(summary.skipped(Skipped::LoneFragment), 1000);
}

#[test]
fn fragments_that_contradict_or_were_cut_are_counted() {
    let packets = [
        fragment(0, 7, b"0123456789", 8, 18),
        fragment(0, 7, b"0123456789abcdefghij", 8, 28),
        fragment(0, 8, b"0123456789", 0, 8).cut(14 + 20 + 4),
    ];
    let (_, summary) = summary(&packets);
    assert_eq!(summary.skipped(Skipped::MalformedFragment), 1);
    assert_eq!(summary.skipped(Skipped::TruncatedFragment), 1);
    assert_eq!(summary.skipped(Skipped::LoneFragment), 1);
}
