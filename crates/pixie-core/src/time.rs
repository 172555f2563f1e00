//! Clocks: the kernel stamps events by its monotonic clock, people read the wall clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
///
/// For replayed captures it is the capture's own time stamp instead; differences mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MonotonicTime(pub u64);

impl MonotonicTime {
    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Now, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<WallTime> for SystemTime {
    fn from(time: WallTime) -> Self {
        UNIX_EPOCH + Duration::from_nanos(time.0)
    }
}

impl fmt::Display for WallTime {
    /// The time of day in UTC, to the millisecond: `14:03:59.120`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0 / 1_000_000;
        let (seconds, milliseconds) = (milliseconds / 1000 % 86_400, milliseconds % 1000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(formatter, "{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}")
    }
}

/// Turns monotonic times into wall-clock times by the offset between the two clocks.
///
/// The offset is taken when the clock is made; take a new one now and then, because the wall
/// clock is stepped and slewed and the monotonic one is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    offset: i128,
}

impl Clock {
    /// A clock by which `monotonic` and `wall` are the same moment.
    #[must_use]
    pub fn new(monotonic: MonotonicTime, wall: WallTime) -> Self {
        Self { offset: i128::from(wall.0) - i128::from(monotonic.0) }
    }

    /// The wall-clock time of `time`; saturates at the epoch and at the year 2554.
    #[must_use]
    pub fn wall(&self, time: MonotonicTime) -> WallTime {
        let nanoseconds = i128::from(time.0) + self.offset;
        WallTime(nanoseconds.clamp(0, i128::from(u64::MAX)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_maps_both_ways_around_its_origin() {
        let clock = Clock::new(MonotonicTime(1_000), WallTime(5_000_000));
        assert_eq!(clock.wall(MonotonicTime(1_500)), WallTime(5_000_500));
        assert_eq!(clock.wall(MonotonicTime(0)), WallTime(4_999_000));
    }

    #[test]
    fn a_clock_saturates() {
        let clock = Clock::new(MonotonicTime(10), WallTime(0));
        assert_eq!(clock.wall(MonotonicTime(0)), WallTime(0));
    }

    #[test]
    fn wall_time_reads_as_time_of_day() {
        assert_eq!(WallTime(3_723_004_000_000).to_string(), "01:02:03.004");
    }
}
