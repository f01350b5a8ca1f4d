//! A spec with every name resolved and every rule checked, before anything is built.

use super::PortFacts;
use crate::rules::{Endpoints, LinkKey, UNTAGGED};
use crate::spec_error::{CableError, SpecError, VifError, VswitchError};
use dataplane_api::limits::{DIRECTOR_BITS_MAX, NAME_LEN_MAX, VIFS_MAX, VSWITCHES_MAX};
use dataplane_api::{
    CableEnd, CableSpec, LinkSpec, MacAddress, PortId, Role, SchemeSpec, Session, Spec, VifSpec,
    VswitchSpec,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use wire::key::PublicKey;
use wire::scheme::{Form, Scheme};

/// Shortest MTU of a vif: a switch error that quotes 16 bytes still fits.
const MTU_MIN: u16 = 64;
/// Bytes of the ETHInterface header.
const ETH_INTERFACE_LEN: u32 = 6;
/// Bytes of IPv4 and UDP headers.
const UDP4_LEN: u32 = 28;
/// Bytes of IPv6 and UDP headers.
const UDP6_LEN: u32 = 48;

/// What makes a link the same link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    Ethernet(PortId, LinkKey),
    Udp(Endpoints),
    /// Nothing waits in a cable, so all cables are the same.
    Cable,
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
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftVif {
    pub(crate) role: Role,
    pub(crate) mtu: u16,
    pub(crate) behind: Option<Behind>,
    /// Cables: place in the draft of the other end's vswitch, and its number.
    pub(crate) cable: Option<(usize, u16)>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(spec: &'a Spec, ports: &[PortFacts]) -> Result<Self, SpecError> {
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
        draft.check_addresses(ports)?;
        Ok(draft)
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
        end: &CableEnd,
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
    fn check_addresses(&self, ports: &[PortFacts]) -> Result<(), SpecError> {
        let mut own: BTreeMap<(PortId, u16, Address), &str> = BTreeMap::new();
        let mut links: BTreeMap<(PortId, u16, Address, Address), u16> = BTreeMap::new();
        for vswitch in &self.vswitches {
            for (number, vif) in &vswitch.vifs {
                let Some((port, vlan, local, peer)) = vif.behind.and_then(addresses) else {
                    continue;
                };
                let port_name =
                    ports.get(port.index()).map(|facts| facts.name.clone()).unwrap_or_default();
                let other = own.entry((port, vlan, local)).or_insert(&vswitch.spec.name);
                if *other != vswitch.spec.name {
                    let (address, other) = (local.to_string(), (*other).to_owned());
                    let error = VifError::OwnAddress { address, port: port_name, other };
                    return Err(vif_error(vswitch.spec, *number, error));
                }
                if let Some(other) = links.insert((port, vlan, local, peer), *number) {
                    let error =
                        VifError::LinkTwice { peer: peer.to_string(), port: port_name, other };
                    return Err(vif_error(vswitch.spec, *number, error));
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Address {
    Mac(MacAddress),
    Socket(SocketAddr),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Socket(socket) => socket.fmt(f),
        }
    }
}

fn addresses(behind: Behind) -> Option<(PortId, u16, Address, Address)> {
    match behind {
        Behind::Ethernet(port, key) => {
            Some((port, key.vlan(), Address::Mac(key.own()), Address::Mac(key.peer())))
        }
        Behind::Udp(at) => {
            Some((at.port, at.vlan, Address::Socket(at.local), Address::Socket(at.peer)))
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
    Ok(DraftVswitch { spec, key, scheme, allow: allowed(spec.allow.as_deref()), vifs })
}

fn scheme_of(spec: &SchemeSpec) -> Result<Scheme, VswitchError> {
    let scheme = match spec {
        SchemeSpec::V358 => Scheme::v358(),
        SchemeSpec::V48 => Scheme::v48(),
        SchemeSpec::F4 => Scheme::f4(),
        SchemeSpec::F8 => Scheme::f8(),
        SchemeSpec::Forms(forms) => {
            let form = |form: &dataplane_api::spec::FormSpec| Form {
                bit_count: form.bit_count,
                prefix_len: form.prefix_len,
                prefix: form.prefix,
            };
            Scheme::from_forms(&forms.iter().map(form).collect::<Vec<_>>())?
        }
    };
    let width = scheme.max_width();
    if u32::from(width) > DIRECTOR_BITS_MAX { Err(VswitchError::Width(width)) } else { Ok(scheme) }
}

/// By ingress role: the roles that packets may leave to. Valley-free unless said otherwise.
fn allowed(pairs: Option<&[(Role, Role)]>) -> [u8; 3] {
    let mut allow = [0; 3];
    match pairs {
        Some(pairs) => pairs.iter().for_each(|(from, to)| allow[*from as usize] |= 1 << *to as u8),
        None => {
            allow[Role::Customer as usize] = 0b111;
            allow[Role::Peer as usize] = 1 << Role::Customer as u8;
            allow[Role::Provider as usize] = 1 << Role::Customer as u8;
        }
    }
    allow
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
    let (behind, room) = match &spec.link {
        None => (None, u32::from(u16::MAX)),
        Some(link) => {
            let (behind, room) = draft_link(link, key, ports)?;
            (Some(behind), room)
        }
    };
    let wanted = spec.mtu.map_or(room, u32::from);
    let mtu = u16::try_from(wanted.min(u32::from(u16::MAX))).unwrap_or(u16::MAX);
    if wanted > room || mtu < MTU_MIN {
        return Err(VifError::Mtu { found: wanted, min: MTU_MIN, max: room });
    }
    Ok(DraftVif { role: spec.role, mtu, behind, cable: None })
}

/// The link, and the longest switch packet its port carries.
fn draft_link(
    link: &LinkSpec,
    key: &PublicKey,
    ports: &[PortFacts],
) -> Result<(Behind, u32), VifError> {
    let (LinkSpec::Ethernet { port, vlan, session, .. }
    | LinkSpec::Udp { port, vlan, session, .. }) = link;
    let (id, facts) = find_port(port, ports)?;
    let tag = check_vlan(*vlan, facts)?;
    match session {
        Session::Plain if facts.untrusted && !facts.plain_forced => {
            return Err(VifError::Plain(port.clone()));
        }
        Session::Plain => {}
    }
    match link {
        LinkSpec::Ethernet { local, peer, .. } => {
            let own = local.unwrap_or_else(|| MacAddress(key.mac(port)));
            for (which, mac) in [("own", own), ("peer", *peer)] {
                if mac.0[0] & 1 != 0 || mac.0 == [0; 6] {
                    return Err(VifError::Mac { which, mac });
                }
            }
            if own == *peer {
                return Err(VifError::SameAddress(own.to_string()));
            }
            let room = facts.mtu.saturating_sub(ETH_INTERFACE_LEN);
            Ok((Behind::Ethernet(id, LinkKey::new(id, tag, own, *peer)), room))
        }
        LinkSpec::Udp { local, peer, .. } => {
            let (own, peer) = (plain_address(*local), plain_address(*peer));
            check_udp(own, peer)?;
            let headers = if own.is_ipv4() { UDP4_LEN } else { UDP6_LEN };
            let room = facts.mtu.saturating_sub(headers);
            Ok((Behind::Udp(Endpoints { port: id, vlan: tag, local: own, peer }), room))
        }
    }
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

fn check_udp(own: SocketAddr, peer: SocketAddr) -> Result<(), VifError> {
    for (which, address) in [("own", own), ("peer", peer)] {
        let group = match address.ip() {
            IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_multicast(),
        };
        if group || address.ip().is_unspecified() || address.port() == 0 {
            return Err(VifError::Udp { which, address });
        }
    }
    if own.is_ipv4() != peer.is_ipv4() {
        return Err(VifError::Family { own, peer });
    }
    if own == peer { Err(VifError::SameAddress(own.to_string())) } else { Ok(()) }
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

fn name_of(end: &CableEnd) -> String {
    format!("{}/{}", end.vswitch, end.vif)
}

fn vif_error(spec: &VswitchSpec, number: u16, error: VifError) -> SpecError {
    SpecError::Vif { vswitch: spec.name.clone(), number, error }
}

fn cable_error(cable: &CableSpec, error: CableError) -> SpecError {
    SpecError::Cable { a: name_of(&cable.a), b: name_of(&cable.b), error }
}
