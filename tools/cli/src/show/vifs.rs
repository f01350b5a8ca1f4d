//! `show vifs`.

use super::{Listing, View, rate_cells};
use crate::names;
use crate::table::{Side, Table};
use crate::units;
use anyhow::Result;
use clap::Args;
use dataplane_api::Status;
use dataplane_api::status::VifStatus;
use dataplane_client::snapshot::{Traffic, TrafficRates};
use serde::Serialize;

#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only vifs of this vswitch
    #[arg(long)]
    pub(crate) vswitch: Option<String>,
    /// Only vifs whose link is on this port
    #[arg(long)]
    pub(crate) port: Option<String>,
}

impl Filter {
    /// Refuses names that the process does not have.
    pub(super) fn check(&self, status: &Status) -> Result<()> {
        if let Some(name) = &self.vswitch {
            names::vswitch_named(status, name)?;
        }
        if let Some(name) = &self.port {
            names::port_named(status, name)?;
        }
        Ok(())
    }

    pub(super) fn passes(&self, status: &Status, vif: &VifStatus) -> bool {
        self.vswitch.as_ref().is_none_or(|name| *name == names::vswitch(status, vif.vswitch))
            && self
                .port
                .as_ref()
                .is_none_or(|name| vif.port.is_some_and(|port| *name == names::port(status, port)))
    }
}

#[derive(Serialize)]
struct Row {
    vif: String,
    vswitch: String,
    number: u16,
    role: String,
    label: String,
    mtu: u32,
    link: String,
    #[serde(flatten)]
    traffic: Traffic,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<TrafficRates>,
}

pub(super) fn list(view: &View<'_>, filter: &Filter) -> Result<Listing> {
    let status = &view.now.status;
    filter.check(status)?;
    let vifs = status.vifs.iter().zip(&view.now.vifs).filter(|(vif, _)| filter.passes(status, vif));
    let rows: Vec<Row> = vifs.map(|(vif, traffic)| row(view, vif, traffic)).collect();
    Listing::new("vifs", &rows, table(&rows))
}

fn row(view: &View<'_>, vif: &VifStatus, traffic: &Traffic) -> Row {
    let status = &view.now.status;
    Row {
        vif: names::vif(status, vif.id),
        vswitch: names::vswitch(status, vif.vswitch),
        number: vif.number,
        role: vif.role.clone(),
        label: dotted(&vif.label),
        mtu: vif.mtu,
        link: vif.link.clone(),
        traffic: *traffic,
        rates: rates(view, vif, traffic),
    }
}

/// Rates of a vif; one that was not there before has none.
pub(super) fn rates(view: &View<'_>, vif: &VifStatus, traffic: &Traffic) -> Option<TrafficRates> {
    let (earlier, seconds) = view.rates()?;
    Some(traffic.rates(earlier.vif(vif.id)?, seconds))
}

/// The status writes labels as 16 digits; people read them in groups.
fn dotted(label: &str) -> String {
    label
        .parse::<crate::label::Label>()
        .map_or_else(|_| label.to_owned(), |label| label.to_string())
}

fn table(rows: &[Row]) -> Table {
    let mut columns = vec![
        ("vif", Side::Left),
        ("role", Side::Left),
        ("label", Side::Left),
        ("mtu", Side::Right),
        ("behind it", Side::Left),
    ];
    columns.extend_from_slice(traffic_columns(rows.iter().any(|row| row.rates.is_some())));
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![
            row.vif.clone(),
            row.role.clone(),
            row.label.clone(),
            row.mtu.to_string(),
            row.link.clone(),
        ];
        cells.extend(traffic_cells(&row.traffic, row.rates.as_ref()));
        table.row(cells);
    }
    table
}

/// Headings for a vif's or link's traffic.
pub(super) const fn traffic_columns(rates: bool) -> &'static [(&'static str, Side)] {
    if rates {
        &[
            ("rx pkt/s", Side::Right),
            ("rx bit/s", Side::Right),
            ("tx pkt/s", Side::Right),
            ("tx bit/s", Side::Right),
        ]
    } else {
        &[("rx", Side::Right), ("tx", Side::Right)]
    }
}

/// Cells under [`traffic_columns`].
pub(super) fn traffic_cells(traffic: &Traffic, rates: Option<&TrafficRates>) -> Vec<String> {
    rates.map_or_else(
        || [traffic.rx_packets, traffic.tx_packets].map(units::count).to_vec(),
        |rates| rate_cells(rates).to_vec(),
    )
}
