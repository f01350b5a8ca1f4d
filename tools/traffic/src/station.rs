//! One port's thread: sends its streams, counts what comes, tells how it stands.

use crate::generator::{Generator, Sent};
use crate::sink::{Accounts, Snapshot};
use crate::wire_end::{BURST, WireEnd, WireStatistics};
use dataplane_api::Nanos;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks at the clock of who waits for frames.
const WAIT: Duration = Duration::from_millis(1);
/// Less than this is spent looking again; a longer polling would keep a box on the same machine from its core.
const WORTH_A_WAIT: Duration = Duration::from_micros(5);

/// How a station ends and tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two reports to [`View`].
    pub interval_ns: Nanos,
    /// Stopped, it waits until so long nothing came,
    pub quiet_ns: Nanos,
    /// and at most so long.
    pub drain_max_ns: Nanos,
}

impl Default for Timing {
    fn default() -> Self {
        Self { interval_ns: 100_000_000, quiet_ns: 200_000_000, drain_max_ns: 3_000_000_000 }
    }
}

/// How one port stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// The box's name of the port.
    pub port: String,
    /// What was sent there.
    pub sent: Sent,
    /// Frames counted as sent that still wait in the ring.
    pub pending: u64,
    /// What arrived there.
    pub arrived: Snapshot,
    /// What the kernel says.
    pub wire: WireStatistics,
    /// From the start to the last frame sent.
    pub sending_ns: Nanos,
    /// Whether it sends no more.
    pub finished: bool,
}

/// How a station stands, readable from any thread while it runs.
#[derive(Clone, Debug, Default)]
pub struct View(Arc<Mutex<PortReport>>);

impl View {
    /// The newest report.
    #[must_use]
    pub fn report(&self) -> PortReport {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, report: PortReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

/// CLOCK_MONOTONIC. 0 if the system has none, which Linux does not lack.
#[must_use]
pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One port's generator and sink on one wire end.
#[derive(Debug)]
pub struct Station<W> {
    wire: W,
    generator: Generator,
    accounts: Accounts,
    timing: Timing,
    view: View,
    started: Nanos,
    last_sent: Nanos,
}

impl<W: WireEnd> Station<W> {
    /// Ready to run. A generator without streams makes it a sink.
    pub fn new(wire: W, generator: Generator, accounts: Accounts, timing: Timing) -> Self {
        Self { wire, generator, accounts, timing, view: View::default(), started: 0, last_sent: 0 }
    }

    /// Where it tells how it stands.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Sends until the generator ends or `stop` is set, receives until `stop` is set and nothing comes any more.
    ///
    /// # Errors
    /// What the wire end reports.
    pub fn run(mut self, stop: &AtomicBool) -> std::io::Result<PortReport> {
        self.started = now();
        self.last_sent = self.started;
        let mut told = self.started;
        // Relaxed: the flag is all that is told.
        while !stop.load(Ordering::Relaxed) {
            let time = now();
            self.round(time)?;
            if time.saturating_sub(told) >= self.timing.interval_ns {
                self.view.publish(self.report(time));
                told = time;
            }
        }
        self.generator.finish();
        self.drain()?;
        let report = self.report(now());
        self.view.publish(report.clone());
        Ok(report)
    }

    fn round(&mut self, time: Nanos) -> std::io::Result<usize> {
        let finished = self.generator.is_finished();
        let sent = self.generator.send(time, BURST as u64, |frame| self.wire.offer(frame));
        if sent > 0 {
            self.last_sent = time;
        }
        if sent > 0 || self.wire.pending() > 0 {
            self.wire.flush();
        }
        if finished != self.generator.is_finished() {
            self.view.publish(self.report(time));
        }
        let Self { wire, accounts, .. } = self;
        let came = wire.receive(&mut |frame| accounts.note(frame, time))?;
        if sent == 0 && came == 0 && self.wire.pending() == 0 {
            let until_due = Duration::from_nanos(self.generator.until_due(time)).min(WAIT);
            if until_due >= WORTH_A_WAIT {
                self.wire.wait(until_due);
            }
        }
        Ok(came)
    }

    fn drain(&mut self) -> std::io::Result<()> {
        let begun = now();
        let mut last = begun;
        loop {
            let time = now();
            if self.round(time)? > 0 || self.wire.pending() > 0 {
                last = time;
            }
            let quiet = time.saturating_sub(last) >= self.timing.quiet_ns;
            if quiet || time.saturating_sub(begun) >= self.timing.drain_max_ns {
                return Ok(());
            }
        }
    }

    fn report(&self, time: Nanos) -> PortReport {
        PortReport {
            port: self.accounts.port().to_owned(),
            sent: self.generator.sent(),
            pending: self.wire.pending() as u64,
            arrived: self.accounts.snapshot(time),
            wire: self.wire.statistics(),
            sending_ns: self.last_sent - self.started,
            finished: self.generator.is_finished(),
        }
    }
}
