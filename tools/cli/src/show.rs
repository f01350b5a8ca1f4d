//! `show`: what the process is and does, once.
//!
//! Each kind of thing is a list of rows, made from one snapshot (and an earlier one, where rates are wanted). A row
//! is what `--json` prints; the table is drawn from the same rows.

mod drops;
mod leases;
mod links;
mod policy;
mod ports;
mod receipts;
mod vifs;
mod vswitches;
mod workers;

use crate::ProcessArgs;
use crate::connect::Process;
use crate::output::{OutputArgs, print_json};
use crate::table::Table;
use crate::units;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use dataplane_client::snapshot::{Snapshot, TrafficRates};
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// Show ports, vswitches, vifs, links, leases, policy, receipts, drops, workers or the spec.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(subcommand)]
    what: What,
    /// Also show rates, measured over this many seconds
    #[arg(long, global = true, value_name = "SECONDS")]
    interval: Option<f64>,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Network devices: state, traffic, drops before a vswitch was known
    Ports(ports::Filter),
    /// Virtual switches: whose, scheme, traffic, drops
    Vswitches(vswitches::Filter),
    /// Interfaces of vswitches: number, role, one-hop label, traffic
    Vifs(vifs::Filter),
    /// Neighbours: address, port, state of the session, round trip, loss, who
    Links(links::Filter),
    /// Leases: what they guarantee, what left by them, how long it waited
    Leases(leases::Filter),
    /// Which ways through vswitches are open, from role to role
    Policy(vswitches::Filter),
    /// Receipts of leases: what each gave in a minute, chained and signed
    Receipts(receipts::Filter),
    /// Drops by reason, and what each means
    Drops(drops::Filter),
    /// Worker threads: core, load, frames
    Workers,
    /// The spec in force, as TOML; passwords are left out
    Spec {
        /// With the passwords, for `apply`
        #[arg(long)]
        secrets: bool,
    },
}

/// Runs the command.
pub(crate) fn run(args: &ShowArgs, out: &mut dyn Write) -> Result<()> {
    let mut process = Process::connect(&args.process)?;
    if let What::Spec { secrets } = args.what {
        let spec = process.spec()?;
        let spec = if secrets { spec } else { spec.without_secrets() };
        if args.output.json {
            return print_json(out, &spec);
        }
        let text = toml::to_string(&spec)
            .context("the spec of the running process cannot be written as TOML")?;
        return Ok(write!(out, "{text}")?);
    }
    let compares_leases = matches!(args.what, What::Leases(_)) && args.interval.is_some();
    let leases_before = if compares_leases { process.leases()? } else { Vec::new() };
    let earlier = args.interval.map(|seconds| wait_out(&mut process, seconds)).transpose()?;
    let now = process.snapshot()?;
    let view = View::new(&now, earlier.as_ref());
    let listing = match &args.what {
        What::Ports(filter) => ports::list(&view, filter)?,
        What::Vswitches(filter) => vswitches::list(&view, filter)?,
        What::Vifs(filter) => vifs::list(&view, filter)?,
        What::Links(filter) => links::list(&view, filter, &process.links()?)?,
        What::Leases(filter) => leases::list(&view, filter, &leases_before, process.leases()?)?,
        What::Policy(filter) => {
            let (spec, status) = (process.spec()?, process.status()?);
            let is_told = |vswitch: &str, number| policy::is_told(&status, vswitch, number);
            policy::list(&spec, &is_told, filter)?
        }
        What::Receipts(filter) => receipts::list(&process.receipts(filter.after, filter.lease)?)?,
        What::Drops(filter) => drops::list(&view, filter)?,
        What::Workers | What::Spec { .. } => workers::list(&view),
    };
    if args.output.json {
        return print_json(out, &json!({ listing.name: listing.rows, "seconds": view.seconds }));
    }
    write!(out, "{}", listing.table)?;
    if listing.table.is_empty() {
        writeln!(out, "(none)")?;
    }
    Ok(())
}

