//! One direction of a connection: frames in, messages out.

use super::agreement::Agreement;
use super::frame::{COMPRESSED, Head};
use super::inflate::inflate;
use crate::parser::Limits;
use bytes::Bytes;
use pixie_core::Text;
use pixie_core::id::Role;
use pixie_core::record::{Body, Cause, WebSocketOpcode};
use pixie_core::time::MonotonicTime;
use std::collections::VecDeque;

/// Bytes passed over are reported when they come to an end and every so many.
const REPORT_EVERY: u64 = 64 << 10;

/// A message, or a part of one.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) sender: Role,
    pub(super) opcode: WebSocketOpcode,
    pub(super) body: Body,
    pub(super) fragments: u64,
    pub(super) masked: bool,
    pub(super) compressed: bool,
    pub(super) close_code: Option<u16>,
    pub(super) close_reason: Text,
    pub(super) violation: Option<&'static str>,
    pub(super) started: MonotonicTime,
    /// Bytes on the connection.
    pub(super) wire: u64,
}

/// What comes of a direction.
#[derive(Debug)]
pub(super) enum Said {
    Message(Message),
    Skipped(u64, Cause),
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Half {
    limits: Limits,
    /// Which end sends here, where that is known.
    sender: Option<Role>,
    state: State,
    /// The data message under way, between the frames of which control frames may come.
    data: Option<Collecting>,
    /// The control message under way.
    control: Option<Collecting>,
    /// Messages have been compressed here: what comes next depends on them.
    has_compressed: bool,
    skipped: u64,
    cause: Cause,
}

#[derive(Debug)]
enum State {
    /// In the head of a frame.
    Head { bytes: Vec<u8>, started: Option<MonotonicTime> },
    /// In the payload of one.
    Payload {
        remaining: u64,
        mask: Option<[u8; 4]>,
        position: u64,
        of_control: bool,
        is_final: bool,
    },
    /// Right after a gap. A frame may begin here; it is one when another follows it.
    Doubt { bytes: Vec<u8>, started: Option<MonotonicTime> },
    /// Where the next frame begins is not known.
    Lost,
}

/// A message under way.
#[derive(Debug)]
struct Collecting {
    opcode: u8,
    compressed: bool,
    masked: bool,
    kept: Vec<u8>,
    size: u64,
    /// Something of it was not kept, and no more is.
    cut: bool,
    fragments: u64,
    wire: u64,
    started: MonotonicTime,
    violation: Option<&'static str>,
}

impl Half {
    pub(super) fn new(sender: Option<Role>, limits: Limits) -> Self {
        Self {
            limits,
            sender,
            state: State::Head { bytes: Vec::new(), started: None },
            data: None,
            control: None,
            has_compressed: false,
            skipped: 0,
            cause: Cause::Malformed,
        }
    }

