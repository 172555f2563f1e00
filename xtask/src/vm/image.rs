//! The file system that a virtual machine starts from: an initramfs.

use crate::command::{command, installed, output};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Files by their paths in the image, which start without a slash.
#[derive(Debug, Default)]
pub(crate) struct Image {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    Folder,
    Link(String),
    Text { text: String, mode: u32 },
    File(PathBuf),
}

/// Folders that Debian has as links to those in /usr.
const MERGED: &[&str] = &["bin", "lib", "lib64", "sbin"];

impl Image {
    /// An image with the usual folders, busybox for all the usual programs, and the users that
    /// servers want.
    pub(crate) fn new() -> Result<Self> {
        let mut image = Self::default();
        for name in MERGED {
            image.folder(&format!("usr/{name}"));
            image.entries.insert((*name).to_owned(), Entry::Link(format!("usr/{name}")));
        }
        for name in ["dev", "proc", "sys", "tmp", "run", "root", "var/log", "var/tmp"] {
            image.folder(name);
        }
        image.text(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n\
             nobody:x:65534:65534:nobody:/:/bin/false\n",
        );
        image.text("etc/group", "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n");
        image.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
        image.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
        let busybox = installed("busybox").context("apt-get install busybox-static")?;
        for applet in output(command("busybox", &["--list"]).env_clear())?.lines() {
            let link = Entry::Link("busybox".to_owned());
            image.entries.insert(format!("usr/bin/{applet}"), link);
        }
        image.copy(&busybox, "usr/bin/busybox");
        Ok(image)
    }

    /// Adds a text file.
    pub(crate) fn text(&mut self, path: &str, text: &str) {
        self.put(path, Entry::Text { text: text.to_owned(), mode: 0o644 });
    }

    /// Adds a script that can be run.
    pub(crate) fn script(&mut self, path: &str, text: &str) {
        self.put(path, Entry::Text { text: text.to_owned(), mode: 0o755 });
    }

    /// Adds a folder, and those above it.
    pub(crate) fn folder(&mut self, path: &str) {
        self.put(path, Entry::Folder);
    }

    /// Adds a copy of a file, and nothing else.
    pub(crate) fn copy(&mut self, file: &Path, path: &str) {
        self.put(path, Entry::File(file.to_owned()));
    }

    /// Adds a program or a library, at the path it has here, with the libraries it needs.
    pub(crate) fn program(&mut self, file: &Path) -> Result<()> {
        self.program_as(file, &file.to_string_lossy())
    }

    /// The same, at another path.
    pub(crate) fn program_as(&mut self, file: &Path, path: &str) -> Result<()> {
        self.copy(file, path);
        for library in libraries(file)? {
            self.copy(Path::new(&library), &library);
        }
        Ok(())
    }

