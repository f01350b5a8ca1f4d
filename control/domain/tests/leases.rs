//! The life of leases: each step in its order, and random lives that do not depend on how often somebody looks.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

use control_domain::leases::{Binding, Change, LeaseError, Paid};
use control_domain::{
    Ask, Booking, Burst, Lease, LeaseId, Leases, PortSide, PortTerms, Refusal, Slot, State, Time,
};
use dataplane_api::{Direction, TenantId};
use ledger::{Amount, UnitId};
use std::collections::BTreeSet;

const RED: TenantId = TenantId(1);
const BLUE: TenantId = TenantId(2);

fn side() -> PortSide {
    PortSide { port: "west".into(), direction: Direction::Out }
}

/// 900 bytes a second for sale, 10 ms of grace, 40 ms of first refusal that lapse 5 ms before the end.
fn leases() -> Leases {
    let mut leases = Leases::default();
    let usual = PortTerms::usual(1000, 8);
    let terms = PortTerms {
        buffer_us: 2_000_000,
        grace_ms: 10,
        first_refusal_ms: 40,
        notice_ms: 5,
        ..usual
    };
    leases.set_terms(&side(), terms);
    leases
}

fn ask(start: u64, end: u64, bytes_per_s: u64) -> Ask {
    let slot = Slot { start: Time(start), end: Time(end) };
    Ask { side: side(), slot, bytes_per_s, burst: Burst::Usual }
}

fn vifs() -> Binding {
    Binding { vswitch: "red".into(), vifs: BTreeSet::from([2, 3]), ..Binding::default() }
}

fn what(leases: &mut Leases, now: u64) -> Vec<(u64, u32, &'static str)> {
    let name = |what| match what {
        Change::Began => "began",
        Change::Lapsed => "lapsed",
        Change::Grace => "grace",
        Change::Ended(_) => "ended",
    };
    let happened = leases.advance(Time(now)).into_iter();
    happened.map(|happened| (happened.at.0, happened.lease.0, name(happened.what))).collect()
}

#[test]
fn a_lease_lives_from_offer_to_end() {
    let (mut leases, id) = (leases(), LeaseId(7));
    leases.offer(Time(0), id, &ask(100, 200, 900), Time(50)).unwrap();
    leases.sell(Time(10), id, RED).unwrap();
    leases.hand_over(Time(20), id, BLUE).unwrap();
    leases.bind(Time(30), id, vifs()).unwrap();
    let lease = Lease { state: State::Bound, owner: Some(BLUE), binding: Some(vifs()), paid: None };
    assert_eq!(leases.lease(id).unwrap().0, &lease);
    assert_eq!(what(&mut leases, 99), []);
    assert_eq!(leases.next_due(), Some(Time(100)));
    assert_eq!(what(&mut leases, 194), [(100, 7, "began")]);
    // The room after the end is promised to the holder until 195, and only the grace after that.
    let next = ask(210, 230, 900);
    assert!(matches!(leases.calendar().quote(&next), Err(Refusal::Full { free: 0, .. })));
    assert_eq!(what(&mut leases, 195), [(195, 7, "lapsed")]);
    assert!(leases.calendar().quote(&next).is_ok());
    assert!(leases.calendar().quote(&ask(209, 230, 900)).is_err());
    assert_eq!(what(&mut leases, 1000), [(200, 7, "grace"), (210, 7, "ended")]);
    assert_eq!(leases.lease(id), Err(LeaseError::NoLease(id)));
    assert_eq!((leases.next_due(), leases.calendar().bookings().count()), (None, 0));
}

