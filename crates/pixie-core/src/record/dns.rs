mod data;
mod edns;
mod numbers;
mod presentation;
#[cfg(feature = "serde")]
mod serialize;

pub use data::{DnsData, DnsSoa, push_dns_label};
pub use edns::{DnsEdns, DnsOption};
pub use numbers::{DnsClass, DnsOpcode, DnsRcode, DnsType};

use super::Traffic;
use crate::Text;
use crate::record::heap::heap;
use crate::sinks::{REDACTED, Redaction};
use bytes::Bytes;
use std::fmt;

/// So many answers are shown in a line for people.
const SHOWN: usize = 4;

/// A DNS query and the response to it.
///
/// One half is `None` when it was not seen or is not there: nobody answered, or it is a message of
/// multicast DNS, which is not paired.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Dns {
    /// What all traffic records have in common.
    pub traffic: Traffic,
    /// The query (or notification, or update).
    pub request: Option<DnsMessage>,
    /// The response. Of a zone transfer in many messages it is the first one, and has the answers
    /// of all of them, as far as they are kept.
    pub response: Option<DnsMessage>,
    /// How often the query was repeated before there was an answer.
    pub retries: u32,
    /// How many messages the response consists of: more than one in a zone transfer.
    pub response_messages: u32,
    /// True for multicast DNS (RFC 6762), by its port, its addresses, or the bits that only it has.
    pub multicast: bool,
}

/// A DNS message (RFC 1035, section 4).
///
/// Names are in presentation form (RFC 1035, section 5.1) without the dot at the end, the root is
/// `.`; a dot or anything unusual within a label is escaped by a backslash.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DnsMessage {
    /// The number by which a response is matched with its query.
    pub id: u16,
    /// What is asked for.
    pub opcode: DnsOpcode,
    /// What came of it, with the upper bits from EDNS(0). No error in a query.
    pub rcode: DnsRcode,
    /// AA: the server is an authority for the name.
    pub authoritative: bool,
    /// TC: the message was cut by its sender to fit into a datagram.
    pub truncated: bool,
    /// RD: the server is asked to ask others.
    pub recursion_desired: bool,
    /// RA: it does so.
    pub recursion_available: bool,
    /// AD: the server has checked the signatures.
    pub authentic_data: bool,
    /// CD: the server is asked not to.
    pub checking_disabled: bool,
    /// What is asked. Empty in a response that repeats the questions of its query.
    pub questions: Vec<DnsQuestion>,
    /// The answers; in an update (RFC 2136), the prerequisites.
    pub answers: Vec<DnsResourceRecord>,
    /// The authorities; in an update, the changes.
    pub authorities: Vec<DnsResourceRecord>,
    /// The additional records, but for EDNS's.
    pub additionals: Vec<DnsResourceRecord>,
    /// How many records there are in the three sections, EDNS's included. Some may not be among
    /// the above: a message's records are kept up to the limit on bodies.
    pub record_counts: [u64; 3],
    /// EDNS(0) (RFC 6891), where it is used.
    pub edns: Option<Box<DnsEdns>>,
    /// False when the end of the message was not captured: what it would tell is missing.
    pub complete: bool,
}

/// A question (RFC 1035, section 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DnsQuestion {
    /// The name that is asked about.
    pub name: Text,
    /// The type of the records that are asked for.
    pub kind: DnsType,
    /// Their class.
    pub class: DnsClass,
    /// Multicast DNS: an answer to this host alone is preferred (QU).
    pub unicast_response: bool,
}

/// A resource record (RFC 1035, section 4.1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsResourceRecord {
    /// Whom it tells of.
    pub name: Text,
    /// Its type.
    pub kind: DnsType,
    /// Its class.
    pub class: DnsClass,
    /// For how many seconds it may be kept.
    pub ttl: u32,
    /// What it tells.
    pub data: DnsData,
    /// Multicast DNS: what was known before is to be forgotten.
    pub cache_flush: bool,
}

impl Dns {
    /// An exchange over the connection that `traffic` names.
    #[must_use]
    #[inline]
    pub fn new(
        traffic: Traffic,
        request: Option<DnsMessage>,
        response: Option<DnsMessage>,
    ) -> Self {
        let response_messages = u32::from(response.is_some());
        Self { traffic, request, response, response_messages, retries: 0, multicast: false }
    }

    /// True when the response's code is not `NOERROR`. So a name that does not exist (`NXDOMAIN`)
    /// is an error, too; a name without records of the type that was asked for is not.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.rcode != DnsRcode::NO_ERROR)
    }

    /// What was asked, as the query says or else as the response repeats it.
    #[must_use]
    pub fn questions(&self) -> &[DnsQuestion] {
        let messages = [&self.request, &self.response];
        let mut questions = messages.into_iter().flatten().map(|message| &*message.questions);
        questions.find(|questions| !questions.is_empty()).unwrap_or_default()
    }

    /// Removes names and data where queries are to be removed: what was asked is what tells of
    /// people.
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        if redaction.removes_queries() {
            for message in [&mut self.request, &mut self.response].into_iter().flatten() {
                message.redact();
            }
        }
    }
}

