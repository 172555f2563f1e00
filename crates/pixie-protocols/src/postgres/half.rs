//! One direction of a connection: bytes and gaps in, messages out.

use super::exchanges::Exchanges;
use super::frame::{Code, HEADER, Header, Side, UNTYPED_HEADER, Untyped, wanted};
use super::search::{Search, Searched};
use crate::parser::Limits;
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;

/// Bytes passed over are reported at the end of a search and, so that a long one does not go
/// unnoticed, every so many.
const REPORT_EVERY: u64 = 64 << 10;

/// Room for a payload that is kept between messages.
const USUAL_PAYLOAD: usize = 4 << 10;

/// A message whose end has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    /// The start of the payload: as much of it as is wanted, allowed and there.
    pub(super) payload: &'a [u8],
    /// The true length of the payload.
    pub(super) length: u32,
    /// Bytes of the message on the connection.
    pub(super) wire: u64,
    /// When its first byte was transferred.
    pub(super) started: MonotonicTime,
    /// When its last byte was.
    pub(super) ended: MonotonicTime,
}

/// Messages in a row that carry rows or copied data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    pub(super) kind: u8,
    pub(super) messages: u64,
    /// Bytes of their payloads.
    pub(super) bytes: u64,
    pub(super) started: MonotonicTime,
    pub(super) ended: MonotonicTime,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Half {
    side: Side,
    limits: Limits,
    state: State,
    /// A header of which the end has not come yet.
    head: [u8; UNTYPED_HEADER],
    head_length: usize,
    /// The payload under way, as far as it is wanted; or what waits.
    buffer: Vec<u8>,
    /// When the first byte of the message under way was transferred.
    started: MonotonicTime,
    /// Bytes of it that were fed.
    seen: u64,
    /// Passed over but not reported yet.
    skipped: u64,
    cause: Cause,
    /// Nothing was fed yet.
    is_untouched: bool,
}

#[derive(Debug)]
enum State {
    /// At or in the head of a client's first packet, which has no type.
    Start,
    /// At or in a header.
    Header,
    /// In a payload.
    Payload { what: What, length: u32, remaining: u64, wanted: usize },
    /// Looking for the next message.
    Search(Box<Search>),
    /// The client waits for whether the connection can be encrypted.
    Waiting,
    /// Nothing more is expected, or understood.
    Deaf,
}

/// What a payload belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Typed(u8),
    Untyped(Code),
}

impl Half {
    pub(super) fn new(side: Side, limits: Limits) -> Self {
        Self {
            side,
            limits,
            state: match side {
                Side::Frontend => State::Start,
                // A connection that was joined midway begins with anything.
                Side::Backend => State::Search(Box::new(Search::new(side))),
            },
            head: [0; UNTYPED_HEADER],
            head_length: 0,
            buffer: Vec::new(),
            started: MonotonicTime::default(),
            seen: 0,
            skipped: 0,
            cause: Cause::Unobserved,
            is_untouched: true,
        }
    }

