//! In which order packets leave a port, and when: guaranteed by deadline, then priority by weight, then free, fair
//! between vswitches; never more than the port is sold as. Rules and their proofs: CLOUD-ISP.md §3.5.
//!
//! ```text
//!  packet ─► Meter::mark ─► guaranteed ─► calendar of deadlines ──┐
//!                        ─► priority   ─► calendar of shares ─────┼─► port clock ─► TX ring
//!                        ─► free       ─► turns of vswitches ─────┘
//! ```

mod calendar;
mod fair;
mod meter;
mod slab;
#[cfg(test)]
mod tests;
mod time;

pub use meter::{Mark, Meter, Terms};
pub use time::{PerByte, Ticks, ticks};

use calendar::Calendar;
use dataplane_api::port_share::{PortShare, Standing};
use dataplane_api::{DropReason, Nanos};
use fair::Fair;
use slab::Slab;
use std::collections::VecDeque;
use time::{after, later};

/// What can wait for a port.
pub trait Queued {
    /// Bytes of wire: framing, preamble and gap included.
    fn wire_len(&self) -> u32;
    /// Index of the vswitch it belongs to.
    fn vswitch(&self) -> u16;
}

/// In which order a packet leaves its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In profile of a lease.
    Guaranteed,
    /// Above it, by weight.
    Priority,
    /// What is left.
    Free,
}

/// A packet's own claim to what guarantees leave over.
#[derive(Debug)]
pub struct Claimed<'a> {
    /// State of whoever claims, in the time of one port's schedule; 0 at first.
    pub tag: &'a mut Ticks,
    /// Bytes of wire a second.
    pub weight: u64,
}

/// Sizes of what waits for one port on one worker; all memory is taken from them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Frames in all.
    pub frames: usize,
    /// Of those, kept for what is guaranteed.
    pub guaranteed_frames: usize,
    /// Free frames of one vswitch.
    pub vswitch_frames: u32,
    /// Vswitches there can be.
    pub vswitches: usize,
}

impl Room {
    /// Frames that wait where nothing is guaranteed.
    fn unsold(&self) -> usize {
        self.frames.saturating_sub(self.guaranteed_frames)
    }
}

/// What a port can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes of wire a second that are sold, at least [`PerByte::RATE_MIN`].
    pub rate: u64,
    /// Bytes of wire of its longest frame.
    pub longest: u32,
    /// Sum of the guarantees on it that this worker sends, and of all: bytes a second.
    pub guaranteed: (u64, u64),
}

/// A slot of the calendar of deadlines: 1.024 µs.
const DEADLINE_SLOT_BITS: u32 = 18;
/// And so many of them, 268 ms: longer than any deadline as long as bursts are admitted to 25 ms of the port's rate.
const DEADLINE_SLOTS: usize = 1 << 18;
/// A slot of the calendar of shares, in time at the lease's own weight: 65.5 µs.
const SHARE_SLOT_BITS: u32 = 24;
/// And so many of them: 537 ms.
const SHARE_SLOTS: usize = 1 << 13;
/// Farthest that a priority packet may lie ahead.
const SHARE_HORIZON: Ticks = ((SHARE_SLOTS as u64) - 2) << SHARE_SLOT_BITS;
/// Deadlines are as near as this even if the lease's own rate is slow: what 375 000 bytes take, 300 µs at 10 Gb/s.
const NEAR_BYTES: u64 = 375_000;
/// What is handed to the NIC ahead of the wire.
const RING: Ticks = 20_000 << 8;
/// The same where workers share a port: long enough for one of them to be away for a burst.
const RING_SHARED: Ticks = 12_000 << 8;
/// Beyond that, what each of them may have sent ahead of its own part of the guarantees.
const RING_OWN: Ticks = 5_000 << 8;
/// What a shared port has ahead when nobody keeps it busy.
const NEARLY_IDLE: Ticks = 2_000 << 8;
/// Priority and free packets that wait: so much of the port's time.
const PRIORITY_TIME: Ticks = 25_000_000 << 8;
const FREE_TIME: Ticks = 5_000_000 << 8;
/// A lease's part of the priority buffer, at its own weight.
const LEASE_TIME: Ticks = 60_000_000 << 8;
/// Between two looks at the other workers, as long as they hold nothing up.
const LOOK_INTERVAL: Ticks = 1_000_000 << 8;
/// How far a worker's priority packets may have run ahead of the others' when it begins to send, in slots: 8 ms.
const AHEAD_SLOTS: u64 = 122;
/// Free packets that leave in the order they came, before turns begin: a burst.
const FRONT_FRAMES: usize = dataplane_api::limits::BURST_MAX;

