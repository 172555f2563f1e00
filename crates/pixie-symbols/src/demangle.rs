use std::borrow::Cow;

/// Longer names are shown as they are: whoever wrote one did not mean it to be read.
const LONGEST: usize = 32 << 10;

/// The name as its language writes it: C++ (Itanium), Rust (legacy and v0), or the name itself.
#[must_use]
pub fn demangle(name: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(name) {
        Cow::Borrowed(name) if name.len() <= LONGEST && name.starts_with("_") => {
            symbolic_demangle::demangle(name)
        }
        name => name,
    }
}
