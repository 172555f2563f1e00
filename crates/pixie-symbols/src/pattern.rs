/// A pattern for demangled names: `*` stands for anything, everything else for itself.
///
/// ```
/// use pixie_symbols::Pattern;
///
/// let read = Pattern::new("<rustls::*Reader* as std::io::Read>::read");
/// assert!(read.matches("<rustls::conn::connection::Reader as std::io::Read>::read"));
/// assert!(!read.matches("<rustls::conn::connection::Reader as std::io::Read>::read_buf"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What stands between the stars.
    parts: Vec<String>,
    /// Identifiers that a Rust name must have in its mangled form too: looking for them is much
    /// cheaper than demangling.
    identifiers: Vec<String>,
}

/// Words of demangled Rust names that their mangled forms abbreviate.
const ABBREVIATED: [&str; 16] = [
    "closure", "shim", "impl", "isize", "usize", "i128", "u128", "bool", "char", "const", "unsafe",
    "extern", "true", "false", "vtable", "reify",
];

impl Pattern {
    /// The pattern that is written so.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let parts: Vec<String> = pattern.split('*').map(str::to_owned).collect();
        let identifiers = if pattern.is_ascii() { identifiers(&parts) } else { Vec::new() };
        Self { parts, identifiers }
    }

    /// Whether a demangled name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, others)) = self.parts.split_first() else { return name.is_empty() };
        let Some((last, middle)) = others.split_last() else { return name == first };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }

    /// False when a function with this mangled name cannot match.
    pub(crate) fn may_match(&self, mangled: &[u8]) -> bool {
        let rust = mangled.starts_with(b"_R")
            || (mangled.starts_with(b"_ZN") && mangled.ends_with(b"E") && legacy_rust(mangled));
        !rust || {
            let has = |part: &String| contains(mangled, part.as_bytes());
            self.identifiers.iter().all(has)
        }
    }
}

/// Whether the name ends with the hash that every legacy name of Rust's has: `17h` and 16 digits.
fn legacy_rust(mangled: &[u8]) -> bool {
    let tail = mangled.len().checked_sub(20).and_then(|start| mangled.get(start..));
    tail.is_some_and(|tail| tail.starts_with(b"17h"))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn identifiers(parts: &[String]) -> Vec<String> {
    let words = parts.iter().flat_map(|part| {
        part.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
    });
    // What is shorter is found in too many names to be worth the search.
    let telling = words.filter(|word| word.len() >= 4 && !ABBREVIATED.contains(word));
    telling.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn stars_stand_for_anything_and_all_else_for_itself() {
        for (pattern, name, matches) in [
            ("malloc", "malloc", true),
            ("malloc", "mallocx", false),
            ("*", "", true),
            ("*alloc", "malloc", true),
            ("m*c", "malloc", true),
            ("m*c*c", "malloc", false),
            ("ab*ab", "ab", false),
            ("a*b*c", "a.b.b.c", true),
            ("*Reader*read", "Reader::read_exact", false),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn only_rust_names_without_the_words_are_ruled_out_unseen() {
        let pattern = Pattern::new("*Reader*::read*{{closure}}");
        assert!(pattern.may_match(b"_RNvXsNtCs_6rustls6ReaderNt4read"));
        assert!(!pattern.may_match(b"_RNvXsNtCs_6rustls6WriterNt4read"));
        assert!(pattern.may_match(b"_ZN6Reader4readEv"), "C++ abbreviates what it says twice");
        assert!(pattern.may_match(b"_ZN6Writer4writEv"));
        assert!(!pattern.may_match(b"_ZN6Writer4read17h0123456789abcdefE"));
    }
}
