//! A lease in exact arithmetic: the rule of CLOUD-ISP.md §3.5 R1 in whole numbers, nothing rounded.

use super::cell::Lease;
use dataplane_api::Nanos;

/// Times are in ns · bytes/s: a nanosecond is the lease's rate of them, and a byte is 10⁹.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    rate: u64,
    tolerance: u64,
    finish: u64,
}

const BYTE: u64 = 1_000_000_000;

impl Exact {
    /// With a full burst. A lease of less than 2³¹ bytes a second, for 4 s.
    pub(super) fn new(lease: &Lease) -> Self {
        assert!(lease.rate < 1 << 31 && lease.burst < 1 << 32, "{lease:?}");
        Self { rate: lease.rate, tolerance: lease.burst * BYTE, finish: 0 }
    }

    /// When `len` bytes at `now` would be done.
    fn after(&self, now: Nanos, len: u32) -> u64 {
        self.finish.max(now * self.rate) + u64::from(len) * BYTE
    }

    /// Whether they are in profile; then they count.
    pub(super) fn takes(&mut self, now: Nanos, len: u32) -> bool {
        let after = self.after(now, len);
        let takes = after - now * self.rate <= self.tolerance;
        if takes {
            self.finish = after;
        }
        takes
    }

    /// Virtual finish time of `len` bytes that somebody else lets through at `now`, ns, rounded up.
    pub(super) fn finish(&self, now: Nanos, len: u32) -> Nanos {
        self.after(now, len).div_ceil(self.rate)
    }

    /// Somebody else has let them through.
    pub(super) fn took(&mut self, now: Nanos, len: u32) {
        self.finish = self.after(now, len);
    }
}
