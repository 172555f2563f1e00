//! TLS handshakes: any bytes, in any pieces, with any gaps.
#![no_main]

mod same_hashes;

#[path = "../../crates/pixie-protocols/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use pixie_protocols::tls::Tls;

fuzz_target!(|input: &[u8]| support::script::check(&Tls, input));
