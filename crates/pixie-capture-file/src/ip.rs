//! IP headers: IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200).

use crate::bytes::{array_at, u8_at, u16_at, u32_at};
use crate::fragments::Fragment;
use crate::summary::Skipped;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Numbers of <https://www.iana.org/assignments/protocol-numbers>.
pub(crate) mod protocol {
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
}

/// The most bytes of a packet that may be missing from it: Linux can send 512 KiB at once
/// ("BIG TCP"), and then the length is not in the header.
const MAX_MISSING: usize = 1 << 20;

/// What an IP packet carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// What the payload is.
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
    /// How many bytes of the payload were not captured.
    pub(crate) missing: u32,
    /// Which part of which datagram it is, where it is but a part.
    pub(crate) fragment: Option<Fragment>,
}

impl<'a> Ip<'a> {
    /// Reads the headers of an IP packet, of which so many bytes were not captured.
    pub(crate) fn new(bytes: &'a [u8], missing: u32) -> Result<Self, Skipped> {
        let truncated =
            if missing > 0 { Skipped::TruncatedHeader } else { Skipped::MalformedHeader };
        let missing = missing as usize;
        match u8_at(bytes, 0).map(|first| first >> 4) {
            Some(4) => ipv4(bytes, missing).ok_or(truncated)?.after_extensions(),
            Some(6) => ipv6(bytes, missing).ok_or(truncated)?.after_extensions(),
            Some(_) => Err(Skipped::NotIp),
            None => Err(truncated),
        }
    }

    /// The datagram that this was the last fragment of.
    pub(crate) fn joined<'b>(self, payload: &'b [u8]) -> Result<Ip<'b>, Skipped> {
        let Self { source, destination, protocol, missing, .. } = self;
        let whole = Ip { source, destination, protocol, payload, missing, fragment: None };
        let whole = whole.after_extensions()?;
        // A fragment of a fragment.
        if whole.fragment.is_some() { Err(Skipped::MalformedFragment) } else { Ok(whole) }
    }

    /// What a header that does not lie in the payload makes of the packet.
    pub(crate) fn bad_header(&self) -> Skipped {
        if self.missing > 0 { Skipped::TruncatedHeader } else { Skipped::MalformedHeader }
    }

    /// Steps over extension headers (RFC 8200, 4; RFC 4302, 2, which IPv4 has too), up to that of a
    /// fragment.
    fn after_extensions(mut self) -> Result<Self, Skipped> {
        while self.fragment.is_none() {
            let field = |place| u8_at(self.payload, place).ok_or(self.bad_header());
            let length = match self.protocol {
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::DESTINATION
                | protocol::MOBILITY => (usize::from(field(1)?) + 1) * 8,
                protocol::AUTHENTICATION => (usize::from(field(1)?) + 2) * 4,
                protocol::FRAGMENT => {
                    self.fragment = self.ipv6_fragment().ok_or(self.bad_header())?;
                    8
                }
                _ => break,
            };
            let next = u8_at(self.payload, 0).ok_or(self.bad_header())?;
            self.payload = self.payload.get(length..).ok_or(self.bad_header())?;
            self.protocol = next;
        }
        Ok(self)
    }

    /// Reads a fragment header (RFC 8200, 4.5). `Some(None)` if it is that of a whole datagram.
    fn ipv6_fragment(&self) -> Option<Option<Fragment>> {
        let place = u16_at(self.payload, 2)?;
        let (offset, more) = (usize::from(place & 0xfff8), place & 1 != 0);
        let fragment = Fragment {
            source: self.source,
            destination: self.destination,
            protocol: u8_at(self.payload, 0)?,
            identification: u32_at(self.payload, 4)?,
            offset,
            more,
        };
        Some((offset > 0 || more).then_some(fragment))
    }
}

fn ipv4(bytes: &[u8], missing: usize) -> Option<Ip<'_>> {
    let header_length = usize::from(u8_at(bytes, 0)? & 0x0f) * 4;
    if header_length < 20 {
        return None;
    }
    let source = Ipv4Addr::from(array_at::<4>(bytes, 12)?).into();
    let destination = Ipv4Addr::from(array_at::<4>(bytes, 16)?).into();
    let place = u16_at(bytes, 6)?;
    let (offset, more) = (usize::from(place & 0x1fff) * 8, place & 0x2000 != 0);
    let protocol = u8_at(bytes, 9)?;
    let fragment = Fragment {
        source,
        destination,
        protocol,
        identification: u16_at(bytes, 4)?.into(),
        offset,
        more,
    };
    let length = match usize::from(u16_at(bytes, 2)?) {
        0 => None,
        length => Some(length.checked_sub(header_length)?),
    };
    let (payload, missing) = payload(bytes.get(header_length..)?, length, missing)?;
    let fragment = (offset > 0 || more).then_some(fragment);
    Some(Ip { source, destination, protocol, payload, missing, fragment })
}

fn ipv6(bytes: &[u8], missing: usize) -> Option<Ip<'_>> {
    let length = Some(usize::from(u16_at(bytes, 4)?)).filter(|length| *length > 0);
    let (payload, missing) = payload(bytes.get(40..)?, length, missing)?;
    Some(Ip {
        source: Ipv6Addr::from(array_at::<16>(bytes, 8)?).into(),
        destination: Ipv6Addr::from(array_at::<16>(bytes, 24)?).into(),
        protocol: u8_at(bytes, 6)?,
        payload,
        missing,
        fragment: None,
    })
}

/// The part of `captured` that is payload, and how many bytes of the payload were not captured.
///
/// Where the header states no length (of large segments that the network card splits), what the
/// file says of the packet counts.
fn payload(captured: &[u8], stated: Option<usize>, missing: usize) -> Option<(&[u8], u32)> {
    let length = stated.unwrap_or(captured.len() + missing);
    // What is beyond was added to reach the shortest packet that the link allows.
    let payload = captured.get(..length).unwrap_or(captured);
    let missing = length - payload.len();
    (missing <= MAX_MISSING).then_some((payload, missing as u32))
}
