//! The configuration tree: what is read, checked, told apart and compiled. The oracle of a compiled tree is the
//! dataplane's own compiler.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

use control_domain::leases::Binding;
use control_domain::tree::{EditError, Place, SCHEMA, SchemaError, TreeError, changes, diff};
use control_domain::{Ask, Burst, LeaseId, Leases, PortSide, Slot, Time, Tree};
use dataplane_api::{Direction, Generation, Secret, Spec, TenantId, VifPolicy, WorkerId};
use engine::{Compiler, PortFacts};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use wire::key::PublicKey;

const MTU: u16 = 1500;

fn ports() -> BTreeMap<String, u16> {
    BTreeMap::from([("west".into(), MTU), ("east".into(), MTU)])
}

/// The nth key whose address lies in fc00::/8.
fn key(nth: usize) -> String {
    let keys = (0_u64..).map(|seed| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        PublicKey(bytes)
    });
    keys.filter(PublicKey::is_usable).nth(nth).unwrap().to_string()
}

/// Two tenants on two ports, joined by a cable, with one of everything.
fn example() -> Tree {
    let text = format!(
        r#"
        schema = 2
        [box]
        name = "north-east"
        market = {{ refund_ppm = 500_000 }}
        [node.pktd]
        kind = "pktd"
        url = "https://127.0.0.1:64765"
        user = "box"
        password = "hunter1"
        [port.west]
        capacity = 1_250_000_000
        [port.east]
        capacity = 125_000_000
        lease = {{ grace_ms = 60_000, first_refusal_ms = 1_000 }}
        [tenant.red]
        id = 1
        quota = {{ vswitches = 2 }}
        [tenant.blue]
        id = 2
        [unit.PKT]
        id = 0
        per_whole = 1_073_741_824
        [price.west-2026]
        port = "west"
        direction = "out"
        unit = "PKT"
        until = 1_798_761_600_000
        lease = {{ amount = "1000", bytes_per_s = 125_000, ms = 3_600_000 }}
        metered = {{ priority = {{ amount = "1", per_bytes = 1_000_000 }}, free = {{ amount = "0", per_bytes = 0 }} }}
        [price.west-later]
        port = "west"
        direction = "out"
        unit = "PKT"
        from = 1_798_761_600_000
        lease = {{ amount = "900", bytes_per_s = 125_000, ms = 3_600_000 }}
        [policy.open]
        allow = [["peer", "peer"], ["customer", "peer"]]
        [vswitch.red-1]
        tenant = "red"
        public_key = "{}"
        policy = "open"
        scheme = "v48"
        route_server = {{ keys = ["{}"] }}
        [vswitch.red-1.vif.2]
        role = "peer"
        mtu = 1400
        link.ethernet = {{ port = "west", peer = "02:00:00:00:00:01", session = {{ node = {{ public_key = "{}", login = "red", password = "hunter2" }} }} }}
        [vswitch.red-1.vif.3]
        cable = {{ vswitch = "blue-1", vif = 3 }}
        [vswitch.red-1.vif.4]
        cable = {{ vswitch = "blue-1", vif = 9 }}
        [vswitch.red-1.login.friend]
        password = "hunter3"
        [[vswitch.red-1.listen]]
        udp = {{ port = "east", local = "10.0.0.1:4000" }}
        [vswitch.blue-1]
        tenant = "blue"
        public_key = "{}"
        vif.2.link.udp = {{ port = "east", vlan = 7, local = "10.0.0.2:4000", peer = "10.0.0.3:4000", session = {{ node = {{ public_key = "{}" }} }} }}
        vif.3.cable = {{ vswitch = "red-1", vif = 3 }}
        "#,
        key(0),
        key(1),
        key(2),
        key(3),
        key(4),
    );
    Tree::from_toml(&text).unwrap()
}

