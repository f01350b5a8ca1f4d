//! How requests are read and answered: who asks, versions, idempotency, pages, limits, errors, streams.
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

use control_api::{Client, Peer};
use dataplane_api::protocol::TapEvent;
use dataplane_api::{PortId, VifId};
use domain::access::{Grant, Role};
use serde_json::{Value, json};
use service::NewToken;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Ask, BEGIN, HOUR, World, market, owner, step};

const CANDIDATE: &str = "/api/v1/config/candidate";

fn set(place: &str, value: Value) -> Value {
    json!({ "edits": [{ "set": { "place": place, "value": value } }] })
}

fn patch(body: &Value) -> Ask {
    Ask::new("PATCH", CANDIDATE).json(body)
}

#[tokio::test]
async fn a_candidate_is_seen_changed_and_committed_by_its_version() {
    let world = World::new();
    let (_, token) = world.tenant("ops", "red");
    let first = world.send(Ask::get(CANDIDATE).by(&token)).await.expect(200);
    assert_eq!(first.header("etag"), "\"0\"");
    let mtu = set("vswitch.red-1.vif.2.mtu", json!(1400));
    let edited = world.send(patch(&mtu).by(&token).header("if-match", "\"0\"")).await.expect(200);
    assert_eq!((edited.header("etag"), edited.json()), ("\"1\"", json!({ "version": 1 })));
    // Who saw another version changes nothing, by whatever method.
    let late = |ask: Ask| ask.by(&token).header("if-match", "\"0\"");
    let commit = Ask::post(&format!("{CANDIDATE}/commit"), json!({}));
    for ask in [
        patch(&mtu),
        Ask::new("PUT", CANDIDATE).toml("schema = 2"),
        Ask::new("DELETE", CANDIDATE),
        commit.clone(),
    ] {
        let refused = world.send(late(ask)).await.expect(412);
        assert_eq!(refused.json()["type"], "urn:switchyard:problem:version");
    }
    world.send(patch(&mtu).by(&token).header("if-match", "W/\"1\"")).await.expect(412);
    let diff = world.send(Ask::get(&format!("{CANDIDATE}/diff")).by(&token)).await.expect(200);
    assert_eq!(diff.json()["changes"][0]["place"], "vswitch.red-1.vif.2.mtu");
    let committed = world.send(commit.by(&token).header("if-match", "\"1\"")).await.expect(200);
    assert_eq!(
        (&committed.json()["commit"], &committed.json()["changed"]),
        (&json!(2), &json!(true))
    );
    let there = "/api/v1/config?place=vswitch.red-1.vif.2";
    let running = world.send(Ask::get(there).by(&token)).await.expect(200);
    assert_eq!((running.json()["mtu"].clone(), running.header("etag")), (json!(1400), "\"2\""));
    let toml = world.send(Ask::get(&format!("{there}&format=toml")).by(&token)).await.expect(200);
    assert_eq!(toml.header("content-type"), "application/toml");
    assert!(toml.text().contains("[vswitch.red-1.vif.2]\nmtu = 1400"), "{}", toml.text());
    let history = world.send(Ask::get("/api/v1/config/history").by(&token)).await.expect(200);
    let items = history.json()["items"].as_array().unwrap().len();
    assert_eq!(items, 1, "a tenant sees its own commits");
    let none = Ask::post(&format!("{CANDIDATE}/commit"), json!({})).by(&token);
    world.send(none).await.expect(409);
}

#[tokio::test]
async fn problems_say_the_place_what_is_there_and_what_would_be_allowed() {
    let world = World::new();
    let (_, token) = world.tenant("ops", "red");
    world.send(patch(&set("vswitch.red-1.vif.2.mtu", json!(3))).by(&token)).await.expect(200);
    let validate = Ask::post(&format!("{CANDIDATE}/validate"), json!({})).by(&token);
    let found = world.send(validate).await.expect(200).json();
    assert_eq!(found["problems"][0]["place"], "vswitch.red-1.vif.2.mtu");
    let commit = Ask::post(&format!("{CANDIDATE}/commit"), json!({})).by(&token);
    let refused = world.send(commit).await.expect(422);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    let problem = refused.json();
    assert_eq!(problem["problems"], found["problems"]);
    assert_eq!(
        (&problem["status"], &problem["type"]),
        (&json!(422), &json!("urn:switchyard:problem:invalid"))
    );
    let bad = set("vswitch.red-1.vif.2.role", json!("friend"));
    let refused = world.send(patch(&bad).by(&token)).await.expect(422).json();
    assert_eq!(refused["problems"][0]["place"], "vswitch.red-1.vif.2.role");
}

