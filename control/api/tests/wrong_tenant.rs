//! The wrong-tenant walk: every operation of the document is called by those whose business it is not, with names and
//! numbers of another tenant. Nothing of that tenant may be in any answer, and nothing may have changed.
//!
//! Every field of the other tenant's things holds a word or a number that nothing else has. An operation that this file
//! does not know fails the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::tests_outside_test_module,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

mod support;

use dataplane_api::status::{LeaseTotals, LinkStatus, Volume};
use dataplane_api::{Receipt, TenantId};
use domain::access::{Grant, Role};
use domain::leases::Binding;
use domain::money::Purse;
use domain::terms::Burst;
use domain::tree::Place;
use domain::{Ask as LeaseAsk, PortSide, Slot, Time};
use follow::event::{Event, Payment, Source};
use ledger::{Amount, UnitId};
use serde_json::{Value, json};
use service::{BuyLease, Deposit, Drain, Edit, InvoiceAsked, NewOrder, NewToken, Watched};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::PayTo;
use support::{Answer, Ask, BEGIN, HOUR, World, key, owner};

/// Number of the other tenant.
const OTHER: u32 = 7_777_001;

/// What of the other tenant may be asked for by name or number.
struct Theirs {
    world: World,
    token: u32,
    /// A lease that is bound, one that is not, one that has ended.
    leases: [u32; 3],
    invoice: u64,
    commit: u64,
    account: u64,
    /// One that is partly paid.
    order: u64,
    /// What must not be told, in whatever form.
    secrets: Vec<String>,
}

fn theirs() -> Theirs {
    let world = World::new();
    let (token, _) = world.tenant("zq-token", "zq-tenant");
    let caller = world.caller(token);
    let (service, now) = (&world.service, world.time());
    let deposit = |reference: &str, amount| Deposit {
        tenant: "zq-tenant".into(),
        unit: "PKT".into(),
        amount: Amount(amount),
        reference: reference.into(),
    };
    service.deposit(now, &owner(), &deposit("zq-reference", 777_700_000_001)).unwrap();
    let buy = |start: u64, rate: u64| {
        let slot = Slot { start: Time(start), end: Time(start + 100 * HOUR) };
        let side = PortSide { port: "west".into(), direction: dataplane_api::Direction::Out };
        let ask = LeaseAsk { side, slot, bytes_per_s: rate, burst: Burst::Usual };
        let order = BuyLease { tenant: "zq-tenant".into(), ask, unit: "PKT".into(), most: None };
        service.buy(now, &caller, &order).unwrap().id
    };
    let (bound, sold, ended) = (
        buy(BEGIN + 777, 7_777_101),
        buy(BEGIN + 777_777, 7_777_102),
        buy(BEGIN + 7_777, 7_777_103),
    );
    let binding = Binding {
        vswitch: "zq-vswitch".into(),
        vifs: [2].into(),
        weight: Some(7_777_201),
        ceiling: Some(77_772_020),
        preserve_order: true,
    };
    service.bind(now, &caller, bound, &binding).unwrap();
    // An offer is for all to see; what is not is who ordered it.
    let slot = Slot { start: Time(BEGIN + 3 * HOUR), end: Time(BEGIN + 4 * HOUR) };
    let side = PortSide { port: "west".into(), direction: dataplane_api::Direction::Out };
    let ask = LeaseAsk { side, slot, bytes_per_s: 50_000, burst: Burst::Usual };
    let buy = BuyLease { tenant: "zq-tenant".into(), ask, unit: "PKT".into(), most: None };
    let pay_to = PayTo::Address { chain: "pktsim".into(), address: "zq-address".into() };
    let new = NewOrder { buy, pay_to, binding: None };
    let order = service.order(now, &caller, &new).unwrap().id;
    let paid = Payment {
        chain: "pktsim".into(),
        source: Source::new("pktsim", "output", b"zq-payment").unwrap(),
        watch: Watched::Order(order).to_bytes(),
        asset: "PKT".into(),
        amount: 777_700_000_002,
    };
    service.chain_event(now, Some(&Event::Seen(paid)), &[]).unwrap();
    service.end(now, &caller, ended, now).unwrap();
    world.pass(2_000);
    let now = world.time();
    // What was committed, and what is about to be.
    let set =
        |place: &str, value: Value| Edit::Set { place: place.parse::<Place>().unwrap(), value };
    let login = set("vswitch.zq-vswitch.login.zq-login-2", json!({ "password": "zq-password-2" }));
    service.edit(now, &caller, None, &[login]).unwrap();
    let commit = service.commit(now, &caller, None, "zq-comment", None).unwrap().commit;
    let login =
        set("vswitch.zq-vswitch.login.zq-candidate", json!({ "password": "zq-password-3" }));
    service.edit(now, &caller, None, &[login]).unwrap();
    // Receipts, and an invoice for them.
    let receipt = Receipt {
        vswitch: key(1),
        lease: bound.0,
        from: BEGIN + 777,
        until: BEGIN + 1_777,
        totals: LeaseTotals {
            priority: Volume { packets: 7_777_301, bytes: 7_777_302_000 },
            ..LeaseTotals::default()
        },
        peak: 7_777_303,
        previous: "0".repeat(64),
        digest: "7a71".repeat(16),
        signing_key: "7a72".repeat(16),
        signature: "7a73".repeat(32),
    };
    world.standin.0.lock().unwrap().receipts.push(receipt);
    service.fetch_receipts().unwrap();
    let asked = InvoiceAsked {
        tenant: "zq-tenant".into(),
        unit: "PKT".into(),
        from: Some(BEGIN),
        until: now.0,
    };
    let invoice = service.write_invoice(now, &owner(), &asked).unwrap()["number"].as_u64().unwrap();
    service.drain(now, &owner(), &Drain::Vswitch("zq-vswitch".into()), true).unwrap();
    service.note(now, &caller, "zq-action", Some("zq-tenant"), "zq-subject", "zq-detail").unwrap();
    let link = LinkStatus {
        vif: vif_of(&world),
        key: key(2),
        user: Some("zq-user".into()),
        state: "zq-state".into(),
        ..LinkStatus::default()
    };
    world.standin.0.lock().unwrap().links.push(link);
    let account = Purse::Tenant(TenantId(OTHER)).account(UnitId(1)).0;
    let owed = Purse::Owed(TenantId(OTHER)).account(UnitId(1)).0;
    let mut secrets: Vec<String> =
        ["zq-", "02:7a:71", "7a71", "7a72", "7a73", "77770", "77772"].map(Into::into).into();
    secrets.extend(["77771", "77773", "7777001"].map(Into::into));
    secrets.extend([key(1), key(2), account.to_string(), owed.to_string()]);
    secrets.push(data_encoding::HEXLOWER.encode(b"zq-"));
    let leases = [bound.0, sold.0, ended.0];
    Theirs { world, token, leases, invoice, commit, account, order, secrets }
}

