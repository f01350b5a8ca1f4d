//! Neighbours that misbehave, and ports that go down: others lose nothing.

use crate::flows::{EndKind, Pace};
use crate::rig::{Rig, Setup, output_in};
use crate::topology::{BLUE, EAST, NORTH, PORTS, RED, WEST, spec, through};
use dataplane_api::DropReason;
use dataplane_api::counters::PortCounter;
use dataplane_daemon::config::Backend;
use lab::{Namespace, may};
use traffic::af_packet::AfPacket;
use traffic::{Offer, WireEnd};

/// Between west and east, red and blue; these must lose nothing.
pub(crate) const OTHERS: [usize; 4] = [0, 1, 2, 3];
/// Red, from west to north and back.
pub(crate) const TO_NORTH: usize = 4;
const FROM_NORTH: usize = 5;

/// Red and blue on west and east, red on north too.
pub(crate) fn three_ports(backend: Backend, ends: [EndKind; 3]) -> Rig {
    let spec = spec(1, &[(RED, &[WEST, EAST, NORTH]), (BLUE, &[WEST, EAST])]);
    let ways = [
        (RED, WEST, EAST),
        (RED, EAST, WEST),
        (BLUE, WEST, EAST),
        (BLUE, EAST, WEST),
        (RED, WEST, NORTH),
        (RED, NORTH, WEST),
    ];
    let streams = ways.map(|(tenant, from, to)| through(&spec, tenant, from, to)).into();
    Rig::start(Setup { backend, workers: 1, spec: Some(spec), ends: &ends, streams })
}

/// Makes a neighbour's device a port of a bridge, and behind the bridge a queue that lets next to nothing through. What
/// it lets through arrives at device `far`.
pub(crate) fn slow_bridge(namespace: &Namespace, device: &str) {
    let commands = [
        "link add far type veth peer name slow",
        "link add bridge type bridge",
        &format!("link set {device} master bridge"),
        "link set slow master bridge",
        "link set far up",
        "link set slow up",
        "link set bridge up",
    ];
    for command in commands {
        namespace.ip(&command.split(' ').collect::<Vec<_>>()).unwrap();
    }
    output_in(namespace, "tc qdisc add dev slow root tbf rate 8bit burst 1600 limit 4000000");
}

/// Lets through what waits in the queue behind the bridge.
pub(crate) fn let_through(namespace: &Namespace) {
    output_in(
        namespace,
        "tc qdisc change dev slow root tbf rate 10gbit burst 1000000 limit 4000000",
    );
    // The queue still waits for when the next frame was due; another frame makes it look.
    let frame = [0xff; 60];
    let offered = namespace.run(|| AfPacket::open("slow").unwrap().offer(&frame)).unwrap();
    assert_eq!(offered, Offer::Taken);
}

fn a_neighbour_that_never_reads(backend: Backend) {
    let mut rig = three_ports(backend, [EndKind::Packet, EndKind::Xdp, EndKind::Xdp]);
    let before = rig.frames_at_rest();
    rig.flows.reads(NORTH, false);
    OTHERS.iter().for_each(|flow| rig.flows.pace(*flow, Pace::Window));
    rig.flows.pace(TO_NORTH, Pace::Rate);
    // Its own ring is full.
    rig.until("the neighbour's kernel drops", |rig| rig.flows.kernel(NORTH).0 > 500);
    rig.flows.more(&OTHERS, 500);
    rig.flows.finish(&OTHERS);
    rig.flows.reads(NORTH, true);
    rig.close_account();
    rig.until("every frame is back", |rig| rig.frames() == before);
    let account = rig.finish();
    assert!(account.end_rx >= 500, "{account:?}");
}

#[test]
fn a_neighbour_that_never_reads_costs_others_nothing() {
    if may("a_neighbour_that_never_reads_costs_others_nothing") {
        a_neighbour_that_never_reads(Backend::AfXdp);
    }
}

#[test]
fn a_neighbour_that_never_reads_costs_others_nothing_over_packet_sockets() {
    if may("a_neighbour_that_never_reads_costs_others_nothing_over_packet_sockets") {
        a_neighbour_that_never_reads(Backend::AfPacket);
    }
}

#[test]
fn a_queue_that_holds_our_frames_costs_others_nothing() {
    if may("a_queue_that_holds_our_frames_costs_others_nothing") {
        a_queue_that_holds_our_frames(Backend::AfXdp);
    }
}

#[test]
fn a_queue_that_holds_our_frames_costs_others_nothing_over_packet_sockets() {
    if may("a_queue_that_holds_our_frames_costs_others_nothing_over_packet_sockets") {
        a_queue_that_holds_our_frames(Backend::AfPacket);
    }
}

