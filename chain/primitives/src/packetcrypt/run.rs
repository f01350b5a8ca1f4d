//! Runs a program, 16 iterations of a loop at once.
//!
//! ```text
//! loop of 5 around loop of 7:   a group of 5 lanes runs the outer body up to the inner loop;
//!                               35 lanes in groups of 16, 16 and 3 run the inner body
//! ```
//!
//! Outputs are logged and put in their places at the end: where a lane's outputs begin depends on how many the lanes
//! before it had, and those depend on how they branched. A group knows its lanes' beginnings relative to their lane of
//! the group around it, and that is all that is needed to find them from the outermost group on.
//!
//! The functions are inlined into the kernels (`kernel`), which run them with the vectors that the processor has.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lanes, masks, and lists that EXECUTED_MAX bounds"
)]

use super::generate::WORDS_MAX;
use super::kernel::{Code, Kernel};
use super::op::{self, END, IF_LIKELY, IF_RANDOM, IN, LOOP, MEMORY};
use super::program::{Op, Program};

/// Iterations side by side.
pub(super) const LANES: usize = 16;
/// Words of each half of a state, and of the memory that a run sees.
pub(super) const WINDOW: usize = 256;
/// Words that a run may execute.
const EXECUTED_MAX: u32 = 20_000;

/// One word of each lane.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [u32; LANES]);

impl Lanes {
    pub(super) const ZERO: Self = Self([0; LANES]);

    #[inline(always)]
    fn each(f: impl Fn(usize) -> u32) -> Self {
        Self(std::array::from_fn(f))
    }
}

/// Lanes that run the body of a loop.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// The group that runs the body around it.
    parent: u32,
    /// A lane's lane there.
    of_parent: Lanes,
    /// Where its outputs begin, from the beginning of that lane's.
    start: Lanes,
}

/// Outputs of a scope: `count` vectors of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs {
    group: u32,
    pub(super) mask: u16,
    count: u16,
    first: u32,
    /// Where they lie, at first from the beginning of each lane's own.
    pub(super) at: Lanes,
}

impl Outputs {
    pub(super) fn of<'a>(&self, log: &'a [Lanes]) -> &'a [Lanes] {
        log.get(self.first as usize..)
            .and_then(|log| log.get(..self.count.into()))
            .unwrap_or_default()
    }
}

/// What a body needs to know of its lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    group: u32,
    /// Which lanes there are.
    mask: u16,
    iteration: Lanes,
    /// Outputs so far.
    made: Lanes,
}

/// Memory of a run; nothing is kept from one to the next but the slots of constants.
#[derive(Debug)]
pub(super) struct Machine {
    slots: Vec<Lanes>,
    pub(super) input: [u32; WINDOW],
    pub(super) memory: [u32; WINDOW],
    pub(super) log: Vec<Lanes>,
    pub(super) outputs: Vec<Outputs>,
    groups: Vec<Group>,
    /// All outputs in their order. The output is a ring that they go round.
    sequence: Vec<u32>,
    executed: u32,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::with_capacity(WORDS_MAX),
            input: [0; WINDOW],
            memory: [0; WINDOW],
            log: Vec::with_capacity(WORDS_MAX),
            outputs: Vec::with_capacity(WORDS_MAX),
            groups: Vec::with_capacity(WORDS_MAX),
            sequence: Vec::with_capacity(WORDS_MAX),
            executed: 0,
        }
    }

    /// Makes ready for runs of `program`.
    pub(super) fn load(&mut self, program: &Program) {
        if self.slots.len() < program.slots {
            self.slots.resize(program.slots, Lanes::ZERO);
        }
        for (slot, value) in &program.constants {
            self.slots[usize::from(*slot)] = Lanes([*value; LANES]);
        }
    }

    /// One cycle: reads `input`, adds to `output`. `false`: it took too long, and `output` is as it was.
    pub(super) fn run(
        &mut self,
        code: Code,
        program: &Program,
        output: &mut [u32; WINDOW],
    ) -> bool {
        self.log.clear();
        self.outputs.clear();
        self.groups.clear();
        self.executed = 1;
        let root = Group { parent: 0, of_parent: Lanes::ZERO, start: Lanes::ZERO };
        self.groups.push(root);
        let mut lane = Lane { group: 0, mask: 1, iteration: Lanes::ZERO, made: Lanes::ZERO };
        code.repeat(self, program, program.ops.first().copied().unwrap_or_default(), &mut lane);
        if self.executed > EXECUTED_MAX {
            return false;
        }
        let made = lane.made.0[0] as usize;
        self.find_places();
        self.sequence.resize(made.next_multiple_of(WINDOW), 0);
        self.sequence[made..].fill(0);
        code.place(&self.log, &self.outputs, &mut self.sequence);
        for sequence in self.sequence.as_chunks::<WINDOW>().0 {
            for (word, made) in output.iter_mut().zip(sequence) {
                *word = word.wrapping_add(*made);
            }
        }
        true
    }

    /// From relative places to those in the whole sequence of outputs.
    fn find_places(&mut self) {
        for place in 1..self.groups.len() {
            let group = self.groups[place];
            let parent = self.groups[group.parent as usize].start;
            self.groups[place].start = Lanes::each(|lane| {
                parent.0[group.of_parent.0[lane] as usize % LANES].wrapping_add(group.start.0[lane])
            });
        }
        for outputs in &mut self.outputs {
            let start = self.groups[outputs.group as usize].start;
            outputs.at = Lanes::each(|lane| start.0[lane].wrapping_add(outputs.at.0[lane]));
        }
    }
}

