//! `drain`: empty a port or a vswitch before maintenance, and see what is left on it.

use super::ControlArgs;
use super::client::{Client, Request};
use super::list::{Column, Form, items_at, table};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};
use std::io::Write;

/// Empty a port or a vswitch before maintenance: nothing new goes there, and what is left is shown
#[derive(Args, Debug)]
pub(crate) struct DrainArgs {
    /// Name of the port or vswitch; without one, what is being emptied
    name: Option<String>,
    /// What it is, if a port and a vswitch have that name
    #[arg(long, requires = "name")]
    kind: Option<Kind>,
    /// Let things go there again
    #[arg(long, requires = "name", conflicts_with = "look")]
    off: bool,
    /// Only show what is there
    #[arg(long, requires = "name")]
    look: bool,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Port,
    Vswitch,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Vswitch => "vswitch",
        }
    }
}

const DRAINS: [Column; 2] = [("kind", "/kind", Form::Text), ("name", "/name", Form::Text)];
const LEASES: [Column; 2] = [("lease", "/id", Form::Text), ("until", "/end", Form::Instant)];
const VSWITCHES: [Column; 2] = [("vswitch", "/name", Form::Text), ("vifs", "/vifs", Form::Count)];

/// Runs the command.
pub(crate) fn run(args: &DrainArgs, out: &mut dyn Write) -> Result<()> {
    let (control, client) = (&args.control, args.control.client()?);
    let Some(name) = &args.name else {
        let drains = client.get(&["drains"])?;
        let none = "nothing is being emptied";
        return control.print(out, &drains, |it| table(&DRAINS, items_at(it, "/drains"), none));
    };
    let kind = match args.kind {
        Some(kind) => kind,
        None => kind(&client, name)?,
    };
    let method = match (args.look, args.off) {
        (true, _) => Method::GET,
        (false, true) => Method::DELETE,
        (false, false) => Method::PUT,
    };
    let left = client.ask(Request::new(method, &["drains", kind.name(), name]))?.json()?;
    control.print(out, &left, |left| shown(kind, name, left))
}

/// Ports are the dataplane's, vswitches the configuration's.
fn kind(client: &Client, name: &str) -> Result<Kind> {
    let ports = client.get(&["status"])?;
    let is_port = ports.pointer("/ports").and_then(|ports| ports.get(name)).is_some();
    let tree = client.get(&["config"])?;
    let has = |table: &str| tree.get(table).and_then(|table| table.get(name)).is_some();
    match (is_port || has("port"), has("vswitch")) {
        (true, false) => Ok(Kind::Port),
        (false, true) => Ok(Kind::Vswitch),
        (true, true) => bail!("{name} is a port and a vswitch: say --kind"),
        (false, false) => bail!("{name}: there is no port and no vswitch of that name"),
    }
}

fn shown(kind: Kind, name: &str, left: &Value) -> String {
    let is_on = left.get("is_on") == Some(&json!(true));
    let state = if is_on { "is being emptied" } else { "takes what comes" };
    let (leases, vswitches) = (items_at(left, "/leases"), items_at(left, "/vswitches"));
    let mut text = format!("{} {name} {state}\n", kind.name());
    if leases.is_empty() && vswitches.is_empty() {
        return text + "nothing is left there\n";
    }
    if !leases.is_empty() {
        text += &table(&LEASES, leases, "");
    }
    if !vswitches.is_empty() {
        text += &table(&VSWITCHES, vswitches, "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_shown() {
        let left = json!({"is_on": true, "leases": [{"id": 3, "end": 0}],
            "vswitches": [{"name": "red", "vifs": 2}]});
        let expected = "\
port west is being emptied
lease  until
3      1970-01-01 00:00:00Z
vswitch  vifs
red         2
";
        assert_eq!(shown(Kind::Port, "west", &left), expected);
        let none = json!({"is_on": false, "leases": [], "vswitches": []});
        let expected = "vswitch red takes what comes\nnothing is left there\n";
        assert_eq!(shown(Kind::Vswitch, "red", &none), expected);
    }
}
