//! Who sends: each source by its pattern, in the order of time.

use super::cell::{Cell, FREE_SOURCES, LONGEST, Lease, Pattern, SHORTEST};
use crate::rounds::Random;
use dataplane_api::Nanos;

/// What time advances by: all that arrives within it is there at its end. ns, a power of two.
pub(super) const STEP: Nanos = 256;

/// Steps that the wheel spans: 67 ms. What lies farther is looked at again.
const WHEEL: usize = 1 << 18;
const NOBODY: u32 = u32::MAX;

/// Round trips of sources that react, ns: from, to.
const ROUND_TRIP: (u32, u32) = (10_000_000, 40_000_000);

/// A packet that has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// A lease, or above them a source without.
    pub(super) source: u32,
    /// Bytes of wire.
    pub(super) len: u32,
    /// When.
    pub(super) at: Nanos,
}

#[derive(Clone, Debug)]
struct Source {
    /// ns.
    next: f64,
    /// What a byte takes, ns.
    byte: f64,
    /// Between two beginnings, ns.
    period: f64,
    begun: f64,
    /// Bytes that it sends in a period; and those left.
    budget: u32,
    left: u32,
}

/// A source that reacts: its rate grows by a frame a round trip, and is halved when something was lost in the one before.
#[derive(Clone, Debug, Default)]
struct Control {
    round_trip: f64,
    ends: f64,
    lost: bool,
}

/// All of a cell's.
#[derive(Debug)]
pub(super) struct Sources {
    sources: Vec<Source>,
    controls: Vec<Control>,
    /// First source of each step, and after each the next.
    wheel: Vec<u32>,
    after: Vec<u32>,
    random: Random,
    lengths: (u32, u32),
    step: u64,
}

impl Sources {
    /// The same in every run.
    pub(super) fn new(cell: &Cell, plan: &[Lease], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut sources = Self {
            sources: Vec::new(),
            controls: Vec::new(),
            wheel: vec![NOBODY; WHEEL],
            after: Vec::new(),
            lengths: cell.lengths(),
            step: 0,
            random: Random::new(random.draw()),
        };
        for lease in plan {
            let reacts = lease.pattern == Pattern::Aimd;
            let (from, to) = ROUND_TRIP;
            let round_trip = f64::from(from + random.below(to - from));
            let control = Control { round_trip, ends: round_trip, lost: false };
            sources.controls.push(if reacts { control } else { Control::default() });
            sources.sources.push(source(lease, cell, &mut random));
        }
        let free = cell.free(plan) / f64::from(FREE_SOURCES);
        for _ in 0..if free > 0.0 { FREE_SOURCES } else { 0 } {
            sources.controls.push(Control::default());
            let byte = 1e9 / free;
            sources.sources.push(endless(byte, part(&mut random) * byte * f64::from(LONGEST)));
        }
        sources.after = vec![NOBODY; sources.sources.len()];
        for number in 0..u32::try_from(sources.sources.len()).unwrap_or(0) {
            sources.file(number);
        }
        sources
    }

    /// Something of it was lost.
    pub(super) fn lost(&mut self, source: u32) {
        self.controls[source as usize].lost = true;
    }

    fn file(&mut self, number: u32) {
        let step = (self.sources[number as usize].next / STEP as f64) as u64;
        let step = step.clamp(self.step, self.step + WHEEL as u64 - 1);
        let first = &mut self.wheel[step as usize & (WHEEL - 1)];
        self.after[number as usize] = *first;
        *first = number;
    }

    /// All that arrives in the next step; its end.
    pub(super) fn step(&mut self, mut each: impl FnMut(Arrival)) -> Nanos {
        let place = self.step as usize & (WHEEL - 1);
        let mut number = std::mem::replace(&mut self.wheel[place], NOBODY);
        self.step += 1;
        let end = self.step * STEP;
        while number != NOBODY {
            let next = self.after[number as usize];
            while self.sources[number as usize].next < end as f64 {
                each(self.send(number));
            }
            self.file(number);
            number = next;
        }
        end
    }

    fn send(&mut self, number: u32) -> Arrival {
        let (from, to) = self.lengths;
        let mut len = from + self.random.below(to - from + 1);
        let source = &mut self.sources[number as usize];
        let at = source.next as Nanos;
        let control = &mut self.controls[number as usize];
        if control.round_trip > 0.0 && source.next >= control.ends {
            let rate = 1e9 / source.byte;
            let step = f64::from(LONGEST) * 1e9 / control.round_trip;
            let rate = if control.lost { rate / 2.0 } else { rate + step };
            source.byte = 1e9 / rate.max(step);
            (control.ends, control.lost) = (source.next + control.round_trip, false);
        }
        if source.budget == u32::MAX {
            source.next += f64::from(len) * source.byte;
            return Arrival { source: number, len, at };
        }
        if len > source.left {
            len = source.left;
        }
        source.left -= len;
        source.next += f64::from(len) * source.byte;
        if source.left < SHORTEST {
            source.begun += source.period;
            (source.next, source.left) = (source.begun, source.budget);
        }
        Arrival { source: number, len, at }
    }
}

/// 0 to 1.
fn part(random: &mut Random) -> f64 {
    f64::from(random.below(1 << 30)) / f64::from(1 << 30)
}

fn endless(byte: f64, next: f64) -> Source {
    Source { next, byte, period: 0.0, begun: 0.0, budget: u32::MAX, left: 0 }
}

fn source(lease: &Lease, cell: &Cell, random: &mut Random) -> Source {
    let byte = 1e9 / lease.rate as f64;
    let mean = f64::from(cell.lengths().0 + cell.lengths().1) / 2.0;
    match lease.pattern {
        Pattern::Even(times) => endless(byte / times, part(random) * mean * byte / times),
        Pattern::Aimd => endless(byte, part(random) * mean * byte),
        Pattern::OnOff(times, on, period) => {
            let begun = part(random) * period;
            let budget = ((times * on / byte) as u32).max(cell.lengths().1);
            // The same average, where a frame is more than is due in a period.
            let period = period.max(f64::from(budget) * byte * period / on / times);
            Source { next: begun, byte: byte / times, period, begun, budget, left: budget }
        }
        Pattern::Burst => {
            // Whole frames, where all have one length.
            let (from, to) = cell.lengths();
            let burst = u32::try_from(lease.burst).unwrap_or(u32::MAX - 1);
            let budget = if from == to { burst - burst % to } else { burst };
            let period = lease.burst as f64 * byte / 0.97;
            Source { next: 0.0, byte: 0.0, period, begun: 0.0, budget, left: budget }
        }
    }
}
