//! Prepared statements and portals by name, as the server has them.

use crate::parser::Limits;
use pixie_core::Text;
use pixie_core::record::PostgresStatement;
use std::collections::{BTreeMap, HashMap};

/// The tables may take this many times [`Limits::buffer`].
const BUFFERS: usize = 4;

/// What is known of the names on a connection. What is beyond the limits is forgotten, the oldest
/// first: a statement that is not known is absent from records, never a wrong one.
#[derive(Debug)]
pub(super) struct Statements {
    prepared: Table<PostgresStatement>,
    portals: Table<Portal>,
}

/// A prepared statement that was bound.
#[derive(Clone, Debug)]
pub(super) struct Portal {
    pub(super) prepared: Text,
    pub(super) statement: Option<PostgresStatement>,
}

impl Statements {
    pub(super) fn new(limits: Limits) -> Self {
        Self { prepared: Table::new(limits), portals: Table::new(limits) }
    }

    pub(super) fn prepare(&mut self, name: &Text, statement: PostgresStatement) {
        let size = statement.text.len();
        self.prepared.insert(name.clone(), statement, size);
    }

    pub(super) fn prepared(&self, name: &Text) -> Option<PostgresStatement> {
        self.prepared.get(name).cloned()
    }

    pub(super) fn close_prepared(&mut self, name: &Text) {
        self.prepared.remove(name);
    }

    pub(super) fn bind(&mut self, name: &Text, portal: Portal) {
        // The statement is counted once, with the portal: it may be prepared anew meanwhile.
        let size = portal.statement.as_ref().map_or(0, |statement| statement.text.len());
        self.portals.insert(name.clone(), portal, size);
    }

    pub(super) fn portal(&self, name: &Text) -> Option<Portal> {
        self.portals.get(name).cloned()
    }

    pub(super) fn close_portal(&mut self, name: &Text) {
        self.portals.remove(name);
    }

    /// Portals end with their transaction.
    pub(super) fn close_portals(&mut self) {
        self.portals.clear();
    }

    /// Any name may stand for something else now.
    pub(super) fn forget(&mut self) {
        self.prepared.clear();
        self.portals.clear();
    }

    /// Bytes of memory that are held, about.
    pub(super) fn memory(&self) -> usize {
        self.prepared.bytes + self.portals.bytes
    }
}

/// A bounded table.
#[derive(Debug)]
struct Table<T> {
    /// That without a name, which changes often.
    unnamed: Option<T>,
    entries: HashMap<Text, Entry<T>>,
    /// Names by age.
    ages: BTreeMap<u64, Text>,
    next_age: u64,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    age: u64,
    bytes: usize,
}

impl<T> Table<T> {
    fn new(limits: Limits) -> Self {
        Self {
            unnamed: None,
            entries: HashMap::new(),
            ages: BTreeMap::new(),
            next_age: 0,
            bytes: 0,
            max_entries: limits.pending.max(1),
            max_bytes: limits.buffer.saturating_mul(BUFFERS),
        }
    }

    fn insert(&mut self, name: Text, value: T, size: usize) {
        if name.is_empty() {
            self.unnamed = Some(value);
            return;
        }
        self.remove(&name);
        let bytes = size + 2 * name.len() + size_of::<Entry<T>>() + 2 * size_of::<Text>();
        let age = self.next_age;
        self.next_age += 1;
        self.bytes += bytes;
        self.ages.insert(age, name.clone());
        self.entries.insert(name, Entry { value, age, bytes });
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let Some((_, oldest)) = self.ages.pop_first() else { break };
            self.remove(&oldest);
        }
    }

    fn get(&self, name: &Text) -> Option<&T> {
        match name.is_empty() {
            true => self.unnamed.as_ref(),
            false => self.entries.get(name).map(|entry| &entry.value),
        }
    }

    fn remove(&mut self, name: &Text) {
        if name.is_empty() {
            self.unnamed = None;
        } else if let Some(entry) = self.entries.remove(name) {
            self.ages.remove(&entry.age);
            self.bytes -= entry.bytes;
        }
    }

    fn clear(&mut self) {
        self.unnamed = None;
        if !self.entries.is_empty() {
            self.entries = HashMap::new();
            self.ages.clear();
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut limits = Limits { pending: 2, ..Limits::default() };
        let mut statements = Statements::new(limits);
        let statement = |text: &str| PostgresStatement { text: text.into(), size: None };
        for name in ["a", "b", "a", "c"] {
            statements.prepare(&name.into(), statement(name));
        }
        assert_eq!(statements.prepared(&"b".into()), None);
        assert_eq!(statements.prepared(&"a".into()), Some(statement("a")));
        statements.close_prepared(&"a".into());
        statements.close_prepared(&"c".into());
        assert_eq!(statements.memory(), 0);
        limits.buffer = 100;
        let mut statements = Statements::new(limits);
        statements.prepare(&"a".into(), statement(&"x".repeat(401)));
        assert_eq!((statements.prepared(&"a".into()), statements.memory()), (None, 0));
    }
}
