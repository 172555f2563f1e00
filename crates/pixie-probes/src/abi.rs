//! The mirror of `bpf/include/abi.h`: the bytes of a ring's record, and how they are read.
//!
//! Everything is read by copying from a byte slice, so that a record of another shape than expected
//! is an error and never undefined behaviour. `tests/abi.rs` holds the sizes and offsets here
//! against the BTF of the objects.

use crate::event::{Close, Data, Event, Open, Secure};
use pixie_core::Text;
use pixie_core::id::{ConnectionId, Direction, Pid, Role, Transport};
use pixie_core::record::{Address, Cause, CgroupId};
use pixie_core::time::MonotonicTime;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const EVENT_OPEN: u8 = 1;
const EVENT_DATA: u8 = 2;
const EVENT_DATAGRAM: u8 = 3;
const EVENT_CLOSE: u8 = 4;
const EVENT_EXIT: u8 = 5;
const EVENT_SECURE: u8 = 6;

const FLAG_END: u8 = 1;
const FLAG_SENT_KNOWN: u8 = 2;
const FLAG_RECEIVED_KNOWN: u8 = 4;
const FLAG_OTHER_KNOWN: u8 = 8;
const FLAG_FROM_START: u8 = 16;
const FLAG_BY_KERNEL: u8 = 32;
const FLAG_HALF: u8 = 64;
const FLAG_FILTERED: u8 = 128;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Size of `struct event`.
pub(crate) const EVENT_SIZE: usize = 40;
/// Size of `struct address`.
pub(crate) const ADDRESS_SIZE: usize = 24;
/// Size of `struct datagram_event`.
pub(crate) const DATAGRAM_SIZE: usize = EVENT_SIZE + ADDRESS_SIZE;
/// Size of `struct open_event`.
pub(crate) const OPEN_SIZE: usize = EVENT_SIZE + 88;
/// Size of `struct open_unix_event`.
pub(crate) const OPEN_UNIX_SIZE: usize = OPEN_SIZE + 224;
/// Size of `struct secure_event`.
pub(crate) const SECURE_SIZE: usize = EVENT_SIZE + 48;
/// Where `struct open_event` has its addresses.
pub(crate) const OPEN_LOCAL: usize = EVENT_SIZE + 40;
pub(crate) const OPEN_REMOTE: usize = OPEN_LOCAL + ADDRESS_SIZE;
/// `UNIX_PATH`.
const UNIX_PATH: usize = 108;

/// `VERDICT_IGNORE`.
pub(crate) const VERDICT_IGNORE: u8 = 1;
/// `VERDICT_INTRODUCE`.
pub(crate) const VERDICT_INTRODUCE: u8 = 2;

/// `struct counters`, as an array of numbers.
pub(crate) const COUNTERS: usize = 8;
/// `COUNTER_SLOTS`.
pub(crate) const COUNTER_SLOTS: usize = 64;

/// `struct account`.
pub(crate) type Account = [[u64; COUNTERS]; COUNTER_SLOTS];

/// `struct settings`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) message_bytes: u32,
    pub(crate) shards: u32,
    pub(crate) filter_pids: u8,
    pub(crate) filter_cgroups: u8,
    pub(crate) filter_ports: u8,
    pub(crate) exclude_pids: u8,
    pub(crate) exclude_cgroups: u8,
    pub(crate) include_self: u8,
    pub(crate) tls: u8,
    pub(crate) _pad: u8,
}

/// When the event was taken: all that merging needs of a record.
pub(crate) fn time_of(record: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(*record.get(8..)?.first_chunk()?))
}

