//! TCP connections: their ends, their order and what is missing of them.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_capture_file::{CaptureFile, Skipped};
use pixie_core::id::ConnectionId;
use pixie_probes::event::{Event, EventSource as _};
use std::io::Cursor;
use support::{Packet, Tcp, events, pcap, play};

const MILLISECOND: u64 = 1_000_000;

/// SYN, SYN with acknowledgment, acknowledgment: the client's stream starts at 101, the server's
/// at 501.
fn handshake() -> Vec<Packet> {
    let syn = Tcp { sequence: 100, syn: true, ..Tcp::default() };
    let accepted = Tcp {
        from_server: true,
        sequence: 500,
        acknowledgment: Some(101),
        syn: true,
        ..Tcp::default()
    };
    let done = Tcp { sequence: 101, acknowledgment: Some(501), ..Tcp::default() };
    vec![syn.packet(), accepted.packet(), done.packet()]
}

fn request(time: u64, sequence: u32, payload: &[u8]) -> Packet {
    Tcp { time, sequence, acknowledgment: Some(501), payload, ..Tcp::default() }.packet()
}

fn acknowledgment(time: u64, acknowledgment: u32) -> Packet {
    Tcp {
        time,
        from_server: true,
        sequence: 501,
        acknowledgment: Some(acknowledgment),
        ..Tcp::default()
    }
    .packet()
}

fn lines(packets: &[Packet]) -> Vec<String> {
    events(pcap(1, packets))
}

fn after_handshake(packets: impl IntoIterator<Item = Packet>) -> Vec<String> {
    let all = handshake().into_iter().chain(packets).collect::<Vec<_>>();
    let mut lines = lines(&all);
    assert_eq!(
        lines.drain(..3).collect::<Vec<_>>(),
        ["open tcp client 10.0.0.1:40000 -> 10.0.0.2:80", "data > 101+0", "data < 501+0"]
    );
    lines
}

#[test]
fn a_connection_is_told_from_its_client_to_its_end() {
    let response = Tcp {
        from_server: true,
        sequence: 501,
        acknowledgment: Some(105),
        payload: b"pong",
        fin: true,
        ..Tcp::default()
    };
    let fin = Tcp { sequence: 105, acknowledgment: Some(506), fin: true, ..Tcp::default() };
    assert_eq!(
        after_handshake([request(0, 101, b"ping"), response.packet(), fin.packet()]),
        [
            "data > 101+4 ping",
            "data < 501+4 pong",
            "end < 505",
            "end > 105",
            "close [Some(105), Some(505)]"
        ]
    );
}

#[test]
fn a_connection_joined_midway_is_told_from_the_higher_port() {
    let response = Tcp { from_server: true, sequence: 7, payload: b"pong", ..Tcp::default() };
    assert_eq!(
        lines(&[response.packet()]),
        ["open tcp ? 10.0.0.1:40000 -> 10.0.0.2:80", "data < 7+4 pong", "close [None, Some(11)]"]
    );
}

#[test]
fn a_reordered_segment_leaves_no_gap_and_the_end_waits_for_it() {
    let fin = Tcp { sequence: 109, fin: true, ..Tcp::default() };
    assert_eq!(
        after_handshake([
            request(0, 105, b"late"),
            fin.packet(),
            acknowledgment(1, 110),
            request(2, 101, b"soon"),
            acknowledgment(200 * MILLISECOND, 110),
        ]),
        ["data > 105+4 late", "data > 101+4 soon", "end > 109", "close [Some(109), Some(501)]"]
    );
}

#[test]
fn what_was_acknowledged_and_does_not_turn_up_is_a_gap() {
    let (lines, capture) = play(
        CaptureFile::new(Cursor::new(pcap(
            1,
            &handshake()
                .into_iter()
                .chain([
                    request(0, 111, b"after"),
                    acknowledgment(1, 116),
                    acknowledgment(101 * MILLISECOND, 116),
                    request(102 * MILLISECOND, 116, b"more"),
                ])
                .collect::<Vec<_>>(),
        )))
        .unwrap(),
    );
    assert_eq!(
        lines[3..],
        ["data > 111+5 after", "gap > 101+10", "data > 116+4 more", "close [Some(120), Some(501)]"]
    );
    assert_eq!(capture.summary().payload_bytes_missing, 10);
}

#[test]
fn what_is_missing_at_the_end_is_a_gap() {
    let fin = Tcp { sequence: 120, fin: true, ..Tcp::default() };
    assert_eq!(
        after_handshake([request(0, 111, b"after"), fin.packet()]),
        [
            "data > 111+5 after",
            "gap > 101+10",
            "gap > 116+4",
            "end > 120",
            "close [Some(120), Some(501)]"
        ]
    );
}

fn response(time: u64, acknowledgment: u32, payload: &[u8]) -> Packet {
    Tcp {
        time,
        from_server: true,
        sequence: 501,
        acknowledgment: Some(acknowledgment),
        payload,
        ..Tcp::default()
    }
    .packet()
}

#[test]
fn an_answer_does_not_overtake_its_question() {
    assert_eq!(
        after_handshake([response(0, 105, b"pong"), request(1, 101, b"ping")]),
        ["data > 101+4 ping", "data < 501+4 pong", "close [Some(105), Some(505)]"]
    );
}

