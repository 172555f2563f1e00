//! Functions of files without symbols, known by their bytes.

mod parse;
mod search;

use crate::{ElfError, ElfFile};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The most places at which one function is looked for further; what is found more often has no
/// signature to tell it by.
const MAX_PLACES: usize = 64;
/// The longest text that is compared with what a signature says of it, in bytes.
const MAX_TEXT: u64 = 512;

/// What functions look like in files that do not name them.
///
/// The text form has one signature after the other: a line with the function's name and, after it,
/// whose build it is; then, indented, its bytes from its first instruction on. A line that begins
/// with `#` is a comment.
///
/// ```
/// let signatures = pixie_symbols::Signatures::parse(
///     r#"
/// answer  gcc 12 -O2
///     53 48 8d 3d <"answer.c"> e8 ?? ?? ?? ?? e8 <question> 48 89 c3 31 c0 83 c4 08 5b c3
/// question  gcc 12 -O2
///     8b 05 ?? ?? ?? ?? 8d 04 80 8d 44 00 2a 0f af c7 35 ef be ad de c3
/// "#,
/// )?;
/// assert_eq!(signatures.functions().collect::<Vec<_>>(), ["answer", "question"]);
/// # Ok::<(), pixie_symbols::SignatureError>(())
/// ```
///
/// | written | stands for |
/// |---|---|
/// | `8b` | this byte |
/// | `??` | any byte |
/// | `<question>` | four bytes: the distance from behind them to a function that has a signature too |
/// | `<"answer.c">` | four bytes: the distance from behind them to a text that ends so |
/// | `="answer.c"` | four bytes: the address of a text that ends so |
///
/// A file is searched only if it has one of the texts: that is cheap, and others have not got the
/// functions. So every list of signatures names at least one.
#[derive(Clone, Debug)]
pub struct Signatures {
    list: Vec<Signature>,
}

/// What one build of a function looks like.
#[derive(Clone, Debug)]
struct Signature {
    function: String,
    origin: String,
    /// The bytes, and which bits of them count.
    bytes: Vec<u8>,
    mask: Vec<u8>,
    /// The longest run of bytes that all count, by which it is searched for.
    anchor: Range<usize>,
    references: Vec<Reference>,
}

/// Four bytes that lead somewhere.
#[derive(Clone, Debug)]
struct Reference {
    /// Where in the signature.
    at: usize,
    absolute: bool,
    to: Referent,
}

/// What a reference must lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Referent {
    Function(String),
    /// A text that ends so.
    Text(String),
}

/// Why a list of signatures cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct SignatureError {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// Which functions a file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignatureMatches {
    /// Those that are in exactly one place, in the order of the list.
    pub found: Vec<SignatureMatch>,
    /// Those that no signature matches.
    pub absent: Vec<String>,
    /// Those that are in several places, and in how many: none of them is to be trusted.
    pub ambiguous: Vec<(String, usize)>,
}

/// A function that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignatureMatch {
    /// Its name.
    pub function: String,
    /// Its address, before the file is moved to where a process has it.
    pub address: u64,
    /// Whose build the signature was made from.
    pub origin: String,
}

/// Where a signature's bytes are.
#[derive(Debug)]
struct Candidate<'a> {
    signature: &'a Signature,
    address: u64,
    /// Where its references lead to, in their order.
    targets: Vec<u64>,
}

impl Signatures {
    /// Reads signatures from their text form.
    ///
    /// # Errors
    /// When it is not understood, or when a signature says too little to be told from others.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        Ok(Self { list: parse::parse(text)? })
    }

    /// The functions, each once.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        let mut seen = BTreeSet::new();
        self.list.iter().map(|one| one.function.as_str()).filter(move |name| seen.insert(*name))
    }

    /// Looks for the functions in a file. `None` when it has none of the texts that the signatures
    /// name.
    ///
    /// It reads what the file loads, a piece at a time, and keeps none of it.
    ///
    /// # Errors
    /// When the file cannot be read, or loads more than anything real.
    pub fn find(&self, file: &ElfFile) -> Result<Option<SignatureMatches>, ElfError> {
        if !search::has_text(file, &self.texts())? {
            return Ok(None);
        }
        let mut candidates = search::candidates(file, &self.list)?;
        // What leads nowhere is not it, and hence nothing that leads to it.
        loop {
            let places = places(&candidates);
            let count = candidates.len();
            candidates.retain(|candidate| candidate.leads_right(file, &places));
            if candidates.len() == count {
                return Ok(Some(self.judge(&candidates)));
            }
        }
    }

    /// The texts that signatures refer to.
    fn texts(&self) -> BTreeSet<&str> {
        let references = self.list.iter().flat_map(|signature| &signature.references);
        let texts = references.filter_map(|reference| match &reference.to {
            Referent::Text(text) => Some(text.as_str()),
            Referent::Function(_) => None,
        });
        texts.collect()
    }

    fn judge(&self, candidates: &[Candidate<'_>]) -> SignatureMatches {
        let mut matches = SignatureMatches::default();
        let places = places(candidates);
        for function in self.functions() {
            let count = places.get(function).map_or(0, BTreeSet::len);
            let first = candidates.iter().find(|found| found.signature.function == function);
            match (count, first) {
                (1, Some(only)) => matches.found.push(SignatureMatch {
                    function: function.to_owned(),
                    address: only.address,
                    origin: only.signature.origin.clone(),
                }),
                (0, _) | (_, None) => matches.absent.push(function.to_owned()),
                (count, _) => matches.ambiguous.push((function.to_owned(), count)),
            }
        }
        matches
    }
}

impl SignatureMatches {
    /// The address of a function that was found.
    #[must_use]
    pub fn address(&self, function: &str) -> Option<u64> {
        self.found.iter().find(|found| found.function == function).map(|found| found.address)
    }
}

/// Where each function may be.
fn places<'a>(candidates: &[Candidate<'a>]) -> BTreeMap<&'a str, BTreeSet<u64>> {
    let mut places: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for candidate in candidates {
        places.entry(&candidate.signature.function).or_default().insert(candidate.address);
    }
    places
}

impl Candidate<'_> {
    /// Whether its references lead to what they should.
    fn leads_right(&self, file: &ElfFile, places: &BTreeMap<&str, BTreeSet<u64>>) -> bool {
        let mut references = self.signature.references.iter().zip(&self.targets);
        references.all(|(reference, target)| match &reference.to {
            Referent::Function(name) => {
                places.get(name.as_str()).is_some_and(|places| places.contains(target))
            }
            Referent::Text(end) => ends_with(file, *target, end),
        })
    }
}

/// Whether the text at `address`, up to its NUL, ends so.
fn ends_with(file: &ElfFile, address: u64, end: &str) -> bool {
    let Ok(bytes) = file.read_at(address, MAX_TEXT) else { return false };
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    text.len() < bytes.len() && text.ends_with(end.as_bytes())
}

#[cfg(test)]
mod tests;
