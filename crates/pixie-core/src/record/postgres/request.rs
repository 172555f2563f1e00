use super::super::sql::{Dialect, without_literals};
use crate::Text;
use crate::record::heap::heap;
use bytes::Bytes;
use std::fmt;

/// What a client asked of a PostgreSQL server.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PostgresRequest {
    /// How it was asked.
    pub command: PostgresCommand,
    /// The statement. With `execute`, that of the prepared statement, where its preparation was
    /// seen.
    pub statement: Option<PostgresStatement>,
    /// The name of the prepared statement; empty for the unnamed one.
    pub prepared: Option<Text>,
    /// The name of the portal; `None` for the unnamed one.
    pub portal: Option<Text>,
    /// The values of the statement's parameters, `None` for NULL. At most 256, and of their bytes
    /// as many as are kept of a body.
    pub parameters: Vec<Option<PostgresParameter>>,
    /// How many parameters there are.
    pub parameter_count: u16,
    /// The most rows to return, where the client set a limit.
    pub row_limit: Option<u32>,
    /// Who logs on, at `startup`.
    pub user: Option<Text>,
    /// The database, at `startup`, where it is not called as the user is.
    pub database: Option<Text>,
    /// What the client says it is, at `startup`.
    pub application_name: Option<Text>,
    /// The process id of the backend whose statement to `cancel`.
    pub process: Option<u32>,
    /// The object id of the function of a `function_call`.
    pub function: Option<u32>,
}

/// How something was asked of a PostgreSQL server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PostgresCommand {
    /// A connection was begun: from the startup packet, through authentication, to the first
    /// `ReadyForQuery`.
    Startup,
    /// Statements by the simple query protocol.
    #[default]
    Query,
    /// A statement was prepared, and not executed with the same messages.
    Parse,
    /// A portal was made, and not executed with the same messages.
    Bind,
    /// A prepared statement or portal was described, and not executed with the same messages.
    Describe,
    /// A statement was executed by the extended query protocol.
    Execute,
    /// A prepared statement or portal was closed. There is a record only when that failed.
    Close,
    /// A function was called by the obsolete function call protocol.
    FunctionCall,
    /// A statement of another connection was to be cancelled.
    Cancel,
}

impl PostgresCommand {
    /// Its name in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Query => "query",
            Self::Parse => "parse",
            Self::Bind => "bind",
            Self::Describe => "describe",
            Self::Execute => "execute",
            Self::Close => "close",
            Self::FunctionCall => "function_call",
            Self::Cancel => "cancel",
        }
    }
}

/// The text of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresStatement {
    /// As it was sent, or the start of it: as much as is kept of a body.
    pub text: Text,
    /// Its true length in bytes; `None` when its end was not captured and nothing else tells.
    pub size: Option<u64>,
}

/// The value of a parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresParameter {
    /// As it was sent, or the start of it.
    pub bytes: Bytes,
    /// Its true length in bytes.
    pub size: u64,
    /// True for the binary format of its type, false for text.
    pub binary: bool,
}

impl PostgresRequest {
    /// A request of which nothing is known but how it was made.
    #[must_use]
    pub fn new(command: PostgresCommand) -> Self {
        Self { command, ..Self::default() }
    }

    /// Removes literals and the values of parameters; their number and sizes remain.
    pub(super) fn remove_values(&mut self) {
        if let Some(statement) = &mut self.statement {
            let text = without_literals(statement.text.as_bytes(), Dialect::Postgres);
            statement.text = Text::from_bytes(text);
        }
        for parameter in self.parameters.iter_mut().flatten() {
            parameter.bytes = Bytes::new();
        }
    }
}

impl fmt::Display for PostgresRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.command.as_str())?;
        match (&self.statement, &self.prepared) {
            (Some(statement), _) => {
                formatter.write_str(" ")?;
                one_line(&statement.text, formatter)?;
            }
            (None, Some(name)) if !name.is_empty() => {
                formatter.write_str(" ")?;
                one_line(name, formatter)?;
            }
            _ => {}
        }
        if let Some(user) = &self.user {
            write!(formatter, " {user}@{}", self.database.as_ref().unwrap_or(user))?;
        }
        match self.process {
            Some(process) => write!(formatter, " {process}"),
            None => Ok(()),
        }
    }
}

/// Text of which line ends are shown as spaces.
pub(super) fn one_line(text: &Text, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = text.to_str();
    let mut lines = text.split(['\n', '\r']);
    formatter.write_str(lines.next().unwrap_or_default())?;
    lines.try_for_each(|line| write!(formatter, " {line}"))
}

heap! {
    PostgresRequest { statement, prepared, portal, parameters, user, database, application_name }
    PostgresStatement { text }
    PostgresParameter { bytes }
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{PostgresParameter, PostgresRequest};
    use crate::record::serialize::{base64, text_of};
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Serialize for PostgresRequest {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("command", self.command.as_str())?;
            map.serialize_entry("statement", &self.statement.as_ref().map(|known| &known.text))?;
            let size = self.statement.as_ref().and_then(|known| known.size);
            map.serialize_entry("statement_size", &size)?;
            let texts = [
                ("prepared", &self.prepared),
                ("portal", &self.portal),
                ("user", &self.user),
                ("database", &self.database),
                ("application_name", &self.application_name),
            ];
            for (name, text) in texts {
                if let Some(text) = text {
                    map.serialize_entry(name, text)?;
                }
            }
            if self.parameter_count > 0 {
                map.serialize_entry("parameters", &self.parameters)?;
                map.serialize_entry("parameter_count", &self.parameter_count)?;
            }
            let numbers = [
                ("row_limit", self.row_limit),
                ("process", self.process),
                ("function", self.function),
            ];
            for (name, number) in numbers {
                if let Some(number) = number {
                    map.serialize_entry(name, &number)?;
                }
            }
            map.end()
        }
    }

    impl Serialize for PostgresParameter {
        /// `{"text": "42", "size": 2}`, or base64 for what is not text.
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(2))?;
            let is_cut = (self.bytes.len() as u64) < self.size;
            match text_of(&self.bytes, is_cut).filter(|_| !self.binary) {
                Some(text) => map.serialize_entry("text", text)?,
                None => map.serialize_entry("base64", &base64(&self.bytes))?,
            }
            map.serialize_entry("size", &self.size)?;
            map.end()
        }
    }
}
