//! What is on a disk for sure, and what may be.

use crate::random::Random;
use crate::{Event, FileId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A disk, and what waits to be written to it.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    names: Names,
    /// Changes of names that are not synced, in order.
    waiting_names: Vec<Event>,
    files: BTreeMap<FileId, Vec<u8>>,
    /// Writes of each file that are not synced, in order.
    waiting: BTreeMap<FileId, Vec<Event>>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, FileId>,
    directories: BTreeSet<PathBuf>,
}

impl Disk {
    /// What was asked next.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Create(_, id) => {
                self.files.entry(*id).or_default();
                self.waiting_names.push(event.clone());
            }
            Event::Mkdir(_) | Event::Link(..) | Event::Rename(..) | Event::Remove(_) => {
                self.waiting_names.push(event.clone());
            }
            Event::Write(id, ..) | Event::Resize(id, _) => {
                self.waiting.entry(*id).or_default().push(event.clone());
            }
            Event::SyncFile(id) => {
                let content = self.files.entry(*id).or_default();
                for write in self.waiting.remove(id).unwrap_or_default() {
                    apply(content, &write, None);
                }
            }
            Event::SyncNames(directory) => {
                let last = self.waiting_names.iter().rposition(|event| touches(event, directory));
                for event in self.waiting_names.drain(..last.map_or(0, |last| last + 1)) {
                    self.names.apply(&event);
                }
            }
            Event::Acknowledged(_) => {}
        }
    }

    /// What the disk holds if the power goes now: one of the many possible.
    #[must_use]
    pub fn cut(&self, random: &mut Random) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = self.names.clone();
        let there = random.below(self.waiting_names.len() + 1);
        for event in &self.waiting_names[..there] {
            names.apply(event);
        }
        let mut files = self.files.clone();
        for (id, waiting) in &self.waiting {
            lose(files.entry(*id).or_default(), waiting, random);
        }
        let content =
            |(path, id): (PathBuf, FileId)| (path, files.get(&id).cloned().unwrap_or_default());
        names.files.into_iter().map(content).collect()
    }
}

/// Writes what a cut left into an empty directory; files are their owner's alone.
///
/// # Errors
/// The system's.
pub(crate) fn restore(files: &BTreeMap<PathBuf, Vec<u8>>, directory: &Path) -> io::Result<()> {
    for (path, content) in files {
        let path = directory.join(path);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
        io::Write::write_all(&mut file?, content)?;
    }
    Ok(())
}

impl Disk {
    /// Makes a directory hold what a cut leaves.
    ///
    /// # Errors
    /// The system's.
    pub fn cut_into(&self, random: &mut Random, directory: &Path) -> io::Result<()> {
        restore(&self.cut(random), directory)
    }
}

/// Applies of what waits any part, in any order, each whole or torn.
fn lose(content: &mut Vec<u8>, waiting: &[Event], random: &mut Random) {
    let mut kept: Vec<&Event> = match random.below(4) {
        0 => Vec::new(),
        1 => waiting.iter().take(random.below(waiting.len() + 1)).collect(),
        _ => waiting.iter().filter(|_| random.below(2) == 0).collect(),
    };
    if random.below(2) == 0 {
        for index in (1..kept.len()).rev() {
            kept.swap(index, random.below(index + 1));
        }
    }
    for event in kept {
        let torn = (random.below(4) == 0).then(|| random.any());
        apply(content, event, torn);
    }
}

/// `torn`: which of the sectors are written.
fn apply(content: &mut Vec<u8>, event: &Event, torn: Option<u64>) {
    match event {
        Event::Write(_, offset, bytes) => {
            let mut at = usize::try_from(*offset).unwrap_or(usize::MAX);
            let mut sectors = torn.map(Random::new);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                // Up to the end of the sector that the write reaches into.
                let len = (SECTOR - at % SECTOR).min(rest.len());
                let (sector, more) = rest.split_at(len);
                if sectors.as_mut().is_none_or(|random| random.below(2) == 0) {
                    if content.len() < at + len {
                        content.resize(at + len, 0);
                    }
                    content[at..at + len].copy_from_slice(sector);
                }
                (at, rest) = (at + len, more);
            }
        }
        Event::Resize(_, len) => content.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
        Event::Create(..)
        | Event::Mkdir(_)
        | Event::Link(..)
        | Event::Rename(..)
        | Event::Remove(_)
        | Event::SyncFile(_)
        | Event::SyncNames(_)
        | Event::Acknowledged(_) => {}
    }
}

