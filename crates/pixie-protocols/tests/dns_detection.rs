//! What is taken for DNS, and what is not.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::record::DnsType;
use pixie_protocols::dns::Dns;
use pixie_protocols::parser::{Protocol, Verdict};
use support::dns::{Message, framed, soa, wire_name};

fn messages() -> Vec<(Verdict, Message)> {
    let notify = Message::query(1, "a.test", DnsType::SOA).flags(0x2400);
    let edns = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let multicast = Message::response(0, "", DnsType::A).flags(0x8400).without_question();
    vec![
        (Verdict::Yes, Message::query(1, "a.test", DnsType::A)),
        (Verdict::Yes, Message::query(0xffff, "", DnsType::NS)),
        (Verdict::Yes, Message::query(1, "a.test", DnsType(65280)).flags(0x0010)),
        (
            Verdict::Yes,
            Message::query(1, "a.test", DnsType::A).record_of(
                3,
                &[0],
                DnsType::OPT,
                1232,
                0,
                &edns,
            ),
        ),
        (Verdict::Yes, Message::query(1, "a.test", DnsType::IXFR).record(2, DnsType::SOA, &soa(1))),
        (Verdict::Yes, notify.record(1, DnsType::SOA, &soa(1))),
        (Verdict::Reversed, Message::response(1, "a.test", DnsType::A).a([1; 4])),
        (Verdict::Reversed, Message::response(1, "a.test", DnsType::A).flags(0x8183)),
    ]
    .into_iter()
    .chain([
        // On a stream there are none of these.
        (
            Verdict::Yes,
            Message::query(0, "a.local", DnsType::A).flags(0).question(
                "b.local",
                DnsType::A,
                0x8001,
            ),
        ),
        (
            Verdict::Reversed,
            multicast.record_of(1, &wire_name("a.local"), DnsType::A, 0x8001, 120, &[1; 4]),
        ),
    ])
    .collect()
}

#[test]
fn messages_are_recognised_in_datagrams_and_on_streams() {
    for (number, (verdict, message)) in messages().into_iter().enumerate() {
        let bytes = message.bytes();
        assert_eq!(Dns.probe(&bytes), verdict, "message {number}");
        // A datagram is whole.
        for length in 0..bytes.len() {
            let verdict = Dns.probe(&bytes[..length]);
            assert!(matches!(verdict, Verdict::No | Verdict::NeedMore), "{number}, {length}");
        }
        if number < 8 {
            let pipelined = [message.framed(), message.framed()].concat();
            assert_eq!(Dns.probe(&pipelined), verdict, "message {number}");
            for length in 0..message.framed().len().min(20) {
                assert_eq!(
                    Dns.probe(&pipelined[..length]),
                    Verdict::NeedMore,
                    "{number}, {length}"
                );
            }
        }
    }
}

#[test]
fn a_long_message_is_known_by_its_start() {
    let mut message =
        Message::response(1, "a.test", DnsType::AXFR).record(1, DnsType::SOA, &soa(1));
    for _ in 0..1000 {
        message = message.a([1; 4]);
    }
    assert_eq!(Dns.probe(&message.framed()[..100]), Verdict::Reversed);
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    let ntp = [&[0x23, 2, 6, 0xe8, 0, 0, 0x0c, 0x2b][..], &[0; 40]].concat();
    let netbios =
        [&b"\x12\x34\x01\x10\x00\x01\0\0\0\0\0\0\x20"[..], &[b'C'; 32], b"\0\0\x20\0\x01"];
    let quic = [&b"\xc3\0\0\0\x01\x08"[..], &[0x5a; 1194]].concat();
    let others: &[(&str, &[u8])] = &[
        ("nothing", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("NTP", &ntp),
        ("NTP, all but empty", &[&[0x1b][..], &[0; 47]].concat()),
        ("NetBIOS names", &netbios.concat()),
        ("QUIC", &quic),
        ("syslog", b"<34>1 2026-01-01T00:00:00Z host app - - - message"),
        ("SNMP", b"\x30\x29\x02\x01\x01\x04\x06public\xa0\x1c\x02\x04\x12\x34\x56\x78\x02\x01\0"),
        ("statsd", b"requests:1|c\nlatency:320|ms|@0.1"),
        ("STUN", b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"),
        (
            "DHCP",
            &[&[1, 1, 6, 0, 1, 2, 3, 4][..], &[0; 232], b"\x63\x82\x53\x63\x35\x01\x01\xff"]
                .concat(),
        ),
        ("DTLS", b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x30\x01\0\0\x24\0\0\0\0\0\0\0\x24\xfe\xfd"),
        ("RTP", &[&[0x80, 0, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 2][..], &[0x55; 160]].concat()),
        ("RADIUS", b"\x01\x05\x00\x26abcdefghijklmnop\x01\x08nemo01\x02\x0aabcdefgh"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x12\x34\x56\x78\x9a\xbc\xde\xf0"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("HTTP/2 settings", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"),
        ("Redis", b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
        ("MySQL greeting", b"J\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00abcdefgh\x00"),
        ("PostgreSQL startup", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
        ("MQTT", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test"),
        ("AMQP", b"AMQP\x00\x00\x09\x01"),
        (
            "MongoDB",
            b"\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00\x00\x00\x00\x00",
        ),
        ("Kafka", b"\x00\x00\x00\x1c\x00\x12\x00\x03\x00\x00\x00\x01\x00\x08client-1\x00\x00"),
        ("CQL", b"\x04\x00\x00\x00\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"),
        (
            "memcached",
            b"\x80\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00abcdefghijk",
        ),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    ];
    for (name, bytes) in others {
        assert_eq!(Dns.probe(bytes), Verdict::No, "{name}");
        for length in 0..bytes.len() {
            let verdict = Dns.probe(&bytes[..length]);
            assert!(matches!(verdict, Verdict::No | Verdict::NeedMore), "{name}, {length} bytes");
        }
    }
}

#[test]
fn what_is_all_but_dns_is_not_taken_for_it() {
    let query = Message::query(1, "a.test", DnsType::A);
    let bytes = query.bytes();
    let longer = [&*bytes, b"\0"].concat();
    let no_type = Message::query(1, "a.test", DnsType(0)).bytes();
    let class = Message::default().flags(0x0100).question("a.test", DnsType::A, 2).bytes();
    let flags = [0x0180_u16, 0x0140, 0x0101, 0x0500, 0x1900];
    let flagged = flags.map(|flags| query.clone().flags(flags).bytes());
    for bytes in [longer, no_type, class].iter().chain(&flagged) {
        assert_eq!(Dns.probe(bytes), Verdict::No, "{}", bytes.escape_ascii());
        assert_eq!(Dns.probe(&framed(bytes)), Verdict::No, "{}", bytes.escape_ascii());
    }
}
