//! Files of xz around content that is fuzzed: <https://tukaani.org/xz/xz-file-format.txt>.

/// A file whose content is stored as it is, in chunks of LZMA2, and has no checksum.
pub fn stored(content: &[u8]) -> Vec<u8> {
    const NO_CHECK: [u8; 2] = [0, 0];
    let mut file = b"\xfd7zXZ\0".to_vec();
    file.extend(NO_CHECK);
    file.extend(crc32fast::hash(&NO_CHECK).to_le_bytes());
    let block = file.len();
    // 12 bytes of header; one filter, which is LZMA2, with one byte: a dictionary of 4 KiB.
    let header = [2, 0, 0x21, 1, 0, 0, 0, 0];
    file.extend(header);
    file.extend(crc32fast::hash(&header).to_le_bytes());
    for (index, chunk) in content.chunks(1 << 16).enumerate() {
        file.push(if index == 0 { 1 } else { 2 });
        file.extend((chunk.len() as u16).wrapping_sub(1).to_be_bytes());
        file.extend(chunk);
    }
    file.push(0);
    let length = file.len() - block;
    pad(&mut file, block);
    let index = file.len();
    file.extend([0, 1]);
    number(&mut file, length);
    number(&mut file, content.len());
    pad(&mut file, index);
    file.extend(crc32fast::hash(&file[index..]).to_le_bytes());
    let mut footer = ((file.len() - index) as u32 / 4 - 1).to_le_bytes().to_vec();
    footer.extend(NO_CHECK);
    file.extend(crc32fast::hash(&footer).to_le_bytes());
    file.extend(footer);
    file.extend(b"YZ");
    file
}

fn pad(file: &mut Vec<u8>, start: usize) {
    file.resize(start + (file.len() - start).next_multiple_of(4), 0);
}

/// A number in as many bytes as it needs, seven bits each.
fn number(file: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        file.push(value as u8 | 0x80);
        value >>= 7;
    }
    file.push(value as u8);
}
