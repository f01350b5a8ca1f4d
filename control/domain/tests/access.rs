//! What each role sees and may change.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

use control_domain::Tree;
use control_domain::access::{Forbidden, Grant, Role};
use control_domain::tree::{Quota, changes};
use std::collections::BTreeSet;

const BOX: &str = r#"
schema = 2
[box]
name = "north"
[node.pktd]
kind = "pktd"
url = "https://127.0.0.1:1"
password = "hunter2"
[port.west]
capacity = 1000000
[tenant.red]
id = 1
quota.vswitches = 3
[tenant.blue]
id = 2
[policy.open]
allow = []
[policy.red-own]
tenant = "red"
allow = []
[policy.blue-own]
tenant = "blue"
allow = []
[vswitch.red-1]
tenant = "red"
public_key = "r1"
[vswitch.red-2]
tenant = "red"
public_key = "r2"
[vswitch.blue-1]
tenant = "blue"
public_key = "b1"
"#;

fn tree() -> Tree {
    Tree::from_toml(BOX).unwrap()
}

fn role(role: Role) -> Grant {
    Grant { role, ..Grant::owner() }
}

fn red() -> Grant {
    Grant { tenant: Some("red".into()), ..role(Role::Tenant) }
}

fn red_1() -> Grant {
    Grant { vswitches: Some(BTreeSet::from(["red-1".into()])), ..red() }
}

/// Whether a change of the text, made by somebody, is allowed.
fn may(grant: &Grant, from: &str, to: &str) -> Result<(), Forbidden> {
    let text = BOX.replace(from, to);
    assert_ne!(text, BOX, "{from}");
    let (old, new) = (tree(), Tree::from_toml(&text).unwrap());
    grant.may_commit(&changes(&old, &new), &new)
}

#[test]
fn a_tenant_sees_its_own_and_what_is_for_sale() {
    let view = red().view(&tree());
    assert_eq!(view.vswitches.keys().collect::<Vec<_>>(), ["red-1", "red-2"]);
    assert_eq!(view.tenants.keys().collect::<Vec<_>>(), ["red"]);
    assert_eq!(view.policies.keys().collect::<Vec<_>>(), ["open", "red-own"]);
    assert!(view.nodes.is_empty() && view.ports.len() == 1);
    assert_eq!(red_1().view(&tree()).vswitches.keys().collect::<Vec<_>>(), ["red-1"]);
    for other in [Role::Owner, Role::Operator, Role::Auditor] {
        assert_eq!(role(other).view(&tree()), tree());
    }
    // A grant that names nobody, or who is gone, is nobody's.
    let nobody = role(Role::Tenant);
    assert!(nobody.view(&tree()).vswitches.is_empty() && nobody.check().is_err());
    let gone = Grant { tenant: Some("green".into()), ..red() };
    assert!(gone.view(&tree()).vswitches.is_empty());
    assert_eq!(gone.only_tenant_id(&tree()).unwrap().0, u32::MAX);
}

#[test]
fn a_tenant_changes_its_own_and_nothing_else() {
    let own = [("\"r1\"", "\"r9\""), ("[vswitch.red-2]", "[vswitch.red-3]")];
    let policy = ("[policy.red-own]", "[policy.red-other]");
    for (from, to) in own.into_iter().chain([policy]) {
        assert_eq!(may(&red(), from, to), Ok(()), "{to}");
        assert_eq!(may(&role(Role::Operator), from, to), Ok(()));
        assert!(may(&role(Role::Auditor), from, to).is_err());
    }
    assert_eq!(may(&red_1(), own[0].0, own[0].1), Ok(()));
    assert!(
        may(&red_1(), own[1].0, own[1].1).is_err() && may(&red_1(), policy.0, policy.1).is_err()
    );
    for (from, to) in [
        ("\"b1\"", "\"b9\""),
        ("[vswitch.blue-1]\ntenant = \"blue\"", "[vswitch.blue-1]\ntenant = \"red\""),
        ("[vswitch.red-2]\ntenant = \"red\"", "[vswitch.red-2]\ntenant = \"blue\""),
        ("[policy.open]\n", "[policy.open]\ntenant = \"red\"\n"),
        ("[policy.red-own]\ntenant = \"red\"", "[policy.red-own]"),
        ("[policy.blue-own]", "[policy.blue-other]"),
        ("name = \"north\"", "name = \"south\""),
        ("hunter2", "hunter3"),
        ("capacity = 1000000", "capacity = 2000000"),
        ("quota.vswitches = 3", "quota.vswitches = 4"),
        ("[tenant.blue]", "[tenant.green]"),
    ] {
        assert!(matches!(may(&red(), from, to), Err(Forbidden::Place(_))), "{to}");
        assert_eq!(may(&Grant::owner(), from, to), Ok(()));
    }
}

#[test]
fn a_token_may_be_good_for_less() {
    let quota = Quota { vswitches: 1, ..Quota::default() };
    let few = Grant { quota: Some(quota), ..red() };
    assert!(matches!(may(&few, "\"r1\"", "\"r9\""), Err(Forbidden::Quota { found: 2, .. })));
    let quota = Some(Quota { vswitches: 2, ..Quota::default() });
    assert_eq!(may(&Grant { quota, ..few }, "\"r1\"", "\"r9\""), Ok(()));
}

#[test]
fn nobody_gives_what_he_has_not() {
    let grants = [Grant::owner(), role(Role::Operator), role(Role::Auditor), red(), red_1()];
    let may: Vec<Vec<bool>> = grants
        .iter()
        .map(|giver| grants.iter().map(|given| giver.may_give(given).is_ok()).collect())
        .collect();
    let (yes, no) = (true, false);
    assert_eq!(
        may,
        [
            [yes, yes, yes, yes, yes],
            [no, no, no, yes, yes],
            [no, no, no, no, no],
            [no, no, no, yes, yes],
            [no, no, no, no, yes],
        ]
    );
    let blue = Grant { tenant: Some("blue".into()), ..red() };
    assert!(red().may_give(&blue).is_err());
}
