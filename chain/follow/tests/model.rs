//! Nodes that fork, fail, lie and restart, against a slow, obvious twin.
//!
//! `SWITCHYARD_FOLLOW_STEPS` sets the steps of each run (250), `SWITCHYARD_FOLLOW_SEEDS` the runs (3).
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "what a run has seen is part of its output")]

mod world;

use chain_follow::event::Event;
use chain_follow::{InvoiceState, Lie, Said, Standing};
use primitives::fault::Fault;
use std::env;
use world::{Mode, NODES, Random, World, watched};

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// One run; with `restarts` the follower is begun anew from its records now and then.
fn run(seed: u64, steps: u64, restarts: bool) -> World {
    let mut random = Random(seed);
    let mut world = World::new(restarts.then_some(Random(seed ^ 0x5eed)));
    for _ in 0..steps {
        world.wait(15 + random.below(30));
        let node = NODES[random.index(NODES.len())];
        match random.below(100) {
            0..40 => world.mine(node, &mut random),
            40..60 => world.adopt(node),
            60..68 => world.fork(node, &mut random),
            68..73 => world.announce(node, &mut random),
            73..76 => world.double_spend(node, &mut random),
            76..84 => world.set_mode(node, Mode::Silent),
            84..87 => world.set_mode(node, Mode::lie(&mut random)),
            87..99 => world.set_mode(node, Mode::Honest),
            _ => world.wait(3700),
        }
        world.pump();
        world.check();
    }
    world.settle();
    world
}

#[test]
fn the_best_chain_is_followed_whatever_nodes_do() {
    let (steps, seeds) =
        (number("SWITCHYARD_FOLLOW_STEPS", 250), number("SWITCHYARD_FOLLOW_SEEDS", 3));
    let mut total = world::Counts::default();
    for seed in 1..=seeds {
        let plain = run(seed, steps, false);
        let restarted = run(seed, steps, true);
        assert_eq!(plain.trace, restarted.trace, "seed {seed}: restarts are not seen");
        total.add(&plain);
        assert!(restarted.restarts > 0);
    }
    println!("{total:?}");
    // What the run is for did happen.
    assert!(total.reorgs > 0 && total.reverted > 0 && total.lying > 0 && total.vanished > 0);
    assert!(total.deepest >= 3 && total.elections > 0);
}

#[test]
fn every_lie_has_its_name() {
    for (mode, expected) in [
        (Mode::BentProof, |lie| matches!(lie, Lie::Block { .. })),
        (Mode::OtherMoney, |lie| matches!(lie, Lie::Block { fault: Fault::MerkleRoot, .. })),
        (Mode::WrongBits, |lie| matches!(lie, Lie::Header { fault: Fault::Bits, .. })),
        (Mode::OtherBlock, |lie| lie == Lie::OtherBlock),
        (Mode::Withhold, |lie| lie == Lie::Withheld),
        (Mode::Garbage, |lie| lie == Lie::Garbage),
        (Mode::Unpaid, |lie| matches!(lie, Lie::Block { fault: Fault::StewardUnpaid, .. })),
    ] as [(Mode, fn(Lie) -> bool); 7]
    {
        let mut random = Random(3);
        let mut world = World::new(None);
        for _ in 0..5 {
            world.wait(60);
            world.mine(NODES[0], &mut random);
            world.pump();
        }
        let before = world.follow.tip();
        world.set_mode(NODES[1], mode);
        // With a chain of its own that would be better.
        for _ in 0..8 {
            world.wait(40);
            world.pump();
        }
        let standing = world.follow.nodes()[&NODES[1]].standing;
        assert!(
            matches!(standing, Standing::Lying(lie) if expected(lie)),
            "{mode:?}: {standing:?}"
        );
        assert_eq!(world.follow.tip(), before, "{mode:?}");
        assert_eq!(world.follow.nodes()[&NODES[0]].standing, Standing::Good);
        world.check();
    }
}

#[test]
fn a_forked_a_stalled_and_a_vanished_node_are_named() {
    let mut random = Random(5);
    let mut world = World::new(None);
    let [good, forked, stalled, vanished] = NODES;
    for _ in 0..3 {
        world.wait(60);
        world.mine(good, &mut random);
        NODES.iter().for_each(|node| world.adopt(*node));
        world.pump();
    }
    assert!(world.follow.nodes().values().all(|node| node.standing == Standing::Good));
    world.mine(forked, &mut random);
    world.set_mode(vanished, Mode::Silent);
    for _ in 0..20 {
        world.wait(60);
        world.mine(good, &mut random);
        world.pump();
    }
    let standing = |world: &World, node| world.follow.nodes()[&node].standing;
    assert_eq!(standing(&world, good), Standing::Good);
    assert_eq!(standing(&world, vanished), Standing::Vanished);
    assert_eq!(standing(&world, stalled), Standing::Stalled);
    // It has no new blocks either; one more, and it is only on another chain.
    world.mine(forked, &mut random);
    world.wait(60);
    world.pump();
    assert_eq!(standing(&world, forked), Standing::Forked { fork: Some(3) });
    // A fork below what can be taken back is followed no more, whatever its work.
    for _ in 0..30 {
        world.wait(60);
        world.mine(good, &mut random);
        world.pump();
    }
    let before = world.follow.tip();
    for _ in 0..60 {
        world.mine(forked, &mut random);
    }
    world.wait(60);
    world.pump();
    assert_eq!(world.follow.tip(), before);
    assert_eq!(standing(&world, forked), Standing::Forked { fork: None });
    // All come back.
    NODES.iter().for_each(|node| world.set_mode(*node, Mode::Honest));
    world.mine(good, &mut random);
    world.wait(120);
    world.pump();
    for node in [stalled, vanished, forked] {
        world.go_to(node, good);
    }
    world.wait(120);
    world.pump();
    assert!(world.follow.nodes().values().all(|node| node.standing == Standing::Good));
}

