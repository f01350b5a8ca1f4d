//! Configuration through the service.

use crate::rig::{Rig, auditor, key, market, owner, tenant};
use control_service::{Caller, DataplaneError, Edit, Once, ServiceError};
use dataplane_api::Secret;
use domain::Time;
use domain::tree::Place;
use serde_json::{Value, json};

fn place(text: &str) -> Place {
    text.parse().unwrap()
}

fn set(at: &str, value: Value) -> Edit {
    Edit::Set { place: place(at), value }
}

/// Commits one edit.
fn commit(rig: &Rig, now: u64, who: &Caller, edit: Edit) -> Result<u64, ServiceError> {
    rig.service.edit(Time(now), who, None, &[edit])?;
    Ok(rig.service.commit(Time(now), who, None, "", None)?.commit)
}

fn role_of(rig: &Rig) -> Value {
    rig.service.state().tree.show(&place("vswitch.red-1.vif.2.role")).unwrap()
}

#[test]
fn a_candidate_is_ones_own_until_it_is_committed() {
    let rig = Rig::new();
    let (anna, red) = (owner(), tenant("red"));
    let version = rig.service.edit(
        Time(1),
        &anna,
        Some(0),
        &[set("vswitch.red-1.vif.2.role", json!("peer"))],
    );
    assert_eq!(version.unwrap(), 1);
    let stale = rig.service.edit(Time(1), &anna, Some(0), &[]);
    assert!(matches!(stale, Err(ServiceError::Version { found: 1, expected: 0 })));
    assert_eq!(rig.service.candidate(&red).unwrap().diff(), []);
    let diff = rig.service.candidate(&anna).unwrap().diff();
    assert_eq!((diff.len(), diff[0].new.clone()), (1, Some(json!("peer"))));
    assert_eq!(role_of(&rig), "customer");
    assert_eq!(rig.service.validate(&anna).unwrap(), []);
    let committed = rig.service.commit(Time(2), &anna, None, "because", None).unwrap();
    assert_eq!((committed.commit, role_of(&rig)), (2, json!("peer")));
    assert_eq!(rig.service.candidate(&anna).unwrap().version, 0);
    assert!(matches!(
        rig.service.commit(Time(3), &anna, None, "", None),
        Err(ServiceError::Nothing)
    ));
    let (found, diff) = rig.service.commit_diff(&anna, 2).unwrap();
    assert_eq!((found.comment.as_str(), diff.len()), ("because", 1));
    rig.settled();
}

#[test]
fn what_is_wrong_or_refused_changes_nothing() {
    let rig = Rig::new();
    let anna = owner();
    let before = rig.service.state();
    let wrong = commit(&rig, 1, &anna, set("vswitch.red-1.tenant", json!("green")));
    let Err(ServiceError::Problems(problems)) = wrong else { panic!("{wrong:?}") };
    assert_eq!(problems[0].place, place("vswitch.red-1.tenant"));
    rig.service.discard(Time(1), &anna, None).unwrap();
    // Only the dataplane knows that two neighbours have one address.
    let link =
        json!({"ethernet": {"port": "west", "peer": "02:00:00:00:00:01", "session": "plain"}});
    let refused = commit(&rig, 2, &anna, set("vswitch.red-1.vif.9.link", link));
    assert!(
        matches!(refused, Err(ServiceError::Dataplane(DataplaneError::Refused(_)))),
        "{refused:?}"
    );
    assert_eq!(rig.service.state().tree, before.tree);
    assert_eq!(rig.service.state().commit, 1);
    rig.settled();
    assert_eq!(rig.restarted().service.state().tree, before.tree);
}

#[test]
fn two_who_change_the_same_meet_and_others_do_not() {
    let rig = Rig::new();
    let (anna, bert) = (owner(), Caller { name: "bert".into(), ..owner() });
    rig.service
        .edit(Time(1), &bert, None, &[set("vswitch.red-1.vif.2.role", json!("peer"))])
        .unwrap();
    rig.service.edit(Time(1), &bert, None, &[set("box.contact", json!("bert"))]).unwrap();
    commit(&rig, 2, &anna, set("vswitch.blue-1.vif.2.role", json!("peer"))).unwrap();
    assert_eq!(rig.service.candidate(&bert).unwrap().conflicts, []);
    commit(&rig, 3, &anna, set("vswitch.red-1.vif.2.mtu", json!(900))).unwrap();
    let conflict = rig.service.commit(Time(4), &bert, None, "", None);
    assert!(
        matches!(&conflict, Err(ServiceError::Conflict(at)) if *at == [place("vswitch.red-1")])
    );
    let rebased = rig.service.rebase(Time(5), &bert).unwrap();
    assert_eq!(rebased.dropped, [place("vswitch.red-1")]);
    rig.service.commit(Time(6), &bert, None, "", None).unwrap();
    let tree = &rig.service.state().tree;
    assert_eq!((tree.settings.contact.as_str(), role_of(&rig)), ("bert", json!("customer")));
    rig.settled();
}

