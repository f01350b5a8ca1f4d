//! What is shed when the worker is behind.

use super::{Call, Count, Engine};
use crate::Burst;
use crate::colour::Shed;
use crate::outcome::Arrival;
use crate::rules::Record;
use crate::sessions::is_handshake;
use crate::tap::Tap;
use dataplane_api::Nanos;
use dataplane_api::counters::Bank;
use dataplane_api::protocol::TapEvent;
use wire::buf::Packet;

impl<F: Packet, B: Bank> Engine<F, B> {
    /// What the worker sheds until the next call. `late`: so long it was away, nanoseconds, and what came meanwhile did not
    /// come at once.
    #[inline]
    pub fn shed(&mut self, shed: Shed, late: Nanos) {
        (self.shed, self.late) = (shed, late);
    }

    /// Sheds frames of a burst that was classified: they have no link from here on.
    ///
    /// Handshakes of links are left alone: each link may bring few of them to the slow path, and the others cost no
    /// crypto. So are frames of no link: a stranger's handshakes have a limit of their own, and all else ends here anyway.
    #[cold]
    pub(super) fn colour<T: Tap>(
        &mut self,
        call: &mut Call<'_, F, T>,
        first: u32,
        burst: &Burst<F>,
        count: Count,
    ) {
        let records = call.rules.links.records();
        for (index, frame) in burst.iter().enumerate() {
            let arrival = self.scratch.arrivals[index];
            let Some(record) = records.get(arrival.slot as usize) else { continue };
            if is_hello(record, frame, arrival) {
                continue;
            }
            let vif = record.vif();
            let verdict = self.colours.judge((self.shed, self.late), vif, call.now, frame.len());
            let Some(reason) = verdict else { continue };
            if count == Count::Received {
                self.counts.received(vif, frame.len());
            }
            self.counts.vswitch_drop(record.vswitch(), reason);
            if T::ON {
                let packet = first.wrapping_add(u32::try_from(index).unwrap_or(0));
                let event = TapEvent::Dropped { reason, vif: Some(vif), port: None };
                call.tap.record(packet.into(), event, frame.bytes());
            }
            self.scratch.arrivals[index] = Arrival::NONE;
            self.scratch.reasons[index] = reason;
        }
    }
}

fn is_hello<F: Packet>(record: &Record, frame: &F, arrival: Arrival) -> bool {
    let session = || frame.bytes().get(usize::from(arrival.start)..).unwrap_or_default();
    record.is_encrypted() && is_handshake(session())
}
