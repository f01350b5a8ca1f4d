use super::*;
use proptest::prelude::*;

/// 10 Gb/s.
const RATE: u64 = 1_250_000_000;
const LONGEST: u32 = 1_542;

/// Xorshift: the same numbers in every run.
pub(super) fn random(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    number: usize,
    lease: usize,
    len: u32,
    vswitch: u16,
    at: Nanos,
    finish: Option<Ticks>,
}

impl Queued for Packet {
    fn wire_len(&self) -> u32 {
        self.len
    }

    fn vswitch(&self) -> u16 {
        self.vswitch
    }
}

fn schedule(frames: usize) -> Schedule<Packet> {
    let room =
        Room { frames, guaranteed_frames: frames / 2, vswitch_frames: u32::MAX, vswitches: 8 };
    let mut schedule = Schedule::new(room);
    let guaranteed = (RATE / 2, RATE / 2);
    schedule.set_capacity(Some(Capacity { rate: RATE, longest: LONGEST, guaranteed }));
    schedule
}

fn packet(lease: usize, len: u32, at: Nanos) -> Packet {
    Packet { number: 0, lease, len, vswitch: (lease % 8) as u16, at, finish: None }
}

fn terms(rate: u64, burst: u64, weight: u64) -> Terms {
    Terms { rate, burst, weight, ceiling: 0, preserve_order: false }
}

/// Takes what leaves until `end`, looking every microsecond.
fn drain(
    schedule: &mut Schedule<Packet>,
    from: Nanos,
    end: Nanos,
    mut each: impl FnMut(Nanos, Class, Packet),
) {
    let mut now = from;
    while now < end {
        schedule.begin(now);
        while let Some((class, packet)) = schedule.pop() {
            each(now, class, packet);
        }
        schedule.end();
        now += 1_000;
    }
}

#[test]
fn a_guarantee_is_kept_by_its_virtual_finish_time_when_all_bursts_come_at_once() {
    const LEASES: usize = 500;
    let mut schedule = schedule(1 << 16);
    let rate = RATE * 9 / 10 / LEASES as u64;
    // Half of them slow with long bursts.
    let terms = terms(rate, 25_000_000 * RATE / 1_000_000_000 / LEASES as u64, 0);
    let mut meters = vec![Meter::new(Some(&terms), 0); LEASES];
    let start = 1_000_000;
    let mut sent = 0;
    for round in 0..60 {
        for (lease, meter) in meters.iter_mut().enumerate() {
            let mut item = packet(lease, if round % 2 == 0 { LONGEST } else { 84 }, start);
            let mut twin = *meter;
            if let Mark::Guaranteed { finish, .. } = twin.mark(ticks(start), item.len.into()) {
                item.finish = Some(finish);
                assert_eq!(schedule.push(start, meter, item), Ok(Class::Guaranteed));
                sent += 1;
            }
        }
    }
    assert!(sent > 10_000, "{sent}");
    let byte = PerByte::at(RATE);
    let slack = byte.times(2 * u64::from(LONGEST)) + (1 << DEADLINE_SLOT_BITS) + ticks(1_000);
    let mut left = 0;
    drain(&mut schedule, start, start + 60_000_000, |now, class, packet| {
        assert_eq!(class, Class::Guaranteed);
        let finish = packet.finish.unwrap();
        assert!(after(ticks(now), finish) <= slack.cast_signed(), "{packet:?} at {now}");
        left += 1;
    });
    assert_eq!(left, sent);
}

