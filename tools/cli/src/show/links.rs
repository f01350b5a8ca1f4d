//! `show links`: vifs with a neighbour behind them.

use super::vifs::{rates, traffic_cells, traffic_columns};
use super::{Listing, View};
use crate::names;
use crate::snapshot::{Traffic, TrafficRates};
use crate::table::{Side, Table};
use anyhow::Result;
use dataplane_api::PortId;
use dataplane_api::status::VifStatus;
use serde::Serialize;

pub(crate) use super::vifs::Filter;

#[derive(Serialize)]
struct Row {
    vif: String,
    port: String,
    worker: Option<u8>,
    resolved: bool,
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
    // The end of a cable is on no port.
    let links = vifs.filter_map(|(vif, traffic)| Some(row(view, vif, vif.port?, traffic)));
    let rows: Vec<Row> = links.collect();
    Listing::new("links", &rows, table(&rows))
}

fn row(view: &View<'_>, vif: &VifStatus, port: PortId, traffic: &Traffic) -> Row {
    Row {
        vif: names::vif(&view.now.status, vif.id),
        port: names::port(&view.now.status, port),
        worker: vif.owner.map(|worker| worker.0),
        resolved: vif.resolved,
        link: vif.link.clone(),
        traffic: *traffic,
        rates: rates(view, vif, traffic),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut columns = vec![
        ("vif", Side::Left),
        ("port", Side::Left),
        ("worker", Side::Right),
        ("next hop", Side::Left),
        ("link", Side::Left),
    ];
    columns.extend_from_slice(traffic_columns(rows.iter().any(|row| row.rates.is_some())));
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![
            row.vif.clone(),
            row.port.clone(),
            row.worker.map_or_else(|| "none".into(), |worker| worker.to_string()),
            if row.resolved { "known" } else { "unresolved" }.into(),
            row.link.clone(),
        ];
        cells.extend(traffic_cells(&row.traffic, row.rates.as_ref()));
        table.row(cells);
    }
    table
}
