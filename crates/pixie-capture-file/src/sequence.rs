//! TCP's sequence numbers, and which of them have been seen (RFC 9293, 3.4).

/// True when `a` comes before `b`, modulo 2^32.
pub(crate) fn before(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) > 0
}

/// The later of two.
pub(crate) fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// Which bytes of one direction have been seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Everything before this has been seen, or given up.
    next: u32,
    /// Ranges beyond, in order, that do not touch: `start..end`.
    ahead: Vec<(u32, u32)>,
}

/// The most ranges that are kept apart. With more, the gap before the first is given up.
const MAX_RANGES: usize = 32;

impl Seen {
    /// Nothing yet; the first byte will be this one.
    pub(crate) fn from(start: u32) -> Self {
        Self { next: start, ahead: Vec::new() }
    }

    /// The first byte that has not been seen.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// The place after the last byte that has been seen.
    pub(crate) fn end(&self) -> u32 {
        self.ahead.last().map_or(self.next, |&(_, end)| end)
    }

    /// Takes in the bytes `start..end`. Returns a gap that had to be given up for want of room.
    pub(crate) fn insert(&mut self, start: u32, end: u32) -> Option<(u32, u32)> {
        if !before(start, end) || !before(self.next, end) {
            return None;
        }
        let (mut start, mut end) = (later(start, self.next), end);
        self.ahead.retain(|&(other_start, other_end)| {
            let apart = before(end, other_start) || before(other_end, start);
            if !apart {
                start = if before(other_start, start) { other_start } else { start };
                end = later(end, other_end);
            }
            apart
        });
        let place = self.ahead.partition_point(|&(other, _)| before(other, start));
        self.ahead.insert(place, (start, end));
        self.advance();
        if self.ahead.len() > MAX_RANGES { self.give_up_first() } else { None }
    }

    /// Gives up the first gap before `limit`, and returns it.
    pub(crate) fn give_up(&mut self, limit: u32) -> Option<(u32, u32)> {
        if !before(self.next, limit) {
            return None;
        }
        match self.ahead.first() {
            Some(&(start, _)) if before(start, limit) => self.give_up_first(),
            _ => {
                let gap = (self.next, limit);
                self.next = limit;
                self.advance();
                Some(gap)
            }
        }
    }

    fn give_up_first(&mut self) -> Option<(u32, u32)> {
        let &(start, _) = self.ahead.first()?;
        let gap = (self.next, start);
        self.next = start;
        self.advance();
        Some(gap)
    }

    /// Moves `next` over the range that starts there.
    fn advance(&mut self) {
        if let Some(&(start, end)) = self.ahead.first()
            && !before(self.next, start)
        {
            self.next = later(self.next, end);
            self.ahead.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_order_leave_no_gap() {
        let mut seen = Seen::from(u32::MAX - 1);
        assert_eq!(seen.insert(u32::MAX - 1, 3), None);
        assert_eq!(seen.insert(3, 10), None);
        assert_eq!((seen.next(), seen.end()), (10, 10));
        assert_eq!(seen.give_up(10), None);
    }

    #[test]
    fn a_late_segment_fills_its_gap() {
        let mut seen = Seen::from(0);
        seen.insert(20, 30);
        seen.insert(10, 20);
        assert_eq!((seen.next(), seen.end()), (0, 30));
        seen.insert(0, 12);
        assert_eq!((seen.next(), seen.end()), (30, 30));
    }

    #[test]
    fn gaps_are_given_up_one_by_one_as_far_as_the_limit() {
        let mut seen = Seen::from(0);
        seen.insert(10, 20);
        seen.insert(30, 40);
        assert_eq!(seen.give_up(50), Some((0, 10)));
        assert_eq!(seen.give_up(50), Some((20, 30)));
        assert_eq!(seen.give_up(50), Some((40, 50)));
        assert_eq!(seen.give_up(50), None);
    }

    #[test]
    fn a_limit_within_a_gap_gives_up_only_what_is_before_it() {
        let mut seen = Seen::from(0);
        seen.insert(10, 20);
        assert_eq!(seen.give_up(4), Some((0, 4)));
        assert_eq!(seen.next(), 4);
        assert_eq!(seen.give_up(10), Some((4, 10)));
        assert_eq!(seen.next(), 20);
    }

    #[test]
    fn ranges_are_bounded() {
        let mut seen = Seen::from(0);
        let gaps = (1..100u32).filter_map(|range| seen.insert(range * 10, range * 10 + 5));
        assert_eq!(gaps.count(), 99 - MAX_RANGES);
        assert_eq!(seen.ahead.len(), MAX_RANGES);
    }
}
