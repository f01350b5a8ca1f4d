//! Leases: what is refused, when they hold, and what they do to packets on their way through the engine.
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
use dataplane_api::{CapacitySpec, LeaseSpec, PortId, Spec, VifName, WorkerId};
use dataplane_engine::{
    Burst, CapacityError, Compiler, LeaseError, Leases, NoTap, Outcome, PortFacts, SpecError,
};
use rig::{Rig, plain_spec, ports};
use wire::buf::{HeapPacket, Packet};

/// 80 Mb/s: ten bytes a microsecond.
const RATE: u64 = 10_000_000;

fn lease(id: u32, vif: u16, rate: u64) -> LeaseSpec {
    LeaseSpec {
        id,
        vifs: vec![VifName { vswitch: "red".into(), vif }],
        direction: dataplane_api::Direction::Out,
        rate,
        burst: Some(10_000),
        weight: Some(0),
        ceiling: None,
        preserve_order: false,
        start: None,
        end: None,
    }
}

/// Port p0 with vifs 2 to 5, sold, and leases.
fn spec(leases: Vec<LeaseSpec>) -> Spec {
    let capacities = vec![CapacitySpec { port: "p0".into(), rate: RATE }];
    Spec { capacities, leases, ..plain_spec(SchemeSpec::F4, &[2, 3, 4, 5]) }
}

fn refusal(spec: &Spec, ports: &[PortFacts]) -> SpecError {
    Compiler::new(8, 512, 1).compile(spec, &[], ports).unwrap_err()
}

#[test]
fn a_wrong_lease_is_refused_by_what_is_wrong_with_it() {
    let error = |leases: Vec<LeaseSpec>| match refusal(&spec(leases), &ports(2)) {
        SpecError::Lease { error, .. } => error,
        other => panic!("{other}"),
    };
    let one = || lease(1, 2, 1_000_000);
    assert_eq!(error(vec![one(), lease(1, 3, 1_000_000)]), LeaseError::Twice);
    assert_eq!(error(vec![LeaseSpec { vifs: Vec::new(), ..one() }]), LeaseError::NoVif);
    let absent = LeaseError::Vif { vswitch: "red".into(), vif: 9 };
    assert_eq!(error(vec![lease(1, 9, 1_000_000)]), absent);
    let rate = LeaseError::Rate { found: RATE + 1, most: RATE };
    assert_eq!(error(vec![lease(1, 2, RATE + 1)]), rate);
    let burst = LeaseSpec { burst: Some(3_083), ..one() };
    assert_eq!(error(vec![burst]), LeaseError::Burst { found: 3_083, least: 3_084 });
    let never = LeaseSpec { start: Some(5), end: Some(5), ..one() };
    assert_eq!(error(vec![never]), LeaseError::Times { start: 5, end: 5 });
    assert_eq!(error(vec![one(), lease(2, 2, 1_000_000)]), LeaseError::Overlap { other: 1 });

    let unsold = Spec { capacities: Vec::new(), ..spec(vec![one()]) };
    let no_capacity = SpecError::Lease { id: 1, error: LeaseError::NoCapacity("p0".into()) };
    assert_eq!(refusal(&unsold, &ports(2)), no_capacity);

    // Two workers on the port: the vifs of one lease have one meter.
    let mut two = ports(2);
    two[0].workers.push(WorkerId(1));
    let mut both = one();
    both.vifs.push(VifName { vswitch: "red".into(), vif: 3 });
    let owners = SpecError::Lease { id: 1, error: LeaseError::Owners };
    assert_eq!(refusal(&spec(vec![both]), &two), owners);
}

#[test]
fn a_port_is_never_oversold_at_any_moment() {
    let day = |id: u32, vif: u16, day: u64| LeaseSpec {
        start: Some(day),
        end: Some(day + 1),
        ..lease(id, vif, RATE / 2)
    };
    let compile = |leases| Compiler::new(8, 512, 1).compile(&spec(leases), &[], &ports(2));
    assert!(compile(vec![day(1, 2, 1), day(2, 3, 2), day(3, 2, 2 + 1)]).is_ok());
    let oversold = compile(vec![day(1, 2, 1), day(2, 3, 2), day(3, 4, 2)]).unwrap_err();
    let error = CapacityError::Rates { at: 2, sum: RATE, most: RATE / 10 * 9 };
    assert_eq!(oversold, SpecError::Capacity { port: "p0".into(), error });
    let wide = |id, vif| LeaseSpec { burst: Some(130_000), ..lease(id, vif, 1_000) };
    let bursts = compile(vec![wide(1, 2), wide(2, 3)]).unwrap_err();
    let error = CapacityError::Bursts { at: 0, sum: 260_000, most: 250_000 };
    assert_eq!(bursts, SpecError::Capacity { port: "p0".into(), error });
}

