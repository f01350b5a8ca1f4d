//! What is booked, as a step function over time: a balanced tree (AVL) of its changes.
//!
//! A node is an instant at which the level changes. Its subtree's sum of changes and highest level are kept with it,
//! so that a booking costs two walks from the root, and the highest level in any slot one. An instant at which
//! nothing changes has no node: the tree holds at most two for each booking.

use crate::terms::{Share, Slot, Time};
use std::cmp::Ordering;
use std::convert::Infallible;
use std::ops::ControlFlow;

/// Rate and burst, booked or changed by. Sums stay below 2⁶¹ ([`crate::terms::SHARE_MAX`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) rate: i64,
    pub(super) burst: i64,
}

impl Level {
    fn plus(self, other: Self) -> Self {
        Self { rate: self.rate + other.rate, burst: self.burst + other.burst }
    }

    fn max(self, other: Self) -> Self {
        Self { rate: self.rate.max(other.rate), burst: self.burst.max(other.burst) }
    }

    /// Whether rate or burst is above the limit's.
    fn is_over(self, limit: Self) -> bool {
        self.rate > limit.rate || self.burst > limit.burst
    }
}

impl From<Share> for Level {
    fn from(share: Share) -> Self {
        let signed = |value| i64::try_from(value).unwrap_or(i64::MAX);
        Self { rate: signed(share.bytes_per_s), burst: signed(share.burst_bytes) }
    }
}

/// Highest rate and burst in a slot, each with the first instant that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peak {
    pub(super) rate: (i64, Time),
    pub(super) burst: (i64, Time),
}

/// The step function. Before the first change its level is zero, and after the last one too.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    root: Tree,
}

type Tree = Option<Box<Node>>;

#[derive(Clone, Debug)]
struct Node {
    at: Time,
    change: Level,
    /// Sum of the changes in this subtree.
    sum: Level,
    /// Highest level at an instant of this subtree, from the level before it.
    peak: Level,
    height: u8,
    left: Tree,
    right: Tree,
}

impl Steps {
    /// Books a share over a slot.
    pub(super) fn add(&mut self, slot: Slot, share: Share) {
        let Level { rate, burst } = share.into();
        self.change(slot.start, Level { rate, burst });
        self.change(slot.end, Level { rate: -rate, burst: -burst });
    }

    /// Takes back what [`Self::add`] did with the same arguments.
    pub(super) fn subtract(&mut self, slot: Slot, share: Share) {
        let Level { rate, burst } = share.into();
        self.change(slot.start, Level { rate: -rate, burst: -burst });
        self.change(slot.end, Level { rate, burst });
    }

    fn change(&mut self, at: Time, by: Level) {
        if by != Level::default() {
            self.root = changed(self.root.take(), at, by);
        }
    }

    /// Highest level in a slot that is not empty.
    pub(super) fn peak(&self, slot: Slot) -> Peak {
        let first = self.level(slot.start);
        let mut peak = Peak { rate: (first.rate, slot.start), burst: (first.burst, slot.start) };
        self.for_each(slot, |part, before| {
            let highest = before.plus(part.highest());
            if highest.rate > peak.rate.0 {
                let limit = Level { rate: highest.rate - 1, burst: i64::MAX };
                peak.rate = (highest.rate, part.first_over(before, limit).unwrap_or(slot.start));
            }
            if highest.burst > peak.burst.0 {
                let limit = Level { rate: i64::MAX, burst: highest.burst - 1 };
                peak.burst = (highest.burst, part.first_over(before, limit).unwrap_or(slot.start));
            }
        });
        peak
    }

    /// First instant of a slot at which the level is above the limit.
    pub(super) fn first_over(&self, slot: Slot, limit: Level) -> Option<Time> {
        if slot.start >= slot.end {
            return None;
        }
        if self.level(slot.start).is_over(limit) {
            return Some(slot.start);
        }
        let found = visit(&self.root, Level::default(), slot, Bounds::BOTH, &mut |part, before| {
            part.first_over(before, limit).map_or(ControlFlow::Continue(()), ControlFlow::Break)
        });
        found.break_value()
    }

    /// First instant, not before `from`, from which on the level stays within the limit for `length_ms`.
    ///
    /// Cost: one walk over what is above the limit before the answer; runs within it are skipped whole.
    pub(super) fn earliest(&self, from: Time, length_ms: u64, limit: Level) -> Option<Time> {
        let mut fits_from = (!self.level(from).is_over(limit)).then_some(from);
        let later = Slot { start: from, end: Time(u64::MAX) };
        let found = visit(
            &self.root,
            Level::default(),
            later,
            Bounds::BOTH,
            &mut |part, before| match part {
                Part::Subtree(node) => node.earliest(before, length_ms, limit, &mut fits_from),
                Part::Instant(node) => {
                    node.earliest_here(before.plus(node.change), length_ms, limit, &mut fits_from)
                }
            },
        );
        found.break_value().or(fits_from)
    }

