//! An engine and its twin, driven by bursts: everything that either says is compared.

use crate::Random;
use crate::peer::{Kind, Session};
use crate::rig::{Rig, ethernet_vif, key, ports};
use crate::twin::{Expected, Twin, has_keys};
use dataplane_api::counters::{PortCounter, VifCounter, WorkerCounter};
use dataplane_api::spec::{LinkSpec, SchemeSpec, Session as Protection, VifSpec};
use dataplane_api::{
    CableSpec, DropReason, NodeSpec, PortId, Role, Spec, VifId, VifName, VswitchId, VswitchSpec,
};
use dataplane_engine::{
    Burst, LinkInfo, NoTap, Outcome, PuntKind, SessionChange, SessionChangeKind, SessionNews,
};
use std::collections::{BTreeMap, VecDeque};
use wire::buf::{HeapPacket, Packet};
use wire::{eth_interface, ethernet, ip, udp};

/// Sessions of one link, one packet at a time.
#[derive(Default)]
pub struct Link {
    pub current: Option<Session>,
    pub next: Option<Session>,
    pub previous: Option<Session>,
    /// The current one was said to be confirmed.
    told: bool,
    /// Its numbers were said to run out.
    told_old: bool,
}

/// News in words that can be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    Confirmed(VifId, u32),
    Old(VifId, u32),
    Retired(u32),
}

/// What became of the packets of a burst, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It leaves by this vif as this switch packet, when its turn comes.
    Queued,
    KeepAlive,
    Punted(PuntKind, VifId, Vec<u8>),
    Dropped(DropReason),
}

pub struct Keyed {
    pub rig: Rig,
    twin: Twin,
    pub links: BTreeMap<VifId, Link>,
    /// By port: what waits.
    queued: Vec<VecDeque<(VifId, Vec<u8>)>>,
    pub now: u64,
    next_id: u32,
}

fn with_node(mut vif: VifSpec, node: usize) -> VifSpec {
    if let Some(LinkSpec::Ethernet { session, .. } | LinkSpec::Udp { session, .. }) = &mut vif.link
    {
        let public_key = key(node).to_string();
        *session = Protection::Node(NodeSpec {
            public_key,
            password: None,
            login: None,
            handshake: Default::default(),
            reads_all: false,
        });
    }
    vif
}

fn udp_vif(number: u16, port: &str, vlan: Option<u16>, local: &str, peer: &str) -> VifSpec {
    let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
    let session = Protection::Plain;
    let link = LinkSpec::Udp { port: port.into(), vlan, local, peer, session };
    VifSpec {
        number,
        role: Role::Customer,
        mtu: None,
        link: Some(link),
        policy: Default::default(),
    }
}

/// Two vswitches with a cable between them: Ethernet, tagged and UDP links, with keys and without, on two ports.
pub fn spec() -> Spec {
    let vswitch = |index: usize, vifs| VswitchSpec {
        name: format!("v{index}"),
        tenant: 1,
        public_key: key(index).to_string(),
        scheme: SchemeSpec::V358,
        vifs,
        ..VswitchSpec::default()
    };
    let links = |index: u16| {
        let (v4, v6) =
            (format!("10.0.0.1:{}", 1000 + index), format!("[fd00::1]:{}", 1000 + index));
        let node = usize::from(index) * 16 + 20;
        vec![
            with_node(ethernet_vif(0, "p0", None), node),
            with_node(ethernet_vif(2, "p0", None), node + 1),
            ethernet_vif(3, "p0", None),
            with_node(ethernet_vif(4, "p0", Some(100 + index)), node + 2),
            with_node(udp_vif(5, "p0", None, &v4, "10.0.0.2:2000"), node + 3),
            with_node(udp_vif(6, "p1", None, &v6, "[fd00::2]:2000"), node + 4),
            with_node(udp_vif(7, "p0", Some(200 + index), &v4, "10.0.0.3:2000"), node + 5),
            udp_vif(8, "p1", None, &v4, "10.0.0.4:2000"),
            with_node(ethernet_vif(9, "p1", None), node + 6),
            with_node(ethernet_vif(10, "p1", None), node + 7),
            VifSpec {
                number: 11,
                role: Role::Customer,
                mtu: None,
                link: None,
                policy: Default::default(),
            },
        ]
    };
    let end = |index: u16| VifName { vswitch: format!("v{index}"), vif: 11 };
    Spec {
        vswitches: vec![vswitch(0, links(0)), vswitch(1, links(1))],
        cables: vec![CableSpec { a: end(0), b: end(1) }],
        ..Spec::default()
    }
}

