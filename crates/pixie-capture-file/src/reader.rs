//! The file formats: pcap and pcapng, in either byte order.
//!
//! pcap: <https://datatracker.ietf.org/doc/html/draft-ietf-opsawg-pcap>;
//! pcapng: <https://datatracker.ietf.org/doc/html/draft-ietf-opsawg-pcapng>.

use crate::error::CaptureFileError;
use crate::summary::{Skipped, Summary};
use pcap_parser::nom::{self, Needed};
use pcap_parser::{
    Block, InterfaceDescriptionBlock, InterfaceStatisticsBlock, LegacyPcapBlock, OptionCode,
    PcapHeader, parse_block_be, parse_block_le, parse_pcap_frame, parse_pcap_frame_be,
    parse_pcap_frame_modified, parse_pcap_header,
};
use pixie_core::time::MonotonicTime;
use std::io::{self, Read};

/// The most bytes that a packet or block may have. Real ones stay far below: libpcap allows
/// packets of 256 KiB.
const MAX_BLOCK: usize = 16 << 20;

/// The most interfaces in a section of a pcapng file.
const MAX_INTERFACES: usize = 1 << 16;

/// The type of a pcapng section header block, the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// The type of the obsolete packet block.
const OBSOLETE_PACKET: u32 = 2;

/// A packet as the file has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    /// When it was captured, in nanoseconds since the Unix epoch.
    pub(crate) time: MonotonicTime,
    /// What its first header is: a number of <https://www.tcpdump.org/linktypes.html>.
    pub(crate) link_type: u16,
    /// The bytes that were captured.
    pub(crate) bytes: &'a [u8],
    /// How many bytes were not captured, of those that the packet had.
    pub(crate) missing: u32,
}

/// Reads packets off a capture file, in the order of the file.
pub(crate) struct PacketReader {
    input: Input,
    format: Format,
}

enum Format {
    Pcap(PcapHeader),
    PcapNg(Section),
}

/// What is known of the current section of a pcapng file.
#[derive(Default)]
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Packets dropped, as the sections before this one account for them.
    dropped_before: u64,
    /// The time of the last packet that had one.
    last_time: MonotonicTime,
}

struct Interface {
    link_type: u16,
    /// The most bytes captured of a packet; 0 for no limit.
    snap_length: u32,
    /// Ticks a second.
    resolution: u128,
    offset_seconds: i64,
    dropped: u64,
}

impl PacketReader {
    /// Recognises the format.
    pub(crate) fn new(input: Box<dyn Read + Send>) -> Result<Self, CaptureFileError> {
        let mut input = Input::new(input);
        let complete = input.fill(4)?;
        let start = input.buffered().iter().copied().take(4).collect::<Vec<_>>();
        if !complete {
            return Err(CaptureFileError::Unrecognised { start });
        }
        if start == SECTION_HEADER {
            return Ok(Self { input, format: Format::PcapNg(Section::default()) });
        }
        let complete = input.fill(PcapHeader::new().size())?;
        let header = parse_pcap_header(input.buffered()).map(|(_, header)| header);
        match header {
            Ok(header) => {
                input.consume(header.size());
                Ok(Self { input, format: Format::Pcap(header) })
            }
            Err(nom::Err::Incomplete(_)) if !complete => Err(input.cut_short()),
            Err(_) => Err(CaptureFileError::Unrecognised { start }),
        }
    }

    /// Reads the next packet and hands it over. False at the end of the file.
    ///
    /// # Errors
    /// When nothing more can be read; not again afterwards.
    pub(crate) fn next(
        &mut self,
        summary: &mut Summary,
        handler: impl FnOnce(Packet<'_>, &mut Summary),
    ) -> Result<bool, CaptureFileError> {
        match &mut self.format {
            Format::Pcap(header) => next_pcap(&mut self.input, header, summary, handler),
            Format::PcapNg(section) => next_pcapng(&mut self.input, section, summary, handler),
        }
    }
}

fn next_pcap(
    input: &mut Input,
    header: &PcapHeader,
    summary: &mut Summary,
    handler: impl FnOnce(Packet<'_>, &mut Summary),
) -> Result<bool, CaptureFileError> {
    let parse = match header {
        header if header.is_modified_format() => parse_pcap_frame_modified,
        header if header.is_bigendian() => parse_pcap_frame_be,
        _ => parse_pcap_frame,
    };
    if !input.fill(1)? {
        return Ok(false);
    }
    loop {
        let buffered = input.buffered();
        match parse(buffered) {
            Ok((rest, frame)) => {
                let length = buffered.len() - rest.len();
                summary.packets += 1;
                handler(legacy_packet(header, &frame), summary);
                input.consume(length);
                return Ok(true);
            }
            Err(nom::Err::Incomplete(needed)) => {
                let needed = if let Needed::Size(size) = needed { size.get() } else { 1 };
                let needed = buffered.len().saturating_add(needed);
                if needed > MAX_BLOCK {
                    return Err(input.damaged("a packet would have more than 16 MiB"));
                }
                if !input.fill(needed)? {
                    return Err(input.cut_short());
                }
            }
            Err(_) => return Err(input.damaged("a packet's header makes no sense")),
        }
    }
}

fn legacy_packet<'a>(header: &PcapHeader, frame: &LegacyPcapBlock<'a>) -> Packet<'a> {
    let unit = if header.is_nanosecond_precision() { 1 } else { 1000 };
    let nanoseconds =
        u64::from(frame.ts_sec) * 1_000_000_000 + u64::from(frame.ts_usec).saturating_mul(unit);
    Packet {
        time: MonotonicTime(nanoseconds),
        // The upper bits tell of a frame check sequence.
        link_type: header.network.0 as u16,
        bytes: frame.data,
        missing: frame.origlen.saturating_sub(frame.caplen),
    }
}

