//! What the server sends.

use super::{Exchanges, USUAL_SLOTS};
use crate::postgres::decode;
use crate::postgres::frame::{HEADER, Side};
use crate::postgres::half::{Data, Message};
use crate::postgres::slot::{Kind, Slot};
use pixie_core::record::{PostgresNotification, PostgresTransaction};

impl Exchanges {
    /// Rows, or data that are copied.
    pub(in crate::postgres) fn data(&mut self, side: Side, data: Data) {
        let wire = data.bytes + data.messages * HEADER as u64;
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

    pub(super) fn answered(&mut self, message: &Message<'_>) {
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
    pub(super) fn current(&mut self) -> Option<&mut Slot> {
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
    pub(super) fn release(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.done)
            && self.slots.get(1).is_some_and(|next| next.kind == Kind::Extended)
        {
            self.emit_first();
        }
    }

    /// The server copies from the client: it has passed over the `Sync` that was sent with the
    /// statement.
    pub(super) fn ignore_sync(&mut self) {
        let place = self.slots.iter().position(|slot| slot.copies_in);
        let Some(next) = place.map(|place| place + 1) else { return };
        if self.slots.get(next).is_some_and(Slot::is_sync) {
            self.remove(next);
        }
    }

    /// `ReadyForQuery` ends a run.
    pub(super) fn ready(&mut self, message: &Message<'_>) {
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
    pub(super) fn failed(&mut self, message: &Message<'_>) {
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
    pub(super) fn abort_from(&mut self, place: usize) {
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
    pub(super) fn notification(&mut self, message: &Message<'_>) {
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
    pub(super) fn unasked(&mut self, message: &Message<'_>) {
        let mut slot = self.slot(Kind::Unknown, None);
        slot.answer(message);
        slot.done = true;
        self.emit(slot);
    }
}
