//! Intel's library, a burst at a time.

use crate::{chacha_nonce, text_and_tag};
use benches::crypto::{Cipher, Contestant, Job};
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null, null_mut};

/// Packets of a burst of the bench.
const BURST: usize = 64;

// `ipsec_mb.c` beside this file.
unsafe extern "C" {
    fn rivals_ipsec_mb_new() -> *mut c_void;
    fn rivals_ipsec_mb_burst(
        manager: *mut c_void,
        count: u32,
        seal: c_int,
        keys: *const *const u8,
        nonces: *const [u8; 12],
        texts: *const *mut u8,
        lens: *const u64,
        tags: *const *mut u8,
    ) -> u32;
}

/// A manager, and the keys.
pub(crate) struct IpsecMb {
    manager: NonNull<c_void>,
    keys: Vec<[u8; 32]>,
}

impl IpsecMb {
    /// `None`: no memory.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: it may be called at any time.
        let manager = unsafe { rivals_ipsec_mb_new() };
        Some(Self { manager: NonNull::new(manager)?, keys: Vec::new() })
    }

    /// Seals in place, or opens in place and says how many tags are as `expected`.
    fn burst(&mut self, jobs: &mut [Job<'_>], seal: bool) -> u32 {
        let mut keys = [null(); BURST];
        let mut nonces = [[0; 12]; BURST];
        let mut texts = [null_mut(); BURST];
        let mut lens = [0; BURST];
        let mut tags = [null_mut(); BURST];
        let mut computed = [[0_u8; 16]; BURST];
        let mut expected = [[0_u8; 16]; BURST];
        let count = jobs.len().min(BURST).min(self.keys.len());
        for (at, job) in jobs.iter_mut().enumerate().take(count) {
            let (text, tag) = text_and_tag(job.packet);
            keys[at] = self.keys[at].as_ptr();
            nonces[at] = chacha_nonce(job.nonce);
            lens[at] = text.len() as u64;
            texts[at] = text.as_mut_ptr();
            expected[at] = *tag;
            tags[at] = if seal { tag.as_mut_ptr() } else { computed[at].as_mut_ptr() };
        }
        // SAFETY: the manager came from `rivals_ipsec_mb_new`; the arrays have `count` entries each; texts and tags are
        // exclusive, distinct, and as long as said; keys and nonces have 32 and 12 bytes; all outlive the call, which
        // leaves no job behind when it returns `count`.
        let done = unsafe {
            rivals_ipsec_mb_burst(
                self.manager.as_ptr(),
                count as u32,
                seal.into(),
                keys.as_ptr(),
                nonces.as_ptr(),
                texts.as_ptr(),
                lens.as_ptr(),
                tags.as_ptr(),
            )
        };
        assert_eq!(done as usize, count, "ipsec-mb left jobs of a burst undone");
        let equal = computed.iter().zip(&expected).take(count).filter(|(a, b)| a == b);
        u32::try_from(equal.count()).unwrap_or(0)
    }
}

impl Contestant for IpsecMb {
    fn name(&self) -> &str {
        "ipsec-mb"
    }

    fn does(&self, cipher: Cipher) -> bool {
        cipher == Cipher::ChaCha
    }

    fn learn(&mut self, keys: &[[u8; 32]]) {
        self.keys = keys.to_vec();
    }

    fn seal(&mut self, _: Cipher, jobs: &mut [Job<'_>]) {
        self.burst(jobs, true);
    }

    fn open(&mut self, _: Cipher, jobs: &mut [Job<'_>]) -> u32 {
        self.burst(jobs, false)
    }
}
