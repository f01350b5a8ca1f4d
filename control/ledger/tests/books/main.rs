//! The ledger against its twin: random batches, every answer, balance and record equal, and money conserved.
//!
//! `SWITCHYARD_LEDGER_BATCHES` sets the count; without it a fixed-seed 100 000.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

mod twin;

use control_ledger::{
    AccountId, Action, Amount, Batch, Books, Decision, Entry, Failure, Ledger, Movement, Opening,
    Purpose, Refusal, Rule, Source, Transfer, UnitId,
};
use std::collections::BTreeMap;
use twin::Twin;

/// Batches after which a world is checked as a whole and a new one begins: the twin walks over all that was done.
const WORLD: u64 = 300;

/// SplitMix64, and the sources it has made in this world.
struct Random {
    seed: u64,
    sources: u16,
}

impl Random {
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    fn account(&mut self) -> AccountId {
        AccountId(self.below(9))
    }

    /// Mostly a new one.
    fn source(&mut self) -> Source {
        if self.below(16) == 0 {
            return self.old_source();
        }
        self.sources += 1;
        Source::new(&self.sources.to_be_bytes()).unwrap()
    }

    /// One of the latest, that may or may not have come to be a transfer.
    fn old_source(&mut self) -> Source {
        let back = u16::try_from(self.below(16)).unwrap();
        Source::new(&self.sources.saturating_sub(back).to_be_bytes()).unwrap()
    }

    /// Mostly one of the latest that are or were pending.
    fn pending(&mut self, twin: &Twin) -> Source {
        let is_pend = |action: &Action| matches!(action, Action::Pend { .. });
        let pends = twin.records.iter().rev().filter(|record| is_pend(&record.transfer.action));
        let nth = usize::try_from(self.below(12)).unwrap();
        match pends.take(10).nth(nth) {
            Some(record) => record.transfer.source.clone(),
            None => self.old_source(),
        }
    }

    fn amount(&mut self) -> Amount {
        Amount(match self.below(40) {
            0 => 0,
            1 if self.below(8) == 0 => u128::MAX - u128::from(self.below(50)),
            2 if self.below(8) == 0 => u128::MAX / 2,
            _ => 1 + u128::from(self.below(60)),
        })
    }

    /// Mostly as it was opened before: account 8 with either unit.
    fn opening(&mut self, id: AccountId) -> Entry {
        let unit = if id.0 == 8 || self.below(20) == 0 { self.below(2) } else { id.0 % 2 };
        let unit = UnitId(u32::try_from(unit).unwrap());
        let rule = match id.0 / 2 {
            0 => Rule::None,
            1 | 2 => Rule::DebitsWithinCredits,
            _ => Rule::CreditsWithinDebits,
        };
        Entry::Open(Opening { id, unit, rule })
    }

    fn entry(&mut self, now: u64, twin: &Twin) -> Entry {
        if self.below(12) == 0 {
            let id = self.account();
            return self.opening(id);
        }
        let debit = self.account();
        let credit = AccountId((debit.0 + 1 + self.below(8)) % 9);
        // Mostly of one unit: even or odd.
        let credit = if self.below(10) == 0 {
            credit
        } else {
            AccountId((credit.0 - credit.0 % 2 + debit.0 % 2) % 9)
        };
        let movement = Movement { debit, credit, amount: self.amount() };
        let action = match self.below(10) {
            0..3 => Action::Move(movement),
            3..6 => {
                let until = (self.below(3) > 0).then(|| (now + self.below(60)).saturating_sub(4));
                Action::Pend { movement, until }
            }
            6..9 => {
                let amount = (self.below(2) == 0).then(|| self.amount());
                Action::Post { pending: self.pending(twin), amount }
            }
            _ => Action::Void { pending: self.pending(twin) },
        };
        let purpose = Purpose { code: 1, subject: self.below(2) };
        Entry::Transfer(Transfer { source: self.source(), purpose, action })
    }
}

