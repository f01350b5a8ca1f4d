//! `audit`: who did what.

use super::ControlArgs;
use super::client::Request;
use super::list::{Column, Form, all, items_at, table};
use anyhow::Result;
use clap::Args;
use std::io::Write;

/// Who did what, newest first
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// Most records
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    control: ControlArgs,
}

const RECORDS: [Column; 7] = [
    ("record", "/sequence", Form::Text),
    ("time", "/at", Form::Instant),
    ("who", "/who", Form::Text),
    ("tenant", "/tenant", Form::Text),
    ("action", "/action", Form::Text),
    ("subject", "/subject", Form::Text),
    ("detail", "/detail", Form::Text),
];

/// Runs the command.
pub(crate) fn run(args: &AuditArgs, out: &mut dyn Write) -> Result<()> {
    let client = args.control.client()?;
    let list = all(&client, || Request::get(&["audit"]), Some(args.limit))?;
    args.control.print(out, &list, |it| table(&RECORDS, items_at(it, "/items"), "no records"))
}
