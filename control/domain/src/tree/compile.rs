//! From the tree and the leases to what the dataplane shall be.

use super::{Tree, Vif, VifNumber, Vswitch};
use crate::calendar::Booking;
use crate::leases::{Binding, Lease, Leases};
use crate::terms::{LeaseId, Time};
use dataplane_api::{
    CableSpec, CapacitySpec, Generation, LeaseSpec, LoginSpec, Role, Spec, VifName, VifSpec,
    VswitchSpec,
};

impl Tree {
    /// The spec of a tree that [`Tree::check`] finds nothing wrong with.
    ///
    /// A vif that waits for the other end of its cable to want it too is left out. A lease is guaranteed until its
    /// grace is over, or until the next one on one of its vifs begins.
    #[must_use]
    pub fn compile(&self, generation: Generation, leases: &Leases) -> Spec {
        let capacity = |(name, port): (&String, &super::Port)| CapacitySpec {
            port: name.clone(),
            rate: port.capacity,
        };
        Spec {
            generation,
            vswitches: self.vswitches.iter().map(|(name, at)| self.vswitch(name, at)).collect(),
            cables: self.cables(),
            capacities: self.ports.iter().map(capacity).collect(),
            leases: leases.iter().filter_map(|lease| self.lease(leases, lease)).collect(),
        }
    }

    fn vswitch(&self, name: &str, vswitch: &Vswitch) -> VswitchSpec {
        let policy = vswitch.policy.as_ref().and_then(|policy| self.policies.get(policy));
        let of_role = |role: Role| {
            policy.and_then(|policy| policy.roles.get(&role)).cloned().unwrap_or_default()
        };
        let vif = |(number, vif): (&VifNumber, &Vif)| {
            let is_there = vif.cable.as_ref().is_none_or(|end| self.is_joined(name, *number, end));
            is_there.then(|| VifSpec {
                number: number.0,
                role: vif.role,
                mtu: vif.mtu,
                link: vif.link.clone(),
                policy: vif.policy.clone().unwrap_or_else(|| of_role(vif.role)),
            })
        };
        let login = |(user, login): (&String, &super::Login)| LoginSpec {
            user: user.clone(),
            password: login.password.clone(),
            only: login.only,
            role: login.role,
            policy: of_role(login.role),
        };
        VswitchSpec {
            name: name.to_owned(),
            tenant: self.tenants.get(&vswitch.tenant).map_or(0, |tenant| tenant.id),
            public_key: vswitch.public_key.clone(),
            scheme: vswitch.scheme.clone(),
            vifs: vswitch.vifs.iter().filter_map(vif).collect(),
            allow: policy.map(|policy| policy.allow.clone()),
            logins: vswitch.logins.iter().map(login).collect(),
            listens: vswitch.listens.clone(),
            route_server: vswitch.route_server.clone(),
        }
    }

    /// Each cable once, from the vswitch whose name comes first.
    fn cables(&self) -> Vec<CableSpec> {
        let vifs = self.vswitches.iter().flat_map(|(name, vswitch)| {
            vswitch.vifs.iter().map(move |(number, vif)| (name, *number, vif.cable.as_ref()))
        });
        let cable = |(name, number, end): (&String, VifNumber, Option<&VifName>)| {
            let end = end.filter(|end| *name < end.vswitch && self.is_joined(name, number, end))?;
            let here = VifName { vswitch: name.clone(), vif: number.0 };
            Some(CableSpec { a: here, b: end.clone() })
        };
        vifs.filter_map(cable).collect()
    }

    /// Whether the other end of a cable wants this one.
    fn is_joined(&self, vswitch: &str, number: VifNumber, end: &VifName) -> bool {
        let there = self.vswitches.get(&end.vswitch);
        let there = there.and_then(|vswitch| vswitch.vifs.get(&VifNumber(end.vif)));
        let back = there.and_then(|vif| vif.cable.as_ref());
        back.is_some_and(|back| back.vswitch == vswitch && back.vif == number.0)
    }

    fn lease(
        &self,
        leases: &Leases,
        (id, lease, booking): (LeaseId, &Lease, &Booking),
    ) -> Option<LeaseSpec> {
        let binding = lease.binding.as_ref()?;
        let capacity = self.ports.get(&booking.side.port)?.capacity;
        let name = |vif: &u16| VifName { vswitch: binding.vswitch.clone(), vif: *vif };
        Some(LeaseSpec {
            id: id.0,
            vifs: binding.vifs.iter().map(name).collect(),
            direction: booking.side.direction,
            rate: booking.share.bytes_per_s,
            burst: Some(booking.share.burst_bytes),
            // The port may have become slower since they were chosen.
            weight: binding.weight.map(|weight| weight.min(capacity)),
            ceiling: binding.ceiling.filter(|most| *most > 0).map(|most| most.min(capacity)),
            preserve_order: binding.preserve_order,
            start: Some(booking.slot.start.0),
            end: Some(guaranteed_until(leases, binding, booking).0),
        })
    }
}

fn guaranteed_until(leases: &Leases, binding: &Binding, booking: &Booking) -> Time {
    let others = leases.bound_to(&binding.vswitch, &binding.vifs);
    let others = others.filter_map(|id| Some(leases.lease(id).ok()?.1));
    let next = others
        .filter(|other| other.side.direction == booking.side.direction)
        .map(|other| other.slot.start)
        .filter(|start| *start >= booking.slot.end)
        .min();
    next.map_or(booking.grace_until, |next| next.min(booking.grace_until))
}
