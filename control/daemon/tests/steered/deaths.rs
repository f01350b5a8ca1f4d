//! Either process dies; the other goes on.

use crate::flows::Pace;
use crate::rig::{Rig, eventually};
use daemon::clock;
use lab::may;
use serde_json::{Value, json};

/// How long control stays dead in the long version, seconds: `SWITCHYARD_CONTROL_DEAD_S`; packets of the short one.
const DEAD_PACKETS: u64 = 3000;

#[test]
fn control_dies_and_comes_back_and_no_packet_is_lost() {
    if !may("control_dies_and_comes_back_and_no_packet_is_lost") {
        return;
    }
    let mut rig = Rig::start();
    assert!(rig.dataplane_spec().vswitches.is_empty(), "nobody configured it, so it is left alone");
    rig.configure();
    let both = [0, 1];
    rig.flows.pace_all(Pace::Window);
    rig.flows.more(&both, 300);
    let config = || "/api/v1/config";
    let (before, spec) = (rig.ask("GET", config(), Value::Null), rig.dataplane_spec());
    for _ in 0..3 {
        rig.kill_control();
        rig.flows.more(&both, DEAD_PACKETS / 3);
        dead_for_long(&mut rig);
        // What starts it blocks this thread, which also carries the packets: they wait, and are not lost.
        rig.start_control();
        rig.flows.more(&both, 300);
    }
    // It looks after the dataplane by now, and found nothing to be changed.
    eventually("control sees the dataplane", || {
        rig.ask("GET", "/api/v1/status", Value::Null).1["dataplane"]["is_there"] == json!(true)
    });
    assert_eq!(rig.ask("GET", config(), Value::Null), before);
    assert_eq!(rig.dataplane_spec(), spec);
    rig.flows.finish(&both);
    let (sent, received) = (rig.flows.sent_by_all(), rig.flows.received_by_all());
    assert_eq!(sent, received);
    for (snapshot, stream) in rig
        .flows
        .snapshots()
        .iter()
        .flat_map(|end| end.streams.iter().zip(&rig.flows.scenario().streams))
    {
        let wrong = (snapshot.duplicated, snapshot.wrong_label, snapshot.misdelivered);
        assert_eq!(wrong, (0, 0, 0), "{}", stream.name);
    }
}

fn dead_for_long(rig: &mut Rig) {
    let Ok(seconds) = std::env::var("SWITCHYARD_CONTROL_DEAD_S") else { return };
    let until = clock::now() + seconds.parse::<u64>().unwrap() * 1_000_000_000;
    while clock::now() < until {
        rig.flows.turn();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the time is told, and depends on the machine")]
fn the_dataplane_dies_and_comes_back_from_its_own_disk() {
    if !may("the_dataplane_dies_and_comes_back_from_its_own_disk") {
        return;
    }
    let mut rig = Rig::start();
    rig.configure();
    let both = [0, 1];
    rig.flows.pace_all(Pace::Window);
    rig.flows.more(&both, 300);
    rig.flows.finish(&both);
    let spec = rig.dataplane_spec();
    rig.kill_control();
    rig.kill_dataplane();
    let died = clock::now();
    rig.start_dataplane();
    rig.flows.pace_all(Pace::Window);
    rig.flows.more(&both, 1);
    eprintln!("packets {} ms after the dataplane died", (clock::now() - died) / 1_000_000);
    assert_eq!(rig.dataplane_spec(), spec);
    rig.flows.more(&both, 300);
    rig.flows.finish(&both);
    // Control finds it as it left it.
    rig.start_control();
    eventually("control sees the dataplane", || {
        rig.ask("GET", "/api/v1/status", Value::Null).1["dataplane"]["is_there"] == json!(true)
    });
    assert_eq!(rig.dataplane_spec(), spec);
}

#[test]
fn a_dataplane_that_forgot_gets_what_control_remembers() {
    if !may("a_dataplane_that_forgot_gets_what_control_remembers") {
        return;
    }
    let mut rig = Rig::start();
    rig.configure();
    let spec = rig.dataplane_spec();
    rig.kill_dataplane();
    std::fs::remove_dir_all(rig.dir.path().join("state")).unwrap();
    rig.start_dataplane();
    eventually("control sends it", || rig.dataplane_spec().vswitches == spec.vswitches);
    rig.flows.pace_all(Pace::Window);
    rig.flows.more(&[0, 1], 300);
    rig.flows.finish(&[0, 1]);
}
