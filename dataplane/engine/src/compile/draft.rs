//! A spec with every name resolved and every rule checked, before anything is built.

use super::PortFacts;
use crate::rules::{Endpoints, LinkKey, Listener, NodeInfo, OwnAddress, UNTAGGED};
use crate::spec_error::{CableError, SpecError, VifError, VswitchError};
use dataplane_api::limits::{
    DIRECTOR_BITS_MAX, LOGIN_LEN_MAX, NAME_LEN_MAX, PASSWORD_LEN_MAX, VIFS_MAX, VSWITCHES_MAX,
};
use dataplane_api::{
    BeaconMode, CableSpec, LearnedVif, LinkSpec, ListenSpec, LoginSpec, MacAddress, PortId, Role,
    RouteServerSpec, SchemeSpec, Secret, Session, Spec, VifName, VifPolicy, VifSpec, VswitchSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use wire::key::PublicKey;
use wire::scheme::Scheme;

/// Shortest MTU of a vif: a switch error that quotes 16 bytes still fits.
const MTU_MIN: u16 = 64;
/// Bytes of the ETHInterface header.
const ETH_INTERFACE_LEN: u32 = 6;
/// Bytes of IPv4 and UDP headers.
const UDP4_LEN: u32 = 28;
/// Bytes of IPv6 and UDP headers.
const UDP6_LEN: u32 = 48;
/// Bytes that a session adds to a packet: Noise 24, CryptoAuth 20; which it will be is not known before it is up.
const SESSION_LEN: u32 = 24;

/// What makes a link the same link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    Ethernet(PortId, LinkKey),
    Udp(Endpoints),
    /// Nothing waits in a cable, so all cables are the same.
    Cable,
}

/// What makes a vif's neighbour the same neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) behind: Behind,
    /// Of an encrypted link.
    pub(crate) node: Option<PublicKey>,
}

#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) vswitches: Vec<DraftVswitch<'a>>,
    pub(crate) vifs: usize,
}

#[derive(Debug)]
pub(crate) struct DraftVswitch<'a> {
    pub(crate) spec: &'a VswitchSpec,
    pub(crate) key: PublicKey,
    pub(crate) scheme: Scheme,
    /// By ingress role: a bit for each role that packets may leave to.
    pub(crate) allow: [u8; 3],
    pub(crate) vifs: BTreeMap<u16, DraftVif>,
    pub(crate) listeners: Vec<Listener>,
    /// Keys of the route servers that it may use; `None`: any.
    pub(crate) route_servers: Option<Vec<PublicKey>>,
}

