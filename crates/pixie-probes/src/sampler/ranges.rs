//! Which parts of an array are free.

/// Hands out ranges of numbers from 0 up to a length.
#[derive(Clone, Debug)]
pub(crate) struct Ranges {
    /// First and length of what is free, in order and never adjacent.
    free: Vec<(u32, u32)>,
}

impl Ranges {
    /// All from `first` to `length` are free.
    pub(crate) fn new(first: u32, length: u32) -> Self {
        Self { free: vec![(first, length.saturating_sub(first))] }
    }

    /// Takes `count` in a row; `None` when there are not so many.
    pub(crate) fn take(&mut self, count: u32) -> Option<u32> {
        let index = self.free.iter().position(|(_, free)| *free >= count)?;
        let (first, free) = self.free.get_mut(index)?;
        let taken = *first;
        *first += count;
        *free -= count;
        if *free == 0 {
            self.free.remove(index);
        }
        Some(taken)
    }

    /// Gives back what was taken.
    pub(crate) fn give(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        let index = self.free.partition_point(|(start, _)| *start < first);
        self.free.insert(index, (first, count));
        self.merge(index + 1);
        self.merge(index);
    }

    /// Joins the range with this number with the one before, if they are adjacent.
    fn merge(&mut self, index: usize) {
        let Some(before) = index.checked_sub(1) else { return };
        let (Some(&(first, count)), Some(&(start, length))) =
            (self.free.get(index), self.free.get(before))
        else {
            return;
        };
        if start + length == first {
            self.free.remove(index);
            if let Some(range) = self.free.get_mut(before) {
                range.1 = length + count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn what_is_given_back_can_be_taken_in_one_piece() {
        let mut ranges = Ranges::new(0, 10);
        let (a, b, c) = (ranges.take(3), ranges.take(3), ranges.take(4));
        assert_eq!((a, b, c), (Some(0), Some(3), Some(6)));
        assert_eq!(ranges.take(1), None);
        ranges.give(0, 3);
        ranges.give(6, 4);
        assert_eq!(ranges.take(5), None, "not in a row");
        ranges.give(3, 3);
        assert_eq!(ranges.take(10), Some(0));
    }
}
