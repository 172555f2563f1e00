//! One message (RFC 1035, section 4.1; RFC 6891 for EDNS).

use super::data;
use super::name::{self, Fault};
use bytes::Bytes;
use pixie_core::Text;
use pixie_core::record::{
    DnsClass, DnsData, DnsMessage, DnsOpcode, DnsQuestion, DnsRcode, DnsResourceRecord, DnsType,
};

/// The top bit of a class in multicast DNS (RFC 6762, sections 5.4 and 10.2).
pub(super) const MULTICAST_BIT: u16 = 0x8000;

/// A message, and what of it only the parser needs.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) message: DnsMessage,
    /// QR.
    pub(super) is_response: bool,
    /// A class has the bit that it has in multicast DNS only.
    pub(super) has_multicast_bit: bool,
    /// The places of the SOA records among the answers, and their serials.
    pub(super) serials: Vec<(u64, u32)>,
}

/// A header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) flags: u16,
    /// Questions, answers, authorities, additionals.
    pub(super) counts: [u16; 4],
}

impl Header {
    /// Bytes that it takes.
    pub(super) const SIZE: usize = 12;

    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let header: &[u8; Self::SIZE] = message.first_chunk()?;
        let [i, d, f, g, a, b, c, e, h, j, k, l] = *header;
        let word = |high, low| u16::from_be_bytes([high, low]);
        let counts = [word(a, b), word(c, e), word(h, j), word(k, l)];
        Some(Self { id: word(i, d), flags: word(f, g), counts })
    }

    pub(super) fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub(super) fn opcode(self) -> DnsOpcode {
        DnsOpcode((self.flags >> 11 & 15) as u8)
    }

    fn message(self) -> DnsMessage {
        let flag = |bit: u16| self.flags & bit != 0;
        let [_, answers, authorities, additionals] = self.counts;
        let mut message = DnsMessage::default();
        message.id = self.id;
        message.opcode = self.opcode();
        message.rcode = DnsRcode(self.flags & 15);
        message.authoritative = flag(0x0400);
        message.truncated = flag(0x0200);
        message.recursion_desired = flag(0x0100);
        message.recursion_available = flag(0x0080);
        message.authentic_data = flag(0x0020);
        message.checking_disabled = flag(0x0010);
        message.record_counts = [answers, authorities, additionals].map(u64::from);
        message
    }
}

/// What precedes the data of a resource record, but for its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed {
    pub(super) kind: DnsType,
    pub(super) class: u16,
    pub(super) ttl: u32,
    pub(super) length: usize,
}

impl Fixed {
    /// Bytes that it takes.
    pub(super) const SIZE: usize = 10;

    pub(super) fn read(message: &[u8], at: usize) -> Option<Self> {
        let fixed: &[u8; Self::SIZE] = message.get(at..)?.first_chunk()?;
        let [a, b, c, d, e, f, g, h, i, j] = *fixed;
        Some(Self {
            kind: DnsType(u16::from_be_bytes([a, b])),
            class: u16::from_be_bytes([c, d]),
            ttl: u32::from_be_bytes([e, f, g, h]),
            length: u16::from_be_bytes([i, j]).into(),
        })
    }
}

/// Decodes a message of which records are kept as long as they are not more than `keep` bytes. When
/// it was cut, what is there of it will do, if that is at least the questions.
///
/// Bytes that follow on the message are let pass.
pub(super) fn decode(message: &[u8], cut: bool, keep: usize) -> Option<Decoded> {
    let header = Header::read(message)?;
    let decoded = Decoded {
        message: header.message(),
        is_response: header.is_response(),
        has_multicast_bit: false,
        serials: Vec::new(),
    };
    let mut decoder =
        Decoder { bytes: message, at: Header::SIZE, keep, names: Names::new(header), decoded };
    decoder.questions(header.counts[0]).ok()?;
    let complete = match decoder.sections(header) {
        Ok(()) => true,
        Err(Fault::Partial) if cut => false,
        Err(_) => return None,
    };
    decoder.decoded.message.complete = complete;
    Some(decoder.decoded)
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    /// So many bytes of records may still be kept.
    keep: usize,
    names: Names,
    decoded: Decoded,
}

