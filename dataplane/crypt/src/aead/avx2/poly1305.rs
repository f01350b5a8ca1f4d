//! Poly1305: one packet to a lane, with five limbs of 26 bits.
//!
//! The texts of four packets end in the same step: in front of the shorter ones there are blocks that are nothing, not
//! even the bit behind a block, so that their sum stays zero.

use crate::aead::columns::{Columns, KeyRows, Text};
use crate::aead::{Cipher, TAG_LEN};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_mul_epu32, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_slli_epi64,
    _mm256_srli_epi64, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
};
use std::ops::Range;
use zerocopy::transmute;

/// Packets at once.
const LANES: usize = 4;
/// Bytes of a step: two blocks.
const STEP: usize = 2 * TAG_LEN;
const MASK: i64 = (1 << 26) - 1;
/// The bit behind a whole block, in the highest limb.
const BEHIND: u64 = 1 << 24;

/// Halves of the blocks of one step.
type Blocks = [[__m256i; 2]; 2];
/// A number in limbs.
type Limbs = [__m256i; 5];

/// See [`crate::aead::burst::Kernel::authenticate`].
#[target_feature(enable = "avx2")]
pub(super) fn authenticate(cipher: Cipher, columns: &mut Columns, texts: &[Text<'_>]) {
    for (group, texts) in texts.chunks_exact(LANES).enumerate() {
        let base = group * LANES;
        if base >= columns.len() {
            break;
        }
        let mut four: [&[u8]; LANES] = Default::default();
        for (place, text) in four.iter_mut().zip(texts) {
            *place = text;
        }
        let [low, high] = sums(cipher, &columns.poly_key, base, &four);
        for (lane, (low, high)) in low.into_iter().zip(high).enumerate() {
            let column = base + lane;
            let key_low = key_half(&columns.poly_key, 4, column);
            let key_high = key_half(&columns.poly_key, 6, column);
            let (tag_low, carried) = low.overflowing_add(key_low);
            columns.tags[0][column] = tag_low;
            columns.tags[1][column] = high.wrapping_add(key_high).wrapping_add(carried.into());
        }
    }
}

/// Two words of a key as one.
fn key_half(keys: &KeyRows, word: usize, column: usize) -> u64 {
    u64::from(keys[word][column]) | u64::from(keys[word + 1][column]) << 32
}

#[inline]
#[target_feature(enable = "avx2")]
fn key_halves(keys: &KeyRows, word: usize, base: usize) -> __m256i {
    let mut halves = [0; LANES];
    for (lane, half) in halves.iter_mut().enumerate() {
        *half = key_half(keys, word, base + lane);
    }
    transmute!(halves)
}

/// The sums of four texts, reduced, as halves modulo 2^128.
#[target_feature(enable = "avx2")]
fn sums(cipher: Cipher, keys: &KeyRows, base: usize, texts: &[&[u8]; LANES]) -> [[u64; LANES]; 2] {
    let r = Multiplier::clamped(key_halves(keys, 0, base), key_halves(keys, 2, base));
    let mut sum = [_mm256_setzero_si256(); 5];
    let most = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let steps = most.div_ceil(STEP);
    if steps > 0 {
        let square = r.square();
        let mut before = [0; LANES];
        for (before, text) in before.iter_mut().zip(texts) {
            *before = steps * STEP - text.len().next_multiple_of(TAG_LEN);
        }
        let most_before = before.into_iter().max().unwrap_or(0);
        let front = most_before.div_ceil(STEP).min(steps - 1);
        for step in 0..front {
            let (blocks, behind) = edge(cipher, texts, &before, step * STEP);
            sum = two(sum, &r, &square, &blocks, behind);
        }
        sum = middle(sum, &r, &square, texts, &before, front..steps - 1);
        let (blocks, behind) = edge(cipher, texts, &before, (steps - 1) * STEP);
        sum = two(sum, &r, &square, &blocks, behind);
    }
    if cipher == Cipher::ChaCha {
        // The lengths: of nothing else, and of the text.
        let mut lens = [0; LANES];
        for (len, text) in lens.iter_mut().zip(texts) {
            *len = text.len() as u64;
        }
        let block = limbs(&[_mm256_setzero_si256(), transmute!(lens)], all_behind());
        let mut products = Products::none();
        products.add(plus(sum, block), &r);
        sum = products.carry();
    }
    reduced(sum)
}

#[inline]
#[target_feature(enable = "avx2")]
fn all_behind() -> __m256i {
    transmute!([BEHIND; LANES])
}

/// Steps in which every text has 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn middle(
    mut sum: Limbs,
    r: &Multiplier,
    square: &Multiplier,
    texts: &[&[u8]; LANES],
    before: &[usize; LANES],
    steps: Range<usize>,
) -> Limbs {
    let mut whole: [&[[u8; STEP]]; LANES] = Default::default();
    for (whole, (text, before)) in whole.iter_mut().zip(texts.iter().zip(before)) {
        let start = (steps.start * STEP).saturating_sub(*before);
        let chunks = text.get(start..).unwrap_or_default().as_chunks().0;
        *whole = chunks.get(..steps.len()).unwrap_or_default();
    }
    for step in 0..whole[0].len() {
        let mut rows = [_mm256_setzero_si256(); LANES];
        for (row, whole) in rows.iter_mut().zip(&whole) {
            *row = transmute!(whole[step]);
        }
        sum = two(sum, r, square, &blocks_of(rows), [all_behind(); 2]);
    }
    sum
}

