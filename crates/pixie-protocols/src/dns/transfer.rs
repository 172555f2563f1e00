//! Zone transfers: answers in many messages (RFC 5936 for AXFR, RFC 1995 for IXFR).

use super::message::Decoded;
use pixie_core::record::{DnsData, DnsMessage, DnsRcode, DnsType};

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The version that the client has, where it tells.
    known: Option<u32>,
    /// The version that it is given.
    serial: Option<u32>,
    incremental: bool,
    /// Answers so far.
    answers: u64,
    /// How often the given version's SOA record was among them.
    seen: u32,
}

impl Transfer {
    /// The transfer that this query asks for, if it does.
    pub(super) fn asked_by(query: &DnsMessage) -> Option<Self> {
        let kind = query.questions.first()?.kind;
        if kind != DnsType::AXFR && kind != DnsType::IXFR {
            return None;
        }
        let known = query.authorities.first().and_then(|record| match &record.data {
            DnsData::Soa(soa) => Some(soa.serial),
            _ => None,
        });
        Some(Self { known, serial: None, incremental: false, answers: 0, seen: 0 })
    }

    /// Takes note of another message. True when it is the last.
    ///
    /// The zone's SOA record begins and ends a transfer. Where there are changes, these begin with
    /// another SOA record, and the newest version's begins the last of them, too.
    pub(super) fn is_ended_by(&mut self, decoded: &Decoded) -> bool {
        let Decoded { message, serials, .. } = decoded;
        for (place, serial) in serials {
            let place = self.answers + place;
            if place == 0 {
                self.serial = Some(*serial);
            }
            self.incremental |= place == 1 && self.known.is_some();
            self.seen += u32::from(self.serial == Some(*serial));
        }
        self.answers += message.record_counts[0];
        let Some(serial) = self.serial else {
            // It is refused, or begins with something else; or its beginning was not seen.
            return message.complete || message.rcode != DnsRcode::NO_ERROR;
        };
        // The client's version is the newest.
        let is_current = self.answers == 1 && self.known.is_some_and(|known| known == serial);
        let ends = if self.incremental { 3 } else { 2 };
        message.rcode != DnsRcode::NO_ERROR || is_current || self.seen >= ends
    }
}