impl Keyed {
    pub fn new() -> Self {
        let (spec, mut ports) = (spec(), ports(2));
        ports.iter_mut().for_each(|port| port.plain_forced = true);
        let rig = Rig::with_limits(&spec, &ports, (1_000_000, 1_000), 0);
        let ports = ports.into_iter().map(|facts| (facts.name, facts.tags_visible)).collect();
        let linked = rig.rules.vifs().filter(|vif| vif.port().is_some());
        let links = linked.map(|vif| (vif.id, Link::default())).collect();
        let queued = vec![VecDeque::new(); 2];
        Self {
            rig,
            twin: Twin { spec, ports, told: Default::default() },
            links,
            queued,
            now: 0,
            next_id: 1,
        }
    }

    pub fn session(&mut self, random: &mut Random, kind: Kind, confirmed: bool) -> Session {
        self.next_id += 1;
        Session::draw(random, kind, self.next_id, confirmed)
    }

    /// Numbers and vswitches of links with keys.
    pub fn with_keys(&self) -> Vec<VifId> {
        let keyed = |vif: &VifId| self.rig.rules.vif(*vif).unwrap().node.is_some();
        self.links.keys().copied().filter(keyed).collect()
    }

    pub fn port_of(&self, vif: VifId) -> PortId {
        self.rig.rules.vif(vif).unwrap().port().unwrap()
    }

    pub fn change(&mut self, vif: VifId, kind: SessionChangeKind) -> Vec<News> {
        let epoch = self.rig.rules.vif(vif).unwrap().epoch;
        self.change_of_epoch(vif, epoch, kind)
    }

    pub fn change_of_epoch(&mut self, vif: VifId, epoch: u8, kind: SessionChangeKind) -> Vec<News> {
        let mut out = Outcome::new();
        self.rig.engine.change_session(
            &self.rig.rules,
            SessionChange { vif, epoch, kind },
            &mut out,
        );
        assert_eq!(out.frames(), 0);
        out.news.iter().map(news_of).collect()
    }

    pub fn install(&mut self, vif: VifId, session: &Session) {
        let found = self.change(vif, SessionChangeKind::Install(session.data()));
        let link = self.links.get_mut(&vif).unwrap();
        let mut retired = Vec::new();
        if session.is_confirmed() {
            (link.told, link.told_old) = (false, false);
            retired.extend(link.next.take());
            if let Some(replaced) = link.current.replace(session.clone()) {
                retired.extend(link.previous.replace(replaced));
            }
        } else {
            retired.extend(link.next.replace(session.clone()));
        }
        let retired: Vec<News> = retired.iter().map(|old| News::Retired(old.id)).collect();
        assert_eq!(found, retired);
    }

    pub fn remove(&mut self, vif: VifId, id: Option<u32>) {
        let mut found = self.change(vif, SessionChangeKind::Drop(id));
        let link = self.links.get_mut(&vif).unwrap();
        let mut retired = Vec::new();
        for slot in [&mut link.current, &mut link.next, &mut link.previous] {
            let meant = |session: &mut Session| id.is_none_or(|id| id == session.id);
            retired.extend(slot.take_if(meant).map(|old| News::Retired(old.id)));
        }
        retired.sort();
        found.sort();
        assert_eq!(found, retired);
    }

