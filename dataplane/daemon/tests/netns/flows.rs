//! Neighbours that send and receive, all from the test's own thread: what is on its way is bounded by windows, not by
//! time, so nothing is lost because a core was busy.

use crate::topology::PORTS;
use dataplane_daemon::clock;
use lab::Namespace;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use traffic::af_packet::AfPacket;
use traffic::af_xdp::{PortEnd, filter_of};
use traffic::payload::{self, Reading};
use traffic::{Accounts, Generator, Link, Load, Scenario, Snapshot, Stream, WireEnd};
use wire::switch::Header;

/// Longer than anything here takes on a machine that is busy with others, nanoseconds.
pub(crate) const PATIENCE_NS: u64 = 60_000_000_000;
/// Frames of a flow that are on their way at once: less than the shortest queue, which is veth's own of 256.
const WINDOW: u64 = 48;
/// Frames of a flow offered in a turn.
const TURN: u64 = 16;
/// Packets a second of a flow without a window: few enough for a ring of 4096 to hold what comes while a core is busy.
const RATE: u64 = 4000;

/// How a neighbour is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndKind {
    /// AF_XDP, with its program on the neighbour's device.
    Xdp,
    /// A packet socket with much room.
    Packet,
    /// A packet socket on device `far`, behind [`crate::neighbours::slow_bridge`].
    Far,
}

/// When a flow sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Not.
    Off,
    /// While less than a window is on its way: all must arrive.
    Window,
    /// At a rate, whatever becomes of it.
    Rate,
}

struct Flow {
    stream: u32,
    generator: Generator,
    end: usize,
    pace: Pace,
    /// Whether the generator has a rate.
    rated: bool,
    sent: u64,
    received: u64,
}

struct End {
    kind: EndKind,
    wire: Box<dyn WireEnd + Send>,
    accounts: Accounts,
    reads: bool,
}

/// All neighbours and what they send to each other.
pub(crate) struct Flows {
    scenario: Scenario,
    flows: Vec<Flow>,
    ends: Vec<End>,
    turns: usize,
}

impl Flows {
    /// Opens the ends. No flow sends yet.
    pub(crate) fn open(streams: Vec<Stream>, namespaces: &[Namespace], kinds: &[EndKind]) -> Self {
        let scenario = Scenario { streams };
        let ends = namespaces.iter().zip(kinds).zip(PORTS).map(|((namespace, kind), port)| End {
            kind: *kind,
            wire: namespace.run(|| open(&scenario, port, *kind)).unwrap(),
            accounts: Accounts::new(&scenario, port),
            reads: true,
        });
        let ends = ends.collect();
        let flows = (0..).zip(&scenario.streams).map(|(stream, it)| Flow {
            stream,
            generator: alone(&scenario, stream, None),
            end: PORTS.iter().position(|port| *port == it.from).unwrap(),
            pace: Pace::Off,
            rated: false,
            sent: 0,
            received: 0,
        });
        let flows = flows.collect();
        Self { scenario, flows, ends, turns: 0 }
    }

    /// Changes when a flow sends.
    pub(crate) fn pace(&mut self, flow: usize, pace: Pace) {
        let flow = &mut self.flows[flow];
        let rated = pace == Pace::Rate;
        if pace != Pace::Off && flow.rated != rated {
            assert_eq!(flow.sent, 0, "a flow that has begun goes on as it began");
            flow.generator = alone(&self.scenario, flow.stream, rated.then_some(RATE));
            flow.rated = rated;
        }
        flow.pace = pace;
    }

    pub(crate) fn pace_all(&mut self, pace: Pace) {
        (0..self.flows.len()).for_each(|flow| self.pace(flow, pace));
    }

    /// Whether a neighbour reads what comes.
    pub(crate) fn reads(&mut self, end: usize, reads: bool) {
        self.ends[end].reads = reads;
    }

    pub(crate) fn sent(&self, flow: usize) -> u64 {
        self.flows[flow].sent
    }

    pub(crate) fn received(&self, flow: usize) -> u64 {
        self.flows[flow].received
    }

    /// Frames that left a port's neighbour.
    pub(crate) fn sent_from(&self, end: usize) -> u64 {
        self.flows.iter().filter(|flow| flow.end == end).map(|flow| flow.sent).sum()
    }

    pub(crate) fn sent_by_all(&self) -> u64 {
        self.flows.iter().map(|flow| flow.sent).sum()
    }

    pub(crate) fn received_by_all(&self) -> u64 {
        self.flows.iter().map(|flow| flow.received).sum()
    }

