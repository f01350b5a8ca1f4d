//! The store on a real disk. The twin of its books is the ledger in memory.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

use control_store::{
    AuditEntry, Candidate, Commit, Confirm, EndedLease, Fact, Reader, Store, StoreError,
};
use dataplane_api::{Direction, TenantId};
use domain::access::Grant;
use domain::tree::changes;
use domain::{Ask, Burst, LeaseId, Leases, PortSide, PortTerms, Slot, Time, Tree};
use ledger::{
    Account, AccountId, Action, Amount, Batch, Entry, Ledger, Movement, Opening, Purpose, Rule,
    Source, Transfer, UnitId,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.db");
    Place { _dir: dir, path }
}

fn tree(text: &str) -> Tree {
    Tree::from_toml(&format!("schema = 2\n{text}")).unwrap()
}

fn commit(id: u64, old: &Tree, new: &Tree) -> Commit {
    let (author, comment) = ("anna".to_owned(), "why not".to_owned());
    Commit { id, at: 1000 + id, author, comment, changes: changes(old, new) }
}

fn wrong(path: &Path) -> Vec<String> {
    let damage = Reader::open(path).unwrap().check().unwrap();
    damage.into_iter().map(|damage| damage.0).collect()
}

/// Changes a file behind the program's back.
fn tamper(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn the_file_is_the_owners_alone() {
    let at = place();
    std::fs::write(&at.path, []).unwrap();
    std::fs::set_permissions(&at.path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut store = Store::open(&at.path).unwrap();
    store.write(|tables| tables.set_fact(Fact::Generation, &7_u64)).unwrap();
    for name in ["control.db", "control.db-wal", "control.db-shm"] {
        let mode = at.path.with_file_name(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn what_is_no_store_is_left_alone() {
    let at = place();
    tamper(&at.path, "CREATE TABLE theirs (x)");
    assert!(matches!(Store::open(&at.path), Err(StoreError::Damaged(_))));
    let at = place();
    std::fs::write(&at.path, "this is no database, and long enough to be none".repeat(100))
        .unwrap();
    assert!(matches!(Store::open(&at.path), Err(StoreError::Sql(_))));
    let at = place();
    drop(Store::open(&at.path).unwrap());
    tamper(&at.path, "PRAGMA user_version = 99");
    assert!(matches!(Store::open(&at.path), Err(StoreError::Newer { found: 99 })));
    assert!(Reader::open(&at.path.with_file_name("none.db")).is_err());
}

#[test]
fn a_change_that_fails_did_not_happen() {
    let at = place();
    let mut store = Store::open(&at.path).unwrap();
    let failed = store.write(|tables| {
        tables.set_fact(Fact::Generation, &1_u64)?;
        Err::<(), _>(StoreError::Damaged("said the test".into()))
    });
    assert!(failed.is_err());
    assert_eq!(store.read(|tables| tables.fact::<u64>(Fact::Generation)).unwrap(), None);
    let mut reader = store.reader().unwrap();
    let refused = reader.read(|tables| tables.set_fact(Fact::Generation, &1_u64));
    assert!(matches!(refused, Err(StoreError::Sql(_))));
}

#[test]
fn commits_make_the_tree_and_reopening_keeps_it() {
    let at = place();
    let trees = [
        Tree::default(),
        tree("[tenant.red]\nid = 1\n[port.west]\ncapacity = 1000\n[box]\nname = \"a\""),
        tree(
            "[tenant.red]\nid = 1\nquota.vifs = 7\n[node.pktd]\nkind = \"pktd\"\nurl = \"http://[::1]:1\"",
        ),
    ];
    for (id, pair) in (1..).zip(trees.windows(2)) {
        let mut store = Store::open(&at.path).unwrap();
        assert_eq!(store.read(|tables| tables.tree()).unwrap(), pair[0]);
        assert_eq!(store.read(|tables| tables.last_commit()).unwrap(), id - 1);
        store.write(|tables| tables.put_commit(&commit(id, &pair[0], &pair[1]))).unwrap();
    }
    let mut store = Store::open(&at.path).unwrap();
    let twice = store.write(|tables| tables.put_commit(&commit(2, &trees[1], &trees[2])));
    assert!(twice.is_err());
    let candidate = Candidate { version: 3, changes: changes(&trees[2], &trees[1]) };
    store.write(|tables| tables.put_candidate("anna", Some(&candidate))).unwrap();
    store
        .read(|tables| {
            assert_eq!(tables.tree()?, trees[2]);
            assert_eq!(tables.commits(u64::MAX, 1)?, [commit(2, &trees[1], &trees[2])]);
            assert_eq!(tables.commits(2, 9)?, [commit(1, &trees[0], &trees[1])]);
            assert_eq!(
                (tables.commit(1)?.unwrap().author, tables.commit(3)?),
                ("anna".into(), None)
            );
            assert_eq!(
                (tables.candidate("anna")?, tables.candidate("bert")?),
                (Some(candidate), None)
            );
            Ok::<_, StoreError>(())
        })
        .unwrap();
    assert_eq!(wrong(&at.path), [""; 0]);
    tamper(&at.path, "DELETE FROM entry WHERE place = 'tenant.red'");
    assert_eq!(wrong(&at.path), ["the running tree is not what its commits make"]);
    tamper(&at.path, "DELETE FROM config_commit WHERE id = 1");
    assert_eq!(wrong(&at.path), ["commit 1 is missing"]);
    let confirm = Some(Confirm { commit: 2, until: 5 });
    store.write(|tables| tables.set_fact(Fact::Confirm, &confirm)).unwrap();
    let found = store.read(|tables| tables.fact::<Option<Confirm>>(Fact::Confirm)).unwrap();
    assert_eq!(found, Some(confirm));
}

#[test]
fn leases_come_back_with_their_room() {
    let at = place();
    let side = PortSide { port: "west".into(), direction: Direction::Out };
    let terms = BTreeMap::from([(side.clone(), PortTerms::usual(1_000_000, 1500))]);
    let mut leases = Leases::default();
    leases.set_terms(&side, terms[&side]);
    let slot = Slot { start: Time(100), end: Time(10_000) };
    let ask = Ask { side: side.clone(), slot, bytes_per_s: 600_000, burst: Burst::UpTo(9000) };
    leases.offer(Time(1), LeaseId(4), &ask, Time(50)).unwrap();
    leases.sell(Time(2), LeaseId(4), TenantId(9)).unwrap();
    let mut store = Store::open(&at.path).unwrap();
    let lease = leases.lease(LeaseId(4)).unwrap();
    store.write(|tables| tables.put_lease(LeaseId(4), Some(lease))).unwrap();
    let found = store.read(|tables| tables.leases(&terms)).unwrap();
    assert_eq!(found.lease(LeaseId(4)).unwrap(), lease);
    assert_eq!(found.calendar().free(&side, slot).bytes_per_s, 300_000);
    assert_eq!(wrong(&at.path), [""; 0]);
    let ended =
        EndedLease { id: LeaseId(4), at: 77, lease: lease.0.clone(), booking: lease.1.clone() };
    store.write(|tables| tables.put_ended_lease(&ended)).unwrap();
    assert_eq!(wrong(&at.path), ["lease 4 has ended and is there"]);
    store.write(|tables| tables.put_lease(LeaseId(4), None)).unwrap();
    store
        .read(|tables| {
            assert_eq!(tables.ended_leases(Some(9), u32::MAX, 5)?, [ended]);
            assert_eq!(tables.ended_leases(Some(8), u32::MAX, 5)?, []);
            assert_eq!(tables.leases(&terms)?.iter().count(), 0);
            Ok::<_, StoreError>(())
        })
        .unwrap();
}

#[test]
fn the_audit_log_tells_of_every_change_to_it() {
    let entry = |n: u64| AuditEntry {
        at: n,
        who: "anna".into(),
        tenant: n.is_multiple_of(2).then(|| "red".to_owned()),
        action: "lease.buy".into(),
        subject: format!("lease {n}"),
        detail: String::new(),
    };
    for change in [
        "UPDATE audit SET who = 'bert' WHERE sequence = 3",
        "UPDATE audit SET tenant = '' WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence = 3",
        "UPDATE audit SET who = 'annal', action = 'ease.buy' WHERE sequence = 3",
        "UPDATE audit SET sequence = 9 WHERE sequence = 3",
    ] {
        let at = place();
        let mut store = Store::open(&at.path).unwrap();
        for n in 1..=6 {
            store.write(|tables| tables.audit(&entry(n))).unwrap();
        }
        assert_eq!(wrong(&at.path), [""; 0]);
        let of_red = store.read(|tables| tables.audit_records(Some("red"), 6, 1)).unwrap();
        assert_eq!((of_red[0].sequence, &of_red[0].entry), (4, &entry(4)));
        tamper(&at.path, change);
        assert!(wrong(&at.path)[0].contains("was changed"), "{change}");
    }
}

#[test]
fn a_backup_is_whole_and_never_written_over() {
    let at = place();
    let mut store = Store::open(&at.path).unwrap();
    store.write(|tables| tables.set_fact(Fact::Generation, &1_u64)).unwrap();
    let reader = store.reader().unwrap();
    let copy = at.path.with_file_name("copy.db");
    reader.backup(&copy).unwrap();
    store.write(|tables| tables.set_fact(Fact::Generation, &2_u64)).unwrap();
    assert!(matches!(reader.backup(&copy), Err(StoreError::File { .. })));
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let copied = Store::open(&copy).unwrap();
    assert_eq!(copied.read(|tables| tables.fact::<u64>(Fact::Generation)).unwrap(), Some(1));
    assert!(!copy.with_extension("partial").exists());
}

#[test]
fn tokens_end_and_are_taken_back() {
    let at = place();
    let mut store = Store::open(&at.path).unwrap();
    store
        .write(|tables| {
            assert_eq!(tables.add_token("anna", "$hash", &Grant::owner(), 5, Some(100))?, 1);
            assert_eq!(tables.add_token("bert", "$hash", &Grant::owner(), 5, None)?, 2);
            assert!(tables.revoke_token(2, 50)?);
            assert!(!tables.revoke_token(2, 60)? && !tables.revoke_token(9, 60)?);
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let tokens = store.read(|tables| tables.tokens()).unwrap();
    assert!(tokens[0].holds(99) && !tokens[0].holds(100) && !tokens[1].holds(1));
    assert_eq!(store.read(|tables| tables.token(1)).unwrap().unwrap().1, "$hash");
}

fn source(n: u8) -> Source {
    Source::new(&[n]).unwrap()
}

fn entries() -> impl Strategy<Value = Entry> {
    let transfer = |n, action| {
        Entry::Transfer(Transfer { source: source(n), purpose: Purpose::default(), action })
    };
    let movement = (0_u64..4, 0_u64..4, 0_u128..50).prop_map(|(debit, credit, amount)| Movement {
        debit: AccountId(debit),
        credit: AccountId(credit),
        amount: Amount(amount),
    });
    prop_oneof![
        (0_u64..4, any::<bool>()).prop_map(|(id, prepaid)| Entry::Open(Opening {
            id: AccountId(id),
            unit: UnitId(0),
            rule: if prepaid && id > 1 { Rule::DebitsWithinCredits } else { Rule::None },
        })),
        (0_u8..40, movement.clone()).prop_map(move |(n, of)| transfer(n, Action::Move(of))),
        (0_u8..40, movement, prop::option::of(0_u64..30)).prop_map(move |(n, movement, until)| {
            transfer(n, Action::Pend { movement, until })
        }),
        (0_u8..40, 0_u8..40).prop_map(move |(n, pending)| transfer(
            n,
            Action::Post { pending: source(pending), amount: None }
        )),
        (0_u8..40, 0_u8..40)
            .prop_map(move |(n, pending)| transfer(n, Action::Void { pending: source(pending) })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What the file holds is what the ledger in memory holds, batch for batch, refusals too.
    #[test]
    fn books_on_disk_are_books_in_memory(
        batches in prop::collection::vec((0_u64..40, prop::collection::vec(entries(), 1..4)), 1..24),
    ) {
        let at = place();
        let mut store = Store::open(&at.path).unwrap();
        let mut twin = Ledger::default();
        for (now, entries) in batches {
            let batch = Batch { now, entries };
            let expected = twin.commit(&batch).map_err(|error| error.to_string());
            let found = store.write(|tables| {
                let posted = tables.post(&batch).map_err(|error| error.to_string());
                Ok::<_, StoreError>(posted)
            });
            prop_assert_eq!(found.unwrap(), expected);
        }
        let accounts = store.read(|tables| tables.accounts(AccountId(0), 100)).unwrap();
        let expected: Vec<Account> = twin.accounts().copied().collect();
        prop_assert_eq!(accounts, expected);
        prop_assert_eq!(wrong(&at.path), [""; 0]);
    }
}
