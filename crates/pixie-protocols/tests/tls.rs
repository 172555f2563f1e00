//! TLS handshakes, as far as they can be seen.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::id::{Direction, Role};
use pixie_core::record::{TlsAlert, TlsAlertDescription, TlsCipher, TlsGroup, TlsVersion};
use pixie_protocols::parser::{Limits, Next, Protocol, Verdict};
use pixie_protocols::tls::Tls;
use proptest::prelude::*;
use std::time::Duration;
use support::effort::assert_linear;
use support::script::{self, Step};
use support::tls::{
    ALERT, DATA, HANDSHAKE, change_cipher, client_hello, encrypted, extension, message, numbers,
    record, server_hello, usual_extensions, vector,
};
use support::{REQUESTS, RESPONSES};

type Talk = support::Talk<pixie_core::record::TlsHandshake>;

const SESSION: &[u8] = &[0x11; 32];

fn client() -> Vec<u8> {
    client_hello(SESSION, &usual_extensions(&[0x3a3a, 0x0304, 0x0303]))
}

fn server_1_3() -> Vec<u8> {
    let share = [&numbers(&[0x001d])[..], &vector(&[1; 32])].concat();
    let extensions = [extension(43, &[3, 4]), extension(51, &share)].concat();
    server_hello(SESSION, 0x1301, &extensions)
}

/// The messages of a server of TLS 1.2, to its `ServerHelloDone`.
fn server_1_2(session: &[u8]) -> Vec<u8> {
    let certificates = [&[0, 0, 10][..], &[0, 0, 3, 1, 2, 3], &[0, 0, 1, 9]].concat();
    [
        server_hello(session, 0xc02f, &extension(16, &vector(b"\x02h2"))),
        message(11, &certificates),
        message(12, &[3, 0, 0x17, 4, 1, 2, 3, 4]),
        message(14, &[]),
    ]
    .concat()
}

#[test]
fn a_handshake_of_tls_1_3() {
    let mut talk = Talk::tls();
    let hello = record(HANDSHAKE, &client());
    talk.client(&hello);
    let flight = [record(HANDSHAKE, &server_1_3()), change_cipher(), encrypted(DATA, 23)].concat();
    talk.server(&flight).server(encrypted(DATA, 700));
    assert_eq!(talk.records, []);
    let last = [change_cipher(), encrypted(DATA, 53)].concat();
    talk.client([&last[..], &encrypted(DATA, 99)].concat());

    let handshake = &talk.records[0];
    let (request, response) =
        (handshake.request.as_ref().unwrap(), handshake.response.as_ref().unwrap());
    assert_eq!(request.server_name.as_ref().unwrap(), &"a.test");
    assert_eq!(request.alpn, ["h2", "http/1.1"]);
    assert_eq!(request.versions, [TlsVersion::TLS_1_3, TlsVersion::TLS_1_2]);
    assert_eq!(request.ciphers, [TlsCipher(0x1301), TlsCipher(0xc02f)]);
    assert_eq!(request.groups, [TlsGroup(0x1d), TlsGroup(0x17)]);
    assert_eq!(request.signature_schemes, [0x0403, 0x0804]);
    assert_eq!(request.extensions, [0, 10, 11, 13, 16, 43]);
    assert!(!request.offers_resumption && !request.early_data);
    assert!(request.ja4.to_string().starts_with("t13d0206h2_"), "{}", request.ja4);
    assert_eq!(request.ja3.len(), 32);
    assert_eq!(response.version, TlsVersion::TLS_1_3);
    assert_eq!(response.cipher, TlsCipher(0x1301));
    assert_eq!((response.group, &response.alpn), (Some(TlsGroup(0x1d)), &None));
    assert!(!response.resumed && handshake.complete && !handshake.is_error());
    assert!(!handshake.hello_retry);

    let traffic = &handshake.traffic;
    assert_eq!(traffic.role, Some(Role::Client));
    assert_eq!(traffic.latency, Some(Duration::from_millis(3)));
    assert_eq!(traffic.time_to_first_byte, Some(Duration::from_millis(1)));
    assert_eq!(traffic.request_bytes, (hello.len() + last.len()) as u64);
    assert_eq!(traffic.response_bytes, (flight.len() + 705) as u64);
    let switch = talk.switch.unwrap();
    assert_eq!(switch.next, Next::Opaque);
    assert_eq!(switch.unread[REQUESTS.index()], encrypted(DATA, 99));
    assert_eq!(talk.skipped, []);
}

