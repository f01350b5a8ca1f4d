//! The life of a link's keys: which open, which seal, and what the slow path hears of it.

use crate::Random;
use crate::keyed::{Fate, Keyed, News, spec};
use crate::peer::{Kind, Session};
use crate::rig::ports;
use dataplane_api::counters::VifCounter;
use dataplane_api::spec::LinkSpec;
use dataplane_api::{DropReason, Generation, MacAddress, PortId, VifId};
use dataplane_engine::{Burst, Compiler, HandOff, NoTap, Outcome, PuntKind, SessionChangeKind};
use wire::buf::{HeapPacket, Packet};

const P0: PortId = PortId(0);
const KINDS: [Kind; 2] = [Kind::CryptoAuth, Kind::Noise];

struct Case {
    keyed: Keyed,
    random: Random,
    from: VifId,
    to: VifId,
}

/// Two links with keys on port 0, of one vswitch.
fn case() -> Case {
    let keyed = Keyed::new();
    let (from, to) = (keyed.rig.vif(0, 0), keyed.rig.vif(0, 2));
    Case { keyed, random: Random(5), from, to }
}

impl Case {
    fn session(&mut self, kind: Kind, confirmed: bool) -> Session {
        self.keyed.session(&mut self.random, kind, confirmed)
    }

    fn installed(&mut self, vif: VifId, kind: Kind, confirmed: bool) -> Session {
        let session = self.session(kind, confirmed);
        self.keyed.install(vif, &session);
        session
    }

    fn text(&self) -> Vec<u8> {
        self.keyed.packet(self.from, self.to, b"payload")
    }

    fn receive(&mut self, packets: &[Vec<u8>]) -> Vec<Fate> {
        let from = self.from;
        let packets: Vec<_> = packets.iter().map(|packet| (from, packet.clone())).collect();
        self.keyed.receive(P0, &packets)
    }
}

#[test]
fn the_first_packet_of_new_keys_promotes_them_and_older_ones_still_open_what_was_under_way() {
    for kind in KINDS {
        let mut case = case();
        let mut old = case.installed(case.from, kind, true);
        let mut new = case.installed(case.from, kind, false);
        let text = case.text();
        // Nobody has the keys of the egress link yet.
        let under_way = old.seal(&text);
        let (a, b, c) = (new.seal(&text), new.seal(&text), old.seal(&text));
        assert_eq!(case.receive(&[a, c, b]), vec![Fate::Queued; 3]);
        assert_eq!(case.keyed.transmit(P0, 64), vec![DropReason::LinkDown; 3]);
        assert_eq!(case.receive(&[under_way]), vec![Fate::Queued]);
        let mut newer = case.installed(case.from, kind, false);
        assert_eq!(case.receive(&[newer.seal(&text)]), vec![Fate::Queued]);
        let late = [old.seal(&text), new.seal(&text)];
        let lost = Fate::Dropped(DropReason::Unauthentic);
        assert_eq!(case.receive(&late), vec![lost, Fate::Queued]);
        case.keyed.transmit(P0, 64);
    }
}

#[test]
fn keys_that_the_peer_may_not_have_yet_seal_nothing() {
    for kind in KINDS {
        let mut case = case();
        let to = case.to;
        let mut from = case.installed(case.from, kind, true);
        let mut at_egress = case.installed(to, kind, false);
        let text = case.text();
        assert_eq!(case.receive(&[from.seal(&text)]), vec![Fate::Queued]);
        assert_eq!(case.keyed.transmit(P0, 64), vec![DropReason::LinkDown]);
        let back = case.keyed.packet(to, case.from, b"back");
        assert_eq!(case.keyed.receive(P0, &[(to, at_egress.seal(&back))]), vec![Fate::Queued]);
        assert_eq!(case.receive(&[from.seal(&text)]), vec![Fate::Queued]);
        assert_eq!(case.keyed.transmit(P0, 64), vec![]);
    }
}

#[test]
fn keys_are_dropped_by_their_id_alone() {
    let mut case = case();
    let mut old = case.installed(case.from, Kind::CryptoAuth, true);
    let mut new = case.installed(case.from, Kind::Noise, true);
    let text = case.text();
    case.keyed.remove(case.from, Some(new.id + 1));
    case.keyed.remove(case.from, Some(old.id));
    let (a, b) = (old.seal(&text), new.seal(&text));
    assert_eq!(case.receive(&[a, b]), vec![Fate::Dropped(DropReason::Unauthentic), Fate::Queued]);
    case.keyed.remove(case.from, None);
    let gone = Fate::Dropped(DropReason::NoSession);
    assert_eq!(case.receive(&[new.seal(&text)]), vec![gone]);
    case.keyed.transmit(P0, 64);
}

