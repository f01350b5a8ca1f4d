//! A cell in virtual time: sources, workers that poll, the port's rings and its wire, and what is written down of it.

use super::cell::{Cell, Lease};
use super::exact::Exact;
use super::fluid::Fluid;
use super::ideal;
use super::method::{Method, POLL, Packet, frame};
use super::sources::{Arrival, STEP, Sources};
use crate::rounds::Random;
use dataplane_api::Nanos;
use dataplane_api::limits::BURST_MAX;
use engine::schedule::Class;
use hdrhistogram::Histogram;

/// What is handed to the NIC ahead of the wire, ns.
const RING: Nanos = 20_000;
/// After the window, for what is still under way.
const TAIL: Nanos = 300_000_000;
/// What an ideal share must be for its error to be told, frames.
const SHARE_MIN: f64 = 100.0;
const FRAME: f64 = super::cell::LONGEST as f64;

/// What is written down of one source. Bytes of wire, within the window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// All that arrived.
    pub(super) offered: u64,
    /// What exact arithmetic has in profile of it.
    pub(super) in_profile: u64,
    /// What the method said was.
    pub(super) marked: u64,
    /// What it has sent of that, however late.
    pub(super) kept: u64,
    /// Handed over within the window as guaranteed.
    pub(super) guaranteed: u64,
    /// And as anything else.
    pub(super) rest: u64,
    /// Wanted above the guarantee.
    pub(super) wanted: u64,
    /// Above it and waiting: now, when the window began, and when it ended.
    waits: i64,
    waited: (i64, i64),
}

/// What came of a cell.
#[derive(Debug)]
pub(super) struct Outcome {
    /// By source.
    pub(super) rows: Vec<Row>,
    /// From arrival to hand-over of what is in profile, ns.
    pub(super) delay: Histogram<u64>,
    /// Packets in profile that were dropped.
    pub(super) drops: u64,
    /// Packets in profile that were handed over too late.
    pub(super) late: u64,
    /// And that were on the wire too late.
    pub(super) late_on_wire: u64,
    /// How late at worst (or early, if negative), ns.
    pub(super) worst: i64,
    /// While anything waited, the wire was busy.
    pub(super) busy: f64,
    /// Priority bytes that the fluid twin has sent, by lease.
    pub(super) fluid: Vec<f64>,
    /// Free bytes that it has sent.
    pub(super) fluid_free: f64,
    /// Packets that arrived.
    pub(super) packets: u64,
}

struct Tally<'a> {
    cell: &'a Cell,
    out: Outcome,
    /// When the wire will have sent all it was given.
    wire: f64,
    byte: f64,
    /// From the time to hand over to the time on the wire.
    wire_grace: f64,
    /// In profile, of the window, and not handed over yet.
    under_way: u64,
    waiting: (f64, f64),
    looked: f64,
    waited: bool,
}

/// Drives a cell to its end.
pub(super) fn drive(cell: &Cell, plan: &[Lease], method: &mut impl Method, seed: u64) -> Outcome {
    let mut sources = Sources::new(cell, plan, seed);
    let mut random = Random::new(!seed);
    let mut exact: Vec<Exact> = plan.iter().map(Exact::new).collect();
    let mut fluid = Fluid::new(cell, plan);
    let mut tally = Tally::new(cell, plan.len());
    let mut arrived: Vec<Vec<Packet>> = vec![Vec::new(); cell.workers];
    let mut polls: Vec<Nanos> =
        (0..cell.workers).map(|_| STEP * u64::from(random.below(POLL.1))).collect();
    let (begin, end) = (cell.warm_up, cell.warm_up + cell.window);
    let mut fluid_begin = None;
    let mut fluid_end = None;
    loop {
        let now = sources.step(|Arrival { source, len, at }| {
            fluid.advance(at);
            let in_profile = exact.get_mut(source as usize).map(|exact| exact.takes(at, len));
            match in_profile {
                None => fluid.free(len),
                Some(true) => fluid.guaranteed(len),
                Some(false) => fluid.priority(source, len),
            }
            let in_profile = in_profile == Some(true);
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            let packet = Packet { source, len, at, due: u32::MAX, in_profile };
            tally.arrives(&packet);
            arrived[source as usize % cell.workers].push(packet);
        });
        for worker in 0..cell.workers {
            if now < polls[worker] {
                continue;
            }
            let (from, to) = POLL;
            polls[worker] = now + STEP * u64::from(from + random.below(to - from + 1));
            tally.looks(now);
            let mut bursts = arrived[worker].chunks(BURST_MAX);
            loop {
                let burst = bursts.next();
                for &packet in burst.unwrap_or_default() {
                    let result = method.push(worker, now, packet);
                    if result.is_err() {
                        sources.lost(packet.source);
                    }
                    tally.pushed(&packet, result);
                }
                method.take(worker, now, |class, packet| tally.taken(now, class, &packet));
                if burst.is_none_or(|burst| burst.len() < BURST_MAX) {
                    break;
                }
            }
            arrived[worker].clear();
            tally.waited = method.waits();
        }
        if now >= begin && fluid_begin.is_none() {
            fluid.advance(now);
            fluid_begin = Some((fluid.sent(), fluid.free_sent()));
            tally.out.rows.iter_mut().for_each(|row| row.waited.0 = row.waits);
        }
        if now >= end && fluid_end.is_none() {
            fluid.advance(now);
            fluid_end = Some((fluid.sent(), fluid.free_sent()));
            tally.out.rows.iter_mut().for_each(|row| row.waited.1 = row.waits);
        }
        if now > end + STEP * u64::from(POLL.1) && (tally.under_way == 0 || now >= end + TAIL) {
            break;
        }
    }
    if let (Some((from, free_from)), Some((to, free_to))) = (fluid_begin, fluid_end) {
        tally.out.fluid = to.iter().zip(from).map(|(to, from)| to - from).collect();
        tally.out.fluid_free = free_to - free_from;
    }
    tally.end()
}

