//! Reassembly: any transfers of a known content, in any order.
//!
//! Checked is that every byte is delivered in its place or missing, never something else; that the
//! counters add up; that what is held stays within the limits; and that with unlimited patience
//! nothing that was captured is missing.
#![no_main]

mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;
use pixie_protocols::stream::{Arrival, Piece, Stream, StreamLimits};
use std::time::Duration;

const CONTENT: usize = 1 << 12;

/// A transfer out of the content, at a time.
struct Transfer {
    start: usize,
    length: usize,
    captured: usize,
    time: u64,
}

/// Six bytes a transfer.
fn transfers(input: &[u8]) -> Vec<Transfer> {
    let mut time = 0;
    let mut transfers = Vec::new();
    for bytes in input.chunks_exact(6) {
        let &[start_high, start_low, length, captured, delay, _] = bytes else { continue };
        let start = usize::from(u16::from_be_bytes([start_high, start_low])) % CONTENT;
        let length = usize::from(length).min(CONTENT - start);
        time += u64::from(delay);
        transfers.push(Transfer { start, length, captured: length.min(captured.into()), time });
    }
    transfers
}

/// Delivers everything; returns what became of each byte.
fn deliver(
    transfers: &[Transfer],
    origin: u32,
    limits: StreamLimits,
    content: &[u8],
) -> Vec<Option<u8>> {
    let mut stream = Stream::new(limits);
    stream.start_at(origin);
    let mut delivered: Vec<Option<u8>> = Vec::new();
    let mut act = |stream: &mut Stream,
                   act: &mut dyn FnMut(&mut Stream, &mut dyn FnMut(Piece<'_>))| {
        act(stream, &mut |piece| match piece {
            Piece::Bytes { bytes, .. } => delivered.extend(bytes.iter().copied().map(Some)),
            Piece::Gap { length, .. } => delivered.extend((0..length).map(|_| None)),
        });
        let stats = stream.stats();
        assert_eq!(stats.bytes_total, stats.bytes_delivered + stats.bytes_in_gaps);
        assert_eq!(stats.bytes_total, delivered.len() as u64);
    };
    for &Transfer { start, length, captured, time } in transfers {
        let arrival = Arrival {
            position: origin.wrapping_add(start as u32),
            time: MonotonicTime(time),
            length: length as u32,
            captured: &content[start..start + captured],
            hole: Cause::CaptureLimit,
        };
        act(&mut stream, &mut |stream, deliver| stream.push(arrival, deliver));
        let most = limits.held_bytes.saturating_add(limits.held_segments.saturating_mul(128));
        assert!(stream.memory() <= most);
    }
    let end = origin.wrapping_add(CONTENT as u32);
    act(&mut stream, &mut |stream, deliver| stream.finish(Some(end), MonotonicTime(0), deliver));
    assert_eq!(stream.memory(), 0);
    assert_eq!(delivered.len(), CONTENT);
    for (byte, expected) in delivered.iter().zip(content) {
        assert!(byte.is_none_or(|byte| byte == *expected));
    }
    delivered
}

fuzz_target!(|input: &[u8]| {
    let Some((&[a, b, c, d, bytes, segments], input)) = input.split_first_chunk::<6>() else {
        return;
    };
    let origin = u32::from_be_bytes([a, b, c, d]);
    let content: Vec<u8> = (0..CONTENT).map(|at| (at % 251) as u8).collect();
    let mut transfers = transfers(input);

    let limits = StreamLimits {
        held_bytes: usize::from(bytes) * 16,
        held_segments: segments.into(),
        held_for: Duration::from_nanos(500),
    };
    deliver(&transfers, origin, limits, &content);

    // With unlimited patience, and everything waiting for the first byte, nothing is missing.
    transfers.retain(|transfer| transfer.start > 0);
    transfers.push(Transfer { start: 0, length: 1, captured: 1, time: 0 });
    let patient =
        StreamLimits { held_bytes: usize::MAX, held_segments: usize::MAX, held_for: Duration::MAX };
    let delivered = deliver(&transfers, origin, patient, &content);
    for (at, byte) in delivered.iter().enumerate() {
        let captured = |t: &Transfer| (t.start..t.start + t.captured).contains(&at);
        assert_eq!(byte.is_some(), transfers.iter().any(captured), "at {at}");
    }
});
