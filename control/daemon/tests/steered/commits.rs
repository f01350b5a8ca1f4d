//! What is committed over the API is what the dataplane does; what is refused changes nothing.

use crate::rig::{Rig, TREE, eventually};
use lab::may;
use serde_json::{Value, json};

/// The tree with one vif less.
fn smaller() -> String {
    TREE.split("[vswitch.red.vif.3]").next().unwrap().to_owned()
}

#[test]
fn a_commit_is_applied_and_a_refused_one_changes_nothing() {
    if !may("a_commit_is_applied_and_a_refused_one_changes_nothing") {
        return;
    }
    let rig = Rig::start();
    rig.configure();
    let before = rig.dataplane_spec();
    let (_, running) = rig.ask("GET", "/api/v1/config", Value::Null);

    // Found by the check of the tree.
    let unknown_port = TREE.replace("port = \"east\"", "port = \"north\"");
    let (status, problem) = rig.apply(&unknown_port, "");
    assert!((400..500).contains(&status), "{status} {problem}");
    // Found by the dataplane alone: an address of the box's own that is a multicast one.
    let group = TREE.replace("peer = \"02:00:00:02:00:01\"", "peer = \"03:00:00:02:00:01\"");
    let (status, problem) = rig.apply(&group, "");
    assert!((400..500).contains(&status), "{status} {problem}");

    assert_eq!(rig.dataplane_spec(), before);
    assert_eq!(rig.ask("GET", "/api/v1/config", Value::Null).1, running);

    // The same again is no commit.
    let (status, again) = rig.apply(TREE, "");
    assert_eq!((status, &again["changed"]), (200, &json!(false)));
    assert_eq!(rig.dataplane_spec(), before);

    let (status, committed) = rig.apply(&smaller(), "comment=less");
    assert_eq!(status, 200, "{committed}");
    assert_eq!(rig.dataplane_spec().vswitches[0].vifs.len(), 1);
    eventually("the workers adopt it", || {
        Some(rig.status().applied.0) == committed["generation"].as_u64()
    });
}

#[test]
fn an_unconfirmed_commit_goes_back_although_control_died_in_between() {
    if !may("an_unconfirmed_commit_goes_back_although_control_died_in_between") {
        return;
    }
    let mut rig = Rig::start();
    rig.configure();
    let before = rig.dataplane_spec();
    let (status, committed) = rig.apply(&smaller(), "confirm_s=2");
    assert_eq!(status, 200, "{committed}");
    assert!(committed["confirm_until"].is_u64(), "{committed}");
    assert_eq!(rig.dataplane_spec().vswitches[0].vifs.len(), 1);
    rig.kill_control();
    // Nobody is there to take it back.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(rig.dataplane_spec().vswitches[0].vifs.len(), 1);
    rig.start_control();
    eventually("it goes back", || rig.dataplane_spec().vswitches == before.vswitches);
    let (_, history) = rig.ask("GET", "/api/v1/config/history", Value::Null);
    assert_eq!(history["items"][0]["author"], json!("switchyard"), "{history}");
}

#[test]
fn a_dataplane_that_is_away_gets_the_commit_when_it_is_back() {
    if !may("a_dataplane_that_is_away_gets_the_commit_when_it_is_back") {
        return;
    }
    let mut rig = Rig::start();
    rig.configure();
    rig.kill_dataplane();
    let (status, committed) = rig.apply(&smaller(), "");
    assert_eq!(status, 200, "what is acknowledged is what holds: {committed}");
    rig.start_dataplane();
    eventually("it has it", || rig.dataplane_spec().vswitches[0].vifs.len() == 1);
}