/// The dataplane's word on a spec.
fn compile(spec: &Spec) -> Result<(), engine::SpecError> {
    let facts = |name: &String| PortFacts {
        name: name.clone(),
        mtu: u32::from(MTU),
        workers: vec![WorkerId(0)],
        tags_visible: true,
        ..PortFacts::default()
    };
    let facts: Vec<_> = ports().keys().map(facts).collect();
    Compiler::new(4096, 65_536, 1).compile(spec, &[], &facts).map(drop)
}

fn problems(tree: &Tree, leases: &Leases) -> Vec<String> {
    tree.check(&ports(), leases).iter().map(ToString::to_string).collect()
}

fn place(text: &str) -> Place {
    text.parse().unwrap()
}

#[test]
fn a_tree_is_compiled_to_what_the_dataplane_takes() {
    let (tree, leases) = (example(), Leases::default());
    assert_eq!(problems(&tree, &leases), Vec::<String>::new());
    let spec = tree.compile(Generation(3), &leases);
    compile(&spec).unwrap();
    // Both ends want the cable of vif 3; vif 4 waits.
    assert_eq!((spec.cables.len(), spec.cables[0].a.vif, spec.cables[0].b.vif), (1, 3, 3));
    let red = &spec.vswitches[1];
    let numbers: Vec<_> = red.vifs.iter().map(|vif| vif.number).collect();
    assert_eq!((red.name.as_str(), red.tenant, numbers), ("red-1", 1, vec![2, 3]));
    assert_eq!((red.allow.as_ref().map(Vec::len), red.logins.len()), (Some(2), 1));
    assert_eq!(spec.capacities.len(), 2);
    // A vif that wants one which wants another waits too.
    let mut tree = tree;
    let cable = json!({"cable": {"vswitch": "blue-1", "vif": 3}});
    tree.set(&place("vswitch.red-1.vif.5"), cable).unwrap();
    let again = tree.compile(Generation(3), &leases);
    assert_eq!(again, spec);
}

#[test]
fn a_tree_reads_back() {
    let tree = example();
    assert_eq!(Tree::from_toml(&tree.to_toml().unwrap()).unwrap(), tree);
    assert_eq!(Tree::from_toml("schema = 1").unwrap(), Tree::default());
    let wrong = Tree::from_toml("schema = 2\n[tenant.red]\nid = 1\nquotas = 2\n").unwrap_err();
    assert!(wrong.to_string().contains("line 4"), "{wrong}");
    let future = Tree::from_toml("schema = 3");
    assert_eq!(future, Err(TreeError::Schema(SchemaError::Unknown { found: 3 })));
    for bad in ["02", "+2", "65536", "-1", "two", ""] {
        let text = format!("schema = 2\n[vswitch.x.vif.\"{bad}\"]\n");
        assert!(Tree::from_toml(&text).is_err(), "{bad}");
    }
}

/// A tree goes through an earlier schema and back as far as that has words for it, and is refused beyond.
#[test]
fn schemas_go_up_and_down() {
    let mut tree = example();
    let error = tree.downgraded(1).unwrap_err();
    let places = vec![place("box"), place("node.pktd")];
    assert_eq!(error, SchemaError::Unsaid { schema: 1, places });
    let text = tree.to_toml().unwrap().replace("schema = 2", "schema = 1");
    assert_eq!(Tree::from_toml(&text), Err(TreeError::Schema(error)));
    tree.delete(&place("box")).unwrap();
    tree.delete(&place("node.pktd")).unwrap();
    let down = tree.downgraded(1).unwrap();
    assert_eq!(down.schema, 1);
    assert_eq!(Tree::from_toml(&down.to_toml().unwrap()).unwrap(), tree);
    assert_eq!(tree.downgraded(SCHEMA).as_ref(), Ok(&tree));
    assert_eq!(tree.downgraded(0), Err(SchemaError::Unknown { found: 0 }));
}

/// A tree is its entries.
#[test]
fn entries_make_the_tree() {
    let tree = example();
    let mut made = Tree::default();
    for change in changes(&Tree::default(), &tree) {
        made.apply(&change).unwrap();
    }
    assert_eq!(made, tree);
    assert_eq!(changes(&Tree::default(), &tree).len(), tree.entries().len());
    for change in changes(&Tree::default(), &tree) {
        made.apply(&change.reversed()).unwrap();
    }
    assert_eq!(made, Tree::default());
}