#[tokio::test]
async fn a_configuration_is_applied_once_and_goes_back_unless_confirmed() {
    let world = World::new();
    let apply = |text: &str, query: &str| {
        Ask::new("POST", &format!("/api/v1/config/apply{query}")).toml(text).by_root()
    };
    let text = market();
    let same = world.send(apply(&text, "")).await.expect(200).json();
    assert_eq!(same["changed"], false);
    let other = text.replace("\"north\"", "\"south\"");
    let made = world.send(apply(&other, "?comment=moved&confirm_s=60")).await.expect(200).json();
    assert_eq!(made["confirm_until"], BEGIN + 60_000);
    let status = world.send(Ask::get("/api/v1/status").by_root()).await.expect(200).json();
    assert_eq!((&status["name"], &status["confirm"]["commit"]), (&json!("south"), &made["commit"]));
    world.send(apply(&text, "")).await.expect(409);
    world.pass(61_000);
    let status = world.send(Ask::get("/api/v1/status").by_root()).await.expect(200).json();
    assert_eq!((&status["name"], &status["confirm"]), (&json!("north"), &Value::Null));
    // Text that does not read says the line, and shows none of it.
    let broken = text.replace("password = \"zq-login-password\"", "password = 'zq-login");
    let refused = world.send(apply(&broken, "")).await.expect(422);
    assert!(refused.text().contains("line "), "{}", refused.text());
    assert!(!refused.text().contains("zq-"), "{}", refused.text());
}

