//! Queue: where packets wait for their turn on their port.

use crate::claim::Claim;
use crate::leases::Leases;
use crate::rules::{NO_SLOT, Record};
use crate::schedule::{Claimed, Class, Mark, Meter, Queued, Room, Schedule, Terms, Ticks, ticks};
use dataplane_api::port_share::PortShare;
use dataplane_api::{DropReason, Nanos, VifId, VswitchId};

/// A packet that waits.
#[derive(Debug)]
pub(crate) struct Entry<F> {
    pub(crate) frame: F,
    /// Where the link's record was; checked against `vif` and `epoch` when it leaves.
    pub(crate) slot: u32,
    /// For the tap.
    pub(crate) packet: u32,
    pub(crate) vif: u16,
    pub(crate) vswitch: VswitchId,
    /// Set when it comes into a queue, as is `place`: when that was, in 256 ns.
    since: u32,
    place: Place,
    pub(crate) epoch: u8,
    pub(crate) what: What,
}

/// What a packet that waits is, and so what is done before it leaves.
///
/// A number and not an enum: an `Option` of an entry would tell `None` by the values that an enum does not have, with a load
/// of one byte behind a store of eight, which waits for it (some 10 ns a packet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct What(u8);

impl What {
    /// A switch packet: to be sealed, and put into headers.
    pub(crate) const SWITCH: Self = Self(0);
    /// A session packet: to be put into headers.
    pub(crate) const SESSION: Self = Self(1);
    /// A whole frame, of no link.
    pub(crate) const FRAME: Self = Self(2);
}

/// Bytes of wire of a packet, and above them whether it came in an odd turn: see [`Queues::turn`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place(u16);

impl Place {
    const ODD: u16 = 1 << 15;

    fn new(len: u16, turn: usize) -> Self {
        Self(len.min(Self::ODD - 1) | if turn == 0 { 0 } else { Self::ODD })
    }

    fn turn(self) -> usize {
        usize::from(self.0 & Self::ODD != 0)
    }
}

impl<F> Entry<F> {
    /// A packet for the link of a record.
    #[inline]
    pub(crate) fn new((slot, to): (u32, &Record), packet: u32, what: What, frame: F) -> Self {
        let (vif, vswitch, epoch) = (to.vif_index(), to.vswitch(), to.epoch());
        let (since, place) = (0, Place::default());
        Self { frame, slot, packet, since, vif, vswitch, place, epoch, what }
    }

    /// A whole frame.
    pub(crate) fn of_no_link(vswitch: VswitchId, packet: u32, frame: F) -> Self {
        let (slot, since, vif, place) = (NO_SLOT, 0, u16::MAX, Place::default());
        Self { frame, slot, packet, since, vif, vswitch, place, epoch: 0, what: What::FRAME }
    }

    #[inline]
    fn enter(&mut self, now: Nanos, len: u16, turn: usize) {
        // Meant modulo 2³², 18 minutes.
        self.since = wrapped(now >> SINCE_BITS);
        self.place = Place::new(len, turn);
    }

    /// How long it waited, ns.
    #[inline]
    pub(crate) fn waited(&self, now: Nanos) -> Nanos {
        u64::from(wrapped(now >> SINCE_BITS).wrapping_sub(self.since)) << SINCE_BITS
    }

    pub(crate) fn vif(&self) -> VifId {
        VifId(u32::from(self.vif))
    }
}