    /// Takes bytes.
    pub(super) fn feed(
        &mut self,
        time: MonotonicTime,
        bytes: &[u8],
        agreement: &Agreement,
        said: &mut VecDeque<Said>,
    ) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.state {
                State::Head { .. } => self.head(time, &mut rest, agreement, said),
                State::Payload { .. } => self.payload(&mut rest, agreement, said),
                State::Doubt { .. } => self.doubt(time, &mut rest, agreement, said),
                State::Lost => {
                    self.skip(rest.len() as u64, said);
                    rest = &[];
                }
            }
        }
    }

    fn head(
        &mut self,
        time: MonotonicTime,
        rest: &mut &[u8],
        agreement: &Agreement,
        said: &mut VecDeque<Said>,
    ) {
        let State::Head { bytes, started } = &mut self.state else { return };
        let started = *started.get_or_insert(time);
        let (head, size) = if bytes.is_empty()
            && let Some((head, size)) = Head::decode(rest)
        {
            *rest = rest.get(size..).unwrap_or_default();
            (head, size)
        } else {
            // The head comes in pieces: byte by byte, because its size is in it.
            let Some((&byte, after)) = rest.split_first() else { return };
            bytes.push(byte);
            *rest = after;
            match Head::decode(bytes) {
                Some(decoded) => decoded,
                None => return,
            }
        };
        self.begin(head, size as u64, started, agreement, said);
    }

    /// A frame begins.
    fn begin(
        &mut self,
        head: Head,
        wire: u64,
        started: MonotonicTime,
        agreement: &Agreement,
        said: &mut VecDeque<Said>,
    ) {
        let of_control = head.is_control();
        let violation = self.violation(&head, agreement);
        let slot = if of_control { &mut self.control } else { &mut self.data };
        let message = slot.get_or_insert_with(|| Collecting::new(&head, started));
        message.wire += wire;
        if violation.is_some() {
            // The other end gives up the connection, too.
            message.violation = violation;
            self.end(of_control, false, agreement, said);
            return self.lose(Cause::Malformed, said);
        }
        message.fragments += 1;
        self.state = State::Payload {
            remaining: head.length,
            mask: head.mask,
            position: 0,
            of_control,
            is_final: head.is_final,
        };
        self.end_payload(agreement, said);
    }

    fn violation(&self, head: &Head, agreement: &Agreement) -> Option<&'static str> {
        let may_compress = agreement.deflate.is_some() || !agreement.is_known;
        let is_continuation = head.opcode == 0;
        let of_sender = match self.sender {
            Some(Role::Client) if head.mask.is_none() => Some("a client's frame is not masked"),
            Some(Role::Server) if head.mask.is_some() => Some("a server's frame is masked"),
            _ => None,
        };
        head.violation(may_compress).or(of_sender).or(match &self.data {
            _ if head.is_control() => None,
            Some(_) if !is_continuation => Some("a message begins within another"),
            None if is_continuation => Some("there is nothing to continue"),
            _ => None,
        })
    }

    fn payload(&mut self, rest: &mut &[u8], agreement: &Agreement, said: &mut VecDeque<Said>) {
        let State::Payload { remaining, mask, position, of_control, .. } = &mut self.state else {
            return;
        };
        let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(rest.len());
        let (bytes, after) = rest.split_at(length);
        let slot = if *of_control { &mut self.control } else { &mut self.data };
        if let Some(message) = slot {
            message.bytes(bytes, *mask, *position, limit(&self.limits, *of_control));
        }
        *remaining -= length as u64;
        *position += length as u64;
        *rest = after;
        self.end_payload(agreement, said);
    }

    /// Ends the frame, and perhaps its message, when its payload has come.
    fn end_payload(&mut self, agreement: &Agreement, said: &mut VecDeque<Said>) {
        if let State::Payload { remaining: 0, of_control, is_final, .. } = self.state {
            self.state = State::Head { bytes: Vec::new(), started: None };
            if is_final {
                self.end(of_control, true, agreement, said);
            }
        }
    }

    /// Ends a message.
    fn end(
        &mut self,
        of_control: bool,
        complete: bool,
        agreement: &Agreement,
        said: &mut VecDeque<Said>,
    ) {
        self.report(said);
        let slot = if of_control { &mut self.control } else { &mut self.data };
        let Some(collected) = slot.take() else { return };
        let sender = self.sender.unwrap_or(match collected.masked {
            true => Role::Client,
            false => Role::Server,
        });
        let is_close = collected.opcode == 8;
        let is_first = agreement.is_known && !self.has_compressed;
        let alone = agreement.deflate.is_some_and(|deflate| deflate.is_alone(sender));
        self.has_compressed |= collected.compressed;
        let may_inflate = alone || is_first;
        let message = collected.finish(sender, complete, may_inflate, self.limits.body);
        let is_over = is_close && message.violation.is_none();
        said.push_back(Said::Message(message));
        if is_over {
            // Nothing may follow (RFC 6455, section 5.5.1).
            self.lose(Cause::Malformed, said);
        }
    }

    /// Steps over bytes that are not there.
    pub(super) fn gap(&mut self, length: u64, agreement: &Agreement, said: &mut VecDeque<Said>) {
        let mut length = length;
        if let State::Payload { remaining, position, of_control, .. } = &mut self.state {
            let within = length.min(*remaining);
            let slot = if *of_control { &mut self.control } else { &mut self.data };
            if let Some(message) = slot {
                message.gap(within);
            }
            *remaining -= within;
            *position += within;
            length -= within;
            self.end_payload(agreement, said);
        }
        if length == 0 {
            return;
        }
        self.give_up_message(agreement, said);
        self.lose(Cause::Unobserved, said);
        self.state = State::Doubt { bytes: Vec::new(), started: None };
    }

    /// Right after a gap: what comes is held until it is a frame with the head of another after it.
    fn doubt(
        &mut self,
        time: MonotonicTime,
        rest: &mut &[u8],
        agreement: &Agreement,
        said: &mut VecDeque<Said>,
    ) {
        let State::Doubt { bytes, started } = &mut self.state else { return };
        let started = *started.get_or_insert(time);
        // What is looked at must not depend on how much comes at once.
        let wanted = wanted(bytes, rest, self.limits.buffer);
        bytes.extend_from_slice(rest.get(..wanted).unwrap_or(rest));
        *rest = rest.get(wanted..).unwrap_or_default();
        let is_frame = match plausible(bytes, self.sender, agreement) {
            Plausible::Partial if bytes.len() < self.limits.buffer => return,
            Plausible::Partial | Plausible::No => false,
            Plausible::Yes => true,
        };
        let held = std::mem::take(bytes);
        if is_frame {
            self.state = State::Head { bytes: Vec::new(), started: None };
            self.feed(started, &held, agreement, said);
        } else {
            self.skip(held.len() as u64, said);
            self.state = State::Lost;
        }
    }

    /// Ends the messages of which no more will be understood.
    fn give_up_message(&mut self, agreement: &Agreement, said: &mut VecDeque<Said>) {
        let dropped = match &mut self.state {
            State::Head { bytes, .. } | State::Doubt { bytes, .. } => std::mem::take(bytes).len(),
            _ => 0,
        };
        self.skip(dropped as u64, said);
        self.end(true, false, agreement, said);
        self.end(false, false, agreement, said);
    }

    fn lose(&mut self, cause: Cause, said: &mut VecDeque<Said>) {
        self.report(said);
        self.cause = cause;
        // Whatever was compressed meanwhile is not known.
        self.has_compressed = true;
        self.data = None;
        self.control = None;
        self.state = State::Lost;
    }

    fn skip(&mut self, bytes: u64, said: &mut VecDeque<Said>) {
        self.skipped += bytes;
        if self.skipped >= REPORT_EVERY {
            self.report(said);
        }
    }

    fn report(&mut self, said: &mut VecDeque<Said>) {
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            said.push_back(Said::Skipped(skipped, self.cause));
        }
    }

    /// No more bytes will come.
    pub(super) fn finish(&mut self, agreement: &Agreement, said: &mut VecDeque<Said>) {
        self.give_up_message(agreement, said);
        self.report(said);
        self.state = State::Lost;
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        let state = match &self.state {
            State::Head { bytes, .. } | State::Doubt { bytes, .. } => bytes.capacity(),
            _ => 0,
        };
        let kept = |message: &Option<Collecting>| {
            message.as_ref().map_or(0, |message| message.kept.capacity())
        };
        state + kept(&self.data) + kept(&self.control)
    }
}

