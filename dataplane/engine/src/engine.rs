//! One worker's part in switching: its queues, limiters and counters, and the order of the stages.

mod colour;
mod egress;
mod ingress;
mod pacing;

use crate::Burst;
use crate::claim::{Claim, Claims, ToldLinks};
use crate::colour::{Colours, Shed};
use crate::count::Counts;
use crate::leases::Leases;
use crate::open::SealedBurst;
use crate::outcome::{
    Arrival, HandOff, HandOffAt, Inject, Origin, Outcome, Punt, PuntKind, Stranger, Via,
};
use crate::pace::Pacing;
use crate::queue::Queues;
use crate::rules::{NO_SLOT, Rules};
use crate::schedule::Room;
use crate::sessions::{SessionChange, SessionChangeKind, Sessions};
use crate::strangers::Strangers;
use crate::tap::Tap;
use crypt::aead::Aead;
use dataplane_api::counters::{Bank, Layout, WorkerCounter};
use dataplane_api::limiter::{Limit, Limiter};
use dataplane_api::limits::BURST_MAX;
use dataplane_api::port_share::PortShare;
use dataplane_api::{DropReason, Nanos, PortId, WorkerId};
use wire::buf::Packet;

/// Sizes and rates of one worker's engine; everything is allocated from them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Where counters lie; its parts size the arrays of state.
    pub layout: Layout,
    /// Frames that may wait for one port.
    pub queue_frames: usize,
    /// Of those, kept for what is guaranteed.
    pub guaranteed_frames: usize,
    /// Free frames of one vswitch that may wait for one port.
    pub vswitch_frames: u32,
    /// Control messages, and switch errors, that one ingress link may send to the slow path each second.
    pub punts_per_second: u32,
    /// The same at once.
    pub punt_burst: u32,
    /// Handshakes from strangers, and beacons, that go to the slow path each second.
    pub strangers_per_second: u32,
    /// Unpredictable to the network: which strangers share a bucket.
    pub seed: u64,
}

/// What every step of one call needs.
struct Call<'a, F, T> {
    rules: &'a Rules,
    now: Nanos,
    out: &'a mut Outcome<F>,
    tap: &'a mut T,
    /// Whose packets these are.
    origin: Origin,
    /// What the packet in work claims.
    claim: Claim,
}

impl<'a, F, T> Call<'a, F, T> {
    fn new(
        rules: &'a Rules,
        now: Nanos,
        out: &'a mut Outcome<F>,
        tap: &'a mut T,
        origin: Origin,
    ) -> Self {
        Self { rules, now, out, tap, origin, claim: Claim::NONE }
    }
}

/// One worker's engine.
#[derive(Debug)]
pub struct Engine<F, B> {
    worker: WorkerId,
    counts: Counts<B>,
    queues: Queues<F>,
    claims: Claims,
    colours: Colours,
    shed: Shed,
    late: Nanos,
    punts: Option<Limit>,
    /// By ingress vif.
    limiters: Box<[PuntLimiters]>,
    strangers: Strangers,
    sessions: Sessions,
    pacing: Pacing<F>,
    aead: Aead,
    scratch: Scratch,
    /// Number of the next packet, for the tap.
    next_packet: u32,
}

/// What one ingress link may ask of the slow path.
///
/// Apart, because errors are asked for by anybody in the network whose label is wrong, and must not keep the
/// neighbour's own pings out.
#[derive(Clone, Copy, Debug, Default)]
struct PuntLimiters {
    control: Limiter,
    errors: Limiter,
    router: Limiter,
    handshakes: Limiter,
}

impl PuntLimiters {
    fn of(&mut self, kind: PuntKind) -> &mut Limiter {
        match kind {
            PuntKind::Control => &mut self.control,
            PuntKind::Error { .. } => &mut self.errors,
            PuntKind::Router => &mut self.router,
            PuntKind::Handshake => &mut self.handshakes,
        }
    }
}

/// Whether opening counts frames at their links: those of other workers' bursts were counted when they came in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Received,
    Nothing,
}

/// The burst in work, as a structure of arrays.
#[derive(Debug)]
struct Scratch {
    arrivals: [Arrival; BURST_MAX],
    /// Why there is no link; meant where an arrival has no slot.
    reasons: [DropReason; BURST_MAX],
    /// Slot of the ingress link.
    ingress: [u32; BURST_MAX],
    /// Slot of the egress vif.
    egress: [u32; BURST_MAX],
    /// What policy and egress link say; meant where there is an egress.
    admitted: [Result<(), DropReason>; BURST_MAX],
    /// What packets claim; meant where there is an ingress, and where some vif has a policy.
    claims: [Claim; BURST_MAX],
    /// As received; kept for the tap only.
    labels: [u64; BURST_MAX],
    /// Session packets of links with keys, and what became of them.
    sealed: SealedBurst,
}

