//! What holds for a stream however its transfers arrive.

use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;
use pixie_protocols::stream::{Arrival, Piece, Stream, StreamLimits};
use proptest::prelude::*;
use std::time::Duration;

/// A stream and what it has delivered: bytes, and `None` for each byte of a gap.
struct Tried {
    stream: Stream,
    delivered: Vec<Option<u8>>,
    gaps: Vec<(u64, Cause)>,
}

impl Tried {
    fn new(limits: StreamLimits) -> Self {
        Self { stream: Stream::new(limits), delivered: Vec::new(), gaps: Vec::new() }
    }

    fn act(&mut self, act: impl FnOnce(&mut Stream, &mut dyn FnMut(Piece<'_>))) {
        let Self { stream, delivered, gaps } = self;
        act(stream, &mut |piece| match piece {
            Piece::Bytes { bytes, .. } => {
                assert!(!bytes.is_empty());
                delivered.extend(bytes.iter().copied().map(Some));
            }
            Piece::Gap { length, cause, .. } => {
                assert!(length > 0);
                gaps.push((length, cause));
                if length < 1 << 20 {
                    delivered.extend((0..length).map(|_| None));
                }
            }
        });
        let stats = self.stream.stats();
        assert_eq!(stats.bytes_total, stats.bytes_delivered + stats.bytes_in_gaps);
        assert_eq!(stats.gaps, self.gaps.len() as u64);
    }

    fn push(&mut self, position: u32, length: u32, captured: &[u8]) {
        self.push_at(0, position, length, captured);
    }

    fn push_at(&mut self, time: u64, position: u32, length: u32, captured: &[u8]) {
        let hole = Cause::CaptureLimit;
        let arrival = Arrival { position, time: MonotonicTime(time), length, captured, hole };
        self.act(|stream, deliver| stream.push(arrival, deliver));
    }

    fn finish(&mut self, position: Option<u32>) {
        self.act(|stream, deliver| stream.finish(position, MonotonicTime(0), deliver));
    }

    fn text(&self) -> String {
        self.delivered.iter().map(|byte| byte.map_or('.', char::from)).collect()
    }
}

fn forever() -> StreamLimits {
    StreamLimits::default().with_held_for(Duration::MAX)
}

#[test]
fn bytes_in_order_pass_through() {
    let mut tried = Tried::new(forever());
    tried.push(10, 3, b"abc");
    tried.push(13, 2, b"de");
    assert_eq!(tried.text(), "abcde");
    assert_eq!(tried.stream.memory(), 0);
}

#[test]
fn what_was_not_captured_is_a_gap_with_its_cause() {
    let mut tried = Tried::new(forever());
    tried.push(0, 5, b"abc");
    tried.push(5, 2, b"");
    tried.push(7, 1, b"d");
    assert_eq!(tried.text(), "abc....d");
    assert_eq!(tried.gaps, [(2, Cause::CaptureLimit), (2, Cause::CaptureLimit)]);
}

#[test]
fn what_comes_early_waits_for_its_turn() {
    let mut tried = Tried::new(forever());
    tried.push(0, 1, b"a");
    tried.push(3, 1, b"d");
    tried.push(2, 1, b"c");
    assert_eq!(tried.text(), "a");
    assert!(tried.stream.memory() > 0);
    tried.push(1, 1, b"b");
    assert_eq!(tried.text(), "abcd");
    assert_eq!(tried.stream.stats().out_of_order, 2);
    assert_eq!(tried.stream.memory(), 0);
}

#[test]
fn positions_wrap_around() {
    let mut tried = Tried::new(forever());
    tried.push(u32::MAX - 1, 2, b"ab");
    tried.push(2, 2, b"ef");
    tried.push(0, 2, b"cd");
    assert_eq!(tried.text(), "abcdef");
}

#[test]
fn what_comes_again_is_counted_and_left_out() {
    let mut tried = Tried::new(forever());
    tried.push(0, 4, b"abcd");
    tried.push(1, 2, b"bc");
    tried.push(2, 4, b"cdef");
    assert_eq!(tried.text(), "abcdef");
    assert_eq!(tried.stream.stats().bytes_duplicate, 4);
}

#[test]
fn a_duplicate_fills_the_hole_of_what_is_held() {
    let mut tried = Tried::new(forever());
    tried.push(0, 1, b"a");
    tried.push(2, 6, b"cd");
    tried.push(5, 2, b"fg");
    tried.push(1, 1, b"b");
    assert_eq!(tried.text(), "abcd.fg.");
}

#[test]
fn a_missing_piece_is_waited_for_only_so_long() {
    let mut tried = Tried::new(StreamLimits::default().with_held_for(Duration::from_nanos(100)));
    tried.push_at(0, 0, 1, b"a");
    tried.push_at(10, 5, 1, b"f");
    tried.act(|stream, deliver| stream.expire(MonotonicTime(110), deliver));
    assert_eq!(tried.text(), "a");
    tried.act(|stream, deliver| stream.expire(MonotonicTime(111), deliver));
    assert_eq!(tried.text(), "a....f");
    assert_eq!(tried.gaps, [(4, Cause::Unobserved)]);
    // What comes too late is not delivered out of its turn.
    tried.push_at(120, 1, 4, b"bcde");
    assert_eq!(tried.text(), "a....f");
    // Arrivals let time pass, too.
    tried.push_at(200, 7, 1, b"h");
    tried.push_at(301, 9, 1, b"j");
    assert_eq!(tried.text(), "a....f.h");
}

#[test]
fn what_is_held_is_bounded() {
    let limits = StreamLimits { held_bytes: 100, held_segments: 4, ..forever() };
    let mut tried = Tried::new(limits);
    tried.push(0, 1, b"a");
    tried.push(10, 101, &[b'x'; 101]);
    assert_eq!(tried.stream.memory(), 0);
    for at in 0..5 {
        tried.push(200 + 10 * at, 1, b"y");
    }
    assert_eq!(tried.gaps, [(9, Cause::Unobserved), (89, Cause::Unobserved)]);
}

#[test]
fn a_jump_costs_no_more_than_a_step() {
    let mut tried = Tried::new(forever());
    tried.push(0, 1, b"a");
    tried.push(3_000_000_000, 1, b"b");
    tried.finish(Some(3_000_000_101));
    assert_eq!(tried.gaps, [(2_999_999_999, Cause::Unobserved), (100, Cause::Unobserved)]);
    assert_eq!(tried.stream.stats().bytes_total, 3_000_000_101);
    tried.push(u32::MAX, u32::MAX, b"c");
    assert_eq!(tried.stream.stats().bytes_total, 3_000_000_101);
}

#[test]
fn a_transfer_may_be_as_long_as_can_be() {
    let mut tried = Tried::new(forever());
    tried.push(5, u32::MAX, b"a");
    tried.push(4, 2, b"bc");
    assert_eq!(tried.stream.stats().bytes_total, u64::from(u32::MAX) + 2);
}

#[test]
fn the_origin_can_be_known_before_the_first_arrival() {
    let mut tried = Tried::new(forever());
    tried.stream.start_at(7);
    tried.push(9, 1, b"c");
    tried.push(7, 2, b"ab");
    assert_eq!(tried.text(), "abc");
}

/// A transfer out of a stream of known content.
#[derive(Clone, Debug)]
struct Transfer {
    start: usize,
    length: usize,
    captured: usize,
}

const CONTENT: usize = 300;

fn content() -> Vec<u8> {
    (0..CONTENT).map(|at| (at % 251) as u8).collect()
}

fn transfers() -> impl Strategy<Value = Vec<Transfer>> {
    let transfer = (0..CONTENT, 0usize..60, 0usize..90).prop_map(|(start, length, captured)| {
        let length = length.min(CONTENT - start);
        Transfer { start, length, captured: captured.min(length) }
    });
    prop::collection::vec(transfer, 1..60)
}

proptest! {
    #[test]
    fn every_byte_is_delivered_in_its_place_or_missing(
        transfers in transfers(), origin in any::<u32>(), bytes in 0usize..200, segments in 0usize..8,
    ) {
        let content = content();
        let limits = StreamLimits { held_bytes: bytes, held_segments: segments, ..forever() };
        let mut tried = Tried::new(limits);
        tried.stream.start_at(origin);
        for Transfer { start, length, captured } in &transfers {
            let position = origin.wrapping_add(*start as u32);
            tried.push(position, *length as u32, &content[*start..start + captured]);
            prop_assert!(tried.stream.memory() <= bytes + segments * 128);
        }
        tried.finish(Some(origin.wrapping_add(CONTENT as u32)));
        prop_assert_eq!(tried.delivered.len(), CONTENT);
        prop_assert_eq!(tried.stream.stats().bytes_total, CONTENT as u64);
        for (at, byte) in tried.delivered.iter().enumerate() {
            prop_assert!(byte.is_none_or(|byte| byte == content[at]));
        }
    }

    #[test]
    fn nothing_is_missing_when_there_is_room_to_wait(
        mut transfers in transfers(), origin in any::<u32>(), shuffled in any::<bool>(),
    ) {
        let content = content();
        if !shuffled {
            transfers.sort_by_key(|transfer| transfer.start);
        }
        let limits = StreamLimits { held_bytes: usize::MAX, held_segments: usize::MAX, ..forever() };
        let mut tried = Tried::new(limits);
        tried.stream.start_at(origin);
        // All of it waits for the very first byte.
        for Transfer { start, length, captured } in &transfers {
            if *start > 0 {
                let position = origin.wrapping_add(*start as u32);
                tried.push(position, *length as u32, &content[*start..start + captured]);
            }
        }
        prop_assert!(tried.delivered.is_empty());
        tried.push(origin, 1, &content[..1]);
        tried.finish(Some(origin.wrapping_add(CONTENT as u32)));
        for at in 1..CONTENT {
            let was_captured = transfers
                .iter()
                .any(|t| t.start > 0 && (t.start..t.start + t.captured).contains(&at));
            prop_assert_eq!(tried.delivered[at].is_some(), was_captured, "at {}", at);
        }
    }
}