#[derive(Clone, Debug)]
pub(crate) struct DraftVif {
    pub(crate) role: Role,
    pub(crate) mtu: u16,
    pub(crate) behind: Option<Behind>,
    /// The node behind an encrypted link.
    pub(crate) node: Option<NodeInfo>,
    pub(crate) policy: VifPolicy,
    /// Cables: place in the draft of the other end's vswitch, and its number.
    pub(crate) cable: Option<(usize, u16)>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        spec: &'a Spec,
        learned: &[LearnedVif],
        ports: &[PortFacts],
    ) -> Result<Self, SpecError> {
        let vifs = spec.vswitches.iter().map(|vswitch| vswitch.vifs.len()).sum();
        if spec.vswitches.len() > VSWITCHES_MAX {
            return Err(SpecError::Vswitches(spec.vswitches.len()));
        }
        if vifs > VIFS_MAX {
            return Err(SpecError::Vifs(vifs));
        }
        let mut by_name = BTreeMap::new();
        let mut by_key: BTreeMap<[u8; 32], &str> = BTreeMap::new();
        let mut vswitches = Vec::with_capacity(spec.vswitches.len());
        for (index, vswitch) in spec.vswitches.iter().enumerate() {
            check_name(&vswitch.name)?;
            if by_name.insert(vswitch.name.as_str(), index).is_some() {
                return Err(SpecError::NameTwice(vswitch.name.clone()));
            }
            let draft = draft_vswitch(vswitch, ports)?;
            if let Some(other) = by_key.insert(draft.key.0, &vswitch.name) {
                let error = VswitchError::KeyTwice {
                    key: vswitch.public_key.clone(),
                    other: other.to_owned(),
                };
                return Err(SpecError::Vswitch { vswitch: vswitch.name.clone(), error });
            }
            vswitches.push(draft);
        }
        let mut draft = Self { vswitches, vifs };
        for cable in &spec.cables {
            draft.join(cable, &by_name).map_err(|error| cable_error(cable, error))?;
        }
        draft.check_all_connected()?;
        let mut taken = draft.check_addresses(ports)?;
        draft.check_plain(ports)?;
        for learned in learned {
            let Some(index) = by_name.get(learned.vswitch.as_str()) else { continue };
            draft.add_learned(*index, learned, ports, &mut taken);
        }
        Ok(draft)
    }

    /// Adds a neighbour that logged in, unless the spec gives what it has to another.
    fn add_learned(
        &mut self,
        index: usize,
        learned: &LearnedVif,
        ports: &[PortFacts],
        taken: &mut Taken<'a>,
    ) {
        let vswitch = &mut self.vswitches[index];
        let number = learned.vif.number;
        let Ok(mut vif) = draft_vif(&learned.vif, &vswitch.key, &vswitch.scheme, ports) else {
            return;
        };
        let (Some(node), Some(at)) = (&mut vif.node, vif.behind.and_then(addresses)) else {
            return;
        };
        node.learned = true;
        node.user.clone_from(&learned.user);
        let login = |login: &&LoginSpec| Some(&login.user) == learned.user.as_ref();
        if let Some(login) = vswitch.spec.logins.iter().find(login) {
            vif.policy = login.policy.clone();
        }
        let (port, vlan, own, _) = at;
        let listens = vswitch
            .listeners
            .iter()
            .any(|at| (at.port, at.vlan.unwrap_or(UNTAGGED), at.own) == (port, vlan, own));
        let node = node.key;
        let known =
            vswitch.vifs.values().any(|vif| vif.node.as_ref().map(|of| of.key) == Some(node));
        if self.vifs < VIFS_MAX
            && listens
            && !known
            && !vswitch.vifs.contains_key(&number)
            && !taken.links.contains_key(&at)
        {
            taken.links.insert(at, number);
            vswitch.vifs.insert(number, vif);
            self.vifs += 1;
        }
    }

    fn join(
        &mut self,
        cable: &CableSpec,
        by_name: &BTreeMap<&str, usize>,
    ) -> Result<(), CableError> {
        let a = self.find_end(&cable.a, by_name)?;
        let b = self.find_end(&cable.b, by_name)?;
        if a.0 == b.0 {
            return Err(CableError::OneVswitch(cable.a.vswitch.clone()));
        }
        for (here, there) in [(a, b), (b, a)] {
            if let Some(vif) = self.vswitches[here.0].vifs.get_mut(&here.1) {
                vif.behind = Some(Behind::Cable);
                vif.cable = Some(there);
            }
        }
        Ok(())
    }

    fn find_end(
        &self,
        end: &VifName,
        by_name: &BTreeMap<&str, usize>,
    ) -> Result<(usize, u16), CableError> {
        let none = || CableError::NoEnd(name_of(end));
        let vswitch = *by_name.get(end.vswitch.as_str()).ok_or_else(none)?;
        let vif = self.vswitches[vswitch].vifs.get(&end.vif).ok_or_else(none)?;
        match vif.behind {
            None => Ok((vswitch, end.vif)),
            Some(Behind::Cable) => Err(CableError::Twice(name_of(end))),
            Some(Behind::Ethernet(..) | Behind::Udp(_)) => Err(CableError::Link(name_of(end))),
        }
    }

    fn check_all_connected(&self) -> Result<(), SpecError> {
        for vswitch in &self.vswitches {
            if let Some((number, _)) = vswitch.vifs.iter().find(|(_, vif)| vif.behind.is_none()) {
                return Err(vif_error(vswitch.spec, *number, VifError::Nothing));
            }
        }
        Ok(())
    }

    /// An own address belongs to one vswitch, a pair of addresses to one link.
    fn check_addresses(&self, ports: &[PortFacts]) -> Result<Taken<'a>, SpecError> {
        let mut taken = Taken::default();
        let name = |port: PortId| {
            ports.get(port.index()).map(|facts| facts.name.clone()).unwrap_or_default()
        };
        for vswitch in &self.vswitches {
            for listener in &vswitch.listeners {
                let at = (listener.port, listener.vlan.unwrap_or(UNTAGGED), listener.own);
                let other = taken.own.entry(at).or_insert(&vswitch.spec.name);
                if *other != vswitch.spec.name {
                    let error = VifError::OwnAddress {
                        address: listener.own.to_string(),
                        port: name(listener.port),
                        other: (*other).to_owned(),
                    };
                    let vswitch = vswitch.spec.name.clone();
                    return Err(SpecError::Listen { vswitch, error });
                }
            }
            for (number, vif) in &vswitch.vifs {
                let Some(at) = vif.behind.and_then(addresses) else { continue };
                let (port, vlan, local, peer) = at;
                let other = taken.own.entry((port, vlan, local)).or_insert(&vswitch.spec.name);
                if *other != vswitch.spec.name {
                    let (address, other) = (local.to_string(), (*other).to_owned());
                    let error = VifError::OwnAddress { address, port: name(port), other };
                    return Err(vif_error(vswitch.spec, *number, error));
                }
                if let Some(other) = taken.links.insert(at, *number) {
                    let error =
                        VifError::LinkTwice { peer: peer.to_string(), port: name(port), other };
                    return Err(vif_error(vswitch.spec, *number, error));
                }
            }
        }
        Ok(taken)
    }

    /// Who has a key on a port may not be trusted with the plain links there: it could forge their packets.
    fn check_plain(&self, ports: &[PortFacts]) -> Result<(), SpecError> {
        let linked = self.vswitches.iter().flat_map(|vswitch| vswitch.vifs.values());
        let with_keys = linked.filter(|vif| vif.node.is_some()).filter_map(port_of);
        let listening = self.vswitches.iter().flat_map(|vswitch| &vswitch.listeners);
        let untrusted: BTreeSet<PortId> =
            with_keys.chain(listening.map(|listener| listener.port)).collect();
        for vswitch in &self.vswitches {
            for (number, vif) in vswitch.vifs.iter().filter(|(_, vif)| vif.node.is_none()) {
                let Some(port) = port_of(vif).filter(|port| untrusted.contains(port)) else {
                    continue;
                };
                let facts = &ports[port.index()];
                if !facts.plain_forced {
                    let error = VifError::Plain(facts.name.clone());
                    return Err(vif_error(vswitch.spec, *number, error));
                }
            }
        }
        Ok(())
    }
}

