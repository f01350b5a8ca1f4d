//! Policies of vifs: what they do to packets that wait for a port, and what is refused. The twin has the rest.
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
use dataplane_api::status::LeaseTotals;
use dataplane_api::{
    CapacitySpec, DefaultClass, LeaseSpec, PortId, Role, Spec, VifName, VifPolicy,
};
use dataplane_engine::{Burst, Compiler, Leases, NoTap, Outcome, SpecError, ToldLinks, VifError};
use rig::{Rig, plain_spec, ports};
use wire::buf::{HeapPacket, Packet};
use wire::traffic_class::TrafficClass;

/// 80 Mb/s: ten bytes a microsecond.
const RATE: u64 = 10_000_000;

fn priority(weight: u64) -> VifPolicy {
    VifPolicy { default_class: DefaultClass::Priority(weight), ..VifPolicy::default() }
}

/// Vifs 3, 4 and 5 send by vif 2, on a port that is sold: each as much as the port takes.
struct Busy {
    rig: Rig,
    now: u64,
    /// By sender.
    sent: [u64; 3],
    class: [TrafficClass; 3],
}

impl Busy {
    fn new(policies: [VifPolicy; 3], leases: Vec<LeaseSpec>) -> Self {
        let capacities = vec![CapacitySpec { port: "p0".into(), rate: RATE }];
        let mut spec = Spec { capacities, leases, ..plain_spec(SchemeSpec::F4, &[2, 3, 4, 5]) };
        for (vif, policy) in spec.vswitches[0].vifs.iter_mut().skip(1).zip(policies) {
            vif.policy = policy;
        }
        // The last is nobody's customer.
        spec.vswitches[0].vifs[3].role = Role::Peer;
        let mut rig = Rig::new(spec);
        let leases = Leases::at(&rig.rules, 0, 1);
        while {
            rig.engine.adopt(&leases, 1_000_000);
            rig.engine.older() > 0
        } {}
        Self { rig, now: 1_000_000, sent: [0; 3], class: [TrafficClass::NONE; 3] }
    }

    /// So many milliseconds, in each of which every sender brings ten frames of 1 000 bytes of wire: the port takes ten.
    fn run(&mut self, ms: u64) {
        let label = self.rig.rules.vif(self.rig.vif(0, 2)).unwrap().label;
        for _ in 0..ms {
            let mut burst = Burst::new();
            for _ in 0..10 {
                for (number, class) in (3..).zip(self.class) {
                    let mut packet = vec![0; 956];
                    packet[..8].copy_from_slice(&label.to_be_bytes());
                    packet[10..12].copy_from_slice(&class.word().to_be_bytes());
                    packet[12] = u8::try_from(number).unwrap();
                    let (_, frame) = self.rig.frame(self.rig.vif(0, number), &packet);
                    burst.push(HeapPacket::new(&frame, 128, 64));
                }
            }
            let mut out = Outcome::new();
            let Rig { engine, rules, next_hops, .. } = &mut self.rig;
            engine.receive(rules, self.now, PortId(0), &mut burst, &mut out, &mut NoTap);
            for _ in 0..10 {
                self.now += 100_000;
                let mut tx = Burst::new();
                engine.transmit(
                    rules,
                    next_hops,
                    self.now,
                    PortId(0),
                    64,
                    &mut tx,
                    &mut out,
                    &mut NoTap,
                );
                for frame in &tx {
                    self.sent[usize::from(frame.bytes()[32]) - 3] += 1;
                    assert_eq!(frame.bytes()[30..32], [0xff; 2], "nobody is told");
                }
            }
        }
    }

    fn run_and_count(mut self) -> [u64; 3] {
        self.run(500);
        let all: u64 = self.sent.iter().sum();
        assert!((4_950..=5_010).contains(&all), "the port is never idle: {:?}", self.sent);
        self.sent
    }
}

#[test]
fn what_claims_priority_by_default_leaves_before_what_is_free() {
    let [a, b, c] = Busy::new([priority(RATE), VifPolicy::default(), VifPolicy::default()], vec![])
        .run_and_count();
    assert!(a > 4_800 && b + c < 200, "{a} {b} {c}");
    // Nobody has a policy: the queue is nobody's.
    let [a, b, c] = Busy::new([const { no_policy() }; 3], vec![]).run_and_count();
    assert!([a, b, c].iter().all(|n| (1_400..2_100).contains(n)), "{a} {b} {c}");
}

const fn no_policy() -> VifPolicy {
    VifPolicy {
        default_class: DefaultClass::Free,
        priority_cap: None,
        clear_customer_bit: false,
        deprioritise_non_customer: None,
        traffic_class: false,
        mirror: false,
        trace: false,
    }
}

#[test]
fn claims_share_what_is_left_by_their_weights() {
    let [a, b, c] =
        Busy::new([priority(3_000_000), priority(1_000_000), VifPolicy::default()], vec![])
            .run_and_count();
    assert!(c < 100, "{a} {b} {c}");
    assert!((a * 10 / b).abs_diff(30) <= 3, "{a} {b}");
}

