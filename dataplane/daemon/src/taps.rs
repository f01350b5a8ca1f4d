//! Watching packets: what a worker remembers of a call's packets, and which of it somebody asked for.
//!
//! A filter may match by a packet's last step (its drop), so a call's steps are kept until the call is over. What was
//! matched once is followed when it is sent or dropped later. Nothing of this runs while nobody watches.

use crate::recorder::{MIRROR, TRACE};
use dataplane_api::protocol::{TapEvent, TapFilter, TapRecord};
use dataplane_api::{Nanos, WorkerId};
use std::sync::Arc;
use sync::hand_off::Sender;

/// Clients that may watch at once.
pub(crate) const WATCHERS_MAX: usize = 4;
/// Steps kept of one call: a burst of packets with 8 steps each.
const STEPS_MAX: usize = 512;
/// Longest part of a frame that is carried, bytes.
const SNAP_MAX: usize = 2048;
/// Packets that were matched and may still have steps to come.
const FOLLOWED_MAX: usize = 1024;
/// Records on their way to the management thread.
pub(crate) const RING_RECORDS: usize = 256;

/// Who watches what; published with the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    /// By watcher: a number of the management thread's, and what it asked for.
    pub(crate) filters: Vec<(u64, TapFilter)>,
    /// By vif, what is always kept of its packets: [`crate::recorder::flags`].
    pub(crate) flags: Arc<[u8]>,
}

/// Watchers that are no clients: of mirrored and of traced vifs.
pub(crate) const MIRRORED: u64 = 0;
pub(crate) const TRACED: u64 = 1;
/// Most copies, and most steps, that each worker keeps a second.
const MIRRORED_MAX: u32 = 2_000;
const TRACED_MAX: u32 = 200;
/// In [`WorkerTap::followed`], beside the watchers' bits: it is of a traced vif.
const IS_TRACED: u8 = 1 << 7;

/// A record on its way, without an allocation.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    watcher: u64,
    record: Step,
}

/// One step of a packet.
#[derive(Clone, Debug)]
struct Step {
    at: Nanos,
    packet: u64,
    event: TapEvent,
    frame_len: u32,
    snap_len: usize,
    bytes: [u8; SNAP_MAX],
}

impl Seen {
    /// For whom.
    pub(crate) fn watcher(&self) -> u64 {
        self.watcher
    }

    /// As it crosses the socket.
    pub(crate) fn to_record(&self, worker: WorkerId) -> TapRecord {
        let Step { at, packet, event, frame_len, snap_len, bytes } = &self.record;
        TapRecord {
            at_ns: *at,
            worker,
            packet: *packet,
            event: *event,
            frame_len: *frame_len,
            bytes: bytes[..*snap_len].to_vec(),
        }
    }
}

/// One worker's part; all of it is allocated at start.
#[derive(Debug)]
pub(crate) struct WorkerTap {
    ring: Sender<Seen>,
    now: Nanos,
    steps: Vec<Step>,
    /// By packet number modulo its length: the packet and the watchers (bits) who follow it.
    followed: Box<[(u64, u8)]>,
    budgets: [Budget; WATCHERS_MAX],
    /// Of the watch: whether a client is there, and what is always kept.
    has_clients: bool,
    flags: Arc<[u8]>,
    mirrored: Budget,
    traced: Budget,
    lost: u64,
}

/// Records that a watcher may still have this second.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    second: u64,
    used: u32,
}

impl Budget {
    fn take(&mut self, now: Nanos, rate_max: u32) -> bool {
        let second = now / 1_000_000_000;
        if second != self.second {
            *self = Self { second, used: 0 };
        }
        let may = self.used < rate_max;
        self.used += u32::from(may);
        may
    }
}

impl engine::Tap for WorkerTap {
    const ON: bool = true;

    fn record(&mut self, packet: u64, event: TapEvent, bytes: &[u8]) {
        if !self.flags.is_empty() {
            self.keep(packet, event, bytes);
        }
        if !self.has_clients {
            return;
        }
        if self.steps.len() == STEPS_MAX {
            self.lost += 1;
            return;
        }
        self.steps.push(Step::new(self.now, packet, event, bytes, SNAP_MAX));
    }
}

