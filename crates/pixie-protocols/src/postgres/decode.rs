//! What payloads say (PostgreSQL's documentation, sections 55.7 and 55.8).
//!
//! A payload may be cut short, by a limit or by a hole: then what lies before the cut is read.

use bytes::Bytes;
use memchr::memchr;
use pixie_core::Text;
use pixie_core::record::{
    PostgresColumns, PostgresColumnsBuilder, PostgresMessage, PostgresParameter, PostgresStatement,
};

/// The most parameters, columns, or the like, of one message that are kept.
const MAX_KEPT: usize = 256;

/// The longest name, or text of an error, that is kept.
const MAX_TEXT: usize = 1 << 10;

/// Reads a payload from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A length, or `None` inside for -1, which stands for NULL.
    pub(super) fn length(&mut self) -> Option<Option<usize>> {
        match self.u32()? {
            u32::MAX => Some(None),
            length if length > i32::MAX as u32 => None,
            length => Some(usize::try_from(length).ok()),
        }
    }

    /// A text that ends with a NUL.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let length = memchr(0, rest)?;
        self.at += length + 1;
        rest.get(..length)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn skip(&mut self, length: usize) {
        self.at = self.at.saturating_add(length).min(self.bytes.len());
    }
}

/// A copy of a name or the like, of bounded length.
pub(super) fn text(bytes: &[u8]) -> Text {
    Text::from_bytes(Bytes::copy_from_slice(bytes.get(..MAX_TEXT).unwrap_or(bytes)))
}

/// The start of a statement; `size` is its true length.
fn statement(bytes: &[u8], size: Option<u64>, limit: usize) -> PostgresStatement {
    let kept = bytes.get(..limit).unwrap_or(bytes);
    PostgresStatement { text: Text::from_bytes(Bytes::copy_from_slice(kept)), size }
}

/// The statement of a `Query` whose payload has this length.
pub(super) fn query(payload: &[u8], length: u32, limit: usize) -> PostgresStatement {
    let text = memchr(0, payload).and_then(|end| payload.get(..end)).unwrap_or(payload);
    statement(text, Some(u64::from(length).saturating_sub(1)), limit)
}

/// A `Parse`: the name of the prepared statement, and its text.
pub(super) fn parse(payload: &[u8], limit: usize) -> Option<(Text, PostgresStatement)> {
    let mut reader = Reader::new(payload);
    let name = text(reader.text()?);
    let rest = reader.rest();
    let whole = reader.text();
    let size = whole.map(|whole| whole.len() as u64);
    Some((name, statement(whole.unwrap_or(rest), size, limit)))
}

/// A `Bind`.
#[derive(Debug, Default)]
pub(super) struct Bind {
    pub(super) portal: Text,
    pub(super) prepared: Text,
    pub(super) parameters: Vec<Option<PostgresParameter>>,
    pub(super) count: u16,
}

/// A `Bind`, of whose parameters this many bytes are kept. `None` where not even the names are
/// there.
pub(super) fn bind(payload: &[u8], limit: usize) -> Option<Bind> {
    let mut reader = Reader::new(payload);
    let portal = text(reader.text()?);
    let prepared = text(reader.text()?);
    let mut bind = Bind { portal, prepared, ..Bind::default() };
    if parameters(&mut reader, limit, &mut bind).is_none() {
        // The rest was cut off.
    }
    Some(bind)
}

fn parameters(reader: &mut Reader<'_>, limit: usize, bind: &mut Bind) -> Option<()> {
    let format_count = reader.u16()?;
    let formats = reader.take(2 * usize::from(format_count))?;
    let is_binary = |number: usize| {
        let place = if format_count == 1 { 0 } else { number };
        formats.get(2 * place..2 * place + 2) == Some(&[0, 1])
    };
    bind.count = reader.u16()?;
    if bind.count == 0 {
        return Some(());
    }
    let kept = reader.rest();
    let kept = Bytes::copy_from_slice(kept.get(..limit).unwrap_or(kept));
    let start = reader.at;
    bind.parameters.reserve_exact(usize::from(bind.count).min(MAX_KEPT));
    for number in 0..usize::from(bind.count).min(MAX_KEPT) {
        let parameter = reader.length()?.map(|size| {
            let from = (reader.at - start).min(kept.len());
            let to = from.saturating_add(size).min(kept.len());
            reader.skip(size);
            let bytes = kept.slice(from..to);
            PostgresParameter { bytes, size: size as u64, binary: is_binary(number) }
        });
        bind.parameters.push(parameter);
    }
    Some(())
}

/// The columns of a `RowDescription`.
pub(super) fn columns(payload: &[u8]) -> Option<PostgresColumns> {
    let mut reader = Reader::new(payload);
    let count = reader.u16()?;
    let kept = usize::from(count).min(MAX_KEPT);
    let mut builder = PostgresColumnsBuilder::new(count, kept.min(payload.len() / 19));
    for _ in 0..kept {
        let start = reader.at;
        let Some(name) = reader.text() else { break };
        // The table's object id and the number in it, the type's object id, length and modifier.
        let Some(&[_, _, _, _, _, _, a, b, c, d, _, _, _, _, _, _, format, coded]) =
            reader.take(18)
        else {
            break;
        };
        let type_oid = u32::from_be_bytes([a, b, c, d]);
        builder.push(start..start + name.len(), type_oid, (format, coded) == (0, 1));
    }
    Some(builder.build_in(Bytes::copy_from_slice(payload.get(..reader.at).unwrap_or(payload))))
}

