//! Stations over veth between two namespaces: AF_XDP and AF_PACKET. Needs the right to make namespaces.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is tests"
)]

use dataplane_api::MacAddress;
use lab::{End, Namespace, may, veth};
use std::time::{Duration, Instant};
use traffic::af_packet::AfPacket;
use traffic::af_xdp::{PortEnd, filter_of};
use traffic::crew::Member;
use traffic::live::{LiveSender, Stop};
use traffic::{
    Accounts, Arrival, Crew, Generator, Link, Load, Report, Scenario, Sizes, Station, Stream,
    Timing, WireEnd,
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

/// left ── right
fn net(test: &str) -> Option<[Namespace; 2]> {
    if !may(test) {
        return None;
    }
    let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let end = |namespace, name, mac: MacAddress| End { namespace, name, mac: mac.0 };
    veth(end(&left, "left", LEFT), end(&right, "right", RIGHT), 1500, 1).unwrap();
    Some([left, right])
}

/// Slow enough for a busy machine, so that the kernel drops nothing.
const LOAD: Load =
    Load { rate: Some(10_000), count: Some(5_000), duration_ns: None, forged_per_mille: 0 };

fn station<W: WireEnd + Send + 'static>(
    scenario: &Scenario,
    port: &str,
    load: Load,
    wire: W,
) -> Member {
    let generator = Generator::new(scenario, port, 1, load).unwrap();
    Station::new(wire, generator, Accounts::new(scenario, port), Timing::default()).into()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs both until each has sent what it should.
fn run(scenario: &Scenario, members: [Member; 2]) -> Report {
    let mut crew = Crew::start(members.into());
    until("sending", || {
        crew.still_runs().unwrap();
        crew.has_sent()
    });
    Report::join(scenario, crew.finish().unwrap())
}

fn all_arrived(report: &Report) {
    let total = report.total;
    assert_eq!((total.sent, total.received, total.lost), (10_000, 10_000, 0), "{report}");
    assert_eq!((total.duplicated, total.wrong_label, total.misdelivered), (0, 0, 0), "{report}");
    assert_eq!((total.corrupted, total.unknown), (0, 0), "{report}");
}

#[test]
fn stations_over_af_xdp_lose_nothing() {
    let Some(net) = net("stations_over_af_xdp_lose_nothing") else { return };
    let scenario = scenario();
    let member = |namespace: &Namespace, port: &str| {
        let filter = filter_of(&scenario, port);
        let wire = namespace.run(|| PortEnd::open(port, &filter)).unwrap().unwrap();
        station(&scenario, port, LOAD, wire)
    };
    all_arrived(&run(&scenario, [member(&net[0], "left"), member(&net[1], "right")]));
}

#[test]
fn stations_over_packet_sockets_lose_nothing() {
    let Some(net) = net("stations_over_packet_sockets_lose_nothing") else { return };
    let scenario = scenario();
    let member = |namespace: &Namespace, port: &str| {
        let wire = namespace.run(|| AfPacket::open(port)).unwrap().unwrap();
        station(&scenario, port, LOAD, wire)
    };
    all_arrived(&run(&scenario, [member(&net[0], "left"), member(&net[1], "right")]));
}

#[test]
fn live_frames_are_what_the_sink_expects() {
    let Some([left, right]) = net("live_frames_are_what_the_sink_expects") else { return };
    let mut scenario = scenario().one_size_each();
    scenario.streams.retain(|stream| matches!(stream.link, Link::Ethernet { .. }));
    let filter = filter_of(&scenario, "right");
    // Fewer than its ring holds.
    const COUNT: u64 = 1_200;
    let wire = right.run(|| PortEnd::open("right", &filter)).unwrap().unwrap();
    let generator = Generator::new(&Scenario::default(), "right", 1, Load::default()).unwrap();
    let accounts = Accounts::new(&scenario, "right");
    let crew = Crew::start(vec![Station::new(wire, generator, accounts, Timing::default()).into()]);
    let sent = left
        .run(|| {
            let sender = LiveSender::new(&scenario, "left", "left").unwrap();
            sender.run(Some(COUNT), &Stop::new()).unwrap();
            sender.sent().unwrap()
        })
        .unwrap();
    assert_eq!(sent.frames(), COUNT);
    let reports = crew.finish().unwrap();
    let arrived = &reports[0].arrived;
    let received: u64 = arrived.streams.iter().map(|stream| stream.received).sum();
    assert_eq!(received + reports[0].wire.rx_dropped, COUNT, "{arrived:?}");
    assert!(received > 0);
    for (number, account) in (0_u32..).zip(&arrived.streams) {
        assert_eq!((account.wrong_label, account.misdelivered, account.duplicated), (0, 0, 0));
        let sent = sent.streams.get(&number).map_or(0, |sent| sent.frames);
        assert!(account.received <= sent, "stream {number}: {} of {sent}", account.received);
    }
    assert_eq!((arrived.corrupted, arrived.unknown), (0, 0));
}
