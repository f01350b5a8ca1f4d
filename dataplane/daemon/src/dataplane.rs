//! The running process: built from a plan, served by the calling thread, stopped by a signal or a handle.

use crate::box_clock::BoxClock;
use crate::config::Config;
use crate::counters::SharedCounters;
use crate::keys::KeyStore;
use crate::machine;
use crate::management::{Event, SIGNALS, Server, WAKER};
use crate::manager::{Manager, Version};
use crate::neighbours::Neighbours;
use crate::plan::{self, Plan, port_id, worker_id, workers_of};
use crate::ports::{self, MemoryPorts};
use crate::receipts::Receipts;
use crate::recorder::Recorder;
use crate::resolver::{CHANGES, PortDevice, Resolver};
use crate::slow_path::{NeighbourChange, PingRequest, PingResult, Report};
use crate::store::Store;
use crate::tables::Tables;
use crate::taps::{MIRRORED, RING_RECORDS, TRACED};
use crate::threads::{self, Threads, Wiring};
use crate::vlan_tags;
use anyhow::Context;
use dataplane_api::Spec;
use dataplane_api::protocol::{Reply, Request};
use engine::{Compiler, Leases, PortFacts, Rules};
use io::{Pool, Umem, UmemConfig};
use mio::{Events, Interest, Poll};
use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use signal_hook_mio::v1_0::Signals;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use sync::publish::publish;

/// Between two looks at ports, filters and patience.
const TEND_INTERVAL: Duration = Duration::from_millis(100);

/// Runs a dataplane on the calling thread until SIGTERM or SIGINT.
///
/// `spec`: the spec to start with, unless a newer one was kept on disk.
///
/// # Errors
/// What cannot work, in a sentence.
pub fn run(config: &Config, spec: Option<Spec>) -> anyhow::Result<()> {
    let plan = plan::plan(config, &machine::look(config)?)?;
    let memory = Memory::allocate(&plan)?;
    Dataplane::start(plan, memory, MemoryPorts::new(), spec, Hosting::Process)?.serve()
}

/// Whether the process is the dataplane's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// Its own: signals stop it, rights it does not need are given up.
    Process,
    /// A guest in a test or bench: nothing of the process is touched.
    Guest,
}

/// Frame memory, which lives until the process ends.
#[derive(Debug)]
pub struct Memory {
    /// The mapping.
    pub umem: &'static Umem,
    /// Its frames.
    pub frames: Pool<'static>,
    notices: Vec<String>,
}

impl Memory {
    /// Maps what the plan asks for.
    ///
    /// # Errors
    /// There is not so much.
    pub fn allocate(plan: &Plan) -> anyhow::Result<Self> {
        let bytes = (plan.frames * plan.chunk_size) as u64;
        let mut notices: Vec<String> = machine::raise_memlock(bytes).into_iter().collect();
        let config = UmemConfig { chunk_size: plan.chunk_size, chunks: plan.frames };
        let umem: &'static Umem = Box::leak(Box::new(Umem::new(config)?));
        if umem.pages() == io::PageKind::Small {
            notices.push("frame memory got small pages, which are slower: reserve huge pages (vm.nr_hugepages)".to_owned());
        }
        Ok(Self { umem, frames: umem.frames()?, notices })
    }
}

/// Ends a dataplane from another thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    asked: Arc<AtomicBool>,
    waker: Arc<mio::Waker>,
}

impl StopHandle {
    /// Asks it to drain and end.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::Relaxed);
        // A dataplane that cannot be woken looks by itself after a while.
        drop(self.waker.wake());
    }
}

/// A dataplane whose threads run.
pub struct Dataplane {
    manager: Manager,
    server: Server,
    poll: Poll,
    signals: Option<Signals>,
    stop_asked: Arc<AtomicBool>,
    waker: Arc<mio::Waker>,
    threads: Threads,
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataplane").field("manager", &self.manager).finish_non_exhaustive()
    }
}

