//! PostgreSQL on a connection.
#![allow(clippy::unwrap_used, reason = "what tests make up is short")]

use super::{Expected, Talk};
use pixie_core::Record;
use pixie_core::record::Postgres as Exchange;
use pixie_protocols::parser::Limits;
use pixie_protocols::postgres::Postgres;

impl Expected for Exchange {
    fn of(record: Record) -> Self {
        match record {
            Record::Postgres(exchange) => *exchange,
            record => unreachable!("{record:?}"),
        }
    }
}

impl Talk<Exchange> {
    pub fn new() -> Self {
        Self::of(&Postgres)
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self::limited(&Postgres, limits)
    }

    /// Each record as command, statement, and what came of it.
    pub fn summary(&self) -> Vec<String> {
        self.records.iter().map(summary).collect()
    }
}

/// A record as command and statement, then tag, rows and state; `-` where it has none of it.
pub fn summary(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref().map_or("-".to_owned(), |request| {
        let statement =
            request.statement.as_ref().map_or("-".into(), |known| known.text.to_string());
        format!("{} {statement}", request.command.as_str())
    });
    let response = exchange.response.as_ref().map_or("-".to_owned(), |response| {
        let what = match (&response.error, response.command_tag()) {
            (Some(error), _) => error.sqlstate.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) if response.aborted => "aborted".to_owned(),
            (None, None) => "-".to_owned(),
        };
        let state = response.transaction.map_or("-", |state| state.as_str());
        let rows = response.rows.map_or("-".to_owned(), |rows| rows.to_string());
        let end = if response.complete || response.aborted { "" } else { " incomplete" };
        format!("{what} {rows} {state}{end}")
    });
    format!("{request} | {response}")
}

/// A message with a type.
pub fn message(kind: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], payload].concat()
}

/// A packet without a type.
pub fn packet(code: u32, payload: &str) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 8).unwrap().to_be_bytes();
    [&length[..], &code.to_be_bytes()[..], payload.as_bytes()].concat()
}

pub fn startup() -> Vec<u8> {
    packet(0x3_0000, "user\0ann\0database\0shop\0application_name\0psql\0\0")
}

pub fn ssl_request() -> Vec<u8> {
    packet(0x04d2_162f, "")
}

pub fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0"))
}

pub fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{text}\0\0\0"))
}

/// A `Bind` of text parameters.
pub fn bind(portal: &str, name: &str, parameters: &[&str]) -> Vec<u8> {
    let mut payload = format!("{portal}\0{name}\0\0\0").into_bytes();
    payload.extend(u16::try_from(parameters.len()).unwrap().to_be_bytes());
    for parameter in parameters {
        payload.extend(u32::try_from(parameter.len()).unwrap().to_be_bytes());
        payload.extend(parameter.as_bytes());
    }
    payload.extend([0, 0]);
    message(b'B', payload)
}

pub fn describe_portal() -> Vec<u8> {
    message(b'D', "P\0")
}

pub fn execute(portal: &str, limit: u32) -> Vec<u8> {
    message(b'E', [portal.as_bytes(), &[0], &limit.to_be_bytes()[..]].concat())
}

pub fn close(name: &str) -> Vec<u8> {
    message(b'C', format!("S{name}\0"))
}

pub fn sync() -> Vec<u8> {
    message(b'S', "")
}

/// `Parse` to `Sync` with the unnamed statement and portal.
pub fn extended(text: &str, parameters: &[&str]) -> Vec<u8> {
    let messages =
        [parse("", text), bind("", "", parameters), describe_portal(), execute("", 0), sync()];
    messages.concat()
}

pub fn columns(names: &[&str]) -> Vec<u8> {
    let mut payload = u16::try_from(names.len()).unwrap().to_be_bytes().to_vec();
    for name in names {
        payload.extend(name.as_bytes());
        payload.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0]);
    }
    message(b'T', payload)
}

pub fn row(values: &[&str]) -> Vec<u8> {
    let mut payload = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        payload.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        payload.extend(value.as_bytes());
    }
    message(b'D', payload)
}

pub fn tag(text: &str) -> Vec<u8> {
    message(b'C', format!("{text}\0"))
}

pub fn ready(state: u8) -> Vec<u8> {
    message(b'Z', [state])
}

pub fn error(severity: &str, sqlstate: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0\0"))
}

pub fn notice(text: &str) -> Vec<u8> {
    message(b'N', format!("SNOTICE\0VNOTICE\0C00000\0M{text}\0\0"))
}

/// A result of one column.
pub fn result(rows: &[&str]) -> Vec<u8> {
    let mut bytes = columns(&["a"]);
    rows.iter().for_each(|value| bytes.extend(row(&[value])));
    bytes.extend(tag(&format!("SELECT {}", rows.len())));
    bytes
}

/// The answer to a query that returns rows.
pub fn answer(rows: &[&str]) -> Vec<u8> {
    [result(rows), ready(b'I')].concat()
}

/// What a server answers to `Parse`, `Bind`, `Describe`, `Execute`, up to the `Sync`.
pub fn extended_result(rows: &[&str]) -> Vec<u8> {
    [message(b'1', ""), message(b'2', ""), result(rows)].concat()
}

/// What a server says when it lets a client in.
pub fn welcome() -> Vec<u8> {
    let messages = [
        message(b'R', [0, 0, 0, 0]),
        message(b'S', "server_version\x0015.1\0"),
        message(b'K', [0, 0, 0, 42, 1, 2, 3, 4]),
        ready(b'I'),
    ];
    messages.concat()
}
