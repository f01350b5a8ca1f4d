//! Where the test vectors are: for this crate's tests and those of crates above it, not for the product.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a vector file or folder is: in the folder that `SWITCHYARD_VECTORS` names, else in `../shared/vectors` beside the
/// repository, else in the repository's own copy of a part.
///
/// # Panics
/// If it is in none of them.
#[must_use]
pub fn find(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folders =
        env::var_os("SWITCHYARD_VECTORS").map(PathBuf::from).into_iter().chain([shared, own]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.exists());
    #[expect(clippy::panic, reason = "a test without its vectors has failed")]
    let Some(path) = found else {
        panic!("no {name} in SWITCHYARD_VECTORS, ../shared/vectors or dataplane/wire/vectors")
    };
    path.canonicalize().unwrap_or(path)
}

/// The text of a vector file and its path, from where [`find`] finds it.
///
/// # Panics
/// If it is nowhere, or no text.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its vectors has failed")]
pub fn read(name: &str) -> (PathBuf, String) {
    let path = find(name);
    let text = fs::read_to_string(&path).expect("a readable vector file");
    (path, text)
}

/// Says how many rows of a file were run.
///
/// # Panics
/// If it was none.
#[expect(clippy::print_stdout, reason = "the row counts are part of a test run's output")]
pub fn report(path: &Path, rows: usize) {
    assert!(rows > 0, "no row of {} was run", path.display());
    println!("vectors: {} {rows}", path.display());
}

/// Bytes of hexadecimal text.
///
/// # Panics
/// If it is none.
#[must_use]
#[expect(clippy::expect_used, reason = "a vector that is no hexadecimal text has failed")]
pub fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).expect("hexadecimal text")
}
