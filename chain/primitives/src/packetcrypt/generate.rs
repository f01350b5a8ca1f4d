//! RandGen: programs from seeds.
//!
//! The number and order of random draws is part of the rule: where a draw's result goes unused, it is still drawn.
//! Source: PKT-CHAIN.md §3.4.

use super::chacha::{GROUP_LEN, Stream};
use super::kernel::Code;
use super::op::{self, END, IF_LIKELY, IF_RANDOM, IN, JMP, LOOP, MEMORY};

/// Words of a program at most.
pub(super) const WORDS_MAX: usize = 2048;
/// What a program may cost.
const BUDGET: u32 = 20_000;

/// Operations of one shape: first code, how many, and what one costs.
struct Class {
    first: u8,
    len: u32,
    cost: u32,
    double: bool,
}

const ONE_TO_ONE: Class = Class { first: 1, len: 11, cost: 1, double: false };
const TWO_TO_ONE: Class = Class { first: op::TWO_TO_ONE, len: 24, cost: 2, double: false };
const TWO_TO_TWO: Class = Class { first: op::TWO_TO_TWO, len: 15, cost: 4, double: false };
const FOUR_TO_TWO: Class = Class { first: op::FOUR_TO_TWO, len: 8, cost: 8, double: true };
const FOUR_TO_FOUR: Class = Class { first: op::FOUR_TO_FOUR, len: 5, cost: 16, double: true };

/// The program of a seed, into `words`. `false`: it is too long.
pub(super) fn generate(code: Code, seed: &[u8; 32], words: &mut Vec<u32>) -> bool {
    words.clear();
    let mut generator = Generator {
        random: Random {
            code,
            stream: Stream::numbers(seed),
            next: 0,
            left: 0,
            group: [0; GROUP_LEN / 4],
        },
        words,
        vars: Vec::with_capacity(256),
        frames: Vec::with_capacity(16),
    };
    let mut budget = BUDGET;
    let whole = generator.repeat(&mut budget).is_some();
    whole && words.len() <= WORDS_MAX
}

/// Random words, 16 of each block.
struct Random {
    code: Code,
    stream: Stream,
    /// The next block.
    next: u32,
    /// Words left in the group.
    left: usize,
    group: [u32; GROUP_LEN / 4],
}

impl Random {
    #[inline(always)]
    fn draw(&mut self) -> u32 {
        if self.left == 0 {
            self.refill();
        }
        self.left -= 1;
        // Always in range: `left` is at most the group's length, and was not 0.
        let len = self.group.len();
        self.group[(len - 1 - self.left) % len]
    }

    #[cold]
    fn refill(&mut self) {
        let mut bytes = [0; GROUP_LEN];
        self.stream.blocks(self.code, self.next, &mut bytes);
        self.next += 16;
        for (word, bytes) in self.group.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        self.left = self.group.len();
    }

    /// One in `n`; never for 0.
    #[inline(always)]
    fn coin(&mut self, n: u32) -> bool {
        self.draw().checked_rem(n) == Some(0)
    }

    /// From `from`, below `to`.
    #[inline(always)]
    fn range(&mut self, from: u32, to: u32) -> u32 {
        self.draw().checked_rem(to.wrapping_sub(from)).map_or(from, |rest| from + rest)
    }
}

/// A program that grows. `None` from its methods: it has become too long for a jump to be written back.
struct Generator<'a> {
    random: Random,
    words: &'a mut Vec<u32>,
    /// Whether each variable was used; the mark of a frame counts as one that was.
    vars: Vec<bool>,
    /// Where frames begin, innermost last.
    frames: Vec<u32>,
}

