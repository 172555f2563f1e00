//! DNS as it is spoken: messages, pairing, transfers.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::id::{Direction, Role, Transport};
use pixie_core::record::{
    Address, Cause, DnsClass, DnsData, DnsOpcode, DnsOption, DnsRcode, DnsType,
};
use pixie_protocols::dns::Dns;
use pixie_protocols::parser::Limits;
use std::net::SocketAddr;
use std::time::Duration;
use support::dns::{Message, framed, soa, wire_name};
use support::{REQUESTS, RESPONSES, context};

type Talk = support::Talk<pixie_core::record::Dns>;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 53);

fn peer(port: u16) -> SocketAddr {
    SocketAddr::new(SERVER.ip(), port)
}

fn query(id: u16, name: &str) -> Vec<u8> {
    Message::query(id, name, DnsType::A).bytes()
}

fn response(id: u16, name: &str) -> Vec<u8> {
    Message::response(id, name, DnsType::A).a([192, 0, 2, 1]).bytes()
}

#[track_caller]
fn assert_summary(talk: &Talk, expected: &[&str]) {
    assert_eq!(talk.summary(), expected);
    assert_eq!(talk.skipped, []);
}

/// The presentation of the answers in the first record.
fn answers(talk: &Talk) -> Vec<String> {
    let response = talk.records[0].response.as_ref().unwrap();
    response.answers.iter().map(|answer| answer.presentation().to_string()).collect()
}

#[test]
fn an_exchange_has_all_its_parts() {
    let mut talk = Talk::udp();
    let edns = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let query = Message::query(7, "www.a.test", DnsType::A).flags(0x0130);
    let query = query.record_of(3, &[0], DnsType::OPT, 1232, 0x8000, &edns).bytes();
    let response = Message::response(7, "www.a.test", DnsType::A)
        .flags(0x85a3)
        .record(1, DnsType::CNAME, &[1, b'b', 0xc0, 16])
        .record_of(1, &[1, b'b', 0xc0, 16], DnsType::A, 1, 60, &[192, 0, 2, 1])
        .record_of(2, &[0xc0, 16], DnsType::NS, 1, 60, &[2, b'n', b's', 0xc0, 16])
        .record_of(
            3,
            &[0],
            DnsType::OPT,
            4096,
            0,
            &[0, 15, 0, 7, 0, 3, b's', b't', b'a', b'l', b'e'],
        )
        .bytes();
    talk.datagram(REQUESTS, SERVER, &query).datagram(RESPONSES, SERVER, &response);
    let dns = &talk.records[0];
    let (asked, answered) = (dns.request.as_ref().unwrap(), dns.response.as_ref().unwrap());

    assert_eq!((asked.id, asked.opcode), (7, DnsOpcode::QUERY));
    assert!(asked.recursion_desired && asked.authentic_data && asked.checking_disabled);
    assert!(asked.complete && answered.complete);
    assert_eq!(asked.questions.len(), 1);
    assert_eq!(asked.questions[0].name, "www.a.test");
    assert_eq!((asked.questions[0].kind, asked.questions[0].class), (DnsType::A, DnsClass::IN));
    let edns = asked.edns.as_ref().unwrap();
    assert_eq!((edns.version, edns.udp_size, edns.dnssec_ok), (0, 1232, true));
    let options: Vec<String> = edns.options.iter().map(ToString::to_string).collect();
    assert_eq!(options, ["192.0.2.0/24/0", "0102030405060708"]);
    assert_eq!(asked.record_counts, [0, 0, 1]);

    assert_eq!((answered.id, answered.rcode), (7, DnsRcode::NAME_ERROR));
    assert!(answered.authoritative && answered.recursion_desired && answered.recursion_available);
    assert!(answered.authentic_data && !answered.checking_disabled && !answered.truncated);
    assert_eq!(answered.questions, [], "they are the query's");
    assert_eq!(answers(&talk), ["b.a.test", "192.0.2.1"]);
    assert_eq!(answered.answers[0].name, "www.a.test");
    assert_eq!((answered.answers[0].ttl, answered.answers[1].ttl), (300, 60));
    assert_eq!(answered.answers[1].data, DnsData::A([192, 0, 2, 1].into()));
    assert_eq!(answered.authorities[0].data, DnsData::Name("ns.a.test".into()));
    assert_eq!(answered.record_counts, [2, 1, 1]);
    let edns = answered.edns.as_ref().unwrap();
    assert_eq!(edns.options, [DnsOption::ExtendedError { code: 3, text: "stale".into() }]);

    assert!(dns.is_error());
    assert_eq!((dns.retries, dns.response_messages, dns.multicast), (0, 1, false));
    assert_eq!(dns.traffic.role, Some(Role::Client));
    assert_eq!(dns.traffic.connection.remote, Some(Address::Inet(SERVER)));
    assert_eq!(dns.traffic.request_bytes, query.len() as u64);
    assert_eq!(dns.traffic.response_bytes, response.len() as u64);
    assert_eq!(dns.traffic.latency, Some(Duration::from_millis(1)));
    assert_eq!(dns.traffic.time_to_first_byte, Some(Duration::from_millis(1)));
}

