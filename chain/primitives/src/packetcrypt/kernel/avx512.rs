//! Vectors of 512 bits.
#![expect(unsafe_code, reason = "calls of code for instructions that were found at start")]

use super::Kernel;
use super::portable::{CONSTANTS, word};
use crate::packetcrypt::chacha::{GROUP_LEN, Step, Stream};
use crate::packetcrypt::program::Program;
use crate::packetcrypt::run::{self, LANES, Lane, Lanes, Machine, Outputs};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_mask_storeu_epi32, _mm512_permutexvar_epi32,
    _mm512_rol_epi32, _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
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

    pub(super) fn place(self, log: &[Lanes], outputs: &[Outputs], sequence: &mut [u32]) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { place(log, outputs, sequence) }
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
        quarters::<0>(&mut x);
        quarters::<1>(&mut x);
    }
    for (x, input) in x.iter_mut().zip(input) {
        *x = _mm512_add_epi32(*x, input);
    }
    let x: [[u32; 16]; 16] = transmute!(transpose(&x));
    *out = transmute!(x);
}

/// Four quarter rounds, which hide each other's latencies: of the columns (`TURN` 0) or the diagonals (1).
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters<const TURN: usize>(x: &mut [__m512i; 16]) {
    macro_rules! half {
        ($to:literal, $from:literal, $turned:literal, $by:literal) => {
            half!(@ $to, $from, $turned, $by, 0);
            half!(@ $to, $from, $turned, $by, 1);
            half!(@ $to, $from, $turned, $by, 2);
            half!(@ $to, $from, $turned, $by, 3);
        };
        (@ $to:literal, $from:literal, $turned:literal, $by:literal, $column:literal) => {
            let (to, from, turned) = const {
                (word($to, $column, TURN), word($from, $column, TURN), word($turned, $column, TURN))
            };
            x[to] = _mm512_add_epi32(x[to], x[from]);
            x[turned] = _mm512_rol_epi32::<$by>(_mm512_xor_si512(x[turned], x[to]));
        };
    }
    half!(0, 1, 3, 16);
    half!(2, 3, 1, 12);
    half!(0, 1, 3, 8);
    half!(2, 3, 1, 7);
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

/// A lane's outputs lie side by side in the sequence: sixteen of them are turned into one vector for each lane, and
/// written.
#[target_feature(enable = "avx512f")]
fn place(log: &[Lanes], outputs: &[Outputs], sequence: &mut [u32]) {
    for outputs in outputs {
        for (values, done) in outputs.of(log).chunks(LANES).zip((0u32..).step_by(LANES)) {
            let mut rows = [_mm512_setzero_si512(); LANES];
            for (row, value) in rows.iter_mut().zip(values) {
                *row = transmute!(value.0);
            }
            let columns = transpose(&rows);
            let some = u16::MAX >> (LANES - values.len());
            for (lane, column) in columns.iter().enumerate() {
                if outputs.mask >> lane & 1 == 0 {
                    continue;
                }
                let at = (outputs.at.0[lane] + done) as usize;
                let Some(places) = sequence.get_mut(at..at + values.len()) else { continue };
                // SAFETY: the mask has a bit for each of the words of `places`, and no other.
                unsafe { _mm512_mask_storeu_epi32(places.as_mut_ptr().cast(), some, *column) };
            }
        }
    }
}
