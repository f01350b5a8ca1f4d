//! Three network namespaces in a row: the neighbours in the west, the box, the neighbours in the east.

use super::plan::Side;
use anyhow::{Context, Result};
use lab::{End, Namespace};

/// Payload of an Ethernet frame on both wires, bytes.
const MTU: u32 = 1500;
/// Name of the neighbours' end of each wire, in their own namespace.
pub(super) const NEIGHBOUR_DEVICE: &str = "wire";

/// The namespaces and the wires between them; gone when this is dropped, or the process ends in any other way.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) the_box: Namespace,
    west: Namespace,
    east: Namespace,
}

impl Network {
    /// Makes everything and sets it up.
    pub(super) fn build() -> Result<Self> {
        let attempt = "building the demo's network";
        let namespace = || Namespace::new().context(attempt);
        let network = Self { the_box: namespace()?, west: namespace()?, east: namespace()? };
        for side in Side::BOTH {
            let ours = End {
                namespace: &network.the_box,
                name: side.port(),
                mac: [0x02, 0, 0, 0, 0xb0, side.number()],
            };
            let theirs = End {
                namespace: network.neighbours(side),
                name: NEIGHBOUR_DEVICE,
                mac: [0x02, 0, 0, 0, 0xe0, side.number()],
            };
            lab::veth(ours, theirs, MTU, 1).context(attempt)?;
        }
        Ok(network)
    }

    /// The namespace of the neighbours on one side.
    pub(super) const fn neighbours(&self, side: Side) -> &Namespace {
        match side {
            Side::West => &self.west,
            Side::East => &self.east,
        }
    }
}