#[test]
fn a_commit_goes_back_unless_it_is_confirmed_also_over_a_restart() {
    let rig = Rig::new();
    let anna = owner();
    let edit = || [set("vswitch.red-1.vif.2.role", json!("peer"))];
    rig.service.edit(Time(1), &anna, None, &edit()).unwrap();
    let committed = rig.service.commit(Time(10), &anna, None, "", Some(100)).unwrap();
    assert_eq!(committed.confirm_until, Some(110));
    let meanwhile = commit(&rig, 20, &anna, set("box.name", json!("south")));
    assert!(matches!(meanwhile, Err(ServiceError::Unconfirmed { commit: 2, until: 110 })));
    rig.service.tick(Time(109)).unwrap();
    assert_eq!(role_of(&rig), "peer");
    let rig = rig.restarted();
    assert_eq!(rig.service.next_due(), Some(Time(110)));
    rig.service.tend_dataplane().unwrap();
    rig.service.tick(Time(110)).unwrap();
    assert_eq!((role_of(&rig), rig.service.state().commit), (json!("customer"), 3));
    rig.settled();
    assert!(matches!(rig.service.confirm(Time(111), &anna), Err(ServiceError::NotFound { .. })));
    // What was not committed meanwhile is still there, and can be; confirmed, it stays.
    let committed = rig.service.commit(Time(200), &anna, None, "", Some(100)).unwrap();
    rig.service.confirm(Time(299), &anna).unwrap();
    rig.service.tick(Time(1000)).unwrap();
    assert_eq!((rig.service.state().commit, rig.service.state().confirm), (committed.commit, None));
    rig.settled();
}

#[test]
fn the_last_fifty_can_be_gone_back_to() {
    let rig = Rig::new();
    let anna = owner();
    let mut trees = vec![domain::Tree::default(), (*rig.service.state().tree).clone()];
    for n in 0..55_u64 {
        let edit = match n % 3 {
            0 => set("box.name", json!(format!("box {n}"))),
            1 => set("tenant.blue.quota.vifs", json!(1000 + n)),
            _ => set(&format!("policy.p{n}"), json!({"allow": []})),
        };
        commit(&rig, 100 + n, &anna, edit).unwrap();
        trees.push((*rig.service.state().tree).clone());
    }
    assert_eq!(rig.service.state().commit, 56);
    for to in [5, 56, 99] {
        let gone = rig.service.rollback(Time(500), &anna, to, "");
        assert!(matches!(gone, Err(ServiceError::NotFound { .. })), "{to}");
    }
    for (at, to) in [(0, 55), (1, 30), (2, 10)] {
        let committed = rig.service.rollback(Time(600 + at), &anna, to, "").unwrap();
        assert!(committed.changed);
        assert_eq!(*rig.service.state().tree, trees[usize::try_from(to).unwrap()], "{to}");
    }
    rig.settled();
}

#[test]
fn applying_twice_changes_once() {
    let rig = Rig::new();
    let anna = owner();
    let again = rig.service.apply(Time(5), &anna, &market(), "", None).unwrap();
    assert_eq!((again.changed, again.commit), (false, 1));
    // A tree that was shown without its passwords is the same tree.
    let shown = market().without_secrets();
    assert!(!rig.service.apply(Time(6), &anna, &shown, "", None).unwrap().changed);
    let mut other = shown;
    other.settings.name = "south".into();
    let (changes, problems) = rig.service.check_apply(&anna, &other).unwrap();
    let places: Vec<_> = changes.iter().map(|change| change.place.to_string()).collect();
    assert_eq!((places, problems), (vec!["box.name".to_owned()], Vec::new()));
    assert!(rig.service.apply(Time(7), &anna, &other, "", None).unwrap().changed);
    let state = rig.service.state();
    let login = &state.tree.vswitches["red-1"].logins["friend"];
    assert_eq!(login.password, Secret("hunter2".into()));
    // The same request, sent again, is answered and not done again.
    let once = Caller { once: Some(Once::new("k1", &[b"a"])), ..owner() };
    other.settings.name = "east".into();
    let first = rig.service.apply(Time(8), &once, &other, "", None).unwrap();
    assert_eq!(rig.service.apply(Time(9), &once, &other, "", None).unwrap(), first);
    let reused = Caller { once: Some(Once::new("k1", &[b"b"])), ..owner() };
    let reused = rig.service.apply(Time(9), &reused, &other, "", None);
    assert!(matches!(reused, Err(ServiceError::KeyReused(_))));
    rig.settled();
}