/// Each change makes one problem, at this place; where the dataplane can see it, it refuses too.
#[test]
fn what_is_wrong_is_told_with_its_place() {
    let red = "vswitch.red-1";
    let node = format!("{red}.vif.2.link.ethernet.session.node");
    let cases: &[(String, Value, &str, bool)] = &[
        ("schema".into(), json!(3), "schema", false),
        ("box.market.refund_ppm".into(), json!(1_000_001), "", false),
        ("box.market.confirmations".into(), json!(0), "", false),
        ("node.pktd.url".into(), json!("ftp://x"), "", false),
        ("node.pktd.password".into(), json!("(not shown)"), "", false),
        ("port.west.capacity".into(), json!(63), "port.west.capacity", true),
        ("port.north".into(), json!({"capacity": 1000}), "port.north", true),
        (
            "port.west.lease.guaranteed_ppm".into(),
            json!(900_001),
            "port.west.lease.guaranteed_ppm",
            false,
        ),
        ("tenant.green".into(), json!({"id": 1}), "tenant.red.id", false),
        ("tenant.red.quota.vifs".into(), json!(2), "tenant.red.quota.vifs", false),
        ("tenant.red.quota.logins".into(), json!(0), "tenant.red.quota.logins", false),
        ("tenant.\"a b\"".into(), json!({"id": 9}), "tenant.\"a b\"", false),
        ("unit.PKT.per_whole".into(), json!(3), "unit.PKT.per_whole", false),
        ("unit.EUR".into(), json!({"id": 0, "per_whole": 100}), "unit.PKT.id", false),
        ("unit.\"€\"".into(), json!({"id": 1, "per_whole": 100}), "unit.\"€\"", false),
        ("price.west-2026.port".into(), json!("north"), "price.west-2026.port", false),
        ("price.west-2026.unit".into(), json!("EUR"), "price.west-2026.unit", false),
        ("price.west-2026.lease.ms".into(), json!(0), "price.west-2026.lease.ms", false),
        ("price.west-2026.until".into(), json!(0), "price.west-2026.until", false),
        (
            "price.west-2026.until".into(),
            json!(1_798_761_600_001_u64),
            "price.west-later.from",
            false,
        ),
        (format!("{red}.tenant"), json!("green"), "vswitch.red-1.tenant", false),
        (format!("{red}.policy"), json!("none"), "vswitch.red-1.policy", false),
        (format!("{red}.public_key"), json!("x.k"), "vswitch.red-1.public_key", true),
        (
            format!("{red}.public_key"),
            json!(key(3).to_uppercase().replace(".K", ".k")),
            "vswitch.red-1.public_key",
            true,
        ),
        (
            format!("{red}.route_server"),
            json!({"keys": ["x"]}),
            "vswitch.red-1.route_server.keys",
            true,
        ),
        (format!("{red}.scheme"), json!({"forms": []}), "vswitch.red-1.scheme", true),
        (
            format!("{red}.scheme"),
            json!({"forms": [{"bit_count": 16, "prefix_len": 0, "prefix": 0}]}),
            "vswitch.red-1.scheme",
            true,
        ),
        (
            format!("{red}.vif.1"),
            json!({"cable": {"vswitch": "blue-1", "vif": 4}}),
            "vswitch.red-1.vif.1",
            false,
        ),
        (
            format!("{red}.vif.300"),
            json!({"cable": {"vswitch": "blue-1", "vif": 4}}),
            "vswitch.red-1.vif.300",
            false,
        ),
        (format!("{red}.vif.5"), json!({}), "vswitch.red-1.vif.5", true),
        (
            format!("{red}.vif.5"),
            json!({"cable": {"vswitch": "red-1", "vif": 4}}),
            "vswitch.red-1.vif.5.cable",
            false,
        ),
        (
            format!("{red}.vif.5"),
            json!({"cable": {"vswitch": "blue-1", "vif": 2}}),
            "vswitch.red-1.vif.5.cable",
            false,
        ),
        (
            format!("{red}.vif.2.cable"),
            json!({"vswitch": "blue-1", "vif": 4}),
            "vswitch.red-1.vif.2",
            false,
        ),
        (
            format!("{red}.vif.2.policy"),
            json!({"priority_cap": 1000}),
            "vswitch.red-1.vif.2.policy.priority_cap",
            true,
        ),
        (
            format!("{red}.vif.2.policy.default_class"),
            json!({"priority": 0}),
            "vswitch.red-1.vif.2.policy.default_class",
            true,
        ),
        (
            "policy.open.roles.customer".into(),
            json!({"deprioritise_non_customer": 7}),
            "policy.open.roles.customer.deprioritise_non_customer",
            true,
        ),
        (format!("{red}.vif.2.mtu"), json!(63), "vswitch.red-1.vif.2.mtu", true),
        (format!("{red}.vif.2.mtu"), json!(1501), "vswitch.red-1.vif.2.mtu", true),
        (
            format!("{red}.vif.2.link.ethernet.port"),
            json!("north"),
            "vswitch.red-1.vif.2.link.ethernet.port",
            true,
        ),
        (
            format!("{red}.vif.2.link.ethernet.vlan"),
            json!(4095),
            "vswitch.red-1.vif.2.link.ethernet.vlan",
            true,
        ),
        (
            format!("{node}.public_key"),
            json!(""),
            "vswitch.red-1.vif.2.link.ethernet.session.node.public_key",
            true,
        ),
        (
            format!("{node}.password"),
            json!(Secret::HIDDEN),
            "vswitch.red-1.vif.2.link.ethernet.session.node.password",
            true,
        ),
        (
            format!("{red}.login.friend.password"),
            json!(""),
            "vswitch.red-1.login.friend.password",
            true,
        ),
        (
            format!("{red}.login.friend.password"),
            json!(Secret::HIDDEN),
            "vswitch.red-1.login.friend.password",
            true,
        ),
        (format!("{red}.login.{}", "a".repeat(65)), json!({"password": "x"}), "", true),
        (
            format!("{red}.listen.0.udp.port"),
            json!("north"),
            "vswitch.red-1.listen.0.udp.port",
            true,
        ),
        (
            "tenant.red.quota.ports".into(),
            json!(["west"]),
            "vswitch.red-1.listen.0.udp.port",
            false,
        ),
        ("policy.open.tenant".into(), json!("blue"), "vswitch.red-1.policy", false),
        (format!("{red}.listen.0.udp.vlan"), json!(0), "vswitch.red-1.listen.0.udp.vlan", true),
    ];
    for (at, value, expected, dataplane_sees_it) in cases {
        let mut tree = example();
        tree.set(&place(at), value.clone()).unwrap();
        let found = tree.check(&ports(), &Leases::default());
        assert_eq!(found.len(), 1, "{at} = {value}: {found:?}");
        let expected = if expected.is_empty() { at } else { *expected };
        assert_eq!(found[0].place.to_string(), expected, "{}", found[0]);
        if *dataplane_sees_it {
            assert!(compile(&tree.compile(Generation(1), &Leases::default())).is_err(), "{at}");
        }
    }
}

