//! From queues to a burst for the port.

use super::Engine;
use crate::Burst;
use crate::encap::encap;
use crate::next_hops::NextHops;
use crate::outcome::Outcome;
use crate::rules::Rules;
use crate::seal::{Seal, seal};
use crate::tap::Tap;
use dataplane_api::counters::{Bank, PortCounter};
use dataplane_api::limits::BURST_MAX;
use dataplane_api::protocol::TapEvent;
use dataplane_api::{DropReason, PortId, VifId};
use wire::buf::Packet;

impl<F: Packet, B: Bank> Engine<F, B> {
    /// Appends at most `room` frames for `port` to `tx`, as they go on the wire, in the order of their turn.
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
        port: PortId,
        room: usize,
        tx: &mut Burst<F>,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        let room = room.min(tx.remaining_capacity());
        let (before, mut bytes) = (tx.len(), 0);
        let mut sent: Burst<(u16, u16)> = Burst::new();
        // Dropped ones make room for others, within a burst.
        for _ in 0..BURST_MAX {
            if tx.len() - before >= room {
                break;
            }
            let Some(entry) = self.queues.pop(port.index()) else { break };
            let (vif, vswitch, packet, mut frame) =
                (entry.vif(), entry.vswitch, entry.packet, entry.frame);
            let Some((_, link)) = rules.current(entry.slot, vif, entry.epoch) else {
                self.discard(out, tap, packet, (vswitch, Some(vif)), DropReason::LinkGone, frame);
                continue;
            };
            seal(Seal::Plain, &mut frame);
            if let Err(reason) = encap(rules, next_hops, link, &mut frame) {
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
        // Apart, so that the counters' cache lines come in together.
        for (vif, len) in sent {
            self.counts.sent(VifId(vif.into()), len.into());
            bytes += u64::from(len);
        }
        self.counts.port(port, PortCounter::TxFrames, (tx.len() - before) as u64);
        self.counts.port(port, PortCounter::TxBytes, bytes);
    }
}
