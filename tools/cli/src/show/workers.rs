//! `show workers`.

use super::{Listing, View};
use crate::table::{Side, Table};
use crate::units;
use dataplane_api::counters::WorkerCounter;
use dataplane_api::status::WorkerStatus;
use dataplane_client::snapshot::WorkerTotals;
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    worker: u8,
    core: Option<u32>,
    generation: u64,
    /// Share of rounds that moved something: since the start, or over the interval.
    busy: f64,
    rounds: u64,
    idle_rounds: u64,
    sleeps: u64,
    handed_off: u64,
    taken_over: u64,
    punted: u64,
    injected: u64,
    frames_free: u64,
    frames_queued: u64,
    tap_lost: u64,
}

pub(super) fn list(view: &View<'_>) -> Listing {
    let workers = view.now.status.workers.iter().zip(&view.now.workers);
    let rows: Vec<Row> = workers.map(|(worker, totals)| row(view, worker, totals)).collect();
    Listing { name: "workers", rows: serde_json::json!(rows), table: table(&rows) }
}

fn row(view: &View<'_>, worker: &WorkerStatus, totals: &WorkerTotals) -> Row {
    let of = |counter| totals.of(counter);
    let before = view.rates().and_then(|(earlier, _)| earlier.worker(worker.id));
    Row {
        worker: worker.id.0,
        core: worker.core,
        generation: worker.generation.0,
        busy: totals.busy_since(before),
        rounds: of(WorkerCounter::Rounds),
        idle_rounds: of(WorkerCounter::IdleRounds),
        sleeps: of(WorkerCounter::Sleeps),
        handed_off: of(WorkerCounter::HandedOff),
        taken_over: of(WorkerCounter::TakenOver),
        punted: of(WorkerCounter::Punted),
        injected: of(WorkerCounter::Injected),
        frames_free: of(WorkerCounter::FramesFree),
        frames_queued: of(WorkerCounter::FramesQueued),
        tap_lost: of(WorkerCounter::TapLost),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("worker", Side::Left),
        ("core", Side::Left),
        ("generation", Side::Right),
        ("busy", Side::Left),
        ("sleeps", Side::Right),
        ("handed off", Side::Right),
        ("taken over", Side::Right),
        ("punted", Side::Right),
        ("injected", Side::Right),
        ("frames free", Side::Right),
        ("frames queued", Side::Right),
    ]);
    for row in rows {
        let mut cells = vec![
            row.worker.to_string(),
            row.core.map_or_else(|| "any".into(), |core| core.to_string()),
            row.generation.to_string(),
            units::percent(row.busy),
        ];
        let counts = [
            row.sleeps,
            row.handed_off,
            row.taken_over,
            row.punted,
            row.injected,
            row.frames_free,
            row.frames_queued,
        ];
        cells.extend(counts.map(units::count));
        table.row(cells);
    }
    table
}