/// What the box itself may send on a port before all else: a hundredth of its rate, at least 1 Mb/s, and half a second
/// of that at once: a handshake of each of a thousand links.
const OWN_PART: u64 = 100;
const OWN_RATE_MIN: u64 = 125_000;

fn own_terms(rate: u64) -> Terms {
    Terms { rate, burst: rate / 2, weight: 0, ceiling: 0, preserve_order: false }
}

/// A capacity, as a packet needs it.
#[derive(Clone, Copy, Debug)]
struct Pace {
    byte: PerByte,
    /// What a byte takes of the part that is never guaranteed.
    spare: PerByte,
    /// What a byte takes of this worker's part of the guarantees.
    own: PerByte,
    near: Ticks,
    longest: u64,
    priority_bytes: u64,
    free_bytes: u64,
}

impl Pace {
    fn new(capacity: Capacity) -> Self {
        let Capacity { rate, longest, guaranteed: (own, all) } = capacity;
        let byte = PerByte::at(rate);
        let part = |rate: u64| {
            let part = u128::from(rate) * u128::from(own.min(all)) / u128::from(all.max(1));
            if all == 0 { rate } else { u64::try_from(part).unwrap_or(rate) }
        };
        Self {
            byte,
            // At most nine tenths are sold as guarantees (ARCHITECTURE.md, η).
            spare: PerByte::at(part(rate / 10)),
            own: PerByte::at(part(rate)),
            near: byte.times(NEAR_BYTES),
            longest: longest.into(),
            priority_bytes: byte.bytes_in(PRIORITY_TIME),
            free_bytes: byte.bytes_in(FREE_TIME),
        }
    }
}

/// What waits for one port on one worker.
#[derive(Debug)]
pub struct Schedule<E> {
    room: Room,
    slab: Slab<E>,
    guaranteed: Calendar,
    priority: Calendar,
    /// Slot of the calendar of shares that was served last: its own time.
    served: u64,
    /// From there to the time that workers on a port have in common, wrapping: see [`Self::place`].
    shift: u64,
    /// When the calendar of shares ran empty.
    emptied: Ticks,
    free: Fair,
    /// Free packets whose turn comes before all that is in `free`.
    front: VecDeque<E>,
    /// Most of them: without a capacity, all that may wait.
    front_frames: usize,
    front_bytes: u64,
    /// Free frames of each vswitch.
    by_vswitch: Box<[u32]>,
    /// Of what the box itself sends.
    own: Meter,
    pace: Option<Pace>,
    share: Option<Box<dyn PortShare>>,
    /// What it told the others, and what it knows of them since it looked; sooner looked at again if they hold it up.
    told: Standing,
    others: Standing,
    looked: Ticks,
    is_held: bool,
    /// Whether its priority packets may go now, by the others'.
    in_turn: bool,
    now: Ticks,
    /// When the port will have sent what it was given.
    clock: Ticks,
    /// The same of this worker's guaranteed packets, at its own part of the rate.
    own_clock: Ticks,
    /// Time of what was taken since the shared clock was charged.
    taken: Ticks,
}

impl<E: Queued> Schedule<E> {
    /// An empty one for a port without a capacity: what is there leaves at once.
    #[must_use]
    pub fn new(room: Room) -> Self {
        let unsold = room.unsold();
        Self {
            room,
            slab: Slab::new(room.frames),
            guaranteed: Calendar::new(DEADLINE_SLOTS),
            priority: Calendar::new(SHARE_SLOTS),
            served: 0,
            shift: 0,
            emptied: 0,
            free: Fair::new(room.vswitches, u16::MAX.into()),
            front: VecDeque::with_capacity(unsold),
            front_frames: unsold,
            front_bytes: 0,
            by_vswitch: vec![0; room.vswitches].into(),
            own: Meter::new(Some(&own_terms(OWN_RATE_MIN)), 0),
            pace: None,
            share: None,
            told: Standing::default(),
            others: Standing::default(),
            looked: 0,
            is_held: false,
            in_turn: true,
            now: 0,
            clock: 0,
            own_clock: 0,
            taken: 0,
        }
    }

    /// What the port is sold as from now on; `None`: it is not, nothing holds packets back, and nothing is guaranteed.
    pub fn set_capacity(&mut self, capacity: Option<Capacity>) {
        self.front_frames = if capacity.is_some() { FRONT_FRAMES } else { self.room.unsold() };
        let rate = capacity.map_or(0, |capacity| capacity.rate / OWN_PART);
        self.own.change(Some(&own_terms(rate.max(OWN_RATE_MIN))));
        self.pace = capacity.map(Pace::new);
    }

