//! What is offered and chosen (RFC 8446, section 4; RFC 5246, section 7.4).

use super::fingerprint::{Traits, ja3, ja4};
use super::wire::{Reader, is_grease};
use bytes::Bytes;
use pixie_core::Text;
use pixie_core::record::{TlsCipher, TlsClientHello, TlsGroup, TlsServerHello, TlsVersion};

const SERVER_NAME: u16 = 0;
const GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_SCHEMES: u16 = 13;
const ALPN: u16 = 16;
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// The random of a hello that asks for another one (RFC 8446, section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// The most of each list that is kept.
const MAX_LISTED: usize = 256;

/// A client's hello.
#[derive(Debug)]
pub(super) struct ClientHello {
    pub(super) hello: TlsClientHello,
    /// The session that it would go on with.
    pub(super) session: Vec<u8>,
}

/// A server's hello.
#[derive(Debug)]
pub(super) struct ServerHello {
    pub(super) hello: TlsServerHello,
    /// It asks for another hello.
    pub(super) is_retry: bool,
    /// The session that it goes on with, or a new one.
    pub(super) session: Vec<u8>,
}

/// The extensions to the end of a hello. There were none in the beginning.
fn extensions<'a>(rest: &mut Reader<'a>) -> Option<Vec<(u16, Reader<'a>)>> {
    let mut extensions = Vec::new();
    if rest.0.is_empty() {
        return Some(extensions);
    }
    let list = &mut rest.vector16()?;
    while !list.0.is_empty() {
        extensions.push((list.u16()?, list.vector16()?));
        if extensions.len() > MAX_LISTED {
            return None;
        }
    }
    Some(extensions)
}

pub(super) fn client(body: &[u8]) -> Option<ClientHello> {
    let rest = &mut Reader(body);
    let legacy_version = rest.u16()?;
    rest.take(32)?;
    let session = rest.vector8()?.0.to_vec();
    let ciphers = rest.vector16()?.numbers();
    rest.vector8()?;
    let extensions = extensions(rest)?;

    let find = |kind: u16| {
        let mut found = extensions.iter().filter(|(known, _)| *known == kind);
        found.next().map(|(_, data)| *data)
    };
    let listed = |kind: u16| {
        find(kind).and_then(|mut data| data.vector16()).map(Reader::numbers).unwrap_or_default()
    };
    let (groups, schemes) = (listed(GROUPS), listed(SIGNATURE_SCHEMES));
    let versions = find(VERSIONS).and_then(|mut data| data.vector8()).map(Reader::numbers);
    let versions = versions.unwrap_or_default();
    let formats = find(POINT_FORMATS).and_then(|mut data| data.vector8());
    let protocols = find(ALPN).map(protocols).unwrap_or_default();
    let kinds: Vec<u16> = extensions.iter().map(|(kind, _)| *kind).collect();
    let traits = Traits {
        legacy_version,
        versions: &versions,
        ciphers: &ciphers,
        extensions: &kinds,
        groups: &groups,
        point_formats: formats.map(|formats| formats.0).unwrap_or_default(),
        signature_schemes: &schemes,
        protocol: protocols.first().copied(),
    };

    let mut hello = TlsClientHello::default();
    hello.ja3 = Text::from(ja3(&traits));
    hello.ja4 = Text::from(ja4(&traits));
    hello.server_name = find(SERVER_NAME).and_then(server_name);
    let protocols = protocols.into_iter().take(MAX_LISTED);
    hello.alpn = protocols.filter(|name| !is_grease_name(name)).map(text).collect();
    let offered = if versions.is_empty() { vec![legacy_version] } else { versions };
    hello.versions = sound(&offered).map(TlsVersion).collect();
    hello.ciphers = sound(&ciphers).map(TlsCipher).collect();
    hello.groups = sound(&groups).map(TlsGroup).collect();
    hello.signature_schemes = sound(&schemes).collect();
    hello.extensions = sound(&kinds).collect();
    // Clients of TLS 1.3 make a session id up, so that it looks like TLS 1.2.
    let is_1_3 = hello.versions.contains(&TlsVersion::TLS_1_3);
    hello.offers_resumption = find(PRE_SHARED_KEY).is_some()
        || find(SESSION_TICKET).is_some_and(|ticket| !ticket.0.is_empty())
        || !is_1_3 && !session.is_empty();
    hello.early_data = find(EARLY_DATA).is_some();
    Some(ClientHello { hello, session })
}

pub(super) fn server(body: &[u8]) -> Option<ServerHello> {
    let rest = &mut Reader(body);
    let legacy_version = rest.u16()?;
    let random = rest.take(32)?;
    let session = rest.vector8()?.0.to_vec();
    let cipher = rest.u16()?;
    rest.u8()?;

    let mut hello = TlsServerHello::default();
    hello.version = TlsVersion(legacy_version);
    hello.cipher = TlsCipher(cipher);
    for (kind, mut data) in extensions(rest)? {
        match kind {
            VERSIONS => hello.version = TlsVersion(data.u16()?),
            KEY_SHARE => hello.group = Some(TlsGroup(data.u16()?)),
            PRE_SHARED_KEY => hello.resumed = true,
            ALPN => hello.alpn = protocols(data).first().copied().map(text),
            _ => {}
        }
    }
    Some(ServerHello { hello, is_retry: random == RETRY, session })
}

/// The sizes of the certificates (RFC 5246, section 7.4.2).
pub(super) fn certificate_sizes(body: &[u8]) -> Vec<u32> {
    const MAX_CERTIFICATES: usize = 32;
    let rest = &mut Reader(body);
    let mut sizes = Vec::new();
    if rest.u24().is_none() {
        return sizes;
    }
    while sizes.len() < MAX_CERTIFICATES
        && let Some(size) = rest.u24()
        && rest.take(size).is_some()
    {
        sizes.extend(u32::try_from(size));
    }
    sizes
}

/// The group of an exchange of keys on a named curve (RFC 8422, section 5.4). Other exchanges begin
/// with something else, or no group has the number that they seem to name.
pub(super) fn named_group(body: &[u8]) -> Option<TlsGroup> {
    let rest = &mut Reader(body);
    let is_named = rest.u8()? == 3;
    rest.u16().map(TlsGroup).filter(|group| is_named && group.name().is_some())
}

fn server_name(mut data: Reader<'_>) -> Option<Text> {
    const HOST_NAME: u8 = 0;
    let mut names = data.vector16()?;
    while let Some(kind) = names.u8() {
        let name = names.vector16()?;
        if kind == HOST_NAME {
            return Some(text(name.0));
        }
    }
    None
}

fn protocols(mut data: Reader<'_>) -> Vec<&[u8]> {
    let mut list = data.vector16().unwrap_or(Reader(&[]));
    std::iter::from_fn(|| list.vector8().map(|name| name.0)).collect()
}

/// GREASE is also among protocols: two bytes.
fn is_grease_name(name: &[u8]) -> bool {
    name.try_into().is_ok_and(|name| is_grease(u16::from_be_bytes(name)))
}

fn sound(numbers: &[u16]) -> impl Iterator<Item = u16> {
    numbers.iter().copied().filter(|number| !is_grease(*number)).take(MAX_LISTED)
}

fn text(bytes: &[u8]) -> Text {
    Text::from_bytes(Bytes::copy_from_slice(bytes))
}
