//! Whether bytes are HTTP/2, and whose.

use super::frame::{self, Frame, HEADER, PREFACE, kind};
use super::hpack::{Decoder, Field, FieldList};
use crate::parser::Verdict;

/// The most bytes of fields that are looked at.
const FIELDS: usize = 16 << 10;

/// The preface of a client; or, where the connection was joined midway, frames.
///
/// A single header block that decodes to the head of a request proves the client. That of a
/// response takes little to be one, so another frame must come before or after.
pub(super) fn probe(bytes: &[u8]) -> Verdict {
    if bytes.starts_with(PREFACE) {
        return Verdict::Yes;
    }
    if PREFACE.starts_with(bytes) {
        return Verdict::NeedMore;
    }
    let (mut rest, mut frames, mut found) = (bytes, 0_u32, None);
    loop {
        let Some(frame) = Frame::read(rest) else {
            let is_possible = rest.is_empty() || is_start_of_header(rest);
            return if is_possible { Verdict::NeedMore } else { Verdict::No };
        };
        if !is_expected(&frame) {
            return Verdict::No;
        }
        frames += 1;
        if let Some(verdict) = found.filter(|_| frames > 1) {
            return verdict;
        }
        let payload = rest.get(HEADER..).unwrap_or_default();
        let Some((payload, following)) = payload.split_at_checked(frame.length as usize) else {
            return Verdict::NeedMore;
        };
        let is_sound = match frame.kind {
            kind::SETTINGS => frame::settings(payload).all(frame::is_valid_setting),
            kind::HEADERS if frame.ends_headers() => {
                found = found.or(match judge(frame.block(payload)) {
                    Some(Head::Request) => return Verdict::Yes,
                    Some(Head::Response) => Some(Verdict::Reversed),
                    Some(Head::Either) => None,
                    None => return Verdict::No,
                });
                true
            }
            kind::WINDOW_UPDATE => frame::number(payload, 0).is_some_and(|more| more != 0),
            _ => true,
        };
        if !is_sound {
            return Verdict::No;
        }
        if let Some(verdict) = found.filter(|_| frames > 1) {
            return verdict;
        }
        rest = following;
    }
}

/// A frame as they usually are; of a stream that is not absurd.
fn is_expected(frame: &Frame) -> bool {
    frame.is_usual() && frame.kind != kind::CONTINUATION
}

/// Whether bytes that are too few can be the start of a frame's header.
fn is_start_of_header(bytes: &[u8]) -> bool {
    let mut header = [0; HEADER];
    for (place, byte) in header.iter_mut().zip(bytes) {
        *place = *byte;
    }
    let Some(frame) = Frame::read(&header) else { return false };
    match bytes.len() {
        // The length: nothing usual is larger.
        ..=3 => frame.length <= frame::USUAL_MAX,
        // The length and the kind: made valid by what is still to come.
        4 => is_expected(&likely(Frame { flags: 0, ..frame })),
        _ => is_expected(&likely(frame)),
    }
}

/// The same frame on the stream that it must be on.
fn likely(frame: Frame) -> Frame {
    let is_of_connection =
        matches!(frame.kind, kind::SETTINGS | kind::PING | kind::GOAWAY | kind::WINDOW_UPDATE);
    Frame { stream: u32::from(!is_of_connection), ..frame }
}

/// Whose head a header block is.
enum Head {
    Request,
    Response,
    /// It is that of neither, or what it refers to was not seen.
    Either,
}

/// Judges a header block of a connection of which nothing else is known; `None` when it is none.
fn judge(block: &[u8]) -> Option<Head> {
    let mut list = FieldList::default();
    Decoder::new().decode(block, FIELDS, &mut list).ok()?;
    let mut pseudo = Vec::new();
    let mut known = 0;
    for Field { name, value } in &list.fields {
        let Some(name) = name.as_ref().map(|name| list.slice(name)) else { continue };
        let value = value.as_ref().map(|value| list.slice(value));
        if !is_name(name) || value.is_some_and(|value| !is_value(value)) {
            return None;
        }
        known += 1;
        if name.starts_with(b":") {
            pseudo.push(name);
        }
    }
    let has = |name: &[u8]| pseudo.contains(&name);
    let is_first = |name: &[u8]| {
        list.fields.first().and_then(|field| field.name.as_ref()).is_some_and(|first| {
            let first = list.slice(first);
            first == name
        })
    };
    match () {
        () if has(b":status") && pseudo.len() > 1 => None,
        () if has(b":method") && has(b":scheme") => Some(Head::Request),
        () if is_first(b":status") && known > 1 => Some(Head::Response),
        () => Some(Head::Either),
    }
}

/// A name as HTTP/2 has it: a token in lower case (RFC 9113, section 8.2.1).
fn is_name(name: &[u8]) -> bool {
    const KNOWN: [&[u8]; 6] =
        [b":method", b":scheme", b":authority", b":path", b":status", b":protocol"];
    let is_token =
        |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(byte);
    KNOWN.contains(&name) || (!name.is_empty() && name.iter().all(is_token))
}

fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}
