//! Vectors of 512 bits.
#![expect(unsafe_code, reason = "calls of code for instructions that were found at start")]

use super::Kernel;
use super::portable::CONSTANTS;
use crate::packetcrypt::chacha::{GROUP_LEN, Step, Stream};
use crate::packetcrypt::program::Program;
use crate::packetcrypt::run::{self, LANES, Lane, Lanes, Machine, WINDOW, lanes_of};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_permutexvar_epi32, _mm512_rol_epi32, _mm512_set1_epi32,
    _mm512_setr_epi32, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use zerocopy::transmute;

/// Exists only where the processor has every instruction that is used below.
#[derive(Clone, Copy, Debug)]
pub(in crate::packetcrypt) struct Avx512(());

impl Avx512 {
    /// `None`: this processor lacks some of it.
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        found.then_some(Self(()))
    }

    pub(super) fn blocks(self, stream: &Stream, out: &mut [u8; GROUP_LEN]) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { blocks(stream, out) }
    }

    pub(super) fn place(self, machine: &Machine, output: &mut [u32; WINDOW]) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { place(machine, output) }
    }
}

impl Kernel for Avx512 {
    fn body(self, machine: &mut Machine, program: &Program, first: usize, lane: &mut Lane) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { body(self, machine, program, first, lane) }
    }

    #[inline(always)]
    fn permute(self, lanes: &Lanes, of: &Lanes) -> Lanes {
        let (lanes, of): (__m512i, __m512i) = (transmute!(lanes.0), transmute!(of.0));
        // SAFETY: the instruction is one of those that `detect` found, and `self` comes from nowhere else.
        let permuted = unsafe { _mm512_permutexvar_epi32(of, lanes) };
        Lanes(transmute!(permuted))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
fn body(kernel: Avx512, machine: &mut Machine, program: &Program, first: usize, lane: &mut Lane) {
    run::body(kernel, machine, program, first, lane);
}

/// Sixteen blocks, one in each lane.
#[target_feature(enable = "avx512f")]
fn blocks(stream: &Stream, out: &mut [u8; GROUP_LEN]) {
    let splat = |word: u32| _mm512_set1_epi32(word.cast_signed());
    let mut input = [_mm512_setzero_si512(); 16];
    for (row, word) in input.iter_mut().zip(CONSTANTS.iter().chain(&stream.key).chain(&stream.tail))
    {
        *row = splat(*word);
    }
    let place = if stream.step == Step::Counter { 12 } else { 13 };
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    input[place] = _mm512_add_epi32(input[place], lanes);
    let mut x = input;
    for _ in 0..10 {
        for turn in [0, 1] {
            // Four at a time hide each other's latencies.
            let [a, b, c, d] = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
                .map(|row: [usize; 4]| row);
            let [b, c, d] =
                [(b, turn), (c, 2 * turn), (d, 3 * turn)].map(|(row, by)| -> [usize; 4] {
                    std::array::from_fn(|column| row[(column + by) % 4])
                });
            half::<16>(&mut x, a, b, d);
            half::<12>(&mut x, c, d, b);
            half::<8>(&mut x, a, b, d);
            half::<7>(&mut x, c, d, b);
        }
    }
    for (x, input) in x.iter_mut().zip(input) {
        *x = _mm512_add_epi32(*x, input);
    }
    let x: [[u32; 16]; 16] = transmute!(transpose(&x));
    *out = transmute!(x);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn half<const BY: i32>(
    x: &mut [__m512i; 16],
    to: [usize; 4],
    from: [usize; 4],
    turned: [usize; 4],
) {
    for ((to, from), turned) in to.into_iter().zip(from).zip(turned) {
        x[to] = _mm512_add_epi32(x[to], x[from]);
        x[turned] = _mm512_rol_epi32::<BY>(_mm512_xor_si512(x[turned], x[to]));
    }
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &[__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    // Within 128 bits: 4 × 4 words of each four rows.
    let mut quads = [zero; 16];
    for (rows, quads) in rows.as_chunks::<4>().0.iter().zip(quads.as_chunks_mut::<4>().0) {
        let low =
            [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])];
        let high =
            [_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])];
        *quads = [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ];
    }
    // Then the 128-bit quarters: 4 × 4 of them, for each of the four columns within.
    let mut columns = [zero; 16];
    for column in 0..4 {
        let [a, b, c, d] =
            [quads[column], quads[4 + column], quads[8 + column], quads[12 + column]];
        let (ab_even, ab_odd) =
            (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) =
            (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        columns[column] = _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even);
        columns[4 + column] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
        columns[8 + column] = _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even);
        columns[12 + column] = _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd);
    }
    columns
}

/// A lane's outputs lie side by side in the output: sixteen of them are turned into one vector for each lane, and
/// added.
#[target_feature(enable = "avx512f")]
fn place(machine: &Machine, output: &mut [u32; WINDOW]) {
    // Neighbouring lanes add to neighbouring words, and a load that overlaps the store before it waits for that: lanes
    // take turns between sums. What goes past the ring's end comes to its beginning.
    let mut sums = [[0u32; WINDOW + LANES]; 4];
    for outputs in &machine.outputs {
        for (values, done) in outputs.of(&machine.log).chunks(LANES).zip((0u32..).step_by(LANES)) {
            let mut rows = [_mm512_setzero_si512(); LANES];
            for (row, value) in rows.iter_mut().zip(values) {
                *row = transmute!(value.0);
            }
            let columns = transpose(&rows);
            for lane in lanes_of(outputs.mask) {
                let at = (outputs.at.0[lane] + done) as usize % WINDOW;
                let Some(words) = sums[lane % 4][at..].first_chunk_mut::<LANES>() else { continue };
                let sum = _mm512_add_epi32(transmute!(*words), columns[lane]);
                *words = transmute!(sum);
            }
        }
    }
    for sums in sums {
        for (at, sum) in sums.into_iter().enumerate() {
            let word = &mut output[at % WINDOW];
            *word = word.wrapping_add(sum);
        }
    }
}
