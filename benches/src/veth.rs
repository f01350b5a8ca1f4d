//! `bench veth`: a box between two veth pairs over AF_XDP, beside a bare forwarding loop and testpmd.
//!
//! ```text
//! west w0 ──► p0 middle p1 ──► e0 east
//! live frames   one core       the kernel drops them
//! core 0        core 1
//! ```
//! All three take the same flood and feed the same sink, and what the sink got is their rate. The kernel's part of
//! sending is many times ours and hides it; so the cycles in user space are measured as well, without those in calls.

mod forward;
mod net;
mod testpmd;

use crate::report::{Machine, Measurement, Report};
use crate::rounds::{NOT_REAL_TIME, ROUNDS, Random, move_to};
use crate::switch::{header, twin};
use crate::tenants::{Place, TenantBox};
use dataplane_api::PortId;
use dataplane_api::spec::SchemeSpec;
use engine::SpecError;
use forward::{Bare, Forwarder, Ports, Switching, Window};
use io::live::Template;
use io::xdp::PortFilter;
use io::{IoError, PageKind, Umem, UmemConfig};
use lab::LabError;
use net::Net;
use std::time::Duration;
use testpmd::AfXdpTestpmd;

/// Where the flood is made, where it is forwarded, and where testpmd is driven from.
const FLOOD_CORE: usize = 0;
const BOX_CORE: usize = 1;
/// One stretch of forwarding.
const WINDOW: Duration = Duration::from_millis(400);
/// Before it, untimed: rings fill, caches warm.
const WARM_UP: Duration = Duration::from_millis(100);
/// Half of them in the rings, the rest with the kernel and free.
const CHUNKS: usize = 8192;
/// Vifs on each port.
const VIFS: u8 = 8;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum VethBenchError {
    /// The box of the bench was refused.
    #[error("box of the bench: {0}")]
    Spec(#[from] SpecError),
    /// No network to measure in.
    #[error("network of the bench: {0}")]
    Lab(#[from] LabError),
    /// No ports.
    #[error("ports of the bench: {0}")]
    Io(#[from] IoError),
    /// Nowhere to run.
    #[error("this bench takes two cores: one for the flood, one for the box")]
    Cores,
    /// A device is gone.
    #[error("the sink's counters cannot be read: {0}")]
    Sink(#[source] std::io::Error),
    /// testpmd did not listen.
    #[error("testpmd: {0}")]
    Testpmd(#[source] std::io::Error),
    /// Nothing came through.
    #[error("{what} forwarded nothing")]
    Nothing {
        /// The loop.
        what: &'static str,
    },
    /// Frames left wrong.
    #[error("{wrong} of {all} frames did not leave as the twin says")]
    Wrong {
        /// How many did not.
        wrong: u64,
        /// How many were looked at.
        all: u64,
    },
}

/// What was measured, a value for each round.
#[derive(Debug, Default)]
struct Rounds {
    bare: Vec<Window>,
    switching: Vec<Window>,
    testpmd: Vec<f64>,
}

/// Both loops in one round.
struct Pair {
    bare: Window,
    switching: Window,
    pages: PageKind,
    real_time: bool,
}

/// Frames that come in, and as which each is to leave, by the number in its payload.
struct Traffic {
    templates: Vec<Template>,
    due: Vec<Vec<u8>>,
}

/// Measures it.
///
/// # Errors
/// [`VethBenchError`]; it takes root.
pub fn run() -> Result<Report, VethBenchError> {
    let cores = core_affinity::get_core_ids().unwrap_or_default().len();
    if cores < 2 {
        return Err(VethBenchError::Cores);
    }
    // Not where frames are made or forwarded, if there is another.
    let main_core = if cores > 2 { 2 } else { FLOOD_CORE };
    move_to(main_core);
    let mut notes = Vec::new();
    let at = TenantBox::new(1, SchemeSpec::V358)?;
    let traffic = Traffic::new(&at);
    let filter = PortFilter {
        macs: at.rules.own_macs(PortId(0)).map(|mac| mac.0).collect(),
        ..PortFilter::default()
    };
    let net = Net::new()?;
    let testpmd = AfXdpTestpmd::new(main_core, BOX_CORE);
    let live = net.live(&traffic.templates)?;
    let mut rounds = Rounds::default();
    let mut pages = String::new();
    for round in 0..ROUNDS {
        let pair = net.flooded(&live, FLOOD_CORE, || {
            net.middle.run(|| both(&net, &at, &traffic, &filter, round))?
        })?;
        rounds.bare.push(pair.bare);
        rounds.switching.push(pair.switching);
        pages = pair.pages.to_string();
        if !pair.real_time {
            notes.push(NOT_REAL_TIME.to_owned());
        }
        if let Ok(testpmd) = &testpmd {
            let rate = net.flooded(&live, FLOOD_CORE, || testpmd.measure(&net, 2 * WINDOW));
            match rate {
                Ok(rate) if rate > 0.0 => rounds.testpmd.push(rate),
                Ok(_) => notes.push("testpmd over net_af_xdp forwarded nothing".to_owned()),
                Err(error) => notes.push(error.to_string()),
            }
        }
    }
    if let Err(error) = &testpmd {
        notes.push(format!("no ratio to testpmd: {error}"));
    }
    notes.dedup();
    Ok(Report { machine: Machine::read(&pages), results: rounds.results(), notes })
}

/// Both loops over the same two ports, in turns that even out a drift.
fn both(
    net: &Net,
    at: &TenantBox,
    traffic: &Traffic,
    filter: &PortFilter,
    round: usize,
) -> Result<Pair, VethBenchError> {
    move_to(BOX_CORE);
    let real_time = crate::processor::real_time();
    let umem = Umem::new(UmemConfig::for_xdp(1500, CHUNKS))?;
    let mut ports = Ports::open(&umem, filter)?;
    let (mut bare, mut switching) = (Bare::default(), Switching::new(at));
    let (mut bare_windows, mut switching_windows) = (Vec::new(), Vec::new());
    switching.look(&mut ports, &traffic.due)?;
    for turn in [0, 1, 1, 0].map(|turn| (turn + round) % 2) {
        if turn == 0 {
            bare_windows.push(window(net, &mut bare, &mut ports)?);
        } else {
            switching_windows.push(window(net, &mut switching, &mut ports)?);
        }
        bare.settle(&mut ports);
        switching.settle(&mut ports);
    }
    Ok(Pair {
        bare: Window::mean(&bare_windows),
        switching: Window::mean(&switching_windows),
        pages: umem.pages(),
        real_time,
    })
}

fn window<'m>(
    net: &Net,
    forwarder: &mut impl Forwarder<'m>,
    ports: &mut Ports<'m>,
) -> Result<Window, VethBenchError> {
    forward::forward(forwarder, ports, WARM_UP);
    let before = net.sink_frames()?;
    let stretch = forward::forward(forwarder, ports, WINDOW);
    let arrived = net.sink_frames()?.saturating_sub(before);
    if arrived == 0 || stretch.slices.is_empty() {
        return Err(VethBenchError::Nothing { what: forwarder.name() });
    }
    Ok(stretch.window(arrived))
}

impl Rounds {
    fn results(&self) -> Vec<Measurement> {
        let pick = |windows: &[Window], of: fn(&Window) -> f64| windows.iter().map(of).collect();
        let both = |of: fn(f64, f64) -> f64, what: fn(&Window) -> f64| -> Vec<f64> {
            let pairs = self.switching.iter().zip(&self.bare);
            pairs.map(|(ours, bare)| of(what(ours), what(bare))).collect()
        };
        let rate = |window: &Window| window.mpps;
        let cycles = |window: &Window| window.user_cycles;
        let bare: Vec<f64> = pick(&self.bare, rate);
        let mut results = vec![
            Measurement::of_rounds("ratio_to_bare_loop", "ratio", &both(|a, b| a / b, rate)),
            Measurement::of_rounds("user_cycles_over_bare", "cycles", &both(|a, b| a - b, cycles)),
            Measurement::of_rounds("box_mpps", "Mpps", &pick(&self.switching, rate)),
            Measurement::of_rounds("bare_mpps", "Mpps", &bare),
            Measurement::of_rounds("box_user_cycles", "cycles", &pick(&self.switching, cycles)),
            Measurement::of_rounds("bare_user_cycles", "cycles", &pick(&self.bare, cycles)),
        ];
        // All rounds or none: the ratio is of what ran side by side.
        if self.testpmd.len() == ROUNDS {
            let ratios: Vec<f64> =
                bare.iter().zip(&self.testpmd).map(|(bare, theirs)| bare / theirs).collect();
            results.push(Measurement::of_rounds("bare_to_testpmd", "ratio", &ratios));
            results.push(Measurement::of_rounds("testpmd_mpps", "Mpps", &self.testpmd));
        }
        results
    }
}

impl Traffic {
    /// From each vif of port 0 to each of port 1, with labels of random high bits.
    fn new(at: &TenantBox) -> Self {
        let mut random = Random::new(3);
        let mut this = Self { templates: Vec::new(), due: Vec::new() };
        for (number, (from, to)) in (0_u32..).zip(pairs()) {
            let label = at.label(from, to, random.draw());
            let (_, after) = twin(&at.scheme, from.number(), label);
            let frame = crate::engine::ethernet(from.own(), from.peer(), header(label), number);
            let due = crate::engine::ethernet(to.peer(), to.own(), after, number);
            this.templates.push(Template { frame: frame.to_vec(), stamp: None });
            this.due.push(due.to_vec());
        }
        this
    }
}

fn pairs() -> impl Iterator<Item = (Place, Place)> {
    let place = |vif| Place { vswitch: 0, vif };
    (0..VIFS).flat_map(move |from| (0..VIFS).map(move |to| (place(2 * from), place(2 * to + 1))))
}
