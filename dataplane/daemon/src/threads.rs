//! The threads of a dataplane and what is between them.

use crate::counters::SharedCounters;
use crate::plan::{Plan, PortPlan, SLOW_PATH_FRAMES, port_id, worker_id, workers_of};
use crate::slow_path::{self, HandshakeClock, Observed, PingRequest, Report, SlowPath};
use crate::tables::Tables;
use crate::taps::{RING_RECORDS, Seen, WorkerTap};
use crate::worker::{self, Bell, Mesh, Parts, Queue, Stop, Worker};
use anyhow::Context;
use dataplane_api::PortId;
use engine::EngineConfig;
use io::{Depot, Pool};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use sync::counters::Bank;
use sync::hand_off::{Receiver, ring};
use sync::port_share::Share;
use sync::publish::{Publisher, Reader};
use sync::waker::{self, Waker};

/// Where a worker's tap records arrive.
#[derive(Debug)]
pub(crate) struct Tapped {
    pub(crate) ring: Receiver<Seen>,
    /// "Asleep" whenever the ring was found empty: the next record rings.
    pub(crate) sleeper: waker::Sleeper,
}

/// What threads are made from.
#[derive(Debug)]
pub(crate) struct Wiring<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) counters: SharedCounters,
    pub(crate) frames: Pool<'static>,
    /// By worker.
    pub(crate) queues: Vec<Vec<Queue>>,
    /// Wakes the management thread.
    pub(crate) notify: &'a Arc<mio::Waker>,
    pub(crate) handshake_clock: HandshakeClock,
}

/// The running threads, and the management thread's ends of what leads to them.
#[derive(Debug)]
pub(crate) struct Threads {
    /// Of the workers and the slow path.
    pub(crate) wakers: Vec<Waker>,
    /// By worker: the version of the tables that it uses and has nothing queued from before.
    pub(crate) passed: Vec<Arc<AtomicU64>>,
    /// By worker.
    pub(crate) taps: Vec<Tapped>,
    pub(crate) pings: mpsc::Sender<PingRequest>,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) observed: Arc<Mutex<Observed>>,
    stop: Arc<Stop>,
    slow_stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    slow_path: JoinHandle<()>,
}

/// Starts a worker for each in the plan, and the slow path, which reads the last of `published`.
pub(crate) fn start(
    wiring: Wiring<'_>,
    published: (Publisher<Tables>, Vec<Reader<Tables>>),
) -> anyhow::Result<(Threads, Publisher<Tables>)> {
    let Wiring { plan, counters, mut frames, queues, notify, handshake_clock } = wiring;
    let (publisher, mut readers) = published;
    let count = plan.workers.len();
    let (bells, mut wakers): (Vec<Bell>, Vec<Waker>) =
        (0..count).map(|_| Bell::new()).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let slow_thread: Arc<Mutex<Option<thread::Thread>>> = Arc::default();
    let (slow_waker, sleeper) = waker::pair(unpark(&slow_thread));
    let Mesh { peers, slow } =
        worker::mesh(&wakers, &slow_waker, plan.limits.hand_off_frames, plan.limits.punt_frames);
    wakers.push(slow_waker);

    let (pings, requests) = mpsc::channel();
    let (reporter, reports) = mpsc::channel();
    let observed: Arc<Mutex<Observed>> = Arc::default();
    let slow_stop = Arc::new(AtomicBool::new(false));
    let depot = Arc::new(Depot::new(frames.umem()));
    let slow_path = SlowPath::new(slow_path::Parts {
        tables: readers.pop().context("a reader for the slow path")?,
        seed: crate::dataplane::seed(),
        handshake_clock,
        counters,
        workers: slow,
        senders: plan.ports.iter().map(sender_of).collect(),
        frames: frames.split(SLOW_PATH_FRAMES, frames.umem().config().chunks),
        depot: Arc::clone(&depot),
        bank: Bank::new(counters.bank(count)),
        layout: plan.layout,
        requests,
        reports: reporter,
        notify: Arc::clone(notify),
        observed: Arc::clone(&observed),
        sleeper,
        stop: Arc::clone(&slow_stop),
    });

    let stop = Arc::new(Stop {
        asked: AtomicBool::new(false),
        drain: plan.drain,
        drained: Barrier::new(count),
    });
    let share = frames.len() / count;
    let (mut taps, mut passed, mut workers) = (Vec::new(), Vec::new(), Vec::new());
    let mut shares = port_shares(plan);
    let parts = queues.into_iter().zip(peers).zip(bells).zip(readers);
    for (index, (((queues, peers), bell), tables)) in parts.enumerate() {
        let (tap, tapped) = tap(notify);
        taps.push(tapped);
        passed.push(Arc::new(AtomicU64::new(0)));
        let frames_here = if index + 1 == count { frames.len() } else { share };
        workers.push(Worker::new(Parts {
            id: worker_id(index),
            config: engine_config(plan),
            bank: Bank::new(counters.bank(index)),
            tables,
            tap,
            queues,
            shares: std::mem::take(&mut shares[index]),
            pool: frames.split(frames_here, frames.umem().config().chunks),
            depot: Arc::clone(&depot),
            peers,
            bell,
            idle_rounds: plan.idle_rounds,
            sheds: plan.sheds,
            stop: Arc::clone(&stop),
            passed: Arc::clone(&passed[index]),
        }));
    }

    let slow_path =
        thread::Builder::new().name("slow-path".to_owned()).spawn(move || slow_path.run())?;
    if let Ok(mut thread) = slow_thread.lock() {
        *thread = Some(slow_path.thread().clone());
    }
    let workers = workers.into_iter().zip(&plan.workers).enumerate();
    let workers = workers
        .map(|(index, (worker, core))| start_worker(index, worker, *core))
        .collect::<std::io::Result<Vec<_>>>()?;
    let threads = Threads {
        wakers,
        passed,
        taps,
        pings,
        reports,
        observed,
        stop,
        slow_stop,
        workers,
        slow_path,
    };
    Ok((threads, publisher))
}