    /// Level at an instant.
    pub(super) fn level(&self, at: Time) -> Level {
        let (mut level, mut tree) = (Level::default(), &self.root);
        while let Some(node) = tree {
            if at < node.at {
                tree = &node.left;
            } else {
                level = level.plus(sum(&node.left)).plus(node.change);
                tree = &node.right;
            }
        }
        level
    }

    /// The instants after the start of a slot, and before its end, at which the level changes, and to what.
    pub(super) fn changes(&self, slot: Slot) -> Vec<(Time, Level)> {
        let mut found = Vec::new();
        self.for_each(slot, |part, before| match part {
            Part::Subtree(node) => node.list(before, &mut found),
            Part::Instant(node) => found.push((node.at, before.plus(node.change))),
        });
        found
    }

    fn for_each<'a>(&'a self, slot: Slot, mut each: impl FnMut(Part<'a>, Level)) {
        let mut each = |part, before| {
            each(part, before);
            ControlFlow::<Infallible>::Continue(())
        };
        let ControlFlow::Continue(()) =
            visit(&self.root, Level::default(), slot, Bounds::BOTH, &mut each);
    }

    /// Highest level ever.
    pub(super) fn highest(&self) -> Level {
        self.root.as_ref().map_or_else(Level::default, |root| root.peak.max(Level::default()))
    }
}

/// A piece of what lies in a slot: a subtree as a whole, or a node without its subtrees.
#[derive(Clone, Copy)]
enum Part<'a> {
    Subtree(&'a Node),
    Instant(&'a Node),
}

impl Part<'_> {
    /// Highest level in it, from the level before it.
    fn highest(self) -> Level {
        match self {
            Part::Subtree(node) => node.peak,
            Part::Instant(node) => node.change,
        }
    }

    fn first_over(self, before: Level, limit: Level) -> Option<Time> {
        match self {
            Part::Subtree(node) => node.first_over(before, limit),
            Part::Instant(node) => before.plus(node.change).is_over(limit).then_some(node.at),
        }
    }
}

/// Which ends of the slot a subtree may still reach beyond.
#[derive(Clone, Copy)]
struct Bounds {
    start: bool,
    end: bool,
}

impl Bounds {
    const BOTH: Self = Self { start: true, end: true };
}

/// Calls `each` with the parts of `tree` that lie after the slot's start and before its end, in order of time, and
/// with the level before each: O(log n) of them.
fn visit<'a, B>(
    tree: &'a Tree,
    before: Level,
    slot: Slot,
    bounds: Bounds,
    each: &mut impl FnMut(Part<'a>, Level) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let Some(node) = tree else { return ControlFlow::Continue(()) };
    if !bounds.start && !bounds.end {
        return each(Part::Subtree(node), before);
    }
    let at_node = before.plus(sum(&node.left));
    let after = at_node.plus(node.change);
    if bounds.start && node.at <= slot.start {
        return visit(&node.right, after, slot, bounds, each);
    }
    if bounds.end && node.at >= slot.end {
        return visit(&node.left, before, slot, bounds, each);
    }
    visit(&node.left, before, slot, Bounds { end: false, ..bounds }, each)?;
    each(Part::Instant(node), at_node)?;
    visit(&node.right, after, slot, Bounds { start: false, ..bounds }, each)
}

impl Node {
    fn first_over(&self, before: Level, limit: Level) -> Option<Time> {
        let (mut node, mut before) = (self, before);
        if !before.plus(node.peak).is_over(limit) {
            return None;
        }
        // Something in this subtree is over: it is found without turning back.
        loop {
            if let Some(left) = &node.left
                && before.plus(left.peak).is_over(limit)
            {
                node = left;
                continue;
            }
            before = before.plus(sum(&node.left)).plus(node.change);
            if before.is_over(limit) {
                return Some(node.at);
            }
            node = node.right.as_deref()?;
        }
    }

    fn earliest(
        &self,
        before: Level,
        length_ms: u64,
        limit: Level,
        fits_from: &mut Option<Time>,
    ) -> ControlFlow<Time> {
        if !before.plus(self.peak).is_over(limit) {
            fits_from.get_or_insert_with(|| self.first());
            return ControlFlow::Continue(());
        }
        if let Some(left) = &self.left {
            left.earliest(before, length_ms, limit, fits_from)?;
        }
        let level = before.plus(sum(&self.left)).plus(self.change);
        self.earliest_here(level, length_ms, limit, fits_from)?;
        self.right.as_ref().map_or(ControlFlow::Continue(()), |right| {
            right.earliest(level, length_ms, limit, fits_from)
        })
    }

