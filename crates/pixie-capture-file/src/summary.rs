use std::fmt;

/// Declares [`Skipped`] from its list of reasons.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident $text:literal,)+) => {
        /// Why a packet or block of a capture file told nothing about a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Skipped {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Skipped {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$reason,)+];

            /// The reason in a few words.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $text,)+
                }
            }
        }
    };
}

reasons! {
    /// A block that is not what the pcapng format allows, though its length can be trusted.
    MalformedBlock "malformed block",
    /// A packet in the form that pcapng's first drafts had (block type 2).
    ObsoleteBlock "obsolete packet block",
    /// A packet of an interface that the file does not describe.
    UnknownInterface "unknown interface",
    /// A packet of a link type that is not read.
    UnknownLinkType "unknown link type",
    /// A packet that is not IP: ARP, say.
    NotIp "not IP",
    /// A packet that is neither TCP nor UDP: ICMP, or a tunnel.
    OtherTransport "neither TCP nor UDP",
    /// A header that is not what its protocol allows.
    MalformedHeader "malformed header",
    /// A packet of which not even the headers were captured.
    TruncatedHeader "headers not captured",
    /// A fragment of an IP datagram of which too little was captured to put it together.
    TruncatedFragment "fragment not captured in full",
    /// A fragment that contradicts others of its datagram.
    MalformedFragment "contradictory fragment",
    /// A fragment of a datagram of which other fragments never came, or came too late.
    LoneFragment "fragment of an incomplete datagram",
    /// A TCP segment that is further ahead than TCP allows.
    OutOfWindow "out of TCP's window",
    /// A TCP segment without bytes or flags that matter, of a connection that is not known.
    Stray "stray TCP segment",
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What was in a capture file, and what became of it.
///
/// Every packet is accounted for: `packets` is the sum of `tcp_segments`, `udp_datagrams`,
/// `fragments_joined`, `fragments_held` and all that was skipped, blocks apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Packets in the file.
    pub packets: u64,
    /// Packets that the capturing program says it missed.
    pub packets_dropped: u64,
    /// TCP segments that were taken in, each from one packet or from the last of its fragments.
    pub tcp_segments: u64,
    /// UDP datagrams that were taken in, each from one packet or from the last of its fragments.
    pub udp_datagrams: u64,
    /// Fragments that were put together with the last one of their datagram.
    pub fragments_joined: u64,
    /// Fragments that wait for others of their datagram now.
    pub fragments_held: u64,
    /// Bytes of payload in TCP segments and UDP datagrams, repeated ones too.
    pub payload_bytes: u64,
    /// How many of these were not captured.
    pub payload_bytes_not_captured: u64,
    /// Bytes that the other side acknowledged but that are in no packet of the file.
    pub payload_bytes_missing: u64,
    /// Connections that were seen.
    pub connections: u64,
    /// Connections that were forgotten because there were too many at once.
    pub connections_evicted: u64,
    skipped: [u64; Skipped::ALL.len()],
}

impl Summary {
    /// How many packets or blocks were skipped for this reason.
    #[must_use]
    pub fn skipped(&self, reason: Skipped) -> u64 {
        self.skipped.get(reason as usize).copied().unwrap_or_default()
    }

    /// How much was skipped because it is not what its format allows.
    pub(crate) fn malformed(&self) -> u64 {
        [Skipped::MalformedBlock, Skipped::MalformedHeader, Skipped::MalformedFragment]
            .map(|reason| self.skipped(reason))
            .iter()
            .sum()
    }

    /// Counts the payload of a segment, of which so many bytes were captured.
    pub(crate) fn count_payload(&mut self, length: u32, captured: usize) {
        self.payload_bytes += u64::from(length);
        self.payload_bytes_not_captured += u64::from(length).saturating_sub(captured as u64);
    }

    pub(crate) fn skip(&mut self, reason: Skipped) {
        self.skip_many(reason, 1);
    }

    pub(crate) fn skip_many(&mut self, reason: Skipped, count: u64) {
        if let Some(skipped) = self.skipped.get_mut(reason as usize) {
            *skipped += count;
        }
    }
}

impl fmt::Display for Summary {
    /// A line for each count; those of what was skipped only where there was any.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("packets", self.packets),
            ("packets dropped while capturing", self.packets_dropped),
            ("TCP segments", self.tcp_segments),
            ("UDP datagrams", self.udp_datagrams),
            ("fragments joined", self.fragments_joined),
            ("payload bytes", self.payload_bytes),
            ("payload bytes not captured", self.payload_bytes_not_captured),
            ("payload bytes missing", self.payload_bytes_missing),
            ("connections", self.connections),
            ("connections evicted", self.connections_evicted),
        ];
        for (name, count) in counts {
            writeln!(formatter, "{name:<34}{count:>12}")?;
        }
        for &reason in Skipped::ALL {
            let count = self.skipped(reason);
            if count > 0 {
                writeln!(formatter, "skipped, {reason:<25}{count:>12}", reason = reason.as_str())?;
            }
        }
        Ok(())
    }
}