#[test]
fn a_vif_has_its_own_policy_or_that_of_its_role() {
    let mut tree = example();
    let own = json!({"clear_customer_bit": true, "mirror": true});
    tree.set(&place("vswitch.red-1.vif.2.policy"), own).unwrap();
    let of_role = json!({"default_class": {"priority": 125_000}, "priority_cap": 1_250_000});
    tree.set(&place("policy.open.roles.customer"), of_role.clone()).unwrap();
    tree.set(&place("policy.open.roles.peer"), of_role).unwrap();
    assert_eq!(Tree::from_toml(&tree.to_toml().unwrap()).unwrap(), tree);
    let spec = tree.compile(Generation(1), &Leases::default());
    compile(&spec).unwrap();
    let [blue, red] = &spec.vswitches[..] else { unreachable!() };
    let cap = |policy: &VifPolicy| (policy.priority_cap, policy.clear_customer_bit);
    let policies: Vec<_> = red.vifs.iter().map(|vif| cap(&vif.policy)).collect();
    // Vif 2 is a peer with a policy of its own, vif 3 a customer as the login is; blue has no policy.
    assert_eq!(policies, [(None, true), (Some(1_250_000), false)]);
    assert_eq!(cap(&red.logins[0].policy), (Some(1_250_000), false));
    assert!(blue.vifs.iter().all(|vif| vif.policy.is_default()));
}

