//! Stations over a wire in memory that loses, repeats and swaps frames: the accounts are exact.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is tests"
)]

use dataplane_api::MacAddress;
use std::sync::atomic::{AtomicBool, Ordering};
use traffic::wire_end::{Faults, memory};
use traffic::{
    Accounts, Arrival, Generator, Link, Load, Report, Scenario, Sizes, Station, Stream, Timing,
};

fn scenario() -> Scenario {
    let stream = |number: u8, sizes| {
        let (source, destination) =
            (MacAddress([2, number, 0, 0, 0, 1]), MacAddress([2, number, 0, 0, 0, 2]));
        let link = Link::Ethernet { source, destination, vlan: None };
        let label = 0x8000_0000_0000_0015;
        Stream {
            name: format!("stream {number}"),
            tenant: 1,
            from: "a".into(),
            link,
            label,
            shift: 4,
            sizes,
            weight: u32::from(number),
            // The wire switches nothing.
            arrival: Some(Arrival { port: "b".into(), link, label, shift: 4 }),
        }
    };
    Scenario { streams: vec![stream(1, Sizes::Imix), stream(3, Sizes::Fixed(60))] }
}

/// Sends `load` from a to b and reports.
fn run(load: Load, faults: Faults) -> Report {
    let scenario = scenario();
    let (a, b) = memory(256, faults);
    let timing = Timing { quiet_ns: 20_000_000, ..Timing::default() };
    let station = |wire, port, load| {
        let generator = Generator::new(&scenario, port, 7, load).unwrap();
        Station::new(wire, generator, Accounts::new(&scenario, port), timing)
    };
    let (sender, receiver) = (station(a, "a", load), station(b, "b", Load::default()));
    let view = sender.view();
    let (stop_sender, stop_receiver) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| sender.run(&stop_sender));
        let receiver = scope.spawn(|| receiver.run(&stop_receiver));
        while !view.report().finished {
            std::thread::yield_now();
        }
        // The sender's end gives up what it holds back before the receiver waits for quiet.
        stop_sender.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap().unwrap();
        stop_receiver.store(true, Ordering::Relaxed);
        Report::join(&scenario, vec![sent, receiver.join().unwrap().unwrap()])
    })
}

#[test]
fn a_good_wire_loses_nothing() {
    let report = run(Load { count: Some(20_000), ..Load::default() }, Faults::default());
    let total = report.total;
    assert_eq!(
        (total.sent, total.received, total.lost, total.refused),
        (20_000, 20_000, 0, 0),
        "{report}"
    );
    assert_eq!(
        (
            total.duplicated,
            total.reordered,
            total.misdelivered,
            total.wrong_label,
            total.unknown,
            total.corrupted
        ),
        (0, 0, 0, 0, 0, 0),
    );
    let sent: Vec<_> = report.streams.iter().map(|stream| stream.sent).collect();
    assert_eq!(sent.iter().sum::<u64>(), 20_000);
    assert!(sent[0].abs_diff(5000) <= 1, "{sent:?}");
    let read: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(read, report);
}

#[test]
fn each_fault_is_counted_exactly() {
    // Primes, so that no frame is due for two faults within the run.
    let faults = Faults { lose_every: 101, repeat_every: 211, swap_every: 0 };
    let total = run(Load { count: Some(20_000), ..Load::default() }, faults).total;
    assert_eq!((total.sent, total.lost, total.duplicated), (20_000, 198, 94), "{total:?}");
    assert_eq!((total.received, total.reordered), (20_000 - 198, 0));
}

#[test]
fn a_swap_within_a_stream_is_a_reordering() {
    // Frames of other streams between two of one make a swap invisible to it: here three of four swaps at most show.
    let report = run(
        Load { count: Some(20_000), ..Load::default() },
        Faults { swap_every: 103, ..Faults::default() },
    );
    let total = report.total;
    assert_eq!(
        (total.sent, total.received, total.lost, total.duplicated),
        (20_000, 20_000, 0, 0),
        "{report}"
    );
    assert!((1..=194).contains(&total.reordered), "{report}");
    assert!(report.streams.iter().all(|stream| stream.reorder_extent <= 1), "{report}");
}

#[test]
fn forged_frames_are_sent_beside_the_valid_and_never_received() {
    let load = Load { count: Some(20_000), forged_per_mille: 300, ..Load::default() };
    let report = run(load, Faults::default());
    let total = report.total;
    assert_eq!((total.sent + total.forged, total.lost), (20_000, 0), "{report}");
    assert!((5_400..=6_600).contains(&total.forged), "{report}");
    assert_eq!(report.ports[1].arrived.frames, 20_000);
    assert_eq!(total.corrupted + total.control + total.unknown, total.forged, "{report}");
}
