//! The PROXY protocol in front of others.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::Record;
use pixie_core::record::{Address, Cause};
use pixie_protocols::parser::{Limits, Next, Protocol, Verdict};
use pixie_protocols::proxy_protocol::ProxyProtocol;
use proptest::prelude::*;
use support::script::{self, Step};
use support::{REQUESTS, RESPONSES, Talk};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb\x03\0\x04abcd";

fn talk() -> Talk<Record> {
    Talk::of(&ProxyProtocol)
}

fn port(end: Option<Address>) -> Option<u16> {
    end.and_then(|end| end.port())
}

#[test]
fn what_follows_is_detected_and_knows_whose_it_is() {
    for header in [LINE, BINARY] {
        let mut talk = talk();
        talk.client([header, b"GET / HTTP/1.1\r\n"].concat());
        let switch = talk.switch.unwrap();
        assert_eq!(switch.next, Next::Detect);
        assert_eq!(switch.unread[REQUESTS.index()], b"GET / HTTP/1.1\r\n");
        let proxied = switch.proxied.unwrap();
        assert_eq!(port(proxied.source), Some(56324));
        assert_eq!(port(proxied.destination), Some(443));
    }
}

#[test]
fn a_server_may_speak_first() {
    let mut talk = talk();
    talk.client(&LINE[..10]).server("220 ready\r\n").client(&LINE[10..]);
    let switch = talk.switch.unwrap();
    assert_eq!(switch.unread[RESPONSES.index()], b"220 ready\r\n");
    assert!(switch.proxied.is_some());
}

#[test]
fn what_has_no_meaning_may_be_missing() {
    let mut talk = talk();
    talk.client(&BINARY[..30]).gap(REQUESTS, 3).client("c").server("a");
    assert!(talk.switch.is_none());
    let mut talk = self::talk();
    talk.client(&BINARY[..28]).gap(REQUESTS, 7).client("GET");
    let switch = talk.switch.unwrap();
    assert_eq!(switch.unread[REQUESTS.index()], b"GET");
    assert_eq!(port(switch.proxied.unwrap().source), Some(56324));
    let mut talk = self::talk();
    talk.client(&BINARY[..20]).gap(REQUESTS, 15);
    assert!(talk.switch.unwrap().proxied.is_none());
}

#[test]
fn half_a_header_is_passed_over() {
    let mut talk = talk();
    talk.client(&LINE[..20]).finish();
    assert_eq!(talk.skipped, [(REQUESTS, 20, Cause::Malformed)]);
}

#[test]
fn what_the_server_says_meanwhile_is_bounded() {
    let mut talk = talk();
    talk.client(&LINE[..10]);
    for _ in 0..100 {
        talk.server(vec![0; 10_000]);
    }
    assert!(talk.memory() < 200 << 10);
}

#[test]
fn headers_are_recognised_and_nothing_else() {
    for header in [LINE, BINARY, b"PROXY UNKNOWN\r\n"] {
        assert_eq!(ProxyProtocol.probe(header), Verdict::Yes);
        for length in 0..header.len() {
            let verdict = ProxyProtocol.probe(&header[..length]);
            assert!(matches!(verdict, Verdict::Yes | Verdict::NeedMore), "{length} bytes");
        }
    }
    let others: &[&[u8]] = &[
        b"PROXY\tTCP4",
        b"PROPFIND / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\r\nGET",
        b"\x16\x03\x01",
        b"*1\r\n$4\r\nPING\r\n",
    ];
    for bytes in others {
        assert_eq!(ProxyProtocol.probe(bytes), Verdict::No, "{}", bytes.escape_ascii());
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        is_line: bool,
        rest in prop::collection::vec(any::<u8>(), 0..100),
        piece in 1_usize..50,
    ) {
        let header = if is_line { LINE } else { BINARY };
        let steps = [Step::Feed(REQUESTS, [header, &rest].concat()), Step::Feed(RESPONSES, rest)];
        script::check_stream(&ProxyProtocol, Limits::default(), &steps, piece);
    }

    #[test]
    fn whatever_comes_is_survived(input in prop::collection::vec(any::<u8>(), 0..500)) {
        script::check(&ProxyProtocol, &input);
        let mut started = vec![1, 0, input.len() as u8, 0];
        started.extend(&BINARY[..13]);
        started.extend(input);
        script::check(&ProxyProtocol, &started);
    }
}
