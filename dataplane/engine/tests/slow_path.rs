//! Answers that depend on what the box was told.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

mod rig;

use dataplane_api::spec::SchemeSpec;
use dataplane_api::{DropReason, VswitchId};
use dataplane_engine::slow_path::{Answer, Outgoing, Punted, Responder, Supernode};
use dataplane_engine::{PuntKind, Via};
use rig::{Rig, Verdict, key, plain_spec};
use wire::control::{self, GetSnode, PROTOCOL_VERSION, Ping, kind, magic};
use wire::label;
use wire::switch::Header;
use zerocopy::FromBytes;

/// What is said to an asker behind a vif: key, version, path.
fn told(rig: &Rig, responder: &mut Responder, number: u16) -> ([u8; 32], u32, u64) {
    let vif = rig.rules.vif_numbered(VswitchId(0), number).unwrap();
    let head = Ping { magic: magic::SNODE_QUERY.into(), version: PROTOCOL_VERSION.into() };
    let query = GetSnode {
        head,
        snode_version: 0.into(),
        kbps: 0.into(),
        snode_key: [0; 32],
        path: 0.into(),
    };
    let header = Header::new(label::reverse(vif.label), 0);
    let bytes = control::packet(header, kind::GET_SNODE, &query, b"mark");
    let punted =
        Punted { vswitch: VswitchId(0), vif: vif.id, kind: PuntKind::Control, bytes: &bytes };
    let Answer::Send(out) = responder.answer(&rig.rules, 0, punted) else { panic!("no answer") };
    let message = control::parse(&out.bytes[12..]).unwrap();
    let (body, mark) = GetSnode::ref_from_prefix(message.body).unwrap();
    assert_eq!((message.kind, mark), (kind::GET_SNODE_REPLY, &b"mark"[..]));
    (body.snode_key, body.snode_version.get(), body.path.get())
}

/// Two boxes whose vifs 2 are joined; one of `wants` offers to tell claims.
fn joined(wants: [bool; 2]) -> [(Rig, Responder); 2] {
    [(wants[0], 7), (wants[1], 8)].map(|(wants, seed)| {
        let mut spec = plain_spec(SchemeSpec::V358, &[2, 3]);
        spec.vswitches[0].vifs[0].policy.traffic_class = wants;
        (Rig::new(spec), Responder::new(seed))
    })
}

/// What one box sent down its vif 2 comes in by the other's: its answer.
fn arrives((rig, responder): &mut (Rig, Responder), now: u64, packet: &[u8]) -> Answer {
    let Verdict::Control { vif, bytes } = rig.receive_on(0, 2, packet) else {
        panic!("it is for the neighbour itself")
    };
    let punted = Punted { vswitch: VswitchId(0), vif, kind: PuntKind::Control, bytes: &bytes };
    responder.answer(&rig.rules, now, punted)
}

fn offers((rig, responder): &mut (Rig, Responder), now: u64) -> Vec<Outgoing> {
    responder.offers(&rig.rules, now, |_| true)
}

#[test]
fn links_are_told_once_the_neighbour_answers_and_as_long_as_it_does() {
    const SECOND: u64 = 1_000_000_000;
    let [mut west, mut east] = joined([true, true]);
    let vif = west.0.vif(0, 2);
    let epoch = west.0.rules.vif(vif).unwrap().epoch;
    assert_eq!(west.1.told_changed(SECOND), None);
    let offered = offers(&mut west, SECOND);
    assert_eq!((offered.len(), offers(&mut west, SECOND).len()), (1, 0), "once in two seconds");
    assert_eq!(offered[0].via, Via::Vif { vswitch: VswitchId(0), vif });
    let Answer::Send(accept) = arrives(&mut east, SECOND, &offered[0].bytes) else {
        panic!("east wants to be told")
    };
    assert_eq!(east.1.told_changed(SECOND), None, "east has not asked yet");
    // Any other bit of what was offered, and it is not an answer.
    let mut forged = accept.bytes.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(control::seal(&mut forged[12..], kind::CLASS_ACCEPT));
    let refused = Answer::Drop(DropReason::ControlType);
    assert_eq!(arrives(&mut west, SECOND, &forged), refused);
    assert_eq!(west.1.told_changed(SECOND), None);
    assert_eq!(arrives(&mut west, SECOND, &accept.bytes), Answer::Done);
    assert_eq!(west.1.told_changed(SECOND), Some(vec![(vif, epoch)]));
    assert_eq!(west.1.told_changed(2 * SECOND), None);
    // An answer that was recorded is worth nothing later, and silence ends it.
    assert_eq!(arrives(&mut west, 12 * SECOND, &accept.bytes), refused);
    assert_eq!(west.1.told_changed(12 * SECOND), Some(vec![]));
}

#[test]
fn a_neighbour_that_does_not_want_it_is_never_told() {
    let [mut west, mut east] = joined([true, false]);
    let offered = offers(&mut west, 5);
    assert!(offers(&mut east, 5).is_empty());
    assert_eq!(
        arrives(&mut east, 5, &offered[0].bytes),
        Answer::Drop(DropReason::ControlType),
        "as a stock node does with a type that it does not know"
    );
    assert_eq!((west.1.told_changed(5), east.1.told_changed(5)), (None, None));
    // Nor is one that is not up asked.
    let [(rig, mut responder), _] = joined([true, true]);
    assert!(responder.offers(&rig.rules, 5, |_| false).is_empty());
}

#[test]
fn neighbours_are_told_which_route_server_a_vswitch_uses() {
    let rig = Rig::new(plain_spec(SchemeSpec::V358, &[0, 2, 33]));
    let mut responder = Responder::new(1);
    assert_eq!(told(&rig, &mut responder, 0), ([0; 32], 0, 0));
    let supernode = Supernode { key: key(1), version: 22, path: 0x153 };
    responder.set_supernode(VswitchId(0), Some(supernode));
    responder.set_supernode(VswitchId(1), Some(Supernode { path: 0x15, ..supernode }));
    assert_eq!(told(&rig, &mut responder, 0), (key(1).0, 22, 0x153));
    // Behind ten bits, the first director has ten.
    assert_eq!(told(&rig, &mut responder, 33), (key(1).0, 22, 0x5400));
    responder.set_supernode(VswitchId(0), Some(Supernode { path: label::SELF, ..supernode }));
    assert_eq!(told(&rig, &mut responder, 33), (key(1).0, 22, 1), "the vswitch itself");
    responder.set_supernode(VswitchId(0), None);
    assert_eq!(told(&rig, &mut responder, 0), ([0; 32], 0, 0));
}
