//! An exchange under way.

use super::decode::{self, Bind};
use super::half::{Data, Message};
use memchr::memchr;
use pixie_core::Text;
use pixie_core::record::{
    Postgres, PostgresCommand, PostgresCopy, PostgresCopyDirection, PostgresRequest,
    PostgresResponse, PostgresTransaction, Timing,
};
use pixie_core::time::MonotonicTime;

/// The most command tags, notices and reported parameters that a record has.
const MAX_TAGS: usize = 64;
const MAX_NOTICES: usize = 16;
const MAX_REPORTED: usize = 32;

/// What a slot of the queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From a startup message to the first `ReadyForQuery`.
    Startup,
    /// A `Query` or a `FunctionCall`, which ends with `ReadyForQuery`.
    Simple,
    /// Messages of the extended protocol that belong together: at most one `Parse`, `Bind` and
    /// `Execute`.
    Extended,
    /// A `Sync`, which ends a run of them.
    Sync {
        /// It was lost, if it was sent.
        assumed: bool,
    },
    /// An answer to what was not seen.
    Unknown,
}

/// How far a message of the extended protocol has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    /// There is none in this exchange.
    #[default]
    None,
    Awaited,
    Done,
}

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) record: Box<Postgres>,
    pub(super) timing: Timing,
    pub(super) parse: Step,
    pub(super) bind: Step,
    pub(super) execute: Step,
    /// `Describe`s that were sent, and that were not answered yet.
    pub(super) describes: u8,
    pub(super) undescribed: u8,
    /// What is closed: a prepared statement (`S`) or a portal (`P`), by name.
    pub(super) closes: Vec<(u8, Text)>,
    pub(super) unclosed: u8,
    /// The answer is over, but for a `ReadyForQuery`.
    pub(super) done: bool,
    /// The `Sync` came before that, so that the `ReadyForQuery` is a part of the answer.
    pub(super) ends_ready: bool,
    /// The client sends data.
    pub(super) copies_in: bool,
    /// A part of the answer was lost,
    has_holes: bool,
    /// and the end of a statement came after that.
    ended_after_hole: bool,
    /// Bytes of memory, about.
    pub(super) memory: usize,
}

impl Slot {
    pub(super) fn new(kind: Kind, record: Box<Postgres>) -> Self {
        Self {
            kind,
            record,
            timing: Timing::default(),
            parse: Step::None,
            bind: Step::None,
            execute: Step::None,
            describes: 0,
            undescribed: 0,
            closes: Vec::new(),
            unclosed: 0,
            done: false,
            ends_ready: false,
            copies_in: false,
            has_holes: false,
            ended_after_hole: false,
            memory: size_of::<Self>() + size_of::<Postgres>(),
        }
    }

    /// Whether `ReadyForQuery` ends this exchange, or the run of them that ends with it.
    pub(super) fn ends_run(&self) -> bool {
        self.kind != Kind::Extended
    }

    pub(super) fn request(&mut self) -> &mut PostgresRequest {
        self.record.request.get_or_insert_default()
    }

    pub(super) fn response(&mut self) -> &mut PostgresResponse {
        self.record.response.get_or_insert_default()
    }

    /// A message of the client belongs to this exchange.
    pub(super) fn sent(&mut self, message: &Message<'_>) {
        self.timing.request_start.get_or_insert(message.started);
        self.record.traffic.request_bytes += message.wire;
    }

    /// A message of the server does.
    pub(super) fn answered(
        &mut self,
        wire: u64,
        started: MonotonicTime,
        ended: MonotonicTime,
    ) -> &mut PostgresResponse {
        self.timing.response_start.get_or_insert(started);
        self.timing.response_end = Some(ended);
        self.record.traffic.response_bytes += wire;
        self.response()
    }

    /// Whether all messages of the extended protocol that came so far were answered.
    pub(super) fn is_answered(&self) -> bool {
        let is_over = |step| step != Step::Awaited;
        is_over(self.parse)
            && is_over(self.bind)
            && is_over(self.execute)
            && self.undescribed == 0
            && self.unclosed == 0
    }

    /// Whether more messages may belong to it.
    pub(super) fn takes_more(&self) -> bool {
        let is_aborted = self.record.response.as_ref().is_some_and(|response| response.aborted);
        !self.done || is_aborted
    }