    /// `fits_from`: since when the level has been within the limit, before this node.
    fn earliest_here(
        &self,
        level: Level,
        length_ms: u64,
        limit: Level,
        fits_from: &mut Option<Time>,
    ) -> ControlFlow<Time> {
        match *fits_from {
            Some(start) if self.at.0 - start.0 >= length_ms => return ControlFlow::Break(start),
            _ if level.is_over(limit) => *fits_from = None,
            Some(_) => {}
            None => *fits_from = Some(self.at),
        }
        ControlFlow::Continue(())
    }

    fn first(&self) -> Time {
        let mut node = self;
        while let Some(left) = &node.left {
            node = left;
        }
        node.at
    }

    fn list(&self, before: Level, into: &mut Vec<(Time, Level)>) {
        if let Some(left) = &self.left {
            left.list(before, into);
        }
        let level = before.plus(sum(&self.left)).plus(self.change);
        into.push((self.at, level));
        if let Some(right) = &self.right {
            right.list(level, into);
        }
    }

    /// Brings what is kept of the subtrees up to date.
    fn refresh(&mut self) {
        let here = sum(&self.left).plus(self.change);
        self.sum = here.plus(sum(&self.right));
        self.peak = here;
        if let Some(left) = &self.left {
            self.peak = self.peak.max(left.peak);
        }
        if let Some(right) = &self.right {
            self.peak = self.peak.max(here.plus(right.peak));
        }
        self.height = height(&self.left).max(height(&self.right)) + 1;
    }
}

fn sum(tree: &Tree) -> Level {
    tree.as_ref().map_or_else(Level::default, |node| node.sum)
}

fn height(tree: &Tree) -> u8 {
    tree.as_ref().map_or(0, |node| node.height)
}

/// The tree with the change at one instant added to; a change of nothing leaves no node.
fn changed(tree: Tree, at: Time, by: Level) -> Tree {
    let Some(mut node) = tree else {
        let (left, right) = (None, None);
        return Some(Box::new(Node { at, change: by, sum: by, peak: by, height: 1, left, right }));
    };
    match at.cmp(&node.at) {
        Ordering::Less => node.left = changed(node.left.take(), at, by),
        Ordering::Greater => node.right = changed(node.right.take(), at, by),
        Ordering::Equal => {
            node.change = node.change.plus(by);
            if node.change == Level::default() {
                return joined(node.left.take(), node.right.take());
            }
        }
    }
    Some(balanced(node))
}

/// Two trees of which the first lies before the second, and that differ by at most one in height.
fn joined(left: Tree, right: Tree) -> Tree {
    let Some(right) = right else { return left };
    let (mut first, rest) = without_first(right);
    first.left = left;
    first.right = rest;
    Some(balanced(first))
}

fn without_first(mut node: Box<Node>) -> (Box<Node>, Tree) {
    match node.left.take() {
        None => {
            let rest = node.right.take();
            (node, rest)
        }
        Some(left) => {
            let (first, rest) = without_first(left);
            node.left = rest;
            (first, Some(balanced(node)))
        }
    }
}

/// Restores the balance of a node whose subtrees are balanced and differ by at most two in height.
fn balanced(mut node: Box<Node>) -> Box<Node> {
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        node.left = node.left.take().map(|child| {
            if height(&child.left) < height(&child.right) { rotated_left(child) } else { child }
        });
        rotated_right(node)
    } else if right > left + 1 {
        node.right = node.right.take().map(|child| {
            if height(&child.right) < height(&child.left) { rotated_right(child) } else { child }
        });
        rotated_left(node)
    } else {
        node.refresh();
        node
    }
}

fn rotated_right(mut node: Box<Node>) -> Box<Node> {
    let Some(mut root) = node.left.take() else { return node };
    node.left = root.right.take();
    node.refresh();
    root.right = Some(node);
    root.refresh();
    root
}

