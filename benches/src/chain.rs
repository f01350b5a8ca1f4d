//! `bench chain`: how many announcements and whole blocks are verified a second, beside the C library of PacketCrypt.
//!
//! The library stands in a package of its own (`benches/packetcrypt`), a process that is told by pipe when to verify
//! and tells how long it took; see [`rival`].

mod rival;

use crate::report::{Machine, Measurement, Report, clock_ghz};
use crate::rounds::{NOT_REAL_TIME, pin};
use primitives::announcement::Announcement;
use primitives::bitcoin::BlockHash;
use primitives::bitcoin::hashes::Hash as _;
use primitives::block::Block;
use primitives::fault::Fault;
use primitives::network::Gates;
use primitives::packetcrypt::{Level, Verifier};
use primitives::vectors;
pub use rival::RivalError;
use serde_json::Value;
use std::fmt;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Rounds of a whole measurement.
pub const ROUNDS: usize = 21;
/// The least that `ann_speedup` has to be.
const BAR: f64 = 2.0;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum ChainBenchError {
    /// The vectors are not what they should be.
    #[error("{file}: {what}")]
    Vectors {
        /// Which.
        file: String,
        /// What is missing.
        what: &'static str,
    },
    /// Ours refuses what is valid.
    #[error("a valid {0} was refused: {1}")]
    Refused(Kind, #[source] Fault),
    /// The work hashes are not those that the vectors have.
    #[error("{contestant}: work hash {place} is another one than ours")]
    Hash {
        /// Who was wrong.
        contestant: &'static str,
        /// Of which announcement.
        place: usize,
    },
    /// A thread of the bench has ended early.
    #[error("a thread of the bench has panicked")]
    Thread,
    /// The library.
    #[error(transparent)]
    Rival(#[from] RivalError),
}

/// What is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Announcements of version 1.
    Announcement,
    /// Blocks with proofs of version 2.
    Block,
}

const KINDS: [Kind; 2] = [Kind::Announcement, Kind::Block];
const CORES: [usize; 2] = [1, 2];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Announcement => "ann",
            Self::Block => "block",
        })
    }
}

/// All valid announcements and blocks of the vectors that the library knows how to judge.
struct Work {
    /// With the parent's id.
    announcements: Vec<(Announcement, [u8; 32])>,
    hashes: Vec<[u8; 32]>,
    blocks: Vec<(Block, u32, [BlockHash; 4])>,
}

impl Work {
    fn read() -> Result<Self, ChainBenchError> {
        let (announcements, hashes) = cases("anns_v1.json", |case| {
            let announcement = Announcement::try_from(hex(&case["ann"])?.as_slice()).ok()?;
            let parent = id(&case["parent_hash"])?.to_byte_array();
            let hash: [u8; 32] = hex(&case["work_hash"])?.try_into().ok()?;
            Some(((announcement, parent), hash))
        })?
        .into_iter()
        .unzip();
        let mut blocks = cases("blocks.json", |case| {
            let block = Block::parse(&hex(&case["block"])?).ok()?;
            let parents = case["parents"].as_array()?.iter().map(id).collect::<Option<Vec<_>>>()?;
            Some((block, u32::try_from(case["height"].as_u64()?).ok()?, parents.try_into().ok()?))
        })?;
        blocks.retain(|(block, ..)| block.proof.version == 2);
        Ok(Self { announcements, hashes, blocks })
    }

    fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Announcement => self.announcements.len(),
            Kind::Block => self.blocks.len(),
        }
    }
}

