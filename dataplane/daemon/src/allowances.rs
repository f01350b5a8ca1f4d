//! What a port's XDP program lets through while a worker is behind: by link, what its ingress lease or its reserve allows.

use dataplane_api::PortId;
use engine::{Leases, LinkInfo, Rules};
use io::xdp::{Allowance, Allowances, Source};

/// Sources that no link has share this: some thousand handshakes a second, as a worker would take of them.
const STRANGERS: Allowance = Allowance { rate: 500_000, burst: 50_000, priority: false };

/// Of one port. The meter of a link is the number of the vif at which it is metered, and one.
pub(crate) fn allowances(rules: &Rules, leases: &Leases, port: PortId) -> Allowances {
    let mut all = Allowances { sold: leases.guards(port), ..Allowances::default() };
    all.meters.insert(0, STRANGERS);
    for vif in rules.vifs().filter(|vif| vif.port() == Some(port)) {
        let source = match vif.link {
            LinkInfo::Ethernet { vlan, own, peer, .. } => {
                Source::Ethernet { own: own.0, peer: peer.0, vlan: vlan.unwrap_or(0) }
            }
            LinkInfo::Udp { vlan, own, peer, .. } => {
                Source::Udp { own, peer, vlan: vlan.unwrap_or(0) }
            }
            LinkInfo::Cable { .. } => continue,
        };
        let Some((leader, terms)) = leases.allowance(vif.id) else { continue };
        let priority = terms.weight > 0;
        let allowance = Allowance { rate: terms.rate, burst: terms.burst, priority };
        all.meters.insert(leader.0 + 1, allowance);
        all.sources.insert(source, leader.0 + 1);
    }
    all
}
