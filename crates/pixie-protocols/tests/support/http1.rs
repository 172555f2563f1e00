//! HTTP/1 on a connection.

use super::{Expected, Talk};
use pixie_core::Record;
use pixie_core::record::Http;
use pixie_protocols::http1::Http1;
use pixie_protocols::parser::Limits;

impl Expected for Http {
    fn of(record: Record) -> Self {
        match record {
            Record::Http(http) => *http,
            record => unreachable!("{record:?}"),
        }
    }
}

impl Talk<Http> {
    pub fn new() -> Self {
        Self::of(&Http1)
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self::limited(&Http1, limits)
    }

    /// Each record as method, path, status and the sizes of the bodies.
    pub fn summary(&self) -> Vec<String> {
        self.records.iter().map(summary).collect()
    }
}

/// A record as method, path, size of the request's body, status and size of the response's body;
/// sizes have a `+` where the body is not complete.
pub fn summary(http: &Http) -> String {
    let size = |body: &pixie_core::record::Body| {
        format!("{}{}", body.size, if body.complete { "" } else { "+" })
    };
    let request = http.request.as_ref().map_or("-".into(), |request| {
        format!("{} {} {}", request.method, request.path, size(&request.body))
    });
    let response = http
        .response
        .as_ref()
        .map_or("-".into(), |response| format!("{} {}", response.status, size(&response.body)));
    format!("{request} | {response}")
}

/// A response with this body and its length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A request without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}