#[test]
fn no_more_than_the_cap_claims_priority() {
    let capped = VifPolicy { priority_cap: Some(RATE / 5), ..priority(RATE) };
    let [a, b, c] =
        Busy::new([capped, priority(RATE / 10), VifPolicy::default()], vec![]).run_and_count();
    // A fifth of the port is two frames a millisecond, and all else of it is free.
    assert!((1_000..1_100).contains(&a), "{a} {b} {c}");
    assert!(b > 3_800 && c < 200, "{a} {b} {c}");
}

#[test]
fn who_is_no_customer_claims_what_the_rule_leaves() {
    let rule = || VifPolicy { deprioritise_non_customer: Some(0), ..priority(RATE) };
    let [a, b, c] = Busy::new([rule(), rule(), rule()], vec![]).run_and_count();
    assert!(a.abs_diff(b) < 250 && c < 100, "{a} {b} {c}");
    let cleared = VifPolicy { clear_customer_bit: true, ..rule() };
    let [a, b, c] = Busy::new([rule(), cleared, rule()], vec![]).run_and_count();
    assert!(a > 4_800 && b + c < 200, "{a} {b} {c}");
}

#[test]
fn what_a_stock_neighbour_writes_claims_nothing_and_what_a_told_one_writes_does() {
    let told = || VifPolicy { traffic_class: true, ..VifPolicy::default() };
    let claims = [
        TrafficClass::new(true, RATE),
        TrafficClass::new(true, RATE / 2),
        TrafficClass::new(true, RATE),
    ];
    let mut busy = Busy::new([told(), told(), VifPolicy::default()], vec![]);
    busy.class = claims;
    // Nobody has answered yet.
    let [a, b, c] = busy.run_and_count();
    assert!([a, b, c].iter().all(|n| (1_400..2_100).contains(n)), "{a} {b} {c}");
    let mut busy = Busy::new([told(), told(), VifPolicy::default()], vec![]);
    busy.class = claims;
    let vifs = [3, 4, 5].map(|number| busy.rig.vif(0, number));
    busy.rig.engine.adopt_told(&ToldLinks::new(1, vifs.into_iter()));
    let [a, b, c] = busy.run_and_count();
    // The third answered, but its vif does not want to be told.
    assert!(c < 100 && (a * 10 / b).abs_diff(20) <= 2, "{a} {b} {c}");
}

#[test]
fn a_lease_of_the_egress_vif_goes_before_claims_and_what_it_leaves_free_may_claim() {
    let lease = |weight| LeaseSpec {
        id: 1,
        vifs: vec![VifName { vswitch: "red".into(), vif: 2 }],
        direction: dataplane_api::Direction::Out,
        rate: RATE / 2,
        burst: Some(10_000),
        weight: Some(weight),
        ceiling: None,
        preserve_order: false,
        start: None,
        end: None,
    };
    let policies = || [priority(RATE), VifPolicy::default(), VifPolicy::default()];
    let mut busy = Busy::new(policies(), vec![lease(0)]);
    busy.run(500);
    // Half is guaranteed to whoever comes first, and the other half is the claim's.
    let [a, b, c] = busy.sent;
    assert!(a > 3_000 && b + c > 1_200, "{a} {b} {c}");
    let counters = busy.rig.counters();
    let slot = busy.rig.layout.lease(busy.rig.vif(0, 2));
    let mut totals = LeaseTotals::default();
    totals.add(counters[slot..].first_chunk().unwrap());
    assert!(totals.priority.packets > 2_200 && totals.free.packets < 100, "{totals:?}");
    // Where the lease has a weight, it is the lease's packets that go by it.
    let mut busy = Busy::new(policies(), vec![lease(RATE / 2)]);
    busy.run(500);
    let [a, b, c] = busy.sent;
    assert!([a, b, c].iter().all(|n| (1_400..2_100).contains(n)), "{a} {b} {c}");
}

#[test]
fn a_weight_that_is_not_on_the_scale_is_refused() {
    for (policy, what, found) in [
        (priority(0), "default_class", 0),
        (priority(1 << 43), "default_class", 1 << 43),
        (VifPolicy { priority_cap: Some(1_023), ..VifPolicy::default() }, "priority_cap", 1_023),
        (
            VifPolicy { deprioritise_non_customer: Some(1), ..VifPolicy::default() },
            "deprioritise_non_customer",
            1,
        ),
    ] {
        let mut spec = plain_spec(SchemeSpec::F4, &[2]);
        spec.vswitches[0].vifs[0].policy = policy;
        let refusal = Compiler::new(8, 512, 1).compile(&spec, &[], &ports(2)).unwrap_err();
        let error = VifError::Weight { what, found };
        assert_eq!(refusal, SpecError::Vif { vswitch: "red".into(), number: 2, error });
    }
}
