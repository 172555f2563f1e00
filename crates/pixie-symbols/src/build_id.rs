use std::fmt;

/// The build id of a program or library: what the linker put into its note `NT_GNU_BUILD_ID`.
/// Files with the same build id have the same code.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BuildId(Box<[u8]>);

impl BuildId {
    /// The longest that is accepted, in bytes; linkers make ids of 8 to 32.
    pub const MAX_LENGTH: usize = 64;

    /// The id of these bytes; `None` when there are none or more than an id has.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=Self::MAX_LENGTH).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// The id's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    /// In hexadecimal, as `readelf -n` shows it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BuildId({self})")
    }
}