#[test]
fn a_handshake_of_tls_1_2() {
    let mut talk = Talk::tls();
    talk.server([]).client(record(HANDSHAKE, &client()));
    talk.server(record(HANDSHAKE, &server_1_2(&[0x22; 32])));
    talk.client([record(HANDSHAKE, &message(16, &[4, 1, 2, 3, 4])), change_cipher()].concat());
    talk.client(encrypted(HANDSHAKE, 40)).client(encrypted(DATA, 100));
    assert_eq!(talk.records, [], "the server has not finished");
    talk.server([record(HANDSHAKE, &message(4, &[0; 20])), change_cipher()].concat());
    talk.server(encrypted(HANDSHAKE, 40));
    let handshake = &talk.records[0];
    let response = handshake.response.as_ref().unwrap();
    assert_eq!((response.version, response.cipher), (TlsVersion::TLS_1_2, TlsCipher(0xc02f)));
    assert_eq!(response.alpn.as_ref().unwrap(), &"h2");
    assert_eq!(response.group, Some(TlsGroup(0x17)));
    assert_eq!(response.certificate_sizes, [3, 1]);
    assert!(!response.resumed && handshake.complete);
    assert_eq!(handshake.traffic.latency, Some(Duration::from_millis(6)));
    assert_eq!(talk.switch.unwrap().next, Next::Opaque);
}

#[test]
fn sessions_go_on() {
    // By an id, or a ticket that the id stands for.
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client_hello(SESSION, &[])));
    talk.server([record(HANDSHAKE, &server_hello(SESSION, 0xc02f, &[])), change_cipher()].concat());
    talk.server(encrypted(HANDSHAKE, 40));
    talk.client([change_cipher(), encrypted(HANDSHAKE, 40)].concat());
    let handshake = &talk.records[0];
    assert!(handshake.request.as_ref().unwrap().offers_resumption);
    assert!(handshake.response.as_ref().unwrap().resumed && handshake.complete);
    // By a key.
    let mut talk = Talk::tls();
    let offered =
        [usual_extensions(&[0x0304]), extension(42, &[]), extension(41, &[0; 9])].concat();
    talk.client(record(HANDSHAKE, &client_hello(SESSION, &offered))).client(encrypted(DATA, 19));
    let chosen = [extension(43, &[3, 4]), extension(41, &[0, 0])].concat();
    talk.server(
        [record(HANDSHAKE, &server_hello(SESSION, 0x1301, &chosen)), encrypted(DATA, 60)].concat(),
    );
    assert_eq!(talk.records, [], "what the client sends early ends nothing");
    talk.client(encrypted(DATA, 53));
    let handshake = &talk.records[0];
    let request = handshake.request.as_ref().unwrap();
    assert!(request.offers_resumption && request.early_data);
    assert!(handshake.response.as_ref().unwrap().resumed && handshake.complete);
}

#[test]
fn another_hello_may_be_asked_for() {
    let retry = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    let mut message = server_1_3();
    message[6..38].copy_from_slice(&retry);
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client())).server(record(HANDSHAKE, &message));
    talk.server(change_cipher()).client([change_cipher(), record(HANDSHAKE, &client())].concat());
    talk.server([record(HANDSHAKE, &server_1_3()), encrypted(DATA, 800)].concat());
    talk.client(encrypted(DATA, 53));
    let handshake = &talk.records[0];
    assert!(handshake.hello_retry && handshake.complete);
    assert_eq!(handshake.response.as_ref().unwrap().version, TlsVersion::TLS_1_3);
}

