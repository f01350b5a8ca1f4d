//! Pace: how frames leave towards stock neighbours on Ethernet, who take one frame from their socket each time that they
//! wake up. Source: CJDNS-INTEROP.md §7 item 1.
//!
//! Frames that come closer together than such a reader looks leave one standing in its socket, which delays everything
//! after by one frame, until the neighbour is started anew. So what the box itself sends keeps a distance from whatever was
//! sent before. Transit never waits; where it was crowded, and then it is quiet, a few frames follow that the neighbour
//! throws away: what stands in front of them comes through, and they stand in its place.

use crate::queue::Entry;
use dataplane_api::{Nanos, VifId};
use std::collections::VecDeque;
use wire::ethernet;

/// Distance of the box's own frames from whatever was sent before: 3 ms were enough for nodes on a busy machine.
const GAP: Nanos = 5_000_000;
/// An own frame that waits for so long leaves all the same: where transit does not pause, the next frame is never far.
const PATIENCE: Nanos = 50_000_000;
/// Frames that are taken to stand in a neighbour's socket at most.
const STANDING_MAX: u8 = 16;
/// Own frames that wait at most; more leave at once.
const WAITING_MAX: usize = 4096;
/// Between two looks at what waits.
const LOOK: Nanos = 500_000;
/// Stations that are owed a frame, looked at each time.
const OWED_LOOKS: usize = 64;
/// Shortest frame on Ethernet, without its check sequence.
const FRAME_LEN: usize = 60;

/// How frames left towards one station: a neighbour may be behind several vifs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// When the last frame was queued.
    last: Nanos,
    /// Frames that may stand in the neighbour's socket.
    standing: u8,
    /// Frames to send when it is quiet.
    owed: u8,
    /// It is in the list of links that are owed one.
    listed: bool,
}

impl Pace {
    /// A frame leaves. Says whether the link is owed one now and was not before.
    #[inline]
    pub(crate) fn leaves(&mut self, now: Nanos) -> bool {
        if now.saturating_sub(self.last) < GAP {
            self.standing = (self.standing + 1).min(STANDING_MAX);
        }
        self.last = now;
        self.owed = self.standing;
        let is_new = self.owed > 0 && !self.listed;
        self.listed |= is_new;
        is_new
    }

    fn is_quiet(&self, now: Nanos) -> bool {
        now.saturating_sub(self.last) >= GAP
    }
}

/// An own frame that waits for its turn.
#[derive(Debug)]
struct Waiting<F> {
    entry: Entry<F>,
    /// By which the station's pace is found: the lowest of its vifs.
    station: VifId,
    since: Nanos,
}

/// What a worker's pacing holds.
#[derive(Debug)]
pub(crate) struct Pacing<F> {
    waiting: VecDeque<Waiting<F>>,
    /// Stations that are owed a frame.
    owed: VecDeque<VifId>,
    look_at: Nanos,
}

impl<F> Pacing<F> {
    pub(crate) fn new(vifs: usize) -> Self {
        let room = WAITING_MAX.min(64 * vifs);
        Self {
            waiting: VecDeque::with_capacity(room),
            owed: VecDeque::with_capacity(vifs),
            look_at: 0,
        }
    }

    /// Frames that wait here.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether an own frame for a link with this pace must wait: the last one is too close, or others wait before it.
    pub(crate) fn must_wait(&self, pace: &Pace, station: VifId, now: Nanos) -> bool {
        self.waiting.len() < self.waiting.capacity()
            && (!pace.is_quiet(now)
                || self.waiting.iter().any(|waiting| waiting.station == station))
    }

    pub(crate) fn wait(&mut self, entry: Entry<F>, station: VifId, now: Nanos) {
        self.waiting.push_back(Waiting { entry, station, since: now });
    }

    /// Frames came close together there: some will follow.
    pub(crate) fn owe(&mut self, station: VifId) {
        // Each is in it at most once, and there is room for all.
        self.owed.push_back(station);
    }

    /// Whether it is time to look at what waits.
    #[inline]
    pub(crate) fn is_due(&mut self, now: Nanos) -> bool {
        let due = !(self.waiting.is_empty() && self.owed.is_empty()) && now >= self.look_at;
        if due {
            self.look_at = now + LOOK;
        }
        due
    }

