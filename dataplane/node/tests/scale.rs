//! A thousand routers and one route server.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a module of several tests, of which each uses a part"
)]

mod sim;

use node::router::{Ask, RouteServers};
use sim::{SECOND, Sim};

use dataplane_node as node;

const HUBS: u16 = 10;
const LEAVES: u16 = 99;

#[test]
fn a_thousand_routers_announce_themselves_to_one_route_server() {
    let mut sim = Sim::new(11);
    let host = sim.add(RouteServers::Host);
    let mut leaves = Vec::new();
    for hub_number in 0..HUBS {
        let hub = sim.add(RouteServers::Any);
        sim.link((host, 2 + hub_number), (hub, 0));
        for leaf_number in 0..LEAVES {
            let leaf = sim.add(RouteServers::Any);
            sim.link((hub, 2 + leaf_number), (leaf, 0));
            leaves.push(leaf);
        }
    }
    sim.run(90 * SECOND);
    let served = usize::from(HUBS * (LEAVES + 1)) + 1;
    assert_eq!(sim.nodes[host].router.status().nodes_served, served);
    for node in &sim.nodes {
        let status = node.router.status();
        assert_eq!(status.links_announced, node.links.len(), "{status:?}");
    }
    // From one hub to another, in both directions.
    for (from, to) in [(0, 989), (989, 0), (5, 500)].map(|(a, b)| (leaves[a], leaves[b])) {
        let supernode = sim.nodes[from].router.supernode().unwrap();
        let (here, there) = (sim.nodes[from].key.address(), sim.nodes[to].key.address());
        let route = Ask::Route { from: here, to: there };
        let reply = sim.answer(from, supernode.key, supernode.path, route).unwrap();
        let way = reply.nodes.last().unwrap();
        assert_eq!(way.key, sim.nodes[to].key);
        assert!(sim.ping(from, way.label), "{:x}", way.label);
    }
}