/// The cases that both pktd and the library take.
fn cases<T>(file: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, ChainBenchError> {
    let (path, bytes) = vectors::read(file);
    let wrong = |what| ChainBenchError::Vectors { file: path.display().to_string(), what };
    let json: Value = serde_json::from_slice(&bytes).map_err(|_wrong| wrong("is not JSON"))?;
    let all = json["cases"].as_array().ok_or_else(|| wrong("has no cases"))?;
    let is_valid = |case: &&Value| {
        let by_library = case["c_library"]["ok"] == true;
        case["ok"] == true && by_library && case["is_block"] != false && case["pc_version"] != 1
    };
    let cases = all.iter().filter(is_valid).map(read).collect::<Option<Vec<_>>>();
    cases
        .filter(|cases| !cases.is_empty())
        .ok_or_else(|| wrong("has a case that cannot be read, or no valid one"))
}

fn hex(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(vectors::hex)
}

fn id(value: &Value) -> Option<BlockHash> {
    value.as_str()?.parse().ok()
}

/// Ours, with one verifier for each core.
struct Own {
    name: &'static str,
    verifiers: Vec<Verifier>,
}

impl Own {
    /// At the levels that this processor has, the best first.
    fn all() -> Vec<Self> {
        let with = |level| (0..2).map(|_| Verifier::with(level)).collect::<Option<Vec<_>>>();
        let own = |level| Some(Self { name: name_of(level), verifiers: with(level)? });
        Level::ALL.into_iter().rev().filter_map(own).collect()
    }

    /// Everything once on each of `cores`; how long it took.
    fn pass(&mut self, work: &Work, kind: Kind, cores: usize) -> Result<Duration, ChainBenchError> {
        if let ([verifier, ..], 1) = (self.verifiers.as_mut_slice(), cores) {
            let start = Instant::now();
            verify(verifier, work, kind)?;
            return Ok(start.elapsed());
        }
        let ready = Barrier::new(cores + 1);
        thread::scope(|scope| {
            let ready = &ready;
            let threads: Vec<_> = (0..cores)
                .zip(&mut self.verifiers)
                .map(|(core, verifier)| {
                    scope.spawn(move || {
                        crate::rounds::move_to(core);
                        crate::processor::real_time();
                        ready.wait();
                        verify(verifier, work, kind)
                    })
                })
                .collect();
            ready.wait();
            let start = Instant::now();
            for thread in threads {
                thread.join().map_err(|_panic| ChainBenchError::Thread)??;
            }
            Ok(start.elapsed())
        })
    }

    fn check(&mut self, work: &Work) -> Result<(), ChainBenchError> {
        let contestant = self.name;
        let Some(verifier) = self.verifiers.first_mut() else { return Ok(()) };
        for (place, ((announcement, parent), hash)) in
            work.announcements.iter().zip(&work.hashes).enumerate()
        {
            let found = verifier
                .announcement(announcement, parent, 2, &Gates::REFERENCE)
                .map_err(|fault| ChainBenchError::Refused(Kind::Announcement, fault))?;
            if found != *hash {
                return Err(ChainBenchError::Hash { contestant, place });
            }
        }
        Ok(())
    }
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::Portable => "switchyard_portable",
        Level::Avx2 => "switchyard_avx2",
        Level::Avx512 => "switchyard_avx512",
    }
}

fn verify(verifier: &mut Verifier, work: &Work, kind: Kind) -> Result<(), ChainBenchError> {
    let refused = |fault| ChainBenchError::Refused(kind, fault);
    match kind {
        Kind::Announcement => {
            for (announcement, parent) in &work.announcements {
                verifier
                    .announcement(announcement, parent, 2, &Gates::REFERENCE)
                    .map_err(refused)?;
            }
        }
        Kind::Block => {
            for (block, height, parents) in &work.blocks {
                verifier
                    .block(block, *height, parents, None, &Gates::REFERENCE)
                    .map_err(refused)?;
            }
        }
    }
    Ok(())
}

/// What one contestant did in one case, by round, verifications a second.
struct Figure {
    contestant: &'static str,
    kind: Kind,
    cores: usize,
    rounds: Vec<f64>,
}

impl Figure {
    fn name(&self) -> String {
        let Self { contestant, kind, cores, .. } = self;
        let cores = if *cores == 1 { String::new() } else { format!("_{cores}_cores") };
        format!("{kind}_per_s_{contestant}{cores}")
    }
}

