//! Salsa20 and ChaCha20: one block to a lane.

use crate::aead::Cipher;
use crate::aead::columns::{Batch, Columns, HEAD_LEN, KeyRows, Queue, ROW, Text};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_permutevar8x32_epi32, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};
use zerocopy::transmute;

/// Blocks at once.
const LANES: usize = 8;
/// Bytes of a block.
const BLOCK: usize = 64;
/// Sixteen words of eight blocks.
type State = [__m256i; 16];
/// Eight words of eight keys, or of half a state.
type Half = [__m256i; 8];

/// See [`crate::aead::burst::Kernel::begin`].
#[target_feature(enable = "avx2")]
pub(super) fn begin(cipher: Cipher, columns: &mut Columns) {
    let zero = _mm256_setzero_si256();
    for base in (0..columns.len()).step_by(LANES) {
        let keys = columns.session_key.get(base..).and_then(|keys| keys.first_chunk::<LANES>());
        let keys: Half = transmute!(keys.copied().unwrap_or_default());
        let mut key = transpose(&keys);
        let [low, high] = row_words(&columns.nonce, base);
        let block = match cipher {
            Cipher::XSalsa => {
                let x = rounds_salsa(&salsa(&key, [low, high, zero, zero]));
                key = [x[0], x[5], x[10], x[15], x[6], x[7], x[8], x[9]];
                let initial = salsa(&key, [zero; 4]);
                add(&rounds_salsa(&initial), &initial)
            }
            Cipher::ChaCha => {
                let initial = chacha(&key, [zero, zero, low, high]);
                add(&rounds_chacha(&initial), &initial)
            }
        };
        let (front, back) = halves(&block);
        store(&mut columns.key, base, &key);
        store(&mut columns.poly_key, base, front);
        if cipher == Cipher::XSalsa
            && let Some(heads) =
                columns.head.get_mut(base..).and_then(|head| head.first_chunk_mut())
        {
            let by_lane: [[u8; HEAD_LEN]; LANES] = transmute!(transpose(back));
            *heads = by_lane;
        }
    }
}

