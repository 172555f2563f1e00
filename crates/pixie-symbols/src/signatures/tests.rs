use super::{SignatureError, Signatures};

const ENOUGH: &str = r#"
# A comment.
first  whose build
    00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
    <second> ?? ff <"some.c">
second
    10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f ="some.c"
"#;

#[test]
fn what_is_written_is_read() {
    let signatures = Signatures::parse(ENOUGH).unwrap();
    assert_eq!(signatures.functions().collect::<Vec<_>>(), ["first", "second"]);
    let [first, second] = &signatures.list[..] else { panic!("{signatures:?}") };
    assert_eq!((first.origin.as_str(), second.origin.as_str()), ("whose build", ""));
    assert_eq!((first.bytes.len(), first.anchor.clone()), (16 + 4 + 2 + 4, 0..16));
    let places = |of: &super::Signature| -> Vec<_> {
        of.references.iter().map(|reference| (reference.at, reference.absolute)).collect()
    };
    assert_eq!(places(first), [(16, false), (22, false)]);
    assert_eq!(places(second), [(16, true)]);
}

#[test]
fn what_says_too_little_or_nothing_is_an_error_of_its_line() {
    let error = |text: &str| Signatures::parse(text).unwrap_err();
    let line = |text: &str| error(text).line;
    assert_eq!(line("    00 01"), 1, "bytes of nothing");
    assert_eq!(line(&format!("{ENOUGH}third\n    00 01")), 8, "two bytes tell nothing");
    assert_eq!(line(&ENOUGH.replace("0f\n", "0f 0\n")), 4, "half a byte");
    assert_eq!(line(&ENOUGH.replace("0f\n", "+f\n")), 4, "a sign");
    assert_eq!(line(&ENOUGH.replace("00 01", "?? 01")), 3, "where does it begin?");
    assert_eq!(line(&ENOUGH.replace("<second>", "<\"\">")), 5, "no text");
    let absent = error(&ENOUGH.replace("<second>", "<third>"));
    assert_eq!(absent, SignatureError { line: 1, problem: "third has no signature".to_owned() });
    assert!(error(&ENOUGH.replace("\"some.c\"", "\"\"")).line > 1);
    let everywhere = ENOUGH.replace(" <\"some.c\">", "").replace("=\"some.c\"", "");
    assert!(error(&everywhere).to_string().contains("no signature names a text"));
    assert!(error(&format!("a\n   {}", " 00".repeat(5000))).problem.contains("longer than"));
    assert!(error("").problem.contains("no signature"), "nothing is no list");
}
