//! Poly1305: one packet to a lane, with limbs of 44, 44 and 42 bits.
//!
//! The texts of eight packets end in the same step: in front of the shorter ones there are blocks that are nothing, not
//! even the bit behind a block, so that their sum stays zero.

use super::bytes::{VECTOR, load, words};
use super::stream::quarters;
use crate::aead::columns::{Columns, KeyRows, Text};
use crate::aead::{Cipher, TAG_LEN};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_castsi512_si256, _mm512_cmple_epu64_mask,
    _mm512_cmplt_epu64_mask, _mm512_cvtepu32_epi64, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_mask_add_epi64, _mm512_mask_mov_epi64, _mm512_maskz_mov_epi64, _mm512_or_si512,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shrdi_epi64, _mm512_slli_epi64,
    _mm512_sllv_epi64, _mm512_srli_epi64, _mm512_sub_epi64, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64,
};
use std::ops::Range;
use zerocopy::transmute;

/// Packets at once.
const LANES: usize = 8;
/// Blocks of a step.
const STEP: usize = VECTOR / TAG_LEN;
const MASK_44: i64 = (1 << 44) - 1;
const MASK_42: i64 = (1 << 42) - 1;
/// The bit behind a whole block, in the highest limb.
const BEHIND: i64 = 1 << 40;

/// See [`crate::aead::burst::Kernel::authenticate`].
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
pub(super) fn authenticate(cipher: Cipher, columns: &mut Columns, texts: &[Text<'_>]) {
    for (group, texts) in texts.chunks_exact(LANES).enumerate() {
        let base = group * LANES;
        if base >= columns.len() {
            break;
        }
        let mut eight: [&[u8]; LANES] = Default::default();
        for (place, text) in eight.iter_mut().zip(texts) {
            *place = text;
        }
        let [low, high] = tags(cipher, &columns.poly_key, base, &eight);
        store(&mut columns.tags[0], base, low);
        store(&mut columns.tags[1], base, high);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn store(row: &mut [u64], base: usize, half: __m512i) {
    if let Some(place) = row.get_mut(base..).and_then(|row| row.first_chunk_mut::<LANES>()) {
        *place = transmute!(half);
    }
}

/// The tags of eight texts, as halves.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn tags(cipher: Cipher, keys: &KeyRows, base: usize, texts: &[&[u8]; LANES]) -> [__m512i; 2] {
    let r = Multiplier::clamped(key_half(keys, 0, base), key_half(keys, 2, base));
    let mut sum = [_mm512_setzero_si512(); 3];
    let mut before = [0; LANES];
    let most = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let steps = most.div_ceil(VECTOR);
    for (before, text) in before.iter_mut().zip(texts) {
        *before = steps * VECTOR - text.len().next_multiple_of(TAG_LEN);
    }
    if steps == 1 {
        let square = r.times(&r);
        let (blocks, behind) = last(cipher, texts, &before, 0);
        sum = two(sum, &r, &square, [&blocks[0], &blocks[1]], [behind[0], behind[1]]);
        sum = two(sum, &r, &square, [&blocks[2], &blocks[3]], [behind[2], behind[3]]);
    } else if steps > 1 {
        let powers = r.powers();
        let most_before = before.into_iter().max().unwrap_or(0);
        let front = most_before.div_ceil(VECTOR).min(steps - 1);
        for step in 0..front {
            let blocks = blocks_of(&edge(texts, &before, step));
            sum = four(sum, &powers, &blocks, behind(&before, step));
        }
        sum = middle(sum, &powers, texts, &before, front..steps - 1);
        let (blocks, behind) = last(cipher, texts, &before, steps - 1);
        sum = four(sum, &powers, &blocks, behind);
    }
    if cipher == Cipher::ChaCha {
        // The lengths: of nothing else, and of the text.
        let block = limbs(&[_mm512_setzero_si512(), lens(texts)], _mm512_set1_epi64(BEHIND));
        let mut products = Products::none();
        products.add(plus(sum, block), &r);
        sum = products.carry();
    }
    finish(sum, [key_half(keys, 4, base), key_half(keys, 6, base)])
}

/// Two words of eight keys as one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn key_half(keys: &KeyRows, word: usize, base: usize) -> __m512i {
    let low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(words(&keys[word], base)));
    let high = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(words(&keys[word + 1], base)));
    _mm512_or_si512(low, _mm512_slli_epi64::<32>(high))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn lens(texts: &[&[u8]; LANES]) -> __m512i {
    let mut lens = [0; LANES];
    for (len, text) in lens.iter_mut().zip(texts) {
        *len = text.len() as u64;
    }
    transmute!(lens)
}

