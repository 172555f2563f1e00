//! The direction of commands.

use super::commands;
use super::exchanges::Exchanges;
use super::frame::{self, MAX_STRING, without_end};
use super::inline;
use super::reader::{Piece, Reader, Stepped};
use super::search::Search;
use super::secrets;
use crate::parser::Limits;
use pixie_core::id::Direction;
use pixie_core::record::{Cause, RedisArgumentsBuilder, RedisRequest};
use pixie_core::time::MonotonicTime;

/// The most arguments that are kept.
const MAX_ARGUMENTS: u64 = 128;

/// Room for arguments that decide what follows a command, whatever the limit is.
pub(super) const LEAST_KEPT: usize = 64;

/// The most elements of a command (a server takes no more).
const MAX_ELEMENTS: u64 = (1 << 31) - 1;

/// Room for the arguments of this many bytes is kept between commands.
const USUAL: usize = 4 << 10;

/// Commands, in the order in which they come.
#[derive(Debug)]
pub(super) struct Requests {
    direction: Direction,
    reader: Reader,
    /// After a loss.
    search: Option<Search>,
    command: Command,
    /// The most bytes of arguments that are kept.
    limit: usize,
    /// When the first byte of the command under way came, if one is.
    started: Option<MonotonicTime>,
    /// A command was understood, and its place since then not lost.
    synced: bool,
}

/// The command under way.
#[derive(Debug, Default)]
struct Command {
    /// Strings of it that have not ended.
    remaining: u64,
    /// Its strings but for the name.
    count: u64,
    name: Vec<u8>,
    /// The name has ended.
    is_named: bool,
    /// A part of the name was lost.
    is_name_cut: bool,
    arguments: RedisArgumentsBuilder,
    /// Arguments that have begun, and their bytes.
    begun: u64,
    size: u64,
    /// Bytes of arguments that were kept.
    kept: usize,
    /// Of the argument under way no more is kept.
    cut: bool,
}

impl Requests {
    pub(super) fn new(direction: Direction, limits: Limits) -> Self {
        Self {
            direction,
            reader: Reader::new(limits.buffer),
            search: None,
            command: Command::default(),
            limit: limits.body.max(LEAST_KEPT),
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
            match self.reader.next(bytes) {
                Piece::Line(line) => {
                    if !self.line(without_end(&line), bytes, exchanges) {
                        return self.give_up(&line, Cause::Malformed, exchanges);
                    }
                }
                Piece::Bytes(string) => self.command.extend(string, self.limit),
                Piece::End => self.string_ended(exchanges),
                Piece::Partial => return,
                Piece::Malformed => return self.give_up(&[], Cause::Malformed, exchanges),
                Piece::TooLong => return self.give_up(&[], Cause::MemoryLimit, exchanges),
            }
            if exchanges.is_switching() {
                return;
            }
        }
    }

    /// Takes a line. False when it is not one that can be there.
    #[inline]
    fn line(&mut self, line: &[u8], bytes: &mut &[u8], exchanges: &mut Exchanges) -> bool {
        if self.command.remaining == 0 {
            return self.first_line(line, exchanges);
        }
        let digits = line.strip_prefix(b"$");
        let Some(length) = digits.and_then(|digits| frame::number(digits, MAX_STRING)) else {
            return false;
        };
        if let Some(string) = self.reader.string(length, bytes) {
            self.command.whole_string(string, self.limit);
            self.string_ended(exchanges);
        } else {
            self.command.begin_string(length);
        }
        true
    }

    #[inline]
    fn first_line(&mut self, line: &[u8], exchanges: &mut Exchanges) -> bool {
        match line.split_first() {
            Some((b'*', digits)) => match frame::number(digits, MAX_ELEMENTS) {
                Some(0) => self.forget(),
                Some(strings) => self.command.begin(strings),
                // The server takes all of these for nothing.
                None if digits.starts_with(b"-") => self.forget(),
                None => return false,
            },
            None => self.forget(),
            Some(_) => return self.inline(line, exchanges),
        }
        true
    }

    fn inline(&mut self, line: &[u8], exchanges: &mut Exchanges) -> bool {
        let Some(words) = inline::words(line) else { return false };
        let Some(name) = words.first() else {
            self.forget();
            return true;
        };
        let is_plausible = match self.synced {
            true => frame::is_name(name) && !name.is_empty(),
            false => commands::is_known(name),
        };
        if !is_plausible {
            return false;
        }
        self.command.begin(words.len() as u64);
        for word in words {
            self.command.whole_string(&word, self.limit);
            self.string_ended(exchanges);
        }
        true
    }

    fn string_ended(&mut self, exchanges: &mut Exchanges) {
        self.command.is_named = true;
        self.command.remaining = self.command.remaining.saturating_sub(1);
        if self.command.remaining == 0 {
            self.ended(true, exchanges);
        }
    }

    /// The command has ended, or nothing more of it will be seen.
    fn ended(&mut self, complete: bool, exchanges: &mut Exchanges) {
        let wire = self.reader.take_wire();
        let started = self.started.take().unwrap_or_default();
        match self.command.take(complete) {
            Some(mut request) => {
                secrets::remove(&mut request);
                self.synced = true;
                exchanges.request(request, started, wire);
            }
            None => {
                exchanges.skipped(self.direction, wire as usize, None);
                self.synced = false;
                exchanges.requests_lost();
            }
        }
    }

