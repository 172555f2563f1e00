//! A client with BoringSSL inside, by the crate `boring`: says "ready", asks when it is told to, says
//! "done", and waits to be told to leave: `boring client PORT TIMES`. At the end, it gets and posts as many
//! bytes as BIG says.

use boring::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

type Connection = BufReader<SslStream<TcpStream>>;

fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line)
}

/// Asks, and demands as many bytes in answer.
fn ask(connection: &mut Connection, start: &str, body: &[u8], expected: usize) -> io::Result<()> {
    let length = body.len();
    let head = format!("{start} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    connection.get_mut().write_all(&[head.as_bytes(), body].concat())?;
    let mut length = 0;
    loop {
        let mut field = String::new();
        connection.read_line(&mut field)?;
        let field = field.trim_end().to_ascii_lowercase();
        if let Some(number) = field.strip_prefix("content-length:") {
            length = number.trim().parse().expect("a number");
        }
        if field.is_empty() {
            break;
        }
    }
    assert_eq!(length, expected, "bytes in answer to {start}");
    connection.read_exact(&mut vec![0; length])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let port: u16 = arguments[2].parse()?;
    let times: usize = arguments[3].parse()?;
    let mut connector = SslConnector::builder(SslMethod::tls())?;
    connector.set_verify(SslVerifyMode::NONE);
    let connector = connector.build();
    println!("ready");
    line()?;
    let stream = connector.connect("localhost", TcpStream::connect(("127.0.0.1", port))?)?;
    let mut connection = BufReader::new(stream);
    for _ in 0..times {
        ask(&mut connection, "GET /bytes/1000", b"", 1000)?;
        ask(&mut connection, "POST /count", &[b'y'; 100_000], 7)?;
        ask(&mut connection, "GET /bytes/50000", b"", 50_000)?;
    }
    if let Ok(big) = std::env::var("BIG") {
        let size = big.parse()?;
        ask(&mut connection, &format!("GET /bytes/{big}"), b"", size)?;
        ask(&mut connection, "POST /count", &vec![b'y'; size], big.len() + 1)?;
    }
    println!("done");
    line()?;
    Ok(())
}