/// Addresses on ports that are in use.
#[derive(Debug, Default)]
struct Taken<'a> {
    /// Own ones, and the vswitch of each.
    own: BTreeMap<(PortId, u16, OwnAddress), &'a str>,
    /// Pairs, and the number of the vif.
    links: BTreeMap<LinkAddresses, u16>,
}

/// Port, VLAN, own and peer address.
type LinkAddresses = (PortId, u16, OwnAddress, OwnAddress);

fn port_of(vif: &DraftVif) -> Option<PortId> {
    vif.behind.and_then(addresses).map(|(port, ..)| port)
}

fn addresses(behind: Behind) -> Option<LinkAddresses> {
    match behind {
        Behind::Ethernet(port, key) => {
            Some((port, key.vlan(), OwnAddress::Mac(key.own()), OwnAddress::Mac(key.peer())))
        }
        Behind::Udp(at) => {
            Some((at.port, at.vlan, OwnAddress::Socket(at.local), OwnAddress::Socket(at.peer)))
        }
        Behind::Cable => None,
    }
}

fn draft_vswitch<'a>(
    spec: &'a VswitchSpec,
    ports: &[PortFacts],
) -> Result<DraftVswitch<'a>, SpecError> {
    let refuse = |error| SpecError::Vswitch { vswitch: spec.name.clone(), error };
    let key: PublicKey = spec
        .public_key
        .parse()
        .ok()
        .ok_or_else(|| refuse(VswitchError::Key(spec.public_key.clone())))?;
    let address = key.address();
    if address.octets()[0] != 0xfc {
        return Err(refuse(VswitchError::Address { key: spec.public_key.clone(), address }));
    }
    let scheme = scheme_of(&spec.scheme).map_err(refuse)?;
    let mut vifs = BTreeMap::new();
    for vif in &spec.vifs {
        let draft = draft_vif(vif, &key, &scheme, ports)
            .map_err(|error| vif_error(spec, vif.number, error))?;
        if vifs.insert(vif.number, draft).is_some() {
            return Err(vif_error(spec, vif.number, VifError::NumberTwice));
        }
    }
    check_logins(&spec.logins).map_err(refuse)?;
    let listeners = spec
        .listens
        .iter()
        .map(|listen| draft_listener(listen, &key, ports))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| SpecError::Listen { vswitch: spec.name.clone(), error })?;
    let allow = allowed(spec);
    let route_servers = draft_route_servers(&spec.route_server).map_err(refuse)?;
    Ok(DraftVswitch { spec, key, scheme, allow, vifs, listeners, route_servers })
}