    /// Adds a folder with all that is in it, but for what `wanted` refuses by its name.
    pub(crate) fn tree(&mut self, folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if !wanted(&name) {
                continue;
            }
            let kind = fs::metadata(&path);
            match kind {
                Ok(kind) if kind.is_dir() => self.tree(&path, wanted)?,
                Ok(_) if name.contains(".so") => self.program(&path)?,
                Ok(_) => self.copy(&path, &path.to_string_lossy()),
                // A link to nowhere.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, entry: Entry) {
        let mut path = path.trim_start_matches('/').to_owned();
        if MERGED.iter().any(|name| path.split('/').next() == Some(name)) {
            path = format!("usr/{path}");
        }
        let slashes: Vec<usize> = path.match_indices('/').map(|(index, _)| index).collect();
        for slash in slashes {
            let above = path.get(..slash).unwrap_or_default().to_owned();
            self.entries.entry(above).or_insert(Entry::Folder);
        }
        match entry {
            // What is a link already stays one.
            Entry::Folder => {
                self.entries.entry(path).or_insert(entry);
            }
            entry => drop(self.entries.insert(path, entry)),
        }
    }

    /// Writes the image in the form that the kernel unpacks: cpio "newc"
    /// (Documentation/driver-api/early-userspace/buffer-format.rst). Not compressed: to unpack it
    /// would take an emulated processor longer than it takes to read it.
    pub(crate) fn write(&self, mut writer: impl Write) -> Result<()> {
        const FOLDER: u32 = 0o040_755;
        const LINK: u32 = 0o120_777;
        const FILE: u32 = 0o100_000;
        let mut archive = Archive { writer: &mut writer, inode: 1 };
        for (path, entry) in &self.entries {
            match entry {
                Entry::Folder => archive.entry(path, FOLDER, b"")?,
                Entry::Link(target) => archive.entry(path, LINK, target.as_bytes())?,
                Entry::Text { text, mode } => archive.entry(path, FILE | mode, text.as_bytes())?,
                Entry::File(file) => {
                    let show = || format!("cannot read {}", file.display());
                    let mode = fs::metadata(file).with_context(show)?.permissions().mode();
                    let bytes = fs::read(file).with_context(show)?;
                    archive.entry(path, FILE | (mode & 0o7777), &bytes)?;
                }
            }
        }
        archive.entry("TRAILER!!!", 0, b"")?;
        Ok(())
    }
}

struct Archive<W> {
    writer: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn entry(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::other("a file has more than 4 GiB");
        let size = u32::try_from(bytes.len()).map_err(too_large)?;
        let name_size = path.len() + 1;
        let inode = self.inode;
        self.inode += 1;
        write!(
            self.writer,
            "070701{inode:08X}{mode:08X}{owner:08X}{owner:08X}{links:08X}{time:08X}{size:08X}\
             {device:08X}{device:08X}{device:08X}{device:08X}{name_size:08X}{check:08X}{path}\0",
            owner = 0,
            links = 1,
            time = 0,
            device = 0,
            check = 0,
        )?;
        self.pad(110 + name_size)?;
        self.writer.write_all(bytes)?;
        self.pad(bytes.len())
    }

    /// Fills up to a multiple of four.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        let rest = written.next_multiple_of(4) - written;
        self.writer.write_all(b"\0\0\0".get(..rest).unwrap_or_default())
    }
}

/// The shared libraries that a program needs, with its loader. None for a static one.
fn libraries(program: &Path) -> Result<Vec<String>> {
    // It fails for what is not dynamic.
    let Ok(listing) = output(command("ldd", &[]).arg(program)) else { return Ok(Vec::new()) };
    Ok(parse_ldd(&listing))
}

/// Lines like `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f…)` or `/lib64/ld-linux… (0x…)`.
fn parse_ldd(listing: &str) -> Vec<String> {
    let path = |line: &str| {
        let place = line.rsplit("=> ").next()?.trim();
        let path = place.split(" (").next()?;
        path.starts_with('/').then(|| path.to_owned())
    };
    listing.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::{Image, parse_ldd};
    use std::process::{Command, Stdio};

    #[test]
    fn the_libraries_of_a_program_are_found() {
        let listing = "\tlinux-vdso.so.1 (0x00007fff)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                       \tlibgone.so => not found\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse_ldd(listing), expected);
        assert!(parse_ldd("\tnot a dynamic executable\n").is_empty());
    }

    #[test]
    fn busybox_reads_the_image_as_it_was_meant() {
        let mut image = Image::default();
        image.folder("empty/folder");
        image.script("/init", "#!/bin/sh\n");
        image.text("bin/odd", "12345");
        let mut archive = Vec::new();
        image.write(&mut archive).unwrap();
        let mut list = Command::new("busybox")
            .args(["cpio", "-t", "-v"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("apt-get install busybox-static");
        std::io::Write::write_all(&mut list.stdin.take().unwrap(), &archive).unwrap();
        let output = list.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let facts: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let facts: Vec<_> =
            facts.iter().map(|words| (words[0], words[2], words[words.len() - 1])).collect();
        let expected = [
            ("drwxr-xr-x", "0", "empty"),
            ("drwxr-xr-x", "0", "empty/folder"),
            ("-rwxr-xr-x", "10", "init"),
            ("drwxr-xr-x", "0", "usr"),
            ("drwxr-xr-x", "0", "usr/bin"),
            ("-rw-r--r--", "5", "usr/bin/odd"),
        ];
        assert_eq!(facts, expected, "{text}");
    }
}
