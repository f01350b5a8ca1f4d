//! Leases and capacities of a spec, against the vifs of the rules.

use super::PortFacts;
use crate::leases::{LeaseInfo, PortCapacity, RATE_MIN};
use crate::rules::{Rules, VifInfo};
use crate::schedule::Terms;
use crate::spec_error::{CapacityError, LeaseError, SpecError};
use dataplane_api::{Direction, LeaseSpec, PortId, Spec, VifId};
use std::collections::{BTreeMap, BTreeSet};

/// Ethernet header with a tag, preamble, gap and check sequence: what a frame's MTU does not count.
const FRAME_OVERHEAD: u32 = 42;
/// Parts of a thousand of a port that may be guaranteed: deadlines need the rest (CLOUD-ISP.md §3.5 R2).
const GUARANTEED_PER_MILLE: u64 = 900;
/// All bursts of a port together: so many milliseconds of its rate.
const BURSTS_MS: u64 = 25;
/// Burst of a lease that names none.
const BURST_MS: u64 = 5;
const BURST_FRAMES: u64 = 6;
/// Least burst, in longest frames.
const BURST_FRAMES_MIN: u64 = 2;

/// Puts capacities and leases into the rules.
pub(super) fn add(rules: &mut Rules, spec: &Spec, ports: &[PortFacts]) -> Result<(), SpecError> {
    rules.capacities = capacities(spec, ports)?;
    let mut seen = BTreeSet::new();
    for lease in &spec.leases {
        let refuse = |error| SpecError::Lease { id: lease.id, error };
        if !seen.insert(lease.id) {
            return Err(refuse(LeaseError::Twice));
        }
        if let Some(info) = resolve(rules, spec, lease, ports).map_err(refuse)? {
            rules.leases.push(info);
        }
    }
    one_at_a_time(&rules.leases)?;
    not_oversold(rules, ports)
}

/// Rate and longest frame of each port that is sold.
fn capacities(spec: &Spec, ports: &[PortFacts]) -> Result<Box<[Option<PortCapacity>]>, SpecError> {
    let mut sold: Box<[Option<PortCapacity>]> = vec![None; ports.len()].into();
    for capacity in &spec.capacities {
        let refuse = |error| SpecError::Capacity { port: capacity.port.clone(), error };
        let index = ports.iter().position(|port| port.name == capacity.port);
        let index = index.ok_or_else(|| refuse(CapacityError::NoPort))?;
        if capacity.rate < RATE_MIN {
            return Err(refuse(CapacityError::Rate(capacity.rate)));
        }
        let longest = ports[index].mtu.saturating_add(FRAME_OVERHEAD);
        if sold[index].replace(PortCapacity { rate: capacity.rate, longest }).is_some() {
            return Err(refuse(CapacityError::Twice));
        }
    }
    Ok(sold)
}

