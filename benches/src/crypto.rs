//! `bench crypto`: bursts of 64 packets of 64 keys, sealed and opened, beside what others offer for it.
//!
//! The others stand in a package of their own (`benches/rivals`), since some of them are C libraries; see [`rivals`].

mod bars;
pub mod rivals;

use crate::report::{Machine, Measurement, Report, clock_ghz};
use crate::rounds::{NOT_REAL_TIME, Random, median_slice, pin, quantile};
pub use crypt::aead::Job;
use crypt::aead::{Aead, JOBS_MAX, Level, TAG_LEN};
use std::fmt;

/// Rounds of a whole measurement.
pub const ROUNDS: usize = 21;
/// Bursts of a contestant in one round of one case.
const SLICES: usize = 21;
/// Packets of a burst.
const PACKETS: u32 = 64;
/// Bytes from one packet's frame to the next; as the process' frames lie.
const STRIDE: usize = crate::frames::STRIDE_COLOURED;
/// Where a packet begins in its frame: behind headroom, Ethernet and cjdns headers and the nonce.
const OFFSET: usize = 256 + 24;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// XSalsa20-Poly1305.
    XSalsa,
    /// ChaCha20-Poly1305.
    ChaCha,
}

/// Both.
pub const CIPHERS: [Cipher; 2] = [Cipher::XSalsa, Cipher::ChaCha];

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XSalsa => "xsalsa",
            Self::ChaCha => "chacha",
        })
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Encrypts and writes tags.
    Seal,
    /// Checks tags and decrypts.
    Open,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seal => "seal",
            Self::Open => "open",
        })
    }
}

/// Bytes of text in the packets of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The same in all.
    Bytes(usize),
    /// 64, 512 and 1420 at 7:4:1.
    Imix,
}

/// All that are measured.
pub const SIZES: [Size; 5] =
    [Size::Bytes(64), Size::Bytes(128), Size::Bytes(512), Size::Bytes(1420), Size::Imix];

impl Size {
    fn lens(self) -> Vec<usize> {
        let of_imix = |place| match place % 12 {
            0..7 => 64,
            7..11 => 512,
            _ => 1420,
        };
        let mut lens: Vec<usize> = (0..JOBS_MAX)
            .map(|place| match self {
                Self::Bytes(len) => len,
                Self::Imix => of_imix(place),
            })
            .collect();
        let mut random = Random::new(12);
        for (last, place) in (0_u32..PACKETS).zip(0..).skip(1) {
            lens.swap(place, random.below(last + 1) as usize);
        }
        lens
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(len) => write!(f, "{len}"),
            Self::Imix => f.write_str("imix"),
        }
    }
}

/// Something that seals and opens. The keys of a burst are always the same, in the same order: what it makes of them it may
/// make beforehand, as a session would.
pub trait Contestant {
    /// As the report calls it.
    fn name(&self) -> &str;

    /// Whether it has the cipher.
    fn does(&self, cipher: Cipher) -> bool;

    /// Learns the keys of the packets to come.
    fn learn(&mut self, keys: &[[u8; 32]]);

    /// Encrypts in place and writes tags.
    fn seal(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]);

    /// Decrypts in place; how many were authentic.
    fn open(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) -> u32;
}

/// Ours.
struct Own {
    name: &'static str,
    aead: Aead,
}

impl Own {
    /// At all levels that this processor has. The portable one is RustCrypto, a rival.
    fn all() -> Vec<Box<dyn Contestant>> {
        Level::ALL
            .into_iter()
            .filter_map(|level| {
                let aead = Aead::with(level)?;
                let own: Box<dyn Contestant> = Box::new(Self { name: name_of(level), aead });
                Some(own)
            })
            .collect()
    }
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::Portable => "rustcrypto",
        Level::Avx2 => "switchyard_avx2",
        Level::Avx512 => "switchyard_avx512",
    }
}

impl Contestant for Own {
    fn name(&self) -> &str {
        self.name
    }

    fn does(&self, _: Cipher) -> bool {
        true
    }

    fn learn(&mut self, _: &[[u8; 32]]) {}

    fn seal(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) {
        match cipher {
            Cipher::XSalsa => self.aead.seal_xsalsa(jobs),
            Cipher::ChaCha => self.aead.seal_chacha(jobs),
        }
    }

