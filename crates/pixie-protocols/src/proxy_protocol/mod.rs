//! The PROXY protocol, versions 1 and 2: whose connection a proxy passes on
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
//!
//! Its header stands in front of any protocol. It makes no record; the records of what follows have
//! the addresses, as [`Connection::proxied`](pixie_core::record::Connection::proxied).

mod header;

use crate::parser::{Context, Next, Output, Parser, Protocol, Segment, Switch, Verdict};
use header::{Header, MAX_KEPT, decode};
use pixie_core::RecordKind;
use pixie_core::id::Direction;
use pixie_core::record::{Cause, Proxied};
use pixie_core::time::MonotonicTime;

/// The PROXY protocol, versions 1 and 2.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProxyProtocol;

impl Protocol for ProxyProtocol {
    fn name(&self) -> &'static str {
        "proxy_protocol"
    }

    /// None: it says of other records where they come from.
    fn emits(&self) -> &[RecordKind] {
        &[]
    }

    /// A header; of version 2, its start.
    fn probe(&self, bytes: &[u8]) -> Verdict {
        match decode(bytes) {
            Header::Is { .. } => Verdict::Yes,
            Header::Partial => Verdict::NeedMore,
            Header::No => Verdict::No,
        }
    }

    fn parser(&self, context: Context) -> Box<dyn Parser> {
        Box::new(Session {
            direction: context.requests,
            header: Vec::new(),
            after: None,
            back: Vec::new(),
            output: None,
            is_over: false,
        })
    }
}

/// Reads the header of one connection.
#[derive(Debug)]
struct Session {
    /// Which way the header goes; `None` until the first bytes.
    direction: Option<Direction>,
    /// Its start.
    header: Vec<u8>,
    /// What it says, and how many bytes of it are still to come.
    after: Option<(Proxied, usize)>,
    /// What the other side said meanwhile.
    back: Vec<u8>,
    output: Option<Output>,
    is_over: bool,
}

/// The most that the other side may say before the header has ended, in bytes.
const MAX_BACK: usize = 64 << 10;

impl Session {
    fn header(&mut self, mut bytes: &[u8], direction: Direction) {
        while self.after.is_none() {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            self.header.push(byte);
            bytes = rest;
            match decode(&self.header) {
                Header::Is { size, proxied } => {
                    self.after = Some((proxied, size - self.header.len().min(size)));
                }
                Header::Partial if self.header.len() < MAX_KEPT => {}
                Header::Partial | Header::No => {
                    let header = std::mem::take(&mut self.header);
                    return self.switch(None, [&header, bytes].concat(), direction);
                }
            }
        }
        let Some((proxied, remaining)) = &mut self.after else { return };
        let within = bytes.len().min(*remaining);
        *remaining -= within;
        if *remaining == 0 {
            let proxied = proxied.clone();
            let rest = bytes.get(within..).unwrap_or_default().to_vec();
            self.switch(Some(proxied), rest, direction);
        }
    }

    fn switch(&mut self, proxied: Option<Proxied>, rest: Vec<u8>, direction: Direction) {
        let back = std::mem::take(&mut self.back);
        let mut switch = Switch::to(Next::Detect)
            .with_unread(direction, rest)
            .with_unread(direction.reverse(), back);
        switch.proxied = proxied;
        self.output = Some(Output::Switch(switch));
        self.is_over = true;
    }
}

impl Parser for Session {
    fn feed(&mut self, segment: Segment<'_>) {
        let Segment { direction, bytes, .. } = segment;
        if self.is_over || bytes.is_empty() {
            return;
        }
        let header_goes = *self.direction.get_or_insert(direction);
        if direction == header_goes {
            return self.header(bytes, direction);
        }
        let room = MAX_BACK - self.back.len();
        self.back.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn gap(&mut self, direction: Direction, _: MonotonicTime, length: u64) {
        if self.is_over {
            return;
        }
        if self.direction != Some(direction) {
            self.back.clear();
            return;
        }
        let stepped = usize::try_from(length).unwrap_or(usize::MAX);
        match &mut self.after {
            Some((_, remaining)) if stepped < *remaining => *remaining -= stepped,
            Some((proxied, _)) => {
                // What it says is known, whatever was lost of what follows.
                let proxied = proxied.clone();
                self.switch(Some(proxied), Vec::new(), direction);
            }
            None => self.switch(None, Vec::new(), direction),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.output.take()
    }

    fn finish(&mut self, direction: Direction, _: MonotonicTime) {
        if !self.is_over && self.direction == Some(direction) && !self.header.is_empty() {
            let bytes = self.header.len() as u64;
            self.output = Some(Output::Skipped { direction, bytes, cause: Cause::Malformed });
            self.is_over = true;
        }
    }

    fn memory(&self) -> usize {
        self.header.capacity() + self.back.capacity()
    }
}
