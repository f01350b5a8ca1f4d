//! What the figures are held against.

use super::Figures;
use super::cell::Load;
use super::peers::Compared;
use crate::report::Measurement;

enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn holds(&self, value: f64) -> bool {
        match *self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
        }
    }

    /// The worse of two values.
    fn worse(&self, a: f64, b: f64) -> f64 {
        match self {
            Self::AtLeast(_) => a.min(b),
            Self::AtMost(_) => a.max(b),
        }
    }

    fn note(&self, name: &str, value: f64, of: &str) -> String {
        let (words, bar) = match *self {
            Self::AtLeast(bar) => ("at least", bar),
            Self::AtMost(bar) => ("at most", bar),
        };
        let holds = if self.holds(value) { "holds" } else { "MISSED" };
        format!("{name} {value:.6}, {words} {bar}: {holds} ({of})")
    }
}

fn measurement(name: &str, unit: &'static str, value: f64, n: usize) -> Measurement {
    Measurement { name: name.to_owned(), value, unit: unit.into(), spread: 0.0, n }
}

/// The worst of each figure, and a note for each that says whether its bar holds and where it was worst.
pub(super) fn bars(figures: &[Figures], notes: &mut Vec<String>) -> Vec<Measurement> {
    type Of = fn(&Figures) -> Option<f64>;
    /// With less than this of the port left over nobody can tell whether it was given away.
    const IDLE_MIN: f64 = 0.01;
    let bars: [(&str, &'static str, Bar, Of); 11] = [
        ("in_profile_delivered", "ratio", Bar::AtLeast(0.999_999), |f| Some(f.delivered)),
        ("in_profile_drops", "packets", Bar::AtMost(0.0), |f| Some(f.drops as f64)),
        ("in_profile_bound_violations", "packets", Bar::AtMost(0.0), |f| Some(f.late as f64)),
        ("in_profile_p99_us", "µs", Bar::AtMost(10.0), |f| {
            let cell = &f.cell;
            let counts = (cell.gigabits, cell.leases, cell.workers) == (10, 2_000, 1);
            let load = (cell.load, cell.sold);
            let is_meant = matches!(load, (Load::Mix, _) | (Load::Paced, 70));
            (counts && is_meant).then_some(f.p99_us)
        }),
        ("guarantee_error", "ratio", Bar::AtMost(0.001), |f| Some(f.guarantee_error)),
        ("leftover_worst", "ratio", Bar::AtMost(0.025), |f| {
            (f.cell.load != Load::Aimd).then_some(f.leftover_worst)
        }),
        ("leftover_jain", "ratio", Bar::AtLeast(0.99), |f| {
            (f.cell.load != Load::Aimd).then_some(f.leftover_jain)
        }),
        ("leftover_aimd", "ratio", Bar::AtMost(0.05), |f| {
            (f.cell.load == Load::Aimd).then_some(f.leftover_fluid)
        }),
        ("work_conservation", "ratio", Bar::AtLeast(0.999), |f| Some(f.busy)),
        ("free_of_idle", "ratio", Bar::AtLeast(0.99), |f| {
            let (sent, idle) = f.free?;
            (idle >= IDLE_MIN).then_some(sent / idle)
        }),
        ("free_under_paid", "of port", Bar::AtMost(0.000_1), |f| {
            let (sent, idle) = f.free?;
            (idle == 0.0).then_some(sent)
        }),
    ];
    let mut results = Vec::new();
    for (name, unit, bar, of) in bars {
        let values: Vec<_> =
            figures.iter().filter_map(|figures| Some((of(figures)?, &figures.cell))).collect();
        let worst =
            values.iter().copied().reduce(|a, b| if bar.worse(a.0, b.0) == a.0 { a } else { b });
        if let Some((value, cell)) = worst {
            notes.push(bar.note(name, value, &format!("worst of {} in {cell}", values.len())));
            results.push(measurement(name, unit, value, values.len()));
        }
    }
    let latest = figures.iter().map(|figures| figures.latest_us).reduce(f64::max);
    results.extend(
        latest.map(|latest| measurement("in_profile_latest_us", "µs", latest, figures.len())),
    );
    results
}

/// Who keeps what, ours beside the others.
pub(super) fn peers(compared: &[Compared], notes: &mut Vec<String>) -> Vec<Measurement> {
    let mut results = Vec::new();
    for Compared { method, cell, delivered, p99_us, free, leases, .. } in compared {
        let (load, sold) = (cell.load, cell.sold);
        let mut add = |what: &str, unit, value| {
            results.push(measurement(
                &format!("{method}_{what}_{load}_{sold}"),
                unit,
                value,
                *leases,
            ));
        };
        add("delivered", "ratio", *delivered);
        add("p99_us", "µs", *p99_us);
        add("free", "of port", *free);
    }
    let p99 = |method| {
        let meant = |other: &&Compared| {
            (other.method, other.cell.load, other.cell.sold) == (method, Load::Paced, 90)
        };
        compared.iter().find(meant).map(|compared| compared.p99_us)
    };
    if let (Some(own), Some(fifo)) = (p99("own"), p99("fifo")) {
        let (name, value) = ("paced_p99_vs_fifo", own / fifo);
        notes.push(Bar::AtMost(1.25).note(
            name,
            value,
            "10 Gb/s, 2 000 leases, 90 % sold, all paced",
        ));
        results.push(measurement(name, "ratio", value, 1));
    }
    results
}

/// What a packet costs, at 2 000 leases and at 65 536.
pub(super) fn stage(rounds: &[Vec<f64>; 2], notes: &mut Vec<String>) -> Vec<Measurement> {
    let bars = [("stage_ns", 30.0), ("stage_64k_ns", 50.0)];
    let mut results = Vec::new();
    for ((name, bar), rounds) in bars.into_iter().zip(rounds) {
        let result = Measurement::of_rounds(name, "ns", rounds);
        notes.push(Bar::AtMost(bar).note(name, result.value, "two meters, policy, schedule"));
        results.push(result);
    }
    results
}
