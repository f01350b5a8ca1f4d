//! Neighbours on both sides of the box, sending and counting.

use super::network::{NEIGHBOUR_DEVICE, Network};
use super::plan::Side;
use super::rights::Rights;
use anyhow::{Context, Result, anyhow, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use traffic::af_packet::AfPacket;
use traffic::af_xdp::{PortEnd, filter_of};
use traffic::station::PortReport;
use traffic::{Accounts, Generator, Load, Scenario, Station, Timing, View, WireEnd};

/// A thread on each side; stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Drive {
    stop: Arc<AtomicBool>,
    views: Vec<View>,
    threads: Vec<JoinHandle<std::io::Result<PortReport>>>,
}

impl Drive {
    /// Starts sending, `rate` packets a second on each side, over what `rights` allow.
    pub(super) fn start(
        network: &Network,
        scenario: &Scenario,
        rights: Rights,
        rate: u64,
        seed: u64,
    ) -> Result<Self> {
        let inside = |side| network.neighbours(side);
        let attempt = |side: Side| format!("opening the wire of the {} neighbours", side.port());
        // Both wires are open before anything is sent: what comes to one that is not is nobody's.
        let stations = match rights {
            Rights::Root => {
                let open = |side: Side| {
                    let filter = filter_of(scenario, side.port());
                    inside(side)
                        .run(|| PortEnd::open(NEIGHBOUR_DEVICE, &filter))?
                        .with_context(|| attempt(side))
                };
                stations(scenario, rate, seed, open)?
            }
            Rights::UserNamespace => {
                let open = |side: Side| {
                    inside(side)
                        .run(|| AfPacket::open(NEIGHBOUR_DEVICE))?
                        .with_context(|| attempt(side))
                };
                stations(scenario, rate, seed, open)?
            }
        };
        let stop = Arc::<AtomicBool>::default();
        let (mut views, mut threads) = (Vec::new(), Vec::new());
        for Start { view, run } in stations {
            views.push(view);
            let stop = Arc::clone(&stop);
            threads.push(thread::spawn(move || run(&stop)));
        }
        Ok(Self { stop, views, threads })
    }

    /// How it stands. The sides are looked at one after the other, so frames in flight are missing in it.
    pub(super) fn report(&self, scenario: &Scenario) -> traffic::Report {
        traffic::Report::join(scenario, self.views.iter().map(View::report).collect())
    }

    /// An error if a side has ended by itself.
    pub(super) fn still_runs(&mut self) -> Result<()> {
        match self.threads.iter().position(JoinHandle::is_finished) {
            None => Ok(()),
            Some(ended) => {
                joined(self.threads.swap_remove(ended))?;
                bail!("a neighbour stopped sending too early")
            }
        }
    }

    /// Stops sending, waits until nothing comes any more, and reports.
    pub(super) fn finish(mut self, scenario: &Scenario) -> Result<traffic::Report> {
        self.stop.store(true, Ordering::Relaxed);
        let ports = self.threads.drain(..).map(joined).collect::<Result<_>>()?;
        Ok(traffic::Report::join(scenario, ports))
    }
}

/// A station that is ready to run, over whatever wire.
struct Start {
    view: View,
    run: Box<dyn FnOnce(&AtomicBool) -> std::io::Result<PortReport> + Send>,
}

fn stations<W: WireEnd + Send + 'static>(
    scenario: &Scenario,
    rate: u64,
    seed: u64,
    open: impl Fn(Side) -> Result<W>,
) -> Result<Vec<Start>> {
    let start = |side: Side| {
        let load = Load { rate: Some(rate), ..Load::default() };
        let generator = Generator::new(scenario, side.port(), seed, load)?;
        let accounts = Accounts::new(scenario, side.port());
        let station = Station::new(open(side)?, generator, accounts, Timing::default());
        let view = station.view();
        Ok(Start { view, run: Box::new(move |stop| station.run(stop)) })
    };
    Side::BOTH.into_iter().map(start).collect()
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever wanted its report has called `finish`.
            let _unwanted = thread.join();
        }
    }
}

fn joined(thread: JoinHandle<std::io::Result<PortReport>>) -> Result<PortReport> {
    let report = thread.join().map_err(|panic| {
        let words = panic.downcast_ref::<String>().map_or("without a message", String::as_str);
        anyhow!("a neighbour's thread panicked: {words}")
    })?;
    report.context("a neighbour's wire failed")
}
