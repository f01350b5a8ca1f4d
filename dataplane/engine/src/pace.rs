//! Pace: how frames leave towards stock neighbours on Ethernet, who take one frame from their socket each time that they
//! wake up. Source: CJDNS-INTEROP.md §7 item 1.
//!
//! Frames that come closer together than such a reader looks leave one standing in its socket, which delays everything
//! after by one frame, until the neighbour is started anew. So what the box itself sends keeps a distance from whatever was
//! sent before. Transit never waits. Where frames were crowded, and then it is quiet, the neighbour is pinged: a pong at
//! once says that nothing stands there. Until it comes, frames follow that the neighbour throws away: what stands in front
//! of them comes through, they stand in its place, and as many as it took are what stands from then on.

use crate::outcome::Origin;
use crate::queue::Entry;
use dataplane_api::{Nanos, VifId};
use std::collections::VecDeque;
use wire::ethernet;

/// Distance of the box's own frames from whatever was sent before: 3 ms were enough for nodes on a busy machine.
const GAP: Nanos = 5_000_000;
/// The same of pings and fillers where something is known to stand: what stands behind it waits for them.
const GAP_STUCK: Nanos = 2_000_000;
/// An own frame that waits for so long leaves all the same: where transit does not pause, the next frame is never far.
const PATIENCE: Nanos = 50_000_000;
/// Frames that follow until a pong comes, at most.
const FILLERS_MAX: u8 = 64;
/// A ping that was asked for leaves within this time, or frames follow without.
const PROBE_PATIENCE: Nanos = 50_000_000;
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
    /// When a ping was asked for; 0: it was not.
    asked: Nanos,
    /// Frames may stand in the neighbour's socket.
    stuck: bool,
    /// And they do: it took some that followed until a pong came.
    known: bool,
    /// Something that is no ping left after the last ping.
    unprobed: bool,
    /// It is in the list of stations that are owed something.
    listed: bool,
    /// Frames that followed the last one.
    fillers: u8,
    /// Frames that may follow yet.
    owed: u8,
}

/// What a quiet station gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping.
    Probe,
    /// A frame that it throws away.
    Filler,
}

impl Pace {
    /// A frame leaves. Says whether the station is owed something now and was not before.
    #[inline]
    pub(crate) fn leaves(&mut self, now: Nanos, origin: Origin) -> bool {
        self.stuck |= now.saturating_sub(self.last) < GAP;
        self.last = now;
        self.unprobed = origin != Origin::Probe;
        if !self.stuck {
            return false;
        }
        (self.fillers, self.owed) = (0, FILLERS_MAX);
        let is_new = !self.listed;
        self.listed = true;
        is_new
    }

    /// A pong came: the neighbour has read all up to the last ping.
    pub(crate) fn is_read(&mut self) {
        if !self.unprobed {
            self.known = self.fillers > 0;
            self.stuck = self.known;
            self.owed = 0;
        }
    }

    /// Whether an own frame may leave.
    fn is_quiet(&self, now: Nanos, origin: Origin) -> bool {
        let gap = if self.known && origin == Origin::Probe { GAP_STUCK } else { GAP };
        now.saturating_sub(self.last) >= gap
    }

    fn due(&mut self, now: Nanos) -> Due {
        if self.owed == 0 || !self.is_quiet(now, Origin::Probe) {
            return Due::Nothing;
        }
        if self.unprobed && self.asked <= self.last {
            self.asked = now;
            return Due::Probe;
        }
        if self.unprobed && now.saturating_sub(self.asked) < PROBE_PATIENCE {
            return Due::Nothing;
        }
        (self.fillers, self.owed, self.last) = (self.fillers + 1, self.owed - 1, now);
        // So that no other ping is asked for because of it.
        self.asked = self.asked.max(now + 1);
        Due::Filler
    }
}

/// An own frame that waits for its turn.
#[derive(Debug)]
struct Waiting<F> {
    entry: Entry<F>,
    origin: Origin,
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
    pub(crate) fn must_wait(
        &self,
        pace: &Pace,
        origin: Origin,
        station: VifId,
        now: Nanos,
    ) -> bool {
        self.waiting.len() < self.waiting.capacity()
            && (!pace.is_quiet(now, origin)
                || self.waiting.iter().any(|waiting| waiting.station == station))
    }

    pub(crate) fn wait(&mut self, entry: Entry<F>, origin: Origin, station: VifId, now: Nanos) {
        self.waiting.push_back(Waiting { entry, origin, station, since: now });
    }

