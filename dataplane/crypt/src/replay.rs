//! Windows over packet numbers that were seen.

/// How far behind the highest number seen a packet may come and still be told from its repeat.
///
/// Wider than CryptoAuth's reference (64), as wide as Noise's: a box that moves packets in bursts reorders them.
pub const WIDTH: u64 = 1024;

const WORD_BITS: u64 = 64;
const WORDS: usize = 16;

/// Why a number is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFresh {
    /// It was committed before.
    Seen,
    /// It is [`WIDTH`] or more behind the highest one.
    TooOld,
}

/// Numbers of packets that were opened. Check before the packet is opened or after, commit only after.
///
/// Bit `n % WIDTH` of the ring stands for the one number `n` in (highest − WIDTH, highest].
/// Size: 136 bytes. Cost: a check is one load beside the highest number; a commit that moves the window clears the bits
/// that it passes, 16 words at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayWindow {
    /// The highest number committed, and one; 0: none was.
    next: u64,
    ring: [u64; WORDS],
}

impl ReplayWindow {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `number` may be taken.
    ///
    /// # Errors
    /// [`NotFresh`] if it was seen, or is too old to tell.
    pub fn check(&self, number: u32) -> Result<(), NotFresh> {
        let number = u64::from(number);
        if number >= self.next {
            return Ok(());
        }
        if self.next - number > WIDTH {
            return Err(NotFresh::TooOld);
        }
        let (word, bit) = place(number);
        if self.ring[word] & bit == 0 { Ok(()) } else { Err(NotFresh::Seen) }
    }

    /// Marks `number` as seen. One that [`Self::check`] refuses changes nothing.
    pub fn commit(&mut self, number: u32) {
        if self.check(number).is_err() {
            return;
        }
        let number = u64::from(number);
        if number >= self.next {
            self.forget(self.next, number);
            self.next = number + 1;
        }
        let (word, bit) = place(number);
        self.ring[word] |= bit;
    }

    /// Checks and commits.
    ///
    /// # Errors
    /// [`NotFresh`], as of [`Self::check`].
    pub fn accept(&mut self, number: u32) -> Result<(), NotFresh> {
        self.check(number)?;
        self.commit(number);
        Ok(())
    }

    /// Clears the bits that now stand for `from..=to` instead of numbers WIDTH below.
    fn forget(&mut self, from: u64, to: u64) {
        if to - from >= WIDTH {
            self.ring = [0; WORDS];
            return;
        }
        let mut at = from;
        while at <= to {
            let end = (at | (WORD_BITS - 1)).min(to);
            let ones = u64::MAX >> (WORD_BITS - 1 - (end - at));
            self.ring[place(at).0] &= !(ones << (at % WORD_BITS));
            at = end + 1;
        }
    }
}

/// The word of the ring and the bit in it that stand for `number`.
fn place(number: u64) -> (usize, u64) {
    (((number % WIDTH) / WORD_BITS) as usize, 1 << (number % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_number_is_taken_once_and_old_ones_never() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.accept(5), Ok(()));
        assert_eq!(window.accept(5), Err(NotFresh::Seen));
        assert_eq!(window.accept(4), Ok(()), "earlier ones may come later");
        assert_eq!(window.accept(1029), Ok(()));
        assert_eq!(window.accept(5), Err(NotFresh::TooOld));
        assert_eq!(window.accept(6), Ok(()), "the oldest that can be told");
        assert_eq!(window.accept(u32::MAX), Ok(()));
        assert_eq!(window.accept(u32::MAX), Err(NotFresh::Seen));
        assert_eq!(window.accept(u32::MAX - 1023), Ok(()));
        assert_eq!(window.accept(u32::MAX - 1024), Err(NotFresh::TooOld));
    }

    #[test]
    fn a_check_changes_nothing() {
        let mut window = ReplayWindow::new();
        window.commit(100);
        let before = window.clone();
        assert_eq!(window.check(7000), Ok(()));
        assert_eq!(window.check(100), Err(NotFresh::Seen));
        assert_eq!(window, before);
    }

    proptest! {
        /// The obvious twin remembers every number.
        #[test]
        fn verdicts_are_those_of_a_set(steps in proptest::collection::vec((0_u8..4, any::<u32>()), 0..400)) {
            let mut window = ReplayWindow::new();
            let (mut seen, mut highest) = (BTreeSet::new(), None::<u32>);
            for (kind, drawn) in steps {
                let at = highest.unwrap_or(0);
                let number = match kind {
                    0 => at.wrapping_add(drawn % 3),
                    1 => at.saturating_sub(drawn % 1100),
                    2 => at.saturating_add(drawn % 1100),
                    _ => at.saturating_add(drawn % 100_000),
                };
                let expected = match highest {
                    _ if seen.contains(&number) && highest.is_some_and(|h| h - number < 1024) => Err(NotFresh::Seen),
                    Some(h) if number < h && h - number >= 1024 => Err(NotFresh::TooOld),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.accept(number), expected);
                if expected.is_ok() {
                    seen.insert(number);
                    highest = Some(at.max(number));
                }
            }
        }
    }
}