impl Names {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Create(path, id) => drop(self.files.insert(path.clone(), *id)),
            Event::Mkdir(path) => drop(self.directories.insert(path.clone())),
            Event::Link(from, to) => {
                if let Some(id) = self.files.get(from).copied() {
                    self.files.insert(to.clone(), id);
                }
            }
            Event::Rename(from, to) => {
                if let Some(id) = self.files.remove(from) {
                    self.files.insert(to.clone(), id);
                }
            }
            Event::Remove(path) => drop(self.files.remove(path)),
            Event::Write(..)
            | Event::Resize(..)
            | Event::SyncFile(_)
            | Event::SyncNames(_)
            | Event::Acknowledged(_) => {}
        }
    }
}

/// Whether a change of names is one in a directory.
fn touches(event: &Event, directory: &Path) -> bool {
    let is_in = |path: &Path| path.parent() == Some(directory);
    match event {
        Event::Create(path, _) | Event::Mkdir(path) | Event::Remove(path) => is_in(path),
        Event::Link(_, path) => is_in(path),
        Event::Rename(from, to) => is_in(from) || is_in(to),
        Event::Write(..)
        | Event::Resize(..)
        | Event::SyncFile(_)
        | Event::SyncNames(_)
        | Event::Acknowledged(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId(0);

    fn path(text: &str) -> PathBuf {
        text.into()
    }

    fn disk(events: &[Event]) -> Disk {
        let mut disk = Disk::default();
        events.iter().for_each(|event| disk.take(event));
        disk
    }

    /// All that may be there after these events, by the content of `a` and `b`.
    fn outcomes(events: &[Event]) -> BTreeSet<(Option<String>, Option<String>)> {
        let (disk, mut random) = (disk(events), Random::new(7));
        let text = |files: &BTreeMap<PathBuf, Vec<u8>>, name: &str| {
            files.get(Path::new(name)).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        (0..500)
            .map(|_| {
                let files = disk.cut(&mut random);
                (text(&files, "a"), text(&files, "b"))
            })
            .collect()
    }

    fn set(all: &[(Option<&str>, Option<&str>)]) -> BTreeSet<(Option<String>, Option<String>)> {
        let owned = |text: &Option<&str>| text.map(ToOwned::to_owned);
        all.iter().map(|(a, b)| (owned(a), owned(b))).collect()
    }

    #[test]
    fn what_is_synced_is_there_and_the_rest_may_be() {
        let mut events = vec![
            Event::Create(path("a"), FILE),
            Event::Write(FILE, 0, b"one".to_vec()),
            Event::SyncFile(FILE),
        ];
        assert_eq!(outcomes(&events), set(&[(None, None), (Some("one"), None)]));
        events.push(Event::SyncNames(path("")));
        assert_eq!(outcomes(&events), set(&[(Some("one"), None)]));
        events.push(Event::Write(FILE, 0, b"two".to_vec()));
        assert_eq!(outcomes(&events), set(&[(Some("one"), None), (Some("two"), None)]));
        events.push(Event::Write(FILE, 0, b"six".to_vec()));
        let all = [(Some("one"), None), (Some("two"), None), (Some("six"), None)];
        assert_eq!(outcomes(&events), set(&all));
    }

    #[test]
    fn a_file_that_is_renamed_over_is_one_or_the_other() {
        let other = FileId(1);
        let mut events = vec![
            Event::Create(path("a"), FILE),
            Event::Write(FILE, 0, b"old".to_vec()),
            Event::SyncFile(FILE),
            Event::Create(path("b"), other),
            Event::SyncNames(path("")),
            Event::Write(other, 0, b"new".to_vec()),
        ];
        let rename = Event::Rename(path("b"), path("a"));
        let careless: Vec<_> = events.iter().cloned().chain([rename.clone()]).collect();
        assert!(
            outcomes(&careless).contains(&(Some(String::new()), None)),
            "renamed before it was synced"
        );
        events.extend([Event::SyncFile(other), rename]);
        assert_eq!(outcomes(&events), set(&[(Some("old"), Some("new")), (Some("new"), None)]));
    }

    #[test]
    fn long_writes_are_torn_at_sectors() {
        let events = [
            Event::Create(path("a"), FILE),
            Event::SyncNames(path("")),
            Event::Resize(FILE, 1536),
            Event::SyncFile(FILE),
            Event::Write(FILE, 256, vec![b'x'; 1024]),
        ];
        let disk = disk(&events);
        let mut random = Random::new(1);
        let shapes: BTreeSet<Vec<usize>> = (0..500)
            .map(|_| {
                let files = disk.cut(&mut random);
                let count = |part: &[u8]| part.iter().filter(|byte| **byte == b'x').count();
                files[Path::new("a")].chunks(SECTOR).map(count).collect()
            })
            .collect();
        // Three sectors are reached, and each is written or not.
        assert_eq!(shapes.len(), 8);
        assert!(shapes.iter().all(|shape| {
            [[0, 256], [0, 512], [0, 256]].iter().zip(shape).all(|(may, is)| may.contains(is))
        }));
    }
}
