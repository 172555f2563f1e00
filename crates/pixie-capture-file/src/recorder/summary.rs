use std::fmt;

/// What a [`Recorder`](crate::Recorder) has written, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingSummary {
    /// Connections that are recorded; of datagrams, sockets.
    pub connections: u64,
    /// Packets that were made of them.
    pub packets: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Connections, and datagrams, that were seen from their other end too: they are recorded once.
    pub mirrored: u64,
    /// Transfers, and connections, of which an address is not known.
    pub unaddressed: u64,
    /// Datagrams that are too large for a packet, so that their end is missing.
    pub oversized: u64,
    /// Packets that were not written because the disk was too slow, or after it had failed.
    pub packets_dropped: u64,
    /// Why the recording stopped before its end, if it did.
    pub error: Option<String>,
}

impl fmt::Display for RecordingSummary {
    /// A line for what there is, one for what there is not, and one for the error.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, packets, bytes, mirrored, .. } = self;
        write!(
            formatter,
            "recorded {packets} packets of {connections} connections in {bytes} bytes; \
             {mirrored} more were their other ends"
        )?;
        let Self { unaddressed, oversized, packets_dropped, .. } = self;
        if unaddressed + oversized + packets_dropped > 0 {
            write!(
                formatter,
                "\nnot recorded: {packets_dropped} packets for want of time, {unaddressed} without \
                 an address, the ends of {oversized} datagrams"
            )?;
        }
        match &self.error {
            Some(error) => write!(formatter, "\nthe recording stopped early: {error}"),
            None => Ok(()),
        }
    }
}
