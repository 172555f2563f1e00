use super::message::PostgresMessage;
use super::request::one_line;
use crate::Text;
use crate::record::heap::{flat, heap};
use crate::sinks::REDACTED;
use bytes::Bytes;
use std::fmt;

/// What a PostgreSQL server answered.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PostgresResponse {
    /// Rows returned or affected, by the server's count: the sum over the statements of a query.
    /// `None` where there is no such count (`BEGIN`, `CREATE TABLE`) or it was not seen. Of a
    /// statement that stopped at its row limit, the rows that were sent.
    pub rows: Option<u64>,
    /// What each statement of the query came to: `SELECT 1`, `INSERT 0 5`. At most 64.
    pub command_tags: Vec<Text>,
    /// How many statements of the query were completed.
    pub statements: u32,
    /// The columns of the first result that was described.
    pub columns: PostgresColumns,
    /// Rows that were seen.
    pub data_rows: u64,
    /// Bytes of these rows, the lengths of their columns included.
    pub data_bytes: u64,
    /// True when execution stopped at the row limit, and more rows can be had.
    pub suspended: bool,
    /// True when the server did not look at the request, because of an error before it in the same
    /// pipeline.
    pub aborted: bool,
    /// The error that it ended with.
    pub error: Option<Box<PostgresMessage>>,
    /// The notices, at most 16.
    pub notices: Vec<PostgresMessage>,
    /// The state of the transaction when the server was ready for the next query, where that was
    /// told for this request.
    pub transaction: Option<PostgresTransaction>,
    /// What was copied.
    pub copy: Option<Box<PostgresCopy>>,
    /// The notification that this is. It answers no request.
    pub notification: Option<Box<PostgresNotification>>,
    /// How the server authenticates, at startup: `trust`, `password`, `md5`, `sasl`, `gss`, …
    pub authentication: Option<&'static str>,
    /// The process id of the backend, at startup.
    pub process: Option<u32>,
    /// What the server reports of itself at startup (`server_version`, …), at most 32.
    pub parameters: Vec<(Text, Text)>,
    /// False when the end of the response was not seen.
    pub complete: bool,
}

/// The state of a transaction, as `ReadyForQuery` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PostgresTransaction {
    /// There is none.
    Idle,
    /// One is open.
    Open,
    /// One has failed, and waits to be rolled back.
    Failed,
}

impl PostgresTransaction {
    /// Its name in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Failed => "failed",
        }
    }
}

/// What `COPY`, or replication, transferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresCopy {
    /// Which way.
    pub direction: PostgresCopyDirection,
    /// True when the data are in binary format.
    pub binary: bool,
    /// Bytes of data that were seen or stepped over, without framing; both ways together.
    pub bytes: u64,
    /// Messages that carried them. A row may span several, or one have several rows.
    pub messages: u64,
    /// False when not all of the messages could be made out; `bytes` is then less than the truth.
    pub complete: bool,
}

/// Which way data are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PostgresCopyDirection {
    /// To the server.
    #[default]
    In,
    /// From the server.
    Out,
    /// Both ways: replication.
    Both,
}

impl PostgresCopyDirection {
    /// Its name in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }
}

/// A notification, from `NOTIFY` in some session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresNotification {
    /// The process id of the backend of that session.
    pub process: u32,
    /// The channel.
    pub channel: Text,
    /// What was sent.
    pub payload: Text,
}

/// The columns of a result. They are kept as one piece of memory.
#[derive(Clone, Default)]
pub struct PostgresColumns {
    buffer: Bytes,
    columns: Vec<Column>,
    count: u16,
}

#[derive(Clone, Copy)]
struct Column {
    name: (u32, u32),
    type_oid: u32,
    binary: bool,
}

impl PostgresColumns {
    /// How many columns there are, also those that were not kept.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The columns that were kept, at most 256: name, object id of the type, and whether values are
    /// in binary format.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], u32, bool)> {
        self.columns.iter().map(|column| {
            let (start, end) = column.name;
            let name = self.buffer.get(start as usize..end as usize).unwrap_or_default();
            (name, column.type_oid, column.binary)
        })
    }
}

impl PartialEq for PostgresColumns {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for PostgresColumns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(name, ..)| String::from_utf8_lossy(name));
        formatter.debug_list().entries(names).finish()
    }
}

/// Builds [`PostgresColumns`] from the places of names in a message.
#[derive(Debug)]
pub struct PostgresColumnsBuilder(PostgresColumns);

impl PostgresColumnsBuilder {
    /// `count` columns, of which `kept` will be pushed.
    #[must_use]
    pub fn new(count: u16, kept: usize) -> Self {
        let columns = Vec::with_capacity(kept);
        Self(PostgresColumns { buffer: Bytes::new(), columns, count })
    }

    /// Adds a column whose name is at this place of the buffer to come.
    #[inline]
    pub fn push(&mut self, name: std::ops::Range<usize>, type_oid: u32, binary: bool) {
        let clamp = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let name = (clamp(name.start), clamp(name.end));
        self.0.columns.push(Column { name, type_oid, binary });
    }

