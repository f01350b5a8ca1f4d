//! A box in a network namespace, neighbours in others, the real process between them, and the account of it all.

use crate::flows::{EndKind, Flows, PATIENCE_NS};
use crate::neighbours::slow_bridge;
use crate::topology::{PORTS, device_mac};
use dataplane_api::counters::{PortCounter, WorkerCounter};
use dataplane_api::{DropReason, Spec, WorkerId};
use dataplane_client::Client;
use dataplane_client::CounterFile;
use dataplane_daemon::config::{Backend, Port};
use dataplane_daemon::{Config, clock};
use lab::{End, Namespace, veth};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use traffic::Stream;

/// What a rig is made of.
pub(crate) struct Setup<'a> {
    pub(crate) backend: Backend,
    pub(crate) workers: usize,
    pub(crate) spec: Option<Spec>,
    /// One neighbour a port.
    pub(crate) ends: &'a [EndKind],
    pub(crate) streams: Vec<Stream>,
}

pub(crate) struct Rig {
    pub(crate) flows: Flows,
    pub(crate) neighbours: Vec<Namespace>,
    pub(crate) box_: Namespace,
    pub(crate) process: Option<Process>,
    pub(crate) config: Config,
    counters: Option<CounterFile>,
    /// Drops charged to ids that were given to something else.
    pub(crate) forgotten: u64,
    /// What was accounted for before this process, which counts from 0.
    before: Account,
    dir: TempDir,
    starts: u32,
}

