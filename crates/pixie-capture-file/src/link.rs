//! Steps over the header of the link layer.

use crate::bytes::u16_at;
use crate::reader::Packet;
use crate::summary::Skipped;

/// Numbers of <https://www.tcpdump.org/linktypes.html>.
mod link_type {
    pub(super) const NULL: u16 = 0;
    pub(super) const ETHERNET: u16 = 1;
    /// Some systems write their own number for "raw" into files, not 101.
    pub(super) const RAW_BSD: u16 = 12;
    pub(super) const RAW_OPENBSD: u16 = 14;
    pub(super) const RAW: u16 = 101;
    pub(super) const LOOP: u16 = 108;
    pub(super) const LINUX_SLL: u16 = 113;
    pub(super) const IPV4: u16 = 228;
    pub(super) const IPV6: u16 = 229;
    pub(super) const LINUX_SLL2: u16 = 276;
}

/// Numbers of <https://www.iana.org/assignments/ieee-802-numbers>.
mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q, 802.1ad, and what was in use before the latter.
    pub(super) const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
}

/// The IP packet in `packet`.
pub(crate) fn ip_packet<'a>(packet: &Packet<'a>) -> Result<&'a [u8], Skipped> {
    let bytes = packet.bytes;
    match packet.link_type {
        link_type::ETHERNET => by_ether_type(bytes, 12, 14),
        link_type::LINUX_SLL => by_ether_type(bytes, 14, 16),
        link_type::LINUX_SLL2 => by_ether_type(bytes, 0, 20),
        // An address family, in the byte order of whatever machine captured it. The IP header
        // that follows has its version in it.
        link_type::NULL | link_type::LOOP => bytes.get(4..).ok_or(Skipped::TruncatedHeader),
        link_type::RAW_BSD | link_type::RAW_OPENBSD | link_type::RAW => Ok(bytes),
        link_type::IPV4 | link_type::IPV6 => Ok(bytes),
        _ => Err(Skipped::UnknownLinkType),
    }
}

/// The IP packet after a header of `length` bytes, which has the type of what follows at `place`,
/// and after VLAN tags.
fn by_ether_type(bytes: &[u8], place: usize, length: usize) -> Result<&[u8], Skipped> {
    let mut ether_type = u16_at(bytes, place).ok_or(Skipped::TruncatedHeader)?;
    let mut rest = bytes.get(length..).ok_or(Skipped::TruncatedHeader)?;
    while ether_type::VLAN.contains(&ether_type) {
        ether_type = u16_at(rest, 2).ok_or(Skipped::TruncatedHeader)?;
        rest = rest.get(4..).ok_or(Skipped::TruncatedHeader)?;
    }
    match ether_type {
        ether_type::IPV4 | ether_type::IPV6 => Ok(rest),
        _ => Err(Skipped::NotIp),
    }
}
