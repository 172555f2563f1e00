use std::collections::HashMap;
use std::hash::Hash;

/// Everything once, numbered in the order in which it came.
pub(super) struct Table<T> {
    pub(super) list: Vec<T>,
    numbers: HashMap<T, u64>,
}

impl<T: Clone + Eq + Hash> Table<T> {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), numbers: HashMap::new() }
    }

    /// Its number, counted from 0.
    pub(super) fn number(&mut self, entry: T) -> u64 {
        if let Some(number) = self.numbers.get(&entry) {
            return *number;
        }
        let number = self.list.len() as u64;
        self.list.push(entry.clone());
        self.numbers.insert(entry, number);
        number
    }
}