fn vif_of(world: &World) -> dataplane_api::VifId {
    let status = control_api::Live::status(&world.standin).unwrap();
    let vswitch = status.vswitches.iter().find(|it| it.name == "zq-vswitch").unwrap().id;
    status.vifs.iter().find(|vif| vif.vswitch == vswitch).unwrap().id
}

/// A call of an operation: its path and query, and its body.
struct Call {
    ask: Ask,
    /// The same for what is not there: the answer must be the same but for the name.
    absent: Option<Ask>,
    /// Whether an operator's or tenant's right to read makes it no change, whoever asks.
    reads: bool,
}

fn reads(path: &str) -> Call {
    Call { ask: Ask::get(path), absent: None, reads: true }
}

/// A call that names something of theirs, and the same with a name or number of nothing.
fn named(ask: Ask, absent: Ask) -> Call {
    let reads = ask.method == "GET";
    Call { ask, absent: Some(absent), reads }
}

fn changes(ask: Ask) -> Call {
    let reads = ask.method == "GET";
    Call { ask, absent: None, reads }
}

/// Every operation, as somebody would call it who is after the other tenant's things.
fn calls(theirs: &Theirs) -> BTreeMap<String, Vec<Call>> {
    let [bound, sold, ended] = theirs.leases;
    let nothing = 4_000_000_000_u32;
    let mut all: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    let mut add = |operation: &str, calls: Vec<Call>| {
        let before = all.insert(operation.to_owned(), calls);
        assert!(before.is_none(), "{operation} stands here twice");
    };
    let v1 = |path: &str| format!("/api/v1{path}");
    for path in [
        "/whoami",
        "/status",
        "/config",
        "/config/candidate",
        "/config/candidate/diff",
        "/config/history",
        "/tenants",
        "/tokens",
        "/leases",
        "/leases/ended",
        "/ledger/accounts",
        "/ledger/invoices",
        "/ledger/records",
        "/audit",
        "/drains",
        "/live/ports",
        "/live/vswitches",
        "/live/vifs",
        "/live/links",
        "/live/drops",
        "/live/workers",
        "/live/leases",
        "/live/rates",
        "/orders",
        "/payments",
        "/chain",
    ] {
        let mut calls = vec![reads(&v1(path))];
        match path {
            "/config" | "/config/candidate" => {
                for format in ["json", "toml"] {
                    calls.push(reads(&v1(&format!("{path}?format={format}"))));
                    let place = |name: &str| {
                        Ask::get(&v1(&format!("{path}?format={format}&place=vswitch.{name}")))
                    };
                    calls.push(named(place("zq-vswitch"), place("nothing")));
                    let place = |name: &str| Ask::get(&v1(&format!("{path}?place={name}")));
                    calls.push(named(place("tenant.zq-tenant"), place("tenant.nothing")));
                    calls.push(named(place("policy.zq-policy"), place("policy.nothing")));
                    calls.push(named(place("node.secret-node"), place("node.nothing")));
                }
            }
            "/live/vifs" | "/live/links" | "/live/drops" | "/live/rates" => {
                let of = |name: &str| Ask::get(&v1(&format!("{path}?vswitch={name}")));
                calls.push(named(of("zq-vswitch"), of("nothing")));
            }
            _ => {}
        }
        add(&format!("get {}", v1(path)), calls);
    }
    add("get /api/v1/events", vec![]);
    let one = |path: &str, id: &str, none: &str| {
        let at = |id: &str| Ask::get(&v1(&path.replace("{}", id)));
        vec![named(at(id), at(none))]
    };
    let (lease, none) = (bound.to_string(), nothing.to_string());
    add(
        "get /api/v1/config/history/{id}",
        one("/config/history/{}", &theirs.commit.to_string(), &none),
    );
    add("get /api/v1/orders/{id}", one("/orders/{}", &theirs.order.to_string(), &none));
    add("get /api/v1/tenants/{name}", one("/tenants/{}", "zq-tenant", "nothing"));
    let mut leases = one("/leases/{}", &lease, &none);
    leases.extend(one("/leases/{}", &sold.to_string(), &none));
    leases.extend(one("/leases/{}", &ended.to_string(), &none));
    add("get /api/v1/leases/{id}", leases);
    let account = theirs.account.to_string();
    // 2^60 · 2: an account of a tenant that is not there.
    let mut statements = one("/ledger/accounts/{}/statement", &account, "2305843013508661247");
    statements.extend(one(
        "/ledger/accounts/{}/statement?format=csv",
        &account,
        "2305843013508661247",
    ));
    add("get /api/v1/ledger/accounts/{id}/statement", statements);
    let invoice = theirs.invoice.to_string();
    let mut invoices = one("/ledger/invoices/{}", &invoice, &none);
    invoices.extend(one("/ledger/invoices/{}?format=csv", &invoice, &none));
    add("get /api/v1/ledger/invoices/{number}", invoices);
    let mut receipts = one("/receipts?lease={}", &lease, &none);
    receipts.extend(one("/receipts?lease={}", &ended.to_string(), &none));
    add("get /api/v1/receipts", receipts);
    add("get /api/v1/calendar/{port}/{direction}", vec![reads(&v1("/calendar/west/in"))]);
    let drain = |method: &str| {
        let at = |name: &str| Ask::new(method, &v1(&format!("/drains/vswitch/{name}")));
        vec![
            named(at("zq-vswitch"), at("nothing")),
            changes(Ask::new(method, &v1("/drains/port/west"))),
        ]
    };
    for method in ["get", "put", "delete"] {
        add(&format!("{method} /api/v1/drains/{{kind}}/{{name}}"), drain(method));
    }
    // Entries that are the other's cannot be taken, under whatever name.
    let edit = |edit: Value| {
        let body = json!({ "edits": [edit] });
        changes(Ask::new("PATCH", &v1("/config/candidate")).json(&body))
    };
    let set =
        |place: &str, value: Value| edit(json!({ "set": { "place": place, "value": value } }));
    let stolen = json!({ "tenant": "zq-tenant", "public_key": key(9) });
    add(
        "patch /api/v1/config/candidate",
        vec![
            set("vswitch.zq-vswitch.tenant", json!("red")),
            set("vswitch.zq-vswitch", json!({ "tenant": "red", "public_key": key(9) })),
            set("vswitch.zq-vswitch.vif.2.mtu", json!(1000)),
            set("vswitch.mine", stolen),
            set("tenant.zq-tenant.quota.vifs", json!(1)),
            set("tenant.red.quota.vifs", json!(60_000)),
            set("policy.zq-policy.allow", json!([])),
            set("port.west.capacity", json!(1)),
            set("box.name", json!("mine")),
            edit(json!({ "delete": { "place": "vswitch.zq-vswitch" } })),
            edit(json!({ "delete": { "place": "policy.zq-policy" } })),
            edit(json!({ "delete": { "place": "node.secret-node" } })),
        ],
    );
    let tree = "schema = 2\n[vswitch.zq-vswitch]\ntenant = \"zq-tenant\"\npublic_key = \"x\"\n";
    let put = |method: &str, path: &str| changes(Ask::new(method, &v1(path)).toml(tree));
    add("put /api/v1/config/candidate", vec![put("PUT", "/config/candidate")]);
    add("post /api/v1/config/apply", vec![put("POST", "/config/apply")]);
    add("post /api/v1/config/apply/check", vec![put("POST", "/config/apply/check")]);
    let post = |path: &str, body: Value| Ask::post(&v1(path), body);
    let import = json!({ "toml": tree });
    add("post /api/v1/vswitches/import", vec![changes(post("/vswitches/import", import))]);
    add("delete /api/v1/config/candidate", vec![]);
    let own = |path: &str| vec![changes(post(path, json!({})))];
    add("post /api/v1/config/candidate/commit", own("/config/candidate/commit"));
    add("post /api/v1/config/candidate/validate", own("/config/candidate/validate"));
    add("post /api/v1/config/candidate/rebase", vec![]);
    add("post /api/v1/config/confirm", own("/config/confirm"));
    add(
        "post /api/v1/config/rollback",
        vec![changes(post("/config/rollback", json!({ "to": 0 })))],
    );
    // Tokens that would reach further than who makes them.
    let grants = [
        json!({ "role": "owner" }),
        json!({ "role": "operator" }),
        json!({ "role": "auditor" }),
        json!({ "role": "tenant", "tenant": "zq-tenant" }),
    ];
    let token = |grant| changes(post("/tokens", json!({ "name": "mine", "grant": grant })));
    add("post /api/v1/tokens", grants.map(token).into());
    let revoke = |id: u32| Ask::new("DELETE", &v1(&format!("/tokens/{id}")));
    add("delete /api/v1/tokens/{id}", vec![named(revoke(theirs.token), revoke(nothing))]);
    // Leases that are the other's, or would be paid for by it.
    let ask = json!({
        "port": "west", "direction": "out", "start": BEGIN, "end": BEGIN + 9 * HOUR, "bytes_per_s": 20_000
    });
    let order =
        |tenant: &str| post("/leases", json!({ "tenant": tenant, "ask": ask, "unit": "PKT" }));
    add("post /api/v1/leases", vec![named(order("zq-tenant"), order("nothing"))]);
    let from_outside = |tenant: &str, binding: Value| {
        let buy = json!({ "tenant": tenant, "ask": ask, "unit": "PKT" });
        post("/orders", json!({ "buy": buy, "binding": binding }))
    };
    let bound_to = |vswitch: &str| from_outside("red", json!({ "vswitch": vswitch, "vifs": [2] }));
    add(
        "post /api/v1/orders",
        vec![
            named(from_outside("zq-tenant", Value::Null), from_outside("nothing", Value::Null)),
            named(bound_to("zq-vswitch"), bound_to("nothing")),
        ],
    );
    let quote = json!({ "ask": ask, "unit": "none" });
    add("post /api/v1/leases/quote", vec![changes(post("/leases/quote", quote))]);
    add("post /api/v1/leases/offers", vec![changes(post("/leases/offers", json!({ "ask": ask })))]);
    let end = BEGIN + 200 * HOUR;
    let binding = json!({ "vswitch": "zq-vswitch", "vifs": [2] });
    for (action, bodies) in [
        ("sell", vec![json!({ "tenant": "red", "unit": "PKT" }), json!({ "tenant": "red" })]),
        ("renew", vec![json!({ "end": end }), json!({ "end": 1 })]),
        ("bind", vec![binding, json!({ "vswitch": "red-1", "vifs": [2] })]),
        ("split", vec![json!({ "at": BEGIN + 50 * HOUR }), json!({ "bytes_per_s": 20_000 })]),
        ("hand-over", vec![json!({ "to": "red" })]),
        ("end", vec![json!({}), json!({ "at": end })]),
    ] {
        let mut calls = Vec::new();
        for lease in [bound, sold, ended] {
            for body in &bodies {
                let at = |id: u32| post(&format!("/leases/{id}/{action}"), body.clone());
                calls.push(named(at(lease), at(nothing)));
            }
        }
        add(&format!("post /api/v1/leases/{{id}}/{action}"), calls);
    }
    for (path, mut body) in [
        ("/ledger/deposits", json!({ "unit": "PKT", "amount": "5", "reference": "mine" })),
        ("/ledger/withdrawals", json!({ "unit": "PKT", "amount": "5", "reference": "mine" })),
        ("/ledger/invoices", json!({ "unit": "PKT", "until": BEGIN + 1 })),
        ("/ledger/settlements", json!({ "unit": "PKT" })),
    ] {
        let mut of = |tenant: &str| {
            body["tenant"] = json!(tenant);
            post(path, body.clone())
        };
        add(&format!("post {}", v1(path)), vec![named(of("zq-tenant"), of("nothing"))]);
    }
    add("post /api/v1/backups", vec![changes(post("/backups", json!({ "name": "mine" })))]);
    add("post /api/v1/db/check", own("/db/check"));
    let export =
        |name: &str| post(&format!("/vswitches/{name}/export"), json!({ "secrets": true }));
    add(
        "post /api/v1/vswitches/{name}/export",
        vec![named(export("zq-vswitch"), export("nothing"))],
    );
    let vif = |name: &str| json!({ "vswitch": name, "number": 2 });
    let trace = |name: &str| post("/trace", json!({ "vif": vif(name), "seconds": 1 }));
    let everything = changes(post("/trace", json!({ "seconds": 1 })));
    add("post /api/v1/trace", vec![named(trace("zq-vswitch"), trace("nothing")), everything]);
    let capture =
        |name: &str| post("/capture", json!({ "filter": { "vif": vif(name) }, "payload": true }));
    add("post /api/v1/capture", vec![named(capture("zq-vswitch"), capture("nothing"))]);
    all
}