#[test]
fn alerts_end_a_handshake() {
    let fails = |talk: &Talk, sender, fatal, description: Option<u8>| {
        let handshake = &talk.records[0];
        let description = description.map(TlsAlertDescription);
        assert_eq!(handshake.alert, Some(TlsAlert::new(sender, fatal, description)));
        assert!(handshake.is_error() && !handshake.complete);
        assert_eq!(talk.switch.as_ref().unwrap().next, Next::Opaque);
        assert!(handshake.traffic.latency.is_some());
    };
    // The server likes nothing that is offered.
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client())).server(record(ALERT, &[2, 70]));
    fails(&talk, Role::Server, Some(true), Some(70));
    // The client does not know the authority: in 1.2 in plain text, in 1.3 encrypted.
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client()));
    talk.server(record(HANDSHAKE, &server_1_2(&[]))).client(record(ALERT, &[2, 48]));
    fails(&talk, Role::Client, Some(true), Some(48));
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client()));
    talk.server([record(HANDSHAKE, &server_1_3()), encrypted(DATA, 900)].concat());
    talk.client([change_cipher(), encrypted(DATA, 19)].concat());
    fails(&talk, Role::Client, None, None);
    // In 1.2 after the ciphers changed.
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client())).server(record(HANDSHAKE, &server_1_2(&[])));
    talk.client([change_cipher(), encrypted(HANDSHAKE, 40)].concat()).server(encrypted(ALERT, 26));
    talk.finish();
    let alert = talk.records[0].alert.unwrap();
    assert_eq!((alert.sender, alert.fatal, alert.description), (Role::Server, None, None));
}

#[test]
fn warnings_do_not() {
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client())).server(record(ALERT, &[1, 112]));
    talk.server(record(HANDSHAKE, &server_1_2(&[])));
    talk.client([change_cipher(), encrypted(HANDSHAKE, 40)].concat());
    talk.server([change_cipher(), encrypted(HANDSHAKE, 40)].concat());
    let handshake = &talk.records[0];
    assert!(handshake.complete && !handshake.is_error());
    assert_eq!(handshake.alert.unwrap().description, Some(TlsAlertDescription(112)));
}

#[test]
fn a_handshake_that_is_not_finished_is_told_when_both_sides_have_ended() {
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client())).finish();
    let handshake = &talk.records[0];
    assert!(handshake.request.is_some() && handshake.response.is_none());
    assert!(!handshake.complete && !handshake.is_error());
    assert_eq!(handshake.traffic.latency, None);
    assert!(talk.switch.is_none());
}

#[test]
fn messages_may_be_split_over_records() {
    let mut talk = Talk::tls();
    for piece in client().chunks(1) {
        talk.client(record(HANDSHAKE, piece));
    }
    for piece in server_1_2(&[]).chunks(5) {
        talk.server(record(HANDSHAKE, piece));
    }
    talk.finish();
    let handshake = &talk.records[0];
    assert_eq!(handshake.request.as_ref().unwrap().ciphers.len(), 2);
    assert_eq!(handshake.response.as_ref().unwrap().certificate_sizes, [3, 1]);
}

#[test]
fn the_first_hello_tells_which_way_requests_go() {
    let mut talk = Talk::tls();
    talk.feed(Direction::Received, &record(HANDSHAKE, &client()));
    talk.feed(Direction::Sent, &record(HANDSHAKE, &server_1_3())).finish();
    assert_eq!(talk.records[0].traffic.role, Some(Role::Server));
}

#[test]
fn a_connection_joined_midway_is_opaque() {
    let mut talk = Talk::tls();
    talk.server(encrypted(DATA, 100)).client(encrypted(DATA, 50));
    assert_eq!(talk.records, []);
    assert_eq!(talk.switch.unwrap().next, Next::Opaque);
}

