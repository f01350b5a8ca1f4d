//! How a process begins and ends, and what it leaves behind.

use crate::crossing::{OWN_V4, give_addresses, ping, two_tenants};
use crate::flows::{EndKind, Pace, stream_of};
use crate::neighbours::{OTHERS, TO_NORTH, let_through, three_ports};
use crate::rig::{Rig, Setup, eventually, netdev, output_in};
use crate::topology::{BLUE, EAST, NORTH, PORTS, RED, WEST, spec, through};
use dataplane_api::{DropReason, Generation};
use dataplane_daemon::config::Backend;
use io::bpf::{Link, Program, XdpMode};
use io::netdev::Netdev;
use lab::{Namespace, may};
use nix::sys::signal::{Signal, kill};
use traffic::WireEnd;
use traffic::af_packet::AfPacket;

/// Id of the XDP program on a device.
fn program_on(namespace: &Namespace, port: usize) -> Option<u32> {
    let shown = output_in(namespace, &format!("ip -details link show dev {}", PORTS[port]));
    let (_, after) = shown.split_once("prog/xdp id ")?;
    after.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_killed_process_leaves_the_devices_to_the_kernel_and_its_spec_to_the_next() {
    if !may("a_killed_process_leaves_the_devices_to_the_kernel_and_its_spec_to_the_next") {
        return;
    }
    let configured = spec(1, &[(RED, &[WEST, EAST])]);
    let applied = spec(5, &[(RED, &[WEST, EAST]), (BLUE, &[WEST, EAST])]);
    let ways = [(RED, WEST, EAST), (BLUE, EAST, WEST), (RED, EAST, WEST), (RED, WEST, EAST)];
    let mut rig = Rig::start(Setup {
        backend: Backend::AfXdp,
        workers: 1,
        spec: Some(configured),
        ends: &[EndKind::Packet, EndKind::Xdp],
        streams: ways.map(|(tenant, from, to)| through(&applied, tenant, from, to)).into(),
    });
    let (crossing, at_the_kill, afterwards) = ([0, 1], 2, 3);
    give_addresses(&rig.box_, &rig.neighbours[WEST]);
    rig.client().apply(applied.clone()).unwrap();
    rig.flows.pace(0, Pace::Window);
    rig.flows.pace(1, Pace::Window);
    rig.flows.more(&crossing, 500);
    rig.flows.finish(&crossing);
    assert!(program_on(&rig.box_, WEST).is_some() && program_on(&rig.box_, EAST).is_some());

    rig.flows.pace(at_the_kill, Pace::Rate);
    rig.flows.more(&[at_the_kill], 50);
    rig.kill();
    rig.flows.pace(at_the_kill, Pace::Off);
    for port in [WEST, EAST] {
        eventually("the program leaves", || program_on(&rig.box_, port).is_none());
    }
    // A packet socket of the box sees what the program would have taken.
    let mut tap = rig.box_.run(|| AfPacket::open(PORTS[WEST])).unwrap().unwrap();
    rig.flows.pace(afterwards, Pace::Window);
    let mut seen = 0;
    rig.flows.until("the kernel gets the frames", |_| {
        tap.receive(&mut |frame| seen += u64::from(stream_of(frame) == Some(afterwards))).unwrap();
        seen > 0
    });
    rig.flows.pace(afterwards, Pace::Off);
    assert!(ping(&rig.neighbours[WEST], OWN_V4));
    drop(tap);

    rig.start_process();
    let status = rig.client().status().unwrap();
    assert_eq!(status.accepted, Generation(5));
    assert!(
        status.notices.iter().any(|notice| notice.contains("kept on disk is in force")),
        "{:?}",
        status.notices
    );
    assert_eq!(rig.client().spec().unwrap(), applied);
    rig.flows.pace(0, Pace::Window);
    rig.flows.pace(1, Pace::Window);
    rig.flows.more(&crossing, 500);
    let account = rig.finish();
    assert!(account.lossless(), "{account:?}");
}

#[test]
fn a_stop_accounts_for_what_waits_in_rings_and_queues() {
    if may("a_stop_accounts_for_what_waits_in_rings_and_queues") {
        a_stop_accounts_for_what_waits(Backend::AfXdp);
    }
}

#[test]
fn a_stop_accounts_for_what_waits_for_packet_sockets() {
    if may("a_stop_accounts_for_what_waits_for_packet_sockets") {
        a_stop_accounts_for_what_waits(Backend::AfPacket);
    }
}

fn a_stop_accounts_for_what_waits(backend: Backend) {
    let mut rig = three_ports(backend, [EndKind::Packet, EndKind::Xdp, EndKind::Far]);
    OTHERS.iter().for_each(|flow| rig.flows.pace(*flow, Pace::Window));
    rig.flows.pace(TO_NORTH, Pace::Rate);
    rig.until("frames wait for the port", |rig| rig.drops(DropReason::QueueShare) > 0);
    rig.flows.more(&OTHERS, 100);
    rig.flows.pace_all(Pace::Off);
    rig.flows.finish(&OTHERS);

    // What arrives now waits in the receive rings when the process is asked to stop.
    let pid = rig.process.as_ref().unwrap().pid();
    kill(pid, Signal::SIGSTOP).unwrap();
    OTHERS.iter().for_each(|flow| rig.flows.pace(*flow, Pace::Window));
    rig.flows.until("a window of each is on its way", |flows| {
        OTHERS.iter().all(|flow| flows.sent(*flow) - flows.received(*flow) >= 40)
            && flows.pending() == 0
    });
    rig.flows.pace_all(Pace::Off);
    rig.until("it is in the rings", |rig| {
        [WEST, EAST]
            .iter()
            .all(|port| netdev(&rig.box_, PORTS[*port]).rx_frames >= rig.flows.sent_from(*port))
    });
    kill(pid, Signal::SIGTERM).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let status = rig.wait();
    assert!(status.success(), "{status}");
    let_through(&rig.neighbours[NORTH]);
    rig.close_account();
    rig.check_arrivals();
    let account = rig.account();
    // At the least the vswitch's share of the queue.
    assert!(account.named(DropReason::Stopping) >= 1024, "{account:?}");
    assert_eq!(account.box_rx + account.box_tx + account.to_kernel, 0, "{account:?}");
}

#[test]
fn what_arrives_during_a_stop_is_left_to_the_kernel() {
    if !may("what_arrives_during_a_stop_is_left_to_the_kernel") {
        return;
    }
    // A queue that is not let out keeps the process in its drain.
    let mut rig = three_ports(Backend::AfXdp, [EndKind::Packet, EndKind::Xdp, EndKind::Far]);
    rig.flows.pace(TO_NORTH, Pace::Rate);
    rig.until("frames wait for the port", |rig| rig.drops(DropReason::QueueShare) > 0);
    kill(rig.process.as_ref().unwrap().pid(), Signal::SIGTERM).unwrap();
    rig.until("frames are left to the kernel", |rig| rig.account().to_kernel > 20);
    rig.flows.pace(TO_NORTH, Pace::Off);
    let status = rig.wait();
    assert!(status.success(), "{status}");
    let_through(&rig.neighbours[NORTH]);
    rig.close_account();
    rig.check_arrivals();
    assert!(rig.account().named(DropReason::Stopping) >= 1024, "{:?}", rig.account());
}

#[test]
fn a_foreign_program_is_named_and_left_alone() {
    if !may("a_foreign_program_is_named_and_left_alone") {
        return;
    }
    let prepare = || {
        Rig::prepare(Setup {
            backend: Backend::AfXdp,
            workers: 1,
            spec: None,
            ends: &[EndKind::Packet, EndKind::Packet],
            streams: Vec::new(),
        })
    };
    // r0 = XDP_PASS; exit
    let load = |name| Program::load_xdp(name, &[0x0000_0002_0000_00b7, 0x95]).unwrap();
    let attach = |rig: &Rig, program: &Program| {
        let attach = || {
            let index = Netdev::find(PORTS[EAST]).unwrap().index;
            (index, Link::attach(program, index, XdpMode::Native).unwrap())
        };
        rig.box_.run(attach).unwrap()
    };
    // A device of the same index in another network namespace has nothing to do with it.
    let (elsewhere, mut rig) = (prepare(), prepare());
    let (index_elsewhere, _link_elsewhere) = attach(&elsewhere, &load("elsewhere"));
    let (index, link) = attach(&rig, &load("somebody_elses"));
    assert_eq!(index, index_elsewhere);
    let id = program_on(&rig.box_, EAST).unwrap();
    let said = rig.start_refused();
    for words in ["port east", &format!("program {id} "), "\"somebody_elses\"", "remove it first"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert_eq!(program_on(&rig.box_, EAST), Some(id));
    eventually("nothing is left on the other", || program_on(&rig.box_, WEST).is_none());
    drop(link);
    eventually("the foreign program is gone", || program_on(&rig.box_, EAST).is_none());
    rig.start_process();
    assert_ne!(program_on(&rig.box_, EAST), Some(id));
}

#[test]
fn a_second_process_on_the_same_ports_is_refused_and_the_first_goes_on() {
    if !may("a_second_process_on_the_same_ports_is_refused_and_the_first_goes_on") {
        return;
    }
    let mut rig = two_tenants(Backend::AfXdp, 1, [EndKind::Packet, EndKind::Xdp]);
    let first = rig.config.clone();
    let id = program_on(&rig.box_, WEST).unwrap();
    // The same socket: the running process is found before anything is touched.
    let said = rig.start_refused();
    assert!(said.contains("another dataplane is running"), "{said}");
    // Other files: its program is found on the port.
    rig.config.process.socket.set_extension("second");
    rig.config.process.counters.set_extension("second");
    rig.config.process.state_dir.set_extension("second");
    let said = rig.start_refused();
    assert!(
        said.contains(&format!(
            "port west: an XDP program of somebody else is attached (program {id} \"switchyard\""
        )),
        "{said}"
    );
    rig.config = first;
    rig.flows.pace_all(Pace::Window);
    rig.flows.more(&[0, 1, 2, 3], 500);
    let account = rig.finish();
    assert!(account.lossless(), "{account:?}");
}
