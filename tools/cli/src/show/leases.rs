//! `show leases`.

use super::{Listing, View};
use crate::table::{Side, Table};
use crate::{names, units};
use anyhow::Result;
use clap::Args;
use dataplane_api::Direction;
use dataplane_api::status::{LeaseStatus, Volume};
use serde::Serialize;

#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only leases of this port
    #[arg(long)]
    port: Option<String>,
    /// Only leases with a vif of this vswitch
    #[arg(long)]
    vswitch: Option<String>,
}

#[derive(Serialize)]
struct Row {
    lease: u32,
    vifs: Vec<String>,
    port: String,
    direction: Direction,
    state: &'static str,
    #[serde(flatten)]
    status: LeaseStatus,
    /// Bits of wire a second that left in profile and above it, over the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Rates>,
}

#[derive(Clone, Copy, Serialize)]
struct Rates {
    guaranteed_bps: f64,
    priority_bps: f64,
    free_bps: f64,
}

/// `earlier`: at the beginning of the interval, where rates are wanted.
pub(super) fn list(
    view: &View<'_>,
    filter: &Filter,
    earlier: &[LeaseStatus],
    leases: Vec<LeaseStatus>,
) -> Result<Listing> {
    let status = &view.now.status;
    let port = filter.port.as_ref().map(|name| names::port_named(status, name)).transpose()?;
    let vswitch =
        filter.vswitch.as_ref().map(|name| names::vswitch_named(status, name)).transpose()?;
    let of_vswitch = |lease: &LeaseStatus| {
        let vswitch_of = |id| status.vifs.iter().find(|vif| vif.id == id).map(|vif| vif.vswitch);
        vswitch.is_none_or(|of| lease.vifs.iter().any(|vif| vswitch_of(*vif) == Some(of.id)))
    };
    let wanted = leases
        .into_iter()
        .filter(|lease| port.is_none_or(|port| port.id == lease.port) && of_vswitch(lease));
    let rows: Vec<Row> = wanted.map(|lease| row(view, earlier, lease)).collect();
    Listing::new("leases", &rows, table(&rows))
}

fn row(view: &View<'_>, earlier: &[LeaseStatus], lease: LeaseStatus) -> Row {
    let status = &view.now.status;
    let before = earlier.iter().find(|before| before.id == lease.id);
    let rates = before.zip(view.seconds).map(|(before, seconds)| {
        let recent = lease.totals.since(&before.totals);
        #[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
        let rate = |volume: Volume| volume.bytes as f64 * 8.0 / seconds;
        Rates {
            guaranteed_bps: rate(recent.guaranteed),
            priority_bps: rate(recent.priority),
            free_bps: rate(recent.free),
        }
    });
    Row {
        lease: lease.id,
        vifs: lease.vifs.iter().map(|vif| names::vif(status, *vif)).collect(),
        port: names::port(status, lease.port),
        direction: lease.direction,
        state: if lease.holds { "holds" } else { "does not hold now" },
        status: lease,
        rates,
    }
}

fn table(rows: &[Row]) -> Table {
    let timed = rows.iter().any(|row| row.rates.is_some());
    let mut columns = vec![
        ("lease", Side::Right),
        ("vifs", Side::Left),
        ("port", Side::Left),
        ("way", Side::Left),
        ("state", Side::Left),
        ("bit/s", Side::Right),
        ("burst", Side::Right),
        ("weight", Side::Right),
    ];
    let unit = if timed {
        ["guaranteed bit/s", "priority bit/s", "free bit/s"]
    } else {
        ["guaranteed", "priority", "free"]
    };
    columns.extend(unit.map(|name| (name, Side::Right)));
    columns.extend(["above ceiling", "no room", "99.9 % within"].map(|name| (name, Side::Right)));
    let mut table = Table::new(&columns);
    for row in rows {
        let (status, totals) = (&row.status, &row.status.totals);
        let mut cells = vec![
            row.lease.to_string(),
            row.vifs.join(" "),
            row.port.clone(),
            if row.direction == Direction::Out { "out" } else { "in" }.into(),
            row.state.into(),
            bits(status.rate),
            units::bytes(status.burst),
            bits(status.weight),
        ];
        cells.extend(match row.rates {
            Some(rates) => {
                [rates.guaranteed_bps, rates.priority_bps, rates.free_bps].map(units::rate)
            }
            None => [totals.guaranteed, totals.priority, totals.free]
                .map(|volume| units::bytes(volume.bytes)),
        });
        cells.extend(
            [totals.above_ceiling, totals.no_room].map(|volume| units::count(volume.packets)),
        );
        cells.push(totals.delay_within(0.999).map_or_else(|| "-".into(), units::nanos));
        table.row(cells);
    }
    table
}

/// Bits a second of a rate in bytes.
fn bits(rate: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bits = rate as f64 * 8.0;
    units::rate(bits)
}