/// Operations that only touch what is the caller's own, so that there is nothing of the other's to ask for: why.
const OWN_ALONE: [(&str, &str); 3] = [
    ("get /api/v1/events", "tests/http.rs reads the stream of a tenant"),
    ("delete /api/v1/config/candidate", "the caller's own candidate"),
    ("post /api/v1/config/candidate/rebase", "the caller's own candidate"),
];

fn operations() -> BTreeSet<String> {
    let document = serde_json::to_value(control_api::openapi()).unwrap();
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.insert(format!("{method} {path}"));
        }
    }
    operations
}

/// Between words of a request.
const SPLIT: [char; 6] = ['.', '"', '\n', ' ', '[', ']'];

/// What an answer says, without the words that the request itself said.
fn told(ask: &Ask, answer: &Answer) -> String {
    let mut headers = answer.headers.clone();
    // Names differ in length.
    headers.remove("content-length");
    let mut text = format!("{} {headers:?}", answer.text()).to_lowercase();
    let mut said: Vec<String> = ask.path.split(['/', '?', '&', '=', '.']).map(Into::into).collect();
    fn words(value: &Value, said: &mut Vec<String>) {
        match value {
            Value::Object(table) => table.iter().for_each(|(name, value)| {
                said.push(name.clone());
                words(value, said);
            }),
            Value::Array(list) => list.iter().for_each(|value| words(value, said)),
            Value::String(text) => said.extend(text.split(SPLIT).map(Into::into)),
            Value::Number(number) => said.push(number.to_string()),
            Value::Null | Value::Bool(_) => {}
        }
    }
    if let Ok(body) = serde_json::from_slice::<Value>(&ask.body) {
        words(&body, &mut said);
    } else {
        let body = String::from_utf8_lossy(&ask.body).into_owned();
        said.extend(body.split(SPLIT).map(Into::into));
    }
    said.sort_by_key(|word| std::cmp::Reverse(word.len()));
    for word in &said {
        if word.len() > 2 {
            text = text.replace(&word.to_lowercase(), "");
        } else {
            // As the name of something that is not there.
            text = text.replace(&format!("\\\"{word}\\\""), "\\\"\\\"");
        }
    }
    text
}

