//! DNS, as it was recorded; see `tests/fixtures/dns/record.sh`.

use super::captures::read;
use super::play;
use pixie::record::Dns;
use pixie::{Record, Stats};

/// The exchanges of a capture in which nothing is missing.
fn exchanges(name: &str) -> (Vec<Dns>, Stats) {
    let (records, stats) = play(read(&format!("../dns/{name}")));
    assert_eq!((&stats.lost[..], stats.parser.malformed), (&[][..], 0), "{name}");
    assert_eq!(stats.parser.bytes_skipped, 0, "{name}");
    let exchanges = records.into_iter().filter_map(|record| match record {
        Record::Dns(dns) => Some(*dns),
        _ => None,
    });
    (exchanges.collect(), stats)
}

/// `QUERY A www.a.test -> NOERROR 192.0.2.1`
fn line(dns: &Dns) -> String {
    let opcode = dns.request.as_ref().or(dns.response.as_ref()).unwrap().opcode;
    let mut line = opcode.to_string();
    for question in dns.questions() {
        line += &format!(" {} {}", question.kind, question.name);
    }
    let Some(response) = &dns.response else { return line };
    line += &format!(" -> {}", response.rcode);
    for answer in response.answers.iter().take(6) {
        line += &format!(" {}", answer.presentation());
    }
    line
}

#[test]
fn questions_of_dig_and_answers_of_bind() {
    let (exchanges, _) = exchanges("udp.pcapng");
    let lines: Vec<String> = exchanges.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "QUERY A www.a.test -> NOERROR 192.0.2.1",
            "QUERY AAAA www.a.test -> NOERROR 2001:db8::1",
            "QUERY SOA a.test -> NOERROR ns.a.test root.a.test 7 3600 600 86400 60",
            "QUERY NS a.test -> NOERROR ns.a.test",
            "QUERY MX a.test -> NOERROR 10 mail.a.test",
            "QUERY TXT a.test -> NOERROR \"v=spf1 -all\"",
            "QUERY CAA a.test -> NOERROR 0 issue \"ca.test\"",
            "QUERY HTTPS a.test -> NOERROR 1 . alpn=\"h2,h3\" ipv4hint=192.0.2.1",
            "QUERY ANY a.test -> NOERROR ns.a.test root.a.test 7 3600 600 86400 60 ns.a.test \
             10 mail.a.test \"v=spf1 -all\" 1 . alpn=\"h2,h3\" ipv4hint=192.0.2.1 \
             0 issue \"ca.test\"",
            "QUERY A alias.a.test -> NOERROR www.a.test 192.0.2.1",
            "QUERY A nobody.a.test -> NXDOMAIN",
            "QUERY A other.test -> REFUSED",
            "QUERY A ns.a.test -> NOERROR 127.0.0.1",
            "NOTIFY SOA a.test -> NOERROR",
            "UPDATE SOA a.test -> NOERROR",
            "QUERY A lost.a.test",
            "QUERY A lost.a.test",
        ]
    );
    let signed = exchanges[12].request.as_ref().unwrap().edns.as_ref().unwrap();
    assert!(signed.dnssec_ok);
    let options: Vec<_> = signed.options.iter().map(|option| option.name().unwrap()).collect();
    assert_eq!(options, ["client_subnet", "cookie"]);
    // EDNS's "extended error" of BIND, and its cookie.
    let refused = exchanges[11].response.as_ref().unwrap().edns.as_ref().unwrap();
    assert_eq!(refused.udp_size, 1232);
    assert!(exchanges.iter().all(|dns| !dns.multicast));
    assert_eq!(exchanges.iter().filter(|dns| dns.is_error()).count(), 2);
}

#[test]
fn transfers_of_a_zone_and_of_its_changes() {
    let (exchanges, stats) = exchanges("tcp.pcapng");
    let lines: Vec<String> = exchanges.iter().map(line).collect();
    let counts: Vec<u64> =
        exchanges.iter().map(|dns| dns.response.as_ref().unwrap().record_counts[0]).collect();
    assert_eq!(counts, [1, 0, 112, 5]);
    assert!(lines[0].starts_with("QUERY A www.a.test -> NOERROR 192.0.2.1"));
    assert!(lines[1].starts_with("QUERY A nobody.a.test -> NXDOMAIN"));
    assert!(lines[2].starts_with("QUERY AXFR a.test -> NOERROR ns.a.test root.a.test 8 3600"));
    assert_eq!(
        lines[3],
        "QUERY IXFR a.test -> NOERROR ns.a.test root.a.test 8 3600 600 86400 60 \
         ns.a.test root.a.test 7 3600 600 86400 60 ns.a.test root.a.test 8 3600 600 86400 60 \
         192.0.2.9 ns.a.test root.a.test 8 3600 600 86400 60"
    );
    assert!(exchanges.iter().all(|dns| dns.traffic.latency.is_some()));
    let bytes = exchanges.iter().map(|dns| dns.traffic.request_bytes + dns.traffic.response_bytes);
    assert_eq!(bytes.sum::<u64>(), stats.stream.bytes_total);
}

#[test]
fn multicast_is_told_message_by_message() {
    let (exchanges, _) = exchanges("multicast.pcapng");
    let lines: Vec<String> = exchanges.iter().map(line).collect();
    assert_eq!(lines, ["QUERY A host.local", "QUERY -> NOERROR 192.0.2.1"]);
    assert!(exchanges.iter().all(|dns| dns.multicast));
    let answer = &exchanges[1].response.as_ref().unwrap().answers[0];
    assert!(answer.cache_flush && answer.name == "host.local");
}
