//! A connection until its handshake is over.

use super::handshake::{CERTIFICATE, CLIENT_HELLO, Messages, SERVER_HELLO, SERVER_KEY_EXCHANGE};
use super::hello;
use super::record::{Content, HEADER, Header};
use crate::parser::{Context, Next, Output, Parser, Segment, Switch};
use pixie_core::Record;
use pixie_core::id::{Direction, Role};
use pixie_core::record::{Cause, Timing, TlsAlert, TlsAlertDescription, TlsHandshake, TlsVersion};
use pixie_core::time::MonotonicTime;
use std::collections::VecDeque;

/// A handshake that takes more bytes than this in one direction is not waited for.
const MAX_HANDSHAKE: u64 = 1 << 20;

/// The length of an encrypted record of TLS 1.3 with nothing but an alert: two bytes, its type and
/// the tag. No message of a handshake is as short.
const ENCRYPTED_ALERT: u16 = 2 + 1 + 16;

/// Parses one connection.
#[derive(Debug)]
pub(super) struct Session {
    /// By [`Direction::index`].
    sides: [Side; 2],
    handshake: Box<TlsHandshake>,
    /// Which way the client's bytes go, when a hello has told.
    client: Option<Direction>,
    /// The version, when the server has told.
    version: Option<TlsVersion>,
    /// The session that the client would go on with.
    offered_session: Vec<u8>,
    is_over: bool,
    outputs: VecDeque<Output>,
}

/// One direction.
#[derive(Debug)]
struct Side {
    state: State,
    /// The start of a record's header.
    header: Vec<u8>,
    messages: Messages,
    /// The start of an alert.
    alert: Vec<u8>,
    /// When the first byte came.
    started: Option<MonotonicTime>,
    /// Bytes of records, and those passed over.
    bytes: u64,
    skipped: u64,
    /// It has sent `ChangeCipherSpec`.
    changed_cipher: bool,
    /// Then, before TLS 1.3, its last message.
    has_finished: bool,
    /// It has sent encrypted records.
    has_data: bool,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A record begins.
    Between,
    Within {
        header: Header,
        left: u64,
    },
    /// Where one begins is not known.
    Searching,
}

impl Session {
    pub(super) fn new(context: Context) -> Self {
        let side = || Side {
            state: State::Between,
            header: Vec::new(),
            messages: Messages::new(context.limits.buffer),
            alert: Vec::new(),
            started: None,
            bytes: 0,
            skipped: 0,
            changed_cipher: false,
            has_finished: false,
            has_data: false,
            has_ended: false,
        };
        Self {
            sides: [side(), side()],
            handshake: Box::new(TlsHandshake::new(context.traffic, None, None)),
            client: None,
            version: None,
            offered_session: Vec::new(),
            is_over: false,
            outputs: VecDeque::new(),
        }
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        let [sent, received] = &mut self.sides;
        match direction {
            Direction::Sent => sent,
            Direction::Received => received,
        }
    }

    /// A header has come. False where the connection is handed on with it.
    fn begin(&mut self, direction: Direction, bytes: [u8; HEADER]) -> bool {
        let Some(header) = Header::read(bytes) else {
            self.hand_over(Next::Detect);
            return false;
        };
        if header.content == Content::ApplicationData && self.client.is_none() {
            // Joined midway: there is nothing to be seen.
            self.hand_over(Next::Opaque);
            return false;
        }
        let side = self.side(direction);
        side.header.clear();
        side.alert.clear();
        side.bytes += HEADER as u64;
        side.state = State::Within { header, left: header.length.into() };
        true
    }

    /// Takes the next part of a record.
    fn content(&mut self, direction: Direction, content: Content, bytes: &[u8]) {
        let is_encrypted = self.is_encrypted(direction);
        let side = self.side(direction);
        match content {
            Content::Handshake if !is_encrypted => {
                let mut messages = Vec::new();
                side.messages.feed(bytes, |kind, body| {
                    if matches!(
                        kind,
                        CLIENT_HELLO | SERVER_HELLO | CERTIFICATE | SERVER_KEY_EXCHANGE
                    ) {
                        messages.push((kind, body.to_vec()));
                    }
                });
                for (kind, body) in messages {
                    self.message(direction, kind, &body);
                }
            }
            Content::Alert => {
                let wanted = 2 - side.alert.len().min(2);
                side.alert.extend(bytes.iter().take(wanted));
            }
            _ => {}
        }
    }

    /// Whether messages in this direction are encrypted, before TLS 1.3; in it, they do not seem to
    /// be messages.
    fn is_encrypted(&mut self, direction: Direction) -> bool {
        let is_1_3 = self.version.is_some_and(|version| version >= TlsVersion::TLS_1_3);
        self.side(direction).changed_cipher && !is_1_3
    }

