//! From queues to a burst for the port.

use super::Engine;
use crate::Burst;
use crate::encap::{can_leave, encap};
use crate::next_hops::NextHops;
use crate::outcome::Outcome;
use crate::queue::What;
use crate::rules::Rules;
use crate::schedule::{Class, Queued};
use crate::seal::{self, Framed, FramedBurst};
use crate::tap::Tap;
use dataplane_api::counters::{Bank, PortCounter};
use dataplane_api::limits::BURST_MAX;
use dataplane_api::protocol::TapEvent;
use dataplane_api::{DropReason, Nanos, PortId, VifId};
use wire::buf::Packet;

/// A packet of a leased vif that leaves: vif, class, bytes of wire, how long it waited.
type Sale = (VifId, Class, u64, Nanos);

/// The packet that was taken last is dropped, not sent.
#[cold]
fn unsell(sold: &mut Burst<Sale>, leased: bool) {
    if leased {
        sold.pop();
    }
}

impl<F: Packet, B: Bank> Engine<F, B> {
    /// Appends at most `room` frames for `port` to `tx`, as they go on the wire, in the order of their turn; none while
    /// the port has been given what it is sold as.
    ///
    /// They count as sent: a worker that must drop one of them says so by [`Self::count_port_drops`].
    #[expect(
        clippy::too_many_arguments,
        reason = "each is the worker's own, and lives as long as the worker"
    )]
    pub fn transmit<T: Tap>(
        &mut self,
        rules: &Rules,
        next_hops: &NextHops,
        now: Nanos,
        port: PortId,
        room: usize,
        tx: &mut Burst<F>,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        let room = room.min(tx.remaining_capacity());
        let (before, mut bytes) = (tx.len(), 0);
        let mut sent: Burst<(u16, u16)> = Burst::new();
        let mut sold: Burst<Sale> = Burst::new();
        let mut framed = FramedBurst::new();
        if let Some(schedule) = self.queues.port(port.index()) {
            schedule.begin(now);
        }
        // Dropped ones make room for others, within a burst.
        for _ in 0..BURST_MAX {
            if tx.len() - before >= room {
                break;
            }
            let Some((class, entry)) = self.queues.pop(port.index()) else { break };
            let leased = self.queues.is_leased(entry.vif);
            // What left by its own claim is counted at its vif, too.
            let leased = leased || class == Class::Priority;
            if leased {
                sold.push((entry.vif(), class, entry.wire_len().into(), entry.waited(now)));
            }
            let (vif, vswitch, packet, mut frame) =
                (entry.vif(), entry.vswitch, entry.packet, entry.frame);
            if entry.what == What::FRAME {
                bytes += frame.len() as u64;
                tx.push(frame);
                continue;
            }
            let Some((slot, link)) = rules.current(entry.slot, vif, entry.epoch) else {
                unsell(&mut sold, leased);
                self.discard(out, tap, packet, (vswitch, Some(vif)), DropReason::LinkGone, frame);
                continue;
            };
            if link.is_encrypted() && entry.what == What::SWITCH {
                let (at, epoch) = ((vif, entry.epoch), entry.epoch);
                let ready = can_leave(next_hops, link)
                    .and_then(|()| seal::frame(&mut self.sessions, at, &mut frame, &mut out.news));
                if let Err(reason) = ready {
                    unsell(&mut sold, leased);
                    self.discard(out, tap, packet, (vswitch, Some(vif)), reason, frame);
                    continue;
                }
                // A burst has at most 64 places.
                let index = u8::try_from(tx.len()).unwrap_or(u8::MAX);
                framed.push(Framed { index, slot, vif, epoch, vswitch, packet });
                tx.push(frame);
                continue;
            }
            if let Err(reason) = encap(rules, next_hops, link, &mut frame) {
                unsell(&mut sold, leased);
                self.discard(out, tap, packet, (vswitch, Some(vif)), reason, frame);
                continue;
            }
            if T::ON {
                tap.record(packet.into(), TapEvent::Sent { port, vif }, frame.bytes());
            }
            // A frame's chunk is shorter than 64 KiB.
            sent.push((entry.vif, u16::try_from(frame.len()).unwrap_or(u16::MAX)));
            tx.push(frame);
        }
        if let Some(schedule) = self.queues.port(port.index()) {
            schedule.end();
        }
        if !framed.is_empty() {
            seal::seal(&mut self.aead, &self.sessions, tx, &framed);
            self.encap_sealed(rules, next_hops, port, &framed, tx, &mut sent, out, tap);
        }
        // Apart, so that the counters' cache lines come in together.
        for (vif, len) in sent {
            self.counts.sent(VifId(vif.into()), len.into());
            bytes += u64::from(len);
        }
        for (vif, class, len, waited) in sold {
            self.counts.sold(vif, class, len, waited);
        }
        self.counts.port(port, PortCounter::TxFrames, (tx.len() - before) as u64);
        self.counts.port(port, PortCounter::TxBytes, bytes);
    }

    /// Puts sealed packets into the headers of their links, in place.
    #[expect(clippy::too_many_arguments, reason = "a part of transmit, with what it has")]
    fn encap_sealed<T: Tap>(
        &mut self,
        rules: &Rules,
        next_hops: &NextHops,
        port: PortId,
        framed: &FramedBurst,
        tx: &mut Burst<F>,
        sent: &mut Burst<(u16, u16)>,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        let mut dropped = 0;
        for Framed { index, slot, vif, epoch, vswitch, packet } in framed.iter().copied() {
            let index = usize::from(index) - dropped;
            let Some(frame) = tx.get_mut(index) else { break };
            let link = rules.current(slot, vif, epoch).ok_or(DropReason::LinkGone);
            match link.and_then(|(_, link)| encap(rules, next_hops, link, frame)) {
                Ok(()) => {
                    if T::ON {
                        tap.record(packet.into(), TapEvent::Sent { port, vif }, frame.bytes());
                    }
                    let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
                    sent.push((u16::try_from(vif.0).unwrap_or(u16::MAX), len));
                }
                Err(reason) => {
                    let frame = tx.remove(index);
                    dropped += 1;
                    self.discard(out, tap, packet, (vswitch, Some(vif)), reason, frame);
                }
            }
        }
    }
}