fn rotated_left(mut node: Box<Node>) -> Box<Node> {
    let Some(mut root) = node.right.take() else { return node };
    node.right = root.left.take();
    node.refresh();
    root.left = Some(node);
    root.refresh();
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(start: u64, end: u64) -> Slot {
        Slot { start: Time(start), end: Time(end) }
    }

    fn share(rate: u64, burst: u64) -> Share {
        Share { bytes_per_s: rate, burst_bytes: burst }
    }

    /// Every subtree: order, what is kept of it, and its balance.
    fn check(tree: &Tree) {
        let Some(node) = tree else { return };
        assert!(node.left.as_ref().is_none_or(|left| left.at < node.at));
        assert!(node.right.as_ref().is_none_or(|right| right.at > node.at));
        assert!(height(&node.left).abs_diff(height(&node.right)) <= 1);
        assert_ne!(node.change, Level::default());
        let mut fresh = node.clone();
        fresh.refresh();
        assert_eq!((fresh.sum, fresh.peak, fresh.height), (node.sum, node.peak, node.height));
        check(&node.left);
        check(&node.right);
    }

    #[test]
    fn instants_in_order_make_no_chain() {
        let mut steps = Steps::default();
        for start in 0..4096 {
            steps.add(slot(start, start + 10_000), share(1, 2));
        }
        check(&steps.root);
        // 8192 nodes; 1.44 log₂ of it is 18.7.
        assert!(height(&steps.root) <= 18, "{}", height(&steps.root));
        let peak = steps.peak(slot(0, 20_000));
        assert_eq!((peak.rate, peak.burst), ((4096, Time(4095)), (8192, Time(4095))));
        for start in (0..4096).rev() {
            steps.subtract(slot(start, start + 10_000), share(1, 2));
        }
        assert!(steps.root.is_none());
    }

    /// Against an array with one level for each instant.
    #[test]
    fn random_steps_are_an_arrays() {
        const INSTANTS: u64 = 3000;
        let mut seed = 1_u64;
        let mut below = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        };
        let mut steps = Steps::default();
        let mut array = vec![Level::default(); usize::try_from(INSTANTS).unwrap()];
        let mut booked = Vec::new();
        for round in 0..6000 {
            let (a, b) = (below(INSTANTS), below(INSTANTS));
            let random = slot(a.min(b), a.max(b).max(a.min(b) + 1));
            let range = |slot: Slot| {
                usize::try_from(slot.start.0).unwrap()..usize::try_from(slot.end.0).unwrap()
            };
            // Grows to some 2000 bookings, and shrinks to nothing again.
            if below(3) > 0 && round < 4000 || booked.is_empty() {
                let share = share(below(1000), below(1000));
                steps.add(random, share);
                array[range(random)].iter_mut().for_each(|level| *level = level.plus(share.into()));
                booked.push((random, share));
            } else {
                let index = usize::try_from(below(booked.len() as u64)).unwrap();
                let (slot, share) = booked.swap_remove(index);
                steps.subtract(slot, share);
                let free = |level: &mut Level| *level = limit_less(*level, share);
                array[range(slot)].iter_mut().for_each(free);
            }
            let there = &array[range(random)];
            let first = |is: &dyn Fn(&Level) -> bool| {
                there.iter().position(is).map(|i| Time(random.start.0 + i as u64))
            };
            let highest = there.iter().copied().reduce(Level::max).unwrap();
            let peak = Peak {
                rate: (highest.rate, first(&|level| level.rate == highest.rate).unwrap()),
                burst: (highest.burst, first(&|level| level.burst == highest.burst).unwrap()),
            };
            assert_eq!(steps.peak(random), peak);
            let limit = Level { rate: highest.rate - 2000, burst: highest.burst - 2000 };
            assert_eq!(steps.first_over(random, limit), first(&|level| level.is_over(limit)));
            assert_eq!(steps.level(random.start), there[0]);
            if round % 16 == 0 {
                check(&steps.root);
                let length = usize::try_from(1 + below(50)).unwrap();
                let fits = |start: &usize| {
                    array.iter().skip(*start).take(length).all(|level| !level.is_over(limit))
                };
                let earliest = (range(random).start..=array.len()).find(fits);
                let earliest = earliest
                    .map(|at| Time(at as u64))
                    .filter(|_| limit.rate >= 0 && limit.burst >= 0);
                if earliest.is_some() {
                    assert_eq!(steps.earliest(random.start, length as u64, limit), earliest);
                }
            }
        }
    }

    fn limit_less(level: Level, share: Share) -> Level {
        let share = Level::from(share);
        Level { rate: level.rate - share.rate, burst: level.burst - share.burst }
    }

    #[test]
    fn neighbours_that_meet_leave_no_node_between_them() {
        let mut steps = Steps::default();
        steps.add(slot(0, 10), share(5, 1));
        steps.add(slot(10, 20), share(5, 1));
        assert_eq!(steps.changes(slot(0, 30)), [(Time(20), Level::default())]);
        check(&steps.root);
    }

    #[test]
    fn the_earliest_gap_may_lie_between_two_steps() {
        let mut steps = Steps::default();
        steps.add(slot(0, 10), share(5, 1));
        steps.add(slot(15, 20), share(5, 1));
        let limit = Level { rate: 4, burst: 9 };
        assert_eq!(steps.earliest(Time(0), 5, limit), Some(Time(10)));
        assert_eq!(steps.earliest(Time(0), 6, limit), Some(Time(20)));
        assert_eq!(steps.earliest(Time(12), 3, limit), Some(Time(12)));
        assert_eq!(steps.earliest(Time(12), 4, limit), Some(Time(20)));
    }
}
