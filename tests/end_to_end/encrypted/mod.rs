//! Plaintext from inside TLS libraries.

pub(crate) mod signatures;
