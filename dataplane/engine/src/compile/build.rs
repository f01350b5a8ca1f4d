//! From a checked draft to tables.

use super::draft::{Behind, Draft, DraftVif, DraftVswitch, Identity};
use super::{Edition, PortFacts, no_id};
use crate::ids::StableIds;
use crate::leases::FrameKind;
use crate::rules::{
    Around, LinkInfo, LinkKey, LinkKind, Links, MAP_ENTRIES_MAX, NO_SLOT, OwnAddress, Policies,
    Policy, PortRules, Record, RecordParts, Rules, Schemes, UNPACED, UNTAGGED, UdpLinks, VifInfo,
    VswitchInfo, is_met,
};
use crate::spec_error::{SpecError, VswitchError};
use dataplane_api::{
    BeaconMode, MacAddress, PortId, Role, RouteServerSpec, SchemeSpec, VifId, VswitchId, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Owner of vifs that have no link.
const NOBODY: u8 = u8::MAX;

/// A vswitch's share of the tables.
#[derive(Clone, Copy)]
struct Place {
    id: VswitchId,
    scheme: u8,
    map_start: u32,
    map_len: u16,
}

/// A vif on its way into the tables.
struct Placed<'a> {
    vswitch: usize,
    number: u16,
    draft: &'a DraftVif,
    behind: Behind,
    id: VifId,
    epoch: u8,
    owner: u8,
}

pub(super) fn build(
    draft: &Draft<'_>,
    ports: &[PortFacts],
    edition: Edition,
    ids: &mut StableIds<Identity>,
    seed: u64,
) -> Result<Rules, SpecError> {
    retire(draft, edition.number, ids);
    let mut schemes = Schemes::default();
    let mut new_vswitches = Vec::new();
    let places = place_vswitches(draft, ids, &mut schemes, &mut new_vswitches)?;
    let mut new_vifs = Vec::new();
    let placed = place_vifs(draft, &places, ports, ids, &mut new_vifs)?;
    let (links, udp, by_id) = lay_out(draft, &places, &placed, seed)?;

    let maps = places
        .iter()
        .map(|place| place.map_start as usize + usize::from(place.map_len))
        .max()
        .unwrap_or(0);
    let mut numbers = vec![NO_SLOT; maps].into_boxed_slice();
    for vif in &placed {
        let at = places[vif.vswitch].map_start as usize + usize::from(vif.number);
        numbers[at] = by_id[vif.id.index()];
    }
    let mut rules = Rules {
        generation: edition.generation,
        edition: edition.number,
        links,
        udp,
        schemes,
        numbers,
        slots: by_id,
        policies: policies(draft, &placed),
        paces: paces(&placed),
        routers: Box::default(),
        ports: ports
            .iter()
            .map(|facts| PortRules {
                tags_visible: facts.tags_visible,
                checksum_partial: facts.checksum_partial,
            })
            .collect(),
        own_macs: BTreeMap::new(),
        listeners: BTreeMap::new(),
        beacons: BTreeSet::new(),
        vswitches: Vec::new(),
        vifs: Vec::new(),
        names: BTreeMap::new(),
        capacities: Box::default(),
        leases: Vec::new(),
        new_vswitches,
        new_vifs,
    };
    describe(&mut rules, draft, &places, &placed);
    Ok(rules)
}

fn retire(draft: &Draft<'_>, edition: u64, ids: &mut StableIds<Identity>) {
    let named: BTreeMap<&str, &DraftVswitch<'_>> =
        draft.vswitches.iter().map(|vswitch| (vswitch.spec.name.as_str(), vswitch)).collect();
    let keeps_vif = |name: &str, number: u16| {
        named.get(name).is_some_and(|vswitch| vswitch.vifs.contains_key(&number))
    };
    ids.retire(edition, |name| named.contains_key(name), keeps_vif);
}

