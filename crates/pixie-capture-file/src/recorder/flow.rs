//! From the events of one connection to packets as they might have been on the network.

use super::packet::{Ends, Header, MAX_DATAGRAM, MAX_SEGMENT, flag};
use crate::sequence::later;
use pixie_core::id::{ConnectionId, Direction, Role, Transport};
use pixie_core::record::Address;
use pixie_core::time::MonotonicTime;
use pixie_probes::event::{Close, Data, Open};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

const DIRECTIONS: [Direction; 2] = [Direction::Sent, Direction::Received];

/// A packet to be written: its payload has `length` bytes, of which `payload` is the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) time: MonotonicTime,
    pub(super) ends: Ends,
    pub(super) header: Header,
    pub(super) payload: &'a [u8],
    pub(super) length: u32,
}

/// A connection that is recorded.
pub(super) struct Flow {
    pub(super) transport: Transport,
    pub(super) local: SocketAddr,
    /// Of datagrams, where the socket is connected.
    pub(super) remote: Option<SocketAddr>,
    /// Both ends are known to have begun it.
    handshake: bool,
    /// By [`Direction::index`].
    streams: [Stream; 2],
}

/// One direction of a byte stream.
#[derive(Clone, Copy, Default)]
struct Stream {
    /// The sequence number of the SYN, or what it would have been.
    initial: u32,
    /// The position of the first byte that was heard of, and the one after the last.
    span: Option<(u32, u32)>,
    ended: bool,
}

impl Stream {
    /// The sequence number of the byte at `position`.
    fn sequence(&self, position: u32) -> u32 {
        let origin = self.span.map_or(position, |(origin, _)| origin);
        self.initial.wrapping_add(1).wrapping_add(position.wrapping_sub(origin))
    }

    /// The sequence number after all that was heard of.
    fn next(&self) -> u32 {
        let end = self.span.map_or(0, |(_, end)| end);
        self.sequence(end).wrapping_add(self.ended.into())
    }

    /// What acknowledges all that had been sent, where more had been than was told of. Of a stream
    /// of which no byte is known yet, no place is.
    fn acknowledgment(&self, told: u32, until: u32) -> u32 {
        self.span.map_or(told, |_| later(told, self.sequence(until)))
    }

    fn take(&mut self, position: u32, length: u32) {
        let end = position.wrapping_add(length);
        let span = self.span.get_or_insert((position, end));
        span.1 = later(span.1, end);
    }
}

impl Flow {
    /// The connection that this event tells of; `None` when its addresses are not known.
    pub(super) fn new(open: &Open, number: u32) -> Option<Self> {
        let (local, remote) = match open.transport {
            Transport::UnixStream | Transport::UnixDatagram => made_up(open.connection),
            transport => {
                (inet(&open.local), inet(&open.remote).filter(|_| transport.is_datagram()))
            }
        };
        let remote = remote.or_else(|| inet(&open.remote));
        if !open.transport.is_datagram() && remote.is_none() {
            return None;
        }
        let local = local.or_else(|| remote.map(unspecified))?;
        // Another connection between the same ends must not look like the old one.
        let initial = |salt: u32| number.wrapping_mul(0x9e37_79b1).wrapping_add(salt);
        let stream = |salt| Stream { initial: initial(salt), ..Stream::default() };
        Some(Self {
            transport: open.transport,
            local,
            remote,
            handshake: false,
            streams: [stream(0), stream(1 << 30)],
        })
    }

    /// Tells by a handshake which end is the client, where that is known.
    pub(super) fn begin(&mut self, open: &Open, mut emit: impl FnMut(Packet<'_>)) {
        let (Some(role), Some(ends)) = (open.role, self.ends(Direction::Sent, None)) else {
            return;
        };
        if self.transport.is_datagram() {
            return;
        }
        self.handshake = true;
        let [sent, received] = self.streams.map(|stream| stream.initial);
        let (ends, client, server) = match role {
            Role::Client => (ends, sent, received),
            Role::Server => (ends.reverse(), received, sent),
        };
        let (client_next, server_next) = (client.wrapping_add(1), server.wrapping_add(1));
        for (ends, sequence, acknowledgment, flags) in [
            (ends, client, None, flag::SYN),
            (ends.reverse(), server, Some(client_next), flag::SYN),
            (ends, client_next, Some(server_next), 0),
        ] {
            let header = Header::Tcp { sequence, acknowledgment, flags };
            emit(Packet { time: open.time, ends, header, payload: &[], length: 0 });
        }
    }

    /// Which way a packet of this direction goes.
    pub(super) fn ends(&self, direction: Direction, peer: Option<SocketAddr>) -> Option<Ends> {
        let to = peer.or(self.remote)?;
        let ends = Ends { from: self.local_towards(to), to };
        Some(if direction == Direction::Sent { ends } else { ends.reverse() })
    }

    /// A socket that is bound to no address of its own uses one that reaches its peer.
    fn local_towards(&self, peer: SocketAddr) -> SocketAddr {
        let mut local = self.local;
        if local.ip().is_unspecified() || local.is_ipv4() != peer.is_ipv4() {
            local.set_ip(match peer.ip() {
                IpAddr::V4(address) if address.is_loopback() => address.into(),
                IpAddr::V6(address) if address.is_loopback() => address.into(),
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            });
        }
        local
    }

    /// A datagram.
    pub(super) fn datagram(&self, data: &Data<'_>, ends: Ends, mut emit: impl FnMut(Packet<'_>)) {
        let length = data.length.min(MAX_DATAGRAM);
        let payload = prefix(data.captured, length);
        emit(Packet { time: data.time, ends, header: Header::Udp, payload, length });
    }

