//! `status`: how the box stands, by control's word, and who asks.

use super::ControlArgs;
use super::list::{Column, Form, card};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::io::Write;

/// Say how the box stands, and who asks
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    control: ControlArgs,
}

const STATUS: [Column; 13] = [
    ("box", "/status/name", Form::Text),
    ("version", "/status/version", Form::Text),
    ("time", "/status/now", Form::Instant),
    ("commit", "/status/commit", Form::Text),
    ("confirm by", "/status/confirm/until", Form::Instant),
    ("generation", "/status/generation", Form::Text),
    ("dataplane is there", "/status/dataplane/is_there", Form::Text),
    ("dataplane has", "/status/dataplane/accepted", Form::Text),
    ("trouble", "/status/dataplane/trouble", Form::Text),
    ("ports", "/status/ports", Form::Text),
    ("you are", "/whoami/name", Form::Text),
    ("by", "/whoami/by", Form::Text),
    ("as", "/whoami/grant/role", Form::Text),
];

/// Runs the command.
pub(crate) fn run(args: &StatusArgs, out: &mut dyn Write) -> Result<()> {
    let client = args.control.client()?;
    let both = json!({ "status": client.get(&["status"])?, "whoami": client.get(&["whoami"])? });
    args.control.print(out, &both, |both| card(&STATUS, both))
}
