//! Which cells are measured.

use super::cell::{Cell, LOADS, Load};
use dataplane_api::Nanos;

const SECOND: Nanos = 1_000_000_000;
const WORKERS: [usize; 3] = [1, 2, 8];
const SOLD: [u32; 2] = [70, 90];

fn cell(gigabits: u64, leases: u32, workers: usize, load: Load, sold: u32) -> Cell {
    // Sources that react have to find their rates first.
    let warm_up = if load == Load::Aimd { 400_000_000 } else { 150_000_000 };
    Cell { gigabits, leases, workers, load, sold, warm_up, window: SECOND }
}

/// All.
pub(super) fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for leases in [1_000, 2_000, 10_000] {
        for workers in WORKERS {
            for load in LOADS {
                cells.extend(SOLD.map(|sold| cell(10, leases, workers, load, sold)));
            }
        }
    }
    for workers in WORKERS {
        for load in LOADS {
            // Ten times the packets: those loads that cost the most take a part of a second, or one worker.
            let (window, wanted) = match load {
                Load::Small => (SECOND / 20, workers == 1),
                Load::Mix | Load::Aimd | Load::Calm => (SECOND, true),
                Load::Paced
                | Load::Bursts
                | Load::OnOff
                | Load::Greedy
                | Load::Large
                | Load::Fast => (SECOND / 2, workers == 1),
            };
            if wanted {
                cells.extend(
                    SOLD.map(|sold| Cell { window, ..cell(100, 65_536, workers, load, sold) }),
                );
            }
        }
    }
    cells
}

/// A few, in less than a minute.
pub(super) fn quick() -> Vec<Cell> {
    let one = LOADS.into_iter().filter(|load| *load != Load::Small).map(|load| (1, load));
    let more = [(2, Load::Mix), (8, Load::Mix), (8, Load::Aimd), (8, Load::Calm), (8, Load::Fast)];
    let both = [Load::Mix, Load::Paced].map(|load| cell(10, 2_000, 1, load, 70));
    one.chain(more).map(|(workers, load)| cell(10, 2_000, workers, load, 90)).chain(both).collect()
}

/// For tests: some tenths of a second.
#[cfg(test)]
pub(super) fn small() -> Vec<Cell> {
    let cells = [
        (1, Load::Mix),
        (1, Load::Fast),
        (1, Load::Greedy),
        (1, Load::Calm),
        (1, Load::Aimd),
        (2, Load::Mix),
        (8, Load::Calm),
        (8, Load::Aimd),
    ];
    let cell = |(workers, load)| Cell {
        warm_up: 100_000_000,
        window: 100_000_000,
        ..cell(10, 400, workers, load, 90)
    };
    cells.into_iter().map(cell).collect()
}
