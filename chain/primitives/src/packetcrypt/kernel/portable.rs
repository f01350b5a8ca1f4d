//! For any processor; also the body of what is compiled for wider vectors.

use super::Kernel;
use crate::packetcrypt::chacha::{GROUP_LEN, Step, Stream};
use crate::packetcrypt::program::Program;
use crate::packetcrypt::run::{self, LANES, Lane, Lanes, Machine};

/// What compilers make of loops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

impl Kernel for Portable {
    fn body(self, machine: &mut Machine, program: &Program, first: usize, lane: &mut Lane) {
        run::body(self, machine, program, first, lane);
    }

    fn permute(self, lanes: &Lanes, of: &Lanes) -> Lanes {
        Lanes(std::array::from_fn(|lane| lanes.0[of.0[lane] as usize % LANES]))
    }
}

pub(super) fn blocks(stream: &Stream, out: &mut [u8; GROUP_LEN]) {
    blocks_of::<4>(stream, out);
}

/// Sixteen blocks, `WIDTH` of them at once.
#[inline(always)]
pub(super) fn blocks_of<const WIDTH: usize>(stream: &Stream, out: &mut [u8; GROUP_LEN]) {
    let (blocks, _) = out.as_chunks_mut::<64>();
    for (number, out) in (0u32..).step_by(WIDTH).zip(blocks.chunks_exact_mut(WIDTH)) {
        some_blocks::<WIDTH>(stream, number, out);
    }
}

#[inline(always)]
fn some_blocks<const WIDTH: usize>(stream: &Stream, first: u32, out: &mut [[u8; 64]]) {
    let splat = |word: u32| [word; WIDTH];
    let Stream { key, mut tail, step } = *stream;
    let place = if step == Step::Counter { 0 } else { 1 };
    tail[place] = tail[place].wrapping_add(first);
    let mut input = [splat(0); 16];
    for (row, word) in input.iter_mut().zip(CONSTANTS.iter().chain(&key).chain(&tail)) {
        *row = splat(*word);
    }
    for (word, lane) in input[12 + place].iter_mut().zip(0..) {
        *word = word.wrapping_add(lane);
    }
    let mut x = input;
    for _ in 0..10 {
        for [a, b, c, d] in QUARTERS {
            quarter(&mut x, a, b, c, d);
        }
    }
    for (row, (x, input)) in x.iter().zip(&input).enumerate() {
        for (lane, out) in out.iter_mut().enumerate().take(WIDTH) {
            let word = x[lane].wrapping_add(input[lane]);
            out[4 * row..4 * row + 4].copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// "expand 32-byte k".
pub(super) const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Columns, then diagonals.
const QUARTERS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

#[inline(always)]
fn quarter<const WIDTH: usize>(x: &mut [[u32; WIDTH]; 16], a: usize, b: usize, c: usize, d: usize) {
    let mut step = |to: usize, from: usize, turned: usize, by: u32| {
        x[to] = std::array::from_fn(|lane| x[to][lane].wrapping_add(x[from][lane]));
        x[turned] = std::array::from_fn(|lane| (x[turned][lane] ^ x[to][lane]).rotate_left(by));
    };
    step(a, b, d, 16);
    step(c, d, b, 12);
    step(a, b, d, 8);
    step(c, d, b, 7);
}