#[test]
fn every_batch_does_what_the_twins_does() {
    let batches = std::env::var("SWITCHYARD_LEDGER_BATCHES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000_u64);
    let mut random = Random { seed: 11, sources: 0 };
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut ledger, mut twin) = (Ledger::default(), Twin::default());
    let (mut taken, mut recent): (Vec<Batch>, Vec<Batch>) = (Vec::new(), Vec::new());
    let mut now = 0;
    for round in 0..batches {
        if round % WORLD == 0 {
            whole(&ledger, &taken);
            (ledger, twin) = (Ledger::default(), Twin::default());
            taken.clear();
            recent.clear();
            now = random.below(1000);
            random.sources = 0;
        }
        now += random.below(8);
        let mut batch = if random.below(6) == 0 && !recent.is_empty() {
            // Sent again: whole, or with something added or changed.
            recent[usize::try_from(random.below(recent.len() as u64)).unwrap()].clone()
        } else {
            Batch { now, entries: Vec::new() }
        };
        // Sometimes the clock has gone back.
        batch.now = if random.below(8) == 0 { now.saturating_sub(random.below(40)) } else { now };
        let more = if batch.entries.is_empty() { random.below(4) } else { random.below(3) / 2 };
        if round % WORLD == 0 {
            batch.entries.extend((0..8).map(|id| random.opening(AccountId(id))));
        } else {
            batch.entries.extend((0..more).map(|_| random.entry(now, &twin)));
        }
        let found = ledger.commit(&batch);
        let expected = twin.commit(&batch);
        let is_repeated = match &found {
            Ok(Decision::Repeated) => Ok(true),
            Ok(Decision::Commit(_)) => Ok(false),
            Err(failure) => Err(failure.clone()),
        };
        assert_eq!(is_repeated, expected, "round {round}: {batch:?}");
        *seen.entry(outcome(&found)).or_default() += 1;
        assert_eq!(ledger.head().unwrap(), twin.head());
        assert!(ledger.records().eq(&twin.records));
        for opening in &twin.openings {
            let account = ledger.account(opening.id).unwrap().unwrap();
            assert_eq!((account.opening, account.balance), (*opening, twin.balance(opening.id)));
        }
        if matches!(found, Ok(Decision::Commit(_))) {
            taken.push(batch.clone());
        }
        recent.push(batch);
    }
    whole(&ledger, &taken);
    println!("{batches} batches: {seen:?}");
    let met = [
        "done",
        "repeated",
        "account differs",
        "no account",
        "same account",
        "units",
        "nothing",
        "source used",
        "source twice",
        "partly repeated",
        "no pending",
        "settled",
        "more than pending",
        "past",
        "exceeds",
        "overflow",
    ];
    for name in met {
        assert!(seen.contains_key(name), "{name} was never met");
    }
}

fn outcome(found: &Result<Decision, Failure<std::convert::Infallible>>) -> &'static str {
    match found {
        Ok(Decision::Commit(_)) => "done",
        Ok(Decision::Repeated) => "repeated",
        Err(Failure::Refused { refusal, .. }) => match refusal {
            Refusal::AccountDiffers { .. } => "account differs",
            Refusal::NoAccount(_) => "no account",
            Refusal::SameAccount(_) => "same account",
            Refusal::Units { .. } => "units",
            Refusal::Nothing => "nothing",
            Refusal::SourceUsed(_) => "source used",
            Refusal::SourceTwice(_) => "source twice",
            Refusal::PartlyRepeated(_) => "partly repeated",
            Refusal::NoPending(_) => "no pending",
            Refusal::Settled { .. } => "settled",
            Refusal::MoreThanPending { .. } => "more than pending",
            Refusal::Past { .. } => "past",
            Refusal::Exceeds { .. } => "exceeds",
            Refusal::Overflow { .. } => "overflow",
        },
        Err(_) => "other",
    }
}