#[test]
fn many_problems_are_not_all_told() {
    let mut tree = example();
    for vif in 10..300 {
        tree.set(&place(&format!("vswitch.blue-1.vif.{vif}")), json!({})).unwrap();
    }
    assert_eq!(problems(&tree, &Leases::default()).len(), 100);
}

/// A lease of red on west's way out, from 100 to 200 s, bound to vif 2.
fn leased(tree: &Tree, bytes_per_s: u64) -> Leases {
    let mut leases = Leases::default();
    for (name, port) in &tree.ports {
        for direction in [Direction::In, Direction::Out] {
            let side = PortSide { port: name.clone(), direction };
            assert!(leases.set_terms(&side, port.terms(MTU)).is_empty());
        }
    }
    for (id, start) in [(7, 100_000), (8, 200_000)] {
        let side = PortSide { port: "west".into(), direction: Direction::Out };
        let slot = Slot { start: Time(start), end: Time(start + 100_000) };
        // The grace of the first is room that the second cannot have.
        let bytes_per_s = if id == 7 { bytes_per_s } else { 1_000_000 };
        let ask = Ask { side, slot, bytes_per_s, burst: Burst::Usual };
        leases.offer(Time(0), LeaseId(id), &ask, Time(1000)).unwrap();
        leases.sell(Time(0), LeaseId(id), TenantId(1)).unwrap();
        let vifs = BTreeSet::from([2]);
        let ceiling = Some(1_250_000_000);
        let binding = Binding { vswitch: "red-1".into(), vifs, ceiling, ..Binding::default() };
        leases.bind(Time(0), LeaseId(id), binding).unwrap();
    }
    leases
}

#[test]
fn leases_are_compiled_and_guaranteed_until_the_next_begins() {
    let tree = example();
    let leases = leased(&tree, 1_000_000_000);
    assert_eq!(problems(&tree, &leases), Vec::<String>::new());
    let spec = tree.compile(Generation(1), &leases);
    compile(&spec).unwrap();
    let times: Vec<_> =
        spec.leases.iter().map(|lease| (lease.id, lease.start, lease.end)).collect();
    let expected =
        [(7, Some(100_000), Some(200_000)), (8, Some(200_000), Some(300_000 + 3_600_000))];
    assert_eq!(times, expected);
    let first = &spec.leases[0];
    assert_eq!((first.rate, first.burst), (1_000_000_000, Some(5_000_000)));
}

#[test]
fn what_leases_need_of_the_tree_stays() {
    let leases = leased(&example(), 1_000_000_000);
    let changes: &[(&str, Option<Value>, &str)] = &[
        ("port.west.capacity", Some(json!(1_112_000_000)), "port.west.capacity"),
        ("port.west", None, "port.west.capacity"),
        ("vswitch.red-1.tenant", Some(json!("blue")), "vswitch.red-1.tenant"),
        ("vswitch.red-1", None, "vswitch.red-1"),
        ("vswitch.red-1.vif.2.link.ethernet.port", Some(json!("east")), "vswitch.red-1.vif.2.link"),
    ];
    for (at, value, expected) in changes {
        let mut tree = example();
        tree.tenants.get_mut("blue").unwrap().quota.vswitches = 2;
        tree.prices.clear();
        match value {
            Some(value) => tree.set(&place(at), value.clone()).unwrap(),
            None => tree.delete(&place(at)).unwrap(),
        }
        let found = tree.check(&ports(), &leases);
        assert!(!found.is_empty(), "{at}");
        assert!(found.iter().all(|problem| problem.place == place(expected)), "{found:?}");
    }
    // Neighbours that come by themselves may be promised a lease before they are there.
    let mut tree = example();
    tree.delete(&place("vswitch.red-1.vif.2")).unwrap();
    assert_eq!(problems(&tree, &leases), Vec::<String>::new());
    compile(&tree.compile(Generation(1), &leases)).unwrap();
    // A slower port that still has room for what is sold lowers the ceilings.
    let mut tree = example();
    tree.ports.get_mut("west").unwrap().capacity = 1_200_000_000;
    assert_eq!(problems(&tree, &leases), Vec::<String>::new());
    compile(&tree.compile(Generation(1), &leases)).unwrap();
}