/// The low 32 bits.
#[inline]
fn wrapped(time: u64) -> u32 {
    let [a, b, c, d, ..] = time.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl<F> Queued for Entry<F> {
    #[inline]
    fn wire_len(&self) -> u32 {
        u32::from(self.place.0 & !Place::ODD)
    }

    #[inline]
    fn vswitch(&self) -> u16 {
        self.vswitch.0
    }
}

/// Unit of [`Entry::since`]: 256 ns.
const SINCE_BITS: u32 = 8;
/// Vifs whose terms are taken over in one round: some microseconds.
const ADOPTED_AT_ONCE: usize = 256;
/// A ceiling may be overrun by so much of its time, or it would cut what queues before us bunch up.
const CEILING_BURST_MS: u64 = 5;
/// Bytes that link and wire add where nothing is sold: it decides nothing there.
const OVERHEAD: u8 = 44;

/// All queues of a worker, and the meters that decide on the order in them.
#[derive(Debug)]
pub(crate) struct Queues<F> {
    ports: Vec<Schedule<Entry<F>>>,
    meters: Meters,
    /// Of claims, by ingress vif and port.
    tags: Box<[Ticks]>,
    /// Ports that other workers send on too.
    shared: Vec<usize>,
    /// Which turn it is, and what came in each and waits still.
    turn: usize,
    waiting: [usize; 2],
}

/// By egress vif.
#[derive(Debug)]
struct Meters {
    leases: Box<[Meter]>,
    /// Of leases that have one.
    ceilings: Box<[Meter]>,
    /// Some port is sold: lengths and leases matter.
    is_sold: bool,
    /// Of the table that is in force here, or is taken over from `next` on.
    edition: u64,
    next: usize,
}

impl Meters {
    /// The meter that decides on packets of a vif.
    #[inline]
    fn of(&mut self, vif: u16) -> Option<&mut Meter> {
        let vif = usize::from(vif);
        let vif = match self.leases.get(vif)?.leader() {
            Some(leader) => leader as usize,
            None => vif,
        };
        self.leases.get_mut(vif)
    }

    /// Whether a packet stays below the ceiling of its lease.
    fn is_below(&mut self, vif: u16, now: Nanos, len: u16) -> bool {
        let vif = usize::from(vif);
        let leader = self.leases.get(vif).and_then(Meter::leader).map_or(vif, |vif| vif as usize);
        self.ceilings.get_mut(leader).is_none_or(|meter| {
            matches!(meter.mark(ticks(now), len.into()), Mark::Guaranteed { .. })
        })
    }

    fn adopt(&mut self, leases: &Leases, now: Nanos) {
        let end = self.leases.len().min(self.next + ADOPTED_AT_ONCE);
        let meters = self.leases.iter_mut().zip(self.ceilings.iter_mut()).enumerate();
        for (vif, (meter, ceiling)) in meters.take(end).skip(self.next) {
            let held = leases.out(vif);
            let terms = held.and_then(|held| held.terms.as_ref());
            if !meter.is_leased() && terms.is_some() {
                *meter = Meter::new(None, ticks(now));
            }
            meter.change(terms);
            if let Some(leader) = held.and_then(|held| held.leader) {
                meter.follow(leader);
            }
            meter.set_overhead(held.map_or(OVERHEAD, |held| held.overhead));
            if let Some(rate) = terms.map(|terms| terms.ceiling).filter(|rate| *rate > 0) {
                let burst = (rate * CEILING_BURST_MS / 1_000).max(leases.longest(vif));
                ceiling.change(Some(&Terms { rate, burst, ..Terms::default() }));
            }
        }
        self.next = end;
    }
}

impl<F> Queues<F> {
    /// For vifs `0..vifs`.
    pub(crate) fn new(ports: usize, vifs: usize, room: Room) -> Self {
        let meters = Meters {
            leases: vec![Meter::default(); vifs].into(),
            ceilings: vec![Meter::default(); vifs].into(),
            is_sold: false,
            edition: 0,
            next: vifs,
        };
        // Zeros: the memory of vifs that never claim anything is never touched.
        let tags = vec![0; vifs * ports].into();
        let ports = std::iter::repeat_with(|| Schedule::new(room)).take(ports).collect();
        Self { ports, meters, tags, shared: Vec::new(), turn: 0, waiting: [0; 2] }
    }

    /// Other workers send on a port too.
    pub(crate) fn share(&mut self, port: usize, share: Box<dyn PortShare>) {
        if let Some(schedule) = self.ports.get_mut(port) {
            schedule.set_share(Some(share));
            self.shared.push(port);
        }
    }

    /// Takes over other leases, some vifs at a time, and tells other workers how this one stands. To be called every
    /// round.
    #[inline]
    pub(crate) fn adopt(&mut self, leases: &Leases, worker: usize, now: Nanos) {
        if leases.edition() != self.meters.edition {
            self.meters.edition = leases.edition();
            self.meters.is_sold = leases.is_sold();
            self.meters.next = 0;
            for (port, schedule) in self.ports.iter_mut().enumerate() {
                schedule.set_capacity(leases.capacity(port, worker));
            }
        }
        if self.is_adopting() {
            self.meters.adopt(leases, now);
        }
        // Also where nothing waits: the others hold back for what they know of.
        for port in &self.shared {
            if let Some(schedule) = self.ports.get_mut(*port) {
                schedule.begin(now);
            }
        }
    }

    /// Whether some vifs have the terms of older leases yet.
    pub(crate) fn is_adopting(&self) -> bool {
        self.meters.next < self.meters.leases.len()
    }

    /// Whether a vif is leased.
    #[inline]
    pub(crate) fn is_leased(&self, vif: u16) -> bool {
        self.meters.is_sold
            && self.meters.leases.get(usize::from(vif)).is_some_and(Meter::is_leased)
    }

    /// Lets the meters of a burst's egress vifs come in together.
    #[inline]
    pub(crate) fn touch(&self, vifs: impl Iterator<Item = u16>) {
        if self.meters.is_sold {
            let leased =
                |vif| self.meters.leases.get(usize::from(vif)).is_some_and(Meter::is_leased);
            std::hint::black_box(vifs.filter(|vif| leased(*vif)).count());
        }
    }

    /// Puts a packet of `len` bytes into the queue of its port, by the lease of its vif, or what it claims itself.
    ///
    /// # Errors
    /// Why it has no place there, with the packet.
    // A packet that goes through memory once more waits for itself: 10 ns.
    #[inline(always)]
    pub(crate) fn push(
        &mut self,
        now: Nanos,
        port: usize,
        len: usize,
        claim: Claim,
        mut entry: Entry<F>,
    ) -> Result<(), (DropReason, Entry<F>)> {
        if !self.meters.is_sold {
            let Some(schedule) = self.ports.get_mut(port) else {
                return Err((DropReason::QueueFull, entry));
            };
            let len = u16::try_from(len + usize::from(OVERHEAD)).unwrap_or(u16::MAX);
            entry.enter(now, len, self.turn);
            schedule.push_free(entry)?;
            self.waiting[self.turn] += 1;
            return Ok(());
        }
        self.push_sold(now, port, len, claim, entry)
    }

    #[inline(never)]
    fn push_sold(
        &mut self,
        now: Nanos,
        port: usize,
        len: usize,
        claim: Claim,
        mut entry: Entry<F>,
    ) -> Result<(), (DropReason, Entry<F>)> {
        let ports = self.ports.len();
        let Some(schedule) = self.ports.get_mut(port) else {
            return Err((DropReason::QueueFull, entry));
        };
        let vif = entry.vif;
        let Some(meter) = self.meters.of(vif) else { return Err((DropReason::QueueFull, entry)) };
        let len = meter.wire_len(len);
        entry.enter(now, len, self.turn);
        if meter.is_capped() && !self.meters.is_below(vif, now, len) {
            return Err((DropReason::Ceiling, entry));
        }
        let Some(meter) = self.meters.of(vif) else { return Err((DropReason::QueueFull, entry)) };
        let claimed = match claim.class.weight() {
            0 => None,
            weight => {
                let tag = self.tags.get_mut(usize::from(claim.from) * ports + port);
                tag.map(|tag| Claimed { tag, weight })
            }
        };
        schedule.push_claiming(now, meter, claimed, entry)?;
        self.waiting[self.turn] += 1;
        Ok(())
    }

    /// The same for what the box itself sends.
    ///
    /// # Errors
    /// Why it has no place there, with the packet.
    pub(crate) fn push_own(
        &mut self,
        now: Nanos,
        port: usize,
        len: usize,
        mut entry: Entry<F>,
    ) -> Result<(), (DropReason, Entry<F>)> {
        let Some(schedule) = self.ports.get_mut(port) else {
            return Err((DropReason::QueueFull, entry));
        };
        let meter = self.meters.leases.get(usize::from(entry.vif));
        let len = meter.copied().unwrap_or_default().wire_len(len);
        entry.enter(now, len, self.turn);
        schedule.push_own(now, entry)?;
        self.waiting[self.turn] += 1;
        Ok(())
    }

    /// The schedule of a port.
    #[inline]
    pub(crate) fn port(&mut self, port: usize) -> Option<&mut Schedule<Entry<F>>> {
        self.ports.get_mut(port)
    }

    /// Takes the packet whose turn it is, between `begin` and `end` of the port's schedule.
    #[inline(always)]
    pub(crate) fn pop(&mut self, port: usize) -> Option<(Class, Entry<F>)> {
        let (class, entry) = self.ports.get_mut(port)?.pop()?;
        self.waiting[entry.place.turn()] -= 1;
        Some((class, entry))
    }

    /// Takes any packet that waits for a port.
    pub(crate) fn pop_any(&mut self, port: usize) -> Option<Entry<F>> {
        let (_, entry) = self.ports.get_mut(port)?.pop_any()?;
        self.waiting[entry.place.turn()] -= 1;
        Some(entry)
    }

    /// From now on it is another turn, unless packets of the one before wait still. Says whether it is.
    pub(crate) fn turn(&mut self) -> bool {
        let other = 1 - self.turn;
        if self.waiting[other] > 0 {
            return false;
        }
        self.turn = other;
        true
    }

    /// Packets of the turn before that wait.
    pub(crate) fn older(&self) -> usize {
        self.waiting[1 - self.turn]
    }

    /// Whether some port has packets that leave within microseconds without anything coming in.
    pub(crate) fn wait_for_clock(&self, now: Nanos) -> bool {
        self.ports.iter().any(|schedule| schedule.waits_for_clock(now))
    }

    /// Packets that wait for a port.
    #[inline]
    pub(crate) fn len(&self, port: usize) -> usize {
        self.ports.get(port).map_or(0, Schedule::len)
    }

    /// Packets that wait, in all.
    pub(crate) fn total(&self) -> usize {
        self.waiting.iter().sum()
    }

    pub(crate) fn ports(&self) -> usize {
        self.ports.len()
    }
}