impl Dataplane {
    /// Opens ports and starts threads.
    ///
    /// `memory_ports`: the process' ends of ports whose back end is `memory`.
    ///
    /// # Errors
    /// What cannot work, in a sentence; nothing is left behind then.
    pub fn start(
        plan: Plan,
        memory: Memory,
        mut memory_ports: MemoryPorts,
        spec: Option<Spec>,
        hosting: Hosting,
    ) -> anyhow::Result<Self> {
        tracing::info!("{} of frame memory\n{plan}", memory.umem.pages());
        let Memory { umem, mut frames, mut notices } = memory;
        notices.extend(plan.notices.iter().cloned());
        let poll = Poll::new()?;
        let server = Server::listen(&plan.socket, plan.clients, poll.registry())
            .with_context(|| format!("listen on {}", plan.socket.display()))?;
        let state = || format!("state in {}", plan.state_dir.display());
        let store = Store::open(&plan.state_dir).with_context(state)?;
        let keys = KeyStore::open(&plan.state_dir).with_context(state)?;
        let (identities, damage) = keys.load();
        notices.extend(damage);
        let neighbours = store.load_neighbours();
        notices.extend(neighbours.damage);
        let mut neighbours = neighbours.value.unwrap_or_default();
        let handshake_clock = neighbours.start_clock(crate::clock::now());
        store.keep_neighbours(&neighbours).with_context(state)?;
        if let Some(dir) = plan.counters.parent() {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("counters in {}", dir.display()))?;
        }
        let workers = plan.workers.len();
        let counters = SharedCounters::create(&plan.counters, plan.layout, workers)?;
        let links = plan.sheds.then_some(plan.limits.vifs);
        let (mut opened, queues) =
            ports::open(&plan.ports, umem, &mut frames, &mut memory_ports, workers, links)?;

        let facts_for = |spec: &Spec| vlan_tags::facts_for(spec, &plan.ports, &opened);
        let first = first_rules(&plan, facts_for, &store, spec, &neighbours, &mut notices)?;
        let facts = vlan_tags::facts_for(&Spec::default(), &plan.ports, &opened);
        for (index, port) in opened.iter_mut().enumerate() {
            let wanted = crate::manager::filter_of(&first.rules, port_id(index));
            notices.extend(port.add(&wanted)?);
        }

        let ports_up = opened
            .iter()
            .zip(&facts)
            .map(|(port, facts)| !port.has_device || io::netdev::is_up(&facts.name));
        let ports_up = ports_up.collect();
        let signals = match hosting {
            Hosting::Process => {
                machine::forbid_core_dumps()?;
                // Who has no keys has nothing to hide.
                notices.extend(machine::lock_memory().filter(|_| !identities.is_empty()));
                // Threads inherit what is left, so this comes before them.
                machine::drop_capabilities()?;
                Some(watch_signals(&poll)?)
            }
            Hosting::Guest => None,
        };

        let devices = opened.iter().zip(&facts).map(|(port, facts)| PortDevice {
            name: facts.name.clone(),
            has_device: port.has_device,
        });
        let mut resolver = Resolver::open(devices.collect(), poll.registry());
        let next_hops = resolver.adopt(&first.rules, crate::clock::now());
        let (receipts, damaged) =
            Receipts::open(&plan.state_dir).context("open the receipts of leases")?;
        if damaged > 0 {
            notices.push(format!("{damaged} records of the receipts are damaged"));
        }
        let now = crate::clock::now();
        let box_clock = BoxClock::new(now, crate::clock::wall_nanos());
        let leases = Leases::at(&first.rules, box_clock.unix_ms(now), 1);
        let leases_due = first
            .rules
            .leases_change_after(box_clock.unix_ms(now))
            .map(|unix_ms| box_clock.monotonic(unix_ms));
        let tables = Tables {
            rules: Arc::new(first.rules),
            leases: Arc::new(leases),
            told: Arc::default(),
            next_hops,
            ports_up,
            identities: Arc::new(identities),
            watch: None,
        };

        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        let publisher = publish(tables.clone(), workers + 1);
        let notify = &waker;
        let parts = Wiring { plan: &plan, counters, frames, queues, notify, handshake_clock };
        let (threads, publisher) = threads::start(parts, publisher)?;