/// Halves of the blocks of one step.
type Blocks = [[__m512i; 2]; STEP];
/// A number in limbs.
type Limbs = [__m512i; 3];

/// Steps in which every text has 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn middle(
    mut sum: Limbs,
    powers: &[Multiplier; STEP],
    texts: &[&[u8]; LANES],
    before: &[usize; LANES],
    steps: Range<usize>,
) -> Limbs {
    let mut whole: [&[[u8; VECTOR]]; LANES] = Default::default();
    for (whole, (text, before)) in whole.iter_mut().zip(texts.iter().zip(before)) {
        let start = (steps.start * VECTOR).saturating_sub(*before);
        let chunks = text.get(start..).unwrap_or_default().as_chunks().0;
        *whole = chunks.get(..steps.len()).unwrap_or_default();
    }
    let all = [_mm512_set1_epi64(BEHIND); STEP];
    for step in 0..whole[0].len() {
        let mut rows = [_mm512_setzero_si512(); LANES];
        for (row, whole) in rows.iter_mut().zip(&whole) {
            *row = transmute!(whole[step]);
        }
        sum = four(sum, powers, &blocks_of(&rows), all);
    }
    sum
}

/// The blocks of the step in which all texts end, and what is behind them: a bit that belongs to the last block, whole
/// or not.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn last(
    cipher: Cipher,
    texts: &[&[u8]; LANES],
    before: &[usize; LANES],
    step: usize,
) -> (Blocks, [__m512i; STEP]) {
    let mut blocks = blocks_of(&edge(texts, before, step));
    let mut behind = behind(before, step);
    if cipher == Cipher::XSalsa {
        // ChaCha20's last block is filled with zeros; here the bit is right behind the text.
        let in_last = _mm512_and_si512(lens(texts), _mm512_set1_epi64(15));
        let bits = _mm512_slli_epi64::<3>(in_last);
        let zero = _mm512_setzero_si512();
        let one = _mm512_set1_epi64(1);
        let partial = _mm512_cmplt_epu64_mask(zero, bits);
        let [low, high] = &mut blocks[STEP - 1];
        let low_bit = _mm512_sllv_epi64(one, bits);
        let high_bit = _mm512_sllv_epi64(one, _mm512_sub_epi64(bits, _mm512_set1_epi64(64)));
        *low = _mm512_mask_add_epi64(*low, partial, *low, low_bit);
        *high = _mm512_mask_add_epi64(*high, partial, *high, high_bit);
        behind[STEP - 1] = _mm512_mask_mov_epi64(behind[STEP - 1], partial, zero);
    }
    (blocks, behind)
}

/// The 64 bytes of each text in `step`, of which some may not be there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn edge(texts: &[&[u8]; LANES], before: &[usize; LANES], step: usize) -> [__m512i; LANES] {
    let mut rows = [_mm512_setzero_si512(); LANES];
    for (row, (text, before)) in rows.iter_mut().zip(texts.iter().zip(before)) {
        *row = load(text, *before, step * VECTOR);
    }
    rows
}

/// From one text a vector to one half of a block a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn blocks_of(rows: &[__m512i; LANES]) -> Blocks {
    let [a, b, c, d, e, f, g, h] = *rows;
    let low = quarters([
        _mm512_unpacklo_epi64(a, b),
        _mm512_unpacklo_epi64(c, d),
        _mm512_unpacklo_epi64(e, f),
        _mm512_unpacklo_epi64(g, h),
    ]);
    let high = quarters([
        _mm512_unpackhi_epi64(a, b),
        _mm512_unpackhi_epi64(c, d),
        _mm512_unpackhi_epi64(e, f),
        _mm512_unpackhi_epi64(g, h),
    ]);
    [[low[0], high[0]], [low[1], high[1]], [low[2], high[2]], [low[3], high[3]]]
}