/// Writes the log to the sequence of outputs: each word has its place, and each place a word.
#[inline(always)]
pub(super) fn place(log: &[Lanes], outputs: &[Outputs], sequence: &mut [u32]) {
    for outputs in outputs {
        for lane in lanes_of(outputs.mask) {
            let places = sequence.get_mut(outputs.at.0[lane] as usize..).unwrap_or_default();
            for (place, value) in places.iter_mut().zip(outputs.of(log)) {
                *place = value.0[lane];
            }
        }
    }
}

#[inline(always)]
pub(super) fn lanes_of(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

/// The body of a loop, or a scope of a branch, from its first operation to its end.
#[inline(always)]
pub(super) fn body<K: Kernel>(
    kernel: K,
    machine: &mut Machine,
    program: &Program,
    mut next: usize,
    lane: &mut Lane,
) {
    while let Some(op) = program.ops.get(next).copied() {
        next += 1;
        match op.code {
            IN => {
                let value = machine.input[usize::from(op.a) % WINDOW];
                machine.slots[usize::from(op.to)] = Lanes([value; LANES]);
            }
            MEMORY => {
                let [base, step, carry] = [op.a, op.b, op.a_low].map(u32::from);
                let value = |lane_number: usize| {
                    let at = base.wrapping_add(
                        lane.iteration.0[lane_number].wrapping_add(carry).wrapping_mul(step),
                    );
                    machine.memory[at as usize % WINDOW]
                };
                machine.slots[usize::from(op.to)] = Lanes::each(value);
            }
            LOOP => {
                repeat(kernel, machine, program, op, lane);
                next = program.loops[usize::from(op.a)].next;
            }
            IF_LIKELY | IF_RANDOM => {
                let bits = if op.code == IF_LIKELY { 7 } else { 1 };
                let value = machine.slots[usize::from(op.a)];
                let holds = (0..LANES)
                    .fold(0, |mask, lane| mask | u16::from(value.0[lane] & bits != 0) << lane);
                let branch = program.branches[usize::from(op.b)];
                let all = lane.mask;
                for (mask, first) in [(all & holds, next), (all & !holds, branch.otherwise)] {
                    if mask != 0 {
                        lane.mask = mask;
                        kernel.body(machine, program, first, lane);
                    }
                }
                lane.mask = all;
                next = branch.next;
            }
            END => return end(machine, program, op, lane),
            _ => operation(machine, op),
        }
    }
}

/// Logs what a scope has made.
#[inline(always)]
fn end(machine: &mut Machine, program: &Program, op: Op, lane: &mut Lane) {
    let scope = program.scopes[usize::from(op.a)];
    let outputs = scope.outputs.of(&program.outputs);
    let (group, mask, at) = (lane.group, lane.mask, lane.made);
    let (count, first) = (outputs.len() as u16, machine.log.len() as u32);
    machine.outputs.push(Outputs { group, mask, count, first, at });
    machine.log.extend(outputs.iter().map(|slot| machine.slots[usize::from(*slot)]));
    machine.executed += scope.words * mask.count_ones();
    let made = |of: usize| u32::from(mask >> of & 1) * u32::from(count);
    lane.made = Lanes::each(|of| at.0[of].wrapping_add(made(of)));
}

/// Sixteen lanes of one operation.
#[inline(always)]
fn operation(machine: &mut Machine, op: Op) {
    let slots = machine.slots.as_mut_slice();
    macro_rules! by_code {
        (
            one_to_one { $($c11:literal $f11:ident),* }
            two_to_one { $($c21:literal $f21:ident),* }
            two_to_two { $($c22:literal $f22:ident),* }
            four_to_two { $($c42:literal $f42:ident),* }
            four_to_four { $($c44:literal $f44:ident),* }
        ) => {
            match op.code {
                $($c11 => one_to_one(slots, op, op::$f11),)*
                $($c21 => two_to_one(slots, op, op::$f21),)*
                $($c22 => two_to_two(slots, op, op::$f22),)*
                $($c42 => four_to_two(slots, op, op::$f42),)*
                $($c44 => four_to_four(slots, op, op::$f44),)*
                _ => {}
            }
        };
    }
    op::operations!(by_code);
}

#[inline(always)]
fn one_to_one(slots: &mut [Lanes], op: Op, f: impl Fn(u32) -> u32) {
    let a = slots[usize::from(op.a)];
    slots[usize::from(op.to)] = Lanes::each(|lane| f(a.0[lane]));
}

#[inline(always)]
fn two_to_one(slots: &mut [Lanes], op: Op, f: impl Fn(u32, u32) -> u32) {
    let (a, b) = (slots[usize::from(op.a)], slots[usize::from(op.b)]);
    slots[usize::from(op.to)] = Lanes::each(|lane| f(a.0[lane], b.0[lane]));
}

#[inline(always)]
fn two_to_two(slots: &mut [Lanes], op: Op, f: impl Fn(u32, u32) -> [u32; 2]) {
    let (a, b) = (slots[usize::from(op.a)], slots[usize::from(op.b)]);
    let to = usize::from(op.to);
    let Some([low, high]) = slots.get_mut(to..).and_then(|slots| slots.first_chunk_mut()) else {
        return;
    };
    for lane in 0..LANES {
        [low.0[lane], high.0[lane]] = f(a.0[lane], b.0[lane]);
    }
}

#[inline(always)]
fn wide(slots: &[Lanes], low: u16, high: u16) -> [u64; LANES] {
    let (low, high) = (slots[usize::from(low)], slots[usize::from(high)]);
    std::array::from_fn(|lane| u64::from(low.0[lane]) | u64::from(high.0[lane]) << 32)
}

#[inline(always)]
fn four_to_two(slots: &mut [Lanes], op: Op, f: impl Fn(u64, u64) -> u64) {
    let (a, b) = (wide(slots, op.a_low, op.a), wide(slots, op.b_low, op.b));
    let to = usize::from(op.to);
    let Some([low, high]) = slots.get_mut(to..).and_then(|slots| slots.first_chunk_mut()) else {
        return;
    };
    for lane in 0..LANES {
        let result = f(a[lane], b[lane]);
        [low.0[lane], high.0[lane]] = op::halves(result);
    }
}

#[inline(always)]
fn four_to_four(slots: &mut [Lanes], op: Op, f: impl Fn(u64, u64) -> [u64; 2]) {
    let (a, b) = (wide(slots, op.a_low, op.a), wide(slots, op.b_low, op.b));
    let to = usize::from(op.to);
    let Some(to) = slots.get_mut(to..).and_then(|slots| slots.first_chunk_mut::<4>()) else {
        return;
    };
    for lane in 0..LANES {
        let [low, high] = f(a[lane], b[lane]);
        [to[0].0[lane], to[1].0[lane]] = op::halves(low);
        [to[2].0[lane], to[3].0[lane]] = op::halves(high);
    }
}

/// All iterations of a loop, for all lanes of the body around it: in groups of 16 pairs of a lane and an iteration.
#[inline(always)]
pub(super) fn repeat<K: Kernel>(
    kernel: K,
    machine: &mut Machine,
    program: &Program,
    op: Op,
    around: &mut Lane,
) {
    let Some(of) = program.loops.get(usize::from(op.a)) else { return };
    let lanes = Pairs::new(around.mask, of.times);
    for first in (0..lanes.count).step_by(LANES) {
        if machine.executed > EXECUTED_MAX {
            return;
        }
        let (of_parent, iteration) = lanes.from(kernel, first);
        for (from, to) in of.imports.of(&program.imports) {
            machine.slots[usize::from(*to)] =
                kernel.permute(&machine.slots[usize::from(*from)], &of_parent);
        }
        let number = machine.groups.len();
        let group = number as u32;
        machine.groups.push(Group { parent: around.group, of_parent, start: Lanes::ZERO });
        let count = (lanes.count - first).min(LANES as u32);
        let mask = (u32::MAX >> (32 - count)) as u16;
        let mut inner = Lane { group, mask, iteration, made: Lanes::ZERO };
        kernel.body(machine, program, of.body, &mut inner);
        // Sums over the lanes of one parent, which lie side by side; a lane knows how many are before it.
        let mut sum = inner.made;
        for by in [1, 2, 4, 8] {
            let before = kernel.permute(&sum, &Lanes::each(|lane| (lane as u32).wrapping_sub(by)));
            let is_same = |lane: usize| iteration.0[lane] >= by && lane as u32 >= by;
            sum = Lanes::each(|lane| {
                sum.0[lane].wrapping_add(if is_same(lane) { before.0[lane] } else { 0 })
            });
        }
        let base = kernel.permute(&around.made, &of_parent);
        let end = Lanes::each(|lane| base.0[lane].wrapping_add(sum.0[lane]));
        machine.groups[number].start =
            Lanes::each(|lane| end.0[lane].wrapping_sub(inner.made.0[lane]));
        // The last lane of each parent's has what comes next.
        let last = lanes.last(first, count);
        let next = kernel.permute(&end, &last);
        around.made = Lanes::each(|lane| {
            if last.0[lane] < LANES as u32 { next.0[lane] } else { around.made.0[lane] }
        });
    }
}

/// Pairs of a lane and an iteration, in the order in which a program would come by them.
struct Pairs {
    times: u32,
    count: u32,
    /// The lanes that take part, and how many of them are before each.
    lanes: Lanes,
    ranks: Lanes,
    mask: u16,
    is_dense: bool,
}

impl Pairs {
    #[inline(always)]
    fn new(mask: u16, times: u32) -> Self {
        let (mut lanes, mut ranks) =
            (Lanes::each(|lane| lane as u32), Lanes::each(|lane| lane as u32));
        let is_dense = mask & mask.wrapping_add(1) == 0;
        if !is_dense {
            for (rank, lane) in lanes_of(mask).enumerate() {
                lanes.0[rank] = lane as u32;
                ranks.0[lane] = rank as u32;
            }
        }
        Self { times, count: times * mask.count_ones(), lanes, ranks, mask, is_dense }
    }

    /// Lane and iteration of sixteen pairs; what is behind the last pair does not count.
    #[inline(always)]
    fn from<K: Kernel>(&self, kernel: K, first: u32) -> (Lanes, Lanes) {
        // Exact: quotients of numbers below 2^16, off by a half.
        let each = 1.0 / self.times as f32;
        let rank = Lanes::each(|lane| (((first + lane as u32) as f32 + 0.5) * each) as u32);
        let iteration = Lanes::each(|lane| {
            (first + lane as u32).wrapping_sub(rank.0[lane].wrapping_mul(self.times))
        });
        let lanes = if self.is_dense { rank } else { kernel.permute(&self.lanes, &rank) };
        (lanes, iteration)
    }

    /// For each lane of the parent the last of its pairs among the `count` from `first` on; more than any lane if it
    /// has none.
    #[inline(always)]
    fn last(&self, first: u32, count: u32) -> Lanes {
        Lanes::each(|lane| {
            let begin = self.ranks.0[lane].wrapping_mul(self.times);
            let end = begin.wrapping_add(self.times).min(first + count);
            let has_some = self.mask >> lane & 1 == 1 && begin < first + count && end > first;
            if has_some { end.wrapping_sub(first + 1) } else { u32::MAX }
        })
    }
}
