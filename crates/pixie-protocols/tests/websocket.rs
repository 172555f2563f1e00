//! WebSocket, rule by rule, and what holds of every connection.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

mod support;

use pixie_core::Record;
use pixie_core::id::{Direction, Role, Transport};
use pixie_core::record::{
    BodyDecoding, Cause, Http, HttpRequest, HttpResponse, HttpVersion, Traffic,
    WebSocket as Message, WebSocketOpcode,
};
use pixie_protocols::http1::Http1;
use pixie_protocols::parser::{Context, Limits, Next, Protocol, Verdict};
use pixie_protocols::websocket::WebSocket;
use proptest::prelude::*;
use support::effort::assert_linear;
use support::script::{self, Step};
use support::{Expected, REQUESTS, RESPONSES};

type Talk = support::Talk<Message>;

impl Expected for Message {
    fn of(record: Record) -> Self {
        match record {
            Record::WebSocket(message) => *message,
            other => panic!("{other:?}"),
        }
    }
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What the pipeline hands on: the exchange by which the connection was opened.
fn begun(extensions: Option<&str>) -> Option<Box<Record>> {
    let request = HttpRequest::new("GET".into(), "/chat?room=1".into(), HttpVersion::Http11);
    let mut response = HttpResponse::new(101, "Switching Protocols".into(), HttpVersion::Http11);
    let fields = [("Sec-WebSocket-Protocol", "v1.chat")];
    let extensions = extensions.map(|value| ("Sec-WebSocket-Extensions", value));
    response.headers = fields.into_iter().chain(extensions).collect();
    let mut traffic = Traffic::default();
    traffic.role = Some(Role::Client);
    Some(Box::new(Http::new(traffic, Some(request), Some(response)).into()))
}

/// As the pipeline makes one: requests go nowhere yet.
fn context(extensions: Option<&str>) -> Context {
    let traffic = support::context(Transport::Tcp).traffic;
    Context::new(traffic, None).with_begun(begun(extensions))
}

fn talk() -> Talk {
    Talk::with(&WebSocket, context(None))
}

/// A frame by its first byte and payload.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(masked | length as u8),
        length @ 126..=65535 => {
            frame.push(masked | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(masked | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    frame.extend(mask.into_iter().flatten());
    frame.extend(payload.iter().zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn from_client(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, payload.as_ref(), Some(MASK))
}

fn from_server(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, payload.as_ref(), None)
}

/// `client text hello`
fn line(message: &Message) -> String {
    let payload = String::from_utf8_lossy(&message.body.bytes).into_owned();
    format!("{} {} {payload}", message.sender, message.opcode.as_str())
}

fn lines(talk: &Talk) -> Vec<String> {
    talk.records.iter().map(line).collect()
}

#[test]
fn every_message_is_a_record() {
    let mut talk = talk();
    talk.client(from_client(0x81, "hello")).server(from_server(0x82, "world"));
    assert_eq!(lines(&talk), ["client text hello", "server binary world"]);
    let [sent, received] = &talk.records[..] else { panic!("{:?}", talk.records) };
    assert_eq!(sent.path.as_ref().map(ToString::to_string).as_deref(), Some("/chat?room=1"));
    assert_eq!(sent.subprotocol.as_ref().map(ToString::to_string).as_deref(), Some("v1.chat"));
    assert_eq!((sent.masked, received.masked), (true, false));
    assert_eq!((sent.traffic.request_bytes, sent.traffic.response_bytes), (11, 0));
    assert_eq!((received.traffic.request_bytes, received.traffic.response_bytes), (0, 7));
    assert_eq!(
        (sent.traffic.role, received.traffic.role),
        (Some(Role::Client), Some(Role::Client))
    );
    assert_eq!(sent.traffic.latency, None);
    assert!(sent.body.complete && !sent.is_error());
}

#[test]
fn fragments_are_one_message_and_control_frames_come_between() {
    let mut talk = talk();
    talk.client(from_client(0x01, "Hel")).client(from_client(0x89, "are you there"));
    talk.server(from_server(0x8a, "are you there"));
    talk.client(from_client(0x00, "l")).client(from_client(0x80, "o"));
    let expected = ["client ping are you there", "server pong are you there", "client text Hello"];
    assert_eq!(lines(&talk), expected);
    assert_eq!(talk.records[2].fragments, 3);
    assert_eq!(talk.records[2].traffic.request_bytes, 3 * 6 + 5);
}

#[test]
fn a_close_has_a_code_and_a_reason() {
    let mut talk = talk();
    talk.server(from_server(0x88, b"\x03\xf3oops")).client(from_client(0x88, b"\x03\xe8"));
    let [server, client] = &talk.records[..] else { panic!("{:?}", talk.records) };
    assert_eq!((server.close_code, server.close_reason.to_string()), (Some(1011), "oops".into()));
    assert!(server.is_error());
    assert_eq!(client.close_code, Some(1000));
    assert!(!client.is_error());
    // Nothing may come after it.
    talk.client(from_client(0x81, "more")).finish();
    assert_eq!(talk.skipped, [(REQUESTS, 10, Cause::Malformed)]);
}

#[test]
fn what_is_not_allowed_is_told_and_ends_it() {
    for (bytes, expected) in [
        (from_server(0x81, "a"), "a client's frame is not masked"),
        (from_client(0xc1, "a"), "reserved bits are set"),
        (from_client(0x83, "a"), "the opcode is reserved"),
        (from_client(0x09, "a"), "a control frame is fragmented"),
        (from_client(0x80, "a"), "there is nothing to continue"),
        (
            [from_client(0x01, "a"), from_client(0x81, "b")].concat(),
            "a message begins within another",
        ),
    ] {
        let mut talk = talk();
        talk.client([bytes, from_client(0x81, "next")].concat()).finish();
        assert_eq!(talk.records.len(), 1, "{expected}");
        assert_eq!(talk.records[0].violation, Some(expected));
        assert!(talk.records[0].is_error() && !talk.records[0].body.complete);
        assert!(talk.skipped.iter().all(|(_, _, cause)| *cause == Cause::Malformed));
    }
}

#[test]
fn compressed_messages_are_decoded_where_they_stand_alone() {
    const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let alone = "permessage-deflate; server_no_context_takeover";
    let mut talk = Talk::with(&WebSocket, context(Some(alone)));
    for _ in 0..2 {
        talk.server(from_server(0xc1, HELLO)).client(from_client(0xc1, HELLO));
    }
    let decoding: Vec<_> =
        talk.records.iter().map(|message| (message.compressed, message.body.decoding)).collect();
    let (decoded, kept) = ((true, BodyDecoding::Decoded), (true, BodyDecoding::None));
    // What a client compresses may depend on what it sent before, but for its first message.
    assert_eq!(decoding, [decoded, decoded, decoded, kept]);
    assert_eq!(line(&talk.records[2]), "server text Hello");
    assert_eq!((talk.records[2].body.size, talk.records[2].body.captured), (7, 7));
    assert_eq!(talk.records[3].body.bytes, HELLO);
}

#[test]
fn large_messages_are_kept_in_part() {
    let payload: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let mut talk = talk();
    talk.client(from_client(0x82, &payload));
    let body = &talk.records[0].body;
    assert_eq!((body.size, body.captured, body.complete), (100_000, 4096, true));
    assert_eq!(body.bytes, payload[..4096]);
}

#[test]
fn gaps_in_payloads_are_stepped_over() {
    let mut talk = talk();
    let bytes = from_client(0x82, vec![b'x'; 1 << 20]);
    talk.client(&bytes[..1000]).gap(REQUESTS, (1 << 20) - 2000).client(&bytes[(1 << 20) - 1000..]);
    talk.client(from_client(0x81, "next"));
    assert_eq!(talk.records.len(), 2);
    let body = &talk.records[0].body;
    assert_eq!((body.size, body.captured, body.complete), (1 << 20, 986, true));
    assert_eq!(line(&talk.records[1]), "client text next");
}

#[test]
fn after_a_lost_head_two_frames_in_a_row_are_believed() {
    let mut talk = talk();
    talk.server(from_server(0x81, "one")).gap(RESPONSES, 100);
    talk.server(from_server(0x81, "two"));
    assert_eq!(lines(&talk), ["server text one"]);
    talk.server(from_server(0x89, "")).finish();
    assert_eq!(lines(&talk), ["server text one", "server text two", "server ping "]);
    // What is no frame is passed over up to the next gap.
    let mut talk = self::talk();
    talk.gap(RESPONSES, 100).server("the middle of a message").server(from_server(0x81, "lost"));
    talk.gap(RESPONSES, 1).server([from_server(0x81, "a"), from_server(0x81, "b")].concat());
    assert_eq!(lines(&talk), ["server text a", "server text b"]);
    assert_eq!(talk.skipped, [(RESPONSES, 29, Cause::Unobserved)]);
}

#[test]
fn half_a_message_is_told_at_the_end() {
    let mut talk = talk();
    talk.client(&from_client(0x81, "hello")[..8]).finish();
    assert_eq!(lines(&talk), ["client text he"]);
    assert!(!talk.records[0].body.complete);
}

#[test]
fn absurd_lengths_cost_nothing() {
    let mut talk = talk();
    talk.server(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff").server(vec![0; 100_000]);
    assert!(talk.memory() < 16 << 10, "{}", talk.memory());
    talk.client(from_client(0x01, ""));
    for _ in 0..10_000 {
        talk.client(from_client(0x00, "fragment without end"));
    }
    assert!(talk.memory() < 32 << 10, "{}", talk.memory());
}

#[test]
fn nothing_is_taken_for_it() {
    for bytes in [&b""[..], b"\x81\x05hello", b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"] {
        assert_eq!(WebSocket.probe(bytes), Verdict::No);
    }
}

#[test]
fn it_follows_an_upgrade() {
    let mut talk = support::Talk::<Record>::of(&Http1);
    talk.client(
        "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    );
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    talk.server([answer.as_bytes(), &from_server(0x81, "hi")].concat());
    let switch = talk.switch.take().unwrap();
    assert_eq!(switch.next, Next::Protocol("websocket"));
    let context = Context::new(Traffic::default(), None).with_begun(switch.begun);
    let mut talk = Talk::with(&WebSocket, context);
    talk.server(&switch.unread[RESPONSES.index()]);
    assert_eq!(lines(&talk), ["server text hi"]);
    assert_eq!(talk.records[0].path.as_ref().map(ToString::to_string).as_deref(), Some("/chat"));
    assert_eq!(talk.records[0].traffic.role, Some(Role::Client));
}

/// Messages both ways, some in fragments.
fn conversation() -> impl Strategy<Value = Vec<Step>> {
    let message = (any::<bool>(), 0_usize..700, 1_usize..4, any::<bool>());
    prop::collection::vec(message, 1..12).prop_map(|messages| {
        let frames = messages.into_iter().flat_map(|(is_client, size, fragments, ping)| {
            let (direction, mask) =
                if is_client { (REQUESTS, Some(MASK)) } else { (RESPONSES, None) };
            let payload: Vec<u8> = (0..size).map(|number| number as u8).collect();
            let mut steps: Vec<Step> = (0..fragments)
                .map(|number| {
                    let opcode = if number == 0 { 2 } else { 0 };
                    let last = if number + 1 == fragments { 0x80 } else { 0 };
                    Step::Feed(direction, frame(opcode | last, &payload, mask))
                })
                .collect();
            if ping {
                steps.insert(1, Step::Feed(direction, frame(0x89, b"ping", mask)));
            }
            steps
        });
        frames.collect()
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same(steps in conversation(), piece in 1_usize..50) {
        script::check_stream(&WebSocket, Limits::default(), &steps, piece);
        let talk = script::run(&WebSocket, Limits::default(), &steps, piece);
        let fed: u64 = steps.iter().map(|step| match step {
            Step::Feed(_, bytes) => bytes.len() as u64,
            Step::Gap(..) => 0,
        }).sum();
        prop_assert_eq!(talk.bytes_in_records(), fed);
        prop_assert_eq!(talk.bytes_skipped(), 0);
    }

    #[test]
    fn gaps_anywhere_are_survived(
        steps in conversation(),
        gaps in prop::collection::vec((any::<prop::sample::Index>(), 1_u64..900), 1..4),
        piece in 1_usize..50,
    ) {
        let mut steps = steps;
        for (place, length) in gaps {
            let at = place.index(steps.len());
            let direction = match &steps[at] {
                Step::Feed(direction, _) | Step::Gap(direction, _) => *direction,
            };
            steps.insert(at, Step::Gap(direction, length));
        }
        script::check_stream(&WebSocket, Limits::default(), &steps, piece);
        // What is told was said.
        let talk = script::run(&WebSocket, Limits::default(), &steps, usize::MAX);
        for record in &talk.records {
            let Record::WebSocket(message) = record else { panic!("{record:?}") };
            prop_assert!(message.violation.is_none(), "{:?}", message);
        }
    }

    #[test]
    fn whatever_comes_is_survived(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        script::check(&WebSocket, &input);
    }
}

/// One byte at a time, after a gap too.
fn trickle(bytes: &[u8]) {
    for gap in [false, true] {
        for direction in [Direction::Sent, Direction::Received] {
            let mut talk = talk();
            if gap {
                talk.gap(direction, 1);
            }
            talk.feed_in_pieces(direction, bytes, &[1]);
        }
    }
}

#[test]
fn effort_grows_with_the_bytes() {
    for nearly in [from_client(0x02, "a"), from_server(0x82, ""), from_server(0x82, vec![0; 3000])]
    {
        assert_linear(|size| trickle(&nearly.repeat(size / nearly.len() + 1)));
    }
    assert_linear(|size| trickle(&from_server(0x82, vec![0; size])));
}

#[test]
fn opcodes_have_names() {
    let names = [0, 1, 2, 8, 9, 10, 11].map(|number| WebSocketOpcode::of(number).as_str());
    assert_eq!(names, ["continuation", "text", "binary", "close", "ping", "pong", "reserved"]);
}
