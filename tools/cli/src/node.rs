//! `node`: what a vswitch is to other nodes.

use crate::ProcessArgs;
use crate::connect::Process;
use crate::names;
use crate::output::{OutputArgs, print_json};
use crate::table::{Side, Table};
use anyhow::Result;
use clap::{Args, Subcommand};
use dataplane_api::Status;
use dataplane_api::status::RouterStatus;
use serde::Serialize;
use serde_json::json;
use std::io::Write;

/// Vswitches as nodes among nodes: their route servers and what they announce.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand, Debug)]
enum What {
    /// What vswitches announce, and to whom
    Announce {
        #[command(subcommand)]
        what: Announce,
    },
}

#[derive(Subcommand, Debug)]
enum Announce {
    /// Each vswitch's route server, the way to it, and how many links it knows of
    Status {
        /// Only this vswitch
        #[arg(long, value_name = "NAME")]
        vswitch: Option<String>,
    },
}

#[derive(Serialize)]
struct Row {
    vswitch: String,
    route_server: Option<String>,
    path: Option<String>,
    links_announced: u32,
    sessions: u32,
    nodes_served: u32,
    dropped: u64,
}

/// Runs the command.
pub(crate) fn run(args: &NodeArgs, out: &mut dyn Write) -> Result<()> {
    let What::Announce { what: Announce::Status { vswitch } } = &args.what;
    let mut process = Process::connect(&args.process)?;
    let status = process.status()?;
    let wanted = match vswitch {
        Some(name) => Some(names::vswitch_named(&status, name)?.id),
        None => None,
    };
    let routers = process.routers()?;
    let rows: Vec<Row> = routers
        .iter()
        .filter(|router| wanted.is_none_or(|wanted| wanted == router.vswitch))
        .map(|router| row(&status, router))
        .collect();
    if args.output.json {
        return print_json(out, &json!({ "routers": rows }));
    }
    let table = table(&rows);
    write!(out, "{table}")?;
    if table.is_empty() {
        writeln!(out, "(none: no vswitch has both a private key here and neighbours with keys)")?;
    }
    Ok(())
}

fn row(status: &Status, router: &RouterStatus) -> Row {
    Row {
        vswitch: names::vswitch(status, router.vswitch),
        route_server: router.route_server.clone(),
        path: router.path.clone(),
        links_announced: router.links_announced,
        sessions: router.sessions,
        nodes_served: router.nodes_served,
        dropped: router.dropped,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("vswitch", Side::Left),
        ("route server", Side::Left),
        ("path", Side::Left),
        ("links", Side::Right),
        ("sessions", Side::Right),
        ("serves", Side::Right),
        ("dropped", Side::Right),
    ]);
    for row in rows {
        let path = row.path.as_deref().and_then(|path| u64::from_str_radix(path, 16).ok());
        table.row(vec![
            row.vswitch.clone(),
            row.route_server.clone().unwrap_or_else(|| "none found".into()),
            path.map_or_else(String::new, |path| wire::label::Dotted(path).to_string()),
            row.links_announced.to_string(),
            row.sessions.to_string(),
            row.nodes_served.to_string(),
            row.dropped.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::VswitchId;

    #[test]
    fn a_router_is_a_row_with_and_without_a_route_server() {
        let status = dataplane_client::sample::status(1);
        let found = RouterStatus {
            vswitch: VswitchId(0),
            route_server: Some("key.k".into()),
            path: Some("0000000000000153".into()),
            links_announced: 3,
            ..RouterStatus::default()
        };
        let none = RouterStatus { vswitch: VswitchId(1), ..RouterStatus::default() };
        let text = table(&[row(&status, &found), row(&status, &none)]).to_string();
        assert!(text.contains("red") && text.contains("0000.0000.0000.0153"), "{text}");
        assert!(text.contains("blue") && text.contains("none found"), "{text}");
    }
}
