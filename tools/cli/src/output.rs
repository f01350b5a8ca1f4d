//! How commands print.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::io::Write;

/// For people, or for programs.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Prints one JSON value and a line end.
pub(crate) fn print_json(out: &mut dyn Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    Ok(writeln!(out)?)
}
