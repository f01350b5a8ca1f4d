//! The calendar against its twin: random operations, every answer and every refusal equal.
//!
//! `SWITCHYARD_CALENDAR_OPERATIONS` sets the count; without it a fixed-seed 200 000.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

mod twin;

use control_domain::{
    Ask, Burst, Calendar, LeaseId, PortSide, PortTerms, Refusal, Share, Slot, Time,
};
use dataplane_api::Direction;
use std::collections::BTreeMap;
use twin::Twin;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// Mostly within a short calendar, where bookings collide; sometimes at its far end.
    fn time(&mut self) -> Time {
        match self.below(200) {
            0 => Time::MAX.before(self.below(60)),
            1 => Time(self.draw()),
            _ => Time(self.below(300)),
        }
    }

    fn slot(&mut self) -> Slot {
        let start = self.time();
        let end = if self.below(40) == 0 { self.time() } else { start.after(1 + self.below(60)) };
        Slot { start, end }
    }

    fn ask(&mut self) -> Ask {
        let bytes_per_s = match self.below(60) {
            0 => 0,
            1 => self.draw(),
            _ => 60 + self.below(600),
        };
        let burst = match self.below(40) {
            0 => Burst::Exactly(self.draw()),
            1 => Burst::UpTo(self.below(100)),
            2..20 => Burst::Usual,
            20..30 => Burst::UpTo(100 + self.below(900)),
            _ => Burst::Exactly(100 + self.below(600)),
        };
        Ask { side: self.side(), slot: self.slot(), bytes_per_s, burst }
    }

    fn side(&mut self) -> PortSide {
        let (port, direction) = match self.below(64) {
            0 => ("nowhere", Direction::Out),
            1..32 => ("west", Direction::Out),
            32..48 => ("west", Direction::In),
            _ => ("east", Direction::Out),
        };
        PortSide { port: port.into(), direction }
    }

    fn lease(&mut self) -> LeaseId {
        LeaseId(u32::try_from(self.below(48)).unwrap())
    }

    /// η 0.9 of some thousand bytes a second, and a buffer of some thousand bytes; frames of 50.
    fn terms(&mut self) -> PortTerms {
        PortTerms {
            capacity_bytes_per_s: if self.below(8) == 0 { 300 } else { 1000 + self.below(1500) },
            guaranteed_ppm: if self.below(8) == 0 { 333_333 } else { 900_000 },
            buffer_us: 1_000_000 + u32::try_from(self.below(1_000_000)).unwrap(),
            mtu: 8,
            grace_ms: self.below(3) * self.below(10),
            first_refusal_ms: self.below(2) * self.below(60),
            notice_ms: self.below(20),
        }
    }
}

