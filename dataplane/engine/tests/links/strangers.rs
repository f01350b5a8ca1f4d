//! Frames from addresses that no link has: to the slow path where somebody listens, as handshakes and beacons alone, and
//! not too many.

use crate::keyed::spec;
use crate::rig::{Rig, ports};
use dataplane_api::counters::{PortCounter, WorkerCounter};
use dataplane_api::spec::{BeaconMode, ListenSpec};
use dataplane_api::{DropReason, LinkAddress, MacAddress, PortId, VswitchId};
use dataplane_engine::{Burst, NoTap, Outcome, Stranger};
use wire::buf::{HeapPacket, Packet};
use wire::{eth_interface, ethernet, ip, udp};

const OWN: MacAddress = MacAddress([2, 0xcc, 0, 0, 0, 1]);
const STRANGER: MacAddress = MacAddress([2, 0xdd, 0, 0, 0, 1]);
const VLAN: u16 = 77;

/// The box of the other tests, whose first vswitch listens on port 0: untagged, tagged, and by UDP.
fn rig(strangers_per_second: u32) -> Rig {
    let mut spec = spec();
    let ethernet =
        |vlan, beacon| ListenSpec::Ethernet { port: "p0".into(), vlan, local: Some(OWN), beacon };
    spec.vswitches[0].listens = vec![
        ethernet(None, BeaconMode::Accept),
        ethernet(Some(VLAN), BeaconMode::Off),
        ListenSpec::Udp { port: "p0".into(), vlan: None, local: "10.0.0.1:9000".parse().unwrap() },
    ];
    let mut ports = ports(2);
    ports.iter_mut().for_each(|port| port.plain_forced = true);
    Rig::with_limits(&spec, &ports, (1, 1), strangers_per_second)
}

fn ethernet_frame(to: MacAddress, vlan: Option<u16>, packet: &[u8]) -> Vec<u8> {
    ethernet_frame_of(STRANGER, to, vlan, packet)
}

fn ethernet_frame_of(
    from: MacAddress,
    to: MacAddress,
    vlan: Option<u16>,
    packet: &[u8],
) -> Vec<u8> {
    let (destination, source) = (to.0, from.0);
    let header = ethernet::Header { destination, source, vlan, ethertype: 0xfc00 };
    let mut frame = vec![0; header.len()];
    assert!(header.write(&mut frame));
    frame.extend(eth_interface::header(packet.len()).unwrap());
    frame.extend(packet);
    frame
}

fn udp_frame(port: u16, packet: &[u8]) -> Vec<u8> {
    let (from, to) = ([192, 0, 2, 9].into(), [10, 0, 0, 1].into());
    let mut datagram = vec![0; udp::HEADER_LEN];
    datagram.extend(packet);
    assert!(udp::write(
        &mut datagram,
        (std::net::IpAddr::V4(from), 7),
        (std::net::IpAddr::V4(to), port)
    ));
    let header =
        ethernet::Header { destination: [2; 6], source: [4; 6], vlan: None, ethertype: 0x0800 };
    let mut frame = vec![0; header.len()];
    assert!(header.write(&mut frame));
    frame.extend(ip::header_v4(from, to, datagram.len()).unwrap());
    frame.extend(datagram);
    frame
}

fn hello(first: u32) -> Vec<u8> {
    [&first.to_be_bytes()[..], &[0x31; 130]].concat()
}

/// What became of a frame: a stranger's packet, or its drop.
fn receive(rig: &mut Rig, port: PortId, frame: &[u8]) -> Result<Stranger<HeapPacket>, DropReason> {
    receive_many(rig, port, &[frame.to_vec()]).pop().unwrap()
}

fn receive_many(
    rig: &mut Rig,
    port: PortId,
    frames: &[Vec<u8>],
) -> Vec<Result<Stranger<HeapPacket>, DropReason>> {
    let before = rig.counters();
    let (mut burst, mut out) = (Burst::new(), Outcome::new());
    burst.extend(frames.iter().map(|frame| HeapPacket::new(frame, 128, 64)));
    rig.engine.receive(&rig.rules, 1_000_000_000, port, &mut burst, &mut out, &mut NoTap);
    assert_eq!(out.frames(), frames.len());
    assert_eq!(out.strangers.len() + out.free.len(), frames.len());
    let (after, layout) = (rig.counters(), rig.layout);
    let punted = out.strangers.len() as u64;
    for slot in [layout.worker(WorkerCounter::Punted), layout.port(port, PortCounter::Punted)] {
        assert_eq!(after[slot] - before[slot], punted);
    }
    let drops = rig.drops_since(&before);
    assert_eq!(drops.len(), out.free.len());
    out.strangers.drain(..).map(Ok).chain(drops.into_iter().map(Err)).collect()
}

