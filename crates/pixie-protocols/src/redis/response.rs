//! The direction of answers and of messages that the server pushes.

use super::exchanges::{Answer, Exchanges};
use super::frame::without_end;
use super::reader::{Piece, Reader, Stepped};
use super::request::LEAST_KEPT;
use super::search::Search;
use super::value::{Fault, Values};
use crate::parser::Limits;
use pixie_core::id::Direction;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;

/// Values, in the order in which they come.
#[derive(Debug)]
pub(super) struct Responses {
    direction: Direction,
    reader: Reader,
    /// After a loss.
    search: Option<Search>,
    values: Values,
    /// When the first byte of the value under way came, if one is.
    started: Option<MonotonicTime>,
    /// A value was understood, and its place since then not lost.
    synced: bool,
}

impl Responses {
    pub(super) fn new(direction: Direction, limits: Limits) -> Self {
        Self {
            direction,
            reader: Reader::new(limits.buffer),
            search: None,
            values: Values::new(limits.body.max(LEAST_KEPT)),
            started: None,
            synced: false,
        }
    }

    /// Takes bytes. What is left of them belongs to another protocol.
    pub(super) fn feed(
        &mut self,
        time: MonotonicTime,
        bytes: &mut &[u8],
        exchanges: &mut Exchanges,
    ) {
        if exchanges.responding() && self.search.is_some() {
            // Commands have come, and their answers are what comes now.
            let kept = self.search.take().map_or(0, |search| search.kept());
            exchanges.skipped(self.direction, kept, None);
        }
        while !bytes.is_empty() && !exchanges.is_switching() {
            let Some(search) = &mut self.search else {
                self.decode(time, bytes, exchanges);
                continue;
            };
            let found = search.advance(bytes);
            exchanges.skipped(self.direction, found.skipped, None);
            if let Some(start) = found.start {
                self.search = None;
                self.decode(time, &mut &start[..], exchanges);
            }
        }
    }

    fn decode(&mut self, time: MonotonicTime, bytes: &mut &[u8], exchanges: &mut Exchanges) {
        while !bytes.is_empty() {
            self.started.get_or_insert(time);
            let is_over = match self.reader.next(bytes) {
                Piece::Line(line) => match self.line(without_end(&line), bytes) {
                    Ok(is_over) => is_over,
                    Err(Fault::Malformed) => {
                        return self.give_up(&line, Cause::Malformed, exchanges);
                    }
                    Err(Fault::TooDeep) => {
                        return self.give_up(&line, Cause::MemoryLimit, exchanges);
                    }
                },
                Piece::Bytes(string) => {
                    self.values.extend(string);
                    false
                }
                Piece::End => self.values.string_ended(),
                Piece::Partial => return,
                Piece::Malformed => return self.give_up(&[], Cause::Malformed, exchanges),
                Piece::TooLong => return self.give_up(&[], Cause::MemoryLimit, exchanges),
            };
            if is_over {
                self.ended(time, true, exchanges);
                if exchanges.is_switching() {
                    return;
                }
            }
        }
    }

    /// Takes a line. True when it ends a value.
    #[inline]
    fn line(&mut self, line: &[u8], bytes: &mut &[u8]) -> Result<bool, Fault> {
        // A master that prepares a snapshot sends empty lines meanwhile.
        if line.is_empty() && self.values.is_idle() {
            self.reader.take_wire();
            self.started = None;
            return Ok(false);
        }
        let Some(length) = self.values.line(line)? else { return Ok(self.values.is_over()) };
        match self.reader.string(length, bytes) {
            Some(string) => Ok(self.values.whole_string(string)),
            None => Ok(false),
        }
    }

    /// A value has ended, or nothing more of it will be seen.
    fn ended(&mut self, time: MonotonicTime, complete: bool, exchanges: &mut Exchanges) {
        let wire = self.reader.take_wire();
        let started = self.started.take().unwrap_or(time);
        if let Some((mut response, said)) = self.values.take() {
            response.complete = complete;
            self.synced = true;
            let ended = complete.then_some(time);
            exchanges.response(Answer { response, said, started, ended, wire });
        } else {
            exchanges.skipped(self.direction, wire as usize, None);
        }
    }

    /// Passes over the value under way, and looks for the next message from `again` on.
    fn give_up(&mut self, again: &[u8], cause: Cause, exchanges: &mut Exchanges) {
        let cause = if self.synced { cause } else { Cause::Unobserved };
        let passed_over = (self.reader.take_wire() as usize).saturating_sub(again.len());
        exchanges.skipped(self.direction, passed_over, Some(cause));
        self.lose_place(exchanges);
        let (mut again, mut search) = (again, Search::for_push());
        let found = search.advance(&mut again);
        exchanges.skipped(self.direction, found.skipped + again.len(), None);
        self.search = Some(if found.start.is_some() { Search::for_push() } else { search });
    }

    fn lose_place(&mut self, exchanges: &mut Exchanges) {
        self.reader.reset();
        self.values.clear();
        self.started = None;
        self.synced = false;
        self.search = Some(Search::for_push());
        exchanges.responses_lost();
    }

    /// Steps over bytes that are not there.
    pub(super) fn gap(&mut self, time: MonotonicTime, length: u64, exchanges: &mut Exchanges) {
        if let Some(search) = &mut self.search {
            exchanges.skipped(self.direction, search.kept(), Some(Cause::Unobserved));
            *search = Search::for_push();
            return exchanges.responses_lost();
        }
        let stepped = self.reader.gap(length);
        match stepped {
            Stepped::Within { bytes } => self.values.gap(bytes),
            Stepped::Lost => {}
            Stepped::End { bytes } | Stepped::Beyond { bytes } => {
                self.values.gap(bytes);
                if self.values.string_ended() {
                    self.ended(time, true, exchanges);
                }
            }
        }
        if matches!(stepped, Stepped::Beyond { .. } | Stepped::Lost) {
            self.end_incomplete(time, exchanges);
            exchanges.skipped(self.direction, 0, Some(Cause::Unobserved));
            self.lose_place(exchanges);
        }
    }

    /// No more bytes will come.
    pub(super) fn finish(&mut self, time: MonotonicTime, exchanges: &mut Exchanges) {
        if let Some(search) = self.search.take() {
            exchanges.skipped(self.direction, search.kept(), None);
        }
        self.end_incomplete(time, exchanges);
        self.reader.reset();
    }

    /// Ends a value of which no more will be seen.
    fn end_incomplete(&mut self, time: MonotonicTime, exchanges: &mut Exchanges) {
        if self.started.is_some() {
            self.values.end_incomplete();
            self.ended(time, false, exchanges);
        }
    }

    /// What was held of a line, as it belongs to another protocol.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        self.reader.reset()
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        let search = self.search.as_ref().map_or(0, Search::kept);
        self.reader.memory() + self.values.memory() + search
    }
}