fn scheme_of(spec: &SchemeSpec) -> Result<Scheme, VswitchError> {
    let scheme = spec.scheme()?;
    let width = scheme.max_width();
    if u32::from(width) > DIRECTOR_BITS_MAX { Err(VswitchError::Width(width)) } else { Ok(scheme) }
}

/// By ingress role: a bit for each role that packets may leave to.
fn allowed(spec: &VswitchSpec) -> [u8; 3] {
    let bits = |from| Role::ALL.into_iter().filter(move |to| spec.allows(from, *to));
    Role::ALL.map(|from| bits(from).fold(0, |allow, to| allow | 1 << to as u8))
}

fn draft_vif(
    spec: &VifSpec,
    key: &PublicKey,
    scheme: &Scheme,
    ports: &[PortFacts],
) -> Result<DraftVif, VifError> {
    if spec.number == 1 {
        return Err(VifError::NumberSelf);
    }
    if scheme.narrowest(spec.number).is_none() {
        let highest = (0..scheme.numbers_max())
            .rev()
            .find(|number| scheme.narrowest(*number).is_some())
            .unwrap_or(1);
        return Err(VifError::NumberBeyond { scheme: format!("{scheme:?}"), highest });
    }
    let (behind, node, room) = match &spec.link {
        None => (None, None, u32::from(u16::MAX)),
        Some(link) => {
            let (behind, room) = draft_link(link, key, ports)?;
            let node = draft_node(link, key)?;
            let overhead = if node.is_some() { SESSION_LEN } else { 0 };
            (Some(behind), node, room.saturating_sub(overhead))
        }
    };
    let wanted = spec.mtu.map_or(room, u32::from);
    let mtu = u16::try_from(wanted.min(u32::from(u16::MAX))).unwrap_or(u16::MAX);
    if wanted > room || mtu < MTU_MIN {
        return Err(VifError::Mtu { found: wanted, min: MTU_MIN, max: room });
    }
    if let Some((what, found)) = spec.policy.bad_weight() {
        return Err(VifError::Weight { what, found });
    }
    let policy = spec.policy.clone();
    Ok(DraftVif { role: spec.role, mtu, behind, node, policy, cable: None })
}

