//! The reference's own verdicts: `labels.json` (switch) and `ctrl.json` (switch errors, answers), through the engine.

#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

mod rig;

use dataplane_api::spec::{LinkSpec, SchemeSpec, Session, VifSpec};
use dataplane_api::{DropReason, Role, VswitchId};
use dataplane_engine::slow_path::{Answer, Punted, Responder};
use dataplane_engine::{Inject, PuntKind, Via};
use rig::{Rig, Verdict, key, plain_spec};
use serde_json::Value;
use std::collections::BTreeMap;
use wire::buf::HeapPacket;
use wire::vectors::{hex, read, report};

fn scheme(name: &str) -> SchemeSpec {
    match name {
        "v358" => SchemeSpec::V358,
        "v48" => SchemeSpec::V48,
        "f4" => SchemeSpec::F4,
        "f8" => SchemeSpec::F8,
        other => panic!("scheme {other}"),
    }
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} of {row}"))
}

fn number(row: &Value, field: &str) -> u16 {
    row[field]
        .as_u64()
        .and_then(|n| u16::try_from(n).ok())
        .unwrap_or_else(|| panic!("{field} of {row}"))
}

/// What the vswitch of a one-vswitch rig does with a packet that came in on interface `src`.
fn verdict(rig: &mut Rig, src: u16, packet: &[u8]) -> Verdict {
    if src == 1 { rig.inject(0, packet) } else { rig.receive_on(0, src, packet) }
}

/// The error packet that the slow path makes of a punt.
fn error_of(rig: &Rig, src: u16, verdict: &Verdict) -> Option<Vec<u8>> {
    let Verdict::Error { code, bytes, .. } = verdict else { return None };
    let vif = rig.vif(0, src);
    let punted =
        Punted { vswitch: VswitchId(0), vif, kind: PuntKind::Error { code: *code }, bytes };
    match Responder::new(1).answer(&rig.rules, 0, punted) {
        Answer::Send(out) => {
            assert_eq!(out.via, Via::Vif { vswitch: VswitchId(0), vif });
            Some(out.bytes)
        }
        Answer::Pong { .. } | Answer::Done | Answer::Drop(_) => None,
    }
}

#[test]
fn switch_vectors() {
    let (path, json) = read("labels.json");
    let rows: Value = serde_json::from_str(&json).unwrap();
    let mut rigs: BTreeMap<(String, u16), Rig> = BTreeMap::new();
    let mut count = 0;
    for row in rows["switch"].as_array().unwrap() {
        let (name, peers) = (text(row, "scheme"), number(row, "peers"));
        let rig = rigs.entry((name.to_owned(), peers)).or_insert_with(|| {
            // Interfaces are filled 0, 2, 3, 4 …
            let numbers = (0..=peers).filter(|n| *n != 1).take(usize::from(peers));
            Rig::new(plain_spec(scheme(name), &numbers.collect::<Vec<_>>()))
        });
        let (src, packet) = (number(row, "src"), hex(text(row, "in")));
        check_row(rig, src, &packet, row);
        count += 1;
    }
    report(&path, count);
}

fn check_row(rig: &mut Rig, src: u16, packet: &[u8], row: &Value) {
    let found = verdict(rig, src, packet);
    match text(row, "kind") {
        "forward" => {
            let (iface, bytes) = (number(&row["out"], "iface"), hex(text(&row["out"], "packet")));
            // What is delivered to interface 1 is no control message in most rows.
            match (iface, found) {
                (1, Verdict::Control { bytes: found, .. }) => assert_eq!(found, bytes, "{row}"),
                (1, Verdict::Dropped(DropReason::NotControl, found)) => {
                    assert_eq!(found, bytes, "{row}")
                }
                (1, Verdict::Dropped(DropReason::ControlOrigin, found)) if src == 1 => {
                    assert_eq!(found, bytes, "{row}")
                }
                (_, Verdict::Sent { number, packet, .. }) => {
                    assert_eq!((number, packet), (iface, bytes), "{row}")
                }
                (_, found) => panic!("{row}: {found:?}"),
            }
        }
        "error" if src != 1 => {
            let expected = hex(text(&row["out"], "packet"));
            assert_eq!(error_of(rig, src, &found), Some(expected), "{row}: {found:?}");
        }
        // An error about a packet of the vswitch's own router would go to that router: it is counted, not sent.
        "error" => assert!(matches!(found, Verdict::Dropped(..)), "{row}: {found:?}"),
        "drop" => assert!(matches!(found, Verdict::Dropped(..)), "{row}: {found:?}"),
        kind => panic!("kind {kind}"),
    }
}

