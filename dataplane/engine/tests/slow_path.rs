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

use dataplane_api::VswitchId;
use dataplane_api::spec::SchemeSpec;
use dataplane_engine::PuntKind;
use dataplane_engine::slow_path::{Answer, Punted, Responder, Supernode};
use rig::{Rig, key, plain_spec};
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