    fn message(&mut self, direction: Direction, kind: u8, body: &[u8]) {
        let from_client = self.client.is_none_or(|client| client == direction);
        let from_server = self.client.is_none_or(|client| client != direction);
        let Self { handshake, offered_session, .. } = self;
        match kind {
            CLIENT_HELLO if from_client && handshake.request.is_none() => {
                let Some(client) = hello::client(body) else { return };
                handshake.request = Some(client.hello);
                *offered_session = client.session;
                self.client = Some(direction);
            }
            SERVER_HELLO if from_server && handshake.response.is_none() => {
                let Some(server) = hello::server(body) else { return };
                self.client = Some(direction.reverse());
                self.version = Some(server.hello.version);
                if server.is_retry {
                    handshake.hello_retry = true;
                    return;
                }
                let response = handshake.response.insert(server.hello);
                if response.version < TlsVersion::TLS_1_3 {
                    response.resumed =
                        !server.session.is_empty() && server.session == *offered_session;
                }
            }
            CERTIFICATE if from_server => {
                if let Some(response) = &mut handshake.response {
                    response.certificate_sizes = hello::certificate_sizes(body);
                }
            }
            SERVER_KEY_EXCHANGE if from_server => {
                if let Some(response) = &mut handshake.response {
                    response.group = response.group.or(hello::named_group(body));
                }
            }
            _ => {}
        }
    }

    /// A record has ended.
    fn end(&mut self, direction: Direction, header: Header, time: MonotonicTime) {
        let is_encrypted = self.is_encrypted(direction);
        let is_client = self.client == Some(direction);
        let server_has_data =
            self.client.is_some_and(|client| self.side(client.reverse()).has_data);
        let is_1_3 = self.handshake.response.as_ref();
        let is_1_3 = is_1_3.is_some_and(|response| response.version >= TlsVersion::TLS_1_3);
        let sends_early =
            is_client && self.handshake.request.as_ref().is_some_and(|request| request.early_data);
        let version_is_known = self.version.is_some();
        let side = self.side(direction);
        side.state = State::Between;
        match header.content {
            Content::ChangeCipherSpec => side.changed_cipher = true,
            Content::Handshake if is_encrypted => side.has_finished = version_is_known,
            Content::ApplicationData => {
                let is_first = !std::mem::replace(&mut side.has_data, true);
                if is_first && is_1_3 && !sends_early && header.length == ENCRYPTED_ALERT {
                    return self.alert(direction, None, time);
                }
                // The server's last message has come before the client's.
                self.handshake.complete = is_client && server_has_data;
            }
            Content::Alert => {
                let plain = match *side.alert {
                    [level, description] if header.length == 2 && !is_encrypted => {
                        Some((level == 2, TlsAlertDescription(description)))
                    }
                    _ => None,
                };
                return self.alert(direction, plain, time);
            }
            _ => {}
        }
        let [sent, received] = &self.sides;
        self.handshake.complete |= sent.has_finished && received.has_finished;
        let bytes = sent.bytes.max(received.bytes);
        if self.handshake.complete {
            self.emit(Some(time));
            self.hand_over(Next::Opaque);
        } else if bytes > MAX_HANDSHAKE {
            self.hand_over(Next::Opaque);
        }
    }

    /// An alert has come: whether it is fatal, and what it says, if that can be seen.
    fn alert(
        &mut self,
        direction: Direction,
        plain: Option<(bool, TlsAlertDescription)>,
        time: MonotonicTime,
    ) {
        let Some(client) = self.client else { return };
        let sender = if client == direction { Role::Client } else { Role::Server };
        let (fatal, description) = plain.unzip();
        let alert = TlsAlert::new(sender, fatal, description);
        self.handshake.alert = Some(alert);
        if alert.is_failure(self.version.unwrap_or_default()) {
            self.emit(Some(time));
            self.hand_over(Next::Opaque);
        }
    }

    /// Emits what is known of the handshake, which ended then.
    fn emit(&mut self, ended: Option<MonotonicTime>) {
        let Some(client) = self.client else { return };
        let handshake = &mut self.handshake;
        if self.is_over || (handshake.request.is_none() && handshake.response.is_none()) {
            return;
        }
        self.is_over = true;
        let mut handshake = std::mem::take(handshake);
        let (request, response) = (self.side(client), client.reverse());
        let request_start = request.started.filter(|_| handshake.request.is_some());
        handshake.traffic.request_bytes = request.bytes;
        let response = self.side(response);
        handshake.traffic.response_bytes = response.bytes;
        let timing =
            Timing { request_start, response_start: response.started, response_end: ended };
        handshake.traffic.set_timing(Some(Context::role(client)), timing);
        self.outputs.push_back(Output::Record(Record::TlsHandshake(handshake)));
    }