/// The bits behind the blocks of `step`, for texts that have `before` bytes of nothing in front.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn behind(before: &[usize; LANES], step: usize) -> [__m512i; STEP] {
    let before: __m512i = transmute!(*before);
    let at = _mm512_set1_epi64((step * VECTOR).cast_signed() as i64);
    let mut behind = [_mm512_set1_epi64(BEHIND); STEP];
    for (behind, start) in behind.iter_mut().zip([0, 16, 32, 48]) {
        let there = _mm512_cmple_epu64_mask(before, _mm512_add_epi64(at, _mm512_set1_epi64(start)));
        *behind = _mm512_maskz_mov_epi64(there, *behind);
    }
    behind
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn limbs(&[low, high]: &[__m512i; 2], behind: __m512i) -> Limbs {
    let mask = _mm512_set1_epi64(MASK_44);
    [
        _mm512_and_si512(low, mask),
        _mm512_and_si512(_mm512_shrdi_epi64::<44>(low, high), mask),
        _mm512_or_si512(_mm512_srli_epi64::<24>(high), behind),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn plus(x: Limbs, y: Limbs) -> Limbs {
    [_mm512_add_epi64(x[0], y[0]), _mm512_add_epi64(x[1], y[1]), _mm512_add_epi64(x[2], y[2])]
}

/// Two blocks with one carry.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn two(
    sum: Limbs,
    r: &Multiplier,
    square: &Multiplier,
    blocks: [&[__m512i; 2]; 2],
    behind: [__m512i; 2],
) -> Limbs {
    let mut products = Products::none();
    products.add(limbs(blocks[1], behind[1]), r);
    products.add(plus(sum, limbs(blocks[0], behind[0])), square);
    products.carry()
}

/// Four blocks with one carry. What does not wait for the sum comes first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn four(
    sum: Limbs,
    powers: &[Multiplier; STEP],
    blocks: &Blocks,
    behind: [__m512i; STEP],
) -> Limbs {
    let mut products = Products::none();
    products.add(limbs(&blocks[1], behind[1]), &powers[2]);
    products.add(limbs(&blocks[2], behind[2]), &powers[1]);
    products.add(limbs(&blocks[3], behind[3]), &powers[0]);
    products.add(plus(sum, limbs(&blocks[0], behind[0])), &powers[3]);
    products.carry()
}

/// A power of a packet's r.
#[derive(Clone, Copy)]
struct Multiplier {
    r: Limbs,
    /// 20 times the two higher limbs: what they are worth above 2^130.
    folded: [__m512i; 2],
}

impl Multiplier {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn new(r: Limbs) -> Self {
        let five_1 = _mm512_add_epi64(r[1], _mm512_slli_epi64::<2>(r[1]));
        let five_2 = _mm512_add_epi64(r[2], _mm512_slli_epi64::<2>(r[2]));
        let folded = [_mm512_slli_epi64::<2>(five_1), _mm512_slli_epi64::<2>(five_2)];
        Self { r, folded }
    }

    /// From the first half of an authenticator's key.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn clamped(low: __m512i, high: __m512i) -> Self {
        let low = _mm512_and_si512(low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff));
        let high = _mm512_and_si512(high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc));
        Self::new(limbs(&[low, high], _mm512_setzero_si512()))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn times(&self, other: &Self) -> Self {
        let mut products = Products::none();
        products.add(self.r, other);
        Self::new(products.carry())
    }

    /// r, r², r³ and r⁴.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn powers(self) -> [Self; STEP] {
        let square = self.times(&self);
        [self, square, square.times(&self), square.times(&square)]
    }
}

/// A sum of products: for each limb, what is worth as much as the limb, and what is worth 2^52 times that.
struct Products {
    low: Limbs,
    high: Limbs,
}

