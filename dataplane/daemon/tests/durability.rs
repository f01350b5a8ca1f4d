//! A power cut at any moment leaves a spec on the disk: the last that was acknowledged, or one that came after it.
//!
//! The workload is a program of its own: this test, started again with a folder. `SWITCHYARD_POWER_CUTS` says how many
//! cuts are tried.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

use dataplane_api::{Generation, Spec, VswitchSpec};
use dataplane_daemon::store::Store;
use powercut::{Disk, Event, Random};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

const FOLDER: &str = "SWITCHYARD_DURABILITY_FOLDER";

/// The nth spec; some are longer than a page, and each says its number twice.
fn spec(n: u64) -> Spec {
    let vswitch = |at: u64| VswitchSpec { name: format!("{n}-{at}"), ..VswitchSpec::default() };
    let length = Random::new(n).any() % 400;
    Spec {
        generation: Generation(n),
        vswitches: (0..=length).map(vswitch).collect(),
        ..Spec::default()
    }
}

/// The program that is cut: no test, unless it is started by one.
#[test]
fn workload() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let store = Store::open(&folder).unwrap();
    for n in 1..=60 {
        store.keep(&spec(n)).unwrap();
        std::io::stdout().lock().write_all(format!("\nack {n}\n").as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn power_cuts_leave_the_last_spec() {
    if !powercut::is_available() {
        println!("SKIPPED: strace is not installed, or may not trace here");
        return;
    }
    let asked = std::env::var("SWITCHYARD_POWER_CUTS").ok().and_then(|text| text.parse().ok());
    let count: usize = asked.unwrap_or(2000);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("watched");
    std::fs::create_dir(&folder).unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["workload", "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, &folder);
    let events = powercut::record(&mut program, &folder).unwrap();
    let mut random = Random::new(3);
    let mut at: Vec<usize> = (0..count).map(|_| random.below(events.len() + 1)).collect();
    at.sort_unstable();
    let (mut disk, mut acknowledged, mut next) = (Disk::default(), 0, 0);
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
        let found = Store::open(left.path()).unwrap().load();
        let n = found.value.as_ref().map_or(0, |spec| spec.generation.0);
        assert!(
            n >= acknowledged,
            "after {at} events: {acknowledged} were acknowledged, {n} is there"
        );
        assert_eq!(found.value.unwrap_or_default(), if n == 0 { Spec::default() } else { spec(n) });
    }
    println!("{count} power cuts in {acknowledged} specs, none lost");
    assert!(acknowledged > 50);
}