/// The fields of an `ErrorResponse` or a `NoticeResponse`.
pub(super) fn message(payload: &[u8]) -> PostgresMessage {
    let mut message = PostgresMessage::default();
    let mut reader = Reader::new(payload);
    while let Some(kind) = reader.u8().filter(|&kind| kind != 0) {
        // The last may be cut short.
        let rest = reader.rest();
        let value = reader.text();
        let is_cut = value.is_none();
        let value = text(value.unwrap_or(rest));
        let field = match kind {
            // Translated, where there is no `V`.
            b'S' if message.severity.is_empty() => &mut message.severity,
            b'V' => &mut message.severity,
            b'C' => &mut message.sqlstate,
            b'M' => &mut message.message,
            b'P' => {
                message.position =
                    std::str::from_utf8(value.as_bytes()).ok().and_then(|text| text.parse().ok());
                continue;
            }
            b'D' => message.detail.insert(Text::default()),
            b'H' => message.hint.insert(Text::default()),
            b's' => message.schema.insert(Text::default()),
            b't' => message.table.insert(Text::default()),
            b'c' => message.column.insert(Text::default()),
            b'd' => message.data_type.insert(Text::default()),
            b'n' => message.constraint.insert(Text::default()),
            _ => continue,
        };
        *field = value;
        if is_cut {
            break;
        }
    }
    message
}

/// What a startup message says that is kept.
#[derive(Debug, Default)]
pub(super) struct Startup {
    pub(super) user: Option<Text>,
    pub(super) database: Option<Text>,
    pub(super) application_name: Option<Text>,
}

/// The parameters of a startup message.
pub(super) fn startup(payload: &[u8]) -> Startup {
    let mut startup = Startup::default();
    let mut reader = Reader::new(payload);
    while let Some(name) = reader.text().filter(|name| !name.is_empty()) {
        let Some(value) = reader.text() else { break };
        match name {
            b"user" => startup.user = Some(text(value)),
            b"database" => startup.database = Some(text(value)),
            b"application_name" => startup.application_name = Some(text(value)),
            _ => {}
        }
    }
    startup
}

/// The rows that a command tag tells of: its last word, where that is a number.
pub(super) fn rows(tag: &[u8]) -> Option<u64> {
    let number = tag.rsplit(|&byte| byte == b' ').next().filter(|word| word.len() < tag.len())?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// How a server authenticates, by the code of its `Authentication…` message. `None` for the
/// messages that go on with it or end it.
pub(super) fn authentication(code: u32) -> Option<&'static str> {
    Some(match code {
        2 => "kerberos",
        3 => "password",
        5 => "md5",
        6 => "scm",
        7 => "gss",
        9 => "sspi",
        10 => "sasl",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_tag() {
        assert_eq!(rows(b"SELECT 5"), Some(5));
        assert_eq!(rows(b"INSERT 0 12"), Some(12));
        assert_eq!(rows(b"CREATE TABLE"), None);
        assert_eq!(rows(b"7"), None);
    }

    #[test]
    fn parameters_have_formats_and_sizes() {
        let payload =
            b"\0s\0\0\x02\0\0\0\x01\0\x03\0\0\0\x02hi\0\0\0\x04\0\0\0\x2a\xff\xff\xff\xff\0\0";
        let whole = bind(payload, 100).unwrap();
        assert_eq!((whole.portal.as_bytes(), whole.prepared.as_bytes()), (&b""[..], &b"s"[..]));
        let [Some(text), Some(number), None] = &whole.parameters[..] else { panic!("{whole:?}") };
        assert_eq!((&text.bytes[..], text.binary), (&b"hi"[..], false));
        assert_eq!((&number.bytes[..], number.binary), (&b"\0\0\0\x2a"[..], true));

        let cut = bind(payload, 5).unwrap();
        assert_eq!(cut.parameters[0].as_ref().unwrap().bytes, "h");
        assert_eq!(cut.parameters[1].as_ref().unwrap().size, 4);
        let hole = bind(&payload[..payload.len() - 9], 100).unwrap();
        assert_eq!((hole.parameters.len(), hole.count), (2, 3));
    }

    #[test]
    fn fields_of_an_error_may_be_cut() {
        let payload = b"SFEHLER\0VERROR\0C42P01\0Mno table\0P15\0\0";
        let whole = message(payload);
        assert_eq!(whole.severity, "ERROR");
        assert_eq!((whole.sqlstate, whole.position), ("42P01".into(), Some(15)));
        assert_eq!(message(&payload[..27]).message, "no t");
    }

    #[test]
    fn a_statement_is_cut_and_its_size_is_true() {
        let statement = query(b"SELECT 1\0", 9, 4);
        assert_eq!((statement.text, statement.size), ("SELE".into(), Some(8)));
        let (name, statement) = parse(b"s\0SELECT 1\0\0\0", 100).unwrap();
        assert_eq!((name, statement.size), ("s".into(), Some(8)));
        assert_eq!(parse(b"s\0SELE", 100).unwrap().1.size, None);
    }
}
