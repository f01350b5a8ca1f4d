//! Routers among routers: they find each other, a route server, and ways through the network that work.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]
#![allow(missing_docs, unreachable_pub, reason = "a module of a test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test's numbers are small"
)]

mod sim;

use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use dataplane_node as node;
use node::router::message::Query;
use node::router::{Ask, RouteServers};
use sim::{SECOND, Sim};
use wire::label;

const MINUTE: u64 = 60 * SECOND;

/// A – M – B, no route server.
#[test]
fn a_finds_b_through_m_and_talks_to_it() {
    let mut sim = Sim::new(1);
    let [a, m, b] = [(); 3].map(|()| sim.add(RouteServers::Any));
    sim.link((a, 0), (m, 33));
    sim.link((m, 2), (b, 9));
    sim.run(SECOND);
    let (m_key, b_key) = (sim.nodes[m].key, sim.nodes[b].key);
    let to_m = sim.label_to(a, 0);

    let peers = sim.answer(a, m_key, to_m, Ask::Router(Query::Peers(0))).unwrap().nodes;
    assert_eq!(peers.len(), 3, "{peers:?}");
    assert_eq!((peers[2].key, peers[2].label), (m_key, 1));

    let found =
        sim.answer(a, m_key, to_m, Ask::Router(Query::Find(b_key.address()))).unwrap().nodes;
    let last = found.last().unwrap();
    // A is behind interface 33 of M, so that B's director is widened to ten bits.
    assert_eq!((last.key, last.label, last.version), (b_key, 0x404, 22));
    let to_b = label::splice(last.label, to_m).unwrap();

    let pong = sim.answer(a, b_key, to_b, Ask::Router(Query::Ping)).unwrap();
    assert_eq!(pong.nodes, []);
    // B knows the way back, and uses the same session.
    let nobody = Query::Find("fc00::1".parse().unwrap());
    assert!(sim.answer(a, b_key, to_b, Ask::Router(nobody)).is_some());
    assert_eq!(sim.nodes[b].router.status().sessions, 1);
    assert!(sim.ping(a, to_b));
    // Nobody is there: the question times out.
    let wrong = label::splice(sim.label_to(m, 7), to_m).unwrap();
    assert_eq!(sim.answer(a, b_key, wrong, Ask::Router(Query::Ping)), None);
}

/// A ring of six and a tail, so that there are two ways round; node 3 is the route server.
fn ring(sim: &mut Sim, servers: &RouteServers) -> Vec<usize> {
    let nodes: Vec<usize> = (0..7)
        .map(|at| sim.add(if at == 3 { RouteServers::Host } else { servers.clone() }))
        .collect();
    for at in 0..6 {
        // Numbers of all widths.
        let number = [2, 8, 33, 250, 3, 12][at];
        sim.link((nodes[at], number), (nodes[(at + 1) % 6], 0));
    }
    sim.link((nodes[5], 40), (nodes[6], 0));
    nodes
}

fn routes_work_both_ways(sim: &mut Sim, nodes: &[usize], host: usize) {
    for from in nodes.iter().copied().filter(|from| *from != host) {
        let supernode = sim.nodes[from].router.supernode().expect("a route server is found");
        assert_eq!(supernode.key, sim.nodes[host].key);
        for to in nodes.iter().copied().filter(|to| *to != from) {
            let (here, there) = (sim.nodes[from].key.address(), sim.nodes[to].key.address());
            let route = Ask::Route { from: here, to: there };
            let reply = sim.answer(from, supernode.key, supernode.path, route).unwrap();
            assert!(reply.receive_time_ms.is_some());
            let way = reply.nodes.last().unwrap_or_else(|| panic!("no way from {from} to {to}"));
            assert_eq!((way.key, way.version), (sim.nodes[to].key, 22));
            // A pong comes back along the reversed path.
            assert!(sim.ping(from, way.label), "{from} to {to} by {:x}", way.label);
        }
    }
}

