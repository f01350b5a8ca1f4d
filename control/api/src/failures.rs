//! How often tokens may be guessed: by peer, a few at once, then one in a while.

use crate::peer::Peer;
use domain::Time;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Failures that are free.
const BURST: u64 = 10;
/// One more is allowed after so long, milliseconds.
const INTERVAL_MS: u64 = 6_000;
/// Peers that are told apart; beyond, all others are one.
const SOURCES_MAX: usize = 4096;

/// Peers that are one: who has one IPv6 address has 2⁶⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Uid(u32),
    V4([u8; 4]),
    V6([u8; 8]),
    Others,
}

impl Source {
    pub(crate) fn of(peer: &Peer) -> Self {
        let addr = match peer {
            Peer::Unix { uid } => return Self::Uid(*uid),
            Peer::Tcp { addr } | Peer::Tls { addr, .. } => addr.ip().to_canonical(),
        };
        match addr {
            IpAddr::V4(addr) => Self::V4(addr.octets()),
            IpAddr::V6(addr) => {
                let [a, b, c, d, e, f, g, h, ..] = addr.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// By peer: until when its failures are not forgotten, Unix milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Failures(BTreeMap<Source, u64>);

impl Failures {
    /// Counts a failure, or says after how many seconds one is allowed.
    pub(crate) fn charge(&mut self, now: Time, source: Source) -> Result<(), u64> {
        let source = self.place(now, source);
        let until = self.0.entry(source).or_insert(now.0);
        // A clock that went back locks nobody out for longer than the burst.
        *until = (*until).clamp(now.0, now.0.saturating_add(BURST * INTERVAL_MS));
        let charged = until.saturating_add(INTERVAL_MS);
        let allowed = now.0.saturating_add(BURST * INTERVAL_MS);
        if charged > allowed {
            return Err((charged - allowed).div_ceil(1000));
        }
        *until = charged;
        Ok(())
    }

    /// It was none.
    pub(crate) fn refund(&mut self, now: Time, source: Source) {
        let source = if self.0.contains_key(&source) { source } else { Source::Others };
        if let Some(until) = self.0.get_mut(&source) {
            *until = until.saturating_sub(INTERVAL_MS);
            if *until <= now.0 {
                self.0.remove(&source);
            }
        }
    }

    fn place(&mut self, now: Time, source: Source) -> Source {
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&source) {
            self.0.retain(|_, until| *until > now.0);
            if self.0.len() >= SOURCES_MAX {
                return Source::Others;
            }
        }
        source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_guesses_ten_times_and_then_every_six_seconds() {
        let (mut failures, here) = (Failures::default(), Source::Uid(7));
        let now = Time(1_000_000);
        for _ in 0..BURST {
            assert_eq!(failures.charge(now, here), Ok(()));
        }
        assert_eq!(failures.charge(now, here), Err(6));
        assert_eq!(failures.charge(now, Source::Uid(8)), Ok(()), "others are not held up");
        assert_eq!(failures.charge(now.after(INTERVAL_MS - 1), here), Err(1));
        assert_eq!(failures.charge(now.after(INTERVAL_MS), here), Ok(()));
        assert_eq!(failures.charge(now.after(INTERVAL_MS), here), Err(6));
        // Long after, all of the burst is there again.
        let later = now.after(10 * BURST * INTERVAL_MS);
        for _ in 0..BURST {
            assert_eq!(failures.charge(later, here), Ok(()));
        }
        // And a clock that goes back costs the burst, not the time it went.
        assert_eq!(failures.charge(now, here), Err(6));
    }

    #[test]
    fn a_token_that_holds_is_no_failure() {
        let (mut failures, here) = (Failures::default(), Source::V4([192, 0, 2, 1]));
        for _ in 0..100 {
            assert_eq!(failures.charge(Time(5), here), Ok(()));
            failures.refund(Time(5), here);
        }
        assert!(failures.0.is_empty());
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let mut failures = Failures::default();
        for peer in 0..10_000_u32 {
            let _allowed = failures.charge(Time(5), Source::Uid(peer));
        }
        assert!(failures.0.len() <= SOURCES_MAX + 1);
        assert!(failures.charge(Time(5), Source::Uid(20_000)).is_err());
        assert!(failures.charge(Time(5).after(100 * INTERVAL_MS), Source::Uid(20_000)).is_ok());
        assert_eq!(failures.0.len(), 1);
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer() {
        let source = |addr: &str| Source::of(&Peer::Tcp { addr: addr.parse().unwrap() });
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:9"));
        assert_ne!(source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"));
        assert_eq!(source("[::ffff:192.0.2.1]:1"), source("192.0.2.1:5"));
    }
}