impl Step {
    fn new(at: Nanos, packet: u64, event: TapEvent, bytes: &[u8], snap_max: usize) -> Self {
        let snap_len = bytes.len().min(snap_max).min(SNAP_MAX);
        let frame_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut step = Self { at, packet, event, frame_len, snap_len, bytes: [0; SNAP_MAX] };
        step.bytes[..snap_len].copy_from_slice(&bytes[..snap_len]);
        step
    }
}

impl WorkerTap {
    /// A tap that sends into `ring`.
    pub(crate) fn new(ring: Sender<Seen>) -> Self {
        Self {
            ring,
            now: 0,
            steps: Vec::with_capacity(STEPS_MAX),
            followed: vec![(0, 0); FOLLOWED_MAX].into_boxed_slice(),
            budgets: [Budget::default(); WATCHERS_MAX],
            has_clients: true,
            flags: Arc::default(),
            mirrored: Budget::default(),
            traced: Budget::default(),
            lost: 0,
        }
    }

    /// Before a round.
    pub(crate) fn at(&mut self, now: Nanos, watch: &Watch) {
        self.now = now;
        self.has_clients = !watch.filters.is_empty();
        if !Arc::ptr_eq(&self.flags, &watch.flags) {
            self.flags = Arc::clone(&watch.flags);
        }
    }

    /// Keeps what is always kept of a step, as far as its second has room.
    fn keep(&mut self, packet: u64, event: TapEvent, bytes: &[u8]) {
        let of = |vif: Option<dataplane_api::VifId>| {
            vif.and_then(|vif| self.flags.get(vif.index())).copied().unwrap_or(0)
        };
        let [a, b] = vifs_of(event).map(of);
        let is_whole = matches!(event, TapEvent::Classified { .. } | TapEvent::Sent { .. });
        if a & MIRROR != 0 && is_whole && self.mirrored.take(self.now, MIRRORED_MAX) {
            let record = Step::new(self.now, packet, event, bytes, SNAP_MAX);
            self.push(MIRRORED, record);
        }
        let entry = Self::place(packet, self.followed.len());
        let (followed, bits) = self.followed[entry];
        let bits = if followed == packet { bits } else { 0 };
        if ((a | b) & TRACE != 0 || bits & IS_TRACED != 0) && self.traced.take(self.now, TRACED_MAX)
        {
            self.followed[entry] = (packet, bits | IS_TRACED);
            self.push(TRACED, Step::new(self.now, packet, event, bytes, 0));
        }
    }

    fn push(&mut self, watcher: u64, record: Step) {
        self.lost += u64::from(self.ring.push_one(Seen { watcher, record }).is_err());
    }

    /// After a call: sends the steps that were asked for, forgets the rest. Returns how many were lost.
    pub(crate) fn flush(&mut self, watch: &Watch) -> u64 {
        for (watcher, (id, filter)) in watch.filters.iter().enumerate().take(WATCHERS_MAX) {
            self.send_to(watcher, *id, filter);
        }
        self.steps.clear();
        std::mem::take(&mut self.lost)
    }

    fn send_to(&mut self, watcher: usize, id: u64, filter: &TapFilter) {
        let bit = 1 << watcher;
        for at in 0..self.steps.len() {
            let packet = self.steps[at].packet;
            let entry = Self::place(packet, self.followed.len());
            let (followed, bits) = self.followed[entry];
            let follows = followed == packet && bits & bit != 0;
            if !follows && !matches(filter, packet, &self.steps) {
                continue;
            }
            let others = if followed == packet { bits } else { 0 };
            self.followed[entry] = (packet, others | bit);
            if !self.budgets[watcher].take(self.now, filter.rate_max) {
                self.lost += 1;
                continue;
            }
            let mut record = self.steps[at].clone();
            record.snap_len = record.snap_len.min(filter.snap_len.into());
            self.lost += u64::from(self.ring.push_one(Seen { watcher: id, record }).is_err());
        }
    }

