//! The kernel's knowledge of processes and of how their stacks are unwound.

use super::abi::{self, CHUNK_ROWS};
use super::ranges::Ranges;
use super::rule::{Row, Rule, UnwindTable};
use super::shared::SharedArray;
use crate::mappings::{Mappings, Notice};
use crate::ring::Ring;
use crate::sys::{self, wait_readable};
use aya::maps::{HashMap as KernelHashMap, MapData};
use pixie_core::id::Pid;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// What was given up is not used again before: programs may still be looking at it.
const GRACE: Duration = Duration::from_millis(20);
/// The size of a chunk in bytes.
const CHUNK_BYTES: u64 = CHUNK_ROWS as u64 * 4;

/// What the kernel asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// A process was sampled that is not known, or that has become another program.
    Process {
        /// Which.
        pid: Pid,
        /// What tells its address space from others; to be passed on.
        space: u64,
    },
    /// An address was sampled that is in none of the mappings that are known of the process.
    Address {
        /// Which.
        pid: Pid,
        /// What tells its address space from others; to be passed on.
        space: u64,
    },
    /// A process has come to be, runs another program, or has mapped more code; nobody has asked about
    /// it.
    Changed {
        /// Which.
        pid: Pid,
    },
}

/// Which of a process's address spaces is told of: it has another one once it has executed another
/// program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The one that the kernel asked with.
    Asked(u64),
    /// Nobody asked: the one whose arguments lie there (`arg_start` of `proc_pid_stat(5)`); 0 for
    /// whichever it has when it is sampled.
    WithArgumentsAt(u64),
}

/// A part of a process's memory that holds code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeMapping {
    /// Its first address.
    pub start: u64,
    /// The address after its last.
    pub end: u64,
    /// An address less this is one as the file counts; wraps around.
    pub bias: u64,
    /// The file's unwind table, if it has one.
    pub table: Option<TableId>,
}

/// An unwind table that the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(u32);

