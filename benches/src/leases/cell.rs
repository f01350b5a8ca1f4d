//! What is put to the test: a port, its leases, its workers, and what they are sent.

use dataplane_api::Nanos;
use std::fmt;

/// Bytes of wire of the longest frame: 1 500 and what Ethernet puts around it.
pub(super) const LONGEST: u32 = 1_542;
/// Bytes of wire of the shortest.
pub(super) const SHORTEST: u32 = 84;
/// Sources without a lease, each with a vswitch of its own.
pub(super) const FREE_SOURCES: u32 = 16;
/// Vswitches: the leases are spread over them.
pub(super) const VSWITCHES: u32 = 64;
/// Leases of [`Load::Fast`] that are.
const FAST: u32 = 8;
/// Guaranteed bytes that may wait, in time of the port: what bursts are admitted to (ARCHITECTURE.md).
const GUARANTEED_BUFFER: f64 = 0.025;
/// What is offered to a port in overload, in its rate.
const OVERLOAD: f64 = 5.0;

/// What the leases of a port send. `r` is a lease's guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Load {
    /// CLOUD-ISP.md §3.3: half of them 0.97 r, a quarter 9 r for 4 of 36 ms, an eighth 2 r, an eighth 20 r.
    Mix,
    /// All of them 0.97 r, nothing else.
    Paced,
    /// All of them their whole burst at once, all at the same moment, as soon again as it is in profile.
    Bursts,
    /// Half of them 0.97 r, half of them 8 r for 1 ms of 2.
    OnOff,
    /// A quarter of them 20 r, the others 0.97 r.
    Greedy,
    /// The mix in frames of 84 bytes.
    Small,
    /// The mix in frames of 1 542 bytes.
    Large,
    /// Half of them 0.97 r, half of them sources that slow down when they lose and speed up when they do not.
    Aimd,
    /// Half of them 0.97 r, half of them 9 r for 4 of 36 ms: guarantees are left idle.
    Calm,
    /// Eight have half of what is sold and send 0.97 r; the others as in `Bursts`.
    Fast,
}

/// All of them.
pub(super) const LOADS: [Load; 10] = [
    Load::Mix,
    Load::Paced,
    Load::Bursts,
    Load::OnOff,
    Load::Greedy,
    Load::Small,
    Load::Large,
    Load::Aimd,
    Load::Calm,
    Load::Fast,
];

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mix => "mix",
            Self::Paced => "paced",
            Self::Bursts => "bursts",
            Self::OnOff => "on_off",
            Self::Greedy => "greedy",
            Self::Small => "small",
            Self::Large => "large",
            Self::Aimd => "aimd",
            Self::Calm => "calm",
            Self::Fast => "fast",
        })
    }
}

/// How one source sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pattern {
    /// Evenly, so many times its guarantee.
    Even(f64),
    /// So many times its guarantee for the first part of each period, both in ns.
    OnOff(f64, f64, f64),
    /// A whole burst at once.
    Burst,
    /// Additive increase, multiplicative decrease.
    Aimd,
}

impl Pattern {
    /// What it offers on average, in its guarantee.
    fn mean(self) -> f64 {
        match self {
            Self::Even(times) => times,
            Self::OnOff(times, on, period) => times * on / period,
            Self::Burst => 0.97,
            Self::Aimd => 1.0,
        }
    }

    /// Whether all that it sends is in profile.
    pub(super) fn is_honest(self) -> bool {
        match self {
            Self::Even(times) => times < 1.0,
            Self::Burst => true,
            Self::OnOff(..) | Self::Aimd => false,
        }
    }
}

/// A port under a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// Gb/s.
    pub(super) gigabits: u64,
    /// Leases on it.
    pub(super) leases: u32,
    /// Workers that send on it.
    pub(super) workers: usize,
    /// What it is sent.
    pub(super) load: Load,
    /// How much of it is guaranteed, %.
    pub(super) sold: u32,
    /// What is looked at begins after so long.
    pub(super) warm_up: Nanos,
    /// And lasts so long.
    pub(super) window: Nanos,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gigabits, leases, workers, load, sold, .. } = self;
        write!(f, "{gigabits}g_{leases}_w{workers}_{load}_{sold}")
    }
}

/// A lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// Guaranteed, bytes a second.
    pub(super) rate: u64,
    /// Bytes.
    pub(super) burst: u64,
    /// Bytes a second.
    pub(super) weight: u64,
    /// What is sent under it.
    pub(super) pattern: Pattern,
}

impl Cell {
    /// Bytes a second.
    pub(super) fn rate(&self) -> u64 {
        self.gigabits * 125_000_000
    }

