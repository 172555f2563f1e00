//! Blocks of the pcapng format, in little-endian order
//! (<https://datatracker.ietf.org/doc/html/draft-ietf-opsawg-pcapng>).

use pixie_core::time::WallTime;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Packets start with their IP header: a number of <https://www.tcpdump.org/linktypes.html>.
const LINKTYPE_RAW: u16 = 101;

/// Codes of options; each block numbers its own.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const USER_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const TIME_RESOLUTION: u16 = 9;
    pub(super) const DROPPED_BY_INTERFACE: u16 = 5;
    pub(super) const DROPPED_BY_SYSTEM: u16 = 7;
}

/// The blocks that every file starts with: a section, and the one interface in it, whose times are
/// in nanoseconds.
pub(super) fn file_header(file: &mut Vec<u8>) {
    const BYTE_ORDER: u32 = 0x1a2b_3c4d;
    block(file, SECTION_HEADER, |body| {
        body.extend(BYTE_ORDER.to_le_bytes());
        // Version 1.0; the section's length is not known.
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
        add_option(body, option::USER_APPLICATION, b"pixie");
        add_option(body, option::END, &[]);
    });
    block(file, INTERFACE_DESCRIPTION, |body| {
        body.extend(LINKTYPE_RAW.to_le_bytes());
        // Reserved, and no limit to what is captured of a packet.
        body.extend([0; 6]);
        add_option(body, option::INTERFACE_NAME, b"sockets");
        add_option(body, option::TIME_RESOLUTION, &[9]);
        add_option(body, option::END, &[]);
    });
}

/// A packet that had `original` bytes, of which `bytes` are there.
pub(super) fn packet(
    file: &mut Vec<u8>,
    time: WallTime,
    bytes: &[u8],
    original: u32,
    comment: Option<&str>,
) {
    block(file, ENHANCED_PACKET, |body| {
        body.extend(0_u32.to_le_bytes());
        time_stamp(body, time);
        body.extend(length(bytes).to_le_bytes());
        body.extend(original.to_le_bytes());
        body.extend(bytes);
        pad(body, bytes.len());
        if let Some(comment) = comment {
            add_option(body, option::COMMENT, comment.as_bytes());
            add_option(body, option::END, &[]);
        }
    });
}

/// How many packets are missing from the file: for want of time to write them, and because the
/// kernel had no room for what would have told of them.
pub(super) fn statistics(file: &mut Vec<u8>, time: WallTime, not_written: u64, in_kernel: u64) {
    block(file, INTERFACE_STATISTICS, |body| {
        body.extend(0_u32.to_le_bytes());
        time_stamp(body, time);
        add_option(body, option::DROPPED_BY_INTERFACE, &not_written.to_le_bytes());
        add_option(body, option::DROPPED_BY_SYSTEM, &in_kernel.to_le_bytes());
        add_option(body, option::END, &[]);
    });
}

/// Appends a block of this type. Its length stands at both of its ends.
fn block(file: &mut Vec<u8>, kind: u32, write: impl FnOnce(&mut Vec<u8>)) {
    const AROUND_BODY: usize = 12;
    let start = file.len();
    file.extend(kind.to_le_bytes());
    file.extend([0; 4]);
    write(file);
    let total = length(file.get(start..).unwrap_or_default()) + AROUND_BODY as u32 - 8;
    if let Some(place) = file.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&total.to_le_bytes());
    }
    file.extend(total.to_le_bytes());
}

fn time_stamp(body: &mut Vec<u8>, time: WallTime) {
    // The upper half comes first, whatever the byte order.
    body.extend(((time.0 >> 32) as u32).to_le_bytes());
    body.extend((time.0 as u32).to_le_bytes());
}

fn add_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body, value.len());
}

/// Everything starts at a multiple of four.
fn pad(body: &mut Vec<u8>, length: usize) {
    body.resize(body.len() + length.next_multiple_of(4) - length, 0);
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
