use super::{Values, add};
use std::collections::BTreeMap;
use std::ops::Range;

/// What was sampled in each interval.
#[derive(Debug)]
pub(super) struct Timeline {
    /// By the begin of the interval, and the place in the tree.
    rows: BTreeMap<(u64, u32), Values>,
    /// The ends of the intervals, by their begins.
    ends: BTreeMap<u64, u64>,
    capacity: usize,
    /// Intervals are not told apart any more.
    whole: bool,
}

impl Timeline {
    pub(super) fn new(capacity: usize) -> Self {
        Self { rows: BTreeMap::new(), ends: BTreeMap::new(), capacity, whole: false }
    }

    /// Adds what was sampled at a place. When there is no room, intervals are made longer.
    pub(super) fn add(&mut self, span: Range<u64>, node: u32, values: Values) {
        if self.rows.len() >= self.capacity && !self.whole {
            self.make_room();
        }
        let around = match self.whole {
            true => self.ends.first_key_value(),
            // It may have become part of a longer one.
            false => {
                self.ends.range(..=span.start).next_back().filter(|(_, end)| **end >= span.end)
            }
        };
        let start = around.map_or(span.start, |(start, _)| *start);
        let end = self.ends.entry(start).or_insert(span.end);
        *end = span.end.max(*end);
        add(self.rows.entry((start, node)).or_default(), values);
    }

    /// What was sampled when and where, in the order of time.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Range<u64>, u32, &Values)> {
        self.rows.iter().map(|((start, node), values)| {
            let end = self.ends.get(start).copied().unwrap_or(*start);
            (*start..end, *node, values)
        })
    }

    /// Takes neighbouring intervals together until half of the room is free: at each place there is one
    /// row less then. When that is not enough, the whole time becomes one interval.
    fn make_room(&mut self) {
        while self.rows.len() > self.capacity / 2 && self.ends.len() > 1 {
            let mut begins = BTreeMap::new();
            let mut ends = BTreeMap::new();
            let mut begin = 0;
            for (index, (start, end)) in self.ends.iter().enumerate() {
                if index % 2 == 0 {
                    begin = *start;
                }
                begins.insert(*start, begin);
                ends.entry(begin)
                    .and_modify(|last: &mut u64| *last = *end.max(last))
                    .or_insert(*end);
            }
            for ((start, node), values) in std::mem::take(&mut self.rows) {
                let begin = begins.get(&start).copied().unwrap_or(start);
                add(self.rows.entry((begin, node)).or_default(), values);
            }
            self.ends = ends;
        }
        self.whole = self.rows.len() > self.capacity / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_seconds(timeline: &mut Timeline, seconds: Range<u64>, nodes: u32) {
        for second in seconds {
            for node in 0..nodes {
                timeline.add(second * 10..(second + 1) * 10, node, [1, 0, 0, 0]);
            }
        }
    }

    fn total(timeline: &Timeline) -> u64 {
        timeline.rows().map(|(_, _, values)| values[0]).sum()
    }

    #[test]
    fn what_was_sampled_at_a_place_in_an_interval_is_added_up() {
        let mut timeline = Timeline::new(8);
        timeline.add(10..20, 1, [1, 5, 0, 0]);
        timeline.add(20..30, 1, [1, 5, 0, 0]);
        timeline.add(10..20, 1, [2, 10, 0, 0]);
        let rows: Vec<_> = timeline.rows().map(|(span, node, it)| (span, node, *it)).collect();
        assert_eq!(rows, [(10..20, 1, [3, 15, 0, 0]), (20..30, 1, [1, 5, 0, 0])]);
    }

    #[test]
    fn intervals_become_longer_when_there_is_no_room_and_nothing_is_lost() {
        let mut timeline = Timeline::new(16);
        add_seconds(&mut timeline, 0..1000, 3);
        assert_eq!(total(&timeline), 3000);
        assert!(timeline.rows.len() <= 16 && timeline.ends.len() > 1, "{timeline:?}");
        let spans: Vec<_> = timeline.rows().map(|(span, ..)| span).collect();
        assert!(spans.windows(2).all(|two| two[0] == two[1] || two[0].end == two[1].start));
        assert_eq!(spans.last().map(|span| span.end), Some(10_000));
    }

    #[test]
    fn the_whole_time_is_one_interval_when_there_is_room_for_no_more() {
        let mut timeline = Timeline::new(4);
        add_seconds(&mut timeline, 0..10, 4);
        assert_eq!((total(&timeline), timeline.rows.len()), (40, 4));
        assert_eq!(timeline.rows().next().map(|(span, ..)| span), Some(0..100));
    }
}
