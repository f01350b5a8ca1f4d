//! A program in a form that runs fast: its iterations side by side in the lanes of vectors.
//!
//! The iterations of a loop do not depend on each other: what they compute is added up at the end of each scope, in
//! places that only their order decides. So a whole loop nest becomes one stream of lanes, 16 at a time (`run`). Here
//! words become operations on *slots*, one slot a vector of 16 lanes:
//!
//! - every variable and every immediate has a slot of its own, known now;
//! - a loop's body reads slots of its own loop only: what it needs of the loops around is an *import*, copied lane by
//!   lane when a group of iterations begins;
//! - jumps are gone: a branch knows where its two scopes begin, a scope how many words it stands for.

use super::op::{self, END, IF_LIKELY, IF_RANDOM, IN, JMP, LOOP, MEMORY};

/// One operation; the meaning of the fields is the operation's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Op {
    pub(super) code: u8,
    /// Operands by slot: A, the low half of A where it has 64 bits, likewise B.
    pub(super) a: u16,
    pub(super) a_low: u16,
    pub(super) b: u16,
    pub(super) b_low: u16,
    /// The first slot of the results; they lie side by side.
    pub(super) to: u16,
}

/// A loop: `Op::a` of a `LOOP` names it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loop {
    pub(super) times: u32,
    /// Of [`Program::imports`].
    pub(super) imports: Range,
    /// The first operation of its body.
    pub(super) body: usize,
    /// The operation behind the loop.
    pub(super) next: usize,
}

/// The end of a scope: `Op::a` of an `END` names it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope {
    /// Slots of the scope's variables, in order: of [`Program::outputs`].
    pub(super) outputs: Range,
    /// Words that one lane has executed in it, those of the scopes inside apart.
    pub(super) words: u32,
}

/// A branch: `Op::b` of an `IF` names it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Branch {
    /// The first operation of the scope for the lanes of which the condition does not hold.
    pub(super) otherwise: usize,
    /// The operation behind both.
    pub(super) next: usize,
}

/// Part of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Range {
    pub(super) fn of<T>(self, list: &[T]) -> &[T] {
        list.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    fn to_end<T>(start: usize, list: &[T]) -> Self {
        Self {
            start: u32::try_from(start).unwrap_or(0),
            end: u32::try_from(list.len()).unwrap_or(0),
        }
    }
}

/// A program; the first operation is the loop around everything.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) ops: Vec<Op>,
    pub(super) loops: Vec<Loop>,
    pub(super) scopes: Vec<Scope>,
    pub(super) branches: Vec<Branch>,
    /// Pairs of slots: in the loop around, in the loop itself.
    pub(super) imports: Vec<(u16, u16)>,
    pub(super) outputs: Vec<u16>,
    /// Slots with the same number in all lanes.
    pub(super) constants: Vec<(u16, u32)>,
    /// How many slots there are.
    pub(super) slots: usize,
}

/// Where a variable lies, and in which loop it was made.
#[derive(Clone, Copy)]
struct Var {
    slot: u16,
    level: u16,
    /// The loop that it was last imported into, and its slot there.
    import: (u16, u16),
}

/// A loop whose body is being read.
struct Open {
    /// From 1 on, in the order of their words.
    number: u16,
    /// So far.
    imports: Vec<(u16, u16)>,
}

/// Reads words; everything here goes back to its first size when a scope ends, but the slots.
struct Reader<'a> {
    words: &'a [u32],
    program: &'a mut Program,
    /// As the generator counted them: the marks of frames too.
    vars: Vec<Option<Var>>,
    /// The loops that are open, outermost first.
    open: Vec<Open>,
}

impl Program {
    /// Takes the place of the program before. `None`: the words are not of [`super::generate`].
    pub(super) fn translate(&mut self, words: &[u32]) -> Option<()> {
        self.ops.clear();
        self.loops.clear();
        self.scopes.clear();
        self.branches.clear();
        self.imports.clear();
        self.outputs.clear();
        self.constants.clear();
        self.slots = 0;
        let mut reader = Reader {
            words,
            program: self,
            vars: Vec::with_capacity(256),
            open: Vec::with_capacity(16),
        };
        let first = *words.first()?;
        let end = reader.repeat(first, 0)?;
        (end == words.len()).then_some(())
    }
}

fn code_of(word: u32) -> u8 {
    word.to_le_bytes()[0]
}

