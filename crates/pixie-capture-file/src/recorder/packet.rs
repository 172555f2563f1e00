//! IP packets around a payload.

use std::net::{IpAddr, SocketAddr};

/// Flags of a TCP header (RFC 9293, 3.1).
pub(super) mod flag {
    pub(in crate::recorder) const FIN: u8 = 1;
    pub(in crate::recorder) const SYN: u8 = 2;
    pub(in crate::recorder) const RST: u8 = 4;
    pub(in crate::recorder) const PSH: u8 = 8;
    pub(in crate::recorder) const ACK: u8 = 16;
}

/// The most payload that a TCP segment or a UDP datagram may have, so that its IP packet stays
/// within 65,535 bytes, IPv4 or IPv6.
pub(super) const MAX_SEGMENT: u32 = 65_535 - 40;
pub(super) const MAX_DATAGRAM: u32 = 65_535 - 28;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Both ends of a packet, of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

impl Ends {
    pub(super) fn reverse(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// What carries the payload.
#[derive(Clone, Copy, Debug)]
pub(super) enum Header {
    Tcp { sequence: u32, acknowledgment: Option<u32>, flags: u8 },
    Udp,
}

/// Makes a packet whose payload has `length` bytes, of which `payload` is the start. Returns the
/// length that it would have with all of them. The checksum of an incomplete one is 0.
pub(super) fn write(
    packet: &mut Vec<u8>,
    ends: Ends,
    header: Header,
    payload: &[u8],
    length: u32,
) -> u32 {
    let transport_length = length + if matches!(header, Header::Udp) { 8 } else { 20 };
    packet.clear();
    let sum = write_ip(packet, ends, header.protocol(), transport_length);
    let start = packet.len();
    let checksum_place = start + header.write(packet, ends, transport_length as u16);
    packet.extend(payload);
    if payload.len() as u32 == length {
        let checksum = checksum(sum, packet.get(start..).unwrap_or_default());
        // For UDP, 0 would say that there is none (RFC 768).
        let checksum = if checksum == 0 { u16::MAX } else { checksum };
        set(packet, checksum_place, checksum);
    }
    start as u32 + transport_length
}

impl Header {
    fn protocol(self) -> u8 {
        match self {
            Self::Tcp { .. } => TCP,
            Self::Udp => UDP,
        }
    }

    /// Returns where in the header the checksum is.
    fn write(self, packet: &mut Vec<u8>, ends: Ends, length: u16) -> usize {
        packet.extend(ends.from.port().to_be_bytes());
        packet.extend(ends.to.port().to_be_bytes());
        match self {
            Self::Tcp { sequence, acknowledgment, flags } => {
                const HEADER_WORDS: u8 = 5;
                let flags = if acknowledgment.is_some() { flags | flag::ACK } else { flags };
                packet.extend(sequence.to_be_bytes());
                packet.extend(acknowledgment.unwrap_or(0).to_be_bytes());
                packet.extend([HEADER_WORDS << 4, flags]);
                // The window; no checksum yet; no urgent data.
                packet.extend([0xff, 0xff, 0, 0, 0, 0]);
                16
            }
            Self::Udp => {
                packet.extend(length.to_be_bytes());
                packet.extend([0; 2]);
                6
            }
        }
    }
}

/// Writes the IP header, and returns the sum of what TCP and UDP count of it (RFC 9293, 3.1).
fn write_ip(packet: &mut Vec<u8>, ends: Ends, protocol: u8, length: u32) -> u32 {
    const TIME_TO_LIVE: u8 = 64;
    let mut pseudo_header = Vec::with_capacity(40);
    match (ends.from.ip(), ends.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // RFC 791, 3.1: version and words; not to be fragmented; no checksum yet.
            packet.extend([0x45, 0]);
            packet.extend(((length + 20) as u16).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, TIME_TO_LIVE, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let checksum = checksum(0, packet);
            set(packet, 10, checksum);
            pseudo_header.extend(from.octets());
            pseudo_header.extend(to.octets());
        }
        (from, to) => {
            // RFC 8200, 3.
            let [from, to] = [from, to].map(|address| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            });
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((length as u16).to_be_bytes());
            packet.extend([protocol, TIME_TO_LIVE]);
            packet.extend(from);
            packet.extend(to);
            pseudo_header.extend(from);
            pseudo_header.extend(to);
        }
    }
    pseudo_header.extend(length.to_be_bytes());
    pseudo_header.extend([0, protocol]);
    add(0, &pseudo_header)
}

fn set(packet: &mut [u8], place: usize, value: u16) {
    if let Some(field) = packet.get_mut(place..place + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// RFC 1071.
fn checksum(sum: u32, bytes: &[u8]) -> u16 {
    let sum = add(sum, bytes);
    !(sum as u16)
}

/// Adds words, with the carry brought around.
fn add(sum: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let words = words.iter().map(|word| u64::from(u16::from_be_bytes(*word)));
    let rest = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    let mut sum = u64::from(sum) + words.sum::<u64>() + rest;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u32
}
