//! `cargo xtask`: what this repository checks of itself.
//!
//! ```text
//! cargo xtask tidy     rules that the compiler does not know
//! cargo xtask test     all tests: tidy, unit, property, vector, network, model
//! cargo xtask lint     rustfmt and clippy, where they are installed
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod test;
mod tidy;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(&root()),
        ["test"] => test::all(&root()),
        ["lint"] => test::lint(&root()),
        _ => Err(anyhow::anyhow!("usage: cargo xtask tidy|test|lint")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository: two folders above this crate.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