#[test]
fn every_answer_is_the_twins() {
    let operations = std::env::var("SWITCHYARD_CALENDAR_OPERATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200_000_u64);
    let mut random = Random(5);
    let (mut calendar, mut twin) = (Calendar::default(), Twin::default());
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in 0..operations {
        let id = random.lease();
        let (name, found, expected) = match random.below(100) {
            0..45 => {
                let ask = random.ask();
                assert_eq!(calendar.quote(&ask), twin.quote(&ask), "{ask:?}");
                ("admit", calendar.admit(id, &ask).map(drop), twin.admit(id, &ask))
            }
            45..62 => {
                // Mostly a little later than it ends.
                let end = twin.find(id).map_or(Time(0), |booking| booking.slot.end);
                let end =
                    if random.below(8) == 0 { random.time() } else { end.after(random.below(50)) };
                ("renew", calendar.renew(id, end).map(drop), twin.renew(id, end))
            }
            62..67 => ("lapse", calendar.lapse(id).map(drop), twin.lapse(id)),
            67..73 => {
                let at = random.time();
                ("cut", calendar.cut(id, at).map(drop), twin.cut(id, at))
            }
            73..83 => ("remove", calendar.remove(id).map(drop), twin.remove(id)),
            83..91 => {
                let (at, second) = (random.time(), random.lease());
                let found = calendar.split_at(id, at, second);
                ("split_at", found, twin.split_at(id, at, second))
            }
            91..99 => {
                let (rate, second) = (random.below(400), random.lease());
                let found = calendar.split_rate(id, rate, second);
                ("split_rate", found, twin.split_rate(id, rate, second))
            }
            _ => {
                let side = random.side();
                if side.port != "nowhere" {
                    let terms = random.terms();
                    twin.terms.insert(side.clone(), terms);
                    let misfits = calendar.set_terms(&side, terms);
                    assert_eq!(misfits, twin.misfits(&side));
                    *seen.entry("misfits").or_default() += u64::from(!misfits.is_empty());
                    // An operator who ends what he cannot deliver has a calendar that holds.
                    if random.below(2) == 0 {
                        for id in misfits {
                            calendar.remove(id).unwrap();
                            twin.remove(id).unwrap();
                        }
                        assert!(calendar.misfits(&side, terms.limit()).is_empty());
                    }
                }
                ("set_terms", Ok(()), Ok(()))
            }
        };
        assert_eq!(found, expected, "operation {operation}: {name} {id}");
        *seen.entry(outcome(name, &found)).or_default() += 1;
        assert_eq!(calendar.booking(id), twin.find(id));
        if operation % 8 == 0 {
            everywhere(&calendar, &twin, &mut random);
        }
    }
    println!("{operations} operations: {seen:?}");
    let met = [
        "admit",
        "renew",
        "lapse",
        "cut",
        "remove",
        "split_at",
        "split_rate",
        "set_terms",
        "misfits",
        "full, a slot fits",
        "full, nothing fits",
        "no room to renew",
        "unknown side",
        "bad slot",
        "bad rate",
        "bad burst",
        "taken",
        "unknown",
        "not later",
        "bad split",
    ];
    for name in met {
        assert!(seen.contains_key(name), "{name} was never met");
    }
}

fn outcome(name: &'static str, found: &Result<(), Refusal>) -> &'static str {
    match found {
        Ok(()) => name,
        Err(Refusal::Full { .. }) if name == "renew" => "no room to renew",
        Err(Refusal::Full { fits: Some(_), .. }) => "full, a slot fits",
        Err(Refusal::Full { fits: None, .. }) => "full, nothing fits",
        Err(Refusal::UnknownSide(_)) => "unknown side",
        Err(Refusal::BadSlot(_)) => "bad slot",
        Err(Refusal::BadRate(_)) => "bad rate",
        Err(Refusal::BadBurst { .. }) => "bad burst",
        Err(Refusal::Taken(_)) => "taken",
        Err(Refusal::Unknown(_)) => "unknown",
        Err(Refusal::NotLater { .. }) => "not later",
        Err(Refusal::SplitTime { .. } | Refusal::SplitRate { .. }) => "bad split",
        Err(Refusal::TooMany) => "too many",
    }
}

/// All bookings, and what is free over a slot of one side.
fn everywhere(calendar: &Calendar, twin: &Twin, random: &mut Random) {
    let mut bookings: Vec<_> = twin.bookings.iter().map(|(id, booking)| (*id, booking)).collect();
    bookings.sort_by_key(|(id, _)| *id);
    assert!(calendar.bookings().eq(bookings));
    let (side, slot) = (random.side(), random.slot());
    if !twin.terms.contains_key(&side) || slot.start >= slot.end {
        return;
    }
    let least = |of: fn(Share) -> u64| {
        let instants = twin.instants(&side, slot).into_iter();
        instants.map(|at| of(twin.free_at(&side, at))).min().unwrap()
    };
    let free = calendar.free(&side, slot);
    assert_eq!(
        (free.bytes_per_s, free.burst_bytes),
        (least(|share| share.bytes_per_s), least(|share| share.burst_bytes))
    );
    // Neighbours that meet may leave no step: what is free says the same at every instant all the same.
    let steps = calendar.free_steps(&side, slot);
    for at in twin.instants(&side, slot) {
        let step = steps.iter().rfind(|(from, _)| *from <= at).unwrap();
        assert_eq!(step.1, twin.free_at(&side, at), "{at}");
    }
}

#[test]
fn a_calendar_comes_back_from_its_bookings() {
    let mut random = Random(9);
    let mut calendar = Calendar::default();
    for (port, direction) in [("west", Direction::Out), ("east", Direction::Out)] {
        let terms = PortTerms { capacity_bytes_per_s: 9000, ..random.terms() };
        calendar.set_terms(&PortSide { port: port.into(), direction }, terms);
    }
    for id in 0..200 {
        drop(calendar.admit(LeaseId(id), &random.ask()));
    }
    let mut back = Calendar::default();
    for side in calendar.sides() {
        assert!(back.set_terms(side, *calendar.terms(side).unwrap()).is_empty());
    }
    let mut stored: Vec<_> = calendar.bookings().map(|(id, b)| (id, b.clone())).collect();
    assert!(stored.len() > 20);
    // In whatever order they lie in a store.
    stored.reverse();
    for (id, booking) in stored {
        back.restore(id, booking).unwrap();
    }
    assert!(back.bookings().eq(calendar.bookings()));
    for _ in 0..1000 {
        let ask = random.ask();
        assert_eq!(back.quote(&ask), calendar.quote(&ask));
    }
}
