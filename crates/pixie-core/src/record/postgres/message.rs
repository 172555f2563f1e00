use super::super::sql::without_quoted;
use super::request::one_line;
use crate::Text;
use crate::record::heap::heap;
use crate::sinks::REDACTED;
use std::fmt;

/// An error or a notice of a PostgreSQL server: the fields of an `ErrorResponse` or a
/// `NoticeResponse` (PostgreSQL's documentation, section 55.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresMessage {
    /// `ERROR`, `FATAL`, `PANIC`; `WARNING`, `NOTICE`, `INFO`, `LOG` or `DEBUG`. Not translated
    /// where the server tells (since 9.6).
    pub severity: Text,
    /// The SQLSTATE code, five characters: `42P01`.
    pub sqlstate: Text,
    /// What happened.
    pub message: Text,
    /// More of it.
    pub detail: Option<Text>,
    /// What to do about it.
    pub hint: Option<Text>,
    /// Where in the statement, in characters from 1.
    pub position: Option<u32>,
    /// The schema, table and column, the data type and the constraint that it is about.
    pub schema: Option<Text>,
    /// The table.
    pub table: Option<Text>,
    /// The column.
    pub column: Option<Text>,
    /// The data type.
    pub data_type: Option<Text>,
    /// The constraint.
    pub constraint: Option<Text>,
}

impl PostgresMessage {
    /// Removes what may quote values. What a message quotes is a name where it is about names
    /// (class 42, but for syntax errors) or constraints (class 23); what user code wrote itself goes
    /// as a whole.
    pub(super) fn remove_values(&mut self) {
        if let Some(detail) = &mut self.detail {
            *detail = REDACTED.into();
        }
        let sqlstate = self.sqlstate.as_bytes();
        let is_of_user =
            sqlstate.starts_with(b"P0") || matches!(sqlstate, b"" | b"00000" | b"01000");
        let is_of_names =
            sqlstate.starts_with(b"23") || sqlstate.starts_with(b"42") && sqlstate != b"42601";
        if is_of_user {
            self.message = REDACTED.into();
            self.hint = self.hint.as_ref().map(|_| REDACTED.into());
        } else if !is_of_names {
            self.message = without(&self.message);
            self.hint = self.hint.as_ref().map(without);
        }
    }
}

fn without(text: &Text) -> Text {
    Text::from_bytes(without_quoted(text.as_bytes()).into_owned())
}

impl fmt::Display for PostgresMessage {
    /// `22P02 invalid input syntax for type integer: "x"`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.sqlstate)?;
        one_line(&self.message, formatter)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for PostgresMessage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("severity", &self.severity)?;
        map.serialize_entry("sqlstate", &self.sqlstate)?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("hint", &self.hint)?;
        map.serialize_entry("position", &self.position)?;
        let names = [
            ("schema", &self.schema),
            ("table", &self.table),
            ("column", &self.column),
            ("data_type", &self.data_type),
            ("constraint", &self.constraint),
        ];
        for (name, text) in names {
            if let Some(text) = text {
                map.serialize_entry(name, text)?;
            }
        }
        map.end()
    }
}

heap! {
    PostgresMessage {
        severity, sqlstate, message, detail, hint, schema, table, column, data_type, constraint
    }
}
