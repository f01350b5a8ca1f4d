//! What follows the chain, with its nodes, watches and the books in step.

use super::Request;
use super::invoices::Invoices;
use super::nodes::{Attached, Client, Ear};
use super::{anchor, report, till};
use crate::clock;
use crate::config;
use control_api::ChainError;
use data_encoding::HEXLOWER;
use domain::{Time, Tree};
use follow::event::Event;
use follow::{
    Anchor, Ask, Change, Follow, Input, Key, NodeId, Output, Params, Record, Said, Standing,
};
use primitives::address::Written;
use primitives::bitcoin::ScriptBuf;
use primitives::network::Network;
use service::{Service, ServiceError, Watched};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use store::{Order, OrderState, PayTo};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(500);
/// Rounds from one look at each node to the next.
const LOOK_ROUNDS: u32 = 30;
/// Rounds from new addresses to a look for what came before nodes were asked for them.
const CAUGHT_UP_ROUNDS: u32 = 3;
/// Rounds from one look for orders that need not be watched any more to the next.
const OLD_ROUNDS: u32 = 7200;
/// For how long payments to an order are looked out for after it was made; later ones are nobody's.
const WATCHED_MS: u64 = 90 * 24 * 3_600_000;
/// Words of nodes that wait.
const SAID_MAX: usize = 16;
/// Addresses that nodes are asked to tell of before they are in a block: those ordered last.
const FILTER_MAX: usize = 10_000;
/// Orders that are read at a time.
const ORDERS_MAX: u32 = 1000;

/// Records of a follower in the store: what they are called.
type Records = Vec<(String, Option<Vec<u8>>)>;

pub(super) struct Follower {
    pub(super) service: Arc<Service>,
    pub(super) network: Network,
    pub(super) follow: Follow,
    pub(super) nodes: BTreeMap<String, Attached>,
    pub(super) invoices: Invoices,
    pub(super) trouble: Option<String>,
    pub(super) ear: Ear,
    said: mpsc::Receiver<(NodeId, Said)>,
    /// Whose nodes and rules hold here.
    tree: Arc<Tree>,
    /// Watched addresses, by order.
    orders: BTreeMap<u64, Addressed>,
    is_filter_old: bool,
    /// The round in which nodes are looked at out of turn.
    look_at: Option<u32>,
    /// What is not in the books yet, in order.
    undelivered: VecDeque<Undelivered>,
    round: u32,
}

struct Addressed {
    script: ScriptBuf,
    address: String,
    created: Time,
}

/// What a step brought, until it is in the books.
struct Undelivered {
    events: VecDeque<Event>,
    records: Records,
    verdicts: Vec<(NodeId, Standing)>,
    asks: Vec<(NodeId, Ask)>,
}

