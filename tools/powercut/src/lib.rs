//! What a power cut leaves of the files that a program writes, for tests of what it promised to keep.
//!
//! ```text
//! program under strace ─► Trace: writes, syncs, renames …, and what it acknowledged ─► Disk after the first n of them
//!                                                                                        └─► cut: what a disk may hold
//! ```
//!
//! The program runs once, as it is, on a real file system; every disk that a cut at any moment may leave is made from
//! what it asked of the kernel. What was synced is there. Of what was not, any part may be, in any order, torn at
//! sectors: a write is not ordered before a later one unless a sync stands between them. Names are ordered within
//! themselves, as journals keep them, and there for sure once their directory was synced: a file that is synced while
//! its name is not is lost, which is harsher than most file systems are.
#![forbid(unsafe_code)]

mod disk;
mod random;
mod strace;

pub use disk::Disk;
pub use random::Random;
pub use strace::{TraceError, is_available, record};

use std::path::PathBuf;

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub usize);

/// What a program asked of the kernel, as far as disks care. Paths are relative to the watched directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new empty file has a name.
    Create(PathBuf, FileId),
    /// A directory has a name.
    Mkdir(PathBuf),
    /// A file has another name beside the one it has.
    Link(PathBuf, PathBuf),
    /// What has a name has another instead; who had that is nameless.
    Rename(PathBuf, PathBuf),
    /// A name is gone.
    Remove(PathBuf),
    /// Bytes at an offset.
    Write(FileId, u64, Vec<u8>),
    /// A file has this length.
    Resize(FileId, u64),
    /// What was written to a file so far is on the disk.
    SyncFile(FileId),
    /// What the names in a directory are so far is on the disk; the watched directory is the empty path.
    SyncNames(PathBuf),
    /// The program told the world something, on its standard output: a line that begins with `ack `.
    Acknowledged(String),
}