#[test]
fn everyone_announces_and_routes_work_in_both_directions() {
    let mut sim = Sim::new(2);
    let nodes = ring(&mut sim, &RouteServers::Any);
    sim.run(MINUTE);
    for node in &nodes {
        let status = sim.nodes[*node].router.status();
        assert_eq!(status.links_announced, sim.nodes[*node].links.len(), "{node} {status:?}");
    }
    assert_eq!(sim.nodes[nodes[3]].router.status().nodes_served, 7);
    routes_work_both_ways(&mut sim, &nodes, nodes[3]);
}

#[test]
fn a_listed_route_server_is_used_and_no_other() {
    let mut sim = Sim::new(3);
    let stranger = Identity::generate(&mut TestRng::new(99)).public();
    let nodes = ring(&mut sim, &RouteServers::Listed(vec![stranger]));
    sim.run(MINUTE);
    assert!(
        nodes
            .iter()
            .filter(|at| **at != nodes[3])
            .all(|at| sim.nodes[*at].router.supernode().is_none())
    );

    let mut sim = Sim::new(4);
    let identity = Identity::generate(&mut TestRng::new(99));
    let host = sim.add_as(identity, RouteServers::Host);
    let other_host = sim.add(RouteServers::Host);
    let [a, b] = [(); 2].map(|()| sim.add(RouteServers::Listed(vec![stranger])));
    sim.link((other_host, 0), (a, 0));
    sim.link((a, 2), (b, 0));
    sim.link((b, 2), (host, 0));
    sim.run(MINUTE);
    for node in [a, b] {
        assert_eq!(sim.nodes[node].router.supernode().unwrap().key, stranger);
    }
    assert_eq!(sim.nodes[other_host].router.supernode().unwrap().path, label::SELF);
}

#[test]
fn a_route_server_that_is_lost_is_found_again() {
    let mut sim = Sim::new(5);
    let [a, b] = [(); 2].map(|()| sim.add(RouteServers::Any));
    let identity = Identity::generate(&mut TestRng::new(7));
    let host = sim.add_as(identity.clone(), RouteServers::Host);
    sim.link((a, 0), (b, 0));
    sim.link((b, 2), (host, 0));
    sim.run(MINUTE);
    assert_eq!(sim.nodes[host].router.status().nodes_served, 3);

    // The link of B is gone: it knows at once; A when an announcement is not answered.
    sim.set_link((b, 2), false);
    assert!(sim.nodes[b].router.supernode().is_none());
    sim.run(2 * MINUTE);
    assert!(sim.nodes[a].router.supernode().is_none());
    sim.set_link((b, 2), true);
    sim.run(MINUTE);
    routes_work_both_ways(&mut sim, &[a, b, host], host);

    // Restarted, it has no sessions and knows nobody: everything is announced anew.
    sim.restart(host, identity, RouteServers::Host);
    assert_eq!(sim.nodes[host].router.status().nodes_served, 0);
    sim.run(4 * MINUTE);
    assert_eq!(sim.nodes[host].router.status().nodes_served, 3);
    routes_work_both_ways(&mut sim, &[a, b, host], host);
}

#[test]
fn what_is_announced_is_announced_again_before_it_is_forgotten() {
    let mut sim = Sim::new(6);
    let nodes = ring(&mut sim, &RouteServers::Any);
    sim.run(MINUTE);
    for _ in 0..13 {
        sim.run(5 * MINUTE);
        let served = sim.nodes[nodes[3]].router.status().nodes_served;
        assert_eq!(served, 7, "at {} s", sim.now / SECOND);
    }
    routes_work_both_ways(&mut sim, &nodes, nodes[3]);
}

#[test]
fn a_link_that_is_gone_is_withdrawn_and_the_other_way_is_taken() {
    let mut sim = Sim::new(7);
    let nodes = ring(&mut sim, &RouteServers::Any);
    sim.run(MINUTE);
    sim.set_link((nodes[0], 2), false);
    sim.run(2 * MINUTE);
    let links = sim.nodes[nodes[0]].router.status().links_announced;
    assert_eq!(links, 1);
    routes_work_both_ways(&mut sim, &nodes, nodes[3]);
}