/// The link, and the longest session packet its port carries.
fn draft_link(
    link: &LinkSpec,
    key: &PublicKey,
    ports: &[PortFacts],
) -> Result<(Behind, u32), VifError> {
    let (LinkSpec::Ethernet { port, vlan, session, .. }
    | LinkSpec::Udp { port, vlan, session, .. }) = link;
    let (id, facts) = find_port(port, ports)?;
    let tag = check_vlan(*vlan, facts)?;
    if *session == Session::Plain && facts.untrusted && !facts.plain_forced {
        return Err(VifError::Plain(port.clone()));
    }
    match link {
        LinkSpec::Ethernet { local, peer, .. } => {
            let own = local.unwrap_or_else(|| MacAddress(key.mac(port)));
            check_mac("own", own)?;
            check_mac("peer", *peer)?;
            if own == *peer {
                return Err(VifError::SameAddress(own.to_string()));
            }
            let room = facts.mtu.saturating_sub(ETH_INTERFACE_LEN);
            Ok((Behind::Ethernet(id, LinkKey::new(id, tag, own, *peer)), room))
        }
        LinkSpec::Udp { local, peer, .. } => {
            let (own, peer) = (plain_address(*local), plain_address(*peer));
            check_udp("own", own)?;
            check_udp("peer", peer)?;
            if own.is_ipv4() != peer.is_ipv4() {
                return Err(VifError::Family { own, peer });
            }
            if own == peer {
                return Err(VifError::SameAddress(own.to_string()));
            }
            let headers = if own.is_ipv4() { UDP4_LEN } else { UDP6_LEN };
            let room = facts.mtu.saturating_sub(headers);
            Ok((Behind::Udp(Endpoints { port: id, vlan: tag, local: own, peer }), room))
        }
    }
}

/// The node behind an encrypted link.
fn draft_node(link: &LinkSpec, own: &PublicKey) -> Result<Option<NodeInfo>, VifError> {
    let (LinkSpec::Ethernet { session, .. } | LinkSpec::Udp { session, .. }) = link;
    let Session::Node(node) = session else { return Ok(None) };
    let key: PublicKey = node
        .public_key
        .parse()
        .ok()
        .filter(PublicKey::is_usable)
        .ok_or_else(|| VifError::NodeKey(node.public_key.clone()))?;
    if key == *own {
        return Err(VifError::NodeSelf);
    }
    if node.password.as_ref().is_some_and(Secret::is_hidden) {
        return Err(VifError::PasswordHidden);
    }
    if node.password.as_ref().is_some_and(|password| !is_password(password)) {
        return Err(VifError::Password);
    }
    Ok(Some(NodeInfo {
        key,
        password: node.password.clone(),
        login: node.login.clone(),
        handshake: node.handshake,
        reads_all: node.reads_all,
        learned: false,
        user: None,
    }))
}

fn draft_route_servers(spec: &RouteServerSpec) -> Result<Option<Vec<PublicKey>>, VswitchError> {
    let RouteServerSpec::Keys(keys) = spec else { return Ok(None) };
    let key = |text: &String| {
        let key = text.parse().ok().filter(PublicKey::is_usable);
        key.ok_or_else(|| VswitchError::RouteServer(text.clone()))
    };
    keys.iter().map(key).collect::<Result<Vec<_>, _>>().map(Some)
}

/// What is longer is no password of a session ([`crypt::credential::TEXT_MAX`]).
fn is_password(password: &Secret) -> bool {
    (1..=PASSWORD_LEN_MAX).contains(&password.0.len())
}

