//! Who decides what leaves a port: the schedule of the engine, and what others do.

use super::cell::{Cell, LONGEST, Lease, VSWITCHES};
use super::exact::Exact;
use super::sources::STEP;
use dataplane_api::Nanos;
use engine::schedule::{Capacity, Class, Mark, Meter, Queued, Room, Schedule, Terms, ticks};

/// A worker looks for packets as often as this: from, to, in steps of [`STEP`].
pub(super) const POLL: (u32, u32) = (2, 6);
/// A slot of the calendar of deadlines, ns, rounded up.
const SLOT: Nanos = 1_024;

/// A packet on its way through the port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    /// Lease, or above them a source without.
    pub(super) source: u32,
    /// Bytes of wire.
    pub(super) len: u32,
    /// When it arrived, ns.
    pub(super) at: u32,
    /// When it has to be handed over if it is guaranteed, ns.
    pub(super) due: u32,
    /// Whether exact arithmetic has it in profile.
    pub(super) in_profile: bool,
}

impl Queued for Packet {
    fn wire_len(&self) -> u32 {
        self.len
    }

    fn vswitch(&self) -> u16 {
        u16::try_from(self.source % VSWITCHES).unwrap_or(0)
    }
}

/// One way to do it.
pub(super) trait Method {
    /// A worker has a packet to send.
    ///
    /// # Errors
    /// The class of a packet that is dropped.
    fn push(&mut self, worker: usize, now: Nanos, packet: Packet) -> Result<Class, Class>;

    /// A worker hands over what is to be sent.
    fn take(&mut self, worker: usize, now: Nanos, each: impl FnMut(Class, Packet));

    /// Whether anything waits.
    fn waits(&self) -> bool;
}

/// The engine's.
#[derive(Debug)]
pub(super) struct Own {
    schedules: Vec<Schedule<Packet>>,
    meters: Box<[Meter]>,
    /// Follows what the meters let through.
    exact: Vec<Exact>,
    /// What is added to a virtual finish time, of each worker.
    grace: Vec<Nanos>,
}

/// What a frame of the longest takes at `rate` bytes a second, ns, rounded up.
pub(super) fn frame(rate: u64) -> Nanos {
    (u64::from(LONGEST) * 1_000_000_000).div_ceil(rate.max(1))
}

impl Own {
    /// As the daemon would set it up.
    pub(super) fn new(cell: &Cell, plan: &[Lease]) -> Self {
        let workers = cell.workers;
        let part =
            |worker| plan.iter().skip(worker).step_by(workers).map(|lease| lease.rate).sum::<u64>();
        let all: u64 = plan.iter().map(|lease| lease.rate).sum();
        let bytes: u64 =
            plan.iter().map(|lease| lease.burst).sum::<u64>() + cell.rate() * 30 / 1_000;
        let (from, to) = cell.lengths();
        // A quarter more than what may wait, in frames of the usual length.
        let frames = (bytes / u64::from((from + to) / 2) * 5 / 4) as usize;
        let guaranteed_frames = frames / 2;
        let room = Room {
            frames,
            guaranteed_frames,
            vswitch_frames: u32::MAX,
            vswitches: VSWITCHES as usize,
        };
        let mut schedules: Vec<_> = (0..workers).map(|_| Schedule::new(room)).collect();
        let shares = sync::port_share::shares(workers);
        for ((worker, schedule), share) in schedules.iter_mut().enumerate().zip(shares) {
            let guaranteed = (part(worker), all);
            schedule.set_capacity(Some(Capacity {
                rate: cell.rate(),
                longest: LONGEST,
                guaranteed,
            }));
            if workers > 1 {
                schedule.set_share(Some(Box::new(share)));
            }
        }
        let terms = |lease: &Lease| Terms {
            rate: lease.rate,
            burst: lease.burst,
            weight: lease.weight,
            ..Terms::default()
        };
        let grace = |worker| {
            let own = u128::from(cell.rate()) * u128::from(part(worker)) / u128::from(all.max(1));
            let shared = if workers > 1 { 2 * frame(own as u64) } else { 0 };
            2 * frame(cell.rate()) + SLOT + u64::from(POLL.1) * STEP + shared
        };
        Self {
            schedules,
            meters: plan.iter().map(|lease| Meter::new(Some(&terms(lease)), ticks(0))).collect(),
            exact: plan.iter().map(Exact::new).collect(),
            grace: (0..workers).map(grace).collect(),
        }
    }
}

impl Method for Own {
    #[inline]
    fn push(&mut self, worker: usize, now: Nanos, mut packet: Packet) -> Result<Class, Class> {
        let schedule = &mut self.schedules[worker];
        let lease = packet.source as usize;
        let Some(meter) = self.meters.get_mut(lease) else {
            return schedule
                .push_free(packet)
                .map(|()| Class::Free)
                .map_err(|_refused| Class::Free);
        };
        let exact = &mut self.exact[lease];
        let due = exact.finish(now, packet.len) + self.grace[worker];
        packet.due = u32::try_from(due).unwrap_or(u32::MAX);
        match schedule.push(now, meter, packet) {
            Ok(Class::Guaranteed) => {
                exact.took(now, packet.len);
                Ok(Class::Guaranteed)
            }
            Ok(class) => Ok(class),
            // What was refused has not counted: the meter says once more what it was.
            Err(_) => match meter.clone().mark(ticks(now), packet.len.into()) {
                Mark::Guaranteed { .. } => Err(Class::Guaranteed),
                Mark::Priority => Err(Class::Priority),
                Mark::Free => Err(Class::Free),
            },
        }
    }

    #[inline]
    fn take(&mut self, worker: usize, now: Nanos, mut each: impl FnMut(Class, Packet)) {
        let schedule = &mut self.schedules[worker];
        schedule.begin(now);
        while let Some((class, packet)) = schedule.pop() {
            each(class, packet);
        }
        schedule.end();
    }

    fn waits(&self) -> bool {
        self.schedules.iter().any(|schedule| !schedule.is_empty())
    }
}
