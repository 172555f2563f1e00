//! What holds for DNS whatever is on the connection.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::record::{Dns as DnsRecord, DnsType};
use pixie_protocols::dns::Dns;
use pixie_protocols::parser::{Limits, Protocol};
use proptest::prelude::*;
use support::dns::{Message, framed, soa, wire_name};
use support::effort::assert_linear;
use support::script::{self, Step};
use support::{REQUESTS, RESPONSES};

type Talk = support::Talk<DnsRecord>;

/// A message as it may be, or nearly.
fn message(is_response: bool) -> impl Strategy<Value = Message> {
    const NAMES: [&str; 4] = ["a.test", "b.test", "www.a.test", ""];
    const KINDS: [u16; 7] = [1, 16, 28, 252, 251, 65, 255];
    let record = (0..4_usize, prop::sample::select(vec![1, 2, 5, 6, 15, 16, 33, 41, 46, 99]));
    let record = (record, prop::collection::vec(any::<u8>(), 0..30), any::<bool>());
    let records = prop::collection::vec(record, 0..5);
    let head = (0..3_u16, prop::sample::select(&NAMES[..]), prop::sample::select(&KINDS[..]));
    (head, records, any::<bool>(), any::<u16>()).prop_map(
        move |((id, name, kind), records, plain, flags)| {
            let mut message = match is_response {
                false => Message::query(id, name, DnsType(kind)),
                true => Message::response(id, name, DnsType(kind)),
            };
            if !plain {
                message = message.flags(flags);
            }
            for ((section, kind), data, well_formed) in records {
                let data = match (well_formed, kind) {
                    (true, 6) => soa(7),
                    (true, 2 | 5) => wire_name("c.test"),
                    (true, 1) => vec![192, 0, 2, 1],
                    _ => data,
                };
                message = message.record(section.max(1), DnsType(kind), &data);
            }
            message
        },
    )
}

/// What a stream may carry that is DNS, nearly DNS, or none at all.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = |is_response| {
        prop_oneof![
            6 => message(is_response).prop_map(|message| message.framed()),
            1 => message(is_response).prop_map(|message| message.bytes()),
            1 => prop::collection::vec(any::<u8>(), 0..40),
            1 => (message(is_response), any::<prop::sample::Index>()).prop_map(|(message, at)| {
                let bytes = message.framed();
                bytes[..at.index(bytes.len())].to_vec()
            }),
        ]
    };
    let direction = |is_response| if is_response { RESPONSES } else { REQUESTS };
    let step = any::<bool>().prop_flat_map(move |is_response| {
        prop_oneof![
            8 => bytes(is_response).prop_map(move |bytes| Step::Feed(direction(is_response), bytes)),
            1 => (0..60_u64).prop_map(move |length| Step::Gap(direction(is_response), length)),
        ]
    });
    prop::collection::vec(step, 0..20)
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_records(steps in steps(), piece in 1..60_usize) {
        script::check_stream(&Dns, Limits::default(), &steps, piece);
    }

    #[test]
    fn small_limits_hold_too(steps in steps(), piece in 1..60_usize) {
        let mut limits = Limits::default();
        (limits.buffer, limits.body, limits.pending) = (40, 30, 2);
        script::check_stream(&Dns, limits, &steps, piece);
        script::check_datagrams(&Dns, limits, &steps);
    }

    #[test]
    fn datagrams_are_bounded_and_accounted_for(steps in steps()) {
        script::check_datagrams(&Dns, Limits::default(), &steps);
    }

    #[test]
    fn after_a_gap_messages_are_understood_again_and_never_mismatched(
        count in 4..12_u16, at in any::<prop::sample::Index>(), length in 1..120_usize,
    ) {
        let mut talk = Talk::tcp();
        let name = |id: u16| format!("host{id}.test");
        let answer = |id: u16| {
            Message::response(id, &name(id), DnsType::A).a([10, 0, 0, id as u8]).framed()
        };
        let mut stream = Vec::new();
        let mut starts = Vec::new();
        for id in 0..count {
            talk.client(Message::query(id, &name(id), DnsType::A).framed());
            starts.push(stream.len());
            stream.extend(answer(id));
        }
        let at = at.index(stream.len());
        let end = (at + length).min(stream.len());
        talk.server(&stream[..at]).gap(RESPONSES, (end - at) as u64).server(&stream[end..]).finish();
        for dns in &talk.records {
            let Some(request) = &dns.request else { continue };
            for answer in dns.response.iter().flat_map(|response| &response.answers) {
                let address = format!("10.0.0.{}", request.id);
                prop_assert_eq!(answer.presentation().to_string(), address);
            }
        }
        for (id, start) in starts.into_iter().enumerate() {
            let answered = talk.records.iter().any(|dns| {
                dns.request.as_ref().is_some_and(|request| request.id == id as u16)
                    && dns.response.as_ref().is_some_and(|response| response.complete)
            });
            let is_hit = start < end && start + answer(id as u16).len() > at;
            prop_assert_eq!(answered, !is_hit, "{}: {:?}", id, talk.summary());
        }
    }

    #[test]
    fn random_bytes_are_not_taken_for_it(bytes in prop::collection::vec(any::<u8>(), 12..80)) {
        let verdict = Dns.probe(&bytes);
        let is_unsure = matches!(
            verdict,
            pixie_protocols::parser::Verdict::No | pixie_protocols::parser::Verdict::NeedMore
        );
        prop_assert!(is_unsure, "{:?}", verdict);
    }
}

/// One byte at a time, and all at once.
fn both(bytes: &[u8]) {
    let mut talk = Talk::tcp();
    talk.feed_in_pieces(REQUESTS, bytes, &[1]);
    talk.finish();
    Talk::tcp().client(bytes).finish();
}

#[test]
fn effort_on_a_message_that_trickles_in() {
    assert_linear(|size| both(&framed(&vec![1; size])));
}

#[test]
fn effort_on_a_search_among_what_looks_like_messages() {
    let query = Message::query(1, &"a.".repeat(60), DnsType::A).framed();
    for nearly in [&query[..query.len() - 3], &query[..20], b"\x00\x20\x00", b"\x00\x00"] {
        assert_linear(|size| both(&[b"\x00\x01", &*nearly.repeat(size / nearly.len())].concat()));
    }
}

#[test]
fn effort_on_messages_that_are_not_understood() {
    // Their lengths are right, and there is a loop in each.
    let message =
        framed(&[&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &[0xc0, 12, 0, 1, 0, 1]].concat());
    assert_linear(|size| both(&message.repeat(size / message.len())));
}

#[test]
fn effort_on_names_that_lead_to_names() {
    // Each record's name leads to the one before it.
    assert_linear(|size| {
        let mut message = Message::response(1, &"abcdefg.".repeat(30), DnsType::A);
        for _ in 0..size / 12 {
            message = message.record(1, DnsType::NS, &[0xc0, 12]);
        }
        both(&message.framed());
    });
}

#[test]
fn effort_on_queries_that_nobody_answers() {
    assert_linear(|size| {
        let mut talk = Talk::udp();
        let peer = ([127, 0, 0, 1], 53).into();
        for id in 0..size / 8 {
            let query = Message::query(id as u16, "a", DnsType::A).bytes();
            talk.datagram(REQUESTS, peer, query);
            talk.datagram(RESPONSES, peer, Message::response(!id as u16, "b", DnsType::A).bytes());
        }
    });
}
