//! Vectors of 256 bits.
#![expect(unsafe_code, reason = "calls of code for instructions that were found at start")]

use super::{Kernel, portable};
use crate::packetcrypt::chacha::{GROUP_LEN, Stream};
use crate::packetcrypt::program::Program;
use crate::packetcrypt::run::{self, LANES, Lane, Lanes, Machine};

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
        Lanes(std::array::from_fn(|lane| lanes.0[of.0[lane] as usize % LANES]))
    }
}

#[target_feature(enable = "avx2")]
fn body(kernel: Avx2, machine: &mut Machine, program: &Program, first: usize, lane: &mut Lane) {
    run::body(kernel, machine, program, first, lane);
}

#[target_feature(enable = "avx2")]
fn blocks(stream: &Stream, out: &mut [u8; GROUP_LEN]) {
    portable::blocks_of::<8>(stream, out);
}
