//! `show vswitches`.

use super::{Listing, View, rate_cells};
use crate::names;
use crate::table::{Side, Table};
use crate::units;
use anyhow::Result;
use clap::Args;
use dataplane_api::status::VswitchStatus;
use dataplane_client::snapshot::{Drops, Traffic, TrafficRates, per_second};
use serde::Serialize;

#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only this vswitch
    #[arg(long)]
    pub(crate) vswitch: Option<String>,
    /// Only vswitches of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<u32>,
}

impl Filter {
    fn passes(&self, vswitch: &VswitchStatus) -> bool {
        self.vswitch.as_ref().is_none_or(|name| *name == vswitch.name)
            && self.tenant.is_none_or(|tenant| tenant == vswitch.tenant)
    }
}

#[derive(Serialize)]
struct Row {
    vswitch: String,
    tenant: u32,
    address: String,
    public_key: String,
    scheme: String,
    /// Its private key is here.
    has_key: bool,
    /// It has links with keys, or listens for them.
    needs_key: bool,
    vifs: usize,
    #[serde(flatten)]
    traffic: Traffic,
    drops: Drops,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Rates>,
}

#[derive(Serialize)]
struct Rates {
    #[serde(flatten)]
    traffic: TrafficRates,
    drops: f64,
}

pub(super) fn list(view: &View<'_>, filter: &Filter) -> Result<Listing> {
    if let Some(name) = &filter.vswitch {
        names::vswitch_named(&view.now.status, name)?;
    }
    let vswitches = view.now.status.vswitches.iter().zip(&view.now.vswitches);
    let wanted = vswitches.filter(|(vswitch, _)| filter.passes(vswitch));
    let rows: Vec<Row> = wanted.map(|(vswitch, drops)| row(view, vswitch, drops)).collect();
    Listing::new("vswitches", &rows, table(&rows))
}

fn row(view: &View<'_>, vswitch: &VswitchStatus, drops: &Drops) -> Row {
    let traffic = view.now.traffic_of(|id| id == vswitch.id);
    let rates = view.rates().map(|(earlier, seconds)| Rates {
        traffic: traffic.rates(&earlier.traffic_of(|id| id == vswitch.id), seconds),
        drops: per_second(
            earlier.vswitch_drops(vswitch.id).map_or(0, Drops::total),
            drops.total(),
            seconds,
        ),
    });
    Row {
        vswitch: vswitch.name.clone(),
        tenant: vswitch.tenant,
        address: vswitch.address.clone(),
        public_key: vswitch.public_key.clone(),
        scheme: vswitch.scheme.clone(),
        has_key: vswitch.has_key,
        needs_key: vswitch.needs_key,
        vifs: view.now.status.vifs.iter().filter(|vif| vif.vswitch == vswitch.id).count(),
        traffic,
        drops: drops.clone(),
        rates,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut columns = vec![
        ("vswitch", Side::Left),
        ("tenant", Side::Right),
        ("address", Side::Left),
        ("scheme", Side::Left),
        ("private key", Side::Left),
        ("vifs", Side::Right),
    ];
    columns.extend_from_slice(if rows.iter().any(|row| row.rates.is_some()) {
        &[
            ("rx pkt/s", Side::Right),
            ("rx bit/s", Side::Right),
            ("tx pkt/s", Side::Right),
            ("tx bit/s", Side::Right),
            ("drop/s", Side::Right),
        ]
    } else {
        &[("rx", Side::Right), ("tx", Side::Right), ("drops", Side::Right)]
    });
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![
            row.vswitch.clone(),
            row.tenant.to_string(),
            row.address.clone(),
            row.scheme.clone(),
            private_key(row).into(),
            row.vifs.to_string(),
        ];
        if let Some(rates) = &row.rates {
            cells.extend(rate_cells(&rates.traffic));
            cells.push(units::rate(rates.drops));
        } else {
            cells.extend(
                [row.traffic.rx_packets, row.traffic.tx_packets, row.drops.total()]
                    .map(units::count),
            );
        }
        table.row(cells);
    }
    table
}

/// Whether links with keys can come up.
const fn private_key(row: &Row) -> &'static str {
    match (row.has_key, row.needs_key) {
        (true, _) => "here",
        (false, true) => "MISSING",
        (false, false) => "not needed",
    }
}