#[test]
fn a_difference_is_told_without_passwords() {
    let (old, mut new) = (example(), example());
    new.set(&place("vswitch.red-1.login.friend.password"), json!("hunter4")).unwrap();
    new.set(&place("vswitch.red-1.vif.2.mtu"), json!(1300)).unwrap();
    new.delete(&place("policy.open")).unwrap();
    new.set(&place("tenant.green.id"), json!(5)).unwrap();
    new.set(&place("vswitch.blue-1.vif.2.link.udp.session.node.login"), json!("us")).unwrap();
    let found = diff(&old, &new);
    let told: Vec<_> =
        found.iter().map(|d| (d.place.to_string(), d.old.clone(), d.new.clone())).collect();
    let hidden = Some(json!(Secret::HIDDEN));
    let allow = json!([["peer", "peer"], ["customer", "peer"]]);
    let quota = json!({"vswitches": 1, "vifs": 256, "logins": 256});
    let expected = [
        ("tenant.green", None, Some(json!({"id": 5, "quota": quota}))),
        ("policy.open", Some(json!({"allow": allow})), None),
        ("vswitch.blue-1.vif.2.link.udp.session.node.login", None, Some(json!("us"))),
        ("vswitch.red-1.login.friend.password", hidden.clone(), hidden.clone()),
        ("vswitch.red-1.vif.2.mtu", Some(json!(1400)), Some(json!(1300))),
    ];
    assert_eq!(told, expected.map(|(place, old, new)| (place.to_owned(), old, new)));
    assert_eq!(new.show(&place("vswitch.red-1.login.friend.password")), hidden);
    let all = new.show(&Place::root()).unwrap().to_string();
    assert!(!all.contains("hunter"), "{all}");
    assert!(!format!("{new:?}").contains("hunter"));
}

#[test]
fn a_change_that_does_not_belong_there_is_refused() {
    let mut tree = example();
    let before = tree.clone();
    let at = |error: EditError| match error {
        EditError::Type { place, .. } | EditError::NoTable(place) | EditError::Nothing(place) => {
            place.to_string()
        }
    };
    let cases = [
        ("tenant.red.id", json!("one"), "tenant.red.id"),
        ("tenant.red.quota.vifs", json!(-1), "tenant.red.quota.vifs"),
        ("tenant.red.id.x", json!(1), "tenant.red.id"),
        ("vswitch.red-1.vif.2.role", json!("boss"), "vswitch.red-1.vif.2.role"),
        ("vswitch.red-1.listen.7", json!({}), "vswitch.red-1.listen"),
        ("schema", json!(null), ""),
        ("nonsense", json!(1), ""),
        ("nonsense.x.y", json!(1), ""),
    ];
    for (place_text, value, expected) in cases {
        let error = tree.set(&place(place_text), value).unwrap_err();
        let found = at(error.clone());
        assert!(found.starts_with(expected), "{place_text}: {error}");
        assert_eq!(tree, before);
    }
    for nothing in ["tenant.green", "tenant.red.name", "vswitch.red-1.listen.1", "nonsense.a"] {
        let error = tree.delete(&place(nothing)).unwrap_err();
        assert_eq!(error, EditError::Nothing(place(nothing)));
    }
    // What the tree cannot be without.
    assert!(matches!(tree.delete(&place("tenant.red.id")), Err(EditError::Type { .. })));
    assert!(matches!(tree.delete(&Place::root()), Err(EditError::Type { .. })));
    assert_eq!((tree.schema, &tree), (SCHEMA, &before));
}

