//! Ready-made sinks, and combinators that make one of others.
//!
//! | sink | what becomes of a record |
//! |---|---|
//! | [`each`], [`try_each`] | a closure is called with it |
//! | [`Channel`] | it is sent to another thread or to an async task |
//! | [`Memory`] | it is kept, to be read while the session runs |
//! | `JsonLines` (feature `serde`) | it is written as a line of JSON |
//! | [`Null`] | nothing |
//!
//! The combinators are methods of every [`Sink`]; their types are here.

mod channel;
mod each;
mod filter;
#[cfg(feature = "serde")]
mod json_lines;
mod memory;
mod null;
mod redact;
mod tee;

pub use channel::Channel;
pub use each::{Each, TryEach, each, try_each};
pub use filter::{Filter, Only, Sample};
#[cfg(feature = "serde")]
pub use json_lines::JsonLines;
pub use memory::{Memory, MemoryHandle};
pub use null::Null;
pub use redact::{REDACTED, Redact, Redaction};
pub use tee::Tee;

#[cfg(doc)]
use crate::Sink;

#[cfg(test)]
mod testing {
    //! Records to put into sinks.
    use crate::Record;
    use crate::id::{ConnectionId, Transport};
    use crate::record::{Cause, Connection, Custom, Http, Lost, Stage, Traffic};
    use crate::time::MonotonicTime;
    use std::sync::Arc;

    pub(super) fn http(connection: u64) -> Record {
        let connection = Connection::new(ConnectionId(connection), Transport::Tcp);
        let traffic = Traffic { connection: Arc::new(connection), ..Traffic::default() };
        Http::new(traffic, None, None).into()
    }

    pub(super) fn custom() -> Record {
        Custom::new(Traffic::default(), "test").into()
    }

    pub(super) fn lost(count: u64) -> Record {
        Lost::new(MonotonicTime(7), Stage::Kernel, Cause::RingFull, count, 100).into()
    }
}
