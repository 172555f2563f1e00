//! The PROXY protocol, as it was recorded; see `tests/fixtures/proxy_protocol/record.sh`.

use super::captures::read;
use super::{exchanges, play};

#[test]
fn records_say_whose_connection_was_passed_on() {
    for (version, source, destination) in
        [(1, "127.0.0.1:5001", "127.0.0.1:8001"), (2, "127.0.0.1:5002", "127.0.0.1:8002")]
    {
        let (records, stats) = play(read(&format!("../proxy_protocol/version{version}.pcapng")));
        let [http] = exchanges(&records)[..] else { panic!("{records:?}") };
        assert_eq!(http.request.as_ref().unwrap().path, "/hello.txt");
        assert_eq!(http.response.as_ref().unwrap().status, 200);
        let proxied = http.traffic.connection.proxied.as_ref().unwrap();
        assert_eq!(proxied.source.as_ref().unwrap().to_string(), source);
        assert_eq!(proxied.destination.as_ref().unwrap().to_string(), destination);
        let remote = http.traffic.connection.remote.as_ref().unwrap();
        assert_eq!(remote.to_string(), "127.0.0.1:8080", "the connection's own end");
        assert_eq!((&stats.lost[..], stats.parser.bytes_skipped), (&[][..], 0));
    }
}
