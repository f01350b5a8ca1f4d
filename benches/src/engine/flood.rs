//! What a flood of hellos costs the packets beside it: a million a second from ever other addresses, as many as packets,
//! for vswitches that listen; and the same frames for nobody, which is what receiving them costs.

use super::FRAMES;
use crate::report::Measurement;
use crate::rounds::Random;
use crate::tenants::Place;
use dataplane_api::Nanos;
use wire::{eth_interface, ethernet};

/// Hellos a second.
const RATE: u64 = 1_000_000;
/// What a slice stands for.
pub(super) const SLICE_NS: Nanos = FRAMES as u64 * 1_000_000_000 / RATE;
/// How much less may go through than beside frames for nobody.
const FALL_MAX: f64 = 0.05;
/// Bytes of a hello without payload.
const HELLO_LEN: usize = 152;

/// Whom hellos are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// An address that is nobody's.
    ForNobody,
    /// The address of a vswitch that takes strangers.
    ForListeners,
}

/// Which flows, and what a packet took beside them.
#[derive(Debug, Default)]
pub(super) struct Flood {
    pub(super) flow: Option<Flow>,
    for_nobody: Vec<f64>,
    for_listeners: Vec<f64>,
}

impl Flood {
    pub(super) fn rounds_of(&mut self, flow: Flow) -> &mut Vec<f64> {
        match flow {
            Flow::ForNobody => &mut self.for_nobody,
            Flow::ForListeners => &mut self.for_listeners,
        }
    }

    /// The figures, and whether the bar holds.
    pub(super) fn results(&self, results: &mut Vec<Measurement>, notes: &mut Vec<String>) {
        let pairs = self.for_nobody.iter().zip(&self.for_listeners);
        let falls: Vec<f64> = pairs.map(|(nobody, listeners)| 1.0 - nobody / listeners).collect();
        let fall = Measurement::of_rounds("hello_flood_fall", "ratio", &falls);
        let holds = if fall.value < FALL_MAX { "holds" } else { "MISSED" };
        notes.push(format!("hello_flood_fall {:.3}, below {FALL_MAX}: {holds}", fall.value));
        results.extend([
            fall,
            Measurement::of_rounds("hello_flood_ns", "ns", &self.for_listeners),
            Measurement::of_rounds("flood_for_nobody_ns", "ns", &self.for_nobody),
        ]);
    }
}

/// A stranger's hello on the port of `beside`, to its vswitch.
pub(super) fn hello(random: &mut Random, beside: Place, flow: Flow) -> Vec<u8> {
    let [_, _, a, b, c, d, e, f] = random.draw().to_be_bytes();
    let mut destination = beside.own();
    if flow == Flow::ForNobody {
        destination[1] = 0x7f;
    }
    let header = ethernet::Header {
        destination,
        source: [a & 0xfc | 2, b, c, d, e, f],
        vlan: None,
        ethertype: ethernet::ETHERTYPE_CJDNS,
    };
    let mut frame = vec![0; header.len()];
    let _written = header.write(&mut frame);
    frame.extend(eth_interface::header(HELLO_LEN).unwrap_or_default());
    // Stage 0, then a login by name.
    frame.extend([0, 0, 0, 0, 2]);
    frame.resize(header.len() + eth_interface::HEADER_LEN + HELLO_LEN, 0x31);
    frame
}