#[track_caller]
fn expect_nothing_told(theirs: &Theirs, who: &str, ask: &Ask, answer: &Answer) {
    let text = told(ask, answer);
    for secret in &theirs.secrets {
        assert!(
            !text.contains(&secret.to_lowercase()),
            "{who}: {} {} tells {secret:?}: {} {}",
            ask.method,
            ask.path,
            answer.status,
            answer.text()
        );
    }
    assert!(
        !answer.status.is_server_error() || answer.status.as_u16() == 503,
        "{who}: {ask:?}: {}",
        answer.text()
    );
}

#[test]
fn the_walk_knows_every_operation() {
    let calls = calls(&theirs());
    let known: BTreeSet<String> = calls.keys().cloned().collect();
    assert_eq!(known, operations(), "an operation that the walk does not know, or that is gone");
    let own_alone: BTreeSet<_> = OWN_ALONE.iter().map(|(operation, _)| *operation).collect();
    for (operation, calls) in &calls {
        let is_own_alone = own_alone.contains(operation.as_str());
        assert_eq!(calls.is_empty(), is_own_alone, "{operation} has calls, or a reason for none");
    }
}

#[tokio::test]
async fn nothing_of_another_tenant_is_told_or_changed() {
    let whole = Grant { role: Role::Tenant, tenant: Some("red".into()), ..Grant::owner() };
    walk(&whole, &[]).await;
}

