//! The PROXY protocol: what holds of any parser, on arbitrary bytes and gaps.
#![no_main]

mod same_hashes;

#[path = "../../crates/pixie-protocols/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use pixie_protocols::proxy_protocol::ProxyProtocol;

fuzz_target!(|input: &[u8]| support::script::check(&ProxyProtocol, input));
