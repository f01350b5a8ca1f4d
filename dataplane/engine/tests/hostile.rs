//! Hostile frames, made with the structure in mind, against the twin: every verdict, every byte, every frame.
//!
//! `SWITCHYARD_HOSTILE_FRAMES` sets the count; without it a fixed-seed million.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

mod rig;
mod twin;

use dataplane_api::spec::{FormSpec, LinkSpec, SchemeSpec, Session, VifSpec};
use dataplane_api::{
    CableSpec, DefaultClass, DropReason, PortId, Role, Spec, VifName, VifPolicy, VswitchSpec,
};
use dataplane_engine::ToldLinks;
use rig::{Rig, Verdict, ethernet_vif, key, ports};
use std::collections::{BTreeMap, BTreeSet};
use twin::{Expected, Twin};
use wire::control::kind;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(bound).unwrap()).unwrap()
    }
}

fn udp_vif(number: u16, local: &str, peer: &str) -> VifSpec {
    let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
    let link =
        LinkSpec::Udp { port: "p1".into(), vlan: None, local, peer, session: Session::Plain };
    VifSpec {
        number,
        role: Role::Customer,
        mtu: None,
        link: Some(link),
        policy: Default::default(),
    }
}

/// Five vswitches of five schemes in a ring of cables, with links of all kinds, roles and a short MTU.
fn spec() -> Spec {
    let wide = SchemeSpec::Forms(vec![
        FormSpec { bit_count: 3, prefix_len: 1, prefix: 1 },
        FormSpec { bit_count: 13, prefix_len: 2, prefix: 2 },
    ]);
    let schemes = [SchemeSpec::V358, SchemeSpec::V48, SchemeSpec::F8, wide, SchemeSpec::V358];
    let vswitches = schemes.into_iter().enumerate().map(|(index, scheme)| {
        let n = u16::try_from(index).unwrap();
        let mut vifs = vec![
            ethernet_vif(0, "p0", None),
            ethernet_vif(2, "p0", Some(100 + n)),
            ethernet_vif(200, "p1", None),
            udp_vif(4, &format!("10.0.0.1:{}", 1000 + n), "10.0.0.2:2000"),
            udp_vif(5, &format!("[fd00::1]:{}", 1000 + n), "[fd00::2]:2000"),
        ];
        vifs[1].role = Role::Peer;
        vifs[2].role = Role::Provider;
        vifs[3].mtu = Some(100);
        let cable = |number| VifSpec {
            number,
            role: Role::Customer,
            mtu: None,
            link: None,
            policy: Default::default(),
        };
        vifs.extend([cable(3), cable(6)]);
        let allow = (index == 1)
            .then(|| vec![(Role::Customer, Role::Customer), (Role::Peer, Role::Provider)]);
        VswitchSpec {
            name: format!("v{index}"),
            tenant: 1,
            public_key: key(index).to_string(),
            scheme,
            vifs,
            allow,
            ..VswitchSpec::default()
        }
    });
    let end = |vswitch: usize, vif| VifName { vswitch: format!("v{}", vswitch % 5), vif };
    let cables = (0..5).map(|index| CableSpec { a: end(index, 3), b: end(index + 1, 6) }).collect();
    Spec { vswitches: vswitches.collect(), cables, ..Spec::default() }
}

/// The same with a policy for most vifs, and what the neighbours of some answered.
fn policed(random: &mut Random) -> (Spec, BTreeSet<(usize, u16)>) {
    let mut spec = spec();
    let mut told = BTreeSet::new();
    for (index, vswitch) in spec.vswitches.iter_mut().enumerate() {
        for vif in &mut vswitch.vifs {
            let mut weight = || 1_024_u64 << random.below(33);
            let weights = [weight(), weight(), weight()];
            let default_class = match random.below(2) {
                0 => DefaultClass::Free,
                _ => DefaultClass::Priority(weights[0].min(1 << 41)),
            };
            let cap = [None, Some(weights[1].min(1 << 41)), Some(0)][random.below(3)];
            vif.policy = VifPolicy {
                default_class,
                priority_cap: cap,
                clear_customer_bit: random.below(3) == 0,
                deprioritise_non_customer: Some(weights[2].min(1 << 41))
                    .filter(|_| random.below(2) == 0),
                traffic_class: random.below(3) > 0,
                mirror: false,
                trace: false,
            };
            if random.below(4) > 0 {
                told.insert((index, vif.number));
            }
        }
    }
    (spec, told)
}

