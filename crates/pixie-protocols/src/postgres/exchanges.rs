//! Requests paired with their answers.
//!
//! The server answers in order, so requests wait in a queue. A run of messages of the extended
//! protocol ends with a `Sync`, which has a place of its own in the queue:
//!
//! ```text
//!   Parse Bind Execute  Bind Execute  Sync   Query
//!   └── Extended ─────┘ └ Extended ─┘ Sync   Simple     one record for each but the Sync
//! ```
//!
//! `ReadyForQuery` answers a `Sync`, a `Query` or a startup, and nothing else; so whatever was
//! mistaken or lost before it, it is a place to start afresh.

mod answers;
mod losses;
mod requests;

use super::slot::{Kind, Slot, Step, may_be_several};
use super::statements::{Portal, Statements};
use crate::parser::{Context, Output};
use pixie_core::Record;
use pixie_core::id::Direction;
use pixie_core::record::PostgresCommand;
use pixie_core::time::MonotonicTime;
use std::collections::VecDeque;

/// What waits may take this many times [`Limits::buffer`](crate::parser::Limits::buffer).
const PENDING_BUFFERS: usize = 8;

/// Room for this many exchanges is kept when there are none.
const USUAL_SLOTS: usize = 16;

/// The most statements and portals that are closed in one exchange, and described.
const MAX_CLOSES: u8 = 16;
const MAX_DESCRIBES: u8 = 2;

/// What was agreed on about encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Nothing is under way.
    None,
    /// The client has asked, and waits for the answer.
    Asked,
    /// The connection goes on in plain text.
    Refused,
    /// TLS follows.
    Tls,
    /// GSSAPI follows.
    Gss,
    /// The answer was lost.
    Unknown,
}

/// The exchanges that are under way on a connection.
#[derive(Debug)]
pub(super) struct Exchanges {
    context: Context,
    requests: Direction,
    slots: VecDeque<Slot>,
    statements: Statements,
    outputs: VecDeque<Output>,
    encryption: Encryption,
    /// A startup message has come, and nothing of the server's yet.
    started: bool,
    /// The run under way is passed over by the server, up to its `Sync`.
    aborting: bool,
    /// A request was seen before the one before it was answered.
    pipelined: bool,
    /// Answers may have been lost since the last `ReadyForQuery`.
    answers_lost: bool,
    /// It cannot be told which of several exchanges of a run an answer is to.
    blind: bool,
    /// It cannot be told which of several runs an answer is to: nothing is paired.
    doubt: bool,
    /// The last message of the server was `ReadyForQuery`.
    is_ready: bool,
    /// When that was.
    last_ready: Option<MonotonicTime>,
    /// Requests may have been lost, and none was seen since that is not answered yet.
    recovering: bool,
    /// Runs that were given up for want of room, and whose answers are still to come.
    abandoned: u64,
    /// The run under way was given up.
    abandons_run: bool,
    /// Bytes of answers to these.
    ignored: u64,
    /// Bytes in `slots`, about.
    memory: usize,
}

impl Exchanges {
    pub(super) fn new(context: Context, requests: Direction) -> Self {
        Self {
            statements: Statements::new(context.limits),
            context,
            requests,
            // Most connections never need more, and the least that it takes by itself is 4.
            slots: VecDeque::with_capacity(1),
            outputs: VecDeque::with_capacity(1),
            encryption: Encryption::None,
            started: false,
            aborting: false,
            pipelined: false,
            answers_lost: false,
            blind: false,
            doubt: false,
            is_ready: false,
            last_ready: None,
            recovering: true,
            abandoned: 0,
            abandons_run: false,
            ignored: 0,
            memory: 0,
        }
    }

    // Encryption.

    pub(super) fn awaits_encryption(&self) -> bool {
        self.encryption == Encryption::Asked
    }

    /// What the server says about encryption. True when the byte is that, and not the start of
    /// something else.
    pub(super) fn encryption_answer(&mut self, byte: u8) -> bool {
        self.encryption = match byte {
            b'S' => Encryption::Tls,
            b'G' => Encryption::Gss,
            _ => Encryption::Refused,
        };
        matches!(byte, b'S' | b'G' | b'N')
    }

    /// What the server says may be among bytes that were lost.
    pub(super) fn encryption_answer_lost(&mut self) {
        if self.encryption == Encryption::Asked {
            self.encryption = Encryption::Unknown;
        }
    }

    /// What was agreed on, once.
    pub(super) fn take_encryption(&mut self) -> Encryption {
        match self.encryption {
            Encryption::Asked => Encryption::None,
            _ => std::mem::replace(&mut self.encryption, Encryption::None),
        }
    }

