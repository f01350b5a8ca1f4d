//! A worker that is behind: which frames it sheds, against a twin of exact buckets.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

mod rig;

use dataplane_api::protocol::TapEvent;
use dataplane_api::spec::{LinkSpec, SchemeSpec, Session};
use dataplane_api::{
    CapacitySpec, Direction, DropReason, LeaseSpec, NodeSpec, PortId, Spec, VifName,
};
use dataplane_engine::{Burst, Leases, Outcome, PuntKind, Shed, Tap};
use proptest::prelude::*;
use rig::{Rig, ethernet_vif, key, plain_spec};
use std::collections::BTreeMap;
use wire::buf::{HeapPacket, Packet};

/// Bytes a second of the sold port. A byte of each lease below takes whole nanoseconds, its burst a multiple of 4096.
const RATE: u64 = 100_000_000;
/// Preamble, gap, check sequence.
const FRAMING: usize = 24;

fn lease(id: u32, vifs: &[u16], rate: u64, weight: u64) -> LeaseSpec {
    let name = |vif: &u16| VifName { vswitch: "red".into(), vif: *vif };
    LeaseSpec {
        id,
        vifs: vifs.iter().map(name).collect(),
        direction: Direction::In,
        rate,
        burst: Some(5_120),
        weight: Some(weight),
        ceiling: None,
        preserve_order: false,
        start: None,
        end: None,
    }
}

/// Vif 2 has a lease with priority above it, 3 and 4 share one without, 5 has none; 6 is where all leaves.
fn spec() -> Spec {
    let mut spec = plain_spec(SchemeSpec::F4, &[2, 3, 4, 5]);
    spec.vswitches[0].vifs.push(ethernet_vif(6, "p1", None));
    Spec {
        capacities: vec![CapacitySpec { port: "p0".into(), rate: RATE }],
        leases: vec![lease(1, &[2], 10_000_000, 1_000), lease(2, &[3, 4], 1_000_000, 0)],
        ..spec
    }
}

fn adopt(rig: &mut Rig, at: u64, edition: u64) {
    let leases = Leases::at(&rig.rules, at, edition);
    while {
        rig.engine.adopt(&leases, 0);
        rig.engine.older() > 0
    } {}
}

/// What a link has, in exact arithmetic: bytes × 10⁹.
struct Bucket {
    rate: u128,
    burst: u128,
    filled: u128,
    at: u64,
    weight: u64,
}

impl Bucket {
    fn new(rate: u128, burst: u128, weight: u64) -> Self {
        Self { rate, burst, filled: burst * 1_000_000_000, at: 0, weight }
    }

    fn judge(&mut self, now: u64, len: usize, shed: Shed) -> Option<DropReason> {
        let filled = self.filled + self.rate * u128::from(now - self.at);
        (self.filled, self.at) = (filled.min(self.burst * 1_000_000_000), now);
        let needed = (len + FRAMING).max(84) as u128 * 1_000_000_000;
        if let Some(left) = self.filled.checked_sub(needed) {
            self.filled = left;
            return None;
        }
        match shed {
            Shed::Priority if self.weight > 0 => Some(DropReason::ShedPriority),
            Shed::Free | Shed::Priority if self.weight == 0 => Some(DropReason::ShedFree),
            _ => None,
        }
    }
}

/// Drops in order, as they are told.
#[derive(Default)]
struct Told(Vec<(u64, DropReason)>);

impl Tap for Told {
    const ON: bool = true;
    fn record(&mut self, packet: u64, event: TapEvent, _: &[u8]) {
        if let TapEvent::Dropped { reason, .. } = event {
            self.0.push((packet, reason));
        }
    }
}

fn level() -> impl Strategy<Value = Shed> {
    prop_oneof![Just(Shed::Nothing), Just(Shed::Free), Just(Shed::Priority)]
}

/// Number of the ingress vif and bytes behind the switch header.
fn frames() -> impl Strategy<Value = Vec<(u16, usize)>> {
    proptest::collection::vec((2_u16..=5, 0_usize..1_200), 1..=64)
}

proptest! {
    #[test]
    fn what_is_shed_is_what_exact_buckets_say(
        steps in proptest::collection::vec((level(), 0_u64..30_000_000, frames()), 1..40)
    ) {
        let mut rig = Rig::new(spec());
        adopt(&mut rig, 0, 1);
        // By the vif at which they are metered.
        let mut buckets = BTreeMap::from([
            (2, Bucket::new(10_000_000, 5_120, 1_000)),
            (3, Bucket::new(1_000_000, 5_120, 0)),
            (5, Bucket::new(400, 1_024, 0)),
        ]);
        let label = rig.rules.vif(rig.vif(0, 6)).unwrap().label;
        let (mut now, mut packet) = (0, 0);
        for (shed, pause, frames) in steps {
            now += pause;
            let (mut burst, mut due) = (Burst::new(), Vec::new());
            for (vif, len) in frames {
                let mut bytes = vec![0; 12 + len];
                bytes[..8].copy_from_slice(&label.to_be_bytes());
                let (_, frame) = rig.frame(rig.vif(0, vif), &bytes);
                let bucket = buckets.get_mut(&if vif == 4 { 3 } else { vif }).unwrap();
                if shed != Shed::Nothing
                    && let Some(reason) = bucket.judge(now, frame.len(), shed)
                {
                    due.push((packet, reason));
                }
                packet += 1;
                burst.push(HeapPacket::new(&frame, 128, 64));
            }
            let (sent, before) = (burst.len(), rig.counters());
            let (mut out, mut told) = (Outcome::new(), Told::default());
            let Rig { engine, rules, next_hops, .. } = &mut rig;
            engine.shed(shed, 0);
            engine.receive(rules, now, PortId(0), &mut burst, &mut out, &mut told);
            prop_assert_eq!(&told.0, &due);
            prop_assert_eq!(out.free.len(), due.len());
            // All others go on their way, so that the queue is empty for the next.
            let mut left = sent - due.len();
            while left > 0 {
                let mut tx = Burst::new();
                let none = &mut dataplane_engine::NoTap;
                engine.transmit(rules, next_hops, now, PortId(1), 64, &mut tx, &mut out, none);
                prop_assert!(!tx.is_empty());
                left -= tx.len();
            }
            let mut counted = rig.drops_since(&before);
            counted.sort_unstable();
            let mut reasons: Vec<_> = due.iter().map(|(_, reason)| *reason).collect();
            reasons.sort_unstable();
            prop_assert_eq!(counted, reasons);
        }
    }
}

