//! Whether bytes are a DNS message and nothing else: more is asked than to decode one.

use super::message::{Fixed, Header, MULTICAST_BIT};
use super::name::{self, Fault};
use crate::parser::Verdict;
use pixie_core::record::{DnsClass, DnsOpcode, DnsType};

/// More questions are not asked at once, and only multicast DNS asks more than one.
const MAX_QUESTIONS: u16 = 64;

/// The size of the smallest question, and of the smallest record.
const QUESTION: usize = 5;
const RECORD: usize = 11;

/// How much of a message is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// As much as there is.
    End,
    /// The first record, whatever else is there.
    FirstRecord,
}

/// What a datagram is.
pub(super) fn datagram(bytes: &[u8]) -> Verdict {
    judge(bytes, bytes.len(), Until::End)
}

/// What the start of a stream is: a message after its length in two bytes.
pub(super) fn stream(bytes: &[u8]) -> Verdict {
    framed(bytes, Until::End)
}

/// What a place in a stream is where a message may start. No more than some 600 bytes are needed,
/// and more do not change the verdict: it is the same however the stream is cut.
pub(super) fn place(bytes: &[u8]) -> Verdict {
    framed(bytes, Until::FirstRecord)
}

fn framed(bytes: &[u8], until: Until) -> Verdict {
    let Some((length, message)) = bytes.split_first_chunk() else { return Verdict::NeedMore };
    let length = usize::from(u16::from_be_bytes(*length));
    // Multicast DNS knows no streams.
    let is_multicast = message.get(5).is_some_and(|low| *low > 1);
    if length < Header::SIZE + QUESTION || is_multicast {
        return Verdict::No;
    }
    judge(message.get(..length).unwrap_or(message), length, until)
}

/// What the message of this length is that starts with these bytes.
fn judge(bytes: &[u8], length: usize, until: Until) -> Verdict {
    let Some(header) = Header::read(bytes) else {
        let fits = match bytes {
            // The number of questions, too.
            [_, _, high, low, more, questions, ..] => {
                flags_fit([*high, *low])
                    && u16::from_be_bytes([*more, *questions]) <= MAX_QUESTIONS
                    && (*questions > 0 || high & 0x80 != 0)
            }
            [_, _, high, low, ..] => flags_fit([*high, *low]),
            _ => true,
        };
        return if fits && length >= Header::SIZE { Verdict::NeedMore } else { Verdict::No };
    };
    let verdict = if header.is_response() { Verdict::Reversed } else { Verdict::Yes };
    if !flags_fit(header.flags.to_be_bytes()) || !counts_fit(header, length) {
        return Verdict::No;
    }
    let mut walk = Walk { bytes, length, at: Header::SIZE, records: 0 };
    match walk.message(header, until) {
        Ok(()) if walk.at == length => verdict,
        _ if walk.records > 0 && until == Until::FirstRecord => verdict,
        // It goes on, and is already too well formed to be anything else.
        Err(Fault::Partial) if bytes.len() < length && walk.records > 0 => verdict,
        Err(Fault::Partial) if bytes.len() < length => Verdict::NeedMore,
        _ => Verdict::No,
    }
}

fn flags_fit(flags: [u8; 2]) -> bool {
    let flags = u16::from_be_bytes(flags);
    let header = Header { id: 0, flags, counts: [0; 4] };
    let (opcode, rcode) = (header.opcode(), flags & 15);
    let (authoritative, available, reserved) =
        (flags & 0x0400 != 0, flags & 0x0080 != 0, flags & 0x0040 != 0);
    let known = matches!(opcode, DnsOpcode::QUERY | DnsOpcode::NOTIFY | DnsOpcode::UPDATE);
    let of_query = !available && rcode == 0 && (!authoritative || opcode == DnsOpcode::NOTIFY);
    known && !reserved && rcode <= 11 && (header.is_response() || of_query)
}

fn counts_fit(header: Header, length: usize) -> bool {
    let Header { id, counts: [questions, answers, authorities, additionals], .. } = header;
    let truncated = header.flags & 0x0200 != 0;
    let records = [answers, authorities, additionals].map(usize::from).iter().sum::<usize>();
    let least = Header::SIZE + usize::from(questions) * QUESTION + records * RECORD;
    // Multicast DNS has no ids, but several questions, and says in queries what it knows.
    let is_unicast = id != 0;
    let fits = match (header.is_response(), header.opcode()) {
        (true, _) => questions > 0 || answers > 0,
        (false, DnsOpcode::UPDATE) => questions == 1,
        (false, DnsOpcode::NOTIFY) => questions == 1 && answers <= 1 && authorities == 0,
        (false, _) => {
            let of_unicast = questions == 1
                && answers == 0
                && authorities <= 1
                && additionals <= 4
                && !truncated;
            questions > 0 && (of_unicast || !is_unicast)
        }
    };
    fits && questions <= MAX_QUESTIONS && (questions <= 1 || !is_unicast) && least <= length
}

/// Walks through a message without keeping anything.
struct Walk<'a> {
    bytes: &'a [u8],
    length: usize,
    at: usize,
    /// How many records it has passed, up to their data.
    records: usize,
}

impl Walk<'_> {
    fn message(&mut self, header: Header, until: Until) -> Result<(), Fault> {
        let [questions, records @ ..] = header.counts;
        for _ in 0..questions {
            self.question()?;
        }
        for _ in 0..records.map(u32::from).iter().sum::<u32>() {
            self.record()?;
            if until == Until::FirstRecord {
                break;
            }
        }
        Ok(())
    }

    fn question(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at = name::skip(self.bytes, start)?;
        let fixed = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<4>);
        let [a, b, c, d] = *fixed.ok_or(Fault::Partial)?;
        self.at += 4;
        let (kind, class) = (DnsType(u16::from_be_bytes([a, b])), u16::from_be_bytes([c, d]));
        let fits = kind.0 != 0 && is_class(class) && !is_netbios(self.bytes, start, kind);
        fits.then_some(()).ok_or(Fault::Malformed)
    }

    fn record(&mut self) -> Result<(), Fault> {
        let name_end = name::skip(self.bytes, self.at)?;
        let fixed = Fixed::read(self.bytes, name_end).ok_or(Fault::Partial)?;
        let end = name_end + Fixed::SIZE + fixed.length;
        // The class of this one is the size of datagrams.
        let has_class = fixed.kind == DnsType::OPT || is_class(fixed.class);
        if fixed.kind.0 == 0 || !has_class || end > self.length {
            return Err(Fault::Malformed);
        }
        self.records += 1;
        if end > self.bytes.len() {
            return Err(Fault::Partial);
        }
        self.at = end;
        Ok(())
    }
}

fn is_class(class: u16) -> bool {
    let class = DnsClass(class & !MULTICAST_BIT);
    matches!(
        class,
        DnsClass::IN | DnsClass::CHAOS | DnsClass::HESIOD | DnsClass::NONE | DnsClass::ANY
    )
}

/// NetBIOS's name service has the same format. It asks for types of its own (NB and NBSTAT), and
/// each byte of a name is two letters from A to P (RFC 1002, section 4.2; RFC 1001, section 14.1).
fn is_netbios(message: &[u8], at: usize, kind: DnsType) -> bool {
    let label = message.get(at..).and_then(<[u8]>::first_chunk::<33>);
    let is_encoded = label.is_some_and(|[length, letters @ ..]| {
        *length == 32 && letters.iter().all(|letter| (b'A'..=b'P').contains(letter))
    });
    matches!(kind.0, 0x20 | 0x21) && is_encoded
}
