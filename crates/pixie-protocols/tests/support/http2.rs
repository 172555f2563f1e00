//! HTTP/2 on a connection: frames, and a client and a server that compress simply.

use pixie_core::Record;
use pixie_core::record::{Body, Grpc, Http};

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const PRIORITY: u8 = 0x20;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface and settings of a client.
pub fn client_start() -> Vec<u8> {
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, [0, 3, 0, 0, 0, 100])].concat()
}

/// The settings of a server, and that it has seen the client's.
pub fn server_start() -> Vec<u8> {
    [frame(SETTINGS, 0, 0, [0, 3, 0, 0, 0, 128]), frame(SETTINGS, 1, 0, [])].concat()
}

/// A field as it is, by HPACK: `0x00` says that it is not added to the table, `0x40` that it is.
pub fn literal(how: u8, name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|&length| length < 127).unwrap();
    let (name, value) = ([&[length(name)], name.as_bytes()], [&[length(value)], value.as_bytes()]);
    [vec![how], name.concat(), value.concat()].concat()
}

/// A header block that adds nothing to the table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(0, name, value)).collect()
}

/// A header block that adds all of its fields to the table.
pub fn block_indexed(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(0x40, name, value)).collect()
}

/// `HEADERS` in one frame.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, block(fields))
}

/// A request without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a.test")];
    headers(stream, END_STREAM, &fields)
}

/// A request with this body, in one frame.
pub fn post(stream: u32, path: &str, body: &[u8]) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", path)];
    [headers(stream, 0, &fields), frame(DATA, END_STREAM, stream, body)].concat()
}

/// A response with this body, in one frame.
pub fn ok(stream: u32, body: &[u8]) -> Vec<u8> {
    [headers(stream, 0, &[(":status", "200")]), frame(DATA, END_STREAM, stream, body)].concat()
}

/// The head of a call.
pub fn call(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    headers(stream, 0, &fields)
}

/// A message of a call.
pub fn message(content: &[u8]) -> Vec<u8> {
    [&[0][..], &(content.len() as u32).to_be_bytes(), content].concat()
}

/// What was exchanged, in a line.
pub fn summary(record: &Record) -> String {
    match record {
        Record::Http(http) => http_summary(http),
        Record::Grpc(grpc) => grpc_summary(grpc),
        record => unreachable!("{record:?}"),
    }
}

/// Method, path, size of the request's body, status and size of the response's; sizes have a `+`
/// where the body is not complete, and what is not known is `?`.
fn http_summary(http: &Http) -> String {
    let size = |body: &Body| format!("{}{}", body.size, if body.complete { "" } else { "+" });
    let known = |text: &pixie_core::Text| match text.is_empty() {
        true => "?".to_owned(),
        false => text.to_string(),
    };
    let request = http.request.as_ref().map_or("-".into(), |request| {
        let (method, path) = (known(&request.method), known(&request.path));
        format!("{method} {path} {}", size(&request.body))
    });
    let response = http.response.as_ref().map_or("-".into(), |response| match response.status {
        0 => format!("? {}", size(&response.body)),
        status => format!("{status} {}", size(&response.body)),
    });
    let reset = http.reset.map_or(String::new(), |reset| format!(" {reset}"));
    format!("{request} | {response}{reset}")
}

/// Service, method and messages each way with their bytes, and the status.
fn grpc_summary(grpc: &Grpc) -> String {
    let messages = |messages: &pixie_core::record::GrpcMessages| {
        let more = if messages.complete { "" } else { "+" };
        format!("{}{more}:{}", messages.count, messages.bytes)
    };
    let request = grpc.request.as_ref().map_or("-".into(), |request| {
        format!("{}/{} {}", request.service, request.method, messages(&request.messages))
    });
    let response = grpc.response.as_ref().map_or("-".into(), |response| {
        let status = response.status.map_or("no status".into(), |status| status.to_string());
        format!("{} {status}", messages(&response.messages))
    });
    let reset = grpc.reset.map_or(String::new(), |reset| format!(" {reset}"));
    format!("{request} | {response}{reset}")
}

/// Compresses as real ones do: what was sent before is referred to.
#[derive(Default)]
pub struct Encoder {
    /// Newest first.
    table: Vec<(String, String)>,
}

impl Encoder {
    pub fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        fields.iter().flat_map(|(name, value)| self.field(name, value)).collect()
    }

    fn field(&mut self, name: &str, value: &str) -> Vec<u8> {
        let is_same = |entry: &(String, String)| entry.0 == name && entry.1 == value;
        if let Some(place) = self.table.iter().position(is_same) {
            return integer(0x80, 7, 62 + place);
        }
        let known = self.table.iter().position(|entry| entry.0 == name);
        self.table.insert(0, (name.to_owned(), value.to_owned()));
        let size = |(name, value): &(String, String)| name.len() + value.len() + 32;
        while self.table.iter().map(size).sum::<usize>() > 4096 {
            self.table.pop();
        }
        match known {
            Some(place) => {
                let value = [&[value.len() as u8], value.as_bytes()].concat();
                [integer(0x40, 6, 62 + place), value].concat()
            }
            None => literal(0x40, name, value),
        }
    }
}

/// An integer with a prefix of so many bits.
fn integer(first: u8, prefix: u32, value: usize) -> Vec<u8> {
    let mask = (1 << prefix) - 1;
    if value < mask {
        return vec![first | value as u8];
    }
    let mut bytes = vec![first | mask as u8];
    let mut rest = value - mask;
    while rest >= 128 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}