impl DnsMessage {
    /// The records of all three sections.
    pub fn records(&self) -> impl Iterator<Item = &DnsResourceRecord> {
        self.answers.iter().chain(&self.authorities).chain(&self.additionals)
    }

    fn redact(&mut self) {
        let removed = || Text::from_bytes(Bytes::from_static(REDACTED.as_bytes()));
        for question in &mut self.questions {
            question.name = removed();
        }
        let sections = [&mut self.answers, &mut self.authorities, &mut self.additionals];
        for record in sections.into_iter().flatten() {
            record.name = removed();
            record.data = DnsData::default();
        }
        if let Some(edns) = &mut self.edns {
            edns.options.clear();
        }
    }
}

impl DnsQuestion {
    /// A question of the class `IN`.
    #[must_use]
    pub fn new(name: impl Into<Text>, kind: DnsType) -> Self {
        Self { name: name.into(), kind, class: DnsClass::IN, unicast_response: false }
    }
}

impl fmt::Display for Dns {
    /// `14:03:59.120 1234 dig client 127.0.0.1:5000 -> 127.0.0.1:53 A example.com NOERROR
    /// 192.0.2.1 1.25 ms`, in one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        let opcode = self.request.as_ref().or(self.response.as_ref()).map(|message| message.opcode);
        match opcode {
            Some(opcode) if opcode != DnsOpcode::QUERY => write!(formatter, " {opcode}")?,
            _ => {}
        }
        let questions = self.questions();
        for DnsQuestion { name, kind, .. } in questions.iter().take(SHOWN) {
            write!(formatter, " {kind} {name}")?;
        }
        if questions.len() > SHOWN {
            write!(formatter, " (of {})", questions.len())?;
        }
        if questions.is_empty() {
            formatter.write_str(" ?")?;
        }
        match &self.response {
            Some(response) => response.fmt_answers(formatter)?,
            None if self.multicast => {}
            None => formatter.write_str(" no response")?,
        }
        if self.retries > 0 {
            write!(formatter, " ({} retries)", self.retries)?;
        }
        self.traffic.fmt_latency(formatter)
    }
}

impl DnsMessage {
    fn fmt_answers(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, " {}", self.rcode)?;
        if self.truncated {
            formatter.write_str(" truncated")?;
        }
        for record in self.answers.iter().take(SHOWN) {
            write!(formatter, " {}", record.presentation())?;
        }
        let [answers, ..] = self.record_counts;
        if answers > self.answers.len().min(SHOWN) as u64 {
            write!(formatter, " (of {answers} answers)")?;
        }
        Ok(())
    }
}

heap! {
    Dns { request, response }
    DnsMessage { questions, answers, authorities, additionals, edns }
    DnsQuestion { name }
    DnsResourceRecord { name, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn exchange() -> Dns {
        let questions = vec![DnsQuestion::new("a.test", DnsType::A)];
        let request = DnsMessage { id: 7, questions, ..DnsMessage::default() };
        let mut response = DnsMessage { id: 7, ..DnsMessage::default() };
        response.answers = vec![DnsResourceRecord {
            name: "a.test".into(),
            kind: DnsType::A,
            class: DnsClass::IN,
            ttl: 60,
            data: DnsData::A([192, 0, 2, 1].into()),
            cache_flush: false,
        }];
        response.record_counts = [1, 0, 0];
        Dns::new(Traffic::default(), Some(request), Some(response))
    }

    #[test]
    fn a_line_says_what_was_asked_and_answered() {
        let mut dns = exchange();
        assert!(dns.to_string().ends_with(" A a.test NOERROR 192.0.2.1"), "{dns}");
        assert!(!dns.is_error());
        dns.response = None;
        dns.retries = 2;
        assert!(dns.to_string().ends_with(" A a.test no response (2 retries)"), "{dns}");
        assert!(!dns.is_error());
    }

    #[test]
    fn a_name_that_does_not_exist_is_an_error() {
        let mut dns = exchange();
        let response = dns.response.as_mut().unwrap();
        response.rcode = DnsRcode::NAME_ERROR;
        response.answers.clear();
        response.record_counts = [0; 3];
        assert!(dns.is_error());
        assert!(dns.to_string().ends_with(" A a.test NXDOMAIN"), "{dns}");
    }

    #[test]
    fn a_long_answer_is_shown_in_part() {
        let mut dns = exchange();
        let response = dns.response.as_mut().unwrap();
        response.answers = vec![response.answers[0].clone(); 9];
        response.record_counts = [9, 0, 0];
        assert!(dns.to_string().ends_with(" 192.0.2.1 192.0.2.1 (of 9 answers)"), "{dns}");
    }

    #[test]
    fn names_and_data_go_with_queries_and_stay_by_default() {
        let record = Record::from(exchange());
        assert_eq!(Redaction::default().apply(&record), record);
        let redacted = Redaction::none().queries().apply(&record);
        let line = format!("{redacted:?}");
        assert!(!line.contains("a.test") && !line.contains("192.0.2.1"), "{line}");
        assert!(line.contains("60"), "the rest stays: {line}");
    }
}
