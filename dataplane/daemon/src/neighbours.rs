//! Neighbours that came by themselves, and the number that each one has: numbers are in other people's labels, so a
//! neighbour keeps its own over reconnects and restarts, and nobody else gets it soon.

use crate::slow_path::HandshakeClock;
use dataplane_api::{LearnedVif, Nanos, Spec};
use node::links::BEACON_LOGIN;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wire::scheme::Scheme;

/// How long a number that nobody uses is kept from others. Routes with it are searched again by then.
const QUARANTINE: u64 = 20 * 60;
/// How far ahead of handshakes the time on disk is, seconds: it is written twice in this time.
const CLOCK_AHEAD: u64 = 3600;
/// Numbers remembered for neighbours that are gone, of all vswitches together; the oldest go first.
const REMEMBERED_MAX: usize = 65_536;

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// Vifs that neighbours became.
    pub learned: Vec<LearnedVif>,
    /// Who had which number.
    numbers: Vec<Numbered>,
    /// Time that no handshake has reached, seconds since 1970: those of the next process begin there.
    handshakes_until: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Numbered {
    vswitch: String,
    key: String,
    number: u16,
    /// Wall clock, seconds, when its vif went; `None`: it is there.
    gone: Option<u64>,
}

impl Neighbours {
    /// A clock for handshakes that begins where that of the last process ended, or at the time if that is later.
    pub(crate) fn start_clock(&mut self, now: Nanos) -> HandshakeClock {
        let seconds = crate::clock::wall_seconds().max(self.handshakes_until);
        self.handshakes_until = seconds + CLOCK_AHEAD;
        HandshakeClock { set: now, seconds }
    }

    /// Moves the time on disk on if the clock comes near it; it must be kept then.
    pub(crate) fn extend_clock(&mut self, clock: HandshakeClock, now: Nanos) -> bool {
        let (seconds, _) = clock.at(now);
        let near = seconds + CLOCK_AHEAD / 2 > self.handshakes_until;
        if near {
            self.handshakes_until = seconds + CLOCK_AHEAD;
        }
        near
    }

    /// The number for a neighbour of a vswitch: the one it had, or the lowest free. Number 1 is the vswitch itself.
    ///
    /// `now`: wall clock, seconds. `None`: the scheme has no number left.
    pub fn number(
        &mut self,
        spec: &Spec,
        vswitch: &str,
        key: &str,
        scheme: &Scheme,
        now: u64,
    ) -> Option<u16> {
        let configured = spec.vswitches.iter().filter(|of| of.name == vswitch);
        let mut taken: BTreeSet<u16> =
            configured.flat_map(|of| of.vifs.iter().map(|vif| vif.number)).collect();
        taken.insert(1);
        let others = self.numbers.iter().filter(|of| of.vswitch == vswitch && of.key != key);
        let blocked = |of: &&Numbered| of.gone.is_none_or(|gone| gone + QUARANTINE > now);
        taken.extend(others.filter(blocked).map(|of| of.number));
        let own = self.numbers.iter().position(|of| of.vswitch == vswitch && of.key == key);
        if let Some(own) = own {
            let numbered = &mut self.numbers[own];
            if !taken.contains(&numbered.number) {
                numbered.gone = None;
                return Some(numbered.number);
            }
            self.numbers.remove(own);
        }
        let free = |number: &u16| !taken.contains(number) && scheme.narrowest(*number).is_some();
        let number = (0..scheme.numbers_max()).find(free)?;
        self.numbers.retain(|of| of.vswitch != vswitch || of.number != number);
        self.numbers.push(Numbered {
            vswitch: vswitch.to_owned(),
            key: key.to_owned(),
            number,
            gone: None,
        });
        Some(number)
    }

    /// Learned vifs whose login is still in `spec`: who loses it is cut off. Those of beacons need none.
    pub(crate) fn admitted(&self, spec: &Spec) -> Vec<LearnedVif> {
        let knows = |learned: &LearnedVif, user: &str| {
            let vswitch = spec.vswitches.iter().find(|vswitch| vswitch.name == learned.vswitch);
            vswitch.is_some_and(|of| of.logins.iter().any(|login| login.user == user))
        };
        let admitted = self.learned.iter().filter(|learned| match learned.user.as_deref() {
            None | Some(BEACON_LOGIN) => true,
            Some(user) => knows(learned, user),
        });
        admitted.cloned().collect()
    }

