//! The fields of a head that say how long the body is and how it is coded (RFC 9112, section 6).

use crate::grpc::Format;
use crate::parser::Next;
use pixie_core::record::Headers;

/// What a message's fields say of its framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) content_length: ContentLength,
    /// The last transfer coding.
    pub(super) transfer_coding: Option<TransferCoding>,
    /// There is a transfer coding besides chunked, or a content coding.
    pub(super) coded: bool,
    /// There is an `Upgrade` field.
    pub(super) upgrade: bool,
    /// The body is that of a call of gRPC-Web.
    pub(super) call: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ContentLength {
    #[default]
    Absent,
    Is(u64),
    /// Not a number, or several different ones.
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferCoding {
    Chunked,
    Other,
}

/// How long a message's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// This long.
    Known(u64),
    /// It is chunked.
    Chunked,
    /// It goes on until the connection ends.
    UntilClose,
    /// The fields contradict each other: where the message ends cannot be told.
    Unknown,
}

impl Framing {
    /// Takes note of a field, if it is one that matters here.
    #[inline]
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) {
        // The length tells most fields apart, so that few are compared.
        if matches!(name.len(), 7 | 12 | 14 | 16 | 17) {
            self.note_likely(name, value);
        }
    }

    fn note_likely(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            12 if name.eq_ignore_ascii_case(b"content-type") => {
                self.call = Format::of(value).filter(|&format| format != Format::Plain);
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.note_length(value),
            16 if name.eq_ignore_ascii_case(b"content-encoding") => self.coded = true,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.note_transfer(value),
            _ => {}
        }
    }

    /// A list of equal numbers counts as one (RFC 9110, section 8.6).
    fn note_length(&mut self, value: &[u8]) {
        for number in value.split(|&byte| byte == b',') {
            let length = match decimal(number.trim_ascii()) {
                Some(length) => ContentLength::Is(length),
                None => ContentLength::Invalid,
            };
            self.content_length = match self.content_length {
                ContentLength::Absent => length,
                same if same == length => same,
                _ => ContentLength::Invalid,
            };
        }
    }

    fn note_transfer(&mut self, value: &[u8]) {
        for coding in value.split(|&byte| byte == b',') {
            let coding = coding.trim_ascii();
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.transfer_coding = Some(TransferCoding::Chunked);
            } else if !coding.is_empty() {
                self.transfer_coding = Some(TransferCoding::Other);
                self.coded = true;
            }
        }
    }

    /// How long a request's body is (RFC 9112, section 6.3). A transfer coding overrides a length.
    pub(super) fn request_body(&self) -> BodyLength {
        match (self.transfer_coding, self.content_length) {
            (Some(TransferCoding::Chunked), _) => BodyLength::Chunked,
            (Some(TransferCoding::Other), _) => BodyLength::Unknown,
            (None, ContentLength::Is(length)) => BodyLength::Known(length),
            (None, ContentLength::Absent) => BodyLength::Known(0),
            (None, ContentLength::Invalid) => BodyLength::Unknown,
        }
    }

    /// How long the body of a response is, of a kind that can have one.
    pub(super) fn response_body(&self) -> BodyLength {
        match (self.transfer_coding, self.content_length) {
            (Some(TransferCoding::Chunked), _) => BodyLength::Chunked,
            (Some(TransferCoding::Other), _) => BodyLength::UntilClose,
            (None, ContentLength::Is(length)) => BodyLength::Known(length),
            (None, ContentLength::Absent) => BodyLength::UntilClose,
            (None, ContentLength::Invalid) => BodyLength::Unknown,
        }
    }
}

/// A number in digits and nothing else.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The protocol that a `101 Switching Protocols` response changes to, by the name that its parser
/// has; `None` for one that has no name here.
pub(super) fn upgraded_to(headers: &Headers) -> Next {
    const KNOWN: &[(&str, &str)] = &[("websocket", "websocket"), ("h2c", "http2"), ("tls", "tls")];
    let token = headers.get("upgrade").unwrap_or_default().split(|&byte| byte == b',').next();
    let name = token.and_then(|token| token.split(|&byte| byte == b'/').next());
    let name = name.unwrap_or_default().trim_ascii();
    let known = KNOWN.iter().find(|(token, _)| name.eq_ignore_ascii_case(token.as_bytes()));
    known.map_or(Next::Detect, |&(_, protocol)| Next::Protocol(protocol))
}

/// Whether another response follows to the same request (RFC 9110, section 15.2).
pub(super) fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}
