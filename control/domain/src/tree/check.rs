//! What is wrong with a tree, each problem with its place and with what would be allowed.
//!
//! Here is what an operator can be told before anything is sent: names, numbers, quotas, what leases need. What only
//! the dataplane knows (addresses that collide, tags that are hidden, which worker owns a link) it says itself when it
//! refuses a spec.

use super::{Place, Tree, Vif, Vswitch};
use crate::leases::{Binding, Leases};
use crate::money::UNIT_MAX;
use crate::terms::{LeaseId, PortSide, RATE_MIN, SHARE_MAX};
use dataplane_api::limits::{
    DIRECTOR_BITS_MAX, LOGIN_LEN_MAX, NAME_LEN_MAX, VIFS_MAX, VSWITCHES_MAX,
};
use dataplane_api::{Direction, LinkSpec, ListenSpec, RouteServerSpec, VifPolicy};
use ledger::amount::AmountError;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use wire::key::PublicKey;
use wire::scheme::Scheme;
use wire::traffic_class::{WEIGHT_MAX, WEIGHT_MIN};

/// Most problems that are told at once.
const PROBLEMS_MAX: usize = 100;
/// What the dataplane can keep, at most: parts of a million, and microseconds.
const GUARANTEED_PPM_MAX: u32 = 900_000;
const BUFFER_US_MAX: u32 = 25_000;
/// Longest name, contact or address that is kept, bytes.
const TEXT_LEN_MAX: usize = 256;
/// Shortest MTU of a vif: a switch error that quotes 16 bytes still fits.
const MTU_MIN: u16 = 64;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is there.
    pub found: String,
    /// What would be allowed.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; expected {}", self.place, self.found, self.allowed)
    }
}

impl Tree {
    /// What is wrong, in the order of the tree, at most 100 problems. None: it may be compiled.
    ///
    /// `ports`: the dataplane's ports, and the MTU of each.
    pub fn check(&self, ports: &BTreeMap<String, u16>, leases: &Leases) -> Vec<Problem> {
        self.check_with(None, ports, leases)
    }

    /// As [`Self::check`], of a tree that was made of one that was in order: keys are not looked at again in vswitches
    /// that are the same.
    pub fn check_change(
        &self,
        before: &Self,
        ports: &BTreeMap<String, u16>,
        leases: &Leases,
    ) -> Vec<Problem> {
        self.check_with(Some(before), ports, leases)
    }

    fn check_with(
        &self,
        before: Option<&Self>,
        ports: &BTreeMap<String, u16>,
        leases: &Leases,
    ) -> Vec<Problem> {
        let mut check = Check { before, ..Check::new(self, ports) };
        check.tree();
        for (id, lease, _) in leases.iter() {
            if let Some(binding) = &lease.binding {
                check.binding(id, lease.owner.map(|owner| owner.0), binding, leases);
            }
        }
        for side in leases.calendar().sides() {
            check.sold(side, leases);
        }
        check.problems.truncate(PROBLEMS_MAX);
        check.problems
    }
}

impl Tree {
    /// What is wrong with what one lease is bound to; none, if it is bound to nothing.
    pub fn check_lease(
        &self,
        ports: &BTreeMap<String, u16>,
        leases: &Leases,
        id: LeaseId,
    ) -> Vec<Problem> {
        let mut check = Check::new(self, ports);
        if let Ok((lease, _)) = leases.lease(id)
            && let Some(binding) = &lease.binding
        {
            check.binding(id, lease.owner.map(|owner| owner.0), binding, leases);
        }
        check.problems
    }
}

/// A place that costs nothing until something is wrong there.
#[derive(Clone, Copy)]
struct Here<'a> {
    above: Option<&'a Self>,
    name: &'a dyn fmt::Display,
}

impl<'a> Here<'a> {
    fn top(name: &'a dyn fmt::Display) -> Self {
        Self { above: None, name }
    }

    fn at(&'a self, name: &'a dyn fmt::Display) -> Self {
        Self { above: Some(self), name }
    }

