//! Redis: RESP2 and RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! ```text
//!   bytes ──► reader: lines and strings ──► request  ──► exchanges: commands paired ──► records
//!              │ frame: what a line says    response ──►  with answers; pushes
//!              └ search: the next message after a loss
//! ```

mod commands;
mod exchanges;
mod frame;
mod inline;
mod probe;
mod reader;
mod request;
mod response;
mod search;
mod secrets;
mod session;
mod value;

use crate::parser::{Context, Parser, Protocol, Verdict};
use pixie_core::RecordKind;

/// Redis and what speaks like it: Valkey, KeyDB, Dragonfly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Redis;

impl Protocol for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn emits(&self) -> &[RecordKind] {
        &[RecordKind::Redis]
    }

    /// A command with a known name; or a value that nobody else sends.
    fn probe(&self, bytes: &[u8]) -> Verdict {
        probe::probe(bytes)
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(session::Session::new(context))
    }
}
