//! Values, as they are put together from lines and strings.

use super::frame::{self, Line};
use bytes::{Bytes, BytesMut};
use pixie_core::Text;
use pixie_core::record::{RedisResponse, RedisType, RedisValue};

/// The most elements of one value that are kept, those of all levels together.
const MAX_KEPT: usize = 256;

/// The most aggregates within each other. Servers and clients stop far earlier.
const MAX_DEPTH: usize = 64;

/// Strings of at most this many bytes share pieces of memory of [`PIECE`] bytes.
const SMALL: usize = 128;

/// The size of such a piece. A record that is kept holds its piece.
const PIECE: usize = 1 << 10;

/// The longest first word that is remembered: `punsubscribe`.
const MAX_WORD: usize = 12;

/// Puts one value together after the other.
#[derive(Debug)]
pub(super) struct Values {
    /// The aggregates that are open, the outermost first.
    open: Vec<Open>,
    /// The string under way, when one is.
    string: Option<StringUnderWay>,
    /// The value that has ended.
    ended: Option<(RedisType, RedisValue, Option<u64>)>,
    /// Where small strings are kept.
    piece: BytesMut,
    said: Said,
    /// Bytes in strings so far, and how many may still be kept.
    size: u64,
    room: usize,
    limit: usize,
    /// Elements kept so far.
    kept: usize,
    truncated: bool,
}

/// What a value says of its meaning: the start of its first word, and its last number, when it is
/// an aggregate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    word: [u8; MAX_WORD],
    word_length: usize,
    /// Elements that have ended.
    elements: u64,
    pub(super) last: Option<i64>,
}

impl Said {
    pub(super) fn word(&self) -> &[u8] {
        self.word.get(..self.word_length).unwrap_or_default()
    }

    fn extend(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.word.get_mut(self.word_length) {
                Some(place) => *place = byte,
                None => {
                    // Longer than any word that has a meaning.
                    self.word = [0; MAX_WORD];
                    return;
                }
            }
            self.word_length += 1;
        }
    }
}

/// An aggregate under way.
#[derive(Debug)]
struct Open {
    kind: Kind,
    /// Elements still to come; `None` up to a `.`.
    remaining: Option<u64>,
    /// Elements in all.
    count: u64,
    items: Vec<RedisValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Value(RedisType),
    /// What it has is about the next value.
    Attributes,
}

#[derive(Debug)]
struct StringUnderWay {
    kind: RedisType,
    kept: Vec<u8>,
    /// Of this string no more is kept.
    cut: bool,
    /// It comes in chunks, of which this is the size of the one under way; 0 between chunks.
    chunk: Option<u64>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed,
    TooDeep,
}