fn place_vswitches(
    draft: &Draft<'_>,
    ids: &mut StableIds<Identity>,
    schemes: &mut Schemes,
    new: &mut Vec<VswitchId>,
) -> Result<Vec<Place>, SpecError> {
    let mut places = Vec::with_capacity(draft.vswitches.len());
    let mut map_start = 0_usize;
    for vswitch in &draft.vswitches {
        let (id, is_new) =
            ids.vswitch(&vswitch.spec.name).map_err(|exhausted| no_id("vswitch", exhausted))?;
        if is_new {
            new.push(id);
        }
        let refuse = || SpecError::Vswitch {
            vswitch: vswitch.spec.name.clone(),
            error: VswitchError::Schemes,
        };
        let scheme = schemes.intern(&vswitch.scheme).ok_or_else(refuse)?;
        let map_len = vswitch.vifs.keys().next_back().map_or(0, |highest| highest + 1);
        places.push(Place {
            id,
            scheme,
            map_start: u32::try_from(map_start).unwrap_or(NO_SLOT),
            map_len,
        });
        map_start += usize::from(map_len);
    }
    if map_start > MAP_ENTRIES_MAX { Err(SpecError::NumberMaps(map_start)) } else { Ok(places) }
}

fn place_vifs<'a>(
    draft: &'a Draft<'_>,
    places: &[Place],
    ports: &[PortFacts],
    ids: &mut StableIds<Identity>,
    new: &mut Vec<VifId>,
) -> Result<Vec<Placed<'a>>, SpecError> {
    let mut placed = Vec::with_capacity(draft.vifs);
    for (index, (vswitch, place)) in draft.vswitches.iter().zip(places).enumerate() {
        for (number, vif) in &vswitch.vifs {
            let Some(behind) = vif.behind else { continue };
            let identity = Identity { behind, node: vif.node.as_ref().map(|node| node.key) };
            let (id, epoch, is_new) = ids
                .vif(place.id, *number, identity)
                .map_err(|exhausted| no_id("vif", exhausted))?;
            if is_new {
                new.push(id);
            }
            let owner = port_of(behind).map_or(NOBODY, |port| owner(id, port, ports));
            placed.push(Placed {
                vswitch: index,
                number: *number,
                draft: vif,
                behind,
                id,
                epoch,
                owner,
            });
        }
    }
    Ok(placed)
}

/// Links are spread over the workers that can send on their port; the id is stable, so the owner is.
fn owner(id: VifId, port: PortId, ports: &[PortFacts]) -> u8 {
    let workers = ports.get(port.index()).map_or(&[][..], |facts| &facts.workers);
    workers.get(id.index() % workers.len().max(1)).map_or(NOBODY, |worker| worker.0)
}

fn port_of(behind: Behind) -> Option<PortId> {
    match behind {
        Behind::Ethernet(port, _) => Some(port),
        Behind::Udp(at) => Some(at.port),
        Behind::Cable => None,
    }
}

/// The records in their slots, and the slots by vif id.
fn lay_out(
    draft: &Draft<'_>,
    places: &[Place],
    placed: &[Placed<'_>],
    seed: u64,
) -> Result<(Links, UdpLinks, Box<[u32]>), SpecError> {
    let (mut ethernet, mut others, mut udp) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ethernet_ids, mut other_ids) = (Vec::new(), Vec::new());
    for vif in placed {
        let (kind, key) = match vif.behind {
            Behind::Ethernet(_, key) => (LinkKind::Ethernet, key),
            Behind::Udp(at) => {
                udp.push((at, vif.id));
                let link = u64::try_from(udp.len() - 1).unwrap_or(u64::MAX);
                (LinkKind::Udp, LinkKey::from_words(link, 0, at.vlan, at.port))
            }
            Behind::Cable => (LinkKind::Cable, LinkKey::default()),
        };
        let record =
            Record::new(&parts(&draft.vswitches[vif.vswitch], places[vif.vswitch], vif, kind, key));
        if kind == LinkKind::Ethernet {
            ethernet.push(record);
            ethernet_ids.push(vif.id);
        } else {
            others.push(record);
            other_ids.push(vif.id);
        }
    }
    let (mut links, slots) =
        Links::build(&ethernet, &others, seed).ok_or(SpecError::LinkTable(ethernet.len()))?;
    let room = placed.iter().map(|vif| vif.id.index() + 1).max().unwrap_or(0);
    let mut by_id = vec![NO_SLOT; room].into_boxed_slice();
    for (id, slot) in ethernet_ids.iter().chain(&other_ids).zip(slots) {
        by_id[id.index()] = slot;
    }
    join_cables(&mut links, placed, &by_id);
    let udp = udp.into_iter().map(|(at, id)| (at, by_id[id.index()])).collect();
    let listening = draft.vswitches.iter().flat_map(|vswitch| &vswitch.listeners);
    let own = listening.filter_map(|listener| match listener.own {
        OwnAddress::Socket(own) => Some((listener.port, listener.vlan.unwrap_or(UNTAGGED), own)),
        OwnAddress::Mac(_) => None,
    });
    Ok((links, UdpLinks::build(udp, own, seed), by_id))
}