    /// Bytes of a stream, or its end.
    pub(super) fn transfer(&mut self, data: &Data<'_>, mut emit: impl FnMut(Packet<'_>)) {
        let Data { time, direction, position, length, captured, sent_until, .. } = *data;
        self.streams[direction.index()].take(position, length);
        if data.end {
            return self.finish(direction, position, time, &mut emit);
        }
        let mut offset = 0;
        while offset < length {
            let part = (length - offset).min(MAX_SEGMENT);
            let payload = captured.get(offset as usize..).unwrap_or_default();
            let mut header = self.header(direction, position.wrapping_add(offset), flag::PSH);
            if let (Some(until), Header::Tcp { acknowledgment, .. }) = (sent_until, &mut header) {
                let other = &self.streams[direction.reverse().index()];
                *acknowledgment = acknowledgment.map(|told| other.acknowledgment(told, until));
            }
            if let Some(ends) = self.ends(direction, None) {
                emit(Packet { time, ends, header, payload: prefix(payload, part), length: part });
            }
            offset += part;
        }
    }

    /// The end of a stream: a FIN for each direction whose end is known, and a reset otherwise.
    pub(super) fn close(&mut self, close: &Close, mut emit: impl FnMut(Packet<'_>)) {
        if self.transport.is_datagram() {
            return;
        }
        for (direction, position) in DIRECTIONS.into_iter().zip(close.positions) {
            if let Some(position) = position {
                self.finish(direction, position, close.time, &mut emit);
            }
        }
        let heard_of = self.handshake || self.streams.iter().any(|stream| stream.span.is_some());
        if heard_of
            && self.streams.iter().any(|stream| !stream.ended)
            && let Some(ends) = self.ends(Direction::Sent, None)
        {
            let position = self.streams[0].span.map_or(0, |(_, end)| end);
            let header = self.header(Direction::Sent, position, flag::RST);
            emit(Packet { time: close.time, ends, header, payload: &[], length: 0 });
        }
    }

    fn finish(
        &mut self,
        direction: Direction,
        position: u32,
        time: MonotonicTime,
        emit: &mut impl FnMut(Packet<'_>),
    ) {
        let stream = &mut self.streams[direction.index()];
        if stream.ended {
            return;
        }
        stream.take(position, 0);
        let header = self.header(direction, position, flag::FIN);
        self.streams[direction.index()].ended = true;
        if let Some(ends) = self.ends(direction, None) {
            emit(Packet { time, ends, header, payload: &[], length: 0 });
        }
    }

    fn header(&self, direction: Direction, position: u32, flags: u8) -> Header {
        let other = &self.streams[direction.reverse().index()];
        let heard_of = self.handshake || other.span.is_some();
        Header::Tcp {
            sequence: self.streams[direction.index()].sequence(position),
            acknowledgment: heard_of.then(|| other.next()),
            flags,
        }
    }
}

fn prefix(bytes: &[u8], length: u32) -> &[u8] {
    bytes.get(..length as usize).unwrap_or(bytes)
}

fn inet(address: &Option<Address>) -> Option<SocketAddr> {
    match address {
        Some(Address::Inet(address)) => Some(*address),
        _ => None,
    }
}

fn unspecified(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Addresses for the two ends of a Unix socket: `fd75:6e69:7800::/48` ("unix" in hexadecimal, and one
/// of RFC 4193's private networks), then the end, then the connection's id. The ports do not say who
/// is the client.
fn made_up(connection: ConnectionId) -> (Option<SocketAddr>, Option<SocketAddr>) {
    const PREFIX: u128 = 0xfd75_6e69_7800 << 80;
    const PORT: u16 = 50_000;
    let end = |number: u16| {
        let address = PREFIX | u128::from(number) << 64 | u128::from(connection.0);
        let port = PORT + number;
        Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from_bits(address), port, 0, 0)))
    };
    (end(1), end(2))
}
