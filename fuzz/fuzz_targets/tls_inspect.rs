//! A file of any content, looked into for a TLS library: nothing panics, and every place to attach to
//! lies in the file.
#![no_main]

mod same_hashes;

use libfuzzer_sys::fuzz_target;
use pixie_probes::tls::{Returns, Target, inspect};
use pixie_symbols::ElfFile;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ElfFile::from_bytes(bytes) else { return };
    for target in inspect(&file, Path::new("/nowhere/file")).into_iter().flatten() {
        check(&target, bytes.len() as u64);
    }
});

fn check(target: &Target, size: u64) {
    assert!(target.version.as_ref().is_none_or(|version| version.len() < 64));
    for point in &target.points {
        let returns = match &point.returns {
            Returns::At(places) => places.clone(),
            Returns::Uretprobe(place) => vec![*place],
            _ => Vec::new(),
        };
        let deferred = point.deferred.iter();
        let deferred = deferred.flat_map(|it| it.other_returns.iter().copied().chain([it.offset]));
        for place in returns.into_iter().chain(deferred).chain([point.entry]) {
            assert!(place < size, "{}: {place:#x}", point.symbol);
        }
    }
}
