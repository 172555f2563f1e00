//! The head of an HTTP/1 message: start line and fields (RFC 9112, sections 2 to 5).
//!
//! Pure decoding, line by line, without any state of the connection. It can be interrupted anywhere
//! and resumed when there is more, and looks at every byte once.

use super::fields::Framing;
use bytes::Bytes;
use memchr::memchr;
use pixie_core::record::{Headers, HeadersBuilder, HttpVersion};
use std::ops::Range;

/// The most fields of one section; a message with more is given up.
pub(super) const MAX_FIELDS: usize = 256;

/// Room for this many fields is made at once.
const USUAL_FIELDS: usize = 16;

/// So much of a start line tells whether it can be one.
pub(super) const LOOKED_AT: usize = 64;

/// Which kind of message is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// Why a head cannot be decoded. `at` is the first byte that was not understood: everything before
/// it can be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not what the protocol allows.
    Malformed { at: usize },
    /// More than [`MAX_FIELDS`] fields.
    TooMany { at: usize },
}

/// How far the decoding of a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on beyond what is there.
    Partial,
    /// It is this long, with the empty line at its end.
    Complete(usize),
}

/// Where the parts of a start line are, in the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StartLine {
    pub(super) version: HttpVersion,
    /// The method; of a response, its status code.
    pub(super) first: Range<usize>,
    /// The request target; of a response, the reason phrase.
    pub(super) second: Range<usize>,
    /// The status code of a response.
    pub(super) status: u16,
}

/// Decodes one head, resumably.
#[derive(Debug)]
pub(super) struct HeadDecoder {
    kind: Kind,
    start: StartLine,
    fields: FieldsDecoder,
}

impl HeadDecoder {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            start: StartLine::default(),
            fields: FieldsDecoder::with_capacity(USUAL_FIELDS),
        }
    }

    /// Decodes on. `head` is the message so far, from its first byte: what was shown before, and
    /// more.
    pub(super) fn advance(&mut self, head: &[u8]) -> Result<Progress, Fault> {
        if self.fields.at == 0 {
            let Some(end) = memchr(b'\n', head) else {
                return match may_begin(self.kind, head) {
                    true => Ok(Progress::Partial),
                    false => Err(Fault::Malformed { at: 0 }),
                };
            };
            let line = without_cr(head, 0..end);
            let start = match self.kind {
                Kind::Request => request_line(head, line),
                Kind::Response => status_line(head, line),
            };
            self.start = start.ok_or(Fault::Malformed { at: 0 })?;
            self.fields.at = end + 1;
        }
        self.fields.advance(head)
    }

    /// What was decoded of a complete head.
    pub(super) fn finish(self, mut head: Vec<u8>) -> Head {
        let Self { start, fields: FieldsDecoder { folded, framing, builder, .. }, .. } = self;
        if folded {
            unfold(&mut head);
        }
        Head { start, framing, bytes: Bytes::from(head), fields: builder }
    }
}

/// A complete head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) start: StartLine,
    pub(super) framing: Framing,
    pub(super) bytes: Bytes,
    /// The fields, to be built in `bytes`.
    fields: HeadersBuilder,
}

impl Head {
    /// Takes the fields, and the bytes with them: to share those would cost something.
    pub(super) fn take_headers(&mut self) -> Headers {
        let fields = std::mem::replace(&mut self.fields, HeadersBuilder::new(Bytes::new()));
        fields.build_in(std::mem::take(&mut self.bytes))
    }
}

/// Decodes the lines of a header or trailer section (RFC 9112, section 5), resumably.
#[derive(Debug)]
pub(super) struct FieldsDecoder {
    /// Offset of the first line that is not decoded yet.
    at: usize,
    /// The last field, which the next line may continue (obsolete line folding).
    last: Option<Field>,
    folded: bool,
    count: usize,
    builder: HeadersBuilder,
    framing: Framing,
}

impl FieldsDecoder {
    /// With room for this many fields.
    pub(super) fn with_capacity(fields: usize) -> Self {
        Self {
            at: 0,
            last: None,
            folded: false,
            count: 0,
            builder: HeadersBuilder::new(Bytes::new()).with_capacity(fields),
            framing: Framing::default(),
        }
    }

    /// Offset of the first line that is not decoded yet.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Decodes on. `section` is the section so far, or the message that it is in.
    pub(super) fn advance(&mut self, section: &[u8]) -> Result<Progress, Fault> {
        loop {
            let at = self.at;
            let rest = section.get(at..).unwrap_or_default();
            let Some(length) = memchr(b'\n', rest) else { return Ok(Progress::Partial) };
            let (line, following) = rest.split_at(length);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.at = at + length + 1;
            match line.first() {
                None => {
                    self.close_field(section, at)?;
                    return Ok(Progress::Complete(self.at));
                }
                Some(b' ' | b'\t') => {
                    let field = self.last.as_mut().ok_or(Fault::Malformed { at })?;
                    field.value.end = at + line.len();
                    self.folded = true;
                }
                Some(_) => {
                    self.close_field(section, at)?;
                    let (name, value) = field(line).ok_or(Fault::Malformed { at })?;
                    let value_at = at + line.len() - value.len();
                    match following.get(1) {
                        // The next line may continue this one.
                        None | Some(b' ' | b'\t') => {
                            let (name, value) = (at..at + name.len(), value_at..at + line.len());
                            self.last = Some(Field { name, value });
                        }
                        Some(_) => self.push((at, name), (value_at, value))?,
                    }
                }
            }
        }
    }

