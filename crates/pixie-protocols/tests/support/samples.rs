//! How conversations begin, in protocols that are parsed and in others that look like them.
#![allow(dead_code, unreachable_pub, missing_docs)] // Each of those who include it uses a part.

/// The first bytes that one side says.
pub struct Sample {
    pub name: &'static str,
    /// The protocol of the registry that may take it for its own, if one may.
    pub protocol: Option<&'static str>,
    pub bytes: &'static [u8],
}

const fn of(protocol: &'static str, name: &'static str, bytes: &'static [u8]) -> Sample {
    Sample { name, protocol: Some(protocol), bytes }
}

const fn other(name: &'static str, bytes: &'static [u8]) -> Sample {
    Sample { name, protocol: None, bytes }
}

/// One line each; the protocol need not be parsed yet.
pub const SAMPLES: &[Sample] = &[
    of("http1", "HTTP request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    of("http1", "HTTP answer", b"HTTP/1.1 200 OK\r\n\r\n"),
    of("http2", "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    of("http2", "HTTP/2 settings", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x10\x00\x00\x00\x06\x00\x01\x00\x00"),
    of("tls", "TLS ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    of("redis", "Redis", b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
    of("redis", "Redis inline", b"GET key\r\n"),
    of("redis", "Redis answer", b"$5\r\nhello\r\n"),
    of("redis", "Redis integer", b":1\r\n"),
    of("redis", "Redis error", b"-ERR unknown command\r\n"),
    of("postgres", "PostgreSQL SSLRequest", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
    of("postgres", "PostgreSQL startup", b"\x00\x00\x00\x14\x00\x03\x00\x00user\x00test\x00\x00"),
    of("postgres", "PostgreSQL query", b"Q\x00\x00\x00\x0dSELECT 1\x00"),
    of("proxy_protocol", "PROXY, version 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n"),
    of("proxy_protocol", "PROXY, version 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x9c\x40\0\x50"),
    of("dns", "DNS over TCP", b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"),
    other("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    other("memcached", b"get key1 key2\r\n"),
    other("memcached set", b"set key 0 0 5\r\nhello\r\n"),
    other("memcached stored", b"STORED\r\n"),
    other("memcached value", b"VALUE key 0 5\r\nhello\r\nEND\r\n"),
    other("memcached binary", b"\x80\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x01\0\0\0\0\0\0\0\0key"),
    other("MySQL greeting", b"J\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00"),
    other("MySQL query", b"\x09\x00\x00\x00\x03SELECT 1"),
    other("MySQL OK", b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"),
    other("SMTP", b"220 mail.test ESMTP\r\n"),
    other("SMTP client", b"EHLO a.test\r\n"),
    other("FTP", b"USER anonymous\r\n"),
    other("IMAP", b"* OK ready\r\n"),
    other("POP3", b"+OK ready\r\n"),
    other("RTSP", b"OPTIONS rtsp://a.test/ RTSP/1.0\r\n"),
    other("RTSP answer", b"RTSP/1.0 200 OK\r\n"),
    other("SIP", b"OPTIONS sip:a@b.test SIP/2.0\r\n"),
    other("ICAP", b"OPTIONS icap://a.test/ ICAP/1.0\r\n"),
    other("HTTP/0.9", b"GET /\r\n"),
    other("NATS", b"CONNECT {\"verbose\":false}\r\n"),
    other("NATS info", b"INFO {\"server_id\":\"A\"}\r\n"),
    other("NATS publication", b"PUB a.b 5\r\nhello\r\n"),
    other("NATS OK", b"+OK\r\n"),
    other("MQTT", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test"),
    other("AMQP", b"AMQP\x00\x00\x09\x01"),
    other("MongoDB", b"\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00"),
    other("Kafka", b"\x00\x00\x00\x1c\x00\x12\x00\x03\x00\x00\x00\x01"),
    other("Kafka, a whole one", b"\x00\x00\x00\x10\x00\x03\x00\x01\x00\x00\x00\x07\x00\x04test\x00\x00"),
    other("Cassandra", b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"),
    other("Cassandra startup", b"\x04\x00\x00\x00\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"),
    other("Mux", b"\x00\x00\x00\x08\x01\x00\x00\x01test"),
    other("ZooKeeper", b"\x00\x00\x00\x2d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x75\x30"),
    other("LDAP bind", b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
    other("SMB", b"\x00\x00\x00\x55\xffSMB\x72\x00\x00\x00\x00"),
    other("RDP", b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"),
    other("VNC", b"RFB 003.008\n"),
    other("BitTorrent", b"\x13BitTorrent protocol\x00\x00\x00\x00\x00\x10\x00\x05"),
    other("SOCKS 5", b"\x05\x01\x00"),
    other("NTP", b"\x23\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x00\x00\x00\x00\x00\x00\x00"),
    other("QUIC", b"\xc3\x00\x00\x00\x01\x08\x00\x01\x02\x03\x04\x05\x06\x07\x00\x00\x44\x9e"),
    other("syslog", b"<34>Oct 11 22:14:15 host su: failed\n"),
    other("statsd", b"requests:1|c"),
    other("JSON", b"{\"id\": 1}\n"),
    other("XML", b"<?xml version=\"1.0\"?>"),
    other("a word", b"GETTING / HTTP/1.1\r\n"),
    other("lower case", b"get / HTTP/1.1\r\n"),
    other("a later version of HTTP", b"HTTP/1.2 200 OK\r\n"),
    other("HTTP without a status", b"HTTP/1.1 OK\r\n"),
    other("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"),
    other("PNG", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"),
    other("ELF", b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
    other("zeros", &[0; 64]),
    other("ones", &[0xff; 64]),
    other("empty lines", b"\r\n\r\n\r\n"),
];
