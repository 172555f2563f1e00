//! Which TLS libraries are asked for.

use super::Library;
use std::fmt;
use std::str::FromStr;

/// A set of TLS libraries.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Libraries(u8);

impl Libraries {
    /// None of them.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// All of them.
    #[must_use]
    pub const fn all() -> Self {
        Self(u8::MAX)
    }

    /// Those of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, library: Library) -> bool {
        self.0 & 1 << library as u8 != 0
    }

    /// Whether something is to be said of this one, or of one that can never be asked for, where it
    /// is not covered.
    pub(super) fn is_asked_for(self, library: Option<Library>) -> bool {
        library.map_or(self == Self::all(), |library| self.contains(library))
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl From<Library> for Libraries {
    fn from(library: Library) -> Self {
        Self(1 << library as u8)
    }
}

impl fmt::Debug for Libraries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_set()
            .entries(Library::ALL.into_iter().filter(|library| self.contains(*library)))
            .finish()
    }
}

/// The name is not one of a library's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no TLS library {0:?}: it is one of openssl, boringssl, go, gnutls, rustls and all"
)]
pub struct UnknownLibrary(String);

impl FromStr for Libraries {
    type Err = UnknownLibrary;

    /// A library by its [name](Library::as_str), or `all`.
    fn from_str(name: &str) -> Result<Self, UnknownLibrary> {
        if name == "all" {
            return Ok(Self::all());
        }
        Library::ALL
            .into_iter()
            .find(|library| library.as_str() == name)
            .map(Self::from)
            .ok_or_else(|| UnknownLibrary(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_asked_for_by_name() {
        let some: Libraries = "go".parse().unwrap();
        assert!(some.contains(Library::Go) && !some.contains(Library::OpenSsl));
        let more = some.union(Library::OpenSsl.into());
        assert_eq!(format!("{more:?}"), "{OpenSsl, Go}");
        assert!(Library::ALL.iter().all(|library| Libraries::all().contains(*library)));
        assert!("jsse".parse::<Libraries>().unwrap_err().to_string().contains("openssl"));
    }
}
