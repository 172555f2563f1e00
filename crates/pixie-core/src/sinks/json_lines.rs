use crate::{Record, Sink, SinkError};
use std::io::Write;

/// How much is collected before it is written, in bytes.
const CHUNK: usize = 64 << 10;

/// Writes each record as one line of JSON: an object with `"kind"` first.
///
/// ```
/// use pixie_core::{Sink, sinks::JsonLines};
///
/// let mut sink = JsonLines::new(std::io::stdout());
/// sink.emit(&[])?;
/// # Ok::<(), pixie_core::SinkError>(())
/// ```
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
    lines: Vec<u8>,
}

impl<W: Write + Send> JsonLines<W> {
    /// A sink that writes to `writer`, in large pieces: it needs no buffer of its own.
    pub fn new(writer: W) -> Self {
        Self { writer, lines: Vec::new() }
    }

    /// The writer, when the sink is no longer needed.
    pub fn into_inner(self) -> W {
        self.writer
    }

    fn write(&mut self) -> Result<(), SinkError> {
        let result = self.writer.write_all(&self.lines);
        self.lines.clear();
        self.lines.shrink_to(CHUNK * 2);
        result.map_err(SinkError::new)
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        let mut written = 0;
        for (index, record) in records.iter().enumerate() {
            serde_json::to_writer(&mut self.lines, record).map_err(SinkError::new)?;
            self.lines.push(b'\n');
            let last = index + 1 == records.len();
            if last || self.lines.len() >= CHUNK {
                let left = (records.len() - written) as u64;
                self.write().map_err(|error| SinkError::partial(left, error.into_cause()))?;
                written = index + 1;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.writer.flush().map_err(SinkError::new)
    }
}

#[cfg(test)]
mod tests {
    use super::JsonLines;
    use crate::Sink;
    use crate::sinks::testing::{http, lost};
    use std::io::{Error, ErrorKind, Write};

    #[test]
    fn one_line_a_record_each_an_object_with_its_kind_first() {
        let mut sink = JsonLines::new(Vec::new());
        sink.emit(&[http(1), lost(3)]).unwrap();
        let text = String::from_utf8(sink.into_inner()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with(r#"{"kind":"http","#), "{}", lines[0]);
        assert_eq!(
            lines[1],
            r#"{"kind":"lost","monotonic_ns":7,"stage":"kernel","cause":"ring_full","count":3,"bytes":100,"connection":null}"#
        );
    }

    struct Full {
        room: usize,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
            if bytes.len() > self.room {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_an_error_that_counts_what_was_not_written() {
        let mut sink = JsonLines::new(Full { room: 100_000 });
        let batch: Vec<_> = (0..1000).map(http).collect();
        let dropped = sink.emit(&batch).unwrap_err().dropped(batch.len());
        assert!((1..1000).contains(&dropped), "{dropped}");
        assert!(sink.emit(&[http(1)]).is_ok(), "what did not fit must not be tried again");
    }
}
