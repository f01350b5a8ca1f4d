//! Vectors of 256 bits.
#![expect(unsafe_code, reason = "calls of code for instructions that were found at start")]

use super::{Kernel, portable};
use crate::packetcrypt::chacha::{GROUP_LEN, Stream};
use crate::packetcrypt::program::Program;
use crate::packetcrypt::run::{self, Lane, Lanes, Machine};
use std::arch::x86_64::{
    __m256i, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_permutevar8x32_epi32, _mm256_slli_epi32,
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

#[target_feature(enable = "avx2")]
fn blocks(stream: &Stream, out: &mut [u8; GROUP_LEN]) {
    portable::blocks_of::<8>(stream, out);
}
