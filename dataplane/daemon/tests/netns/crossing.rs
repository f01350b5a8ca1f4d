//! Traffic that crosses the box, and what is the kernel's beside it.

use crate::flows::{EndKind, Pace};
use crate::rig::{Rig, Setup};
use crate::topology::{BLUE, EAST, PORTS, RED, WEST, spec, through};
use dataplane_api::DropReason;
use dataplane_api::counters::{PortCounter, WorkerCounter};
use dataplane_daemon::config::Backend;
use lab::{Namespace, may};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv,
    sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

/// Two tenants, each with a stream both ways between west and east.
pub(crate) fn two_tenants(backend: Backend, workers: usize, ends: [EndKind; 2]) -> Rig {
    let spec = spec(1, &[(RED, &[WEST, EAST]), (BLUE, &[WEST, EAST])]);
    let ways = [(RED, WEST, EAST), (RED, EAST, WEST), (BLUE, WEST, EAST), (BLUE, EAST, WEST)];
    let streams = ways.map(|(tenant, from, to)| through(&spec, tenant, from, to)).into();
    Rig::start(Setup { backend, workers, spec: Some(spec), ends: &ends, streams })
}

fn plain_traffic(backend: Backend, ends: [EndKind; 2]) {
    let mut rig = two_tenants(backend, 1, ends);
    rig.flows.pace_all(Pace::Window);
    rig.flows.more(&[0, 1, 2, 3], 5000);
    let account = rig.finish();
    assert!(account.lossless(), "{account:?}");
}

#[test]
fn traffic_of_two_tenants_crosses_without_loss() {
    if may("traffic_of_two_tenants_crosses_without_loss") {
        plain_traffic(Backend::AfXdp, [EndKind::Xdp, EndKind::Packet]);
    }
}

#[test]
fn traffic_of_two_tenants_crosses_packet_sockets_without_loss() {
    if may("traffic_of_two_tenants_crosses_packet_sockets_without_loss") {
        plain_traffic(Backend::AfPacket, [EndKind::Packet, EndKind::Xdp]);
    }
}

#[test]
fn two_workers_hand_packets_on_without_loss() {
    if !may("two_workers_hand_packets_on_without_loss") {
        return;
    }
    let mut rig = two_tenants(Backend::AfXdp, 2, [EndKind::Xdp, EndKind::Xdp]);
    let status = rig.client().status().unwrap();
    let owners: Vec<_> = status.ports.iter().map(|port| port.queues[0].1).collect();
    assert_ne!(owners[0], owners[1]);
    rig.flows.pace_all(Pace::Window);
    rig.flows.more(&[0, 1, 2, 3], 5000);
    rig.flows.finish(&[0, 1, 2, 3]);
    // Every packet comes in on one worker and leaves by the other.
    let sum = |counter| rig.worker_counter(0, counter) + rig.worker_counter(1, counter);
    let sent = rig.flows.sent_by_all();
    assert_eq!((sum(WorkerCounter::HandedOff), sum(WorkerCounter::TakenOver)), (sent, sent));
    let account = rig.finish();
    assert!(account.lossless(), "{account:?}");
}

#[test]
fn a_box_that_mostly_sleeps_writes_its_kernel_counters() {
    if !may("a_box_that_mostly_sleeps_writes_its_kernel_counters") {
        return;
    }
    let mut rig = two_tenants(Backend::AfXdp, 1, [EndKind::Packet, EndKind::Xdp]);
    rig.frames_at_rest();
    rig.flows.pace(0, Pace::Window);
    rig.flows.until("a packet is sent", |flows| flows.sent(0) > 0);
    rig.flows.finish(&[0]);
    rig.until("the calls to send it are counted", |rig| {
        rig.port_counter(EAST, PortCounter::TxKicks) > 0
    });
    rig.finish();
}