#[test]
fn data_of_the_common_types_are_understood() {
    let name = wire_name("b.test");
    let of = |numbers: &[u16]| {
        let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
        numbers.chain(name.clone()).collect::<Vec<u8>>()
    };
    let bytes = Message::response(1, "a.test", DnsType::ANY)
        .record(1, DnsType::AAAA, &std::net::Ipv6Addr::LOCALHOST.octets())
        .record(1, DnsType::PTR, &name)
        .record(1, DnsType::MX, &of(&[10]))
        .record(1, DnsType::SRV, &of(&[1, 2, 443]))
        .record(1, DnsType::TXT, b"\x05a \"b\"\x00\x01\xff")
        .record(1, DnsType::SOA, &soa(7))
        .record(1, DnsType::CAA, b"\x00\x05issueca.test")
        .record(1, DnsType(65280), b"\x0a\x0b")
        .record(1, DnsType::A, b"\x01\x02\x03")
        .bytes();
    let mut talk = Talk::udp();
    talk.datagram(REQUESTS, SERVER, Message::query(1, "a.test", DnsType::ANY).bytes());
    talk.datagram(RESPONSES, SERVER, bytes);
    assert_eq!(
        answers(&talk),
        [
            "::1",
            "b.test",
            "10 b.test",
            "1 2 443 b.test",
            r#""a \"b\"" "" "\255""#,
            "ns.a.test root.a.test 7 3600 600 86400 60",
            r#"0 issue "ca.test""#,
            "\\# 2 0a0b",
            "\\# 3 010203",
        ]
    );
}

#[test]
fn answers_come_in_any_order_from_many_peers() {
    let mut talk = Talk::udp();
    for port in 1..=20 {
        // The same id to every one of them, and two questions with one id.
        talk.datagram(REQUESTS, peer(port), query(5, &format!("a{port}.test")));
        talk.datagram(REQUESTS, peer(port), query(5, &format!("b{port}.test")));
    }
    for port in (1..=20).rev() {
        talk.datagram(RESPONSES, peer(port), response(5, &format!("b{port}.TEST")));
        talk.datagram(RESPONSES, peer(port), response(5, &format!("a{port}.test")));
    }
    assert_eq!(talk.records.len(), 40);
    for (number, dns) in talk.records.iter().enumerate() {
        let port = 20 - number / 2;
        let letter = if number % 2 == 0 { 'b' } else { 'a' };
        assert_eq!(dns.questions()[0].name, format!("{letter}{port}.test").as_str());
        assert_eq!(dns.response.as_ref().unwrap().answers.len(), 1);
        assert_eq!(dns.traffic.connection.remote, Some(Address::Inet(peer(port as u16))));
    }
    assert_eq!(talk.skipped, []);
}

