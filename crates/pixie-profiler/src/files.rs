//! The files that processes have mapped, and what became of their unwind tables.

use crate::unwind;
use pixie_probes::sampler::TableId;
use pixie_symbols::{BuildId, ElfFile, Mapping, Process};
use std::collections::HashMap;
use std::path::Path;

/// Files with no more to be read for their table than so many bytes have it built at once, which takes a
/// few milliseconds: nearly all do. Those with more are built apart.
const SMALL: u64 = 512 << 10;

/// The files that processes have mapped.
pub(crate) struct Files {
    files: HashMap<usize, OpenFile>,
    by_inode: HashMap<(Box<str>, u64), Option<usize>>,
    by_build_id: HashMap<BuildId, usize>,
    next: usize,
    limit: usize,
    /// How often one was not opened, because too many are.
    refused: u64,
    /// Counts uses, and orders them.
    clock: u64,
}

pub(crate) struct OpenFile {
    pub(crate) elf: ElfFile,
    pub(crate) state: Table,
    keys: Vec<(Box<str>, u64)>,
    /// About how much there is to be read for its table, in bytes.
    effort: u64,
    /// How many processes have it mapped.
    users: i64,
    used: u64,
}

/// What became of a file's unwind table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    Unbuilt,
    /// It is to be built, or being built, apart from others.
    Wanted,
    None,
    Built(TableId),
}

impl OpenFile {
    /// Whether its table is built in no time.
    pub(crate) fn is_small(&self) -> bool {
        self.effort <= SMALL
    }

    pub(crate) fn table(&self) -> Option<TableId> {
        match self.state {
            Table::Built(id) => Some(id),
            Table::Unbuilt | Table::Wanted | Table::None => None,
        }
    }
}

impl Files {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            files: HashMap::new(),
            by_inode: HashMap::new(),
            by_build_id: HashMap::new(),
            next: 0,
            limit,
            refused: 0,
            clock: 0,
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&OpenFile> {
        self.files.get(&index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut OpenFile> {
        self.files.get_mut(&index)
    }

    /// How often a mapping's file was not opened, because too many are.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) fn use_by(&mut self, index: usize, change: i64) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(file) = self.files.get_mut(&index) {
            file.users += change;
            file.used = clock;
        }
    }

    /// The file of a mapping, opened if it is not open yet.
    pub(crate) fn find(&mut self, process: &Process, mapping: &Mapping) -> Option<usize> {
        let vdso = &*mapping.path == Path::new("[vdso]");
        if mapping.inode == 0 && !vdso {
            return None;
        }
        let device = if vdso { "[vdso]".into() } else { mapping.device.clone() };
        let key = (device, mapping.inode);
        if let Some(known) = self.by_inode.get(&key) {
            return *known;
        }
        let Ok(elf) = process.open(mapping) else { return None };
        let same = elf.build_id().and_then(|id| self.by_build_id.get(id)).copied();
        let index = match same {
            Some(index) => index,
            None => self.insert(elf)?,
        };
        if let Some(file) = self.files.get_mut(&index) {
            file.keys.push(key.clone());
        }
        self.by_inode.insert(key, Some(index));
        Some(index)
    }

    fn insert(&mut self, elf: ElfFile) -> Option<usize> {
        if self.files.len() >= self.limit && self.close_oldest().is_none() {
            self.refused += 1;
            return None;
        }
        let index = self.next;
        self.next += 1;
        if let Some(id) = elf.build_id() {
            self.by_build_id.insert(id.clone(), index);
        }
        let file = OpenFile {
            effort: unwind::effort(&elf),
            elf,
            state: Table::Unbuilt,
            keys: Vec::new(),
            users: 0,
            used: self.clock,
        };
        self.files.insert(index, file);
        Some(index)
    }

    /// Closes the file that was not used for longest, of those that no process has mapped and that
    /// have no table. `None` when there is none.
    fn close_oldest(&mut self) -> Option<()> {
        let unused =
            self.files.iter().filter(|(_, file)| file.users <= 0 && file.table().is_none());
        let (index, _) = unused.min_by_key(|(_, file)| file.used)?;
        let index = *index;
        let file = self.files.remove(&index)?;
        for key in file.keys {
            self.by_inode.remove(&key);
        }
        if let Some(id) = file.elf.build_id() {
            self.by_build_id.remove(id);
        }
        Some(())
    }

    /// The file to build a table of next: of those that somebody waits for, the one that takes least.
    pub(crate) fn next_wanted(&self) -> Option<usize> {
        self.files
            .iter()
            .filter(|(_, file)| matches!(file.state, Table::Wanted) && file.users > 0)
            .min_by_key(|(index, file)| (file.effort, **index))
            .map(|(index, _)| *index)
    }

    /// The file whose table was not used for longest; those that no process has mapped come first.
    pub(crate) fn oldest_table(&self, except: usize) -> Option<usize> {
        self.files
            .iter()
            .filter(|(index, file)| **index != except && file.table().is_some())
            .min_by_key(|(_, file)| (file.users > 0, file.used))
            .map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_the_limit_is_counted_each_time() {
        let ours = Process::new(std::process::id()).unwrap();
        let mut mapped: Vec<&Mapping> = ours.mappings().iter().collect();
        mapped.retain(|mapping| mapping.inode != 0);
        mapped.dedup_by_key(|mapping| mapping.inode);
        let [first, second, ..] = mapped.as_slice() else { panic!("{mapped:?}") };

        let mut files = Files::new(1);
        let index = files.find(&ours, first).unwrap();
        files.use_by(index, 1);
        assert_eq!(files.find(&ours, first), Some(index));
        assert_eq!(files.refused(), 0);
        assert_eq!(files.find(&ours, second), None);
        assert_eq!(files.find(&ours, second), None);
        assert_eq!(files.refused(), 2);

        // Once no process has it mapped, it makes room.
        files.use_by(index, -1);
        assert!(files.find(&ours, second).is_some());
        assert_eq!(files.refused(), 2);
    }
}