#[test]
fn a_server_that_does_not_speak_tls_is_looked_at_anew() {
    let mut talk = Talk::tls();
    let answer = "HTTP/1.1 400 Bad Request\r\n\r\n";
    talk.client(record(HANDSHAKE, &client())).server(answer);
    assert!(!talk.records[0].complete && talk.records[0].response.is_none());
    let switch = talk.switch.unwrap();
    assert_eq!(switch.next, Next::Detect);
    assert_eq!(switch.unread[RESPONSES.index()], answer.as_bytes());
}

#[test]
fn gaps_within_and_beyond_records_are_borne() {
    let mut talk = Talk::tls();
    let flight = record(HANDSHAKE, &server_1_2(&[]));
    talk.client(record(HANDSHAKE, &client()));
    // The hello is there, of the certificates nothing is.
    talk.server(&flight[..60]).gap(RESPONSES, flight.len() as u64 - 60 + 7);
    talk.server([&b"\x17\x17\x17"[..], &change_cipher(), &encrypted(HANDSHAKE, 40)].concat());
    talk.client([change_cipher(), encrypted(HANDSHAKE, 40)].concat());
    let handshake = &talk.records[0];
    assert!(handshake.complete);
    assert_eq!(handshake.response.as_ref().unwrap().certificate_sizes, [0; 0]);
    assert_eq!(talk.bytes_skipped(), 3);
}