#[test]
fn a_socket_may_both_ask_and_answer() {
    let mut talk = Talk::udp();
    talk.datagram(Direction::Received, peer(1), query(1, "a.test"));
    talk.datagram(Direction::Sent, SERVER, query(1, "a.test"));
    talk.datagram(Direction::Received, SERVER, response(1, "a.test"));
    talk.datagram(Direction::Sent, peer(1), response(1, "a.test"));
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 1", "1 A a.test | 1 NOERROR 1"]);
    let roles: Vec<_> = talk.records.iter().map(|dns| dns.traffic.role.unwrap()).collect();
    assert_eq!(roles, [Role::Client, Role::Server]);
}

#[test]
fn an_answer_to_another_question_is_not_taken() {
    let mut talk = Talk::udp();
    talk.datagram(REQUESTS, SERVER, query(1, "a.test"));
    talk.datagram(RESPONSES, SERVER, response(1, "b.test"));
    talk.datagram(RESPONSES, SERVER, response(2, "a.test"));
    talk.datagram(RESPONSES, peer(54), response(1, "a.test"));
    talk.datagram(RESPONSES, SERVER, Message::response(1, "a.test", DnsType::AAAA).bytes());
    talk.finish();
    let summary = talk.summary();
    assert_eq!(summary.len(), 5);
    assert!(summary.contains(&"1 A a.test | -".to_owned()), "{summary:?}");
    let questions = talk.records[0].response.as_ref().unwrap().questions.len();
    assert_eq!(questions, 1, "without the query, the response says what was asked");
}

#[test]
fn a_query_that_is_repeated_is_one_exchange() {
    let mut talk = Talk::udp();
    let size = query(1, "a.test").len() as u64;
    for _ in 0..3 {
        talk.datagram(REQUESTS, SERVER, query(1, "a.test"));
    }
    talk.datagram(RESPONSES, SERVER, response(1, "a.test"));
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 1"]);
    let dns = &talk.records[0];
    assert_eq!((dns.retries, dns.traffic.request_bytes), (2, 3 * size));
    assert_eq!(dns.traffic.latency, Some(Duration::from_millis(3)), "from the first");
}

#[test]
fn queries_that_nobody_answers_are_told_after_a_while_or_at_the_end() {
    let mut talk = Talk::udp();
    talk.datagram(REQUESTS, SERVER, query(1, "a.test"));
    talk.now += 9_000_000_000;
    talk.datagram(REQUESTS, SERVER, query(2, "b.test"));
    assert_summary(&talk, &[]);
    talk.now += 2_000_000_000;
    talk.datagram(REQUESTS, SERVER, query(3, "c.test"));
    assert_summary(&talk, &["1 A a.test | -"]);
    assert_eq!(talk.records[0].traffic.latency, None);
    assert!(!talk.records[0].is_error());
    talk.finish();
    assert_summary(&talk, &["1 A a.test | -", "2 A b.test | -", "3 A c.test | -"]);
}

#[test]
fn queries_that_wait_are_bounded() {
    let mut limits = Limits::default();
    limits.pending = 3;
    let mut talk = Talk::with(&Dns, context(Transport::Udp).with_limits(limits));
    for id in 0..5 {
        talk.datagram(REQUESTS, SERVER, query(id, "a.test"));
    }
    assert_summary(&talk, &["0 A a.test | -", "1 A a.test | -"]);

    // By size, too.
    let mut talk = Talk::udp();
    let long = vec![1; 4000];
    for id in 0..1000 {
        let query = Message::query(id, "a.test", DnsType::A).record(1, DnsType(65280), &long);
        talk.datagram(REQUESTS, SERVER, query.bytes());
        assert!(talk.memory() < 600 << 10, "{}", talk.memory());
    }
    assert!(talk.records.len() > 800);
}