    /// Other workers send on the port too.
    pub fn set_share(&mut self, share: Option<Box<dyn PortShare>>) {
        self.share = share;
    }

    /// Packets that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len() + self.front.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether what waits does so only because the port was given what it can send by now.
    #[must_use]
    pub fn waits_for_clock(&self, now: Nanos) -> bool {
        self.pace.is_some() && !self.is_empty() && after(self.clock, ticks(now)) > 0
    }

    /// Bytes that wait, by [`Class`].
    #[must_use]
    pub fn bytes(&self) -> [u64; 3] {
        [self.guaranteed.bytes(), self.priority.bytes(), self.free.bytes() + self.front_bytes]
    }

    /// Puts a packet in its place, by what the meter of its egress vif says.
    ///
    /// # Errors
    /// Why there is no room, with the packet.
    #[inline]
    pub fn push(
        &mut self,
        now: Nanos,
        meter: &mut Meter,
        item: E,
    ) -> Result<Class, (DropReason, E)> {
        self.push_claiming(now, meter, None, item)
    }

    /// The same for a packet that has a claim of its own, where the lease of its egress vif gives it nothing more.
    ///
    /// # Errors
    /// Why there is no room, with the packet.
    #[inline]
    pub fn push_claiming(
        &mut self,
        now: Nanos,
        meter: &mut Meter,
        claim: Option<Claimed<'_>>,
        item: E,
    ) -> Result<Class, (DropReason, E)> {
        if !meter.is_leased() {
            return self.push_claimed(ticks(now), claim, item);
        }
        let (now, len) = (ticks(now), u64::from(item.wire_len()));
        match meter.mark(now, len) {
            Mark::Guaranteed { finish, .. } => {
                let Some(pace) = &self.pace else {
                    return self.push_free(item).map(|()| Class::Free);
                };
                if meter.must_follow(self.served << SHARE_SLOT_BITS) {
                    return self.push_priority(now, meter, item).map(|()| Class::Priority);
                }
                let waiting = self.guaranteed.bytes() + len;
                // Early enough for all deadlines to be kept: what waits is sent by then in what is never guaranteed
                // alone. Before its turn at the lease's own rate, too, so that those within a burst wait no longer
                // than others while there is room for all.
                let near = pace.near.max(pace.spare.times(waiting));
                let due = meter.due(now, now.wrapping_add(near), finish);
                let slot = due >> DEADLINE_SLOT_BITS;
                match self.guaranteed.push(&mut self.slab, slot, item) {
                    Ok(()) => Ok(Class::Guaranteed),
                    Err(item) => {
                        meter.take_back(len);
                        Err((DropReason::QueueFull, item))
                    }
                }
            }
            Mark::Priority => self.push_priority(now, meter, item).map(|()| Class::Priority),
            Mark::Free => self.push_claimed(now, claim, item),
        }
    }

    #[inline]
    fn push_claimed(
        &mut self,
        now: Ticks,
        claim: Option<Claimed<'_>>,
        item: E,
    ) -> Result<Class, (DropReason, E)> {
        match claim {
            Some(Claimed { tag, weight }) => {
                let weight = PerByte::roughly_at(weight.max(1));
                self.push_share(now, tag, weight, item).map(|()| Class::Priority)
            }
            None => self.push_free(item).map(|()| Class::Free),
        }
    }

    /// Puts a packet of the box itself in its place: guaranteed within the box's own small rate, so that links stay up
    /// whatever else is sent; free above it.
    ///
    /// # Errors
    /// Why there is no room, with the packet.
    pub fn push_own(&mut self, now: Nanos, item: E) -> Result<(), (DropReason, E)> {
        match self.own.mark(ticks(now), item.wire_len().into()) {
            Mark::Guaranteed { start, .. } => {
                let slot = start >> DEADLINE_SLOT_BITS;
                let full = |item| (DropReason::QueueFull, item);
                self.guaranteed.push(&mut self.slab, slot, item).map_err(full)
            }
            Mark::Priority | Mark::Free => self.push_free(item),
        }
    }

    /// Source: CLOUD-ISP.md §3.5 R3.
    fn push_priority(
        &mut self,
        now: Ticks,
        meter: &mut Meter,
        item: E,
    ) -> Result<(), (DropReason, E)> {
        let weight = meter.weight();
        self.push_share(now, &mut meter.tag, weight, item)
    }

