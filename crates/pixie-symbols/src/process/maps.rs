use crate::kernel::for_each_line;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// The most mappings of one process that are kept: twice what the kernel allows unless told
/// otherwise (`vm.max_map_count`).
const MAX_MAPPINGS: usize = 1 << 17;

/// A part of a process's memory that holds code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address after its last.
    pub end: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file's device, as the kernel shows it, such as `fe:00`.
    pub device: Box<str>,
    /// The file's number on the device; 0 when there is no file.
    pub inode: u64,
    /// The file's path as the process sees it, or what the kernel calls it, such as `[vdso]`. Empty
    /// for memory without a name.
    pub path: PathBuf,
    /// Whether the file has been deleted.
    pub deleted: bool,
}

/// Reads the executable mappings of a list like `/proc/PID/maps`, in the order of addresses.
///
/// # Errors
/// When it cannot be read. Lines that are not understood are passed over.
pub(crate) fn parse(reader: impl BufRead) -> io::Result<Vec<Mapping>> {
    let mut mappings = Vec::new();
    for_each_line(reader, |line| {
        mappings.extend(mapping(line));
        mappings.len() < MAX_MAPPINGS
    })?;
    mappings.sort_by_key(|mapping| mapping.start);
    Ok(mappings)
}

/// `START-END PERMISSIONS OFFSET DEVICE INODE   PATH`.
fn mapping(line: &str) -> Option<Mapping> {
    let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let (permissions, rest) = rest.split_once(' ')?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (offset, rest) = rest.split_once(' ')?;
    let (device, rest) = rest.split_once(' ')?;
    let (inode, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let path = path.trim_start();
    let kept = path.strip_suffix(" (deleted)");
    Some(Mapping {
        start: hexadecimal(start)?,
        end: hexadecimal(end)?,
        offset: hexadecimal(offset)?,
        device: device.into(),
        inode: inode.parse().ok()?,
        deleted: kept.is_some(),
        path: unescape(kept.unwrap_or(path)),
    })
}

/// The kernel writes a line break in a path as `\012`.
fn unescape(path: &str) -> PathBuf {
    OsString::from_vec(path.replace("\\012", "\n").into_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::path::Path;

    #[test]
    fn mappings_with_code_are_kept() {
        let text = "\
55d0c0000000-55d0c0001000 r--p 00000000 fe:00 1234                       /usr/bin/a b
55d0c0001000-55d0c0005000 r-xp 00001000 fe:00 1234                       /usr/bin/a b
7f0000000000-7f0000001000 r-xp 00000000 00:01 77                         /memfd:x (deleted)
7f0000002000-7f0000003000 rwxp 00000000 00:00 0
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]
nonsense
";
        let mappings = parse(text.as_bytes()).unwrap();
        let paths: Vec<_> =
            mappings.iter().map(|mapping| (mapping.path.as_path(), mapping.deleted)).collect();
        let expected =
            [("/usr/bin/a b", false), ("/memfd:x", true), ("", false), ("[vdso]", false)];
        assert_eq!(paths, expected.map(|(path, deleted)| (Path::new(path), deleted)));
        let first = &mappings[0];
        assert_eq!((first.start, first.offset, first.inode), (0x55d0_c000_1000, 0x1000, 1234));
        assert_eq!(&*first.device, "fe:00");
    }
}