    /// The fields of a complete section.
    pub(super) fn finish(self, mut section: Vec<u8>) -> Headers {
        if self.folded {
            unfold(&mut section);
        }
        self.builder.build_in(section.into())
    }

    /// The last field has ended, before the line at `at`.
    fn close_field(&mut self, section: &[u8], at: usize) -> Result<(), Fault> {
        let Some(Field { name, value }) = self.last.take() else { return Ok(()) };
        let slice = |range: &Range<usize>| section.get(range.clone()).unwrap_or_default();
        self.push((name.start, slice(&name)), (value.start, slice(&value)))
            .map_err(|_| Fault::TooMany { at })
    }

    /// Adds a field, of which the name and the value are given with their places.
    #[inline]
    fn push(&mut self, name: (usize, &[u8]), value: (usize, &[u8])) -> Result<(), Fault> {
        let (name_at, name) = name;
        let (value_at, value) = value;
        if self.count == MAX_FIELDS {
            return Err(Fault::TooMany { at: name_at });
        }
        self.count += 1;
        let trimmed = trim_start(value);
        let value_at = value_at + value.len() - trimmed.len();
        let value = trim_end(trimmed);
        self.framing.note(name, value);
        self.builder.push(name_at..name_at + name.len(), value_at..value_at + value.len());
        Ok(())
    }
}

/// Where a field's name and value are.
#[derive(Debug)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// Whether a start line may begin like this: so that what is none is noticed before a line of it has
/// come.
fn may_begin(kind: Kind, head: &[u8]) -> bool {
    match kind {
        Kind::Request => {
            let head = head.get(..LOOKED_AT).unwrap_or(head);
            let method_end = token_end(head, 0);
            method_end == head.len() || (method_end > 0 && head.get(method_end) == Some(&b' '))
        }
        Kind::Response => head.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected),
    }
}

/// `METHOD target HTTP/1.x` (RFC 9112, section 3). Spaces within the target are let pass, as many
/// servers do.
fn request_line(head: &[u8], line: Range<usize>) -> Option<StartLine> {
    let version_at = line.end.checked_sub(b" HTTP/1.1".len())?;
    let version = version(head.get(version_at + 1..line.end)?)?;
    let method_end = token_end(head, line.start);
    let is_separated = head.get(method_end) == Some(&b' ') && head.get(version_at) == Some(&b' ');
    let target = method_end + 1..version_at;
    // Without an early end, so that many bytes are compared at once.
    let is_visible =
        |target: &[u8]| target.iter().fold(true, |all, &byte| all & (byte >= b' ' && byte != 0x7f));
    if method_end == line.start
        || !is_separated
        || target.is_empty()
        || !is_visible(head.get(target.clone())?)
    {
        return None;
    }
    Some(StartLine { version, first: line.start..method_end, second: target, status: 0 })
}

/// `HTTP/1.x 200 reason` (RFC 9112, section 4). The reason may be empty, and the space before it
/// missing.
fn status_line(head: &[u8], line: Range<usize>) -> Option<StartLine> {
    let start = line.start;
    let version = version(head.get(start..start + 8)?)?;
    let &[b' ', hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] =
        head.get(start + 8..(start + 12).min(line.end))?
    else {
        return None;
    };
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    let reason = match head.get(start + 12) {
        Some(b' ') if start + 12 < line.end => start + 13..line.end,
        _ if start + 12 == line.end => line.end..line.end,
        _ => return None,
    };
    Some(StartLine { version, first: start + 9..start + 12, second: reason, status })
}

fn version(text: &[u8]) -> Option<HttpVersion> {
    match text {
        b"HTTP/1.1" => Some(HttpVersion::Http11),
        b"HTTP/1.0" => Some(HttpVersion::Http10),
        _ => None,
    }
}

/// Name and value of a field line (RFC 9112, section 5). Whitespace before the colon, which is not
/// allowed but occurs in responses, is let pass.
#[inline]
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let name_length = line.iter().position(|&byte| !is_token(byte)).filter(|&length| length > 0)?;
    let (name, rest) = line.split_at(name_length);
    match rest {
        [b':', value @ ..] => Some((name, value)),
        spaced => Some((name, trim_start(spaced).strip_prefix(b":")?)),
    }
}

/// Optional whitespace around a value is not part of it; nor is what is left of a fold.
fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Where the token that starts at `start` ends (RFC 9110, section 5.6.2).
fn token_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().position(|&byte| !is_token(byte)).unwrap_or(rest.len())
}

/// Whether a token may contain this byte.
pub(super) fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            table[byte] = matches!(byte as u8,
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
                | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
                | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
            byte += 1;
        }
        table
    };
    TOKEN[byte as usize]
}

/// A line without the CR that may be at its end.
fn without_cr(bytes: &[u8], line: Range<usize>) -> Range<usize> {
    match slice(bytes, &line) {
        [.., b'\r'] => line.start..line.end - 1,
        _ => line,
    }
}

/// Replaces each obsolete line fold by spaces, as RFC 9112, section 5.2, asks of whoever passes a
/// message on.
fn unfold(section: &mut [u8]) {
    let mut rest = section;
    while let Some(end) = memchr(b'\n', rest) {
        let (line, following) = rest.split_at_mut(end + 1);
        if let Some(b' ' | b'\t') = following.first() {
            match line {
                [.., cr @ b'\r', lf] => (*cr, *lf) = (b' ', b' '),
                [.., lf] => *lf = b' ',
                [] => {}
            }
        }
        rest = following;
    }
}

fn slice<'a>(bytes: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    bytes.get(range.clone()).unwrap_or_default()
}
