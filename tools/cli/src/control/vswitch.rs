//! `vswitch`: take a vswitch to another box.

use super::ControlArgs;
use super::client::Request;
use super::list::{Column, Form, items_at, str_at, table, text};
use crate::secret;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Take a vswitch to another box: its links, numbers and policy
#[derive(Args, Debug)]
pub(crate) struct VswitchArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a vswitch into a file (TOML); its private key moves by `keys` alone
    Export {
        vswitch: String,
        /// New file; else it is printed, which is not for passwords
        #[arg(long, value_name = "FILE", required_if_eq("secrets", "true"))]
        to: Option<PathBuf>,
        /// With the passwords of its logins and links
        #[arg(long)]
        secrets: bool,
    },
    /// Put a vswitch from such a file into the candidate, to be looked at and committed
    Import {
        /// The file; - is standard input
        file: PathBuf,
        /// Tenant whose it shall be; else as it was
        #[arg(long)]
        tenant: Option<String>,
        /// Name that it shall have; else as it was
        #[arg(long)]
        name: Option<String>,
    },
}

const LEARNED: [Column; 3] =
    [("vif", "/number", Form::Text), ("key", "/key", Form::Text), ("user", "/user", Form::Text)];

/// Runs the command.
pub(crate) fn run(args: &VswitchArgs, out: &mut dyn Write) -> Result<()> {
    let (control, client) = (&args.control, args.control.client()?);
    match &args.what {
        What::Export { vswitch, to, secrets } => {
            let asked = json!({ "secrets": secrets });
            let mut exported = client.post(&["vswitches", vswitch, "export"], &asked)?;
            let Some(path) = to else {
                return control.print(out, &exported, |it| str_at(it, "/toml").to_owned());
            };
            secret::write_new(path, str_at(&exported, "/toml").trim_end())?;
            if let Some(exported) = exported.as_object_mut() {
                exported.remove("toml");
            }
            control.print(out, &exported, |exported| {
                let learned = items_at(exported, "/learned");
                let none = "no neighbour came by itself";
                format!(
                    "vswitch {vswitch} is in {}\n{}",
                    path.display(),
                    table(&LEARNED, learned, none)
                )
            })
        }
        What::Import { file, tenant, name } => {
            let toml = secret::text(file, "an exported vswitch").context("the export")?;
            let asked = json!({ "toml": toml.as_str(), "tenant": tenant, "name": name });
            let asked = Request::post(&["vswitches", "import"]).json(&asked);
            let imported = client.ask(asked)?.json()?;
            control.print(out, &imported, |imported: &Value| {
                let places = items_at(imported, "/places").iter().map(text).collect::<Vec<_>>();
                format!("in the candidate: {}; look at it with `config diff`\n", places.join(", "))
            })
        }
    }
}