/// Why something did not get into the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The budget for unwind tables is used up: give up others.
    #[error("there is no more room for {0}")]
    Full(&'static str),
    /// The kernel refused.
    #[error("the kernel did not take it: {0}")]
    Kernel(#[from] io::Error),
}

/// What the kernel knows of processes and of unwinding, and what it wants to know.
///
/// Kept apart from [`Sampler`](super::Sampler), so that a thread of its own can see to it.
pub struct UnwindMemory {
    pub(super) news: Ring,
    pub(super) news_descriptor: OwnedFd,
    pub(super) processes: KernelHashMap<MapData, u32, abi::Process>,
    pub(super) mappings: SharedArray<abi::Mapping>,
    pub(super) tables: SharedArray<abi::Table>,
    pub(super) pages: SharedArray<abi::Page>,
    pub(super) rules: SharedArray<abi::Rule>,
    pub(super) chunks_map: OwnedFd,
    /// What processes map; without it they are looked at when they are sampled.
    pub(super) mappings_told: Option<Mappings>,
    pub(super) state: State,
}

/// What of it is in use.
pub(super) struct State {
    max_chunks: usize,
    free_mappings: Ranges,
    free_tables: Ranges,
    free_pages: Ranges,
    free_rules: Ranges,
    chunks: Vec<Chunk>,
    rule_ids: HashMap<Rule, (u32, u32)>,
    table_parts: HashMap<TableId, Parts>,
    process_ranges: HashMap<Pid, (u32, u32)>,
    given_up: Vec<(Instant, GivenUp)>,
    rows: u64,
}

struct Chunk {
    map: OwnedFd,
    free: Ranges,
}

/// What a table is made of.
#[derive(Default)]
struct Parts {
    pages: (u32, u32),
    /// Chunk, first and count.
    rows: Vec<(u16, u32, u32)>,
    rules: Vec<Rule>,
}

enum GivenUp {
    Mappings(u32, u32),
    Table(TableId, Parts),
}

impl State {
    pub(super) fn new(table_bytes: u64, sizes: [usize; 4]) -> Self {
        let [mappings, tables, pages, rules] = sizes.map(|size| size as u32);
        Self {
            max_chunks: table_bytes.div_ceil(CHUNK_BYTES).clamp(1, 1024) as usize,
            free_mappings: Ranges::new(0, mappings),
            // Number 0 stands for none.
            free_tables: Ranges::new(1, tables),
            free_pages: Ranges::new(0, pages),
            free_rules: Ranges::new(1, rules),
            chunks: Vec::new(),
            rule_ids: HashMap::new(),
            table_parts: HashMap::new(),
            process_ranges: HashMap::new(),
            given_up: Vec::new(),
            rows: 0,
        }
    }

    /// Makes what was given up free to be used again.
    fn settle(&mut self) {
        let (settled, waiting) = std::mem::take(&mut self.given_up)
            .into_iter()
            .partition::<Vec<_>, _>(|(when, _)| when.elapsed() >= GRACE);
        self.given_up = waiting;
        for (_, given_up) in settled {
            match given_up {
                GivenUp::Mappings(first, count) => self.free_mappings.give(first, count),
                GivenUp::Table(id, parts) => {
                    self.free_tables.give(id.0, 1);
                    self.free(parts);
                }
            }
        }
    }

    fn free(&mut self, parts: Parts) {
        self.free_pages.give(parts.pages.0, parts.pages.1);
        for (chunk, first, count) in parts.rows {
            if let Some(chunk) = self.chunks.get_mut(usize::from(chunk)) {
                chunk.free.give(first, count);
            }
        }
        for rule in parts.rules {
            let Some((id, users)) = self.rule_ids.get_mut(&rule) else { continue };
            *users -= 1;
            if *users == 0 {
                self.free_rules.give(*id, 1);
                self.rule_ids.remove(&rule);
            }
        }
    }
}

impl UnwindMemory {
    /// Waits until the kernel wants to know something, or the time is up. True when it does. What processes
    /// map ends the wait only where that is said: they map one file after the other as they start.
    pub fn wait(&mut self, timeout: Duration, also_mapped: bool) -> bool {
        if self.news.peek().is_some() {
            return true;
        }
        let told =
            self.mappings_told.iter().filter(|_| also_mapped).flat_map(Mappings::descriptors);
        let descriptors: Vec<_> = [self.news_descriptor.as_fd()].into_iter().chain(told).collect();
        // Interrupted by a signal, it is as if the time were up.
        wait_readable(&descriptors, timeout).unwrap_or(false)
    }

    /// What the kernel wants to know.
    pub fn news(&mut self) -> Vec<News> {
        self.state.settle();
        let mut news = Vec::new();
        while let Some(record) = self.news.peek() {
            if let Some((abi::News { mm, pid, kind }, _)) = abi::read(record) {
                match kind {
                    abi::NEWS_PROCESS => news.push(News::Process { pid: Pid(pid), space: mm }),
                    abi::NEWS_ADDRESS => news.push(News::Address { pid: Pid(pid), space: mm }),
                    _ => {}
                }
            }
            self.news.advance();
        }
        self.news.commit();
        if let Some(mappings) = &mut self.mappings_told {
            mappings.take(|notice| match notice {
                Notice::Mapped(pid, _) | Notice::Executed(pid) | Notice::Forked(pid) => {
                    news.push(News::Changed { pid });
                }
                // They are asked about when they are sampled.
                Notice::Lost => {}
            });
        }
        news
    }

    /// Tells what a process has mapped, in the order of addresses. `image` is what its stacks will be
    /// marked with.
    ///
    /// # Errors
    /// When there is no room for another process, or for as many mappings.
    pub fn set_process(
        &mut self,
        pid: Pid,
        space: Space,
        image: u32,
        mappings: &[CodeMapping],
    ) -> Result<(), MemoryError> {
        let count = u32::try_from(mappings.len()).unwrap_or(u32::MAX);
        let first = match count {
            0 => 0,
            count => self.state.free_mappings.take(count).ok_or(MemoryError::Full("mappings"))?,
        };
        let elements: Vec<_> = mappings
            .iter()
            .map(|mapping| abi::Mapping {
                start: mapping.start,
                end: mapping.end,
                bias: mapping.bias,
                table: mapping.table.map_or(0, |table| table.0),
                pad: 0,
            })
            .collect();
        let (mm, arguments) = match space {
            Space::Asked(space) => (space, 0),
            Space::WithArgumentsAt(address) => (0, address),
        };
        let state = abi::PROCESS_KNOWN;
        let process = abi::Process { mm, asked: 0, arguments, first, count, image, state };
        let written = self.mappings.write(first as usize, &elements);
        let written = match written {
            true => self.processes.insert(pid.0, process, 0).map_err(io::Error::other),
            false => Err(io::ErrorKind::InvalidInput.into()),
        };
        if let Err(error) = written {
            self.state.free_mappings.give(first, count);
            return Err(error.into());
        }
        self.give_up_mappings(pid);
        self.state.process_ranges.insert(pid, (first, count));
        Ok(())
    }

    /// Tells that a process cannot be looked at, so that the kernel does not ask again.
    pub fn hide_process(&mut self, pid: Pid, space: u64) {
        let process =
            abi::Process { mm: space, state: abi::PROCESS_HIDDEN, ..abi::Process::default() };
        // If there is no room the kernel asks again, which is harmless.
        drop(self.processes.insert(pid.0, process, 0));
        self.give_up_mappings(pid);
    }

    /// Forgets a process that has ended.
    pub fn remove_process(&mut self, pid: Pid) {
        // The kernel may not have known it.
        drop(self.processes.remove(&pid.0));
        self.give_up_mappings(pid);
    }

    fn give_up_mappings(&mut self, pid: Pid) {
        if let Some((first, count)) = self.state.process_ranges.remove(&pid) {
            self.state.given_up.push((Instant::now(), GivenUp::Mappings(first, count)));
        }
    }

    /// Takes in a file's unwind table.
    ///
    /// # Errors
    /// [`MemoryError::Full`] when the budget is used up.
    pub fn add_table(&mut self, table: &UnwindTable) -> Result<TableId, MemoryError> {
        let id = self.state.free_tables.take(1).ok_or(MemoryError::Full("tables"))?;
        let mut parts = Parts::default();
        match self.write_table(table, id, &mut parts) {
            Ok(()) => {
                self.state.rows +=
                    parts.rows.iter().map(|(.., rows)| u64::from(*rows)).sum::<u64>();
                self.state.table_parts.insert(TableId(id), parts);
                Ok(TableId(id))
            }
            Err(error) => {
                // Nothing refers to it yet.
                self.state.free_tables.give(id, 1);
                self.state.free(parts);
                Err(error)
            }
        }
    }

    fn write_table(
        &mut self,
        table: &UnwindTable,
        id: u32,
        parts: &mut Parts,
    ) -> Result<(), MemoryError> {
        let (Some(first), Some(last)) = (table.rows.first(), table.rows.last()) else {
            return Ok(());
        };
        let base = first.address >> 16;
        let count = (last.address >> 16).saturating_sub(base) + 1;
        let count = u32::try_from(count).map_err(|_| MemoryError::Full("pages"))?;
        let first_page = self.state.free_pages.take(count).ok_or(MemoryError::Full("pages"))?;
        parts.pages = (first_page, count);
        let ids = self.rule_ids(table, parts)?;
        let mut pages = vec![abi::Page::default(); count as usize];
        let mut before = 0;
        let mut rest = table.rows.as_slice();
        // Nearly all rows of a file lie in one chunk; the rows of a page must.
        for (number, page) in (base..).zip(&mut pages) {
            let here = rest.partition_point(|row| row.address >> 16 <= number);
            let (rows, others) = rest.split_at_checked(here).unwrap_or((rest, &[]));
            rest = others;
            let rows = page_rows(rows, &ids, &mut before);
            if rows.iter().all(|row| row.rule == 0) {
                continue;
            }
            let rows_count = rows.len() as u32;
            let (chunk, start) = self.place(rows_count)?;
            parts.rows.push((chunk, start, rows_count));
            self.write_rows(chunk, start, &rows)?;
            *page = abi::Page { rows: rows_count, chunk, start: start as u16 };
        }
        let table = abi::Table { base, first: first_page, pages: count };
        let written = self.pages.write(first_page as usize, &pages)
            && self.tables.write(id as usize, &[table]);
        written.then_some(()).ok_or(MemoryError::Full("pages"))
    }

    /// The kernel's numbers of a table's rules.
    fn rule_ids(
        &mut self,
        table: &UnwindTable,
        parts: &mut Parts,
    ) -> Result<Vec<u16>, MemoryError> {
        let mut ids = Vec::with_capacity(table.rules.len());
        for rule in &table.rules {
            let id = match self.state.rule_ids.get_mut(rule) {
                Some((id, users)) => {
                    *users += 1;
                    *id
                }
                None => {
                    let id = self.state.free_rules.take(1).ok_or(MemoryError::Full("rules"))?;
                    if !self.rules.write(id as usize, &[rule.encode()]) {
                        return Err(MemoryError::Full("rules"));
                    }
                    self.state.rule_ids.insert(*rule, (id, 1));
                    id
                }
            };
            parts.rules.push(*rule);
            ids.push(id as u16);
        }
        Ok(ids)
    }

    /// Finds room for rows in a row.
    fn place(&mut self, rows: u32) -> Result<(u16, u32), MemoryError> {
        for (number, chunk) in self.state.chunks.iter_mut().enumerate() {
            if let Some(start) = chunk.free.take(rows) {
                return Ok((number as u16, start));
            }
        }
        let number = self.state.chunks.len();
        if number >= self.state.max_chunks {
            return Err(MemoryError::Full("rows"));
        }
        let map = sys::create_shared_array(CHUNK_BYTES as u32)?;
        sys::put_map(self.chunks_map.as_fd(), number as u32, map.as_fd())?;
        let mut free = Ranges::new(0, CHUNK_ROWS);
        let start = free.take(rows).ok_or(MemoryError::Full("rows"))?;
        self.state.chunks.push(Chunk { map, free });
        Ok((number as u16, start))
    }

    fn write_rows(&mut self, chunk: u16, start: u32, rows: &[abi::Row]) -> io::Result<()> {
        let chunk = self.state.chunks.get(usize::from(chunk)).ok_or(io::ErrorKind::NotFound)?;
        let mut array = SharedArray::new(chunk.map.as_fd(), CHUNK_ROWS as usize)?;
        match array.write(start as usize, rows) {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Gives up a table. Code that it is about is then unwound by frame pointer.
    pub fn remove_table(&mut self, id: TableId) {
        let Some(parts) = self.state.table_parts.remove(&id) else { return };
        self.state.rows -= parts.rows.iter().map(|(.., rows)| u64::from(*rows)).sum::<u64>();
        // Whatever still refers to it finds that it is empty.
        let written = self.tables.write(id.0 as usize, &[abi::Table::default()]);
        debug_assert!(written, "it was written there before");
        self.state.given_up.push((Instant::now(), GivenUp::Table(id, parts)));
    }

    /// Waits until what was given up can be used again.
    pub fn settle(&mut self) {
        if !self.state.given_up.is_empty() {
            std::thread::sleep(GRACE);
            self.state.settle();
        }
    }

    /// How many rows of unwind tables the kernel has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.state.rows
    }

    /// How many bytes of the kernel's memory the tables take.
    #[must_use]
    pub fn table_bytes(&self) -> u64 {
        self.state.chunks.len() as u64 * CHUNK_BYTES
    }
}

impl std::fmt::Debug for UnwindMemory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("UnwindMemory")
            .field("rows", &self.state.rows)
            .field("tables", &self.state.table_parts.len())
            .finish_non_exhaustive()
    }
}

