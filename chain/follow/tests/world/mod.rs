//! Nodes on a tree of mined blocks, the follower between them, and its twin: the books by the events, held against the
//! best chain read from its beginning.

use chain_follow::event::Event;
use chain_follow::{
    Anchor, Ask, Change, Follow, Input, Key, NodeId, Params, Record, Said, Standing, Watch,
};
use primitives::bitcoin::absolute::LockTime;
use primitives::bitcoin::block::Header;
use primitives::bitcoin::consensus::{deserialize, serialize};
use primitives::bitcoin::hashes::Hash as _;
use primitives::bitcoin::{
    Amount, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Txid, Witness, transaction,
};
use primitives::block::Block;
use primitives::builder::{Plan, Tree};
use primitives::network::PKT_SIM;
use primitives::steward::Tally;
use primitives::vote::{Vote, stripped};
use std::collections::{BTreeMap, VecDeque};

pub(crate) const NODES: [NodeId; 4] = [NodeId(1), NodeId(2), NodeId(3), NodeId(4)];
const START_S: u32 = 1_800_000_000;
const FINAL: u32 = 24;
const DEPTHS: [u32; 3] = [1, 3, 10];
/// Blocks until what a coinbase creates can be spent.
const MATURITY: u32 = 100;

/// The watched scripts; the last is paid by every block.
pub(crate) fn watched(which: u8) -> ScriptBuf {
    [&[0, 20][..], &[which; 20]].concat().into()
}

/// A generator that everybody can check (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Honest,
    Silent,
    /// Its chain has one block more than the best, and that one is wrong in some way.
    BentProof,
    OtherMoney,
    WrongBits,
    OtherBlock,
    Withhold,
    Unpaid,
    Garbage,
}

impl Mode {
    pub(crate) fn lie(random: &mut Random) -> Self {
        use Mode::{BentProof, Garbage, OtherBlock, OtherMoney, Unpaid, Withhold, WrongBits};
        let all = [BentProof, OtherMoney, WrongBits, OtherBlock, Withhold, Unpaid, Garbage];
        all[random.index(all.len())]
    }
}

struct Sim {
    tip: BlockHash,
    mode: Mode,
    /// A block that a lying node has made up.
    false_block: Option<Block>,
}

/// What the events of a source say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Seen,
    Confirmed(u32),
    Reverted,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) reorgs: u64,
    pub(crate) deepest: u32,
    pub(crate) reverted: u64,
    pub(crate) confirmed: u64,
    pub(crate) elections: u64,
    pub(crate) lying: u64,
    pub(crate) forked: u64,
    pub(crate) stalled: u64,
    pub(crate) vanished: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, world: &World) {
        let Self { reorgs, deepest, reverted, confirmed, elections, .. } = &world.counts;
        self.reorgs += reorgs;
        self.deepest = self.deepest.max(*deepest);
        self.reverted += reverted;
        self.confirmed += confirmed;
        self.elections += elections;
        for (_, standing) in &world.verdicts {
            match standing {
                Standing::Lying(_) => self.lying += 1,
                Standing::Forked { .. } => self.forked += 1,
                Standing::Stalled => self.stalled += 1,
                Standing::Vanished => self.vanished += 1,
                Standing::Good => {}
            }
        }
    }
}

pub(crate) struct World {
    tree: Tree,
    sims: BTreeMap<NodeId, Sim>,
    pub(crate) follow: Follow,
    store: BTreeMap<Key, Vec<u8>>,
    asks: VecDeque<(NodeId, Ask)>,
    now_s: u64,
    pub(crate) trace: Vec<Event>,
    pub(crate) verdicts: Vec<(NodeId, Standing)>,
    books: BTreeMap<Vec<u8>, (Told, u128)>,
    waiting: Vec<Transaction>,
    restart: Option<Random>,
    pub(crate) restarts: u64,
    pub(crate) counts: Counts,
    salt: u32,
    /// Height of the highest tip so far.
    highest: u32,
}

impl World {
    pub(crate) fn new(restart: Option<Random>) -> Self {
        let tree = Tree::new(&PKT_SIM);
        let tip = tree.genesis();
        let sim = |id: NodeId| (id, Sim { tip, mode: Mode::Honest, false_block: None });
        let mut world = Self {
            sims: NODES.map(sim).into(),
            tree,
            follow: Follow::new(&params(), Anchor::genesis(&PKT_SIM)),
            store: BTreeMap::new(),
            asks: VecDeque::new(),
            now_s: START_S.into(),
            trace: Vec::new(),
            verdicts: Vec::new(),
            books: BTreeMap::new(),
            waiting: Vec::new(),
            restart,
            restarts: 0,
            counts: Counts::default(),
            salt: 0,
            highest: 0,
        };
        for (which, depth) in (0..).zip(DEPTHS) {
            let watch = Watch { reference: vec![which], depth };
            world.step(Input::Watch(watched(which), watch));
        }
        NODES.iter().for_each(|node| world.step(Input::Attach(*node)));
        world.pump();
        world
    }

