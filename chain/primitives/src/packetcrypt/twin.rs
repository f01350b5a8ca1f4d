//! The slow, obvious version: one word after another, as PKT-CHAIN.md §3.5 tells it, and the key stream of a library.

#![allow(clippy::cast_possible_truncation, reason = "low halves, and fields of words")]

use super::op::{self, END, IF_LIKELY, IF_RANDOM, IN, JMP, LOOP, MEMORY, operations};
use super::run::WINDOW;
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

/// PacketCrypt's expansion of a seed.
pub(super) fn expand(seed: &[u8; 32], len: usize, counter: u32) -> Vec<u8> {
    let nonce = [&counter.to_le_bytes()[..], b"PC_EXPND"].concat();
    let mut out = vec![0; len];
    ChaCha20::new_from_slices(seed, &nonce).unwrap().apply_keystream(&mut out);
    out
}

/// What an operation makes of its operands, low word first.
pub(super) fn operate(code: u8, a: u64, b: u64) -> Vec<u32> {
    let (a32, b32) = (a as u32, b as u32);
    let words = |wide: u64| [wide as u32, (wide >> 32) as u32];
    macro_rules! by_code {
        (
            one_to_one { $($c11:literal $f11:ident),* }
            two_to_one { $($c21:literal $f21:ident),* }
            two_to_two { $($c22:literal $f22:ident),* }
            four_to_two { $($c42:literal $f42:ident),* }
            four_to_four { $($c44:literal $f44:ident),* }
        ) => {
            match code {
                $($c11 => vec![op::$f11(a32)],)*
                $($c21 => vec![op::$f21(a32, b32)],)*
                $($c22 => op::$f22(a32, b32).to_vec(),)*
                $($c42 => words(op::$f42(a, b)).to_vec(),)*
                $($c44 => op::$f44(a, b).map(words).concat(),)*
                _ => panic!("operation {code}"),
            }
        };
    }
    operations!(by_code)
}

/// One cycle of a program. `None`: it takes too long.
pub(super) fn interpret(
    words: &[u32],
    input: &[u32; WINDOW],
    output: &mut [u32; WINDOW],
    memory: &[u32; WINDOW],
) -> Option<()> {
    let mut run = Run {
        words,
        input,
        output,
        memory,
        registers: Vec::new(),
        own: 0,
        iteration: 0,
        at: 0,
        executed: 0,
    };
    run.execute(0)?;
    (run.executed <= 20_000).then_some(())
}

struct Run<'a> {
    words: &'a [u32],
    input: &'a [u32; WINDOW],
    output: &'a mut [u32; WINDOW],
    memory: &'a [u32; WINDOW],
    registers: Vec<u32>,
    /// Registers of the scope.
    own: usize,
    iteration: u32,
    at: usize,
    executed: u32,
}

impl Run<'_> {
    /// From a word to the end of its scope; where that is.
    fn execute(&mut self, mut pc: usize) -> Option<usize> {
        let around = self.own;
        if pc != 0 {
            self.registers.push(u32::MAX);
            self.own = 0;
        }
        loop {
            if self.executed > 20_000 {
                return None;
            }
            self.executed += 1;
            let word = self.words[pc];
            let number = op::immediate(word);
            let a = (word >> 9 & 0x1ff) as usize;
            match word as u8 {
                MEMORY => {
                    let (carry, step, base) = (word >> 9 & 15, word >> 13 & 15, word >> 17);
                    let at = base
                        .wrapping_add(self.iteration.wrapping_add(carry).wrapping_mul(step))
                        % 256;
                    self.push(&[self.memory[at as usize]]);
                }
                IN => self.push(&[self.input[number as usize % 256]]),
                LOOP => {
                    for i in 0..number as u32 {
                        self.iteration = i;
                        let end = self.execute(pc + 1)?;
                        if i + 1 == number as u32 {
                            pc = end;
                        }
                    }
                    if pc + 1 == self.words.len() {
                        return Some(pc);
                    }
                }
                code @ (IF_LIKELY | IF_RANDOM) => {
                    let bits = if code == IF_LIKELY { 7 } else { 1 };
                    pc =
                        self.execute(if self.registers[a] & bits != 0 { pc + 2 } else { pc + 1 })?;
                }
                JMP => pc += (word >> 8) as usize,
                END => {
                    let first = self.registers.len() - self.own;
                    for value in self.registers.drain(first..) {
                        self.output[self.at] = self.output[self.at].wrapping_add(value);
                        self.at = (self.at + 1) % WINDOW;
                    }
                    self.registers.pop();
                    self.own = around;
                    return Some(pc);
                }
                code => {
                    let b = (word >> 20 & 0x1ff) as usize;
                    let has_b = code >= op::TWO_TO_ONE && word & 1 << 18 == 0;
                    let registers = &self.registers;
                    let read = |place: usize| match code {
                        op::FOUR_TO_TWO.. => {
                            u64::from(registers[place]) << 32 | u64::from(registers[place - 1])
                        }
                        _ => u64::from(registers[place]),
                    };
                    let results = operate(code, read(a), if has_b { read(b) } else { number });
                    self.push(&results);
                }
            }
            pc += 1;
        }
    }

    fn push(&mut self, values: &[u32]) {
        self.registers.extend(values);
        self.own += values.len();
    }
}
