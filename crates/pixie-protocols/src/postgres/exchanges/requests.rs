//! What the client sends.

use super::{Encryption, Exchanges, MAX_CLOSES, MAX_DESCRIBES};
use crate::postgres::decode;
use crate::postgres::frame::Side;
use crate::postgres::half::Message;
use crate::postgres::slot::{Kind, Slot, Step};
use pixie_core::record::{Postgres, PostgresCommand, PostgresRequest};
use pixie_core::time::MonotonicTime;

impl Exchanges {
    /// A startup message.
    pub(in crate::postgres) fn startup(&mut self, message: Message<'_>) {
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
    pub(in crate::postgres) fn cancel(&mut self, message: Message<'_>) {
        let mut request = PostgresRequest::new(PostgresCommand::Cancel);
        request.process = decode::Reader::new(message.payload).u32();
        let mut slot = self.slot(Kind::Unknown, Some(request));
        slot.sent(&message);
        self.emit(slot);
    }

    /// The client asks whether the connection can be encrypted.
    pub(in crate::postgres) fn asks_encryption(&mut self) {
        self.encryption = Encryption::Asked;
    }

    /// Any other message of either side.
    pub(in crate::postgres) fn message(&mut self, side: Side, message: Message<'_>) {
        match side {
            Side::Frontend => self.asked(&message),
            Side::Backend => self.answered(&message),
        }
    }

    pub(super) fn asked(&mut self, message: &Message<'_>) {
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

    pub(super) fn bind(&mut self, message: &Message<'_>, limit: usize) {
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

    pub(super) fn execute(&mut self, message: &Message<'_>) {
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
    pub(super) fn extended(
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
    pub(super) fn sync(&mut self, message: &Message<'_>) {
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
    pub(super) fn copying(&mut self) -> Option<&mut Slot> {
        self.slots.iter_mut().rev().find(|slot| slot.copies_in)
    }

    /// A run of messages begins that ends with the next `ReadyForQuery` but those that are awaited.
    pub(super) fn begin_run(&mut self, started: MonotonicTime) {
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

    pub(super) fn slot(&self, kind: Kind, request: Option<PostgresRequest>) -> Slot {
        let record = Postgres::new(self.context.traffic.clone(), request, None);
        Slot::new(kind, Box::new(record))
    }

    /// Adds an exchange that is one message.
    pub(super) fn push(&mut self, kind: Kind, request: PostgresRequest, message: &Message<'_>) {
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
}