/// What holds for a world as a whole: debits are credits, rules hold, and the batches that were taken, read back from
/// text, make the same books.
fn whole(ledger: &Ledger, taken: &[Batch]) {
    // Sums over several accounts may exceed 128 bits where single ones do not: with such a world nothing is wrong.
    for total in ledger.totals().into_iter().flat_map(BTreeMap::into_values) {
        assert_eq!(total.debits_posted, total.credits_posted);
        assert_eq!(total.debits_pending, total.credits_pending);
    }
    for account in ledger.accounts() {
        let b = account.balance;
        match account.opening.rule {
            Rule::None => {}
            Rule::DebitsWithinCredits => {
                assert!(b.debits_posted.0 + b.debits_pending.0 <= b.credits_posted.0);
            }
            Rule::CreditsWithinDebits => {
                assert!(b.credits_posted.0 + b.credits_pending.0 <= b.debits_posted.0);
            }
        }
    }
    let text = serde_json::to_string(taken).unwrap();
    let read: Vec<Batch> = serde_json::from_str(&text).unwrap();
    assert_eq!(&Ledger::replay(&read).unwrap(), ledger);
}

#[test]
fn more_entries_than_a_batch_has_are_refused() {
    let open = Entry::Open(Opening { id: AccountId(1), unit: UnitId(0), rule: Rule::None });
    let mut batch = Batch { now: 0, entries: vec![open; Batch::ENTRIES_MAX] };
    assert!(Ledger::default().commit(&batch).is_ok());
    batch.entries.push(batch.entries[0].clone());
    let refused = Ledger::default().commit(&batch);
    assert_eq!(refused, Err(Failure::TooMany(Batch::ENTRIES_MAX + 1)));
}

/// A payment on a chain, as its watcher tells of it.
#[test]
fn a_payment_is_seen_confirmed_and_withdrawn() {
    const WORLD: AccountId = AccountId(1);
    const TENANT: AccountId = AccountId(2);
    const LOSS: AccountId = AccountId(3);
    const REVENUE: AccountId = AccountId(4);
    let open = |id, rule| Entry::Open(Opening { id, unit: UnitId(0), rule });
    let source = |name: &str| Source::new(name.as_bytes()).unwrap();
    let transfer = |name: &str, action| {
        let purpose = Purpose::default();
        Entry::Transfer(Transfer { source: source(name), purpose, action })
    };
    let from_to = |debit, credit, amount| Movement { debit, credit, amount: Amount(amount) };
    let mut ledger = Ledger::default();
    let mut commit = |now, entries: &[Entry]| {
        ledger.commit(&Batch { now, entries: entries.to_vec() }).map(|_| ())
    };
    commit(
        1,
        &[
            open(WORLD, Rule::None),
            open(TENANT, Rule::DebitsWithinCredits),
            open(LOSS, Rule::None),
            open(REVENUE, Rule::None),
        ],
    )
    .unwrap();
    let seen = Action::Pend { movement: from_to(WORLD, TENANT, 100), until: None };
    let lease = transfer("lease 7", Action::Move(from_to(TENANT, REVENUE, 70)));
    let confirmed = Action::Post { pending: source("seen"), amount: None };
    commit(2, &[transfer("seen", seen)]).unwrap();
    // What is only seen buys nothing; what is confirmed does, in the same batch.
    assert!(commit(3, std::slice::from_ref(&lease)).is_err());
    let confirm = [transfer("confirmed", confirmed), lease];
    commit(4, &confirm).unwrap();
    commit(5, &confirm).unwrap();
    // Withdrawn after that: what is left comes from the tenant, the rest is a loss.
    let back = |amount| Action::Move(from_to(TENANT, WORLD, amount));
    let Err(Failure::Refused { refusal: Refusal::Exceeds { available, .. }, .. }) =
        commit(6, &[transfer("withdrawn", back(100))])
    else {
        unreachable!("the tenant has spent it");
    };
    assert_eq!(available, Amount(30));
    let loss = Action::Move(from_to(LOSS, WORLD, 70));
    commit(6, &[transfer("withdrawn", back(30)), transfer("withdrawn, loss", loss)]).unwrap();
    let net = |id| ledger.account(id).unwrap().unwrap().balance.net().to_string();
    assert_eq!([WORLD, TENANT, LOSS, REVENUE].map(net), ["0", "0", "-70", "70"]);
}
