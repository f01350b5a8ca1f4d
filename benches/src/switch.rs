//! `bench switch`: the engine's own switch step over 256 packets.

use crate::frames::{STRIDE_AF_XDP, STRIDE_COLOURED, frames};
use crate::report::{Machine, Measurement, Report};
use crate::rounds::{NOT_REAL_TIME, ROUNDS, Random, median_slice, pin};
use crate::tenants::{Place, TenantBox, VIFS};
use dataplane_api::spec::SchemeSpec;
use engine::SpecError;
use io::{Frame, IoError, PageKind};
use wire::buf::Packet;
use wire::scheme::Scheme;
use wire::switch::Header;

/// Packets of a slice.
const PACKETS: u32 = 256;
/// Bytes of a packet: what is left of a 64-byte frame.
const PACKET_LEN: usize = 44;
/// Slices of a round.
const SLICES: usize = 2000;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum SwitchBenchError {
    /// The box of the bench was refused.
    #[error("box of the bench: {0}")]
    Spec(#[from] SpecError),
    /// No memory for its packets.
    #[error(transparent)]
    Memory(#[from] IoError),
    /// The engine switched a packet wrong.
    #[error("switch step of label {label:016x} from vif {from}: the twin has another result")]
    Wrong {
        /// Label of the packet.
        label: u64,
        /// Number of its ingress.
        from: u16,
    },
}

/// One variant: a box, its packets, and their ingress links.
struct Case<'a> {
    name: &'static str,
    at: &'a TenantBox,
    frames: Vec<Frame<'static>>,
    pages: PageKind,
    packets: Vec<[u8; PACKET_LEN]>,
    from: Vec<Place>,
    ingress: Vec<u32>,
    egress: Vec<u32>,
    random: Random,
    /// Every slice has other ingress links.
    fresh: bool,
    rounds: Vec<f64>,
}

/// Measures it.
///
/// # Errors
/// [`SwitchBenchError`]: a wrong result is no result.
pub fn run() -> Result<Report, SwitchBenchError> {
    let mut notes = Vec::new();
    if pin().is_none() {
        notes.push("not pinned to a core".to_owned());
    }
    if !crate::processor::real_time() {
        notes.push(NOT_REAL_TIME.to_owned());
    }
    let one_v358 = TenantBox::new(1, SchemeSpec::V358)?;
    let one_v48 = TenantBox::new(1, SchemeSpec::V48)?;
    let all_v358 = TenantBox::new(4096, SchemeSpec::V358)?;
    let all_v48 = TenantBox::new(4096, SchemeSpec::V48)?;
    let mut cases = [
        Case::new("label_op_v358_ns", &one_v358, STRIDE_COLOURED)?,
        Case::new("label_op_v48_ns", &one_v48, STRIDE_COLOURED)?,
        Case::new("label_op_v358_stride_2048_ns", &one_v358, STRIDE_AF_XDP)?,
        Case::new("label_op_64k_v358_ns", &all_v358, STRIDE_COLOURED)?,
        Case::new("label_op_64k_v48_ns", &all_v48, STRIDE_COLOURED)?,
    ];
    for case in &mut cases {
        case.check()?;
    }
    for _ in 0..ROUNDS {
        for case in &mut cases {
            let value = median_slice(case, SLICES, PACKETS, Case::prepare, Case::step);
            case.rounds.push(value);
        }
    }
    let mut results = vec![
        slower("label_op_ns", &cases[0].rounds, &cases[1].rounds),
        slower("label_op_64k_ns", &cases[3].rounds, &cases[4].rounds),
    ];
    results.extend(cases.iter().map(|case| Measurement::of_rounds(case.name, "ns", &case.rounds)));
    Ok(Report { machine: Machine::read(&cases[0].pages.to_string()), results, notes })
}

/// Round by round, the slower of two counts.
fn slower(name: &str, a: &[f64], b: &[f64]) -> Measurement {
    let rounds: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.max(*b)).collect();
    Measurement::of_rounds(name, "ns", &rounds)
}

impl<'a> Case<'a> {
    fn new(name: &'static str, at: &'a TenantBox, stride: usize) -> Result<Self, IoError> {
        let packets = PACKETS as usize;
        let (frames, pages) = frames(packets, stride)?;
        let mut case = Self {
            name,
            at,
            frames,
            pages,
            packets: vec![[0; PACKET_LEN]; packets],
            from: vec![Place { vswitch: 0, vif: 0 }; packets],
            ingress: vec![0; packets],
            egress: vec![0; packets],
            random: Random::new(42),
            fresh: at.vswitches > 1,
            rounds: Vec::new(),
        };
        case.draw();
        Ok(case)
    }

    /// New ingress links and labels.
    fn draw(&mut self) {
        for index in 0..self.packets.len() {
            let vswitch = u16::try_from(self.random.below(self.at.vswitches)).unwrap_or(0);
            let mut vif = || u8::try_from(self.random.below(VIFS)).unwrap_or(0);
            let (from, to) = (Place { vswitch, vif: vif() }, Place { vswitch, vif: vif() });
            let label = self.at.label(from, to, self.random.draw());
            self.packets[index][..12].copy_from_slice(&header(label));
            self.from[index] = from;
            self.ingress[index] = self.at.slot(from);
        }
    }

    fn prepare(&mut self) {
        if self.fresh {
            self.draw();
        }
        for (frame, packet) in self.frames.iter_mut().zip(&self.packets) {
            // A packet this short fits any chunk.
            let _fits = frame.fill(packet);
        }
    }

    fn step(&mut self) {
        engine::switch::switch(&self.at.rules, &self.ingress, &mut self.frames, &mut self.egress);
    }

    /// Every packet against the twin.
    fn check(&mut self) -> Result<(), SwitchBenchError> {
        for _ in 0..64 {
            self.draw();
            self.prepare();
            self.step();
            for (index, from) in self.from.iter().enumerate() {
                let before = &self.packets[index];
                let label = before.first_chunk().map_or(0, |label| u64::from_be_bytes(*label));
                let (number, after) = twin(&self.at.scheme, from.number(), label);
                let to = Place { vif: place_of(number), ..*from };
                let right = self.frames[index].bytes().starts_with(&after)
                    && self.egress[index] == self.at.slot(to);
                if !right {
                    return Err(SwitchBenchError::Wrong { label, from: from.number() });
                }
            }
        }
        Ok(())
    }
}

fn place_of(number: u16) -> u8 {
    u8::try_from(number.saturating_sub(1)).unwrap_or(0)
}

pub(crate) fn header(label: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes.copy_from_slice(zerocopy::IntoBytes::as_bytes(&Header::new(label, 0)));
    bytes
}

/// The rule of WIRE §3.2, for packets that have a way: the egress number, and the header after the step.
pub(crate) fn twin(scheme: &Scheme, from: u16, label: u64) -> (u16, [u8; 12]) {
    let Some(director) = scheme.decode(label) else { return (1, [0; 12]) };
    let back = scheme.director(from, director.form.into()).unwrap_or(0);
    let after = label >> director.width | back.reverse_bits();
    let mut bytes = header(after);
    bytes[9] += director.width;
    (director.number, bytes)
}