/// A label that is likely to lead somewhere: directors of numbers that exist, then anything.
fn label(random: &mut Random, rig: &Rig, vswitch: usize) -> u64 {
    let numbers = [0, 1, 2, 3, 3, 3, 4, 5, 6, 200, 9];
    let mut at = u16::try_from(vswitch).unwrap();
    let (mut label, mut bits) = (0, 0);
    while bits < 40 {
        let scheme = &rig.rules.vswitch(dataplane_api::VswitchId(at)).unwrap().scheme;
        let number = numbers[random.below(numbers.len())];
        let form = random.below(scheme.forms().len());
        let Some((form, director)) = (form..scheme.forms().len())
            .find_map(|form| scheme.director(number, form).map(|director| (form, director)))
        else {
            break;
        };
        label |= director << bits;
        bits += u32::from(scheme.forms()[form].width());
        match number {
            3 => at = (at + 1) % 5,
            6 => at = (at + 4) % 5,
            _ if random.below(3) == 0 => break,
            _ => {}
        }
    }
    match random.below(4) {
        0 => label,
        1 => label | 1 << bits.min(63),
        2 => label | random.draw() << bits.min(63),
        _ => label | random.draw() >> 2 << bits.min(63),
    }
}

fn packet(random: &mut Random, rig: &Rig, vswitch: usize) -> Vec<u8> {
    let mut packet = match random.below(8) {
        0 => random.draw(),
        _ => label(random, rig, vswitch),
    }
    .to_be_bytes()
    .to_vec();
    let shift = if random.below(4) == 0 { u8::try_from(random.below(64)).unwrap() } else { 0 };
    packet.extend([u8::try_from(random.below(4)).unwrap(), 0x40 | shift]);
    let class =
        if random.below(4) == 0 { 0xffff } else { u16::try_from(random.below(65_536)).unwrap() };
    packet.extend(class.to_be_bytes());
    if random.below(2) == 0 {
        let mut message = vec![0; 8];
        message.extend((0..random.below(100)).map(|_| 0x16));
        let kind = u16::try_from(random.below(14)).unwrap();
        assert!(wire::control::seal(&mut message, kind));
        packet.extend(message);
    } else {
        packet.extend((0..random.below(160)).map(|n| u8::try_from(n).unwrap()));
    }
    if random.below(16) == 0 {
        packet.truncate(random.below(packet.len() + 1));
    }
    packet
}

/// A frame, and the port it comes in on. About a third is damaged before it can be classified.
fn frame(
    random: &mut Random,
    rig: &Rig,
    links: &[(usize, dataplane_api::VifId)],
) -> (PortId, Vec<u8>) {
    let (vswitch, vif) = links[random.below(links.len())];
    let packet = packet(random, rig, vswitch);
    let (mut port, mut frame) = rig.frame(vif, &packet);
    match random.below(10) {
        0 => frame.truncate(random.below(frame.len() + 1)),
        1 | 2 => {
            let at = random.below(frame.len().min(64));
            frame[at] ^= 1 << random.below(8);
        }
        3 => frame[..6].fill(0xff),
        4 => port = PortId(1 - port.0),
        5 => frame.extend([0; 20]),
        6 => {
            // A field of the headers, and the IP checksum made right again.
            let at = 12 + random.below(30.min(frame.len() - 12));
            frame[at] = u8::try_from(random.below(256)).unwrap();
            if frame.len() >= 34 && frame[12..14] == [8, 0] && frame[14] == 0x45 {
                frame[24..26].fill(0);
                let sum = wire::checksum::checksum(&frame[14..34]).to_be_bytes();
                frame[24..26].copy_from_slice(&sum);
            }
        }
        _ => {}
    }
    (port, frame)
}

