//! Between memory and vectors.

use std::arch::x86_64::{
    __m512i, __mmask64, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_setzero_si512,
    _mm512_xor_si512,
};
use zerocopy::transmute;

/// Bytes of a vector.
pub(super) const VECTOR: usize = 64;

/// Sixteen words of a row from column `at` on, or zeros where the row has none.
#[inline(always)]
pub(super) fn words(row: &[u32], at: usize) -> __m512i {
    let words: [u32; 16] =
        row.get(at..).and_then(|row| row.first_chunk()).copied().unwrap_or_default();
    transmute!(words)
}

/// Bytes `at` to `at + 64` of a text with `before` bytes of nothing in front of it. Nothing, there and behind the text,
/// is zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load(text: &[u8], before: usize, at: usize) -> __m512i {
    if let Some(from) = at.checked_sub(before)
        && let Some(chunk) = text.get(from..).and_then(|text| text.first_chunk::<VECTOR>())
    {
        return transmute!(*chunk);
    }
    let mask = inside(text.len(), before, at);
    if mask == 0 {
        // The address may be of no page at all, and the processor takes long to find that it need not read there.
        return _mm512_setzero_si512();
    }
    let address = text.as_ptr().wrapping_add(at).wrapping_sub(before);
    // SAFETY: the instruction reads no byte but those of the mask, and these lie within `text`; an address outside of it
    // is only computed.
    unsafe { _mm512_maskz_loadu_epi8(mask, address.cast()) }
}

/// Adds up to 64 bytes of a stream to those of `text` from `from` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn xor(text: &mut [u8], from: usize, stream: __m512i) {
    if let Some(chunk) = text.get_mut(from..).and_then(|text| text.first_chunk_mut::<VECTOR>()) {
        let sum = _mm512_xor_si512(transmute!(*chunk), stream);
        *chunk = transmute!(sum);
    } else {
        xor_tail(text, from, stream);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn xor_tail(text: &mut [u8], from: usize, stream: __m512i) {
    let sum = _mm512_xor_si512(load(text, 0, from), stream);
    let mask = inside(text.len(), 0, from);
    let address = text.as_mut_ptr().wrapping_add(from);
    // SAFETY: the instruction writes no byte but those of the mask, and these lie within `text`.
    unsafe { _mm512_mask_storeu_epi8(address.cast(), mask, sum) }
}

/// Which of the bytes `at` to `at + 64` are text, if there are `len` of it behind `before` bytes of nothing.
#[inline(always)]
fn inside(len: usize, before: usize, at: usize) -> __mmask64 {
    let below = |bytes: usize| match u32::try_from(bytes) {
        Ok(bytes) => 1_u64.checked_shl(bytes).map_or(u64::MAX, |bit| bit - 1),
        Err(_) => u64::MAX,
    };
    below((before + len).saturating_sub(at)) & !below(before.saturating_sub(at))
}
