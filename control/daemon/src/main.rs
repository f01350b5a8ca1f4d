//! `switchyard-control --config FILE`: the process that decides, for systemd.
#![forbid(unsafe_code)]

use anyhow::{Context, bail};
use control_daemon::{Config, log_to_stderr};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: switchyard-control --config FILE";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        #[expect(clippy::print_stderr, reason = "the log may not be there yet")]
        Err(error) => {
            eprintln!("switchyard-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(option), Some(file), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        bail!(USAGE);
    };
    if option != "--config" {
        bail!(USAGE);
    }
    let file = PathBuf::from(file);
    let config = Config::read(&file).with_context(|| file.display().to_string())?;
    log_to_stderr(&config.log).context("log.filter")?;
    control_daemon::run(&config)
}