/// Reasons that a received frame can be dropped for by an engine with room in its queues and full limiters.
const REACHABLE: [DropReason; 23] = [
    DropReason::Runt,
    DropReason::NotOurs,
    DropReason::EthVersion,
    DropReason::EthLength,
    DropReason::EthMagic,
    DropReason::VlanUntrusted,
    DropReason::IpMalformed,
    DropReason::IpFragment,
    DropReason::UdpMalformed,
    DropReason::UdpChecksum,
    DropReason::UnknownVswitch,
    DropReason::UnknownLink,
    DropReason::BeaconOff,
    DropReason::SwitchRunt,
    DropReason::LabelShift,
    DropReason::SelfMalformed,
    DropReason::DirectorNarrow,
    DropReason::ReturnPathInvalid,
    DropReason::UnknownVif,
    DropReason::CableLimit,
    DropReason::Policy,
    DropReason::EgressMtu,
    DropReason::NotControl,
];

fn frames() -> u64 {
    let asked = std::env::var("SWITCHYARD_HOSTILE_FRAMES").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(1_000_000)
}

#[test]
fn every_verdict_on_hostile_frames_is_the_twins() {
    judge_as_the_twin(spec(), BTreeSet::new(), frames());
}

#[test]
fn so_is_every_verdict_where_vifs_have_policies() {
    for seed in 0..4 {
        let (spec, told) = policed(&mut Random(seed));
        judge_as_the_twin(spec, told, frames() / 8);
    }
}

fn judge_as_the_twin(spec: Spec, told: BTreeSet<(usize, u16)>, frames: u64) {
    let mut rig = Rig::new(spec.clone());
    let ids =
        told.iter().map(|(vswitch, number)| rig.vif(u16::try_from(*vswitch).unwrap(), *number));
    let links = ToldLinks::new(1, ids.collect::<Vec<_>>().into_iter());
    rig.engine.adopt_told(&links);
    let ports = ports(2).into_iter().map(|facts| (facts.name, facts.tags_visible)).collect();
    let twin = Twin { spec, ports, told };
    let linked = rig.rules.vifs().filter(|vif| vif.port().is_some());
    let links: Vec<_> = linked.map(|vif| (vif.vswitch.index(), vif.id)).collect();
    let mut random = Random(3);
    let mut hit: BTreeMap<&str, u64> = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    let mut classified = 0_u64;
    for _ in 0..frames {
        let (port, frame) = frame(&mut random, &rig, &links);
        let expected = twin.receive(port.index(), &frame);
        let found = rig.receive(port, &frame);
        let name = match (&expected, found) {
            (Expected::Sent(vswitch, number, packet), Verdict::Sent { vif, packet: found, .. }) => {
                let vif = rig.rules.vif(vif).unwrap();
                assert_eq!(
                    (vif.vswitch.index(), vif.number, found),
                    (*vswitch, *number, packet.clone()),
                    "{frame:02x?}"
                );
                "sent"
            }
            (Expected::Control(bytes), Verdict::Control { bytes: found, .. }) => {
                assert_eq!(found, *bytes, "{frame:02x?}");
                kinds.extend(found.get(18..20).map(|kind| u16::from_be_bytes([kind[0], kind[1]])));
                "punted"
            }
            (
                Expected::Error(reason, code, bytes),
                Verdict::Error { code: found_code, bytes: found, .. },
            ) => {
                assert_eq!((found_code, &found), (*code, bytes), "{frame:02x?}");
                reason.name()
            }
            (Expected::Dropped(reason), Verdict::Dropped(found, _)) => {
                assert_eq!(found, *reason, "{frame:02x?}");
                reason.name()
            }
            (expected, found) => panic!("expected {expected:?}, found {found:?} for {frame:02x?}"),
        };
        *hit.entry(name).or_default() += 1;
        let late = DropReason::from_name(name).is_none_or(|reason| reason > DropReason::BeaconOff);
        classified += u64::from(late);
    }
    println!("{frames} frames, {classified} classified: {hit:?}; control types {kinds:?}");
    for reason in REACHABLE {
        assert!(hit.contains_key(reason.name()), "{reason} was not hit");
    }
    assert!((kind::ERROR..=kind::LLADDR_REPLY).all(|kind| kinds.contains(&kind)), "{kinds:?}");
    assert!(classified * 3 >= frames, "at least a third passes classify");
}