/// A process that stands still: its ring fills, and what finds no place there is dropped by the kernel, or by the program
/// shortly before.
fn what_a_full_ring_loses_is_counted(backend: Backend) {
    let mut rig = two_tenants(backend, 1, [EndKind::Packet, EndKind::Xdp]);
    let pid = rig.process.as_ref().unwrap().pid();
    let from_west = [0, 2];
    kill(pid, Signal::SIGSTOP).unwrap();
    from_west.iter().for_each(|flow| rig.flows.pace(*flow, Pace::Rate));
    // More than the ring and, of IMIX, the buffer of a packet socket hold.
    rig.flows.until("the ring is full", |flows| flows.sent_by_all() >= WAITING_MAX + 500);
    rig.flows.pace_all(Pace::Off);
    kill(pid, Signal::SIGCONT).unwrap();
    let account = rig.finish();
    let lost = account.box_rx + account.named(DropReason::ShedXdp);
    assert!(lost > 0 && account.received > 0, "{account:?}");
}

/// What may wait for a process that stands still.
const WAITING_MAX: u64 = 4096;

#[test]
fn what_a_full_ring_loses_while_the_process_stands_still_is_counted() {
    if may("what_a_full_ring_loses_while_the_process_stands_still_is_counted") {
        what_a_full_ring_loses_is_counted(Backend::AfXdp);
    }
}

#[test]
fn the_boxs_own_addresses_answer_while_it_switches() {
    if !may("the_boxs_own_addresses_answer_while_it_switches") {
        return;
    }
    let mut rig = two_tenants(Backend::AfXdp, 1, [EndKind::Packet, EndKind::Xdp]);
    give_addresses(&rig.box_, &rig.neighbours[WEST]);
    rig.flows.pace_all(Pace::Window);
    rig.flows.more(&[0, 1, 2, 3], 100);
    let Rig { flows, neighbours, .. } = &mut rig;
    // The first of each also asks for the address: ARP, neighbour discovery.
    let rounds = flows.during(|| {
        (0..50)
            .map(|_| (ping(&neighbours[WEST], OWN_V4), ping(&neighbours[WEST], OWN_V6)))
            .collect()
    });
    let rounds: Vec<(bool, bool)> = rounds;
    assert!(rounds.iter().all(|answered| *answered == (true, true)), "{rounds:?}");
    rig.flows.more(&[0, 1, 2, 3], 100);
    let account = rig.finish();
    assert!(account.lossless(), "{account:?}");
}

/// Addresses of the box's west device.
pub(crate) const OWN_V4: &str = "10.77.0.1";
pub(crate) const OWN_V6: &str = "fd77::1";

/// Gives the box's west device its addresses, and the neighbour there others.
pub(crate) fn give_addresses(box_: &Namespace, neighbour: &Namespace) {
    for (namespace, last) in [(box_, 1), (neighbour, 2)] {
        let device = PORTS[WEST];
        namespace.sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "0").unwrap();
        namespace.ip(&["address", "add", &format!("10.77.0.{last}/24"), "dev", device]).unwrap();
        let six = format!("fd77::{last}/64");
        namespace.ip(&["address", "add", &six, "dev", device, "nodad"]).unwrap();
    }
}

/// Whether an address answers a ping from a namespace, within ten seconds.
pub(crate) fn ping(from: &Namespace, to: &str) -> bool {
    const ID: [u8; 2] = [0x53, 0x57];
    let to: IpAddr = to.parse().unwrap();
    from.run(|| {
        let (family, protocol, asks, answers) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
        };
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(10, 0)).unwrap();
        let mut message = [asks, 0, 0, 0, ID[0], ID[1], 0, 1, 1, 2, 3, 4];
        // That of ICMPv6 is the kernel's to write.
        let sum = wire::checksum::checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        match to {
            IpAddr::V4(to) => {
                let [a, b, c, d] = to.octets();
                sendto(fd, &message, &SockaddrIn::new(a, b, c, d, 0), flags).unwrap()
            }
            IpAddr::V6(to) => {
                let to = SockaddrIn6::from(std::net::SocketAddrV6::new(to, 0, 0, 0));
                sendto(fd, &message, &to, flags).unwrap()
            }
        };
        let mut answer = [0; 512];
        // Other messages come along: each raw socket sees them all. A timeout ends it.
        while let Ok(len) = recv(fd, &mut answer, flags) {
            let header = if to.is_ipv4() { 20 } else { 0 };
            let found = answer[..len].get(header..header + 6);
            if found.is_some_and(|found| found[0] == answers && found[4..] == ID) {
                return true;
            }
        }
        false
    })
    .unwrap()
}
