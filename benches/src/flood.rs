//! `bench flood`: a tenant without a lease floods the port and queue of one who has one. The real process, over veth.
//!
//! ```text
//! west w0 ──► p0 the process p1 ──► e1 the leased tenant's packets
//! live frames    core 1      p2 ──► e2 the flood's
//! core 0                            the kernel counts and drops them
//! ```
//! One program on core 0 sends both: the leased tenant's frames at a pace by the clock, the flood in between as fast as it
//! can. Capacity is the highest rate at which the same process, on the same ports, loses none of the first alone.

mod napi;
mod net;
mod tested;

use crate::report::{Machine, Measurement, Report};
use crate::rounds::{NOT_REAL_TIME, quantile};
use dataplane_api::{Generation, Spec};
use io::IoError;
use io::live::Pace;
use lab::LabError;
use net::{Counted, Net};
use std::num::NonZeroU64;
use std::thread::sleep;
use std::time::Duration;
use tested::{Tested, leased};

/// Where frames are made, and where the worker runs.
const FLOOD_CORE: usize = 0;
const BOX_CORE: usize = 1;
/// Flooded stretches of each kind.
const ROUNDS: usize = 5;
/// One stretch, also of those in search of the capacity: of a shorter one the rings would hold a larger part.
const STRETCH: Duration = Duration::from_secs(2);
/// Stretches in search of it.
const LOOKS: usize = 9;
/// The search begins between these, frames a second.
const RATES: (f64, f64) = (20_000.0, 3_000_000.0);
/// Part of the capacity that is leased, and sent.
const LEASED: f64 = 0.5;
/// Until rings are empty and what was sent is counted.
const SETTLE: Duration = Duration::from_millis(300);
/// Between two frames from the worker's core.
const FOREIGN_PAUSE: Duration = Duration::from_millis(10);
/// Bars.
const OFFERED_MIN: f64 = 3.0;
const LOSS_MAX: f64 = 1e-4;
const UNSHED_MIN: f64 = 0.1;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum FloodBenchError {
    /// No network to measure in.
    #[error("network of the bench: {0}")]
    Lab(#[from] LabError),
    /// No ports, no frames.
    #[error("frames of the bench: {0}")]
    Io(#[from] IoError),
    /// Nowhere to run.
    #[error("this bench takes two cores: one for the flood, one for the worker")]
    Cores,
    /// The process.
    #[error("the process of the bench: {0}")]
    Process(String),
    /// Its socket.
    #[error(transparent)]
    Client(#[from] dataplane_client::ClientError),
    /// Its files, its devices' counters, its NAPI threads.
    #[error("{attempt}: {error}")]
    System {
        /// What.
        attempt: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// Its counters.
    #[error(transparent)]
    Counters(#[from] dataplane_client::CountersError),
    /// A flood that was none.
    #[error(
        "invalid run: the flood offered {found:.2} times the capacity of {capacity:.0} frames a second, and it takes \
         {OFFERED_MIN}: the generator had too little of its core"
    )]
    Weak {
        /// Offered.
        found: f64,
        /// Capacity.
        capacity: f64,
    },
}

/// What was measured, a value for each round.
#[derive(Debug, Default)]
struct Kind {
    offered_x: Vec<f64>,
    loss: Vec<f64>,
    /// Part of the flood that the box brought through.
    through: Vec<f64>,
}

impl Kind {
    fn results(&self, name: &str, loss: &str) -> [Measurement; 3] {
        [
            Measurement::of_rounds(loss, "ratio", &self.loss),
            Measurement::of_rounds(&format!("{name}_offered_x"), "ratio", &self.offered_x),
            Measurement::of_rounds(&format!("{name}_through"), "ratio", &self.through),
        ]
    }
}

/// Measures it.
///
/// # Errors
/// [`FloodBenchError`], [`FloodBenchError::Weak`] for a run that proves nothing; it takes root.
pub fn run() -> Result<Report, FloodBenchError> {
    // This thread stays on no core: the process would inherit it.
    if core_affinity::get_core_ids().unwrap_or_default().len() < 2 {
        return Err(FloodBenchError::Cores);
    }
    let net = Net::new()?;
    let mut notes = Vec::new();

    let tested = Tested::start(&net, true)?;
    if !tested.is_real_time() {
        notes.push(NOT_REAL_TIME.to_owned());
    }
    let capacity = capacity(&net)?;
    drop(tested);
    let spec = leased(capacity * LEASED);
    let tested = |sheds| -> Result<Tested, FloodBenchError> {
        let mut tested = Tested::start(&net, sheds)?;
        tested.apply(&spec)?;
        Ok(tested)
    };
    let shedding = tested(true)?;
    let shed = floods(&net, capacity, |work| work())?;
    let dropped = shedding.drops()?;
    drop(shedding);
    let unshedding = tested(false)?;
    let unshed = floods(&net, capacity, |work| work())?;
    drop(unshedding);
    // Last: the threads are there as long as the device.
    let _shedding = tested(true)?;
    let foreign = match napi::threaded(&net.middle, net::BOX[0], FLOOD_CORE) {
        Ok(()) => {
            Some(floods(&net, capacity, |work| net.with_foreign(BOX_CORE, FOREIGN_PAUSE, work))?)
        }
        Err(error) => {
            notes.push(format!("no foreign sender: {error}"));
            None
        }
    };

    for kind in [Some(&shed), foreign.as_ref(), Some(&unshed)].into_iter().flatten() {
        let offered = quantile(&kind.offered_x, 0.5);
        if offered < OFFERED_MIN {
            return Err(FloodBenchError::Weak { found: offered, capacity });
        }
    }
    notes.push(format!("drops of the process that sheds: {dropped}"));
    Ok(report(capacity, &shed, foreign.as_ref(), &unshed, notes))
}

/// Highest rate, frames a second, at which nothing of the leased tenant's is lost, no flood beside it.
fn capacity(net: &Net) -> Result<f64, FloodBenchError> {
    let (mut low, mut high) = RATES;
    for _ in 0..LOOKS {
        let rate = (low * high).sqrt();
        let counted = stretch(net, rate, true)?;
        if counted.leased_lost() == 0 {
            low = rate;
        } else {
            high = rate;
        }
    }
    Ok(low)
}

fn floods(
    net: &Net,
    capacity: f64,
    mut beside: impl FnMut(
        &mut dyn FnMut() -> Result<Counted, FloodBenchError>,
    ) -> Result<Counted, FloodBenchError>,
) -> Result<Kind, FloodBenchError> {
    let mut kind = Kind::default();
    for _ in 0..ROUNDS {
        let counted = beside(&mut || stretch(net, capacity * LEASED, false))?;
        kind.offered_x.push(counted.flood_rate() / capacity);
        kind.loss.push(counted.leased_loss());
        kind.through.push(counted.flood_through());
    }
    Ok(kind)
}

/// The leased tenant's frames at `rate`, `alone` or in a flood.
fn stretch(net: &Net, rate: f64, alone: bool) -> Result<Counted, FloodBenchError> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand")]
    let every = NonZeroU64::new((1e9 / rate).ceil() as u64);
    net.live.pace(Pace { first_every: every, alone })?;
    let before = net.count()?;
    let took = net.flooded(FLOOD_CORE, STRETCH)?;
    sleep(SETTLE);
    Ok(net.count()?.since(&before, took))
}

fn report(
    capacity: f64,
    shed: &Kind,
    foreign: Option<&Kind>,
    unshed: &Kind,
    mut notes: Vec<String>,
) -> Report {
    let mut results = Vec::new();
    // What counts is the worst round, not the median.
    let mut bar = |name: &str, worst: f64, holds: bool, bound: &str| {
        let verdict = if holds { "holds" } else { "MISSED" };
        notes.push(format!("{name}, worst of {ROUNDS} rounds {worst:.2e}, {bound}: {verdict}"));
    };
    let protected = [("flood", Some(shed)), ("foreign", foreign)];
    for (name, kind) in protected.into_iter().filter_map(|(name, kind)| Some((name, kind?))) {
        let worst = kind.loss.iter().copied().fold(0.0, f64::max);
        let loss = format!("{name}_in_profile_loss");
        bar(&loss, worst, worst <= LOSS_MAX, &format!("at most {LOSS_MAX:e}"));
        results.extend(kind.results(name, &loss));
        results.push(Measurement::of_rounds(&format!("{loss}_worst"), "ratio", &[worst]));
    }
    let least = unshed.loss.iter().copied().fold(1.0, f64::min);
    bar("unshed_loss", least, least > UNSHED_MIN, &format!("more than {UNSHED_MIN}"));
    results.extend(unshed.results("unshed", "unshed_loss"));
    results.push(Measurement::of_rounds("capacity_mpps", "Mpps", &[capacity / 1e6]));
    Report { machine: Machine::read("the process's own"), results, notes }
}

/// The spec, without leases: what the capacity is measured with.
fn unleased() -> Spec {
    Spec { generation: Generation(1), leases: Vec::new(), ..leased(1.0) }
}
