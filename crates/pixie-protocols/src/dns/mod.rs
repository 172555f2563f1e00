//! DNS (RFC 1035 and what followed: RFC 1995, 1996, 2136, 3597, 5936, 6762, 6891, 7766).
//!
//! ```text
//!   a datagram ─────────────────► message ──► exchanges: paired by peer, id ──► records
//!   a stream ──► framing: length   │ name      and question, in any order
//!                and message       │ data
//!                                  └ probe: what can be no other protocol
//! ```

mod data;
mod exchanges;
mod framing;
mod message;
mod name;
mod probe;
mod session;
mod transfer;

use crate::parser::{Context, Parser, Protocol, Verdict};
use pixie_core::RecordKind;
use pixie_core::id::Transport;

/// DNS over UDP and TCP, and multicast DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dns;

impl Protocol for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::Dns]
    }

    fn transport(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Tcp | Transport::Udp)
    }

    /// A message that ends where the datagram does, or where the length before it says.
    fn probe(&self, bytes: &[u8]) -> Verdict {
        match probe::datagram(bytes) {
            Verdict::No | Verdict::NeedMore => probe::stream(bytes),
            verdict => verdict,
        }
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(session::Session::new(context))
    }
}
