//! `show links`: vifs with a neighbour behind them.

use super::vifs::{rates, traffic_columns};
use super::{Listing, View, rate_cells};
use crate::table::{Side, Table};
use crate::{names, units};
use anyhow::Result;
use dataplane_api::status::{LinkStatus, VifStatus};
use dataplane_api::{PortId, VifId};
use dataplane_client::snapshot::{Numbering, Traffic, TrafficRates};
use serde::Serialize;
use std::collections::BTreeMap;

pub(crate) use super::vifs::Filter;

/// Digits of a key that tell it from others at a glance.
const KEY_SHOWN: usize = 8;

#[derive(Serialize)]
struct Row {
    vif: String,
    port: String,
    worker: Option<u8>,
    resolved: bool,
    link: String,
    #[serde(flatten)]
    traffic: Traffic,
    /// `None`: a plain link.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<TrafficRates>,
}

#[derive(Serialize)]
struct Session {
    kind: String,
    state: String,
    version: Option<u32>,
    rtt_ns: Option<u64>,
    /// Time since an authentic packet came.
    silent_ns: Option<u64>,
    /// Sessions that came up so far.
    sessions: u64,
    user: Option<String>,
    key: String,
    /// The neighbour came by itself.
    learned: bool,
    #[serde(flatten)]
    numbering: Numbering,
    /// Share that was lost on the way here: over the interval, or since the vif is there.
    loss: Option<f64>,
}

pub(super) fn list(view: &View<'_>, filter: &Filter, links: &[LinkStatus]) -> Result<Listing> {
    let status = &view.now.status;
    filter.check(status)?;
    let with_keys: BTreeMap<VifId, &LinkStatus> =
        links.iter().map(|link| (link.vif, link)).collect();
    let vifs = status.vifs.iter().zip(view.now.vifs.iter().zip(&view.now.numberings));
    let wanted = vifs.filter(|(vif, _)| filter.passes(status, vif));
    // The end of a cable is on no port.
    let rows = wanted.filter_map(|(vif, (traffic, numbering))| {
        let session = with_keys.get(&vif.id).map(|link| session(view, link, numbering));
        Some(row(view, vif, vif.port?, traffic, session))
    });
    let rows: Vec<Row> = rows.collect();
    Listing::new("links", &rows, table(&rows))
}

fn row(
    view: &View<'_>,
    vif: &VifStatus,
    port: PortId,
    traffic: &Traffic,
    session: Option<Session>,
) -> Row {
    Row {
        vif: names::vif(&view.now.status, vif.id),
        port: names::port(&view.now.status, port),
        worker: vif.owner.map(|worker| worker.0),
        resolved: vif.resolved,
        link: vif.link.clone(),
        traffic: *traffic,
        session,
        rates: rates(view, vif, traffic),
    }
}

fn session(view: &View<'_>, link: &LinkStatus, numbering: &Numbering) -> Session {
    let earlier = view.rates().and_then(|(earlier, _)| earlier.numbering(link.vif));
    let recent = earlier.map_or(*numbering, |earlier| numbering.since(earlier));
    Session {
        kind: link.kind.clone(),
        state: link.state.clone(),
        version: Some(link.version).filter(|version| *version > 0),
        rtt_ns: link.rtt_ns,
        silent_ns: link.heard_ns,
        sessions: link.sessions,
        user: link.user.clone(),
        key: link.key.clone(),
        learned: link.learned,
        numbering: *numbering,
        loss: recent.loss(),
    }
}

fn table(rows: &[Row]) -> Table {
    let keys = rows.iter().any(|row| row.session.is_some());
    let rates = rows.iter().any(|row| row.rates.is_some());
    let mut columns = vec![
        ("vif", Side::Left),
        ("port", Side::Left),
        ("worker", Side::Right),
        ("next hop", Side::Left),
        ("link", Side::Left),
    ];
    if keys {
        columns.extend([
            ("kind", Side::Left),
            ("state", Side::Left),
            ("version", Side::Right),
            ("rtt", Side::Right),
            ("silent", Side::Right),
            ("loss", Side::Right),
        ]);
    }
    if rates {
        columns.extend_from_slice(traffic_columns(true));
    } else {
        columns.extend(["rx", "rx bytes", "tx", "tx bytes"].map(|name| (name, Side::Right)));
    }
    if keys {
        columns.push(("who", Side::Left));
    }
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![
            row.vif.clone(),
            row.port.clone(),
            row.worker.map_or_else(|| "none".into(), |worker| worker.to_string()),
            if row.resolved { "known" } else { "unresolved" }.into(),
            row.link.clone(),
        ];
        if keys {
            cells.extend(session_cells(row.session.as_ref()));
        }
        cells.extend(traffic_cells(&row.traffic, row.rates.as_ref()));
        cells.extend(row.session.as_ref().map(who));
        table.row(cells);
    }
    table
}

fn session_cells(session: Option<&Session>) -> [String; 6] {
    let Some(session) = session else {
        return ["plain", "", "", "", "", ""].map(str::to_owned);
    };
    let nanos = |value: Option<u64>| value.map(units::nanos).unwrap_or_default();
    [
        session.kind.clone(),
        session.state.clone(),
        session.version.map(|version| version.to_string()).unwrap_or_default(),
        nanos(session.rtt_ns),
        nanos(session.silent_ns),
        session.loss.map(units::percent).unwrap_or_default(),
    ]
}

fn traffic_cells(traffic: &Traffic, rates: Option<&TrafficRates>) -> [String; 4] {
    let totals = || {
        [
            units::count(traffic.rx_packets),
            units::bytes(traffic.rx_bytes),
            units::count(traffic.tx_packets),
            units::bytes(traffic.tx_bytes),
        ]
    };
    rates.map_or_else(totals, rate_cells)
}

/// The login, where it came by one, and the beginning of the key.
fn who(session: &Session) -> String {
    let key: String = session.key.chars().take(KEY_SHOWN).collect();
    session.user.as_ref().map_or_else(|| format!("{key}…"), |user| format!("{user} {key}…"))
}
