//! TLS handshakes (RFC 8446; RFC 5246 and before), as far as they can be seen without keys.
//!
//! ```text
//!   bytes ──► record: one direction ──► handshake: messages over records ──► session ──► a record,
//!                                         │ hello: what is offered, chosen                and no more:
//!                                         └ fingerprint: JA3, JA4                         the rest is
//!                                                                                         encrypted
//! ```

mod fingerprint;
mod handshake;
mod hello;
mod probe;
mod record;
mod session;
mod wire;

use crate::parser::{Context, Parser, Protocol, Verdict};
use pixie_core::RecordKind;

/// TLS over a stream. Of DTLS and QUIC nothing is known here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tls;

impl Protocol for Tls {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::TlsHandshake]
    }

    /// A hello, or records with encrypted content one after the other.
    fn probe(&self, bytes: &[u8]) -> Verdict {
        probe::probe(bytes)
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(session::Session::new(context))
    }
}