    /// Takes a learned vif away; its number is kept for its neighbour, and from others for a while.
    pub fn forget(&mut self, vswitch: &str, number: u16, now: u64) -> bool {
        let before = self.learned.len();
        self.learned.retain(|learned| learned.vswitch != vswitch || learned.vif.number != number);
        for of in self.numbers.iter_mut().filter(|of| of.vswitch == vswitch && of.number == number)
        {
            of.gone = Some(now);
        }
        while self.numbers.len() > REMEMBERED_MAX {
            let gone = |of: &Numbered| of.gone.unwrap_or(u64::MAX);
            let oldest = self.numbers.iter().enumerate().min_by_key(|(_, of)| gone(of));
            let Some((oldest, _)) = oldest.filter(|(_, of)| of.gone.is_some()) else { break };
            self.numbers.remove(oldest);
        }
        self.learned.len() < before
    }

    /// Takes away every learned vif that is not in `present`, a list of (vswitch, number).
    pub fn keep_only(&mut self, present: &BTreeSet<(String, u16)>, now: u64) -> bool {
        let gone: Vec<(String, u16)> = self
            .learned
            .iter()
            .map(|learned| (learned.vswitch.clone(), learned.vif.number))
            .filter(|at| !present.contains(at))
            .collect();
        for (vswitch, number) in &gone {
            self.forget(vswitch, *number, now);
        }
        !gone.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{LoginSpec, Secret, VifSpec, VswitchSpec};

    fn spec(numbers: &[u16]) -> Spec {
        let vif = |number: &u16| VifSpec {
            number: *number,
            role: dataplane_api::Role::Customer,
            mtu: None,
            link: None,
            policy: Default::default(),
        };
        let red = VswitchSpec {
            name: "red".into(),
            vifs: numbers.iter().map(vif).collect(),
            ..VswitchSpec::default()
        };
        Spec { vswitches: vec![red], ..Spec::default() }
    }

    fn number(neighbours: &mut Neighbours, key: &str, now: u64) -> Option<u16> {
        neighbours.number(&spec(&[2]), "red", key, &Scheme::v358(), now)
    }

    #[test]
    fn a_neighbour_keeps_its_number_and_nobody_gets_it_soon() {
        let mut neighbours = Neighbours::default();
        assert_eq!(number(&mut neighbours, "a", 0), Some(0));
        assert_eq!(number(&mut neighbours, "b", 0), Some(3), "1 is the vswitch, 2 configured");
        neighbours.forget("red", 0, 100);
        assert_eq!(number(&mut neighbours, "c", 100 + QUARANTINE - 1), Some(4));
        assert_eq!(number(&mut neighbours, "a", 100 + QUARANTINE - 1), Some(0), "its own");
        neighbours.forget("red", 0, 5_000);
        assert_eq!(number(&mut neighbours, "d", 5_000 + QUARANTINE), Some(0));
        assert_eq!(number(&mut neighbours, "a", 5_000 + QUARANTINE), Some(5), "it came too late");
        assert_eq!(number(&mut neighbours, "b", 9_000), Some(3));
    }

    #[test]
    fn handshakes_never_go_back_in_time() {
        let mut neighbours = Neighbours::default();
        let first = neighbours.start_clock(0);
        assert!(!neighbours.extend_clock(first, 1_000_000_000_000));
        assert!(neighbours.extend_clock(first, 2_000_000_000_000));
        let last = first.at(2_000_000_000_000 + 1_700_000_000_000);
        assert!(neighbours.clone().extend_clock(first, 3_900_000_000_000));
        assert!(neighbours.start_clock(5).at(5) > last, "whatever the wall clock says");
    }

    #[test]
    fn who_loses_the_login_is_left_out() {
        let vif = |user: Option<&str>, number| LearnedVif {
            vswitch: "red".into(),
            user: user.map(str::to_owned),
            vif: spec(&[number]).vswitches[0].vifs[0].clone(),
        };
        let neighbours = Neighbours {
            learned: vec![
                vif(Some("a"), 3),
                vif(Some("b"), 4),
                vif(Some(BEACON_LOGIN), 5),
                vif(None, 6),
            ],
            ..Neighbours::default()
        };
        let mut spec = spec(&[2]);
        spec.vswitches[0].logins.push(LoginSpec {
            user: "b".into(),
            password: Secret("x".into()),
            only: None,
            role: dataplane_api::Role::Peer,
            policy: Default::default(),
        });
        let numbers = |spec: &Spec| {
            neighbours.admitted(spec).iter().map(|of| of.vif.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&spec), [4, 5, 6]);
        spec.vswitches[0].name = "blue".into();
        assert_eq!(numbers(&spec), [5, 6]);
    }

    #[test]
    fn a_scheme_without_a_free_number_gives_none() {
        let mut neighbours = Neighbours::default();
        let scheme = Scheme::f4();
        let mut given = BTreeSet::new();
        for key in 0..15 {
            given.insert(
                neighbours.number(&Spec::default(), "red", &key.to_string(), &scheme, 0).unwrap(),
            );
        }
        assert_eq!(given.len(), 15);
        assert_eq!(neighbours.number(&Spec::default(), "red", "one more", &scheme, 0), None);
    }
}
