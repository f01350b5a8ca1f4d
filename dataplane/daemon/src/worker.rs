//! A pinned thread that moves packets: its queues, its engine, its frames. Run to completion; it never waits.

mod backlog;
mod idle;
mod peers;

pub(crate) use idle::Bell;
pub(crate) use peers::{FromSlow, FromWorker, Mesh, Peers, ToSlow, mesh};

use crate::clock;
use crate::tables::Tables;
use crate::taps::WorkerTap;
use backlog::Backlog;
use dataplane_api::counters::{Bank as _, Layout, PortCounter, WorkerCounter};
use dataplane_api::{DropReason, Nanos, PortId, WorkerId};
use engine::{Engine, NoTap, Outcome, Rules, Tap};
use idle::Idle;
use io::{AnyPort, Burst, Depot, Frame, Pool, Port, PortStatistics};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use sync::counters::Bank;
use sync::port_share::Share;
use sync::publish::Reader;

/// Rounds between two updates of the counters of rounds.
const ROUNDS_PER_UPDATE: u64 = 256;
/// Nanoseconds between two looks at gauges and the kernel's counters, which are system calls.
const STATISTICS_INTERVAL: Nanos = 200_000_000;
/// A worker with fewer free frames asks the depot for more.
const POOL_LOW: usize = 256;

/// A queue of a port.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) port: PortId,
    pub(crate) io: AnyPort<'static>,
    pub(crate) seen: PortStatistics,
    /// Gauge as it was last written.
    pub(crate) pending: u64,
}

/// How a process stops.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Set once.
    pub(crate) asked: AtomicBool,
    /// Longest drain.
    pub(crate) drain: Duration,
    /// After it, no worker hands anything on.
    pub(crate) drained: Barrier,
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    tables: Reader<Tables>,
    tap: WorkerTap,
    idle: Idle,
    stop: Arc<Stop>,
    passed: Passed,
    path: Path,
}

/// Which version of the tables this worker uses, and has nothing queued from before.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) version: Arc<AtomicU64>,
    pub(crate) adopted: u64,
    pub(crate) waiting: bool,
}

/// What packets pass through.
#[derive(Debug)]
struct Path {
    engine: Engine<Frame<'static>, Bank<'static>>,
    queues: Vec<Queue>,
    backlog: Backlog,
    /// Ports with a queue here, and the first of those queues: what goes out of the port leaves by it.
    tx: Vec<(PortId, usize)>,
    pool: Pool<'static>,
    pool_high: usize,
    depot: Arc<Depot<'static>>,
    /// Frames that came from the slow path, less those that went there to be answered: they end here, and it has no
    /// others.
    owed: isize,
    peers: Peers,
    out: Outcome<Frame<'static>>,
    rx: Burst<Frame<'static>>,
    sending: Burst<Frame<'static>>,
    layout: Layout,
    rounds: u64,
    idle_rounds: u64,
    statistics_at: Nanos,
}

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) id: WorkerId,
    pub(crate) config: engine::EngineConfig,
    pub(crate) bank: Bank<'static>,
    pub(crate) tables: Reader<Tables>,
    pub(crate) tap: WorkerTap,
    pub(crate) queues: Vec<Queue>,
    /// This worker's side of ports that others send on too.
    pub(crate) shares: Vec<(PortId, Share)>,
    pub(crate) pool: Pool<'static>,
    pub(crate) depot: Arc<Depot<'static>>,
    pub(crate) peers: Peers,
    pub(crate) bell: Bell,
    pub(crate) idle_rounds: u32,
    /// Whether it sheds what it cannot take in time.
    pub(crate) sheds: bool,
    pub(crate) stop: Arc<Stop>,
    pub(crate) passed: Arc<AtomicU64>,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut tx: Vec<(PortId, usize)> = Vec::with_capacity(parts.queues.len());
        for (index, queue) in parts.queues.iter().enumerate() {
            if tx.iter().all(|(port, _)| *port != queue.port) {
                tx.push((queue.port, index));
            }
        }
        let mut engine = Engine::new(parts.id, parts.config, parts.bank);
        for (port, share) in parts.shares {
            engine.share_port(port, Box::new(share));
        }
        // Twice its share, so that balancing does not go back and forth.
        let pool_high = 2 * parts.pool.len().max(POOL_LOW);
        Self {
            tables: parts.tables,
            tap: parts.tap,
            idle: Idle::new(parts.bell, parts.idle_rounds),
            stop: parts.stop,
            passed: Passed { version: parts.passed, adopted: 0, waiting: false },
            path: Path {
                engine,
                queues: parts.queues,
                backlog: Backlog::new(parts.sheds),
                tx,
                pool: parts.pool,
                pool_high,
                depot: parts.depot,
                owed: 0,
                peers: parts.peers,
                out: Outcome::new(),
                rx: Burst::new(),
                sending: Burst::new(),
                layout: parts.config.layout,
                rounds: 0,
                idle_rounds: 0,
                statistics_at: 0,
            },
        }
    }

    /// Until the process stops; then drains.
    pub(crate) fn run(mut self) {
        while !self.stop.asked.load(Ordering::Relaxed) {
            let tables = self.tables.refresh();
            let now = clock::now();
            let moved = match &tables.watch {
                None => self.path.round(tables, now, &mut NoTap, |_| 0),
                Some(watch) => {
                    self.tap.at(now, watch);
                    self.path.round(tables, now, &mut self.tap, |tap| tap.flush(watch))
                }
            };
            self.path.account(now, moved);
            self.passed.look(self.tables.version(), &mut self.path);
            if self.idle.is_due(moved) && !self.path.engine.waits_for_clock(now) {
                self.path.account_sleep(now);
                self.idle.sleep(
                    &mut self.tables,
                    &self.path.queues,
                    &self.path.peers,
                    self.path.engine.frames_held() + usize::from(self.path.engine.is_pacing()),
                );
            }
        }
        self.drain();
    }

    /// Sends what is queued for a bounded time; what is left is counted `stopping`.
    fn drain(mut self) {
        let tables = self.tables.refresh();
        let path = &mut self.path;
        path.discard_received();
        let deadline = clock::now() + u64::try_from(self.stop.drain.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let now = clock::now();
            let moved = path.exchange(tables, now, &mut NoTap, &mut |_| 0)
                + path.transmit(tables, now, &mut NoTap, &mut |_| 0);
            let waiting = path.engine.frames_held()
                + path.queues.iter().map(|queue| queue.io.pending()).sum::<usize>();
            if now >= deadline || moved == 0 && waiting == 0 {
                break;
            }
        }
        // From here on nobody hands anything on, so a ring that is empty stays empty.
        self.stop.drained.wait();
        path.peers.close();
        let now = clock::now();
        while path.exchange(tables, now, &mut NoTap, &mut |_| 0) + path.engine.frames_held() > 0 {
            path.engine.drop_queued(None, DropReason::Stopping, &mut path.out, &mut NoTap);
            path.settle();
        }
        // What came in before the program was told that nothing is ours, and after the first look.
        path.discard_received();
        path.count_unsent();
        path.write_statistics();
    }
}

