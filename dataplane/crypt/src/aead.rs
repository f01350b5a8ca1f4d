//! Open and seal bursts of packets of many keys.
//!
//! A box has thousands of links and short packets, so two packets of a burst seldom share a key, and a packet seldom
//! fills the lanes of a vector. The vector code therefore works on the whole burst: its lanes are blocks of many packets.
//! Bursts are worth their name: a burst of one takes nearly as long as one of 16 short packets (1 µs on AMD Zen 4).
//!
//! Nothing here branches on, or indexes by, a key or a text; lengths, nonces and verdicts are public. What a burst leaves
//! in the scratch memory is wiped when the [`Aead`] is dropped; what the compiler puts on the stack meanwhile is not.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod burst;
#[cfg(target_arch = "x86_64")]
mod columns;
mod portable;
#[cfg(test)]
mod tests;

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;
/// Packets of a burst: one bit each in what opening gives back.
pub const JOBS_MAX: usize = 64;

/// One packet of a burst.
#[derive(Debug)]
pub struct Job<'a> {
    /// The session's key for this direction.
    pub key: &'a [u8; 32],
    /// First 8 bytes of XSalsa20's nonce, the last 8 of ChaCha20's, little-endian; the others are zero.
    pub nonce: u64,
    /// XSalsa20: tag, text. ChaCha20: text, tag.
    pub packet: &'a mut [u8],
}

/// Which instructions are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Packet by packet, with RustCrypto.
    Portable,
    /// Vectors of 256 bits.
    Avx2,
    /// Vectors of 512 bits, with the multiplication of 52 bits (IFMA).
    Avx512,
}

impl Level {
    /// All that there are, the fastest last.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];
}

/// Opens and seals with what the processor has, in memory of its own: one for each worker.
#[derive(Debug)]
pub struct Aead(Code);

/// A level that this processor was found to have, with its scratch memory.
#[derive(Debug)]
enum Code {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2, Box<columns::Columns>),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512, Box<columns::Columns>),
}

impl Aead {
    /// With the best that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        Level::ALL.into_iter().rev().find_map(Self::with).unwrap_or(Self(Code::Portable))
    }

    /// With `level`. `None`: this processor does not have it.
    #[must_use]
    pub fn with(level: Level) -> Option<Self> {
        match level {
            Level::Portable => Some(Self(Code::Portable)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                let kernel = avx2::Avx2::detect()?;
                Some(Self(Code::Avx2(kernel, Box::new(columns::Columns::EMPTY))))
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                let kernel = avx512::Avx512::detect()?;
                Some(Self(Code::Avx512(kernel, Box::new(columns::Columns::EMPTY))))
            }
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => None,
        }
    }

    /// What it uses.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.0 {
            Code::Portable => Level::Portable,
            #[cfg(target_arch = "x86_64")]
            Code::Avx2(..) => Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Code::Avx512(..) => Level::Avx512,
        }
    }

    /// Encrypts each packet's text and writes its tag, as NaCl's secretbox.
    ///
    /// A packet that is shorter than a tag, or longer than 65 535 bytes, is left as it is.
    pub fn seal_xsalsa(&mut self, jobs: &mut [Job<'_>]) {
        self.seal(Cipher::XSalsa, jobs);
    }

    /// Decrypts what is authentic: the bit of its place in `jobs` is set. Any other packet is left as it was, so that
    /// another key can be tried.
    ///
    /// Only the first [`JOBS_MAX`] jobs are looked at.
    #[must_use = "what was not authentic is still encrypted"]
    pub fn open_xsalsa(&mut self, jobs: &mut [Job<'_>]) -> u64 {
        self.open(Cipher::XSalsa, jobs)
    }

    /// As [`Self::seal_xsalsa`], with RFC 8439's ChaCha20-Poly1305 without additional data.
    pub fn seal_chacha(&mut self, jobs: &mut [Job<'_>]) {
        self.seal(Cipher::ChaCha, jobs);
    }

    /// As [`Self::open_xsalsa`], with RFC 8439's ChaCha20-Poly1305 without additional data.
    #[must_use = "what was not authentic is still encrypted"]
    pub fn open_chacha(&mut self, jobs: &mut [Job<'_>]) -> u64 {
        self.open(Cipher::ChaCha, jobs)
    }

    fn seal(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) {
        for burst in jobs.chunks_mut(JOBS_MAX) {
            match &mut self.0 {
                Code::Portable => portable::seal(cipher, burst),
                #[cfg(target_arch = "x86_64")]
                Code::Avx2(kernel, columns) => burst::seal(*kernel, columns, cipher, burst),
                #[cfg(target_arch = "x86_64")]
                Code::Avx512(kernel, columns) => burst::seal(*kernel, columns, cipher, burst),
            }
        }
    }

    fn open(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) -> u64 {
        debug_assert!(jobs.len() <= JOBS_MAX, "{} jobs in a burst", jobs.len());
        let len = jobs.len().min(JOBS_MAX);
        let burst = &mut jobs[..len];
        match &mut self.0 {
            Code::Portable => portable::open(cipher, burst),
            #[cfg(target_arch = "x86_64")]
            Code::Avx2(kernel, columns) => burst::open(*kernel, columns, cipher, burst),
            #[cfg(target_arch = "x86_64")]
            Code::Avx512(kernel, columns) => burst::open(*kernel, columns, cipher, burst),
        }
    }
}

/// What differs between the two constructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cipher {
    /// XSalsa20-Poly1305, tag first.
    XSalsa,
    /// ChaCha20-Poly1305, tag last.
    ChaCha,
}

impl Cipher {
    /// Whole steps of 64 bytes in a packet's text, fewer than 1024. `None`: not of a length that can be sealed.
    fn steps(packet: &[u8]) -> Option<u16> {
        let text_len = packet.len().checked_sub(TAG_LEN)?;
        u16::try_from(packet.len()).ok().and_then(|_| u16::try_from(text_len / 64).ok())
    }

    /// Tag and text of a packet. `None`: not of a length that can be sealed.
    fn split(self, packet: &mut [u8]) -> Option<(&mut [u8; TAG_LEN], &mut [u8])> {
        if packet.len() > usize::from(u16::MAX) {
            return None;
        }
        match self {
            Self::XSalsa => packet.split_first_chunk_mut(),
            Self::ChaCha => packet.split_last_chunk_mut().map(|(text, tag)| (tag, text)),
        }
    }
}
