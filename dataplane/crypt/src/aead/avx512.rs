//! Vectors of 512 bits: 16 blocks of the stream, or 8 authenticators, at once.
#![expect(
    unsafe_code,
    reason = "calls of code for instructions that were found at start; loads and stores under a mask; rounds in the order that runs best"
)]

mod bytes;
mod poly1305;
mod rounds;
mod stream;

use super::Cipher;
use super::burst::Kernel;
use super::columns::{Columns, Text};

/// Exists only where the processor has every instruction that is used below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    /// `None`: this processor lacks some of it.
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512ifma")
            && is_x86_feature_detected!("avx512vbmi2");
        found.then_some(Self(()))
    }
}

impl Kernel for Avx512 {
    fn begin(self, cipher: Cipher, columns: &mut Columns) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { stream::begin(cipher, columns) }
    }

    fn apply(self, cipher: Cipher, columns: &Columns, which: u64, texts: &mut [Text<'_>]) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { stream::apply(cipher, columns, which, texts) }
    }

    fn authenticate(self, cipher: Cipher, columns: &mut Columns, texts: &[Text<'_>]) {
        // SAFETY: the function needs the features that `detect` found, and `self` comes from nowhere else.
        unsafe { poly1305::authenticate(cipher, columns, texts) }
    }
}
