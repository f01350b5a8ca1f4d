//! Steady numbers on a machine that is not quiet: short slices, medians, one core.

use std::time::Instant;

/// Rounds of every figure.
pub const ROUNDS: usize = 7;

/// A note for figures that were measured like any other thread.
pub(crate) const NOT_REAL_TIME: &str =
    "not in the real-time class: neighbours on the machine disturb the figures";

/// The value below which `part` of `values` lie.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index between 0 and a few thousand"
    )]
    let at = (last as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Median time of `slices` runs of `work`, in ns per packet; `prepare` runs before each and is not timed.
///
/// A preempted slice is one outlier among many, so the median does not see it.
pub fn median_slice<S>(
    state: &mut S,
    slices: usize,
    packets: u32,
    mut prepare: impl FnMut(&mut S),
    mut work: impl FnMut(&mut S),
) -> f64 {
    let times: Vec<f64> = (0..slices)
        .map(|_| {
            prepare(state);
            let start = Instant::now();
            work(state);
            start.elapsed().as_secs_f64() * 1e9 / f64::from(packets)
        })
        .collect();
    quantile(&times, 0.5)
}

/// Stays on the machine's last core, which others use least. `None`: it has to run where it is put.
#[must_use]
pub fn pin() -> Option<usize> {
    let core = core_affinity::get_core_ids()?.into_iter().next_back()?;
    core_affinity::set_for_current(core).then_some(core.id)
}

/// Moves to another core: whatever polls on this one can have it then.
pub fn move_to(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}

/// SplitMix64: the same numbers in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, near enough evenly.
    pub fn below(&mut self, bound: u32) -> u32 {
        let scaled = u64::from(bound) * (self.draw() >> 32);
        u32::try_from(scaled >> 32).unwrap_or(0)
    }
}