    fn place(packet: u64, len: usize) -> usize {
        usize::try_from(packet % len as u64).unwrap_or(0)
    }
}

/// Whether the steps of `packet` have everything that the filter asks for.
fn matches(filter: &TapFilter, packet: u64, steps: &[Step]) -> bool {
    let of_packet = || steps.iter().filter(|step| step.packet == packet);
    let asked = |wanted: bool, found: &dyn Fn(&Step) -> bool| !wanted || of_packet().any(found);
    asked(filter.label.is_some(), &|step| label_of(step) == filter.label)
        && asked(filter.vif.is_some(), &|step| vifs_of(step.event).contains(&filter.vif))
        && asked(filter.port.is_some(), &|step| port_of(step.event) == filter.port)
        && asked(filter.reason.is_some(), &|step| match step.event {
            TapEvent::Dropped { reason, .. } => Some(reason) == filter.reason,
            TapEvent::Received { .. }
            | TapEvent::Classified { .. }
            | TapEvent::Switched { .. }
            | TapEvent::HandedOff { .. }
            | TapEvent::Queued { .. }
            | TapEvent::Sent { .. }
            | TapEvent::Punted { .. } => false,
        })
}

/// The label a step was taken with. A packet that is dropped on its first step shows it in its switch header.
fn label_of(step: &Step) -> Option<u64> {
    match step.event {
        TapEvent::Switched { label_in, .. } => Some(label_in),
        TapEvent::Dropped { port: None, .. } | TapEvent::Punted { .. } => {
            step.bytes[..step.snap_len].first_chunk().map(|label| u64::from_be_bytes(*label))
        }
        TapEvent::Dropped { .. }
        | TapEvent::Received { .. }
        | TapEvent::Classified { .. }
        | TapEvent::HandedOff { .. }
        | TapEvent::Queued { .. }
        | TapEvent::Sent { .. } => None,
    }
}

fn vifs_of(event: TapEvent) -> [Option<dataplane_api::VifId>; 2] {
    match event {
        TapEvent::Classified { vif }
        | TapEvent::Queued { vif }
        | TapEvent::Sent { vif, .. }
        | TapEvent::Punted { vif } => [Some(vif); 2],
        TapEvent::Switched { from, to, .. } => [Some(from), Some(to)],
        TapEvent::Dropped { vif, .. } => [vif; 2],
        TapEvent::Received { .. } | TapEvent::HandedOff { .. } => [None; 2],
    }
}