fn check_logins(logins: &[LoginSpec]) -> Result<(), VswitchError> {
    let mut users = BTreeSet::new();
    for login in logins {
        if login.user.is_empty() || login.user.len() > LOGIN_LEN_MAX {
            return Err(VswitchError::Login(login.user.clone()));
        }
        if !users.insert(&login.user) {
            return Err(VswitchError::LoginTwice(login.user.clone()));
        }
        if !is_password(&login.password) {
            return Err(VswitchError::Password(login.user.clone()));
        }
        if login.password.is_hidden() {
            return Err(VswitchError::PasswordHidden(login.user.clone()));
        }
        if let Some((what, found)) = login.policy.bad_weight() {
            return Err(VswitchError::LoginWeight { user: login.user.clone(), what, found });
        }
    }
    Ok(())
}

fn draft_listener(
    listen: &ListenSpec,
    key: &PublicKey,
    ports: &[PortFacts],
) -> Result<Listener, VifError> {
    let (ListenSpec::Ethernet { port: name, vlan, .. } | ListenSpec::Udp { port: name, vlan, .. }) =
        listen;
    let (port, facts) = find_port(name, ports)?;
    check_vlan(*vlan, facts)?;
    match listen {
        ListenSpec::Ethernet { local, beacon, .. } => {
            let own = local.unwrap_or_else(|| MacAddress(key.mac(name)));
            check_mac("own", own)?;
            Ok(Listener { port, vlan: *vlan, own: OwnAddress::Mac(own), beacon: *beacon })
        }
        ListenSpec::Udp { local, .. } => {
            let own = plain_address(*local);
            check_udp("own", own)?;
            let own = OwnAddress::Socket(own);
            Ok(Listener { port, vlan: *vlan, own, beacon: BeaconMode::Off })
        }
    }
}

fn check_mac(which: &'static str, mac: MacAddress) -> Result<(), VifError> {
    let station = mac.0[0] & 1 == 0 && mac.0 != [0; 6];
    if station { Ok(()) } else { Err(VifError::Mac { which, mac }) }
}

fn find_port<'a>(name: &str, ports: &'a [PortFacts]) -> Result<(PortId, &'a PortFacts), VifError> {
    let none = || VifError::Port(name.to_owned());
    let index = ports.iter().position(|facts| facts.name == name).ok_or_else(none)?;
    if ports[index].workers.is_empty() {
        return Err(VifError::Owner(name.to_owned()));
    }
    Ok((PortId(u16::try_from(index).ok().ok_or_else(none)?), &ports[index]))
}

fn check_vlan(vlan: Option<u16>, facts: &PortFacts) -> Result<u16, VifError> {
    match vlan {
        None => Ok(UNTAGGED),
        Some(vlan) if !(1..=4094).contains(&vlan) => Err(VifError::Vlan(vlan)),
        Some(vlan) if !facts.tags_visible => {
            Err(VifError::VlanUntrusted { vlan, port: facts.name.clone() })
        }
        Some(vlan) => Ok(vlan),
    }
}

fn check_udp(which: &'static str, address: SocketAddr) -> Result<(), VifError> {
    let group = match address.ip() {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    };
    if group || address.ip().is_unspecified() || address.port() == 0 {
        return Err(VifError::Udp { which, address });
    }
    Ok(())
}

/// Without flow label and scope, which are not in the address that a datagram carries.
fn plain_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn check_name(name: &str) -> Result<(), SpecError> {
    let fits =
        !name.is_empty() && name.len() <= NAME_LEN_MAX && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(SpecError::Name(name.to_owned())) }
}

fn name_of(end: &VifName) -> String {
    format!("{}/{}", end.vswitch, end.vif)
}

fn vif_error(spec: &VswitchSpec, number: u16, error: VifError) -> SpecError {
    SpecError::Vif { vswitch: spec.name.clone(), number, error }
}

fn cable_error(cable: &CableSpec, error: CableError) -> SpecError {
    SpecError::Cable { a: name_of(&cable.a), b: name_of(&cable.b), error }
}
