//! The text form of signatures.

use super::{Reference, Referent, Signature, SignatureError};
use std::ops::Range;

/// The longest signature, in bytes.
const MAX_LENGTH: usize = 4096;
/// How many bytes must count, so that it is not found where nothing is.
const MIN_FIXED: usize = 16;
/// How many of them must be in one run.
const MIN_ANCHOR: usize = 4;

pub(super) fn parse(text: &str) -> Result<Vec<Signature>, SignatureError> {
    let mut list: Vec<(usize, Signature)> = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let error = |problem: String| SignatureError { line, problem };
        let words = content.split_whitespace();
        if content.trim().is_empty() || content.starts_with('#') {
            continue;
        }
        if content.starts_with(char::is_whitespace) {
            let Some((_, signature)) = list.last_mut() else {
                return Err(error("bytes before the first function".to_owned()));
            };
            for word in words {
                signature.add(word).map_err(error)?;
            }
        } else {
            let (function, origin) =
                content.split_once(char::is_whitespace).unwrap_or((content, ""));
            list.push((line, Signature::new(function, origin.trim())));
        }
    }
    for (line, signature) in &mut list {
        signature.close().map_err(|problem| SignatureError { line: *line, problem })?;
    }
    let list: Vec<Signature> = list.into_iter().map(|(_, signature)| signature).collect();
    check(&list)?;
    Ok(list)
}

/// What must hold of all of them together.
fn check(list: &[Signature]) -> Result<(), SignatureError> {
    let references = || list.iter().flat_map(|signature| &signature.references);
    for reference in references() {
        let Referent::Function(name) = &reference.to else { continue };
        if !list.iter().any(|signature| signature.function == *name) {
            return Err(SignatureError { line: 1, problem: format!("{name} has no signature") });
        }
    }
    if !references().any(|reference| matches!(reference.to, Referent::Text(_))) {
        let problem = "no signature names a text by which files are told that have none".to_owned();
        return Err(SignatureError { line: 1, problem });
    }
    Ok(())
}

impl Signature {
    fn new(function: &str, origin: &str) -> Self {
        Self {
            function: function.to_owned(),
            origin: origin.to_owned(),
            bytes: Vec::new(),
            mask: Vec::new(),
            anchor: 0..0,
            references: Vec::new(),
        }
    }

    /// Adds what a word stands for.
    fn add(&mut self, word: &str) -> Result<(), String> {
        if word == "??" {
            self.push(0, 0);
        } else if let Some(text) = quoted(word.strip_prefix('=')) {
            self.refer(true, Referent::Text(text));
        } else if let Some(inner) = word.strip_prefix('<').and_then(|word| word.strip_suffix('>')) {
            let to = match quoted(Some(inner)) {
                Some(text) => Referent::Text(text),
                None if inner.starts_with('"') => return Err(format!("{word:?} names no text")),
                None => Referent::Function(inner.to_owned()),
            };
            self.refer(false, to);
        } else {
            let digits = word.len() == 2 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(word, 16).ok().filter(|_| digits);
            self.push(byte.ok_or_else(|| format!("{word:?} is no byte"))?, 0xff);
        }
        if self.bytes.len() > MAX_LENGTH {
            Err(format!("longer than {MAX_LENGTH} bytes"))
        } else {
            Ok(())
        }
    }

    fn push(&mut self, byte: u8, mask: u8) {
        self.bytes.push(byte);
        self.mask.push(mask);
    }

    fn refer(&mut self, absolute: bool, to: Referent) {
        self.references.push(Reference { at: self.bytes.len(), absolute, to });
        for _ in 0..4 {
            self.push(0, 0);
        }
    }

    /// Checks that it says enough, and finds what to search by.
    fn close(&mut self) -> Result<(), String> {
        let fixed = self.mask.iter().filter(|mask| **mask != 0).count();
        if fixed < MIN_FIXED || self.mask.first() != Some(&0xff) {
            return Err(format!(
                "{} needs {MIN_FIXED} bytes that count, the first one among them",
                self.function
            ));
        }
        self.anchor = longest_run(&self.mask);
        if self.anchor.len() < MIN_ANCHOR {
            return Err(format!("{} needs {MIN_ANCHOR} such bytes in a row", self.function));
        }
        Ok(())
    }
}

/// What is between quotes.
fn quoted(word: Option<&str>) -> Option<String> {
    let text = word?.strip_prefix('"')?.strip_suffix('"')?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The longest run of bytes that count; of several the last, because functions begin alike.
fn longest_run(mask: &[u8]) -> Range<usize> {
    let (mut longest, mut start) = (0..0, 0);
    for (at, mask) in mask.iter().chain([&0]).enumerate() {
        if *mask != 0 {
            continue;
        }
        if at - start >= longest.len() {
            longest = start..at;
        }
        start = at + 1;
    }
    longest
}