fn port_of(event: TapEvent) -> Option<dataplane_api::PortId> {
    match event {
        TapEvent::Received { port } | TapEvent::Sent { port, .. } => Some(port),
        TapEvent::Dropped { port, .. } => port,
        TapEvent::Classified { .. }
        | TapEvent::Switched { .. }
        | TapEvent::HandedOff { .. }
        | TapEvent::Queued { .. }
        | TapEvent::Punted { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{DropReason, PortId, VifId};
    use engine::Tap as _;
    use sync::hand_off::{Receiver, ring};
    use sync::waker::Waker;

    fn tap() -> (WorkerTap, Receiver<Seen>) {
        let (sender, receiver) = ring(RING_RECORDS, Waker::none());
        (WorkerTap::new(sender), receiver)
    }

    fn watch(filter: TapFilter) -> Watch {
        let filters = vec![(7, TapFilter { rate_max: 100, snap_len: 4, ..filter })];
        Watch { filters, flags: Arc::default() }
    }

    fn received(ring: &mut Receiver<Seen>) -> Vec<TapRecord> {
        let mut records = Vec::new();
        ring.pop(RING_RECORDS, |seen| records.push(seen.to_record(WorkerId(3))));
        records
    }

    const IN: TapEvent = TapEvent::Received { port: PortId(1) };
    const DROP: TapEvent =
        TapEvent::Dropped { reason: DropReason::Policy, vif: Some(VifId(2)), port: None };

    #[test]
    fn a_drop_shows_the_steps_before_it_too_and_no_other_packet() {
        let (mut tap, mut ring) = tap();
        tap.at(5, &watch(TapFilter::default()));
        for packet in 0..3 {
            tap.record(packet, IN, &[9; 60]);
        }
        tap.record(1, DROP, &[8; 40]);
        let watch = watch(TapFilter { reason: Some(DropReason::Policy), ..TapFilter::default() });
        assert_eq!(tap.flush(&watch), 0);
        let records = received(&mut ring);
        assert_eq!(records.len(), 2);
        assert!(
            records.iter().all(|record| record.packet == 1
                && record.at_ns == 5
                && record.worker == WorkerId(3))
        );
        assert_eq!(
            (records[1].event, records[1].frame_len, records[1].bytes.as_slice()),
            (DROP, 40, &[8; 4][..])
        );
    }

    #[test]
    fn what_was_matched_is_followed_into_later_calls() {
        let (mut tap, mut ring) = tap();
        let watch = watch(TapFilter { label: Some(0x15), ..TapFilter::default() });
        let step = TapEvent::Switched {
            from: VifId(0),
            to: VifId(1),
            label_in: 0x15,
            label_out: 1,
            bits: 4,
        };
        tap.record(4, step, &[0; 60]);
        tap.flush(&watch);
        tap.record(4, TapEvent::Sent { port: PortId(0), vif: VifId(1) }, &[0; 60]);
        tap.record(5, TapEvent::Sent { port: PortId(0), vif: VifId(1) }, &[0; 60]);
        tap.flush(&watch);
        assert_eq!(received(&mut ring).len(), 2);
    }

    #[test]
    fn flagged_vifs_are_kept_without_a_client_up_to_their_rate() {
        let (mut tap, mut ring) = tap();
        let watch = Watch { filters: Vec::new(), flags: [0, MIRROR, TRACE].into() };
        let sent = |vif| TapEvent::Sent { port: PortId(0), vif: VifId(vif) };
        let step =
            TapEvent::Switched { from: VifId(2), to: VifId(0), label_in: 1, label_out: 1, bits: 4 };
        tap.at(0, &watch);
        for packet in 0..4 {
            tap.record(packet, IN, &[1; 60]);
        }
        tap.record(0, TapEvent::Classified { vif: VifId(1) }, &[2; 60]);
        tap.record(1, step, &[3; 60]);
        tap.record(1, sent(0), &[4; 60]);
        tap.record(2, sent(0), &[5; 60]);
        tap.record(3, sent(1), &[6; 60]);
        assert_eq!(tap.flush(&watch), 0);
        let mut kept = Vec::new();
        ring.pop(RING_RECORDS, |seen| {
            kept.push((
                seen.watcher(),
                seen.record.packet,
                seen.to_record(WorkerId(0)).bytes.len(),
            ));
        });
        assert_eq!(kept, [(MIRRORED, 0, 60), (TRACED, 1, 0), (TRACED, 1, 0), (MIRRORED, 3, 60)]);
        for _ in 0..MIRRORED_MAX + 10 {
            tap.record(9, sent(1), &[7; 60]);
            ring.pop(RING_RECORDS, |_| ());
        }
        tap.record(9, sent(1), &[7; 60]);
        assert_eq!(received(&mut ring).len(), 0, "a second has room for so many");
        tap.at(1_000_000_000, &watch);
        tap.record(9, sent(1), &[7; 60]);
        assert_eq!(received(&mut ring).len(), 1);
    }

    #[test]
    fn the_rate_is_kept_and_what_is_lost_is_counted() {
        let (mut tap, mut ring) = tap();
        let watch = watch(TapFilter::default());
        for packet in 0..150 {
            tap.record(packet, IN, &[0; 60]);
        }
        assert_eq!(tap.flush(&watch), 50);
        assert_eq!(received(&mut ring).len(), 100);
        tap.at(1_000_000_000, &watch);
        tap.record(200, IN, &[0; 60]);
        assert_eq!(tap.flush(&watch), 0);
        for packet in 0..STEPS_MAX as u64 + 3 {
            tap.record(packet, IN, &[0; 60]);
        }
        assert_eq!(tap.flush(&Watch::default()), 3);
    }
}
