//! From a packet to the TCP segment or UDP datagram in it.

use crate::fragments::{Fragment, Fragments};
use crate::reader::Packet;
use crate::summary::{Skipped, Summary};
use etherparse::{
    EtherType, IpNumber, Ipv6ExtensionSlice, LaxIpPayloadSlice, LaxIpv4Slice, LaxIpv6Slice,
    LaxNetSlice, LaxSlicedPacket, TcpSlice, UdpHeaderSlice,
};
use pixie_core::id::Transport;
use pixie_core::time::MonotonicTime;
use std::net::{IpAddr, SocketAddr};

/// The most bytes of a packet that may be missing from it: Linux can send 512 KiB at once
/// ("BIG TCP"), and then the length is not in the header.
const MAX_MISSING: u32 = 1 << 20;

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
    let ip = match network(&packet) {
        Ok(ip) => ip,
        Err(reason) => return summary.skip(reason),
    };
    let time = packet.time;
    if let Some(fragment) = ip.fragment {
        if ip.missing > 0 {
            return summary.skip(Skipped::TruncatedFragment);
        }
        let Some(payload) = fragments.join(time, fragment, ip.payload, summary) else { return };
        let whole = Ip { fragment: None, payload: &payload, ..ip };
        return match whole.segment(time) {
            Ok(segment) => handler(segment, summary),
            Err(reason) => summary.skip(reason),
        };
    }
    match ip.segment(time) {
        Ok(segment) => handler(segment, summary),
        Err(reason) => summary.skip(reason),
    }
}

/// What an IP header says.
#[derive(Clone, Copy)]
struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    payload: &'a [u8],
    /// How many bytes of the payload were not captured.
    missing: u32,
    /// Which part of which datagram it is, where it is but a part.
    fragment: Option<Fragment>,
}

/// Steps over the link layer's header and reads the IP header.
fn network<'a>(packet: &Packet<'a>) -> Result<Ip<'a>, Skipped> {
    // Numbers of https://www.tcpdump.org/linktypes.html.
    const NULL: u16 = 0;
    const ETHERNET: u16 = 1;
    const RAW: [u16; 5] = [12, 14, 101, 228, 229];
    const LOOP: u16 = 108;
    const LINUX_SLL: u16 = 113;
    const LINUX_SLL2: u16 = 276;

    let bytes = packet.bytes;
    let sliced = match packet.link_type {
        ETHERNET => LaxSlicedPacket::from_ethernet(bytes).map_err(|_| Skipped::TruncatedHeader)?,
        LINUX_SLL => cooked(bytes, 14, 16)?,
        LINUX_SLL2 => cooked(bytes, 0, 20)?,
        // An address family, in the byte order of whatever machine captured it. The IP header
        // that follows has its version in it.
        NULL | LOOP => raw(bytes.get(4..).ok_or(Skipped::TruncatedHeader)?)?,
        link_type if RAW.contains(&link_type) => raw(bytes)?,
        _ => return Err(Skipped::UnknownLinkType),
    };
    let ip = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => ipv4(ip, packet.missing),
        Some(LaxNetSlice::Ipv6(ip)) => ipv6(ip, packet.missing),
        Some(_) => return Err(Skipped::NotIp),
        None if sliced.stop_err.is_none() => return Err(Skipped::NotIp),
        None if packet.missing > 0 => return Err(Skipped::TruncatedHeader),
        None => return Err(Skipped::MalformedHeader),
    };
    if ip.missing > MAX_MISSING {
        return Err(Skipped::MalformedHeader);
    }
    Ok(ip)
}

/// A packet after a Linux cooked header of `length` bytes, which has the protocol at `place`.
fn cooked(bytes: &[u8], place: usize, length: usize) -> Result<LaxSlicedPacket<'_>, Skipped> {
    let (header, payload) = bytes.split_at_checked(length).ok_or(Skipped::TruncatedHeader)?;
    let protocol = header.get(place..).and_then(|rest| rest.first_chunk());
    let protocol = u16::from_be_bytes(*protocol.ok_or(Skipped::TruncatedHeader)?);
    Ok(LaxSlicedPacket::from_ether_type(EtherType(protocol), payload))
}

/// A packet that starts with its IP header.
fn raw(bytes: &[u8]) -> Result<LaxSlicedPacket<'_>, Skipped> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => Ok(LaxSlicedPacket::from_ether_type(EtherType::IPV4, bytes)),
        Some(6) => Ok(LaxSlicedPacket::from_ether_type(EtherType::IPV6, bytes)),
        Some(_) => Err(Skipped::NotIp),
        None => Err(Skipped::TruncatedHeader),
    }
}

