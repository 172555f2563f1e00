//! Protocol parsers: the bytes of a connection in, typed records out.
#![forbid(unsafe_code)]

pub mod parser;