impl Passed {
    /// After a round: says so once nothing of older tables waits. A version that comes meanwhile has its turn then.
    #[inline]
    fn look(&mut self, version: u64, path: &mut Path) {
        if version != self.adopted && !self.waiting && path.engine.begin_turn() {
            self.adopted = version;
            self.waiting = true;
        }
        if self.waiting && path.engine.older() == 0 {
            self.waiting = false;
            // Release: the management thread gives ids to something new after it saw this.
            self.version.store(self.adopted, Ordering::Release);
        }
    }
}

impl Path {
    /// One round of the loop. `flush` sends a call's tap records and says how many were lost.
    fn round<T: Tap>(
        &mut self,
        tables: &Tables,
        now: Nanos,
        tap: &mut T,
        mut flush: impl FnMut(&mut T) -> u64,
    ) -> usize {
        self.engine.adopt(&tables.leases, now);
        self.engine.adopt_told(&tables.told);
        self.backlog.turn(now, tables.leases.guard_any());
        let received = self.receive(&tables.rules, now, tap, &mut flush);
        let exchanged = self.exchange(tables, now, tap, &mut flush);
        let make = |bytes: &[u8]| fill(&mut self.pool, bytes);
        self.engine.tend(&tables.rules, now, make, &mut self.out, tap);
        self.settle();
        let sent = self.transmit(tables, now, tap, &mut flush);
        received + exchanged + sent
    }