    /// Bytes of wire of a frame: from, to.
    pub(super) fn lengths(&self) -> (u32, u32) {
        match self.load {
            Load::Small => (SHORTEST, SHORTEST),
            Load::Large => (LONGEST, LONGEST),
            Load::Mix
            | Load::Paced
            | Load::Bursts
            | Load::OnOff
            | Load::Greedy
            | Load::Aimd
            | Load::Calm
            | Load::Fast => (SHORTEST, 1_400),
        }
    }

    fn pattern(&self, lease: u32) -> Pattern {
        // The same number of every size of lease.
        let eighth = lease / 5 % 8;
        let bursts = Pattern::OnOff(9.0, 4e6, 36e6);
        match self.load {
            Load::Mix | Load::Small | Load::Large => match eighth {
                0..4 => Pattern::Even(0.97),
                4 | 5 => bursts,
                6 => Pattern::Even(2.0),
                _ => Pattern::Even(20.0),
            },
            Load::Paced => Pattern::Even(0.97),
            Load::Bursts => Pattern::Burst,
            Load::Fast if lease >= FAST => Pattern::Burst,
            Load::OnOff if eighth < 4 => Pattern::OnOff(8.0, 1e6, 2e6),
            Load::Greedy if eighth < 2 => Pattern::Even(20.0),
            Load::Aimd if eighth < 4 => Pattern::Aimd,
            Load::Calm if eighth < 4 => bursts,
            Load::OnOff | Load::Greedy | Load::Aimd | Load::Calm | Load::Fast => {
                Pattern::Even(0.97)
            }
        }
    }

    /// Its leases: sizes from 1 to 16 unless the load has its own, bursts as admission would give them.
    pub(super) fn plan(&self) -> Vec<Lease> {
        let small = |lease: u32| 1_u64 << (lease % 5);
        let rest: u64 = (FAST..self.leases).map(small).sum();
        let is_fast = |lease: u32| matches!(self.load, Load::Fast) && lease < FAST;
        let size = |lease: u32| if is_fast(lease) { rest / u64::from(FAST) } else { small(lease) };
        let all: u64 = (0..self.leases).map(size).sum();
        let rate = |lease| (self.rate() * u64::from(self.sold) / 100) * size(lease) / all;
        let wanted = |lease| (6.0 * f64::from(LONGEST)).max(rate(lease) as f64 * 0.005);
        let least = 2.0 * f64::from(LONGEST);
        let room = self.rate() as f64 * GUARANTEED_BUFFER;
        // The part of what is wanted that there is room for.
        let sum = |part: f64| {
            (0..self.leases).map(|lease| (part * wanted(lease)).max(least)).sum::<f64>()
        };
        let (mut low, mut part) = (0.0, 1.0);
        while sum(part) > room && part - low > 1e-6 {
            let half = f64::midpoint(low, part);
            if sum(half) > room {
                part = half
            } else {
                low = half
            }
            if part - low <= 1e-6 {
                part = low;
            }
        }
        (0..self.leases)
            .map(|lease| Lease {
                rate: rate(lease),
                burst: (part * wanted(lease)).max(least) as u64,
                weight: rate(lease),
                pattern: self.pattern(lease),
            })
            .collect()
    }

    /// What is sent without a lease, bytes a second.
    pub(super) fn free(&self, plan: &[Lease]) -> f64 {
        let rate = self.rate() as f64;
        let paid: f64 = plan.iter().map(|lease| lease.rate as f64 * lease.pattern.mean()).sum();
        match self.load {
            Load::Paced => 0.0,
            Load::Mix => 0.6 * rate,
            Load::Aimd => rate,
            Load::Bursts
            | Load::OnOff
            | Load::Greedy
            | Load::Small
            | Load::Large
            | Load::Calm
            | Load::Fast => (OVERLOAD * rate - paid).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sold_and_what_may_burst_is_what_admission_lets_in() {
        for (gigabits, leases) in [(10, 1_000), (10, 10_000), (100, 65_536)] {
            let cell = Cell {
                gigabits,
                leases,
                workers: 1,
                load: Load::Mix,
                sold: 90,
                warm_up: 0,
                window: 0,
            };
            let plan = cell.plan();
            let sum = |of: fn(&Lease) -> u64| {
                plan.iter().map(of).sum::<u64>() as f64 / cell.rate() as f64
            };
            let rates = sum(|lease| lease.rate);
            assert!((0.899..=0.9).contains(&rates), "{rates}");
            let bursts = sum(|lease| lease.burst);
            assert!((0.005..=0.025).contains(&bursts), "{cell}: {bursts}");
            let offered = |times: f64| {
                plan.iter().filter(|lease| lease.pattern == Pattern::Even(times)).count()
            };
            let parts = [0.97, 2.0, 20.0].map(|times| (offered(times) * 8 + 40) / plan.len());
            assert_eq!(parts, [4, 1, 1]);
        }
    }
}