/// A token whose part names what is another tenant's.
#[tokio::test]
async fn a_part_that_names_what_is_anothers_opens_nothing() {
    let part = Grant {
        role: Role::Tenant,
        tenant: Some("red".into()),
        vswitches: Some(["zq-vswitch".into()].into()),
        ..Grant::owner()
    };
    // They show the token's own grant.
    walk(&part, &["get /api/v1/whoami", "get /api/v1/tokens"]).await;
}

async fn walk(grant: &Grant, left_out: &[&str]) {
    let theirs = theirs();
    let world = &theirs.world;
    let (_, token) = world.token("mine", grant.clone());
    let watching = tokio::spawn(world.api.clone().watch(std::future::pending()));
    while world.send(Ask::get("/api/v1/live/rates").by_root()).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = world.dump(true);
    let mut asked = 0;
    let mut calls = calls(&theirs);
    calls.retain(|operation, _| !left_out.contains(&operation.as_str()));
    for call in calls.values().flatten() {
        let Call { ask, absent, reads } = call;
        let what = format!("{} {}", ask.method, ask.path);
        let answer = world.send(ask.clone().by(&token)).await;
        expect_nothing_told(&theirs, "tenant", ask, &answer);
        asked += 1;
        if let Some(absent) = absent {
            // What is another's is not told from what is not there.
            let nothing = world.send(absent.clone().by(&token)).await;
            let found = (answer.status, told(ask, &answer));
            let none = (nothing.status, told(absent, &nothing));
            assert_eq!(found, none, "{what}: {} / {}", answer.text(), nothing.text());
        }
        let may = *reads || is_quiet(ask) || answer.status.is_client_error();
        assert!(may, "{what}: {} {}", answer.status, answer.text());
        assert!(before == world.dump(true), "{what} changed the store");
    }
    assert!(asked > 130, "{asked}");
    watching.abort();
}

