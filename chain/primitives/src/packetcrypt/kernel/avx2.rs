//! Vectors of 256 bits.
#![expect(unsafe_code, reason = "calls of code for instructions that were found at start")]

use super::Kernel;
use super::portable::{CONSTANTS, word};
use crate::packetcrypt::chacha::{GROUP_LEN, Step, Stream};
use crate::packetcrypt::program::Program;
use crate::packetcrypt::run::{self, Lane, Lanes, Machine};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_or_si256, _mm256_permute2x128_si256, _mm256_permutevar8x32_epi32, _mm256_set1_epi32,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    _mm256_xor_si256,
};
use zerocopy::transmute;

/// Exists only where the processor has every instruction that is used below.
#[derive(Clone, Copy, Debug)]
pub(in crate::packetcrypt) struct Avx2(());

impl Avx2 {
    /// `None`: this processor lacks some of it.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn blocks(self, stream: &Stream, out: &mut [u8; GROUP_LEN]) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { blocks(stream, out) }
    }
}

impl Kernel for Avx2 {
    fn body(self, machine: &mut Machine, program: &Program, first: usize, lane: &mut Lane) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { body(self, machine, program, first, lane) }
    }

    #[inline(always)]
    fn permute(self, lanes: &Lanes, of: &Lanes) -> Lanes {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { permute(lanes, of) }
    }
}

#[target_feature(enable = "avx2")]
fn body(kernel: Avx2, machine: &mut Machine, program: &Program, first: usize, lane: &mut Lane) {
    run::body(kernel, machine, program, first, lane);
}

/// From both halves, then what each lane wants.
#[inline]
#[target_feature(enable = "avx2")]
fn permute(lanes: &Lanes, of: &Lanes) -> Lanes {
    let [low, high]: [__m256i; 2] = transmute!(lanes.0);
    let of: [__m256i; 2] = transmute!(of.0);
    let permuted = of.map(|of| {
        let is_high = _mm256_slli_epi32::<28>(of);
        let (low, high) =
            (_mm256_permutevar8x32_epi32(low, of), _mm256_permutevar8x32_epi32(high, of));
        let permuted = _mm256_blendv_ps(
            _mm256_castsi256_ps(low),
            _mm256_castsi256_ps(high),
            _mm256_castsi256_ps(is_high),
        );
        _mm256_castps_si256(permuted)
    });
    Lanes(transmute!(permuted))
}

/// Sixteen blocks, eight at a time, one in each lane.
#[target_feature(enable = "avx2")]
fn blocks(stream: &Stream, out: &mut [u8; GROUP_LEN]) {
    for (first, out) in [0, 8].into_iter().zip(out.as_chunks_mut::<{ GROUP_LEN / 2 }>().0) {
        eight_blocks(stream, first, out);
    }
}

#[target_feature(enable = "avx2")]
fn eight_blocks(stream: &Stream, first: i32, out: &mut [u8; GROUP_LEN / 2]) {
    let splat = |word: u32| _mm256_set1_epi32(word.cast_signed());
    let mut input = [_mm256_setzero_si256(); 16];
    for (row, word) in input.iter_mut().zip(CONSTANTS.iter().chain(&stream.key).chain(&stream.tail))
    {
        *row = splat(*word);
    }
    let place = if stream.step == Step::Counter { 12 } else { 13 };
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let lanes = _mm256_add_epi32(lanes, _mm256_set1_epi32(first));
    input[place] = _mm256_add_epi32(input[place], lanes);
    let mut x = input;
    for _ in 0..10 {
        quarters::<0>(&mut x);
        quarters::<1>(&mut x);
    }
    for (x, input) in x.iter_mut().zip(input) {
        *x = _mm256_add_epi32(*x, input);
    }
    let (halves, _) = x.as_chunks::<8>();
    let [low, high] = [transpose(&halves[0]), transpose(&halves[1])];
    let blocks: [[__m256i; 2]; 8] = std::array::from_fn(|block| [low[block], high[block]]);
    *out = transmute!(blocks);
}

/// Four quarter rounds: of the columns (`TURN` 0) or the diagonals (1).
#[inline]
#[target_feature(enable = "avx2")]
fn quarters<const TURN: usize>(x: &mut [__m256i; 16]) {
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
            x[to] = _mm256_add_epi32(x[to], x[from]);
            x[turned] = turn::<$by, { 32 - $by }>(_mm256_xor_si256(x[turned], x[to]));
        };
    }
    half!(0, 1, 3, 16);
    half!(2, 3, 1, 12);
    half!(0, 1, 3, 8);
    half!(2, 3, 1, 7);
}

#[inline]
#[target_feature(enable = "avx2")]
fn turn<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: &[__m256i; 8]) -> [__m256i; 8] {
    // Within 128 bits: 4 × 4 words of each four rows, then the two 128-bit halves.
    let quads = |a, b, c, d| {
        let low = [_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d)];
        let high = [_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d)];
        [
            _mm256_unpacklo_epi64(low[0], low[1]),
            _mm256_unpackhi_epi64(low[0], low[1]),
            _mm256_unpacklo_epi64(high[0], high[1]),
            _mm256_unpackhi_epi64(high[0], high[1]),
        ]
    };
    let above = quads(rows[0], rows[1], rows[2], rows[3]);
    let below = quads(rows[4], rows[5], rows[6], rows[7]);
    let mut columns = [_mm256_setzero_si256(); 8];
    for place in 0..4 {
        columns[place] = _mm256_permute2x128_si256::<0x20>(above[place], below[place]);
        columns[4 + place] = _mm256_permute2x128_si256::<0x31>(above[place], below[place]);
    }
    columns
}