fn wait_out(process: &mut Process, seconds: f64) -> Result<Snapshot> {
    let interval = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    ensure!(!interval.is_zero(), "--interval {seconds}: give a time above 0 seconds");
    let snapshot = process.snapshot()?;
    std::thread::sleep(interval);
    Ok(snapshot)
}

/// What rows are made from.
pub(crate) struct View<'a> {
    now: &'a Snapshot,
    earlier: Option<&'a Snapshot>,
    /// From `earlier` to `now`; `None`: no rates.
    seconds: Option<f64>,
}

impl<'a> View<'a> {
    fn new(now: &'a Snapshot, earlier: Option<&'a Snapshot>) -> Self {
        let seconds = earlier.and_then(|earlier| now.seconds_since(earlier));
        Self { now, earlier: earlier.filter(|_| seconds.is_some()), seconds }
    }

    /// The earlier snapshot and the seconds since it, where rates are wanted.
    fn rates(&self) -> Option<(&'a Snapshot, f64)> {
        self.earlier.zip(self.seconds)
    }
}

/// Rows of one kind, both ways.
struct Listing {
    /// Key of the rows in JSON.
    name: &'static str,
    rows: serde_json::Value,
    table: Table,
}

impl Listing {
    fn new(name: &'static str, rows: &impl Serialize, table: Table) -> Result<Self> {
        Ok(Self { name, rows: serde_json::to_value(rows)?, table })
    }
}

