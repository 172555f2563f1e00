//! HPACK: header compression for HTTP/2 (RFC 7541).
//!
//! ```text
//!   header block ──► Decoder ──► FieldList ──► head
//!                      │  ▲
//!                 table: static, and what came before on the connection
//! ```

mod huffman;
mod table;
#[cfg(test)]
mod vectors;

use std::ops::Range;
use table::{DynamicTable, STATIC_ENTRIES, static_entry};

/// The most that the dynamic table is let have, whatever the peers agree on, in bytes.
const TABLE_LIMIT: usize = 64 << 10;

/// What a field counts for besides its name and value (RFC 9113, section 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// The fields of one header block, in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct FieldList {
    /// Names and values.
    pub(crate) bytes: Vec<u8>,
    pub(crate) fields: Vec<Field>,
    /// There may be fields that are not in here.
    pub(crate) incomplete: bool,
    size: usize,
}

/// The places of a field's name and value in [`FieldList::bytes`]; `None` for what is not known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    pub(crate) name: Option<Range<usize>>,
    pub(crate) value: Option<Range<usize>>,
}

impl FieldList {
    /// Empties it for another block of this many bytes.
    pub(crate) fn clear(&mut self, block: usize) {
        self.bytes = Vec::with_capacity(block.saturating_mul(2).saturating_add(64));
        self.fields.clear();
        self.incomplete = false;
        self.size = 0;
    }

    pub(crate) fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    fn append(&mut self, part: Option<&[u8]>) -> Option<Range<usize>> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part?);
        Some(start..self.bytes.len())
    }
}

/// Why a header block could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends within a field.
    Partial,
    /// It is not what the compression allows.
    Malformed,
}

/// Decodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: DynamicTable,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { table: DynamicTable::new(TABLE_LIMIT) }
    }

    /// Appends the fields of a block, which take at most `limit` bytes: what is beyond is left out.
    ///
    /// What refers to entries that were not seen is not known. After a fault neither is what was
    /// there before.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        limit: usize,
        list: &mut FieldList,
    ) -> Result<(), Fault> {
        let mut input = Input(block);
        let decoded = loop {
            if input.0.is_empty() {
                break Ok(());
            }
            if let Err(fault) = self.field(&mut input, limit, list) {
                break Err(fault);
            }
        };
        if decoded.is_err() {
            list.incomplete = true;
            self.table.forget();
        }
        decoded
    }

    /// Header blocks, or parts of them, were not seen.
    pub(crate) fn forget(&mut self) {
        self.table.forget();
    }

    /// One field, or one change of the table's size (RFC 7541, section 6).
    fn field(
        &mut self,
        input: &mut Input<'_>,
        limit: usize,
        list: &mut FieldList,
    ) -> Result<(), Fault> {
        let start = list.bytes.len();
        let first = *input.0.first().ok_or(Fault::Partial)?;
        let (field, is_inserted) = match first {
            0x80.. => (self.indexed(input.integer(7)?, list)?, false),
            0x40..=0x7f => (self.literal(6, input, list)?, true),
            0x20..=0x3f => {
                self.table.resize(input.integer(5)?);
                return Ok(());
            }
            _ => (self.literal(4, input, list)?, false),
        };
        if is_inserted {
            let part = |part: &Option<Range<usize>>| part.as_ref().map(|range| list.slice(range));
            self.table.insert((part(&field.name), part(&field.value)));
        }
        list.size += list.bytes.len() - start + FIELD_OVERHEAD;
        if list.size > limit {
            list.bytes.truncate(start);
            list.incomplete = true;
        } else {
            list.fields.push(field);
        }
        Ok(())
    }

    fn indexed(&self, index: usize, list: &mut FieldList) -> Result<Field, Fault> {
        if index == 0 {
            return Err(Fault::Malformed);
        }
        let (name, value) = match static_entry(index) {
            Some((name, value)) => (Some(name.as_bytes()), Some(value.as_bytes())),
            None => self.table.get(index - STATIC_ENTRIES - 1),
        };
        Ok(Field { name: list.append(name), value: list.append(value) })
    }

    fn literal(
        &self,
        prefix: u32,
        input: &mut Input<'_>,
        list: &mut FieldList,
    ) -> Result<Field, Fault> {
        let name = match input.integer(prefix)? {
            0 => Some(input.string(list)?),
            index => {
                let name = match static_entry(index) {
                    Some((name, _)) => Some(name.as_bytes()),
                    None => self.table.get(index - STATIC_ENTRIES - 1).0,
                };
                list.append(name)
            }
        };
        Ok(Field { name, value: Some(input.string(list)?) })
    }

    /// Bytes of memory that are held.
    pub(crate) fn memory(&self) -> usize {
        self.table.memory()
    }
}

/// What is left of a block.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    /// An integer of which so many bits are in the first byte (RFC 7541, section 5.1). Nothing that
    /// is counted or measured needs more than 28 bits.
    #[inline]
    fn integer(&mut self, prefix: u32) -> Result<usize, Fault> {
        let (&first, mut rest) = self.0.split_first().ok_or(Fault::Partial)?;
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(first) & mask;
        if value == mask {
            let mut shift = 0;
            loop {
                let (&byte, following) = rest.split_first().ok_or(Fault::Partial)?;
                rest = following;
                if shift >= 28 {
                    return Err(Fault::Malformed);
                }
                value += usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        self.0 = rest;
        Ok(value)
    }

    /// A string (RFC 7541, section 5.2), which is appended.
    #[inline]
    fn string(&mut self, list: &mut FieldList) -> Result<Range<usize>, Fault> {
        let is_huffman = self.0.first().ok_or(Fault::Partial)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Fault::Partial)?;
        self.0 = rest;
        let start = list.bytes.len();
        if is_huffman {
            huffman::decode(bytes, &mut list.bytes).map_err(|_| Fault::Malformed)?;
        } else {
            list.bytes.extend_from_slice(bytes);
        }
        Ok(start..list.bytes.len())
    }
}
