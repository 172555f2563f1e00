//! TLS handshakes on a connection.

use super::{Expected, Talk};
use pixie_core::Record;
use pixie_core::record::TlsHandshake;
use pixie_protocols::tls::Tls;

impl Expected for TlsHandshake {
    fn of(record: Record) -> Self {
        match record {
            Record::TlsHandshake(handshake) => *handshake,
            record => unreachable!("{record:?}"),
        }
    }
}

impl Talk<TlsHandshake> {
    pub fn tls() -> Self {
        Self::of(&Tls)
    }
}

pub const CHANGE_CIPHER: u8 = 20;
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;

/// A record.
pub fn record(content: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [&[content, 3, if content == HANDSHAKE { 1 } else { 3 }][..], &length, body].concat()
}

/// A record of so many encrypted bytes.
pub fn encrypted(content: u8, length: usize) -> Vec<u8> {
    record(content, &vec![0x5a; length])
}

pub fn change_cipher() -> Vec<u8> {
    record(CHANGE_CIPHER, &[1])
}

/// A message of the handshake.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// A vector after its length in two bytes.
pub fn vector(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

pub fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

pub fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(data)].concat()
}

/// The extensions of a client that offers these versions.
pub fn usual_extensions(versions: &[u16]) -> Vec<u8> {
    let name = [&[0][..], &vector(b"a.test")].concat();
    let versions = numbers(versions);
    [
        extension(0x2a2a, &[]),
        extension(0, &vector(&name)),
        extension(10, &vector(&numbers(&[0x1a1a, 0x001d, 0x0017]))),
        extension(11, &[1, 0]),
        extension(13, &vector(&numbers(&[0x0403, 0x0804]))),
        extension(16, &vector(b"\x02h2\x08http/1.1")),
        extension(43, &[&[versions.len() as u8][..], &versions].concat()),
    ]
    .concat()
}

/// A client's hello, as a message.
pub fn client_hello(session: &[u8], extensions: &[u8]) -> Vec<u8> {
    let head = [&[3, 3][..], &[7; 32], &[session.len() as u8], session].concat();
    let ciphers = vector(&numbers(&[0x0a0a, 0x1301, 0xc02f]));
    message(1, &[&head[..], &ciphers, &[1, 0], &vector(extensions)].concat())
}

/// A server's hello, as a message.
pub fn server_hello(session: &[u8], cipher: u16, extensions: &[u8]) -> Vec<u8> {
    let head = [&[3, 3][..], &[9; 32], &[session.len() as u8], session].concat();
    message(2, &[&head[..], &cipher.to_be_bytes(), &[0], &vector(extensions)].concat())
}
