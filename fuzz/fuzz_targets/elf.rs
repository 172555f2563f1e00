//! ELF files around content that is fuzzed.

#![allow(dead_code, reason = "each target uses a part")]

/// Where the code is said to be.
pub const TEXT: u64 = 0x40_1000;
/// How much of it there is.
pub const TEXT_SIZE: u64 = 0x1_0000;
/// Where other sections that are in memory are said to be.
pub const DATA: u64 = 0x100_0000;

const HEAD: usize = 64;
const SECTION_HEAD: usize = 64;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The head of an ELF file for x86-64: ET_EXEC, EM_X86_64, EV_CURRENT.
fn head(segments: (u64, u16), sections: (u64, u16)) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    file.extend(words(&[TEXT, segments.0, sections.0]));
    // Flags; the sizes of this head, of a program header and of a section header, with how many there
    // are; which section has the names.
    file.extend([0; 4]);
    let last = sections.1.saturating_sub(1);
    for half in [64, 56, segments.1, SECTION_HEAD as u16, sections.1, last] {
        file.extend(half.to_le_bytes());
    }
    file
}

/// A file of one function, which covers all of `.text`, and of these sections besides.
pub fn of_sections(contents: &[(&str, &[u8])]) -> Vec<u8> {
    // Of the symbol table: no symbol; then a global function in section 1.
    let mut symbols = vec![0; 24];
    symbols.extend([1, 0, 0, 0, 0x12, 0, 1, 0]);
    symbols.extend(words(&[TEXT, TEXT_SIZE]));
    let (progbits, symtab, strtab, nobits) = (1, 2, 3, 8);
    let mut sections: Vec<(&str, u32, &[u8])> = vec![
        ("", 0, &[]),
        (".text", nobits, &[]),
        (".symtab", symtab, &symbols),
        (".strtab", strtab, b"\0outer\0"),
    ];
    sections.extend(contents.iter().map(|(name, content)| (*name, progbits, *content)));
    let mut names = Vec::new();
    let mut heads = Vec::new();
    let mut body = Vec::new();
    let own = (".shstrtab", strtab, &[][..]);
    let all_names: usize = sections.iter().chain([&own]).map(|(name, ..)| name.len() + 1).sum();
    for (index, (name, kind, content)) in sections.iter().chain([&own]).enumerate() {
        let offset = (HEAD + body.len()) as u64;
        let (address, size, flags) = match (index, *name) {
            (1, _) => (TEXT, TEXT_SIZE, 6),
            (_, ".eh_frame") => (DATA, content.len() as u64, 2),
            (_, ".shstrtab") => (0, all_names as u64, 0),
            _ => (0, content.len() as u64, 0),
        };
        heads.extend((names.len() as u32).to_le_bytes());
        heads.extend(kind.to_le_bytes());
        heads.extend(words(&[flags, address, offset, size]));
        // The symbols' names are in the next section.
        heads.extend(if *kind == symtab { [3, 0, 0, 0, 1, 0, 0, 0] } else { [0; 8] });
        heads.extend(words(&[1, if *kind == symtab { 24 } else { 0 }]));
        names.extend(name.bytes().chain([0]));
        body.extend_from_slice(content);
    }
    body.extend(names);
    let count = sections.len() as u16 + 1;
    let mut file = head((0, 0), ((HEAD + body.len()) as u64, count));
    file.extend(body);
    file.extend(heads);
    file
}

/// A program of one segment, at 0x400000, which begins with `content`, and without sections.
pub fn of_segment(content: &[u8]) -> Vec<u8> {
    const AT: u64 = 0x1000;
    const ADDRESS: u64 = 0x40_0000;
    let mut file = head((HEAD as u64, 1), (0, 0));
    // PT_LOAD, readable and writable.
    file.extend([1, 0, 0, 0, 6, 0, 0, 0]);
    let size = content.len() as u64;
    file.extend(words(&[AT, ADDRESS, ADDRESS, size, size, 0x1000]));
    file.resize(AT as usize, 0);
    file.extend(content);
    file
}
