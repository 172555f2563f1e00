//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! ```text
//!   bytes ──► half: one direction ──► exchanges: requests paired with responses ──► records
//!              │ frame, fields          (in order, as pipelining has it)
//!              │ body, chunked
//!              └ resync: the next message after a gap
//! ```

mod chunked;
mod exchanges;
mod fields;
mod frame;
mod half;
mod methods;
mod resync;
mod session;

use crate::parser::{Context, PROBE_LIMIT, Parser, Protocol, Verdict};
use pixie_core::RecordKind;

/// HTTP/1.0 and HTTP/1.1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http1;

impl Protocol for Http1 {
    fn name(&self) -> &'static str {
        "http1"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::Http, RecordKind::Grpc, RecordKind::WebSocket]
    }

    /// A request line with a registered method, or a status line.
    fn probe(&self, bytes: &[u8]) -> Verdict {
        match probe_response(bytes) {
            Verdict::No => probe_request(bytes),
            verdict => verdict,
        }
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(session::Session::new(context))
    }
}

fn probe_response(bytes: &[u8]) -> Verdict {
    const PATTERN: &[u8] = b"HTTP/1.v ddd";
    for (pattern, byte) in PATTERN.iter().zip(bytes) {
        let fits = match pattern {
            b'v' => matches!(byte, b'0' | b'1'),
            b'd' => byte.is_ascii_digit(),
            pattern => byte == pattern,
        };
        if !fits {
            return Verdict::No;
        }
    }
    match bytes.get(PATTERN.len()) {
        Some(b' ' | b'\r' | b'\n') => Verdict::Reversed,
        Some(_) => Verdict::No,
        None => Verdict::NeedMore,
    }
}

fn probe_request(bytes: &[u8]) -> Verdict {
    let target_start = match methods::prefix(bytes) {
        methods::Prefix::Is(length) => length,
        methods::Prefix::Partial => return Verdict::NeedMore,
        methods::Prefix::No => return Verdict::No,
    };
    let rest = bytes.get(target_start..).unwrap_or_default();
    let Some(target_length) = rest.iter().position(|byte| !(0x21..0x7f).contains(byte)) else {
        // No other protocol goes on like this for so long.
        return if bytes.len() >= PROBE_LIMIT { Verdict::Yes } else { Verdict::NeedMore };
    };
    let after_target = rest.get(target_length..).unwrap_or_default();
    if target_length == 0 {
        return Verdict::No;
    }
    let ends: [&[u8]; 4] = [b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/1.1\n", b" HTTP/1.0\n"];
    if ends.iter().any(|end| after_target.starts_with(end)) {
        Verdict::Yes
    } else if ends.iter().any(|end| end.starts_with(after_target)) {
        Verdict::NeedMore
    } else {
        Verdict::No
    }
}
