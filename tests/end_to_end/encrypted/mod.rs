//! Plaintext from inside TLS libraries: the records are those of the same traffic in the clear.

pub(crate) mod boringssl;
pub(crate) mod choices;
mod exchange;
pub(crate) mod go;
pub(crate) mod ktls;
pub(crate) mod lifetimes;
pub(crate) mod openssl;
pub(crate) mod others;
pub(crate) mod peers;
pub(crate) mod rustls;
pub(crate) mod shared;
pub(crate) mod signatures;
pub(crate) mod uprobes;

pub(crate) use exchange::Client;
