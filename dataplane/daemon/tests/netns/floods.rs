//! More than the box can take: who loses, and that each loss has its name.

use crate::flows::{EndKind, Pace};
use crate::rig::{Account, Rig, Setup};
use crate::topology::{BLUE, EAST, PORTS, RED, WEST, spec, through, vif};
use dataplane_api::{CapacitySpec, Direction, DropReason, Generation, LeaseSpec, Spec, VifName};
use dataplane_daemon::config::Backend;
use lab::may;
use nix::sys::signal::{Signal, kill};

/// Entries of a receive ring of the rig.
const RING: u64 = 4096;
/// Flows: the leased one, and the one without a lease.
const LEASED: usize = 0;
const FLOODING: usize = 1;
/// Packets that the lease's tenant sends while the box stands still: they find room beside what may wait without a claim.
const LEASED_PACKETS: u64 = 1_500;

/// What red sends in by west is leased.
fn leased() -> Spec {
    let lease = LeaseSpec {
        id: 1,
        vifs: vec![VifName { vswitch: "red".into(), vif: vif(WEST) }],
        direction: Direction::In,
        rate: 100_000_000,
        // All that is sent here, however slowly the test runs.
        burst: Some(10_000_000),
        weight: Some(0),
        ceiling: None,
        preserve_order: false,
        start: None,
        end: None,
    };
    let capacity = CapacitySpec { port: PORTS[WEST].into(), rate: 1_250_000_000 };
    Spec {
        capacities: vec![capacity],
        leases: vec![lease],
        ..spec(1, &[(RED, &[WEST, EAST]), (BLUE, &[WEST, EAST])])
    }
}

fn rig(first: Spec, sheds: bool) -> Rig {
    let streams = [RED, BLUE].map(|tenant| through(&first, tenant, WEST, EAST)).into();
    let ends = [EndKind::Packet, EndKind::Xdp];
    let mut rig = Rig::prepare(Setup {
        backend: Backend::AfXdp,
        workers: 1,
        spec: Some(first),
        ends: &ends,
        streams,
    });
    rig.config.workers.shed = sheds;
    rig.start_process();
    rig
}

/// While the process stands still, one tenant sends more than its ring holds, and only then the other its part. What of
/// that was lost, and the account.
fn flood_a_box_that_stands_still(mut rig: Rig) -> (u64, Account) {
    let pid = rig.process.as_ref().unwrap().pid();
    kill(pid, Signal::SIGSTOP).unwrap();
    rig.flows.pace(FLOODING, Pace::Rate);
    rig.flows.until("the ring is full", |flows| flows.sent(FLOODING) >= RING + 500);
    rig.flows.pace(FLOODING, Pace::Off);
    rig.flows.pace(LEASED, Pace::Rate);
    rig.flows.until("the lease's part is sent", |flows| flows.sent(LEASED) >= LEASED_PACKETS);
    rig.flows.pace(LEASED, Pace::Off);
    kill(pid, Signal::SIGCONT).unwrap();
    rig.close_account();
    let lost = rig.flows.sent(LEASED) - rig.flows.received(LEASED);
    (lost, rig.finish())
}

#[test]
fn a_flood_takes_no_place_from_a_lease() {
    if !may("a_flood_takes_no_place_from_a_lease") {
        return;
    }
    let (lost, account) = flood_a_box_that_stands_still(rig(leased(), true));
    assert_eq!((lost, account.box_rx), (0, 0), "{account:?}");
    // The program let 1024 frames of the flood wait, and its link's reserve.
    let shed = account.named(DropReason::ShedXdp);
    assert!((RING + 400 - 1_024..RING + 1_000).contains(&shed), "{account:?}");
}

#[test]
fn with_shedding_off_whoever_comes_late_loses() {
    if !may("with_shedding_off_whoever_comes_late_loses") {
        return;
    }
    let (lost, account) = flood_a_box_that_stands_still(rig(leased(), false));
    assert!(lost >= LEASED_PACKETS && account.box_rx >= lost, "{lost}: {account:?}");
    let named: u64 = account.named.iter().map(|(_, count)| count).sum();
    assert_eq!(named, 0, "{account:?}");
}

/// A lease that comes while the process runs is told to a program that stays where it is.
#[test]
fn a_lease_of_a_later_spec_holds_too() {
    if !may("a_lease_of_a_later_spec_holds_too") {
        return;
    }
    let mut rig = rig(Spec { leases: Vec::new(), ..leased() }, true);
    rig.client().apply(Spec { generation: Generation(2), ..leased() }).unwrap();
    // By then the worker knows of it.
    rig.frames_at_rest();
    let (lost, account) = flood_a_box_that_stands_still(rig);
    assert_eq!((lost, account.box_rx), (0, 0), "{account:?}");
}
