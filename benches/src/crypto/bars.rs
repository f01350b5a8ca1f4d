//! What the figures are held against.

use super::{CIPHERS, Cipher, Figure, Figures, Operation, Size, name_of};
use crate::report::Measurement;
use crypt::aead::{Aead, Level};

/// Contestants of which the fastest counts.
const LIBRARIES: [&str; 5] = ["ring", "aws-lc-rs", "libsodium", "dryoc", "rustcrypto"];
const IPSEC_MB: &str = "ipsec-mb";
const OPERATIONS: [Operation; 2] = [Operation::Seal, Operation::Open];
const SHORT: Size = Size::Bytes(64);
const LONG: Size = Size::Bytes(1420);

/// The least that a figure has to be.
struct Bar {
    name: String,
    level: Level,
    rounds: Option<Vec<f64>>,
    at_least: f64,
}

/// Every bar that can be told from `figures`; a note for each says whether it holds.
pub(super) fn bars(figures: &Figures, notes: &mut Vec<String>) -> Vec<Measurement> {
    let libraries = |level, cipher, size, at_least| Bar {
        name: match level {
            Level::Avx512 => format!("{cipher}_{size}_speedup"),
            Level::Avx2 | Level::Portable => format!("{cipher}_{size}_speedup_avx2"),
        },
        level,
        rounds: figures.speedup(level, cipher, size, &LIBRARIES),
        at_least,
    };
    let ipsec_mb = |cipher, size, at_least| Bar {
        name: format!("{cipher}_{size}_vs_ipsec_mb"),
        level: Level::Avx512,
        rounds: figures.speedup(Level::Avx512, cipher, size, &[IPSEC_MB]),
        at_least,
    };
    let bars = [
        libraries(Level::Avx2, Cipher::XSalsa, SHORT, 3.0),
        libraries(Level::Avx2, Cipher::ChaCha, SHORT, 1.9),
        libraries(Level::Avx512, Cipher::XSalsa, SHORT, 5.5),
        libraries(Level::Avx512, Cipher::XSalsa, LONG, 1.7),
        libraries(Level::Avx512, Cipher::ChaCha, SHORT, 3.6),
        libraries(Level::Avx512, Cipher::ChaCha, LONG, 1.45),
        ipsec_mb(Cipher::ChaCha, SHORT, 3.5),
        ipsec_mb(Cipher::ChaCha, LONG, 1.15),
        Bar {
            name: "vector_limit_fraction".to_owned(),
            level: Level::Avx512,
            rounds: figures.limit_fraction(),
            at_least: 0.58,
        },
    ];
    let mut results = Vec::new();
    for Bar { name, level, rounds, at_least } in bars {
        let Some(rounds) = rounds else {
            if Aead::with(level).is_some() {
                notes.push(format!("no {name}: there was nothing to hold it against"));
            }
            continue;
        };
        let result = Measurement::of_rounds(&name, "ratio", &rounds);
        let holds = if result.value >= at_least { "holds" } else { "MISSED" };
        notes.push(format!("{name} {:.3}, at least {at_least}: {holds}", result.value));
        results.push(result);
    }
    results
}

impl Figures {
    /// How many times as long the fastest of `others` takes, by round: opening or sealing, whichever is less.
    fn speedup(
        &self,
        level: Level,
        cipher: Cipher,
        size: Size,
        others: &[&str],
    ) -> Option<Vec<f64>> {
        let ratios = OPERATIONS.map(|operation| {
            let of = |name| self.of(name, cipher, size, operation);
            // The portable level is always there; what is called the fastest of five must have more to choose from.
            let there: Vec<&Figure> = others.iter().filter_map(|name| of(name)).collect();
            let best = there.iter().min_by(|a, b| a.median().total_cmp(&b.median()))?;
            let only_own = there.iter().all(|figure| figure.contestant == name_of(Level::Portable));
            let own = of(name_of(level)).filter(|_| !only_own)?;
            let rounds = best.rounds.iter().zip(&own.rounds);
            Some(rounds.map(|(best, own)| best / own).collect::<Vec<_>>())
        });
        least(ratios)
    }

    /// What the vector units need at least for 1420 bytes, of what it took, by round: the least of all.
    fn limit_fraction(&self) -> Option<Vec<f64>> {
        let fractions = CIPHERS.map(|cipher| {
            least(OPERATIONS.map(|operation| {
                let own = self.of(name_of(Level::Avx512), cipher, LONG, operation)?;
                let rounds = own.rounds.iter().zip(&self.clock_ghz);
                Some(rounds.map(|(ns, ghz)| limit_cycles(cipher, 1420.0) / ghz / ns).collect())
            }))
        });
        least(fractions)
    }
}

/// Of what has the lowest median.
fn least<const N: usize>(of: [Option<Vec<f64>>; N]) -> Option<Vec<f64>> {
    let median = |rounds: &Vec<f64>| crate::rounds::quantile(rounds, 0.5);
    of.into_iter().flatten().min_by(|a, b| median(a).total_cmp(&median(b)))
}

/// Core cycles that two operations of 512 bits a cycle need for a text: 30.5 for a block of the stream, 33 with its
/// transposition and sum, 2.53 for a block of Poly1305 and 7 for a packet of it.
fn limit_cycles(cipher: Cipher, text_len: f64) -> f64 {
    let blocks = (text_len / 16.0).ceil();
    match cipher {
        Cipher::XSalsa => 30.5 + 33.0 * ((text_len + 32.0) / 64.0).ceil() + 2.53 * blocks + 7.0,
        Cipher::ChaCha => 30.5 + 33.0 * (text_len / 64.0).ceil() + 2.53 * (blocks + 1.0) + 7.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(contestant: &str, operation: Operation, rounds: &[f64]) -> Figure {
        let (cipher, size, rounds) = (Cipher::ChaCha, SHORT, rounds.to_vec());
        Figure { contestant: contestant.to_owned(), cipher, size, operation, rounds }
    }

    #[test]
    fn the_fastest_library_and_the_slower_operation_count() {
        let all = vec![
            figure("switchyard_avx512", Operation::Seal, &[10.0, 20.0, 10.0]),
            figure("ring", Operation::Seal, &[60.0, 60.0, 60.0]),
            figure("dryoc", Operation::Seal, &[90.0, 10.0, 90.0]),
            figure("switchyard_avx512", Operation::Open, &[10.0, 10.0, 10.0]),
            figure("ring", Operation::Open, &[50.0, 50.0, 70.0]),
        ];
        let figures = Figures { all, clock_ghz: vec![] };
        let speedup = figures.speedup(Level::Avx512, Cipher::ChaCha, SHORT, &LIBRARIES);
        assert_eq!(speedup, Some(vec![5.0, 5.0, 7.0]));
        assert_eq!(figures.speedup(Level::Avx512, Cipher::ChaCha, SHORT, &[IPSEC_MB]), None);
    }

    #[test]
    fn the_limit_is_as_counted() {
        let cycles = |cipher, len| limit_cycles(cipher, len).round();
        assert_eq!(cycles(Cipher::XSalsa, 64.0), 114.0);
        assert_eq!(cycles(Cipher::XSalsa, 1420.0), 1022.0);
        assert_eq!(cycles(Cipher::ChaCha, 64.0), 83.0);
        assert_eq!(cycles(Cipher::ChaCha, 1420.0), 1024.0);
    }
}
