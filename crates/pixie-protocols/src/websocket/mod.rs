//! WebSocket (RFC 6455), with permessage-deflate (RFC 7692).
//!
//! ```text
//!   HTTP/1 `101` ──► agreement: path, subprotocol, compression
//!   bytes ──► half: one direction ──► one record a message
//!              │ frame
//!              └ inflate
//! ```
//!
//! A frame has no mark by which it could be recognised, so that only what follows an `Upgrade` is
//! parsed: a connection that was joined later is not.

mod agreement;
mod frame;
mod half;
mod inflate;
mod session;

use crate::parser::{Context, Parser, Protocol, Verdict};
use pixie_core::RecordKind;

/// WebSocket, as it follows HTTP/1.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebSocket;

impl Protocol for WebSocket {
    fn name(&self) -> &'static str {
        "websocket"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::WebSocket]
    }

    /// Never: nothing proves it.
    fn probe(&self, _: &[u8]) -> Verdict {
        Verdict::No
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(session::Session::new(context))
    }
}
