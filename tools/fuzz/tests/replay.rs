//! Every input of the corpus, through its target.

#![allow(clippy::tests_outside_test_module, reason = "this whole file is tests")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "says which input it was, should one fail")]

use fuzz_targets::TARGETS;
use std::fs;
use std::path::Path;

#[test]
fn corpus_replays() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut paths: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "no corpus in {}", folder.display());
        for path in &paths {
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
        }
    }
}

/// Each input cut short at every length, and with each of its bytes changed: cheap, and reaches most length checks.
#[test]
fn corpus_replays_cut_and_bent() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            println!("{}", path.display());
            for place in 0..input.len().min(256) {
                target(&input[..place]);
                let mut bent = input.clone();
                bent[place] ^= 0x81;
                target(&bent);
            }
        }
    }
}
