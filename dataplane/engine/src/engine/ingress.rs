//! From a received burst to queues, hand-offs, punts and drops.

use super::{Call, Count, Engine, Scratch};
use crate::Burst;
use crate::admit::admit;
use crate::claim::{self, Claim};
use crate::classify::{self, Caller, classify, classify_untagged};
use crate::open::{self, Opened, Sealed};
use crate::outcome::{Arrival, HandOff, HandOffAt, Origin, Outcome, Punt, PuntKind, Stranger};
use crate::queue::{Entry, What};
use crate::rules::{LinkKey, LinkKind, NO_SLOT, Record, Rules, UNTAGGED};
use crate::schedule::Queued;
use crate::switch::{self, HEADER_LEN, Judgement};
use crate::tap::Tap;
use dataplane_api::counters::{Bank, PortCounter, WorkerCounter};
use dataplane_api::limits::CABLE_HOPS_MAX;
use dataplane_api::protocol::TapEvent;
use dataplane_api::{DropReason, Nanos, PortId, VifId, VswitchId};
use wire::buf::Packet;

/// Bytes of link table that a core's own caches hold beside packets.
const LINKS_CACHED: usize = 128 << 10;
/// What follows the switch header of a control message.
const CONTROL: [u8; 4] = [0xff; 4];