    /// A burst of session packets that come in on one port.
    pub fn receive(&mut self, port: PortId, packets: &[(VifId, Vec<u8>)]) -> Vec<Fate> {
        let before = self.rig.counters();
        let (mut burst, mut out) = (Burst::new(), Outcome::new());
        for (vif, packet) in packets {
            let (on, frame) = self.rig.frame(*vif, packet);
            assert_eq!(on, port);
            burst.push(HeapPacket::new(&frame, 128, 64));
        }
        self.now += 1_000_000_000;
        let held = self.rig.engine.frames_held();
        let engine = &mut self.rig.engine;
        engine.receive(&self.rig.rules, self.now, port, &mut burst, &mut out, &mut NoTap);
        assert!(burst.is_empty());
        let queued = self.rig.engine.frames_held() - held;
        assert_eq!(out.frames() + queued, packets.len(), "each frame ends in one place");

        let (fates, news, opened) = self.fates(packets);
        let count = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count();
        assert_eq!(queued, count(|fate| *fate == Fate::Queued));
        let punts: Vec<Fate> = out.punts.iter().map(punt_of).collect();
        let due: Vec<Fate> =
            fates.iter().filter(|fate| matches!(fate, Fate::Punted(..))).cloned().collect();
        assert_eq!(punts, due);
        assert_eq!(out.news.iter().map(news_of).collect::<Vec<_>>(), news);
        let mut drops: Vec<DropReason> = fates.iter().filter_map(dropped).collect();
        drops.sort();
        assert_eq!(self.rig.drops_since(&before), drops);
        self.check_counters(&before, port, packets, &fates, &opened);
        fates
    }

    /// What the twin makes of a burst: it authenticates all with the keys that there are, and only then promotes.
    fn fates(&mut self, packets: &[(VifId, Vec<u8>)]) -> (Vec<Fate>, Vec<News>, Vec<VifId>) {
        let (mut fates, mut firsts, mut opened) = (Vec::new(), Vec::new(), Vec::new());
        for (vif, packet) in packets {
            let info = self.rig.rules.vif(*vif).unwrap();
            let (vswitch, number, keyed) = (info.vswitch.index(), info.number, info.node.is_some());
            if !keyed {
                fates.push(self.switch(vswitch, number, *vif, packet.clone()));
                continue;
            }
            fates.push(match self.open(*vif, packet) {
                Err(fate) => fate,
                Ok((of_next, text)) => {
                    firsts.push((*vif, of_next));
                    opened.push(*vif);
                    match text.is_empty() {
                        true => Fate::KeepAlive,
                        false => self.switch(vswitch, number, *vif, text),
                    }
                }
            });
        }
        let mut news = Vec::new();
        for (vif, of_next) in firsts {
            let link = self.links.get_mut(&vif).unwrap();
            match of_next {
                Some(true) if link.next.is_some() => {
                    let next = link.next.take().unwrap();
                    let id = next.id;
                    if let Some(replaced) = link.current.replace(next) {
                        let retired = link.previous.replace(replaced);
                        news.extend(retired.map(|old| News::Retired(old.id)));
                    }
                    (link.told, link.told_old) = (true, false);
                    news.push(News::Confirmed(vif, id));
                }
                Some(false) if !link.told => {
                    link.told = true;
                    news.push(News::Confirmed(vif, link.current.as_ref().unwrap().id));
                }
                _ => {}
            }
        }
        (fates, news, opened)
    }

    /// `Some(true)`: the next session opened it; `Some(false)`: the current one; `None`: the previous.
    fn open(&mut self, vif: VifId, packet: &[u8]) -> Result<(Option<bool>, Vec<u8>), Fate> {
        let Some(word) = packet.first_chunk::<4>() else {
            return Err(Fate::Dropped(DropReason::SessionRunt));
        };
        if matches!(u32::from_be_bytes(*word), 0..=3 | u32::MAX) {
            return Err(Fate::Punted(PuntKind::Handshake, vif, packet.to_vec()));
        }
        let link = self.links.get_mut(&vif).unwrap();
        let mut any = false;
        for (of_next, slot) in [
            (Some(false), &mut link.current),
            (Some(true), &mut link.next),
            (None, &mut link.previous),
        ] {
            let Some(session) = slot else { continue };
            any = true;
            if let Some((number, text)) = session.open_at_box(packet) {
                let new = session.take(number);
                return if new {
                    Ok((of_next, text))
                } else {
                    Err(Fate::Dropped(DropReason::Replayed))
                };
            }
        }
        Err(Fate::Dropped(if any { DropReason::Unauthentic } else { DropReason::NoSession }))
    }

