//! `bench engine`: the whole pipeline between two memory ports: plain beside testpmd, with keys beside its ciphers alone,
//! and beside a flood of strangers.

mod flood;
mod pipeline;
mod sealed;

use crate::report::{Machine, Measurement, Report};
use crate::rounds::{NOT_REAL_TIME, ROUNDS, Random, median_slice, move_to, pin};
use crate::switch::{header, twin};
use crate::tenants::{Place, TenantBox, VIFS};
use crate::testpmd::{Testpmd, TestpmdError};
use dataplane_api::spec::SchemeSpec;
use engine::SpecError;
use io::IoError;
use pipeline::Pipeline;
use sealed::Sealed;
use std::time::Duration;
use wire::buf::Packet;

/// Frames of a slice; testpmd's own pool keeps about as many in turn.
const FRAMES: usize = 512;
/// Bytes of a frame.
const FRAME_LEN: usize = 64;
/// Slices of a round.
const SLICES: usize = 1000;
/// How long testpmd forwards in a round.
const WINDOW: Duration = Duration::from_millis(300);
/// Share of frames that must leave as the twin says.
const RIGHT_MIN: f64 = 0.999;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum EngineBenchError {
    /// The box of the bench was refused.
    #[error("box of the bench: {0}")]
    Spec(#[from] SpecError),
    /// No memory for its packets.
    #[error(transparent)]
    Memory(#[from] IoError),
    /// Frames were lost or left wrong.
    #[error(
        "{wrong} of {all} frames did not leave with the label and addresses that the twin gives them"
    )]
    Wrong {
        /// How many did not.
        wrong: usize,
        /// How many were to.
        all: usize,
    },
}

/// A box with an engine between two ports of memory.
struct Case<'a> {
    at: &'a TenantBox,
    path: Pipeline,
    /// Hashes of the frames that are to leave.
    due: Vec<u64>,
    random: Random,
    /// Frames looked at, and those that were wrong.
    seen: (usize, usize),
    rounds: Vec<f64>,
}

/// Measures it.
///
/// # Errors
/// [`EngineBenchError`]: a wrong result is no result.
pub fn run() -> Result<Report, EngineBenchError> {
    let mut notes = Vec::new();
    let core = pin();
    if core.is_none() {
        notes.push("not pinned to a core".to_owned());
    }
    if !crate::processor::real_time() {
        notes.push(NOT_REAL_TIME.to_owned());
    }
    let one = TenantBox::new(1, SchemeSpec::V358)?;
    let all = TenantBox::new(4096, SchemeSpec::V358)?;
    let (mut one, mut all) = (Case::new(&one)?, Case::new(&all)?);
    let keyed_one = TenantBox::with_keys(1, SchemeSpec::V358)?;
    let keyed_all = TenantBox::with_keys(4096, SchemeSpec::V358)?;
    let mut sealed = Sealed::all(&keyed_one, &keyed_all)?;
    let mut flooded = Sealed::flooded(&keyed_all)?;
    let mut testpmd = core.and_then(|core| match Testpmd::new(core.saturating_sub(1), core) {
        Ok(testpmd) => Some(testpmd),
        Err(error) => {
            notes.push(format!("no ratio to testpmd: {error}"));
            None
        }
    });
    let mut reference = Vec::new();
    for _ in 0..ROUNDS {
        for case in [&mut one, &mut all] {
            let value = median_slice(case, SLICES, 512, Case::prepare, Case::forward);
            case.rounds.push(value);
        }
        sealed.iter_mut().for_each(Sealed::round);
        flooded.flooded_round();
        // Both poll, so both have the core to themselves in turn.
        move_to(core.unwrap_or(0).saturating_sub(1));
        let measured = testpmd.as_mut().map(|testpmd| testpmd.measure(WINDOW));
        move_to(core.unwrap_or(0));
        match measured {
            Some(Ok(value)) => reference.push(value),
            Some(Err(error)) => stop(&mut testpmd, &mut notes, &error),
            None => {}
        }
    }
    for case in [&one, &all] {
        check(case.seen)?;
    }
    for case in sealed.iter().chain([&flooded]) {
        check(case.seen)?;
    }
    let mut results = vec![Measurement::of_rounds("pipeline_ns", "ns", &one.rounds)];
    if reference.len() == ROUNDS {
        let ratios: Vec<f64> =
            one.rounds.iter().zip(&reference).map(|(ours, theirs)| ours / theirs).collect();
        results.push(Measurement::of_rounds("pipeline_vs_testpmd", "ratio", &ratios));
        results.push(Measurement::of_rounds("testpmd_macswap_ns", "ns", &reference));
    }
    let costs: Vec<f64> = all.rounds.iter().zip(&one.rounds).map(|(all, one)| all - one).collect();
    results.push(Measurement::of_rounds("pipeline_64k_ns", "ns", &all.rounds));
    results.push(Measurement::of_rounds("tenants_cost_ns", "ns", &costs));
    sealed::results(&sealed, &mut results, &mut notes);
    flooded.flood.results(&mut results, &mut notes);
    Ok(Report { machine: Machine::read(&one.path.pages.to_string()), results, notes })
}