/// See [`crate::aead::burst::Kernel::apply`].
#[target_feature(enable = "avx2")]
pub(super) fn apply(cipher: Cipher, columns: &Columns, which: u64, texts: &mut [Text<'_>]) {
    let mut queue = Queue::new(cipher, columns, which);
    let mut batch = Batch::NONE;
    while queue.fill(&mut batch) {
        apply_batch(cipher, columns, &batch, texts);
    }
    if cipher == Cipher::XSalsa {
        for (column, (text, head)) in texts.iter_mut().zip(&columns.head).enumerate() {
            if which >> column & 1 == 1 {
                for (byte, stream) in text.iter_mut().zip(head) {
                    *byte ^= stream;
                }
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn apply_batch(cipher: Cipher, columns: &Columns, batch: &Batch<LANES>, texts: &mut [Text<'_>]) {
    let zero = _mm256_setzero_si256();
    let key = pick(&columns.key, batch);
    let number = transmute!(batch.block);
    let (block, before) = match cipher {
        Cipher::XSalsa => {
            let initial = salsa(&key, [zero, zero, number, zero]);
            (add(&rounds_salsa(&initial), &initial), HEAD_LEN)
        }
        Cipher::ChaCha => {
            let [low, high] = pick(&columns.nonce, batch);
            let initial = chacha(&key, [number, zero, low, high]);
            (add(&rounds_chacha(&initial), &initial), BLOCK)
        }
    };
    let (front, back) = halves(&block);
    let (front, back) = (transpose(front), transpose(back));
    let places = batch.column.iter().zip(&batch.block);
    for ((front, back), (column, number)) in front.iter().zip(&back).zip(places).take(batch.lanes) {
        if let Some(text) = texts.get_mut(batch.base + *column as usize) {
            let from = *number as usize * BLOCK - before;
            xor(text.get_mut(from..).unwrap_or_default(), *front, *back);
        }
    }
}

/// Adds a block, or what is needed of it, to a text.
#[inline]
#[target_feature(enable = "avx2")]
fn xor(text: &mut [u8], front: __m256i, back: __m256i) {
    if let Some(chunk) = text.first_chunk_mut::<BLOCK>() {
        let bytes: [__m256i; 2] = transmute!(*chunk);
        let sum = [_mm256_xor_si256(bytes[0], front), _mm256_xor_si256(bytes[1], back)];
        *chunk = transmute!(sum);
    } else {
        let stream: [u8; BLOCK] = transmute!([front, back]);
        for (byte, stream) in text.iter_mut().zip(stream) {
            *byte ^= stream;
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn row_words<const N: usize>(rows: &[[u32; ROW]; N], base: usize) -> [__m256i; N] {
    let mut vectors = [_mm256_setzero_si256(); N];
    for (vector, row) in vectors.iter_mut().zip(rows) {
        let words: Option<&[u32; LANES]> = row.get(base..).and_then(|row| row.first_chunk());
        *vector = transmute!(words.copied().unwrap_or_default());
    }
    vectors
}

/// The words of each lane's column.
#[inline]
#[target_feature(enable = "avx2")]
fn pick<const N: usize>(rows: &[[u32; ROW]; N], batch: &Batch<LANES>) -> [__m256i; N] {
    let column = transmute!(batch.column);
    let mut vectors = row_words(rows, batch.base);
    for vector in &mut vectors {
        *vector = _mm256_permutevar8x32_epi32(*vector, column);
    }
    vectors
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(rows: &mut KeyRows, base: usize, half: &Half) {
    for (row, vector) in rows.iter_mut().zip(half) {
        if let Some(place) = row.get_mut(base..).and_then(|row| row.first_chunk_mut::<LANES>()) {
            *place = transmute!(*vector);
        }
    }
}

/// `expand 32-byte k`
#[inline]
#[target_feature(enable = "avx2")]
fn constants() -> [__m256i; 4] {
    [
        _mm256_set1_epi32(0x6170_7865),
        _mm256_set1_epi32(0x3320_646e),
        _mm256_set1_epi32(0x7962_2d32),
        _mm256_set1_epi32(0x6b20_6574),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn salsa(key: &Half, nonce_and_counter: [__m256i; 4]) -> State {
    let [c0, c1, c2, c3] = constants();
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1, n2, n3] = nonce_and_counter;
    [c0, k0, k1, k2, k3, c1, n0, n1, n2, n3, c2, k4, k5, k6, k7, c3]
}

#[inline]
#[target_feature(enable = "avx2")]
fn chacha(key: &Half, counter_and_nonce: [__m256i; 4]) -> State {
    let [c0, c1, c2, c3] = constants();
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1, n2, n3] = counter_and_nonce;
    [c0, c1, c2, c3, k0, k1, k2, k3, k4, k5, k6, k7, n0, n1, n2, n3]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(x: &State, y: &State) -> State {
    let mut sum = *x;
    for (word, y) in sum.iter_mut().zip(y) {
        *word = _mm256_add_epi32(*word, *y);
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
}

/// By two bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate_16(x: __m256i) -> __m256i {
    let half = [2_u8, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13];
    _mm256_shuffle_epi8(x, transmute!([half; 2]))
}

/// By one byte.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate_8(x: __m256i) -> __m256i {
    let half = [3_u8, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14];
    _mm256_shuffle_epi8(x, transmute!([half; 2]))
}

/// Four quarter rounds of Salsa20 that do not wait for each other.
macro_rules! salsa_quarters {
    ($x:ident: $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($x[$b] = _mm256_xor_si256($x[$b], rotate::<7, 25>(_mm256_add_epi32($x[$a], $x[$d])));)*
        $($x[$c] = _mm256_xor_si256($x[$c], rotate::<9, 23>(_mm256_add_epi32($x[$b], $x[$a])));)*
        $($x[$d] = _mm256_xor_si256($x[$d], rotate::<13, 19>(_mm256_add_epi32($x[$c], $x[$b])));)*
        $($x[$a] = _mm256_xor_si256($x[$a], rotate::<18, 14>(_mm256_add_epi32($x[$d], $x[$c])));)*
    };
}

/// Four quarter rounds of ChaCha20 that do not wait for each other.
macro_rules! chacha_quarters {
    ($x:ident: $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($x[$a] = _mm256_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = rotate_16(_mm256_xor_si256($x[$d], $x[$a]));)*
        $($x[$c] = _mm256_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = rotate::<12, 20>(_mm256_xor_si256($x[$b], $x[$c]));)*
        $($x[$a] = _mm256_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = rotate_8(_mm256_xor_si256($x[$d], $x[$a]));)*
        $($x[$c] = _mm256_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = rotate::<7, 25>(_mm256_xor_si256($x[$b], $x[$c]));)*
    };
}

/// Twenty rounds, by columns and by rows in turn.
#[inline]
#[target_feature(enable = "avx2")]
fn rounds_salsa(initial: &State) -> State {
    let mut x = *initial;
    for _ in 0..10 {
        salsa_quarters!(x: [0 4 8 12] [5 9 13 1] [10 14 2 6] [15 3 7 11]);
        salsa_quarters!(x: [0 1 2 3] [5 6 7 4] [10 11 8 9] [15 12 13 14]);
    }
    x
}

/// Twenty rounds, by columns and by diagonals in turn.
#[inline]
#[target_feature(enable = "avx2")]
fn rounds_chacha(initial: &State) -> State {
    let mut x = *initial;
    for _ in 0..10 {
        chacha_quarters!(x: [0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]);
        chacha_quarters!(x: [0 5 10 15] [1 6 11 12] [2 7 8 13] [3 4 9 14]);
    }
    x
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(x: &State) -> (&Half, &Half) {
    let (halves, _) = x.as_chunks();
    (&halves[0], &halves[1])
}

/// Exchanges words and lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(x: &Half) -> Half {
    let [a0, a1, a2, a3] = quads(x[0], x[1], x[2], x[3]);
    let [b0, b1, b2, b3] = quads(x[4], x[5], x[6], x[7]);
    [
        _mm256_permute2x128_si256::<0x20>(a0, b0),
        _mm256_permute2x128_si256::<0x20>(a1, b1),
        _mm256_permute2x128_si256::<0x20>(a2, b2),
        _mm256_permute2x128_si256::<0x20>(a3, b3),
        _mm256_permute2x128_si256::<0x31>(a0, b0),
        _mm256_permute2x128_si256::<0x31>(a1, b1),
        _mm256_permute2x128_si256::<0x31>(a2, b2),
        _mm256_permute2x128_si256::<0x31>(a3, b3),
    ]
}

/// Four words of lanes l and l + 4 to a vector, for l below 4.
#[inline]
#[target_feature(enable = "avx2")]
fn quads(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [__m256i; 4] {
    let low_front = _mm256_unpacklo_epi32(a, b);
    let low_back = _mm256_unpacklo_epi32(c, d);
    let high_front = _mm256_unpackhi_epi32(a, b);
    let high_back = _mm256_unpackhi_epi32(c, d);
    [
        _mm256_unpacklo_epi64(low_front, low_back),
        _mm256_unpackhi_epi64(low_front, low_back),
        _mm256_unpacklo_epi64(high_front, high_back),
        _mm256_unpackhi_epi64(high_front, high_back),
    ]
}