impl<F: Packet, B: Bank> Engine<F, B> {
    /// An engine that counts into `bank`, which has the layout of `config`.
    #[must_use]
    pub fn new(worker: WorkerId, config: EngineConfig, bank: B) -> Self {
        let EngineConfig {
            layout,
            queue_frames,
            guaranteed_frames,
            vswitch_frames,
            punts_per_second,
            punt_burst,
            strangers_per_second,
            seed,
        } = config;
        let room = Room {
            frames: queue_frames,
            guaranteed_frames,
            vswitch_frames,
            vswitches: layout.vswitches,
        };
        Self {
            worker,
            counts: Counts::new(bank, layout),
            queues: Queues::new(layout.ports, layout.vifs, room),
            claims: Claims::new(layout.vifs),
            colours: Colours::new(layout.vifs),
            shed: Shed::Nothing,
            late: 0,
            punts: Limit::new(punts_per_second, punt_burst),
            limiters: vec![PuntLimiters::default(); layout.vifs].into_boxed_slice(),
            strangers: Strangers::new(strangers_per_second, seed),
            sessions: Sessions::new(layout.vifs),
            pacing: Pacing::new(layout.vifs),
            aead: Aead::detect(),
            scratch: Scratch {
                arrivals: [Arrival::NONE; BURST_MAX],
                reasons: [DropReason::NotOurs; BURST_MAX],
                ingress: [NO_SLOT; BURST_MAX],
                egress: [NO_SLOT; BURST_MAX],
                admitted: [Ok(()); BURST_MAX],
                claims: [Claim::NONE; BURST_MAX],
                labels: [0; BURST_MAX],
                sealed: SealedBurst::new(),
            },
            next_packet: 0,
        }
    }

    /// A burst that came in on `port`; `burst` is empty afterwards.
    pub fn receive<T: Tap>(
        &mut self,
        rules: &Rules,
        now: Nanos,
        port: PortId,
        burst: &mut Burst<F>,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        let mut call = Call::new(rules, now, out, tap, Origin::Transit);
        let first = self.number_packets(burst.len());
        self.classify(&mut call, port, first, burst);
        if self.shed != Shed::Nothing {
            self.colour(&mut call, first, burst, Count::Received);
        }
        self.open(&mut call, burst, Count::Received);
        self.claim(&call, burst);
        self.switch(&call, burst);
        self.admit(&call, burst);
        self.tell(&call, burst);
        self.settle(&mut call, port, first, burst);
    }

    /// Frames that other workers handed to this one; `burst` is empty afterwards.
    pub fn take_over<T: Tap>(
        &mut self,
        rules: &Rules,
        now: Nanos,
        burst: &mut Burst<HandOff<F>>,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        let mut call = Call::new(rules, now, out, tap, Origin::Transit);
        self.counts.worker(WorkerCounter::TakenOver, burst.len() as u64);
        let mut opened = Burst::new();
        for item in burst.drain(..) {
            let packet = self.number_packets(1);
            let Some((slot, record)) = rules.current(item.slot, item.vif, item.epoch) else {
                self.discard(
                    call.out,
                    call.tap,
                    packet,
                    (item.vswitch, Some(item.vif)),
                    DropReason::LinkGone,
                    item.frame,
                );
                continue;
            };
            match item.at {
                HandOffAt::Open { start, len } => {
                    self.scratch.arrivals[opened.len()] = Arrival { slot, start, len };
                    opened.push(item.frame);
                }
                HandOffAt::Queue { origin, what, claim } => {
                    (call.origin, call.claim) = (origin, claim);
                    let to = (slot, record);
                    self.queue(&mut call, packet, to, item.frame, what);
                    (call.origin, call.claim) = (Origin::Transit, Claim::NONE);
                }
            }
        }
        let first = self.number_packets(opened.len());
        if self.shed != Shed::Nothing {
            self.colour(&mut call, first, &opened, Count::Nothing);
        }
        self.open(&mut call, &mut opened, Count::Nothing);
        self.claim(&call, &opened);
        self.switch(&call, &mut opened);
        self.admit(&call, &opened);
        self.tell(&call, &mut opened);
        self.settle(&mut call, PortId(0), first, &mut opened);
    }

    /// A packet of the slow path. It may leave by a link of another worker: as a hand-off.
    pub fn inject<T: Tap>(
        &mut self,
        rules: &Rules,
        now: Nanos,
        item: Inject<F>,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        let mut call = Call::new(rules, now, out, tap, Origin::Own);
        self.counts.worker(WorkerCounter::Injected, 1);
        let packet = self.number_packets(1);
        match item.via {
            Via::Router(vswitch) => match rules.router(vswitch) {
                Some(router) => self.route(&mut call, packet, router, item.frame, 0),
                None => self.discard(
                    call.out,
                    call.tap,
                    packet,
                    (vswitch, None),
                    DropReason::LinkGone,
                    item.frame,
                ),
            },
            Via::Port { vswitch, port } => {
                self.leave_port(&mut call, packet, (vswitch, port), item.frame)
            }
            Via::Vif { vswitch, vif }
            | Via::Probe { vswitch, vif }
            | Via::Handshake { vswitch, vif } => {
                if matches!(item.via, Via::Probe { .. }) {
                    call.origin = Origin::Probe;
                }
                match rules.slot_of(vif).filter(|(_, record)| record.vswitch() == vswitch) {
                    Some(to) if matches!(item.via, Via::Handshake { .. }) => {
                        self.leave_sealed(&mut call, packet, to, item.frame)
                    }
                    Some(to) => self.leave(&mut call, packet, to, item.frame, 0),
                    None => self.discard(
                        call.out,
                        call.tap,
                        packet,
                        (vswitch, Some(vif)),
                        DropReason::LinkGone,
                        item.frame,
                    ),
                }
            }
        }
    }