fn stop(testpmd: &mut Option<Testpmd>, notes: &mut Vec<String>, error: &TestpmdError) {
    notes.push(format!("no ratio to testpmd: {error}"));
    *testpmd = None;
}

impl<'a> Case<'a> {
    fn new(at: &'a TenantBox) -> Result<Self, IoError> {
        Ok(Self {
            at,
            path: Pipeline::new(FRAMES)?,
            due: Vec::new(),
            random: Random::new(7),
            seen: (0, 0),
            rounds: Vec::new(),
        })
    }

    /// Looks at what was sent and fills the ports anew, with other links and labels.
    fn prepare(&mut self) {
        self.look();
        for index in 0..self.path.free.len() {
            let Some(mut frame) = self.path.free.pop() else { break };
            let vswitch = u16::try_from(self.random.below(self.at.vswitches)).unwrap_or(0);
            let mut vif = || u8::try_from(self.random.below(VIFS)).unwrap_or(0);
            let (from, to) = (Place { vswitch, vif: vif() }, Place { vswitch, vif: vif() });
            let label = self.at.label(from, to, self.random.draw());
            let payload = u32::try_from(index).unwrap_or(0);
            let header = header(label);
            // A frame this short fits any chunk.
            let _fits = frame.fill(&ethernet(from.own(), from.peer(), header, payload));
            let (_, after) = twin(&self.at.scheme, from.number(), label);
            self.due.push(hash(&ethernet(to.peer(), to.own(), after, payload)));
            self.path.rx[usize::from(from.port())].push(frame);
        }
    }

    fn forward(&mut self) {
        self.path.forward(&self.at.rules);
    }

    fn look(&mut self) {
        let mut sent: Vec<u64> =
            self.path.tx.iter().flatten().map(|frame| hash(frame.bytes())).collect();
        sent.sort_unstable();
        self.due.sort_unstable();
        let right = self.due.iter().filter(|due| sent.binary_search(due).is_ok()).count();
        self.seen.0 += self.due.len();
        self.seen.1 += self.due.len() - right;
        self.due.clear();
        for tx in &mut self.path.tx {
            self.path.free.append(tx);
        }
    }
}

/// `seen`: frames that were looked at, and those of them that were wrong.
#[expect(clippy::cast_precision_loss, reason = "some millions")]
fn check((all, wrong): (usize, usize)) -> Result<(), EngineBenchError> {
    if all > 0 && (all - wrong) as f64 >= RIGHT_MIN * all as f64 {
        Ok(())
    } else {
        Err(EngineBenchError::Wrong { wrong, all })
    }
}

pub(crate) fn ethernet(
    destination: [u8; 6],
    source: [u8; 6],
    header: [u8; 12],
    payload: u32,
) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    frame[12..20].copy_from_slice(&[0xfc, 0, 0, 0, 0, 50, 0xfc, 0]);
    frame[20..32].copy_from_slice(&header);
    frame[32..36].copy_from_slice(&payload.to_be_bytes());
    frame
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