/// The blocks of a step in which some texts begin or end, and what is behind them: a bit that belongs to the block,
/// whole or not. `at`: where the step begins, if each text has `before` bytes of nothing in front.
#[inline]
#[target_feature(enable = "avx2")]
fn edge(
    cipher: Cipher,
    texts: &[&[u8]; LANES],
    before: &[usize; LANES],
    at: usize,
) -> (Blocks, [__m256i; 2]) {
    let mut rows = [_mm256_setzero_si256(); LANES];
    let mut behind = [[0; LANES]; 2];
    for (lane, (text, before)) in texts.iter().zip(before).enumerate() {
        let nothing = before.saturating_sub(at).min(STEP);
        let from = (at + nothing).saturating_sub(*before);
        let rest = text.get(from..).unwrap_or_default();
        if let (0, Some(whole)) = (nothing, rest.first_chunk::<STEP>()) {
            rows[lane] = transmute!(*whole);
            behind[0][lane] = BEHIND;
            behind[1][lane] = BEHIND;
            continue;
        }
        let mut bytes = [0; STEP];
        for (byte, text) in bytes.iter_mut().skip(nothing).zip(rest) {
            *byte = *text;
        }
        for (block, behind) in behind.iter_mut().enumerate() {
            let start = block * TAG_LEN;
            // ChaCha20's last block is filled with zeros; XSalsa20's has the bit right behind the text.
            let whole = cipher == Cipher::ChaCha || nothing + rest.len() >= start + TAG_LEN;
            behind[lane] = if start >= nothing && whole { BEHIND } else { 0 };
        }
        if cipher == Cipher::XSalsa
            && !rest.len().is_multiple_of(TAG_LEN)
            && let Some(byte) = bytes.get_mut(nothing + rest.len())
        {
            *byte = 1;
        }
        rows[lane] = transmute!(bytes);
    }
    (blocks_of(rows), transmute!(behind))
}

