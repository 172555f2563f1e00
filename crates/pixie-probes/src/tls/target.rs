//! What there is to attach to in a file: the functions of a TLS library, and where they return.

use pixie_core::id::Pid;
use pixie_symbols::GoDeferred;
use std::fmt;
use std::path::PathBuf;

/// Who encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Library {
    /// OpenSSL 1.1.0 and later, and what has its functions (LibreSSL).
    OpenSsl,
    /// BoringSSL.
    BoringSsl,
    /// Go's `crypto/tls`.
    Go,
    /// GnuTLS.
    GnuTls,
    /// rustls 0.23.
    Rustls,
}

impl Library {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::OpenSsl, Self::BoringSsl, Self::Go, Self::GnuTls, Self::Rustls];

    /// Its name in records and on a command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::BoringSsl => "boringssl",
            Self::Go => "go",
            Self::GnuTls => "gnutls",
            Self::Rustls => "rustls",
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How arguments and results are passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Abi {
    /// The C functions of the platform's ABI.
    C,
    /// Go 1.17 and later: in registers.
    GoRegisters,
    /// Go before 1.17: on the stack.
    GoStack,
    /// Rust's, which nothing promises, as far as it is that of C: the address of a large result is the
    /// first argument, and is returned.
    Rust,
}

/// What a function does, which tells what its arguments mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// `int f(object, buffer, length)`: bytes received, or nothing below 1.
    Read,
    /// `int f(object, buffer, length)`: bytes sent.
    Write,
    /// `int f(object, buffer, length, size_t *done)`: 1 when it is done.
    ReadEx,
    /// `int f(object, buffer, length, size_t *done)`: 1 when it is done.
    WriteEx,
    /// `int f(object, buffer, length, flags, size_t *done)`: `SSL_write_ex2`.
    WriteEx2,
    /// `int f(object, buffer, length, size_t *done)`: `SSL_read_early_data`, whose result is 1 for
    /// data and 2 for their end.
    EarlyRead,
    /// `int f(object, buffer, length, size_t *done)`: `SSL_write_early_data`.
    EarlyWrite,
    /// `ssize_t f(object, descriptor, offset, size, flags)`: bytes sent from a file.
    SendFile,
    /// `int f(object)`: may use the socket, but carries none of the program's bytes.
    Handshake,
    /// `f(object)`: the session ends.
    Free,
    /// `int f(bio, bytes, length)`: ciphertext, or what becomes it, leaves the library.
    BioWrite,
    /// `rustls::crypto::cipher::MessageEncrypter::encrypt`.
    Encrypt,
    /// `rustls::crypto::cipher::MessageDecrypter::decrypt`.
    Decrypt,
}

/// Where a function returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Returns {
    /// Wherever: the kernel catches the return address. The offset in the file is one at which that
    /// is still on top of the stack: the function's first instruction, or one behind `endbr64`.
    Uretprobe(u64),
    /// At these instructions, by their offsets in the file: on each way out of the function one, at
    /// which the result is in its register, and the stack pointer not lower than at the entry that
    /// is probed. Those that return are such, and cheaper ones shortly before may be.
    At(Vec<u64>),
    /// What it returns does not matter.
    None,
}

/// A function of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachPoint {
    /// What it does.
    pub call: Call,
    /// The offset in the file of an instruction at which the arguments are still where the ABI
    /// passes them.
    pub entry: u64,
    /// Where it returns.
    pub returns: Returns,
    /// Of a function of Go's, a cheaper place than most of its returns.
    pub deferred: Option<GoDeferred>,
    /// Its name, or what it is taken to be.
    pub symbol: String,
}

/// A file that holds a TLS library.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// Which.
    pub library: Library,
    /// How its functions are called.
    pub abi: Abi,
    /// Its version, where the file tells: `3.0.15`, `go1.23.4`.
    pub version: Option<String>,
    /// Its functions.
    pub points: Vec<AttachPoint>,
    /// What is worth knowing of it, for the report.
    pub notes: Vec<String>,
}

impl Target {
    /// Whether plaintext passes through it. OpenSSL's other library only knows the ciphertext.
    pub(crate) fn has_plaintext(&self) -> bool {
        let takes = |call| matches!(call, Call::Read | Call::ReadEx | Call::Decrypt);
        self.points.iter().any(|point| takes(point.call))
    }
}

/// Why a file that seems to hold a TLS library is not attached to. Says what to do about it, where
/// something can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct Refusal {
    /// Which library it seems to be.
    pub library: Option<Library>,
    /// Why.
    pub reason: String,
}

/// Device and inode number: which file it is, whatever it is called.
pub(crate) type Key = (u64, u64);

/// A file that a process has mapped to execute it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The process.
    pub(crate) pid: Pid,
    /// How to open it: below `/proc/PID/root`, or by `/proc/PID/map_files`.
    pub(crate) path: PathBuf,
    /// Its path as the process sees it, for people.
    pub(crate) name: PathBuf,
    /// With the inode, which file it is, whatever it is called (`st_dev` of `stat(2)`).
    pub(crate) device: u64,
    /// Its inode number.
    pub(crate) inode: u64,
}

impl Found {
    /// Which file it is.
    pub(crate) fn key(&self) -> Key {
        (self.device, self.inode)
    }
}
