//! What people ask of the process that decides: each command is a call of its API.
//!
//! One module per family of commands. [`client`] talks, [`problem`] and [`list`] say what came, [`human`] reads and writes
//! times, rates and amounts.

pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod drain;
pub(crate) mod human;
pub(crate) mod lease;
pub(crate) mod ledger;
pub(crate) mod list;
pub(crate) mod problem;
pub(crate) mod shell;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod support;
pub(crate) mod tenant;
pub(crate) mod token;
pub(crate) mod vswitch;

use crate::output::{OutputArgs, print_json};
use anyhow::{Context, Result};
use clap::Args;
use client::{Client, Endpoint};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Which control process to talk to, and as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct ControlArgs {
    /// Control's socket, or https://HOST:PORT
    #[arg(
        long,
        global = true,
        value_name = "PATH|URL",
        env = "SWITCHYARD_CONTROL",
        default_value = "/run/switchyard/control.sock"
    )]
    control: Endpoint,
    /// File with the token to ask with; else what the environment variable SWITCHYARD_TOKEN holds
    #[arg(long, global = true, value_name = "FILE", env = "SWITCHYARD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) by which an https control is known; else those that the system trusts
    #[arg(long, global = true, value_name = "FILE", env = "SWITCHYARD_CA")]
    ca: Option<PathBuf>,
    /// Name of this change: asked for again by the same name, it is done once
    #[arg(long, global = true, value_name = "NAME")]
    once: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl ControlArgs {
    /// Whoever answers.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::new(self.control.clone(), self.token()?, self.ca.as_deref(), self.once.clone())
    }

    /// The token is never an argument: every user of the machine can read those.
    fn token(&self) -> Result<Option<Zeroizing<String>>> {
        if let Some(path) = &self.token_file {
            return crate::secret::line(path, "token").map(Some);
        }
        match std::env::var("SWITCHYARD_TOKEN") {
            Ok(token) => Ok(Some(Zeroizing::new(token)).filter(|token| !token.is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("SWITCHYARD_TOKEN is no text"),
        }
    }

    /// Whether programs read what is printed.
    pub(crate) const fn json(&self) -> bool {
        self.output.json
    }

    /// Prints what came as it came, or as `show` says it to people.
    pub(crate) fn print(
        &self,
        out: &mut dyn Write,
        value: &Value,
        show: impl FnOnce(&Value) -> String,
    ) -> Result<()> {
        if self.json() {
            print_json(out, value)
        } else {
            Ok(out.write_all(show(value).as_bytes())?)
        }
    }
}

/// Unix milliseconds, by this machine's clock.
pub(crate) fn now() -> Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.context("the clock is before 1970")?;
    u64::try_from(since.as_millis()).context("the clock is too far ahead")
}