/// A lease with its vifs; `None` if none of them is there now.
fn resolve(
    rules: &Rules,
    spec: &Spec,
    lease: &LeaseSpec,
    ports: &[PortFacts],
) -> Result<Option<LeaseInfo>, LeaseError> {
    if lease.vifs.is_empty() {
        return Err(LeaseError::NoVif);
    }
    let (start, end) = (lease.start.unwrap_or(0), lease.end.unwrap_or(u64::MAX));
    if start >= end {
        return Err(LeaseError::Times { start, end });
    }
    let mut vifs: Vec<&VifInfo> = Vec::new();
    for name in &lease.vifs {
        let vswitch = rules.vswitch_named(&name.vswitch);
        let vif = vswitch.and_then(|vswitch| rules.vif_numbered(vswitch.id, name.vif));
        match vif {
            Some(vif) => vifs.push(vif),
            // A neighbour that comes by itself may have been promised a lease before it is there.
            None if may_come(spec, &name.vswitch) => {}
            None => return Err(LeaseError::Vif { vswitch: name.vswitch.clone(), vif: name.vif }),
        }
    }
    let Some(first) = vifs.first() else { return Ok(None) };
    let port = first.port().ok_or(LeaseError::Cable)?;
    for vif in &vifs {
        if vif.port() != Some(port) {
            return Err(LeaseError::Ports);
        }
        if vif.owner != first.owner {
            return Err(LeaseError::Owners);
        }
    }
    let name = || ports.get(port.index()).map_or_else(String::new, |port| port.name.clone());
    let capacity = rules.capacities.get(port.index()).copied().flatten();
    let PortCapacity { rate, longest } = capacity.ok_or_else(|| LeaseError::NoCapacity(name()))?;
    for asked in [Some(lease.rate), lease.weight, lease.ceiling].into_iter().flatten() {
        if asked > rate || asked > 0 && asked < RATE_MIN {
            return Err(LeaseError::Rate { found: asked, most: rate });
        }
    }
    let least = BURST_FRAMES_MIN * u64::from(longest);
    let usual =
        (BURST_FRAMES * u64::from(longest)).max(lease.rate.saturating_mul(BURST_MS) / 1_000);
    let burst = lease.burst.unwrap_or(usual);
    if burst < least {
        return Err(LeaseError::Burst { found: burst, least });
    }
    let mut ids: Vec<VifId> = vifs.iter().map(|vif| vif.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let terms = Terms {
        rate: lease.rate,
        burst,
        weight: lease.weight.unwrap_or(lease.rate),
        ceiling: lease.ceiling.unwrap_or(0),
        preserve_order: lease.preserve_order,
    };
    let (id, direction) = (lease.id, lease.direction);
    Ok(Some(LeaseInfo { id, direction, port, vifs: ids, terms, start, end }))
}

/// Whether neighbours may become vifs of a vswitch by themselves.
fn may_come(spec: &Spec, name: &str) -> bool {
    spec.vswitches.iter().any(|vswitch| vswitch.name == name && !vswitch.listens.is_empty())
}

/// No vif has two leases of one direction at a time.
fn one_at_a_time(leases: &[LeaseInfo]) -> Result<(), SpecError> {
    let mut by_vif: BTreeMap<(VifId, Direction), Vec<&LeaseInfo>> = BTreeMap::new();
    for lease in leases {
        for vif in &lease.vifs {
            by_vif.entry((*vif, lease.direction)).or_default().push(lease);
        }
    }
    for held in by_vif.values_mut() {
        held.sort_unstable_by_key(|lease| lease.start);
        if let Some([earlier, later]) =
            held.array_windows().find(|[earlier, later]| later.start < earlier.end)
        {
            let error = LeaseError::Overlap { other: earlier.id };
            return Err(SpecError::Lease { id: later.id, error });
        }
    }
    Ok(())
}

/// At every moment a port's guarantees, and its bursts, are no more than it can keep.
fn not_oversold(rules: &Rules, ports: &[PortFacts]) -> Result<(), SpecError> {
    let sold = rules.capacities.iter().enumerate();
    for (index, sold) in sold.filter_map(|(index, sold)| Some((index, (*sold)?))) {
        let rate = sold.rate;
        let port = PortId(u16::try_from(index).unwrap_or(u16::MAX));
        let (most, bursts_most) = (part(rate, GUARANTEED_PER_MILLE), part(rate, BURSTS_MS));
        for direction in [Direction::Out, Direction::In] {
            let on_it = rules
                .leases
                .iter()
                .filter(|lease| lease.port == port && lease.direction == direction);
            // Ends before starts: a lease may follow another at the same moment.
            let mut changes: Vec<(u64, bool, &LeaseInfo)> = on_it
                .flat_map(|lease| [(lease.start, true, lease), (lease.end, false, lease)])
                .collect();
            changes.sort_unstable_by_key(|(at, starts, _)| (*at, *starts));
            let (mut rates, mut bursts) = (0_u64, 0_u64);
            for (at, starts, lease) in changes {
                let Terms { rate, burst, .. } = lease.terms;
                if !starts {
                    (rates, bursts) = (rates - rate, bursts - burst);
                    continue;
                }
                (rates, bursts) = (rates.saturating_add(rate), bursts.saturating_add(burst));
                let name = || ports[index].name.clone();
                if rates > most {
                    let error = CapacityError::Rates { at, sum: rates, most };
                    return Err(SpecError::Capacity { port: name(), error });
                }
                if bursts > bursts_most {
                    let error = CapacityError::Bursts { at, sum: bursts, most: bursts_most };
                    return Err(SpecError::Capacity { port: name(), error });
                }
            }
        }
    }
    Ok(())
}

/// Thousandths of a rate.
fn part(rate: u64, per_mille: u64) -> u64 {
    u64::try_from(u128::from(rate) * u128::from(per_mille) / 1_000).unwrap_or(u64::MAX)
}