impl Products {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn none() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: [zero; 3], high: [zero; 3] }
    }

    /// Adds x times y. A limb of x has at most 46 bits, one of y at most 50; twelve products fit.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn add(&mut self, x: Limbs, y: &Multiplier) {
        let factors = [
            [y.r[0], y.folded[1], y.folded[0]],
            [y.r[1], y.r[0], y.folded[1]],
            [y.r[2], y.r[1], y.r[0]],
        ];
        for (limb, factors) in factors.into_iter().enumerate() {
            for (x, factor) in x.into_iter().zip(factors) {
                self.low[limb] = _mm512_madd52lo_epu64(self.low[limb], x, factor);
                self.high[limb] = _mm512_madd52hi_epu64(self.high[limb], x, factor);
            }
        }
    }

    /// As limbs again; the lowest may be a little longer than 44 bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn carry(self) -> Limbs {
        let (mask_44, mask_42) = (_mm512_set1_epi64(MASK_44), _mm512_set1_epi64(MASK_42));
        let times_5 = |x| _mm512_add_epi64(x, _mm512_slli_epi64::<2>(x));
        // 2^(88 + 52) is 2^10 times 2^130, and that is 5.
        let over = times_5(_mm512_slli_epi64::<10>(self.high[2]));
        let x0 = _mm512_add_epi64(self.low[0], over);
        let x1 = _mm512_add_epi64(self.low[1], _mm512_slli_epi64::<8>(self.high[0]));
        let x2 = _mm512_add_epi64(self.low[2], _mm512_slli_epi64::<8>(self.high[1]));
        let x1 = _mm512_add_epi64(x1, _mm512_srli_epi64::<44>(x0));
        let x2 = _mm512_add_epi64(x2, _mm512_srli_epi64::<44>(x1));
        let over = times_5(_mm512_srli_epi64::<42>(x2));
        [
            _mm512_add_epi64(_mm512_and_si512(x0, mask_44), over),
            _mm512_and_si512(x1, mask_44),
            _mm512_and_si512(x2, mask_42),
        ]
    }
}

/// The sum modulo 2^130 - 5, plus the second half of the key modulo 2^128.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn finish(sum: Limbs, key: [__m512i; 2]) -> [__m512i; 2] {
    let (mask_44, mask_42) = (_mm512_set1_epi64(MASK_44), _mm512_set1_epi64(MASK_42));
    let [mut x0, mut x1, mut x2] = sum;
    for _ in 0..2 {
        x1 = _mm512_add_epi64(x1, _mm512_srli_epi64::<44>(x0));
        x0 = _mm512_and_si512(x0, mask_44);
        x2 = _mm512_add_epi64(x2, _mm512_srli_epi64::<44>(x1));
        x1 = _mm512_and_si512(x1, mask_44);
        let over = _mm512_srli_epi64::<42>(x2);
        x2 = _mm512_and_si512(x2, mask_42);
        x0 = _mm512_add_epi64(x0, _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over)));
    }
    // Adding 5 reaches 2^130 if, and only if, the sum is not reduced.
    let y0 = _mm512_add_epi64(x0, _mm512_set1_epi64(5));
    let y1 = _mm512_add_epi64(x1, _mm512_srli_epi64::<44>(y0));
    let y2 = _mm512_add_epi64(x2, _mm512_srli_epi64::<44>(y1));
    let reached = _mm512_cmplt_epu64_mask(mask_42, y2);
    x0 = _mm512_and_si512(_mm512_mask_mov_epi64(x0, reached, y0), mask_44);
    x1 = _mm512_and_si512(_mm512_mask_mov_epi64(x1, reached, y1), mask_44);
    x2 = _mm512_and_si512(_mm512_mask_mov_epi64(x2, reached, y2), mask_42);
    let low = _mm512_or_si512(x0, _mm512_slli_epi64::<44>(x1));
    let high = _mm512_or_si512(_mm512_srli_epi64::<20>(x1), _mm512_slli_epi64::<24>(x2));
    let tag_low = _mm512_add_epi64(low, key[0]);
    let carried = _mm512_cmplt_epu64_mask(tag_low, low);
    let high = _mm512_add_epi64(high, key[1]);
    let tag_high = _mm512_mask_add_epi64(high, carried, high, _mm512_set1_epi64(1));
    [tag_low, tag_high]
}