fn next_pcapng(
    input: &mut Input,
    section: &mut Section,
    summary: &mut Summary,
    handler: impl FnOnce(Packet<'_>, &mut Summary),
) -> Result<bool, CaptureFileError> {
    while input.fill(1)? {
        let length = next_block(input, section)?;
        let bytes = input.buffered().get(..length).unwrap_or_default();
        match section.block(bytes, summary) {
            Ok(Some(packet)) => {
                handler(packet, summary);
                input.consume(length);
                return Ok(true);
            }
            Ok(None) => {}
            Err(reason) => summary.skip(reason),
        }
        input.consume(length);
    }
    Ok(false)
}

/// Brings the next block into the buffer, and returns its length.
fn next_block(input: &mut Input, section: &mut Section) -> Result<usize, CaptureFileError> {
    // A section header's length is in the byte order that is only told after it.
    let Some(&[a, b, c, d, l0, l1, l2, l3, e, f, g, h]) = input.head()? else {
        return Err(input.cut_short());
    };
    if [a, b, c, d] == SECTION_HEADER {
        section.big_endian = match [e, f, g, h] {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            _ => return Err(input.damaged("a section's byte order cannot be told")),
        };
    }
    let length = if section.big_endian {
        u32::from_be_bytes([l0, l1, l2, l3])
    } else {
        u32::from_le_bytes([l0, l1, l2, l3])
    } as usize;
    if length < 12 || !length.is_multiple_of(4) || length > MAX_BLOCK {
        return Err(input.damaged("a block's length makes no sense"));
    }
    if !input.fill(length)? {
        return Err(input.cut_short());
    }
    Ok(length)
}

impl Section {
    /// Takes in a block, and returns the packet in it, if there is one.
    fn block<'a>(
        &mut self,
        bytes: &'a [u8],
        summary: &mut Summary,
    ) -> Result<Option<Packet<'a>>, Skipped> {
        let parse = if self.big_endian { parse_block_be } else { parse_block_le };
        match parse(bytes).map(|(_, block)| block).map_err(|_| Skipped::MalformedBlock)? {
            Block::EnhancedPacket(block) => {
                summary.packets += 1;
                let interface = self.interface(block.if_id)?;
                let ticks = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                self.last_time = interface.time(ticks);
                self.packet(block.if_id, block.data, block.caplen, block.origlen).map(Some)
            }
            Block::SimplePacket(block) => {
                summary.packets += 1;
                let snap_length = match self.interface(0)?.snap_length {
                    0 => u32::MAX,
                    length => length,
                };
                let padded = u32::try_from(block.data.len()).unwrap_or(u32::MAX);
                let captured = block.origlen.min(snap_length).min(padded);
                self.packet(0, block.data, captured, block.origlen).map(Some)
            }
            block => self.describe(&block, summary).map(|()| None),
        }
    }

    fn interface(&self, index: u32) -> Result<&Interface, Skipped> {
        self.interfaces.get(index as usize).ok_or(Skipped::UnknownInterface)
    }

    fn packet<'a>(
        &self,
        interface: u32,
        padded: &'a [u8],
        captured: u32,
        original: u32,
    ) -> Result<Packet<'a>, Skipped> {
        Ok(Packet {
            time: self.last_time,
            link_type: self.interface(interface)?.link_type,
            bytes: padded.get(..captured as usize).ok_or(Skipped::MalformedBlock)?,
            missing: original.saturating_sub(captured),
        })
    }

    /// Takes in a block that holds no packet.
    fn describe(&mut self, block: &Block<'_>, summary: &mut Summary) -> Result<(), Skipped> {
        match block {
            Block::SectionHeader(_) => {
                self.dropped_before = summary.packets_dropped;
                self.interfaces.clear();
            }
            Block::InterfaceDescription(block) => {
                if self.interfaces.len() >= MAX_INTERFACES {
                    return Err(Skipped::MalformedBlock);
                }
                self.interfaces.push(Interface::new(block, self.big_endian)?);
            }
            Block::InterfaceStatistics(block) => self.account(block, summary),
            Block::Unknown(block) if self.block_type(block.block_type) == OBSOLETE_PACKET => {
                summary.packets += 1;
                return Err(Skipped::ObsoleteBlock);
            }
            _ => {}
        }
        Ok(())
    }

    fn block_type(&self, as_little_endian: u32) -> u32 {
        if self.big_endian { as_little_endian.swap_bytes() } else { as_little_endian }
    }

    /// Takes in what the capturing program says it missed on an interface since it began.
    fn account(&mut self, block: &InterfaceStatisticsBlock<'_>, summary: &mut Summary) {
        const IF_DROP: u16 = 5;
        const OS_DROP: u16 = 7;
        let dropped = block
            .options
            .iter()
            .filter(|option| [IF_DROP, OS_DROP].contains(&option.code.0))
            .filter_map(|option| read_u64(option.as_bytes().ok()?, self.big_endian))
            .fold(0, u64::saturating_add);
        if let Some(interface) = self.interfaces.get_mut(block.if_id as usize) {
            interface.dropped = dropped;
        }
        let here = self.interfaces.iter().map(|interface| interface.dropped);
        summary.packets_dropped = here.fold(self.dropped_before, u64::saturating_add);
    }
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Result<Self, Skipped> {
        let offset = block.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        let offset = offset.and_then(|option| option.as_bytes().ok());
        let offset = offset.and_then(|bytes| read_u64(bytes, big_endian));
        // The highest bit chooses between powers of two and of ten.
        let exponent = u32::from(block.if_tsresol & 0x7f);
        let base: u128 = if block.if_tsresol & 0x80 == 0 { 10 } else { 2 };
        Ok(Self {
            link_type: block.linktype.0 as u16,
            snap_length: block.snaplen,
            resolution: base.checked_pow(exponent).ok_or(Skipped::MalformedBlock)?,
            offset_seconds: offset.unwrap_or_default() as i64,
            dropped: 0,
        })
    }

    fn time(&self, ticks: u64) -> MonotonicTime {
        const SECOND: u128 = 1_000_000_000;
        // At most 2^64 * 10^9, which is below 2^94.
        let nanoseconds = (u128::from(ticks) * SECOND / self.resolution) as i128;
        let offset = i128::from(self.offset_seconds) * SECOND as i128;
        MonotonicTime((nanoseconds + offset).clamp(0, i128::from(u64::MAX)) as u64)
    }
}