impl Reader<'_> {
    fn slots(&mut self, count: usize) -> Option<u16> {
        let first = u16::try_from(self.program.slots).ok()?;
        self.program.slots += count;
        Some(first)
    }

    fn level(&self) -> Option<u16> {
        u16::try_from(self.open.len()).ok()?.checked_sub(1)
    }

    fn push(&mut self, count: usize) -> Option<u16> {
        let (first, level) = (self.slots(count)?, self.level()?);
        let slots = first..first.checked_add(u16::try_from(count).ok()?)?;
        self.vars.extend(slots.map(|slot| Some(Var { slot, level, import: (0, 0) })));
        Some(first)
    }

    /// The slot of a variable in the innermost loop.
    fn operand(&mut self, var: usize) -> Option<u16> {
        let Var { mut slot, level, import } = (*self.vars.get(var)?)?;
        if usize::from(level) + 1 == self.open.len() {
            return Some(slot);
        }
        let innermost = self.open.last()?.number;
        if import.0 == innermost {
            return Some(import.1);
        }
        for inner in usize::from(level) + 1..self.open.len() {
            let known = self.open.get(inner)?.imports.iter().find(|(from, _)| *from == slot);
            slot = if let Some((_, to)) = known {
                *to
            } else {
                let to = self.slots(1)?;
                self.open.get_mut(inner)?.imports.push((slot, to));
                to
            };
        }
        if let Some(Some(var)) = self.vars.get_mut(var) {
            var.import = (innermost, slot);
        }
        Some(slot)
    }

    fn constant(&mut self, value: u32) -> Option<u16> {
        let slot = self.slots(1)?;
        self.program.constants.push((slot, value));
        Some(slot)
    }

    /// The loop whose word stands at `pc`; the word behind it.
    fn repeat(&mut self, word: u32, pc: usize) -> Option<usize> {
        let index = self.program.loops.len();
        self.program.loops.push(Loop::default());
        let a = u16::try_from(index).ok()?;
        self.program.ops.push(Op { code: LOOP, a, ..Op::default() });
        self.open.push(Open { number: a + 1, imports: Vec::new() });
        let body = self.program.ops.len();
        let end = self.scope(pc + 1)?;
        let start = self.program.imports.len();
        let imports = self.open.pop()?.imports;
        self.program.imports.extend(imports);
        let next = self.program.ops.len();
        let imports = Range::to_end(start, &self.program.imports);
        *self.program.loops.get_mut(index)? = Loop { times: word >> 20, imports, body, next };
        Some(end)
    }

    /// A scope from its first word on; the word behind its `END`.
    fn scope(&mut self, mut pc: usize) -> Option<usize> {
        let mark = self.vars.len();
        self.vars.push(None);
        let mut words = 0;
        loop {
            let word = *self.words.get(pc)?;
            words += 1;
            pc += 1;
            match code_of(word) {
                END => break,
                IN => {
                    let to = self.push(1)?;
                    let a = op::immediate(word).to_le_bytes()[0];
                    self.program.ops.push(Op { code: IN, a: u16::from(a), to, ..Op::default() });
                }
                MEMORY => {
                    let to = self.push(1)?;
                    #[expect(clippy::cast_possible_truncation, reason = "8 bits at most")]
                    let field = |from: u32, bits: u32| (word >> from & ((1 << bits) - 1)) as u16;
                    // Only the low 8 bits of base count.
                    let (a, b, a_low) = (field(17, 8), field(13, 4), field(9, 4));
                    self.program.ops.push(Op { code: MEMORY, a, a_low, b, to, b_low: 0 });
                }
                LOOP => pc = self.repeat(word, pc - 1)?,
                code @ (IF_LIKELY | IF_RANDOM) => {
                    // One jump is taken either way: to the second scope, or over it.
                    words += 1;
                    pc = self.branch(code, word, pc)?;
                }
                code @ 1..IN => self.operation(code, word)?,
                _ => return None,
            }
        }
        let start = self.program.outputs.len();
        self.program.outputs.extend(self.vars.drain(mark..).skip(1).flatten().map(|var| var.slot));
        let outputs = Range::to_end(start, &self.program.outputs);
        let a = u16::try_from(self.program.scopes.len()).ok()?;
        self.program.scopes.push(Scope { outputs, words });
        self.program.ops.push(Op { code: END, a, ..Op::default() });
        Some(pc)
    }

    /// `IF`, `JMP` to the second scope, first scope, `JMP` over the second, second scope.
    fn branch(&mut self, code: u8, word: u32, pc: usize) -> Option<usize> {
        let a = self.operand((word >> 9 & 0x1ff) as usize)?;
        let index = self.program.branches.len();
        self.program.branches.push(Branch::default());
        self.program.ops.push(Op { code, a, b: u16::try_from(index).ok()?, ..Op::default() });
        (code_of(*self.words.get(pc)?) == JMP).then_some(())?;
        let second = self.scope(pc + 1)?;
        (code_of(*self.words.get(second)?) == JMP).then_some(())?;
        let otherwise = self.program.ops.len();
        let end = self.scope(second + 1)?;
        let next = self.program.ops.len();
        *self.program.branches.get_mut(index)? = Branch { otherwise, next };
        Some(end)
    }

    fn operation(&mut self, code: u8, word: u32) -> Option<()> {
        let double = code >= op::FOUR_TO_TWO;
        let (a, b) = ((word >> 9 & 0x1ff) as usize, (word >> 20 & 0x1ff) as usize);
        let mut op = Op { code, a: self.operand(a)?, ..Op::default() };
        if double {
            op.a_low = self.operand(a.checked_sub(1)?)?;
        }
        if code >= op::TWO_TO_ONE {
            if word & 1 << 18 == 0 {
                op.b = self.operand(b)?;
                if double {
                    op.b_low = self.operand(b.checked_sub(1)?)?;
                }
            } else {
                let number = op::immediate(word);
                let low = self.constant((number & 0xffff_ffff) as u32)?;
                (op.b, op.b_low) =
                    if double { (self.constant((number >> 32) as u32)?, low) } else { (low, low) };
            }
        }
        op.to = self.push(op::results(code))?;
        self.program.ops.push(op);
        Some(())
    }
}