/// By vif id of links that are paced: the lowest vif that leads to the same station on the same wire.
fn paces(placed: &[Placed<'_>]) -> Box<[u16]> {
    let room = placed.iter().map(|vif| vif.id.index() + 1).max().unwrap_or(0);
    let mut paces = vec![UNPACED; room].into_boxed_slice();
    let mut first: BTreeMap<(PortId, u16, MacAddress), u16> = BTreeMap::new();
    let mut ordered: Vec<&Placed<'_>> = placed.iter().collect();
    ordered.sort_unstable_by_key(|vif| vif.id);
    for vif in ordered {
        let is_paced = vif.draft.node.as_ref().is_some_and(|node| !node.reads_all);
        if let (Behind::Ethernet(port, key), true) = (vif.behind, is_paced) {
            // Ids are below VIFS_MAX = 2¹⁶.
            let id = u16::try_from(vif.id.0).unwrap_or(UNPACED);
            let station = (port, key.vlan(), key.peer());
            paces[vif.id.index()] = *first.entry(station).or_insert(id);
        }
    }
    paces
}

/// What packets meet of policies, by vif id.
fn policies(draft: &Draft<'_>, placed: &[Placed<'_>]) -> Policies {
    let room = placed.iter().map(|vif| vif.id.index() + 1).max().unwrap_or(0);
    let mut words = vec![Policy::NOBODY; room];
    for vif in placed {
        let (kind, vlan) = match vif.behind {
            Behind::Ethernet(_, key) => (Some(FrameKind::Ethernet), key.vlan()),
            Behind::Udp(at) if at.local.is_ipv4() => (Some(FrameKind::Udp4), at.vlan),
            Behind::Udp(at) => (Some(FrameKind::Udp6), at.vlan),
            Behind::Cable => (None, UNTAGGED),
        };
        let is_sealed = vif.draft.node.is_some();
        let there = vif
            .draft
            .cable
            .and_then(|(vswitch, number)| draft.vswitches.get(vswitch)?.vifs.get(&number));
        let is_told =
            vif.draft.policy.traffic_class && there.is_some_and(|there| there.policy.traffic_class);
        let around = Around {
            role: vif.draft.role,
            customers: draft.vswitches[vif.vswitch].allow[Role::Customer as usize],
            overhead: kind.map_or(0, |kind| kind.overhead(vlan != UNTAGGED, is_sealed)),
            mtu: vif.draft.mtu,
            is_link: kind.is_some(),
            is_told,
        };
        words[vif.id.index()] = Policy::new(&vif.draft.policy, &around);
    }
    Policies::new(words, placed.iter().any(|vif| is_met(&vif.draft.policy)))
}

