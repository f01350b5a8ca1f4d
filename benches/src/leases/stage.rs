//! What marking and scheduling cost a packet in real time: two meters, policy, a place in the schedule, and its way out.

use super::cell::{LONGEST, SHORTEST};
use crate::rounds::{ROUNDS, Random, median_slice};
use dataplane_api::Nanos;
use dataplane_api::limits::BURST_MAX;
use engine::schedule::{Capacity, Meter, Queued, Room, Schedule, Terms, ticks};
use std::hint::black_box;
use std::num::NonZero;

/// Bytes a second: 100 Gb/s.
const RATE: u64 = 12_500_000_000;
/// Bursts of a slice.
const BURSTS: u32 = 32;
const SLICES: usize = 301;
/// Packets that wait when a burst comes: two milliseconds of a busy port.
const WAITING: usize = 4_096;

/// As much of a packet as an engine's entry of a queue holds.
///
/// Like that it has no value to spare in less than a word: an `Option` would put its tag there, and each move would be
/// one of odd pieces, which wait for each other (50 ns in place of 31, all told).
#[derive(Debug)]
#[expect(dead_code, reason = "as large as what the engine queues")]
struct Packet {
    /// Where the frame is, and how long.
    frame: (NonZero<u64>, u64),
    slot: u32,
    packet: u32,
    vif: u16,
    vswitch: u16,
    len: u16,
    epoch: u8,
    what: u8,
}

impl Queued for Packet {
    fn wire_len(&self) -> u32 {
        self.len.into()
    }

    fn vswitch(&self) -> u16 {
        self.vswitch
    }
}

/// What policy knows of a vif.
#[derive(Clone, Copy, Debug)]
struct Policy {
    role: u8,
    mtu: u16,
}

#[derive(Debug)]
struct Stage {
    schedule: Schedule<Packet>,
    ingress: Box<[Meter]>,
    egress: Box<[Meter]>,
    policies: Box<[Policy]>,
    /// By role of the ingress vif, the roles that it may send to, as bits.
    matrix: [u8; 4],
    /// Vifs of packets to come, and their lengths: drawn before each slice, off the clock.
    packets: [[(u16, u16, u16); BURST_MAX]; BURSTS as usize],
    next: usize,
    random: Random,
    now: Nanos,
    left: u64,
}

impl Stage {
    fn new(leases: u32) -> Self {
        // Nine tenths are sold; each lease sends 1.4 times what it is guaranteed, so some of it is priority.
        let rate = RATE * 9 / 10 / u64::from(leases);
        let terms = Terms {
            rate,
            burst: (6 * u64::from(LONGEST)).max(rate / 200),
            weight: rate,
            ..Terms::default()
        };
        let meters =
            || vec![Meter::new(Some(&terms), ticks(0)); leases as usize].into_boxed_slice();
        let frames = 1 << 17;
        let room = Room {
            frames,
            guaranteed_frames: frames / 2,
            vswitch_frames: u32::MAX,
            vswitches: 4_096,
        };
        let mut schedule = Schedule::new(room);
        schedule.set_capacity(Some(Capacity {
            rate: RATE,
            longest: LONGEST,
            guaranteed: (RATE, RATE),
        }));
        let role = |vif: u32| u8::try_from(vif % 3).unwrap_or(0);
        let policies = (0..leases).map(|vif| Policy { role: role(vif), mtu: 1_500 }).collect();
        let mut stage = Self {
            schedule,
            ingress: meters(),
            egress: meters(),
            policies,
            matrix: black_box([0b111; 4]),
            packets: [[(0, 0, 0); BURST_MAX]; BURSTS as usize],
            next: 0,
            random: Random::new(leases.into()),
            now: 1_000_000,
            left: 0,
        };
        while stage.schedule.len() < WAITING {
            stage.draw();
            stage.push();
            stage.now += 3_000;
        }
        (0..500).for_each(|_| stage.slice());
        stage
    }

    fn draw(&mut self) {
        let leases = u32::try_from(self.egress.len()).unwrap_or(0);
        let mut below = |bound| u16::try_from(self.random.below(bound)).unwrap_or(0);
        for packet in self.packets.as_flattened_mut() {
            *packet = (below(leases), below(leases), 84 + below(1_400 - SHORTEST));
        }
    }

    /// Draws and sends some bursts.
    fn slice(&mut self) {
        self.draw();
        self.bursts();
    }

    fn bursts(&mut self) {
        (0..BURSTS).for_each(|_| self.burst());
    }

    #[inline]
    fn push(&mut self) -> u64 {
        let burst = &self.packets[self.next & (self.packets.len() - 1)];
        self.next += 1;
        // Reads first what all will need, so that the misses overlap.
        let known = burst.iter().filter(|(from, to, _)| {
            let (from, to) = (usize::from(*from), usize::from(*to));
            self.ingress[from].is_leased()
                & self.egress[to].is_leased()
                & (self.policies[to].mtu > 0)
        });
        black_box(known.count());
        let (now, mut pushed) = (self.now, 0);
        for &(from, to, len) in burst {
            let (ingress, egress) = (usize::from(from), usize::from(to));
            black_box(self.ingress[ingress].mark(ticks(now), len.into()));
            let (role, policy) = (self.policies[ingress].role, self.policies[egress]);
            if self.matrix[usize::from(role & 3)] >> (policy.role & 3) & 1 == 0 || len > policy.mtu
            {
                continue;
            }
            let what = u8::from(len == 0);
            let (slot, frame) =
                (to.into(), (NonZero::new(now).unwrap_or(NonZero::<u64>::MIN), len.into()));
            let packet =
                Packet { frame, slot, packet: 0, vif: to, vswitch: to / 16, len, epoch: 0, what };
            pushed += u64::from(self.schedule.push(now, &mut self.egress[egress], packet).is_ok());
        }
        pushed
    }

    /// One burst in, and as much out.
    #[inline]
    fn burst(&mut self) {
        let pushed = self.push();
        // As long as 64 packets of 742 bytes take at the port's rate: what comes is what leaves.
        self.now += 3_800;
        self.schedule.begin(self.now);
        for _ in 0..pushed + 8 {
            let Some((_, packet)) = self.schedule.pop() else { break };
            self.left += 1;
            black_box(&packet);
        }
        self.schedule.end();
    }
}

/// ns a packet, by round, at each number of leases; all in turns.
pub(super) fn measure<const N: usize>(leases: [u32; N]) -> [Vec<f64>; N] {
    let mut stages = leases.map(Stage::new);
    let mut rounds = leases.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (stage, rounds) in stages.iter_mut().zip(&mut rounds) {
            let packets = BURSTS * u32::try_from(BURST_MAX).unwrap_or(0);
            rounds.push(median_slice(stage, SLICES, packets, Stage::draw, Stage::bursts));
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_leaves_as_comes_and_some_waits() {
        let mut stage = Stage::new(2_000);
        let (left, waits) = (stage.left, stage.schedule.len());
        assert!(waits > 0 && waits < 1 << 17, "{waits}");
        (0..32).for_each(|_| stage.slice());
        let sent = stage.left - left;
        assert!((60_000..=70_000).contains(&sent), "{sent}");
    }
}