    /// `last`: when in the calendar's own time the packet before of the same claim has its turn.
    fn push_share(
        &mut self,
        now: Ticks,
        last: &mut Ticks,
        weight: PerByte,
        item: E,
    ) -> Result<(), (DropReason, E)> {
        let Some(pace) = self.pace else { return self.push_free(item) };
        if self.unsold_room() == 0 {
            return Err((DropReason::QueueFull, item));
        }
        if self.priority.is_empty()
            && let Some(least) = self.others.served
        {
            // Who comes back has no claim to what the others have had meanwhile; what it had before them fades.
            let gone = u64::try_from(after(now, self.emptied)).unwrap_or(0) >> SHARE_SLOT_BITS;
            let lead = self.place().saturating_sub(least).min(SHARE_SLOTS as u64);
            self.set_place(least + lead.saturating_sub(gone));
        }
        let served = self.served << SHARE_SLOT_BITS;
        // A tag out of reach is one of long ago, before the time wrapped.
        let ahead = u64::try_from(after(*last, served)).unwrap_or(0);
        let ahead = if ahead <= SHARE_HORIZON { ahead } else { 0 };
        let tag = ahead + weight.times(item.wire_len().into());
        let used = self.priority.bytes() + self.others.bytes;
        let left = pace.byte.times(pace.priority_bytes.saturating_sub(used));
        let most = weight.times(12 * pace.longest).max(LEASE_TIME).min(4 * left);
        let most = most.max(weight.times(2 * pace.longest)).min(SHARE_HORIZON);
        // The only packet of a lease has its place, however slow the lease.
        if tag > most && ahead > 0 {
            return Err((DropReason::PriorityFull, item));
        }
        let tag = served.wrapping_add(tag.min(SHARE_HORIZON));
        let full = |item| (DropReason::QueueFull, item);
        self.priority.push(&mut self.slab, tag >> SHARE_SLOT_BITS, item).map_err(full)?;
        *last = tag;
        Ok(())
    }

    /// Puts a packet without any claim in its place.
    ///
    /// # Errors
    /// Why there is no room, with the packet.
    // A packet that goes through memory once more waits for itself: 10 ns.
    #[inline(always)]
    pub fn push_free(&mut self, item: E) -> Result<(), (DropReason, E)> {
        let Some(frames) = self.by_vswitch.get_mut(usize::from(item.vswitch())) else {
            return Err((DropReason::QueueFull, item));
        };
        if *frames >= self.room.vswitch_frames {
            return Err((DropReason::QueueShare, item));
        }
        if self.free.is_empty() && self.front.len() < self.front_frames {
            *frames += 1;
            self.front_bytes += u64::from(item.wire_len());
            self.front.push_back(item);
            return Ok(());
        }
        self.push_turns(item)
    }

    #[inline(never)]
    fn push_turns(&mut self, item: E) -> Result<(), (DropReason, E)> {
        if self.unsold_room() == 0 {
            return Err((DropReason::QueueFull, item));
        }
        if let Some(pace) = &self.pace {
            // Each vswitch may have as much as is left: those that want more than others run out of it first.
            let left = pace.free_bytes.saturating_sub(self.free.bytes());
            if self.free.bytes_of(item.vswitch()) > left.max(2 * pace.longest) {
                return Err((DropReason::QueueShare, item));
            }
            if left == 0 {
                return Err((DropReason::QueueFull, item));
            }
        }
        let vswitch = usize::from(item.vswitch());
        self.free.push(&mut self.slab, item).map_err(|item| (DropReason::QueueFull, item))?;
        if let Some(frames) = self.by_vswitch.get_mut(vswitch) {
            *frames += 1;
        }
        Ok(())
    }

    /// Begins to take packets at `now`; [`Self::end`] ends it.
    pub fn begin(&mut self, now: Nanos) {
        self.now = ticks(now);
        let Some(share) = &self.share else { return };
        self.clock = share.clock();
        if self.is_held || after(self.now, self.looked) >= LOOK_INTERVAL.cast_signed() {
            let was_alone = self.others.served.is_none();
            (self.others, self.looked, self.is_held) = (share.others(), self.now, false);
            if let (true, false, Some(least)) =
                (was_alone, self.priority.is_empty(), self.others.served)
            {
                // Places of workers that did not compete say nothing. All take the least, whoever looks first.
                self.set_place(self.place().min(least));
            }
        }
        let place = self.place();
        self.in_turn = self.others.served.is_none_or(|least| place <= least + AHEAD_SLOTS);
    }

    /// How far its priority packets have come, in slots, as workers on a port compare it. Only what is sent while
    /// others wait moves it: alone, or on an idle port, each may have what it can get.
    fn place(&self) -> u64 {
        self.served.wrapping_add(self.shift)
    }