    /// Whether a startup message has come since this was asked.
    pub(super) fn take_started(&mut self) -> bool {
        std::mem::take(&mut self.started)
    }

    // Records.

    fn emit_first(&mut self) {
        if let Some(slot) = self.remove(0) {
            self.emit(slot);
        }
    }

    fn remove(&mut self, place: usize) -> Option<Slot> {
        let slot = self.slots.remove(place)?;
        self.memory = self.memory.saturating_sub(slot.memory);
        Some(slot)
    }

    fn emit(&mut self, mut slot: Slot) {
        if slot.is_sync() {
            return;
        }
        slot.judge();
        match slot.kind {
            Kind::Extended => self.settle_extended(&mut slot),
            Kind::Simple => self.settle_simple(&slot),
            _ => {}
        }
        if !is_worth_telling(&slot) {
            return;
        }
        if !slot.done {
            slot.timing.response_end = None;
        }
        let role = Context::role(self.requests);
        slot.record.traffic.set_timing(Some(role), slot.timing);
        self.outputs.push_back(Output::Record(Record::Postgres(slot.record)));
    }

    /// What an exchange of the extended protocol has done to names, and what they stand for in it.
    fn settle_extended(&mut self, slot: &mut Slot) {
        let response = slot.record.response.as_ref();
        let failed = response.is_some_and(|response| response.error.is_some() || response.aborted);
        let succeeded = response.is_some_and(|response| response.complete) && !failed;
        let Some(request) = &mut slot.record.request else { return };
        let name = request.prepared.clone().unwrap_or_default();
        match slot.parse {
            Step::None => {}
            Step::Awaited if failed && !name.is_empty() => {}
            step => match &request.statement {
                Some(statement) if step == Step::Done || succeeded => {
                    self.statements.prepare(&name, statement.clone());
                }
                _ => self.statements.close_prepared(&name),
            },
        }
        let portal = request.portal.clone().unwrap_or_default();
        if slot.bind != Step::None {
            if request.statement.is_none() {
                request.statement = self.statements.prepared(&name);
            }
            let bound = Portal { prepared: name, statement: request.statement.clone() };
            match slot.bind == Step::Done || succeeded {
                true => self.statements.bind(&portal, bound),
                false => self.statements.close_portal(&portal),
            }
        } else if slot.execute != Step::None {
            if let Some(portal) = self.statements.portal(&portal) {
                request.prepared = Some(portal.prepared);
                request.statement = portal.statement;
            }
        } else if slot.describes > 0 && request.statement.is_none() {
            request.statement = self.statements.prepared(&name);
        }
        for (what, name) in &slot.closes {
            match what {
                b'S' => self.statements.close_prepared(name),
                _ => self.statements.close_portal(name),
            }
        }
        if let Some(statement) = request.statement.as_ref().filter(|_| slot.execute != Step::None)
            && changes_names(statement.text.as_bytes())
        {
            self.statements.forget();
        }
    }

    /// The same for a query.
    fn settle_simple(&mut self, slot: &Slot) {
        let unnamed = pixie_core::Text::default();
        self.statements.close_prepared(&unnamed);
        self.statements.close_portal(&unnamed);
        let request = slot.record.request.as_ref();
        let statement = request.and_then(|request| request.statement.as_ref());
        if statement.is_some_and(|statement| changes_names(statement.text.as_bytes())) {
            self.statements.forget();
        }
    }

    pub(super) fn push_output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs.shrink_to(USUAL_SLOTS);
        }
        output
    }

    /// Bytes of memory that are held, about.
    pub(super) fn memory(&self) -> usize {
        self.memory + self.statements.memory()
    }
}

/// Whether statements like this may change what names stand for: `DEALLOCATE`, `DISCARD`,
/// `PREPARE`; and in doubt several statements.
fn changes_names(statement: &[u8]) -> bool {
    let statement = statement.trim_ascii_start();
    let begins = |word: &str| {
        let start = statement.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    ["deallocate", "discard", "prepare"].into_iter().any(begins) || may_be_several(statement)
}

/// Whether an exchange is a record: not a mere `Close`, nor an end of an answer of which nothing
/// else was seen.
fn is_worth_telling(slot: &Slot) -> bool {
    let response = slot.record.response.as_ref();
    match (&slot.record.request, response) {
        (Some(request), _) if request.command == PostgresCommand::Close => {
            response.is_some_and(|response| response.error.is_some())
        }
        (Some(_), _) => true,
        (None, Some(response)) => {
            response.statements > 0
                || response.data_rows > 0
                || response.columns.count() > 0
                || response.error.is_some()
                || response.notification.is_some()
                || response.copy.is_some()
                || response.suspended
                || !response.notices.is_empty()
        }
        (None, None) => false,
    }
}
