//! Whether a stream is TLS.

use super::record::{Content, HEADER, Header};
use crate::parser::Verdict;

/// Headers in a row by which encrypted records are known.
const HEADERS: usize = 2;

/// The smallest hello: version, random, an empty session id and, at most, a cipher suite.
const MIN_HELLO: usize = 38;

pub(super) fn probe(bytes: &[u8]) -> Verdict {
    let Some(header) = bytes.first_chunk().copied() else {
        return if Header::may_begin(bytes) { Verdict::NeedMore } else { Verdict::No };
    };
    match Header::read(header) {
        Some(Header { content: Content::Handshake, length: 1.. }) => hello(bytes),
        Some(Header { content: Content::ApplicationData, .. }) => encrypted(bytes),
        _ => Verdict::No,
    }
}

/// A hello may be in records of a byte each.
fn hello(mut bytes: &[u8]) -> Verdict {
    let mut message = Vec::with_capacity(6);
    while message.len() < 6 {
        let Some((header, rest)) = bytes.split_first_chunk() else {
            let fits = Header::may_begin(bytes) && start_fits(&message) != Verdict::No;
            return if fits { Verdict::NeedMore } else { Verdict::No };
        };
        let Some(Header { content: Content::Handshake, length: length @ 1.. }) =
            Header::read(*header)
        else {
            return Verdict::No;
        };
        let length = usize::from(length);
        let body = rest.get(..length).unwrap_or(rest);
        message.extend(body.iter().take(6 - message.len()));
        bytes = rest.get(length..).unwrap_or_default();
        if body.len() < length {
            break;
        }
    }
    start_fits(&message)
}

/// A hello's type, length and version.
fn start_fits(message: &[u8]) -> Verdict {
    let verdict = match message.first() {
        Some(1) => Verdict::Yes,
        Some(2) => Verdict::Reversed,
        Some(_) => return Verdict::No,
        None => return Verdict::NeedMore,
    };
    let fits = match message {
        [_, high, middle, low, version @ ..] => {
            let length = u32::from_be_bytes([0, *high, *middle, *low]);
            let is_length = (MIN_HELLO as u32..=1 << 17).contains(&length);
            is_length && matches!(version, [] | [3] | [3, 0..=3])
        }
        [_, high, ..] => *high <= 1,
        _ => true,
    };
    match (fits, message.len() >= 6) {
        (false, _) => Verdict::No,
        (true, true) => verdict,
        (true, false) => Verdict::NeedMore,
    }
}

/// Which way requests go cannot be told of these, nor does it matter.
fn encrypted(mut bytes: &[u8]) -> Verdict {
    for seen in 0.. {
        if seen >= HEADERS {
            return Verdict::Yes;
        }
        let Some(header) = bytes.first_chunk::<HEADER>() else { break };
        // No content that is encrypted is empty, and all of it says that it is of TLS 1.0 to 1.2.
        match (Header::read(*header), header) {
            (Some(Header { length: length @ 1.., .. }), [_, _, 1..=3, ..]) => {
                bytes = bytes.get(HEADER + usize::from(length)..).unwrap_or_default();
            }
            _ => return Verdict::No,
        }
    }
    if Header::may_begin(bytes) { Verdict::NeedMore } else { Verdict::No }
}