    /// Whether something is to be sent without anything coming in.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.owed.is_empty()
    }

    /// Frames came close together there: a ping will follow.
    pub(crate) fn owe(&mut self, station: VifId) {
        // Each is in it at most once, and there is room for all.
        self.owed.push_back(station);
    }

    /// Whether it is time to look at what waits.
    #[inline]
    pub(crate) fn is_due(&mut self, now: Nanos) -> bool {
        let due = !self.is_idle() && now >= self.look_at;
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
    ) -> Option<(Entry<F>, Origin, VifId)> {
        let ready = self.waiting.iter().position(|waiting| {
            let pace = pace_of(waiting.station);
            pace.is_none_or(|pace| pace.is_quiet(now, waiting.origin))
                || now.saturating_sub(waiting.since) >= PATIENCE
        })?;
        // Only the first of a link can be ready for want of crowding, so their order stays.
        let Waiting { entry, origin, station, .. } = self.waiting.remove(ready)?;
        Some((entry, origin, station))
    }

    /// Any of what waits, when nothing is sent any more.
    pub(crate) fn pop(&mut self) -> Option<Entry<F>> {
        self.waiting.pop_front().map(|waiting| waiting.entry)
    }

    /// What stations that have been quiet get now.
    pub(crate) fn quiet(
        &mut self,
        now: Nanos,
        mut pace_of: impl FnMut(VifId, &mut dyn FnMut(&mut Pace)),
        mut send: impl FnMut(VifId, Due),
    ) {
        for _ in 0..OWED_LOOKS.min(self.owed.len()) {
            let Some(station) = self.owed.pop_front() else { return };
            let (mut due, mut is_owed) = (Due::Nothing, false);
            pace_of(station, &mut |pace| {
                due = pace.due(now);
                is_owed = pace.owed > 0;
                pace.listed = is_owed;
            });
            if due != Due::Nothing {
                send(station, due);
            }
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
    use dataplane_api::VswitchId;

    const MS: Nanos = 1_000_000;

    fn entry(vif: u16, packet: u32) -> Entry<()> {
        let mut entry = Entry::of_no_link(VswitchId(0), packet, ());
        entry.vif = vif;
        entry
    }

    #[test]
    fn own_frames_keep_their_distance_and_their_order() {
        let mut pacing = Pacing::new(4);
        let mut pace = Pace::default();
        let start = 1000 * MS;
        assert!(!pacing.must_wait(&pace, Origin::Own, VifId(1), start));
        assert!(!pace.leaves(start, Origin::Own), "a frame after a long pause crowds nobody");
        for packet in 1..=3 {
            assert!(pacing.must_wait(&pace, Origin::Own, VifId(1), start));
            pacing.wait(entry(1, packet), Origin::Own, VifId(1), start);
        }
        let mut left = Vec::new();
        for now in (0..40).map(|half| start + half * MS / 2) {
            if let Some((entry, ..)) = pacing.release(now, |_| Some(pace)) {
                pace.leaves(now, Origin::Own);
                left.push((entry.packet, (now - start) / MS));
            }
        }
        assert_eq!(left, [(1, 5), (2, 10), (3, 15)]);
        assert!(!pace.stuck);
    }

    #[test]
    fn transit_without_a_pause_does_not_hold_own_frames_for_ever() {
        let mut pacing = Pacing::new(4);
        let mut pace = Pace::default();
        pacing.wait(entry(1, 7), Origin::Own, VifId(1), 0);
        let left = (0..100).find(|ms| {
            pace.leaves(ms * MS, Origin::Transit);
            pacing.release(ms * MS, |_| Some(pace)).is_some()
        });
        assert_eq!(left, Some(50));
    }

    /// A neighbour with `standing` frames in its socket: what it gets, by millisecond, and how often it was pinged.
    fn after_a_crowd(
        pace: &mut Pace,
        start: Nanos,
        mut standing: usize,
    ) -> (Vec<(Due, u64)>, bool) {
        let mut pacing = Pacing::<()>::new(4);
        pacing.owe(VifId(2));
        let (mut sent, mut pinged) = (Vec::new(), false);
        for ms in 0..200 {
            let now = start + ms * MS;
            let mut due = Vec::new();
            pacing.quiet(now, |_, change| change(pace), |_, what| due.push(what));
            for what in due {
                sent.push((what, ms));
                // Each frame that comes lets one through; a ping stands behind the others.
                if what == Due::Probe {
                    pace.leaves(now, Origin::Probe);
                    pinged = true;
                } else {
                    standing -= 1;
                }
                if pinged && standing == 0 {
                    pace.is_read();
                    pinged = false;
                }
            }
        }
        (sent, pacing.owed.is_empty())
    }

    #[test]
    fn a_crowd_that_was_read_plants_nothing() {
        let mut pace = Pace::default();
        let start = 1000 * MS;
        let owed: Vec<bool> = (0..4).map(|_| pace.leaves(start, Origin::Transit)).collect();
        assert_eq!(owed, [false, true, false, false]);
        assert_eq!(after_a_crowd(&mut pace, start, 0), (vec![(Due::Probe, 5)], true));
        assert!(!pace.stuck);
    }

    #[test]
    fn as_many_frames_follow_as_stand_there_and_again_after_each_lone_one() {
        let mut pace = Pace::default();
        for (start, gap) in [(1000 * MS, 5), (2000 * MS, 2)] {
            // The second time the first frame is alone.
            pace.leaves(start, Origin::Transit);
            pace.leaves(start, Origin::Transit);
            let (sent, done) = after_a_crowd(&mut pace, start, 2);
            let wanted = [(Due::Probe, gap), (Due::Filler, 2 * gap), (Due::Filler, 3 * gap)];
            assert_eq!(sent, wanted, "the second time it is known");
            assert!(done && pace.stuck);
        }
        assert!(pace.leaves(3000 * MS, Origin::Transit), "they stand there for ever");
    }

    #[test]
    fn a_neighbour_that_never_answers_gets_a_bounded_number() {
        let mut pace = Pace { stuck: true, ..Pace::default() };
        assert!(pace.leaves(1000 * MS, Origin::Transit));
        let due = |ms: u64| pace.due((1000 + ms) * MS);
        let fillers = (0..10_000).map(due).filter(|due| *due == Due::Filler).count();
        assert_eq!(fillers, usize::from(FILLERS_MAX));
    }
}
