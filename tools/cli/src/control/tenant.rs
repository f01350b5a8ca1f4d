//! `tenant`: who is on the box, and how much each has of what it may have.

use super::ControlArgs;
use super::client::Request;
use super::list::{Column, Form, all, card, items_at, table};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::io::Write;

/// Tenants, and what each has of its quota
#[derive(Args, Debug)]
pub(crate) struct TenantArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All of them
    List,
    /// One of them
    Show { name: String },
}

const TENANTS: [Column; 10] = [
    ("tenant", "/name", Form::Text),
    ("id", "/id", Form::Text),
    ("vswitches", "/vswitches", Form::Count),
    ("of", "/quota/vswitches", Form::Count),
    ("vifs", "/vifs", Form::Count),
    ("of", "/quota/vifs", Form::Count),
    ("logins", "/logins", Form::Count),
    ("of", "/quota/logins", Form::Count),
    ("leases", "/leases", Form::Count),
    ("ports", "/quota/ports", Form::Text),
];

/// Runs the command.
pub(crate) fn run(args: &TenantArgs, out: &mut dyn Write) -> Result<()> {
    let (control, client) = (&args.control, args.control.client()?);
    match &args.what {
        What::List => {
            let list = all(&client, || Request::get(&["tenants"]), None)?;
            control.print(out, &list, |it| table(&TENANTS, items_at(it, "/items"), "no tenants"))
        }
        What::Show { name } => {
            let tenant = client.get(&["tenants", name])?;
            control.print(out, &tenant, |tenant| card(&TENANTS, tenant))
        }
    }
}
