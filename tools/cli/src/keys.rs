//! `keys`: private keys of vswitches. They go into the process and never out.

use crate::ProcessArgs;
use crate::connect::Process;
use crate::output::{OutputArgs, print_json};
use crate::table::{Side, Table};
use crate::{names, secret};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use crypt::identity::Identity;
use dataplane_api::{Generation, Secret, Status};
use rand_core::UnwrapErr;
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use wire::key::PublicKey;

/// Private keys of vswitches: given to the running process, which never shows them again.
#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Make a key whose address lies in fc00::/8: its private half goes to the process, or into a file
    Generate {
        /// Write the private key into this new file, mode 0600, instead of giving it to the process
        #[arg(long, value_name = "FILE", conflicts_with = "vswitch")]
        to: Option<PathBuf>,
        #[command(flatten)]
        vswitch: ForVswitch,
    },
    /// Give the process a private key of your own: 64 hexadecimal digits
    Import {
        /// File that holds it; `-` is standard input
        #[arg(long, value_name = "FILE", default_value = "-")]
        from: PathBuf,
        #[command(flatten)]
        vswitch: ForVswitch,
    },
    /// List the public keys of the private ones that the process keeps
    List,
    /// Let the process forget the private key of a public one, which no vswitch may have any more
    Remove {
        /// The public key
        #[arg(value_name = "KEY")]
        public_key: PublicKey,
    },
}

#[derive(Args, Debug)]
struct ForVswitch {
    /// Also make it the key of this vswitch, instead of the one it has: its address changes, and so do the MAC
    /// addresses that follow from the key
    #[arg(long)]
    vswitch: Option<String>,
}

/// A key that is at its place.
#[derive(Debug, Serialize)]
struct Kept {
    public_key: String,
    address: String,
    /// Where its private half was written, if not to the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// The vswitch that has it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    given: Option<Given>,
}

/// A vswitch that got another key.
#[derive(Debug, Serialize)]
struct Given {
    vswitch: String,
    generation: Generation,
    /// The key that it had.
    before: String,
}

/// Runs the command.
pub(crate) fn run(args: &KeysArgs, out: &mut dyn Write) -> Result<()> {
    let kept = match &args.what {
        What::Generate { to: Some(file), .. } => {
            let identity = generate();
            secret::write_new(file, &identity.secret().to_hex())?;
            kept(&identity, Some(file.clone()))
        }
        What::Generate { to: None, vswitch } => give(&generate(), vswitch, &args.process)?,
        What::Import { from, vswitch } => {
            let text = secret::line(from, "Private key")?;
            let identity = text.trim().parse()?;
            give(&identity, vswitch, &args.process)?
        }
        What::List => {
            let mut process = Process::connect(&args.process)?;
            let rows = rows(&process.keys()?, &process.status()?);
            return list(&rows, args.output, out);
        }
        What::Remove { public_key } => {
            let mut process = Process::connect(&args.process)?;
            let public_key = process.remove_key(&public_key.to_string())?;
            if args.output.json {
                return print_json(out, &json!({ "removed": public_key }));
            }
            return Ok(writeln!(out, "the private key of {public_key} is forgotten")?);
        }
    };
    if args.output.json { print_json(out, &kept) } else { Ok(write!(out, "{}", kept.text())?) }
}

fn generate() -> Identity {
    Identity::generate(&mut UnwrapErr(getrandom::SysRng))
}

fn kept(identity: &Identity, file: Option<PathBuf>) -> Kept {
    let (public_key, address) = (identity.public().to_string(), identity.address().to_string());
    Kept { public_key, address, file, given: None }
}

/// Gives a key to the process, and to a vswitch if one is named.
fn give(identity: &Identity, vswitch: &ForVswitch, process: &ProcessArgs) -> Result<Kept> {
    let mut process = Process::connect(process)?;
    if let Some(name) = &vswitch.vswitch {
        // Before the key is there: a wrong name leaves nothing behind.
        names::vswitch_named(&process.status()?, name)?;
    }
    let mut kept = kept(identity, None);
    process.add_key(Secret(identity.secret().to_hex().as_str().to_owned()))?;
    if let Some(name) = &vswitch.vswitch {
        let (before, generation) = process
            .edit(|spec| {
                let vswitch = names::vswitch_in(spec, name)?;
                Ok(std::mem::replace(&mut vswitch.public_key, kept.public_key.clone()))
            })
            .with_context(|| {
                format!(
                    "the process keeps the private key of {}, but vswitch {name} has another key",
                    kept.public_key
                )
            })?;
        kept.given = Some(Given { vswitch: name.clone(), generation, before });
    }
    Ok(kept)
}

