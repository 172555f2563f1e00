//! HTTP/2 (RFC 9113) with its header compression (RFC 7541).
//!
//! ```text
//!   bytes ──► half: one direction ──► streams: requests paired with responses ──► records
//!              │ frame                 │ stream: one of them, with its bodies
//!              │ hpack ► head          └ grpc: those that are calls
//!              └ search, detour: the next frame after a gap, and what was in it
//! ```

mod detour;
mod frame;
mod half;
mod head;
mod hpack;
mod probe;
mod search;
mod session;
mod stream;
mod streams;

use crate::parser::{Context, Parser, Protocol, Verdict};
use pixie_core::RecordKind;

/// HTTP/2, with prior knowledge or after an upgrade from HTTP/1.1; and the gRPC that it carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http2;

impl Protocol for Http2 {
    fn name(&self) -> &'static str {
        "http2"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::Http, RecordKind::Grpc]
    }

    /// What a client sends first, or frames one after the other with a header block that makes
    /// sense.
    fn probe(&self, bytes: &[u8]) -> Verdict {
        probe::probe(bytes)
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(session::Session::new(context))
    }
}
