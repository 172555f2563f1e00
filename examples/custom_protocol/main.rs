//! A protocol of one's own: its parser is in `ping.rs`, its traffic is made here.
//!
//! ```text
//! cargo build --example custom_protocol && sudo target/debug/examples/custom_protocol
//! ```

mod ping;

use pixie::Tracer;
use std::error::Error;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const USAGE: &str = "\
Parses a protocol that the library does not know, which a client and a server in this process speak
for three seconds. There is a record for each exchange and each end.

Usage: custom_protocol [--help]
";

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().len() > 1 {
        return Ok(io::stdout().write_all(USAGE.as_bytes())?);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;

    let session = Tracer::new()
        .kprobes()
        .port(address.port())
        .include_self()
        .protocol(ping::Ping)
        .sink(pixie::sinks::try_each(|record| writeln!(io::stdout(), "{record}")))
        .start()?;
    writeln!(io::stderr(), "{}\nready", session.report())?;

    thread::spawn(move || serve(&listener));
    talk(address)?;
    writeln!(io::stderr(), "{}", session.stop()?)?;
    Ok(())
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    for connection in listener.incoming() {
        let mut connection = connection?;
        for line in BufReader::new(connection.try_clone()?).lines() {
            let answer = match line?.strip_prefix("PING ") {
                Some("") | None => "OOPS nothing to send back\n".to_owned(),
                Some(text) => format!("PONG {text}\n"),
            };
            connection.write_all(answer.as_bytes())?;
        }
    }
    Ok(())
}

fn talk(address: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    let mut answers = BufReader::new(connection.try_clone()?).lines();
    for text in ["hello", "is there anybody?", ""].into_iter().cycle().take(12) {
        connection.write_all(format!("PING {text}\n").as_bytes())?;
        let _ = answers.next().transpose()?;
        thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}
