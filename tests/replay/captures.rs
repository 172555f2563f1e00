//! The recorded captures, and variants of them.

use std::fs;
use std::path::PathBuf;

/// A packet: when, in microseconds, and what.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) microseconds: u64,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/replay").join(name)
}

pub(crate) fn read(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap()
}

/// The packets of `ethernet.pcap`.
pub(crate) fn ethernet() -> Vec<Packet> {
    let file = read("ethernet.pcap");
    assert_eq!(file[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    let mut rest = &file[24..];
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let word = |place: usize| u32::from_le_bytes(rest[place..place + 4].try_into().unwrap());
        let (seconds, microseconds) = (u64::from(word(0)), u64::from(word(4)));
        let length = word(8) as usize;
        packets.push(Packet {
            microseconds: seconds * 1_000_000 + microseconds,
            bytes: rest[16..16 + length].to_vec(),
        });
        rest = &rest[16 + length..];
    }
    packets
}

/// A pcap file of these packets.
pub(crate) fn pcap(link_type: u32, packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    for value in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link_type] {
        file.extend(value.to_le_bytes());
    }
    for Packet { microseconds, bytes } in packets {
        let length = bytes.len() as u32;
        let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
        for value in [seconds as u32, rest as u32, length, length] {
            file.extend(value.to_le_bytes());
        }
        file.extend(bytes);
    }
    file
}

impl Packet {
    /// Where the TCP header starts.
    fn tcp(&self) -> usize {
        14 + if self.is_ipv4() { 20 } else { 40 }
    }

    /// The length of the headers down to TCP's.
    fn headers(&self) -> usize {
        self.tcp() + usize::from(self.bytes[self.tcp() + 12] >> 4) * 4
    }

    pub(crate) fn is_syn(&self) -> bool {
        self.bytes[self.tcp() + 13] & 2 != 0
    }

    /// How many bytes of payload it has.
    pub(crate) fn payload(&self) -> usize {
        self.bytes.len() - self.headers()
    }

    /// True when its TCP payload starts like this.
    pub(crate) fn starts_with(&self, text: &str) -> bool {
        self.bytes[self.headers()..].starts_with(text.as_bytes())
    }

    /// The same with something else in the place of its Ethernet header.
    pub(crate) fn with_link(&self, header: &[u8]) -> Self {
        Self { bytes: [header, &self.bytes[14..]].concat(), ..*self }
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.bytes[14] >> 4 == 4
    }
}

/// Numbers that look random and are the same each time (a linear congruential generator, with the
/// constants of Knuth's MMIX).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