#[test]
fn what_a_lease_has_in_profile_leaves_in_the_order_it_came() {
    let mut schedule = schedule(1 << 16);
    let terms = [
        terms(1_000_000, 100_000, 0),
        terms(100_000_000, 2_000_000, 0),
        terms(400_000_000, 9_252, 0),
    ];
    let mut meters = terms.each_ref().map(|terms| Meter::new(Some(terms), 0));
    let mut random = random(3);
    let mut last = [0; 3];
    let (mut now, mut left) = (0, 0);
    for number in 1..200_000 {
        let lease = (random() % 3) as usize;
        let len = 84 + (random() % 1_459) as u32;
        let item = Packet { number, ..packet(lease, len, now) };
        // All three have no weight: what is above a guarantee is free, and nobody's here.
        if matches!(meters[lease].clone().mark(ticks(now), len.into()), Mark::Guaranteed { .. }) {
            assert_eq!(schedule.push(now, &mut meters[lease], item), Ok(Class::Guaranteed));
        }
        if random() % 8 == 0 {
            now += random() % 8_000;
            schedule.begin(now);
            while let Some((_, packet)) = schedule.pop() {
                assert!(packet.number > last[packet.lease], "{packet:?} after {last:?}");
                last[packet.lease] = packet.number;
                left += 1;
            }
            schedule.end();
        }
    }
    assert!(left > 50_000, "{left}");
}

#[test]
fn what_is_left_is_shared_by_weight_and_the_rest_is_free() {
    let mut schedule = schedule(1 << 16);
    let leases = [terms(0, 0, 100_000_000), terms(0, 0, 300_000_000), terms(0, 0, 50_000_000)];
    let mut meters: Vec<Meter> = leases.iter().map(|terms| Meter::new(Some(terms), 0)).collect();
    let mut none = Meter::default();
    let mut bytes = [0_u64; 4];
    let mut now = 1_000_000;
    let end = now + 500_000_000;
    while now < end {
        // The first two offer more than the port; the third a twentieth of it; who has no lease offers the port's rate.
        for (index, meter) in meters.iter_mut().enumerate() {
            let count = if index == 2 { u64::from(now % 20_000 == 0) } else { 1 };
            for _ in 0..count {
                let _full = schedule.push(now, meter, packet(index, 1_250, now));
            }
        }
        let _full = schedule.push(now, &mut none, packet(3, 1_250, now));
        schedule.begin(now);
        while let Some((_, packet)) = schedule.pop() {
            bytes[packet.lease] += u64::from(packet.len);
        }
        schedule.end();
        now += 1_000;
    }
    let all: u64 = bytes.iter().sum();
    assert!(all >= RATE / 2 * 999 / 1_000, "{all} of {}", RATE / 2);
    // What found the ring empty at the start.
    assert!(bytes[3] <= 25_000, "{bytes:?}");
    assert_eq!(bytes[2] / 1_250, 25_000);
    let ratio = bytes[1] as f64 / bytes[0] as f64;
    assert!((ratio - 3.0).abs() < 0.06, "{bytes:?}");
}

#[test]
fn what_a_worker_had_of_an_idle_port_is_not_held_against_it() {
    // Two workers with a lease each, of the same weight.
    let mut workers: Vec<_> = sync::port_share::shares(2)
        .into_iter()
        .map(|share| {
            let mut schedule = schedule(1 << 14);
            schedule.set_share(Some(Box::new(share)));
            (schedule, Meter::new(Some(&terms(0, 0, 1_000_000)), 0), 0_u64)
        })
        .collect();
    let competes_from = 2_000_000_000;
    for now in (0..competes_from + 1_000_000_000).step_by(4_000) {
        for (lease, (schedule, meter, sent)) in workers.iter_mut().enumerate() {
            // First one of them alone, with a hundred times its weight, then both with more than the port has.
            let count =
                if now < competes_from { u32::from(lease == 0 && now % 12_000 == 0) } else { 4 };
            for _ in 0..count {
                let _full = schedule.push(now, meter, packet(lease, 1_250, now));
            }
            schedule.begin(now);
            while let Some((_, packet)) = schedule.pop() {
                *sent += u64::from(packet.len) * u64::from(now >= competes_from);
            }
            schedule.end();
        }
    }
    let [a, b] = [workers[0].2, workers[1].2];
    assert!(a + b > RATE * 99 / 100, "{a} and {b}");
    assert!(a.abs_diff(b) < RATE / 50, "{a} and {b}");
}