#[tokio::test]
async fn a_request_with_a_key_is_done_once() {
    let world = World::new();
    let deposit = |amount: &str, reference: &str| {
        let body =
            json!({ "tenant": "red", "unit": "PKT", "amount": amount, "reference": reference });
        Ask::post("/api/v1/ledger/deposits", body).by_root()
    };
    world.send(deposit("1000", "a")).await.expect(200);
    let order = || {
        let ask = json!({
            "port": "west", "direction": "out", "start": BEGIN, "end": BEGIN + HOUR, "bytes_per_s": 20_000
        });
        let order = json!({ "tenant": "red", "ask": ask, "unit": "PKT" });
        Ask::post("/api/v1/leases", order).by_root()
    };
    let first = world.send(order().header("idempotency-key", "k1")).await.expect(201);
    let again = world.send(order().header("idempotency-key", "k1")).await.expect(201);
    assert_eq!(first.body, again.body);
    let other = world.send(order().header("idempotency-key", "k2")).await.expect(201);
    assert_ne!(first.json()["id"], other.json()["id"]);
    let leases = world.send(Ask::get("/api/v1/leases").by_root()).await.expect(200).json();
    assert_eq!(leases["items"].as_array().unwrap().len(), 2);
    // The same key for something else, and keys that are none.
    let reused = deposit("1", "b").header("idempotency-key", "k1");
    world.send(reused).await.expect(422);
    for key in ["", &"k".repeat(129)] {
        world.send(deposit("1", "c").header("idempotency-key", key)).await.expect(422);
    }
    // Somebody else's key is another one.
    let (_, token) = world.tenant("ops", "red");
    let own = world.send(
        Ask { peer: Ask::get("").peer, ..order() }.by(&token).header("idempotency-key", "k1"),
    );
    assert_ne!(own.await.expect(201).json()["id"], first.json()["id"]);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new();
    for number in 0..7 {
        world.role(&format!("token-{number}"), Role::Operator);
    }
    let (mut names, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/api/v1/tokens?limit=3{cursor}");
        let page = world.send(Ask::get(&path).by_root()).await.expect(200).json();
        pages += 1;
        names.extend(page["items"].as_array().unwrap().iter().map(|it| it["name"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let expected: Vec<_> = (0..7).map(|number| json!(format!("token-{number}"))).collect();
    assert_eq!((names, pages), (expected, 3));
    for bad in ["limit=0", "limit=1001", "cursor=x"] {
        world.send(Ask::get(&format!("/api/v1/tokens?{bad}")).by_root()).await.expect(422);
    }
    for bad in ["limit=-1", "limit=x", "unknown=1", "limit=1&limit=2"] {
        world.send(Ask::get(&format!("/api/v1/tokens?{bad}")).by_root()).await.expect(400);
    }
}

#[tokio::test]
async fn tokens_hold_until_they_are_taken_back_and_guesses_are_bounded() {
    let world = World::new();
    let me = |token: &str| Ask::get("/api/v1/whoami").by(token);
    let made =
        Ask::post("/api/v1/tokens", json!({ "name": "ops", "grant": { "role": "operator" } }));
    let made = world.send(made.by_root()).await.expect(201).json();
    let token = made["token"].as_str().unwrap();
    let found = world.send(me(token)).await.expect(200).json();
    assert_eq!((&found["name"], &found["by"]), (&json!("ops#1"), &json!("token")));
    // It was remembered; taken back it holds no longer, at once.
    let path = format!("/api/v1/tokens/{}", made["id"]);
    world.send(Ask::new("DELETE", &path).by_root()).await.expect(204);
    let refused = world.send(me(token)).await.expect(401);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    // One that ends by itself.
    let new = NewToken { name: "short".into(), grant: Grant::owner(), expires: Some(BEGIN + 1000) };
    let (_, short) = world.service.new_token(world.time(), &owner(), &new).unwrap();
    world.send(me(&short.0)).await.expect(200);
    world.now.fetch_add(1000, Ordering::Relaxed);
    world.send(me(&short.0)).await.expect(401);
    // Guesses: a few, then none, and only from there.
    let (_, held) = world.role("held", Role::Auditor);
    let held_before = world.send(me(&held)).await;
    held_before.expect(200);
    let mut refused = 0;
    for guess in 0..30 {
        let guess = format!("swy_{}_{}", guess % 3, "A".repeat(52));
        refused += u32::from(world.send(me(&guess)).await.status.as_u16() == 429);
    }
    assert!(refused >= 19, "{refused}");
    let (_, fresh) = world.role("fresh", Role::Auditor);
    let bounded = world.send(me(&fresh)).await.expect(429);
    assert!(bounded.header("retry-after").parse::<u64>().unwrap() > 0);
    world.send(me(&held)).await.expect(200);
    let peer = Peer::Tcp { addr: "198.51.100.7:1".parse().unwrap() };
    world.send(Ask { peer, ..me(&fresh) }).await.expect(200);
    // Headers that are no token.
    let odd = Ask::get("/api/v1/whoami").header("authorization", "Basic eA==");
    world.send(odd).await.expect(401);
}

#[tokio::test]
async fn a_connection_says_who_is_there() {
    let world = World::new();
    let me = |peer: Peer| Ask { peer, ..Ask::get("/api/v1/whoami") };
    for uid in [0, 1] {
        let found = world.send(me(Peer::Unix { uid })).await.expect(200).json();
        assert_eq!((&found["grant"]["role"], &found["by"]), (&json!("owner"), &json!("unix")));
    }
    world.send(me(Peer::Unix { uid: 1000 })).await.expect(401);
    let addr = "192.0.2.9:1".parse().unwrap();
    let tls = |grant: Option<Grant>| Peer::Tls {
        addr,
        client: Some(Client { subject: "CN=noc".into(), grant }),
    };
    world.send(me(tls(None))).await.expect(401);
    world.send(me(Peer::Tls { addr, client: None })).await.expect(401);
    let found = world.send(me(tls(Some(Grant::owner())))).await.expect(200).json();
    assert_eq!(found["name"], "cert CN=noc");
    // A page of another site cannot use the browser's certificate to change something.
    let confirm =
        Ask::new("POST", "/api/v1/config/confirm").header("origin", "https://evil.example");
    let peer = tls(Some(Grant::owner()));
    world.send(Ask { peer, ..confirm }).await.expect(403);
}

#[tokio::test]
async fn whatever_is_wrong_is_a_problem() {
    let world = World::new();
    let json = "application/json";
    let lease = "/api/v1/leases/quote";
    let cases = [
        (Ask::get("/api/v1/nothing"), 404),
        (Ask::get("/"), 404),
        (Ask::get("/api/v1/leases/4000000000"), 404),
        (Ask::get("/api/v1/leases/x"), 400),
        (Ask::get("/api/v1/leases/99999999999999999999"), 400),
        (Ask::new("PUT", "/api/v1/whoami"), 405),
        (Ask { body: b"{".to_vec(), ..Ask::new("POST", lease) }.header("content-type", json), 400),
        (Ask { body: b"{}".to_vec(), ..Ask::new("POST", lease) }, 415),
        (Ask::post(lease, json!({ "unit": 5 })), 422),
        (Ask::post(lease, json!({ "text": "x".repeat(70_000) })), 413),
        (Ask::new("PUT", CANDIDATE).json(&json!({})), 415),
        (Ask::new("PUT", CANDIDATE).toml(&"#".repeat(33 << 20)), 413),
        (Ask::new("PUT", CANDIDATE).toml("schema = 99"), 422),
        (Ask::get("/api/v1/config?place=a..b"), 422),
        (Ask::get("/api/v1/config?place=vswitch.none"), 404),
        (Ask::get("/api/v1/config?format=xml"), 400),
        (Ask::get("/api/v1/calendar/west/up"), 400),
        (Ask::get("/api/v1/ledger/records?cursor=__________8"), 422),
    ];
    for (ask, status) in cases {
        let what = format!("{} {}", ask.method, ask.path);
        let answer = world.send(ask.by_root()).await;
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.json()["status"], status);
    }
    let method = world.send(Ask::new("PUT", "/api/v1/whoami").by_root()).await;
    assert!(method.header("allow").contains("GET"), "{:?}", method.headers);
    // While the dataplane is away, what only it knows is away too.
    world.standin.0.lock().unwrap().is_away = true;
    world.send(Ask::get("/api/v1/live/vifs").by_root()).await.expect(503);
    world.send(Ask::get("/api/v1/leases").by_root()).await.expect(200);
}

#[tokio::test]
async fn a_backup_is_a_store_and_lies_where_the_box_says() {
    let world = World::new();
    let backup = |name: &str| Ask::post("/api/v1/backups", json!({ "name": name }));
    let (_, operator) = world.role("ops", Role::Operator);
    world.send(backup("a.db").by(&operator)).await.expect(403);
    for bad in ["", ".", "..", "../a", "a/b", ".a", "a b", &"a".repeat(101)] {
        world.send(backup(bad).by_root()).await.expect(422);
    }
    let made = world.send(backup("a.db").by_root()).await.expect(201).json();
    let path = std::path::PathBuf::from(made["path"].as_str().unwrap());
    assert!(path.starts_with(world.folder.path().join("backups")));
    let mut copy = store::Reader::open(&path).unwrap();
    assert_eq!(copy.check().unwrap(), []);
    world.send(backup("a.db").by_root()).await.expect(409);
    let checked = world.send(Ask::new("POST", "/api/v1/db/check").by_root()).await.expect(200);
    assert_eq!(checked.json(), json!({ "damage": [] }));
    let audit = world.send(Ask::get("/api/v1/audit?limit=1").by_root()).await.expect(200).json();
    assert_eq!(audit["items"][0]["action"], "store.backup");
}

#[tokio::test]
async fn a_vswitch_moves_to_another_box_without_its_private_key() {
    let (here, there) = (World::new(), World::new());
    let (_, red) = here.tenant("ops", "red");
    let export = |secrets: bool| {
        Ask::post("/api/v1/vswitches/red-1/export", json!({ "secrets": secrets })).by(&red)
    };
    let shown = here.send(export(false)).await.expect(200).json();
    assert!(!shown["toml"].as_str().unwrap().contains("red-password"));
    let exported = here.send(export(true)).await.expect(200).json();
    let toml = exported["toml"].as_str().unwrap();
    assert!(toml.contains("red-password") && !toml.contains("private"));
    let (_, operator) = here.role("ops-2", Role::Operator);
    let ask = Ask::post("/api/v1/vswitches/red-1/export", json!({ "secrets": true })).by(&operator);
    here.send(ask).await.expect(403);
    // There the old one goes first: it has the key.
    let gone = json!({ "edits": [{ "delete": { "place": "vswitch.red-1" } }] });
    there.send(patch(&gone).by_root()).await.expect(200);
    let import = json!({ "toml": toml, "name": "moved", "tenant": "red" });
    let imported = there.send(Ask::post("/api/v1/vswitches/import", import).by_root()).await;
    let imported = imported.expect(200).json();
    assert_eq!(imported["places"], json!(["vswitch.moved"]));
    let commit = Ask::post(&format!("{CANDIDATE}/commit"), json!({ "comment": "moved" })).by_root();
    there.send(commit).await.expect(200);
    let state = there.service.state();
    let password = &state.tree.vswitches["moved"].logins["friend"].password;
    assert_eq!(password.0, "red-password");
}

#[tokio::test]
async fn events_tell_what_happens_and_end_with_the_token() {
    let world = World::new();
    let (id, red) = world.tenant("ops", "red");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watching = tokio::spawn(world.api.clone().watch(async { drop(stopped.await) }));
    let response = world.begin(Ask::get("/api/v1/events").by(&red)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = response.into_body();
    let mut told = String::new();
    let deposit = json!({ "tenant": "red", "unit": "PKT", "amount": "1000", "reference": "a" });
    world.send(Ask::post("/api/v1/ledger/deposits", deposit).by_root()).await.expect(200);
    let ask = json!({
        "port": "west", "direction": "out", "start": BEGIN, "end": BEGIN + HOUR, "bytes_per_s": 20_000
    });
    let order = json!({ "tenant": "red", "ask": ask, "unit": "PKT" });
    world.send(Ask::post("/api/v1/leases", order).by(&red)).await.expect(201);
    world.send(patch(&set("vswitch.red-1.vif.2.mtu", json!(1400))).by(&red)).await.expect(200);
    let commit = Ask::post(&format!("{CANDIDATE}/commit"), json!({ "comment": "smaller" }));
    world.send(commit.by(&red)).await.expect(200);
    let done = |told: &str| {
        ["event: lease", "event: commit", "event: rates"].iter().all(|kind| told.contains(kind))
    };
    while !done(&told) {
        told += &next(&mut events).await.expect("events go on");
    }
    assert!(
        told.contains("\"comment\":\"smaller\"") && told.contains("\"state\":\"sold\""),
        "{told}"
    );
    assert!(told.contains("\"vswitch\":\"red-1\"") && !told.contains("zq-"), "{told}");
    let rates = world.send(Ask::get("/api/v1/live/rates").by(&red)).await.expect(200);
    assert_eq!(rates.json()["vifs"]["items"].as_array().unwrap().len(), 1);
    assert_eq!(rates.json()["ports"], json!([]));
    // Somebody who has too many of them.
    let mut more = Vec::new();
    for _ in 0..7 {
        more.push(world.begin(Ask::get("/api/v1/events").by(&red)).await);
    }
    world.send(Ask::get("/api/v1/events").by(&red)).await.expect(429);
    // Taken back: the stream ends.
    world.service.revoke_token(world.time(), &owner(), id).unwrap();
    while next(&mut events).await.is_some() {}
    // And all others when the box stops.
    let mut others =
        world.begin(Ask::get("/api/v1/events?kinds=commit").by_root()).await.into_body();
    stop.send(()).unwrap();
    watching.await.unwrap();
    assert_eq!(next(&mut others).await, None);
}

/// The next part of a stream; `None`: it ended.
async fn next(body: &mut axum::body::Body) -> Option<String> {
    use http_body_util::BodyExt;
    let frame = tokio::time::timeout(Duration::from_secs(60), body.frame()).await;
    let frame = frame.expect("something comes, or the stream ends")?.unwrap();
    frame.into_data().ok().map(|data| String::from_utf8_lossy(&data).into_owned())
}

#[tokio::test]
async fn packets_are_shown_at_own_vifs_and_without_what_they_carry() {
    let world = World::new();
    let status = control_api::Live::status(&world.standin).unwrap();
    let vif = |name: &str, number: u16| -> VifId {
        let vswitch = status.vswitches.iter().find(|it| it.name == name).unwrap().id;
        let vif = status.vifs.iter().find(|it| it.vswitch == vswitch && it.number == number);
        vif.unwrap().id
    };
    let (own, other) = (vif("red-1", 2), vif("zq-vswitch", 2));
    let frame = [&[2; 12][..], &[0xfc, 0x00], &[0; 4], &[0x11; 12], b"zq-payload"].concat();
    world.standin.0.lock().unwrap().packets = vec![
        step(TapEvent::Received { port: PortId(0) }, &frame),
        step(TapEvent::Classified { vif: own }, &frame),
        step(
            TapEvent::Switched { from: own, to: own, label_in: 0x13, label_out: 1, bits: 4 },
            &frame[18..],
        ),
        // By a cable into another's vswitch.
        step(TapEvent::Queued { vif: other }, &frame[18..]),
        step(TapEvent::Sent { port: PortId(0), vif: other }, &frame),
    ];
    let stages = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["stage"].as_str().unwrap().to_owned()).collect()
    };
    let vif = json!({ "vswitch": "red-1", "number": 2 });
    let capture = |filter: Value, payload: bool| {
        let body = json!({ "filter": filter, "snap_len": 200, "payload": payload });
        Ask::post("/api/v1/capture", body)
    };
    let (_, red) = world.tenant("ops", "red");
    let seen = world.send(capture(json!({ "vif": vif }), false).by(&red)).await.expect(200);
    assert_eq!(stages(&seen.text()), ["classified", "switched"]);
    let payload = data_encoding::HEXLOWER.encode(b"zq-payload");
    assert!(!seen.text().contains(&payload) && seen.text().contains("fc00"), "{}", seen.text());
    let trace = Ask::post("/api/v1/trace", json!({ "vif": vif })).by(&red);
    assert_eq!(stages(&world.send(trace).await.expect(200).text()), ["classified", "switched"]);
    // What is not his: all packets, another's vif, what packets carry.
    world.send(capture(json!({}), false).by(&red)).await.expect(422);
    let theirs = json!({ "vswitch": "zq-vswitch", "number": 2 });
    let none = json!({ "vswitch": "zq-nothing", "number": 2 });
    let refused = world.send(capture(json!({ "vif": theirs }), false).by(&red)).await.expect(404);
    let absent = world.send(capture(json!({ "vif": none }), false).by(&red)).await.expect(404);
    assert_eq!(refused.text().replace("zq-vswitch", ""), absent.text().replace("zq-nothing", ""));
    world.send(capture(json!({ "vif": vif }), true).by(&red)).await.expect(403);
    // The operator sees all, and the rest only if he asks.
    let (_, operator) = world.role("noc", Role::Operator);
    let all = world.send(capture(json!({}), false).by(&operator)).await.expect(200).text();
    assert_eq!((stages(&all).len(), all.contains(&payload)), (5, false));
    let all = world.send(capture(json!({}), true).by(&operator)).await.expect(200).text();
    assert!(all.contains(&payload));
    let (_, auditor) = world.role("audit", Role::Auditor);
    world.send(capture(json!({}), false).by(&auditor)).await.expect(403);
    let audit = world.send(Ask::get("/api/v1/audit").by_root()).await.expect(200).json();
    let captures = audit["items"].as_array().unwrap().iter();
    let captures = captures.filter(|it| it["action"] == "tap.capture");
    let captures: Vec<_> =
        captures.map(|it| json!([it["who"], it["tenant"], it["detail"]])).collect();
    let expected = [
        json!(["noc#2", null, "with payload"]),
        json!(["noc#2", null, "headers only"]),
        json!(["ops#1", "red", "headers only"]),
    ];
    assert_eq!(captures, expected);
}
