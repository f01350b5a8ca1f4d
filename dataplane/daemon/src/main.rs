//! `switchyard-dataplane --config FILE`: the process alone, for systemd. `switchyard run` is the same.
#![forbid(unsafe_code)]

use anyhow::{Context, bail};
use dataplane_daemon::Config;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: switchyard-dataplane --config FILE";

fn main() -> ExitCode {
    dataplane_daemon::log_to_stderr();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
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
    dataplane_daemon::run(&config, config.spec())
}