    fn step(&mut self, input: Input) {
        let before = self.follow.tip();
        let output = self.follow.step(self.now_s * 1000, input).unwrap();
        let mut keys: Vec<_> = output.changes.iter().map(key_of).collect();
        keys.sort();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "one change a key");
        for change in output.changes {
            match change {
                Change::Put(key, record) => {
                    self.store.insert(key, postcard::to_stdvec(&record).unwrap());
                }
                Change::Remove(key) => drop(self.store.remove(&key)),
            }
        }
        self.count(before);
        self.highest = self.highest.max(self.follow.tip().0);
        let rank = |event: &Event| match event {
            Event::Reverted(_) => 0,
            Event::Seen(_) => 1,
            Event::Confirmed { .. } => 2,
            Event::Clock(_) => 3,
        };
        assert!(output.events.is_sorted_by_key(rank), "what is reverted comes first");
        output.events.iter().for_each(|event| self.book(event));
        self.trace.extend(output.events);
        self.verdicts.extend(output.verdicts);
        self.asks.extend(output.asks);
    }

    fn count(&mut self, (height, id): (u32, BlockHash)) {
        let after = self.tree.path(&self.follow.tip().1);
        if after.get(height as usize).is_none_or(|header| header.block_hash() != id) {
            let before = self.tree.path(&id);
            let common = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
            self.counts.reorgs += 1;
            self.counts.deepest =
                self.counts.deepest.max(height + 1 - u32::try_from(common).unwrap());
        }
    }

    /// Keeps the books as somebody who knows no chain would.
    fn book(&mut self, event: &Event) {
        let (payment, told) = match event {
            Event::Clock(clock) => return assert_eq!(clock.height, u64::from(self.follow.tip().0)),
            Event::Seen(payment) => (payment, Told::Seen),
            Event::Confirmed { payment, confirmations } => {
                (payment, Told::Confirmed(*confirmations))
            }
            Event::Reverted(payment) => (payment, Told::Reverted),
        };
        let source = payment.source.as_bytes().to_vec();
        let before = self.books.get(&source).map(|(told, amount)| {
            assert_eq!(*amount, payment.amount);
            *told
        });
        let follows = match (before, told) {
            (None | Some(Told::Reverted), Told::Seen | Told::Confirmed(_))
            | (Some(Told::Seen), Told::Confirmed(_))
            | (Some(Told::Seen | Told::Confirmed(_)), Told::Reverted) => true,
            (Some(Told::Confirmed(before)), Told::Confirmed(now)) => now > before,
            _ => false,
        };
        assert!(follows, "{before:?} then {told:?}");
        match told {
            Told::Reverted => self.counts.reverted += 1,
            Told::Confirmed(_) => self.counts.confirmed += 1,
            Told::Seen => {}
        }
        self.books.insert(source, (told, payment.amount));
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now_s += seconds;
    }

    /// Answers until nothing is asked any more.
    pub(crate) fn pump(&mut self) {
        self.step(Input::Tick);
        while let Some((id, ask)) = self.asks.pop_front() {
            if self.restart.as_mut().is_some_and(|random| random.below(20) == 0) {
                self.restart();
            }
            if let Some(said) = self.answer(id, &ask) {
                self.step(Input::Said(id, said));
            }
        }
    }

    /// From the records alone: all is as it was.
    fn restart(&mut self) {
        let records = self.store.iter();
        let records =
            records.map(|(key, bytes)| (key.clone(), postcard::from_bytes(bytes).unwrap()));
        let restored = Follow::restore(&params(), records).unwrap();
        assert!(restored.records() == self.follow.records());
        let mut asked: Vec<_> = self.asks.iter().cloned().collect();
        asked.retain(|(id, _)| self.sims[id].mode != Mode::Silent);
        for (id, ask) in asked {
            assert!(restored.outstanding().any(|(other, asked)| (other, asked) == (id, &ask)));
        }
        self.follow = restored;
        self.restarts += 1;
    }

    fn answer(&self, id: NodeId, ask: &Ask) -> Option<Said> {
        let sim = &self.sims[&id];
        let chain = || {
            let mut chain = self.tree.path(&sim.tip);
            chain.extend(sim.false_block.as_ref().map(|block| block.header));
            chain
        };
        Some(match (sim.mode, ask) {
            (Mode::Silent, _) => return None,
            (Mode::Garbage, _) => Said::Garbage,
            (_, Ask::Tip) => Said::Tip(chain().last().unwrap().block_hash()),
            (_, Ask::Headers(locator)) => {
                let chain = chain();
                let known = |header: &Header| locator.contains(&header.block_hash());
                let last = chain.iter().rposition(known).unwrap_or(0);
                Said::Headers(chain[last + 1..].iter().take(2000).copied().collect())
            }
            (mode, Ask::Block(wanted)) => {
                let own = sim.false_block.as_ref();
                let own = own.filter(|block| block.header.block_hash() == *wanted);
                match (mode, own) {
                    (Mode::Withhold, Some(_)) => Said::NoBlock,
                    (Mode::OtherBlock, Some(_)) => Said::Block(self.bytes(&sim.tip)?),
                    (_, Some(block)) => Said::Block(block.to_bytes()),
                    (_, None) => Said::Block(self.bytes(wanted)?),
                }
            }
        })
    }

    fn bytes(&self, id: &BlockHash) -> Option<Vec<u8>> {
        Some(self.tree.get(id)?.block.as_ref()?.to_bytes())
    }

    fn plan(&mut self, parent: BlockHash, is_late: bool) -> Plan {
        self.salt += 1;
        let before = self.tree.get(&parent).unwrap().header.time.max(START_S);
        let time_s = before + if is_late { 130 } else { 60 };
        // Nobody's clock is behind what is mined.
        self.now_s = self.now_s.max(time_s.into());
        let last = u8::try_from(DEPTHS.len()).unwrap() - 1;
        Plan { parent, time_s, payee: watched(last), transactions: Vec::new(), salt: self.salt }
    }

    /// A node finds a block on its tip.
    pub(crate) fn mine(&mut self, node: NodeId, random: &mut Random) {
        let mut plan = self.plan(self.sims[&node].tip, random.below(3) == 0);
        if random.below(3) == 0 && !self.waiting.is_empty() {
            let which = random.index(self.waiting.len());
            plan.transactions.push(self.waiting.swap_remove(which));
        }
        if random.below(4) == 0 {
            let units = random.below(1000);
            plan.transactions.push(payment(random, vec![(watched(0), units), (watched(1), 3)]));
        }
        if random.below(8) == 0 {
            plan.transactions.push(vote(random, watched(2), 1 << 50));
        }
        self.find(node, &plan);
    }

    pub(crate) fn mine_vote(
        &mut self,
        node: NodeId,
        to: ScriptBuf,
        units: u64,
        random: &mut Random,
    ) {
        let mut plan = self.plan(self.sims[&node].tip, false);
        plan.transactions.push(vote(random, to, units));
        self.find(node, &plan);
    }

    fn find(&mut self, node: NodeId, plan: &Plan) {
        // Two with one transaction are no block.
        let path = self.tree.path(&plan.parent);
        let is_there = |transaction: &Transaction| {
            let blocks = path.iter().filter_map(|header| self.tree.get(&header.block_hash()));
            let mut all = blocks
                .filter_map(|mined| mined.block.as_ref())
                .flat_map(|block| &block.transactions);
            all.any(|other| other.input[0].previous_output == transaction.input[0].previous_output)
        };
        let mut plan = plan.clone();
        let kept = plan.transactions.iter().filter(|one| !is_there(one)).cloned().collect();
        plan.transactions = kept;
        let tip = self.tree.mine(&plan).unwrap();
        let sim = self.sims.get_mut(&node).unwrap();
        sim.tip = tip;
        self.make_up(node);
    }

    /// A node finds some blocks on a block below its tip, and stays with them.
    pub(crate) fn fork(&mut self, node: NodeId, random: &mut Random) {
        let path = self.tree.path(&self.sims[&node].tip);
        let depth = 1 + random.index(8);
        let fork = path[path.len().saturating_sub(depth + 1)].block_hash();
        self.sims.get_mut(&node).unwrap().tip = fork;
        for _ in 0..1 + random.below(depth as u64 + 3) {
            self.mine(node, random);
        }
    }

    /// A node hears of the others' blocks.
    pub(crate) fn adopt(&mut self, node: NodeId) {
        let work = |tip: &BlockHash| self.tree.get(tip).unwrap().work.clone();
        let best = self.sims.values().map(|sim| sim.tip).max_by_key(work).unwrap();
        if work(&best) > work(&self.sims[&node].tip) {
            self.sims.get_mut(&node).unwrap().tip = best;
            self.make_up(node);
        }
    }

    pub(crate) fn go_to(&mut self, node: NodeId, other: NodeId) {
        self.sims.get_mut(&node).unwrap().tip = self.sims[&other].tip;
    }

    pub(crate) fn set_mode(&mut self, node: NodeId, mode: Mode) {
        self.sims.get_mut(&node).unwrap().mode = mode;
        self.make_up(node);
    }

    /// A block that the node's mode calls for, on the best tip.
    fn make_up(&mut self, node: NodeId) {
        let mode = self.sims[&node].mode;
        self.sims.get_mut(&node).unwrap().false_block = None;
        if matches!(mode, Mode::Honest | Mode::Silent | Mode::Garbage) {
            return;
        }
        let work = |tip: &BlockHash| self.tree.get(tip).unwrap().work.clone();
        let best = self.sims.values().map(|sim| sim.tip).chain([self.follow.tip().1]);
        let best = best.max_by_key(work).unwrap();
        let plan = self.plan(best, false);
        let steward = self.tree.get(&best).unwrap().tally.state().steward.clone();
        let payee = if mode == Mode::Unpaid { watched(50) } else { steward };
        let mut block = self.tree.mine_aside(&plan, &payee).unwrap();
        if mode == Mode::BentProof {
            block.proof.announcements[0].0[500] ^= 1;
        } else if mode == Mode::OtherMoney {
            block.transactions[0].output[1].value = Amount::from_sat(1);
        } else if mode == Mode::WrongBits {
            block.header.bits = CompactTarget::from_consensus(0x203f_fffe);
        }
        let sim = self.sims.get_mut(&node).unwrap();
        (sim.tip, sim.false_block) = (best, Some(block));
    }

    /// A node hears of a payment that waits for a block; another that spends the same may come first.
    pub(crate) fn announce(&mut self, node: NodeId, random: &mut Random) {
        let units = 1000 + random.below(1000);
        let waiting = payment(random, vec![(watched(0), units)]);
        self.waiting.push(waiting.clone());
        if self.sims[&node].mode == Mode::Honest {
            self.step(Input::Said(node, Said::Transaction(waiting)));
        }
    }

    pub(crate) fn double_spend(&mut self, node: NodeId, random: &mut Random) {
        if self.waiting.is_empty() {
            return;
        }
        let mut other = self.waiting[random.index(self.waiting.len())].clone();
        other.output[0].script_pubkey = ScriptBuf::new();
        let mut plan = self.plan(self.sims[&node].tip, false);
        plan.transactions.push(other);
        self.find(node, &plan);
    }

    pub(crate) fn say(&mut self, node: NodeId, said: Said) {
        self.step(Input::Said(node, said));
    }

    pub(crate) fn expect(&mut self, hash: [u8; 32], node: NodeId) {
        self.step(Input::Expect { hash, reference: vec![9], node });
    }

    /// What must hold whenever nothing is asked. Of two runs that must be the same each does a part.
    pub(crate) fn check(&mut self) {
        if self.restart.is_some() {
            let records = self.store.iter();
            let records =
                records.map(|(key, bytes)| (key.clone(), postcard::from_bytes(bytes).unwrap()));
            let records: BTreeMap<Key, Record> = records.collect();
            assert!(records == self.follow.records(), "the store has what the follower has");
            return;
        }
        let (height, id) = self.follow.tip();
        // Nothing but what was mined is followed.
        let tip = self.tree.get(&id).unwrap();
        assert_eq!((tip.height, &tip.work), (height, self.follow.work()));
        let states = (tip.tally.state(), &self.follow.steward().state);
        assert_eq!(states.0, states.1);
        self.counts.elections += u64::from(states.0.steward != Tally::genesis().state().steward);
        for (node, sim) in &self.sims {
            let known = &self.follow.nodes()[node];
            let offered = self.tree.get(&sim.tip).unwrap();
            if sim.mode == Mode::Honest && known.tip == Some(sim.tip) && known.asked.is_none() {
                let is_deep = self.fork_depth(&sim.tip) > FINAL;
                assert!(offered.work <= tip.work || is_deep, "a better chain is not followed");
            }
        }
        self.check_money();
    }

    fn fork_depth(&self, id: &BlockHash) -> u32 {
        let (height, tip) = self.follow.tip();
        let (own, other) = (self.tree.path(&tip), self.tree.path(id));
        let common = own.iter().zip(&other).take_while(|(a, b)| a == b).count();
        height + 1 - u32::try_from(common).unwrap()
    }

    /// The books are what the best chain says, read from its beginning.
    fn check_money(&self) {
        let (tip, id) = self.follow.tip();
        // A better chain can be a shorter one: what was told then stays true of what is still there.
        let fallen = self.highest - tip;
        let mut expected: BTreeMap<Vec<u8>, (u32, u32, u128, bool)> = BTreeMap::new();
        for (header, height) in self.tree.path(&id).iter().zip(0..) {
            let Some(block) = &self.tree.get(&header.block_hash()).unwrap().block else { continue };
            for transaction in &block.transactions {
                for (output, vout) in transaction.output.iter().zip(0u32..) {
                    let plain = stripped(&output.script_pubkey).unwrap();
                    let Some(which) = (0..3u8).find(|which| watched(*which) == plain) else {
                        continue;
                    };
                    let confirmations = tip - height + 1;
                    let first = if transaction.is_coinbase() { MATURITY } else { 1 };
                    if confirmations + fallen < first {
                        continue;
                    }
                    let txid = transaction.compute_txid();
                    let source =
                        [b"pktsim:output:", &txid.to_byte_array()[..], &vout.to_be_bytes()]
                            .concat();
                    let depth = DEPTHS[usize::from(which)];
                    let (units, is_due) = (output.value.to_sat().into(), confirmations >= first);
                    expected.insert(source, (confirmations, depth, units, is_due));
                }
            }
        }
        for (source, (told, amount)) in &self.books {
            match (told, expected.remove(source)) {
                (Told::Confirmed(told), Some((now, depth, units, _))) => {
                    let is_enough = *told == now || (*told >= depth && *told <= now);
                    assert!(is_enough || (*told > now && *told - now <= fallen), "{told} of {now}");
                    assert_eq!(*amount, units);
                }
                (Told::Seen | Told::Reverted, None) | (Told::Reverted, Some((.., false))) => {}
                (told, truth) => panic!("{told:?}, and the chain says {truth:?}"),
            }
        }
        // Coinbases that were old enough on a higher chain only may have been told of, or not.
        expected.retain(|_, (.., is_due)| *is_due);
        assert_eq!(expected, BTreeMap::new(), "money that nobody was told of");
    }

    /// Everybody is honest again and has time: the best of all chains that can be reached is followed.
    pub(crate) fn settle(&mut self) {
        NODES.iter().for_each(|node| self.set_mode(*node, Mode::Honest));
        self.wait(4000);
        for _ in 0..6 {
            self.wait(70);
            self.pump();
            self.check();
        }
        let reachable = self.sims.values().map(|sim| sim.tip);
        let reachable = reachable.filter(|tip| self.fork_depth(tip) <= FINAL);
        let work = |tip: BlockHash| self.tree.get(&tip).unwrap().work.clone();
        let best = reachable.map(work).max().unwrap_or_default();
        assert!(*self.follow.work() >= best);
        assert!(self.sims.keys().all(|node| {
            !matches!(self.follow.nodes()[node].standing, Standing::Lying(_) | Standing::Vanished)
        }));
    }
}

fn params() -> Params {
    Params { final_blocks: FINAL, ..Params::new(PKT_SIM) }
}

fn key_of(change: &Change) -> Key {
    match change {
        Change::Put(key, _) | Change::Remove(key) => key.clone(),
    }
}

/// A transaction that spends something nobody else does.
fn payment(random: &mut Random, outputs: Vec<(ScriptBuf, u64)>) -> Transaction {
    let mut id = [0; 32];
    id.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
    let output = |(script_pubkey, units): (ScriptBuf, u64)| TxOut {
        value: Amount::from_sat(units),
        script_pubkey,
    };
    let made = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array(id), vout: 0 },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: outputs.into_iter().map(output).collect(),
    };
    assert_eq!(deserialize::<Transaction>(&serialize(&made)).unwrap(), made);
    made
}

/// A payment that votes the first steward out.
fn vote(random: &mut Random, to: ScriptBuf, units: u64) -> Transaction {
    let steward = Tally::genesis().state().steward.clone();
    let candidate = watched(u8::try_from(random.below(2)).unwrap() + 100);
    let vote = Vote { candidate: Some(candidate), against: Some(steward) };
    payment(random, vec![(vote.attach(&to).unwrap(), units)])
}
