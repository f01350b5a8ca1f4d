//! The management thread's state: the spec in force and everything that follows from it.

mod leases;

use crate::box_clock::BoxClock;
use crate::clock;
use crate::counters::SharedCounters;
use crate::keys::{self, Identities, KeyStore};
use crate::neighbours::Neighbours;
use crate::plan::{Plan, port_id, worker_id};
use crate::ports::{Opened, stations};
use crate::receipts::Receipts;
use crate::recorder::{self, Recorder};
use crate::resolver::Resolver;
use crate::slow_path::{HandshakeClock, NeighbourChange, Newcomer, Observed, PingRequest};
use crate::store::Store;
use crate::tables::Tables;
use crate::taps::{MIRRORED, WATCHERS_MAX, Watch};
use crate::vlan_tags::{self, Sight};
use dataplane_api::protocol::{TapFilter, TapRecord};
use dataplane_api::status::{
    LinkStatus, PortStatus, RouterStatus, Status, VifStatus, VswitchStatus, WorkerStatus,
};
use dataplane_api::{
    Generation, LearnedVif, LinkAddress, LinkSpec, Nanos, NodeSpec, PortId, Secret, Session, Spec,
    VifId, VifSpec, VswitchId,
};
use engine::{Compiler, LinkInfo, NextHops, PortFacts, Rules, ToldLinks, VifInfo};
use io::IoError;
use io::unicast::Listed;
use io::xdp::PortFilter;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use sync::publish::Publisher;
use sync::waker::Waker;
use wire::key::PublicKey;

/// Notices kept; the oldest go.
const NOTICES_MAX: usize = 64;
/// Between two looks at what devices see and were told, which others may change.
const DEVICES_INTERVAL: Nanos = 5_000_000_000;

/// Everything the management thread keeps.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) plan: Plan,
    pub(crate) started: Nanos,
    pub(crate) store: Store,
    pub(crate) compiler: Compiler,
    pub(crate) facts: Vec<PortFacts>,
    pub(crate) ports: Vec<Opened>,
    pub(crate) counters: SharedCounters,
    pub(crate) spec: Spec,
    pub(crate) tables: Tables,
    /// Links whose neighbours tell claims, each with its epoch.
    pub(crate) told: Vec<(VifId, u8)>,
    /// What leases go by.
    pub(crate) box_clock: BoxClock,
    /// What leases gave, minute by minute.
    pub(crate) receipts: Receipts,
    /// What mirrored and traced vifs leave on disk.
    pub(crate) recorder: Recorder,
    /// When other leases hold, which [`Manager::follow_leases`] sees to; `None`: these hold for good.
    pub(crate) leases_due: Option<Nanos>,
    /// Follows what next hops of UDP links depend on.
    pub(crate) resolver: Resolver,
    pub(crate) publisher: Publisher<Tables>,
    /// Neighbours that came by themselves, and everybody's numbers.
    pub(crate) neighbours: Neighbours,
    /// What handshakes take for the time.
    pub(crate) handshake_clock: HandshakeClock,
    /// Private keys.
    pub(crate) keys: KeyStore,
    /// Versions of the tables that may still be in use, and what each was made of.
    pub(crate) versions: VecDeque<Version>,
    /// Wake the workers and the slow path, for news.
    pub(crate) wakers: Vec<Waker>,
    /// By worker: the version that it uses and has nothing queued from before.
    pub(crate) passed: Vec<Arc<AtomicU64>>,
    pub(crate) refused: Option<(Generation, String)>,
    pub(crate) observed: Arc<Mutex<Observed>>,
    pub(crate) pings: Sender<PingRequest>,
    pub(crate) notices: Vec<String>,
    /// When devices are looked at again.
    pub(crate) devices_due: Nanos,
    /// Version after which no worker sends or expects what the filters still let in.
    pub(crate) filters_until: Option<u64>,
}

/// Tables that were published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    /// Of the publication.
    pub(crate) number: u64,
    /// Of the spec.
    pub(crate) generation: Generation,
    /// Of the rules.
    pub(crate) edition: u64,
}