fn ipv4<'a>(ip: &LaxIpv4Slice<'a>, packet_missing: u32) -> Ip<'a> {
    let header = ip.header();
    let extensions = ip.extensions().auth.map_or(0, |header| header.slice().len());
    let captured = header.slice().len() + extensions + ip.payload().payload.len();
    let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
    let protocol = ip.payload().ip_number;
    let fragment = Fragment {
        source,
        destination,
        protocol,
        identification: header.identification().into(),
        offset: header.fragments_offset(),
        more: header.more_fragments(),
    };
    Ip {
        source,
        destination,
        protocol,
        payload: ip.payload().payload,
        missing: missing(ip.payload(), header.total_len().into(), captured, packet_missing),
        fragment: ip.is_payload_fragmented().then_some(fragment),
    }
}

fn ipv6<'a>(ip: &LaxIpv6Slice<'a>, packet_missing: u32) -> Ip<'a> {
    let header = ip.header();
    let captured = ip.extensions().slice().len() + ip.payload().payload.len();
    let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
    let protocol = ip.payload().ip_number;
    let fragment = ip.extensions().clone().into_iter().find_map(|extension| match extension {
        Ipv6ExtensionSlice::Fragment(header) if header.is_fragmenting_payload() => Some(Fragment {
            source,
            destination,
            protocol,
            identification: header.identification(),
            offset: header.fragment_offset(),
            more: header.more_fragments(),
        }),
        _ => None,
    });
    Ip {
        source,
        destination,
        protocol,
        payload: ip.payload().payload,
        missing: missing(ip.payload(), header.payload_length().into(), captured, packet_missing),
        fragment,
    }
}

/// How many bytes of an IP payload were not captured, given the length that the header states of
/// what has `captured` bytes here. Where it states none (large segments that the network card
/// splits), what the file says of the packet counts.
fn missing(
    payload: &LaxIpPayloadSlice<'_>,
    stated: usize,
    captured: usize,
    packet_missing: u32,
) -> u32 {
    if payload.incomplete {
        u32::try_from(stated.saturating_sub(captured)).unwrap_or(u32::MAX)
    } else if stated < captured {
        packet_missing
    } else {
        0
    }
}

impl<'a> Ip<'a> {
    fn segment(self, time: MonotonicTime) -> Result<Segment<'a>, Skipped> {
        match self.protocol {
            IpNumber::TCP => self.tcp(time),
            IpNumber::UDP => self.udp(time),
            _ => Err(Skipped::OtherTransport),
        }
    }

    fn tcp(self, time: MonotonicTime) -> Result<Segment<'a>, Skipped> {
        let tcp = TcpSlice::from_slice(self.payload).map_err(|_| self.bad_header())?;
        let payload = tcp.payload();
        Ok(Segment {
            time,
            source: SocketAddr::new(self.source, tcp.source_port()),
            destination: SocketAddr::new(self.destination, tcp.destination_port()),
            tcp: Some(TcpFields {
                sequence: tcp.sequence_number(),
                acknowledgment: tcp.ack().then(|| tcp.acknowledgment_number()),
                syn: tcp.syn(),
                fin: tcp.fin(),
                rst: tcp.rst(),
            }),
            payload,
            length: length(payload, self.missing),
        })
    }

    fn udp(self, time: MonotonicTime) -> Result<Segment<'a>, Skipped> {
        let header = UdpHeaderSlice::from_slice(self.payload).map_err(|_| self.bad_header())?;
        let payload = self.payload.get(header.slice().len()..).unwrap_or_default();
        let whole = length(payload, self.missing);
        let length = match header.length() {
            // A jumbogram (RFC 2675, 4).
            0 => whole,
            stated => {
                let stated = stated.checked_sub(8).ok_or(Skipped::MalformedHeader)?;
                whole.min(stated.into())
            }
        };
        Ok(Segment {
            time,
            source: SocketAddr::new(self.source, header.source_port()),
            destination: SocketAddr::new(self.destination, header.destination_port()),
            tcp: None,
            payload: payload.get(..length as usize).unwrap_or(payload),
            length,
        })
    }

    /// Why a header could not be read.
    fn bad_header(&self) -> Skipped {
        if self.missing > 0 { Skipped::TruncatedHeader } else { Skipped::MalformedHeader }
    }
}

fn length(captured: &[u8], missing: u32) -> u32 {
    u32::try_from(captured.len()).unwrap_or(u32::MAX).saturating_add(missing)
}