/// Places that are there, that could be, and that could not.
fn any_place() -> impl Strategy<Value = Place> {
    let top = prop::sample::select(vec![
        "port", "tenant", "policy", "vswitch", "unit", "price", "schema", "x", "box", "node",
    ]);
    let name = prop::sample::select(vec![
        "west",
        "red",
        "open",
        "red-1",
        "blue-1",
        "PKT",
        "west-2026",
        "new",
    ]);
    let below = prop::sample::select(vec![
        "capacity",
        "id",
        "quota",
        "vifs",
        "vif",
        "2",
        "3",
        "mtu",
        "role",
        "cable",
        "link",
        "listen",
        "0",
        "login",
        "friend",
        "password",
        "tenant",
        "policy",
        "allow",
        "per_whole",
        "until",
    ]);
    (top, name, prop::collection::vec(below, 0..4)).prop_map(|(top, name, below)| {
        below.iter().fold(Place::root().at(top).at(name), |place, name| place.at(name))
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(1),
        json!(70_000),
        json!("red"),
        json!("peer"),
        json!([]),
        json!({}),
        json!({"id": 4}),
        json!({"capacity": 1000}),
        json!({"allow": [["peer", "peer"]]}),
        json!({"password": "p"}),
        json!({"vswitch": "red-1", "vif": 3}),
        json!({"vifs": 9}),
        json!({"cable": {"vswitch": "red-1", "vif": 4}}),
        json!({"tenant": "red", "public_key": "x"}),
    ])
}

proptest! {
    /// Whatever is typed, a change is made or refused, what is told apart leads from one tree to the other, and what
    /// is found in order is what the dataplane takes.
    #[test]
    fn edits_and_differences(
        edits in prop::collection::vec((any_place(), prop::option::of(any_value())), 1..12),
    ) {
        let old = example();
        let mut new = old.clone();
        for (place, value) in edits {
            let before = new.clone();
            let outcome = match value {
                Some(value) => new.set(&place, value),
                None => new.delete(&place),
            };
            if outcome.is_err() {
                prop_assert_eq!(&new, &before);
            }
        }
        let mut changed = old.clone();
        for change in changes(&old, &new) {
            changed.apply(&change).unwrap();
        }
        changed.schema = new.schema;
        prop_assert_eq!(&changed, &new);
        let (old, new) = (old.without_secrets(), new.without_secrets());
        let mut led = old.clone();
        for difference in diff(&old, &new) {
            prop_assert_ne!(&difference.old, &difference.new);
            prop_assert_eq!(old.show(&difference.place), difference.old);
            match difference.new {
                Some(value) => led.set(&difference.place, value).unwrap(),
                None => led.delete(&difference.place).unwrap(),
            }
        }
        prop_assert_eq!(&led, &new);
        prop_assert!(diff(&new, &new).is_empty());
    }

    #[test]
    fn what_is_in_order_is_taken(
        edits in prop::collection::vec((any_place(), prop::option::of(any_value())), 1..6),
    ) {
        let mut tree = example();
        for (place, value) in edits {
            // One that makes a problem is not kept, so that trees go far.
            let mut next = tree.clone();
            let outcome = match value {
                Some(value) => next.set(&place, value),
                None => next.delete(&place),
            };
            let problems = next.check(&ports(), &Leases::default());
            prop_assert_eq!(&next.check_change(&tree, &ports(), &Leases::default()), &problems);
            if outcome.is_ok() && problems.is_empty() {
                tree = next;
            }
        }
        let taken = compile(&tree.compile(Generation(1), &Leases::default()));
        prop_assert!(taken.is_ok(), "{:?}: {:?}", taken, tree);
    }
}