/// Why a spec is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Spec(#[from] engine::SpecError),
    #[error(transparent)]
    Filter(#[from] IoError),
    #[error("the spec cannot be kept on disk: {0}")]
    Store(#[from] std::io::Error),
}

/// What a port's program must let in for these rules.
pub(crate) fn filter_of(rules: &Rules, port: PortId) -> PortFilter {
    let beacons = rules.has_beacons(port).then_some(wire::ethernet::BROADCAST);
    PortFilter {
        macs: rules.own_macs(port).map(|mac| mac.0).chain(beacons).collect(),
        endpoints: rules.own_udp(port).collect(),
    }
}

impl Manager {
    /// Makes `spec` the spec in force: compiled whole, kept on disk, published. Nothing has changed after an error.
    pub(crate) fn apply(&mut self, spec: Spec) -> Result<Generation, ApplyError> {
        let generation = spec.generation;
        let applied = self.try_apply(spec);
        match &applied {
            Ok(()) => self.refused = None,
            Err(error) => {
                tracing::warn!("spec of generation {generation} is refused: {error}");
                self.refused = Some((generation, error.to_string()));
            }
        }
        applied.map(|()| generation)
    }

    fn try_apply(&mut self, spec: Spec) -> Result<(), ApplyError> {
        if spec == self.spec && self.tables.rules.generation() == spec.generation {
            return Ok(());
        }
        self.look_at_tags();
        let mut compiler = self.compiler.clone();
        let rules = compiler.compile(&spec, &self.neighbours.admitted(&spec), &self.facts)?;
        // The order keeps packets of both generations coming: add, publish, and only later take away.
        self.add_filters(&rules)?;
        self.store.keep(&spec)?;
        tracing::info!("spec of generation {} is in force", spec.generation);
        self.spec = spec;
        self.enforce(compiler, rules);
        self.drop_absent();
        Ok(())
    }

    /// Publishes new rules.
    fn enforce(&mut self, compiler: Compiler, rules: Rules) {
        self.compiler = compiler;
        let (vswitches, vifs) = rules.new_ids();
        self.counters.zero(vswitches, vifs);
        // With the rules and not after them: an id may stand for another link now.
        self.tables.next_hops = self.resolver.adopt(&rules, clock::now());
        self.tables.rules = Arc::new(rules);
        self.choose_told();
        self.choose_watch(self.filters());
        self.look_at_bursts();
        self.choose_leases();
        self.publish();
        self.allow();
        self.filters_until = self.versions.back().map(|version| version.number);
    }

    /// Other neighbours tell claims now.
    pub(crate) fn tell(&mut self, links: Vec<(VifId, u8)>) {
        self.told = links;
        self.choose_told();
        self.publish();
    }

    /// Whoever answered, unless somebody else is there by these rules.
    fn choose_told(&mut self) {
        let rules = &self.tables.rules;
        let is_same = |(vif, epoch): &&(VifId, u8)| {
            rules.vif(*vif).is_some_and(|vif| vif.epoch == *epoch && vif.policy.traffic_class)
        };
        let same = self.told.iter().filter(is_same).map(|(vif, _)| *vif);
        let told = ToldLinks::new(self.tables.told.edition() + 1, same);
        self.tables.told = Arc::new(told);
    }

    /// Forgets learned vifs that the rules left out: the spec gave their place to another.
    fn drop_absent(&mut self) {
        let rules = &self.tables.rules;
        let name = |vif: &VifInfo| rules.vswitch(vif.vswitch).map(|vswitch| vswitch.name.clone());
        let present = rules.vifs().filter_map(|vif| Some((name(vif)?, vif.number))).collect();
        if self.neighbours.keep_only(&present, clock::wall_seconds()) {
            self.keep_neighbours();
        }
    }

    /// Neighbours that logged in, or were met by a beacon, become vifs; and some are not there any more.
    pub(crate) fn follow_neighbours(&mut self, changes: Vec<NeighbourChange>) {
        let now = clock::wall_seconds();
        let mut changed = false;
        for change in changes {
            changed |= match change {
                NeighbourChange::Came(newcomer) => self.learn(&newcomer, now),
                NeighbourChange::Gone { vswitch, number } => {
                    self.neighbours.forget(&vswitch, number, now)
                }
            };
        }
        if !changed {
            return;
        }
        self.keep_neighbours();
        let mut compiler = self.compiler.clone();
        let compiled = compiler
            .compile(&self.spec, &self.neighbours.admitted(&self.spec), &self.facts)
            .map_err(ApplyError::from)
            .and_then(|rules| self.add_filters(&rules).map(|()| rules).map_err(ApplyError::from));
        match compiled {
            Ok(rules) => self.enforce(compiler, rules),
            Err(error) => self.notice(format!("a neighbour cannot become a vif: {error}")),
        }
        self.drop_absent();
    }

    /// Whether a newcomer became a vif, or one that it had is somewhere else now.
    fn learn(&mut self, newcomer: &Newcomer, now: u64) -> bool {
        let rules = &self.tables.rules;
        let Some(vswitch) = rules.vswitch(newcomer.vswitch) else { return false };
        let key = newcomer.key.to_string();
        let number = self.neighbours.number(&self.spec, &vswitch.name, &key, &vswitch.scheme, now);
        let Some(number) = number else {
            let notice = format!("vswitch {}: no number is left for a neighbour", vswitch.name);
            self.notice(notice);
            return false;
        };
        let session = Session::Node(NodeSpec {
            public_key: key,
            // It logs in with us, not we with it.
            password: None,
            login: None,
            handshake: newcomer.handshake,
            reads_all: false,
        });
        let Some(link) = link_spec(&newcomer.from, &self.facts, session) else { return false };
        let vif = VifSpec {
            number,
            role: newcomer.role,
            mtu: None,
            link: Some(link),
            policy: Default::default(),
        };
        let learned =
            LearnedVif { vswitch: vswitch.name.clone(), user: newcomer.user.clone(), vif };
        self.neighbours
            .learned
            .retain(|of| of.vswitch != learned.vswitch || of.vif.number != number);
        self.neighbours.learned.push(learned);
        true
    }

    pub(crate) fn keep_neighbours(&mut self) {
        if let Err(error) = self.store.keep_neighbours(&self.neighbours) {
            self.notice(format!("neighbours cannot be kept on disk: {error}"));
        }
    }

    /// Keeps a private key, and lets vswitches with its public key use it.
    pub(crate) fn add_key(&mut self, text: &Secret) -> Result<PublicKey, String> {
        let identity = keys::parse(&text.0)?;
        let public = identity.public();
        self.keys.keep(&identity).map_err(|error| format!("keep the key: {error}"))?;
        self.change_identities(|identities| {
            identities.insert(public, Arc::new(identity));
        });
        Ok(public)
    }

    /// Forgets a private key.
    pub(crate) fn remove_key(&mut self, text: &str) -> Result<PublicKey, String> {
        let public: PublicKey = text.parse().map_err(|error| format!("{error}"))?;
        if self.spec.vswitches.iter().any(|vswitch| vswitch.public_key == text) {
            return Err(format!("a vswitch has the key {text}: give it another first"));
        }
        self.keys.remove(public).map_err(|error| format!("remove the key: {error}"))?;
        self.change_identities(|identities| {
            identities.remove(&public);
        });
        Ok(public)
    }

    /// The public keys of the private ones that are kept.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.tables.identities.keys().map(PublicKey::to_string).collect()
    }

    fn change_identities(&mut self, change: impl FnOnce(&mut Identities)) {
        let mut identities = Identities::clone(&self.tables.identities);
        change(&mut identities);
        self.tables.identities = Arc::new(identities);
        self.publish();
    }

    fn add_filters(&mut self, rules: &Rules) -> Result<(), IoError> {
        let mut notices = Vec::new();
        for (index, port) in self.ports.iter_mut().enumerate() {
            notices.extend(port.add(&filter_of(rules, port_id(index)))?);
        }
        notices.into_iter().for_each(|notice| self.notice(notice));
        Ok(())
    }

    /// Asks and hears what next hops follow from; publishes them if they are others.
    pub(crate) fn follow_next_hops(&mut self) {
        if let Some(next_hops) = self.resolver.follow(clock::now()) {
            self.tables.next_hops = next_hops;
            self.publish();
        }
    }

    /// Publishes the tables as they are now, and wakes whoever sleeps.
    pub(crate) fn publish(&mut self) {
        let number = self.publisher.store(self.tables.clone());
        let rules = &self.tables.rules;
        let (generation, edition) = (rules.generation(), rules.edition());
        self.versions.push_back(Version { number, generation, edition });
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Lowest generation that any worker still uses.
    fn applied(&self) -> Generation {
        self.generation_of(self.publisher.applied())
    }

    fn generation_of(&self, version: u64) -> Generation {
        let known = self.versions.iter().find(|at| at.number >= version);
        known.map_or_else(|| self.tables.rules.generation(), |at| at.generation)
    }

    /// What is due a few times a second: ports that went up or down, filters and ids that nobody needs any more.
    pub(crate) fn tend(&mut self) {
        self.look_at_ports();
        self.follow_leases();
        self.follow_receipts();
        self.follow_next_hops();
        if clock::now() >= self.devices_due {
            self.devices_due = clock::now() + DEVICES_INTERVAL;
            self.look_at_tags();
            self.look_at_addresses();
        }
        if self.neighbours.extend_clock(self.handshake_clock, clock::now()) {
            self.keep_neighbours();
        }
        let applied = self.publisher.applied();
        self.publisher.reclaim();
        let passed = self
            .passed
            .iter()
            .map(|version| version.load(Ordering::Acquire))
            .min()
            .unwrap_or(applied);
        let passed = passed.min(applied);
        if let Some(version) = self.versions.iter().rev().find(|at| at.number <= passed) {
            self.compiler.retire_up_to(version.edition);
        }
        while self.versions.len() > 1 && self.versions[1].number <= passed {
            self.versions.pop_front();
        }
        if self.filters_until.is_some_and(|version| version <= applied) {
            self.filters_until = None;
            self.remove_filters();
        }
    }

    fn remove_filters(&mut self) {
        let mut failed = Vec::new();
        for (index, port) in self.ports.iter_mut().enumerate() {
            let wanted = filter_of(&self.tables.rules, port_id(index));
            if let Err(error) = port.remove_others(&wanted) {
                failed.push(error.to_string());
            }
        }
        failed.into_iter().for_each(|notice| self.notice(notice));
    }

    /// From now on nothing that arrives is ours: while workers drain, and nobody reads, it is left to the kernel.
    pub(crate) fn let_go(&mut self) {
        for filter in self.ports.iter_mut().filter_map(|port| port.filter.as_mut()) {
            if let Err(error) = filter.remove_others(&PortFilter::default()) {
                tracing::warn!("{error}");
            }
        }
    }

    fn look_at_ports(&mut self) {
        let is_up = |index: usize, port: &Opened| {
            !port.has_device || io::netdev::is_up(&self.facts[index].name)
        };
        let up: Arc<[bool]> =
            self.ports.iter().enumerate().map(|(index, port)| is_up(index, port)).collect();
        if up == self.tables.ports_up {
            return;
        }
        for (index, (now, before)) in up.iter().zip(self.tables.ports_up.iter()).enumerate() {
            if now != before {
                tracing::warn!(
                    "port {} is {}",
                    self.facts[index].name,
                    if *now { "up" } else { "down" }
                );
            }
        }
        self.tables.ports_up = up;
        self.publish();
    }

    /// What the ports see of tags now: a frame may have proved it, or somebody may have changed the device.
    pub(crate) fn look_at_tags(&mut self) {
        for index in 0..self.ports.len() {
            let sight = Sight::of(&self.plan.ports[index], &self.ports[index]);
            self.facts[index].tags_visible = sight == Sight::Whole;
            let sentence = sight.sentence(&self.facts[index].name);
            let about = vlan_tags::subject(&self.facts[index].name);
            self.notices
                .retain(|notice| !notice.starts_with(&about) || sentence.as_ref() == Some(notice));
            sentence.into_iter().for_each(|sentence| self.notice(sentence));
        }
    }

    /// Addresses that a device was told may be gone: somebody took them away, or it could not be told.
    fn look_at_addresses(&mut self) {
        let mut notices = Vec::new();
        for (index, port) in self.ports.iter_mut().enumerate() {
            let Some(unicast) = &mut port.unicast else { continue };
            let (name, wanted) =
                (&self.facts[index].name, filter_of(&self.tables.rules, port_id(index)));
            notices.extend(match unicast.add(&stations(&wanted)).and_then(|()| unicast.check()) {
                Ok(Listed::All | Listed::Promiscuous) => None,
                Ok(Listed::Again(count)) => Some(format!(
                    "port {name}: somebody took {count} of our MAC addresses off the device; they were told it again"
                )),
                Err(error) => Some(error.to_string()),
            });
            if unicast.is_promiscuous() {
                notices.push(format!("port {name}: its device does not keep all of our MAC addresses: it is promiscuous, and gets everything"));
            }
        }
        notices.into_iter().for_each(|notice| self.notice(notice));
    }

    /// Keeps a sentence for the status, once.
    pub(crate) fn notice(&mut self, notice: String) {
        if self.notices.contains(&notice) {
            return;
        }
        tracing::warn!("{notice}");
        if self.notices.len() >= NOTICES_MAX {
            self.notices.remove(0);
        }
        self.notices.push(notice);
    }

    /// Sends a ping through the slow path, which reports what became of it.
    pub(crate) fn ping(&self, request: PingRequest) -> Result<(), String> {
        self.pings.send(request).map_err(|_gone| "the slow path is gone".to_owned())?;
        self.wakers.iter().for_each(Waker::wake);
        Ok(())
    }

    /// Somebody watches.
    pub(crate) fn watch(&mut self, watcher: u64, filter: TapFilter) -> Result<(), String> {
        let mut filters = self.filters();
        filters.retain(|(other, _)| *other != watcher);
        if filters.len() >= WATCHERS_MAX {
            return Err(format!("{WATCHERS_MAX} clients watch packets already"));
        }
        filters.push((watcher, filter));
        self.set_filters(filters);
        Ok(())
    }

    /// Somebody went away.
    pub(crate) fn forget(&mut self, watcher: u64) {
        let mut filters = self.filters();
        filters.retain(|(other, _)| *other != watcher);
        if filters.len() != self.filters().len() {
            self.set_filters(filters);
        }
    }

    fn filters(&self) -> Vec<(u64, TapFilter)> {
        self.tables.watch.as_ref().map_or_else(Vec::new, |watch| watch.filters.clone())
    }

    fn set_filters(&mut self, filters: Vec<(u64, TapFilter)>) {
        self.choose_watch(filters);
        self.publish();
    }

    /// Clients watch, and vifs whose policy says so.
    fn choose_watch(&mut self, filters: Vec<(u64, TapFilter)>) {
        let flags = recorder::flags(&self.tables.rules);
        let is_empty = filters.is_empty() && flags.is_empty();
        self.tables.watch = (!is_empty).then(|| Arc::new(Watch { filters, flags }));
    }

    /// What follows from the rules that the process starts with.
    pub(crate) fn begin(&mut self) {
        self.allow();
        self.look_at_tags();
        self.look_at_bursts();
        self.set_filters(Vec::new());
    }

    /// Keeps what a worker saw of a vif whose policy says so.
    pub(crate) fn record(&mut self, watcher: u64, record: &TapRecord) {
        let kept = match watcher {
            MIRRORED => self.recorder.mirror(&self.tables.rules, record),
            _ => self.recorder.trace(record),
        };
        if let Err(error) = kept {
            self.notice(format!("packets of mirrored and traced vifs cannot be kept: {error}"));
        }
    }

    /// The observed state of links.
    pub(crate) fn links(&self) -> Vec<LinkStatus> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).link_statuses()
    }

    /// What the routers of vswitches are up to.
    pub(crate) fn routers(&self) -> Vec<RouterStatus> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).routers.clone()
    }

    /// The observed state.
    pub(crate) fn status(&self) -> Status {
        let rules = &self.tables.rules;
        let needing = needing_keys(rules);
        let vswitches = rules.vswitches().map(|vswitch| VswitchStatus {
            id: vswitch.id,
            name: vswitch.name.clone(),
            tenant: vswitch.tenant,
            public_key: vswitch.key.to_string(),
            address: vswitch.address.to_string(),
            scheme: vswitch.scheme_name.clone(),
            needs_key: needing.contains(&vswitch.id),
            has_key: self.tables.identities.contains_key(&vswitch.key),
        });
        let vifs = rules.vifs().map(|vif| VifStatus {
            told: self.tables.told.contains(vif.id),
            ..vif_status(rules, &self.facts, &self.tables.next_hops, vif)
        });
        Status { vswitches: vswitches.collect(), vifs: vifs.collect(), ..self.brief() }
    }

    /// The same without vswitches and vifs.
    pub(crate) fn brief(&self) -> Status {
        let rules = &self.tables.rules;
        let needing = needing_keys(rules);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ns: clock::now() - self.started,
            accepted: rules.generation(),
            applied: self.applied(),
            refused: self.refused.clone(),
            counters: self.plan.counters.display().to_string(),
            ports: self.port_statuses(),
            workers: self.worker_statuses(),
            slow_path: self.observed.lock().unwrap_or_else(PoisonError::into_inner).status.clone(),
            notices: self
                .notices
                .iter()
                .cloned()
                .chain(self.resolver.notices())
                .chain(self.keyless(&needing))
                .collect(),
            ..Status::default()
        }
    }

    /// A sentence for each vswitch whose links stay down because nobody gave its private key.
    fn keyless(&self, needing: &BTreeSet<VswitchId>) -> impl Iterator<Item = String> {
        let identities = &self.tables.identities;
        let without = self.tables.rules.vswitches().filter(|vswitch| {
            needing.contains(&vswitch.id) && !identities.contains_key(&vswitch.key)
        });
        without.map(|vswitch| {
            format!(
                "vswitch {}: the private key of {} is not here, so its links with keys stay down; give it with `switchyard keys import`",
                vswitch.name, vswitch.key
            )
        })
    }

    fn port_statuses(&self) -> Vec<PortStatus> {
        let ports = self.plan.ports.iter().zip(&self.ports).enumerate();
        ports
            .map(|(index, (port, opened))| PortStatus {
                id: port_id(index),
                name: port.config.name.clone(),
                backend: opened.backend.clone(),
                up: self.tables.ports_up.get(index).copied().unwrap_or(false),
                mtu: port.mtu,
                queues: port.queues.clone(),
                steering: port.steering(self.plan.workers.len()),
            })
            .collect()
    }

    fn worker_statuses(&self) -> Vec<WorkerStatus> {
        let workers = self.plan.workers.iter().zip(&self.passed).enumerate();
        workers
            .map(|(index, (core, passed))| WorkerStatus {
                id: worker_id(index),
                core: core.and_then(|core| u32::try_from(core).ok()),
                generation: self.generation_of(passed.load(Ordering::Acquire)),
            })
            .collect()
    }
}