impl Threads {
    /// Ends them: the slow path first, so that nothing new is sent while workers drain.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.slow_stop.store(true, Ordering::Relaxed);
        self.slow_path.thread().unpark();
        let slow_path = self.slow_path.join();
        self.stop.asked.store(true, Ordering::Relaxed);
        self.wakers.iter().for_each(Waker::wake);
        let ended = self.workers.into_iter().map(JoinHandle::join).fold(slow_path, Result::and);
        ended.ok().context("a thread of the dataplane panicked")
    }
}

/// A worker's tap, and where its records arrive.
fn tap(notify: &Arc<mio::Waker>) -> (WorkerTap, Tapped) {
    let notify = Arc::clone(notify);
    let (waker, sleeper) = waker::pair(move || drop(notify.wake()));
    sleeper.prepare();
    let (sender, receiver) = ring(RING_RECORDS, waker);
    (WorkerTap::new(sender), Tapped { ring: receiver, sleeper })
}

/// By worker: its side of the ports that others send on too.
fn port_shares(plan: &Plan) -> Vec<Vec<(PortId, Share)>> {
    let mut shares: Vec<Vec<_>> = plan.workers.iter().map(|_| Vec::new()).collect();
    for (index, port) in plan.ports.iter().enumerate() {
        let workers = workers_of(port);
        if workers.len() > 1 {
            for (worker, share) in workers.iter().zip(sync::port_share::shares(workers.len())) {
                shares[worker.index()].push((port_id(index), share));
            }
        }
    }
    shares
}

/// A worker that sends on a port.
fn sender_of(port: &PortPlan) -> usize {
    workers_of(port).first().map_or(0, |worker| worker.index())
}

fn engine_config(plan: &Plan) -> EngineConfig {
    EngineConfig {
        layout: plan.layout,
        queue_frames: plan.limits.queue_frames,
        guaranteed_frames: plan.limits.guaranteed_frames,
        vswitch_frames: plan.limits.vswitch_frames,
        punts_per_second: plan.limits.punts_per_second,
        punt_burst: plan.limits.punt_burst,
        strangers_per_second: plan.limits.strangers_per_second,
        seed: crate::dataplane::seed(),
    }
}

/// Wakes a thread that is not known yet when its bell is made.
fn unpark(thread: &Arc<Mutex<Option<thread::Thread>>>) -> impl Fn() + Send + Sync + 'static {
    let thread = Arc::clone(thread);
    move || {
        if let Ok(thread) = thread.lock()
            && let Some(thread) = thread.as_ref()
        {
            thread.unpark();
        }
    }
}

fn start_worker(
    index: usize,
    worker: Worker,
    core: Option<usize>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        if let Some(core) = core
            && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
        {
            tracing::warn!("worker {index} cannot be pinned to core {core}");
        }
        worker.run();
    })
}
