//! Cables as the routers at their ends see them: neighbours that are always there.

use crate::counters::SharedCounters;
use dataplane_api::counters::VifCounter;
use dataplane_api::{VifId, VswitchId};
use engine::{LinkInfo, Rules, VifInfo};
use node::router::Neighbour;
use std::collections::BTreeMap;
use wire::control::PROTOCOL_VERSION;
use wire::key::PublicKey;

/// Cables between vswitches that both have routers, by the vswitch at one end.
#[derive(Debug, Default)]
pub(super) struct Cables {
    by_vswitch: BTreeMap<VswitchId, Vec<Cable>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cable {
    vif: VifId,
    number: u16,
    mtu: u16,
    /// Of the vswitch at the other end.
    key: PublicKey,
}

impl Cables {
    /// Looks at all vifs, so that it is done once for each edition of the rules.
    pub(super) fn of(rules: &Rules, has_router: impl Fn(VswitchId) -> bool) -> Self {
        let mut by_vswitch: BTreeMap<VswitchId, Vec<Cable>> = BTreeMap::new();
        for vif in rules.vifs().filter(|vif| has_router(vif.vswitch)) {
            let cable = cable(rules, vif, &has_router);
            by_vswitch.entry(vif.vswitch).or_default().extend(cable);
        }
        Self { by_vswitch }
    }

    /// Whom a vswitch has behind its cables.
    pub(super) fn neighbours(
        &self,
        vswitch: VswitchId,
        counters: &SharedCounters,
    ) -> impl Iterator<Item = Neighbour> {
        let cables = self.by_vswitch.get(&vswitch).into_iter().flatten();
        cables.map(|cable| Neighbour {
            number: cable.number,
            key: cable.key,
            version: PROTOCOL_VERSION,
            established: true,
            mtu: cable.mtu,
            lag_ms: None,
            received: counters.vif(cable.vif, VifCounter::RxPackets),
            lost: 0,
            received_bytes: counters.vif(cable.vif, VifCounter::RxBytes),
        })
    }
}

fn cable(rules: &Rules, vif: &VifInfo, has_router: impl Fn(VswitchId) -> bool) -> Option<Cable> {
    let LinkInfo::Cable { to } = vif.link else { return None };
    let other = rules.vif(to).filter(|other| has_router(other.vswitch))?;
    let key = rules.vswitch(other.vswitch)?.key;
    Some(Cable { vif: vif.id, number: vif.number, mtu: vif.mtu, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{CableSpec, Role, Spec, VifName, VifSpec, VswitchSpec};
    use engine::Compiler;

    fn key(seed: u8) -> PublicKey {
        let candidates = (0..=u16::MAX).map(|n| {
            let mut bytes = [seed; 32];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            PublicKey(bytes)
        });
        candidates.into_iter().find(PublicKey::is_usable).unwrap()
    }

    fn vswitch(name: &str, seed: u8, numbers: &[u16]) -> VswitchSpec {
        let vif = |number: &u16| VifSpec {
            number: *number,
            role: Role::Customer,
            mtu: Some(1400),
            link: None,
            policy: Default::default(),
        };
        VswitchSpec {
            name: name.into(),
            public_key: key(seed).to_string(),
            vifs: numbers.iter().map(vif).collect(),
            ..VswitchSpec::default()
        }
    }

    /// red 2 – 3 blue 4 – 5 green.
    fn rules() -> Rules {
        let end = |vswitch: &str, vif| VifName { vswitch: vswitch.into(), vif };
        let spec = Spec {
            vswitches: vec![
                vswitch("red", 1, &[2]),
                vswitch("blue", 2, &[3, 4]),
                vswitch("green", 3, &[5]),
            ],
            cables: vec![
                CableSpec { a: end("red", 2), b: end("blue", 3) },
                CableSpec { a: end("blue", 4), b: end("green", 5) },
            ],
            ..Spec::default()
        };
        Compiler::new(8, 64, 1).compile(&spec, &[], &[]).unwrap()
    }

    #[test]
    fn a_cable_is_a_neighbour_where_both_ends_have_routers() {
        let rules = rules();
        let id = |name| rules.vswitch_named(name).unwrap().id;
        let green = id("green");
        let cables = Cables::of(&rules, |vswitch| vswitch != green);
        let found = |name| -> Vec<(u16, PublicKey, u16)> {
            let cables = cables.by_vswitch.get(&id(name)).into_iter().flatten();
            cables.map(|cable| (cable.number, cable.key, cable.mtu)).collect()
        };
        assert_eq!(found("red"), [(2, key(2), 1400)]);
        assert_eq!(found("blue"), [(3, key(1), 1400)]);
        assert_eq!(found("green"), []);
    }
}