#[test]
fn free_is_all_there_is_without_a_capacity() {
    let room = Room { frames: 100, guaranteed_frames: 0, vswitch_frames: 40, vswitches: 8 };
    let mut schedule = Schedule::new(room);
    let mut meter = Meter::new(Some(&terms(1_000_000, 3_000, 1_000_000)), 0);
    assert_eq!(schedule.push(0, &mut meter, packet(0, 100, 0)), Ok(Class::Free));
    for _ in 1..40 {
        assert_eq!(schedule.push_free(packet(0, 100, 0)), Ok(()));
    }
    let full = schedule.push_free(packet(0, 100, 0));
    assert!(matches!(full, Err((DropReason::QueueShare, _))), "{full:?}");
    assert_eq!(schedule.push_free(packet(1, 100, 0)), Ok(()));
    schedule.begin(0);
    assert_eq!(std::iter::from_fn(|| schedule.pop()).count(), 41);
    assert!(schedule.is_empty());
}

#[test]
fn order_is_kept_where_it_is_asked_for() {
    for preserve_order in [true, false] {
        let mut schedule = schedule(1 << 10);
        let terms = Terms { preserve_order, ..terms(100_000_000, 4_000, 100_000_000) };
        let mut meter = Meter::new(Some(&terms), 0);
        let mut pushed = 0;
        let mut classes = Vec::new();
        // A burst above the guarantee, and then what is in profile again.
        for now in [0, 0, 0, 0, 0, 0, 40_000] {
            let item = Packet { number: pushed, ..packet(0, 1_500, now) };
            classes.push(schedule.push(now, &mut meter, item).unwrap());
            pushed += 1;
        }
        assert_eq!(classes[2], Class::Priority);
        let mut order = Vec::new();
        drain(&mut schedule, 40_000, 10_000_000, |_, _, packet| order.push(packet.number));
        let sorted = order.is_sorted();
        assert_eq!((sorted, order.len()), (preserve_order, pushed), "{order:?} {classes:?}");
    }
}

proptest! {
    #[test]
    fn every_packet_leaves_once_or_was_refused(
        steps in prop::collection::vec((0_usize..6, 84_u32..1_542, 0_u64..4_000), 1..600),
    ) {
        let mut schedule = schedule(128);
        let leases = [
            Some(terms(50_000_000, 9_252, 0)),
            Some(terms(200_000_000, 9_252, 200_000_000)),
            Some(terms(0, 0, 10_000)),
            Some(terms(1_000, 3_084, 1_000)),
            None,
            None,
        ];
        let mut meters: Vec<Meter> =
            leases.iter().map(|terms| Meter::new(terms.as_ref(), ticks(5))).collect();
        let (mut now, mut waiting) = (5, std::collections::BTreeSet::new());
        for (number, (lease, len, pause)) in steps.into_iter().enumerate() {
            let item = Packet { number, ..packet(lease, len, now) };
            match schedule.push(now, &mut meters[lease], item) {
                Ok(_) => prop_assert!(waiting.insert(number)),
                Err((_, refused)) => prop_assert_eq!(refused.number, number),
            }
            if pause < 1_000 {
                now += pause;
                schedule.begin(now);
                while let Some((_, packet)) = schedule.pop() {
                    prop_assert!(waiting.remove(&packet.number));
                }
                schedule.end();
            }
            prop_assert_eq!(schedule.len(), waiting.len());
        }
        while let Some((_, packet)) = schedule.pop_any() {
            prop_assert!(waiting.remove(&packet.number));
        }
        prop_assert!(waiting.is_empty() && schedule.is_empty());
        prop_assert_eq!(schedule.bytes(), [0; 3]);
    }
}