#[test]
fn switch_error_vectors() {
    let (path, json) = read("ctrl.json");
    let rows: Value = serde_json::from_str(&json).unwrap();
    let mut rigs: BTreeMap<(String, Vec<u16>), Rig> = BTreeMap::new();
    let mut count = 0;
    for row in rows["switch_errors"].as_array().unwrap() {
        let mut numbers = interfaces(&row["present_interfaces"]);
        numbers.retain(|n| *n != 1);
        let name = text(row, "scheme");
        let rig = rigs
            .entry((name.to_owned(), numbers.clone()))
            .or_insert_with(|| Rig::new(plain_spec(scheme(name), &numbers)));
        let (src, packet) = (number(row, "src_iface"), hex(text(row, "in")));
        let found = verdict(rig, src, &packet);
        match text(row, "result") {
            "error" if src != 1 => {
                assert_eq!(
                    error_of(rig, src, &found),
                    Some(hex(text(row, "packet"))),
                    "{row}: {found:?}"
                );
                assert!(
                    matches!(found, Verdict::Error { code, .. } if u64::from(code) == row["code"].as_u64().unwrap())
                );
                assert_eq!(number(row, "out_iface"), src, "{row}");
            }
            "error" | "drop" => assert!(matches!(found, Verdict::Dropped(..)), "{row}: {found:?}"),
            result => panic!("result {result}"),
        }
        count += 1;
    }
    report(&path, count);
}

/// A list of numbers, or `first..last` with both.
fn interfaces(present: &Value) -> Vec<u16> {
    if let Some((first, last)) = present.as_str().and_then(|range| range.split_once("..")) {
        return (first.parse().unwrap()..=last.parse().unwrap()).collect();
    }
    present
        .as_array()
        .unwrap()
        .iter()
        .map(|n| u16::try_from(n.as_u64().unwrap()).unwrap())
        .collect()
}

/// Rows about what this box does not have: end-to-end sessions of the vswitch itself.
const NOT_OURS: [&str; 1] = ["garbage hello"];

#[test]
fn responder_vectors() {
    let (path, json) = read("ctrl.json");
    let rows: Value = serde_json::from_str(&json).unwrap();
    let mut count = 0;
    for row in rows["responder"].as_array().unwrap() {
        let mut rig = Rig::new(responder_spec(text(&rows, "A_public")));
        let found = rig.receive_on(0, 0, &hex(text(row, "in")));
        let reply = answer(&mut rig, found);
        if !NOT_OURS.contains(&text(row, "name")) {
            assert_eq!(reply, row["reply"].as_str().map(hex), "{row}");
            count += 1;
        }
    }
    report(&path, count);
}

/// The answering node: the client is interface 0, at 127.0.0.1:30001.
fn responder_spec(public: &str) -> dataplane_api::Spec {
    let mut spec = plain_spec(SchemeSpec::V358, &[]);
    spec.vswitches[0].public_key =
        wire::key::PublicKey(hex(public).try_into().unwrap()).to_string();
    spec.vswitches[0].vifs.push(VifSpec {
        number: 0,
        role: Role::Customer,
        mtu: None,
        link: Some(LinkSpec::Udp {
            port: "p0".into(),
            vlan: None,
            local: "127.0.0.1:30000".parse().unwrap(),
            peer: "127.0.0.1:30001".parse().unwrap(),
            session: Session::Plain,
        }),
        policy: Default::default(),
    });
    spec
}

/// What goes back on the link.
fn answer(rig: &mut Rig, verdict: Verdict) -> Option<Vec<u8>> {
    let (kind, bytes) = match verdict {
        Verdict::Control { bytes, .. } => (PuntKind::Control, bytes),
        Verdict::Error { code, bytes, .. } => (PuntKind::Error { code }, bytes),
        Verdict::Sent { packet, .. } => return Some(packet), // it came back by itself
        Verdict::Dropped(..) => return None,
    };
    let punted = Punted { vswitch: VswitchId(0), vif: rig.vif(0, 0), kind, bytes: &bytes };
    match Responder::new(7).answer(&rig.rules, 0, punted) {
        Answer::Send(out) => match rig
            .inject_via(Inject { frame: HeapPacket::new(&out.bytes, 128, 64), via: out.via })
        {
            Verdict::Sent { number: 0, packet, .. } => Some(packet),
            other => panic!("{other:?}"),
        },
        Answer::Drop(_) => None,
        Answer::Pong { .. } | Answer::Done => panic!("nobody was asked"),
    }
}

#[test]
fn keys_of_the_rig_are_usable() {
    assert!((0..8).all(|n| key(n).is_usable()));
}