    /// What was there is nothing.
    fn forget(&mut self) {
        self.reader.take_wire();
        self.started = None;
    }

    /// Passes over the command under way, and looks for the next one from `again` on.
    fn give_up(&mut self, again: &[u8], cause: Cause, exchanges: &mut Exchanges) {
        // What comes before the first command of a connection that was joined midway is no fault.
        let cause = if self.synced { cause } else { Cause::Unobserved };
        let passed_over = (self.reader.take_wire() as usize).saturating_sub(again.len());
        exchanges.skipped(self.direction, passed_over, Some(cause));
        self.lose_place(exchanges);
        let (mut again, mut search) = (again, Search::for_command());
        let found = search.advance(&mut again);
        exchanges.skipped(self.direction, found.skipped, None);
        // A start has several lines, so that this one has at most a part of it.
        self.search = Some(search);
    }

    fn lose_place(&mut self, exchanges: &mut Exchanges) {
        self.reader.reset();
        self.command.clear();
        self.started = None;
        self.synced = false;
        self.search = Some(Search::for_command());
        exchanges.requests_lost();
    }

    /// Steps over bytes that are not there.
    pub(super) fn gap(&mut self, length: u64, exchanges: &mut Exchanges) {
        if let Some(search) = &mut self.search {
            exchanges.skipped(self.direction, search.kept(), Some(Cause::Unobserved));
            *search = Search::for_command();
            return exchanges.requests_lost();
        }
        let stepped = self.reader.gap(length);
        match stepped {
            Stepped::Within { bytes } => self.command.gap(bytes),
            Stepped::End { bytes } | Stepped::Beyond { bytes } => {
                self.command.gap(bytes);
                self.string_ended(exchanges);
            }
            Stepped::Lost => {}
        }
        if matches!(stepped, Stepped::Beyond { .. } | Stepped::Lost) {
            self.end_incomplete(exchanges);
            exchanges.skipped(self.direction, 0, Some(Cause::Unobserved));
            self.lose_place(exchanges);
        }
    }

    /// No more bytes will come.
    pub(super) fn finish(&mut self, exchanges: &mut Exchanges) {
        if let Some(search) = self.search.take() {
            exchanges.skipped(self.direction, search.kept(), None);
        }
        self.end_incomplete(exchanges);
        self.reader.reset();
    }

    /// Ends a command of which no more will be seen.
    fn end_incomplete(&mut self, exchanges: &mut Exchanges) {
        if self.command.is_named && !self.command.is_name_cut {
            self.ended(false, exchanges);
        } else {
            let wire = self.reader.take_wire() as usize;
            exchanges.skipped(self.direction, wire, None);
            self.command.clear();
        }
    }

    /// What was held of a line, as it belongs to another protocol.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        self.reader.reset()
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        let command = self.command.arguments.memory() + self.command.name.capacity();
        self.reader.memory() + command + self.search.as_ref().map_or(0, Search::kept)
    }
}

impl Command {
    fn begin(&mut self, strings: u64) {
        self.remaining = strings;
        self.count = strings - 1;
    }

    /// Takes a string that is there as a whole.
    #[inline]
    fn whole_string(&mut self, string: &[u8], limit: usize) {
        if !self.is_named {
            return self.extend(string, limit);
        }
        self.begun += 1;
        self.size += string.len() as u64;
        if self.begun <= MAX_ARGUMENTS {
            let kept = string.get(..limit - self.kept).unwrap_or(string);
            self.arguments.push(kept, string.len() as u64);
            self.kept += kept.len();
        }
    }

    /// A string of this length follows.
    fn begin_string(&mut self, length: u64) {
        self.cut = false;
        if self.is_named {
            self.begun += 1;
            self.size += length;
            if self.begun <= MAX_ARGUMENTS {
                self.arguments.push(&[], length);
            }
        }
    }

    /// Takes bytes of the string under way.
    #[inline]
    fn extend(&mut self, bytes: &[u8], limit: usize) {
        if self.cut {
            return;
        }
        if !self.is_named {
            let room = frame::MAX_NAME - self.name.len().min(frame::MAX_NAME);
            self.name.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        } else if self.begun <= MAX_ARGUMENTS {
            let kept = bytes.get(..limit - self.kept).unwrap_or(bytes);
            self.arguments.extend_last(kept);
            self.kept += kept.len();
            self.cut = kept.len() < bytes.len();
        }
    }

    /// So many bytes of the string under way are not there.
    fn gap(&mut self, bytes: u64) {
        self.cut |= bytes > 0;
        self.is_name_cut |= bytes > 0 && !self.is_named;
    }

    /// The command; `None` when its name is not known.
    #[inline]
    fn take(&mut self, complete: bool) -> Option<RedisRequest> {
        if self.is_name_cut || !self.is_named {
            self.clear();
            return None;
        }
        let arguments = self.arguments.build(self.count, self.size);
        let mut request = RedisRequest::new(commands::upper_case(&self.name), arguments);
        request.complete = complete;
        self.clear();
        Some(request)
    }

    #[inline]
    fn clear(&mut self) {
        self.remaining = 0;
        self.count = 0;
        self.name.clear();
        self.is_named = false;
        self.is_name_cut = false;
        self.begun = 0;
        self.size = 0;
        self.kept = 0;
        self.cut = false;
        self.arguments.clear();
        if self.arguments.memory() > USUAL {
            self.arguments = RedisArgumentsBuilder::default();
        }
    }
}