impl<F: Packet, B: Bank> Engine<F, B> {
    /// Finds the link of each frame, and counts it there.
    pub(super) fn classify<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        port: PortId,
        first: u32,
        burst: &Burst<F>,
    ) {
        touch_links(call.rules, port, burst);
        let mut bytes = 0;
        let Scratch { arrivals, reasons, .. } = &mut self.scratch;
        for (frame, arrival) in burst.iter().zip(arrivals.iter_mut()) {
            *arrival = classify_untagged(call.rules, port, frame.bytes());
            bytes += frame.len() as u64;
        }
        for (frame, (arrival, reason)) in burst.iter().zip(arrivals.iter_mut().zip(reasons)) {
            if arrival.slot == NO_SLOT {
                match classify(call.rules, port, frame.bytes()) {
                    Ok(found) => *arrival = found,
                    Err(why) => *reason = why,
                }
            }
        }
        self.counts.port(port, PortCounter::RxFrames, burst.len() as u64);
        self.counts.port(port, PortCounter::RxBytes, bytes);
        if T::ON {
            for (packet, (frame, arrival)) in
                (first..).zip(burst.iter().zip(&self.scratch.arrivals))
            {
                call.tap.record(packet.into(), TapEvent::Received { port }, frame.bytes());
                if let Some(record) = call.rules.links.get(arrival.slot) {
                    call.tap.record(
                        packet.into(),
                        TapEvent::Classified { vif: record.vif() },
                        frame.bytes(),
                    );
                }
            }
        }
    }

    /// Counts each frame at its link, and opens those of this worker's own links: loops of their own, so that records
    /// and counters come in together.
    pub(super) fn open<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        burst: &mut Burst<F>,
        count: Count,
    ) {
        let records = call.rules.links.records();
        let Scratch { arrivals, ingress, sealed, .. } = &mut self.scratch;
        sealed.clear();
        for (index, (frame, (arrival, ingress))) in
            burst.iter_mut().zip(arrivals.iter().zip(ingress)).enumerate()
        {
            *ingress = NO_SLOT;
            if let Some(record) = records.get(arrival.slot as usize) {
                if count == Count::Received {
                    self.counts.received(record.vif(), frame.len());
                }
                if record.owner() == self.worker {
                    open::strip(frame, *arrival);
                    if record.is_encrypted() {
                        let (vif, epoch) = (record.vif(), record.epoch());
                        // A burst has at most 64 places.
                        let index = u8::try_from(index).unwrap_or(u8::MAX);
                        sealed.push(Sealed { index, vif, epoch, opened: Opened::Handshake });
                    } else {
                        *ingress = arrival.slot;
                    }
                }
            }
        }
        if !self.scratch.sealed.is_empty() {
            self.unseal(call, burst);
        }
    }

    /// Opens the packets of links with keys.
    fn unseal<T: Tap>(&mut self, call: &mut Call<'_, F, T>, burst: &mut Burst<F>) {
        let Self { scratch, sessions, aead, counts, .. } = self;
        let Scratch { arrivals, ingress, sealed, .. } = scratch;
        open::open(aead, sessions, burst, sealed, &mut call.out.news);
        for packet in sealed {
            let index = usize::from(packet.index);
            match packet.opened {
                Opened::Packet(arrived) => {
                    counts.opened(packet.vif, arrived);
                    ingress[index] = arrivals[index].slot;
                }
                Opened::KeepAlive(arrived) => counts.opened(packet.vif, arrived),
                Opened::Dropped(DropReason::Replayed) => counts.replayed(packet.vif),
                Opened::Handshake | Opened::Dropped(_) => {}
            }
        }
    }

    /// What each opened packet claims, before a step takes it out of the header.
    #[inline]
    pub(super) fn claim<T: Tap>(&mut self, call: &Call<'_, F, T>, burst: &Burst<F>) {
        if call.rules.policies.is_empty() {
            return;
        }
        let records = call.rules.links.records();
        let Self { scratch: Scratch { ingress, claims, .. }, claims: state, .. } = self;
        for (frame, (slot, claim)) in burst.iter().zip(ingress.iter().zip(claims)) {
            if let Some(from) = records.get(*slot as usize) {
                *claim = state.of(call.rules, from, frame.bytes(), call.now);
            }
        }
    }

    /// Takes the switch step of each opened packet.
    pub(super) fn switch<T: Tap>(&mut self, call: &Call<'_, F, T>, burst: &mut Burst<F>) {
        if T::ON {
            for (frame, label) in burst.iter().zip(&mut self.scratch.labels) {
                *label = label_of(frame.bytes());
            }
        }
        let n = burst.len();
        switch::switch(
            call.rules,
            &self.scratch.ingress[..n],
            burst,
            &mut self.scratch.egress[..n],
        );
    }

    /// Asks policy and egress link about each switched packet: a loop of its own, so that records come in together.
    pub(super) fn admit<T: Tap>(&mut self, call: &Call<'_, F, T>, burst: &Burst<F>) {
        let records = call.rules.links.records();
        let ways = self.scratch.ingress.iter().zip(&self.scratch.egress);
        for (frame, ((ingress, egress), admitted)) in
            burst.iter().zip(ways.zip(&mut self.scratch.admitted))
        {
            if let (Some(from), Some(to)) =
                (records.get(*ingress as usize), records.get(*egress as usize))
            {
                *admitted = admit(from, to, frame.len());
            }
        }
        let egress = self.scratch.egress.iter().take(burst.len());
        let vifs = egress.filter_map(|slot| records.get(*slot as usize)).map(Record::vif_index);
        self.queues.touch(vifs);
    }

    /// What packets claim opens the class matrix to some, and goes on to neighbours that are told.
    #[inline]
    pub(super) fn tell<T: Tap>(&mut self, call: &Call<'_, F, T>, burst: &mut Burst<F>) {
        if call.rules.policies.is_empty() {
            return;
        }
        let records = call.rules.links.records();
        let Scratch { egress, admitted, claims, .. } = &mut self.scratch;
        let ways = egress.iter().zip(admitted.iter_mut().zip(claims));
        for (frame, (egress, (admitted, claim))) in burst.iter_mut().zip(ways) {
            let Some(to) = records.get(*egress as usize) else { continue };
            *admitted = claim::admit(call.rules, *claim, to, frame.len(), *admitted);
            if self.claims.is_told(call.rules, to) {
                claim::tell(frame.bytes_mut(), claim.class);
            }
        }
    }

    /// Sends each packet where its step leads.
    pub(super) fn settle<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        port: PortId,
        first: u32,
        burst: &mut Burst<F>,
    ) {
        let records = call.rules.links.records();
        let is_policed = !call.rules.policies.is_empty();
        for (index, frame) in burst.drain(..).enumerate() {
            if is_policed {
                call.claim = self.scratch.claims[index];
            }
            let packet = first.wrapping_add(u32::try_from(index).unwrap_or(0));
            let egress = self.scratch.egress[index];
            let Some(to) = records.get(egress as usize) else {
                self.settle_other(call, port, packet, index, frame);
                continue;
            };
            if T::ON
                && let Some(from) = call.rules.links.get(self.scratch.ingress[index])
            {
                let label_in = self.scratch.labels[index];
                record_step(call, packet, from, to, label_in, frame.bytes());
            }
            match self.scratch.admitted[index] {
                Ok(()) => self.leave(call, packet, (egress, to), frame, 0),
                Err(reason) => self.refuse_step(call, packet, index, reason, frame),
            }
        }
    }

    /// A packet that took its step, and that policy or the egress link does not let through.
    #[cold]
    fn refuse_step<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        index: usize,
        reason: DropReason,
        frame: F,
    ) {
        let Some(from) = call.rules.links.get(self.scratch.ingress[index]) else {
            // It has an egress, so it has an ingress.
            return call.out.free.push(frame);
        };
        let charged = (from.vswitch(), Some(from.vif()));
        self.discard(call.out, call.tap, packet, charged, reason, frame);
    }

    /// A frame that did not take a plain step: no link, another worker's link, for the vswitch itself, or wrong.
    #[cold]
    fn settle_other<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        port: PortId,
        packet: u32,
        index: usize,
        frame: F,
    ) {
        let rules = call.rules;
        let arrival = self.scratch.arrivals[index];
        let Some(from) = rules.links.get(arrival.slot) else {
            let reason = self.scratch.reasons[index];
            if matches!(reason, DropReason::Stranger | DropReason::BeaconOff) {
                return self.stranger(call, port, packet, reason, frame);
            }
            if matches!(reason, DropReason::ShedFree | DropReason::ShedPriority) {
                // Counted and told by then.
                return call.out.free.push(frame);
            }
            self.counts.port_drop(port, reason, 1);
            if T::ON {
                let event = TapEvent::Dropped { reason, vif: None, port: Some(port) };
                call.tap.record(packet.into(), event, frame.bytes());
            }
            call.out.free.push(frame);
            return;
        };
        if from.owner() == self.worker {
            match self.scratch.sealed.iter().find(|sealed| usize::from(sealed.index) == index) {
                None | Some(Sealed { opened: Opened::Packet(_), .. }) => {
                    self.judge(call, packet, from, frame)
                }
                Some(Sealed { opened, .. }) => self.not_opened(call, packet, from, *opened, frame),
            }
        } else {
            let Arrival { slot, start, len } = arrival;
            let control = is_control(frame.bytes().get(usize::from(start)..).unwrap_or_default());
            self.hand_off(
                call,
                packet,
                (slot, from),
                control,
                HandOffAt::Open { start, len },
                frame,
            );
        }
    }

    /// A session packet without a switch packet inside.
    fn not_opened<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        from: &Record,
        opened: Opened,
        frame: F,
    ) {
        match opened {
            Opened::Handshake => self.punt(call, packet, from, PuntKind::Handshake, frame),
            Opened::Dropped(reason) => {
                let charged = (from.vswitch(), known(from));
                self.discard(call.out, call.tap, packet, charged, reason, frame);
            }
            // It said all it had to say by being authentic.
            Opened::KeepAlive(_) | Opened::Packet(_) => call.out.free.push(frame),
        }
    }

    /// A frame from an address that no link has, or a beacon: a handshake or a beacon goes to the slow path where
    /// somebody listens, if there have not been too many.
    #[cold]
    fn stranger<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        port: PortId,
        packet: u32,
        reason: DropReason,
        mut frame: F,
    ) {
        let reason = match classify::caller(call.rules, port, frame.bytes()) {
            None => reason,
            Some(caller) if !self.strangers.admits(call.now, &caller.from) => {
                DropReason::HandshakeLimited
            }
            Some(caller) => {
                self.counts.worker(WorkerCounter::Punted, 1);
                self.counts.port(port, PortCounter::Punted, 1);
                frame.trim_front(caller.start);
                frame.truncate(caller.len);
                let Caller { from, vswitch, stations, .. } = caller;
                return call.out.strangers.push(Stranger { frame, from, stations, vswitch });
            }
        };
        self.counts.port_drop(port, reason, 1);
        if T::ON {
            let event = TapEvent::Dropped { reason, vif: None, port: Some(port) };
            call.tap.record(packet.into(), event, frame.bytes());
        }
        call.out.free.push(frame);
    }

    /// One packet through the switch of `from`'s vswitch.
    pub(super) fn route<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        from: &Record,
        mut frame: F,
        cables: u32,
    ) {
        let rules = call.rules;
        let label_in = label_of(frame.bytes());
        let is_policed = !rules.policies.is_empty();
        call.claim = match known(from).filter(|_| is_policed) {
            Some(_) => self.claims.of(rules, from, frame.bytes(), call.now),
            None => Claim::NONE,
        };
        let slot = match frame.bytes_mut().first_chunk_mut::<HEADER_LEN>() {
            Some(header) => switch::step(rules, from, header),
            None => NO_SLOT,
        };
        let Some(to) = rules.links.get(slot) else { return self.judge(call, packet, from, frame) };
        if T::ON {
            record_step(call, packet, from, to, label_in, frame.bytes());
        }
        if is_policed && self.claims.is_told(rules, to) {
            claim::tell(frame.bytes_mut(), call.claim.class);
        }
        let admitted = admit(from, to, frame.len());
        match claim::admit(rules, call.claim, to, frame.len(), admitted) {
            Ok(()) => self.leave(call, packet, (slot, to), frame, cables),
            Err(reason) => self.discard(
                call.out,
                call.tap,
                packet,
                (from.vswitch(), known(from)),
                reason,
                frame,
            ),
        }
    }

    /// A switched packet on its way out of a vif.
    #[inline]
    pub(super) fn leave<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        to: (u32, &Record),
        frame: F,
        cables: u32,
    ) {
        if to.1.owner() == self.worker {
            self.queue(call, packet, to, frame, What::SWITCH);
        } else {
            self.leave_worker(call, packet, to, frame, cables);
        }
    }

    /// A session packet of a handshake on its way out of a vif.
    pub(super) fn leave_sealed<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        to: (u32, &Record),
        frame: F,
    ) {
        if to.1.owner() == self.worker {
            self.queue(call, packet, to, frame, What::SESSION);
        } else {
            self.hand_off(
                call,
                packet,
                to,
                true,
                HandOffAt::Queue { origin: Origin::Own, what: What::SESSION, claim: Claim::NONE },
                frame,
            );
        }
    }

    /// A whole frame on its way out of a port.
    pub(super) fn leave_port<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        (vswitch, port): (VswitchId, PortId),
        frame: F,
    ) {
        let len = frame.len();
        let entry = Entry::of_no_link(vswitch, packet, frame);
        if let Err((reason, entry)) = self.queues.push_own(call.now, port.index(), len, entry) {
            self.discard(call.out, call.tap, packet, (vswitch, None), reason, entry.frame);
        }
    }

    /// Through a cable, or to the worker that owns the link.
    #[cold]
    fn leave_worker<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        (slot, to): (u32, &Record),
        frame: F,
        cables: u32,
    ) {
        if to.kind() != LinkKind::Cable {
            let control = is_control(frame.bytes());
            let (origin, claim) = (call.origin, call.claim);
            let at = HandOffAt::Queue { origin, what: What::SWITCH, claim };
            return self.hand_off(call, packet, (slot, to), control, at, frame);
        }
        let rules = call.rules;
        match rules.links.get(to.other()) {
            Some(other) if cables < CABLE_HOPS_MAX => {
                self.counts.sent(to.vif(), frame.len());
                self.counts.received(other.vif(), frame.len());
                self.route(call, packet, other, frame, cables + 1);
            }
            Some(_) | None => {
                self.discard(
                    call.out,
                    call.tap,
                    packet,
                    (to.vswitch(), Some(to.vif())),
                    DropReason::CableLimit,
                    frame,
                );
            }
        }
    }

    /// Puts a packet into the queue of its port.
    // As a call, a packet would go through memory once more.
    #[inline(always)]
    pub(super) fn queue<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        (slot, to): (u32, &Record),
        frame: F,
        what: What,
    ) {
        if T::ON {
            call.tap.record(packet.into(), TapEvent::Queued { vif: to.vif() }, frame.bytes());
        }
        let len = frame.len();
        let entry = Entry::new((slot, to), packet, what, frame);
        if to.is_paced()
            && let Some(station) = self.pace(call, to)
        {
            return self.pacing.wait(entry, call.origin, station, call.now);
        }
        let port = to.port().index();
        let placed = if call.origin == Origin::Transit {
            self.queues.push(call.now, port, len, call.claim, entry)
        } else {
            self.queues.push_own(call.now, port, len, entry)
        };
        if let Err((reason, entry)) = placed {
            if self.queues.is_leased(entry.vif) {
                self.counts.unsold(to.vif(), reason, entry.wire_len().into());
            }
            let charged = (to.vswitch(), Some(to.vif()));
            self.discard(call.out, call.tap, packet, charged, reason, entry.frame);
        }
    }

    fn hand_off<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        (slot, link): (u32, &Record),
        leased: bool,
        at: HandOffAt,
        frame: F,
    ) {
        if T::ON {
            call.tap.record(packet.into(), TapEvent::HandedOff { to: link.owner() }, frame.bytes());
        }
        self.counts.worker(WorkerCounter::HandedOff, 1);
        let (to, vif, vswitch, epoch) = (link.owner(), link.vif(), link.vswitch(), link.epoch());
        call.out.hand_offs.push(HandOff { to, vif, leased, frame, vswitch, epoch, slot, at });
    }

    /// A packet for the vswitch itself, or one that goes nowhere.
    fn judge<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        from: &Record,
        mut frame: F,
    ) {
        match switch::judge(call.rules, from, frame.bytes_mut()) {
            Judgement::Delivered if is_control(frame.bytes()) => {
                self.punt(call, packet, from, PuntKind::Control, frame);
            }
            Judgement::Delivered if call.rules.is_node(from.vswitch()) => {
                self.punt(call, packet, from, PuntKind::Router, frame);
            }
            Judgement::Delivered => {
                let (charged, reason) = ((from.vswitch(), known(from)), DropReason::NotControl);
                self.discard(call.out, call.tap, packet, charged, reason, frame);
            }
            Judgement::Dropped { reason, error } => {
                self.refuse(call, packet, from, reason, error, frame)
            }
        }
    }

    /// A packet for the slow path, if its link has not sent too many of the kind.
    fn punt<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        from: &Record,
        kind: PuntKind,
        frame: F,
    ) {
        let vswitch = from.vswitch();
        let Some(vif) = known(from) else {
            // The slow path talks to itself.
            let reason = DropReason::ControlOrigin;
            return self.discard(call.out, call.tap, packet, (vswitch, None), reason, frame);
        };
        let limiter = self.limiters.get_mut(vif.index()).map(|limiters| limiters.of(kind));
        let conforms = limiter
            .zip(self.punts)
            .is_some_and(|(limiter, limit)| limiter.conforms(limit, call.now));
        if !conforms {
            let reason = DropReason::PuntLimited;
            return self.discard(call.out, call.tap, packet, (vswitch, Some(vif)), reason, frame);
        }
        if T::ON {
            call.tap.record(packet.into(), TapEvent::Punted { vif }, frame.bytes());
        }
        self.counts.worker(WorkerCounter::Punted, 1);
        if from.kind() != LinkKind::Cable {
            self.counts.port(from.port(), PortCounter::Punted, 1);
        }
        call.out.punts.push(Punt { frame, vif, vswitch, kind });
    }

    /// Counts a drop, and sends the packet to the slow path if its sender is owed an error that the limit allows.
    fn refuse<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        packet: u32,
        from: &Record,
        reason: DropReason,
        error: Option<u32>,
        frame: F,
    ) {
        let (vswitch, vif) = (from.vswitch(), known(from));
        let Some((code, vif)) = error.zip(vif).filter(|(_, vif)| self.owes_error(*vif, call.now))
        else {
            return self.discard(call.out, call.tap, packet, (vswitch, vif), reason, frame);
        };
        self.counts.vswitch_drop(vswitch, reason);
        if T::ON {
            let event = TapEvent::Dropped { reason, vif: Some(vif), port: None };
            call.tap.record(packet.into(), event, frame.bytes());
        }
        self.counts.worker(WorkerCounter::Punted, 1);
        call.out.punts.push(Punt { frame, vif, vswitch, kind: PuntKind::Error { code } });
    }

    /// Whether the limit on errors allows one more about packets of a vif.
    fn owes_error(&mut self, vif: VifId, now: Nanos) -> bool {
        let limiter = self.limiters.get_mut(vif.index()).map(|limiters| &mut limiters.errors);
        limiter.zip(self.punts).is_some_and(|(limiter, limit)| limiter.conforms(limit, now))
    }

    /// Drops a packet whose vswitch is known.
    #[cold]
    pub(super) fn discard<T: Tap>(
        &mut self,
        out: &mut Outcome<F>,
        tap: &mut T,
        packet: u32,
        (vswitch, vif): (VswitchId, Option<VifId>),
        reason: DropReason,
        frame: F,
    ) {
        self.counts.vswitch_drop(vswitch, reason);
        if T::ON {
            tap.record(packet.into(), TapEvent::Dropped { reason, vif, port: None }, frame.bytes());
        }
        out.free.push(frame);
    }
}