#[test]
fn the_largest_bursts_that_meet_are_summed_by_worker() {
    let at = |id, vif, start, end, burst| LeaseSpec {
        start: Some(start),
        end: Some(end),
        burst: Some(burst),
        ..lease(id, vif, 1_000)
    };
    let leases = vec![at(1, 2, 0, 10, 5_000), at(2, 3, 5, 15, 7_000), at(3, 4, 10, 20, 6_000)];
    let rules = |workers: u8| {
        let mut ports = ports(2);
        ports[0].workers = (0..workers).map(WorkerId).collect();
        Compiler::new(8, 512, 1).compile(&spec(leases.clone()), &[], &ports).unwrap()
    };
    assert_eq!(rules(1).bursts(PortId(0)), Some((13_000, 1_542)));
    // Vifs 2 and 4 are one worker's, and their leases do not meet.
    assert_eq!(rules(2).bursts(PortId(0)), Some((7_000, 1_542)));
    assert_eq!(rules(1).bursts(PortId(1)), None);
}

#[test]
fn a_lease_holds_from_its_start_to_its_end() {
    let timed = LeaseSpec { start: Some(100), end: Some(200), ..lease(7, 2, RATE / 2) };
    let rules = Compiler::new(8, 512, 1).compile(&spec(vec![timed]), &[], &ports(2)).unwrap();
    let due: Vec<_> = [0, 99, 100, 199, 200].map(|at| rules.leases_change_after(at)).into();
    assert_eq!(due, [Some(100), Some(100), Some(200), Some(200), None]);
    let info = rules.leases().next().unwrap();
    let holds: Vec<_> = [99, 100, 199, 200].map(|at| info.holds(at)).into();
    assert_eq!(holds, [false, true, true, false]);
}

/// Vif 3 is leased at half of the port and sends that; 4 floods. All of it leaves by vif 2 and 5.
struct Flooded {
    rig: Rig,
    now: u64,
    sent: [u64; 2],
}

impl Flooded {
    fn new(leases: Vec<LeaseSpec>) -> Self {
        Self { rig: Rig::new(spec(leases)), now: 1_000_000, sent: [0; 2] }
    }

    fn hold(&mut self, at: u64, edition: u64) {
        let leases = Leases::at(&self.rig.rules, at, edition);
        while {
            self.rig.engine.adopt(&leases, self.now);
            self.rig.engine.older() > 0
        } {}
    }

    /// So many milliseconds: each one 40 frames of 1 000 bytes of wire for the flooded vif, and then 5 for the leased one.
    fn run(&mut self, ms: u64) {
        let labels = [2, 5].map(|number| {
            let vif = self.rig.vif(0, number);
            self.rig.rules.vif(vif).unwrap().label
        });
        for _ in 0..ms * 5 {
            let mut burst = Burst::new();
            for (label, count) in labels.iter().zip([1, 8]).rev() {
                for _ in 0..count {
                    let mut packet = vec![0; 956];
                    packet[..8].copy_from_slice(&label.to_be_bytes());
                    let (_, frame) = self.rig.frame(self.rig.vif(0, 3), &packet);
                    burst.push(HeapPacket::new(&frame, 128, 64));
                }
            }
            let mut out = Outcome::new();
            let Rig { engine, rules, next_hops, .. } = &mut self.rig;
            engine.receive(rules, self.now, PortId(0), &mut burst, &mut out, &mut NoTap);
            for _ in 0..10 {
                self.now += 20_000;
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
                    // Peer addresses end in the vif's number.
                    self.sent[usize::from(frame.bytes()[5] != 2)] += 1;
                }
            }
        }
    }
}

#[test]
fn a_leased_packet_leaves_whatever_floods_the_port() {
    for (leases, least) in [(vec![lease(1, 2, RATE * 3 / 5)], 2_500), (Vec::new(), 0)] {
        let is_leased = !leases.is_empty();
        let mut flooded = Flooded::new(leases);
        flooded.hold(0, 1);
        flooded.run(500);
        let [ours, others] = flooded.sent;
        // The port sends what it is sold as: 10 frames a millisecond, and what its ring takes at the start.
        assert!((4_990..=5_010).contains(&(ours + others)), "{ours} + {others}");
        assert_eq!(ours >= least && ours >= 2_490, is_leased, "{ours} + {others}");
        // Nobody may sleep while the port has more to send, and anybody if it does not take it.
        let waits =
            [0, 1_000_000].map(|later| flooded.rig.engine.waits_for_clock(flooded.now + later));
        assert_eq!(waits, [true, false]);
    }
}

#[test]
fn a_lease_that_ends_gives_its_part_back() {
    let mut flooded = Flooded::new(vec![LeaseSpec { end: Some(100), ..lease(1, 2, RATE * 3 / 5) }]);
    flooded.hold(0, 1);
    flooded.run(200);
    let [ours, _] = std::mem::take(&mut flooded.sent);
    assert!((999..=1_001).contains(&ours), "{ours}");
    flooded.hold(100, 2);
    flooded.run(200);
    assert!(flooded.sent[0] < 700, "{:?}", flooded.sent);
}

#[test]
fn a_ceiling_is_not_passed_however_idle_the_port_is() {
    let capped = LeaseSpec { ceiling: Some(RATE / 10), ..lease(1, 5, RATE / 10) };
    let mut flooded = Flooded::new(vec![capped]);
    flooded.hold(0, 1);
    flooded.run(500);
    // A tenth of the port is a frame a millisecond; 5 ms of it, or one long frame, at the start.
    assert!((500..=506).contains(&flooded.sent[1]), "{:?}", flooded.sent);
}