#[test]
fn a_change_for_the_link_that_was_here_before_leaves_the_keys_of_this_one_alone() {
    let mut case = case();
    let mut session = case.installed(case.from, Kind::Noise, true);
    let text = case.text();
    let epoch = case.keyed.rig.rules.vif(case.from).unwrap().epoch;
    let before = epoch.wrapping_sub(1);
    let from = case.from;
    let news = case.keyed.change_of_epoch(from, before, SessionChangeKind::Drop(None));
    assert_eq!(news, vec![]);
    assert_eq!(case.receive(&[session.seal(&text)]), vec![Fate::Queued]);
    case.keyed.transmit(P0, 64);
    // Keys of a link that the rules do not have yet take the place, and open nothing of the old one.
    let next = case.session(Kind::Noise, true);
    let install = SessionChangeKind::Install(next.data());
    let news = case.keyed.change_of_epoch(from, epoch.wrapping_add(1), install);
    assert_eq!(news, vec![News::Retired(session.id)]);
    let mut lookalike = next.clone();
    case.keyed.links.insert(from, Default::default());
    let packets = [session.seal(&text), lookalike.seal(&text)];
    assert_eq!(case.receive(&packets), vec![Fate::Dropped(DropReason::NoSession); 2]);
}

#[test]
fn numbers_end_before_they_repeat() {
    for kind in KINDS {
        let mut case = case();
        let mut from = case.installed(case.from, kind, true);
        let egress = case.session(kind, true).sends_from(0xffff_fff0 - 3);
        case.keyed.install(case.to, &egress);
        let text = case.text();
        let packets: Vec<_> = (0..6).map(|_| from.seal(&text)).collect();
        assert_eq!(case.receive(&packets), vec![Fate::Queued; 6]);
        // The twin says when the slow path must have heard of it, and that three numbers are left.
        assert_eq!(case.keyed.transmit(P0, 2), vec![]);
        assert_eq!(case.keyed.transmit(P0, 64), vec![DropReason::LinkDown; 3]);
        let _fresh = case.installed(case.to, kind, true);
        assert_eq!(case.receive(&[from.seal(&text)]), vec![Fate::Queued]);
        assert_eq!(case.keyed.transmit(P0, 64), vec![]);
    }
}

#[test]
fn keep_alives_count_as_opened_and_are_nobodys_loss() {
    for kind in KINDS {
        let mut case = case();
        let mut from = case.installed(case.from, kind, true);
        let packets = [from.seal(b""), from.seal(b""), from.seal(b"")];
        let again = [packets[1].clone()];
        assert_eq!(case.receive(&packets), vec![Fate::KeepAlive; 3]);
        assert_eq!(case.receive(&again), vec![Fate::Dropped(DropReason::Replayed)]);
        assert_eq!(case.keyed.counter(case.from, VifCounter::Opened), 3);
    }
}

#[test]
fn what_is_late_or_missing_is_counted_at_its_link() {
    for kind in KINDS {
        let mut case = case();
        let mut from = case.installed(case.from, kind, true);
        let text = case.text();
        let packets: Vec<_> = (0..8).map(|_| from.seal(&text)).collect();
        let order = [0, 3, 1, 7, 7].map(|at: usize| packets[at].clone());
        case.receive(&order);
        let mut counter = |counter| case.keyed.counter(case.from, counter);
        let found =
            [VifCounter::Opened, VifCounter::Skipped, VifCounter::Late, VifCounter::Replayed]
                .map(&mut counter);
        assert_eq!(found, [4, 5, 1, 1]);
    }
}

#[test]
fn handshakes_go_to_the_slow_path_as_they_are_until_there_are_too_many() {
    let mut case = case();
    let port = case.keyed.port_of(case.from);
    // The rig's limiters are full again each second; a thousand are let through at once.
    for first in [[0, 0, 0, 0], [0, 0, 0, 3], [0xff; 4]] {
        let hello = [&first[..], &[0x42; 200]].concat();
        let from = case.from;
        let fate = Fate::Punted(PuntKind::Handshake, from, hello.clone());
        let burst: Vec<_> = (0..64).map(|_| (from, hello.clone())).collect();
        assert_eq!(case.keyed.receive(port, &burst), vec![fate; 64]);
    }
    let mut limited = crate::rig::Rig::with_limits(&spec(), &forced_ports(), (10, 5), 0);
    let (port, frame) = limited.frame(case.from, &[0; 124]);
    let before = limited.counters();
    let (mut burst, mut out) = (Burst::new(), Outcome::new());
    burst.extend((0..20).map(|_| HeapPacket::new(&frame, 128, 64)));
    let now = 1_000_000_000;
    limited.engine.receive(&limited.rules, now, port, &mut burst, &mut out, &mut NoTap);
    assert_eq!((out.punts.len(), out.free.len()), (5, 15));
    assert_eq!(limited.drops_since(&before), vec![DropReason::PuntLimited; 15]);
}

fn forced_ports() -> Vec<dataplane_engine::PortFacts> {
    let mut ports = ports(2);
    ports.iter_mut().for_each(|port| port.plain_forced = true);
    ports
}