    /// Lets something else follow. What has been seen of a handshake is told.
    fn hand_over(&mut self, next: Next) {
        self.emit(None);
        self.is_over = true;
        self.outputs.push_back(Output::Switch(Switch::to(next)));
    }

    /// Gives what was not read to what follows.
    fn leave(&mut self, direction: Direction, rest: &[u8]) {
        let [sent, received] = &mut self.sides;
        let (mut sent, mut received) =
            (std::mem::take(&mut sent.header), std::mem::take(&mut received.header));
        match direction {
            Direction::Sent => sent.extend_from_slice(rest),
            Direction::Received => received.extend_from_slice(rest),
        }
        if let Some(Output::Switch(switch)) = self.outputs.back_mut() {
            switch.unread = [sent, received];
        }
    }

    /// Looks for a header. Returns what follows it.
    fn search<'a>(&mut self, direction: Direction, bytes: &'a [u8]) -> &'a [u8] {
        let side = self.side(direction);
        let mut rest = bytes;
        let mut skipped = 0;
        while let Some((byte, following)) = rest.split_first() {
            side.header.push(*byte);
            rest = following;
            if let [content, 3, 1..=3, high, low] = *side.header {
                let length = u16::from_be_bytes([high, low]);
                if (20..=23).contains(&content) && (1..=(1 << 14) + 256).contains(&length) {
                    side.state = State::Between;
                    break;
                }
            }
            if side.header.len() == HEADER {
                side.header.remove(0);
                skipped += 1;
            }
        }
        side.skipped += skipped;
        let is_too_much = side.skipped > MAX_HANDSHAKE;
        if skipped > 0 {
            let cause = Cause::Unobserved;
            self.outputs.push_back(Output::Skipped { direction, bytes: skipped, cause });
        }
        if is_too_much {
            self.hand_over(Next::Detect);
        }
        rest
    }
}

impl Parser for Session {
    fn feed(&mut self, segment: Segment<'_>) {
        let Segment { direction, time, bytes, .. } = segment;
        let mut rest = bytes;
        if !rest.is_empty() {
            self.side(direction).started.get_or_insert(time);
        }
        while !self.is_over {
            let side = self.side(direction);
            match side.state {
                State::Searching if rest.is_empty() => break,
                State::Searching => rest = self.search(direction, rest),
                State::Between => {
                    let (more, following) =
                        rest.split_at_checked(HEADER - side.header.len()).unwrap_or((rest, &[]));
                    side.header.extend_from_slice(more);
                    rest = following;
                    let Some(header) = side.header.first_chunk().copied() else { break };
                    if !self.begin(direction, header) {
                        break;
                    }
                }
                State::Within { header, left: 0 } => self.end(direction, header, time),
                State::Within { .. } if rest.is_empty() => break,
                State::Within { header, left } => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let (content, following) = rest.split_at(length);
                    side.bytes += length as u64;
                    side.state = State::Within { header, left: left - length as u64 };
                    rest = following;
                    self.content(direction, header.content, content);
                }
            }
        }
        if self.is_over {
            self.leave(direction, rest);
        }
    }

    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64) {
        if self.is_over {
            return;
        }
        let is_encrypted = self.is_encrypted(direction);
        let side = self.side(direction);
        let mut beyond = length;
        if let State::Within { header, left } = side.state {
            let within = left.min(length);
            beyond = length - within;
            side.bytes += within;
            side.state = State::Within { header, left: left - within };
            if header.content == Content::Handshake && !is_encrypted {
                side.messages.gap(within);
            }
            if left == within {
                self.end(direction, header, time);
            }
        }
        if self.is_over {
            return self.leave(direction, &[]);
        }
        if beyond > 0 {
            let side = self.side(direction);
            let held = std::mem::take(&mut side.header).len() as u64;
            side.state = State::Searching;
            side.messages.gap(u64::MAX);
            if held > 0 {
                let cause = Cause::Unobserved;
                self.outputs.push_back(Output::Skipped { direction, bytes: held, cause });
            }
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn finish(&mut self, direction: Direction, _: MonotonicTime) {
        self.side(direction).has_ended = true;
        // The other side may have something to say to that.
        if self.sides.iter().all(|side| side.has_ended) {
            self.emit(None);
        }
    }

    fn memory(&self) -> usize {
        /// What a hello with the usual lists takes, about.
        const HELLO: usize = 2 << 10;
        let sides: usize = self.sides.iter().map(|side| side.messages.memory()).sum();
        size_of::<Self>() + HELLO + sides
    }
}