impl Generator<'_> {
    fn emit(&mut self, word: u32) {
        if self.words.len() <= WORDS_MAX {
            self.words.push(word);
        }
    }

    fn open(&mut self) {
        self.frames.push(self.vars_len());
        self.vars.push(true);
    }

    fn close(&mut self) {
        self.emit(END.into());
        let start = self.frames.pop().unwrap_or(0);
        self.vars.truncate(start as usize);
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most four for each word")]
    fn vars_len(&self) -> u32 {
        self.vars.len() as u32
    }

    fn used(&self, var: u32) -> bool {
        self.vars.get(var as usize).copied().unwrap_or(true)
    }

    /// Chooses a variable: its frame, mostly the innermost one, then itself, preferably unused. `double`: it and the
    /// one before.
    fn var(&mut self, double: bool) -> u32 {
        let mut end = self.vars_len();
        let mut start = 0;
        for place in (0..self.frames.len()).rev() {
            let frame = self.frames[place];
            let enough = if double { frame + 2 < end } else { frame + 1 < end };
            if enough && (frame == 0 || !self.random.coin(4)) {
                start = frame + 1;
                break;
            }
            if place > 0 {
                end = frame;
            } else {
                start = frame + 1;
            }
        }
        let mut var = self.random.range(start, end) + 1;
        // The outermost frame has two variables or more, so this does not happen; without it the search might not end.
        if end < start + 1 + u32::from(double) {
            return start;
        }
        loop {
            if var >= end {
                var = start;
            }
            if (!double || var > start) && self.random.coin(8) {
                break;
            }
            if !self.used(var) && (!double || !self.used(var - 1)) {
                break;
            }
            var += 1;
        }
        for var in [var, var - u32::from(double)] {
            if let Some(used) = self.vars.get_mut(var as usize) {
                *used = true;
            }
        }
        var
    }

    fn push(&mut self, vars: usize) {
        self.vars.extend(std::iter::repeat_n(false, vars));
    }

    fn operation(&mut self, class: &Class, budget: &mut u32) -> bool {
        let random = self.random.draw();
        let Some(left) = budget.checked_sub(class.cost) else { return false };
        *budget = left;
        #[expect(clippy::cast_possible_truncation, reason = "below 24")]
        let code = class.first + (random % class.len) as u8;
        let mut word = u32::from(code) | self.var(class.double) << 9;
        if code >= op::TWO_TO_ONE {
            word |= if self.random.coin(4) {
                self.random.draw() << 20 | 1 << 18
            } else {
                self.var(class.double) << 20
            };
        }
        self.emit(word);
        self.push(op::results(code));
        true
    }

    fn input(&mut self, budget: &mut u32) -> bool {
        let Some(left) = budget.checked_sub(2) else { return false };
        *budget = left;
        self.push(1);
        let word = self.random.draw() << 8 | u32::from(IN);
        self.emit(word);
        true
    }

    fn branch(&mut self, budget: &mut u32) -> Option<bool> {
        let Some(left) = budget.checked_sub(50) else { return Some(false) };
        *budget = left;
        let code = if self.random.coin(2) { IF_RANDOM } else { IF_LIKELY };
        let word = self.var(false) << 9 | u32::from(code) | 2 << 20;
        self.emit(word);
        let first = self.words.len();
        self.emit(JMP.into());
        self.scope(left * 7 / 32)?;
        let second = self.words.len();
        self.emit(JMP.into());
        self.scope(left * 7 / 32)?;
        let end = self.words.len();
        let jump = |distance: usize| u32::try_from(distance).ok().map(|n| n << 8 | u32::from(JMP));
        *self.words.get_mut(first)? = jump(second - first)?;
        *self.words.get_mut(second)? = jump(end.checked_sub(second + 1)?)?;
        Some(true)
    }

    fn scope(&mut self, mut budget: u32) -> Option<()> {
        self.open();
        self.body(&mut budget)?;
        self.close();
        Some(())
    }

    /// A loop ends the body that it stands in, whether there was one or not.
    fn repeat(&mut self, budget: &mut u32) -> Option<()> {
        let depth = u32::try_from(self.frames.len()).ok()?;
        let times = self.random.range(2, 7 + 29 * depth);
        let memories = self.random.range(2, 4);
        if *budget < 20 * times {
            return Some(());
        }
        *budget /= times;
        self.emit(times << 20 | u32::from(LOOP));
        self.open();
        let memory = self.random.draw() << 8 | u32::from(MEMORY);
        for _ in 0..memories {
            let Some(left) = budget.checked_sub(20) else { break };
            *budget = left;
            self.push(1);
            let carry = self.random.draw() & 15;
            self.emit(memory & !(15 << 9) | carry << 9);
        }
        self.body(budget)?;
        self.close();
        Some(())
    }

    fn body(&mut self, budget: &mut u32) -> Option<()> {
        while self.words.len() <= WORDS_MAX {
            let max = self.random.range(2, 12);
            for i in 1..=max {
                let some = self.random.coin(4 * max / i) && self.operation(&FOUR_TO_FOUR, budget)
                    || self.random.coin(3 * max / i) && self.operation(&FOUR_TO_TWO, budget)
                    || self.random.coin(3 * max / i) && self.operation(&TWO_TO_TWO, budget)
                    || self.random.coin(2 * max / i) && self.operation(&TWO_TO_ONE, budget)
                    || self.random.coin(i) && self.input(budget)
                    || self.operation(&ONE_TO_ONE, budget);
                if !some {
                    return Some(());
                }
            }
            let random = self.random.draw() as usize % 64;
            if random + self.words.len() * 25 / 2048 < 50 && !self.branch(budget)? {
                return Some(());
            }
            if self.random.draw() % 32 < 23 {
                return self.repeat(budget);
            }
        }
        Some(())
    }
}