fn read_u64(bytes: &[u8], big_endian: bool) -> Option<u64> {
    let bytes = <[u8; 8]>::try_from(bytes).ok()?;
    Some(if big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
}

/// The input, and a buffer of what was read ahead of it: at most [`MAX_BLOCK`] bytes.
struct Input {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// Where in `buffer` the bytes start that are not yet consumed.
    start: usize,
    /// How many bytes were consumed since the start of the file.
    offset: u64,
}

impl Input {
    /// How much is read at once.
    const CHUNK: usize = 64 << 10;

    fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, buffer: Vec::new(), start: 0, offset: 0 }
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The next bytes, without consuming them; `None` when there are fewer.
    fn head<const N: usize>(&mut self) -> Result<Option<&[u8; N]>, CaptureFileError> {
        self.fill(N)?;
        Ok(self.buffered().first_chunk())
    }

    /// Reads until this many bytes are buffered. False when the file ends before.
    fn fill(&mut self, length: usize) -> Result<bool, CaptureFileError> {
        while self.buffered().len() < length {
            self.buffer.drain(..self.start);
            self.start = 0;
            let chunk = Self::CHUNK.max(length - self.buffer.len()) as u64;
            match self.source.by_ref().take(chunk).read_to_end(&mut self.buffer) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(true)
    }

    fn consume(&mut self, length: usize) {
        let length = length.min(self.buffered().len());
        self.start += length;
        self.offset += length as u64;
    }

    fn cut_short(&self) -> CaptureFileError {
        CaptureFileError::CutShort { offset: self.offset }
    }

    fn damaged(&self, what: &'static str) -> CaptureFileError {
        CaptureFileError::Damaged { offset: self.offset, what }
    }

    fn failed(&self, source: io::Error) -> CaptureFileError {
        CaptureFileError::Read { offset: self.offset + self.buffered().len() as u64, source }
    }
}
