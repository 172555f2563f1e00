//! Hash tables that are alike in every run.
//!
//! The standard library asks the system for what its hash function begins with, so that what a table
//! does with an input, and what of its code that reaches, differs from run to run. Here the system's
//! answer is always the same: with the same seed, libFuzzer then tries the same inputs.

use std::ffi::{c_uint, c_void};

/// Takes the place of the C library's `getrandom(2)` in this program.
///
/// # Safety
/// As there: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    // SAFETY: the caller says that there is room.
    unsafe { buffer.cast::<u8>().write_bytes(0x5a, length) };
    length.cast_signed()
}