    fn open(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) -> u32 {
        match cipher {
            Cipher::XSalsa => self.aead.open_xsalsa(jobs),
            Cipher::ChaCha => self.aead.open_chacha(jobs),
        }
        .count_ones()
    }
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{contestant}, {cipher} of {size} bytes: {what} is not what the first contestant has")]
pub struct CryptoBenchError {
    /// Who was wrong.
    contestant: String,
    cipher: Cipher,
    size: Size,
    what: Operation,
}

/// What one contestant took in one case, by round, ns a packet.
struct Figure {
    contestant: String,
    cipher: Cipher,
    size: Size,
    operation: Operation,
    rounds: Vec<f64>,
}

/// All that was measured.
struct Figures {
    all: Vec<Figure>,
    /// Core clock of each round.
    clock_ghz: Vec<f64>,
}

/// Measures ours beside `rivals`, whose results must be the same.
///
/// # Errors
/// [`CryptoBenchError`]: a wrong result is no result.
pub fn run(
    rivals: Vec<Box<dyn Contestant>>,
    rounds: usize,
    mut notes: Vec<String>,
) -> Result<Report, CryptoBenchError> {
    if pin().is_none() {
        notes.push("not pinned to a core".to_owned());
    }
    if !crate::processor::real_time() {
        notes.push(NOT_REAL_TIME.to_owned());
    }
    measure(rivals, rounds, notes)
}

fn measure(
    rivals: Vec<Box<dyn Contestant>>,
    rounds: usize,
    mut notes: Vec<String>,
) -> Result<Report, CryptoBenchError> {
    let keys = keys();
    let mut contestants: Vec<_> = Own::all().into_iter().chain(rivals).collect();
    for contestant in &mut contestants {
        contestant.learn(&keys);
    }
    let mut figures = Figures { all: Vec::new(), clock_ghz: Vec::new() };
    let mut memory = vec![0; (JOBS_MAX + 1) * STRIDE];
    for round in 0..rounds {
        figures.clock_ghz.push(clock_ghz());
        for cipher in CIPHERS {
            for size in SIZES {
                let mut case = Case::new(cipher, size, &mut memory, &keys);
                for contestant in contestants.iter_mut().filter(|who| who.does(cipher)) {
                    if round == 0 {
                        case.check(contestant.as_mut())?;
                    }
                    let [seal, open] = case.measure(contestant.as_mut());
                    figures.add(contestant.name(), &case, Operation::Seal, seal);
                    figures.add(contestant.name(), &case, Operation::Open, open);
                }
            }
        }
    }
    let mut results = bars::bars(&figures, &mut notes);
    results.extend(figures.all.iter().map(Figure::measurement));
    Ok(Report { machine: Machine::read("small"), results, notes })
}

fn keys() -> Vec<[u8; 32]> {
    let mut random = Random::new(64);
    let mut key = || {
        let words: [[u8; 8]; 4] = std::array::from_fn(|_| random.draw().to_le_bytes());
        *words.as_flattened().first_chunk().unwrap_or(&[0; 32])
    };
    (0..JOBS_MAX).map(|_| key()).collect()
}

/// One burst.
struct Case<'a> {
    cipher: Cipher,
    size: Size,
    jobs: Vec<Job<'a>>,
    /// The packets before they are sealed, and after.
    plain: Vec<Vec<u8>>,
    sealed: Vec<Vec<u8>>,
    opened: u32,
}

impl<'a> Case<'a> {
    fn new(cipher: Cipher, size: Size, memory: &'a mut [u8], keys: &'a [[u8; 32]]) -> Self {
        let start = memory.as_ptr().align_offset(64);
        let frames = memory.get_mut(start..).unwrap_or_default().chunks_exact_mut(STRIDE);
        let mut random = Random::new(1420);
        let plain: Vec<Vec<u8>> = size
            .lens()
            .into_iter()
            .map(|len| (0..len + TAG_LEN).map(|_| random.draw().to_le_bytes()[0]).collect())
            .collect();
        let jobs = frames
            .zip(&plain)
            .zip(keys)
            .map(|((frame, plain), key)| Job {
                key,
                nonce: 0,
                packet: frame.get_mut(OFFSET..OFFSET + plain.len()).unwrap_or_default(),
            })
            .collect();
        Self { cipher, size, jobs, plain, sealed: Vec::new(), opened: 0 }
    }