impl Decoder<'_> {
    fn questions(&mut self, count: u16) -> Result<(), Fault> {
        self.decoded.message.questions.reserve_exact(count.min(1).into());
        for _ in 0..count {
            let before = self.at;
            let name = self.names.read(self.bytes, &mut self.at)?;
            let fixed = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<4>);
            let [a, b, c, d] = *fixed.ok_or(Fault::Partial)?;
            self.at += 4;
            let size = self.at - before;
            if size > self.keep {
                continue;
            }
            self.keep -= size;
            let mut question = DnsQuestion::new(name, DnsType(u16::from_be_bytes([a, b])));
            (question.class, question.unicast_response) = self.class(u16::from_be_bytes([c, d]));
            self.decoded.message.questions.push(question);
        }
        Ok(())
    }

    /// The class, and whether the bit of multicast DNS is set.
    fn class(&mut self, class: u16) -> (DnsClass, bool) {
        // Beyond it, a class must be left: `ANY | MULTICAST_BIT` is the largest there is.
        let bit = class & MULTICAST_BIT != 0 && class & !MULTICAST_BIT <= DnsClass::ANY.0;
        self.decoded.has_multicast_bit |= bit;
        (DnsClass(if bit { class & !MULTICAST_BIT } else { class }), bit)
    }

    fn sections(&mut self, header: Header) -> Result<(), Fault> {
        let [_, counts @ ..] = header.counts;
        for (section, count) in counts.into_iter().enumerate() {
            for place in 0..count {
                self.record(section, place.into(), count - place)?;
            }
        }
        Ok(())
    }

    /// Reads the record that comes at `place` of its section, in which there are so many left.
    fn record(&mut self, section: usize, place: u64, left: u16) -> Result<(), Fault> {
        let start = self.at;
        let name_end = name::skip(self.bytes, start)?;
        let fixed = Fixed::read(self.bytes, name_end).ok_or(Fault::Partial)?;
        let data_start = name_end + Fixed::SIZE;
        let end = data_start + fixed.length;
        let data = self.bytes.get(data_start..end).ok_or(Fault::Partial)?;
        self.at = end;

        let is_answer = section == 0;
        if fixed.kind == DnsType::SOA && is_answer {
            let serial = data::serial(self.bytes, data_start, end);
            self.decoded.serials.extend(serial.map(|serial| (place, serial)));
        }
        if fixed.kind == DnsType::OPT && section == 2 {
            let message = &mut self.decoded.message;
            let (edns, extended) = data::edns(fixed, data);
            message.rcode.0 |= u16::from(extended) << 4;
            message.edns = Some(Box::new(edns));
            return Ok(());
        }
        let size = end - start;
        if size > self.keep {
            self.keep = 0;
            return Ok(());
        }
        self.keep -= size;

        let mut record = DnsResourceRecord::default();
        record.name = self.names.read(self.bytes, &mut { start })?;
        record.kind = fixed.kind;
        record.ttl = fixed.ttl;
        (record.class, record.cache_flush) = self.class(fixed.class);
        record.data = data::read(self.bytes, data_start..end, fixed.kind, &mut self.names)
            .unwrap_or_else(|| DnsData::Other(Bytes::copy_from_slice(data)));
        // What names expand to counts as well.
        self.keep = self.keep.saturating_sub(self.names.take_expanded());
        let message = &mut self.decoded.message;
        let records = match section {
            0 => &mut message.answers,
            1 => &mut message.authorities,
            _ => &mut message.additionals,
        };
        if records.capacity() == records.len() {
            // As many as there seem to be, but no more than a few that are not there.
            records.reserve_exact(usize::from(left).min(records.len().max(8)));
        }
        records.push(record);
        Ok(())
    }
}

/// Reads names. One that is pointed to again and again is kept once.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The first name, which most others point to, and the last, each with its place.
    known: [Option<(usize, Text)>; 2],
    /// There are records, whose names may be those of others.
    remembers: bool,
    scratch: Vec<u8>,
    /// Bytes of text that were made.
    expanded: usize,
}

impl Names {
    fn new(header: Header) -> Self {
        let [_, answers, authorities, _] = header.counts;
        let remembers = answers > 0 || authorities > 0;
        Self { remembers, scratch: Vec::with_capacity(64), ..Self::default() }
    }

    /// The name at `at`, which moves behind it.
    pub(super) fn read(&mut self, message: &[u8], at: &mut usize) -> Result<Text, Fault> {
        let start = *at;
        let place = name::pointer(message, start).unwrap_or(start);
        if place != start
            && let Some((_, name)) = self.known.iter().flatten().find(|(known, _)| *known == place)
        {
            *at += 2;
            return Ok(name.clone());
        }
        self.scratch.clear();
        *at = name::read(message, start, &mut self.scratch)?;
        self.expanded += self.scratch.len();
        let name = match &*self.scratch {
            b"." => Text::from_bytes(Bytes::from_static(b".")),
            scratch => Text::from_bytes(Bytes::copy_from_slice(scratch)),
        };
        if self.remembers {
            let [first, last] = &mut self.known;
            let known = if first.is_none() { first } else { last };
            *known = Some((place, name.clone()));
        }
        Ok(name)
    }

    fn take_expanded(&mut self) -> usize {
        std::mem::take(&mut self.expanded)
    }
}