#[test]
fn a_renewal_leaves_no_gap_and_comes_before_newcomers() {
    let (mut leases, id) = (leases(), LeaseId(7));
    leases.offer(Time(0), id, &ask(100, 200, 900), Time(50)).unwrap();
    leases.sell(Time(0), id, RED).unwrap();
    leases.bind(Time(0), id, vifs()).unwrap();
    // Held: the grace to 210, and the first refusal to 240. A newcomer behind that bounds the renewal.
    let full = leases.offer(Time(0), LeaseId(8), &ask(239, 300, 64), Time(50)).unwrap_err();
    assert!(matches!(full, LeaseError::Refused(Refusal::Full { at: Time(239), .. })), "{full}");
    leases.offer(Time(0), LeaseId(8), &ask(240, 300, 64), Time(50)).unwrap();
    leases.sell(Time(0), LeaseId(8), BLUE).unwrap();
    let Err(LeaseError::Refused(Refusal::Full { at, asked, free, fits, .. })) =
        leases.renew(Time(150), id, Time(260))
    else {
        panic!("the room is gone");
    };
    let most = Slot { start: Time(200), end: Time(230) };
    assert_eq!((at, asked, free, fits), (Time(240), 900, 836, Some(most)));
    leases.renew(Time(150), id, Time(230)).unwrap();
    assert_eq!(what(&mut leases, 229), [(100, 7, "began")]);
    // In its grace it is still there to renew, but there is no room.
    assert_eq!(what(&mut leases, 239), [(230, 7, "grace")]);
    assert!(leases.renew(Time(239), id, Time(231)).is_err());
    assert_eq!(what(&mut leases, 240), [(240, 7, "ended")]);
    assert!(matches!(leases.renew(Time(240), id, Time(300)), Err(LeaseError::NoLease(_))));
}

#[test]
fn a_late_renewal_takes_up_the_lease_again() {
    let (mut leases, id) = (leases(), LeaseId(7));
    leases.offer(Time(0), id, &ask(100, 200, 900), Time(50)).unwrap();
    leases.sell(Time(0), id, RED).unwrap();
    leases.bind(Time(120), id, vifs()).unwrap();
    assert_eq!(leases.lease(id).unwrap().0.state, State::Active);
    what(&mut leases, 205);
    assert_eq!(leases.lease(id).unwrap().0.state, State::Grace);
    leases.renew(Time(205), id, Time(300)).unwrap();
    assert_eq!(leases.lease(id).unwrap().0.state, State::Active);
    assert_eq!(what(&mut leases, 310), [(295, 7, "lapsed"), (300, 7, "grace"), (310, 7, "ended")]);
}

#[test]
fn what_nobody_buys_or_uses_gives_its_room_back() {
    let mut leases = leases();
    leases.offer(Time(0), LeaseId(1), &ask(100, 200, 450), Time(50)).unwrap();
    leases.offer(Time(0), LeaseId(2), &ask(100, 200, 450), Time(50)).unwrap();
    leases.sell(Time(49), LeaseId(2), RED).unwrap();
    let late = leases.sell(Time(50), LeaseId(1), RED).unwrap_err();
    assert!(matches!(late, LeaseError::State { state: State::Offered { .. }, .. }), "{late}");
    assert_eq!(what(&mut leases, 50), [(50, 1, "ended")]);
    assert_eq!(what(&mut leases, 200), [(195, 2, "lapsed"), (200, 2, "ended")]);
    let late = leases.offer(Time(200), LeaseId(3), &ask(100, 200, 64), Time(300));
    assert!(matches!(late, Err(LeaseError::Past { .. })));
}

#[test]
fn what_is_bound_is_neither_split_nor_handed_over() {
    let (mut leases, id) = (leases(), LeaseId(1));
    leases.offer(Time(0), id, &ask(100, 200, 800), Time(50)).unwrap();
    assert!(matches!(leases.hand_over(Time(0), id, RED), Err(LeaseError::State { .. })));
    leases.sell(Time(0), id, RED).unwrap();
    leases.split_at(Time(0), id, Time(150), LeaseId(2)).unwrap();
    leases.split_rate(Time(0), LeaseId(2), 300, LeaseId(3)).unwrap();
    let shares: Vec<_> = leases
        .iter()
        .map(|(id, _, b)| (id.0, b.slot.start.0, b.slot.end.0, b.share.bytes_per_s))
        .collect();
    assert_eq!(shares, [(1, 100, 150, 800), (2, 150, 200, 500), (3, 150, 200, 300)]);
    assert!(matches!(
        leases.bind(Time(0), id, Binding { vifs: BTreeSet::new(), ..vifs() }),
        Err(LeaseError::NoVif(_))
    ));
    leases.bind(Time(0), id, vifs()).unwrap();
    for refused in [
        leases.hand_over(Time(0), id, BLUE),
        leases.split_at(Time(0), id, Time(120), LeaseId(4)),
        leases.bind(Time(0), id, vifs()),
    ] {
        assert!(matches!(refused, Err(LeaseError::State { state: State::Bound, .. })));
    }
    // The first part has no grace: the second stands there.
    let happened = what(&mut leases, 1000);
    let expected = [
        (100, 1, "began"),
        (150, 1, "ended"),
        (195, 2, "lapsed"),
        (195, 3, "lapsed"),
        (200, 2, "ended"),
        (200, 3, "ended"),
    ];
    assert_eq!(happened, expected);
}

