use super::{Dns, DnsEdns, DnsMessage, DnsOpcode, DnsOption, DnsQuestion, DnsResourceRecord};
use crate::record::Entries;
use serde::ser::{Serialize, SerializeMap, Serializer};

impl Entries for Dns {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.traffic.entries(map)?;
        map.serialize_entry("request", &self.request.as_ref().map(Request))?;
        map.serialize_entry(
            "response",
            &self.response.as_ref().map(|response| Response(self, response)),
        )?;
        map.serialize_entry("retries", &self.retries)?;
        map.serialize_entry("multicast", &self.multicast)
    }
}

/// A message as one half of an exchange: what only the other half can have is left out.
struct Request<'a>(&'a DnsMessage);

impl Serialize for Request<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(message) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &message.id)?;
        map.serialize_entry("opcode", &message.opcode)?;
        map.serialize_entry("recursion_desired", &message.recursion_desired)?;
        map.serialize_entry("authentic_data", &message.authentic_data)?;
        map.serialize_entry("checking_disabled", &message.checking_disabled)?;
        map.serialize_entry("questions", &message.questions)?;
        // A query has none; notifications, updates and requests for changes have.
        let [answers, authorities, additionals] = message.record_counts;
        let edns = u64::from(message.edns.is_some());
        if message.opcode != DnsOpcode::QUERY || answers + authorities + additionals > edns {
            message.sections(&mut map)?;
        }
        message.end(&mut map)?;
        map.end()
    }
}

struct Response<'a>(&'a Dns, &'a DnsMessage);

impl Serialize for Response<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(dns, message) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &message.id)?;
        map.serialize_entry("opcode", &message.opcode)?;
        map.serialize_entry("rcode", &message.rcode)?;
        map.serialize_entry("authoritative", &message.authoritative)?;
        map.serialize_entry("truncated", &message.truncated)?;
        map.serialize_entry("recursion_available", &message.recursion_available)?;
        map.serialize_entry("authentic_data", &message.authentic_data)?;
        if !message.questions.is_empty() {
            map.serialize_entry("questions", &message.questions)?;
        }
        message.sections(&mut map)?;
        message.end(&mut map)?;
        map.serialize_entry("messages", &dns.response_messages)?;
        map.end()
    }
}

impl DnsMessage {
    fn sections<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let [answers, authorities, additionals] = self.record_counts;
        map.serialize_entry("answers", &self.answers)?;
        map.serialize_entry("authorities", &self.authorities)?;
        map.serialize_entry("additionals", &self.additionals)?;
        map.serialize_entry("answer_count", &answers)?;
        map.serialize_entry("authority_count", &authorities)?;
        map.serialize_entry("additional_count", &additionals)
    }

    fn end<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("edns", &self.edns)?;
        map.serialize_entry("complete", &self.complete)
    }
}

impl Serialize for DnsQuestion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("type", &self.kind)?;
        map.serialize_entry("class", &self.class)?;
        if self.unicast_response {
            map.serialize_entry("unicast_response", &true)?;
        }
        map.end()
    }
}

impl Serialize for DnsResourceRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("type", &self.kind)?;
        map.serialize_entry("class", &self.class)?;
        map.serialize_entry("ttl", &self.ttl)?;
        map.serialize_entry("data", &self.presentation().to_string())?;
        if self.cache_flush {
            map.serialize_entry("cache_flush", &true)?;
        }
        map.end()
    }
}

impl Serialize for DnsEdns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("udp_size", &self.udp_size)?;
        map.serialize_entry("dnssec_ok", &self.dnssec_ok)?;
        map.serialize_entry("options", &self.options)?;
        map.end()
    }
}

impl Serialize for DnsOption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.code())?;
        map.serialize_entry("name", &self.name())?;
        map.serialize_entry("value", &self.to_string())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use crate::record::{DnsData, DnsType, Traffic};

    #[test]
    fn json_has_questions_and_answers() {
        let mut request = DnsMessage { id: 7, recursion_desired: true, ..DnsMessage::default() };
        request.questions = vec![DnsQuestion::new("a.test", DnsType(65280))];
        request.edns = Some(Box::new(DnsEdns { udp_size: 1232, ..DnsEdns::default() }));
        request.record_counts = [0, 0, 1];
        let mut response = DnsMessage { id: 7, ..DnsMessage::default() };
        let data = DnsData::Mx { preference: 10, exchange: "mail.a.test".into() };
        let answer = DnsResourceRecord { kind: DnsType::MX, data, ..DnsResourceRecord::default() };
        response.answers = vec![answer];
        let dns = Dns::new(Traffic::default(), Some(request), Some(response));
        let json = serde_json::to_value(Record::from(dns)).unwrap();
        assert_eq!(json["kind"], "dns");
        assert_eq!(json["request"]["questions"][0]["name"], "a.test");
        assert_eq!(json["request"]["questions"][0]["type"], "TYPE65280");
        assert_eq!(json["request"]["edns"]["udp_size"], 1232);
        assert_eq!(json["request"].get("answers"), None);
        assert_eq!(json["response"]["rcode"], "NOERROR");
        assert_eq!(json["response"]["answers"][0]["data"], "10 mail.a.test");
        assert_eq!(json["response"]["messages"], 1);
    }
}