    fn switch(&mut self, vswitch: usize, number: u16, vif: VifId, packet: Vec<u8>) -> Fate {
        match self.twin.switch(vswitch, number, packet, 0) {
            Expected::Sent(vswitch, number, packet) => {
                let to = self.rig.vif(u16::try_from(vswitch).unwrap(), number);
                let port = self.port_of(to);
                self.queued[port.index()].push_back((to, packet));
                Fate::Queued
            }
            Expected::Control(bytes) => Fate::Punted(PuntKind::Control, vif, bytes),
            Expected::Router(bytes) => Fate::Punted(PuntKind::Router, vif, bytes),
            Expected::Error(..) => panic!("packets of this test ask for silence"),
            Expected::Dropped(reason) => Fate::Dropped(reason),
        }
    }

    /// Sends up to `room` frames of a port; each must open at its neighbour, with the number after the last one's.
    /// Gives the drops.
    pub fn transmit(&mut self, port: PortId, room: usize) -> Vec<DropReason> {
        let before = self.rig.counters();
        let (mut tx, mut out) = (Burst::new(), Outcome::new());
        let Rig { engine, rules, next_hops, .. } = &mut self.rig;
        engine.transmit(rules, next_hops, 0, port, room, &mut tx, &mut out, &mut NoTap);
        let held = self.rig.engine.frames_held();
        let (mut drops, mut news, mut sent) = (Vec::new(), Vec::new(), tx.iter());
        let mut dropped = 0;
        while sent.len() > 0 || dropped < out.free.len() {
            let (vif, packet) = self.queued[port.index()].pop_front().unwrap();
            if !has_keys(&self.vif_spec(vif)) {
                let (to, found) = self.read(port, sent.next().unwrap().bytes());
                assert_eq!((to, found), (vif, packet));
                continue;
            }
            let link = self.links.get_mut(&vif).unwrap();
            let Some(session) = &mut link.current else {
                drops.push(DropReason::LinkDown);
                dropped += 1;
                continue;
            };
            if session.due >= 0xffff_fff0 - (1 << 20) && !link.told_old {
                link.told_old = true;
                news.push(News::Old(vif, session.id));
            }
            if session.due == 0xffff_fff0 {
                drops.push(DropReason::LinkDown);
                dropped += 1;
                continue;
            }
            session.due += 1;
            let session = session.clone();
            let (to, found) = self.read(port, sent.next().unwrap().bytes());
            assert_eq!(to, vif);
            assert_eq!(session.open_at_neighbour(&found), Some((session.due - 1, packet)));
        }
        assert_eq!(held, self.queued.iter().map(VecDeque::len).sum::<usize>());
        assert_eq!(out.news.iter().map(news_of).collect::<Vec<_>>(), news);
        assert_eq!(out.frames(), drops.len(), "what is not sent is free again");
        assert_eq!(self.rig.drops_since(&before), drops);
        let slot = self.rig.layout.port(port, PortCounter::TxFrames);
        let after = self.rig.counters();
        assert_eq!(after[slot] - before[slot], tx.len() as u64);
        drops
    }

    fn vif_spec(&self, vif: VifId) -> VifSpec {
        let info = self.rig.rules.vif(vif).unwrap();
        let vswitch = &self.twin.spec.vswitches[info.vswitch.index()];
        vswitch.vifs.iter().find(|spec| spec.number == info.number).unwrap().clone()
    }

    /// The link that a frame of ours is for, and the session packet in it.
    fn read(&self, port: PortId, frame: &[u8]) -> (VifId, Vec<u8>) {
        let header = ethernet::Header::parse(frame).unwrap();
        let payload = &frame[header.len()..];
        let mut links = self.rig.rules.vifs().filter(|vif| vif.port() == Some(port));
        if header.ethertype == ethernet::ETHERTYPE_CJDNS {
            let vif = links.find(|vif| match vif.link {
                LinkInfo::Ethernet { vlan, own, peer, .. } => {
                    (vlan, own.0, peer.0) == (header.vlan, header.source, header.destination)
                }
                _ => false,
            });
            let len = eth_interface::parse(payload).unwrap();
            return (vif.unwrap().id, payload[6..6 + len].to_vec());
        }
        let v4 = header.ethertype == ethernet::ETHERTYPE_IPV4;
        let ip = if v4 { ip::parse_v4(payload) } else { ip::parse_v6(payload) }.unwrap();
        let datagram = &payload[ip.header_len..ip.header_len + ip.payload_len];
        assert!(udp::is_right(datagram, ip.source, ip.destination), "UDP checksum");
        let ports = udp::parse(datagram).unwrap();
        let vif = links.find(|vif| match vif.link {
            LinkInfo::Udp { vlan, own, peer, .. } => {
                vlan == header.vlan
                    && (own.ip(), own.port()) == (ip.source, ports.source)
                    && (peer.ip(), peer.port()) == (ip.destination, ports.destination)
            }
            _ => false,
        });
        (vif.unwrap().id, datagram[udp::HEADER_LEN..].to_vec())
    }

