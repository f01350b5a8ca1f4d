//! The order of things in a burst, the same for every kind of vectors.

use super::columns::{Columns, Text};
use super::{Cipher, Job};

/// What a kind of vectors does for a whole burst: each method is one call into code for wider instructions.
///
/// Columns that `which` does not name are left alone.
pub(super) trait Kernel: Copy {
    /// Computes the first block of each column: the authenticator's key, and what XSalsa20 has left of it. For XSalsa20
    /// also puts the keys that belong to the nonces in place of the sessions'.
    fn begin(self, cipher: Cipher, columns: &mut Columns);

    /// Encrypts or decrypts the texts.
    fn apply(self, cipher: Cipher, columns: &Columns, which: u64, texts: &mut [Text<'_>]);

    /// Computes the tags of the encrypted texts.
    fn authenticate(self, cipher: Cipher, columns: &mut Columns, texts: &[Text<'_>]);
}

/// Seals a burst of at most [`super::JOBS_MAX`].
pub(super) fn seal<K: Kernel>(
    kernel: K,
    columns: &mut Columns,
    cipher: Cipher,
    jobs: &mut [Job<'_>],
) {
    let mut texts = columns.arrange(cipher, jobs);
    kernel.begin(cipher, columns);
    kernel.apply(cipher, columns, u64::MAX, &mut texts);
    kernel.authenticate(cipher, columns, &texts);
    columns.write_tags(cipher, jobs);
}

/// Opens a burst of at most [`super::JOBS_MAX`]; bit i: job i was authentic.
pub(super) fn open<K: Kernel>(
    kernel: K,
    columns: &mut Columns,
    cipher: Cipher,
    jobs: &mut [Job<'_>],
) -> u64 {
    let mut texts = columns.arrange(cipher, jobs);
    kernel.begin(cipher, columns);
    kernel.authenticate(cipher, columns, &texts);
    let authentic = columns.authentic();
    kernel.apply(cipher, columns, authentic, &mut texts);
    columns.by_job(authentic)
}
