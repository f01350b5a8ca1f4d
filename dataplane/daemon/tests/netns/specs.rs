//! Specs that change while packets flow.

use crate::flows::{EndKind, Pace};
use crate::rig::{Rig, Setup};
use crate::topology::{BLUE, EAST, GREEN, NORTH, RED, WEST, spec, through};
use dataplane_api::{DropReason, Generation, LinkSpec, MacAddress, Role, Spec};
use dataplane_client::ClientError;
use dataplane_daemon::config::Backend;
use lab::may;

/// Between red's west and east: no spec touches these.
const UNTOUCHED: [usize; 2] = [0, 1];
const BLUE_FLOW: usize = 2;
const GREEN_FLOW: usize = 3;
/// Red, from west to north.
const NORTH_FLOW: usize = 4;

/// Applies a spec while packets flow, and waits until all workers use it.
fn apply(rig: &mut Rig, spec: Spec) {
    let generation = spec.generation;
    let mut client = rig.client();
    let accepted = rig.flows.during(|| client.apply(spec).unwrap());
    assert_eq!(accepted, generation);
    rig.until("all workers use it", |_| {
        let status = client.status().unwrap();
        assert_eq!(status.accepted, generation);
        status.applied == generation
            && status.workers.iter().all(|worker| worker.generation == generation)
    });
    rig.flows.more(&UNTOUCHED, 200);
}

/// Takes turns until so many more packets were dropped for a reason.
fn dropped(rig: &mut Rig, reason: DropReason, n: u64) {
    let before = rig.drops(reason);
    rig.until(reason.name(), |rig| rig.drops(reason) >= before + n);
}

/// A spec that cannot be, and what is said about it.
fn broken(generation: u64, whole: &Spec) -> Vec<(Spec, &'static str)> {
    let with = |change: fn(&mut Spec)| {
        let mut spec = whole.clone();
        spec.generation = Generation(generation);
        change(&mut spec);
        spec
    };
    vec![
        (with(|spec| spec.vswitches[0].vifs[0].number = 1), "1"),
        (with(|spec| spec.vswitches[1].vifs[1].number = spec.vswitches[1].vifs[0].number), "vif"),
        (with(|spec| spec.vswitches[1].name = spec.vswitches[0].name.clone()), "red"),
        (
            with(|spec| {
                if let Some(LinkSpec::Ethernet { port, .. }) = &mut spec.vswitches[0].vifs[0].link {
                    *port = "nowhere".into();
                }
            }),
            "nowhere",
        ),
        // Older than what is in force.
        (Spec { generation: Generation(1), ..whole.clone() }, "generation"),
    ]
}

#[test]
fn specs_change_under_load_and_untouched_streams_lose_nothing() {
    if !may("specs_change_under_load_and_untouched_streams_lose_nothing") {
        return;
    }
    let small = |generation| spec(generation, &[(RED, &[WEST, EAST]), (BLUE, &[WEST, EAST])]);
    let whole = |generation| {
        let vswitches: [(usize, &[usize]); 3] =
            [(RED, &[WEST, EAST, NORTH]), (BLUE, &[WEST, EAST]), (GREEN, &[WEST, EAST])];
        spec(generation, &vswitches)
    };
    let ways = [
        (RED, WEST, EAST),
        (RED, EAST, WEST),
        (BLUE, WEST, EAST),
        (GREEN, WEST, EAST),
        (RED, WEST, NORTH),
    ];
    let mut rig = Rig::start(Setup {
        backend: Backend::AfXdp,
        workers: 2,
        spec: Some(small(1)),
        ends: &[EndKind::Packet, EndKind::Xdp, EndKind::Xdp],
        streams: ways.map(|(tenant, from, to)| through(&whole(1), tenant, from, to)).into(),
    });
    UNTOUCHED.iter().for_each(|flow| rig.flows.pace(*flow, Pace::Window));
    [BLUE_FLOW, GREEN_FLOW, NORTH_FLOW].iter().for_each(|flow| rig.flows.pace(*flow, Pace::Rate));
    // Green is nobody yet, and its packets are the kernel's; red has no vif to the north.
    rig.until("packets for green are left to the kernel", |rig| rig.account().to_kernel > 50);
    dropped(&mut rig, DropReason::UnknownVif, 50);

    // A vswitch and a vif are added.
    apply(&mut rig, whole(2));
    rig.flows.more(&[BLUE_FLOW, GREEN_FLOW, NORTH_FLOW], 50);

    // A vif changes: what its neighbour is to blue, then who that neighbour is.
    let mut changed = whole(3);
    changed.vswitches[1].vifs.iter_mut().for_each(|vif| vif.role = Role::Provider);
    apply(&mut rig, changed);
    dropped(&mut rig, DropReason::Policy, 50);
    let mut changed = whole(4);
    if let Some(LinkSpec::Ethernet { peer, .. }) = &mut changed.vswitches[1].vifs[0].link {
        *peer = MacAddress([2, 0, 0, 9, 9, 9]);
    }
    apply(&mut rig, changed);
    dropped(&mut rig, DropReason::UnknownLink, 50);
    apply(&mut rig, whole(5));
    rig.flows.more(&[BLUE_FLOW, GREEN_FLOW, NORTH_FLOW], 50);

    // Refused specs change nothing.
    for (spec, words) in broken(6, &whole(5)) {
        let generation = spec.generation;
        let mut client = rig.client();
        let answer = rig.flows.during(|| client.apply(spec));
        let Err(ClientError::Refused(why)) = answer else { panic!("{words}: {answer:?}") };
        assert!(why.contains(words), "{words} in {why}");
        let status = client.status().unwrap();
        assert_eq!((status.accepted, status.applied), (Generation(5), Generation(5)));
        assert_eq!(status.refused, Some((generation, why)));
        assert_eq!(client.spec().unwrap(), whole(5));
        rig.flows.more(&[0, 1, BLUE_FLOW, GREEN_FLOW, NORTH_FLOW], 20);
    }

    // A vswitch and a vif are removed, and come back.
    let id_of_green = |rig: &Rig| {
        let vswitches = rig.client().status().unwrap().vswitches;
        vswitches.iter().find(|vswitch| vswitch.name == "green").unwrap().id
    };
    let green = id_of_green(&rig);
    apply(&mut rig, small(6));
    let before = rig.account().to_kernel;
    rig.until("packets for green are left to the kernel", |rig| {
        rig.account().to_kernel > before + 50
    });
    dropped(&mut rig, DropReason::UnknownVif, 50);
    let dropped_before = rig.counters().vswitch_drops(green).iter().sum::<u64>();
    apply(&mut rig, whole(7));
    // Where it got its old id again, its counters began anew.
    rig.forgotten += if id_of_green(&rig) == green { dropped_before } else { 0 };
    rig.flows.more(&[BLUE_FLOW, GREEN_FLOW, NORTH_FLOW], 50);

    rig.flows.finish(&UNTOUCHED);
    rig.finish();
}