/// Reads a record and hands it over. `None` when it is not in the form that we expect.
pub(crate) fn decode<R>(record: &[u8], handler: impl FnOnce(Event<'_>) -> R) -> Option<R> {
    let event = Header::read(record)?;
    Some(match event.kind {
        EVENT_DATA => handler(Event::Data(event.data(record.get(EVENT_SIZE..)?, None)?)),
        EVENT_DATAGRAM => {
            let peer = socket_address(record.get(EVENT_SIZE..DATAGRAM_SIZE)?)?;
            handler(Event::Data(event.data(record.get(DATAGRAM_SIZE..)?, peer)?))
        }
        EVENT_OPEN => handler(Event::Open(&event.open(record)?)),
        EVENT_CLOSE => handler(Event::Close(event.close())),
        EVENT_SECURE => handler(Event::Secure(&event.secure(record)?)),
        EVENT_EXIT => handler(Event::Exit { pid: Pid(event.length), time: event.time }),
        _ => return None,
    })
}

/// `struct event`.
struct Header {
    kind: u8,
    direction: u8,
    hole: u8,
    flags: u8,
    captured: u32,
    time: MonotonicTime,
    connection: ConnectionId,
    position: u32,
    length: u32,
    other: u32,
}

impl Header {
    #[inline]
    fn read(record: &[u8]) -> Option<Self> {
        let header: &[u8; EVENT_SIZE] = record.first_chunk()?;
        let [kind, direction, hole, flags, ..] = *header;
        Some(Self {
            kind,
            direction,
            hole,
            flags,
            captured: u32_at(header, 4)?,
            time: MonotonicTime(u64_at(header, 8)?),
            connection: ConnectionId(u64_at(header, 16)?),
            position: u32_at(header, 24)?,
            length: u32_at(header, 28)?,
            other: u32_at(header, 32)?,
        })
    }

    #[inline]
    fn data<'a>(&self, payload: &'a [u8], peer: Option<SocketAddr>) -> Option<Data<'a>> {
        let direction = match self.direction {
            0 => Direction::Sent,
            1 => Direction::Received,
            _ => return None,
        };
        let hole = match self.hole {
            0 | 1 => Cause::CaptureLimit,
            2 => Cause::NotInUserSpace,
            3 => Cause::Unreadable,
            4 => Cause::UnknownConnection,
            _ => return None,
        };
        if self.captured > self.length {
            return None;
        }
        Some(Data {
            connection: self.connection,
            time: self.time,
            direction,
            position: self.position,
            length: self.length,
            captured: payload.get(..self.captured as usize)?,
            hole,
            peer,
            end: self.flags & FLAG_END != 0,
            sent_until: (self.flags & FLAG_OTHER_KNOWN != 0).then_some(self.other),
        })
    }

    fn close(&self) -> Close {
        let known = |flag, position| (self.flags & flag != 0).then_some(position);
        Close {
            connection: self.connection,
            time: self.time,
            positions: [
                known(FLAG_SENT_KNOWN, self.position),
                known(FLAG_RECEIVED_KNOWN, self.length),
            ],
        }
    }

    /// Which library it is, whoever knows what was probed fills in.
    fn secure(&self, record: &[u8]) -> Option<Secure> {
        let fixed: &[u8; SECURE_SIZE] = record.first_chunk()?;
        Some(Secure {
            session: self.connection,
            carrier: Some(ConnectionId(u64_at(fixed, EVENT_SIZE + 16)?))
                .filter(|carrier| carrier.0 != 0),
            from_start: self.flags & FLAG_FROM_START != 0,
            by_kernel: self.flags & FLAG_BY_KERNEL != 0,
            half: match (self.flags & FLAG_HALF, self.direction) {
                (0, _) => None,
                (_, 0) => Some(Direction::Sent),
                (_, 1) => Some(Direction::Received),
                _ => return None,
            },
            filtered: self.flags & FLAG_FILTERED != 0,
            time: self.time,
            pid: Pid(u32_at(fixed, EVENT_SIZE + 24)?),
            start_time_ns: u64_at(fixed, EVENT_SIZE)?,
            comm: *fixed[EVENT_SIZE + 32..].first_chunk()?,
            cgroup: Some(CgroupId(u64_at(fixed, EVENT_SIZE + 8)?)).filter(|cgroup| cgroup.0 != 0),
            library: None,
            version: None,
            target: u32_at(fixed, EVENT_SIZE + 28)?,
        })
    }

    fn open(&self, record: &[u8]) -> Option<Open> {
        let fixed: &[u8; OPEN_SIZE] = record.first_chunk()?;
        let transport = match fixed[EVENT_SIZE + 20] {
            1 => Transport::Tcp,
            2 => Transport::Udp,
            3 => Transport::UnixStream,
            4 => Transport::UnixDatagram,
            _ => return None,
        };
        let role = match fixed[EVENT_SIZE + 21] {
            1 => Some(Role::Client),
            2 => Some(Role::Server),
            _ => None,
        };
        let (local, remote) = if u16_at(fixed, OPEN_LOCAL + 18)? == AF_UNIX {
            let unix: &[u8; OPEN_UNIX_SIZE] = record.first_chunk()?;
            (
                unix_address(unix, OPEN_SIZE, OPEN_SIZE + 8)?,
                unix_address(unix, OPEN_SIZE + 4, OPEN_SIZE + 8 + UNIX_PATH)?,
            )
        } else {
            let address = |bytes| Some(socket_address(bytes)?.map(Address::Inet));
            (
                address(&fixed[OPEN_LOCAL..OPEN_REMOTE])?,
                address(&fixed[OPEN_REMOTE..])?.filter(|end| end.port() != Some(0)),
            )
        };
        Some(Open {
            connection: self.connection,
            time: self.time,
            pid: Pid(u32_at(fixed, EVENT_SIZE + 16)?),
            start_time_ns: u64_at(fixed, EVENT_SIZE)?,
            comm: *fixed[EVENT_SIZE + 24..].first_chunk()?,
            cgroup: Some(CgroupId(u64_at(fixed, EVENT_SIZE + 8)?)).filter(|cgroup| cgroup.0 != 0),
            transport,
            local,
            remote,
            role,
        })
    }
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// `struct address`: the outer `None` is for one that is malformed, the inner for one not known.
fn socket_address(bytes: &[u8]) -> Option<Option<SocketAddr>> {
    let port = u16::from_be_bytes(*bytes.get(16..)?.first_chunk()?);
    let ip = match u16_at(bytes, 18)? {
        AF_INET => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        AF_INET6 => {
            let v6 = Ipv6Addr::from(*bytes.first_chunk::<16>()?);
            v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
        }
        0 => return Some(None),
        _ => return None,
    };
    Some(Some(SocketAddr::new(ip, port)))
}