    fn fill(jobs: &mut [Job<'_>], packets: &[Vec<u8>]) {
        for (job, packet) in jobs.iter_mut().zip(packets) {
            job.nonce = 1;
            job.packet.copy_from_slice(packet);
        }
    }

    fn wrong(&self, contestant: &dyn Contestant, what: Operation) -> CryptoBenchError {
        let contestant = contestant.name().to_owned();
        CryptoBenchError { contestant, cipher: self.cipher, size: self.size, what }
    }

    /// Every byte against what the first one that was asked has made.
    fn check(&mut self, contestant: &mut dyn Contestant) -> Result<(), CryptoBenchError> {
        Self::fill(&mut self.jobs, &self.plain);
        contestant.seal(self.cipher, &mut self.jobs);
        if self.sealed.is_empty() {
            self.sealed = self.jobs.iter().map(|job| job.packet.to_vec()).collect();
        }
        let same = |(job, packet): (&Job<'_>, &Vec<u8>)| job.packet == packet;
        if !self.jobs.iter().zip(&self.sealed).all(same) {
            return Err(self.wrong(contestant, Operation::Seal));
        }
        let opened = contestant.open(self.cipher, &mut self.jobs);
        let text = match self.cipher {
            Cipher::XSalsa => |packet: &[u8]| packet[TAG_LEN..].to_vec(),
            Cipher::ChaCha => |packet: &[u8]| packet[..packet.len() - TAG_LEN].to_vec(),
        };
        let same = |(job, packet): (&Job<'_>, &Vec<u8>)| text(job.packet) == text(packet);
        if opened == PACKETS && self.jobs.iter().zip(&self.plain).all(same) {
            Ok(())
        } else {
            Err(self.wrong(contestant, Operation::Open))
        }
    }

    /// Sealing and opening, ns a packet.
    fn measure(&mut self, contestant: &mut dyn Contestant) -> [f64; 2] {
        let cipher = self.cipher;
        Self::fill(&mut self.jobs, &self.plain);
        let seal = median_slice(
            self,
            SLICES,
            PACKETS,
            |case| case.jobs.iter_mut().for_each(|job| job.nonce += 1),
            |case| contestant.seal(cipher, &mut case.jobs),
        );
        Self::fill(&mut self.jobs, &self.plain);
        contestant.seal(cipher, &mut self.jobs);
        self.sealed = self.jobs.iter().map(|job| job.packet.to_vec()).collect();
        let open = median_slice(
            self,
            SLICES,
            PACKETS,
            |case| Self::fill(&mut case.jobs, &case.sealed),
            |case| case.opened = contestant.open(cipher, &mut case.jobs),
        );
        [seal, open]
    }
}

impl Figures {
    fn add(&mut self, contestant: &str, case: &Case<'_>, operation: Operation, ns: f64) {
        let (cipher, size) = (case.cipher, case.size);
        match self.find(contestant, cipher, size, operation) {
            Some(place) => self.all[place].rounds.push(ns),
            None => self.all.push(Figure {
                contestant: contestant.to_owned(),
                cipher,
                size,
                operation,
                rounds: vec![ns],
            }),
        }
    }

    fn find(
        &self,
        contestant: &str,
        cipher: Cipher,
        size: Size,
        operation: Operation,
    ) -> Option<usize> {
        self.all.iter().position(|figure| {
            (figure.cipher, figure.size, figure.operation) == (cipher, size, operation)
                && figure.contestant == contestant
        })
    }

    /// What `contestant` took, by round.
    fn of(
        &self,
        contestant: &str,
        cipher: Cipher,
        size: Size,
        operation: Operation,
    ) -> Option<&Figure> {
        self.find(contestant, cipher, size, operation).map(|place| &self.all[place])
    }
}

impl Figure {
    fn median(&self) -> f64 {
        quantile(&self.rounds, 0.5)
    }

    fn measurement(&self) -> Measurement {
        let Self { contestant, cipher, size, operation, rounds } = self;
        let name = format!("{cipher}_{size}_{operation}_ns.{contestant}");
        Measurement::of_rounds(&name, "ns", rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_round_has_every_figure_of_ours() {
        let report = measure(Vec::new(), 1, Vec::new()).unwrap();
        for level in Level::ALL.into_iter().filter(|level| Aead::with(*level).is_some()) {
            for cipher in CIPHERS {
                for name in ["64_seal", "1420_open", "imix_seal"] {
                    let name = format!("{cipher}_{name}_ns.{}", name_of(level));
                    assert!(report.results.iter().any(|result| result.name == name), "{name}");
                }
            }
        }
    }

    struct Wrong;

    impl Contestant for Wrong {
        fn name(&self) -> &str {
            "wrong"
        }

        fn does(&self, cipher: Cipher) -> bool {
            cipher == Cipher::ChaCha
        }

        fn learn(&mut self, _: &[[u8; 32]]) {}

        fn seal(&mut self, _: Cipher, _: &mut [Job<'_>]) {}

        fn open(&mut self, _: Cipher, jobs: &mut [Job<'_>]) -> u32 {
            jobs.iter().map(|_| 1).sum()
        }
    }

    #[test]
    fn who_seals_otherwise_is_not_timed() {
        let error = measure(vec![Box::new(Wrong)], 1, Vec::new()).unwrap_err();
        let expected = "wrong, chacha of 64 bytes: seal is not what the first contestant has";
        assert_eq!(error.to_string(), expected);
    }
}