#[test]
fn nobody_is_heard_for_an_hour_and_leases_stay() {
    let mut random = Random(9);
    let mut world = World::new(None);
    for _ in 0..10 {
        world.wait(60);
        world.mine(NODES[0], &mut random);
        world.pump();
    }
    let events = world.trace.len();
    NODES.iter().for_each(|node| world.set_mode(*node, Mode::Silent));
    for _ in 0..200 {
        world.wait(60);
        world.pump();
    }
    assert_eq!(world.trace.len(), events, "silence takes nothing away");
    assert!(world.follow.nodes().values().all(|node| node.standing == Standing::Vanished));
}

#[test]
fn an_invoice_is_settled_by_its_preimage_alone() {
    use primitives::bitcoin::hashes::{Hash as _, sha256};
    let mut world = World::new(None);
    let [owner, other, ..] = NODES;
    let preimage = [7; 32];
    let hash = sha256::Hash::hash(&preimage).to_byte_array();
    world.expect(hash, owner);
    let says = |world: &mut World, node, state| {
        let before = world.trace.len();
        world.say(node, Said::Invoice { hash, units: 5, state });
        world.trace[before..].to_vec()
    };
    let settled = |preimage| InvoiceState::Settled { preimage };
    assert_eq!(says(&mut world, other, settled(preimage)), []);
    assert!(matches!(says(&mut world, owner, InvoiceState::Accepted)[..], [Event::Seen(_)]));
    assert!(matches!(says(&mut world, owner, InvoiceState::Canceled)[..], [Event::Reverted(_)]));
    assert!(matches!(says(&mut world, owner, InvoiceState::Accepted)[..], [Event::Seen(_)]));
    assert!(matches!(
        says(&mut world, owner, settled(preimage))[..],
        [Event::Confirmed { confirmations: u32::MAX, .. }]
    ));
    assert_eq!(says(&mut world, owner, InvoiceState::Canceled), [], "nobody takes that back");
    let standing = world.follow.nodes()[&owner].standing;
    assert_eq!(standing, Standing::Lying(Lie::InvoiceUnsettled));
    // Whoever has lied is still heard of what proves itself.
    let second = sha256::Hash::hash(&[8; 32]).to_byte_array();
    world.expect(second, owner);
    world.say(owner, Said::Invoice { hash: second, units: 5, state: settled([8; 32]) });
    assert!(matches!(world.trace.last(), Some(Event::Confirmed { .. })));
    world.expect([1; 32], other);
    world.say(other, Said::Invoice { hash: [1; 32], units: 5, state: settled([1; 32]) });
    assert_eq!(world.follow.nodes()[&other].standing, Standing::Lying(Lie::Preimage));
}

#[test]
fn a_payment_with_a_vote_is_still_a_payment() {
    let mut random = Random(11);
    let mut world = World::new(None);
    world.mine_vote(NODES[0], watched(0), 77, &mut random);
    world.wait(30);
    world.pump();
    world.check();
    assert_eq!(world.follow.received(&watched(0), 1).unwrap().units(), 77);
}

/// What was told of payments since `from`, without the clock.
fn told(world: &World, from: usize) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Seen(_) => Some("seen"),
        Event::Reverted(_) => Some("reverted"),
        Event::Confirmed { .. } => Some("confirmed"),
        Event::Clock(_) => None,
    };
    world.trace[from..].iter().filter_map(name).collect()
}

#[test]
fn a_seen_payment_that_is_spent_otherwise_or_never_comes_is_reverted() {
    let mut random = Random(13);
    let mut world = World::new(None);
    let node = NODES[0];
    world.announce(node, &mut random);
    assert_eq!(told(&world, 0), ["seen"]);
    world.double_spend(node, &mut random);
    world.wait(30);
    world.pump();
    assert_eq!(told(&world, 0), ["seen", "reverted"]);
    world.check();
    let from = world.trace.len();
    world.announce(node, &mut random);
    world.wait(71 * 3600);
    world.pump();
    assert_eq!(told(&world, from), ["seen"]);
    world.wait(2 * 3600);
    world.pump();
    assert_eq!(told(&world, from), ["seen", "reverted"]);
    world.check();
}