/// Posts that change nothing, whoever asks.
fn is_quiet(ask: &Ask) -> bool {
    ["/leases/quote", "/candidate/validate"].iter().any(|end| ask.path.ends_with(end))
}

#[tokio::test]
async fn an_auditor_changes_nothing_and_sees_no_password() {
    let theirs = theirs();
    let world = &theirs.world;
    let (_, token) = world.role("auditor", Role::Auditor);
    let before = world.dump(true);
    for call in calls(&theirs).values().flatten() {
        let answer = world.send(call.ask.clone().by(&token)).await;
        let text = told(&call.ask, &answer);
        for password in [
            "red-password",
            "password-2",
            "password-3",
            "link-password",
            "login-password",
            "node-password",
        ] {
            assert!(!text.contains(password), "{} {}: {text}", call.ask.method, call.ask.path);
        }
        let may = call.reads || is_quiet(&call.ask) || call.ask.path.ends_with("/export");
        assert!(may || answer.status.is_client_error(), "{} {}", call.ask.method, call.ask.path);
        assert!(
            before == world.dump(true),
            "{} {} changed the store",
            call.ask.method,
            call.ask.path
        );
    }
    for path in ["/api/v1/config/candidate", "/api/v1/config/candidate/rebase"] {
        let method = if path.ends_with("rebase") { "POST" } else { "DELETE" };
        world.send(Ask::new(method, path).by(&token)).await.expect(403);
    }
}

