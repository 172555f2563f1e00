//! Handshake messages, which may be split over records and share them (RFC 8446, section 5.1).

/// Bytes of a message's type and length.
const HEADER: usize = 4;

/// The messages that are looked into.
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const SERVER_KEY_EXCHANGE: u8 = 12;

/// Puts messages together.
#[derive(Debug)]
pub(super) struct Messages {
    /// The most bytes of a message that are kept; a longer one is passed over.
    limit: usize,
    /// The message that is under way, with its header.
    held: Vec<u8>,
    /// So many bytes of one that is not looked into are to come.
    skip: usize,
    /// Where messages begin is not known any more.
    lost: bool,
}

impl Messages {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new(), skip: 0, lost: false }
    }

    /// Takes the content of a record, and hands on the type and the body of each message that is
    /// complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(u8, &[u8])) {
        while !bytes.is_empty() && !self.lost {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let (kind, length) = match *self.held {
                [kind, high, middle, low, ..] => {
                    (kind, u32::from_be_bytes([0, high, middle, low]) as usize)
                }
                _ => (0, 0),
            };
            let wanted = HEADER + length;
            let more = bytes.get(..wanted - self.held.len()).unwrap_or(bytes);
            self.held.extend_from_slice(more);
            bytes = bytes.get(more.len()..).unwrap_or_default();
            if self.held.len() < wanted {
                return;
            }
            if wanted == HEADER {
                self.begin(&mut take);
            } else {
                take(kind, self.held.get(HEADER..).unwrap_or_default());
                self.held.clear();
            }
        }
    }

    /// A message's header has come.
    fn begin(&mut self, take: &mut impl FnMut(u8, &[u8])) {
        let [kind, high, middle, low] = *self.held else { return };
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let is_looked_into =
            matches!(kind, CLIENT_HELLO | SERVER_HELLO | CERTIFICATE | SERVER_KEY_EXCHANGE);
        if length == 0 {
            take(kind, &[]);
            self.held.clear();
        } else if !is_looked_into || length > self.limit {
            self.skip = length;
            self.held.clear();
        }
    }

    /// Steps over bytes that are not there.
    pub(super) fn gap(&mut self, length: u64) {
        match usize::try_from(length) {
            // What was to be looked into is not whole, and the next begins nobody knows where.
            Ok(length) if self.held.is_empty() && length <= self.skip => self.skip -= length,
            _ => {
                self.lost = true;
                self.held = Vec::new();
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.held.capacity()
    }
}