/// Measures ours; unless `alone`, beside the library, which is built first.
///
/// # Errors
/// [`ChainBenchError`]: a wrong result is no result.
pub fn run(rounds: usize, alone: bool) -> Result<Report, ChainBenchError> {
    let work = Work::read()?;
    let mut notes = vec![format!(
        "{} announcements and {} blocks of {}",
        work.announcements.len(),
        work.blocks.len(),
        vectors::find("anns_v1.json").with_file_name("").display()
    )];
    // Before this thread is in the real-time class: compilers are not to be.
    let mut rival = if alone { None } else { Some(rival::Rival::build()?) };
    if pin().is_none() {
        notes.push("not pinned to a core".to_owned());
    }
    if !crate::processor::real_time() {
        notes.push(NOT_REAL_TIME.to_owned());
    }
    let mut process = rival.as_mut().map(|rival| rival.start(&work)).transpose()?;
    let mut own = Own::all();
    own.iter_mut().try_for_each(|own| own.check(&work))?;
    let mut figures: Vec<Figure> = Vec::new();
    let mut add = |contestant, kind: Kind, cores, taken: Duration| {
        let each = f64::from(u32::try_from(cores * work.len(kind)).unwrap_or(u32::MAX))
            / taken.as_secs_f64();
        let known = figures.iter_mut().find(|figure| {
            (figure.contestant, figure.kind, figure.cores) == (contestant, kind, cores)
        });
        match known {
            Some(figure) => figure.rounds.push(each),
            None => figures.push(Figure { contestant, kind, cores, rounds: vec![each] }),
        }
    };
    let clocks: Vec<f64> = (0..rounds)
        .map(|_| {
            for kind in KINDS {
                for cores in CORES {
                    for own in &mut own {
                        add(own.name, kind, cores, own.pass(&work, kind, cores)?);
                    }
                    if let Some(process) = &mut process {
                        add(rival::NAME, kind, cores, process.pass(kind, cores)?);
                    }
                }
            }
            Ok(clock_ghz())
        })
        .collect::<Result<_, ChainBenchError>>()?;
    let mut results = speedups(&figures, &mut notes);
    results.extend(
        figures.iter().map(|figure| Measurement::of_rounds(&figure.name(), "1/s", &figure.rounds)),
    );
    results.push(Measurement::of_rounds("clock_ghz", "GHz", &clocks));
    Ok(Report { machine: Machine::read("small"), results, notes })
}

/// Our best beside the library, and a note on whether that is enough.
fn speedups(figures: &[Figure], notes: &mut Vec<String>) -> Vec<Measurement> {
    let find = |name: &str, kind, cores| {
        figures.iter().find(|figure| {
            figure.contestant == name && (figure.kind, figure.cores) == (kind, cores)
        })
    };
    let mut results = Vec::new();
    for kind in KINDS {
        for cores in CORES {
            for (level, suffix) in
                [(None, ""), (Some(Level::Avx2), "_avx2"), (Some(Level::Portable), "_portable")]
            {
                let best = figures.first().map_or("", |figure| figure.contestant);
                let own = find(level.map_or(best, name_of), kind, cores);
                let (Some(own), Some(rival)) = (own, find(rival::NAME, kind, cores)) else {
                    continue;
                };
                let ratios: Vec<f64> =
                    own.rounds.iter().zip(&rival.rounds).map(|(own, rival)| own / rival).collect();
                let of_cores = if cores == 1 { "" } else { "_2_cores" };
                let name = format!("{kind}_speedup{suffix}{of_cores}");
                let result = Measurement::of_rounds(&name, "ratio", &ratios);
                if name == "ann_speedup" {
                    let verdict = if result.value >= BAR { "holds" } else { "MISSED" };
                    notes.push(format!("{name} ≥ {BAR}: {verdict}"));
                }
                results.push(result);
            }
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One round without the library: every level verifies all there is.
    #[test]
    fn there_is_a_figure_for_each_level_and_kind() {
        let report = run(1, true).unwrap();
        for own in Own::all() {
            for kind in KINDS {
                let name = format!("{kind}_per_s_{}", own.name);
                assert!(
                    report.results.iter().any(|result| result.name == name && result.value > 0.0),
                    "{name}"
                );
            }
        }
    }
}
