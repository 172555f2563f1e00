//! TLS: which libraries' plaintext is captured.
//!
//! ```no_run
//! use pixie::Tracer;
//! use pixie::tls::{GoTls, OpenSsl};
//!
//! let session = Tracer::new()
//!     .tls(OpenSsl)
//!     .tls(GoTls)
//!     .sink(pixie::sinks::each(|record| drop(record.to_string())))
//!     .start()?;
//! # Ok::<(), pixie::Error>(())
//! ```
//!
//! Probes on the libraries' functions see what programs hand to them and get from them. No keys, no
//! certificates, and no restart of what is traced. Records of such connections are those of the same
//! traffic in the clear, and name the library:
//! [`Connection::encrypted`](crate::record::Connection::encrypted).

pub use pixie_probes::tls::{Libraries, Library, TlsFile, UnknownLibrary};

macro_rules! libraries {
    ($($(#[$doc:meta])+ $name:ident $libraries:expr;)+) => {
        $(
            $(#[$doc])+
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name;

            impl From<$name> for Libraries {
                fn from(_: $name) -> Self {
                    $libraries.into()
                }
            }
        )+
    };
}

libraries! {
    /// OpenSSL 1.1.0 and later, as a library of its own or part of a program.
    OpenSsl Library::OpenSsl;
    /// BoringSSL.
    BoringSsl Library::BoringSsl;
    /// Go's `crypto/tls`.
    GoTls Library::Go;
    /// GnuTLS.
    GnuTls Library::GnuTls;
    /// rustls 0.23, in programs that have their symbols.
    Rustls Library::Rustls;
    /// All that can be had.
    All Libraries::all();
}
