//! The header: pure decoding (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use pixie_core::Text;
use pixie_core::record::{Address, Proxied};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, with its line end (section 2.1).
const MAX_LINE: usize = 107;

/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family and transport, and the length of the rest.
const FIXED: usize = 16;

/// The most bytes of a header that say anything: those and a pair of Unix addresses. What follows
/// (TLVs) is stepped over.
pub(super) const MAX_KEPT: usize = FIXED + 216;

/// What is at the front of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A header of so many bytes, of which the last may not be there: they say nothing.
    Is { size: usize, proxied: Proxied },
    /// It goes on beyond what is there.
    Partial,
    /// None.
    No,
}

/// Decodes the front of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Header {
    if starts(bytes, SIGNATURE) {
        version_2(bytes)
    } else if starts(bytes, b"PROXY ") {
        version_1(bytes)
    } else {
        Header::No
    }
}

/// Whether `bytes` begin with `start`, or are a part of it.
fn starts(bytes: &[u8], start: &[u8]) -> bool {
    bytes.starts_with(start) || start.starts_with(bytes)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`
fn version_1(bytes: &[u8]) -> Header {
    let window = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        let is_line = window.iter().all(|byte| matches!(byte, 0x20..0x7f | b'\r'));
        let is_partial = is_line && window.len() < MAX_LINE && may_be_line(window);
        return if is_partial { Header::Partial } else { Header::No };
    };
    let line = std::str::from_utf8(window.get(..end).unwrap_or_default()).unwrap_or_default();
    let mut words = line.split(' ').skip(1);
    let proxied = match words.next() {
        Some("UNKNOWN") => Some(Proxied::new(None, None)),
        Some("TCP4") => addresses::<Ipv4Addr>(words),
        Some("TCP6") => addresses::<Ipv6Addr>(words),
        _ => None,
    };
    match proxied {
        Some(proxied) => Header::Is { size: end + 2, proxied },
        None => Header::No,
    }
}

/// Whether a line that is cut may become a header.
fn may_be_line(line: &[u8]) -> bool {
    let rest = line.get(b"PROXY ".len()..).unwrap_or_default();
    let families: [&[u8]; 3] = [b"TCP4 ", b"TCP6 ", b"UNKNOWN"];
    families.iter().any(|family| starts(rest, family))
}

/// Two addresses, and two ports.
fn addresses<'a, A: std::str::FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Option<Proxied> {
    let mut address = || words.next()?.parse::<A>().ok().map(Into::into);
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next()?.parse::<u16>().ok();
    let (source, destination) = ((source, port()?), (destination, port()?));
    let end = |(address, port)| Some(Address::Inet(SocketAddr::new(address, port)));
    words.next().is_none().then(|| Proxied::new(end(source), end(destination)))
}

fn version_2(bytes: &[u8]) -> Header {
    let fixed = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let (command, rest) = match fixed {
        [] => return Header::Partial,
        // Version 2; the command is LOCAL or PROXY.
        [command @ (0x20 | 0x21), rest @ ..] => (*command, rest),
        _ => return Header::No,
    };
    let &[family, high, low, ref rest @ ..] = rest else { return Header::Partial };
    if family >> 4 > 3 || family & 0x0f > 2 {
        return Header::No;
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let size = FIXED + length;
    let wanted = match family >> 4 {
        _ if command == 0x20 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    // What is too short for its addresses has none.
    let wanted = if wanted <= length { wanted } else { 0 };
    let Some(addresses) = rest.get(..wanted) else { return Header::Partial };
    let proxied = match wanted {
        12 => inet::<4, Ipv4Addr>(addresses),
        36 => inet::<16, Ipv6Addr>(addresses),
        216 => unix(addresses),
        _ => None,
    };
    Header::Is { size, proxied: proxied.unwrap_or_else(|| Proxied::new(None, None)) }
}

/// Two addresses of `N` bytes, and two ports.
fn inet<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(bytes: &[u8]) -> Option<Proxied> {
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    let end = |address: &[u8; N], port: &[u8; 2]| {
        let address = A::from(*address).into();
        Some(Address::Inet(SocketAddr::new(address, u16::from_be_bytes(*port))))
    };
    Some(Proxied::new(end(source, source_port), end(destination, destination_port)))
}

/// Two paths of at most 108 bytes.
fn unix(bytes: &[u8]) -> Option<Proxied> {
    let (source, destination) = bytes.split_at_checked(108)?;
    let path = |bytes: &[u8]| {
        // In the abstract namespace a path begins with a zero.
        let (start, rest) = match bytes {
            [0, rest @ ..] => ("@", rest),
            rest => ("", rest),
        };
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        let name = rest.get(..end).filter(|name| !name.is_empty())?;
        Some(Address::Unix(Text::from_bytes([start.as_bytes(), name].concat())))
    };
    Some(Proxied::new(path(source), path(destination)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(text: &str) -> Option<Address> {
        text.parse().ok().map(Address::Inet)
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &Proxied) {
        let size = bytes.len();
        assert_eq!(decode(bytes), Header::Is { size, proxied: expected.clone() });
        for length in 0..size {
            match decode(&bytes[..length]) {
                Header::Partial => {}
                Header::Is { size: announced, .. } => assert_eq!(announced, size),
                Header::No => panic!("{length} bytes of {}", bytes.escape_ascii()),
            }
        }
    }

    #[test]
    fn version_1_is_understood() {
        let expected = Proxied::new(inet("192.0.2.1:56324"), inet("192.0.2.2:443"));
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", &expected);
        let expected = Proxied::new(inet("[2001:db8::1]:1"), inet("[::1]:65535"));
        check(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", &expected);
        check(b"PROXY UNKNOWN\r\n", &Proxied::new(None, None));
        check(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", &Proxied::new(None, None));
    }

    #[test]
    fn version_2_is_understood() {
        let header = |command: u8, family: u8, rest: &[u8]| {
            let length = (rest.len() as u16).to_be_bytes();
            [SIGNATURE, &[command, family], &length, rest].concat()
        };
        let inet4 = b"\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb";
        let expected = Proxied::new(inet("192.0.2.1:56324"), inet("192.0.2.2:443"));
        check(&header(0x21, 0x11, inet4), &expected);
        // With a CRC32c TLV.
        let with_tlv = [&inet4[..], b"\x03\x00\x04abcd"].concat();
        check(&header(0x21, 0x11, &with_tlv), &expected);
        let mut inet6 = [0; 36];
        inet6[15] = 1;
        inet6[33] = 80;
        check(&header(0x21, 0x21, &inet6), &Proxied::new(inet("[::1]:80"), inet("[::]:0")));
        let mut paths = [0; 216];
        paths[..6].copy_from_slice(b"/run/a");
        paths[109..111].copy_from_slice(b"bc");
        let unix = |path: &str| Some(Address::Unix(Text::from(path)));
        check(&header(0x21, 0x31, &paths), &Proxied::new(unix("/run/a"), unix("@bc")));
        for (command, family, rest) in
            [(0x20, 0x00, &b""[..]), (0x21, 0x00, b""), (0x21, 0x11, b"ab")]
        {
            check(&header(command, family, rest), &Proxied::new(None, None));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let others: &[&[u8]] = &[
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY UDP4",
            b"PROXIES",
            b"\r\n\r\n\0\r\nQUIT\n\x11",
            b"\r\n\r\n\0\r\nQUIT\n\x22",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x41\0\0",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            &[&b"PROXY UNKNOWN "[..], &[b'a'; 100]].concat(),
        ];
        for bytes in others {
            assert_eq!(decode(bytes), Header::No, "{}", bytes.escape_ascii());
        }
    }
}
