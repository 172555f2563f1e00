//! The data of resource records, and EDNS.

use super::message::{Fixed, Names};
use super::name;
use bytes::Bytes;
use pixie_core::Text;
use pixie_core::record::{DnsData, DnsEdns, DnsOption, DnsSoa, DnsType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// The data in this part of a message, where its type is one whose names may be compressed (RFC
/// 3597, section 4) or a common one, and it is formed as it should be.
pub(super) fn read(
    message: &[u8],
    range: Range<usize>,
    kind: DnsType,
    names: &mut Names,
) -> Option<DnsData> {
    let bytes = message.get(range.clone())?;
    let mut at = range.start;
    let mut u16 = || {
        let value = message.get(at..)?.first_chunk()?;
        at += 2;
        Some(u16::from_be_bytes(*value))
    };
    let data = match kind {
        DnsType::A => {
            at = range.end;
            DnsData::A(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
        }
        DnsType::AAAA => {
            at = range.end;
            DnsData::Aaaa(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        DnsType::NS
        | DnsType::CNAME
        | DnsType::PTR
        | DnsType::DNAME
        | DnsType::MD
        | DnsType::MF
        | DnsType::MB
        | DnsType::MG
        | DnsType::MR => DnsData::Name(names.read(message, &mut at).ok()?),
        DnsType::MX => {
            let preference = u16()?;
            DnsData::Mx { preference, exchange: names.read(message, &mut at).ok()? }
        }
        DnsType::SRV => {
            let (priority, weight, port) = (u16()?, u16()?, u16()?);
            let target = names.read(message, &mut at).ok()?;
            DnsData::Srv { priority, weight, port, target }
        }
        DnsType::TXT | DnsType::SPF => {
            at = range.end;
            DnsData::Txt(strings(bytes)?)
        }
        DnsType::SOA => DnsData::Soa(Box::new(soa(message, &mut at, names)?)),
        _ => return None,
    };
    (at == range.end).then_some(data)
}

fn soa(message: &[u8], at: &mut usize, names: &mut Names) -> Option<DnsSoa> {
    let mut soa = DnsSoa::default();
    soa.primary = names.read(message, at).ok()?;
    soa.mailbox = names.read(message, at).ok()?;
    let numbers: &[u8; 20] = message.get(*at..)?.first_chunk()?;
    *at += numbers.len();
    let (numbers, _) = numbers.as_chunks::<4>();
    let mut numbers = numbers.iter().map(|bytes| u32::from_be_bytes(*bytes));
    soa.serial = numbers.next()?;
    soa.refresh = numbers.next()?;
    soa.retry = numbers.next()?;
    soa.expire = numbers.next()?;
    soa.minimum = numbers.next()?;
    Some(soa)
}

/// The serial in an SOA record whose data are here.
pub(super) fn serial(message: &[u8], start: usize, end: usize) -> Option<u32> {
    let data = message.get(..end)?;
    let mailbox = name::skip(data, start).ok()?;
    let serial = name::skip(data, mailbox).ok()?;
    Some(u32::from_be_bytes(*data.get(serial..)?.first_chunk()?))
}

fn strings(mut bytes: &[u8]) -> Option<Vec<Text>> {
    let mut strings = Vec::with_capacity(1);
    // One string and its length take at least a byte each; an empty one is not worth more.
    while let Some((&length, rest)) = bytes.split_first() {
        let (string, rest) = rest.split_at_checked(length.into())?;
        strings.push(Text::from_bytes(Bytes::copy_from_slice(string)));
        bytes = rest;
    }
    Some(strings)
}

/// EDNS, and the upper bits of the response code (RFC 6891, section 6.1).
pub(super) fn edns(fixed: Fixed, mut data: &[u8]) -> (DnsEdns, u8) {
    let [extended, version, flags, _] = fixed.ttl.to_be_bytes();
    let mut edns = DnsEdns::default();
    edns.version = version;
    edns.udp_size = fixed.class;
    edns.dnssec_ok = flags & 0x80 != 0;
    while let Some((&[a, b, c, d], rest)) = data.split_first_chunk() {
        let (code, length) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let Some((value, rest)) = rest.split_at_checked(length.into()) else { break };
        edns.options.push(option(code, value));
        data = rest;
        if edns.options.len() >= MAX_OPTIONS {
            break;
        }
    }
    (edns, extended)
}

/// More options than this of one message are not kept.
const MAX_OPTIONS: usize = 64;

fn option(code: u16, value: &[u8]) -> DnsOption {
    let known = match code {
        8 => client_subnet(value),
        10 if value.len() == 8 || (16..=40).contains(&value.len()) => {
            Some(DnsOption::Cookie(Bytes::copy_from_slice(value)))
        }
        15 => value.split_first_chunk().map(|(code, text)| DnsOption::ExtendedError {
            code: u16::from_be_bytes(*code),
            text: Text::from_bytes(Bytes::copy_from_slice(text)),
        }),
        _ => None,
    };
    known.unwrap_or_else(|| DnsOption::Other { code, data: Bytes::copy_from_slice(value) })
}

/// RFC 7871, section 6.
fn client_subnet(value: &[u8]) -> Option<DnsOption> {
    let (&[a, b, source_prefix, scope_prefix], prefix) = value.split_first_chunk()?;
    let is_prefix = prefix.len() == usize::from(source_prefix).div_ceil(8);
    let address = match u16::from_be_bytes([a, b]) {
        1 if is_prefix => IpAddr::from(padded::<4>(prefix)?),
        2 if is_prefix => IpAddr::from(padded::<16>(prefix)?),
        _ => return None,
    };
    Some(DnsOption::ClientSubnet { address, source_prefix, scope_prefix })
}

/// The bytes, and zeros after them.
fn padded<const LENGTH: usize>(bytes: &[u8]) -> Option<[u8; LENGTH]> {
    let mut padded = [0; LENGTH];
    padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(padded)
}
