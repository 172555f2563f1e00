//! The examples of RFC 7541, appendix C, and what they do not show.

use super::table::DynamicTable;
use super::{Decoder, Fault, FieldList, Input};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The fields as `name: value`; `?` for what is not known.
fn show(list: &FieldList) -> Vec<String> {
    let text = |part: &Option<std::ops::Range<usize>>| match part {
        Some(range) => String::from_utf8_lossy(list.slice(range)).into_owned(),
        None => "?".into(),
    };
    list.fields
        .iter()
        .map(|field| format!("{}: {}", text(&field.name), text(&field.value)))
        .collect()
}

fn decode(decoder: &mut Decoder, hex: &str) -> (Vec<String>, Result<(), Fault>) {
    let mut list = FieldList::default();
    let decoded = decoder.decode(&bytes(hex), 1 << 16, &mut list);
    assert_eq!(list.incomplete, decoded.is_err());
    (show(&list), decoded)
}

#[track_caller]
fn assert_decodes(decoder: &mut Decoder, hex: &str, expected: &[&str]) {
    assert_eq!(
        decode(decoder, hex),
        (expected.iter().map(|&field| field.into()).collect(), Ok(()))
    );
}

fn with_table(max: usize) -> Decoder {
    let mut decoder = Decoder::new();
    decoder.table = DynamicTable::new(max);
    decoder
}

#[test]
fn c_1_integers() {
    assert_eq!(Input(&[0b0000_1010]).integer(5), Ok(10));
    assert_eq!(Input(&[0b0001_1111, 0b1001_1010, 0b0000_1010]).integer(5), Ok(1337));
    assert_eq!(Input(&[0b0010_1010]).integer(8), Ok(42));
    assert_eq!(Input(&[0x1f, 0x9a]).integer(5), Err(Fault::Partial));
    assert_eq!(Input(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x01]).integer(5), Err(Fault::Malformed));
}

#[test]
fn c_2_fields() {
    let decoder = &mut Decoder::new();
    let hex = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    assert_decodes(decoder, hex, &["custom-key: custom-header"]);
    assert_decodes(decoder, "040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"]);
    let hex = "1008 7061 7373 776f 7264 0673 6563 7265 74";
    assert_decodes(decoder, hex, &["password: secret"]);
    assert_decodes(decoder, "82", &[":method: GET"]);
    // Only the first was added to the table.
    assert_decodes(decoder, "bebf", &["custom-key: custom-header", "?: ?"]);
}

fn assert_requests(blocks: [&str; 3]) {
    let decoder = &mut Decoder::new();
    let [method, http, path] = [":method: GET", ":scheme: http", ":path: /"];
    let authority = ":authority: www.example.com";
    assert_decodes(decoder, blocks[0], &[method, http, path, authority]);
    let cache = "cache-control: no-cache";
    assert_decodes(decoder, blocks[1], &[method, http, path, authority, cache]);
    let (https, path) = (":scheme: https", ":path: /index.html");
    let custom = "custom-key: custom-value";
    assert_decodes(decoder, blocks[2], &[method, https, path, authority, custom]);
    assert_decodes(decoder, "bebfc0c1", &[custom, cache, authority, "?: ?"]);
}

#[test]
fn c_3_requests_without_huffman_coding() {
    assert_requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn c_4_requests_with_huffman_coding() {
    assert_requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

fn assert_responses(blocks: [&str; 3]) {
    let decoder = &mut with_table(256);
    let [private, location] = ["cache-control: private", "location: https://www.example.com"];
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    assert_decodes(decoder, blocks[0], &[":status: 302", private, date, location]);
    // The first status goes to make room.
    assert_decodes(decoder, blocks[1], &[":status: 307", private, date, location]);
    let date = "date: Mon, 21 Oct 2013 20:13:22 GMT";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let gzip = "content-encoding: gzip";
    let expected = [":status: 200", private, date, location, gzip, cookie];
    assert_decodes(decoder, blocks[2], &expected);
    assert_decodes(decoder, "bebfc0c1", &[cookie, gzip, date, "?: ?"]);
}

#[test]
fn c_5_responses_without_huffman_coding() {
    assert_responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 \
         6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d \
         54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 \
         5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e \
         3d31",
    ]);
}

#[test]
fn c_6_responses_with_huffman_coding() {
    assert_responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
         77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
         9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn a_reference_to_what_was_not_seen_is_not_known() {
    let decoder = &mut Decoder::new();
    // An unknown name with a known value, added to the table and referred to.
    assert_decodes(decoder, "82 7f01 0161 be bf", &[":method: GET", "?: a", "?: a", "?: ?"]);
}

#[test]
fn what_came_before_a_fault_is_not_known_after_it() {
    let decoder = &mut Decoder::new();
    let custom = "custom-key: custom-value";
    let block = "400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65";
    assert_decodes(decoder, &format!("{block} be"), &[custom, custom]);
    for (fault, what) in [
        ("80", Fault::Malformed),
        ("be 4003 6162", Fault::Partial),
        ("be ff80 8080 8080 01", Fault::Malformed),
        ("be 0081 ff00", Fault::Malformed),
    ] {
        let known = fault.starts_with("be");
        let (fields, result) = decode(decoder, fault);
        assert_eq!(
            (fields.first().map(String::as_str), result),
            (known.then_some(custom), Err(what))
        );
        assert_decodes(decoder, "be", &["?: ?"]);
        assert_decodes(decoder, &format!("{block} bebf"), &[custom, custom, "?: ?"]);
    }
}

#[test]
fn the_table_takes_the_size_that_it_is_given() {
    let decoder = &mut Decoder::new();
    assert_decodes(decoder, "4001 6101 31 4001 6201 32 be bf", &["a: 1", "b: 2", "b: 2", "a: 1"]);
    assert_decodes(decoder, "3f03 be bf", &["b: 2", "?: ?"]); // 34 bytes: room for one.
    assert_decodes(decoder, "20 be", &["?: ?"]);
    assert_decodes(decoder, "3fe1 1f 4001 6301 33 be", &["c: 3", "c: 3"]); // 4096 again.
}

#[test]
fn a_small_block_does_not_become_large() {
    let mut block = vec![0x40, 0x01, b'n', 0x7f, 0x81, 0x1e]; // A value of 4,000 bytes.
    block.extend([b'v'; 4000]);
    block.extend([0xbe; 60_000]);
    block.extend([0x40, 0x01, b'a', 0x01, b'b']);
    let (mut decoder, mut list) = (Decoder::new(), FieldList::default());
    assert_eq!(decoder.decode(&block, 1 << 16, &mut list), Ok(()));
    assert!(list.incomplete);
    assert!(list.bytes.capacity() <= 2 << 16, "{} bytes", list.bytes.capacity());
    // What was left out of the list is in the table all the same.
    assert_decodes(&mut decoder, "be", &["a: b"]);
}