impl Follower {
    pub(super) fn open(service: Arc<Service>, config: &config::Chain) -> anyhow::Result<Self> {
        let network = config.network.parameters();
        let params = Params::new(network);
        let prefix = prefix(&network);
        let stored = service.read(|tables| Ok(tables.chain_records(&prefix)?))?;
        let follow = if stored.is_empty() {
            let anchor = match &config.anchor {
                Some(path) => anchor::read(path, &network)?,
                None => Anchor::genesis(&network),
            };
            Follow::new(&params, anchor)
        } else {
            let records = stored.iter().map(|(name, value)| read(&prefix, name, value));
            Follow::restore(&params, records.collect::<anyhow::Result<Vec<_>>>()?)?
        };
        let (ear, said) = mpsc::channel(SAID_MAX);
        Ok(Self {
            invoices: Invoices::new(&network),
            tree: Arc::clone(&service.state().tree),
            service,
            network,
            follow,
            nodes: BTreeMap::new(),
            trouble: None,
            ear,
            said,
            orders: BTreeMap::new(),
            is_filter_old: false,
            look_at: None,
            undelivered: VecDeque::new(),
            round: 0,
        })
    }

    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<Request>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Err(error) = self.watch_again() {
            tracing::error!("orders that wait for payments: {error}");
        }
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                request = asked.recv() => match request {
                    Some(request) => self.answer(request),
                    None => return,
                },
                Some((id, said)) = self.said.recv(), if self.undelivered.is_empty() => {
                    self.hear(id, said);
                }
                _ = rounds.tick() => self.do_round(),
            }
        }
    }

    fn answer(&mut self, request: Request) {
        // Whoever does not wait for an answer any more does not get it.
        match request {
            Request::Till { by, unit, price, reply } => {
                let (market, nodes) = (&self.tree.settings.market, &self.nodes);
                let asked = till::Asked::new(by, &unit, price, market.offer_ms, nodes);
                let asked = asked.map(|asked| (asked, self.network, Arc::clone(&self.service)));
                tokio::spawn(async move {
                    let till = match asked {
                        Ok((asked, network, service)) => asked.till(network, &service).await,
                        Err(error) => Err(error),
                    };
                    let _gone = reply.send(till);
                });
            }
            Request::Watch { order, reply } => drop(reply.send(self.watch(&order))),
            Request::GiveBack(till) => self.invoices.give_back(&till, &self.nodes, &self.service),
            Request::Status(reply) => drop(reply.send(Ok(report::status(self)))),
        }
    }

    /// Watches for what was ordered while nobody was here, and for what was before.
    fn watch_again(&mut self) -> Result<(), ServiceError> {
        let oldest = clock::now().0.saturating_sub(WATCHED_MS);
        let mut before = u64::MAX;
        loop {
            let read = |tables: store::Tables<'_>| Ok(tables.orders(None, before, ORDERS_MAX)?);
            let page = self.service.read(read)?;
            let Some(last) = page.last().map(|order| order.id) else { break };
            before = last;
            let young: Vec<_> = page.iter().filter(|order| order.created.0 >= oldest).collect();
            for order in &young {
                if let Err(error) = self.watch(order) {
                    tracing::warn!(order = order.id, "{error}");
                }
            }
            if young.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn watch(&mut self, order: &Order) -> Result<(), ChainError> {
        if let Some(trouble) = &self.trouble {
            return Err(ChainError::Away(trouble.clone()));
        }
        let reference = Watched::Order(order.id).to_bytes();
        match &order.pay_to {
            PayTo::Address { chain, address } => {
                self.expect_chain(chain)?;
                let script = self.script(address)?;
                let depth = self.tree.settings.market.confirmations;
                self.step(Input::Watch(script.clone(), follow::Watch { reference, depth }))?;
                let (address, created) = (address.clone(), order.created);
                self.orders.insert(order.id, Addressed { script, address, created });
                self.is_filter_old = true;
            }
            PayTo::Invoice { chain, hash, .. } => {
                self.expect_chain(chain)?;
                // What is over is in the follower's records, if anything is to be told of it.
                if matches!(order.state, OrderState::Waiting | OrderState::Seen)
                    && let Some((hash, node)) = self.invoices.take_up(order, hash, &self.service)?
                {
                    self.step(Input::Expect { hash, reference, node })?;
                }
            }
        }
        Ok(())
    }

    fn expect_chain(&self, chain: &str) -> Result<(), ChainError> {
        if chain == self.network.name {
            return Ok(());
        }
        Err(ChainError::Refused(format!("{chain:?} is not followed, {} is", self.network.name)))
    }

    fn script(&self, address: &str) -> Result<ScriptBuf, ChainError> {
        let written = Written::parse(address).ok();
        let script = written.map(|written| written.address.script());
        script.ok_or_else(|| ChainError::Refused(format!("{address:?} is no address")))
    }

    fn do_round(&mut self) {
        self.deliver();
        if !self.undelivered.is_empty() {
            return;
        }
        self.attach();
        self.go(Input::Tick);
        self.filter();
        let Self { invoices, nodes, service, ear, .. } = self;
        invoices.poll(nodes, service, ear);
        if self.round.is_multiple_of(LOOK_ROUNDS) || self.look_at == Some(self.round) {
            self.nodes.values_mut().for_each(|node| node.look(&self.ear));
        }
        if self.round.is_multiple_of(OLD_ROUNDS) {
            self.unwatch();
        }
        self.round = self.round.wrapping_add(1);
    }

    /// Attaches what the running tree names, and nothing else.
    fn attach(&mut self) {
        let tree = Arc::clone(&self.service.state().tree);
        let is_known = |id: NodeId, nodes: &BTreeMap<String, Attached>| {
            nodes.values().any(|node| node.id == id)
        };
        let is_first = self.round == 0;
        if Arc::ptr_eq(&tree, &self.tree) && !is_first {
            return;
        }
        let depth = self.tree.settings.market.confirmations;
        self.tree = Arc::clone(&tree);
        let before = self.nodes.len();
        self.nodes.retain(|name, node| tree.nodes.get(name) == Some(&node.config));
        let is_less = self.nodes.len() < before;
        let stale: Vec<NodeId> = self.follow.nodes().keys().copied().collect();
        let named: Vec<NodeId> = tree.nodes.keys().map(|name| super::nodes::id_of(name)).collect();
        // After a start what is known of those that are still named is kept.
        for id in stale {
            let is_gone = if is_first { !named.contains(&id) } else { !is_known(id, &self.nodes) };
            if is_gone {
                self.go(Input::Detach(id));
            }
        }
        let filter = self.addresses();
        for (name, config) in &tree.nodes {
            if self.nodes.contains_key(name) {
                continue;
            }
            tracing::info!(node = name, url = config.url, "attached");
            let node = Attached::new(name, config, &self.network, &filter, &self.ear);
            let (id, input) = (
                node.id,
                match &node.client {
                    Client::Full { .. } => Some(Input::Attach(node.id)),
                    Client::Lightning(_) => Some(Input::Listen(node.id)),
                    Client::Wallet(_) | Client::Unusable => None,
                },
            );
            self.nodes.insert(name.clone(), node);
            if let Some(input) = input {
                self.go(input);
                self.ask_again(id);
            }
        }
        if is_less {
            tracing::info!("{} nodes are attached", self.nodes.len());
        }
        if depth != tree.settings.market.confirmations
            && let Err(error) = self.watch_again()
        {
            tracing::error!("orders that wait for payments: {error}");
        }
    }

    /// Asks a node again what the follower waits for, of a link that knows nothing of it.
    fn ask_again(&self, id: NodeId) {
        for (_, ask) in self.follow.outstanding().filter(|(asked, _)| *asked == id) {
            self.ask(id, ask.clone());
        }
    }

    fn ask(&self, id: NodeId, ask: Ask) {
        let node = self.nodes.values().find(|node| node.id == id);
        if let Some(Client::Full { link, .. }) = node.map(|node| &node.client) {
            // It may still be at one that took too long; then this one has no answer either.
            let _asked = link.ask(ask);
        }
    }

    /// Addresses that full nodes shall tell of at once.
    fn addresses(&self) -> Vec<String> {
        let last = self.orders.values().rev().take(FILTER_MAX);
        last.map(|order| order.address.clone()).collect()
    }

    fn filter(&mut self) {
        if !std::mem::take(&mut self.is_filter_old) {
            return;
        }
        self.look_at = Some(self.round.wrapping_add(CAUGHT_UP_ROUNDS));
        let filter = self.addresses();
        let mut again = Vec::new();
        for (name, node) in &mut self.nodes {
            if node.filter(name, &filter, &self.ear) {
                again.push(node.id);
            }
        }
        again.into_iter().for_each(|id| self.ask_again(id));
    }

    /// Ends watches that are old.
    fn unwatch(&mut self) {
        let oldest = clock::now().0.saturating_sub(WATCHED_MS);
        let is_old = |order: &Addressed| order.created.0 < oldest;
        self.orders.retain(|_, order| !is_old(order));
        let kept: std::collections::BTreeSet<_> =
            self.orders.values().map(|order| order.script.clone()).collect();
        let old: Vec<_> = self.follow.watches().keys().cloned().collect();
        for script in old.into_iter().filter(|script| !kept.contains(script)) {
            self.go(Input::Unwatch(script));
        }
    }

    fn hear(&mut self, id: NodeId, said: Said) {
        let invoice = if let Said::Invoice { hash, state, .. } = &said {
            Some((*hash, *state))
        } else {
            None
        };
        self.go(Input::Said(id, said));
        if let Some((hash, state)) = invoice.filter(|_| self.undelivered.is_empty()) {
            self.invoices.judge(hash, state, &self.nodes, &self.service);
        }
    }

    /// A step that watches nothing, and so cannot fail.
    fn go(&mut self, input: Input) {
        if let Err(error) = self.step(input) {
            tracing::error!("follow: {error}");
        }
    }

    fn step(&mut self, input: Input) -> Result<(), ChainError> {
        let stepped = self.follow.step(clock::now().0, input);
        let Output { events, verdicts, asks, changes } =
            stepped.map_err(|error| ChainError::Refused(error.to_string()))?;
        let prefix = prefix(&self.network);
        let records = changes.iter().filter_map(|change| written(&prefix, change)).collect();
        self.undelivered.push_back(Undelivered { events: events.into(), records, verdicts, asks });
        self.deliver();
        Ok(())
    }

    /// Brings into the books what is not there yet, in order, and then does the rest of each step.
    fn deliver(&mut self) {
        while let Some(output) = self.undelivered.front_mut() {
            if let Err(error) = output.deliver(&self.service) {
                let trouble = format!("what the chain does is not in the books: {error}");
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!("{trouble}");
                }
                self.trouble = Some(trouble);
                return;
            }
            self.trouble = None;
            let Some(Undelivered { verdicts, asks, .. }) = self.undelivered.pop_front() else {
                return;
            };
            for (id, standing) in verdicts {
                self.tell(id, &standing);
            }
            for (id, ask) in asks {
                self.ask(id, ask);
            }
        }
    }

    fn tell(&self, id: NodeId, standing: &Standing) {
        let named = self.nodes.iter().find(|(_, node)| node.id == id);
        let node = named.map_or("?", |(name, _)| name.as_str());
        match report::words(standing) {
            ("good", _) => tracing::info!(node, "is good again"),
            (word, Some(why)) => tracing::warn!(node, "is {word}: {why}"),
            (word, None) => tracing::warn!(node, "is {word}"),
        }
    }
}

