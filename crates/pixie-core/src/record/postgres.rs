mod message;
mod request;
mod response;

pub use message::PostgresMessage;
pub use request::{PostgresCommand, PostgresParameter, PostgresRequest, PostgresStatement};
pub use response::{
    PostgresColumns, PostgresColumnsBuilder, PostgresCopy, PostgresCopyDirection,
    PostgresNotification, PostgresResponse, PostgresTransaction,
};

use super::Traffic;
use crate::record::heap::heap;
use crate::sinks::Redaction;
use std::fmt;

/// An exchange with a PostgreSQL server, or a message that the server sent unasked.
///
/// One half is `None` when it was not seen or, by the protocol, is not there: a request to cancel
/// is not answered, and a notification answers nothing. Passwords are never in it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Postgres {
    /// What all traffic records have in common.
    pub traffic: Traffic,
    /// What was asked.
    pub request: Option<PostgresRequest>,
    /// What the server answered.
    pub response: Option<PostgresResponse>,
}

impl Postgres {
    /// An exchange over the connection that `traffic` names.
    #[must_use]
    #[inline]
    pub fn new(
        traffic: Traffic,
        request: Option<PostgresRequest>,
        response: Option<PostgresResponse>,
    ) -> Self {
        Self { traffic, request, response }
    }

    /// True when the server reported an error, or passed the statement over because of one before.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.error.is_some() || response.aborted)
    }

    /// Removes literals, parameters and what may quote them.
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        if !redaction.removes_statements() {
            return;
        }
        if let Some(request) = &mut self.request {
            request.remove_values();
        }
        if let Some(response) = &mut self.response {
            response.remove_values();
        }
    }
}

impl fmt::Display for Postgres {
    /// `14:03:59.120 1234 psql client 127.0.0.1:5000 -> 127.0.0.1:5432 query SELECT 1 | SELECT 1 1.25 ms`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        match &self.request {
            Some(request) => write!(formatter, " {request}")?,
            None => formatter.write_str(" ?")?,
        }
        match &self.response {
            Some(response) => write!(formatter, " | {response}")?,
            None => formatter.write_str(" | no response")?,
        }
        self.traffic.fmt_latency(formatter)
    }
}

#[cfg(feature = "serde")]
impl super::Entries for Postgres {
    fn entries<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.traffic.entries(map)?;
        map.serialize_entry("request", &self.request)?;
        map.serialize_entry("response", &self.response)
    }
}

heap! { Postgres { request, response } }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, Text};

    fn exchange() -> Postgres {
        let mut request = PostgresRequest::new(PostgresCommand::Execute);
        request.statement = Some(PostgresStatement {
            text: Text::from("INSERT INTO t\n VALUES ($1, 'secret')"),
            size: Some(36),
        });
        request.parameters =
            vec![Some(PostgresParameter { bytes: "secret"[..].into(), size: 6, binary: false })];
        let error = PostgresMessage {
            severity: "ERROR".into(),
            sqlstate: "22P02".into(),
            message: "invalid input syntax for type integer: \"secret\"".into(),
            detail: Some("secret".into()),
            ..PostgresMessage::default()
        };
        let notification =
            PostgresNotification { process: 1, channel: "c".into(), payload: "secret".into() };
        let response = PostgresResponse {
            error: Some(Box::new(error)),
            notification: Some(Box::new(notification)),
            ..PostgresResponse::default()
        };
        Postgres::new(Traffic::default(), Some(request), Some(response))
    }

    #[test]
    fn values_go_by_default_and_stay_when_asked_for() {
        let original = Record::from(exchange());
        let redacted = Redaction::default().apply(&original);
        assert!(!format!("{redacted:?} {redacted}").contains("secret"), "{redacted:?}");
        let Record::Postgres(redacted) = redacted else { panic!("{redacted:?}") };
        let request = redacted.request.unwrap();
        assert_eq!(request.statement.unwrap().text, "INSERT INTO t\n VALUES ($1, ?)");
        assert_eq!(request.parameters[0].as_ref().map(|parameter| parameter.size), Some(6));
        let error = redacted.response.unwrap().error.unwrap();
        assert_eq!(error.message, "invalid input syntax for type integer: \"?\"");
        assert_eq!(Redaction::default().keep_statements().apply(&original), original);
    }

    #[test]
    fn a_line_has_the_statement_and_what_came_of_it() {
        let exchange = exchange();
        assert!(exchange.is_error());
        let line = exchange.to_string();
        assert!(line.contains("execute INSERT INTO t  VALUES ($1, 'secret') | 22P02"), "{line}");
        assert!(!line.contains('\n'));
        assert!(Postgres::default().to_string().ends_with("? | no response"));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn json_has_the_names_that_sql_records_share() {
        let mut exchange = exchange();
        let request = exchange.request.as_mut().unwrap();
        request.parameter_count = 2;
        request.parameters.push(None);
        let response = exchange.response.as_mut().unwrap();
        response.rows = Some(3);
        response.command_tags = vec!["INSERT 0 3".into()];
        response.transaction = Some(PostgresTransaction::Failed);
        let mut columns = PostgresColumnsBuilder::new(1, 1);
        columns.push(0..1, 23, true);
        response.columns = columns.build_in("a"[..].into());
        let json = serde_json::to_value(Record::from(exchange)).unwrap();
        assert_eq!(json["kind"], "postgres");
        let (request, response) = (&json["request"], &json["response"]);
        assert_eq!(request["command"], "execute");
        assert_eq!(request["statement"], "INSERT INTO t\n VALUES ($1, 'secret')");
        assert_eq!(request["statement_size"], 36);
        let parameters = serde_json::json!([{"text": "secret", "size": 6}, null]);
        assert_eq!(request["parameters"], parameters);
        assert_eq!(
            (&response["rows"], &response["command_tag"]),
            (&3.into(), &"INSERT 0 3".into())
        );
        assert_eq!(response["error"]["sqlstate"], "22P02");
        assert_eq!(response["transaction"], "failed");
        let columns = serde_json::json!([{"name": "a", "type_oid": 23, "format": "binary"}]);
        assert_eq!(response["columns"], columns);
        assert_eq!(response["notification"]["channel"], "c");
    }
}