        let mut manager = Manager {
            started: crate::clock::now(),
            store,
            compiler: first.compiler,
            facts,
            ports: opened,
            counters,
            spec: first.spec,
            neighbours,
            handshake_clock,
            keys,
            versions: VecDeque::from([Version {
                number: 1,
                generation: tables.rules.generation(),
                edition: tables.rules.edition(),
            }]),
            tables,
            told: Vec::new(),
            box_clock,
            receipts,
            recorder: Recorder::new(&plan.state_dir),
            leases_due,
            resolver,
            publisher,
            wakers: threads.wakers.clone(),
            passed: threads.passed.clone(),
            refused: None,
            observed: Arc::clone(&threads.observed),
            pings: threads.pings.clone(),
            notices: Vec::new(),
            devices_due: 0,
            filters_until: None,
            plan,
        };
        notices.into_iter().for_each(|notice| manager.notice(notice));
        manager.begin();
        let stop_asked = Arc::new(AtomicBool::new(false));
        Ok(Self { manager, server, poll, signals, stop_asked, waker, threads })
    }

    /// Ends this dataplane from another thread.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle { asked: Arc::clone(&self.stop_asked), waker: Arc::clone(&self.waker) }
    }

    /// Serves the management socket until it is asked to stop; then drains.
    ///
    /// # Errors
    /// The system's, where the poll fails.
    pub fn serve(mut self) -> anyhow::Result<()> {
        machine::notify(&[NotifyState::Ready]);
        let served = self.work();
        machine::notify(&[NotifyState::Stopping]);
        self.manager.let_go();
        self.threads.stop()?;
        served
    }

    fn work(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut tended = crate::clock::now();
        while !self.stop_asked.load(Ordering::Relaxed) {
            let due = self.manager.leases_due.unwrap_or(u64::MAX);
            let wait = Duration::from_nanos(due.saturating_sub(crate::clock::now()));
            match self.poll.poll(&mut events, Some(wait.min(TEND_INTERVAL))) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.context("wait for the management socket")?,
            }
            if self.signals.as_mut().is_some_and(|signals| signals.pending().next().is_some()) {
                tracing::info!("asked to stop");
                return Ok(());
            }
            for event in self.server.work(&self.poll, &events) {
                self.take(event);
            }
            self.take_reports();
            self.show_taps();
            if events.iter().any(|event| event.token() == CHANGES) {
                self.manager.follow_next_hops();
            }
            let now = crate::clock::now();
            if due <= now {
                self.manager.follow_leases();
            }
            let passed = Duration::from_nanos(now - tended);
            if passed >= TEND_INTERVAL {
                tended = now;
                self.manager.tend();
                for event in self.server.close_slow(self.poll.registry(), passed) {
                    self.take(event);
                }
                machine::notify(&[NotifyState::Watchdog]);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        let (client, request) = match event {
            Event::Gone(client) => return self.manager.forget(client),
            Event::Request(client, request) => (client, request),
        };
        if !self.server.has(client) {
            return;
        }
        let reply = match request {
            Request::Apply(spec) => match self.manager.apply(spec) {
                Ok(generation) => Reply::Accepted(generation),
                Err(error) => Reply::Refused(error.to_string()),
            },
            Request::Spec => Reply::Spec(self.manager.spec.clone()),
            Request::AddKey(text) => match self.manager.add_key(&text) {
                Ok(public) => Reply::Key(public.to_string()),
                Err(why) => Reply::Refused(why),
            },
            Request::RemoveKey(public) => match self.manager.remove_key(&public) {
                Ok(public) => Reply::Key(public.to_string()),
                Err(why) => Reply::Refused(why),
            },
            Request::Keys => Reply::Keys(self.manager.keys()),
            Request::Links => Reply::Links(self.manager.links()),
            Request::Leases => Reply::Leases(self.manager.leases()),
            Request::Receipts { after, lease } => {
                Reply::Receipts(self.manager.receipts.since(after, lease))
            }
            Request::Routers => Reply::Routers(self.manager.routers()),
            Request::Status => Reply::Status(Box::new(self.manager.status())),
            Request::Brief => Reply::Status(Box::new(self.manager.brief())),
            Request::Tap(filter) => match self.manager.watch(client, filter) {
                Ok(()) => return,
                Err(why) => Reply::Refused(why),
            },
            Request::Ping { vswitch, label, timeout_ms } => {
                let timeout = u64::from(timeout_ms) * 1_000_000;
                match self.manager.ping(PingRequest { client, vswitch, label, timeout }) {
                    Ok(()) => return,
                    Err(why) => Reply::Refused(why),
                }
            }
        };
        self.reply(client, &reply);
    }

    fn reply(&mut self, client: u64, reply: &Reply) {
        if !self.server.reply(client, reply, self.poll.registry()) {
            self.manager.forget(client);
        }
    }

    /// What the slow path has to say.
    fn take_reports(&mut self) {
        let mut changes: Vec<NeighbourChange> = Vec::new();
        while let Ok(report) = self.threads.reports.try_recv() {
            match report {
                Report::Neighbour(change) => changes.push(change),
                Report::Told(links) => self.manager.tell(links),
                Report::Ping { client, result } => {
                    let reply = match result {
                        PingResult::Pong { nanos, version } => Reply::Pong { nanos, version },
                        PingResult::NoPong => Reply::NoPong,
                        PingResult::Refused(why) => Reply::Refused(why),
                    };
                    self.reply(client, &reply);
                }
            }
        }
        if !changes.is_empty() {
            self.manager.follow_neighbours(changes);
        }
    }

    fn show_taps(&mut self) {
        let Self { threads, server, poll, manager, .. } = self;
        for (index, tapped) in threads.taps.iter_mut().enumerate() {
            tapped.sleeper.prepare();
            tapped.ring.pop(RING_RECORDS, |seen| {
                let record = seen.to_record(worker_id(index));
                if matches!(seen.watcher(), MIRRORED | TRACED) {
                    return manager.record(seen.watcher(), &record);
                }
                // A client that is behind loses records; one that is gone is forgotten by its own event.
                let _shown = server.show(seen.watcher(), &Reply::Tap(record), poll.registry());
            });
        }
    }
}