#[test]
fn frames_of_a_link_with_keys_are_shed_unopened_but_its_handshakes_are_not() {
    let mut spec = plain_spec(SchemeSpec::F4, &[2]);
    let vif = &mut spec.vswitches[0].vifs[0];
    if let Some(LinkSpec::Ethernet { session, .. }) = &mut vif.link {
        *session = Session::Node(NodeSpec {
            public_key: key(7).to_string(),
            password: None,
            login: None,
            handshake: dataplane_api::Handshake::CryptoAuth,
            reads_all: false,
        });
    }
    let mut rig = Rig::new(spec);
    rig.engine.shed(Shed::Free, 0);
    let mut receive = |word: u32| {
        let mut packet = vec![0; 1_400];
        packet[..4].copy_from_slice(&word.to_be_bytes());
        let (port, frame) = rig.frame(rig.vif(0, 2), &packet);
        let before = rig.counters();
        let (mut burst, mut out) = (Burst::new(), Outcome::new());
        burst.push(HeapPacket::new(&frame, 128, 64));
        let Rig { engine, rules, .. } = &mut rig;
        let tap = &mut dataplane_engine::NoTap;
        engine.receive(rules, 0, port, &mut burst, &mut out, tap);
        let punted = out.punts.pop().map(|punt| punt.kind);
        (punted, rig.drops_since(&before))
    };
    // Without a session it would be dropped as that, had anybody tried to open it.
    assert_eq!(receive(77), (None, vec![DropReason::ShedFree]));
    assert_eq!(receive(0), (Some(PuntKind::Handshake), Vec::new()));
}

#[test]
fn a_link_without_a_lease_keeps_its_reserve() {
    let mut rig = Rig::new(plain_spec(SchemeSpec::F4, &[2, 3]));
    adopt(&mut rig, 0, 1);
    let label = rig.rules.vif(rig.vif(0, 3)).unwrap().label;
    let mut packet = vec![0; 56];
    packet[..8].copy_from_slice(&label.to_be_bytes());
    rig.engine.shed(Shed::Priority, 0);
    // A frame of 100 bytes of wire every 10 ms: ten of its burst, then one in 25.
    let mut shed = 0;
    for now in (0..1_000).map(|frame| frame * 10_000_000) {
        let (port, frame) = rig.frame(rig.vif(0, 2), &packet);
        let (mut burst, mut out) = (Burst::new(), Outcome::new());
        burst.push(HeapPacket::new(&frame, 128, 64));
        let Rig { engine, rules, next_hops, .. } = &mut rig;
        let tap = &mut dataplane_engine::NoTap;
        engine.receive(rules, now, port, &mut burst, &mut out, tap);
        shed += out.free.iter().map(Packet::len).count();
        engine.transmit(rules, next_hops, now, PortId(0), 64, &mut burst, &mut out, tap);
    }
    assert_eq!(1_000 - shed, (1_024 + 3_996) / 100);
}

#[test]
fn what_came_in_profile_while_the_worker_was_away_is_in_profile_still() {
    let mut rig = Rig::new(spec());
    adopt(&mut rig, 0, 1);
    let label = rig.rules.vif(rig.vif(0, 6)).unwrap().label;
    let mut packet = vec![0; 56];
    packet[..8].copy_from_slice(&label.to_be_bytes());
    let (port, frame) = rig.frame(rig.vif(0, 2), &packet);
    // 64 frames in 640 µs are what the lease gives in that time; its burst is 51 of them.
    let mut shed = |now, late| {
        let (mut burst, mut out) = (Burst::new(), Outcome::new());
        for _ in 0..64 {
            burst.push(HeapPacket::new(&frame, 128, 64));
        }
        let Rig { engine, rules, next_hops, .. } = &mut rig;
        let tap = &mut dataplane_engine::NoTap;
        engine.shed(Shed::Priority, late);
        engine.receive(rules, now, port, &mut burst, &mut out, tap);
        let shed = out.free.len();
        engine.transmit(rules, next_hops, now, PortId(1), 64, &mut burst, &mut out, tap);
        shed
    };
    assert_eq!(shed(1_000_000, 0), 13);
    assert_eq!(shed(2_000_000, 640_000), 0);
    assert_eq!(shed(2_000_000, 640_000), 28, "what is left of the burst is 36 frames");
}