    /// The columns, whose names are in `buffer`.
    #[must_use]
    pub fn build_in(mut self, buffer: Bytes) -> PostgresColumns {
        self.0.buffer = buffer;
        self.0
    }
}

impl PostgresResponse {
    /// What the last statement that was completed came to.
    #[must_use]
    pub fn command_tag(&self) -> Option<&Text> {
        self.command_tags.last()
    }

    pub(super) fn remove_values(&mut self) {
        if let Some(error) = &mut self.error {
            error.remove_values();
        }
        self.notices.iter_mut().for_each(PostgresMessage::remove_values);
        if let Some(notification) = &mut self.notification {
            notification.payload = REDACTED.into();
        }
    }
}

impl fmt::Display for PostgresResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return error.fmt(formatter);
        }
        if let Some(notification) = &self.notification {
            write!(formatter, "notification ")?;
            return one_line(&notification.channel, formatter);
        }
        match (self.command_tag(), self.notices.first()) {
            (Some(tag), _) => one_line(tag, formatter),
            (None, _) if self.aborted => formatter.write_str("aborted"),
            (None, Some(notice)) => notice.fmt(formatter),
            (None, None) if self.suspended => write!(formatter, "suspended {}", self.data_rows),
            (None, None) if self.complete => formatter.write_str("ok"),
            (None, None) => formatter.write_str("incomplete"),
        }
    }
}

flat! { PostgresCopy Column }
heap! {
    PostgresResponse { command_tags, columns, error, notices, copy, notification, parameters }
    PostgresNotification { channel, payload }
    PostgresColumns { buffer, columns }
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{PostgresColumns, PostgresCopy, PostgresNotification, PostgresResponse};
    use crate::Text;
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Serialize for PostgresResponse {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("rows", &self.rows)?;
            map.serialize_entry("command_tag", &self.command_tag())?;
            if self.statements > 1 {
                map.serialize_entry("command_tags", &self.command_tags)?;
                map.serialize_entry("statements", &self.statements)?;
            }
            if self.columns.count > 0 {
                map.serialize_entry("columns", &self.columns)?;
                map.serialize_entry("column_count", &self.columns.count)?;
            }
            map.serialize_entry("data_rows", &self.data_rows)?;
            map.serialize_entry("data_bytes", &self.data_bytes)?;
            map.serialize_entry("error", &self.error)?;
            if !self.notices.is_empty() {
                map.serialize_entry("notices", &self.notices)?;
            }
            map.serialize_entry("transaction", &self.transaction.map(|state| state.as_str()))?;
            for (name, flag) in [("suspended", self.suspended), ("aborted", self.aborted)] {
                if flag {
                    map.serialize_entry(name, &true)?;
                }
            }
            if let Some(copy) = &self.copy {
                map.serialize_entry("copy", copy)?;
            }
            if let Some(notification) = &self.notification {
                map.serialize_entry("notification", notification)?;
            }
            self.startup(&mut map)?;
            map.serialize_entry("complete", &self.complete)?;
            map.end()
        }
    }

    impl PostgresResponse {
        /// What there is only at startup.
        fn startup<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            if let Some(authentication) = self.authentication {
                map.serialize_entry("authentication", authentication)?;
            }
            if let Some(process) = self.process {
                map.serialize_entry("process", &process)?;
            }
            if !self.parameters.is_empty() {
                map.serialize_entry("parameters", &Parameters(&self.parameters))?;
            }
            Ok(())
        }
    }

    /// An object: the server reports each but once.
    struct Parameters<'a>(&'a [(Text, Text)]);

    impl Serialize for Parameters<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
        }
    }

    impl Serialize for PostgresColumns {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            struct Column<'a>(&'a [u8], u32, bool);
            impl Serialize for Column<'_> {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    let mut map = serializer.serialize_map(Some(3))?;
                    map.serialize_entry("name", &String::from_utf8_lossy(self.0))?;
                    map.serialize_entry("type_oid", &self.1)?;
                    map.serialize_entry("format", if self.2 { "binary" } else { "text" })?;
                    map.end()
                }
            }
            serializer.collect_seq(self.iter().map(|(name, oid, binary)| Column(name, oid, binary)))
        }
    }

    impl Serialize for PostgresCopy {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(5))?;
            map.serialize_entry("direction", self.direction.as_str())?;
            map.serialize_entry("format", if self.binary { "binary" } else { "text" })?;
            map.serialize_entry("bytes", &self.bytes)?;
            map.serialize_entry("messages", &self.messages)?;
            map.serialize_entry("complete", &self.complete)?;
            map.end()
        }
    }

    impl Serialize for PostgresNotification {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(3))?;
            map.serialize_entry("process", &self.process)?;
            map.serialize_entry("channel", &self.channel)?;
            map.serialize_entry("payload", &self.payload)?;
            map.end()
        }
    }
}
