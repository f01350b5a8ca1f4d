//! Salsa20 and ChaCha20: one block to a lane.

use super::bytes::{VECTOR, words, xor};
use crate::aead::Cipher;
use crate::aead::columns::{Batch, Columns, HEAD_LEN, KeyRows, Queue, ROW, Text};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_permutex2var_epi64, _mm512_permutexvar_epi32,
    _mm512_rol_epi32, _mm512_set_epi64, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use zerocopy::transmute;

/// Sixteen words of sixteen blocks.
type State = [__m512i; 16];
/// Eight words of sixteen keys.
type Key = [__m512i; 8];
/// `expand 32-byte k`
const CONSTANTS: [i32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// See [`crate::aead::burst::Kernel::begin`].
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
pub(super) fn begin(cipher: Cipher, columns: &mut Columns) {
    for base in (0..columns.len()).step_by(16) {
        let mut key = columns.key.each_ref().map(|row| words(row, base));
        let nonce = columns.nonce.each_ref().map(|row| words(row, base));
        let zero = _mm512_setzero_si512();
        let block = match cipher {
            Cipher::XSalsa => {
                let long = rounds_salsa(&salsa(&key, [nonce[0], nonce[1], zero, zero]));
                key = [0, 5, 10, 15, 6, 7, 8, 9].map(|word| long[word]);
                store(&mut columns.key, base, &key);
                let initial = salsa(&key, [zero; 4]);
                let block = add(&rounds_salsa(&initial), &initial);
                store_heads(&mut columns.head, base, &block);
                block
            }
            Cipher::ChaCha => {
                let initial = chacha(&key, [zero, zero, nonce[0], nonce[1]]);
                add(&rounds_chacha(&initial), &initial)
            }
        };
        store(&mut columns.poly_key, base, &[0, 1, 2, 3, 4, 5, 6, 7].map(|word| block[word]));
    }
}

/// See [`crate::aead::burst::Kernel::apply`].
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
pub(super) fn apply(cipher: Cipher, columns: &Columns, which: u64, texts: &mut [Text<'_>]) {
    let mut queue = Queue::new(cipher, columns, which);
    // The next lanes are filled while these are computed.
    let mut next = queue.next();
    while let Some(batch) = next {
        next = queue.next();
        match cipher {
            Cipher::XSalsa => batch_salsa(columns, &batch, texts),
            Cipher::ChaCha => batch_chacha(columns, &batch, texts),
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
fn batch_salsa(columns: &Columns, batch: &Batch<16>, texts: &mut [Text<'_>]) {
    let zero = _mm512_setzero_si512();
    let key = pick(&columns.key, batch);
    let initial = salsa(&key, [zero, zero, transmute!(batch.block), zero]);
    let blocks = transpose(&add(&rounds_salsa(&initial), &initial));
    for ((stream, column), block) in
        blocks.into_iter().zip(batch.column).zip(batch.block).take(batch.lanes)
    {
        let Some(text) = texts.get_mut(batch.base + column as usize) else { continue };
        xor(text, block as usize * VECTOR - HEAD_LEN, stream);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn batch_chacha(columns: &Columns, batch: &Batch<16>, texts: &mut [Text<'_>]) {
    let key = pick(&columns.key, batch);
    let nonce = pick(&columns.nonce, batch);
    let zero = _mm512_setzero_si512();
    let initial = chacha(&key, [transmute!(batch.block), zero, nonce[0], nonce[1]]);
    let blocks = transpose(&add(&rounds_chacha(&initial), &initial));
    for ((stream, column), block) in
        blocks.into_iter().zip(batch.column).zip(batch.block).take(batch.lanes)
    {
        let Some(text) = texts.get_mut(batch.base + column as usize) else { continue };
        xor(text, (block as usize - 1) * VECTOR, stream);
    }
}

/// The words of each lane's column.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn pick<const N: usize>(rows: &[[u32; ROW]; N], batch: &Batch<16>) -> [__m512i; N] {
    let column = transmute!(batch.column);
    rows.each_ref().map(|row| _mm512_permutexvar_epi32(column, words(row, batch.base)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn salsa(key: &Key, nonce_and_counter: [__m512i; 4]) -> State {
    let [c0, c1, c2, c3] = CONSTANTS.map(|word| _mm512_set1_epi32(word));
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1, n2, n3] = nonce_and_counter;
    [c0, k0, k1, k2, k3, c1, n0, n1, n2, n3, c2, k4, k5, k6, k7, c3]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn chacha(key: &Key, counter_and_nonce: [__m512i; 4]) -> State {
    let [c0, c1, c2, c3] = CONSTANTS.map(|word| _mm512_set1_epi32(word));
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1, n2, n3] = counter_and_nonce;
    [c0, c1, c2, c3, k0, k1, k2, k3, k4, k5, k6, k7, n0, n1, n2, n3]
}

/// Four quarter rounds of Salsa20 that do not wait for each other.
macro_rules! salsa_quarters {
    ($x:ident: $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($x[$b] = _mm512_xor_si512($x[$b], _mm512_rol_epi32::<7>(_mm512_add_epi32($x[$a], $x[$d])));)*
        $($x[$c] = _mm512_xor_si512($x[$c], _mm512_rol_epi32::<9>(_mm512_add_epi32($x[$b], $x[$a])));)*
        $($x[$d] = _mm512_xor_si512($x[$d], _mm512_rol_epi32::<13>(_mm512_add_epi32($x[$c], $x[$b])));)*
        $($x[$a] = _mm512_xor_si512($x[$a], _mm512_rol_epi32::<18>(_mm512_add_epi32($x[$d], $x[$c])));)*
    };
}

/// Four quarter rounds of ChaCha20 that do not wait for each other.
macro_rules! chacha_quarters {
    ($x:ident: $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<16>(_mm512_xor_si512($x[$d], $x[$a]));)*
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<12>(_mm512_xor_si512($x[$b], $x[$c]));)*
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<8>(_mm512_xor_si512($x[$d], $x[$a]));)*
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<7>(_mm512_xor_si512($x[$b], $x[$c]));)*
    };
}

/// Twenty rounds: by columns and by rows in turn.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn rounds_salsa(initial: &State) -> State {
    let mut x = *initial;
    for _ in 0..10 {
        salsa_quarters!(x: [0 4 8 12] [5 9 13 1] [10 14 2 6] [15 3 7 11]);
        salsa_quarters!(x: [0 1 2 3] [5 6 7 4] [10 11 8 9] [15 12 13 14]);
    }
    x
}

/// Twenty rounds: by columns and by diagonals in turn.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn rounds_chacha(initial: &State) -> State {
    let mut x = *initial;
    for _ in 0..10 {
        chacha_quarters!(x: [0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]);
        chacha_quarters!(x: [0 5 10 15] [1 6 11 12] [2 7 8 13] [3 4 9 14]);
    }
    x
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn add(x: &State, y: &State) -> State {
    std::array::from_fn(|word| _mm512_add_epi32(x[word], y[word]))
}

/// From one word a vector to one block a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vbmi2")]
fn transpose(x: &State) -> State {
    // Quarters of a vector are lanes l, l + 4, l + 8, l + 12; `quads[l][q]` has words 4q to 4q + 3 of those.
    let quads: [[__m512i; 4]; 4] = {
        let by_word = [0, 4, 8, 12].map(|word| quads(x, word));
        std::array::from_fn(|lane| by_word.map(|quads| quads[lane]))
    };
    let mut blocks = [_mm512_setzero_si512(); 16];
    for (lane, [a, b, c, d]) in quads.into_iter().enumerate() {
        let even_low = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
        let even_high = _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d);
        let odd_low = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
        let odd_high = _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d);
        blocks[lane] = _mm512_shuffle_i32x4::<0b10_00_10_00>(even_low, even_high);
        blocks[lane + 4] = _mm512_shuffle_i32x4::<0b10_00_10_00>(odd_low, odd_high);
        blocks[lane + 8] = _mm512_shuffle_i32x4::<0b11_01_11_01>(even_low, even_high);
        blocks[lane + 12] = _mm512_shuffle_i32x4::<0b11_01_11_01>(odd_low, odd_high);
    }
    blocks
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
            let words: [u32; 16] = transmute!(*word);
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
