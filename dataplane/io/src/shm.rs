//! Counters in a file that writers and readers map.

use crate::IoError;
use crate::mapping::Mapping;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file of 64-bit words, mapped to be counted in.
#[derive(Debug)]
pub struct SharedWords {
    mapping: Mapping,
    words: usize,
}

/// The same file, mapped to be read.
#[derive(Debug)]
pub struct SharedWordsView(SharedWords);

impl SharedWords {
    /// Makes the file anew (0644, zeroed) with `words` words, and maps it to be written.
    ///
    /// # Errors
    /// [`IoError`] if the file cannot be made or mapped.
    pub fn create(path: &Path, words: usize) -> Result<Self, IoError> {
        let attempt = || format!("create the counters file {}", path.display());
        // A new inode: readers of an earlier process keep what they mapped.
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(IoError::from_os(attempt(), error));
        }
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(path);
        let file = file.map_err(|error| IoError::from_os(attempt(), error))?;
        file.set_len((words * 8) as u64).map_err(|error| IoError::from_os(attempt(), error))?;
        Self::map(&file, words, true)
    }

    fn map(file: &File, words: usize, writable: bool) -> Result<Self, IoError> {
        Ok(Self { mapping: Mapping::shared(file.as_fd(), words * 8, 0, writable)?, words })
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `words · 8` bytes long and lives as long as self; whoever else maps the
        // file reaches it by atomics too. That the file is not truncated is up to its owner, who never does.
        unsafe { std::slice::from_raw_parts(self.mapping.base().as_ptr().cast(), self.words) }
    }
}

impl SharedWordsView {
    /// Maps an existing file to be read: as many words as it has.
    ///
    /// # Errors
    /// [`IoError`] if there is no such file.
    pub fn open(path: &Path) -> Result<Self, IoError> {
        let attempt = || format!("open the counters file {}", path.display());
        let file = File::open(path).map_err(|error| IoError::from_os(attempt(), error))?;
        let len = file.metadata().map_err(|error| IoError::from_os(attempt(), error))?.len();
        SharedWords::map(&file, usize::try_from(len / 8).unwrap_or(0), false).map(Self)
    }

    /// Words in the file.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.words
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One word, as it is now.
    #[inline]
    #[must_use]
    pub fn load(&self, index: usize) -> Option<u64> {
        // Relaxed: counters are independent of each other.
        self.0.words().get(index).map(|word| word.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_is_counted_and_keeps_an_old_file() {
        let path = std::env::temp_dir().join(format!("switchyard-shm-{}", std::process::id()));
        let counters = SharedWords::create(&path, 1000).unwrap();
        counters.words()[999].store(7, Ordering::Relaxed);
        let view = SharedWordsView::open(&path).unwrap();
        assert_eq!((view.len(), view.load(999), view.load(1000)), (1000, Some(7), None));
        let anew = SharedWords::create(&path, 10).unwrap();
        anew.words()[0].store(1, Ordering::Relaxed);
        counters.words()[0].store(2, Ordering::Relaxed);
        assert_eq!(view.load(0), Some(2));
        std::fs::remove_file(&path).unwrap();
    }
}
