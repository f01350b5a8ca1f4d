//! Vectors of 256 bits: 8 blocks of the stream, or 4 authenticators, at once.
#![expect(unsafe_code, reason = "calls of code for instructions that were found at start")]

mod poly1305;
mod stream;

use super::Cipher;
use super::burst::Kernel;
use super::columns::{Columns, Text};

/// Exists only where the processor has every instruction that is used below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// `None`: this processor lacks it.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Kernel for Avx2 {
    fn begin(self, cipher: Cipher, columns: &mut Columns) {
        // SAFETY: the function needs the feature that `detect` found, and `self` comes from nowhere else.
        unsafe { stream::begin(cipher, columns) }
    }

    fn apply(self, cipher: Cipher, columns: &Columns, which: u64, texts: &mut [Text<'_>]) {
        // SAFETY: the function needs the feature that `detect` found, and `self` comes from nowhere else.
        unsafe { stream::apply(cipher, columns, which, texts) }
    }

    fn authenticate(self, cipher: Cipher, columns: &mut Columns, texts: &[Text<'_>]) {
        // SAFETY: the function needs the feature that `detect` found, and `self` comes from nowhere else.
        unsafe { poly1305::authenticate(cipher, columns, texts) }
    }
}