    pub(super) fn parsed(&mut self, name: Text, statement: pixie_core::record::PostgresStatement) {
        self.memory += statement.text.len() + name.len();
        self.parse = Step::Awaited;
        let request = self.request();
        request.command = PostgresCommand::Parse;
        request.statement = Some(statement);
        request.prepared = Some(name);
    }

    pub(super) fn bound(&mut self, bind: Bind) {
        let parameters = bind.parameters.iter().flatten();
        self.memory += parameters.map(|parameter| parameter.bytes.len()).sum::<usize>();
        self.memory += bind.parameters.capacity() * size_of::<Option<usize>>() * 4;
        self.bind = Step::Awaited;
        let request = self.request();
        if request.command != PostgresCommand::Parse {
            request.command = PostgresCommand::Bind;
        }
        request.prepared = Some(bind.prepared);
        request.portal = Some(bind.portal).filter(|portal| !portal.is_empty());
        request.parameters = bind.parameters;
        request.parameter_count = bind.count;
    }

    /// A message of the server that goes on with, or ends, the answer to this exchange.
    pub(super) fn answer(&mut self, message: &Message<'_>) {
        let Message { kind, payload, length, wire, started, ended } = *message;
        let is_cut = payload.len() < length as usize;
        let is_extended = self.kind == Kind::Extended;
        let held = match kind {
            b'T' | b'C' | b'N' | b'E' | b'S' => payload.len().min(4 << 10),
            _ => 0,
        };
        self.memory += held;
        let response = self.answered(wire, started, ended);
        match kind {
            b'T' if response.columns.count() == 0 => {
                response.columns = decode::columns(payload).unwrap_or_default();
            }
            b'C' => command_complete(response, payload, is_cut),
            b'I' => response.statements = response.statements.saturating_add(1),
            b's' => {
                response.suspended = true;
                response.rows = Some(response.data_rows);
            }
            b'G' | b'H' | b'W' => copy_begins(response, kind, payload),
            b'N' if response.notices.len() < MAX_NOTICES => {
                response.notices.push(decode::message(payload));
            }
            b'E' => {
                response.error.get_or_insert_with(|| Box::new(decode::message(payload)));
            }
            b'S' if response.parameters.len() < MAX_REPORTED => reported(response, payload),
            b'K' => response.process = decode::Reader::new(payload).u32(),
            b'R' => authentication(response, payload),
            _ => {}
        }
        self.ended_after_hole |= matches!(kind, b'C' | b'I' | b'E' | b's');
        self.copies_in |= matches!(kind, b'G' | b'W');
        if is_extended {
            self.step(kind);
        }
    }

    /// Which message of the extended protocol is answered.
    fn step(&mut self, kind: u8) {
        match kind {
            b'1' => self.parse = answered(self.parse),
            b'2' => self.bind = answered(self.bind),
            b'3' => self.unclosed = self.unclosed.saturating_sub(1),
            b'T' | b'n' => self.undescribed = self.undescribed.saturating_sub(1),
            b'C' | b'I' | b's' => {
                // What comes before was done, or it would not be executed.
                self.parse = answered(self.parse);
                self.bind = answered(self.bind);
                self.execute = answered(self.execute);
                self.copies_in = false;
            }
            _ => {}
        }
        self.done = self.is_answered();
    }

    /// Rows, or data that are copied, went this way.
    pub(super) fn data(&mut self, data: &Data, from_server: bool) {
        let wire = data.bytes + data.messages * super::frame::HEADER as u64;
        if from_server {
            let response = self.answered(wire, data.started, data.ended);
            if data.kind == b'D' {
                response.data_rows += data.messages;
                response.data_bytes += data.bytes.saturating_sub(2 * data.messages);
                return;
            }
        } else {
            self.record.traffic.request_bytes += wire;
        }
        if let Some(copy) = &mut self.response().copy {
            copy.bytes += data.bytes;
            copy.messages += data.messages;
        }
    }

    /// A `Describe`: of a prepared statement or a portal.
    pub(super) fn describe(&mut self, payload: &[u8]) {
        self.describes += 1;
        self.undescribed += 1;
        if self.parse != Step::None || self.bind != Step::None {
            return;
        }
        let mut reader = decode::Reader::new(payload);
        let (what, name) = (reader.u8(), reader.text().map(decode::text));
        let request = self.request();
        request.command = PostgresCommand::Describe;
        match what {
            Some(b'S') => request.prepared = name,
            _ => request.portal = name.filter(|portal| !portal.is_empty()),
        }
    }

