//! The configuration tree: what an operator says the box shall be, as one typed value.
//!
//! ```text
//! box               what holds for the box as a whole
//! node.NAME         nodes that the box is attached to: a chain's, a wallet, Lightning
//! port.NAME         what of a port is for sale, and by which rules
//! tenant.NAME       who is on the box, and how much each may have
//! unit.CODE         what prices and accounts are in
//! price.NAME        what a lease costs, by side of a port, unit and time
//! policy.NAME       which roles may send to which, and what they may claim
//! vswitch.NAME      whose it is, its key, its scheme, its policy …
//!   .vif.NUMBER     … its interfaces: a link, or one end of a cable
//!   .login.USER     … who may become a neighbour by logging in
//!   .listen         … and where
//! ```
//!
//! Leases are not in it: they are sold, and taking back a change of the configuration must not take back a sale. What
//! they need of the tree is checked with it ([`Tree::check`]), and they are compiled with it ([`Tree::compile`]).

mod check;
mod compile;
mod edit;
mod entry;
mod place;
mod price;
mod schema;
mod settings;

pub use check::{Problem, port_of};
pub use edit::{Difference, EditError, diff};
pub use entry::{Change, changes};
pub use place::{BadPlace, Place};
pub use price::{Asset, Price, Quote, QuoteError, QuotePart, RatePrice};
pub use schema::{SchemaError, TreeError};
pub use settings::{Market, Node, NodeKind, Settings};

use crate::terms::PortTerms;
use dataplane_api::{
    LinkSpec, ListenSpec, Role, RouteServerSpec, SchemeSpec, Secret, Session, VifName, VifPolicy,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// Version of the tree's shape; earlier ones are read, and written as far as they can say what is there.
pub const SCHEMA: u32 = 2;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What holds for the box as a whole.
    #[serde(default, rename = "box", skip_serializing_if = "Settings::is_default")]
    pub settings: Settings,
    /// Nodes that the box is attached to.
    #[serde(default, rename = "node", skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, Node>,
    /// Ports that are sold, by their names in the dataplane.
    #[serde(default, rename = "port", skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, Port>,
    /// Cloud ISPs.
    #[serde(default, rename = "tenant", skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, Tenant>,
    /// Assets that prices and accounts are in, by what people call them.
    #[serde(default, rename = "unit", skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, Asset>,
    /// What leases cost.
    #[serde(default, rename = "price", skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, Price>,
    /// What vswitches may let through.
    #[serde(default, rename = "policy", skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, Policy>,
    /// Virtual switches. Trees that differ in a few share the rest.
    #[serde(default, rename = "vswitch", skip_serializing_if = "BTreeMap::is_empty")]
    pub vswitches: BTreeMap<String, Arc<Vswitch>>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            settings: Settings::default(),
            nodes: BTreeMap::new(),
            ports: BTreeMap::new(),
            tenants: BTreeMap::new(),
            units: BTreeMap::new(),
            prices: BTreeMap::new(),
            policies: BTreeMap::new(),
            vswitches: BTreeMap::new(),
        }
    }
}

/// A port that is sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Measured capacity of each direction, bytes a second on the wire.
    pub capacity: u64,
    /// By which rules.
    #[serde(default)]
    pub lease: LeaseRules,
}

/// By which rules a port is sold; each is that of [`PortTerms`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseRules {
    /// Parts of a million of the capacity that may be guaranteed.
    pub guaranteed_ppm: u32,
    /// Depth of the buffer for guaranteed packets, microseconds of the capacity.
    pub buffer_us: u32,
    /// How long a lease goes on after its end, so that a late renewal leaves no gap.
    pub grace_ms: u64,
    /// Longest time after a lease's end for which its holder is asked first.
    pub first_refusal_ms: u64,
    /// How long before the end the holder must have decided.
    pub notice_ms: u64,
}

impl Default for LeaseRules {
    fn default() -> Self {
        let PortTerms { guaranteed_ppm, buffer_us, grace_ms, first_refusal_ms, notice_ms, .. } =
            PortTerms::usual(0, 0);
        Self { guaranteed_ppm, buffer_us, grace_ms, first_refusal_ms, notice_ms }
    }
}

impl Port {
    /// What is for sale in each direction, on a port of this MTU.
    #[must_use]
    pub fn terms(&self, mtu: u16) -> PortTerms {
        let LeaseRules { guaranteed_ppm, buffer_us, grace_ms, first_refusal_ms, notice_ms } =
            self.lease;
        PortTerms {
            capacity_bytes_per_s: self.capacity,
            guaranteed_ppm,
            buffer_us,
            mtu,
            grace_ms,
            first_refusal_ms,
            notice_ms,
        }
    }
}

/// A Cloud ISP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its number, for good: leases and accounts go by it.
    pub id: u32,
    /// How much it may have.
    #[serde(default)]
    pub quota: Quota,
}

/// How much a tenant may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Virtual switches.
    pub vswitches: u32,
    /// Vifs, over all of them.
    pub vifs: u32,
    /// Logins, over all of them.
    pub logins: u32,
    /// Ports that it may have links on; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<BTreeSet<String>>,
}

impl Default for Quota {
    fn default() -> Self {
        Self { vswitches: 1, vifs: 256, logins: 256, ports: None }
    }
}