impl Values {
    /// At most `limit` bytes of strings are kept of each value.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            open: Vec::new(),
            string: None,
            ended: None,
            piece: BytesMut::new(),
            said: Said::default(),
            size: 0,
            room: limit,
            limit,
            kept: 0,
            truncated: false,
        }
    }

    /// Whether no value is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.string.is_none()
    }

    /// Whether a value has ended.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Takes a line without its end. Returns the length of the string that follows, if one does.
    #[inline]
    pub(super) fn line(&mut self, line: &[u8]) -> Result<Option<u64>, Fault> {
        let line = frame::line(line).ok_or(Fault::Malformed)?;
        if let Some(string) = &mut self.string {
            let Line::Chunk(length) = line else { return Err(Fault::Malformed) };
            string.chunk = Some(length);
            if length > 0 {
                return Ok(Some(length));
            }
            self.finish_string();
            return Ok(None);
        }
        match line {
            Line::Text(kind, text) => self.text(kind, text),
            Line::Integer(value) => {
                if self.open.len() == 1 {
                    self.said.last = Some(value);
                }
                self.leaf(RedisType::Integer, RedisValue::Integer(value));
            }
            Line::Double(value) => self.leaf(RedisType::Double, RedisValue::Double(value)),
            Line::Boolean(value) => self.leaf(RedisType::Boolean, RedisValue::Boolean(value)),
            Line::Null => self.leaf(RedisType::Null, RedisValue::Null),
            Line::String(kind, length) => {
                self.string =
                    Some(StringUnderWay { kind, kept: Vec::new(), cut: false, chunk: None });
                return Ok(Some(length));
            }
            Line::StreamedString => {
                let kind = RedisType::Bulk;
                self.string =
                    Some(StringUnderWay { kind, kept: Vec::new(), cut: false, chunk: Some(0) });
            }
            Line::Aggregate(kind, count) => self.begin(Kind::Value(kind), Some(count))?,
            Line::StreamedAggregate(kind) => self.begin(Kind::Value(kind), None)?,
            Line::Attributes(count) => self.begin(Kind::Attributes, Some(count))?,
            Line::End => {
                if self.open.last().is_none_or(|open| open.remaining.is_some()) {
                    return Err(Fault::Malformed);
                }
                self.close();
            }
            Line::Chunk(_) => return Err(Fault::Malformed),
        }
        Ok(None)
    }

    fn begin(&mut self, kind: Kind, count: Option<u64>) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        let is_paired = matches!(kind, Kind::Attributes | Kind::Value(RedisType::Map));
        let remaining = count.map(|count| if is_paired { count * 2 } else { count });
        let count = remaining.unwrap_or_default();
        self.open.push(Open { kind, remaining, count, items: Vec::new() });
        self.close_complete();
        Ok(())
    }

    /// A string that is there as a whole.
    #[inline]
    pub(super) fn whole_string(&mut self, bytes: &[u8]) -> bool {
        match &self.string {
            Some(StringUnderWay { kind, chunk: None, .. }) => {
                let kind = *kind;
                self.string = None;
                self.text(kind, bytes);
            }
            _ => {
                self.extend(bytes);
                self.string_ended();
            }
        }
        self.is_over()
    }

    /// Takes bytes of the string under way.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        let Some(string) = &mut self.string else { return };
        if !string.cut {
            if self.said.elements == 0 && self.open.len() == 1 {
                self.said.extend(bytes);
            }
            let kept = bytes.get(..self.room).unwrap_or(bytes);
            string.kept.extend_from_slice(kept);
            self.room -= kept.len();
            string.cut = kept.len() < bytes.len();
        }
    }

    /// So many bytes of the string under way are not there.
    pub(super) fn gap(&mut self, bytes: u64) {
        self.size += bytes;
        if let Some(string) = &mut self.string {
            string.cut |= bytes > 0;
        }
    }

    /// The string under way, or a chunk of it, has ended. True when a value has.
    pub(super) fn string_ended(&mut self) -> bool {
        if self.string.as_ref().is_some_and(|string| string.chunk.is_none()) {
            self.finish_string();
        }
        self.is_over()
    }

    fn finish_string(&mut self) {
        if let Some(StringUnderWay { kind, kept, cut, .. }) = self.string.take() {
            self.truncated |= cut;
            self.leaf(kind, string_value(kind, kept.into()));
        }
    }

    /// Text that is there as a whole.
    #[inline]
    fn text(&mut self, kind: RedisType, text: &[u8]) {
        self.size += text.len() as u64;
        if self.said.elements == 0 && self.open.len() == 1 {
            self.said.extend(text);
        }
        let kept = text.get(..self.room).unwrap_or(text);
        self.room -= kept.len();
        self.truncated |= kept.len() < text.len();
        let bytes = match kept {
            b"OK" => Bytes::from_static(b"OK"),
            b"QUEUED" => Bytes::from_static(b"QUEUED"),
            b"PONG" => Bytes::from_static(b"PONG"),
            b"" => Bytes::new(),
            kept if kept.len() > SMALL => Bytes::copy_from_slice(kept),
            kept => {
                if self.piece.capacity() < kept.len() {
                    self.piece = BytesMut::with_capacity(PIECE);
                }
                self.piece.extend_from_slice(kept);
                self.piece.split().freeze()
            }
        };
        self.leaf(kind, string_value(kind, bytes));
    }

    /// A value that is no aggregate has ended.
    #[inline]
    fn leaf(&mut self, kind: RedisType, value: RedisValue) {
        if self.open.is_empty() {
            self.ended = Some((kind, value, None));
        } else {
            self.element(value);
            self.close_complete();
        }
    }

    /// Adds an element to the innermost aggregate.
    fn element(&mut self, value: RedisValue) {
        if self.open.len() == 1 {
            self.said.elements += 1;
        }
        let Some(open) = self.open.last_mut() else { return };
        match &mut open.remaining {
            Some(remaining) => *remaining = remaining.saturating_sub(1),
            None => open.count += 1,
        }
        if self.kept < MAX_KEPT && open.kind != Kind::Attributes {
            self.kept += 1;
            if open.items.is_empty() {
                open.items.reserve_exact(open.count.min(MAX_KEPT as u64) as usize);
            }
            open.items.push(value);
        } else if open.kind != Kind::Attributes {
            self.truncated = true;
        }
    }

    /// Closes the aggregates to which nothing more belongs.
    fn close_complete(&mut self) {
        while self.open.last().is_some_and(|open| open.remaining == Some(0)) {
            self.close();
        }
    }

    /// Closes the innermost aggregate.
    fn close(&mut self) {
        let Some(Open { kind, count, items, .. }) = self.open.pop() else { return };
        let Kind::Value(kind) = kind else { return };
        let (value, count) = match kind {
            RedisType::Map => (RedisValue::Map(pairs(items)), count / 2),
            _ => (RedisValue::List(items), count),
        };
        if self.open.is_empty() {
            self.ended = Some((kind, value, Some(count)));
        } else {
            self.element(value);
            self.close_complete();
        }
    }

    /// Ends whatever is under way, as far as it was seen.
    pub(super) fn end_incomplete(&mut self) {
        if self.string.is_some() {
            self.truncated = true;
            self.finish_string();
        }
        while let Some(open) = self.open.last_mut() {
            self.truncated = true;
            // What was announced stays, but no more of it comes.
            open.remaining = Some(0);
            self.close();
        }
    }

    /// The value that has ended.
    #[inline]
    pub(super) fn take(&mut self) -> Option<(RedisResponse, Said)> {
        let (kind, value, count) = self.ended.take()?;
        let mut response = RedisResponse::new(kind, value);
        response.size = self.size;
        response.count = count;
        response.truncated = self.truncated;
        let said = self.said;
        self.clear();
        Some((response, said))
    }

    /// Forgets the value under way.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.string = None;
        self.ended = None;
        self.said = Said::default();
        self.size = 0;
        self.room = self.limit;
        self.kept = 0;
        self.truncated = false;
    }

    /// Bytes of memory that are held, about.
    pub(super) fn memory(&self) -> usize {
        let kept = self.kept * size_of::<RedisValue>() + self.limit - self.room;
        kept + self.open.capacity() * size_of::<Open>()
    }
}

fn string_value(kind: RedisType, bytes: Bytes) -> RedisValue {
    match kind {
        RedisType::Error | RedisType::BulkError => RedisValue::Error(Text::from_bytes(bytes)),
        _ => RedisValue::Text(bytes),
    }
}

/// Elements two by two. Of a pair that was cut in two, the key is kept.
fn pairs(items: Vec<RedisValue>) -> Vec<(RedisValue, RedisValue)> {
    let mut pairs = Vec::with_capacity(items.len().div_ceil(2));
    let mut items = items.into_iter();
    while let Some(key) = items.next() {
        pairs.push((key, items.next().unwrap_or_default()));
    }
    pairs
}