    fn check_counters(
        &mut self,
        before: &[u64],
        port: PortId,
        packets: &[(VifId, Vec<u8>)],
        fates: &[Fate],
        opened: &[VifId],
    ) {
        let after = self.rig.counters();
        let moved = |slot: usize| after[slot] - before[slot];
        let layout = self.rig.layout;
        for vif in self.links.keys() {
            let of = |counter: VifCounter| moved(layout.vif(*vif) + counter as usize);
            let came = packets.iter().filter(|(from, _)| from == vif).count() as u64;
            // Cables count at both of their ends, and nothing else moves these.
            assert_eq!(of(VifCounter::RxPackets), came);
            let authentic = opened.iter().filter(|from| *from == vif).count() as u64;
            assert_eq!(of(VifCounter::Opened), authentic);
            let replays = packets.iter().zip(fates).filter(|((from, _), fate)| {
                from == vif && **fate == Fate::Dropped(DropReason::Replayed)
            });
            assert_eq!(of(VifCounter::Replayed), replays.count() as u64);
        }
        let punted = fates.iter().filter(|fate| matches!(fate, Fate::Punted(..))).count() as u64;
        assert_eq!(moved(layout.worker(WorkerCounter::Punted)), punted);
        assert_eq!(moved(layout.port(port, PortCounter::RxFrames)), packets.len() as u64);
    }

    /// A vif counter as it stands.
    pub fn counter(&mut self, vif: VifId, counter: VifCounter) -> u64 {
        let slot = self.rig.layout.vif(vif) + counter as usize;
        self.rig.counters()[slot]
    }

    /// A switch packet from one vif to another of the same vswitch, that asks for silence where it fails.
    pub fn packet(&self, from: VifId, to: VifId, payload: &[u8]) -> Vec<u8> {
        let (from, to) = (self.rig.rules.vif(from).unwrap(), self.rig.rules.vif(to).unwrap());
        packet_to(&self.rig, from.vswitch, (from.number, to.number), payload)
    }
}

/// A switch packet whose label leads from one number to another.
pub fn packet_to(rig: &Rig, vswitch: VswitchId, (from, to): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let scheme = &rig.rules.vswitch(vswitch).unwrap().scheme;
    let least = scheme.narrowest_width(from).unwrap();
    let mut forms = scheme.forms().iter().enumerate();
    let director = forms
        .find_map(|(index, form)| {
            let director = scheme.director(to, index)?;
            (form.width() >= least).then_some((director, form.width()))
        })
        .unwrap();
    let label = director.0 | 1 << (director.1 + 20);
    let mut packet = label.to_be_bytes().to_vec();
    packet.extend([1, 0x40, 0, 7]);
    packet.extend(payload);
    packet
}

fn dropped(fate: &Fate) -> Option<DropReason> {
    match fate {
        Fate::Dropped(reason) => Some(*reason),
        _ => None,
    }
}

fn punt_of(punt: &dataplane_engine::Punt<HeapPacket>) -> Fate {
    Fate::Punted(punt.kind, punt.vif, punt.frame.bytes().to_vec())
}

pub fn news_of(news: &SessionNews) -> News {
    match news {
        SessionNews::Confirmed { vif, id, .. } => News::Confirmed(*vif, *id),
        SessionNews::Old { vif, id, .. } => News::Old(*vif, *id),
        SessionNews::Crowded { .. } => unreachable!("only asked for by what waits for its turn"),
        SessionNews::Retired(session) => News::Retired(session.id()),
    }
}

/// Next hops of the rig are the same for all.
#[test]
fn keys_of_all_nodes_are_usable() {
    assert!((0..48).all(|n| key(n).is_usable()));
}