/// What a vswitch may let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name of the tenant whose it is, to use and to change; `None`: the box's, for all to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Allowed (ingress role, egress role) pairs.
    pub allow: Vec<(Role, Role)>,
    /// What vifs of a role may claim, where they have no policy of their own: also those of neighbours that log in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<Role, VifPolicy>,
}

/// A virtual switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vswitch {
    /// Name of the tenant.
    pub tenant: String,
    /// Permanent public key: 52 base-32 characters and `.k`.
    pub public_key: String,
    /// How its labels name vifs.
    #[serde(default)]
    pub scheme: SchemeSpec,
    /// Name of its policy; `None` is valley-free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Which route server its router announces itself to.
    #[serde(default)]
    pub route_server: RouteServerSpec,
    /// Its interfaces.
    #[serde(default, rename = "vif", skip_serializing_if = "BTreeMap::is_empty")]
    pub vifs: BTreeMap<VifNumber, Vif>,
    /// Who may log in from an address that no vif names, by user name.
    #[serde(default, rename = "login", skip_serializing_if = "BTreeMap::is_empty")]
    pub logins: BTreeMap<String, Login>,
    /// Where such neighbours may call.
    #[serde(default, rename = "listen", skip_serializing_if = "Vec::is_empty")]
    pub listens: Vec<ListenSpec>,
}

/// Number of a vif; a name in text, as names of tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VifNumber(pub u16);

/// Text that is no number of a vif.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vif {0:?}: expected a number below 65536")]
pub struct BadVifNumber(String);

impl TryFrom<String> for VifNumber {
    type Error = BadVifNumber;

    fn try_from(text: String) -> Result<Self, BadVifNumber> {
        // One way to write a number: what reads back as another is another name.
        match text.parse::<u16>() {
            Ok(number) if number.to_string() == text => Ok(Self(number)),
            Ok(_) | Err(_) => Err(BadVifNumber(text)),
        }
    }
}

impl From<VifNumber> for String {
    fn from(number: VifNumber) -> Self {
        number.to_string()
    }
}

impl fmt::Display for VifNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An interface: with a link, or one end of a cable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vif {
    /// What the neighbour is to the tenant.
    #[serde(default)]
    pub role: Role,
    /// Longest switch packet to send on it, bytes; `None`: what the port's MTU allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The link behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkSpec>,
    /// The vif of another vswitch that it shall be joined to. It is, once that vif names this one: both must want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cable: Option<VifName>,
    /// What its packets may claim, and who sees them; `None`: as its vswitch's policy says of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<VifPolicy>,
}

/// What a neighbour may log in with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Shared with the neighbour.
    pub password: Secret,
    /// Only the node with this address may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Ipv6Addr>,
    /// Role of the vif that a neighbour becomes.
    #[serde(default)]
    pub role: Role,
}

impl Tree {
    /// The same for other people's eyes: every password is [`Secret::HIDDEN`].
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        for vswitch in shown.vswitches.values_mut().filter(|vswitch| vswitch.has_secrets()) {
            Arc::make_mut(vswitch).hide_secrets();
        }
        shown.nodes.values_mut().for_each(Node::hide_secrets);
        shown
    }
}

impl Tree {
    /// Where a password is [`Secret::HIDDEN`], it is again what stands at the same place of another tree, if there is
    /// one: so a tree that was shown can be changed and given back.
    pub fn restore_secrets(&mut self, from: &Self) {
        let restore = |secret: &mut Secret, known: Option<&Secret>| {
            if let Some(known) = known.filter(|_| secret.is_hidden()) {
                *secret = known.clone();
            }
        };
        for (name, node) in &mut self.nodes {
            let known = from.nodes.get(name).and_then(|node| node.password.as_ref());
            node.password.iter_mut().for_each(|password| restore(password, known));
        }
        for (name, vswitch) in &mut self.vswitches {
            let Some(there) = from.vswitches.get(name).filter(|_| vswitch.has_secrets()) else {
                continue;
            };
            let vswitch = Arc::make_mut(vswitch);
            for (user, login) in &mut vswitch.logins {
                restore(&mut login.password, there.logins.get(user).map(|login| &login.password));
            }
            for (number, vif) in &mut vswitch.vifs {
                let known = there.vifs.get(number).and_then(|vif| vif.link.as_ref());
                let known = known.and_then(LinkSpec::node).and_then(|node| node.password.as_ref());
                let session = vif.link.as_mut().map(|link| {
                    let (LinkSpec::Ethernet { session, .. } | LinkSpec::Udp { session, .. }) = link;
                    session
                });
                if let Some(Session::Node(node)) = session {
                    node.password.iter_mut().for_each(|password| restore(password, known));
                }
            }
        }
    }
}

impl Vswitch {
    fn has_secrets(&self) -> bool {
        let has = |vif: &Vif| {
            let node = vif.link.as_ref().and_then(LinkSpec::node);
            node.is_some_and(|node| node.password.is_some())
        };
        !self.logins.is_empty() || self.vifs.values().any(has)
    }

    fn hide_secrets(&mut self) {
        let hide = |secret: &mut Secret| *secret = Secret(Secret::HIDDEN.into());
        self.logins.values_mut().for_each(|login| hide(&mut login.password));
        for link in self.vifs.values_mut().filter_map(|vif| vif.link.as_mut()) {
            let (LinkSpec::Ethernet { session, .. } | LinkSpec::Udp { session, .. }) = link;
            if let Session::Node(node) = session {
                node.password.as_mut().map(hide);
            }
        }
    }
}
