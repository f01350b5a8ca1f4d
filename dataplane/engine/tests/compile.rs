//! Specs: what is refused, what stays, and what `explain` and `ping` say about the result.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

mod rig;

use dataplane_api::spec::{SchemeSpec, VifSpec};
use dataplane_api::{
    CableSpec, Generation, Handshake, LinkSpec, LoginSpec, NodeSpec, Role, Secret, Session, Spec,
    VifName, VswitchId,
};
use dataplane_engine::slow_path::{Answer, Punted, Responder};
use dataplane_engine::{
    Compiler, Inject, PuntKind, SpecError, StepEnd, VifError, VswitchError, explain,
};
use rig::{Rig, Verdict, ethernet_vif, key, plain_spec, ports};
use wire::buf::HeapPacket;

fn refusal(spec: &Spec) -> SpecError {
    let mut compiler = Compiler::new(8, 512, 1);
    compiler.compile(spec, &[], &ports(2)).unwrap_err()
}

#[test]
fn a_wrong_spec_is_refused_by_what_is_wrong_with_it() {
    let vif_error = |vif: VifSpec| {
        let mut spec = plain_spec(SchemeSpec::F4, &[2]);
        spec.vswitches[0].vifs.push(vif);
        match refusal(&spec) {
            SpecError::Vif { error, .. } => error,
            other => panic!("{other}"),
        }
    };
    assert_eq!(vif_error(ethernet_vif(1, "p0", None)), VifError::NumberSelf);
    assert_eq!(vif_error(ethernet_vif(2, "p0", Some(5))), VifError::NumberTwice);
    assert!(matches!(
        vif_error(ethernet_vif(16, "p0", None)),
        VifError::NumberBeyond { highest: 15, .. }
    ));
    assert_eq!(vif_error(ethernet_vif(3, "p9", None)), VifError::Port("p9".into()));
    assert_eq!(
        vif_error(ethernet_vif(3, "p1", Some(5))),
        VifError::VlanUntrusted { vlan: 5, port: "p1".into() }
    );
    assert_eq!(vif_error(VifSpec { link: None, ..ethernet_vif(3, "p0", None) }), VifError::Nothing);
    let long = VifSpec { mtu: Some(1495), ..ethernet_vif(3, "p0", None) };
    assert_eq!(vif_error(long), VifError::Mtu { found: 1495, min: 64, max: 1494 });

    let dialled = |password: &Secret| {
        let mut vif = ethernet_vif(3, "p0", None);
        if let Some(LinkSpec::Ethernet { session, .. }) = &mut vif.link {
            *session = Session::Node(NodeSpec {
                public_key: key(7).to_string(),
                password: Some(password.clone()),
                login: None,
                handshake: Handshake::CryptoAuth,
                reads_all: false,
            });
        }
        vif
    };
    let with_login = |password: &Secret| {
        let (user, password) = ("us".into(), password.clone());
        let mut spec = plain_spec(SchemeSpec::F4, &[2]);
        spec.vswitches[0].logins.push(LoginSpec {
            user,
            password,
            only: None,
            role: Role::Customer,
            policy: Default::default(),
        });
        spec
    };
    let of_red = |error| SpecError::Vswitch { vswitch: "red".into(), error };
    let hidden = Secret(Secret::HIDDEN.into());
    assert_eq!(vif_error(dialled(&hidden)), VifError::PasswordHidden);
    let error = VswitchError::PasswordHidden("us".into());
    assert_eq!(refusal(&with_login(&hidden)), of_red(error));
    for wrong in ["".into(), "x".repeat(1025)].map(Secret) {
        assert_eq!(vif_error(dialled(&wrong)), VifError::Password);
        let error = VswitchError::Password("us".into());
        assert_eq!(refusal(&with_login(&wrong)), of_red(error));
    }

    let mut twice = plain_spec(SchemeSpec::F4, &[2]);
    twice.vswitches.push(twice.vswitches[0].clone());
    assert_eq!(refusal(&twice), SpecError::NameTwice("red".into()));
}

#[test]
fn a_refused_spec_changes_nothing_and_ids_stay() {
    let mut compiler = Compiler::new(8, 512, 1);
    let first =
        compiler.compile(&plain_spec(SchemeSpec::V358, &[0, 2, 3]), &[], &ports(2)).unwrap();
    let three = first.vif_numbered(VswitchId(0), 3).unwrap().id;
    let mut next = Spec { generation: Generation(1), ..plain_spec(SchemeSpec::V358, &[3, 4]) };
    next.vswitches[0].vifs[1].number = 1;
    compiler.compile(&next, &[], &ports(2)).unwrap_err();
    next.vswitches[0].vifs[1].number = 4;
    let second = compiler.compile(&next, &[], &ports(2)).unwrap();
    assert_eq!(second.vif_numbered(VswitchId(0), 3).unwrap().id, three);
    assert_eq!(second.new_ids().1.len(), 1, "only vif 4 is new");
    let old = compiler.compile(&plain_spec(SchemeSpec::V358, &[2]), &[], &ports(2));
    assert!(matches!(old, Err(SpecError::Generation { .. })));
}

/// red and blue, joined by a cable between red/2 and blue/3.
fn joined() -> Spec {
    let mut spec = plain_spec(SchemeSpec::V358, &[0]);
    let mut blue = spec.vswitches[0].clone();
    (blue.name, blue.public_key, blue.vifs) = ("blue".into(), key(1).to_string(), Vec::new());
    let end = |number| VifSpec {
        number,
        role: Role::Customer,
        mtu: None,
        link: None,
        policy: Default::default(),
    };
    blue.vifs.push(end(3));
    spec.vswitches[0].vifs.push(end(2));
    spec.vswitches.push(blue);
    let (a, b) =
        (VifName { vswitch: "red".into(), vif: 2 }, VifName { vswitch: "blue".into(), vif: 3 });
    spec.cables.push(CableSpec { a, b });
    spec
}

#[test]
fn a_ping_through_a_cable_comes_back_and_explain_says_how_it_goes() {
    let mut rig = Rig::new(joined());
    let label = 0x15; // v358: vif 2, then the end
    let steps = explain(&rig.rules, VswitchId(0), 1, label);
    assert!(matches!(steps[0].end, StepEnd::Cable { number: 2, .. }), "{}", steps[0]);
    assert!(matches!(steps[1].end, StepEnd::Delivered { .. }), "{}", steps[1]);

    let mut responder = Responder::new(5);
    let (ping, mut out) = responder.ping(&rig.rules, 100, VswitchId(0), label, 1000).unwrap();
    for (vswitch, number) in [(1, 3), (0, 2)] {
        let found =
            rig.inject_via(Inject { frame: HeapPacket::new(&out.bytes, 128, 64), via: out.via });
        let Verdict::Control { vif, bytes } = found else { panic!("{found:?}") };
        assert_eq!(vif, rig.vif(vswitch, number));
        let punted =
            Punted { vswitch: VswitchId(vswitch), vif, kind: PuntKind::Control, bytes: &bytes };
        match responder.answer(&rig.rules, 350, punted) {
            Answer::Send(reply) => out = reply,
            answer => assert_eq!(answer, Answer::Pong { ping, nanos: 250, version: 22 }),
        }
    }
    assert!(responder.expired(u64::MAX).is_empty(), "nothing is under way any more");
}
