use super::{TlsAlert, TlsClientHello, TlsHandshake, TlsServerHello};
use crate::id::Role;
use crate::record::Entries;
use serde::ser::{Serialize, SerializeMap, Serializer};

impl Entries for TlsHandshake {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.traffic.entries(map)?;
        map.serialize_entry("request", &self.request)?;
        map.serialize_entry("response", &self.response)?;
        map.serialize_entry("alert", &self.alert)?;
        map.serialize_entry("hello_retry", &self.hello_retry)?;
        map.serialize_entry("complete", &self.complete)
    }
}

impl Serialize for TlsClientHello {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("server_name", &self.server_name)?;
        map.serialize_entry("alpn", &self.alpn)?;
        map.serialize_entry("versions", &self.versions)?;
        map.serialize_entry("ciphers", &self.ciphers)?;
        map.serialize_entry("groups", &self.groups)?;
        map.serialize_entry("signature_schemes", &self.signature_schemes)?;
        map.serialize_entry("extensions", &self.extensions)?;
        map.serialize_entry("offers_resumption", &self.offers_resumption)?;
        map.serialize_entry("early_data", &self.early_data)?;
        map.serialize_entry("ja3", &self.ja3)?;
        map.serialize_entry("ja4", &self.ja4)?;
        map.end()
    }
}

impl Serialize for TlsServerHello {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("cipher", &self.cipher)?;
        map.serialize_entry("alpn", &self.alpn)?;
        map.serialize_entry("group", &self.group)?;
        map.serialize_entry("resumed", &self.resumed)?;
        map.serialize_entry("certificate_sizes", &self.certificate_sizes)?;
        map.end()
    }
}

impl Serialize for TlsAlert {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sender", Role::as_str(self.sender))?;
        map.serialize_entry("fatal", &self.fatal)?;
        map.serialize_entry("description", &self.description)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use crate::record::{TlsAlertDescription, TlsCipher, TlsVersion, Traffic};

    #[test]
    fn json_has_names_where_there_are_some() {
        let request = TlsClientHello {
            versions: vec![TlsVersion::TLS_1_3, TlsVersion(0x7f1c)],
            ciphers: vec![TlsCipher(0x1301), TlsCipher(0x1a)],
            ..TlsClientHello::default()
        };
        let mut handshake = TlsHandshake::new(Traffic::default(), Some(request), None);
        let description = Some(TlsAlertDescription(70));
        handshake.alert = Some(TlsAlert::new(Role::Server, Some(true), description));
        let json = serde_json::to_value(Record::from(handshake)).unwrap();
        assert_eq!(json["kind"], "tls_handshake");
        assert_eq!(json["request"]["versions"][0], "TLSv1.3");
        assert_eq!(json["request"]["versions"][1], "0x7f1c");
        assert_eq!(json["request"]["ciphers"][0], "TLS_AES_128_GCM_SHA256");
        assert_eq!(json["request"]["ciphers"][1], "0x001a");
        assert_eq!(json["alert"]["description"], "protocol_version");
        assert_eq!(json["alert"]["sender"], "server");
        assert_eq!(json["complete"], false);
    }
}