/// A control frame's payload is kept for the status in it, whatever the limit.
fn limit(limits: &Limits, of_control: bool) -> usize {
    if of_control { limits.body.max(2) } else { limits.body }
}

/// Whether a frame begins here.
enum Plausible {
    Yes,
    Partial,
    No,
}

/// A frame that starts a message, and the head of another, right after it, that does not contradict
/// it.
fn plausible(bytes: &[u8], sender: Option<Role>, agreement: &Agreement) -> Plausible {
    let is_head = |head: &Head| {
        let may_compress = agreement.deflate.is_some() || !agreement.is_known;
        head.violation(may_compress).is_none()
            && sender.is_none_or(|sender| sender == head.sender())
    };
    let Some((first, size)) = Head::decode(bytes) else { return Plausible::Partial };
    if !is_head(&first) || first.opcode == 0 {
        return Plausible::No;
    }
    let Ok(length) = usize::try_from(first.length) else { return Plausible::No };
    let Some(next) = size.checked_add(length).and_then(|next| bytes.get(next..)) else {
        return Plausible::Partial;
    };
    let Some((second, _)) = Head::decode(next) else { return Plausible::Partial };
    let continues = second.opcode == 0;
    let fits = second.is_control() || continues != (first.is_final || first.is_control());
    let same_end = first.sender() == second.sender();
    if is_head(&second) && fits && same_end { Plausible::Yes } else { Plausible::No }
}

