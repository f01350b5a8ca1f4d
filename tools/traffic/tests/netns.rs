//! Stations over veth between two namespaces: AF_XDP and AF_PACKET. Needs the right to make namespaces.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is tests"
)]

use dataplane_api::MacAddress;
use lab::{End, Namespace, may, veth};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use traffic::af_packet::AfPacket;
use traffic::af_xdp::{PortEnd, filter_of};
use traffic::{
    Accounts, Arrival, Generator, Link, Load, PortReport, Report, Scenario, Sizes, Station, Stream,
    Timing, View, WireEnd,
};

const LEFT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const RIGHT: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
/// Longer than any of these runs takes on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);

/// A plain link each way, over Ethernet and over UDP.
fn scenario() -> Scenario {
    let stream = |name: &str, from: &str, to: &str, link: Link| {
        let label = 0x8000_0000_0000_0015;
        Stream {
            name: name.into(),
            tenant: 1,
            from: from.into(),
            link,
            label,
            shift: 4,
            sizes: Sizes::Imix,
            weight: 1,
            arrival: Some(Arrival { port: to.into(), link, label, shift: 4 }),
        }
    };
    let ethernet = Link::Ethernet { source: LEFT, destination: RIGHT, vlan: None };
    let ends = (([10, 0, 0, 1], 4001), ([10, 0, 0, 2], 4002));
    let udp = Link::Udp {
        source_mac: LEFT,
        destination_mac: RIGHT,
        vlan: None,
        source: ends.0.into(),
        destination: ends.1.into(),
    };
    Scenario {
        streams: vec![
            stream("there", "left", "right", ethernet),
            stream("there over UDP", "left", "right", udp),
            stream("back", "right", "left", ethernet.reversed()),
        ],
    }
}

/// Opens a device as the end of a scenario's port.
type Open<W> = fn(&Scenario, &str) -> io::Result<W>;

fn over_xdp(scenario: &Scenario, port: &str) -> io::Result<impl WireEnd + use<>> {
    PortEnd::open(port, &filter_of(scenario, port)).map_err(io::Error::other)
}

fn over_packet(_scenario: &Scenario, port: &str) -> io::Result<AfPacket> {
    AfPacket::open(port)
}

/// Runs both ends until each has sent what it should.
fn run<L: WireEnd, R: WireEnd>(load: Load, left: Open<L>, right: Open<R>) -> Report {
    let scenario = scenario();
    let (left_namespace, right_namespace) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let end = |namespace, name, mac: MacAddress| End { namespace, name, mac: mac.0 };
    veth(end(&left_namespace, "left", LEFT), end(&right_namespace, "right", RIGHT), 1500, 1)
        .unwrap();
    let stop = AtomicBool::new(false);
    let (ready, opened) = std::sync::mpsc::channel();
    let reports = std::thread::scope(|scope| {
        let ends = [
            scope.spawn(|| station(&left_namespace, &scenario, "left", load, left, &ready, &stop)),
            scope.spawn(|| {
                station(&right_namespace, &scenario, "right", load, right, &ready, &stop)
            }),
        ];
        let views: Vec<View> = (0..2).map(|_| opened.recv_timeout(PATIENCE).unwrap()).collect();
        let started = Instant::now();
        while started.elapsed() < PATIENCE && !views.iter().all(|view| view.report().finished) {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        ends.map(|end| end.join().unwrap())
    });
    Report::join(&scenario, reports.into())
}

/// One end. It does not send before both are open: what arrives at a device that nobody listens on is lost.
fn station<W: WireEnd>(
    namespace: &Namespace,
    scenario: &Scenario,
    port: &str,
    load: Load,
    open: Open<W>,
    ready: &std::sync::mpsc::Sender<View>,
    stop: &AtomicBool,
) -> PortReport {
    namespace
        .run(|| {
            let wire = open(scenario, port).unwrap();
            let generator = Generator::new(scenario, port, 1, load).unwrap();
            let station =
                Station::new(wire, generator, Accounts::new(scenario, port), Timing::default());
            ready.send(station.view()).unwrap();
            station.run(stop).unwrap()
        })
        .unwrap()
}