impl<'a> Tally<'a> {
    fn new(cell: &'a Cell, leases: usize) -> Self {
        let sources = leases + super::cell::FREE_SOURCES as usize;
        // Up to a second; a thousandth exact.
        #[expect(clippy::expect_used, reason = "the bounds are constants that it takes")]
        let delay =
            Histogram::new_with_bounds(64, 1_000_000_000, 3).expect("bounds of a histogram");
        let out = Outcome {
            rows: vec![Row::default(); sources],
            delay,
            drops: 0,
            late: 0,
            late_on_wire: 0,
            worst: i64::MIN,
            busy: 1.0,
            fluid: Vec::new(),
            fluid_free: 0.0,
            packets: 0,
        };
        Self {
            cell,
            out,
            wire: 0.0,
            byte: 1e9 / cell.rate() as f64,
            wire_grace: RING as f64 - frame(cell.rate()) as f64,
            under_way: 0,
            waiting: (0.0, 0.0),
            looked: 0.0,
            waited: false,
        }
    }

    fn is_within(&self, time: Nanos) -> bool {
        (self.cell.warm_up..self.cell.warm_up + self.cell.window).contains(&time)
    }

    fn arrives(&mut self, packet: &Packet) {
        self.out.packets += 1;
        if self.is_within(packet.at.into()) {
            let row = &mut self.out.rows[packet.source as usize];
            row.offered += u64::from(packet.len);
            row.in_profile += u64::from(packet.len) * u64::from(packet.in_profile);
        }
    }

    fn pushed(&mut self, packet: &Packet, result: Result<Class, Class>) {
        let within = self.is_within(packet.at.into());
        let row = &mut self.out.rows[packet.source as usize];
        let len = u64::from(packet.len);
        match result {
            Ok(Class::Guaranteed) if within => {
                row.marked += len;
                self.under_way += 1;
            }
            Err(Class::Guaranteed) if within => {
                row.marked += len;
                self.out.drops += 1;
            }
            Ok(Class::Guaranteed) | Err(Class::Guaranteed) => {}
            Ok(Class::Priority | Class::Free) => {
                row.waits += i64::from(packet.len);
                row.wanted += len * u64::from(within);
            }
            Err(Class::Priority | Class::Free) => row.wanted += len * u64::from(within),
        }
    }

    fn taken(&mut self, now: Nanos, class: Class, packet: &Packet) {
        let (arrived, within) = (self.is_within(packet.at.into()), self.is_within(now));
        self.wire = self.wire.max(now as f64) + f64::from(packet.len) * self.byte;
        let row = &mut self.out.rows[packet.source as usize];
        let len = u64::from(packet.len);
        if class != Class::Guaranteed {
            row.waits -= i64::from(packet.len);
            row.rest += len * u64::from(within);
            return;
        }
        row.guaranteed += len * u64::from(within);
        if !arrived {
            return;
        }
        row.kept += len;
        self.under_way -= 1;
        self.out.delay.saturating_record(now - u64::from(packet.at));
        if packet.due != u32::MAX {
            let late = now.cast_signed() - i64::from(packet.due);
            self.out.worst = self.out.worst.max(late);
            self.out.late += u64::from(late > 0);
            self.out.late_on_wire += u64::from(self.wire > f64::from(packet.due) + self.wire_grace);
        }
    }

