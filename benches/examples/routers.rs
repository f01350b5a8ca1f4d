//! `cargo run --release -p benches --example routers`: what the routers of a full box cost while nothing happens, and what
//! a route server's work costs.
//!
//! The machine is the reader's to name: memory and instructions hardly differ, times do.
#![allow(clippy::print_stdout, reason = "the figures are the product")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use node::announce::item::{Item, Peer, align};
use node::announce::{self, Header};
use node::route_server::RouteServer;
use node::router::{Moment, Neighbour, RouteServers, Router};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;
use wire::key::PublicKey;
use wire::scheme::Scheme;

const ROUTERS: usize = 4096;
const LINKS: u16 = 16;
const SECOND: u64 = 1_000_000_000;
/// Between two questions of a router that has no route server: one poll each.
const CYCLE_SECONDS: u64 = 3;
const NODES: usize = 1000;
const WALL_MS: u64 = 1_800_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    idle()?;
    serving()
}

/// A full box without a route server.
fn idle() -> Result<(), Box<dyn Error>> {
    let mut rng = TestRng::new(1);
    let identity = Arc::new(Identity::generate(&mut rng));
    let neighbours: Vec<Neighbour> =
        (0..=LINKS).filter(|number| *number != 1).map(neighbour).collect();
    let before = resident_kib()?;
    let mut routers: Vec<Router> = Vec::with_capacity(ROUTERS);
    for _ in 0..ROUTERS {
        let mut moment = Moment { now: 0, wall_ms: WALL_MS, rng: &mut rng };
        let identity = Arc::clone(&identity);
        let mut router = Router::new(identity, Scheme::v358(), RouteServers::Any, &mut moment);
        router.poll(&mut moment, &neighbours);
        routers.push(router);
    }
    let kib = resident_kib()?.saturating_sub(before);
    println!("{ROUTERS} idle routers of {LINKS} links: {} bytes each", kib * 1024 / ROUTERS as u64);

    let cycles = 10;
    let started = Instant::now();
    let mut packets = 0;
    for cycle in 1..=cycles {
        for router in &mut routers {
            let now = cycle * CYCLE_SECONDS * SECOND;
            let mut moment = Moment { now, wall_ms: WALL_MS, rng: &mut rng };
            packets += router.poll(&mut moment, &neighbours).packets.len();
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    let polls = ROUTERS as f64 * cycles as f64;
    println!(
        "a poll: {:.0} ns; all of them, every {CYCLE_SECONDS} s: {:.2} % of a core, {} packets",
        elapsed / polls * 1e9,
        elapsed / (cycles * CYCLE_SECONDS) as f64 * 100.0,
        packets
    );
    Ok(())
}

/// A route server and nodes in a ring with a chord each.
fn serving() -> Result<(), Box<dyn Error>> {
    let mut rng = TestRng::new(2);
    let nodes: Vec<Identity> = (0..NODES).map(|_| Identity::generate(&mut rng)).collect();
    let host = Identity::generate(&mut rng);
    let mut server = RouteServer::new(host.address());
    let mut announcements = Vec::with_capacity(NODES);
    for (at, node) in nodes.iter().enumerate() {
        let mut items = Vec::new();
        let scheme = Scheme::v358().serialize();
        for item in [Item::Scheme(&scheme), Item::Version(22)] {
            item.put(&mut items);
            align(&mut items);
        }
        // Labels: 13 to the next, 15 from the one before, 17 across.
        for (number, step, label) in
            [(0x13, 1, 0x15), (0x15, NODES - 1, 0x13), (0x17, NODES / 2, 0x17)]
        {
            let peer = nodes.get((at + step) % NODES).ok_or("no such node")?;
            Item::Peer(Peer::new(peer.address(), number, 0, label, 1400)).put(&mut items);
        }
        let header = Header { server: host.address(), time_ms: WALL_MS, reset: true };
        announcements.push((node.public(), announce::sign(node, &header, &items, &mut rng)));
    }
    let started = Instant::now();
    for (node, announcement) in &announcements {
        server.announce(WALL_MS, node, announcement)?;
    }
    let elapsed = started.elapsed().as_secs_f64();
    println!("an announcement taken note of: {:.0} µs", elapsed / NODES as f64 * 1e6);

    // Near ones are found soon; far ones take a look at half the nodes, and then have no room in a label.
    for hops in [5, NODES / 4] {
        let started = Instant::now();
        for (from, to) in nodes.iter().zip(nodes.iter().cycle().skip(hops)) {
            let _route = server.route(WALL_MS, from.address(), to.address());
        }
        let elapsed = started.elapsed().as_secs_f64();
        let micros = elapsed / NODES as f64 * 1e6;
        println!("a search among {NODES} nodes for one that is {hops} hops away: {micros:.0} µs");
    }
    Ok(())
}

fn neighbour(number: u16) -> Neighbour {
    let [high, low] = number.to_be_bytes();
    let mut key = [0x5a; 32];
    (key[0], key[1]) = (high, low);
    Neighbour {
        number,
        key: PublicKey(key),
        version: 22,
        established: true,
        mtu: 1400,
        lag_ms: None,
        received: 0,
        lost: 0,
        received_bytes: 0,
    }
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