#[test]
fn what_waits_for_a_link_that_became_another_is_not_sealed_for_it() {
    let mut case = case();
    let mut from = case.installed(case.from, Kind::CryptoAuth, true);
    case.installed(case.to, Kind::CryptoAuth, true);
    let text = case.text();
    assert_eq!(case.receive(&[from.seal(&text)]), vec![Fate::Queued]);
    let mut moved = spec();
    moved.generation = Generation(1);
    let Some(LinkSpec::Ethernet { peer, .. }) = &mut moved.vswitches[0].vifs[1].link else {
        panic!("an Ethernet link");
    };
    *peer = MacAddress([2, 0xbb, 0, 0, 0, 99]);
    let mut compiler = Compiler::new(8, 512, 1);
    compiler.compile(&spec(), &[], &forced_ports()).unwrap();
    let rig = &mut case.keyed.rig;
    rig.rules = compiler.compile(&moved, &[], &forced_ports()).unwrap();
    let before = rig.counters();
    let (mut tx, mut out) = (Burst::new(), Outcome::new());
    rig.engine.transmit(&rig.rules, &rig.next_hops, 0, P0, 64, &mut tx, &mut out, &mut NoTap);
    assert_eq!((tx.len(), out.free.len()), (0, 1));
    assert_eq!(rig.drops_since(&before), vec![DropReason::LinkGone]);
}

#[test]
fn a_frame_without_room_costs_no_number() {
    let mut case = case();
    let egress = case.installed(case.to, Kind::Noise, true);
    // A plain link: what is taken off there is less than what is put on here.
    let plain = case.keyed.rig.vif(0, 3);
    let packet = case.keyed.packet(plain, case.to, b"payload");
    let (port, frame) = case.keyed.rig.frame(plain, &packet);
    let rig = &mut case.keyed.rig;
    let mut numbers = Vec::new();
    for (head, tail) in [(0, 0), (128, 64), (128, 0), (128, 64)] {
        let before = rig.counters();
        let (mut burst, mut out) = (Burst::new(), Outcome::new());
        burst.push(HeapPacket::new(&frame, head, tail));
        rig.engine.receive(&rig.rules, 1, port, &mut burst, &mut out, &mut NoTap);
        rig.engine.transmit(
            &rig.rules,
            &rig.next_hops,
            0,
            P0,
            64,
            &mut burst,
            &mut out,
            &mut NoTap,
        );
        assert_eq!(burst.len() + out.free.len(), 1);
        let drops = rig.drops_since(&before);
        match burst.first() {
            Some(sent) => numbers.push(egress.open_at_neighbour(&sent.bytes()[20..]).unwrap().0),
            None => assert_eq!(drops, vec![DropReason::EgressMtu]),
        }
    }
    assert_eq!(numbers, [0, 1]);
}

#[test]
fn handed_off_frames_are_opened_by_the_owner_with_its_keys() {
    let mut case = case();
    let mut from = case.installed(case.from, Kind::Noise, true);
    let egress = case.installed(case.to, Kind::CryptoAuth, true);
    let text = case.text();
    // Another worker, which has a queue of the port and owns nothing.
    let rig = &mut case.keyed.rig;
    let config = dataplane_engine::EngineConfig {
        layout: rig.layout,
        queue_frames: 16,
        guaranteed_frames: 8,
        vswitch_frames: 16,
        punts_per_second: 1,
        punt_burst: 1,
        strangers_per_second: 0,
        seed: 0,
    };
    let bank = vec![0; rig.layout.len()];
    let mut other = dataplane_engine::Engine::new(dataplane_api::WorkerId(1), config, bank);
    let (mut burst, mut out) = (Burst::new(), Outcome::new());
    let hello = [0; 130];
    let data = from.seal(&text);
    for packet in [&data[..], &data[..], &hello[..]] {
        let (_, frame) = rig.frame(case.from, packet);
        burst.push(HeapPacket::new(&frame, 128, 64));
    }
    other.receive(&rig.rules, 1, P0, &mut burst, &mut out, &mut NoTap);
    let mut handed: Burst<HandOff<HeapPacket>> = out.hand_offs.drain(..).collect();
    assert_eq!((handed.len(), out.frames()), (3, 0));
    let before = rig.counters();
    rig.engine.take_over(&rig.rules, 1, &mut handed, &mut out, &mut NoTap);
    assert_eq!((out.punts.len(), out.free.len()), (1, 1));
    assert_eq!(out.punts[0].frame.bytes(), hello);
    assert_eq!(rig.drops_since(&before), vec![DropReason::Replayed]);
    let mut tx = Burst::new();
    rig.engine.transmit(&rig.rules, &rig.next_hops, 0, P0, 64, &mut tx, &mut out, &mut NoTap);
    assert!(egress.open_at_neighbour(&tx[0].bytes()[20..]).is_some());
}
