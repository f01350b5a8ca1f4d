//! For any processor.

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

/// Sixteen blocks, four at a time.
pub(super) fn blocks(stream: &Stream, out: &mut [u8; GROUP_LEN]) {
    const WIDTH: usize = 4;
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
        quarters::<WIDTH, 0>(&mut x);
        quarters::<WIDTH, 1>(&mut x);
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

/// The word of the state that a quarter round takes from a row: of a column (`turn` 0) or a diagonal (1).
pub(super) const fn word(row: usize, column: usize, turn: usize) -> usize {
    4 * row + (column + row * turn) % 4
}

/// Four quarter rounds, as [`word`] has them.
#[inline(always)]
fn quarters<const WIDTH: usize, const TURN: usize>(x: &mut [[u32; WIDTH]; 16]) {
    macro_rules! quarter {
        ($($column:literal)*) => {$(
            let [a, b, c, d] = const {
                [word(0, $column, TURN), word(1, $column, TURN), word(2, $column, TURN), word(3, $column, TURN)]
            };
            half::<WIDTH, 16>(x, a, b, d);
            half::<WIDTH, 12>(x, c, d, b);
            half::<WIDTH, 8>(x, a, b, d);
            half::<WIDTH, 7>(x, c, d, b);
        )*};
    }
    quarter!(0 1 2 3);
}

#[inline(always)]
fn half<const WIDTH: usize, const BY: u32>(
    x: &mut [[u32; WIDTH]; 16],
    to: usize,
    from: usize,
    turned: usize,
) {
    let (mut sum, other) = (x[to], x[from]);
    for (word, other) in sum.iter_mut().zip(other) {
        *word = word.wrapping_add(other);
    }
    for (word, sum) in x[turned].iter_mut().zip(sum) {
        *word = (*word ^ sum).rotate_left(BY);
    }
    x[to] = sum;
}
