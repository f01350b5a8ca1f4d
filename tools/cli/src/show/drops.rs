//! `show drops`: where packets were dropped, why, and what that means.

use super::{Listing, View};
use crate::names;
use crate::table::{Side, Table};
use crate::{units, why};
use anyhow::Result;
use clap::Args;
use dataplane_api::DropReason;
use dataplane_client::snapshot::{Drops, PortTotals, Snapshot, per_second};
use serde::Serialize;

#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only drops charged to this vswitch
    #[arg(long, conflicts_with = "port")]
    pub(crate) vswitch: Option<String>,
    /// Only drops charged to this port: the packet's vswitch was not known
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// Only this reason
    #[arg(long, value_parser = why::parse)]
    pub(crate) reason: Option<DropReason>,
}

#[derive(Serialize)]
struct Row {
    #[serde(rename = "where")]
    place: String,
    reason: DropReason,
    drops: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
    meaning: &'static str,
}

pub(super) fn list(view: &View<'_>, filter: &Filter) -> Result<Listing> {
    let status = &view.now.status;
    if let Some(name) = &filter.vswitch {
        names::vswitch_named(status, name)?;
    }
    if let Some(name) = &filter.port {
        names::port_named(status, name)?;
    }
    let mut rows = Vec::new();
    let ports = status.ports.iter().zip(&view.now.ports);
    for (port, totals) in
        ports.filter(|(port, _)| wanted(filter.port.as_ref(), filter.vswitch.as_ref(), &port.name))
    {
        let before = |earlier: &Snapshot| {
            earlier.port(port.id).map(|totals: &PortTotals| totals.drops.clone())
        };
        append(&mut rows, view, filter, &format!("port {}", port.name), &totals.drops, before);
    }
    let vswitches = status.vswitches.iter().zip(&view.now.vswitches);
    for (vswitch, drops) in vswitches
        .filter(|(vswitch, _)| wanted(filter.vswitch.as_ref(), filter.port.as_ref(), &vswitch.name))
    {
        let before = |earlier: &Snapshot| earlier.vswitch_drops(vswitch.id).cloned();
        append(&mut rows, view, filter, &format!("vswitch {}", vswitch.name), drops, before);
    }
    Listing::new("drops", &rows, table(&rows, view.seconds.is_some()))
}

/// Whether a place of one kind is wanted: it is the one named, or nothing of either kind was named.
fn wanted(named: Option<&String>, other_kind: Option<&String>, name: &str) -> bool {
    named.map_or_else(|| other_kind.is_none(), |named| named == name)
}

fn append(
    rows: &mut Vec<Row>,
    view: &View<'_>,
    filter: &Filter,
    place: &str,
    drops: &Drops,
    before: impl Fn(&Snapshot) -> Option<Drops>,
) {
    let before =
        view.rates().map(|(earlier, seconds)| (before(earlier).unwrap_or_default(), seconds));
    for (reason, n) in
        drops.nonzero().filter(|(reason, _)| filter.reason.is_none_or(|wanted| wanted == *reason))
    {
        rows.push(Row {
            place: place.to_owned(),
            reason,
            drops: n,
            per_second: before
                .as_ref()
                .map(|(before, seconds)| per_second(before.of(reason), n, *seconds)),
            meaning: why::sentence(reason),
        });
    }
}

fn table(rows: &[Row], rates: bool) -> Table {
    let mut columns = vec![("where", Side::Left), ("reason", Side::Left), ("drops", Side::Right)];
    if rates {
        columns.push(("drop/s", Side::Right));
    }
    columns.push(("meaning", Side::Left));
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![row.place.clone(), row.reason.to_string(), units::count(row.drops)];
        cells.extend(row.per_second.map(units::rate));
        cells.push(row.meaning.to_owned());
        table.row(cells);
    }
    table
}
