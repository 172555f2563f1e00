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

use super::decode;
use super::frame::Side;
use super::half::{Data, Message};
use super::slot::{Kind, Slot, Step, may_be_several};
use super::statements::{Portal, Statements};
use crate::parser::{Context, Output};
use pixie_core::Record;
use pixie_core::id::Direction;
use pixie_core::record::{
    Cause, Postgres, PostgresCommand, PostgresNotification, PostgresRequest, PostgresTransaction,
};
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
            slots: VecDeque::new(),
            outputs: VecDeque::new(),
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

    // The client's messages.

    /// A startup message.
    pub(super) fn startup(&mut self, message: Message<'_>) {
        self.started = true;
        let startup = decode::startup(message.payload);
        let mut request = PostgresRequest::new(PostgresCommand::Startup);
        request.user = startup.user;
        request.database = startup.database;
        request.application_name = startup.application_name;
        self.begin_run(message.started);
        self.push(Kind::Startup, request, &message);
    }

    /// A request to cancel, which is not answered.
    pub(super) fn cancel(&mut self, message: Message<'_>) {
        let mut request = PostgresRequest::new(PostgresCommand::Cancel);
        request.process = decode::Reader::new(message.payload).u32();
        let mut slot = self.slot(Kind::Unknown, Some(request));
        slot.sent(&message);
        self.emit(slot);
    }

    /// The client asks whether the connection can be encrypted.
    pub(super) fn asks_encryption(&mut self) {
        self.encryption = Encryption::Asked;
    }

    /// Any other message of either side.
    pub(super) fn message(&mut self, side: Side, message: Message<'_>) {
        match side {
            Side::Frontend => self.asked(&message),
            Side::Backend => self.answered(&message),
        }
    }

    fn asked(&mut self, message: &Message<'_>) {
        let limit = self.context.limits.body;
        match message.kind {
            b'Q' => {
                let mut request = PostgresRequest::new(PostgresCommand::Query);
                let statement = decode::query(message.payload, message.length, limit);
                request.statement = Some(statement);
                self.begin_run(message.started);
                self.push(Kind::Simple, request, message);
            }
            b'F' => {
                let mut request = PostgresRequest::new(PostgresCommand::FunctionCall);
                request.function = decode::Reader::new(message.payload).u32();
                self.begin_run(message.started);
                self.push(Kind::Simple, request, message);
            }
            b'P' => {
                let parsed = decode::parse(message.payload, limit);
                self.extended(
                    message,
                    |_| false,
                    |slot| match parsed {
                        Some((name, statement)) => slot.parsed(name, statement),
                        None => slot.parse = Step::Awaited,
                    },
                );
            }
            b'B' => self.bind(message, limit),
            b'D' => {
                let fits = |slot: &Slot| {
                    let has_room = slot.describes < MAX_DESCRIBES && slot.closes.is_empty();
                    slot.execute == Step::None && has_room && !slot.is_answered()
                };
                self.extended(message, fits, |slot| slot.describe(message.payload));
            }
            b'E' => self.execute(message),
            b'C' => {
                let fits = |slot: &Slot| slot.unclosed < MAX_CLOSES;
                self.extended(message, fits, |slot| slot.close(message.payload));
            }
            b'S' => self.sync(message),
            b'c' | b'f' => {
                if let Some(slot) = self.copying() {
                    slot.copies_in = false;
                    slot.record.traffic.request_bytes += message.wire;
                }
            }
            // Passwords, which are not looked at, and what needs no answer.
            b'p' => {
                if let Some(slot) = self.slots.front_mut().filter(|slot| slot.kind == Kind::Startup)
                {
                    slot.record.traffic.request_bytes += message.wire;
                }
            }
            _ => {}
        }
    }

    fn bind(&mut self, message: &Message<'_>, limit: usize) {
        let bind = decode::bind(message.payload, limit);
        let prepared = bind.as_ref().map(|bind| bind.prepared.clone());
        let fits = |slot: &Slot| {
            let request = slot.record.request.as_ref();
            let same = request.and_then(|request| request.prepared.as_ref()) == prepared.as_ref();
            let is_open = slot.bind == Step::None && slot.execute == Step::None;
            let is_parsed = slot.parse == Step::Awaited && slot.closes.is_empty();
            is_open && is_parsed && same
        };
        self.extended(message, fits, |slot| match bind {
            Some(bind) => slot.bound(bind),
            None => slot.bind = Step::Awaited,
        });
    }

    fn execute(&mut self, message: &Message<'_>) {
        let mut reader = decode::Reader::new(message.payload);
        let portal = reader.text().map(decode::text).unwrap_or_default();
        let row_limit = reader.u32().filter(|&limit| limit > 0);
        let portal = Some(portal).filter(|portal| !portal.is_empty());
        let fits = |slot: &Slot| {
            let request = slot.record.request.as_ref();
            let same = request.is_some_and(|request| request.portal == portal);
            slot.bind == Step::Awaited && slot.execute == Step::None && same
        };
        self.extended(message, fits, |slot| {
            slot.execute = Step::Awaited;
            let request = slot.request();
            request.command = PostgresCommand::Execute;
            request.row_limit = row_limit;
            request.portal = portal.clone();
        });
    }

    /// Adds a message of the extended protocol to the exchange that it belongs to: the newest of the
    /// run under way, if it `fits`, or a new one.
    fn extended(
        &mut self,
        message: &Message<'_>,
        fits: impl Fn(&Slot) -> bool,
        add: impl FnOnce(&mut Slot),
    ) {
        let newest = self.slots.back().filter(|slot| slot.kind == Kind::Extended);
        let is_running = newest.is_some();
        if !newest.is_some_and(|slot| slot.takes_more() && fits(slot)) {
            if !is_running {
                self.begin_run(message.started);
            }
            self.make_room(1);
            let slot = self.slot(Kind::Extended, Some(PostgresRequest::default()));
            self.memory += slot.memory;
            self.slots.push_back(slot);
            self.release();
        }
        let Some(slot) = self.slots.back_mut() else { return };
        let before = slot.memory;
        slot.sent(message);
        add(slot);
        if self.aborting {
            slot.done = true;
            slot.response().aborted = true;
        }
        self.memory += slot.memory - before;
        self.make_room(0);
    }

    /// A `Sync`.
    fn sync(&mut self, message: &Message<'_>) {
        self.aborting = false;
        if std::mem::take(&mut self.abandons_run) {
            self.abandoned += 1;
            self.give_up_requests();
            return;
        }
        if self.doubt {
            self.give_up_requests();
            return;
        }
        match self.slots.back_mut() {
            // The server does not look at it while it copies.
            Some(slot) if slot.copies_in => {
                slot.record.traffic.request_bytes += message.wire;
                return;
            }
            Some(slot) if slot.kind == Kind::Extended => {
                slot.record.traffic.request_bytes += message.wire;
                slot.ends_ready = !slot.done || slot.response().aborted;
            }
            Some(slot) if slot.kind == (Kind::Sync { assumed: true }) => {
                slot.kind = Kind::Sync { assumed: false };
                return;
            }
            _ => {
                self.begin_run(message.started);
                if self.doubt {
                    return;
                }
            }
        }
        let sync = self.slot(Kind::Sync { assumed: false }, None);
        self.memory += sync.memory;
        self.slots.push_back(sync);
        self.make_room(0);
    }

    /// The exchange in which the client copies data.
    fn copying(&mut self) -> Option<&mut Slot> {
        self.slots.iter_mut().rev().find(|slot| slot.copies_in)
    }

    /// A run of messages begins that ends with the next `ReadyForQuery` but those that are awaited.
    fn begin_run(&mut self, started: MonotonicTime) {
        if self.recovering {
            // It took until now to tell that a message began there.
            let is_late = self.last_ready.is_some_and(|ready| started < ready);
            self.recovering = is_late;
            self.doubt |= is_late;
            if is_late {
                return;
            }
        }
        if self.slots.back().is_some_and(Slot::is_assumed) {
            self.remove(self.slots.len().saturating_sub(1));
        }
        if self.slots.iter().any(|slot| slot.kind != Kind::Unknown) {
            match self.answers_lost && !self.pipelined {
                // The client would not have sent it before it had the answer to the one before.
                true => self.give_up_all(),
                false => self.pipelined = true,
            }
        } else if self.is_ready {
            self.doubt = false;
        }
    }

    fn slot(&self, kind: Kind, request: Option<PostgresRequest>) -> Slot {
        let record = Postgres::new(self.context.traffic.clone(), request, None);
        Slot::new(kind, Box::new(record))
    }

    /// Adds an exchange that is one message.
    fn push(&mut self, kind: Kind, request: PostgresRequest, message: &Message<'_>) {
        let text = request.statement.as_ref().map_or(0, |statement| statement.text.len());
        let mut slot = self.slot(kind, Some(request));
        slot.memory += text;
        slot.sent(message);
        self.memory += slot.memory;
        self.slots.push_back(slot);
        if self.doubt {
            self.give_up_requests();
        }
        self.make_room(0);
    }

    // The server's messages.

    /// Rows, or data that are copied.
    pub(super) fn data(&mut self, side: Side, data: Data) {
        let wire = data.bytes + data.messages * super::frame::HEADER as u64;
        match side {
            Side::Frontend => {
                if let Some(slot) = self.copying() {
                    slot.data(&data, false);
                }
            }
            Side::Backend if self.is_ignored() => self.ignored += wire,
            Side::Backend => {
                self.is_ready = false;
                if let Some(slot) = self.current() {
                    slot.data(&data, true);
                }
            }
        }
    }

    fn answered(&mut self, message: &Message<'_>) {
        let was_ready = std::mem::replace(&mut self.is_ready, message.kind == b'Z');
        match message.kind {
            b'A' => {
                self.is_ready = was_ready;
                self.notification(message);
            }
            _ if self.is_ignored() => self.ignored(message),
            b'Z' => self.ready(message),
            b'E' => self.failed(message),
            b'N' | b'S' if self.slots.is_empty() => {
                self.is_ready = was_ready;
                // It concerns no request. A parameter has changed, say.
                if message.kind == b'N' {
                    self.unasked(message);
                }
            }
            kind => {
                let is_startup = |slot: &Slot| slot.kind == Kind::Startup;
                let Some(slot) = self.current() else { return };
                let before = slot.memory;
                if kind == b'S' && !is_startup(slot) {
                    slot.answered(message.wire, message.started, message.ended);
                } else {
                    slot.answer(message);
                }
                self.memory += slot.memory - before;
                if kind == b'G' {
                    self.ignore_sync();
                }
                self.release();
            }
        }
    }

    /// The first exchange that is not answered, or one for an answer to what was not seen. `None`
    /// where it cannot be told.
    fn current(&mut self) -> Option<&mut Slot> {
        if self.blind {
            return None;
        }
        let is_unknown = |slot: &Slot| slot.kind == Kind::Unknown;
        let place = match self.doubt {
            true => self.slots.iter().position(is_unknown),
            false => self.slots.iter().position(|slot| !slot.done),
        };
        let fits = |slot: &&Slot| !slot.is_sync();
        match place {
            Some(place) if self.slots.get(place).filter(fits).is_some() => {
                self.slots.get_mut(place)
            }
            // A `Sync` is answered by `ReadyForQuery` alone: so this one was not sent.
            Some(place) if self.slots.get(place).is_some_and(Slot::is_assumed) => {
                self.remove(place);
                self.current()
            }
            Some(_) => None,
            None => {
                let slot = self.slot(Kind::Unknown, None);
                self.memory += slot.memory;
                match self.doubt {
                    true => self.slots.push_front(slot),
                    false => self.slots.push_back(slot),
                }
                let place = if self.doubt { 0 } else { self.slots.len().saturating_sub(1) };
                self.slots.get_mut(place)
            }
        }
    }

    /// Emits exchanges that are over, and not the last of their run.
    fn release(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.done)
            && self.slots.get(1).is_some_and(|next| next.kind == Kind::Extended)
        {
            self.emit_first();
        }
    }

    /// The server copies from the client: it has passed over the `Sync` that was sent with the
    /// statement.
    fn ignore_sync(&mut self) {
        let place = self.slots.iter().position(|slot| slot.copies_in);
        let Some(next) = place.map(|place| place + 1) else { return };
        if self.slots.get(next).is_some_and(Slot::is_sync) {
            self.remove(next);
        }
    }

    /// `ReadyForQuery` ends a run.
    fn ready(&mut self, message: &Message<'_>) {
        let transaction = match message.payload {
            b"I" => Some(PostgresTransaction::Idle),
            b"T" => Some(PostgresTransaction::Open),
            b"E" => Some(PostgresTransaction::Failed),
            _ => None,
        };
        self.answers_lost = false;
        self.last_ready = Some(message.ended);
        let blind = std::mem::take(&mut self.blind);
        let end = match self.doubt {
            true => self.slots.iter().position(|slot| slot.kind == Kind::Unknown),
            false => self.slots.iter().position(Slot::ends_run),
        };
        let count = match (end, self.doubt) {
            (Some(end), _) => end + 1,
            (None, true) => 0,
            // A run of which the `Sync` was not seen.
            (None, false) => self.slots.len(),
        };
        let ends_with_sync = count.checked_sub(1).and_then(|last| self.slots.get(last));
        let ends_with_sync = ends_with_sync.is_some_and(Slot::is_sync);
        // The exchange that the message belongs to.
        let answered = count.saturating_sub(1 + usize::from(ends_with_sync));
        for place in 0..count {
            let Some(slot) = self.slots.front_mut() else { break };
            let ends = place == answered && (slot.kind != Kind::Extended || slot.ends_ready);
            if !slot.is_sync() {
                slot.ready(transaction);
                let is_aborted = slot.record.response.as_ref().is_some_and(|known| known.aborted);
                if ends && !is_aborted {
                    slot.answered(message.wire, message.started, message.ended);
                    slot.response().transaction = transaction;
                    slot.done |= !blind || slot.kind != Kind::Extended;
                }
            }
            self.emit_first();
        }
        if transaction == Some(PostgresTransaction::Idle) {
            self.statements.close_portals();
        }
        if self.slots.is_empty() {
            self.memory = 0;
            self.slots.shrink_to(USUAL_SLOTS);
        }
    }

    /// An `ErrorResponse`.
    fn failed(&mut self, message: &Message<'_>) {
        if self.blind {
            return;
        }
        let place = self.slots.iter().position(|slot| !slot.done);
        // What is committed by a `Sync` may fail.
        let place = match place {
            Some(place) if self.slots.get(place).is_some_and(Slot::is_sync) => place.checked_sub(1),
            place => place,
        };
        let is_fatal = !message.payload.starts_with(b"SERROR\0")
            && matches!(decode::message(message.payload).severity.as_bytes(), b"FATAL" | b"PANIC");
        let Some(place) = place.filter(|_| !self.doubt) else {
            match is_fatal {
                true => self.unasked(message),
                false => {
                    if let Some(slot) = self.current() {
                        slot.answer(message);
                    }
                }
            }
            return;
        };
        let Some(slot) = self.slots.get_mut(place) else { return };
        let before = slot.memory;
        slot.answer(message);
        self.memory += slot.memory - before;
        slot.copies_in = false;
        let kind = slot.kind;
        // Nothing follows on an error at startup.
        if is_fatal || kind == Kind::Startup {
            slot.done = true;
            if let Some(slot) = self.remove(place) {
                self.emit(slot);
            }
        } else if kind == Kind::Extended {
            slot.done = true;
            self.abort_from(place + 1);
        }
    }

    /// The server passes over what follows in the run, up to its `Sync`.
    fn abort_from(&mut self, place: usize) {
        self.aborting = true;
        for slot in self.slots.iter_mut().skip(place) {
            if slot.kind != Kind::Extended {
                self.aborting = false;
                break;
            }
            slot.done = true;
            slot.response().aborted = true;
        }
    }

    /// A notification answers nothing.
    fn notification(&mut self, message: &Message<'_>) {
        let mut reader = decode::Reader::new(message.payload);
        let mut notification = PostgresNotification::default();
        notification.process = reader.u32().unwrap_or_default();
        let (Some(channel), Some(content)) = (reader.text(), reader.text()) else { return };
        notification.channel = decode::text(channel);
        let limit = self.context.limits.body;
        let content = content.get(..limit).unwrap_or(content);
        notification.payload = pixie_core::Text::from_bytes(bytes::Bytes::copy_from_slice(content));
        let mut slot = self.slot(Kind::Unknown, None);
        let response = slot.answered(message.wire, message.started, message.ended);
        response.notification = Some(Box::new(notification));
        slot.done = true;
        self.emit(slot);
    }

    /// A notice or an error that answers nothing.
    fn unasked(&mut self, message: &Message<'_>) {
        let mut slot = self.slot(Kind::Unknown, None);
        slot.answer(message);
        slot.done = true;
        self.emit(slot);
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

    // Losses and limits.

    /// Messages of this side may have been lost.
    pub(super) fn lost(&mut self, side: Side) {
        match side {
            Side::Frontend => self.requests_lost(),
            Side::Backend => self.answers_lost(),
        }
    }

    fn requests_lost(&mut self) {
        self.recovering = true;
        if let Some(slot) = self.copying() {
            slot.copy_has_holes();
            return;
        }
        // Any name may stand for something else now.
        self.statements.forget();
        if self.pipelined {
            self.give_up_all();
            self.doubt = true;
        } else if self.slots.back().is_some_and(|slot| slot.kind == Kind::Extended) {
            let sync = self.slot(Kind::Sync { assumed: true }, None);
            self.memory += sync.memory;
            self.slots.push_back(sync);
        }
        self.aborting = false;
    }

    fn answers_lost(&mut self) {
        self.answers_lost = true;
        self.is_ready = false;
        let ends = self.slots.iter().filter(|slot| slot.ends_run()).count();
        let is_open = self.slots.back().is_some_and(|slot| slot.kind == Kind::Extended);
        let mut unanswered = 0;
        for slot in self.slots.iter_mut().filter(|slot| !slot.done) {
            slot.has_holes();
            unanswered += usize::from(slot.kind == Kind::Extended);
        }
        if ends + usize::from(is_open) > 1 || self.is_ignored() {
            self.give_up_all();
            self.doubt = true;
        } else {
            self.blind |= unanswered > 1;
        }
    }

    /// Emits everything as it is: it cannot be known what else belongs to it.
    fn give_up_all(&mut self) {
        while !self.slots.is_empty() {
            self.emit_first();
        }
        self.blind = false;
        self.abandoned = 0;
        self.abandons_run = false;
        self.memory = 0;
    }

    /// The same for requests alone.
    fn give_up_requests(&mut self) {
        let mut place = 0;
        while let Some(slot) = self.slots.get(place) {
            if slot.kind == Kind::Unknown {
                place += 1;
            } else if let Some(slot) = self.remove(place) {
                self.emit(slot);
            }
        }
    }

    /// What waits for an answer is bounded, in number and in size: the oldest run goes first.
    /// `more` are about to be added.
    fn make_room(&mut self, more: usize) {
        let limits = self.context.limits;
        while self.slots.len() + more > limits.pending.max(2)
            || self.memory > limits.buffer.saturating_mul(PENDING_BUFFERS)
        {
            loop {
                let Some(slot) = self.slots.front() else {
                    // Its end is still to come.
                    self.abandons_run = true;
                    break;
                };
                let is_end = slot.ends_run();
                self.emit_first();
                if is_end {
                    self.abandoned += 1;
                    break;
                }
            }
            if self.slots.is_empty() {
                self.memory = 0;
                break;
            }
        }
    }

    /// Whether the server's messages answer what was given up.
    fn is_ignored(&self) -> bool {
        self.abandoned > 0 || self.abandons_run
    }

    fn ignored(&mut self, message: &Message<'_>) {
        self.ignored += message.wire;
        if message.kind == b'Z' {
            self.abandoned = self.abandoned.saturating_sub(1);
            self.report_ignored();
        }
    }

    fn report_ignored(&mut self) {
        let ignored = std::mem::take(&mut self.ignored);
        if ignored > 0 {
            self.skipped(Side::Backend, ignored, Cause::MemoryLimit);
        }
    }

    /// Bytes of this side were passed over.
    pub(super) fn skipped(&mut self, side: Side, bytes: u64, cause: Cause) {
        let direction = match side {
            Side::Frontend => self.requests,
            Side::Backend => self.requests.reverse(),
        };
        self.outputs.push_back(Output::Skipped { direction, bytes, cause });
    }

    /// The server will send no more.
    pub(super) fn finish(&mut self) {
        self.give_up_all();
        self.report_ignored();
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