#[test]
fn a_tenant_configures_its_own() {
    let rig = Rig::new();
    let red = tenant("red");
    commit(&rig, 1, &red, set("vswitch.red-1.vif.2.role", json!("peer"))).unwrap();
    assert_eq!(role_of(&rig), "peer");
    let own = json!({"tenant": "red", "public_key": key(5)});
    commit(&rig, 2, &red, set("vswitch.red-2", own.clone())).unwrap();
    // Above its quota, and the key of somebody else, of whom nothing is told.
    let third =
        commit(&rig, 3, &red, set("vswitch.red-3", json!({"tenant": "red", "public_key": key(6)})));
    let Err(ServiceError::Problems(problems)) = third else { panic!("{third:?}") };
    assert_eq!(problems[0].place, place("tenant.red.quota.vswitches"));
    rig.service.discard(Time(3), &red, None).unwrap();
    let stolen = commit(&rig, 4, &red, set("vswitch.red-2.public_key", json!(key(1))));
    let Err(ServiceError::Problems(problems)) = stolen else { panic!("{stolen:?}") };
    assert!(!format!("{problems:?}").contains("blue"), "{problems:?}");
    rig.service.discard(Time(4), &red, None).unwrap();
    for (at, value) in [
        ("vswitch.blue-1.vif.2.role", json!("peer")),
        ("vswitch.blue-1", own.clone()),
        ("tenant.red.quota.vifs", json!(9999)),
        ("tenant.blue.quota.vifs", json!(1)),
        ("box.name", json!("mine")),
        ("port.west.capacity", json!(1)),
        ("policy.all", json!({"allow": []})),
        ("vswitch.red-2.tenant", json!("blue")),
    ] {
        let refused = commit(&rig, 5, &red, set(at, value));
        assert!(refused.is_err(), "{at}");
        rig.service.discard(Time(5), &red, None).unwrap();
    }
    let deleted = commit(&rig, 6, &red, Edit::Delete { place: place("vswitch.blue-1") });
    assert!(deleted.is_err());
    assert!(commit(&rig, 7, &auditor(), set("box.name", json!("x"))).is_err());
    assert_eq!(rig.service.state().commit, 3);
    // It sees its own commits alone.
    assert_eq!(rig.service.commits(&red, u64::MAX, 10).unwrap().len(), 2);
    assert!(rig.service.commit_diff(&red, 1).is_err());
    rig.settled();
}

#[test]
fn a_dataplane_that_was_away_gets_what_holds() {
    let rig = Rig::new();
    let anna = owner();
    rig.engine.0.lock().unwrap().is_away = true;
    commit(&rig, 1, &anna, set("vswitch.red-1.vif.2.role", json!("peer"))).unwrap();
    assert!(!rig.service.state().dataplane.is_there);
    rig.service.tend_dataplane().unwrap();
    let rig = rig.restarted();
    rig.engine.0.lock().unwrap().is_away = false;
    rig.service.tend_dataplane().unwrap();
    rig.settled();
    assert!(rig.service.state().dataplane.is_there);
    // Somebody sent a spec by hand: ours comes after it.
    rig.engine.0.lock().unwrap().spec.generation.0 += 10;
    rig.service.tend_dataplane().unwrap();
    rig.settled();
    let applied = rig.engine.0.lock().unwrap().applied;
    rig.service.tend_dataplane().unwrap();
    assert_eq!(rig.engine.0.lock().unwrap().applied, applied);
}

#[test]
fn a_box_that_was_never_configured_is_left_alone() {
    let rig = Rig::empty();
    rig.engine.0.lock().unwrap().spec.generation.0 = 5;
    rig.service.tend_dataplane().unwrap();
    assert_eq!(rig.engine.0.lock().unwrap().applied, 0);
    rig.service.apply(Time(1), &owner(), &market(), "", None).unwrap();
    assert!(rig.generation() > 5);
    rig.settled();
}