    /// A `Close`: of a prepared statement or a portal.
    pub(super) fn close(&mut self, payload: &[u8]) {
        self.unclosed += 1;
        let mut reader = decode::Reader::new(payload);
        if let (Some(what), Some(name)) = (reader.u8(), reader.text()) {
            self.closes.push((what, decode::text(name)));
            self.memory += name.len() + size_of::<(u8, Text)>();
        }
        let request = self.request();
        if request.command == PostgresCommand::Query {
            request.command = PostgresCommand::Close;
        }
    }

    /// Messages of the answer may have been lost.
    pub(super) fn has_holes(&mut self) {
        self.has_holes = true;
        self.ended_after_hole = false;
        self.copy_has_holes();
    }

    /// Data that were copied may have been lost.
    pub(super) fn copy_has_holes(&mut self) {
        let copy = self.record.response.as_mut().and_then(|response| response.copy.as_mut());
        if let Some(copy) = copy {
            copy.complete = false;
        }
    }

    pub(super) fn is_sync(&self) -> bool {
        matches!(self.kind, Kind::Sync { .. })
    }

    /// A `Sync` of which it is not known whether it was sent.
    pub(super) fn is_assumed(&self) -> bool {
        self.kind == Kind::Sync { assumed: true }
    }

    /// Says whether the answer is complete, and leaves out what is not certain.
    pub(super) fn judge(&mut self) {
        let statement = self.record.request.as_ref().and_then(|request| request.statement.as_ref());
        let is_simple = self.kind == Kind::Simple;
        let several = is_simple
            && statement.is_none_or(|statement| may_be_several(statement.text.as_bytes()));
        let is_certain = !self.has_holes || self.ended_after_hole && !several;
        let done = self.done;
        if let Some(response) = &mut self.record.response {
            response.complete = done && is_certain && !response.aborted;
            if !is_certain && several {
                response.rows = None;
            }
        }
    }

    /// The server is ready for the next query.
    pub(super) fn ready(&mut self, transaction: Option<PostgresTransaction>) {
        if let Some(response) = &mut self.record.response {
            response.transaction = transaction;
        }
    }
}

/// A step that is known to be over now, if there is one.
fn answered(step: Step) -> Step {
    if step == Step::None { Step::None } else { Step::Done }
}

fn command_complete(response: &mut PostgresResponse, payload: &[u8], is_cut: bool) {
    response.statements = response.statements.saturating_add(1);
    if is_cut {
        return;
    }
    let tag = payload.strip_suffix(&[0]).unwrap_or(payload);
    if let Some(rows) = decode::rows(tag) {
        response.rows = Some(response.rows.unwrap_or_default().saturating_add(rows));
    }
    if response.command_tags.len() < MAX_TAGS {
        response.command_tags.push(decode::text(tag));
    }
}

fn copy_begins(response: &mut PostgresResponse, kind: u8, payload: &[u8]) {
    let copy = response.copy.get_or_insert_default();
    if copy.messages == 0 {
        **copy = PostgresCopy::default();
        copy.complete = true;
    }
    copy.binary = payload.first() == Some(&1);
    copy.direction = match kind {
        b'G' => PostgresCopyDirection::In,
        b'H' => PostgresCopyDirection::Out,
        _ => PostgresCopyDirection::Both,
    };
}

/// A `ParameterStatus`. Those of a later change are not kept.
fn reported(response: &mut PostgresResponse, payload: &[u8]) {
    let mut reader = decode::Reader::new(payload);
    if let (Some(name), Some(value)) = (reader.text(), reader.text()) {
        response.parameters.push((decode::text(name), decode::text(value)));
    }
}

fn authentication(response: &mut PostgresResponse, payload: &[u8]) {
    let code = decode::Reader::new(payload).u32();
    let asked = code.and_then(decode::authentication);
    response.authentication = match (code, response.authentication) {
        (_, None) if asked.is_some() => asked,
        // Let in without being asked for anything.
        (Some(0), None) => Some("trust"),
        (_, known) => known,
    };
}

/// Whether there may be several statements: there is something after a semicolon.
pub(super) fn may_be_several(statement: &[u8]) -> bool {
    memchr(b';', statement)
        .is_some_and(|end| !statement.get(end + 1..).unwrap_or_default().trim_ascii().is_empty())
}