    /// Takes bytes. Returns those that are to be taken only after something was done about the
    /// other direction.
    pub(super) fn feed<'a>(
        &mut self,
        time: MonotonicTime,
        mut bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        while let Some((&first, after)) = bytes.split_first() {
            if self.side == Side::Backend && exchanges.awaits_encryption() {
                if exchanges.encryption_answer(first) {
                    return after;
                }
                // A server of before 7.0 does not know the question, and says so by an error.
                let left = self.take_left();
                self.skip(left, exchanges);
                self.state = State::Header;
                return bytes;
            }
            bytes = match &mut self.state {
                State::Header => self.header(time, bytes, exchanges),
                State::Payload { .. } => self.payload(time, bytes, exchanges),
                State::Search(_) => self.search(time, bytes, exchanges),
                State::Start => self.start(time, bytes, exchanges),
                State::Waiting => self.hold(bytes, exchanges),
                State::Deaf => {
                    self.skip(bytes.len() as u64, exchanges);
                    &[]
                }
            };
        }
        bytes
    }

    /// At or in a header. What lies whole in the bytes is not copied.
    fn header<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        if self.head_length > 0 {
            return self.rest_of_header(time, bytes, exchanges);
        }
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else {
            self.started = time;
            return self.rest_of_header(time, bytes, exchanges);
        };
        let Some(header) = Header::read(self.side, *head) else {
            return self.malformed(time, bytes, exchanges);
        };
        let Some((payload, rest)) = rest.split_at_checked(header.length as usize) else {
            self.started = time;
            self.begin(header);
            return rest;
        };
        if header.kind == b'd' || (header.kind == b'D' && self.side == Side::Backend) {
            return self.data(header.kind, time, bytes, exchanges);
        }
        let wanted = self.wanted(header);
        exchanges.message(
            self.side,
            Message {
                kind: header.kind,
                payload: payload.get(..wanted).unwrap_or(payload),
                length: header.length,
                wire: HEADER as u64 + u64::from(header.length),
                started: time,
                ended: time,
            },
        );
        rest
    }

    /// A header that comes in pieces.
    fn rest_of_header<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let (bytes, rest) = self.fill_head(HEADER, bytes);
        if self.head_length < HEADER {
            return bytes;
        }
        let head = self.take_head();
        let header = head.first_chunk().and_then(|head| Header::read(self.side, *head));
        match header {
            Some(header) => self.begin(header),
            None => {
                let head = head.get(..HEADER).unwrap_or_default();
                self.malformed(time, head, exchanges);
            }
        }
        // An empty payload ends at once.
        if matches!(self.state, State::Payload { remaining: 0, .. }) {
            self.complete(time, exchanges);
        }
        rest
    }

    /// Adds bytes to the head, up to this many in all. Returns what is left: nothing, and the rest.
    fn fill_head<'a>(&mut self, length: usize, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let missing = length.saturating_sub(self.head_length).min(bytes.len());
        let (more, rest) = bytes.split_at(missing);
        if let Some(place) = self.head.get_mut(self.head_length..self.head_length + missing) {
            place.copy_from_slice(more);
        }
        self.head_length += missing;
        (&[], rest)
    }

    fn take_head(&mut self) -> [u8; UNTYPED_HEADER] {
        self.head_length = 0;
        self.head
    }

    /// A payload follows.
    fn begin(&mut self, header: Header) {
        let Header { kind, length } = header;
        let wanted = self.wanted(header);
        self.seen = HEADER as u64;
        self.buffer.clear();
        let what = What::Typed(kind);
        self.state = State::Payload { what, length, remaining: length.into(), wanted };
    }

    fn wanted(&self, header: Header) -> usize {
        wanted(self.side, header.kind).min(self.limits.buffer).min(header.length as usize)
    }

    fn payload<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let State::Payload { remaining, wanted, .. } = &mut self.state else { return bytes };
        let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at(length);
        *remaining -= length as u64;
        self.seen += length as u64;
        let is_over = *remaining == 0;
        let room = wanted.saturating_sub(self.buffer.len()).min(length);
        self.buffer.extend_from_slice(payload.get(..room).unwrap_or_default());
        if is_over {
            self.complete(time, exchanges);
        }
        rest
    }

    /// The payload under way has ended.
    fn complete(&mut self, time: MonotonicTime, exchanges: &mut Exchanges) {
        let State::Payload { what, length, .. } = self.state else { return };
        self.state = State::Header;
        let started = self.started;
        match what {
            What::Typed(kind @ (b'd' | b'D')) if wanted(self.side, kind) == 0 => {
                let bytes = u64::from(length);
                let data = Data { kind, messages: 1, bytes, started, ended: time };
                exchanges.data(self.side, data);
            }
            What::Typed(kind) => {
                let wire = HEADER as u64 + u64::from(length);
                let payload = &self.buffer;
                let message = Message { kind, payload, length, wire, started, ended: time };
                exchanges.message(self.side, message);
            }
            What::Untyped(code) => {
                let wire = UNTYPED_HEADER as u64 + u64::from(length);
                let payload = &self.buffer;
                let message = Message { kind: 0, payload, length, wire, started, ended: time };
                match code {
                    Code::Startup => exchanges.startup(message),
                    Code::Cancel => {
                        exchanges.cancel(message);
                        // The server closes the connection.
                        self.state = State::Deaf;
                    }
                    Code::Encryption => {
                        exchanges.asks_encryption();
                        self.state = State::Waiting;
                    }
                }
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(USUAL_PAYLOAD);
    }

    /// The head of a packet without a type; or, where the connection was joined midway, anything.
    fn start<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        if self.head_length == 0 {
            self.started = time;
        }
        let (_, rest) = self.fill_head(UNTYPED_HEADER, bytes);
        // The length of no such packet takes more than two bytes.
        let head_length = self.head_length;
        let is_typed = self.head.iter().take(head_length.min(2)).any(|&byte| byte != 0);
        if !is_typed && head_length < UNTYPED_HEADER {
            return rest;
        }
        let head = self.take_head();
        match Untyped::read(head) {
            Some(Untyped { code, length }) if !is_typed => {
                self.seen = UNTYPED_HEADER as u64;
                self.buffer.clear();
                let wanted = match code {
                    // Not the secret.
                    Code::Cancel => 4,
                    _ => self.limits.buffer,
                };
                let what = What::Untyped(code);
                self.state = State::Payload { what, length, remaining: length.into(), wanted };
                if length == 0 {
                    self.complete(time, exchanges);
                }
            }
            _ => {
                self.state = State::Search(Box::new(Search::new(self.side)));
                self.search(self.started, head.get(..head_length).unwrap_or_default(), exchanges);
            }
        }
        rest
    }

    /// There is no such message here.
    fn malformed<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        exchanges.lost(self.side);
        self.cause = Cause::Malformed;
        self.state = State::Search(Box::new(Search::new(self.side)));
        self.search(time, bytes, exchanges)
    }

    fn search<'a>(
        &mut self,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        self.is_untouched = false;
        let State::Search(search) = &mut self.state else { return bytes };
        match search.push(time, bytes) {
            Searched::Nothing { passed } => {
                self.skip(passed as u64, exchanges);
                &[]
            }
            Searched::Found { passed, head, at } => {
                self.skip(passed as u64, exchanges);
                self.report(exchanges);
                self.cause = Cause::Unobserved;
                self.state = State::Header;
                for (time, part) in head {
                    self.feed(time, &part, exchanges);
                }
                bytes.get(at..).unwrap_or_default()
            }
        }
    }

    /// Keeps what cannot be read yet.
    fn hold<'a>(&mut self, bytes: &'a [u8], exchanges: &mut Exchanges) -> &'a [u8] {
        let room = self.limits.buffer.saturating_sub(self.buffer.len()).min(bytes.len());
        let (kept, beyond) = bytes.split_at(room);
        self.buffer.extend_from_slice(kept);
        if !beyond.is_empty() {
            // No client goes on for so long before it has its answer.
            self.cause = Cause::MemoryLimit;
            self.skip(beyond.len() as u64, exchanges);
        }
        &[]
    }

    /// The server does not encrypt: the client's next packet has no type either.
    pub(super) fn refused(&mut self) -> Vec<u8> {
        if matches!(self.state, State::Waiting) {
            self.state = State::Start;
            return std::mem::take(&mut self.buffer);
        }
        Vec::new()
    }

    /// What was fed but belongs to what follows on a change of protocol.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        match self.state {
            State::Waiting => std::mem::take(&mut self.buffer),
            _ => Vec::new(),
        }
    }

    /// The first message of this direction is about to come.
    pub(super) fn synchronize(&mut self) {
        if self.is_untouched {
            self.state = State::Header;
        }
    }

    /// Steps over bytes that are not there.
    pub(super) fn gap(&mut self, time: MonotonicTime, length: u64, exchanges: &mut Exchanges) {
        if length == 0 {
            return;
        }
        self.is_untouched = false;
        if self.side == Side::Backend {
            exchanges.encryption_answer_lost();
        }
        match &mut self.state {
            State::Payload { remaining, wanted, .. } if length <= *remaining => {
                *remaining -= length;
                let is_over = *remaining == 0;
                // What follows the hole is not what follows what came before it.
                *wanted = self.buffer.len();
                if is_over {
                    self.complete(time, exchanges);
                }
            }
            State::Search(search) => {
                let passed = search.end() as u64;
                self.skip(passed, exchanges);
                exchanges.lost(self.side);
            }
            State::Deaf => {}
            State::Waiting => {
                let held = std::mem::take(&mut self.buffer).len() as u64;
                self.lose(held, exchanges);
            }
            State::Payload { .. } => self.lose(self.seen, exchanges),
            State::Start | State::Header => {
                let seen = std::mem::take(&mut self.head_length) as u64;
                self.lose(seen, exchanges);
            }
        }
    }

    /// The place of the next message is not known any more. So many bytes were fed that begin one
    /// whose end is lost.
    fn lose(&mut self, seen: u64, exchanges: &mut Exchanges) {
        exchanges.lost(self.side);
        self.buffer = Vec::new();
        self.cause = Cause::Unobserved;
        self.skip(seen, exchanges);
        self.state = State::Search(Box::new(Search::new(self.side)));
    }

    /// No more bytes will come.
    pub(super) fn finish(&mut self, exchanges: &mut Exchanges) {
        let left = self.take_left();
        self.skip(left, exchanges);
        self.report(exchanges);
        self.state = State::Deaf;
    }

    /// Gives up what is under way, and returns how many bytes of it were fed.
    fn take_left(&mut self) -> u64 {
        let head = std::mem::take(&mut self.head_length) as u64;
        let held = std::mem::take(&mut self.buffer).len() as u64;
        match &mut self.state {
            State::Search(search) => search.end() as u64,
            State::Payload { .. } => self.seen,
            State::Waiting => held,
            _ => head,
        }
    }

    fn skip(&mut self, bytes: u64, exchanges: &mut Exchanges) {
        self.skipped += bytes;
        if self.skipped >= REPORT_EVERY {
            self.report(exchanges);
        }
    }

    fn report(&mut self, exchanges: &mut Exchanges) {
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            exchanges.skipped(self.side, skipped, self.cause);
        }
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        let searched = match &self.state {
            State::Search(search) => search.memory(),
            _ => 0,
        };
        self.buffer.capacity() + searched
    }

    /// Rows or copied data, of which there are many in a row: counts the whole ones.
    fn data<'a>(
        &self,
        kind: u8,
        time: MonotonicTime,
        bytes: &'a [u8],
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let mut data = Data { kind, messages: 0, bytes: 0, started: time, ended: time };
        let mut rest = bytes;
        while let Some((head, payload)) = rest.split_first_chunk::<HEADER>() {
            if head.first() != Some(&kind) {
                break;
            }
            let Some(header) = Header::read(self.side, *head) else { break };
            let Some(following) = payload.get(header.length as usize..) else { break };
            data.messages += 1;
            data.bytes += u64::from(header.length);
            rest = following;
        }
        exchanges.data(self.side, data);
        rest
    }
}