/// A dataplane that runs. Killed with its rig.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// Waits for something that this thread has no part in.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + PATIENCE_NS;
    while !done() {
        assert!(clock::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Rig {
    /// Makes the networks and starts the process; returns when it switches.
    pub(crate) fn start(setup: Setup<'_>) -> Self {
        let mut rig = Self::prepare(setup);
        rig.start_process();
        rig
    }

    /// The same without the process.
    pub(crate) fn prepare(setup: Setup<'_>) -> Self {
        let ports = setup.ends.len();
        let box_ = Namespace::new().unwrap();
        let neighbours: Vec<_> = (0..ports).map(|_| Namespace::new().unwrap()).collect();
        for (port, neighbour) in neighbours.iter().enumerate() {
            let end = |namespace, is_neighbour| End {
                namespace,
                name: PORTS[port],
                mac: device_mac(port, is_neighbour),
            };
            veth(end(&box_, false), end(neighbour, true), 1500, 1).unwrap();
            if setup.ends[port] == EndKind::Far {
                slow_bridge(neighbour, PORTS[port]);
            }
        }
        let flows = Flows::open(setup.streams, &neighbours, setup.ends);
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.process.socket = dir.path().join("socket");
        config.process.counters = dir.path().join("counters");
        config.process.state_dir = dir.path().join("state");
        config.workers.count = setup.workers;
        // Fewer than the rounds between two updates of counters, which then are due when a worker goes to sleep.
        config.workers.idle_rounds = 100;
        config.limits.vswitches = 8;
        config.limits.vifs = 64;
        let port =
            |name: &&str| Port { backend: setup.backend, rx_entries: 4096, ..Port::named(name) };
        config.ports = PORTS[..ports].iter().map(port).collect();
        if let Some(spec) = setup.spec {
            config.generation = spec.generation;
            (config.vswitches, config.cables) = (spec.vswitches, spec.cables);
            (config.capacities, config.leases) = (spec.capacities, spec.leases);
        }
        Self {
            flows,
            neighbours,
            box_,
            process: None,
            config,
            counters: None,
            forgotten: 0,
            before: Account::default(),
            dir,
            starts: 0,
        }
    }

    /// Starts the process, which must come up.
    pub(crate) fn start_process(&mut self) {
        let mut process = self.spawn();
        let socket = self.config.process.socket.clone();
        eventually("the process serves its socket", || {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("the process ended, {status}: {}", process.log());
            }
            Client::connect(&socket).is_ok_and(|mut client| {
                // One that was killed may have left its socket, and nobody answers there.
                client.status().is_ok_and(|status| status.pid == process.child.id())
            })
        });
        self.counters = Some(CounterFile::open(&self.config.process.counters).unwrap());
        self.process = Some(process);
        self.before = Account::default();
        self.before = self.account();
    }

    /// Starts a process that must refuse to work; what it said.
    pub(crate) fn start_refused(&mut self) -> String {
        let mut process = self.spawn();
        eventually("the process ends by itself", || process.child.try_wait().unwrap().is_some());
        assert!(!process.child.wait().unwrap().success());
        process.log()
    }

    fn spawn(&mut self) -> Process {
        self.starts += 1;
        let log = self.dir.path().join(format!("log.{}", self.starts));
        let file = self.dir.path().join("switchyard.toml");
        std::fs::write(&file, toml::to_string(&self.config).unwrap()).unwrap();
        let errors = File::create(&log).unwrap();
        let child = self.box_.run(|| {
            Command::new(env!("CARGO_BIN_EXE_switchyard-dataplane"))
                .arg("--config")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors)
                .spawn()
        });
        Process { child: child.unwrap().unwrap(), log }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.config.process.socket).unwrap()
    }

    pub(crate) fn counters(&self) -> &CounterFile {
        self.counters.as_ref().unwrap()
    }

    pub(crate) fn port_counter(&self, port: usize, counter: PortCounter) -> u64 {
        self.counters().port(port_id(port), counter)
    }

    pub(crate) fn worker_counter(&self, worker: u8, counter: WorkerCounter) -> u64 {
        self.counters().worker(WorkerId(worker), counter)
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.counters().all_drops()[reason as usize]
    }

    /// Frames that workers hold beside receive rings: free, queued, on their way out.
    pub(crate) fn frames(&self) -> [u64; 3] {
        let workers = u8::try_from(self.config.workers.count).unwrap();
        let sum = |counter| (0..workers).map(|worker| self.worker_counter(worker, counter)).sum();
        let pending = (0..self.config.ports.len()).fold(0, |sum: u64, port| {
            sum.wrapping_add(self.port_counter(port, PortCounter::TxPending))
        });
        [sum(WorkerCounter::FramesFree), sum(WorkerCounter::FramesQueued), pending]
    }

    /// The same once all workers sleep and the gauges say so.
    pub(crate) fn frames_at_rest(&mut self) -> [u64; 3] {
        let workers = u8::try_from(self.config.workers.count).unwrap();
        let sleeps = |rig: &Self| -> Vec<u64> {
            (0..workers).map(|worker| rig.worker_counter(worker, WorkerCounter::Sleeps)).collect()
        };
        let before = sleeps(self);
        self.until("all workers sleep", |rig| {
            sleeps(rig).iter().zip(&before).all(|(now, before)| *now > before + 2)
        });
        let frames = self.frames();
        assert_eq!(frames[1..], [0, 0]);
        frames
    }

    /// Asks the process to stop, and waits for it while neighbours go on.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        kill(self.process.as_ref().unwrap().pid(), Signal::SIGTERM).unwrap();
        self.wait()
    }

    /// Waits for a process that was asked to stop.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        self.flows.until("the process ends", |_| process.child.try_wait().unwrap().is_some());
        process.child.wait().unwrap()
    }

    /// Ends it without asking.
    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().end();
    }

    /// Where every packet is that was sent since the process started.
    pub(crate) fn account(&self) -> Account {
        let flows = &self.flows;
        let mut account = Account {
            sent: flows.sent_by_all() - flows.pending() as u64,
            received: flows.received_by_all(),
            forgotten: self.forgotten,
            ..Account::default()
        };
        let counters = self.counters();
        let drops = DropReason::ALL.iter().zip(counters.all_drops());
        account.named =
            drops.filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.name(), n)).collect();
        for (port, neighbour) in self.neighbours.iter().enumerate() {
            let counter = |counter| self.port_counter(port, counter);
            let rings = counter(PortCounter::KernelRxDropped)
                + counter(PortCounter::KernelRxRingFull)
                + counter(PortCounter::KernelRxInvalid);
            account.box_rx += rings;
            let device = netdev(&self.box_, PORTS[port]);
            account.box_tx += device.tx_dropped + counter(PortCounter::KernelTxInvalid);
            if self.config.ports[port].backend == Backend::AfXdp {
                // What the program passed on, and nobody wanted. The kernel counts ring drops there too.
                account.to_kernel += device.rx_dropped.saturating_sub(rings);
            }
            let tx = netdev(neighbour, PORTS[port]).tx_dropped;
            let (ring, refused) = flows.kernel(port);
            match flows.kind(port) {
                EndKind::Xdp => {
                    account.end_rx += ring;
                    account.end_tx += tx;
                }
                // A frame that is refused to a packet socket is offered again. What this device drops before a
                // packet socket sees it, the box's device counts too, as not sent.
                EndKind::Packet => account.end_tx += tx.saturating_sub(refused),
                // The bridge before it loses nothing: it is given less than it holds.
                EndKind::Far => {}
            }
        }
        account.since(&self.before)
    }

    /// Takes turns until `done`.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = clock::now() + PATIENCE_NS;
        while !done(self) {
            assert!(clock::now() < deadline, "{what}: not within a minute; {}", self.flows);
            for _ in 0..16 {
                self.flows.turn();
            }
        }
    }

    /// Stops sending, waits until every packet that was sent is accounted for, stops the process, and checks the
    /// account once more, now that nothing moves: nothing came twice, late under a wrong label, or to somebody else.
    pub(crate) fn finish(mut self) -> Account {
        self.flows.pace_all(crate::flows::Pace::Off);
        self.close_account();
        let status = self.stop();
        assert!(status.success(), "{status}");
        let account = self.account();
        assert_eq!(account.sent, account.sum(), "{account:?} {}", self.flows);
        self.check_arrivals();
        account
    }

    /// Waits until every packet that was sent is accounted for.
    pub(crate) fn close_account(&mut self) {
        let mut last = Account::default();
        let deadline = clock::now() + PATIENCE_NS;
        while last.sent != last.sum() || self.flows.pending() > 0 || last.sent == 0 {
            assert!(clock::now() < deadline, "the account stays open: {last:?} {}", self.flows);
            for _ in 0..16 {
                self.flows.turn();
            }
            last = self.account();
        }
    }

    pub(crate) fn check_arrivals(&self) {
        for (snapshot, port) in self.flows.snapshots().iter().zip(PORTS) {
            assert_eq!(snapshot.corrupted, 0, "{port}: {snapshot:?}");
            for (account, stream) in snapshot.streams.iter().zip(&self.flows.scenario().streams) {
                let wrong = (account.duplicated, account.wrong_label, account.misdelivered);
                assert_eq!(wrong, (0, 0, 0), "{} at {port}: {account:?}", stream.name);
            }
        }
    }
}