    /// The first own frame that may leave now, by the paces of links.
    pub(crate) fn release(
        &mut self,
        now: Nanos,
        mut pace_of: impl FnMut(VifId) -> Option<Pace>,
    ) -> Option<(Entry<F>, VifId)> {
        let ready = self.waiting.iter().position(|waiting| {
            let pace = pace_of(waiting.station);
            pace.is_none_or(|pace| pace.is_quiet(now))
                || now.saturating_sub(waiting.since) >= PATIENCE
        })?;
        // Only the first of a link can be ready for want of crowding, so their order stays.
        self.waiting.remove(ready).map(|waiting| (waiting.entry, waiting.station))
    }

    /// Any of what waits, when nothing is sent any more.
    pub(crate) fn pop(&mut self) -> Option<Entry<F>> {
        self.waiting.pop_front().map(|waiting| waiting.entry)
    }

    /// Stations that get a frame now, which their neighbours throw away: it is quiet, and something may stand there.
    pub(crate) fn quiet(
        &mut self,
        now: Nanos,
        mut pace_of: impl FnMut(VifId, &mut dyn FnMut(&mut Pace)),
        mut send: impl FnMut(VifId) -> bool,
    ) {
        for _ in 0..OWED_LOOKS.min(self.owed.len()) {
            let Some(station) = self.owed.pop_front() else { return };
            let mut is_owed = false;
            pace_of(station, &mut |pace| {
                if pace.owed > 0 && pace.is_quiet(now) && send(station) {
                    pace.owed -= 1;
                    pace.last = now;
                }
                is_owed = pace.owed > 0;
                pace.listed = is_owed;
            });
            if is_owed {
                self.owed.push_back(station);
            }
        }
    }
}

/// A frame that a cjdns node throws away unread: an ETHInterface header of a version that nobody has.
pub(crate) fn filler(header: &ethernet::Header) -> [u8; FRAME_LEN] {
    const VERSION: u8 = 0xff;
    let mut frame = [0; FRAME_LEN];
    // The longest header is much shorter.
    let _written = header.write(&mut frame);
    if let Some(version) = frame.get_mut(header.len()) {
        *version = VERSION;
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::What;
    use dataplane_api::VswitchId;

    const MS: Nanos = 1_000_000;

    fn entry(vif: u16, packet: u32) -> Entry<()> {
        let (slot, vswitch, epoch) = (0, VswitchId(0), 0);
        Entry { frame: (), slot, vif, vswitch, packet, epoch, what: What::Switch }
    }

    #[test]
    fn own_frames_keep_their_distance_and_their_order() {
        let mut pacing = Pacing::new(4);
        let mut pace = Pace::default();
        let start = 1000 * MS;
        assert!(!pacing.must_wait(&pace, VifId(1), start));
        assert!(!pace.leaves(start), "a frame after a long pause crowds nobody");
        for packet in 1..=3 {
            assert!(pacing.must_wait(&pace, VifId(1), start));
            pacing.wait(entry(1, packet), VifId(1), start);
        }
        let mut left = Vec::new();
        for now in (0..40).map(|half| start + half * MS / 2) {
            if let Some((entry, _)) = pacing.release(now, |_| Some(pace)) {
                pace.leaves(now);
                left.push((entry.packet, (now - start) / MS));
            }
        }
        assert_eq!(left, [(1, 5), (2, 10), (3, 15)]);
        assert_eq!(pace.standing, 0);
    }

    #[test]
    fn transit_without_a_pause_does_not_hold_own_frames_for_ever() {
        let mut pacing = Pacing::new(4);
        let mut pace = Pace::default();
        pacing.wait(entry(1, 7), VifId(1), 0);
        let left = (0..100).find(|ms| {
            pace.leaves(ms * MS);
            pacing.release(ms * MS, |_| Some(pace)).is_some()
        });
        assert_eq!(left, Some(50));
    }

    #[test]
    fn a_crowd_is_followed_by_as_many_frames_once_it_is_quiet() {
        let mut pacing = Pacing::<()>::new(4);
        let mut pace = Pace::default();
        let start = 1000 * MS;
        let owed: Vec<bool> = (0..4).map(|_| pace.leaves(start)).collect();
        assert_eq!(owed, [false, true, false, false]);
        pacing.owe(VifId(2));
        let mut sent = Vec::new();
        for ms in 0..60 {
            let now = start + ms * MS;
            pacing.quiet(
                now,
                |_, change| change(&mut pace),
                |vif| {
                    sent.push((vif, ms));
                    true
                },
            );
        }
        assert_eq!(sent, [(VifId(2), 5), (VifId(2), 10), (VifId(2), 15)]);
        assert!(pacing.owed.is_empty() && !pace.listed);
        // The next lone frame finds them standing.
        assert!(pace.leaves(start + 900 * MS));
    }
}
