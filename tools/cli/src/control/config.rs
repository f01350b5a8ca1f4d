//! `config`: the configuration, one step at a time, for scripts. What `configure` does by hand is done here too.

pub(crate) mod actions;
pub(crate) mod value;

use super::ControlArgs;
use super::human::Span;
use crate::secret;
use actions::Desk;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use domain::tree::Place;
use std::io::Write;
use std::path::PathBuf;

/// The configuration, one step at a time
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what runs, passwords left out
    Show {
        /// Part of it, as vswitch.red.vif.2
        #[arg(default_value = "")]
        place: Place,
        /// The candidate instead
        #[arg(long)]
        candidate: bool,
    },
    /// Put a value at a place of the candidate
    Set {
        place: Place,
        /// A number, word, or TOML value; where they belong, also 10Mbit/s and 30d. Not for passwords
        #[arg(required_unless_present = "from", conflicts_with = "from")]
        value: Option<String>,
        /// File with the value, for passwords too; - is standard input
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Take away what is at a place of the candidate
    Delete { place: Place },
    /// How the candidate differs from what runs, or what a commit changed
    Diff {
        /// Number of a commit
        commit: Option<u64>,
    },
    /// Say what is wrong with the candidate; exit code 1 if anything is
    Validate,
    /// Make the candidate run
    Commit {
        #[command(flatten)]
        how: How,
    },
    /// Let the last commit stay
    Confirm,
    /// Make it what it was after a commit; 0: before the first
    Rollback {
        commit: u64,
        /// Why
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Take what others changed meanwhile into the candidate
    Rebase,
    /// Give up the candidate
    Discard,
    /// Commits, newest first
    History {
        /// Most commits
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Write what runs as TOML, passwords left out
    Export {
        /// New file; else it is printed
        file: Option<PathBuf>,
    },
    /// Make the candidate what a file (TOML) says; passwords that are not shown there stay
    Import {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Make what a file (TOML) says run; if it does already, nothing is done
    #[command(
        after_help = "Exit codes: 0 done, or nothing to do; 1 refused; 2 usage; 3 --check: it would change something."
    )]
    Apply {
        /// The file; - is standard input
        file: PathBuf,
        /// Only say what would change: exit code 0 nothing, 3 something, 1 refused
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        how: How,
    },
}

/// How something is committed.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct How {
    /// It goes back by itself unless it is confirmed within so long, e.g. 5m
    #[arg(long, value_name = "SPAN")]
    pub(crate) confirmed: Option<Span>,
    /// Why
    #[arg(long, default_value = "")]
    pub(crate) comment: String,
}

/// Runs the command.
pub(crate) fn run(args: &ConfigArgs, out: &mut dyn Write) -> Result<()> {
    let client = args.control.client()?;
    let mut desk = Desk::new(&client, &args.control, out);
    match &args.what {
        What::Show { place, candidate } => desk.show(place, *candidate),
        What::Set { place, value, from } => desk.set(place, given(place, value.as_deref(), from)?),
        What::Delete { place } => desk.delete(place),
        What::Diff { commit: None } => desk.diff(),
        What::Diff { commit: Some(commit) } => desk.commit_diff(*commit),
        What::Validate => desk.validate(),
        What::Commit { how } => desk.commit(how),
        What::Confirm => desk.confirm(),
        What::Rollback { commit, comment } => desk.rollback(*commit, comment),
        What::Rebase => desk.rebase(),
        What::Discard => desk.discard(),
        What::History { limit } => desk.history(*limit),
        What::Export { file } => desk.export(file.as_deref()),
        What::Import { file } => desk.import(&secret::text(file, "a configuration")?),
        What::Apply { file, check: true, .. } => {
            desk.check(&secret::text(file, "a configuration")?)
        }
        What::Apply { file, check: false, how } => {
            desk.apply(&secret::text(file, "a configuration")?, how)
        }
    }
}

fn given(place: &Place, value: Option<&str>, from: &Option<PathBuf>) -> Result<serde_json::Value> {
    if let Some(path) = from {
        // A password may look like a number, and is none.
        if value::is_password(place) {
            let password = secret::line(path, "password")?;
            return Ok(serde_json::Value::String(password.to_string()));
        }
        return value::read(place, secret::text(path, "value")?.trim());
    }
    let value = value::read(place, value.context("say a value, or --from FILE")?)?;
    if value::has_password(place, &value) {
        bail!(
            "{place}: every user of the machine can read arguments, so a password is none; say --from FILE"
        );
    }
    Ok(value)
}
