//! Files of a run, which go with it.

use std::path::{Path, PathBuf};

/// A folder among the temporary ones.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(bench: &str) -> std::io::Result<Self> {
        let name = format!("switchyard-{bench}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in the folder for temporary files.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}