/// From one text a vector to one half of a block a vector.
#[inline]
#[target_feature(enable = "avx2")]
fn blocks_of([a, b, c, d]: [__m256i; LANES]) -> Blocks {
    let (low_front, low_back) = (_mm256_unpacklo_epi64(a, b), _mm256_unpacklo_epi64(c, d));
    let (high_front, high_back) = (_mm256_unpackhi_epi64(a, b), _mm256_unpackhi_epi64(c, d));
    [
        [
            _mm256_permute2x128_si256::<0x20>(low_front, low_back),
            _mm256_permute2x128_si256::<0x20>(high_front, high_back),
        ],
        [
            _mm256_permute2x128_si256::<0x31>(low_front, low_back),
            _mm256_permute2x128_si256::<0x31>(high_front, high_back),
        ],
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn limbs(&[low, high]: &[__m256i; 2], behind: __m256i) -> Limbs {
    let mask = _mm256_set1_epi64x(MASK);
    let across = _mm256_or_si256(_mm256_srli_epi64::<52>(low), _mm256_slli_epi64::<12>(high));
    [
        _mm256_and_si256(low, mask),
        _mm256_and_si256(_mm256_srli_epi64::<26>(low), mask),
        _mm256_and_si256(across, mask),
        _mm256_and_si256(_mm256_srli_epi64::<14>(high), mask),
        _mm256_or_si256(_mm256_srli_epi64::<40>(high), behind),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn plus(x: Limbs, y: Limbs) -> Limbs {
    let mut sum = x;
    for (limb, y) in sum.iter_mut().zip(y) {
        *limb = _mm256_add_epi64(*limb, y);
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2")]
fn times_5(x: __m256i) -> __m256i {
    _mm256_add_epi64(x, _mm256_slli_epi64::<2>(x))
}

/// Two blocks with one carry. What does not wait for the sum comes first.
#[inline]
#[target_feature(enable = "avx2")]
fn two(
    sum: Limbs,
    r: &Multiplier,
    square: &Multiplier,
    blocks: &Blocks,
    behind: [__m256i; 2],
) -> Limbs {
    let mut products = Products::none();
    products.add(limbs(&blocks[1], behind[1]), r);
    products.add(plus(sum, limbs(&blocks[0], behind[0])), square);
    products.carry()
}

/// A power of a packet's r.
struct Multiplier {
    r: Limbs,
    /// 5 times the four higher limbs: what they are worth above 2^130.
    folded: [__m256i; 4],
}

impl Multiplier {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(r: Limbs) -> Self {
        Self { r, folded: [times_5(r[1]), times_5(r[2]), times_5(r[3]), times_5(r[4])] }
    }

    /// From the first half of an authenticator's key.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn clamped(low: __m256i, high: __m256i) -> Self {
        let low = _mm256_and_si256(low, _mm256_set1_epi64x(0x0fff_fffc_0fff_ffff));
        let high = _mm256_and_si256(high, _mm256_set1_epi64x(0x0fff_fffc_0fff_fffc));
        Self::new(limbs(&[low, high], _mm256_setzero_si256()))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn square(&self) -> Self {
        let mut products = Products::none();
        products.add(self.r, self);
        Self::new(products.carry())
    }
}

/// A sum of products, by limb.
struct Products([__m256i; 5]);

impl Products {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn none() -> Self {
        Self([_mm256_setzero_si256(); 5])
    }

    /// Adds x times y. A limb of x has at most 28 bits, one of y at most 30; ten products fit.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&mut self, x: Limbs, y: &Multiplier) {
        let [r0, r1, r2, r3, r4] = y.r;
        let [s1, s2, s3, s4] = y.folded;
        let rows = [
            [r0, s4, s3, s2, s1],
            [r1, r0, s4, s3, s2],
            [r2, r1, r0, s4, s3],
            [r3, r2, r1, r0, s4],
            [r4, r3, r2, r1, r0],
        ];
        for (sum, row) in self.0.iter_mut().zip(rows) {
            for (x, factor) in x.into_iter().zip(row) {
                *sum = _mm256_add_epi64(*sum, _mm256_mul_epu32(x, factor));
            }
        }
    }

    /// As limbs again; the second lowest may be a little longer than 26 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn carry(self) -> Limbs {
        let mask = _mm256_set1_epi64x(MASK);
        let [mut x0, mut x1, mut x2, mut x3, mut x4] = self.0;
        // Two chains that do not wait for each other: from the lowest limb and from the fourth.
        x1 = _mm256_add_epi64(x1, _mm256_srli_epi64::<26>(x0));
        x4 = _mm256_add_epi64(x4, _mm256_srli_epi64::<26>(x3));
        x0 = _mm256_and_si256(x0, mask);
        x3 = _mm256_and_si256(x3, mask);
        x2 = _mm256_add_epi64(x2, _mm256_srli_epi64::<26>(x1));
        x0 = _mm256_add_epi64(x0, times_5(_mm256_srli_epi64::<26>(x4)));
        x1 = _mm256_and_si256(x1, mask);
        x4 = _mm256_and_si256(x4, mask);
        x3 = _mm256_add_epi64(x3, _mm256_srli_epi64::<26>(x2));
        x1 = _mm256_add_epi64(x1, _mm256_srli_epi64::<26>(x0));
        x2 = _mm256_and_si256(x2, mask);
        x0 = _mm256_and_si256(x0, mask);
        x4 = _mm256_add_epi64(x4, _mm256_srli_epi64::<26>(x3));
        x3 = _mm256_and_si256(x3, mask);
        [x0, x1, x2, x3, x4]
    }
}

/// A sum modulo 2^130 - 5, and that modulo 2^128.
#[target_feature(enable = "avx2")]
fn reduced(sum: Limbs) -> [[u64; LANES]; 2] {
    let mask = _mm256_set1_epi64x(MASK);
    let [mut x0, mut x1, mut x2, mut x3, mut x4] = sum;
    for _ in 0..2 {
        x1 = _mm256_add_epi64(x1, _mm256_srli_epi64::<26>(x0));
        x0 = _mm256_and_si256(x0, mask);
        x2 = _mm256_add_epi64(x2, _mm256_srli_epi64::<26>(x1));
        x1 = _mm256_and_si256(x1, mask);
        x3 = _mm256_add_epi64(x3, _mm256_srli_epi64::<26>(x2));
        x2 = _mm256_and_si256(x2, mask);
        x4 = _mm256_add_epi64(x4, _mm256_srli_epi64::<26>(x3));
        x3 = _mm256_and_si256(x3, mask);
        x0 = _mm256_add_epi64(x0, times_5(_mm256_srli_epi64::<26>(x4)));
        x4 = _mm256_and_si256(x4, mask);
    }
    // Adding 5 reaches 2^130 if, and only if, the sum is not reduced; then 5 more is right, modulo 2^130.
    let mut over = _mm256_add_epi64(x0, _mm256_set1_epi64x(5));
    for limb in [x1, x2, x3, x4] {
        over = _mm256_add_epi64(limb, _mm256_srli_epi64::<26>(over));
    }
    x0 = _mm256_add_epi64(x0, times_5(_mm256_srli_epi64::<26>(over)));
    x1 = _mm256_add_epi64(x1, _mm256_srli_epi64::<26>(x0));
    x2 = _mm256_add_epi64(x2, _mm256_srli_epi64::<26>(x1));
    x3 = _mm256_add_epi64(x3, _mm256_srli_epi64::<26>(x2));
    x4 = _mm256_add_epi64(x4, _mm256_srli_epi64::<26>(x3));
    let (x0, x1) = (_mm256_and_si256(x0, mask), _mm256_and_si256(x1, mask));
    let (x2, x3) = (_mm256_and_si256(x2, mask), _mm256_and_si256(x3, mask));
    let low = _mm256_or_si256(x0, _mm256_slli_epi64::<26>(x1));
    let low = _mm256_or_si256(low, _mm256_slli_epi64::<52>(x2));
    let high = _mm256_or_si256(_mm256_srli_epi64::<12>(x2), _mm256_slli_epi64::<14>(x3));
    let high = _mm256_or_si256(high, _mm256_slli_epi64::<40>(x4));
    [transmute!(low), transmute!(high)]
}
