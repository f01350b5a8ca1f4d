//! A box that is full: as many tenants, vifs and leases as there may be.

use dataplane_api::{Direction, LinkSpec, NodeSpec, SchemeSpec, Session, TenantId, VifName};
use domain::leases::{Binding, LeaseError};
use domain::tree::{Port, Quota, Tenant, Vif, VifNumber, Vswitch};
use domain::{Ask, Burst, LeaseId, Leases, PortSide, PortTerms, Slot, Time, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::key::PublicKey;

/// Leases, and vifs.
pub const LEASES: u32 = 65_536;
/// Tenants, with a vswitch each.
pub const TENANTS: u32 = 4096;
const VIFS_EACH: u32 = LEASES / TENANTS;
/// Of the one port: 100 Gb/s.
pub const CAPACITY: u64 = 12_500_000_000;
/// Of the one port.
pub const MTU: u16 = 1500;
/// Milliseconds.
pub const HOUR: u64 = 3_600_000;

/// Every tenant a vswitch, every vif a link to a node.
#[must_use]
pub fn tree() -> Tree {
    let mut tree = Tree::default();
    let lease = domain::tree::LeaseRules::default();
    tree.ports.insert("west".into(), Port { capacity: CAPACITY, lease });
    let keys = (0_u64..).map(|seed| {
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        PublicKey(bytes)
    });
    let mut keys = keys.filter(PublicKey::is_usable);
    let neighbour = keys.next().unwrap_or(PublicKey([0; 32]));
    for (tenant, key) in (0..TENANTS).zip(&mut keys) {
        let name = format!("t{tenant}");
        tree.tenants.insert(name.clone(), Tenant { id: tenant, quota: Quota::default() });
        let vif = |number: u32| {
            let node = NodeSpec {
                public_key: neighbour.to_string(),
                password: None,
                login: None,
                handshake: dataplane_api::Handshake::default(),
                reads_all: false,
            };
            let [.., a, b, c] = (tenant * VIFS_EACH + number).to_be_bytes();
            let link = LinkSpec::Ethernet {
                port: "west".into(),
                vlan: None,
                local: None,
                peer: dataplane_api::MacAddress([2, 0, 0, a, b, c]),
                session: Session::Node(node),
            };
            let number = VifNumber(u16::try_from(number).unwrap_or(u16::MAX));
            (number, Vif { link: Some(link), ..Vif::default() })
        };
        let vswitch = Vswitch {
            tenant: name.clone(),
            public_key: key.to_string(),
            scheme: SchemeSpec::default(),
            policy: None,
            route_server: dataplane_api::RouteServerSpec::default(),
            vifs: (2..2 + VIFS_EACH).map(vif).collect(),
            logins: BTreeMap::new(),
            listens: Vec::new(),
        };
        tree.vswitches.insert(name, Arc::new(vswitch));
    }
    tree
}

/// Every vif a lease, from its own instant on for a month.
///
/// # Errors
/// They do not fit: the figures of this module are wrong.
pub fn leases() -> Result<Leases, LeaseError> {
    let side = PortSide { port: "west".into(), direction: Direction::Out };
    let mut leases = Leases::default();
    leases.set_terms(&side, PortTerms::usual(CAPACITY, MTU));
    for id in 0..LEASES {
        let (tenant, vif) = (id / VIFS_EACH, 2 + id % VIFS_EACH);
        let slot = Slot { start: Time(u64::from(id)), end: Time(30 * 24 * HOUR + u64::from(id)) };
        let burst = Burst::UpTo(4000);
        let ask = Ask { side: side.clone(), slot, bytes_per_s: 150_000, burst };
        leases.offer(Time(0), LeaseId(id), &ask, Time(1000))?;
        leases.sell(Time(0), LeaseId(id), TenantId(tenant))?;
        let end =
            VifName { vswitch: format!("t{tenant}"), vif: u16::try_from(vif).unwrap_or(u16::MAX) };
        let (vswitch, vifs) = (end.vswitch, BTreeSet::from([end.vif]));
        leases.bind(Time(0), LeaseId(id), Binding { vswitch, vifs, ..Binding::default() })?;
    }
    Ok(leases)
}