fn a_queue_that_holds_our_frames(backend: Backend) {
    let mut rig = three_ports(backend, [EndKind::Packet, EndKind::Xdp, EndKind::Far]);
    let before = rig.frames_at_rest();
    OTHERS.iter().for_each(|flow| rig.flows.pace(*flow, Pace::Window));
    rig.flows.pace(TO_NORTH, Pace::Rate);
    rig.until("frames wait for the port", |rig| {
        rig.drops(DropReason::QueueShare) + rig.drops(DropReason::QueueFull) > 100
    });
    rig.flows.more(&OTHERS, 500);
    rig.flows.finish(&OTHERS);
    assert!(rig.port_counter(NORTH, PortCounter::TxPending) >= 256);
    let_through(&rig.neighbours[NORTH]);
    rig.close_account();
    rig.until("every frame is back", |rig| rig.frames() == before);
    rig.finish();
}

#[test]
fn a_queue_that_holds_our_frames_is_named_at_the_next_start() {
    if !may("a_queue_that_holds_our_frames_is_named_at_the_next_start") {
        return;
    }
    let mut rig = three_ports(Backend::AfXdp, [EndKind::Packet, EndKind::Xdp, EndKind::Far]);
    rig.flows.pace(TO_NORTH, Pace::Rate);
    rig.until("frames are held", |rig| rig.port_counter(NORTH, PortCounter::TxFrames) >= 100);
    rig.flows.pace(TO_NORTH, Pace::Off);
    assert!(rig.stop().success());
    // What was still in the box is counted.
    let account = rig.account();
    let held = account.sent - (account.sum() - account.received);
    assert!(held >= 100, "{account:?}");
    let said = rig.start_refused();
    assert!(said.contains("port north queue 0"), "{said}");
    assert!(said.contains("still wait in somebody's queue"), "{said}");
    let_through(&rig.neighbours[NORTH]);
    rig.flows.until("what was held arrives", |flows| flows.received(TO_NORTH) == held);
    rig.start_process();
    rig.flows.pace(TO_NORTH, Pace::Rate);
    rig.flows.more(&[TO_NORTH], 100);
    rig.finish();
}

fn a_port_that_goes_down_and_up(backend: Backend, own_side: bool) {
    let mut rig = three_ports(backend, [EndKind::Packet, EndKind::Xdp, EndKind::Xdp]);
    OTHERS.iter().for_each(|flow| rig.flows.pace(*flow, Pace::Window));
    for round in 1..=2_u64 {
        rig.flows.pace(TO_NORTH, Pace::Rate);
        rig.flows.pace(FROM_NORTH, Pace::Window);
        rig.flows.more(&[TO_NORTH, FROM_NORTH], 200);
        // What is in the device's own ring when it goes down is lost, and nobody counts it.
        rig.flows.pace(TO_NORTH, Pace::Off);
        rig.flows.pace(FROM_NORTH, Pace::Off);
        rig.until("nothing is on its way", |rig| {
            let (account, flows) = (rig.account(), &rig.flows);
            let lost = account.sum() - account.received;
            flows.sent(TO_NORTH) == flows.received(TO_NORTH) + lost
                && flows.sent(FROM_NORTH) == flows.received(FROM_NORTH)
        });
        set_link(&rig, own_side, "down");
        rig.flows.pace(TO_NORTH, Pace::Rate);
        let dropped = rig.drops(DropReason::PortDown);
        rig.until("the port's packets are dropped by name", |rig| {
            rig.drops(DropReason::PortDown) > dropped + 100
        });
        assert!(!rig.client().status().unwrap().ports[NORTH].up, "round {round}");
        rig.flows.more(&OTHERS, 500);
        set_link(&rig, own_side, "up");
        rig.until("the port is up", |rig| rig.client().status().unwrap().ports[NORTH].up);
    }
    rig.flows.pace(FROM_NORTH, Pace::Window);
    rig.flows.more(&[TO_NORTH, FROM_NORTH], 200);
    rig.flows.finish(&OTHERS);
    // Before the process noticed, the kernel dropped them, and its device counted them.
    let account = rig.finish();
    assert!(account.named(DropReason::PortDown) >= 200, "{account:?}");
}

fn set_link(rig: &Rig, own_side: bool, state: &str) {
    let namespace = if own_side { &rig.box_ } else { &rig.neighbours[NORTH] };
    namespace.ip(&["link", "set", PORTS[NORTH], state]).unwrap();
}

#[test]
fn a_port_that_is_set_down_and_up_resumes() {
    if may("a_port_that_is_set_down_and_up_resumes") {
        a_port_that_goes_down_and_up(Backend::AfXdp, true);
    }
}

#[test]
fn a_port_whose_peer_goes_down_and_up_resumes() {
    if may("a_port_whose_peer_goes_down_and_up_resumes") {
        a_port_that_goes_down_and_up(Backend::AfXdp, false);
    }
}

#[test]
fn a_packet_socket_port_that_is_set_down_and_up_resumes() {
    if may("a_packet_socket_port_that_is_set_down_and_up_resumes") {
        a_port_that_goes_down_and_up(Backend::AfPacket, true);
    }
}

#[test]
fn a_packet_socket_port_whose_peer_goes_down_and_up_resumes() {
    if may("a_packet_socket_port_whose_peer_goes_down_and_up_resumes") {
        a_port_that_goes_down_and_up(Backend::AfPacket, false);
    }
}