impl Undelivered {
    /// The records go with the last event: a payment that is told of again, as after a crash in between, does what it
    /// did once.
    fn deliver(&mut self, service: &Service) -> Result<(), ServiceError> {
        while self.events.len() > 1 {
            service.chain_event(clock::now(), self.events.front(), &[])?;
            self.events.pop_front();
        }
        if !self.events.is_empty() || !self.records.is_empty() {
            service.chain_event(clock::now(), self.events.front(), &self.records)?;
            self.events.clear();
            self.records.clear();
        }
        Ok(())
    }
}

fn prefix(network: &Network) -> String {
    format!("{}/", network.name)
}

fn read(prefix: &str, name: &str, value: &[u8]) -> anyhow::Result<(Key, Record)> {
    let key = name.strip_prefix(prefix).unwrap_or_default();
    let key = HEXLOWER.decode(key.as_bytes())?;
    Ok((postcard::from_bytes(&key)?, postcard::from_bytes(value)?))
}

fn written(prefix: &str, change: &Change) -> Option<(String, Option<Vec<u8>>)> {
    let name = |key: &Key| {
        let key = postcard::to_stdvec(key).ok()?;
        Some(format!("{prefix}{}", HEXLOWER.encode(&key)))
    };
    match change {
        Change::Put(key, record) => Some((name(key)?, Some(postcard::to_stdvec(record).ok()?))),
        Change::Remove(key) => Some((name(key)?, None)),
    }
}
