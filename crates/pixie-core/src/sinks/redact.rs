use crate::{Interest, Record, Sink, SinkError};

/// What stands where something was removed.
pub const REDACTED: &str = "[redacted]";

/// What to remove from records.
///
/// By default the values of the fields that carry credentials (`authorization`,
/// `proxy-authorization`, `cookie` and `set-cookie`), the literals and parameters of SQL statements,
/// and the values in the commands and answers of key-value stores. That they were there, and how
/// large the exchange was, can still be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    fields: Vec<String>,
    queries: bool,
    bodies: bool,
    statements: bool,
    values: bool,
}

impl Default for Redaction {
    fn default() -> Self {
        let fields = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
        let fields = fields.map(str::to_owned).into();
        Self { fields, queries: false, bodies: false, statements: true, values: true }
    }
}

impl Redaction {
    /// Removes nothing yet, not even credentials.
    #[must_use]
    pub fn none() -> Self {
        Self { fields: Vec::new(), queries: false, bodies: false, statements: false, values: false }
    }

    /// Also removes the value of every header, trailer or field of a custom record that has this
    /// name, in whatever case.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.fields.push(name.into());
        self
    }

    /// Also removes the query from request targets, and from the addresses in `referer`,
    /// `location` and `content-location`; and the names and data from DNS messages.
    #[must_use]
    pub fn queries(mut self) -> Self {
        self.queries = true;
        self
    }

    /// Also removes the bodies. Their true sizes remain.
    #[must_use]
    pub fn bodies(mut self) -> Self {
        self.bodies = true;
        self
    }

    /// Keeps the literals in SQL statements, and the values of their parameters.
    #[must_use]
    pub fn keep_statements(mut self) -> Self {
        self.statements = false;
        self
    }

    /// Keeps the values in the commands and answers of key-value stores.
    #[must_use]
    pub fn keep_values(mut self) -> Self {
        self.values = false;
        self
    }

    /// A copy of the record without what is to be removed. What the record shares with others is
    /// not touched.
    #[must_use]
    pub fn apply(&self, record: &Record) -> Record {
        let mut record = record.clone();
        record.redact(self);
        record
    }

    /// Whether the value of the field of this name is to be removed.
    pub(crate) fn names(&self, name: &[u8]) -> bool {
        self.fields.iter().any(|field| field.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether queries are to be removed from addresses.
    pub(crate) fn removes_queries(&self) -> bool {
        self.queries
    }

    /// Whether bodies and other payloads are to be removed.
    pub(crate) fn removes_bodies(&self) -> bool {
        self.bodies
    }

    /// Whether literals and parameters are to be removed from SQL statements.
    pub(crate) fn removes_statements(&self) -> bool {
        self.statements
    }

    /// Whether the values of key-value stores are to be removed.
    pub(crate) fn removes_values(&self) -> bool {
        self.values
    }
}

/// Removes secrets from copies of the records and passes these on; see [`Sink::redact`].
#[derive(Clone, Debug)]
pub struct Redact<S> {
    inner: S,
    redaction: Redaction,
}

impl<S: Sink> Redact<S> {
    pub(crate) fn new(inner: S, redaction: Redaction) -> Self {
        Self { inner, redaction }
    }
}

impl<S: Sink> Sink for Redact<S> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        let redacted: Vec<Record> =
            records.iter().map(|record| self.redaction.apply(record)).collect();
        self.inner.emit(&redacted)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.inner.flush()
    }

    fn interest(&self) -> Interest {
        self.inner.interest()
    }
}

#[cfg(test)]
mod tests {
    use super::{REDACTED, Redaction};
    use crate::record::{Body, Custom, Headers, Http, HttpRequest, HttpResponse, Traffic};
    use crate::sinks::Memory;
    use crate::{Record, Sink, Text};

    fn exchange() -> Record {
        let body = Body { bytes: "secret"[..].into(), size: 9, captured: 6, ..Body::default() };
        let request = HttpRequest {
            method: Text::from("GET"),
            path: Text::from("/login?password=secret"),
            headers: [
                ("Host", "a.test"),
                ("AUTHORIZATION", "secret"),
                ("Referer", "http://a.test/?token=secret"),
                ("X-Api-Key", "secret"),
            ]
            .into_iter()
            .collect(),
            trailers: [("cookie", "secret")].into_iter().collect(),
            body: body.clone(),
            ..HttpRequest::default()
        };
        let headers: Headers =
            [("Set-Cookie", "id=secret"), ("Set-Cookie", "secret")].into_iter().collect();
        let response = HttpResponse { status: 200, headers, body, ..HttpResponse::default() };
        Http::new(Traffic::default(), Some(request), Some(response)).into()
    }

    fn http(record: &Record) -> (&HttpRequest, &HttpResponse) {
        let Record::Http(http) = record else { panic!("{record:?}") };
        (http.request.as_ref().unwrap(), http.response.as_ref().unwrap())
    }

    #[test]
    fn credentials_go_by_default_and_nothing_else() {
        let original = exchange();
        let redacted = Redaction::default().apply(&original);
        let (request, response) = http(&redacted);
        assert_eq!(request.headers.get("authorization"), Some(REDACTED.as_bytes()));
        assert_eq!(request.trailers.get("cookie"), Some(REDACTED.as_bytes()));
        assert_eq!(request.headers.get("host"), Some(&b"a.test"[..]));
        assert_eq!(request.headers.get("x-api-key"), Some(&b"secret"[..]));
        assert_eq!(request.path, "/login?password=secret");
        assert!(response.headers.get_all("set-cookie").all(|value| value == REDACTED.as_bytes()));
        assert_eq!(response.headers.len(), 2);
        assert_eq!(response.body.bytes, "secret");
        assert_eq!(original, exchange(), "the original was changed");
    }

    #[test]
    fn everything_goes_that_was_asked_for() {
        let redaction = Redaction::default().field("x-api-key").queries().bodies();
        let (memory, records) = Memory::new(1);
        memory.redact(redaction).emit(&[exchange()]).unwrap();
        let redacted = records.take().remove(0);
        assert!(!format!("{redacted:?}").contains("secret"), "{redacted:?}");
        let (request, response) = http(&redacted);
        assert_eq!(request.path, "/login?[redacted]");
        assert_eq!((response.body.size, response.body.captured), (9, 0));
    }

    #[test]
    fn fields_of_custom_records_go_by_name() {
        let mut custom = Custom::new(Traffic::default(), "memo");
        custom.request.push(("Password".into(), "secret".into()));
        custom.response.push(("rows".into(), 3_u64.into()));
        let redacted = Redaction::none().field("password").apply(&custom.into());
        let line = redacted.to_string();
        assert!(line.contains("Password=[redacted] rows=3"), "{line}");
    }
}
