//! The thread that does what packets must not wait for: it answers what is for the switches themselves, sends pings, and
//! has the handshakes of links.

mod cables;
mod observed;
mod outbox;
mod routers;
mod rules;

use crate::clock;
use crate::counters::SharedCounters;
use crate::tables::Tables;
use crate::worker::{FromSlow, FromWorker, ToSlow};
use crypt::noise::Tai64n;
use dataplane_api::counters::{Bank as _, Layout, VifCounter};
use dataplane_api::limits::BURST_MAX;
use dataplane_api::{
    DropReason, Handshake, LinkAddress, MacAddress, Nanos, Role, VifId, VswitchId,
};
use engine::slow_path::{Answer, PingId, Punted, Responder, deliver};
use engine::{Punt, PuntKind, SessionNews, Stranger, Via};
use io::{Depot, Frame, Pool};
use node::links::{Command, Links, Moment, Traffic};
pub(crate) use observed::Observed;
use outbox::{Outbox, Rest};
use rand_core::UnwrapErr;
use routers::Routers;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use sync::counters::Bank;
use sync::publish::Reader;
use sync::waker::Sleeper;
use wire::buf::Packet as _;
use wire::control::{self, Ping, kind};
use wire::key::PublicKey;
use wire::switch::Header;
use zerocopy::FromBytes as _;

/// Longest sleep: pings expire, links are looked at and news is found with this grain.
const SLEEP: Duration = Duration::from_millis(5);
/// Sleep while rings are full or frames are wanted, which nobody wakes this thread for.
const BLOCKED: Duration = Duration::from_micros(200);
/// Longest time that a ping may be waited for.
const PING_TIMEOUT_MAX: Nanos = 60_000_000_000;
/// Links that are greeted in one round: some 0.5 ms of public-key work.
const GREETINGS: usize = 16;
/// Between two looks at the links for the status.
const STATUS_INTERVAL: Nanos = 250_000_000;

/// The system's randomness. It fails only where the kernel has none, on which nothing can go on.
type SystemRandom = UnwrapErr<getrandom::SysRng>;

/// A ping that somebody asked for.
#[derive(Debug)]
pub(crate) struct PingRequest {
    /// Of the management thread: whom to answer.
    pub(crate) client: u64,
    pub(crate) vswitch: String,
    pub(crate) label: u64,
    pub(crate) timeout: Nanos,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PingResult {
    Pong { nanos: u64, version: u32 },
    NoPong,
    Refused(String),
}

/// A neighbour that came or went by itself.
#[derive(Clone, Debug)]
pub(crate) enum NeighbourChange {
    Came(Newcomer),
    Gone { vswitch: String, number: u16 },
}

/// Somebody who shall become a vif.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    pub(crate) vswitch: VswitchId,
    pub(crate) key: PublicKey,
    pub(crate) from: LinkAddress,
    pub(crate) user: Option<String>,
    pub(crate) role: Role,
    pub(crate) handshake: Handshake,
}

/// What the slow path tells the management thread.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    Ping {
        client: u64,
        result: PingResult,
    },
    Neighbour(NeighbourChange),
    /// Links whose neighbours tell claims, each with its epoch.
    Told(Vec<(VifId, u8)>),
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct SlowPath {
    pub(crate) tables: Reader<Tables>,
    pub(crate) responder: Responder,
    pub(crate) links: Links,
    pub(crate) random: SystemRandom,
    routers: Routers,
    /// What the links were configured from last.
    pub(crate) configured: rules::Configured,
    pub(crate) counters: SharedCounters,
    pub(crate) outbox: Outbox,
    pub(crate) bank: Bank<'static>,
    pub(crate) layout: Layout,
    pub(crate) requests: Receiver<PingRequest>,
    pub(crate) reports: Sender<Report>,
    /// Wakes the management thread for reports.
    pub(crate) notify: Arc<mio::Waker>,
    pub(crate) observed: Arc<Mutex<Observed>>,
    /// When others are shown how things are.
    pub(crate) observe_at: Nanos,
    pub(crate) sleeper: Sleeper,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) waiting: HashMap<PingId, u64>,
    handshake_clock: HandshakeClock,
    /// Own and peer station of the stranger's frame that is in work.
    answering: (MacAddress, MacAddress),
}

