//! What unwind tables are made of, with any content: `.eh_frame`, `.debug_frame`, both, Go's tables, or a
//! whole file, as the first byte says. Nothing panics, and the table can be searched.
#![no_main]

mod elf;
mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_probes::sampler::Row;
use pixie_profiler::unwind_table;
use pixie_symbols::ElfFile;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, content)) = bytes.split_first() else { return };
    let file = match kind {
        0 => elf::of_sections(&[(".eh_frame", content)]),
        1 => elf::of_sections(&[(".debug_frame", content)]),
        2 => {
            let (exceptions, debug) = content.split_at(content.len() / 2);
            elf::of_sections(&[(".eh_frame", exceptions), (".debug_frame", debug)])
        }
        3 => elf::of_segment(content),
        _ => content.to_vec(),
    };
    let Ok(file) = ElfFile::from_bytes(&file) else {
        assert!(*kind > 3, "the head is right");
        return;
    };
    let Ok(table) = unwind_table(&file) else { return };
    // Rows of functions, and one at the end of each.
    assert!(table.rows.len() <= 4 * bytes.len() + 16 || *kind == 3, "{} rows", table.rows.len());
    assert!(table.rows.first().is_none_or(|row| row.rule != Row::NONE));
    assert!(table.rows.last().is_none_or(|row| row.rule == Row::NONE));
    for row in &table.rows {
        assert!(row.rule == Row::NONE || usize::from(row.rule) < table.rules.len());
    }
    for pair in table.rows.windows(2) {
        assert!(pair[0].address < pair[1].address, "{pair:x?}");
    }
});