/// Lets the cache lines of a burst's links come in together, where the table is larger than a core's caches.
///
/// `find` decides on what it loads, and a wrong guess about one packet would hold up the loads of the next.
fn touch_links<F: Packet>(rules: &Rules, port: PortId, burst: &Burst<F>) {
    if rules.links.bytes() < LINKS_CACHED {
        return;
    }
    let mut sum = 0;
    for frame in burst {
        if let Some([a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3]) = frame.bytes().first_chunk()
        {
            let low = u64::from_le_bytes([*a0, *a1, *a2, *a3, *a4, *a5, *a6, *a7]);
            let tail = u32::from_le_bytes([*b0, *b1, *b2, *b3]);
            sum ^= rules.links.touch(LinkKey::from_words(low, tail, UNTAGGED, port));
        }
    }
    std::hint::black_box(sum);
}

fn record_step<F, T: Tap>(
    call: &mut Call<'_, F, T>,
    packet: u32,
    from: &Record,
    to: &Record,
    label_in: u64,
    bytes: &[u8],
) {
    let bits = switch::first_director(call.rules, from, label_in).map_or(0, |(_, bits)| bits);
    // A packet of the vswitch's own router has no ingress vif; its first step is told from the egress vif alone.
    let from = known(from).unwrap_or_else(|| to.vif());
    let event =
        TapEvent::Switched { from, to: to.vif(), label_in, label_out: label_of(bytes), bits };
    call.tap.record(packet.into(), event, bytes);
}

/// The vif behind a record, which may be that of a router.
fn known(record: &Record) -> Option<VifId> {
    Some(record.vif()).filter(|_| record.number() != 1)
}

fn label_of(packet: &[u8]) -> u64 {
    packet.first_chunk().map_or(0, |label| u64::from_be_bytes(*label))
}

fn is_control(packet: &[u8]) -> bool {
    packet.get(HEADER_LEN..HEADER_LEN + CONTROL.len()) == Some(&CONTROL)
}