#[test]
fn a_response_may_overtake_its_query() {
    let mut talk = Talk::udp();
    talk.datagram(RESPONSES, SERVER, response(1, "a.test"));
    talk.datagram(REQUESTS, SERVER, query(1, "a.test"));
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 1"]);
    assert_eq!(talk.records[0].traffic.latency, Some(Duration::ZERO));
    // But not by seconds.
    talk.datagram(RESPONSES, SERVER, response(2, "a.test"));
    talk.now += 2_000_000_000;
    talk.datagram(REQUESTS, SERVER, query(2, "a.test"));
    talk.finish();
    assert_eq!(talk.summary()[1..], ["- | 2 NOERROR 1", "2 A a.test | -"]);
    assert_eq!(talk.records[1].traffic.role, Some(Role::Client));
}

#[test]
fn every_response_code_has_its_name() {
    let codes = [
        (0, "NOERROR"),
        (1, "FORMERR"),
        (2, "SERVFAIL"),
        (3, "NXDOMAIN"),
        (4, "NOTIMP"),
        (5, "REFUSED"),
        (9, "NOTAUTH"),
        (12, "RCODE12"),
        (16, "BADVERS"),
        (23, "BADCOOKIE"),
        (4095, "RCODE4095"),
    ];
    for (code, name) in codes {
        let mut talk = Talk::udp();
        talk.datagram(REQUESTS, SERVER, query(1, "a.test"));
        let response = Message::response(1, "a.test", DnsType::A).flags(0x8180 | code & 15);
        let upper = u32::from(code >> 4) << 24;
        let response = response.record_of(3, &[0], DnsType::OPT, 512, upper, &[]);
        talk.datagram(RESPONSES, SERVER, response.bytes());
        assert_summary(&talk, &[&format!("1 A a.test | 1 {name} 0")]);
        assert_eq!(talk.records[0].is_error(), code != 0);
    }
}

#[test]
fn errors_need_not_repeat_the_question() {
    let mut talk = Talk::udp();
    talk.datagram(REQUESTS, SERVER, query(1, "a.test"));
    let response = Message::response(1, "", DnsType::A).flags(0x8181).without_question();
    talk.datagram(RESPONSES, SERVER, response.bytes());
    assert_summary(&talk, &["1 A a.test | 1 FORMERR 0"]);
}

#[test]
fn notifications_and_updates() {
    let mut talk = Talk::udp();
    let notify = Message::query(1, "a.test", DnsType::SOA).flags(0x2400);
    talk.datagram(REQUESTS, SERVER, notify.record(1, DnsType::SOA, &soa(9)).bytes());
    let response = Message::response(1, "a.test", DnsType::SOA).flags(0xa400);
    talk.datagram(RESPONSES, SERVER, response.bytes());
    let update = Message::query(2, "a.test", DnsType::SOA)
        .flags(0x2800)
        .record_of(1, &[0xc0, 12], DnsType::ANY, 255, 0, &[])
        .record_of(2, &[1, b'w', 0xc0, 12], DnsType::A, 254, 0, &[192, 0, 2, 1]);
    talk.datagram(REQUESTS, SERVER, update.bytes());
    let response = Message::response(2, "a.test", DnsType::SOA).flags(0xa805);
    talk.datagram(RESPONSES, SERVER, response.bytes());
    assert_summary(&talk, &["1 SOA a.test | 1 NOERROR 0", "2 SOA a.test | 2 REFUSED 0"]);
    let request = |number: usize| talk.records[number].request.as_ref().unwrap();
    assert_eq!(request(0).opcode, DnsOpcode::NOTIFY);
    assert_eq!(request(0).answers.len(), 1);
    let update = request(1);
    assert_eq!(update.opcode, DnsOpcode::UPDATE);
    assert_eq!((update.answers[0].kind, update.answers[0].class), (DnsType::ANY, DnsClass::ANY));
    assert_eq!(update.answers[0].data, DnsData::default());
    assert_eq!(update.authorities[0].name, "w.a.test");
    assert_eq!(update.authorities[0].class, DnsClass::NONE);
    assert!(talk.records[1].to_string().contains(" UPDATE SOA a.test REFUSED"));
}