/// Wall time for handshakes, which only ever goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandshakeClock {
    /// CLOCK_MONOTONIC when it was set.
    pub(crate) set: Nanos,
    /// What it showed then, seconds since 1970.
    pub(crate) seconds: u64,
}

impl HandshakeClock {
    /// Seconds since 1970, and nanoseconds.
    pub(crate) fn at(self, now: Nanos) -> (u64, u32) {
        const SECOND: Nanos = 1_000_000_000;
        let passed = now.saturating_sub(self.set);
        (self.seconds + passed / SECOND, u32::try_from(passed % SECOND).unwrap_or(0))
    }
}

fn moment(clock: HandshakeClock, random: &mut SystemRandom) -> Moment<'_> {
    let now = clock::now();
    let (seconds, nanos) = clock.at(now);
    Moment { now, wall: Tai64n::from_unix(seconds, nanos), rng: random }
}

/// What a thread is made of besides what it makes itself.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) tables: Reader<Tables>,
    pub(crate) seed: u64,
    pub(crate) handshake_clock: HandshakeClock,
    pub(crate) counters: SharedCounters,
    pub(crate) workers: Vec<ToSlow>,
    /// By port: a worker that sends on it.
    pub(crate) senders: Vec<usize>,
    pub(crate) frames: Pool<'static>,
    pub(crate) depot: Arc<Depot<'static>>,
    pub(crate) bank: Bank<'static>,
    pub(crate) layout: Layout,
    pub(crate) requests: Receiver<PingRequest>,
    pub(crate) reports: Sender<Report>,
    pub(crate) notify: Arc<mio::Waker>,
    pub(crate) observed: Arc<Mutex<Observed>>,
    pub(crate) sleeper: Sleeper,
    pub(crate) stop: Arc<AtomicBool>,
}