#[test]
fn an_early_end_frees_the_room_from_then_on() {
    let (mut leases, id) = (leases(), LeaseId(1));
    leases.offer(Time(0), id, &ask(100, 200, 900), Time(50)).unwrap();
    leases.sell(Time(0), id, RED).unwrap();
    leases.bind(Time(0), id, vifs()).unwrap();
    assert_eq!(leases.end(Time(110), id, Time(150)), Ok(None));
    assert!(leases.calendar().quote(&ask(150, 160, 900)).is_ok());
    assert_eq!(what(&mut leases, 1000), [(100, 1, "began"), (150, 1, "ended")]);
    leases.offer(Time(0), id, &ask(100, 200, 900), Time(50)).unwrap();
    assert!(leases.end(Time(10), id, Time(10)).unwrap().is_some());
    assert_eq!((leases.iter().count(), leases.next_due()), (0, None));
}

#[test]
fn a_vif_has_one_lease_of_a_direction_at_a_time() {
    let mut leases = leases();
    for (id, start) in [(1, 100), (2, 200), (3, 150)] {
        leases.offer(Time(0), LeaseId(id), &ask(start, start + 100, 200), Time(50)).unwrap();
        leases.sell(Time(0), LeaseId(id), RED).unwrap();
    }
    leases.bind(Time(0), LeaseId(1), vifs()).unwrap();
    let one = |vif| Binding { vifs: BTreeSet::from([vif]), ..vifs() };
    leases.bind(Time(0), LeaseId(2), one(3)).unwrap();
    let overlap =
        |lease, other| Err(LeaseError::Overlap { lease: LeaseId(lease), other: LeaseId(other) });
    assert_eq!(leases.bind(Time(0), LeaseId(3), one(2)), overlap(3, 1));
    assert_eq!(leases.renew(Time(0), LeaseId(1), Time(201)), overlap(1, 2));
    let much = Binding { ceiling: Some(1001), ..one(4) };
    let rate = LeaseError::Rate { found: 1001, most: 1000 };
    assert_eq!(leases.bind(Time(0), LeaseId(3), much), Err(rate));
    leases.bind(Time(0), LeaseId(3), one(4)).unwrap();
    // What has ended is in nobody's way.
    leases.end(Time(10), LeaseId(2), Time(10)).unwrap();
    leases.renew(Time(10), LeaseId(1), Time(201)).unwrap();
}

