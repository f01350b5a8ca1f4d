//! Poly1305: one packet to a lane, with limbs of 44, 44 and 42 bits.
//!
//! The texts of eight packets end in the same step: in front of the shorter ones there are blocks that are nothing, not
//! even the bit behind a block, so that their sum stays zero.

use super::bytes::{VECTOR, load, words};
use crate::aead::columns::{Columns, KeyRows, Text};
use crate::aead::{Cipher, TAG_LEN};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_castsi512_si256, _mm512_cmple_epu64_mask,
    _mm512_cmplt_epu64_mask, _mm512_cvtepu32_epi64, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_mask_add_epi64, _mm512_mask_mov_epi64, _mm512_maskz_mov_epi64, _mm512_or_si512,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shrdi_epi64, _mm512_shuffle_i64x2,
    _mm512_slli_epi64, _mm512_sllv_epi64, _mm512_srli_epi64, _mm512_sub_epi64,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
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
        let texts: [&[u8]; LANES] = std::array::from_fn(|lane| &*texts[lane]);
        let tags = eight(cipher, &columns.poly_key, base, texts);
        for (row, half) in columns.tags.iter_mut().zip(tags) {
            if let Some(place) = row.get_mut(base..).and_then(|row| row.first_chunk_mut()) {
                let half: [u64; LANES] = transmute!(half);
                *place = half;
            }
        }
    }
}

/// The tags of eight texts, as halves.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn eight(cipher: Cipher, keys: &KeyRows, base: usize, texts: [&[u8]; LANES]) -> [__m512i; 2] {
    let key =
        keys.each_ref().map(|row| _mm512_cvtepu32_epi64(_mm512_castsi512_si256(words(row, base))));
    let half = |at: usize| _mm512_or_si512(key[at], _mm512_slli_epi64::<32>(key[at + 1]));
    let r = Multiplier::clamped(half(0), half(2));
    let zero = _mm512_setzero_si512();
    let mut sum = [zero; 3];

    let blocks = texts.map(|text| text.len().div_ceil(TAG_LEN));
    let steps = blocks.into_iter().max().unwrap_or(0).div_ceil(STEP);
    if steps > 0 {
        let powers = r.powers();
        let before = blocks.map(|blocks| (steps * STEP - blocks) * TAG_LEN);
        let most_before = before.into_iter().max().unwrap_or(0);
        let front = most_before.div_ceil(VECTOR).min(steps - 1);
        for step in 0..front {
            let blocks = blocks_of(&edge(texts, before, step));
            sum = four(sum, &powers, &blocks, behind(before, step));
        }
        let middle: [&[[u8; VECTOR]]; LANES] = std::array::from_fn(|lane| {
            let start = (front * VECTOR).saturating_sub(before[lane]);
            let whole = texts[lane].get(start..).unwrap_or_default().as_chunks().0;
            whole.get(..steps - 1 - front).unwrap_or_default()
        });
        let all = [_mm512_set1_epi64(BEHIND); STEP];
        for step in 0..middle[0].len() {
            let rows = middle.map(|whole| transmute!(whole[step]));
            sum = four(sum, &powers, &blocks_of(&rows), all);
        }
        let mut last = blocks_of(&edge(texts, before, steps - 1));
        let mut behind = behind(before, steps - 1);
        if cipher == Cipher::XSalsa {
            // A last block that is not whole has its bit right behind the text.
            let bits: __m512i = transmute!(texts.map(|text| (text.len() % TAG_LEN * 8) as u64));
            let one = _mm512_set1_epi64(1);
            let partial = _mm512_cmplt_epu64_mask(zero, bits);
            let [low, high] = &mut last[STEP - 1];
            let low_bit = _mm512_sllv_epi64(one, bits);
            let high_bit = _mm512_sllv_epi64(one, _mm512_sub_epi64(bits, _mm512_set1_epi64(64)));
            *low = _mm512_mask_add_epi64(*low, partial, *low, low_bit);
            *high = _mm512_mask_add_epi64(*high, partial, *high, high_bit);
            behind[STEP - 1] = _mm512_mask_mov_epi64(behind[STEP - 1], partial, zero);
        }
        sum = four(sum, &powers, &last, behind);
    }
    if cipher == Cipher::ChaCha {
        // The lengths: of nothing else, and of the text.
        let len: __m512i = transmute!(texts.map(|text| text.len() as u64));
        let block = limbs([zero, len], _mm512_set1_epi64(BEHIND));
        let mut products = Products::none();
        products.add(plus(sum, block), &r);
        sum = products.carry();
    }
    finish(sum, [half(4), half(6)])
}