impl SlowPath {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            tables: parts.tables,
            responder: Responder::new(parts.seed),
            links: Links::new(parts.seed),
            random: UnwrapErr(getrandom::SysRng),
            routers: Routers::default(),
            configured: rules::Configured::default(),
            counters: parts.counters,
            outbox: Outbox::new(parts.workers, parts.senders, parts.frames, parts.depot),
            bank: parts.bank,
            layout: parts.layout,
            requests: parts.requests,
            reports: parts.reports,
            notify: parts.notify,
            observed: parts.observed,
            observe_at: 0,
            sleeper: parts.sleeper,
            stop: parts.stop,
            waiting: HashMap::new(),
            handshake_clock: parts.handshake_clock,
            answering: (MacAddress::default(), MacAddress::default()),
        }
    }

    /// Until the process stops.
    pub(crate) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.configure();
            let mut worked = self.punts() + self.pings() + self.expire();
            self.tend();
            worked += self.carry_out();
            worked += self.outbox.flush(&self.tables.refresh().rules);
            self.observe();
            if worked > 0 {
                continue;
            }
            self.sleeper.prepare();
            match self.outbox.rest() {
                Rest::None => {}
                Rest::UntilThereIsRoom => thread::park_timeout(BLOCKED),
                Rest::UntilThereIsWork => thread::park_timeout(SLEEP),
            }
            self.sleeper.awake();
        }
    }

    fn configure(&mut self) {
        let tables = self.tables.refresh();
        let mut moment = moment(self.handshake_clock, &mut self.random);
        self.configured.follow(tables, &mut moment, &mut self.links);
        self.routers.follow(tables, &mut self.random);
    }

    fn tend(&mut self) {
        let Self { links, random, counters, handshake_clock, .. } = self;
        let mut moment = moment(*handshake_clock, random);
        // Who called first is among the waiting, and needs no greeting.
        links.greet(&mut moment, if self.outbox.has_punts() { 1 } else { GREETINGS });
        links.tick(&mut moment, |vif| Traffic {
            opened: counters.vif(vif, VifCounter::Opened),
            sent: counters.vif(vif, VifCounter::TxPackets),
        });
        let changed = links.changed();
        let mut out = Vec::new();
        let Self { routers, random, tables, responder, .. } = self;
        let of = (&*tables.refresh().rules, &self.links, &self.counters);
        routers.poll(random, of, changed, responder, &mut out);
        self.send_of_routers(out);
        self.offer();
    }

    /// Asks neighbours whether they tell claims, and says who answered.
    fn offer(&mut self) {
        let (rules, now) = (Arc::clone(&self.tables.refresh().rules), clock::now());
        let links = &self.links;
        let is_up = |vif: VifId| links.is_up(now, vif).unwrap_or(true);
        for outgoing in self.responder.offers(&rules, now, is_up) {
            self.outbox.send(outgoing.via, outgoing.bytes);
        }
        if let Some(told) = self.responder.told_changed(now) {
            self.tell(Report::Told(told));
        }
    }

    fn send_of_routers(&mut self, packets: Vec<routers::Sent>) {
        for (vswitch, packet) in packets {
            self.outbox.send(Via::Router(vswitch), packet);
        }
    }

    fn punts(&mut self) -> usize {
        let mut worked = 0;
        for worker in 0..self.outbox.workers() {
            for item in self.outbox.take(worker, BURST_MAX) {
                worked += 1;
                match item {
                    FromWorker::Punt(punt) => self.punt(worker, punt),
                    FromWorker::Stranger(stranger) => self.stranger(worker, stranger),
                    FromWorker::News(news) => self.news(news),
                }
            }
        }
        worked
    }

    fn punt(&mut self, worker: usize, punt: Punt<Frame<'static>>) {
        let Punt { frame, vif, vswitch, kind } = punt;
        let now = clock::now();
        let dropped = match kind {
            PuntKind::Handshake => {
                let mut moment = moment(self.handshake_clock, &mut self.random);
                self.links.handshake(&mut moment, vif, frame.bytes()).err()
            }
            PuntKind::Router => {
                let mut out = Vec::new();
                let (rng, packet) = (&mut self.random, frame.bytes());
                let taken = self.routers.delivered(rng, vswitch, packet, &mut out);
                self.send_of_routers(out);
                Some(DropReason::NotControl).filter(|_| !taken)
            }
            PuntKind::Control if self.is_ours(now, vswitch, vif, frame.bytes()) => None,
            PuntKind::Control | PuntKind::Error { .. } => {
                return self.answer(now, worker, Punt { frame, vif, vswitch, kind });
            }
        };
        if let Some(reason) = dropped {
            self.bank.add(self.layout.vswitch_drop(vswitch, reason), 1);
        }
        self.outbox.free(worker, frame);
    }

    /// Whether a delivered control message is the answer to one of the links' or the routers' own.
    fn is_ours(&mut self, now: Nanos, vswitch: VswitchId, vif: VifId, packet: &[u8]) -> bool {
        if self.is_link_pong(now, vif, packet) {
            return true;
        }
        let mut out = Vec::new();
        let taken = self.routers.control(&mut self.random, vswitch, packet, &mut out);
        self.send_of_routers(out);
        taken
    }

    /// Whether a delivered control message is the answer to a ping of a link's supervision.
    fn is_link_pong(&mut self, now: Nanos, vif: VifId, packet: &[u8]) -> bool {
        let payload = Header::split(packet).map(|(_, payload)| payload);
        let message = payload.and_then(|payload| control::parse(payload).ok());
        let pong = message.filter(|message| message.kind == kind::PONG);
        let pong = pong.and_then(|message| Ping::ref_from_prefix(message.body).ok());
        pong.is_some_and(|(pong, opaque)| {
            pong.magic.get() == control::magic::PONG
                && self.links.pong(now, vif, pong.version.get(), opaque)
        })
    }

    fn answer(&mut self, now: Nanos, worker: usize, punt: Punt<Frame<'static>>) {
        let Punt { frame, vif, vswitch, kind } = punt;
        let rules = &self.tables.refresh().rules;
        let punted = Punted { vswitch, vif, kind, bytes: frame.bytes() };
        match self.responder.answer(rules, now, punted) {
            Answer::Send(outgoing) => self.outbox.answer(worker, frame, &outgoing),
            Answer::Pong { ping, nanos, version } => {
                self.outbox.free(worker, frame);
                self.report(ping, PingResult::Pong { nanos, version });
            }
            Answer::Done => self.outbox.free(worker, frame),
            Answer::Drop(reason) => {
                // The drop that owes an error was counted where it happened.
                if kind == PuntKind::Control {
                    self.bank.add(self.layout.vswitch_drop(vswitch, reason), 1);
                }
                self.outbox.free(worker, frame);
            }
        }
    }

    fn stranger(&mut self, worker: usize, stranger: Stranger<Frame<'static>>) {
        let Stranger { frame, from, stations, vswitch } = stranger;
        let mut moment = moment(self.handshake_clock, &mut self.random);
        let taken = match vswitch {
            Some(vswitch) => self.links.stranger(&mut moment, vswitch, from, frame.bytes()),
            None => self.links.beacon(moment.now, from, frame.bytes()),
        };
        self.answering = stations;
        self.carry_out();
        if let Err(reason) = taken {
            let slot = match vswitch {
                Some(vswitch) => self.layout.vswitch_drop(vswitch, reason),
                None => self.layout.port_drop(from.port(), reason),
            };
            self.bank.add(slot, 1);
        }
        self.outbox.free(worker, frame);
    }

    fn news(&mut self, news: SessionNews) {
        let now = clock::now();
        match news {
            SessionNews::Confirmed { vif, epoch, id } => self.links.confirmed(now, vif, epoch, id),
            SessionNews::Old { vif, epoch, .. } => {
                let mut moment = moment(self.handshake_clock, &mut self.random);
                self.links.old(&mut moment, vif, epoch)
            }
            SessionNews::Crowded { vif } => {
                let mut moment = moment(self.handshake_clock, &mut self.random);
                self.links.probe(&mut moment, vif);
            }
            // Wiped here, where nothing waits for it.
            SessionNews::Retired(session) => drop(session),
        }
    }

    /// Does what the links ask for.
    fn carry_out(&mut self) -> usize {
        let commands: Vec<Command> = self.links.commands().collect();
        let count = commands.len();
        let rules = Arc::clone(&self.tables.refresh().rules);
        for command in commands {
            match command {
                Command::Deliver { vswitch, vif, mut packet } => {
                    if !deliver(&rules, vif, &mut packet) {
                        continue;
                    }
                    let now = clock::now();
                    if self.is_ours(now, vswitch, vif, &packet) {
                        continue;
                    }
                    let punted = Punted { vswitch, vif, kind: PuntKind::Control, bytes: &packet };
                    if let Answer::Send(outgoing) = self.responder.answer(&rules, now, punted) {
                        self.outbox.send(outgoing.via, outgoing.bytes);
                    }
                }
                Command::Came(newcomer) => {
                    let node::links::Newcomer { vswitch, key, address, user, handshake, role } =
                        newcomer;
                    self.tell(Report::Neighbour(NeighbourChange::Came(Newcomer {
                        vswitch,
                        key,
                        from: address,
                        user,
                        role,
                        handshake,
                    })));
                }
                Command::Gone { vif, epoch } => {
                    let gone = rules.vif(vif).filter(|vif| vif.epoch == epoch);
                    let name = gone.and_then(|vif| rules.vswitch(vif.vswitch));
                    if let (Some(gone), Some(vswitch)) = (gone, name) {
                        let (vswitch, number) = (vswitch.name.clone(), gone.number);
                        self.tell(Report::Neighbour(NeighbourChange::Gone { vswitch, number }));
                    }
                }
                Command::Packet { vswitch, vif, packet } => {
                    // A packet without text keeps a session alive, and is not answered.
                    let via = if packet.is_empty() {
                        Via::Vif { vswitch, vif }
                    } else {
                        Via::Probe { vswitch, vif }
                    };
                    self.outbox.send(via, packet)
                }
                Command::Read { vif, epoch } => {
                    self.outbox.change(vif, epoch, engine::SessionChangeKind::Read)
                }
                Command::Handshake { vswitch, vif, packet } => {
                    self.outbox.send(Via::Handshake { vswitch, vif }, packet)
                }
                Command::Install { vif, epoch, session } => {
                    self.outbox.change(vif, epoch, engine::SessionChangeKind::Install(session))
                }
                Command::Drop { vif, epoch, id } => {
                    self.outbox.change(vif, epoch, engine::SessionChangeKind::Drop(id))
                }
                Command::Beacon { vswitch, from, body } => self.outbox.beacon(vswitch, from, &body),
                Command::Reply { vswitch, to, packet } => {
                    self.outbox.reply(vswitch, to, self.answering, &packet)
                }
            }
        }
        count
    }

    fn pings(&mut self) -> usize {
        let mut worked = 0;
        loop {
            match self.requests.try_recv() {
                Ok(request) => {
                    worked += 1;
                    let client = request.client;
                    match self.ping(request) {
                        Ok(ping) => {
                            self.waiting.insert(ping, client);
                        }
                        Err(why) => {
                            let result = PingResult::Refused(why);
                            self.tell(Report::Ping { client, result });
                        }
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return worked,
            }
        }
    }

    fn ping(&mut self, request: PingRequest) -> Result<PingId, String> {
        let tables = self.tables.refresh();
        let vswitch = tables
            .rules
            .vswitch_named(&request.vswitch)
            .ok_or_else(|| format!("there is no vswitch {:?}", request.vswitch))?
            .id;
        if self.outbox.is_full() {
            return Err("the slow path is too busy to send a ping".to_owned());
        }
        let timeout = request.timeout.min(PING_TIMEOUT_MAX);
        let (ping, outgoing) = self
            .responder
            .ping(&tables.rules, clock::now(), vswitch, request.label, timeout)
            .map_err(|error| error.to_string())?;
        self.outbox.send(outgoing.via, outgoing.bytes);
        Ok(ping)
    }

    fn expire(&mut self) -> usize {
        if self.waiting.is_empty() {
            return 0;
        }
        let expired = self.responder.expired(clock::now());
        let count = expired.len();
        expired.into_iter().for_each(|ping| self.report(ping, PingResult::NoPong));
        count
    }

    fn report(&mut self, ping: PingId, result: PingResult) {
        if let Some(client) = self.waiting.remove(&ping) {
            self.tell(Report::Ping { client, result });
        }
    }

    fn tell(&self, report: Report) {
        // If the management thread is gone, the process is about to be.
        if self.reports.send(report).is_ok() {
            drop(self.notify.wake());
        }
    }

    /// Shows the others how things are, a few times a second.
    fn observe(&mut self) {
        let now = clock::now();
        if now < self.observe_at {
            return;
        }
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).fill(
            self.responder.status(),
            self.links.states(now),
            self.routers.statuses(),
        );
        // A box with many links shows them less often: a twentieth of the time at most.
        let took = clock::now().saturating_sub(now);
        self.observe_at = now + STATUS_INTERVAL.max(20 * took);
    }
}

/// Something that goes to a worker.
#[derive(Debug)]
enum Outgoing {
    Packet(Via, Vec<u8>),
    Change(engine::SessionChange),
}

/// The answer, in the frame that the question came in.
fn answer_in(mut frame: Frame<'static>, via: Via, bytes: &[u8]) -> FromSlow {
    if frame.fill(bytes) {
        FromSlow::Inject(engine::Inject { frame, via })
    } else {
        FromSlow::Free(frame)
    }
}
