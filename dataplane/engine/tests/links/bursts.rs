//! Bursts of many links with everything that can be wrong with a packet, seeded, against the twin.
//!
//! `SWITCHYARD_HOSTILE_BURSTS` sets the count; without it a fixed-seed few thousand.

use crate::Random;
use crate::keyed::{Fate, Keyed};
use crate::peer::{Kind, Session};
use dataplane_api::{PortId, VifId};
use std::collections::{BTreeMap, BTreeSet};

/// What a neighbour has: sessions that it made, newest last, and packets that it may send again.
#[derive(Default)]
struct Neighbour {
    sessions: Vec<Session>,
    recorded: Vec<Vec<u8>>,
    held_back: Vec<Vec<u8>>,
}

/// Sessions that a neighbour remembers; the box has fewer.
const REMEMBERED: usize = 5;
const RECORDED: usize = 300;

fn text(random: &mut Random, keyed: &Keyed, from: VifId) -> Vec<u8> {
    let info = keyed.rig.rules.vif(from).unwrap();
    let numbers = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 12];
    let to = numbers[random.below(numbers.len())];
    let mut payload = vec![0x5a; random.below(120)];
    if random.below(40) == 0 {
        payload.resize(1460 + random.below(30), 7);
    }
    if random.below(4) == 0 && payload.len() >= 4 {
        payload[..4].fill(0xff);
    }
    match random.below(30) {
        0 => Vec::new(),
        1 => payload[..payload.len().min(10)].to_vec(),
        _ => crate::keyed::packet_to(&keyed.rig, info.vswitch, (info.number, to), &payload),
    }
}

fn packet(random: &mut Random, keyed: &Keyed, neighbour: &mut Neighbour, from: VifId) -> Vec<u8> {
    let text = text(random, keyed, from);
    // Mostly the newest.
    let last = neighbour.sessions.len().saturating_sub(1);
    let which = if random.below(4) == 0 { random.below(last + 1) } else { last };
    let Some(session) = neighbour.sessions.get_mut(which) else {
        return [&[0x77; 24], &text[..]].concat();
    };
    let mut packet = session.seal(&text);
    if neighbour.recorded.len() >= RECORDED {
        neighbour.recorded.remove(0);
    }
    neighbour.recorded.push(packet.clone());
    match random.below(24) {
        0 => packet.truncate(random.below(packet.len() + 1)),
        1 | 2 => {
            let at = random.below(packet.len());
            packet[at] ^= 1 << random.below(8);
        }
        3 | 4 => packet = neighbour.recorded[random.below(neighbour.recorded.len())].clone(),
        5 => {
            neighbour.held_back.push(packet.clone());
            packet = session.seal(&text);
        }
        6 => packet = neighbour.held_back.pop().unwrap_or(packet),
        7 => packet[..4].copy_from_slice(&[0, 0, 0, u8::try_from(random.below(4)).unwrap()]),
        8 => packet[..4].fill(0xff),
        9 => {
            session.next += u32::try_from(random.below(3000)).unwrap();
            packet = session.seal(&text);
        }
        10 => {
            let number = session.next.saturating_sub(u32::try_from(random.below(2000)).unwrap());
            packet = session.seal_as(number, &text);
        }
        11 => packet[..4].copy_from_slice(&[9, 9, 9, u8::try_from(random.below(256)).unwrap()]),
        12 => packet.extend([0; 3]),
        _ => {}
    }
    packet
}

fn rekey(random: &mut Random, keyed: &mut Keyed, neighbour: &mut Neighbour, vif: VifId) {
    match random.below(8) {
        0 => {
            let id = keyed.links[&vif].current.as_ref().map(|session| session.id);
            keyed.remove(vif, id);
        }
        1 => keyed.remove(vif, Some(1)),
        2 => keyed.remove(vif, None),
        _ => {
            let kind = if random.below(2) == 0 { Kind::CryptoAuth } else { Kind::Noise };
            let session = keyed.session(random, kind, random.0 & 1 == 0);
            keyed.install(vif, &session);
            if neighbour.sessions.len() >= REMEMBERED {
                neighbour.sessions.remove(0);
            }
            neighbour.sessions.push(session);
        }
    }
}

#[test]
fn bursts_of_many_links_go_where_the_twin_says() {
    let bursts = std::env::var("SWITCHYARD_HOSTILE_BURSTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(4_000);
    let mut keyed = Keyed::new();
    let mut random = Random(11);
    let links: Vec<VifId> = keyed.links.keys().copied().collect();
    let with_keys = keyed.with_keys();
    let mut neighbours: BTreeMap<VifId, Neighbour> =
        with_keys.iter().map(|vif| (*vif, Neighbour::default())).collect();
    let mut hit: BTreeSet<String> = BTreeSet::new();
    let mut packets = 0_u64;
    for _ in 0..bursts {
        for _ in 0..random.below(3) {
            let vif = with_keys[random.below(with_keys.len())];
            rekey(&mut random, &mut keyed, neighbours.get_mut(&vif).unwrap(), vif);
        }
        let port = PortId(u16::try_from(random.below(2)).unwrap());
        let of_port: Vec<VifId> =
            links.iter().copied().filter(|vif| keyed.port_of(*vif) == port).collect();
        // Often few links, so that one link has many packets of a burst.
        let few = random.below(of_port.len()) + 1;
        let mut burst = Vec::new();
        for _ in 0..random.below(65) {
            let vif = of_port[random.below(few)];
            let packet = match neighbours.get_mut(&vif) {
                Some(neighbour) => packet(&mut random, &keyed, neighbour, vif),
                None => text(&mut random, &keyed, vif),
            };
            burst.push((vif, packet));
        }
        packets += burst.len() as u64;
        for fate in keyed.receive(port, &burst) {
            hit.insert(match fate {
                Fate::Punted(kind, ..) => format!("{kind:?}"),
                other => format!("{other:?}"),
            });
        }
        if random.below(4) > 0 || keyed.rig.engine.frames_held() > 100 {
            for port in [PortId(0), PortId(1)] {
                let room = random.below(64) + 1;
                let drops = keyed.transmit(port, room);
                hit.extend(drops.into_iter().map(|reason| format!("Sent({reason:?})")));
                while keyed.rig.engine.queued(port) > 0 {
                    keyed.transmit(port, 64);
                }
            }
        }
    }
    println!("{packets} packets: {hit:?}");
    for fate in [
        "Queued",
        "KeepAlive",
        "Handshake",
        "Control",
        "Router",
        "Dropped(SessionRunt)",
        "Dropped(NoSession)",
        "Dropped(Unauthentic)",
        "Dropped(Replayed)",
        "Dropped(SwitchRunt)",
        "Dropped(UnknownVif)",
        "Dropped(EgressMtu)",
        "Sent(LinkDown)",
    ] {
        assert!(hit.contains(fate), "{fate} was not hit");
    }
}
