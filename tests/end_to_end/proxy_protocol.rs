//! HAProxy in front of nginx: the records of nginx say who really asked.

use crate::clients::curl;
use crate::nginx;
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::{Server, free_port};
use pixie::id::Role;
use pixie::record::Address;
use std::fs;

tests! {
    core: version_1;
    once: version_2;
}

/// nginx that takes connections with a PROXY header only, and logs whose they are.
fn nginx(setup: &Setup) -> Result<Server, Skip> {
    let (folder, port) = (Server::prepare(), free_port());
    let path = folder.path().display();
    let http = format!(
        "log_format source '$proxy_protocol_addr:$proxy_protocol_port';
         server {{
             listen 127.0.0.1:{port} proxy_protocol; root {path}/www;
             access_log {path}/sources source;
         }}"
    );
    nginx::start(setup, folder, port, 1, &http)
}

/// HAProxy that passes connections on with a header.
fn haproxy(setup: &Setup, to: u16, option: &str) -> Result<Server, Skip> {
    let mut command = command("haproxy")?;
    let (folder, port) = (Server::prepare(), free_port());
    let configuration = format!(
        "global\n  nbthread 1\n\
         defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
         listen front\n  bind 127.0.0.1:{port}\n  server back 127.0.0.1:{to} {option}\n"
    );
    let file = folder.path().join("haproxy.conf");
    fs::write(&file, configuration).expect("a configuration file");
    command.args(["-db", "-q", "-f"]).arg(&file);
    Ok(Server::start(setup, folder, port, command))
}

fn through_haproxy(setup: &Setup, option: &str) -> Outcome {
    let back = nginx(setup)?;
    let front = haproxy(setup, back.port, option)?;
    let file = front.file("got");
    let tracer = setup.tracer_of(back.port);
    let urls = [front.url("/small.txt?1"), front.url("/small.txt?2")];
    let (observed, asked) = setup.observe(tracer, 4, || -> Result<_, Skip> {
        let [first, second] = &urls;
        Ok([curl(first, &file, &[])?, curl(second, &file, &[])?])
    });
    for (number, curl) in asked?.iter().enumerate() {
        assert_eq!((curl.status, curl.downloaded), (200, 1000), "what curl got");
        let path = format!("/small.txt?{}", number + 1);
        // What nginx takes for its client, and what HAProxy says to it.
        for role in [Role::Server, Role::Client] {
            let http = observed.one(role, &path);
            let connection = &http.traffic.connection;
            let proxied = connection.proxied.as_ref().unwrap_or_else(|| panic!("{http}"));
            let source: Address = Address::Inet(([127, 0, 0, 1], curl.local_port).into());
            let destination = Address::Inet(([127, 0, 0, 1], front.port).into());
            assert_eq!(proxied.source, Some(source), "{role}");
            assert_eq!(proxied.destination, Some(destination), "{role}");
            // The header is no part of the request.
            assert_eq!(http.traffic.request_bytes, curl.sent, "{role}");
        }
        let remote = &observed.one(Role::Server, &path).traffic.connection.remote;
        assert_ne!(remote.as_ref().and_then(Address::port), Some(curl.local_port));
        let logged = fs::read_to_string(back.file("sources")).unwrap();
        assert!(logged.contains(&format!("127.0.0.1:{}", curl.local_port)), "{logged}");
    }
    Ok(())
}

fn version_1(setup: &Setup) -> Outcome {
    through_haproxy(setup, "send-proxy")
}

fn version_2(setup: &Setup) -> Outcome {
    // With a checksum and an identity, as TLVs after the addresses.
    through_haproxy(setup, "send-proxy-v2 proxy-v2-options crc32c,unique-id")
}
