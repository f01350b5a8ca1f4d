//! Frames towards neighbours that must not get two at once.

use super::{Call, Engine};
use crate::outcome::{Origin, Outcome};
use crate::pace::{Due, filler};
use crate::queue::Entry;
use crate::rules::{Record, Rules, UNTAGGED};
use crate::sessions::SessionNews;
use crate::tap::Tap;
use dataplane_api::counters::Bank;
use dataplane_api::{DropReason, Nanos, VifId};
use wire::buf::Packet;
use wire::ethernet;

impl<F: Packet, B: Bank> Engine<F, B> {
    /// The station for which a packet of a paced link must wait; `None`: it leaves now, and that is kept in mind.
    pub(super) fn pace<T: Tap>(&mut self, call: &Call<'_, F, T>, to: &Record) -> Option<VifId> {
        let station = call.rules.pace_of(to.vif())?;
        let pace = self.sessions.pace_mut(station)?;
        if call.origin != Origin::Transit
            && self.pacing.must_wait(pace, call.origin, station, call.now)
        {
            return Some(station);
        }
        if pace.leaves(call.now, call.origin) {
            self.pacing.owe(station);
        }
        None
    }

    /// Sends what waited for its turn. To be called every round; it looks a few times a millisecond.
    ///
    /// `make`: a frame with these bytes, if there is one free.
    #[inline]
    pub fn tend<T: Tap>(
        &mut self,
        rules: &Rules,
        now: Nanos,
        make: impl FnMut(&[u8]) -> Option<F>,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        if self.pacing.is_due(now) {
            self.tend_now(rules, now, make, out, tap);
        }
    }

    #[cold]
    fn tend_now<T: Tap>(
        &mut self,
        rules: &Rules,
        now: Nanos,
        mut make: impl FnMut(&[u8]) -> Option<F>,
        out: &mut Outcome<F>,
        tap: &mut T,
    ) {
        let sessions = &mut self.sessions;
        while let Some((entry, origin, station)) =
            self.pacing.release(now, |station| sessions.pace_mut(station).map(|pace| *pace))
        {
            let vif = entry.vif();
            if let Some(pace) = sessions.pace_mut(station)
                && pace.leaves(now, origin)
            {
                self.pacing.owe(station);
            }
            let placed = match rules.current(entry.slot, vif, entry.epoch) {
                Some((_, to)) => {
                    let len = entry.frame.len();
                    self.queues.push_own(now, to.port().index(), len, entry)
                }
                None => Err((DropReason::LinkGone, entry)),
            };
            if let Err((reason, entry)) = placed {
                self.counts.vswitch_drop(entry.vswitch, reason);
                if T::ON {
                    let event = dataplane_api::protocol::TapEvent::Dropped {
                        reason,
                        vif: Some(vif),
                        port: None,
                    };
                    tap.record(entry.packet.into(), event, entry.frame.bytes());
                }
                out.free.push(entry.frame);
            }
        }
        let queues = &mut self.queues;
        self.pacing.quiet(
            now,
            |station, change| {
                if let Some(pace) = sessions.pace_mut(station) {
                    change(pace);
                }
            },
            |station, due| {
                let link = rules.slot_of(station).filter(|(_, link)| link.is_paced());
                let Some((_, link)) = link else { return };
                if due == Due::Probe {
                    return out.news.push(SessionNews::Crowded { vif: station });
                }
                let Some(frame) = make(&filler(&header(link))) else { return };
                let len = frame.len();
                let entry = Entry::of_no_link(link.vswitch(), 0, frame);
                let placed = queues.push_own(now, link.port().index(), len, entry);
                if let Err((_full, entry)) = placed {
                    out.free.push(entry.frame);
                }
            },
        );
    }

    /// The neighbour behind a vif has read all that was sent up to the last ping.
    pub(super) fn is_read(&mut self, rules: &Rules, vif: VifId) {
        if let Some(station) = rules.pace_of(vif)
            && let Some(pace) = self.sessions.pace_mut(station)
        {
            pace.is_read();
        }
    }
}

/// Of a frame to a link's neighbour.
fn header(link: &Record) -> ethernet::Header {
    ethernet::Header {
        destination: link.key().peer().0,
        source: link.key().own().0,
        vlan: Some(link.vlan()).filter(|vlan| *vlan != UNTAGGED),
        ethertype: ethernet::ETHERTYPE_CJDNS,
    }
}
