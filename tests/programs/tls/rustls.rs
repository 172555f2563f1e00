//! A server and a client of HTTPS with rustls 0.23 inside, over sockets of the standard library, and
//! over tokio with one thread.
//!
//!   server|aserver PORT CERT KEY
//!   client|aclient PORT TIMES    asks for the same things, TIMES times over one connection, and at the
//!                                end gets and posts as many bytes as BIG says
//!   crowd PORT COUNT             as many connections at once, each of which asks for its own number of
//!                                bytes, several times
//!
//! GET /bytes/N answers N bytes; POST /count, how many came. A client says "ready", and starts when it
//! is told to on standard input. With OLDER in its environment, its connection is used once before; with
//! OLD_TLS, it speaks TLS 1.2 only.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, StreamOwned};
use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
        ]
    }
}

fn versions() -> &'static [&'static rustls::SupportedProtocolVersion] {
    match std::env::var_os("OLD_TLS") {
        Some(_) => &rustls::ALL_VERSIONS[1..],
        None => &rustls::ALL_VERSIONS[..1],
    }
}

fn client_config() -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_protocol_versions(versions());
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone));
    Arc::new(config.with_no_client_auth())
}

fn server_config(certificate: &str, key: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate).expect("a certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).expect("they belong together"))
}