    fn place(&self) -> Place {
        self.above.map_or_else(Place::root, Here::place).at(self.name)
    }
}

struct Check<'a> {
    tree: &'a Tree,
    ports: &'a BTreeMap<String, u16>,
    /// What was in order.
    before: Option<&'a Tree>,
    /// In what was in order and is the same: keys cost a digest each.
    skips_keys: bool,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn new(tree: &'a Tree, ports: &'a BTreeMap<String, u16>) -> Self {
        Self { tree, ports, before: None, skips_keys: false, problems: Vec::new() }
    }
}

impl Check<'_> {
    fn wrong(&mut self, here: Here<'_>, found: impl fmt::Display, allowed: impl fmt::Display) {
        // A hostile tree must not cost more memory than it is long.
        if self.problems.len() < PROBLEMS_MAX {
            let (found, allowed) = (found.to_string(), allowed.to_string());
            self.problems.push(Problem { place: here.place(), found, allowed });
        }
    }

    fn tree(&mut self) {
        let tree = self.tree;
        if tree.schema != super::SCHEMA {
            self.wrong(Here::top(&"schema"), tree.schema, super::SCHEMA);
        }
        self.settings();
        self.nodes();
        self.sold_ports();
        self.tenants();
        self.units();
        self.prices();
        for (name, policy) in &tree.policies {
            let place = Here::top(&"policy");
            let place = place.at(&name);
            self.name(place, name);
            if let Some(tenant) =
                policy.tenant.as_ref().filter(|it| !tree.tenants.contains_key(*it))
            {
                let found = format!("{tenant:?}, of which there is none");
                self.wrong(place.at(&"tenant"), found, names(tree.tenants.keys()));
            }
            for (role, policy) in &policy.roles {
                let role = format!("{role:?}").to_lowercase();
                self.policy(place.at(&"roles").at(&role), policy);
            }
        }
        let vifs = tree.vswitches.values().map(|vswitch| vswitch.vifs.len()).sum::<usize>();
        if tree.vswitches.len() > VSWITCHES_MAX || vifs > VIFS_MAX {
            let found = format!("{} with {vifs} vifs", tree.vswitches.len());
            let allowed = format!("at most {VSWITCHES_MAX} with {VIFS_MAX} vifs");
            self.wrong(Here::top(&"vswitch"), found, allowed);
        }
        let mut keys = BTreeMap::new();
        for (name, vswitch) in &tree.vswitches {
            let place = Here::top(&"vswitch");
            let place = place.at(&name);
            self.name(place, name);
            let before = self.before.and_then(|before| before.vswitches.get(name));
            self.skips_keys = before == Some(vswitch);
            self.vswitch(place, name, vswitch);
            let key = vswitch.public_key.parse::<PublicKey>().ok();
            if let Some(other) = key.and_then(|key| keys.insert(key.0, name)) {
                let found = format!("the key of vswitch {other}");
                self.wrong(place.at(&"public_key"), found, "a key of its own");
            }
        }
    }

    fn settings(&mut self) {
        let place = Here::top(&"box");
        let market = &self.tree.settings.market;
        for (name, text) in
            [("name", &self.tree.settings.name), ("contact", &self.tree.settings.contact)]
        {
            if text.len() > TEXT_LEN_MAX {
                let found = format!("{} bytes", text.len());
                self.wrong(place.at(&name), found, format!("at most {TEXT_LEN_MAX}"));
            }
        }
        let place = place.at(&"market");
        if market.refund_ppm > 1_000_000 {
            self.wrong(place.at(&"refund_ppm"), market.refund_ppm, "at most 1000000");
        }
        if market.confirmations == 0 {
            self.wrong(place.at(&"confirmations"), 0, "1 or more");
        }
        if market.offer_ms == 0 {
            self.wrong(place.at(&"offer_ms"), 0, "1 or more");
        }
    }

    fn nodes(&mut self) {
        for (name, node) in &self.tree.nodes {
            let place = Here::top(&"node");
            let place = place.at(&name);
            self.name(place, name);
            let is_url = ["http://", "https://"]
                .iter()
                .any(|scheme| node.url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
            if !is_url || node.url.len() > TEXT_LEN_MAX || node.url.contains(char::is_whitespace) {
                let allowed = "https://HOST:PORT, or http:// on this machine";
                self.wrong(place.at(&"url"), format!("{:?}", node.url), allowed);
            }
            if node.password.as_ref().is_some_and(dataplane_api::Secret::is_hidden) {
                let found = "the mark of one that was not shown";
                self.wrong(place.at(&"password"), found, "a password");
            }
        }
    }

    fn sold_ports(&mut self) {
        for (name, port) in &self.tree.ports {
            let place = Here::top(&"port");
            let place = place.at(&name);
            self.port(place, name);
            if !(RATE_MIN..=SHARE_MAX).contains(&port.capacity) {
                let allowed = format!("{RATE_MIN} to {SHARE_MAX} bytes/s");
                self.wrong(place.at(&"capacity"), port.capacity, allowed);
            }
            let rules = place.at(&"lease");
            for (name, found, most) in [
                ("guaranteed_ppm", port.lease.guaranteed_ppm, GUARANTEED_PPM_MAX),
                ("buffer_us", port.lease.buffer_us, BUFFER_US_MAX),
            ] {
                if found > most {
                    self.wrong(rules.at(&name), found, format!("at most {most}"));
                }
            }
        }
    }

    fn tenants(&mut self) {
        let mut used: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
        for vswitch in self.tree.vswitches.values() {
            let (vswitches, vifs, logins) = used.entry(&vswitch.tenant).or_default();
            *vswitches += 1;
            *vifs += vswitch.vifs.len();
            *logins += vswitch.logins.len();
        }
        let mut ids = BTreeMap::new();
        for (name, tenant) in &self.tree.tenants {
            let place = Here::top(&"tenant");
            let place = place.at(&name);
            self.name(place, name);
            if let Some(other) = ids.insert(tenant.id, name) {
                let found = format!("{}, the id of tenant {other}", tenant.id);
                self.wrong(place.at(&"id"), found, "an id of its own");
            }
            let (vswitches, vifs, logins) = used.get(name.as_str()).copied().unwrap_or_default();
            for (what, used, quota) in [
                ("vswitches", vswitches, tenant.quota.vswitches),
                ("vifs", vifs, tenant.quota.vifs),
                ("logins", logins, tenant.quota.logins),
            ] {
                if u32::try_from(used).map_or(true, |used| used > quota) {
                    let found = format!("{quota}, but the tenant has {used}");
                    self.wrong(place.at(&"quota").at(&what), found, format!("{used} or more"));
                }
            }
        }
    }

    fn units(&mut self) {
        let mut ids = BTreeMap::new();
        for (code, asset) in &self.tree.units {
            let place = Here::top(&"unit");
            let place = place.at(&code);
            match ledger::Unit::new(code, asset.per_whole) {
                Ok(_) => {}
                Err(AmountError::Parts(_)) => {
                    let allowed = "a number that divides 10^36";
                    self.wrong(place.at(&"per_whole"), asset.per_whole, allowed);
                }
                Err(error) => self.wrong(place, error, "another code"),
            }
            if asset.id > UNIT_MAX {
                self.wrong(place.at(&"id"), asset.id, format!("at most {UNIT_MAX}"));
            }
            if let Some(other) = ids.insert(asset.id, code) {
                let found = format!("{}, the id of unit {other}", asset.id);
                self.wrong(place.at(&"id"), found, "an id of its own");
            }
        }
    }

    fn prices(&mut self) {
        let mut by_side: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, price) in &self.tree.prices {
            let place = Here::top(&"price");
            let place = place.at(&name);
            self.name(place, name);
            if !self.tree.ports.contains_key(&price.port) {
                let found = format!("{:?}, which is not for sale", price.port);
                self.wrong(place.at(&"port"), found, names(self.tree.ports.keys()));
            }
            if !self.tree.units.contains_key(&price.unit) {
                let found = format!("{:?}, of which there is none", price.unit);
                self.wrong(place.at(&"unit"), found, names(self.tree.units.keys()));
            }
            for (name, per) in [("bytes_per_s", price.lease.bytes_per_s), ("ms", price.lease.ms)] {
                if per == 0 {
                    self.wrong(place.at(&"lease").at(&name), per, "1 or more");
                }
            }
            if price.slot().length_ms() == 0 {
                self.wrong(place.at(&"until"), price.slot().end, "a time after its begin");
            }
            let side = (&price.port, price.direction, &price.unit);
            by_side.entry(side).or_default().push((price.slot(), name));
        }
        for prices in by_side.values_mut() {
            prices.sort_by_key(|(slot, name)| (slot.start, slot.end, *name));
            for pair in prices.windows(2) {
                let [(earlier, first), (later, second)] = pair else { continue };
                if later.start < earlier.end {
                    let place = Here::top(&"price");
                    let place = place.at(&second);
                    let place = place.at(&"from");
                    let found = format!("{}, when price {first} still holds", later.start);
                    self.wrong(place, found, format!("{} or later", earlier.end));
                }
            }
        }
    }

    fn vswitch(&mut self, place: Here<'_>, name: &str, vswitch: &Vswitch) {
        if !self.tree.tenants.contains_key(&vswitch.tenant) {
            let found = format!("{:?}, of which there is none", vswitch.tenant);
            self.wrong(place.at(&"tenant"), found, names(self.tree.tenants.keys()));
        }
        if let Some(policy) = vswitch.policy.as_ref() {
            let is_usable = |policy: &super::Policy| {
                policy.tenant.as_ref().is_none_or(|tenant| *tenant == vswitch.tenant)
            };
            if !self.tree.policies.get(policy).is_some_and(is_usable) {
                let usable = self.tree.policies.iter().filter(|(_, policy)| is_usable(policy));
                let found = format!("{policy:?}, of which there is none for it");
                self.wrong(place.at(&"policy"), found, names(usable.map(|(name, _)| name)));
            }
        }
        self.key(place.at(&"public_key"), &vswitch.public_key);
        if let RouteServerSpec::Keys(keys) = &vswitch.route_server {
            for key in keys {
                self.key(place.at(&"route_server").at(&"keys"), key);
            }
        }
        match vswitch.scheme.scheme() {
            Err(error) => self.wrong(place.at(&"scheme"), error, "an encoding scheme"),
            Ok(scheme) if u32::from(scheme.max_width()) > DIRECTOR_BITS_MAX => {
                let found = format!("directors of {} bits", scheme.max_width());
                self.wrong(place.at(&"scheme"), found, format!("at most {DIRECTOR_BITS_MAX}"));
            }
            Ok(scheme) => {
                for (number, vif) in &vswitch.vifs {
                    let place = place.at(&"vif");
                    let place = place.at(&number);
                    self.number(place, number.0, &scheme);
                    self.vif(place, name, vif);
                }
            }
        }
        for (user, login) in &vswitch.logins {
            let place = place.at(&"login");
            let place = place.at(&user);
            if user.is_empty() || user.len() > LOGIN_LEN_MAX {
                let found = format!("a name of {} bytes", user.len());
                self.wrong(place, found, format!("1 to {LOGIN_LEN_MAX}"));
            }
            if login.password.0.is_empty() {
                self.wrong(place.at(&"password"), "nothing", "a password");
            } else if login.password.is_hidden() {
                self.wrong(
                    place.at(&"password"),
                    "the mark of one that was not shown",
                    "a password",
                );
            }
        }
        for (index, listen) in vswitch.listens.iter().enumerate() {
            let (kind, port, vlan) = match listen {
                ListenSpec::Ethernet { port, vlan, .. } => ("ethernet", port, vlan),
                ListenSpec::Udp { port, vlan, .. } => ("udp", port, vlan),
            };
            self.address(place.at(&"listen").at(&index).at(&kind), &vswitch.tenant, port, *vlan);
        }
    }

    fn number(&mut self, place: Here<'_>, number: u16, scheme: &Scheme) {
        if number == 1 {
            self.wrong(place, "number 1, the vswitch itself", "another number");
        } else if scheme.narrowest(number).is_none() {
            let highest = (0..scheme.numbers_max()).rev();
            let highest = highest.into_iter().find(|number| scheme.narrowest(*number).is_some());
            let allowed = format!("at most {}", highest.unwrap_or(1));
            self.wrong(place, "a number that its scheme cannot name", allowed);
        }
    }

    fn policy(&mut self, place: Here<'_>, policy: &VifPolicy) {
        if let Some((name, weight)) = policy.bad_weight() {
            self.wrong(place.at(&name), weight, format!("{WEIGHT_MIN} to {WEIGHT_MAX} bytes/s"));
        }
    }

    fn vif(&mut self, place: Here<'_>, vswitch: &str, vif: &Vif) {
        if let Some(policy) = &vif.policy {
            self.policy(place.at(&"policy"), policy);
        }
        match (&vif.link, &vif.cable) {
            (None, None) => self.wrong(place, "neither link nor cable", "one of both"),
            (Some(_), Some(_)) => self.wrong(place, "link and cable", "one of both"),
            (Some(link), None) => {
                let (kind, port, vlan) = match link {
                    LinkSpec::Ethernet { port, vlan, .. } => ("ethernet", port, vlan),
                    LinkSpec::Udp { port, vlan, .. } => ("udp", port, vlan),
                };
                let link_place = place.at(&"link");
                let link_place = link_place.at(&kind);
                let tenant = self.tree.vswitches.get(vswitch).map(|vswitch| &vswitch.tenant);
                self.address(link_place, tenant.map_or("", String::as_str), port, *vlan);
                if let Some(node) = link.node() {
                    let node_place = link_place.at(&"session");
                    let node_place = node_place.at(&"node");
                    self.key(node_place.at(&"public_key"), &node.public_key);
                    if node.password.as_ref().is_some_and(dataplane_api::Secret::is_hidden) {
                        let found = "the mark of one that was not shown";
                        self.wrong(node_place.at(&"password"), found, "a password");
                    }
                }
                let most = self.ports.get(port).copied().unwrap_or(u16::MAX);
                if let Some(mtu) = vif.mtu.filter(|mtu| !(MTU_MIN..=most).contains(mtu)) {
                    self.wrong(place.at(&"mtu"), mtu, format!("{MTU_MIN} to {most}"));
                }
            }
            (None, Some(there)) if there.vswitch == vswitch => {
                self.wrong(place.at(&"cable"), "a vif of the same vswitch", "one of another");
            }
            (None, Some(there)) => {
                let end = self.tree.vswitches.get(&there.vswitch);
                let end = end.and_then(|vswitch| vswitch.vifs.get(&super::VifNumber(there.vif)));
                if end.is_some_and(|end| end.link.is_some()) {
                    let found = format!("vif {} of {}, which has a link", there.vif, there.vswitch);
                    self.wrong(place.at(&"cable"), found, "a vif without a link");
                }
                if vif.mtu.is_some_and(|mtu| mtu < MTU_MIN) {
                    self.wrong(
                        place.at(&"mtu"),
                        vif.mtu.unwrap_or(0),
                        format!("{MTU_MIN} or more"),
                    );
                }
            }
        }
    }

    fn address(&mut self, place: Here<'_>, tenant: &str, port: &str, vlan: Option<u16>) {
        self.port(place.at(&"port"), port);
        let tenant = self.tree.tenants.get(tenant);
        if let Some(ports) = tenant.and_then(|tenant| tenant.quota.ports.as_ref())
            && !ports.contains(port)
        {
            let found = format!("{port:?}, on which its tenant may have no links");
            self.wrong(place.at(&"port"), found, names(ports.iter()));
        }
        if let Some(vlan) = vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
            self.wrong(place.at(&"vlan"), vlan, "1 to 4094");
        }
    }

    fn port(&mut self, place: Here<'_>, name: &str) {
        if !self.ports.contains_key(name) {
            let found = format!("{name:?}, which is no port of the box");
            self.wrong(place, found, names(self.ports.keys()));
        }
    }

    fn key(&mut self, place: Here<'_>, text: &str) {
        if self.skips_keys {
            return;
        }
        if !text.parse::<PublicKey>().is_ok_and(|key| key.is_usable()) {
            let allowed = "52 base-32 characters and .k, of an address in fc00::/8";
            self.wrong(place, format!("{text:?}"), allowed);
        }
    }

    fn name(&mut self, place: Here<'_>, name: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(plain) {
            let allowed = format!("1 to {NAME_LEN_MAX} letters, digits, - and _");
            self.wrong(place, format!("the name {name:?}"), allowed);
        }
    }

    /// What a lease that is bound needs of the tree.
    fn binding(&mut self, id: LeaseId, owner: Option<u32>, binding: &Binding, leases: &Leases) {
        let place = Here::top(&"vswitch");
        let place = place.at(&binding.vswitch);
        let until = || format!("what lease {id} is bound to, until it ends");
        let Some(vswitch) = self.tree.vswitches.get(&binding.vswitch) else {
            return self.wrong(place, "no such vswitch", until());
        };
        let tenant = self.tree.tenants.get(&vswitch.tenant).map(|tenant| tenant.id);
        if tenant.is_some() && tenant != owner {
            let found = format!("{:?}, but lease {id} is another tenant's", vswitch.tenant);
            self.wrong(place.at(&"tenant"), found, until());
        }
        let Ok((_, booking)) = leases.lease(id) else { return };
        for number in &binding.vifs {
            let place = place.at(&"vif");
            let place = place.at(&number);
            let vif = vswitch.vifs.get(&super::VifNumber(*number));
            let link = vif.map(|vif| vif.link.as_ref().map(port_of));
            match link {
                // Who comes by itself may have been promised a lease before it is there.
                None if !vswitch.listens.is_empty() => {}
                None => self.wrong(place, "no such vif", until()),
                Some(port) if port == Some(booking.side.port.as_str()) => {}
                Some(port) => {
                    let found =
                        port.map_or_else(|| "no link".to_owned(), |port| format!("port {port:?}"));
                    let allowed = format!("port {:?}, {}", booking.side.port, until());
                    self.wrong(place.at(&"link"), found, allowed);
                }
            }
        }
    }

    /// What is sold on a side must still fit.
    fn sold(&mut self, side: &PortSide, leases: &Leases) {
        let place = Here::top(&"port");
        let place = place.at(&side.port);
        let mtu = self.ports.get(&side.port).copied().unwrap_or(0);
        let limit = self.tree.ports.get(&side.port).map(|port| port.terms(mtu).limit());
        let misfits = leases.calendar().misfits(side, limit.unwrap_or_default());
        if let Some(first) = misfits.first() {
            let direction = match side.direction {
                Direction::Out => "out",
                Direction::In => "in",
            };
            let found = format!(
                "room for all but {} leases {direction}, lease {first} first of them",
                misfits.len()
            );
            self.wrong(place.at(&"capacity"), found, "room for what is sold, until it ends");
        }
    }
}

/// Name of the port of a link.
#[must_use]
pub fn port_of(link: &LinkSpec) -> &str {
    let (LinkSpec::Ethernet { port, .. } | LinkSpec::Udp { port, .. }) = link;
    port
}

/// The first few of what there is.
fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let all: BTreeSet<&String> = names.collect();
    let first: Vec<&str> = all.iter().take(8).map(|name| name.as_str()).collect();
    match (first.len(), all.len()) {
        (0, _) => "that it is made first".to_owned(),
        (few, many) if few < many => format!("one of {} … ({many} in all)", first.join(", ")),
        _ => format!("one of {}", first.join(", ")),
    }
}