/// What a process starts with.
struct First {
    spec: Spec,
    rules: Rules,
    compiler: Compiler,
}

/// The newest spec that can be compiled: of the file, of the store, or none at all.
fn first_rules(
    plan: &Plan,
    facts_for: impl Fn(&Spec) -> Vec<PortFacts>,
    store: &Store,
    configured: Option<Spec>,
    neighbours: &Neighbours,
    notices: &mut Vec<String>,
) -> anyhow::Result<First> {
    let loaded = store.load();
    notices.extend(loaded.damage);
    let compiler = || Compiler::new(plan.limits.vswitches, plan.limits.vifs, seed());
    let generation = |spec: &Option<Spec>| spec.as_ref().map(|spec| spec.generation);
    if generation(&loaded.value) > generation(&configured)
        && let Some(spec) = loaded.value
    {
        let mut compiler = compiler();
        match compiler.compile(&spec, &neighbours.admitted(&spec), &facts_for(&spec)) {
            Ok(rules) => {
                notices.push(format!(
                    "the spec kept on disk is in force, generation {}",
                    spec.generation
                ));
                return Ok(First { spec, rules, compiler });
            }
            Err(error) => notices.push(format!("the spec kept on disk cannot be used: {error}")),
        }
    }
    let mut compiler = compiler();
    let spec = configured.unwrap_or_default();
    let rules = compiler
        .compile(&spec, &neighbours.admitted(&spec), &facts_for(&spec))
        .context("the spec of the configuration")?;
    if spec != Spec::default() {
        store.keep(&spec).context("keep the spec on disk")?;
    }
    Ok(First { spec, rules, compiler })
}

/// Unpredictable to the network: the standard library's own random keys, hashed.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

pub(crate) fn port_facts(port: &plan::PortPlan, tags_visible: bool) -> PortFacts {
    PortFacts {
        name: port.config.name.clone(),
        mtu: port.mtu,
        workers: workers_of(port),
        untrusted: port.config.untrusted,
        plain_forced: port.config.plain_forced,
        tags_visible,
        checksum_partial: port.config.checksum_partial,
    }
}

fn watch_signals(poll: &Poll) -> anyhow::Result<Signals> {
    let mut signals = Signals::new([Signal::SIGTERM as i32, Signal::SIGINT as i32])?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    Ok(signals)
}
