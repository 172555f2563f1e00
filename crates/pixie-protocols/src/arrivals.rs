//! When bytes came that are held.

use pixie_core::time::MonotonicTime;

/// When each of some bytes came. They are held because it is not known yet with which of them a
/// message begins.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    first: MonotonicTime,
    /// From which byte on another time holds, in order.
    later: Vec<(usize, MonotonicTime)>,
}

impl Arrivals {
    /// They came at this time.
    pub(crate) fn at(time: MonotonicTime) -> Self {
        Self { first: time, later: Vec::new() }
    }

    /// The bytes from `place` on, which is behind all others, came at this time.
    pub(crate) fn push(&mut self, place: usize, time: MonotonicTime) {
        if self.of(place) != time {
            self.later.push((place, time));
        }
    }

    /// When the byte at `place` came.
    pub(crate) fn of(&self, place: usize) -> MonotonicTime {
        let before = self.later.partition_point(|(from, _)| *from <= place);
        let last = before.checked_sub(1).and_then(|last| self.later.get(last));
        last.map_or(self.first, |(_, time)| *time)
    }

    /// Those of the bytes from `place` on, which is the first of them.
    pub(crate) fn after(&self, place: usize) -> Self {
        let later = self.later.iter().filter(|(from, _)| *from > place);
        let later = later.map(|(from, time)| (from - place, *time)).collect();
        Self { first: self.of(place), later }
    }

    /// Bytes of memory that are held.
    pub(crate) fn memory(&self) -> usize {
        self.later.capacity() * size_of::<(usize, MonotonicTime)>()
    }
}

#[cfg(test)]
mod tests {
    use super::Arrivals;
    use pixie_core::time::MonotonicTime;

    #[test]
    fn bytes_keep_their_times_when_those_before_them_are_gone() {
        let mut arrivals = Arrivals::at(MonotonicTime(1));
        for (place, time) in [(2, 1), (4, 2), (5, 3)] {
            arrivals.push(place, MonotonicTime(time));
        }
        let times = |arrivals: &Arrivals| [0, 1, 2, 3].map(|place| arrivals.of(place).0);
        assert_eq!(times(&arrivals), [1, 1, 1, 1]);
        let arrivals = arrivals.after(2);
        assert_eq!(times(&arrivals), [1, 1, 2, 3]);
        let arrivals = arrivals.after(2);
        assert_eq!(times(&arrivals), [2, 3, 3, 3]);
        let arrivals = arrivals.after(9);
        assert_eq!(times(&arrivals), [3, 3, 3, 3]);
    }
}