/// Vswitches that have links with keys, or listen for them.
fn needing_keys(rules: &Rules) -> BTreeSet<VswitchId> {
    let linked = rules.vifs().filter(|vif| vif.node.is_some()).map(|vif| vif.vswitch);
    let listening = rules.vswitches().filter(|vswitch| !vswitch.listeners.is_empty());
    linked.chain(listening.map(|vswitch| vswitch.id)).collect()
}

/// The link to where a newcomer is, as a spec says it.
fn link_spec(from: &LinkAddress, facts: &[PortFacts], session: Session) -> Option<LinkSpec> {
    let name = |port: PortId| facts.get(port.index()).map(|facts| facts.name.clone());
    match *from {
        LinkAddress::Ethernet { port, vlan, own, peer } => {
            Some(LinkSpec::Ethernet { port: name(port)?, vlan, local: Some(own), peer, session })
        }
        LinkAddress::Udp { port, vlan, own, peer } => {
            Some(LinkSpec::Udp { port: name(port)?, vlan, local: own, peer, session })
        }
    }
}

fn vif_status(
    rules: &Rules,
    facts: &[PortFacts],
    next_hops: &NextHops,
    vif: &VifInfo,
) -> VifStatus {
    let port = |id: PortId| facts.get(id.index()).map_or("", |facts| facts.name.as_str());
    let tag = |vlan: Option<u16>| vlan.map_or_else(String::new, |vlan| format!(" vlan {vlan}"));
    let (link, resolved) = match &vif.link {
        LinkInfo::Ethernet { port: id, vlan, own: _, peer } => {
            (format!("ethernet {}{} {peer}", port(*id), tag(*vlan)), true)
        }
        LinkInfo::Udp { port: id, vlan, own: _, peer } => (
            format!("udp {}{} {peer}", port(*id), tag(*vlan)),
            next_hops.next_hop(vif.id).is_some(),
        ),
        LinkInfo::Cable { to } => {
            let other = rules.vif(*to);
            let name = other
                .and_then(|other| rules.vswitch(other.vswitch))
                .map_or("", |vswitch| &vswitch.name);
            (format!("cable to {name}:{}", other.map_or(0, |other| other.number)), true)
        }
    };
    VifStatus {
        id: vif.id,
        vswitch: vif.vswitch,
        number: vif.number,
        role: format!("{:?}", vif.role).to_lowercase(),
        label: format!("{:016x}", vif.label),
        link,
        port: vif.port(),
        owner: vif.owner,
        mtu: vif.mtu.into(),
        resolved,
        told: false,
    }
}
