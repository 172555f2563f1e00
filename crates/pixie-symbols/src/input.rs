use crate::contents::Contents;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// A file or bytes in memory, of which ranges are read.
///
/// Files are read and never mapped: one that is cut short while it is mapped kills whoever looks at
/// it (SIGBUS), and the files that are looked at belong to strangers.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    source: Source,
    length: u64,
}

#[derive(Clone, Debug)]
enum Source {
    File(Arc<File>),
    Memory(Arc<[u8]>),
}

impl Input {
    /// Opens a file for reading. Does not wait for anybody: of a FIFO or a device it makes an error.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Self::file(file)
    }

    pub(crate) fn file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { length: metadata.len(), source: Source::File(Arc::new(file)) })
    }

    pub(crate) fn memory(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { length: bytes.len() as u64, source: Source::Memory(bytes) }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The file, unless the bytes are in memory.
    pub(crate) fn as_file(&self) -> Option<&File> {
        match &self.source {
            Source::File(file) => Some(file),
            Source::Memory(_) => None,
        }
    }

    /// Reads a range that must be there in full. Memory is taken only for what the file has.
    pub(crate) fn read(&self, offset: u64, size: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.within(offset, size)?];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// The same, of what may be large and is soon dropped.
    pub(crate) fn read_contents(&self, offset: u64, size: u64) -> io::Result<Contents> {
        let mut contents = Contents::zeroed(self.within(offset, size)?)?;
        self.read_exact_at(&mut contents, offset)?;
        Ok(contents)
    }

    /// Fills `into` with what begins at `offset`, which must be there in full.
    pub(crate) fn read_into(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.within(offset, into.len() as u64)?;
        self.read_exact_at(into, offset)
    }

    /// The size of a range that the file has.
    fn within(&self, offset: u64, size: u64) -> io::Result<usize> {
        if offset.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the file"));
        }
        usize::try_from(size).map_err(io::Error::other)
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.source {
            Source::File(file) => file.read_exact_at(into, offset),
            Source::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                let end = start.checked_add(into.len());
                let range = end.and_then(|end| bytes.get(start..end));
                into.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// A reader with a position of its own: threads may read the same file at once.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { input: self, position: 0 }
    }
}

/// See [`Input::reader`].
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    input: &'a Input,
    position: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.input.length.saturating_sub(self.position);
        let count = into.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let into = into.get_mut(..count).unwrap_or_default();
        self.input.read_exact_at(into, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.input.length.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
