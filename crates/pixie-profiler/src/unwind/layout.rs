use super::UnwindError;
use pixie_probes::sampler::{Row, Rule, UnwindTable};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most rows of one file; a browser has 2 million.
pub(super) const MAX_ROWS: usize = 8 << 20;
/// The most distinct rules of one file: real ones have hundreds. Those beyond are not followed.
const MAX_RULES: usize = 4096;

/// Makes one table of the rows of functions, which come in the order of their addresses: only what is kept
/// is ever in memory, which for large files is much.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    stop: &'a AtomicBool,
    rules: Vec<Rule>,
    ids: HashMap<Rule, u16>,
    last: Option<(Rule, u16)>,
    rows: Vec<Row>,
    /// How many rows were read, whether kept or not.
    read: usize,
    /// Where the code ends that rows were kept for; 0 before there are any.
    covered: u64,
    function: Function,
}

/// The function that rows are read of.
#[derive(Clone, Copy, Debug, Default)]
struct Function {
    start: u64,
    end: u64,
    has_rows: bool,
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
            read: 0,
            covered: 0,
            function: Function::default(),
        }
    }

    /// Begins a function, which does not begin before the last one did; its rows follow. False when
    /// others have told of all of it, so that there is no need of them.
    pub(crate) fn begin(&mut self, start: u64, end: u64) -> Result<bool, UnwindError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(UnwindError::Stopped);
        }
        self.end_function();
        self.count_row()?;
        self.function = Function { start, end, has_rows: false };
        Ok(end > self.covered)
    }

    /// Adds a row to the last function. Where functions overlap, what comes first holds; where there is
    /// none, no rule.
    pub(crate) fn row(&mut self, address: u64, rule: Rule) -> Result<(), UnwindError> {
        self.count_row()?;
        let (Function { start, end, has_rows }, covered) = (self.function, self.covered);
        if end <= covered {
            return Ok(());
        }
        if !has_rows && start > covered && covered != 0 {
            self.keep(covered, Row::NONE);
        }
        // Of a function without rows, which are damaged then, nothing is known: its place is a gap.
        self.function.has_rows = true;
        if address < end {
            let rule = self.id(rule);
            self.keep(address.max(covered).max(start), rule);
        }
        Ok(())
    }

    fn end_function(&mut self) {
        if self.function.has_rows {
            self.covered = self.function.end.max(self.covered);
        }
    }

    fn count_row(&mut self) -> Result<(), UnwindError> {
        self.read += 1;
        (self.read <= MAX_ROWS).then_some(()).ok_or(UnwindError::TooManyRows(MAX_ROWS))
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

    /// Keeps a row, unless it says what the last one does.
    fn keep(&mut self, address: u64, rule: u16) {
        match self.rows.last_mut() {
            Some(last) if last.rule == rule => {}
            Some(last) if last.address == address => last.rule = rule,
            Some(last) if last.address > address => {}
            _ => self.rows.push(Row { address, rule }),
        }
    }

    /// The table.
    pub(crate) fn finish(mut self) -> UnwindTable {
        self.end_function();
        if self.covered != 0 {
            self.keep(self.covered, Row::NONE);
        }
        let mut table = UnwindTable::default();
        table.rules = self.rules;
        table.rows = self.rows;
        table
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
    fn functions_are_put_in_a_row_with_gaps_between() {
        let stop = AtomicBool::new(false);
        let mut layout = Layout::new(&stop);
        assert!(layout.begin(0x100, 0x110).unwrap());
        layout.row(0x100, rule(8)).unwrap();
        layout.begin(0x110, 0x120).unwrap();
        layout.row(0x110, rule(8)).unwrap();
        layout.begin(0x200, 0x210).unwrap();
        layout.row(0x200, rule(8)).unwrap();
        layout.row(0x204, rule(16)).unwrap();
        // Beyond its function's end.
        layout.row(0x210, rule(32)).unwrap();
        // It overlaps with the one before.
        assert!(layout.begin(0x208, 0x220).unwrap());
        layout.row(0x208, rule(24)).unwrap();
        // It lies within.
        assert!(!layout.begin(0x209, 0x220).unwrap());
        layout.row(0x209, rule(40)).unwrap();
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
