//! Effort grows with the bytes, not with their square.

use std::time::{Duration, Instant};

/// Eight times the bytes may take this many times as long: linear effort takes 8 times, quadratic
/// 64 times.
const GENEROUS: u32 = 24;

/// Measures again and again, and takes the fastest, until that is linear: other programs on the
/// machine can only make it slower.
#[track_caller]
pub fn assert_linear(act: impl Fn(usize)) {
    let time = |size: usize| {
        let start = Instant::now();
        act(size);
        start.elapsed()
    };
    let (mut small, mut large) = (Duration::MAX, Duration::MAX);
    let is_linear = (0..20).any(|_| {
        small = small.min(time(4 << 10));
        large = large.min(time(32 << 10));
        large < small * GENEROUS + Duration::from_millis(1)
    });
    assert!(is_linear, "{small:?} for 4 KiB, {large:?} for 32 KiB");
}
