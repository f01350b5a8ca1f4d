//! What every bench gives back: the machine, and figures with their spread.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs;
use std::time::Instant;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// As the issue calls it.
    pub name: String,
    /// Median over the rounds.
    pub value: f64,
    /// `ns`, `ratio`, …
    pub unit: Cow<'static, str>,
    /// Half the distance between the quartiles over the rounds.
    pub spread: f64,
    /// Rounds.
    pub n: usize,
}

impl Measurement {
    /// Median and spread of one value per round.
    #[must_use]
    pub fn of_rounds(name: &str, unit: &'static str, rounds: &[f64]) -> Self {
        let quartile = |part| crate::rounds::quantile(rounds, part);
        let spread = (quartile(0.75) - quartile(0.25)) / 2.0;
        Self {
            name: name.to_owned(),
            value: quartile(0.5),
            unit: unit.into(),
            spread,
            n: rounds.len(),
        }
    }
}

/// Where it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// CPU model.
    pub cpu: String,
    /// Cache sizes of one core, as the kernel tells them, e.g. `L1 Data 32K`.
    pub caches: Vec<String>,
    /// Core clock right now, GHz, from a chain of dependent operations.
    pub clock_ghz: f64,
    /// Widest vector instructions.
    pub vector: Cow<'static, str>,
    /// What backs the packet memory.
    pub pages: String,
}

impl Machine {
    /// Reads and measures it. `pages`: what backs the packet memory of this bench.
    #[must_use]
    pub fn read(pages: &str) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(": "));
        let cpu = model.map_or_else(|| "unknown".to_owned(), |(_, model)| model.to_owned());
        Self {
            cpu,
            caches: caches(),
            clock_ghz: clock_ghz(),
            vector: vector().into(),
            pages: pages.to_owned(),
        }
    }
}

/// All figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// What.
    pub results: Vec<Measurement>,
    /// What the reader must know: a reference that is missing, a right that was not given.
    pub notes: Vec<String>,
}

fn caches() -> Vec<String> {
    let read = |index: u32, file: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
        fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    (0..8)
        .map_while(|index| {
            Some(format!(
                "L{} {} {}",
                read(index, "level")?,
                read(index, "type")?,
                read(index, "size")?
            ))
        })
        .collect()
}

fn vector() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if std::is_x86_feature_detected!("avx2") {
            return "AVX2";
        }
    }
    "128 bits"
}

/// From a chain of dependent operations of one cycle each.
pub(crate) fn clock_ghz() -> f64 {
    const STEPS: u32 = 1 << 20;
    /// Three pairs of shift and exclusive or, each waiting for the one before.
    const CYCLES: f64 = 6.0;
    let run = || {
        let start = Instant::now();
        let mut x = std::hint::black_box(0x9e37_79b9_7f4a_7c15_u64);
        for _ in 0..STEPS {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        std::hint::black_box(x);
        start.elapsed().as_secs_f64()
    };
    let best = (0..5).map(|_| run()).fold(f64::MAX, f64::min);
    f64::from(STEPS) * CYCLES / best / 1e9
}
