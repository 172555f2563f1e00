//! Effort grows with the bytes, not with their square.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Eight times the bytes may take this many times as long: linear effort takes 8 times, quadratic
/// 64 times.
const GENEROUS: u32 = 24;

/// Measures again and again, and takes the fastest, until that is linear: other programs on the
/// machine can only make it slower.
#[track_caller]
pub fn assert_linear(act: impl Fn(usize)) {
    let origin = Instant::now();
    let now = || on_processor().unwrap_or_else(|| origin.elapsed());
    let time = |size: usize| {
        let start = now();
        act(size);
        now().saturating_sub(start)
    };
    let (mut small, mut large) = (Duration::MAX, Duration::MAX);
    let is_linear = (0..20).any(|_| {
        small = small.min(time(4 << 10));
        large = large.min(time(32 << 10));
        large < small * GENEROUS + Duration::from_millis(1)
    });
    assert!(is_linear, "{small:?} for 4 KiB, {large:?} for 32 KiB");
}

/// How long this thread has been on a processor: on a busy machine, what takes longer than a slice
/// of time would seem to take several times as long. `None` where the kernel does not tell.
fn on_processor() -> Option<Duration> {
    // The kernel adds up when it switches, or might have.
    thread::yield_now();
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = statistics.split(' ').next()?.parse().ok()?;
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}