/// How many more bytes are needed for [`plausible`] to come to a verdict, at least one.
fn wanted(bytes: &[u8], rest: &[u8], limit: usize) -> usize {
    let room = limit.saturating_sub(bytes.len()).max(1);
    let Some((first, size)) = Head::decode(bytes) else { return 1 };
    let length = usize::try_from(first.length).unwrap_or(usize::MAX);
    let payload_end = size.saturating_add(length);
    payload_end.saturating_sub(bytes.len()).clamp(1, room).min(rest.len().max(1))
}

impl Collecting {
    fn new(head: &Head, started: MonotonicTime) -> Self {
        Self {
            opcode: head.opcode,
            compressed: head.reserved & COMPRESSED != 0,
            masked: head.mask.is_some(),
            kept: Vec::new(),
            size: 0,
            cut: false,
            fragments: 0,
            wire: 0,
            started,
            violation: None,
        }
    }

    /// Takes bytes of the payload, of which the first is at `position` in its frame.
    fn bytes(&mut self, bytes: &[u8], mask: Option<[u8; 4]>, position: u64, limit: usize) {
        self.size += bytes.len() as u64;
        self.wire += bytes.len() as u64;
        if self.cut {
            return;
        }
        let room = limit.saturating_sub(self.kept.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.cut = kept.len() < bytes.len();
        match mask {
            None => self.kept.extend_from_slice(kept),
            Some(mask) => {
                let mask = mask.into_iter().cycle().skip((position % 4) as usize);
                self.kept.extend(kept.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
            }
        }
    }

    fn gap(&mut self, length: u64) {
        self.size += length;
        self.wire += length;
        self.cut |= length > 0;
    }

    fn finish(self, sender: Role, complete: bool, may_inflate: bool, limit: usize) -> Message {
        let mut body = Body::default();
        body.size = self.size;
        body.complete = complete;
        let (mut close_code, mut close_reason) = (None, Text::default());
        let mut kept = self.kept;
        if self.opcode == 8 {
            close_code = kept.first_chunk().map(|code| u16::from_be_bytes(*code));
            close_reason = Text::from_bytes(kept.get(2..).unwrap_or_default().to_vec());
        }
        kept.truncate(limit);
        body.captured = kept.len() as u64;
        if self.compressed && may_inflate && !kept.is_empty() {
            let (decoded, decoding) = inflate(&kept, complete && !self.cut, limit);
            body.decoding = decoding;
            kept = decoded.unwrap_or(kept);
        }
        body.bytes = Bytes::from(kept);
        Message {
            sender,
            opcode: WebSocketOpcode::of(self.opcode),
            body,
            fragments: self.fragments,
            masked: self.masked,
            compressed: self.compressed,
            close_code,
            close_reason,
            violation: self.violation,
            started: self.started,
            wire: self.wire,
        }
    }
}
