//! What follows a chain: records that it goes on from, and whatever nodes say.

use follow::event::{Event, Payment};
use follow::{Anchor, Change, Follow, Input, Key, NodeId, Params, Record};
use primitives::network::PKT_SIM;
use std::collections::{BTreeMap, BTreeSet};

/// Goes on from the records that `input` spells, if they are a state.
pub fn follow_records(input: &[u8]) {
    let Ok(records) = postcard::from_bytes::<Vec<(Key, Record)>>(input) else { return };
    let mut store: BTreeMap<_, _> = records.into_iter().collect();
    let Ok(mut follow) = Follow::restore(&params(), store.clone()) else { return };
    assert!(follow.records() == store);
    for (now, input) in
        [(0, Input::Tick), (1 << 42, Input::Attach(NodeId(9))), (1 << 43, Input::Tick)]
    {
        step(&mut follow, &mut store, now, input);
    }
    look(&follow);
}

/// Does what `input` spells, as steps with seconds between them.
pub fn follow_intake(input: &[u8]) {
    let Ok(steps) = postcard::from_bytes::<Vec<(u32, Input)>>(input) else { return };
    let mut follow = Follow::new(&params(), Anchor::genesis(&PKT_SIM));
    let mut store = BTreeMap::new();
    step(&mut follow, &mut store, 0, Input::Tick);
    let mut now_s = 0;
    // Of what is forgotten nothing more is told, and it may begin anew.
    let mut there = Some(BTreeSet::new());
    for (wait_s, input) in steps {
        now_s += u64::from(wait_s);
        there = there.filter(|_| !matches!(input, Input::Unwatch(_)));
        let events = step(&mut follow, &mut store, now_s * 1000, input);
        if let Some(there) = &mut there {
            events.iter().for_each(|event| book(event, there));
        }
    }
    look(&follow);
}

fn params() -> Params {
    Params { final_blocks: 20, ..Params::new(PKT_SIM) }
}

/// The changes of each step are all that changes, and what is stored can be gone on from.
fn step(
    follow: &mut Follow,
    store: &mut BTreeMap<Key, Record>,
    now: u64,
    input: Input,
) -> Vec<Event> {
    let Ok(output) = follow.step(now, input) else { return Vec::new() };
    for change in output.changes {
        match change {
            Change::Put(key, record) => drop(store.insert(key, record)),
            Change::Remove(key) => drop(store.remove(&key)),
        }
    }
    assert!(follow.records() == *store);
    let restored = Follow::restore(&params(), store.clone());
    assert!(restored.is_ok_and(|restored| restored.records() == *store));
    output.events
}

/// What is reverted was there before.
fn book(event: &Event, there: &mut BTreeSet<Vec<u8>>) {
    let source = |payment: &Payment| payment.source.as_bytes().to_vec();
    match event {
        Event::Seen(payment) => assert!(there.insert(source(payment))),
        Event::Confirmed { payment, .. } => {
            there.insert(source(payment));
        }
        Event::Reverted(payment) => assert!(there.remove(&source(payment))),
        Event::Clock(_) => {}
    }
}

fn look(follow: &Follow) {
    let _numbers = follow.metrics(u64::MAX);
    let _mining = follow.mining();
    let _steward = follow.steward();
    let _asked = follow.outstanding().count();
    for script in follow.watches().keys() {
        let _sum = follow.received(script, 1);
    }
}
