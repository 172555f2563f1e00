//! A capture file through the whole pipeline: whatever is in it, nothing panics, what is held stays
//! bounded, and the accounts balance.
#![no_main]

mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie::protocols::stream::StreamLimits;
use pixie::sinks::each;
use pixie::{ConnectionLimits, Record, Replay};
use pixie_capture_file::{CaptureFile, Skipped, Summary};
use std::io::Cursor;
use std::time::Duration;

/// So few that they are reached.
const CONNECTIONS: usize = 16;

fuzz_target!(|file: &[u8]| {
    let Ok(capture) = CaptureFile::new(Cursor::new(file.to_vec())) else { return };
    let mut capture = capture.with_connection_limit(CONNECTIONS);
    let limits = StreamLimits::default().with_held_for(Duration::MAX);
    // Also what a person would see.
    let sink = each(|record: &Record| drop(record.to_string()));
    // The capture alone says when connections end.
    let connections = ConnectionLimits::default().with_idle(Duration::MAX);
    let replay = Replay::new().sink(sink).stream_limits(limits).connection_limits(connections);
    let player = replay.start();
    let mut player = player.expect("a replay without protocols of its own starts");

    while player.play(&mut capture, false) > 0 {
        assert!(player.stats().connections.open <= CONNECTIONS as u64);
    }
    player.play(&mut capture, true);
    let stats = player.finish();

    assert_eq!(stats.capture.events_seen, stats.capture.events_reserved);
    let stream = &stats.stream;
    assert_eq!(stream.bytes_total, stream.bytes_delivered + stream.bytes_in_gaps);
    let connections = &stats.connections;
    assert_eq!(connections.opened, capture.summary().connections);
    assert_eq!((connections.closed, connections.evicted), (connections.opened, 0));
    assert_every_packet_is_accounted_for(capture.summary());
});

fn assert_every_packet_is_accounted_for(summary: &Summary) {
    let skipped = Skipped::ALL
        .iter()
        .filter(|reason| **reason != Skipped::MalformedBlock)
        .map(|reason| summary.skipped(*reason))
        .sum::<u64>();
    let used = summary.tcp_segments + summary.udp_datagrams + summary.fragments_joined;
    assert_eq!(summary.packets, used + skipped);
    assert_eq!(summary.fragments_held, 0);
}
