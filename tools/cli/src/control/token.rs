//! `token`: who may ask, and for what.

use super::client::Request;
use super::human::When;
use super::list::{Column, Form, all, items_at, str_at, table};
use super::{ControlArgs, now};
use crate::output::print_json;
use crate::secret;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Tokens: who may ask, and for what
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token; it is shown once
    New(New),
    /// Tokens, without what they are
    List,
    /// Take a token back, at once
    Revoke {
        /// Its number
        token: u32,
    },
}

#[derive(Args, Debug)]
struct New {
    /// How people call it
    name: String,
    #[arg(long)]
    role: Role,
    /// Tenant whose it is
    #[arg(long, required_if_eq("role", "tenant"))]
    tenant: Option<String>,
    /// Of the tenant's vswitches this alone; say it again for more
    #[arg(long = "vswitch", requires = "tenant")]
    vswitches: Vec<String>,
    /// When it ends: +90d, 2027-01-31; else never
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// New file for the token, that only its owner may read; else it is printed
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Owner,
    Operator,
    Tenant,
    Auditor,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Operator => "operator",
            Self::Tenant => "tenant",
            Self::Auditor => "auditor",
        }
    }
}

const TOKENS: [Column; 8] = [
    ("token", "/id", Form::Text),
    ("name", "/name", Form::Text),
    ("role", "/grant/role", Form::Text),
    ("tenant", "/grant/tenant", Form::Text),
    ("vswitches", "/grant/vswitches", Form::Text),
    ("made", "/created", Form::Instant),
    ("ends", "/expires", Form::Instant),
    ("taken back", "/revoked", Form::Instant),
];

/// Runs the command.
pub(crate) fn run(args: &TokenArgs, out: &mut dyn Write) -> Result<()> {
    let (control, client) = (&args.control, args.control.client()?);
    match &args.what {
        What::New(new) => {
            let made = client.post(&["tokens"], &new.body(now()?)?)?;
            new.hand_out(made, control.json(), out)
        }
        What::List => {
            let list = all(&client, || Request::get(&["tokens"]), None)?;
            control.print(out, &list, |it| table(&TOKENS, items_at(it, "/items"), "no tokens"))
        }
        What::Revoke { token } => {
            client.ask(Request::new(Method::DELETE, &["tokens", &token.to_string()]))?;
            control.print(out, &json!({ "revoked": token }), |_| {
                format!("token {token} holds no longer\n")
            })
        }
    }
}

impl New {
    fn body(&self, now: u64) -> Result<Value> {
        let mut grant = json!({ "role": self.role.name() });
        if let Some(tenant) = &self.tenant {
            grant["tenant"] = json!(tenant);
        }
        if !self.vswitches.is_empty() {
            grant["vswitches"] = json!(self.vswitches);
        }
        let expires = self.expires.map(|expires| expires.at(now)).transpose()?;
        Ok(json!({ "name": self.name, "grant": grant, "expires": expires }))
    }

    fn hand_out(&self, mut made: Value, json: bool, out: &mut dyn Write) -> Result<()> {
        let id = made.get("id").and_then(Value::as_u64).context("control names no number")?;
        if let Some(path) = &self.to {
            let token = Zeroizing::new(str_at(&made, "/token").to_owned());
            ensure!(!token.is_empty(), "token {id}: control gave none");
            let unwritten = || format!("token {id} is lost: take it back with `token revoke {id}`");
            secret::write_new(path, &token).with_context(unwritten)?;
            if let Some(made) = made.as_object_mut() {
                made.remove("token");
            }
        }
        if json {
            return print_json(out, &made);
        }
        match &self.to {
            Some(path) => writeln!(out, "token {id} is in {}", path.display())?,
            None => writeln!(out, "{}", str_at(&made, "/token"))?,
        }
        Ok(())
    }
}
