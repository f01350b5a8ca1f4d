//! How far a worker is behind, and what it sheds then.

use dataplane_api::Nanos;
use engine::Shed;

/// Eighths of a ring that wait: from here on what has no claim is shed, then what is above a guarantee. XDP programs shed
/// at shorter lengths, where they do, and shed frames cost the worker nothing then; this is for ports without one.
const FREE: u8 = 4;
const PRIORITY: u8 = 6;
/// Where no lease guarantees anything, for the links' reserve alone.
const UNSOLD: u8 = 7;

/// The longest ring decides for all: a worker has one processor, and whoever floods one port takes it from the others.
#[derive(Debug)]
pub(super) struct Backlog {
    /// As configured.
    sheds: bool,
    /// Where what has no claim is shed.
    free: u8,
    /// Longest ring of the last round, and of this one so far; eighths.
    last: u8,
    now: u8,
    /// When this round began, and the longest that lay between two rounds since all rings were short.
    began: Nanos,
    away: Nanos,
}

impl Backlog {
    pub(super) fn new(sheds: bool) -> Self {
        Self { sheds, free: UNSOLD, last: 0, now: 0, began: 0, away: 0 }
    }

    /// A round begins. `sold`: leases hold for what comes in.
    #[inline]
    pub(super) fn turn(&mut self, now: Nanos, sold: bool) {
        let between = now - self.began;
        let were_short = self.now.max(self.last) < self.free;
        self.away = if were_short { between } else { self.away.max(between) };
        self.free = if sold { FREE } else { UNSOLD };
        (self.last, self.now, self.began) = (self.now, 0, now);
    }

    /// So long the worker was away before what waits now had come.
    pub(super) fn away(&self) -> Nanos {
        self.away
    }

    /// What to shed of a burst, after which this much of its ring waits still.
    #[inline]
    pub(super) fn shed(&mut self, eighths: impl FnOnce() -> u8) -> Shed {
        if !self.sheds {
            return Shed::Nothing;
        }
        self.now = self.now.max(eighths());
        let longest = self.now.max(self.last);
        if longest < self.free {
            Shed::Nothing
        } else if longest < PRIORITY {
            Shed::Free
        } else {
            Shed::Priority
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ring_of_a_round_decides_for_all_until_the_next_is_over() {
        let mut backlog = Backlog::new(true);
        backlog.turn(0, true);
        assert_eq!(backlog.shed(|| 3), Shed::Nothing);
        assert_eq!(backlog.shed(|| 6), Shed::Priority);
        assert_eq!(backlog.shed(|| 0), Shed::Priority);
        backlog.turn(0, true);
        assert_eq!(backlog.shed(|| 4), Shed::Priority);
        backlog.turn(0, true);
        assert_eq!(backlog.shed(|| 0), Shed::Free);
        backlog.turn(0, true);
        assert_eq!(backlog.shed(|| 0), Shed::Nothing);
    }

    #[test]
    fn where_nothing_is_sold_a_ring_may_be_nearly_full() {
        let mut backlog = Backlog::new(true);
        backlog.turn(0, false);
        assert_eq!(backlog.shed(|| 6), Shed::Nothing);
        assert_eq!(backlog.shed(|| 7), Shed::Priority);
    }

    #[test]
    fn an_absence_counts_until_what_it_left_behind_is_done() {
        let mut backlog = Backlog::new(true);
        let mut round = |now, waiting| {
            backlog.turn(now, true);
            let shed = backlog.shed(|| waiting);
            (shed, backlog.away())
        };
        assert_eq!(round(100, 0), (Shed::Nothing, 100));
        assert_eq!(round(110, 0), (Shed::Nothing, 10));
        assert_eq!(round(5_110, 5), (Shed::Free, 5_000));
        assert_eq!(round(5_120, 5), (Shed::Free, 5_000));
        assert_eq!(round(5_130, 0), (Shed::Free, 5_000));
        assert_eq!(round(5_140, 0), (Shed::Nothing, 5_000));
        assert_eq!(round(5_150, 0), (Shed::Nothing, 10));
    }

    #[test]
    fn where_it_is_off_no_ring_is_looked_at() {
        assert_eq!(Backlog::new(false).shed(|| panic!("looked")), Shed::Nothing);
    }
}