impl Drop for Rig {
    #[expect(clippy::print_stderr, reason = "what the process said belongs to a failure")]
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            if std::thread::panicking() {
                eprintln!("the process said:\n{}", process.log());
            }
            process.end();
        }
    }
}

impl Process {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where every packet that was sent is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Drops that the box names.
    pub(crate) named: Vec<(&'static str, u64)>,
    /// Of those, drops whose counters began anew.
    pub(crate) forgotten: u64,
    /// Lost before the box, in its rings.
    pub(crate) box_rx: u64,
    /// Lost behind the box, by its devices.
    pub(crate) box_tx: u64,
    /// Not the box's by then: left to its kernel.
    pub(crate) to_kernel: u64,
    /// Lost before a neighbour's sink.
    pub(crate) end_rx: u64,
    /// Lost by a neighbour's device on its way out.
    pub(crate) end_tx: u64,
}

impl Account {
    pub(crate) fn sum(&self) -> u64 {
        let named: u64 = self.named.iter().map(|(_, n)| n).sum();
        self.received
            + named
            + self.forgotten
            + self.box_rx
            + self.box_tx
            + self.to_kernel
            + self.end_rx
            + self.end_tx
    }

    pub(crate) fn named(&self, reason: DropReason) -> u64 {
        self.named.iter().find(|(name, _)| *name == reason.name()).map_or(0, |(_, n)| *n)
    }

    fn since(self, before: &Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            received: self.received - before.received,
            named: self.named,
            forgotten: self.forgotten,
            box_rx: self.box_rx,
            box_tx: self.box_tx - before.box_tx,
            to_kernel: self.to_kernel - before.to_kernel,
            end_rx: self.end_rx - before.end_rx,
            end_tx: self.end_tx - before.end_tx,
        }
    }

    /// Everything that was sent has arrived.
    pub(crate) fn lossless(&self) -> bool {
        self.sent == self.received && self.sum() == self.sent
    }
}

/// What a command says, run in a namespace.
pub(crate) fn output_in(namespace: &Namespace, command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = namespace
        .run(|| Command::new(words.next().unwrap()).args(words).stdin(Stdio::null()).output())
        .unwrap()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a device counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NetdevCounters {
    /// Frames that came in, whoever took them.
    pub(crate) rx_frames: u64,
    pub(crate) rx_dropped: u64,
    pub(crate) tx_dropped: u64,
}

pub(crate) fn netdev(namespace: &Namespace, device: &str) -> NetdevCounters {
    let table =
        namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    let found = table.lines().find_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        if name.trim() != device {
            return None;
        }
        let numbers: Vec<u64> = numbers.split_whitespace().flat_map(str::parse).collect();
        let at = |column: usize| numbers.get(column).copied();
        Some(NetdevCounters { rx_frames: at(1)?, rx_dropped: at(3)?, tx_dropped: at(11)? })
    });
    found.unwrap_or_default()
}

fn port_id(port: usize) -> dataplane_api::PortId {
    dataplane_api::PortId(u16::try_from(port).unwrap())
}