/// A stream that is read in pieces and written in vectors, whichever way.
trait Stream {
    fn read_some(&mut self, into: &mut [u8]) -> impl Future<Output = io::Result<usize>>;
    fn write_some(&mut self, parts: &[IoSlice<'_>]) -> impl Future<Output = io::Result<usize>>;
    fn flush_all(&mut self) -> impl Future<Output = io::Result<()>>;
}

/// What never waits as a future, because it waits in its system calls.
struct Blocking<S>(S);

impl<S: Read + Write> Stream for Blocking<S> {
    async fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }

    async fn write_some(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts.iter().find(|part| !part.is_empty()) {
            Some(part) => self.0.write(part),
            None => Ok(0),
        }
    }

    async fn flush_all(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

struct Waiting<S>(S);

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Stream for Waiting<S> {
    async fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).await
    }

    async fn write_some(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(parts).await
    }

    async fn flush_all(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}

struct Connection<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: Stream> Connection<S> {
    fn new(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    async fn more(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; 16 << 10];
        let length = self.stream.read_some(&mut piece).await?;
        self.received.extend_from_slice(&piece[..length]);
        Ok(length > 0)
    }

    /// The first line of a message, and its body; `None` where there is no more.
    async fn message(&mut self) -> io::Result<Option<(String, Vec<u8>)>> {
        let end = loop {
            match self.received.windows(4).position(|part| part == b"\r\n\r\n") {
                Some(end) => break end,
                None if self.more().await? => {}
                None => return Ok(None),
            }
        };
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        let mut length = 0;
        for line in head.to_ascii_lowercase().lines() {
            if let Some(number) = line.strip_prefix("content-length:") {
                length = number.trim().parse().expect("a number");
            }
        }
        while self.received.len() < end + 4 + length {
            assert!(self.more().await?, "the message ends");
        }
        let rest = self.received.split_off(end + 4 + length);
        let body = self.received.split_off(end + 4);
        self.received = rest;
        Ok(Some((head.lines().next().unwrap_or_default().to_owned(), body)))
    }

    /// Head and body as two parts of one vector.
    async fn say(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let (mut head, mut body) = (head, body);
        while !head.is_empty() || !body.is_empty() {
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let written = self.stream.write_some(&parts).await?;
            let of_head = written.min(head.len());
            head = &head[of_head..];
            body = &body[written - of_head..];
        }
        self.stream.flush_all().await
    }

    async fn ask(&mut self, start: &str, body: &[u8], expected: usize) -> io::Result<()> {
        let length = body.len();
        let head = format!("{start} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        self.say(head.as_bytes(), body).await?;
        let (first, body) = self.message().await?.expect("an answer");
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        assert_eq!(body.len(), expected, "{start}");
        Ok(())
    }

    async fn ask_all(&mut self, times: usize) -> io::Result<()> {
        for _ in 0..times {
            self.ask("GET /bytes/1000", b"", 1000).await?;
            self.ask("POST /count", &[b'y'; 100_000], 7).await?;
            self.ask("GET /bytes/50000", b"", 50_000).await?;
        }
        if let Ok(big) = std::env::var("BIG") {
            let size = big.parse().expect("a number");
            self.ask(&format!("GET /bytes/{big}"), b"", size).await?;
            self.ask("POST /count", &vec![b'y'; size], big.len() + 1).await?;
        }
        Ok(())
    }

    async fn serve(mut self) -> io::Result<()> {
        while let Some((first, body)) = self.message().await? {
            let path = first.split(' ').nth(1).unwrap_or_default();
            let body = match path.strip_prefix("/bytes/") {
                Some(number) => vec![b'x'; number.split('?').next().unwrap().parse().unwrap()],
                None => format!("{}\n", body.len()).into_bytes(),
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            self.say(head.as_bytes(), &body).await?;
        }
        Ok(())
    }
}

fn told() {
    println!("ready");
    wait();
}

fn wait() {
    io::stdin().read_line(&mut String::new()).expect("a line");
}

async fn client<S: Stream>(stream: S, times: usize) -> io::Result<()> {
    let mut connection = Connection::new(stream);
    if std::env::var_os("OLDER").is_some() {
        connection.ask("GET /bytes/1000", b"", 1000).await?;
    }
    told();
    connection.ask_all(times).await?;
    println!("done");
    wait();
    Ok(())
}

type Connected = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

async fn connect(port: u16) -> io::Result<Connected> {
    let connector = tokio_rustls::TlsConnector::from(client_config());
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    connector.connect("localhost".try_into().expect("a name"), socket).await
}

async fn crowd(port: u16, count: usize) -> io::Result<()> {
    told();
    let opening: Vec<_> = (0..count).map(|_| tokio::spawn(connect(port))).collect();
    let mut connections = Vec::new();
    for opening in opening {
        connections.push(opening.await.expect("no panic")?);
    }
    let mut asking = Vec::new();
    for (number, connection) in connections.into_iter().enumerate() {
        println!("port {number} {}", connection.get_ref().0.local_addr()?.port());
        asking.push(tokio::spawn(async move {
            let mut connection = Connection::new(Waiting(connection));
            for round in 0..3 {
                connection.ask(&format!("GET /bytes/{number}?{round}"), b"", number).await?;
            }
            io::Result::Ok(connection)
        }));
    }
    let mut open = Vec::new();
    for asking in asking {
        open.push(asking.await.expect("no panic")?);
    }
    println!("done");
    wait();
    Ok(())
}

async fn aserver(port: u16, config: Arc<ServerConfig>) -> io::Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(1024)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let acceptor = tokio_rustls::TlsAcceptor::from(config.clone());
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(socket).await {
                let _ = Connection::new(Waiting(stream)).serve().await;
            }
        });
    }
}

fn server(port: u16, config: &Arc<ServerConfig>) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    loop {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
        std::thread::spawn(move || {
            let stream = Blocking(StreamOwned::new(connection, socket));
            let _ = at_once(Connection::new(stream).serve());
        });
    }
}

/// Of a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => unreachable!("it waits"),
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let port: u16 = words[2].parse().expect("a port");
    let number = || words[3].parse().expect("a number");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    match words[1].as_str() {
        "server" => server(port, &server_config(&words[3], &words[4])),
        "aserver" => tokio.block_on(aserver(port, server_config(&words[3], &words[4]))),
        "client" => {
            let name = "localhost".try_into().expect("a name");
            let connection = rustls::ClientConnection::new(client_config(), name);
            let socket = TcpStream::connect(("127.0.0.1", port))?;
            socket.set_nodelay(true)?;
            let stream = StreamOwned::new(connection.expect("a connection"), socket);
            at_once(client(Blocking(stream), number()))
        }
        "aclient" => tokio.block_on(async { client(Waiting(connect(port).await?), number()).await }),
        "crowd" => tokio.block_on(crowd(port, number())),
        other => panic!("what is {other}?"),
    }
}