#[tokio::test]
async fn nobody_is_told_anything_without_a_token_that_holds() {
    let theirs = theirs();
    let world = &theirs.world;
    let (revoked, revoked_token) = world.role("revoked", Role::Owner);
    let new =
        NewToken { name: "short".into(), grant: Grant::owner(), expires: Some(world.now_ms() + 1) };
    let (_, expired) = world.service.new_token(world.time(), &owner(), &new).unwrap();
    // Both were remembered while they held.
    for token in [&revoked_token, &*expired.0] {
        world.send(Ask::get("/api/v1/whoami").by(token)).await.expect(200);
    }
    world.service.revoke_token(world.time(), &owner(), revoked).unwrap();
    world.pass(1);
    let before = world.dump(true);
    let mut calls: Vec<Ask> = calls(&theirs).into_values().flatten().map(|call| call.ask).collect();
    calls.extend(OWN_ALONE.map(|(operation, _)| {
        let (method, path) = operation.split_once(' ').unwrap();
        Ask::new(method, path)
    }));
    calls.push(Ask::get("/api/v1/nothing"));
    for ask in calls {
        let tokens = [None, Some(revoked_token.as_str()), Some(expired.0.as_str())];
        for token in tokens {
            let ask = Ask { token: token.map(ToOwned::to_owned), ..ask.clone() };
            let answer = world.send(ask.clone()).await;
            // After some that did not hold, no more are looked at.
            assert!(matches!(answer.status.as_u16(), 401 | 429), "{ask:?}: {}", answer.text());
            expect_nothing_told(&theirs, "nobody", &ask, &answer);
        }
    }
    assert!(before == world.dump(true));
}

/// A tenant that takes the name of another's token gets nothing of what that one left.
#[tokio::test]
async fn a_name_that_is_used_again_opens_nothing() {
    let theirs = theirs();
    let world = &theirs.world;
    let (id, token) = world.tenant("ops", "zq-tenant");
    let edit = |user: &str| {
        let place = format!("vswitch.zq-vswitch.login.{user}");
        let set = json!({ "place": place, "value": { "password": "zq-password-4" } });
        let body = json!({ "edits": [{ "set": set }] });
        Ask::new("PATCH", "/api/v1/config/candidate").json(&body).by(&token)
    };
    world.send(edit("zq-committed")).await.expect(200);
    let commit = json!({ "comment": "zq-comment-2" });
    let commit = Ask::post("/api/v1/config/candidate/commit", commit).by(&token);
    world.send(commit).await.expect(200);
    world.send(edit("zq-pending")).await.expect(200);
    world.service.revoke_token(world.time(), &owner(), id).unwrap();
    let (_, token) = world.tenant("ops", "red");
    for path in ["/config/candidate", "/config/candidate/diff", "/config/history"] {
        let ask = Ask::get(&format!("/api/v1{path}")).by(&token);
        let answer = world.send(ask.clone()).await.expect(200);
        expect_nothing_told(&theirs, "namesake", &ask, &answer);
    }
}
