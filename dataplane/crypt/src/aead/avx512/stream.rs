//! Salsa20 and ChaCha20: one block to a lane.

use super::bytes::{words, xor};
use super::rounds;
use crate::aead::Cipher;
use crate::aead::columns::{Batch, Columns, HEAD_LEN, KeyRows, Queue, ROW, Text};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_permutex2var_epi32, _mm512_permutex2var_epi64,
    _mm512_permutexvar_epi32, _mm512_set_epi64, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};
use zerocopy::transmute;

/// Blocks at once.
const LANES: usize = 16;
/// Sixteen words of sixteen blocks.
pub(super) type State = [__m512i; 16];
/// Eight words of sixteen keys.
type Key = [__m512i; 8];

/// See [`crate::aead::burst::Kernel::begin`].
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
pub(super) fn begin(cipher: Cipher, columns: &mut Columns) {
    for base in (0..columns.len()).step_by(2 * LANES) {
        match cipher {
            Cipher::XSalsa => begin_salsa(columns, base, base + LANES),
            Cipher::ChaCha => begin_chacha(columns, base, base + LANES),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn begin_salsa(columns: &mut Columns, first: usize, second: usize) {
    let zero = _mm512_setzero_si512();
    let both = columns.len() > second;
    let (x, y) = salsa_two(
        both,
        &salsa(&session_key(columns, first), long_nonce(columns, first)),
        &salsa(&session_key(columns, second), long_nonce(columns, second)),
    );
    store(&mut columns.key, first, &[x[0], x[5], x[10], x[15], x[6], x[7], x[8], x[9]]);
    store(&mut columns.key, second, &[y[0], y[5], y[10], y[15], y[6], y[7], y[8], y[9]]);
    let x = salsa(&row_words(&columns.key, first), [zero; 4]);
    let y = salsa(&row_words(&columns.key, second), [zero; 4]);
    let (blocks_x, blocks_y) = salsa_two(both, &x, &y);
    let (blocks_x, blocks_y) = (add(&blocks_x, &x), add(&blocks_y, &y));
    store_poly_key(columns, first, &blocks_x);
    store_heads(&mut columns.head, first, &blocks_x);
    store_poly_key(columns, second, &blocks_y);
    store_heads(&mut columns.head, second, &blocks_y);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn begin_chacha(columns: &mut Columns, first: usize, second: usize) {
    let (key_x, key_y) = (session_key(columns, first), session_key(columns, second));
    store(&mut columns.key, first, &key_x);
    store(&mut columns.key, second, &key_y);
    let x = chacha(&key_x, short_nonce(columns, first));
    let y = chacha(&key_y, short_nonce(columns, second));
    let (blocks_x, blocks_y) = chacha_two(columns.len() > second, &x, &y);
    store_poly_key(columns, first, &add(&blocks_x, &x));
    store_poly_key(columns, second, &add(&blocks_y, &y));
}

/// The second state only if it is of use.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn salsa_two(both: bool, x: &State, y: &State) -> (State, State) {
    if both { rounds::salsa_two(x, y) } else { (rounds::salsa(x), *y) }
}

/// The second state only if it is of use.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn chacha_two(both: bool, x: &State, y: &State) -> (State, State) {
    if both { rounds::chacha_two(x, y) } else { (rounds::chacha(x), *y) }
}

/// Sixteen keys, from one key after the other to one word a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn session_key(columns: &Columns, base: usize) -> Key {
    let keys = columns.session_key.get(base..).and_then(|keys| keys.first_chunk::<LANES>());
    let pairs: [__m512i; 8] = transmute!(keys.copied().unwrap_or_default());
    // Words 0 to 3 of four keys, and words 4 to 7: a quarter of a vector has one word of four keys.
    let front = transmute!([0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27]);
    let back = transmute!([4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31]);
    let [a, b, c, d, e, f, g, h] = pairs;
    let [w0, w1, w2, w3] = quarters([
        _mm512_permutex2var_epi32(a, front, b),
        _mm512_permutex2var_epi32(c, front, d),
        _mm512_permutex2var_epi32(e, front, f),
        _mm512_permutex2var_epi32(g, front, h),
    ]);
    let [w4, w5, w6, w7] = quarters([
        _mm512_permutex2var_epi32(a, back, b),
        _mm512_permutex2var_epi32(c, back, d),
        _mm512_permutex2var_epi32(e, back, f),
        _mm512_permutex2var_epi32(g, back, h),
    ]);
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// Words 6 to 9 of HSalsa20.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn long_nonce(columns: &Columns, base: usize) -> [__m512i; 4] {
    let [low, high] = row_words(&columns.nonce, base);
    [low, high, _mm512_setzero_si512(), _mm512_setzero_si512()]
}

/// Words 12 to 15 of ChaCha20's first block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn short_nonce(columns: &Columns, base: usize) -> [__m512i; 4] {
    let [low, high] = row_words(&columns.nonce, base);
    [_mm512_setzero_si512(), _mm512_setzero_si512(), low, high]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn row_words<const N: usize>(rows: &[[u32; ROW]; N], base: usize) -> [__m512i; N] {
    let mut vectors = [_mm512_setzero_si512(); N];
    for (vector, row) in vectors.iter_mut().zip(rows) {
        *vector = words(row, base);
    }
    vectors
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn store_poly_key(columns: &mut Columns, base: usize, x: &State) {
    let [x0, x1, x2, x3, x4, x5, x6, x7, ..] = *x;
    store(&mut columns.poly_key, base, &[x0, x1, x2, x3, x4, x5, x6, x7]);
}

/// See [`crate::aead::burst::Kernel::apply`].
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
pub(super) fn apply(cipher: Cipher, columns: &Columns, which: u64, texts: &mut [Text<'_>]) {
    let mut queue = Queue::new(cipher, columns, which);
    let (mut first, mut second) = (Batch::NONE, Batch::NONE);
    while queue.fill(&mut first) {
        if queue.fill(&mut second) {
            apply_two(cipher, columns, &first, &second, texts);
        } else {
            apply_one(cipher, columns, &first, texts);
        }
    }
    if cipher == Cipher::XSalsa {
        for (column, (text, head)) in texts.iter_mut().zip(&columns.head).enumerate() {
            if which >> column & 1 == 1 {
                apply_head(text, head);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn apply_two(
    cipher: Cipher,
    columns: &Columns,
    first: &Batch<LANES>,
    second: &Batch<LANES>,
    texts: &mut [Text<'_>],
) {
    let x = initial(cipher, columns, first);
    let y = initial(cipher, columns, second);
    let ((blocks_x, blocks_y), before) = match cipher {
        Cipher::XSalsa => (rounds::salsa_two(&x, &y), HEAD_LEN),
        Cipher::ChaCha => (rounds::chacha_two(&x, &y), 64),
    };
    spread(first, before, &transpose(&add(&blocks_x, &x)), texts);
    spread(second, before, &transpose(&add(&blocks_y, &y)), texts);
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn apply_one(cipher: Cipher, columns: &Columns, batch: &Batch<LANES>, texts: &mut [Text<'_>]) {
    let x = initial(cipher, columns, batch);
    let (blocks, before) = match cipher {
        Cipher::XSalsa => (rounds::salsa(&x), HEAD_LEN),
        Cipher::ChaCha => (rounds::chacha(&x), 64),
    };
    spread(batch, before, &transpose(&add(&blocks, &x)), texts);
}

/// What the rounds of a batch begin with.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn initial(cipher: Cipher, columns: &Columns, batch: &Batch<LANES>) -> State {
    let zero = _mm512_setzero_si512();
    let key = pick(&columns.key, batch);
    let block = transmute!(batch.block);
    match cipher {
        Cipher::XSalsa => salsa(&key, [zero, zero, block, zero]),
        Cipher::ChaCha => {
            let [low, high] = pick(&columns.nonce, batch);
            chacha(&key, [block, zero, low, high])
        }
    }
}

/// Adds each lane's block to its text. The text begins `before` bytes behind block 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn spread(batch: &Batch<LANES>, before: usize, blocks: &State, texts: &mut [Text<'_>]) {
    let places = batch.column.iter().zip(&batch.block);
    for (stream, (column, block)) in blocks.iter().zip(places).take(batch.lanes) {
        if let Some(text) = texts.get_mut(batch.base + *column as usize) {
            xor(text, *block as usize * 64 - before, *stream);
        }
    }
}

/// The words of each lane's column.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn pick<const N: usize>(rows: &[[u32; ROW]; N], batch: &Batch<LANES>) -> [__m512i; N] {
    let column = transmute!(batch.column);
    let mut vectors = [_mm512_setzero_si512(); N];
    for (vector, row) in vectors.iter_mut().zip(rows) {
        *vector = _mm512_permutexvar_epi32(column, words(row, batch.base));
    }
    vectors
}

/// `expand 32-byte k`
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn constants() -> [__m512i; 4] {
    [
        _mm512_set1_epi32(0x6170_7865),
        _mm512_set1_epi32(0x3320_646e),
        _mm512_set1_epi32(0x7962_2d32),
        _mm512_set1_epi32(0x6b20_6574),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn salsa(key: &Key, nonce_and_counter: [__m512i; 4]) -> State {
    let [c0, c1, c2, c3] = constants();
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1, n2, n3] = nonce_and_counter;
    [c0, k0, k1, k2, k3, c1, n0, n1, n2, n3, c2, k4, k5, k6, k7, c3]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn chacha(key: &Key, counter_and_nonce: [__m512i; 4]) -> State {
    let [c0, c1, c2, c3] = constants();
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1, n2, n3] = counter_and_nonce;
    [c0, c1, c2, c3, k0, k1, k2, k3, k4, k5, k6, k7, n0, n1, n2, n3]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn add(x: &State, y: &State) -> State {
    let mut sum = *x;
    for (word, y) in sum.iter_mut().zip(y) {
        *word = _mm512_add_epi32(*word, *y);
    }
    sum
}

/// From one word a vector to one block a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn transpose(x: &State) -> State {
    let (a, b, c, d) = (quads(x, 0), quads(x, 4), quads(x, 8), quads(x, 12));
    let [x0, x4, x8, x12] = quarters([a[0], b[0], c[0], d[0]]);
    let [x1, x5, x9, x13] = quarters([a[1], b[1], c[1], d[1]]);
    let [x2, x6, x10, x14] = quarters([a[2], b[2], c[2], d[2]]);
    let [x3, x7, x11, x15] = quarters([a[3], b[3], c[3], d[3]]);
    [x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15]
}

/// Exchanges vectors and quarters of vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
pub(super) fn quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let even_front = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
    let even_back = _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d);
    let odd_front = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
    let odd_back = _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d);
    [
        _mm512_shuffle_i32x4::<0b10_00_10_00>(even_front, even_back),
        _mm512_shuffle_i32x4::<0b10_00_10_00>(odd_front, odd_back),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(even_front, even_back),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(odd_front, odd_back),
    ]
}

/// Four words of lanes l, l + 4, l + 8, l + 12 to a vector, for l below 4.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn quads(x: &State, word: usize) -> [__m512i; 4] {
    let low_front = _mm512_unpacklo_epi32(x[word], x[word + 1]);
    let low_back = _mm512_unpacklo_epi32(x[word + 2], x[word + 3]);
    let high_front = _mm512_unpackhi_epi32(x[word], x[word + 1]);
    let high_back = _mm512_unpackhi_epi32(x[word + 2], x[word + 3]);
    [
        _mm512_unpacklo_epi64(low_front, low_back),
        _mm512_unpackhi_epi64(low_front, low_back),
        _mm512_unpacklo_epi64(high_front, high_back),
        _mm512_unpackhi_epi64(high_front, high_back),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn store(rows: &mut KeyRows, base: usize, key: &Key) {
    for (row, word) in rows.iter_mut().zip(key) {
        if let Some(place) = row.get_mut(base..).and_then(|row| row.first_chunk_mut()) {
            let words: [u32; LANES] = transmute!(*word);
            *place = words;
        }
    }
}

/// Keeps words 8 to 15 of sixteen blocks, a block after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn store_heads(heads: &mut [[u8; HEAD_LEN]], base: usize, block: &State) {
    let Some(heads) = heads.get_mut(base..).and_then(|heads| heads.first_chunk_mut::<16>()) else {
        return;
    };
    let first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    let second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    let (front, back) = (quads(block, 8), quads(block, 12));
    for (lane, (front, back)) in front.into_iter().zip(back).enumerate() {
        let pairs = [
            _mm512_permutex2var_epi64(front, first, back),
            _mm512_permutex2var_epi64(front, second, back),
        ];
        let pairs: [[u8; HEAD_LEN]; 4] = transmute!(pairs);
        for (place, head) in pairs.into_iter().enumerate() {
            heads[lane + 4 * place] = head;
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn apply_head(text: &mut [u8], head: &[u8; HEAD_LEN]) {
    for (byte, stream) in text.iter_mut().zip(head) {
        *byte ^= stream;
    }
}
