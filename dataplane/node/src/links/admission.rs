//! How many strangers may cost a Diffie-Hellman: each pays into the buckets of its vswitch, its login and its address.
//!
//! Links that are known have buckets of their own, so that no number of strangers keeps them from coming up.

use dataplane_api::limiter::{Limit, Limiter};
use dataplane_api::{LinkAddress, Nanos, VswitchId};

/// Buckets of each sort. Addresses share them by a keyed hash, so that nobody can choose whom to share with.
const BUCKETS: usize = 4096;

/// Rates: (a second, at once). A hello and its answer cost some 0.2 ms, so all strangers together may take a third of
/// a core.
const ALL: (u32, u32) = (1500, 300);
const VSWITCH: (u32, u32) = (300, 100);
const LOGIN: (u32, u32) = (100, 50);
const SOURCE: (u32, u32) = (5, 10);

/// The buckets.
#[derive(Debug)]
pub struct Admission {
    seed: u64,
    all: Limiter,
    vswitches: Box<[Limiter]>,
    logins: Box<[Limiter]>,
    sources: Box<[Limiter]>,
}

impl Admission {
    /// Full buckets. `seed`: unpredictable to the network.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let buckets = || vec![Limiter::default(); BUCKETS].into_boxed_slice();
        Self {
            seed,
            all: Limiter::default(),
            vswitches: buckets(),
            logins: buckets(),
            sources: buckets(),
        }
    }

    /// Whether a stranger with a login may have its handshake opened now.
    pub fn admits(
        &mut self,
        now: Nanos,
        vswitch: VswitchId,
        login: u32,
        address: &LinkAddress,
    ) -> bool {
        let vswitch = u64::from(vswitch.0);
        let login = self.mix(vswitch << 32 | u64::from(login));
        let source = self.mix(address.source());
        // The narrowest first: who is refused there takes nothing from the others.
        take(&mut self.sources, source, SOURCE, now)
            && take(&mut self.logins, login, LOGIN, now)
            && take(&mut self.vswitches, vswitch, VSWITCH, now)
            && Limit::new(ALL.0, ALL.1).is_some_and(|limit| self.all.conforms(limit, now))
    }

    fn mix(&self, value: u64) -> u64 {
        let mut z = self.seed ^ value;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

fn take(buckets: &mut [Limiter], at: u64, (rate, burst): (u32, u32), now: Nanos) -> bool {
    let bucket = usize::try_from(at % BUCKETS as u64).ok().and_then(|at| buckets.get_mut(at));
    bucket.zip(Limit::new(rate, burst)).is_some_and(|(bucket, limit)| bucket.conforms(limit, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::PortId;

    fn udp(peer: &str) -> LinkAddress {
        let (own, peer) = ("192.0.2.1:9".parse().unwrap(), peer.parse().unwrap());
        LinkAddress::Udp { port: PortId(0), vlan: None, own, peer }
    }

    #[test]
    fn one_source_is_stopped_before_others_are() {
        let mut admission = Admission::new(7);
        let mut admits = |peer: &str| admission.admits(0, VswitchId(1), 0, &udp(peer));
        let from_one =
            (0..100).filter(|port| admits(&format!("198.51.100.9:{}", 1 + port))).count();
        assert_eq!(from_one, 10, "whatever its ports");
        assert!(admits("198.51.100.10:1"));
        let of_one_login = (0..250).filter(|host| admits(&format!("203.0.113.{host}:1"))).count();
        assert_eq!(of_one_login, 50 - 11);
        assert!(admission.admits(0, VswitchId(1), 1, &udp("192.0.2.77:1")), "another login");
    }

    #[test]
    fn hosts_of_one_ipv6_prefix_are_one_source() {
        let mut admission = Admission::new(7);
        let count = (0..100)
            .filter(|host| {
                admission.admits(0, VswitchId(1), 0, &udp(&format!("[2001:db8:1:{host}::1]:5")))
            })
            .count();
        assert_eq!(count, 10);
    }
}