fn join_cables(links: &mut Links, placed: &[Placed<'_>], by_id: &[u32]) {
    let at: BTreeMap<(usize, u16), VifId> =
        placed.iter().map(|vif| ((vif.vswitch, vif.number), vif.id)).collect();
    for vif in placed {
        if let Some(other) = vif.draft.cable.and_then(|end| at.get(&end)) {
            links.join(by_id[vif.id.index()], by_id[other.index()]);
        }
    }
}

fn parts(
    vswitch: &DraftVswitch<'_>,
    place: Place,
    vif: &Placed<'_>,
    kind: LinkKind,
    key: LinkKey,
) -> RecordParts {
    RecordParts {
        kind,
        key,
        role: vif.draft.role,
        allow: vswitch.allow[vif.draft.role as usize],
        encrypted: vif.draft.node.is_some(),
        map_start: place.map_start,
        map_len: place.map_len,
        scheme: place.scheme,
        // Ids are below VIFS_MAX = 2¹⁶.
        vif: u16::try_from(vif.id.0).unwrap_or(u16::MAX),
        vswitch: place.id.0,
        number: vif.number,
        mtu: vif.draft.mtu,
        owner: vif.owner,
        epoch: vif.epoch,
    }
}

/// The router's interface: number 1, from which packets may go anywhere.
fn router(place: Place) -> Record {
    Record::new(&RecordParts {
        kind: LinkKind::Cable,
        key: LinkKey::default(),
        role: Role::Customer,
        allow: 0b111,
        encrypted: false,
        map_start: place.map_start,
        map_len: place.map_len,
        scheme: place.scheme,
        vif: u16::MAX,
        vswitch: place.id.0,
        number: 1,
        mtu: u16::MAX,
        owner: NOBODY,
        epoch: 0,
    })
}

/// Everything that is not for packets.
fn describe(rules: &mut Rules, draft: &Draft<'_>, places: &[Place], placed: &[Placed<'_>]) {
    let room = places.iter().map(|place| place.id.index() + 1).max().unwrap_or(0);
    rules.vswitches = vec![None; room];
    let mut routers = vec![Record::EMPTY; room];
    for (vswitch, place) in draft.vswitches.iter().zip(places) {
        routers[place.id.index()] = router(*place);
        rules.names.insert(vswitch.spec.name.clone(), place.id);
        rules.vswitches[place.id.index()] = Some(VswitchInfo {
            id: place.id,
            name: vswitch.spec.name.clone(),
            tenant: vswitch.spec.tenant,
            key: vswitch.key,
            address: vswitch.key.address(),
            scheme: vswitch.scheme.clone(),
            scheme_name: scheme_name(&vswitch.spec.scheme),
            logins: vswitch.spec.logins.clone(),
            listeners: vswitch.listeners.clone(),
            route_servers: vswitch.route_servers.clone(),
            is_route_server: vswitch.spec.route_server == RouteServerSpec::Itself,
            is_node: !vswitch.listeners.is_empty()
                || vswitch.vifs.values().any(|vif| vif.node.is_some()),
        });
        for listener in &vswitch.listeners {
            let (port, vlan) = (listener.port, listener.vlan.unwrap_or(UNTAGGED));
            rules.listeners.insert((port, vlan, listener.own), place.id);
            if let OwnAddress::Mac(mac) = listener.own {
                rules.own_macs.insert((port, vlan, mac), place.id);
            }
            if listener.beacon != BeaconMode::Off {
                rules.beacons.insert((port, vlan));
            }
        }
    }
    rules.routers = routers.into_boxed_slice();
    let at: BTreeMap<(usize, u16), VifId> =
        placed.iter().map(|vif| ((vif.vswitch, vif.number), vif.id)).collect();
    rules.vifs = vec![None; rules.slots.len()];
    for vif in placed {
        if let Behind::Ethernet(port, key) = vif.behind {
            rules.own_macs.insert((port, key.vlan(), key.own()), places[vif.vswitch].id);
        }
        let cable = vif.draft.cable.and_then(|end| at.get(&end).copied());
        rules.vifs[vif.id.index()] = Some(VifInfo {
            id: vif.id,
            vswitch: places[vif.vswitch].id,
            number: vif.number,
            role: vif.draft.role,
            mtu: vif.draft.mtu,
            owner: Some(vif.owner).filter(|owner| *owner != NOBODY).map(WorkerId),
            epoch: vif.epoch,
            label: draft.vswitches[vif.vswitch].scheme.peer_label(vif.number).unwrap_or(0),
            link: link_info(vif.behind, cable.unwrap_or(vif.id)),
            node: vif.draft.node.clone(),
            policy: vif.draft.policy.clone(),
        });
    }
}

fn link_info(behind: Behind, cable: VifId) -> LinkInfo {
    let tag = |vlan| Some(vlan).filter(|vlan| *vlan != UNTAGGED);
    match behind {
        Behind::Ethernet(port, key) => {
            LinkInfo::Ethernet { port, vlan: tag(key.vlan()), own: key.own(), peer: key.peer() }
        }
        Behind::Udp(at) => {
            LinkInfo::Udp { port: at.port, vlan: tag(at.vlan), own: at.local, peer: at.peer }
        }
        Behind::Cable => LinkInfo::Cable { to: cable },
    }
}

fn scheme_name(spec: &SchemeSpec) -> String {
    match spec {
        SchemeSpec::V358 => "v358".to_owned(),
        SchemeSpec::V48 => "v48".to_owned(),
        SchemeSpec::F4 => "f4".to_owned(),
        SchemeSpec::F8 => "f8".to_owned(),
        SchemeSpec::Forms(forms) => {
            let forms = forms
                .iter()
                .map(|form| format!("{}/{}/{}", form.bit_count, form.prefix_len, form.prefix));
            forms.collect::<Vec<_>>().join(" ")
        }
    }
}