/// A path of `struct open_unix_event`; one in the abstract namespace starts with a NUL.
fn unix_address(event: &[u8], length_at: usize, path_at: usize) -> Option<Option<Address>> {
    let length = (u32_at(event, length_at)? as usize).min(UNIX_PATH);
    let path = event.get(path_at..path_at + length)?;
    let path = match path {
        [] => return Some(None),
        [0, name @ ..] => [b"@", name].concat(),
        path => path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
    };
    Some(Some(Address::Unix(Text::from_bytes(path))))
}

#[cfg(test)]
pub(crate) mod layout;

#[cfg(test)]
mod tests {
    use super::*;

    fn data_record(captured: u32, length: u32, payload: &[u8]) -> Vec<u8> {
        let mut record = vec![EVENT_DATA, 1, 1, 0];
        record.extend(captured.to_ne_bytes());
        record.extend(7u64.to_ne_bytes());
        record.extend(9u64.to_ne_bytes());
        record.extend(100u32.to_ne_bytes());
        record.extend(length.to_ne_bytes());
        record.extend(50u32.to_ne_bytes());
        record.extend([0; 4]);
        record.extend(payload);
        record
    }

    #[test]
    fn a_data_record_is_read() {
        let record = data_record(2, 10, b"hi, and what the size was rounded up by");
        decode(&record, |event| match event {
            Event::Data(data) => {
                assert_eq!(data.captured, b"hi");
                assert_eq!((data.position, data.length), (100, 10));
                assert_eq!(data.direction, Direction::Received);
                assert_eq!(data.connection, ConnectionId(9));
                assert_eq!(data.time, MonotonicTime(7));
                assert_eq!(data.sent_until, None, "it is not said");
            }
            other => panic!("{other:?}"),
        })
        .unwrap();
    }

    #[test]
    fn a_record_of_another_form_is_refused() {
        assert!(decode(&data_record(11, 10, &[0; 16]), |_| ()).is_none(), "more than there was");
        assert!(decode(&data_record(9, 10, &[0; 8]), |_| ()).is_none(), "more than there is");
        assert!(decode(&[EVENT_DATA; EVENT_SIZE - 1], |_| ()).is_none(), "too short");
        let mut unknown = data_record(0, 0, &[]);
        unknown[0] = 200;
        assert!(decode(&unknown, |_| ()).is_none(), "of no known kind");
    }

    #[test]
    fn mapped_addresses_are_shown_as_ipv4() {
        let mut bytes = [0; ADDRESS_SIZE];
        bytes[10..16].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        bytes[16..18].copy_from_slice(&80u16.to_be_bytes());
        bytes[18..20].copy_from_slice(&AF_INET6.to_ne_bytes());
        assert_eq!(socket_address(&bytes), Some(Some("127.0.0.1:80".parse().unwrap())));
    }
}