    /// A worker looks: what has the wire done since somebody did?
    fn looks(&mut self, now: Nanos) {
        let within = self.is_within(now);
        let now = now as f64;
        if self.waited && within {
            self.waiting.0 += now - self.looked;
            self.waiting.1 += (now - self.wire.max(self.looked)).max(0.0);
        }
        self.looked = now;
    }

    fn end(mut self) -> Outcome {
        let (waiting, idle) = self.waiting;
        self.out.busy = if waiting > 0.0 { 1.0 - idle / waiting } else { 1.0 };
        // What was never handed over was lost, whoever has it.
        self.out.drops += self.under_way;
        self.out
    }
}

impl Outcome {
    /// The least part of what is in profile that a lease was sent, over all leases. Of one that keeps to its profile, all is.
    pub(super) fn delivered(&self, plan: &[Lease]) -> f64 {
        let part = |(row, lease): (&Row, &Lease)| {
            let due = if lease.pattern.is_honest() { row.offered } else { row.marked };
            if due == 0 { 1.0 } else { row.kept as f64 / due as f64 }
        };
        self.rows.iter().zip(plan).map(part).fold(1.0, f64::min)
    }

    /// The same over those leases alone that keep to their profile.
    pub(super) fn honest_delivered(&self, plan: &[Lease]) -> f64 {
        let honest = self.rows.iter().zip(plan).filter(|(_, lease)| lease.pattern.is_honest());
        honest.map(|(row, _)| row.kept as f64 / row.offered.max(1) as f64).fold(1.0, f64::min)
    }

    /// How far what was sent as in profile is from what exact arithmetic has, less a burst and a frame, at worst.
    pub(super) fn guarantee_error(&self, plan: &[Lease]) -> f64 {
        let error = |(row, lease): (&Row, &Lease)| {
            let off = row.guaranteed.abs_diff(row.in_profile) as f64;
            (off - lease.burst as f64 - FRAME).max(0.0) / (row.in_profile as f64).max(1.0)
        };
        self.rows.iter().zip(plan).map(error).fold(0.0, f64::max)
    }

    /// What leases had of the leftovers, and should have had: of those that should have had enough to tell.
    pub(super) fn leftovers(&self, cell: &Cell, plan: &[Lease]) -> Vec<(f64, f64)> {
        let window = cell.window as f64 / 1e9;
        let guaranteed: u64 = self.rows.iter().map(|row| row.guaranteed).sum();
        let left = cell.rate() as f64 * window - guaranteed as f64;
        let want = |(row, lease): (&Row, &Lease)| {
            let (before, after) = row.waited;
            ((row.wanted as f64 + (before - after) as f64).max(0.0), lease.weight as f64)
        };
        let wants: Vec<_> = self.rows.iter().zip(plan).map(want).collect();
        let ideal = ideal::shares(left, &wants);
        let had = self.rows.iter().map(|row| row.rest as f64);
        had.zip(ideal).filter(|(_, ideal)| *ideal >= SHARE_MIN * FRAME).collect()
    }

    /// The same, against the fluid twin.
    pub(super) fn fluid_leftovers(&self) -> Vec<(f64, f64)> {
        let pairs = self.rows.iter().map(|row| row.rest as f64).zip(self.fluid.iter().copied());
        pairs.filter(|(_, fluid)| *fluid >= SHARE_MIN * FRAME).collect()
    }

    /// Free bytes sent.
    pub(super) fn free(&self, leases: usize) -> f64 {
        self.rows.iter().skip(leases).map(|row| row.rest).sum::<u64>() as f64
    }
}

/// The largest part by which anybody's share is off, less one frame.
pub(super) fn worst_share(pairs: &[(f64, f64)]) -> f64 {
    let off = |(had, ideal): &(f64, f64)| ((had - ideal).abs() - FRAME).max(0.0) / ideal;
    pairs.iter().map(off).fold(0.0, f64::max)
}

/// Jain's index of what they had of what they should have had.
pub(super) fn jain(pairs: &[(f64, f64)]) -> f64 {
    let parts: Vec<f64> = pairs.iter().map(|(had, ideal)| had / ideal).collect();
    ideal::jain(&parts)
}