#[test]
fn hellos_and_encrypted_records_are_recognised() {
    let hello = record(HANDSHAKE, &client());
    let server = record(HANDSHAKE, &server_1_3());
    let tiny: Vec<u8> = client().chunks(1).flat_map(|piece| record(HANDSHAKE, piece)).collect();
    let midway = [encrypted(DATA, 20), encrypted(DATA, 300), encrypted(DATA, 3)].concat();
    for (bytes, verdict, least) in [
        (&hello, Verdict::Yes, 11),
        (&server, Verdict::Reversed, 11),
        (&tiny, Verdict::Yes, 36),
        (&midway, Verdict::Yes, 30),
    ] {
        for length in 0..least {
            assert_eq!(Tls.probe(&bytes[..length]), Verdict::NeedMore, "{verdict:?} {length}");
        }
        assert_eq!(Tls.probe(&bytes[..least]), verdict);
        assert_eq!(Tls.probe(bytes), verdict);
    }
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    let others: &[(&str, &[u8])] = &[
        ("nothing", &[0; 40]),
        ("a hello cut short", b"\x16\x03\x01\x00\x20\x01\x00\x00\x05\x03\x03"),
        ("some bytes", b"\x16\x03\x01 some bytes of another protocol"),
        ("DTLS", b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x30\x01\0\0\x24\0\0\0\0\0\0\0\x24\xfe\xfd"),
        ("QUIC", b"\xc3\0\0\0\x01\x08abcdefgh\0\0\x44\xd0"),
        ("SSL 2", b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"),
        ("alerts", b"\x15\x03\x03\x00\x02\x02\x28\x15\x03\x03\x00\x02\x02\x28"),
        ("data of another version", b"\x17\x04\x03\x00\x02ab\x17\x04\x03\x00\x02ab"),
        ("one record", b"\x17\x03\x03\x00\x02ab\x00\x00\x00"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        ("Redis", b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
        ("MySQL", b"J\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00"),
        ("PostgreSQL", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
        ("MQTT", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test"),
        ("MongoDB", b"\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00"),
        (
            "DNS",
            b"\x00\x1c\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01",
        ),
    ];
    for (name, bytes) in others {
        assert_eq!(Tls.probe(bytes), Verdict::No, "{name}");
        for length in 0..bytes.len() {
            let verdict = Tls.probe(&bytes[..length]);
            assert!(matches!(verdict, Verdict::No | Verdict::NeedMore), "{name}, {length} bytes");
        }
    }
}

#[test]
fn hostile_lengths_cost_nothing() {
    // Messages of 16 MiB, and hellos that are longer than the buffer.
    for kind in [1, 2, 11, 20] {
        let mut talk = Talk::tls();
        talk.client(record(HANDSHAKE, &client()));
        talk.server(record(HANDSHAKE, &[kind, 0xff, 0xff, 0xff]));
        for _ in 0..100 {
            talk.server(encrypted(HANDSHAKE, 16_000));
            assert!(talk.memory() < 200 << 10, "{}", talk.memory());
        }
        assert_eq!(talk.switch.unwrap().next, Next::Opaque, "it takes too long");
        assert_eq!(talk.records.len(), 1);
    }
    // Lists that say that they are longer than the hello.
    let mut broken = client();
    for place in 38..broken.len() {
        let kept = broken[place];
        broken[place] = 0xff;
        Talk::tls().client(record(HANDSHAKE, &broken)).finish();
        broken[place] = kept;
    }
    // Empty records and empty messages, for ever.
    let mut talk = Talk::tls();
    talk.client(record(HANDSHAKE, &client()));
    talk.server(record(HANDSHAKE, &[]).repeat(10_000));
    talk.server(record(HANDSHAKE, &[1, 0, 0, 0].repeat(4000)).repeat(10));
    assert!(talk.memory() < 200 << 10);
}

#[test]
fn effort_is_linear() {
    let trickle = |bytes: &[u8]| Talk::tls().feed_in_pieces(REQUESTS, bytes, &[1]);
    assert_linear(|size| {
        trickle(
            &record(HANDSHAKE, &client_hello(&[], &vec![0; size.min(16_000)]))
                .repeat(1 + size / 16_000),
        );
    });
    assert_linear(|size| {
        trickle(
            &message(1, &vec![1; size])
                .chunks(9)
                .flat_map(|piece| record(HANDSHAKE, piece))
                .collect::<Vec<_>>(),
        );
    });
    assert_linear(|size| {
        let mut talk = Talk::tls();
        talk.gap(REQUESTS, 10).feed_in_pieces(REQUESTS, &b"\x17\x03\x03".repeat(size / 3), &[1]);
    });
}

/// What a connection may carry that is TLS, nearly TLS, or none at all.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop_oneof![
        Just(record(HANDSHAKE, &client())),
        Just(record(HANDSHAKE, &client_hello(&[], &[]))),
        Just(record(HANDSHAKE, &server_1_3())),
        Just(record(HANDSHAKE, &server_1_2(SESSION))),
        Just(client().chunks(40).flat_map(|piece| record(HANDSHAKE, piece)).collect()),
        Just(change_cipher()),
        (0..60_usize).prop_map(|length| encrypted(DATA, length)),
        (0..60_usize).prop_map(|length| encrypted(HANDSHAKE, length)),
        (0..3_u8, any::<u8>()).prop_map(|(level, alert)| record(ALERT, &[level, alert])),
        prop::collection::vec(any::<u8>(), 1..30),
    ];
    let step = (any::<bool>(), bytes, 0..10_u8, 1..80_u64);
    let step = step.prop_map(|(from_client, bytes, what, length)| {
        let direction = if from_client { REQUESTS } else { RESPONSES };
        if what == 0 { Step::Gap(direction, length) } else { Step::Feed(direction, bytes) }
    });
    prop::collection::vec(step, 0..12)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_records(steps in steps(), piece in 1..80_usize) {
        let hello = Step::Feed(REQUESTS, record(HANDSHAKE, &client()));
        script::check_stream(&Tls, Limits::default(), &steps, piece);
        let steps: Vec<Step> = std::iter::once(hello).chain(steps).collect();
        script::check_stream(&Tls, Limits::default(), &steps, piece);
    }
}
