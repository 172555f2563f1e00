use std::io;
use std::path::PathBuf;

/// Why a capture file could not be read, or not to its end, or not made.
///
/// Packets that make no sense are not errors: they are counted, in
/// [`Summary`](crate::Summary).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureFileError {
    /// The file could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file could not be made.
    #[error("cannot write {}: {source}", path.display())]
    Create {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file does not start as any capture file does.
    #[error(
        "this is neither pcap nor pcapng: it starts with the bytes {start:02x?} \
         (if it is compressed, decompress it first)"
    )]
    Unrecognised {
        /// Its first bytes: four, or all it has.
        start: Vec<u8>,
    },
    /// The file ends in the middle of a packet or block, as it does when what wrote it was killed.
    /// All packets before that were read.
    #[error("the capture file is cut short: it ends within the packet or block at byte {offset}")]
    CutShort {
        /// Where that packet or block starts, in bytes from the start of the file.
        offset: u64,
    },
    /// What follows cannot be told apart, because a length makes no sense. All packets before that
    /// were read.
    #[error("the capture file is damaged at byte {offset}: {what}; what comes after is not read")]
    Damaged {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What makes no sense.
        what: &'static str,
    },
    /// Reading failed.
    #[error("reading the capture file failed at byte {offset}: {source}")]
    Read {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}
