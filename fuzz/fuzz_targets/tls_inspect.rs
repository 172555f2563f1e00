//! A file of any content, looked into for a TLS library: nothing panics, and every place to attach to
//! lies in the file.
#![no_main]

mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_probes::tls::{Returns, inspect};
use pixie_symbols::ElfFile;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ElfFile::from_bytes(bytes) else { return };
    let Ok(Some(target)) = inspect(&file, Path::new("/nowhere/file")) else { return };
    assert!(target.version.is_none_or(|version| version.len() < 64));
    for point in &target.points {
        let returns = match &point.returns {
            Returns::At(places) => places.clone(),
            Returns::Uretprobe(place) => vec![*place],
            _ => Vec::new(),
        };
        let deferred = point.deferred.iter().flat_map(|deferred| {
            deferred.other_returns.iter().copied().chain([deferred.offset])
        });
        for place in returns.into_iter().chain(deferred).chain([point.entry]) {
            assert!(place < bytes.len() as u64, "{}: {place:#x}", point.symbol);
        }
    }
});
