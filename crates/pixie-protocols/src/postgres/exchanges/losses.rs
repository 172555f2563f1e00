//! What is lost, and what there is no room for.

use super::{Exchanges, PENDING_BUFFERS};
use crate::parser::Output;
use crate::postgres::frame::Side;
use crate::postgres::half::Message;
use crate::postgres::slot::Kind;
use pixie_core::record::Cause;

impl Exchanges {
    /// Messages of this side may have been lost.
    pub(in crate::postgres) fn lost(&mut self, side: Side) {
        match side {
            Side::Frontend => self.requests_lost(),
            Side::Backend => self.answers_lost(),
        }
    }

    pub(super) fn requests_lost(&mut self) {
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

    pub(super) fn answers_lost(&mut self) {
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
    pub(super) fn give_up_all(&mut self) {
        while !self.slots.is_empty() {
            self.emit_first();
        }
        self.blind = false;
        self.abandoned = 0;
        self.abandons_run = false;
        self.memory = 0;
    }

    /// The same for requests alone.
    pub(super) fn give_up_requests(&mut self) {
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
    pub(super) fn make_room(&mut self, more: usize) {
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
    pub(super) fn is_ignored(&self) -> bool {
        self.abandoned > 0 || self.abandons_run
    }

    pub(super) fn ignored(&mut self, message: &Message<'_>) {
        self.ignored += message.wire;
        if message.kind == b'Z' {
            self.abandoned = self.abandoned.saturating_sub(1);
            self.report_ignored();
        }
    }

    pub(super) fn report_ignored(&mut self) {
        let ignored = std::mem::take(&mut self.ignored);
        if ignored > 0 {
            self.skipped(Side::Backend, ignored, Cause::MemoryLimit);
        }
    }

    /// Bytes of this side were passed over.
    pub(in crate::postgres) fn skipped(&mut self, side: Side, bytes: u64, cause: Cause) {
        let direction = match side {
            Side::Frontend => self.requests,
            Side::Backend => self.requests.reverse(),
        };
        self.outputs.push_back(Output::Skipped { direction, bytes, cause });
    }

    /// The server will send no more.
    pub(in crate::postgres) fn finish(&mut self) {
        self.give_up_all();
        self.report_ignored();
    }
}
