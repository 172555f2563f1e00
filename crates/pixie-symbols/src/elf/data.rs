use super::ElfFile;

/// How much is read at once, in bytes.
const CHUNK: u64 = 1 << 20;
/// The most bytes that are looked through.
const MAX_SEARCHED: u64 = 1 << 30;
/// How many bytes are shown from where something is found.
const SHOWN: usize = 128;

impl ElfFile {
    /// Looks for bytes in what is loaded and is no code, such as a text. `look` is shown each place
    /// in turn, at most 128 bytes from where they begin, until it makes something of one.
    pub fn find_in_data<T>(
        &self,
        wanted: &[u8],
        look: &mut dyn FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        if wanted.is_empty() || wanted.len() > SHOWN {
            return None;
        }
        let finder = memchr::memmem::Finder::new(wanted);
        let sections = self.sections().iter();
        let sections = sections.filter(|part| part.loaded && part.in_file && !part.executable);
        let mut parts: Vec<(u64, u64)> = sections.map(|part| (part.offset, part.size)).collect();
        if self.sections().is_empty() {
            parts = self.segments().iter().map(|part| (part.offset, part.size)).collect();
        }
        let mut budget = MAX_SEARCHED;
        for (offset, size) in parts {
            let mut done = 0;
            while done < size && budget > 0 {
                budget = budget.saturating_sub(CHUNK);
                // What begins near the end of a chunk is in it in full.
                let length = (CHUNK + SHOWN as u64).min(size - done);
                let bytes = self.input.read(offset.checked_add(done)?, length).ok()?;
                let begins = finder.find_iter(&bytes).take_while(|at| (*at as u64) < CHUNK);
                for at in begins {
                    let rest = bytes.get(at..).unwrap_or_default();
                    if let Some(found) = look(rest.get(..SHOWN).unwrap_or(rest)) {
                        return Some(found);
                    }
                }
                done += CHUNK;
            }
        }
        None
    }
}