    /// Changes a link's sessions; what is not used any more, and whatever else there is to say, goes to the outcome.
    pub fn change_session(&mut self, rules: &Rules, change: SessionChange, out: &mut Outcome<F>) {
        if let SessionChangeKind::Read = change.kind {
            return self.is_read(rules, change.vif);
        }
        self.sessions.change(change, &mut out.news);
    }

    /// Other workers send on a port too: its capacity is theirs together.
    pub fn share_port(&mut self, port: PortId, share: Box<dyn PortShare>) {
        self.queues.share(port.index(), share);
    }

    /// Takes over other leases, some vifs at a time, and tells other workers how this one stands. To be called every
    /// round.
    #[inline]
    pub fn adopt(&mut self, leases: &Leases, now: Nanos) {
        self.queues.adopt(leases, self.worker.index(), now);
        self.colours.adopt(leases, now);
    }

    /// Takes over which links' neighbours tell what packets claim, and are told. To be called every round.
    #[inline]
    pub fn adopt_told(&mut self, told: &ToldLinks) {
        self.claims.adopt(told);
    }

    /// Begins to count anew what waits, unless some of what waited when this was done last waits still: says whether
    /// it did. From then on [`Self::older`] tells how much is left of what waits now.
    pub fn begin_turn(&mut self) -> bool {
        self.queues.turn()
    }

    /// Frames in queues since before the turn began, and leases that are not taken over whole yet.
    #[must_use]
    pub fn older(&self) -> usize {
        let is_adopting = self.queues.is_adopting() || self.colours.is_adopting();
        self.queues.older() + usize::from(is_adopting)
    }

    /// Frames waiting for a port.
    #[must_use]
    pub fn queued(&self, port: PortId) -> usize {
        self.queues.len(port.index())
    }

    /// Whether frames leave within microseconds without anything coming in: a worker that slept would keep the port
    /// from what it is sold as.
    #[must_use]
    pub fn waits_for_clock(&self, now: Nanos) -> bool {
        self.queues.wait_for_clock(now)
    }

    /// Whether frames leave by and by without anything coming in.
    #[must_use]
    pub fn is_pacing(&self) -> bool {
        !self.pacing.is_idle()
    }

    /// Frames that the engine holds: in its queues, or until their neighbour can take them.
    #[must_use]
    pub fn frames_held(&self) -> usize {
        self.queues.total() + self.pacing.len()
    }

    /// A hand-off that its ring did not take: counts the drop and gives the frame back.
    pub fn hand_off_full(&mut self, item: HandOff<F>) -> F {
        let reason =
            if item.leased { DropReason::HandOffFull } else { DropReason::HandOffFullFree };
        self.counts.vswitch_drop(item.vswitch, reason);
        item.frame
    }

    /// A stranger's packet that its ring did not take: gives the frame back.
    pub fn stranger_full(&mut self, stranger: Stranger<F>) -> F {
        self.counts.port_drop(stranger.from.port(), DropReason::PuntFull, 1);
        stranger.frame
    }

    /// A punt that its ring did not take: gives the frame back. The drop that owed an error is counted already.
    pub fn punt_full(&mut self, punt: Punt<F>) -> F {
        if !matches!(punt.kind, PuntKind::Error { .. }) {
            self.counts.vswitch_drop(punt.vswitch, DropReason::PuntFull);
        }
        punt.frame
    }

    /// Drops at most a burst of what waits for `port` (`None`: for any): it is down, or the process stops.
    pub fn drop_queued<T: Tap>(
        &mut self,
        port: Option<PortId>,
        reason: DropReason,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        let ports = match port {
            Some(port) => port.index()..port.index() + 1,
            None => 0..self.queues.ports(),
        };
        for _ in 0..BURST_MAX {
            let queued = ports.clone().find_map(|port| self.queues.pop_any(port));
            let waiting = || self.pacing.pop().filter(|_| port.is_none());
            let Some(entry) = queued.or_else(waiting) else { return };
            let (vswitch, vif) = (entry.vswitch, entry.vif());
            self.discard(out, tap, entry.packet, (vswitch, Some(vif)), reason, entry.frame);
        }
    }

    /// The number of the first of `n` packets.
    fn number_packets(&mut self, n: usize) -> u32 {
        let first = self.next_packet;
        self.next_packet = first.wrapping_add(u32::try_from(n).unwrap_or(0));
        first
    }

    /// Counts frames that the worker itself dropped at a port.
    pub fn count_port_drops(&mut self, port: PortId, reason: DropReason, n: u64) {
        self.counts.port_drop(port, reason, n);
    }

    /// The counters, for what is not the engine's to count.
    pub fn bank(&mut self) -> &mut B {
        &mut self.counts.bank
    }
}
