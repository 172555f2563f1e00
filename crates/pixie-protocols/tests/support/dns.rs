//! DNS on a connection.

use super::{Expected, Talk, context};
use pixie_core::Record;
use pixie_core::id::Transport;
use pixie_core::record::{Dns as DnsRecord, DnsMessage, DnsType};
use pixie_protocols::dns::Dns;

impl Expected for DnsRecord {
    fn of(record: Record) -> Self {
        match record {
            Record::Dns(dns) => *dns,
            record => unreachable!("{record:?}"),
        }
    }
}

impl Talk<DnsRecord> {
    /// A socket for datagrams.
    pub fn udp() -> Self {
        Self::with(&Dns, context(Transport::Udp))
    }

    /// A connection over TCP.
    pub fn tcp() -> Self {
        Self::of(&Dns)
    }

    /// Each record as its questions, the response's code and the number of answers.
    pub fn summary(&self) -> Vec<String> {
        self.records.iter().map(summary).collect()
    }
}

/// A record as its questions, the response's code and the number of answers; messages that were not
/// seen to their end have a `+`.
pub fn summary(dns: &DnsRecord) -> String {
    let end = |message: &DnsMessage| if message.complete { "" } else { "+" };
    let questions =
        dns.questions().iter().map(|question| format!("{} {}", question.kind, question.name));
    let questions = questions.collect::<Vec<_>>().join(",");
    let request = dns
        .request
        .as_ref()
        .map_or("-".into(), |request| format!("{} {questions}{}", request.id, end(request)));
    let response = dns.response.as_ref().map_or("-".into(), |response| {
        format!("{} {} {}{}", response.id, response.rcode, response.record_counts[0], end(response))
    });
    format!("{request} | {response}")
}

/// A message to be.
#[derive(Clone, Debug, Default)]
pub struct Message {
    id: u16,
    flags: u16,
    counts: [u16; 4],
    body: Vec<u8>,
}

impl Message {
    /// A query for recursion.
    pub fn query(id: u16, name: &str, kind: DnsType) -> Self {
        Self { id, flags: 0x0100, ..Self::default() }.question(name, kind, 1)
    }

    /// A response to such a query.
    pub fn response(id: u16, name: &str, kind: DnsType) -> Self {
        Self { id, flags: 0x8180, ..Self::default() }.question(name, kind, 1)
    }

    pub fn flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }

    pub fn question(mut self, name: &str, kind: DnsType, class: u16) -> Self {
        self.counts[0] += 1;
        self.body.extend(wire_name(name));
        self.body.extend([kind.0.to_be_bytes(), class.to_be_bytes()].concat());
        self
    }

    /// Takes the question away.
    pub fn without_question(mut self) -> Self {
        self.counts[0] = 0;
        self.body.clear();
        self
    }

    /// Adds a record to a section (1 for answers) whose name is the first question's.
    pub fn record(self, section: usize, kind: DnsType, data: &[u8]) -> Self {
        self.record_of(section, &[0xc0, 12], kind, 1, 300, data)
    }

    pub fn record_of(
        mut self,
        section: usize,
        name: &[u8],
        kind: DnsType,
        class: u16,
        ttl: u32,
        data: &[u8],
    ) -> Self {
        self.counts[section] += 1;
        self.body.extend(name);
        self.body.extend([kind.0.to_be_bytes(), class.to_be_bytes()].concat());
        self.body.extend(ttl.to_be_bytes());
        self.body.extend((data.len() as u16).to_be_bytes());
        self.body.extend(data);
        self
    }

    pub fn a(self, address: [u8; 4]) -> Self {
        self.record(1, DnsType::A, &address)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let words = [&[self.id, self.flags][..], &self.counts].concat();
        words.into_iter().flat_map(u16::to_be_bytes).chain(self.body.iter().copied()).collect()
    }

    /// After its length.
    pub fn framed(&self) -> Vec<u8> {
        framed(&self.bytes())
    }
}

/// A message after its length.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A name without escapes on the wire.
pub fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let labels = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// The data of an SOA record with this serial.
pub fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 3600, 600, 86400, 60].into_iter().flat_map(u32::to_be_bytes);
    [wire_name("ns.a.test"), wire_name("root.a.test")]
        .into_iter()
        .flatten()
        .chain(numbers)
        .collect()
}