    /// A burst of each queue. All of them before anything is sent: a receive ring that is full loses frames.
    fn receive<T: Tap>(
        &mut self,
        rules: &Rules,
        now: Nanos,
        tap: &mut T,
        flush: &mut impl FnMut(&mut T) -> u64,
    ) -> usize {
        let mut moved = 0;
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            queue.io.reclaim(&mut self.pool);
            let received = queue.io.receive(&mut self.pool, &mut self.rx);
            if received > 0 {
                moved += received;
                let shed = self.backlog.shed(|| queue.io.backlog());
                self.engine.shed(shed, self.backlog.away());
                self.engine.receive(rules, now, queue.port, &mut self.rx, &mut self.out, tap);
                self.settle();
                self.lost(flush(tap));
            }
        }
        moved
    }

    /// What other workers and the slow path sent.
    fn exchange<T: Tap>(
        &mut self,
        tables: &Tables,
        now: Nanos,
        tap: &mut T,
        flush: &mut impl FnMut(&mut T) -> u64,
    ) -> usize {
        let mut moved = 0;
        for index in 0..self.peers.receivers() {
            let taken = self.peers.take_over(index);
            if taken > 0 {
                moved += taken;
                let shed = self.backlog.shed(|| self.peers.backlog(index));
                self.engine.shed(shed, self.backlog.away());
                self.engine.take_over(
                    &tables.rules,
                    now,
                    &mut self.peers.burst,
                    &mut self.out,
                    tap,
                );
                self.settle();
                self.lost(flush(tap));
            }
        }
        while let Some(item) = self.peers.next_from_slow() {
            moved += 1;
            match item {
                FromSlow::Free(frame) => {
                    self.owed += 1;
                    self.pool.put(frame);
                }
                FromSlow::Session(change) => {
                    self.engine.change_session(&tables.rules, change, &mut self.out);
                    self.settle();
                }
                FromSlow::Inject(inject) => {
                    self.owed += 1;
                    self.engine.inject(&tables.rules, now, inject, &mut self.out, tap);
                    self.settle();
                    self.lost(flush(tap));
                }
            }
        }
        if self.owed >= Depot::BURST.cast_signed() {
            self.pay_back();
        }
        moved
    }

    /// Gives the slow path as many frames as it sent, where it looks for them.
    #[cold]
    fn pay_back(&mut self) {
        let before = self.pool.len();
        if before > Depot::BURST {
            self.depot.balance(&mut self.pool, 0, before - 1);
        }
        self.owed -= (before - self.pool.len()).cast_signed();
    }

    /// Fills each port's room from its queue.
    fn transmit<T: Tap>(
        &mut self,
        tables: &Tables,
        now: Nanos,
        tap: &mut T,
        flush: &mut impl FnMut(&mut T) -> u64,
    ) -> usize {
        let mut moved = 0;
        for index in 0..self.tx.len() {
            let (port, queue) = self.tx[index];
            if self.engine.queued(port) > 0 {
                if !tables.ports_up.get(port.index()).copied().unwrap_or(true) {
                    self.engine.drop_queued(Some(port), DropReason::PortDown, &mut self.out, tap);
                    self.settle();
                } else {
                    moved += self.transmit_port(tables, now, port, queue, tap);
                }
                self.lost(flush(tap));
            }
            self.queues[queue].io.flush();
        }
        moved
    }

    fn transmit_port<T: Tap>(
        &mut self,
        tables: &Tables,
        now: Nanos,
        port: PortId,
        queue: usize,
        tap: &mut T,
    ) -> usize {
        self.queues[queue].io.reclaim(&mut self.pool);
        let mut moved = 0;
        loop {
            let room = self.queues[queue].io.room();
            if room == 0 || self.engine.queued(port) == 0 {
                return moved;
            }
            self.engine.transmit(
                &tables.rules,
                &tables.next_hops,
                now,
                port,
                room,
                &mut self.sending,
                &mut self.out,
                tap,
            );
            self.settle();
            if self.sending.is_empty() {
                // All that waits has to wait: the port was given what it is sold as.
                return moved;
            }
            moved += self.queues[queue].io.transmit(&mut self.sending);
            if !self.sending.is_empty() {
                // The port took fewer than it said.
                self.engine.count_port_drops(
                    port,
                    DropReason::TxInvalid,
                    self.sending.len() as u64,
                );
                self.sending.drain(..).for_each(|frame| self.pool.put(frame));
                return moved;
            }
        }
    }

    /// Brings what a call left where it belongs.
    #[inline]
    fn settle(&mut self) {
        self.out.free.drain(..).for_each(|frame| self.pool.put(frame));
        if self.out.is_empty() {
            return;
        }
        for punt in self.out.punts.drain(..) {
            match self.peers.tell_slow(FromWorker::Punt(punt)) {
                Err(FromWorker::Punt(punt)) => self.pool.put(self.engine.punt_full(punt)),
                Err(_) | Ok(()) => self.owed -= 1,
            }
        }
        for stranger in self.out.strangers.drain(..) {
            let told = self.peers.tell_slow(FromWorker::Stranger(stranger));
            if let Err(FromWorker::Stranger(stranger)) = told {
                self.pool.put(self.engine.stranger_full(stranger));
            }
        }
        self.tell_news();
        self.peers.sort(&mut self.out.hand_offs);
        while let Some(refused) = self.peers.hand_off() {
            self.pool.put(self.engine.hand_off_full(refused));
        }
    }

    /// News in their order: later ones are about what became of keys since. What does not fit is told the next time:
    /// the slow path must not miss it.
    fn tell_news(&mut self) {
        // The last is taken first, so that none is moved.
        self.out.news.reverse();
        while let Some(news) = self.out.news.pop() {
            if let Err(FromWorker::News(news)) = self.peers.tell_slow(FromWorker::News(news)) {
                self.out.news.push(news);
                break;
            }
        }
        self.out.news.reverse();
    }

    fn lost(&mut self, records: u64) {
        if records > 0 {
            self.engine.bank().add(self.layout.worker(WorkerCounter::TapLost), records);
        }
    }

    /// Frames that were received but will not be looked at any more.
    fn discard_received(&mut self) {
        for index in 0..self.queues.len() {
            // What comes in meanwhile is not waited for: as many bursts as the largest ring has.
            for _ in 0..1024 {
                let queue = &mut self.queues[index];
                let received = queue.io.receive(&mut self.pool, &mut self.rx);
                if received == 0 {
                    break;
                }
                let (port, bytes) = (
                    queue.port,
                    self.rx.iter().map(|frame| wire::buf::Packet::len(frame) as u64).sum(),
                );
                let bank = self.engine.bank();
                bank.add(self.layout.port(port, PortCounter::RxFrames), received as u64);
                bank.add(self.layout.port(port, PortCounter::RxBytes), bytes);
                self.engine.count_port_drops(port, DropReason::Stopping, received as u64);
                self.rx.drain(..).for_each(|frame| self.pool.put(frame));
            }
        }
    }

    /// Counts frames that wait in rings which nobody will look at any more. They count as given to the kernel, too.
    fn count_unsent(&mut self) {
        for queue in &self.queues {
            let unsent = queue.io.unsent() as u64;
            self.engine.count_port_drops(queue.port, DropReason::Stopping, unsent);
        }
    }

    /// Counts the round, and once a while everything that is a gauge or costs a system call.
    #[inline]
    fn account(&mut self, now: Nanos, moved: usize) {
        self.rounds += 1;
        self.idle_rounds += u64::from(moved == 0);
        if self.rounds >= ROUNDS_PER_UPDATE {
            self.depot.balance(&mut self.pool, POOL_LOW, self.pool_high);
            self.write_rounds();
            self.write_statistics_if_due(now);
        }
    }

    fn account_sleep(&mut self, now: Nanos) {
        self.write_rounds();
        let bank = self.engine.bank();
        bank.add(self.layout.worker(WorkerCounter::Sleeps), 1);
        self.write_statistics_if_due(now);
        self.write_gauges();
    }

    fn write_statistics_if_due(&mut self, now: Nanos) {
        if now >= self.statistics_at {
            self.statistics_at = now + STATISTICS_INTERVAL;
            self.write_statistics();
        }
    }

    fn write_rounds(&mut self) {
        let (rounds, idle) =
            (std::mem::take(&mut self.rounds), std::mem::take(&mut self.idle_rounds));
        let bank = self.engine.bank();
        bank.add(self.layout.worker(WorkerCounter::Rounds), rounds);
        bank.add(self.layout.worker(WorkerCounter::IdleRounds), idle);
    }

    fn write_gauges(&mut self) {
        let (free, held) = (self.pool.len() as u64, self.engine.frames_held() as u64);
        let bank = self.engine.bank();
        bank.set(self.layout.worker(WorkerCounter::FramesFree), free);
        bank.set(self.layout.worker(WorkerCounter::FramesQueued), held);
    }

    /// Adds what ports and kernel counted since the last time.
    fn write_statistics(&mut self) {
        self.write_gauges();
        for queue in &mut self.queues {
            let (now, seen, pending) =
                (queue.io.statistics(), queue.seen, queue.io.pending() as u64);
            let bank = self.engine.bank();
            let mut add = |counter, n: u64| bank.add(self.layout.port(queue.port, counter), n);
            add(PortCounter::TxKicks, now.kicks - seen.kicks);
            add(PortCounter::KernelRxDropped, now.rx_dropped - seen.rx_dropped);
            add(PortCounter::KernelRxRingFull, now.rx_ring_full - seen.rx_ring_full);
            add(PortCounter::KernelRxInvalid, now.rx_invalid - seen.rx_invalid);
            add(PortCounter::KernelTxInvalid, now.tx_invalid - seen.tx_invalid);
            add(PortCounter::KernelFillEmpty, now.fill_empty - seen.fill_empty);
            // A gauge of several queues: the difference, which wraps where it falls.
            add(PortCounter::TxPending, pending.wrapping_sub(queue.pending));
            self.engine.count_port_drops(queue.port, DropReason::ShedXdp, now.shed - seen.shed);
            (queue.seen, queue.pending) = (now, pending);
        }
    }
}

/// A free frame with these bytes.
fn fill(pool: &mut Pool<'static>, bytes: &[u8]) -> Option<Frame<'static>> {
    let mut frame = pool.take()?;
    if frame.fill(bytes) {
        return Some(frame);
    }
    pool.put(frame);
    None
}