/// Random lives, looked at every millisecond by one and seldom by another: what happened is the same.
#[test]
fn it_does_not_matter_how_often_somebody_looks() {
    let mut seed = 3_u64;
    let mut below = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    let (mut often, mut seldom) = (leases(), leases());
    let (mut happened_often, mut happened_seldom) = (Vec::new(), Vec::new());
    let (mut now, mut done) = (0, 0);
    for round in 0..60_000_u64 {
        let id = LeaseId(u32::try_from(below(8)).unwrap());
        let (choice, far, rate) = (below(9), below(120), 64 + below(500));
        // Both look before anything is done: a renewal that comes too late is too late for both.
        happened_seldom.extend(seldom.advance(Time(now)));
        let act = |leases: &mut Leases| -> Result<(), LeaseError> {
            let (now, later) = (Time(now), Time(now + far));
            match choice {
                0 | 1 => {
                    let start = now.0 + far;
                    leases.offer(now, id, &ask(start, start + 1 + far, rate), later).map(drop)
                }
                2 => leases.sell(now, id, RED),
                3 => {
                    let vifs = BTreeSet::from([u16::try_from(id.0 % 5).unwrap()]);
                    leases.bind(now, id, Binding { vifs, ..Binding::default() })
                }
                4 => leases.renew(now, id, later),
                5 => leases.split_at(now, id, later, LeaseId(id.0 + 8)),
                6 => leases.split_rate(now, id, rate, LeaseId(id.0 + 8)),
                7 if far < 10 => leases.end(now, id, later).map(drop),
                _ => leases.hand_over(now, id, BLUE),
            }
        };
        let outcome = act(&mut often);
        assert_eq!(outcome, act(&mut seldom), "round {round}");
        done += u32::from(outcome.is_ok());
        let next = now + below(5);
        while now < next {
            now += 1;
            let due = often.next_due();
            let happened = often.advance(Time(now));
            assert_eq!(happened.first().map(|h| h.at), due.filter(|due| due.0 <= now));
            assert!(happened.windows(2).all(|pair| pair[0].at <= pair[1].at));
            happened_often.extend(happened);
        }
        assert!(often.iter().count() == often.calendar().bookings().count());
        for (id, lease, booking) in often.iter() {
            let same = |(other, there, _): &(LeaseId, &Lease, &Booking)| {
                let vifs = |lease: &Lease| lease.binding.clone().map(|binding| binding.vifs);
                *other != id && vifs(lease).is_some() && vifs(there) == vifs(lease)
            };
            for (_, _, there) in often.iter().filter(same) {
                let slot = booking.slot;
                assert!(slot.end <= there.slot.start || there.slot.end <= slot.start);
            }
        }
        // Nothing of a lease is left behind: what is due is due for a lease that is there.
        assert_eq!(often.next_due().is_some(), often.iter().next().is_some());
    }
    happened_seldom.extend(seldom.advance(Time(now)));
    assert_eq!(happened_often, happened_seldom);
    assert!(done > 5_000 && happened_often.len() > 5_000, "{done}, {}", happened_often.len());
    for name in [Change::Began, Change::Lapsed, Change::Grace] {
        assert!(happened_often.iter().filter(|h| h.what == name).count() > 100, "{name:?}");
    }
}

#[test]
fn what_was_paid_goes_with_the_parts_and_comes_back_in_part() {
    let (mut leases, id) = (leases(), LeaseId(1));
    let paid = |amount| Paid { unit: UnitId(3), amount: Amount(amount) };
    let of = |leases: &Leases, id| leases.lease(LeaseId(id)).unwrap().0.paid.unwrap().amount.0;
    leases.offer(Time(0), id, &ask(100, 200, 600), Time(50)).unwrap();
    leases.sell(Time(0), id, RED).unwrap();
    leases.pay(id, paid(1000)).unwrap();
    leases.pay(id, paid(1)).unwrap();
    let other = Paid { unit: UnitId(4), amount: Amount(1) };
    assert!(matches!(leases.pay(id, other), Err(LeaseError::Paid { .. })));
    assert!(matches!(leases.pay(id, paid(u128::MAX)), Err(LeaseError::Paid { .. })));
    leases.split_at(Time(0), id, Time(130), LeaseId(2)).unwrap();
    assert_eq!((of(&leases, 1), of(&leases, 2)), (301, 700));
    leases.split_rate(Time(0), LeaseId(2), 200, LeaseId(3)).unwrap();
    assert_eq!((of(&leases, 2), of(&leases, 3)), (467, 233));
    let slot = ask(100, 200, 1).slot;
    assert_eq!(paid(1001).refund(slot, Time(150), 500_000), Amount(250));
    assert_eq!(paid(1001).refund(slot, Time(0), 1_000_000), Amount(1001));
    assert_eq!(paid(1001).refund(slot, Time(200), 1_000_000), Amount(0));
    assert_eq!(paid(u128::MAX).refund(slot, Time(100), 1_000_000), Amount(u128::MAX));
}

#[test]
fn an_offer_waits_for_its_payment() {
    let (mut leases, id) = (leases(), LeaseId(1));
    leases.offer(Time(0), id, &ask(100, 200, 600), Time(50)).unwrap();
    leases.extend_offer(Time(49), id, Time(80)).unwrap();
    leases.extend_offer(Time(49), id, Time(20)).unwrap();
    assert!(leases.advance(Time(79)).is_empty());
    assert!(matches!(leases.extend_offer(Time(80), id, Time(90)), Err(LeaseError::State { .. })));
    assert_eq!(what(&mut leases, 80), [(80, 1, "ended")]);
    assert!(matches!(leases.extend_offer(Time(80), id, Time(90)), Err(LeaseError::NoLease(_))));
}
