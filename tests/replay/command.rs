//! The example itself, as a command.

use crate::EXCHANGES;
use crate::captures::{path, read};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn replay(arguments: &[&str], input: Option<&[u8]>) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--package=pixie", "--example=replay", "--"]).args(arguments);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.unwrap_or_default()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn prints_a_line_an_exchange() {
    let output = replay(&[path("ethernet.pcapng").to_str().unwrap()], None);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), EXCHANGES.len());
    assert!(lines.contains("POST /create 201"), "{lines}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn prints_json_from_stdin() {
    let output = replay(&["--json", "-"], Some(&read("cooked2.pcapng")));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let first = lines.lines().next().unwrap();
    assert!(first.starts_with(r#"{"kind":"http","#), "{first}");
    for part in
        [r#""method":"GET""#, r#""path":"/hello.txt""#, r#""status":200"#, r#""role":"client""#]
    {
        assert!(first.contains(part), "{part} is not in {first}");
    }
    assert_eq!(lines.lines().count(), EXCHANGES.len());
}

#[test]
fn says_what_was_read_and_lost() {
    let file = read("ethernet.pcap");
    let output = replay(&["--stats", "-"], Some(&file[..file.len() - 10]));
    assert_eq!(output.status.code(), Some(1), "the file is cut short");
    let account = text(&output.stderr);
    for part in ["packets                                     56", "7 records", "cut short"] {
        assert!(account.contains(part), "{part:?} is not in {account}");
    }
    assert_eq!(text(&output.stdout).lines().count(), EXCHANGES.len());
}

#[test]
fn takes_a_port_to_speak_a_protocol() {
    let path = path("ethernet.pcapng");
    let file = path.to_str().unwrap();
    let output = replay(&["--decode", "8080=http1", file], None);
    assert_eq!(text(&output.stdout).lines().count(), EXCHANGES.len());
    for (argument, complaint) in
        [("8080", "PORT=PROTO"), ("x=http1", "PORT=PROTO"), ("8080=gopher", "gopher")]
    {
        let output = replay(&["--decode", argument, file], None);
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stderr);
        assert!(told.contains(complaint), "{complaint:?} is not in {told}");
    }
}

#[test]
fn refuses_what_is_no_capture() {
    let output = replay(&["-"], Some(b"no capture at all"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("neither pcap nor pcapng"));
}

#[test]
fn explains_itself() {
    let output = replay(&["--help"], None);
    assert!(output.status.success());
    let usage = text(&output.stdout);
    for option in ["--json", "--decode", "--stats", "--help"] {
        assert!(usage.contains(option), "{option} is not in {usage}");
    }
}
