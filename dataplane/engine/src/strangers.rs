//! How much of the slow path strangers have: each source a share, which another cannot use up, and all together a bound.

use dataplane_api::limiter::{Limit, Limiter};
use dataplane_api::{LinkAddress, Nanos};

/// Buckets of sources, which share them by a keyed hash, so that nobody can choose whom to share with.
const BUCKETS: usize = 1024;
/// A source may have this part of all.
const SHARE: u32 = 50;
/// Strangers may come in bursts of a tenth of a second's worth.
const BURSTS: u32 = 10;

/// The buckets of one worker.
#[derive(Debug)]
pub(crate) struct Strangers {
    seed: u64,
    each: Option<Limit>,
    all: Option<Limit>,
    sources: Box<[Limiter]>,
    together: Limiter,
}

impl Strangers {
    /// Full buckets. `seed`: unpredictable to the network.
    pub(crate) fn new(per_second: u32, seed: u64) -> Self {
        let each = per_second.div_ceil(SHARE);
        Self {
            seed,
            each: Limit::new(each, each.div_ceil(BURSTS)),
            all: Limit::new(per_second, per_second / BURSTS),
            sources: vec![Limiter::default(); BUCKETS].into_boxed_slice(),
            together: Limiter::default(),
        }
    }

    /// Whether the packet of a stranger goes to the slow path. Who is refused takes nothing from the others.
    pub(crate) fn admits(&mut self, now: Nanos, from: &LinkAddress) -> bool {
        let mut z = self.seed ^ from.source();
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let at = usize::try_from((z ^ z >> 31) % BUCKETS as u64).unwrap_or(0);
        let conforms = |bucket: &mut Limiter, limit: Option<Limit>| {
            limit.is_some_and(|limit| bucket.conforms(limit, now))
        };
        self.sources.get_mut(at).is_some_and(|bucket| conforms(bucket, self.each))
            && conforms(&mut self.together, self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{MacAddress, PortId};

    fn from(source: u32) -> LinkAddress {
        let [a, b, c, d] = source.to_be_bytes();
        let (own, peer) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 1, a, b, c, d]));
        LinkAddress::Ethernet { port: PortId(0), vlan: None, own, peer }
    }

    #[test]
    fn a_flood_of_one_source_keeps_nobody_out() {
        let mut strangers = Strangers::new(10_000, 7);
        let flood = (0..100_000).filter(|_| strangers.admits(0, &from(1))).count();
        assert_eq!(flood, 20);
        let others = (2..102).filter(|source| strangers.admits(0, &from(*source))).count();
        assert!(others >= 98, "{others}: few share its bucket");
    }

    #[test]
    fn all_together_have_a_bound() {
        let mut strangers = Strangers::new(10_000, 7);
        let admitted = (0..100_000).filter(|source| strangers.admits(0, &from(*source))).count();
        assert_eq!(admitted, 1000);
        let mut nobody = Strangers::new(0, 7);
        assert!(!nobody.admits(0, &from(1)));
    }
}
