//! Nothing that was acknowledged is lost: not to a kill at any moment, and not to a power cut at any moment.
//!
//! The workload is a program of its own: this test, started again with a folder. It makes random changes, and says
//! `ack n` once the nth is acknowledged. Whatever is found afterwards must be in order, must have been made by the first
//! m changes for some m, and m must not be less than what was acknowledged.
//!
//! `SWITCHYARD_KILLS` and `SWITCHYARD_POWER_CUTS` say how many are tried.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

use control_store::{AuditEntry, Commit, Fact, Reader, Store, StoreError, Synced, Tables};
use dataplane_api::{Direction, TenantId};
use domain::tree::changes;
use domain::{Ask, Burst, LeaseId, Leases, PortSide, PortTerms, Slot, Time};
use ledger::{
    AccountId, Action, Amount, Batch, Entry, Movement, Opening, Purpose, Rule, Source, Transfer,
    UnitId,
};
use powercut::{Disk, Event, Random};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const FOLDER: &str = "SWITCHYARD_DURABILITY_FOLDER";
const CHANGES: &str = "SWITCHYARD_DURABILITY_CHANGES";
const UNSYNCED: &str = "SWITCHYARD_DURABILITY_UNSYNCED";

fn asked(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Number of changes that are in the store.
fn done(tables: Tables<'_>) -> Result<u64, StoreError> {
    let last = tables.audit_records(None, u64::MAX, 1)?;
    Ok(last.first().map_or(0, |record| record.sequence))
}

/// The nth change: some of everything, each in one transaction.
fn change(tables: Tables<'_>, n: u64) -> Result<(), StoreError> {
    let mut random = Random::new(n);
    let note = format!("{n}: {}", "x".repeat(random.below(300)));
    tables.audit(&AuditEntry {
        at: n,
        who: "test".into(),
        tenant: None,
        action: "change".into(),
        subject: n.to_string(),
        detail: note.clone(),
    })?;
    let old = tables.tree()?;
    let mut new = old.clone();
    new.settings.contact = n.to_string();
    let tenant = format!("t{}", random.below(12));
    if random.below(3) > 0 {
        let quota = domain::tree::Quota::default();
        new.tenants.insert(tenant, domain::tree::Tenant { id: u32::try_from(n).unwrap(), quota });
    } else {
        new.tenants.remove(&tenant);
    }
    let (author, comment) = ("test".to_owned(), note);
    tables.put_commit(&Commit { id: n, at: n, author, comment, changes: changes(&old, &new) })?;
    let opening = |id| Opening { id: AccountId(id), unit: UnitId(0), rule: Rule::None };
    let movement = Movement { debit: AccountId(1), credit: AccountId(2), amount: Amount(n.into()) };
    let source = Source::new(&n.to_le_bytes()).unwrap();
    let transfer = Transfer { source, purpose: Purpose::default(), action: Action::Move(movement) };
    let entries = vec![Entry::Open(opening(1)), Entry::Open(opening(2)), Entry::Transfer(transfer)];
    tables
        .post(&Batch { now: n, entries })
        .map_err(|failure| StoreError::Damaged(failure.to_string()))?;
    lease(tables, n)?;
    tables.set_fact(Fact::Generation, &n)
}

/// Every change books a lease, and some take one back.
fn lease(tables: Tables<'_>, n: u64) -> Result<(), StoreError> {
    let side = PortSide { port: "west".into(), direction: Direction::Out };
    let mut leases = Leases::default();
    leases.set_terms(&side, PortTerms::usual(1 << 40, 1500));
    let id = LeaseId(u32::try_from(n).unwrap());
    let slot = Slot { start: Time(n), end: Time(n + 10) };
    let ask = Ask { side, slot, bytes_per_s: 1000 + n, burst: Burst::Usual };
    let booked = leases.offer(Time(0), id, &ask, Time(1)).map(drop);
    booked.and_then(|()| leases.sell(Time(0), id, TenantId(1))).unwrap();
    tables.put_lease(id, leases.lease(id).ok())?;
    if n.is_multiple_of(3) { tables.put_lease(LeaseId(id.0 - 2), None) } else { Ok(()) }
}

/// What must hold of a store that was left at any moment: it is in order, and what `m` changes make.
fn expect_whole(path: &Path, acknowledged: u64) -> Result<u64, String> {
    // As control does: the file is opened, which brings it up to date, and looked through.
    let store = Store::open(path).map_err(|error| error.to_string())?;
    let found = (|| {
        let damage = Reader::open(path)?.check()?;
        let damage: Vec<String> = damage.into_iter().map(|damage| damage.0).collect();
        store.read(|tables| {
            let records = ledger::Books::head(&tables)?.records;
            let generation = tables.fact::<u64>(Fact::Generation)?.unwrap_or(0);
            let leases = tables.leases(&terms())?.iter().count();
            let found = (done(tables)?, tables.last_commit()?, records, generation, leases as u64);
            Ok::<_, StoreError>((found, damage))
        })
    })();
    let (found, damage) = found.map_err(|error: StoreError| error.to_string())?;
    let m = found.0;
    if !damage.is_empty() || found != (m, m, m, m, m - m / 3) {
        return Err(format!("{damage:?}, {found:?}"));
    }
    if m < acknowledged {
        return Err(format!("{acknowledged} changes were acknowledged, {m} are there"));
    }
    Ok(m)
}

fn terms() -> BTreeMap<PortSide, PortTerms> {
    let side = PortSide { port: "west".into(), direction: Direction::Out };
    BTreeMap::from([(side, PortTerms::usual(1 << 40, 1500))])
}

/// The program that is killed and cut: no test, unless it is started by one.
#[test]
fn workload() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let synced = if std::env::var_os(UNSYNCED).is_some() { Synced::Never } else { Synced::Always };
    let mut store = Store::open_with(&folder.join("control.db"), synced).unwrap();
    let first = store.read(done).unwrap() + 1;
    for n in first..first + asked(CHANGES, usize::MAX / 2) as u64 {
        store.write(|tables| change(tables, n)).unwrap();
        // In one piece, and not in the test harness' buffer.
        std::io::stdout().lock().write_all(format!("\nack {n}\n").as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }
}

fn program(folder: &Path) -> Command {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["workload", "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
    program
}

#[test]
fn kills_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.db");
    let (mut random, mut acknowledged, mut found) = (Random::new(1), 0, 0);
    let kills = asked("SWITCHYARD_KILLS", 300);
    for _ in 0..kills {
        let mut child = program(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Some changes into its life, then a little more.
        for _ in 0..=random.below(6) {
            acknowledged = acked(&mut lines).unwrap_or(acknowledged).max(acknowledged);
        }
        std::thread::sleep(Duration::from_micros(random.any() % 3000));
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(more) = acked(&mut lines) {
            acknowledged = more;
        }
        found = expect_whole(&path, acknowledged).unwrap();
    }
    println!("{kills} kills, {found} changes, none of {acknowledged} acknowledged ones lost");
    assert!(found > kills as u64 / 2);
}

/// The next acknowledgement.
fn acked(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Option<u64> {
    lines.find_map(|line| line.ok()?.strip_prefix("ack ")?.parse().ok())
}

/// What went wrong in so many cuts of one run of the workload, and how many changes it made.
fn cuts(count: usize, unsynced: bool) -> (Vec<String>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("watched");
    std::fs::create_dir(&folder).unwrap();
    let mut program = program(&folder);
    program.env(CHANGES, "120");
    if unsynced {
        program.env(UNSYNCED, "1");
    }
    let events = powercut::record(&mut program, &folder).unwrap();
    let mut random = Random::new(2);
    let mut at: Vec<usize> = (0..count).map(|_| random.below(events.len() + 1)).collect();
    at.sort_unstable();
    let (mut disk, mut acknowledged, mut next, mut wrong) = (Disk::default(), 0, 0, Vec::new());
    for at in at {
        while next < at {
            if let Event::Acknowledged(n) = &events[next] {
                acknowledged = n.parse().unwrap();
            }
            disk.take(&events[next]);
            next += 1;
        }
        let left = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        disk.cut_into(&mut random, left.path()).unwrap();
        if let Err(why) = expect_whole(&left.path().join("control.db"), acknowledged) {
            wrong.push(format!("after {at} of {} events: {why}", events.len()));
        }
    }
    (wrong, acknowledged)
}

#[test]
fn power_cuts_lose_nothing() {
    if !powercut::is_available() {
        println!("SKIPPED: strace is not installed, or may not trace here");
        return;
    }
    let count = asked("SWITCHYARD_POWER_CUTS", 2000);
    let (wrong, acknowledged) = cuts(count, false);
    println!("{count} power cuts in {acknowledged} changes, {} lost something", wrong.len());
    assert!(wrong.is_empty(), "{:#?}", wrong.iter().take(5).collect::<Vec<_>>());
}

/// The same without waiting for the disk does lose: the test above can fail.
#[test]
fn power_cuts_without_syncs_lose() {
    if !powercut::is_available() {
        println!("SKIPPED: strace is not installed, or may not trace here");
        return;
    }
    let (wrong, _) = cuts(200, true);
    println!("200 power cuts without syncs, {} lost something", wrong.len());
    assert!(wrong.len() > 20, "{wrong:#?}");
}