/// Halves of the blocks of one step.
type Blocks = [[__m512i; 2]; STEP];
/// A number in limbs.
type Limbs = [__m512i; 3];

/// The 64 bytes of each text in `step`, of which some may not be there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn edge(texts: [&[u8]; LANES], before: [usize; LANES], step: usize) -> [__m512i; LANES] {
    std::array::from_fn(|lane| load(texts[lane], before[lane], step * VECTOR))
}

/// From one text a vector to one half of a block a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn blocks_of(rows: &[__m512i; LANES]) -> Blocks {
    let low = [0, 2, 4, 6].map(|row| _mm512_unpacklo_epi64(rows[row], rows[row + 1]));
    let high = [0, 2, 4, 6].map(|row| _mm512_unpackhi_epi64(rows[row], rows[row + 1]));
    let (low, high) = (transpose(low), transpose(high));
    std::array::from_fn(|block| [low[block], high[block]])
}

/// Exchanges vectors and quarters of vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let even = [(a, b), (c, d)].map(|(x, y)| _mm512_shuffle_i64x2::<0b10_00_10_00>(x, y));
    let odd = [(a, b), (c, d)].map(|(x, y)| _mm512_shuffle_i64x2::<0b11_01_11_01>(x, y));
    [
        _mm512_shuffle_i64x2::<0b10_00_10_00>(even[0], even[1]),
        _mm512_shuffle_i64x2::<0b10_00_10_00>(odd[0], odd[1]),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(even[0], even[1]),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(odd[0], odd[1]),
    ]
}

/// The bits behind the blocks of `step`, for texts that have `before` bytes of nothing in front.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn behind(before: [usize; LANES], step: usize) -> [__m512i; STEP] {
    let before: __m512i = transmute!(before.map(|before| before as u64));
    let mut at: __m512i = transmute!([(step * VECTOR) as u64; LANES]);
    [(); STEP].map(|()| {
        let there = _mm512_cmple_epu64_mask(before, at);
        at = _mm512_add_epi64(at, _mm512_set1_epi64(16));
        _mm512_maskz_mov_epi64(there, _mm512_set1_epi64(BEHIND))
    })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn limbs([low, high]: [__m512i; 2], behind: __m512i) -> Limbs {
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
    std::array::from_fn(|limb| _mm512_add_epi64(x[limb], y[limb]))
}

/// Four blocks with one carry.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn four(
    sum: Limbs,
    powers: &[Multiplier; STEP],
    blocks: &Blocks,
    behind: [__m512i; STEP],
) -> Limbs {
    let mut products = Products::none();
    for block in 1..STEP {
        products.add(limbs(blocks[block], behind[block]), &powers[STEP - 1 - block]);
    }
    products.add(plus(sum, limbs(blocks[0], behind[0])), &powers[STEP - 1]);
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
        let folded = [r[1], r[2]].map(|limb| {
            let five = _mm512_add_epi64(limb, _mm512_slli_epi64::<2>(limb));
            _mm512_slli_epi64::<2>(five)
        });
        Self { r, folded }
    }

    /// From the first half of an authenticator's key.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn clamped(low: __m512i, high: __m512i) -> Self {
        let low = _mm512_and_si512(low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff));
        let high = _mm512_and_si512(high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc));
        Self::new(limbs([low, high], _mm512_setzero_si512()))
    }

    /// r, r², r³ and r⁴.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
    fn powers(self) -> [Self; STEP] {
        let times = |x: &Self, y: &Self| {
            let mut products = Products::none();
            products.add(x.r, y);
            Self::new(products.carry())
        };
        let square = times(&self, &self);
        [self, square, times(&square, &self), times(&square, &square)]
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
