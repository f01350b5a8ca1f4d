//! The thread that answers what is for the switches themselves, and sends pings.

use crate::clock;
use crate::plan::SLOW_PATH_FRAMES;
use crate::tables::Tables;
use crate::worker::{FromSlow, ToSlow};
use dataplane_api::Nanos;
use dataplane_api::counters::{Bank as _, Layout};
use dataplane_api::limits::BURST_MAX;
use dataplane_api::status::SlowPathStatus;
use engine::slow_path::{Answer, Outgoing, PingId, Punted, Responder};
use engine::{Inject, Punt, PuntKind};
use io::{Frame, Pool};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use sync::counters::Bank;
use sync::publish::Reader;
use sync::waker::Sleeper;

/// Longest sleep: pings expire and news is found with this grain.
const SLEEP: Duration = Duration::from_millis(5);
/// Longest time that a ping may be waited for.
const PING_TIMEOUT_MAX: Nanos = 60_000_000_000;

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

/// The thread's state.
#[derive(Debug)]
pub(crate) struct SlowPath {
    pub(crate) tables: Reader<Tables>,
    pub(crate) responder: Responder,
    pub(crate) workers: Vec<ToSlow>,
    /// Frames for pings; what comes back beyond them goes to the workers.
    pub(crate) frames: Pool<'static>,
    pub(crate) bank: Bank<'static>,
    pub(crate) layout: Layout,
    pub(crate) requests: Receiver<PingRequest>,
    pub(crate) results: Sender<(u64, PingResult)>,
    /// Wakes the management thread for results.
    pub(crate) notify: Arc<mio::Waker>,
    pub(crate) status: Arc<Mutex<SlowPathStatus>>,
    pub(crate) sleeper: Sleeper,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) waiting: HashMap<PingId, u64>,
}

impl SlowPath {
    /// Until the process stops.
    pub(crate) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let worked = self.punts() + self.pings() + self.expire();
            if worked > 0 {
                *self.status.lock().unwrap_or_else(PoisonError::into_inner) =
                    self.responder.status();
                continue;
            }
            self.sleeper.prepare();
            if self.workers.iter().all(|worker| worker.punts.is_empty()) {
                thread::park_timeout(SLEEP);
            }
            self.sleeper.awake();
        }
    }

    fn punts(&mut self) -> usize {
        let Self { tables, responder, workers, frames, bank, layout, .. } = self;
        let tables = tables.refresh();
        let now = clock::now();
        let mut pongs = Vec::new();
        let mut worked = 0;
        for ToSlow { punts, injects } in workers {
            // A punt is only taken when there is room for its answer.
            let limit = BURST_MAX.min(injects.room());
            worked += punts.pop(limit, |Punt { frame, vif, vswitch, kind }| {
                let punted = Punted { vswitch, vif, kind, bytes: wire::buf::Packet::bytes(&frame) };
                let answer = match responder.answer(&tables.rules, now, punted) {
                    Answer::Send(outgoing) => answer_in(frame, outgoing),
                    Answer::Pong { ping, nanos, version } => {
                        pongs.push((ping, PingResult::Pong { nanos, version }));
                        FromSlow::Free(frame)
                    }
                    Answer::Drop(reason) => {
                        // The drop that owes an error was counted where it happened.
                        if kind == PuntKind::Control {
                            bank.add(layout.vswitch_drop(vswitch, reason), 1);
                        }
                        FromSlow::Free(frame)
                    }
                };
                match answer {
                    FromSlow::Free(frame) if frames.len() < SLOW_PATH_FRAMES => frames.put(frame),
                    // There is room: only this thread fills the ring, and it looked.
                    answer @ (FromSlow::Free(_) | FromSlow::Inject(_)) => {
                        drop(injects.push_one(answer))
                    }
                }
            });
        }
        for (ping, result) in pongs {
            self.report(ping, result);
        }
        worked
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
                        Err(why) => self.send(client, PingResult::Refused(why)),
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
        let frame = self.frames.take().ok_or("no free frame for a ping")?;
        let timeout = request.timeout.min(PING_TIMEOUT_MAX);
        let (ping, outgoing) =
            match self.responder.ping(&tables.rules, clock::now(), vswitch, request.label, timeout)
            {
                Ok(started) => started,
                Err(error) => {
                    self.frames.put(frame);
                    return Err(error.to_string());
                }
            };
        // Any worker can inject; it hands on what leaves by another's link.
        let worker = self.workers.first_mut().ok_or("there is no worker")?;
        match worker.injects.push_one(answer_in(frame, outgoing)) {
            Ok(()) => Ok(ping),
            Err(FromSlow::Free(frame) | FromSlow::Inject(Inject { frame, .. })) => {
                self.frames.put(frame);
                Err("the worker is too busy to send a ping".to_owned())
            }
        }
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
            self.send(client, result);
        }
    }

    fn send(&self, client: u64, result: PingResult) {
        // If the management thread is gone, the process is about to be.
        if self.results.send((client, result)).is_ok() {
            drop(self.notify.wake());
        }
    }
}

/// The answer, in the frame that the question came in.
fn answer_in(mut frame: Frame<'static>, outgoing: Outgoing) -> FromSlow {
    if frame.fill(&outgoing.bytes) {
        FromSlow::Inject(Inject { frame, via: outgoing.via })
    } else {
        FromSlow::Free(frame)
    }
}