    pub(crate) fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// What a neighbour's kernel dropped before the neighbour saw it, and how often it refused to send.
    pub(crate) fn kernel(&self, end: usize) -> (u64, u64) {
        let found = self.ends[end].wire.statistics();
        (found.rx_dropped, found.tx_refused)
    }

    pub(crate) fn kind(&self, end: usize) -> EndKind {
        self.ends[end].kind
    }

    /// Frames that count as sent and have not left a neighbour.
    pub(crate) fn pending(&self) -> usize {
        self.ends.iter().map(|end| end.wire.pending()).sum()
    }

    /// The accounts of what arrived, by end.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        self.ends.iter().map(|end| end.accounts.snapshot(clock::now())).collect()
    }

    /// Sends what may be sent, takes what came.
    pub(crate) fn turn(&mut self) {
        let now = clock::now();
        let mut moved = 0;
        for flow in &mut self.flows {
            let room = match flow.pace {
                Pace::Off => 0,
                Pace::Window => WINDOW.saturating_sub(flow.sent - flow.received).min(TURN),
                Pace::Rate => TURN,
            };
            if room == 0 {
                continue;
            }
            let wire = &mut self.ends[flow.end].wire;
            let sent = flow.generator.send(now, room, |frame| wire.offer(frame));
            flow.sent += sent;
            moved += sent;
        }
        let Self { flows, ends, .. } = self;
        for End { wire, accounts, reads, .. } in ends {
            wire.flush();
            if !*reads {
                continue;
            }
            let came = wire.receive(&mut |frame| {
                accounts.note(frame, now);
                let flow = stream_of(frame).and_then(|stream| flows.get_mut(stream));
                if let Some(flow) = flow {
                    flow.received += 1;
                }
            });
            moved += came.unwrap() as u64;
        }
        self.turns += 1;
        if moved == 0 {
            let at = self.turns % self.ends.len();
            self.ends[at].wire.wait(Duration::from_millis(1));
        }
    }

    /// Takes turns until `done`.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = clock::now() + PATIENCE_NS;
        while !done(self) {
            assert!(clock::now() < deadline, "{what}: not within a minute; {self}");
            self.turn();
        }
    }

    /// Takes turns until each of these flows has had `n` more packets arrive.
    pub(crate) fn more(&mut self, flows: &[usize], n: u64) {
        let goals: Vec<_> = flows.iter().map(|flow| (*flow, self.received(*flow) + n)).collect();
        self.until("packets arrive", |all| {
            goals.iter().all(|(flow, goal)| all.received(*flow) >= *goal)
        });
    }

    /// Stops sending and takes turns until all that these flows sent has arrived.
    pub(crate) fn finish(&mut self, flows: &[usize]) {
        self.pace_all(Pace::Off);
        self.until("what was sent arrives", |all| {
            flows.iter().all(|flow| all.received(*flow) == all.sent(*flow)) && all.pending() == 0
        });
    }

    /// Takes turns while `work` goes on.
    pub(crate) fn during<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                over.store(true, Ordering::Release);
                result
            });
            while !over.load(Ordering::Acquire) {
                self.turn();
            }
            match other.join().unwrap() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl std::fmt::Display for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (flow, stream) in self.flows.iter().zip(&self.scenario.streams) {
            write!(
                f,
                "[{}: {:?}, sent {}, received {}] ",
                stream.name, flow.pace, flow.sent, flow.received
            )?;
        }
        Ok(())
    }
}

/// A generator of one stream of the scenario, which keeps its number.
fn alone(scenario: &Scenario, stream: u32, rate: Option<u64>) -> Generator {
    let mut only = scenario.clone();
    let others = (0..).zip(&mut only.streams).filter(|(number, _)| *number != stream);
    others.for_each(|(_, other)| other.from = "nowhere".to_owned());
    let from = &scenario.streams[stream as usize].from;
    Generator::new(&only, from, u64::from(stream), Load { rate, ..Load::default() }).unwrap()
}

fn open(scenario: &Scenario, port: &str, kind: EndKind) -> Box<dyn WireEnd + Send> {
    match kind {
        EndKind::Xdp => Box::new(PortEnd::open(port, &filter_of(scenario, port)).unwrap()),
        EndKind::Packet => Box::new(AfPacket::open(port).unwrap()),
        EndKind::Far => Box::new(AfPacket::open("far").unwrap()),
    }
}

pub(crate) fn stream_of(frame: &[u8]) -> Option<usize> {
    let (_, packet) = Link::parse(frame)?;
    let (_, payload) = Header::split(packet)?;
    match payload::read(payload) {
        Reading::Whole(stamp) => usize::try_from(stamp.stream).ok(),
        Reading::Corrupted | Reading::Control | Reading::Foreign => None,
    }
}