#[test]
fn multicast_messages_are_not_paired() {
    let group: SocketAddr = "224.0.0.251:5353".parse().unwrap();
    let mut talk = Talk::udp();
    let query = Message::query(0, "_http._tcp.local", DnsType::PTR).flags(0);
    talk.datagram(Direction::Sent, group, query.question("b.local", DnsType::A, 0x8001).bytes());
    let response = Message::response(0, "", DnsType::A).flags(0x8400).without_question();
    let response =
        response.record_of(1, &wire_name("b.local"), DnsType::A, 0x8001, 120, &[192, 0, 2, 1]);
    talk.datagram(Direction::Received, peer(5353), response.bytes());
    assert_summary(&talk, &["0 PTR _http._tcp.local,A b.local | -", "- | 0 NOERROR 1"]);
    assert!(talk.records.iter().all(|dns| dns.multicast));
    let questions = &talk.records[0].request.as_ref().unwrap().questions;
    assert_eq!((questions[0].unicast_response, questions[1].unicast_response), (false, true));
    assert_eq!(questions[1].class, DnsClass::IN);
    let answer = &talk.records[1].response.as_ref().unwrap().answers[0];
    assert!(answer.cache_flush && answer.class == DnsClass::IN);
}

#[test]
fn a_question_to_the_group_is_answered_by_one_of_its_members() {
    let group: SocketAddr = "[ff02::fb]:5353".parse().unwrap();
    let mut talk = Talk::udp();
    talk.datagram(REQUESTS, group, query(9, "b.local"));
    talk.datagram(RESPONSES, peer(5353), response(9, "b.local"));
    assert_summary(&talk, &["9 A b.local | 9 NOERROR 1"]);
    assert!(talk.records[0].multicast);
}

#[test]
fn a_server_at_the_port_of_multicast_is_not_taken_for_it() {
    let mut talk = Talk::udp();
    talk.datagram(REQUESTS, peer(5353), query(9, "b.test"));
    talk.datagram(RESPONSES, peer(5353), response(9, "b.test"));
    assert_summary(&talk, &["9 A b.test | 9 NOERROR 1"]);
    assert!(!talk.records[0].multicast);
}

#[test]
fn a_datagram_that_was_captured_in_part_tells_what_is_there() {
    let mut talk = Talk::udp();
    talk.datagram(REQUESTS, SERVER, query(1, "a.test"));
    let whole = Message::response(1, "a.test", DnsType::A).a([1; 4]).a([2; 4]).a([3; 4]).bytes();
    let cut = whole.len() - 20;
    talk.datagram(RESPONSES, SERVER, &whole[..cut]);
    talk.gap(RESPONSES, 20);
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 3+"]);
    assert_eq!(answers(&talk), ["1.1.1.1"]);
    assert_eq!(talk.records[0].traffic.response_bytes, whole.len() as u64);
    // But for that, it is not DNS.
    talk.datagram(RESPONSES, SERVER, &whole[..cut]).finish();
    assert_eq!(talk.records.len(), 1);
    assert_eq!(talk.skipped, [(RESPONSES, cut as u64, Cause::Malformed)]);
}

#[test]
fn a_response_cut_by_its_server_is_truncated() {
    let mut talk = Talk::udp();
    talk.datagram(REQUESTS, SERVER, query(1, "a.test"));
    let whole = Message::response(1, "a.test", DnsType::A).flags(0x8380).a([1; 4]).bytes();
    talk.datagram(RESPONSES, SERVER, &whole[..whole.len() - 2]);
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 1+"]);
    assert!(talk.records[0].response.as_ref().unwrap().truncated);
}

#[test]
fn hostile_messages_are_passed_over() {
    let many = [&[0, 1, 0x81, 0x80][..], &[0xff; 8]].concat();
    let no_records = Message::query(1, "a.test", DnsType::A).bytes();
    let no_records = [&no_records[..6], &[0xff; 6], &no_records[12..]].concat();
    let circle = [&no_records[..4], &[0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1][..]].concat();
    let short = vec![0; 11];
    for bytes in [many, no_records, circle, short] {
        let mut talk = Talk::udp();
        talk.datagram(REQUESTS, SERVER, &bytes).finish();
        assert_eq!(talk.records, []);
        assert_eq!(talk.skipped, [(REQUESTS, bytes.len() as u64, Cause::Malformed)]);
        assert!(talk.memory() < 10 << 10);
    }
}

