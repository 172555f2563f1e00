//! What a record of an exchange must say.

use crate::observe::Observed;
use pixie::id::{Pid, Role};
use pixie::record::{Address, Body, Headers, Http, HttpRequest, HttpResponse};
use std::time::{Duration, SystemTime};

/// Both sides of one exchange, each observed in its own process.
pub(crate) struct Pair<'a> {
    pub(crate) client: &'a Http,
    pub(crate) server: &'a Http,
}

impl Observed {
    /// The exchanges in which the traced process had this role.
    pub(crate) fn side(&self, role: Role) -> impl Iterator<Item = &Http> {
        self.http().filter(move |http| http.traffic.role == Some(role))
    }

    /// The one exchange with this path and role.
    pub(crate) fn one(&self, role: Role, path: &str) -> &Http {
        let found: Vec<_> = self.side(role).filter(|http| http.path() == path).collect();
        assert_eq!(found.len(), 1, "records of {path} in the {role}");
        found[0]
    }

    /// Both sides of the one exchange with this path, which must agree in all that both can know.
    pub(crate) fn pair(&self, path: &str) -> Pair<'_> {
        let pair =
            Pair { client: self.one(Role::Client, path), server: self.one(Role::Server, path) };
        pair.check();
        pair
    }
}

impl Pair<'_> {
    fn check(&self) {
        let (client, server) = (&self.client.traffic, &self.server.traffic);
        let (here, there) = (&client.connection, &server.connection);
        assert_eq!(here.transport, there.transport, "transports");
        assert!(here.remote.is_some() && here.remote == there.local, "server's address");
        // The client of a Unix socket has no name.
        if !matches!(here.remote, Some(Address::Unix(_))) {
            assert!(here.local.is_some() && here.local == there.remote, "client's address");
        }
        assert_eq!(client.request_bytes, server.request_bytes, "bytes of the request");
        assert_eq!(client.response_bytes, server.response_bytes, "bytes of the response");
        let (request, response) = (self.client.sent(), self.client.answered());
        assert_eq!(request.method, self.server.sent().method);
        assert_eq!(request.headers, self.server.sent().headers);
        assert_eq!(request.body.size, self.server.sent().body.size);
        assert_eq!(response.status, self.server.answered().status);
        assert_eq!(response.headers, self.server.answered().headers);
        assert_eq!(response.body.size, self.server.answered().body.size);
        for side in [self.client, self.server] {
            side.check_times();
            assert!(side.sent().body.complete && side.answered().body.complete, "bodies' ends");
        }
    }

    /// Checks whose exchange it is.
    pub(crate) fn between(&self, client: u32, server: u32) -> &Self {
        assert_eq!(self.client.traffic.process.pid, Pid(client), "client's pid");
        assert_eq!(self.server.traffic.process.pid, Pid(server), "server's pid");
        self
    }

    /// Checks what was asked.
    pub(crate) fn request(&self, method: &str, body: u64) -> &Self {
        assert_eq!(self.client.sent().method, method);
        assert_eq!(self.client.sent().body.size, body, "size of the request's body");
        self
    }

    /// Checks what was answered.
    pub(crate) fn response(&self, status: u16, body: u64) -> &Self {
        assert_eq!(self.client.answered().status, status);
        assert_eq!(self.client.answered().body.size, body, "size of the response's body");
        self
    }

    /// Checks the bytes that the exchange took on the connection, heads included.
    pub(crate) fn bytes(&self, request: u64, response: u64) -> &Self {
        assert_eq!(self.client.traffic.request_bytes, request, "bytes of the request");
        assert_eq!(self.client.traffic.response_bytes, response, "bytes of the response");
        self
    }

    /// Checks the port of the client's end.
    pub(crate) fn client_port(&self, port: u16) -> &Self {
        let local = self.client.traffic.connection.local.as_ref();
        assert_eq!(local.and_then(Address::port), Some(port), "client's port");
        self
    }
}

/// What is often asked of an exchange.
pub(crate) trait HttpExt {
    /// The request's target, or nothing where there is no request.
    fn path(&self) -> String;
    /// The request, which must be there.
    fn sent(&self) -> &HttpRequest;
    /// The response, which must be there.
    fn answered(&self) -> &HttpResponse;
    /// The latency, which must be there.
    fn latency(&self) -> Duration;
    /// Checks that the times are those of a complete exchange of just now.
    fn check_times(&self);
}

impl HttpExt for Http {
    fn path(&self) -> String {
        self.request.as_ref().map(|request| request.path.to_string()).unwrap_or_default()
    }

    fn sent(&self) -> &HttpRequest {
        self.request.as_ref().unwrap_or_else(|| panic!("no request in {self}"))
    }

    fn answered(&self) -> &HttpResponse {
        self.response.as_ref().unwrap_or_else(|| panic!("no response in {self}"))
    }

    fn latency(&self) -> Duration {
        self.traffic.latency.unwrap_or_else(|| panic!("no latency in {self}"))
    }

    fn check_times(&self) {
        let first = self.traffic.time_to_first_byte.expect("time to first byte");
        assert!(
            first <= self.latency(),
            "{first:?} to the first byte, {:?} in all",
            self.latency()
        );
        let age = SystemTime::now().duration_since(SystemTime::from(self.traffic.time));
        let age = age.expect("not from the future");
        assert!(age < Duration::from_secs(600), "from {age:?} ago");
        assert!(self.latency() < age, "longer under way than it is old");
    }
}

/// The value of a header, as text.
pub(crate) fn header(headers: &Headers, name: &str) -> String {
    String::from_utf8_lossy(headers.get(name).unwrap_or_default()).into_owned()
}

/// Checks that what was captured of a body is its start.
pub(crate) fn starts_with(body: &Body, whole: &[u8]) {
    assert!(!body.bytes.is_empty(), "nothing of the body was captured");
    assert!(whole.starts_with(&body.bytes), "what was captured is not the start of the body");
}

/// Checks that an error tells of one of these.
pub(crate) fn mentions(error: &str, words: &[&str]) {
    let told = words.iter().any(|word| error.contains(word));
    assert!(told, "none of {words:?} is mentioned by: {error}");
}
