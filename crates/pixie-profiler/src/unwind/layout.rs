use super::UnwindError;
use pixie_probes::sampler::{Row, Rule, UnwindTable};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most rows of one file; a browser has 2 million.
const MAX_ROWS: usize = 8 << 20;
/// The most distinct rules of one file: real ones have hundreds. Those beyond are not followed.
const MAX_RULES: usize = 4096;

/// Puts the rows of functions, which come in any order, into one table.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    stop: &'a AtomicBool,
    rules: Vec<Rule>,
    ids: HashMap<Rule, u16>,
    last: Option<(Rule, u16)>,
    rows: Vec<Row>,
    functions: Vec<Function>,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    start: u64,
    end: u64,
    /// Where its rows begin; before them is room for one that tells of a gap.
    first: u32,
    count: u32,
}

impl Function {
    fn rows(&self) -> std::ops::Range<usize> {
        let first = self.first as usize;
        first..first + self.count as usize
    }
}

impl<'a> Layout<'a> {
    /// An empty one, which comes to nothing once `stop` is set.
    pub(crate) fn new(stop: &'a AtomicBool) -> Self {
        Self {
            stop,
            // For the rules that are too many.
            rules: vec![Rule::UNSUPPORTED],
            ids: HashMap::from([(Rule::UNSUPPORTED, 0)]),
            last: None,
            rows: Vec::new(),
            functions: Vec::new(),
        }
    }

    /// Begins a function, whose rows follow.
    pub(crate) fn begin(&mut self, start: u64, end: u64) -> Result<(), UnwindError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(UnwindError::Stopped);
        }
        self.room()?;
        self.rows.push(Row { address: start, rule: Row::NONE });
        let first = self.rows.len() as u32; // MAX_ROWS is less.
        self.functions.push(Function { start, end, first, count: 0 });
        Ok(())
    }

    /// Adds a row to the last function.
    pub(crate) fn row(&mut self, address: u64, rule: Rule) -> Result<(), UnwindError> {
        self.room()?;
        let rule = self.id(rule);
        if let Some(function) = self.functions.last_mut() {
            function.count += 1;
            self.rows.push(Row { address, rule });
        }
        Ok(())
    }

    fn room(&self) -> Result<(), UnwindError> {
        (self.rows.len() < MAX_ROWS).then_some(()).ok_or(UnwindError::TooManyRows(MAX_ROWS))
    }

    fn id(&mut self, rule: Rule) -> u16 {
        if let Some((last, id)) = self.last
            && last == rule
        {
            return id;
        }
        let next = self.rules.len();
        let id = match self.ids.get(&rule) {
            Some(id) => *id,
            None if next >= MAX_RULES => 0,
            None => {
                self.rules.push(rule);
                self.ids.insert(rule, next as u16);
                next as u16
            }
        };
        self.last = Some((rule, id));
        id
    }

    /// The table. Where functions overlap, what comes first holds; where there is none, no rule.
    pub(crate) fn finish(mut self) -> UnwindTable {
        self.functions.sort_by_key(|function| (function.start, function.first));
        if !self.functions.is_sorted_by_key(|function| function.first) {
            self.order_rows();
        }
        let mut table = UnwindTable::default();
        let mut rows = Compacted { rows: self.rows, count: 0 };
        let mut covered = 0;
        for function in &self.functions {
            // Of one whose rows are damaged nothing is known: its place is a gap.
            if function.end <= covered || function.count == 0 {
                continue;
            }
            if function.start > covered && covered != 0 {
                rows.push(Row { address: covered, rule: Row::NONE });
            }
            for index in function.rows() {
                let Some(row) = rows.rows.get(index).copied() else { break };
                if row.address >= function.end {
                    break;
                }
                let address = { row.address }.max(covered).max(function.start);
                rows.push(Row { address, rule: row.rule });
            }
            covered = function.end;
        }
        if covered != 0 {
            rows.push(Row { address: covered, rule: Row::NONE });
        }
        rows.rows.truncate(rows.count);
        table.rules = self.rules;
        table.rows = rows.rows;
        table
    }

    /// Puts the rows in the order of their functions.
    fn order_rows(&mut self) {
        let mut rows: Vec<Row> = Vec::with_capacity(self.rows.len());
        for function in &mut self.functions {
            rows.push(Row { address: function.start, rule: Row::NONE });
            let first = rows.len() as u32;
            rows.extend(self.rows.get(function.rows()).unwrap_or_default());
            function.first = first;
        }
        self.rows = rows;
    }
}

/// Rows of which those that are read make room for those that are kept: they are the largest part of what
/// building a table takes, and are not there twice.
struct Compacted {
    rows: Vec<Row>,
    /// How many are kept; never more than were read.
    count: usize,
}

impl Compacted {
    fn push(&mut self, row: Row) {
        let last = self.count.checked_sub(1).and_then(|last| self.rows.get_mut(last));
        match last {
            Some(last) if last.rule == row.rule => {}
            Some(last) if last.address == row.address => last.rule = row.rule,
            Some(last) if last.address > row.address => {}
            _ => {
                match self.rows.get_mut(self.count) {
                    Some(slot) => *slot = row,
                    None => self.rows.push(row),
                }
                self.count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixie_probes::sampler::{Cfa, Saved};

    fn rule(offset: i32) -> Rule {
        Rule {
            cfa: Cfa::StackPointer(offset),
            frame_pointer: Saved::Kept,
            return_address: Saved::AtCfa(-8),
        }
    }

    #[test]
    fn a_function_without_rows_is_not_taken_for_the_one_before() {
        let stop = AtomicBool::new(false);
        let mut layout = Layout::new(&stop);
        layout.begin(0x90, 0x100).unwrap();
        layout.begin(0x100, 0x110).unwrap();
        layout.row(0x100, rule(8)).unwrap();
        layout.begin(0x110, 0x120).unwrap();
        layout.begin(0x120, 0x130).unwrap();
        layout.row(0x120, rule(8)).unwrap();
        let table = layout.finish();
        let rows: Vec<_> =
            table.rows.iter().map(|row| ({ row.address }, row.rule == Row::NONE)).collect();
        assert_eq!(rows, [(0x100, false), (0x110, true), (0x120, false), (0x130, true)]);
    }

    #[test]
    fn functions_are_put_in_order_with_gaps_between() {
        let stop = AtomicBool::new(false);
        let mut layout = Layout::new(&stop);
        layout.begin(0x200, 0x210).unwrap();
        layout.row(0x200, rule(8)).unwrap();
        layout.row(0x204, rule(16)).unwrap();
        layout.begin(0x100, 0x110).unwrap();
        layout.row(0x100, rule(8)).unwrap();
        layout.begin(0x110, 0x120).unwrap();
        layout.row(0x110, rule(8)).unwrap();
        // It overlaps with the first.
        layout.begin(0x208, 0x220).unwrap();
        layout.row(0x208, rule(24)).unwrap();
        let table = layout.finish();
        let rows: Vec<_> = table
            .rows
            .iter()
            .map(|row| ({ row.address }, table.rules.get(usize::from(row.rule)).copied()))
            .collect();
        let expected = [
            (0x100, Some(rule(8))),
            (0x120, None),
            (0x200, Some(rule(8))),
            (0x204, Some(rule(16))),
            (0x210, Some(rule(24))),
            (0x220, None),
        ];
        assert_eq!(rows, expected);
    }
}
