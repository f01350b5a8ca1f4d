//! `run`: the dataplane, in this process.

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::{Signal, raise};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Configuration file; `switchyard.example.toml` documents every setting
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop when standard input closes: with whoever started this process, however that ends
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    daemon::log_to_stderr();
    if args.until_stdin_closes {
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn(stop_with_stdin)
            .context("watching standard input")?;
    }
    let config = crate::config::read(&args.config)?;
    daemon::run(&config, config.spec())
}

/// A read error means as much as the end.
fn stop_with_stdin() {
    let _end = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    // The process is on its way out if it cannot be told to leave.
    let _told = raise(Signal::SIGTERM);
}
