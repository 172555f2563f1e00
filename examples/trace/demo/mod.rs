//! Traffic to look at: a small HTTP server and its client, in a process of their own, because the
//! tracer leaves its own process alone.

mod encrypted;

use crate::arguments::DEMO_TRAFFIC;
use encrypted::Encrypted;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The process that makes the traffic.
pub(crate) struct Demo {
    child: Child,
}

impl Demo {
    pub(crate) fn start() -> io::Result<Self> {
        // The child ends when its stdin does: also when we are killed.
        let child = Command::new(std::env::current_exe()?)
            .arg(format!("--{DEMO_TRAFFIC}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Makes traffic until stdin ends.
pub(crate) fn traffic() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve(&listener));
    thread::spawn(move || request_all(address));
    // It is there where it can be had.
    let _encrypted = Encrypted::start();
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    for connection in listener.incoming() {
        let connection = connection?;
        thread::spawn(move || answer_all(&connection));
    }
    Ok(())
}

/// Answers the requests of one connection.
fn answer_all(mut connection: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    while let Some(request) = lines.next().transpose()? {
        // The rest of the head: there is no body.
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let (status, body) = match request.split(' ').nth(1) {
            Some("/") => ("200 OK", "<h1>It works</h1>\n".to_owned()),
            Some("/slow") => {
                thread::sleep(Duration::from_millis(120));
                ("200 OK", "patience\n".repeat(100))
            }
            Some("/api/users/42") => ("200 OK", r#"{"id":42,"name":"Ada"}"#.to_owned()),
            _ => ("404 Not Found", "no such page\n".to_owned()),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nServer: demo\r\nContent-Length: {length}\r\n\r\n");
        connection.write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

/// Makes one request after the other over one connection.
fn request_all(address: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    let mut answer = [0; 4096];
    for path in ["/", "/api/users/42", "/slow", "/nowhere"].into_iter().cycle() {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: demo\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        // The server writes an answer at once, so that one read is enough.
        if connection.read(&mut answer)? == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}
