//! `bench leases`: the schedule of the engine in virtual time, under loads that want to break it, beside an exact
//! meter, a fluid port, and what others do; and in real time, what it costs.
//!
//! ```text
//! sources ─► workers that poll ─► method (ours, or a peer's) ─► TX ring ─► wire
//!    ├─────► exact meter: what is in profile, and when it finishes
//!    └─────► fluid port: what everybody would have had of it
//! ```
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "bytes and nanoseconds of a few seconds, as figures"
)]

mod bars;
mod cell;
mod drive;
mod exact;
mod fluid;
mod ideal;
mod matrix;
mod method;
mod peers;
mod plots;
mod sources;
mod stage;

use crate::processor::real_time;
use crate::report::{Machine, Report};
use crate::rounds::{NOT_REAL_TIME, pin};
use cell::Cell;
use drive::{Outcome, drive, jain, worst_share};
use method::Own;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// How much is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A few cells instead of all.
    pub quick: bool,
    /// Only cells whose name contains this.
    pub only: Option<String>,
    /// Folder for plots.
    pub plots: Option<PathBuf>,
}

/// Where all that is drawn comes from.
const SEED: u64 = 5;
/// Threads that drive cells.
const THREADS: usize = 2;

/// What a cell came to.
#[derive(Debug)]
struct Figures {
    cell: Cell,
    delivered: f64,
    drops: u64,
    late: u64,
    /// Latest hand-over after its bound, µs; negative: all were earlier.
    latest_us: f64,
    p99_us: f64,
    guarantee_error: f64,
    leftover_worst: f64,
    leftover_jain: f64,
    leftover_fluid: f64,
    busy: f64,
    /// Free bytes sent, and those of the fluid twin, in parts of the port; nothing where none came.
    free: Option<(f64, f64)>,
}

impl Figures {
    fn of(cell: Cell) -> Self {
        let plan = cell.plan();
        let outcome = drive(&cell, &plan, &mut Own::new(&cell, &plan), SEED);
        let leftovers = outcome.leftovers(&cell, &plan);
        let port = cell.rate() as f64 * cell.window as f64 / 1e9;
        Self {
            cell,
            delivered: outcome.delivered(&plan),
            drops: outcome.drops,
            late: outcome.late + outcome.late_on_wire,
            latest_us: outcome.worst as f64 / 1e3,
            p99_us: p99_us(&outcome),
            guarantee_error: outcome.guarantee_error(&plan),
            leftover_worst: worst_share(&leftovers),
            leftover_jain: jain(&leftovers),
            leftover_fluid: worst_share(&outcome.fluid_leftovers()),
            busy: outcome.busy,
            free: (cell.free(&plan) > 0.0)
                .then(|| (outcome.free(plan.len()) / port, outcome.fluid_free / port)),
        }
    }
}

fn p99_us(outcome: &Outcome) -> f64 {
    outcome.delay.value_at_quantile(0.99) as f64 / 1e3
}

/// Drives cells on all threads; what came of them, in their order.
fn drive_all(cells: Vec<Cell>) -> Vec<Figures> {
    let queue = Mutex::new(cells.into_iter().enumerate());
    let figures = Mutex::new(Vec::new());
    let lock = PoisonError::into_inner;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(lock).next();
                    let Some((place, cell)) = next else { return };
                    let came_to = Figures::of(cell);
                    figures.lock().unwrap_or_else(PoisonError::into_inner).push((place, came_to));
                }
            });
        }
    });
    let mut figures = figures.into_inner().unwrap_or_else(PoisonError::into_inner);
    figures.sort_by_key(|(place, _)| *place);
    figures.into_iter().map(|(_, figures)| figures).collect()
}

/// Runs it.
///
/// # Errors
/// A plot that cannot be written.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let mut cells = if options.quick { matrix::quick() } else { matrix::all() };
    if let Some(only) = &options.only {
        cells.retain(|cell| cell.to_string().contains(only.as_str()));
    }
    let mut notes = Vec::new();
    let figures = drive_all(cells);
    let mut results = bars::bars(&figures, &mut notes);
    if options.only.is_none() {
        let peers = peers::compare();
        results.extend(bars::peers(&peers, &mut notes));
        if let Some(folder) = &options.plots {
            plots::draw(folder, &peers, &figures)?;
        }
        // On a thread of its own: what is started later shall not be in its class.
        let stage = std::thread::spawn(|| {
            let is_real_time = pin().is_some() && real_time();
            (stage::measure([2_000, 65_536]), is_real_time)
        });
        let Ok((rounds, is_real_time)) = stage.join() else {
            anyhow::bail!("the stage bench panicked")
        };
        if !is_real_time {
            notes.push(NOT_REAL_TIME.to_owned());
        }
        results.extend(bars::stage(&rounds, &mut notes));
    }
    Ok(Report { machine: Machine::read("small"), results, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_matrix_holds_every_bar_but_those_of_time() {
        let mut notes = Vec::new();
        let results = bars::bars(&drive_all(matrix::small()), &mut notes);
        assert!(notes.iter().all(|note| !note.contains("MISSED")), "{notes:#?}");
        for name in ["in_profile_delivered", "leftover_aimd", "work_conservation", "free_of_idle"] {
            assert!(results.iter().any(|result| result.name == name), "{name}: {notes:#?}");
        }
    }
}
