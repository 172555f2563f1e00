//! From a packet to the TCP segment or UDP datagram in it.

use crate::bytes::{u8_at, u16_at, u32_at};
use crate::fragments::Fragments;
use crate::ip::{Ip, protocol};
use crate::link;
use crate::reader::Packet;
use crate::summary::{Skipped, Summary};
use pixie_core::id::Transport;
use pixie_core::time::MonotonicTime;
use std::net::SocketAddr;

/// A TCP segment or a UDP datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) time: MonotonicTime,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// `None` for UDP.
    pub(crate) tcp: Option<TcpFields>,
    /// The payload, as much as was captured.
    pub(crate) payload: &'a [u8],
    /// The true length of the payload: at least as much.
    pub(crate) length: u32,
}

/// The fields of a TCP header that tell where in its stream a segment belongs (RFC 9293, 3.1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpFields {
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
}

impl TcpFields {
    /// The place of the first byte of payload in its stream: a SYN takes the place of one byte.
    pub(crate) fn position(&self) -> u32 {
        self.sequence.wrapping_add(self.syn.into())
    }
}

impl Segment<'_> {
    pub(crate) fn transport(&self) -> Transport {
        if self.tcp.is_some() { Transport::Tcp } else { Transport::Udp }
    }
}

/// Decodes a packet, and hands over the segment in it, if there is one. Counts it if not.
pub(crate) fn decode(
    packet: Packet<'_>,
    fragments: &mut Fragments,
    summary: &mut Summary,
    handler: impl FnOnce(Segment<'_>, &mut Summary),
) {
    let ip = match link::ip_packet(&packet).and_then(|bytes| Ip::new(bytes, packet.missing)) {
        Ok(ip) => ip,
        Err(reason) => return summary.skip(reason),
    };
    let joined;
    let segment = match ip.fragment {
        None => segment(packet.time, &ip),
        Some(_) if ip.missing > 0 => Err(Skipped::TruncatedFragment),
        Some(fragment) => {
            match fragments.join(packet.time, fragment, ip.payload, summary) {
                Some(payload) => joined = payload,
                None => return,
            }
            ip.joined(&joined).and_then(|whole| segment(packet.time, &whole))
        }
    };
    match segment {
        Ok(segment) => handler(segment, summary),
        Err(reason) => summary.skip(reason),
    }
}

fn segment<'a>(time: MonotonicTime, ip: &Ip<'a>) -> Result<Segment<'a>, Skipped> {
    match ip.protocol {
        protocol::TCP => tcp(time, ip).ok_or(ip.bad_header()),
        protocol::UDP => udp(time, ip).ok_or(ip.bad_header()),
        _ => Err(Skipped::OtherTransport),
    }
}

/// RFC 9293, 3.1.
fn tcp<'a>(time: MonotonicTime, ip: &Ip<'a>) -> Option<Segment<'a>> {
    let header = ip.payload;
    let header_length = usize::from(u8_at(header, 12)? >> 4) * 4;
    if header_length < 20 {
        return None;
    }
    let flags = u8_at(header, 13)?;
    let flag = |bit: u8| flags & 1 << bit != 0;
    let acknowledgment = u32_at(header, 8)?;
    let payload = header.get(header_length..)?;
    Some(Segment {
        time,
        source: SocketAddr::new(ip.source, u16_at(header, 0)?),
        destination: SocketAddr::new(ip.destination, u16_at(header, 2)?),
        tcp: Some(TcpFields {
            sequence: u32_at(header, 4)?,
            acknowledgment: flag(4).then_some(acknowledgment),
            syn: flag(1),
            fin: flag(0),
            rst: flag(2),
        }),
        payload,
        length: length(payload, ip.missing),
    })
}

/// RFC 768.
fn udp<'a>(time: MonotonicTime, ip: &Ip<'a>) -> Option<Segment<'a>> {
    const HEADER_LENGTH: u16 = 8;
    let header = ip.payload;
    let payload = header.get(usize::from(HEADER_LENGTH)..)?;
    let whole = length(payload, ip.missing);
    let length = match u16_at(header, 4)? {
        // A jumbogram (RFC 2675, 4).
        0 => whole,
        stated => whole.min(stated.checked_sub(HEADER_LENGTH)?.into()),
    };
    Some(Segment {
        time,
        source: SocketAddr::new(ip.source, u16_at(header, 0)?),
        destination: SocketAddr::new(ip.destination, u16_at(header, 2)?),
        tcp: None,
        payload: payload.get(..length as usize).unwrap_or(payload),
        length,
    })
}

fn length(captured: &[u8], missing: u32) -> u32 {
    u32::try_from(captured.len()).unwrap_or(u32::MAX).saturating_add(missing)
}
