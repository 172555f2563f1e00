use super::ElfFile;

/// The largest tables that are read, in bytes.
const MAX_TABLE: u64 = 1 << 20;
/// The longest name, in bytes; those of files have 255.
const MAX_NAME: usize = 4 << 10;
/// `DT_NEEDED` and `DT_SONAME`.
const NEEDED: u64 = 1;
const SONAME: u64 = 14;

impl ElfFile {
    /// The libraries that it asks the dynamic linker for, by name. Empty when there are none, and
    /// when the list cannot be read.
    #[must_use]
    pub fn needed(&self) -> Vec<String> {
        self.dynamic(NEEDED).unwrap_or_default()
    }

    /// The name that a library gives itself.
    #[must_use]
    pub fn soname(&self) -> Option<String> {
        self.dynamic(SONAME)?.into_iter().next()
    }

    /// The texts of the entries of this kind in the dynamic section.
    fn dynamic(&self, kind: u64) -> Option<Vec<String>> {
        let entries = self.read(self.section(".dynamic")?, MAX_TABLE).ok()?;
        let names = self.section(".dynstr").filter(|section| section.in_file)?;
        let word = usize::from(self.layout.pointer);
        let mut texts = Vec::new();
        for entry in entries.chunks_exact(2 * word) {
            let (tag, value) = (self.layout.word(entry, 0)?, self.layout.word(entry, word)?);
            if tag == kind && value < names.size {
                let length = (names.size - value).min(MAX_NAME as u64);
                let bytes = self.input.read(names.offset.checked_add(value)?, length).ok()?;
                let name = bytes.split(|byte| *byte == 0).next()?;
                texts.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Some(texts)
    }
}