/// The rows of one page, as the kernel has them: the first begins where the page does. `before` is
/// the rule that holds there.
fn page_rows(rows: &[Row], ids: &[u16], before: &mut u16) -> Vec<abi::Row> {
    let mut page: Vec<abi::Row> = Vec::with_capacity(rows.len() + 1);
    if rows.first().is_none_or(|row| row.address & 0xffff != 0) {
        page.push(abi::Row { pc: 0, rule: *before });
    }
    for row in rows {
        // A rule that is not there stands for none.
        let rule = ids.get(usize::from(row.rule)).copied().unwrap_or(0);
        let pc = (row.address & 0xffff) as u16;
        *before = rule;
        match page.last_mut() {
            Some(last) if last.pc == pc => last.rule = rule,
            Some(last) if last.rule == rule => {}
            _ => page.push(abi::Row { pc, rule }),
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_with_the_rule_of_the_page_before() {
        let rows = [(0x1_0010, 0), (0x1_0020, 0), (0x1_0030, Row::NONE)]
            .map(|(address, rule)| Row { address, rule });
        let mut before = 7;
        let page = page_rows(&rows, &[5], &mut before);
        let page: Vec<_> = page.into_iter().map(|row| (row.pc, row.rule)).collect();
        assert_eq!(page, [(0, 7), (0x10, 5), (0x30, 0)]);
        assert_eq!(before, 0);
    }
}