/// Cells for traffic rates: packets and bits, in and out.
fn rate_cells(rates: &TrafficRates) -> [String; 4] {
    [
        units::rate(rates.rx_pps),
        units::rate(rates.rx_bps),
        units::rate(rates.tx_pps),
        units::rate(rates.tx_bps),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_client::sample;

    fn listing(make: impl Fn(&View<'_>) -> Listing, rates: bool) -> Listing {
        let (earlier, now) = (sample::snapshot(1), sample::snapshot(3));
        make(&View::new(&now, rates.then_some(&earlier)))
    }

    #[test]
    fn ports_show_their_state_and_what_was_lost() {
        let table = listing(|view| ports::list(view, &ports::Filter::default()).unwrap(), false)
            .table
            .to_string();
        let expected = "\
port  state   mtu  backend             queues         rx     tx  drops  kernel drops
west  up     1500  af_xdp native copy  0→worker 0  3 000      0     15             6
east  up     1500  af_xdp native copy  0→worker 1      0  1 650      0             0
";
        assert_eq!(table, expected);
    }

    #[test]
    fn rates_take_the_place_of_totals_in_the_table_and_stand_beside_them_in_json() {
        let listing = listing(|view| ports::list(view, &ports::Filter::default()).unwrap(), true);
        let expected = "\
port  state   mtu  backend             queues      rx pkt/s  rx bit/s  tx pkt/s  tx bit/s  drop/s  kernel drop/s
west  up     1500  af_xdp native copy  0→worker 0    1.00 k     800 k         0         0       5              2
east  up     1500  af_xdp native copy  0→worker 1         0         0       550         0       0              0
";
        assert_eq!(listing.table.to_string(), expected);
        assert_eq!(listing.rows[0]["rx_frames"], 3000);
        assert_eq!(listing.rows[0]["rates"]["rx_pps"], 1000.0);
        assert_eq!(listing.rows[0]["drops"]["unknown_link"], 15);
    }

    #[test]
    fn vswitches_show_whose_they_are_and_their_drops() {
        let filter = vswitches::Filter::default();
        let table =
            listing(|view| vswitches::list(view, &filter).unwrap(), false).table.to_string();
        let expected = "\
vswitch  tenant  address  scheme  private key  vifs     rx     tx  drops
red           1  fc00::0  v358    not needed      3  1 800  1 650      0
blue          2  fc00::1  v48     MISSING         2      0      0    120
";
        assert_eq!(table, expected);
    }

    #[test]
    fn vifs_show_the_label_that_names_them() {
        let filter = vifs::Filter { vswitch: Some("red".into()), ..vifs::Filter::default() };
        let table = listing(|view| vifs::list(view, &filter).unwrap(), false).table.to_string();
        let expected = "\
vif    role      label                 mtu  behind it                           rx     tx
red:2  customer  0000.0000.0000.0015  1480  ethernet west 02:00:00:00:00:02  1 800      0
red:3  customer  0000.0000.0000.0017  1480  ethernet east 02:00:00:00:00:03      0  1 650
red:4  customer  0000.0000.0000.0019  1480  cable to blue:4                      0      0
";
        assert_eq!(table, expected);
    }

    #[test]
    fn links_leave_out_cables() {
        let filter = links::Filter { port: Some("west".into()), ..links::Filter::default() };
        let table =
            listing(|view| links::list(view, &filter, &[]).unwrap(), false).table.to_string();
        let expected = "\
vif     port  worker  next hop  link                                rx  rx bytes  tx  tx bytes
red:2   west       0  known     ethernet west 02:00:00:00:00:02  1 800    180 kB   0       0 B
blue:5  west       0  known     udp 192.0.2.1:4000                   0       0 B   0       0 B
";
        assert_eq!(table, expected);
    }

    #[test]
    fn links_with_keys_show_their_session_and_who_is_there() {
        let filter = links::Filter { port: Some("west".into()), ..links::Filter::default() };
        let one = listing(|view| links::list(view, &filter, &sample::links()).unwrap(), true);
        let expected = "\
vif     port  worker  next hop  link                             kind         state        version      rtt  silent    loss  rx pkt/s  rx bit/s  tx pkt/s  tx bit/s  who
red:2   west       0  known     ethernet west 02:00:00:00:00:02  plain                                                            600     480 k         0         0
blue:5  west       0  known     udp 192.0.2.1:4000               crypto_auth  ESTABLISHED       22  1.23 ms  400 ms  10.0 %         0         0         0         0  alice lqjqj3nj…
";
        assert_eq!(one.table.to_string(), expected);
        let session = &one.rows[1]["session"];
        assert_eq!(session["key"], sample::links()[0].key);
        assert_eq!((&session["opened"], &session["skipped"]), (&270.into(), &36.into()));
        assert!(one.rows[0].get("session").is_none());
    }

    #[test]
    fn drops_say_why() {
        let listing = listing(|view| drops::list(view, &drops::Filter::default()).unwrap(), true);
        let expected = "\
where         reason        drops  drop/s  meaning
port west     unknown_link     15       5  the vswitch has no link with this source address
vswitch blue  policy          120      40  the vswitch's class matrix does not let this ingress role reach this egress role
";
        assert_eq!(listing.table.to_string(), expected);
        assert_eq!(listing.rows[1]["where"], "vswitch blue");
        assert_eq!(listing.rows[1]["per_second"], 40.0);
    }

    #[test]
    fn drops_are_filtered_by_place_and_reason() {
        let filter = drops::Filter {
            reason: Some(dataplane_api::DropReason::Policy),
            ..drops::Filter::default()
        };
        let one = listing(|view| drops::list(view, &filter).unwrap(), false);
        assert_eq!(one.rows.as_array().unwrap().len(), 1);
        let filter = drops::Filter { vswitch: Some("red".into()), ..drops::Filter::default() };
        assert!(listing(|view| drops::list(view, &filter).unwrap(), false).table.is_empty());
    }

    #[test]
    fn workers_show_how_busy_they_are() {
        let listing = listing(workers::list, false);
        let expected = "\
worker  core  generation  busy    sleeps  handed off  taken over  punted  injected  frames free  frames queued
0       1              3  75.0 %       0           0           0       0         0        4 000              0
1       2              3  75.0 %       0           0           0       0         0        4 000              0
";
        assert_eq!(listing.table.to_string(), expected);
        assert_eq!(listing.rows[0]["rounds"], 300);
    }

    #[test]
    fn a_wrong_filter_is_refused_rather_than_showing_nothing() {
        let (now, filter) =
            (sample::snapshot(1), vifs::Filter { vswitch: Some("x".into()), ..Default::default() });
        assert!(vifs::list(&View::new(&now, None), &filter).is_err());
    }
}
