//! Where the test vectors are: for this crate's tests and those of crates above it, not for the product.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The JSON text of a vector file and its path: from the folder that `SWITCHYARD_VECTORS` names, else
/// `../shared/vectors` beside the repository, else the repository's own copy of a part.
///
/// # Panics
/// If the file is in none of them.
#[must_use]
pub fn read(name: &str) -> (PathBuf, String) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folders =
        env::var_os("SWITCHYARD_VECTORS").map(PathBuf::from).into_iter().chain([shared, own]);
    for folder in folders {
        let path = folder.join(name);
        if let Ok(text) = fs::read_to_string(&path) {
            return (path.canonicalize().unwrap_or(path), text);
        }
    }
    #[expect(clippy::panic, reason = "a test without its vectors has failed")]
    {
        panic!("no {name} in SWITCHYARD_VECTORS, ../shared/vectors or dataplane/wire/vectors");
    }
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
