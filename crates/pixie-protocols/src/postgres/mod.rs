//! PostgreSQL: the frontend/backend protocol, versions 3.0 and 3.2 (PostgreSQL's documentation,
//! chapter 55).
//!
//! ```text
//!   bytes ──► half: one direction ──► exchanges: requests paired with answers ──► records
//!              │ frame, decode         │ slot: an exchange under way
//!              └ search, proof:        └ statements: what names stand for
//!                the next message after a gap
//! ```

mod decode;
mod exchanges;
mod frame;
mod half;
mod proof;
mod search;
mod session;
mod slot;
mod statements;

use crate::parser::{Context, Parser, Protocol, Verdict};
use frame::{Code, Side, UNTYPED_HEADER, Untyped};
use pixie_core::RecordKind;
use proof::{Proof, proof};

/// PostgreSQL's frontend/backend protocol, version 3.
#[derive(Clone, Copy, Debug, Default)]
pub struct Postgres;

impl Protocol for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::Postgres]
    }

    /// The first packet of a client, or messages of either side that prove themselves.
    fn probe(&self, bytes: &[u8]) -> Verdict {
        if let verdict @ (Verdict::Yes | Verdict::NeedMore) = probe_first_packet(bytes) {
            return verdict;
        }
        match (proof(Side::Frontend, bytes), proof(Side::Backend, bytes)) {
            (Proof::Proven, _) => Verdict::Yes,
            (_, Proof::Proven) => Verdict::Reversed,
            (Proof::No, Proof::No) => Verdict::No,
            _ => Verdict::NeedMore,
        }
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(session::Session::new(context))
    }
}

/// A startup message, or a request for encryption or to cancel.
fn probe_first_packet(bytes: &[u8]) -> Verdict {
    let Some((head, rest)) = bytes.split_first_chunk::<UNTYPED_HEADER>() else {
        // Lengths are below 64 KiB, and the codes of two kinds.
        let may_begin = match bytes {
            [0, 0, _, _, code @ ..] => {
                b"\x00\x03".starts_with(code.get(..2).unwrap_or(code))
                    || b"\x04\xd2\x16".starts_with(code.get(..3).unwrap_or(code))
            }
            start => b"\0\0".starts_with(start.get(..2).unwrap_or(start)),
        };
        return if may_begin { Verdict::NeedMore } else { Verdict::No };
    };
    match Untyped::read(*head) {
        Some(Untyped { code: Code::Startup, length }) => probe_startup(rest, length as usize),
        Some(_) => Verdict::Yes,
        None => Verdict::No,
    }
}

/// The parameters of a startup message: a name and a value at least.
fn probe_startup(payload: &[u8], length: usize) -> Verdict {
    let payload = payload.get(..length).unwrap_or(payload);
    let name = payload.iter().take_while(|&&byte| byte != 0).count();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let (name, rest) = payload.split_at(name);
    if name.len() > 64 || !name.iter().all(is_name) || (name.is_empty() && !rest.is_empty()) {
        return Verdict::No;
    }
    let value = rest.get(1..).unwrap_or_default();
    let (value, end) = value.split_at(value.iter().take_while(|&&byte| byte != 0).count());
    let is_control = |byte: &u8| *byte < b' ' || *byte == 0x7f;
    match (value.iter().any(is_control), end) {
        (true, _) => Verdict::No,
        (false, [0, ..]) => Verdict::Yes,
        (false, _) if payload.len() == length => Verdict::No,
        (false, _) => Verdict::NeedMore,
    }
}
