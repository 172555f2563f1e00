//! A program with rustls inside: shakes hands with nobody, and waits until its input ends.

use std::io::Read as _;
use std::sync::Arc;

fn main() {
    let roots = rustls::RootCertStore::empty();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let name = "localhost".try_into().expect("a name");
    let mut connection = rustls::ClientConnection::new(Arc::new(config.with_no_client_auth()), name)
        .expect("a connection");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("room in memory");
    println!("ready {}", hello.len());
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).expect("an end");
}
