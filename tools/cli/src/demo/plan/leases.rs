//! The scene of leases: both tenants send more towards the east than its port is sold as; red has a lease.

use super::{BLUE, BLUE_KEY, RED, RED_KEY, Side, through};
use anyhow::Result;
use dataplane_api::{
    CapacitySpec, Direction, Generation, LeaseSpec, Role, SchemeSpec, Spec, VifName,
};
use traffic::Scenario;
use traffic::through::Via;

/// Bytes of each frame, without check sequence.
const FRAME_LEN: u16 = 512;
/// The same on the wire.
const WIRE_LEN: u64 = FRAME_LEN as u64 + 24;
/// Of eight packets that are sent towards the east, what is red's.
const RED_EIGHTHS: u32 = 2;
/// Packets a second from each side at which the burst of red's lease fits its port.
pub(in crate::demo) const RATE_MIN: u64 = 2_000;
/// The id of red's lease.
const LEASE: u32 = 1;

/// What the port is sold as, bytes of wire a second: half of what is sent.
pub(in crate::demo) const fn capacity(rate: u64) -> u64 {
    rate * WIRE_LEN / 2
}

/// The port takes half of what is sent; red's lease is 60 % of that, and it sends five sixths of its lease.
pub(super) fn spec(rate: u64) -> Spec {
    let capacity = capacity(rate);
    let lease = LeaseSpec {
        id: LEASE,
        vifs: vec![VifName { vswitch: RED.name.into(), vif: 3 }],
        direction: Direction::Out,
        rate: capacity * 6 / 10,
        // All that the port can keep, 25 ms: a machine with other work sends in bursts.
        burst: Some(capacity / 40),
        weight: None,
        ceiling: None,
        preserve_order: false,
        start: None,
        end: None,
    };
    let vifs = |tenant: super::Tenant| {
        [(2, Side::West), (3, Side::East)]
            .map(|(number, side)| tenant.vif(number, side, Role::Customer, None))
            .to_vec()
    };
    Spec {
        generation: Generation(1),
        vswitches: vec![
            RED.vswitch(RED_KEY, SchemeSpec::V358, vifs(RED), None),
            BLUE.vswitch(BLUE_KEY, SchemeSpec::V48, vifs(BLUE), None),
        ],
        capacities: vec![CapacitySpec { port: Side::East.port().into(), rate: capacity }],
        leases: vec![lease],
        ..Spec::default()
    }
}

pub(super) fn scenario(spec: &Spec) -> Result<Scenario> {
    let east = |vswitch| [Via { vswitch, from: 2, to: 3 }];
    let west = |vswitch| [Via { vswitch, from: 3, to: 2 }];
    let (red, blue) = (RED.name, BLUE.name);
    let stream =
        |name: &str, way: &[Via<'_>], weight: u32| through(spec, name, way, FRAME_LEN, weight);
    Ok(Scenario {
        streams: vec![
            stream("red, leased", &east(red), RED_EIGHTHS)?,
            stream("blue, a flood", &east(blue), 8 - RED_EIGHTHS)?,
            stream("red, back", &west(red), 1)?,
            stream("blue, back", &west(blue), 1)?,
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Compiler, PortFacts};

    #[test]
    fn the_spec_compiles_at_any_rate_and_red_sends_less_than_its_lease() {
        for rate in [RATE_MIN, 20_000, 10_000_000] {
            let port = |side: Side| PortFacts {
                name: side.port().into(),
                mtu: 1500,
                workers: vec![dataplane_api::WorkerId(0)],
                ..PortFacts::default()
            };
            let spec = spec(rate);
            let ports = Side::BOTH.map(port);
            let rules = Compiler::new(4, 16, 0).compile(&spec, &[], &ports).unwrap();
            let lease = rules.leases().next().unwrap();
            let red = rate * u64::from(RED_EIGHTHS) / 8 * WIRE_LEN;
            assert!(red < lease.terms.rate && rate * WIRE_LEN > spec.capacities[0].rate);
            scenario(&spec).unwrap().check().unwrap();
        }
    }
}
