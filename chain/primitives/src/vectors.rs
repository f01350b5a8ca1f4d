//! Where the test vectors are: for this crate's tests and those of crates above it, not for the product.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where a vector file is: in the folder that `SWITCHYARD_VECTORS` names, else in `../shared/vectors` beside the
/// repository, else in the repository's own copy of a part; always under `pkt/`.
///
/// # Panics
/// If it is in none of them.
#[must_use]
pub fn find(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folders =
        env::var_os("SWITCHYARD_VECTORS").map(PathBuf::from).into_iter().chain([shared, own]);
    let found = folders.map(|folder| folder.join("pkt").join(name)).find(|path| path.exists());
    #[expect(clippy::panic, reason = "a test without its vectors has failed")]
    let Some(path) = found else {
        panic!("no pkt/{name} in SWITCHYARD_VECTORS, ../shared/vectors or chain/primitives/vectors")
    };
    path.canonicalize().unwrap_or(path)
}

/// The bytes of a vector file and its path, from where [`find`] finds it.
///
/// # Panics
/// If it is nowhere.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its vectors has failed")]
pub fn read(name: &str) -> (PathBuf, Vec<u8>) {
    let path = find(name);
    let bytes = fs::read(&path).expect("a readable vector file");
    (path, bytes)
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