#[test]
fn an_answer_waits_no_longer_than_its_question_may_be_late() {
    let later = Tcp {
        time: 100 * MILLISECOND,
        from_server: true,
        sequence: 505,
        payload: b"more",
        ..Tcp::default()
    };
    assert_eq!(
        after_handshake([response(0, 105, b"pong"), later.packet(), request(1, 101, b"ping")]),
        [
            "data < 505+4 more",
            "gap > 101+4",
            "data < 501+4 pong",
            "data > 101+4 ping",
            "close [Some(105), Some(509)]"
        ]
    );
}

#[test]
fn two_answers_to_questions_that_were_lost_do_not_wait_for_each_other() {
    let first = response(0, 105, b"pong");
    let second = request(1, 105, b"ping");
    let third = Tcp { sequence: 120, acknowledgment: Some(600), payload: b"?", ..Tcp::default() };
    assert_eq!(
        after_handshake([third.packet(), first, second]),
        [
            "data > 105+4 ping",
            "gap > 101+4",
            "gap < 505+95",
            "data < 501+4 pong",
            "data > 120+1 ?",
            "gap > 109+11",
            "close [Some(121), Some(600)]"
        ]
    );
}

#[test]
fn a_connection_that_was_forgotten_begins_anew() {
    // More packets than are read at once.
    let packets = (0..200).map(|time| support::udp(time, 40_000, 53, b"query"));
    let file = pcap(1, &packets.collect::<Vec<_>>());
    let mut capture = CaptureFile::new(Cursor::new(file)).unwrap();
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    let mut note = |event: Event<'_>| match event {
        Event::Open(open) => opened.push(open.connection.0),
        Event::Close(close) => closed.push(close.connection.0),
        _ => {}
    };
    assert!(capture.poll(false, &mut note) > 0);
    capture.forget(ConnectionId(1));
    capture.poll(true, &mut note);
    assert_eq!((opened, closed), (vec![1, 2], vec![2]));
}

#[test]
fn what_waits_is_bounded() {
    let payload = vec![b'x'; 60_000];
    let packets = (0..1000).map(|_| response(0, 105, &payload));
    let packets = handshake().into_iter().chain(packets).collect::<Vec<_>>();
    let mut capture = CaptureFile::new(Cursor::new(pcap(1, &packets))).unwrap();
    let mut told = 0;
    while capture.poll(false, &mut |_| told += 1) > 0 {}
    assert!(told > 1000 - (16 << 20) / 60_000, "{told} events told before the end");
}

#[test]
fn a_reset_ends_a_connection_but_late_segments_still_count() {
    let reset = Tcp { from_server: true, sequence: 501, rst: true, ..Tcp::default() };
    assert_eq!(
        after_handshake([
            request(0, 105, b"late"),
            reset.packet(),
            request(1, 101, b"soon"),
            acknowledgment(2000 * MILLISECOND, 0),
        ]),
        ["data > 105+4 late", "data > 101+4 soon", "close [Some(109), Some(501)]"]
    );
}

#[test]
fn a_port_used_again_is_another_connection() {
    let syn = Tcp { sequence: 900, syn: true, ..Tcp::default() };
    assert_eq!(
        after_handshake([request(0, 101, b"one"), syn.packet(), syn.packet()]),
        [
            "data > 101+3 one",
            "close [Some(104), Some(501)]",
            "open tcp client 10.0.0.1:40000 -> 10.0.0.2:80",
            "data > 901+0",
            "close [Some(901), None]"
        ]
    );
}

#[test]
fn what_was_not_captured_of_a_segment_is_in_its_length() {
    // 14 bytes of Ethernet, 20 of IPv4, 20 of TCP.
    assert_eq!(
        after_handshake([request(0, 101, b"a long request").cut(54 + 6)]),
        ["data > 101+14 a long", "close [Some(115), Some(501)]"]
    );
}

#[test]
fn sequence_numbers_wrap() {
    let near = u32::MAX - 1;
    let first = Tcp { sequence: near, payload: b"ping", ..Tcp::default() };
    let second = Tcp { sequence: 2, payload: b"pong", fin: true, ..Tcp::default() };
    assert_eq!(
        lines(&[first.packet(), second.packet()])[1..],
        ["data > 4294967294+4 ping", "data > 2+4 pong", "end > 6", "close [Some(6), None]"]
    );
}

#[test]
fn segments_that_tell_nothing_are_counted() {
    let wild = Tcp { sequence: 101 + (1 << 30) + 1, payload: b"x", ..Tcp::default() };
    let file = pcap(
        1,
        &[acknowledgment(0, 1)]
            .into_iter()
            .chain(handshake())
            .chain([wild.packet()])
            .collect::<Vec<_>>(),
    );
    let (_, capture) = play(CaptureFile::new(Cursor::new(file)).unwrap());
    let summary = capture.summary();
    assert_eq!(summary.skipped(Skipped::Stray), 1);
    assert_eq!(summary.skipped(Skipped::OutOfWindow), 1);
    assert_eq!((summary.packets, summary.tcp_segments), (5, 3));
}

#[test]
fn connections_are_bounded() {
    let packets: Vec<_> =
        (0..100).map(|port| support::udp(0, 40_000 + port, 53, b"query")).collect();
    let capture = CaptureFile::new(Cursor::new(pcap(1, &packets))).unwrap();
    let (lines, capture) = play(capture.with_connection_limit(10));
    let mut open = 0_i32;
    for line in &lines {
        open += i32::from(line.starts_with("open")) - i32::from(line.starts_with("close"));
        assert!(open <= 10, "{open} connections at once");
    }
    assert_eq!(open, 0, "every connection is closed in the end");
    assert_eq!(capture.summary().connections, 100);
    assert_eq!(capture.summary().connections_evicted, 90);
}
