//! TLS handshakes, as they were recorded; see `tests/fixtures/tls/record.sh`.

use super::captures::{path, read};
use super::play;
use pixie::Record;
use pixie::record::TlsHandshake;
use std::process::Command;

fn handshakes() -> Vec<TlsHandshake> {
    let (records, stats) = play(read("../tls/handshakes.pcapng"));
    assert_eq!((&stats.lost[..], stats.parser.malformed), (&[][..], 0));
    assert_eq!(records.len(), stats.connections.opened as usize, "one of each connection");
    let handshakes = records.into_iter().map(|record| match record {
        Record::TlsHandshake(handshake) => *handshake,
        record => panic!("{record}"),
    });
    handshakes.collect()
}

/// What a line for people says after the addresses, but for the time that it took.
fn line(handshake: &TlsHandshake) -> String {
    let line = handshake.to_string();
    let line = line.split_once(" TLS ").unwrap().1;
    line.rsplit_once(' ').unwrap().0.to_owned()
}

#[test]
fn handshakes_of_openssl_and_nginx() {
    let handshakes = handshakes();
    let lines: Vec<String> = handshakes.iter().map(line).collect();
    let tls_1_2 = "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
    let tls_1_3 = "localhost TLSv1.3 TLS_AES_256_GCM_SHA384 secp384r1";
    assert_eq!(
        lines,
        [
            format!("localhost {tls_1_2} secp384r1 h2"),
            tls_1_3.to_owned(),
            tls_1_3.to_owned(),
            format!("a.test {tls_1_2} secp384r1"),
            format!("a.test {tls_1_2} resumed"),
            "? protocol_version from server".to_owned(),
            format!("localhost {tls_1_2} secp384r1 h2 unknown_ca from client"),
            format!("{tls_1_3} unknown_ca from client"),
        ]
    );
    let which = |is: fn(&TlsHandshake) -> bool| -> Vec<usize> {
        let those = handshakes.iter().enumerate().filter(|(_, handshake)| is(handshake));
        those.map(|(number, _)| number).collect()
    };
    assert_eq!(which(|handshake| handshake.complete), [0, 1, 2, 3, 4]);
    assert_eq!(which(TlsHandshake::is_error), [5, 6, 7]);
    assert_eq!(which(|handshake| handshake.hello_retry), [2, 7]);
    let offers = |handshake: &TlsHandshake| handshake.request.as_ref().unwrap().offers_resumption;
    assert_eq!(which(offers), [4]);
    let certificates = |handshake: &TlsHandshake| {
        handshake.response.as_ref().is_some_and(|hello| hello.certificate_sizes.len() == 1)
    };
    assert_eq!(which(certificates), [0, 3, 6]);
}

/// tshark knows JA3 since version 3.6.
#[test]
fn fingerprints_are_those_of_tshark() {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(path("../tls/handshakes.pcapng"));
    tshark.args(["-Y", "tls.handshake.type == 1", "-T", "fields"]);
    tshark.args(["-e", "tcp.stream", "-e", "tls.handshake.ja3"]);
    let Ok(output) = tshark.output() else {
        println!("skipped: tshark is not installed");
        return;
    };
    let output = String::from_utf8(output.stdout).unwrap();
    // The first hello of each connection.
    let mut theirs: Vec<Option<&str>> = Vec::new();
    for line in output.lines() {
        let (stream, fingerprint) = line.split_once('\t').unwrap();
        let stream: usize = stream.parse().unwrap();
        theirs.resize(theirs.len().max(stream + 1), None);
        theirs[stream] = theirs[stream].or(Some(fingerprint));
    }
    let ours = handshakes();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.request.as_ref().unwrap().ja3, theirs.unwrap());
    }
}