    fn set_place(&mut self, place: u64) {
        self.shift = place.wrapping_sub(self.served);
    }

    /// Takes the packet whose turn it is, if it is time.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<(Class, E)> {
        if self.pace.is_none() && self.slab.len() == 0 {
            return self.pop_front().map(|item| (Class::Free, item));
        }
        self.pop_in_turn()
    }

    #[inline]
    fn pop_in_turn(&mut self) -> Option<(Class, E)> {
        let Some(pace) = &self.pace else { return self.pop_any() };
        let (byte, own) = (pace.byte, pace.own);
        let (class, within) = self.turn()?;
        let place = self.place();
        let item = self.take(class)?;
        let len = u64::from(item.wire_len());
        let time = byte.times(len);
        self.clock = later(self.clock, self.now).wrapping_add(time);
        self.taken += time;
        if !within {
            self.own_clock = later(self.own_clock, self.now).wrapping_add(own.times(len));
        }
        if class == Class::Priority && (self.others.served.is_none() || !self.in_turn) {
            self.set_place(place);
        }
        Some((class, item))
    }

    /// Which class may send now, and whether within what the port takes or only within this worker's own part.
    #[inline]
    fn turn(&mut self) -> Option<(Class, bool)> {
        let ahead = after(self.clock, self.now);
        let ring = if self.share.is_some() { RING_SHARED } else { RING };
        let open = ahead <= ring.cast_signed();
        if !self.guaranteed.is_empty() {
            let within_own = || {
                self.share.is_some() && after(self.own_clock, self.now) <= RING_OWN.cast_signed()
            };
            return (open || within_own()).then_some((Class::Guaranteed, open));
        }
        if !open {
            return None;
        }
        let (class, waits_for_others) = if self.priority.is_empty() {
            (Class::Free, self.others.served.is_some())
        } else {
            (Class::Priority, !self.in_turn)
        };
        if waits_for_others && ahead > NEARLY_IDLE.cast_signed() {
            self.is_held = true;
            return None;
        }
        Some((class, true))
    }

    /// Takes the first packet of a class, whether it is time or not.
    // Two callers and no call: the packet would go through memory once more.
    #[inline(always)]
    fn take(&mut self, class: Class) -> Option<E> {
        let is_free = class == Class::Free;
        if is_free && let Some(item) = self.pop_front() {
            return Some(item);
        }
        let number = self.unlink(class)?;
        let item = self.slab.take(number)?;
        if is_free && let Some(frames) = self.by_vswitch.get_mut(usize::from(item.vswitch())) {
            *frames -= 1;
        }
        Some(item)
    }

    /// Frames without a guarantee for which there is room in the slab: those of the front beyond a burst count too.
    fn unsold_room(&self) -> usize {
        let front = self.front.len().saturating_sub(FRONT_FRAMES);
        self.slab.room().saturating_sub(self.room.guaranteed_frames + front)
    }

    #[inline(always)]
    fn pop_front(&mut self) -> Option<E> {
        let item = self.front.pop_front()?;
        self.front_bytes -= u64::from(item.wire_len());
        if let Some(frames) = self.by_vswitch.get_mut(usize::from(item.vswitch())) {
            *frames -= 1;
        }
        Some(item)
    }

    /// Unlinks the first packet of a class that is in the slab: its number there.
    #[inline]
    fn unlink(&mut self, class: Class) -> Option<u32> {
        match class {
            Class::Guaranteed => self.guaranteed.pop(&mut self.slab),
            Class::Priority => {
                self.served = self.priority.first()?;
                let number = self.priority.pop(&mut self.slab);
                if self.priority.is_empty() {
                    self.emptied = self.now;
                }
                number
            }
            Class::Free => self.free.pop(&mut self.slab),
        }
    }

    /// Takes any packet, whether it is time or not: the port is down, or has no capacity.
    pub fn pop_any(&mut self) -> Option<(Class, E)> {
        let class = if !self.guaranteed.is_empty() {
            Class::Guaranteed
        } else if !self.priority.is_empty() {
            Class::Priority
        } else {
            Class::Free
        };
        self.take(class).map(|item| (class, item))
    }

    /// Ends a turn: what was taken is on its way.
    pub fn end(&mut self) {
        let Some(share) = &self.share else { return };
        if self.taken > 0 {
            self.clock = share.charge(self.now, self.taken);
            self.taken = 0;
        }
        let served = (!self.priority.is_empty()).then_some(self.place());
        let standing = Standing { served, bytes: self.priority.bytes() };
        if standing != self.told {
            share.tell(standing);
            self.told = standing;
        }
    }
}