#[test]
fn records_are_kept_up_to_the_limit_on_bodies() {
    let mut message = Message::response(1, "a.test", DnsType::A);
    for _ in 0..3000 {
        message = message.a([192, 0, 2, 1]);
    }
    let mut talk = Talk::tcp();
    talk.client(Message::query(1, "a.test", DnsType::A).framed()).server(message.framed());
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 3000"]);
    let kept = talk.records[0].response.as_ref().unwrap().answers.len();
    assert!((200..=256).contains(&kept), "{kept} of 16 bytes each");
}

#[test]
fn messages_on_a_stream_are_pipelined_and_answered_in_any_order() {
    let mut talk = Talk::tcp();
    let names = ["a.test", "b.test", "c.test"];
    let queries: Vec<u8> = (0..3).flat_map(|id| framed(&query(id, names[id as usize]))).collect();
    talk.client(queries);
    for id in [2, 0, 1] {
        talk.server(framed(&response(id, names[usize::from(id)])));
    }
    assert_summary(
        &talk,
        &["2 A c.test | 2 NOERROR 1", "0 A a.test | 0 NOERROR 1", "1 A b.test | 1 NOERROR 1"],
    );
    let traffic = &talk.records[1].traffic;
    assert_eq!(traffic.request_bytes, query(0, "a.test").len() as u64 + 2);
    assert_eq!(traffic.latency, Some(Duration::from_millis(2)));
}

#[test]
fn the_same_question_twice_on_a_stream_is_two_exchanges() {
    let mut talk = Talk::tcp();
    for _ in 0..2 {
        talk.client(framed(&query(1, "a.test")));
    }
    for _ in 0..2 {
        talk.server(framed(&response(1, "a.test")));
    }
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 1", "1 A a.test | 1 NOERROR 1"]);
}

#[test]
fn a_zone_transfer_is_one_exchange() {
    let mut talk = Talk::tcp();
    talk.client(Message::query(1, "a.test", DnsType::AXFR).framed());
    let first = Message::response(1, "a.test", DnsType::AXFR).record(1, DnsType::SOA, &soa(5));
    talk.server(first.a([1; 4]).framed());
    let next = || Message::response(1, "", DnsType::AXFR).without_question();
    let name = wire_name("b.a.test");
    let more = next().record_of(1, &name, DnsType::A, 1, 60, &[2; 4]);
    talk.server(more.framed());
    assert_summary(&talk, &[]);
    let last = next().record_of(1, &name, DnsType::SOA, 1, 60, &soa(5));
    talk.server([last.framed(), framed(&response(2, "c.test"))].concat());
    assert_summary(&talk, &["1 AXFR a.test | 1 NOERROR 4"]);
    let dns = &talk.records[0];
    assert_eq!(dns.response_messages, 3);
    assert_eq!(dns.response.as_ref().unwrap().answers.len(), 4);
    assert_eq!(dns.traffic.latency, Some(Duration::from_millis(3)));
    assert_eq!(dns.traffic.time_to_first_byte, Some(Duration::from_millis(1)));
}