impl Kept {
    fn text(&self) -> String {
        let mut text = format!("public key  {}\naddress     {}\n", self.public_key, self.address);
        match &self.file {
            Some(file) => text.push_str(&format!("private key in {}\n", file.display())),
            None => {
                text.push_str("the process keeps the private key, and does not show it again\n")
            }
        }
        if let Some(Given { vswitch, generation, before }) = &self.given {
            text.push_str(&format!("vswitch {vswitch} has it from generation {generation} on\n"));
            if *before != self.public_key {
                text.push_str(&format!(
                    "its key was {before}; `switchyard keys remove {before}` forgets the private half of that\n"
                ));
            }
        }
        text
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    public_key: String,
    address: String,
    /// Who has it.
    vswitch: Option<String>,
}

fn rows(keys: &[String], status: &Status) -> Vec<Row> {
    let row = |key: &String| {
        let owner = status.vswitches.iter().find(|vswitch| vswitch.public_key == *key);
        Row {
            public_key: key.clone(),
            address: key
                .parse()
                .map_or_else(|_| String::new(), |key: PublicKey| key.address().to_string()),
            vswitch: owner.map(|vswitch| vswitch.name.clone()),
        }
    };
    keys.iter().map(row).collect()
}

fn list(rows: &[Row], output: OutputArgs, out: &mut dyn Write) -> Result<()> {
    if output.json {
        return print_json(out, &json!({ "keys": rows }));
    }
    let mut table =
        Table::new(&[("public key", Side::Left), ("address", Side::Left), ("vswitch", Side::Left)]);
    for row in rows {
        let vswitch = row.vswitch.clone().unwrap_or_else(|| "none".into());
        table.row(vec![row.public_key.clone(), row.address.clone(), vswitch]);
    }
    write!(out, "{table}")?;
    if rows.is_empty() { Ok(writeln!(out, "(none)")?) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_client::sample;

    const PRIVATE: &str = "362fdea918cefe8849a0464237a7e012da74165e32e4f6edb1ab5bc56050753c";
    const PUBLIC: &str = "lqjqj3njmggfnrb8dyxfcgdnylj1yz1dl1hr0180shynkv9wnwh0.k";

    #[test]
    fn a_generated_key_is_usable() {
        assert!(generate().public().is_usable());
    }

    #[test]
    fn what_is_said_of_a_key_does_not_hold_it() {
        let identity: Identity = PRIVATE.parse().unwrap();
        let mut kept = kept(&identity, None);
        kept.given = Some(Given {
            vswitch: "red".into(),
            generation: Generation(4),
            before: "before.k".into(),
        });
        let expected = format!(
            "\
public key  {PUBLIC}
address     {}
the process keeps the private key, and does not show it again
vswitch red has it from generation 4 on
its key was before.k; `switchyard keys remove before.k` forgets the private half of that
",
            identity.address()
        );
        assert_eq!(kept.text(), expected);
        assert!(!serde_json::to_string(&kept).unwrap().contains(PRIVATE));
    }

    #[test]
    fn keys_are_listed_with_who_has_them() {
        let mut status = sample::status(1);
        status.vswitches[1].public_key = PUBLIC.into();
        let rows = rows(&[PUBLIC.into(), "other.k".into()], &status);
        assert_eq!(rows[0].vswitch.as_deref(), Some("blue"));
        assert!(rows[0].address.starts_with("fc"));
        assert_eq!((rows[1].vswitch.as_ref(), rows[1].address.as_str()), (None, ""));
    }

    #[test]
    fn text_that_is_no_key_is_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "hunter2\n").unwrap();
        let args = KeysArgs {
            what: What::Import { from: path, vswitch: ForVswitch { vswitch: None } },
            process: ProcessArgs { socket: "/nonexistent".into() },
            output: OutputArgs { json: false },
        };
        let error = format!("{:#}", run(&args, &mut Vec::new()).unwrap_err());
        assert!(error.contains("64 hexadecimal digits") && !error.contains("hunter2"), "{error}");
    }
}
