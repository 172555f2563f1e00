//! What the Go command wrote into a program: `.go.buildinfo`. The format is documented in Go's
//! `debug/buildinfo` and `cmd/link/internal/ld/data.go`.

use super::locate::find_in_data;
use crate::ElfFile;
use crate::elf::Relocations;

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the strings begin, since Go 1.18.
const HEAD: u64 = 32;
/// The longest string that is read, in bytes. Large programs depend on a thousand modules.
const MAX_TEXT: u64 = 1 << 20;
/// What stands before and after the list of modules, in bytes.
const MARK: usize = 16;

/// What the Go command wrote into a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoBuildInfo {
    /// The version of Go, such as `go1.27.3`, with experiments after it.
    pub version: String,
    /// The path of the main package; empty where there is none.
    pub path: String,
    /// The module of the main package; empty where there is none.
    pub module: String,
    /// How it was built: names and values, such as `GOARCH` and `amd64`.
    pub settings: Vec<(String, String)>,
}

impl GoBuildInfo {
    /// The value of a setting.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a Go experiment is on, such as `boringcrypto`.
    #[must_use]
    pub fn experiment(&self, name: &str) -> bool {
        let has = |list: &str| list.split(',').any(|experiment| experiment == name);
        let tagged = self.version.split_once("X:").map(|(_, list)| list.trim());
        self.setting("GOEXPERIMENT").is_some_and(has) || tagged.is_some_and(has)
    }

    /// The version's numbers, such as 1 and 27; `None` for versions in development.
    #[must_use]
    pub fn release(&self) -> Option<(u32, u32)> {
        let numbers = self.version.strip_prefix("go")?;
        let mut parts = numbers.split(|character: char| !character.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    pub(super) fn read(file: &ElfFile, relocations: &Relocations) -> Option<Self> {
        let address = match file.section(".go.buildinfo") {
            Some(section) => section.address,
            None => find_in_data(file, 16, &mut |bytes| bytes.starts_with(MAGIC))?,
        };
        let head = file.read_at(address, HEAD).ok()?;
        if !head.starts_with(MAGIC) {
            return None;
        }
        let flags = *head.get(15)?;
        let (version, modules) = if flags & 2 != 0 {
            let (version, next) = written_here(file, address.checked_add(HEAD)?)?;
            (version, written_here(file, next).map(|(modules, _)| modules))
        } else {
            let first = address.checked_add(16)?;
            let second = first.checked_add(file.layout.pointer.into())?;
            let text = |place| pointed_to(file, relocations, place);
            (text(first)?, text(second))
        };
        Some(Self::parse(&version, &modules.unwrap_or_default()))
    }

    fn parse(version: &[u8], modules: &[u8]) -> Self {
        let mut info = Self {
            version: String::from_utf8_lossy(version).into_owned(),
            path: String::new(),
            module: String::new(),
            settings: Vec::new(),
        };
        let end = modules.len().saturating_sub(MARK);
        let text = String::from_utf8_lossy(modules.get(MARK..end).unwrap_or_default());
        for line in text.lines() {
            let Some((kind, rest)) = line.split_once('\t') else { continue };
            match kind {
                "path" => info.path = rest.to_owned(),
                "mod" => info.module = rest.split('\t').next().unwrap_or_default().to_owned(),
                "build" => {
                    let unquoted = |text: &str| text.trim_matches('"').to_owned();
                    if let Some((name, value)) = rest.split_once('=') {
                        info.settings.push((unquoted(name), unquoted(value)));
                    }
                }
                _ => {}
            }
        }
        info
    }
}

/// The string whose length and bytes are at `address`, and where the next begins.
fn written_here(file: &ElfFile, address: u64) -> Option<(Vec<u8>, u64)> {
    let head = file.read_at(address, 10).ok()?;
    let mut rest = head.as_slice();
    let length = u64::from(super::pclntab::variable(&mut rest)?);
    let start = address.checked_add((head.len() - rest.len()) as u64)?;
    Some((text_at(file, start, length)?, start.checked_add(length)?))
}

/// The string that the address at `place` leads to: before Go 1.18.
fn pointed_to(file: &ElfFile, relocations: &Relocations, place: u64) -> Option<Vec<u8>> {
    let header = address_at(file, relocations, place)?;
    let text = address_at(file, relocations, header)?;
    let word = u64::from(file.layout.pointer);
    let length = file.read_at(header.checked_add(word)?, word).ok()?;
    text_at(file, text, file.layout.word(&length, 0)?)
}

pub(super) fn address_at(file: &ElfFile, relocations: &Relocations, place: u64) -> Option<u64> {
    if let Some(address) = relocations.at(place) {
        return Some(address);
    }
    file.layout.word(&file.read_at(place, file.layout.pointer.into()).ok()?, 0)
}

fn text_at(file: &ElfFile, address: u64, length: u64) -> Option<Vec<u8>> {
    if length == 0 || length > MAX_TEXT {
        return (length == 0).then(Vec::new);
    }
    let text = file.read_at(address, length).ok()?;
    (text.len() as u64 == length).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::GoBuildInfo;

    #[test]
    fn the_list_of_modules_and_settings_is_read() {
        let mut text = b"0123456789abcdef".to_vec();
        text.extend_from_slice(b"path\tx.org/cmd\nmod\tx.org\tv1.2.3\th1:=\ndep\ty.org\tv1\n");
        text.extend_from_slice(b"build\tGOEXPERIMENT=boringcrypto,other\nbuild\t\"A\"=\"b\"\n");
        text.extend_from_slice(b"0123456789abcdef");
        let info = GoBuildInfo::parse(b"go1.21.4", &text);
        assert_eq!((info.path.as_str(), info.module.as_str()), ("x.org/cmd", "x.org"));
        assert_eq!(info.setting("A"), Some("b"));
        assert!(info.experiment("boringcrypto") && info.experiment("other"));
        assert!(!info.experiment("boring"));
        assert_eq!(info.release(), Some((1, 21)));
    }

    #[test]
    fn experiments_are_told_by_the_version_too() {
        let info = GoBuildInfo::parse(b"go1.19.3 X:boringcrypto", b"");
        assert!(info.experiment("boringcrypto"));
        assert_eq!(info.release(), Some((1, 19)));
        assert_eq!(GoBuildInfo::parse(b"devel +abc", b"").release(), None);
    }
}