#[test]
fn incremental_transfers_end_with_the_newest_version() {
    let ask = |serial| {
        Message::query(1, "a.test", DnsType::IXFR).record(2, DnsType::SOA, &soa(serial)).framed()
    };
    let answer = |serials: &[u32]| {
        let message = Message::response(1, "a.test", DnsType::IXFR);
        let add = |message: Message, serial: &u32| message.record(1, DnsType::SOA, &soa(*serial));
        serials.iter().fold(message, add)
    };
    // Nothing is new.
    let mut talk = Talk::tcp();
    talk.client(ask(5)).server(answer(&[5]).framed());
    assert_summary(&talk, &["1 IXFR a.test | 1 NOERROR 1"]);
    // From 5 to 6 and from 6 to 7, in two messages.
    let mut talk = Talk::tcp();
    talk.client(ask(5)).server(answer(&[7, 5, 6, 6, 7]).framed());
    assert_summary(&talk, &[]);
    talk.server(answer(&[7]).framed());
    assert_summary(&talk, &["1 IXFR a.test | 1 NOERROR 6"]);
    // The whole zone instead.
    let mut talk = Talk::tcp();
    let whole = answer(&[7]).a([1; 4]).record(1, DnsType::SOA, &soa(7));
    talk.client(ask(5)).server(whole.framed());
    assert_summary(&talk, &["1 IXFR a.test | 1 NOERROR 3"]);
}

#[test]
fn a_refused_transfer_is_over() {
    let mut talk = Talk::tcp();
    talk.client(Message::query(1, "a.test", DnsType::AXFR).framed());
    talk.server(Message::response(1, "a.test", DnsType::AXFR).flags(0x8005).framed());
    assert_summary(&talk, &["1 AXFR a.test | 1 REFUSED 0"]);
}

#[test]
fn a_gap_within_a_message_is_stepped_over() {
    let whole = framed(&Message::response(1, "a.test", DnsType::A).a([1; 4]).a([2; 4]).bytes());
    let mut talk = Talk::tcp();
    talk.client(framed(&query(1, "a.test"))).client(framed(&query(2, "b.test")));
    talk.server(&whole[..whole.len() - 20]).gap(RESPONSES, 15).server(&whole[whole.len() - 5..]);
    talk.server(framed(&response(2, "b.test")));
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 2+", "2 A b.test | 2 NOERROR 1"]);
    assert_eq!(talk.records[0].traffic.response_bytes, whole.len() as u64);
    assert_eq!(talk.records[0].traffic.latency, Some(Duration::from_millis(4)));
}

#[test]
fn after_a_gap_the_next_message_is_found() {
    let answer = framed(&response(1, "a.test"));
    let mut talk = Talk::tcp();
    for id in 0..3 {
        talk.client(framed(&query(id, "a.test")));
    }
    talk.server(&answer[..4]).gap(RESPONSES, answer.len() as u64).server(&answer[4..]);
    talk.server(framed(&response(2, "a.test"))).finish();
    assert_eq!(talk.bytes_skipped(), answer.len() as u64);
    assert!(talk.skipped.iter().all(|(_, _, cause)| *cause == Cause::Unobserved));
    let summary = talk.summary();
    assert!(summary.contains(&"2 A a.test | 2 NOERROR 1".to_owned()), "{summary:?}");
    assert!(summary.contains(&"0 A a.test | -".to_owned()), "{summary:?}");
}

#[test]
fn what_is_under_way_at_the_end_is_told() {
    let mut talk = Talk::tcp();
    let answer = framed(&Message::response(1, "a.test", DnsType::A).a([1; 4]).a([2; 4]).bytes());
    talk.client(framed(&query(1, "a.test"))).client(framed(&query(2, "b.test")));
    talk.server(&answer[..answer.len() - 3]).finish();
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 2+", "2 A b.test | -"]);
    assert_eq!(talk.records[0].traffic.latency, None, "its end was not seen");
}

#[test]
fn a_message_larger_than_the_buffer_is_told_in_part() {
    let mut limits = Limits::default();
    limits.buffer = 100;
    let mut talk = Talk::limited(&Dns, limits);
    let mut message = Message::response(1, "a.test", DnsType::A);
    for _ in 0..100 {
        message = message.a([1; 4]);
    }
    talk.client(framed(&query(1, "a.test"))).server(message.framed());
    assert_summary(&talk, &["1 A a.test | 1 NOERROR 100+"]);
    assert_eq!(talk.records[0].traffic.response_bytes, message.framed().len() as u64);
}
