//! `completions`, `man`: what shells and people read, made from the arguments themselves.

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;

/// Print completions for a shell
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// Write manual pages, one for each command
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Directory for them; it is made if it is not there
    directory: PathBuf,
}

/// Runs `completions`.
pub(crate) fn completions(
    args: &CompletionsArgs,
    mut command: Command,
    out: &mut dyn Write,
) -> Result<()> {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    Ok(out.write_all(&text)?)
}

/// Runs `man`.
pub(crate) fn man(args: &ManArgs, command: Command, out: &mut dyn Write) -> Result<()> {
    let directory = &args.directory;
    let at = || directory.display().to_string();
    std::fs::create_dir_all(directory).with_context(at)?;
    clap_mangen::generate_to(command, directory).with_context(at)?;
    Ok(writeln!(out, "{}", at())?)
}
