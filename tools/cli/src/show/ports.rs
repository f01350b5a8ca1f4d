//! `show ports`.

use super::{Listing, View, rate_cells};
use crate::names;
use crate::table::{Side, Table};
use crate::units;
use anyhow::Result;
use clap::Args;
use dataplane_api::counters::PortCounter;
use dataplane_client::snapshot::{Drops, Traffic, TrafficRates, per_second};
use serde::Serialize;

#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only this port
    #[arg(long)]
    pub(crate) port: Option<String>,
}

#[derive(Serialize)]
struct Row {
    port: String,
    up: bool,
    mtu: u32,
    backend: String,
    queues: Vec<Queue>,
    steering: String,
    rx_frames: u64,
    rx_bytes: u64,
    tx_frames: u64,
    tx_bytes: u64,
    tx_pending: u64,
    tx_kicks: u64,
    punted: u64,
    drops: Drops,
    kernel: Kernel,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Rates>,
}

#[derive(Serialize)]
struct Queue {
    queue: u32,
    worker: u8,
}

#[derive(Serialize)]
struct Kernel {
    drops: u64,
    rx_dropped: u64,
    rx_ring_full: u64,
    rx_invalid: u64,
    tx_invalid: u64,
    fill_empty: u64,
}

#[derive(Serialize)]
struct Rates {
    #[serde(flatten)]
    traffic: TrafficRates,
    drops: f64,
    kernel_drops: f64,
}

pub(super) fn list(view: &View<'_>, filter: &Filter) -> Result<Listing> {
    if let Some(name) = &filter.port {
        names::port_named(&view.now.status, name)?;
    }
    let rows = rows(view, filter);
    Listing::new("ports", &rows, table(&rows))
}

fn rows(view: &View<'_>, filter: &Filter) -> Vec<Row> {
    let ports = view.now.status.ports.iter().zip(&view.now.ports);
    let wanted =
        ports.filter(|(port, _)| filter.port.as_ref().is_none_or(|name| *name == port.name));
    let row = |(port, totals): (
        &dataplane_api::status::PortStatus,
        &dataplane_client::snapshot::PortTotals,
    )| {
        let traffic = traffic(totals);
        let rates = view.rates().and_then(|(earlier, seconds)| {
            let before = earlier.port(port.id)?;
            Some(Rates {
                traffic: traffic.rates(&self::traffic(before), seconds),
                drops: per_second(before.drops.total(), totals.drops.total(), seconds),
                kernel_drops: per_second(before.kernel_drops(), totals.kernel_drops(), seconds),
            })
        });
        Row {
            port: port.name.clone(),
            up: port.up,
            mtu: port.mtu,
            backend: port.backend.clone(),
            queues: port
                .queues
                .iter()
                .map(|(queue, worker)| Queue { queue: *queue, worker: worker.0 })
                .collect(),
            steering: port.steering.clone(),
            rx_frames: traffic.rx_packets,
            rx_bytes: traffic.rx_bytes,
            tx_frames: traffic.tx_packets,
            tx_bytes: traffic.tx_bytes,
            tx_pending: totals.of(PortCounter::TxPending),
            tx_kicks: totals.of(PortCounter::TxKicks),
            punted: totals.of(PortCounter::Punted),
            drops: totals.drops.clone(),
            kernel: Kernel {
                drops: totals.kernel_drops(),
                rx_dropped: totals.of(PortCounter::KernelRxDropped),
                rx_ring_full: totals.of(PortCounter::KernelRxRingFull),
                rx_invalid: totals.of(PortCounter::KernelRxInvalid),
                tx_invalid: totals.of(PortCounter::KernelTxInvalid),
                fill_empty: totals.of(PortCounter::KernelFillEmpty),
            },
            rates,
        }
    };
    wanted.map(row).collect()
}

/// A port's frames as traffic.
fn traffic(totals: &dataplane_client::snapshot::PortTotals) -> Traffic {
    Traffic {
        rx_packets: totals.of(PortCounter::RxFrames),
        rx_bytes: totals.of(PortCounter::RxBytes),
        tx_packets: totals.of(PortCounter::TxFrames),
        tx_bytes: totals.of(PortCounter::TxBytes),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut columns = vec![
        ("port", Side::Left),
        ("state", Side::Left),
        ("mtu", Side::Right),
        ("backend", Side::Left),
        ("queues", Side::Left),
    ];
    let rates = rows.iter().any(|row| row.rates.is_some());
    columns.extend_from_slice(if rates {
        &[
            ("rx pkt/s", Side::Right),
            ("rx bit/s", Side::Right),
            ("tx pkt/s", Side::Right),
            ("tx bit/s", Side::Right),
            ("drop/s", Side::Right),
            ("kernel drop/s", Side::Right),
        ]
    } else {
        &[
            ("rx", Side::Right),
            ("tx", Side::Right),
            ("drops", Side::Right),
            ("kernel drops", Side::Right),
        ]
    });
    let mut table = Table::new(&columns);
    for row in rows {
        let queues: Vec<String> = row
            .queues
            .iter()
            .map(|queue| format!("{}→worker {}", queue.queue, queue.worker))
            .collect();
        let mut cells = vec![
            row.port.clone(),
            if row.up { "up" } else { "down" }.into(),
            row.mtu.to_string(),
            row.backend.clone(),
            queues.join(", "),
        ];
        if let Some(rates) = &row.rates {
            cells.extend(rate_cells(&rates.traffic));
            cells.extend([units::rate(rates.drops), units::rate(rates.kernel_drops)]);
        } else {
            let totals = [row.rx_frames, row.tx_frames, row.drops.total(), row.kernel.drops];
            cells.extend(totals.map(units::count));
        }
        table.row(cells);
    }
    table
}