#[test]
fn callers_reach_whoever_listens_with_their_packet_and_address() {
    let mut rig = rig(1_000_000);
    let p0 = PortId(0);
    for first in [0, 1, u32::MAX] {
        for vlan in [None, Some(VLAN)] {
            let found = receive(&mut rig, p0, &ethernet_frame(OWN, vlan, &hello(first))).unwrap();
            let from = LinkAddress::Ethernet { port: p0, vlan, own: OWN, peer: STRANGER };
            assert_eq!((found.from, found.vswitch), (from, Some(VswitchId(0))));
            assert_eq!(found.frame.bytes(), hello(first));
        }
        let found = receive(&mut rig, p0, &udp_frame(9000, &hello(first))).unwrap();
        let (own, peer) = ("10.0.0.1:9000".parse().unwrap(), "192.0.2.9:7".parse().unwrap());
        assert_eq!(found.from, LinkAddress::Udp { port: p0, vlan: None, own, peer });
        assert_eq!((found.vswitch, found.frame.bytes()), (Some(VswitchId(0)), &hello(first)[..]));
    }
    let body = vec![7; wire::beacon::BODY_LEN];
    let broadcast = MacAddress(ethernet::BROADCAST);
    let found = receive(&mut rig, p0, &ethernet_frame(broadcast, None, &body));
    assert_eq!(found.map(|found| found.vswitch), Ok(None));
}

#[test]
fn nobody_else_is_heard_and_each_drop_has_its_name() {
    let mut rig = rig(1_000_000);
    let p0 = PortId(0);
    let other = MacAddress([2, 0xcc, 0, 0, 0, 2]);
    let of_a_link = MacAddress(crate::rig::key(0).mac("p0"));
    let body = vec![7; wire::beacon::BODY_LEN];
    let broadcast = MacAddress(ethernet::BROADCAST);
    for (port, frame, reason) in [
        (p0, ethernet_frame(OWN, None, &hello(2)), DropReason::Stranger),
        (p0, ethernet_frame(OWN, None, &hello(3)), DropReason::Stranger),
        (p0, ethernet_frame(OWN, None, &hello(77)), DropReason::Stranger),
        (p0, ethernet_frame(OWN, None, &[]), DropReason::Stranger),
        (p0, ethernet_frame(OWN, Some(VLAN + 1), &hello(0)), DropReason::UnknownVswitch),
        (p0, ethernet_frame(other, None, &hello(0)), DropReason::UnknownVswitch),
        (p0, ethernet_frame(of_a_link, None, &hello(0)), DropReason::UnknownLink),
        (PortId(1), ethernet_frame(OWN, None, &hello(0)), DropReason::UnknownVswitch),
        (p0, udp_frame(9001, &hello(0)), DropReason::NotOurs),
        (p0, udp_frame(1000, &hello(0)), DropReason::UnknownLink),
        (p0, udp_frame(9000, &hello(9)), DropReason::Stranger),
        (p0, ethernet_frame(broadcast, Some(VLAN), &body), DropReason::BeaconOff),
        (p0, ethernet_frame(broadcast, None, &body[1..]), DropReason::BeaconOff),
    ] {
        assert_eq!(receive(&mut rig, port, &frame).map(|_| ()), Err(reason), "{frame:02x?}");
    }
}

#[test]
fn strangers_wait_for_their_turn_and_keep_nobody_elses() {
    let mut rig = rig(100);
    let from =
        |number| ethernet_frame_of(MacAddress([2, 7, 0, 0, 0, number]), OWN, None, &hello(0));
    let of_one = vec![from(0); 20];
    let taken = |fates: &[Result<_, _>]| fates.iter().filter(|fate| fate.is_ok()).count();
    assert_eq!(taken(&receive_many(&mut rig, PortId(0), &of_one)), 1, "no more than its share");
    let fates = receive_many(&mut rig, PortId(0), &(1..=40).map(from).collect::<Vec<_>>());
    assert_eq!(taken(&fates), 9, "a tenth of a second's worth at once");
    assert!(
        fates
            .iter()
            .flat_map(|fate| fate.as_ref().err())
            .all(|reason| { *reason == DropReason::HandshakeLimited })
    );
    // Of a link, in the same instant.
    let (port, frame) = rig.frame(rig.vif(0, 0), &hello(0));
    let (mut burst, mut out) = (Burst::new(), Outcome::new());
    burst.push(HeapPacket::new(&frame, 128, 64));
    rig.engine.receive(&rig.rules, 1_000_000_000, port, &mut burst, &mut out, &mut NoTap);
    assert_eq!(out.punts.len(), 1);
}
