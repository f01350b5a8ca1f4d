//! An engine between two ports of memory.

use crate::frames::{STRIDE_COLOURED, frames};
use crate::tenants::PORTS;
use dataplane_api::counters::Layout;
use dataplane_api::limits::BURST_MAX;
use dataplane_api::{Nanos, PortId, WorkerId};
use engine::{Burst, Engine, EngineConfig, NextHops, NoTap, Outcome, Rules};
use io::{Frame, IoError, PageKind};

/// What packets pass through, and where they are before and after.
pub(super) struct Pipeline {
    pub(super) engine: Engine<Frame<'static>, Vec<u64>>,
    next_hops: NextHops,
    pub(super) out: Outcome<Frame<'static>>,
    /// What each port is about to receive.
    pub(super) rx: [Vec<Frame<'static>>; PORTS as usize],
    /// What each port sent.
    pub(super) tx: [Vec<Frame<'static>>; PORTS as usize],
    pub(super) free: Vec<Frame<'static>>,
    pub(super) pages: PageKind,
    pub(super) now: Nanos,
}

impl Pipeline {
    /// With so many frames.
    pub(super) fn new(count: usize) -> Result<Self, IoError> {
        let (free, pages) = frames(count, STRIDE_COLOURED)?;
        let layout = Layout { ports: PORTS.into(), vifs: 65_536, vswitches: 4096 };
        let config = EngineConfig {
            layout,
            queue_frames: 1024,
            guaranteed_frames: 8,
            vswitch_frames: 1024,
            punts_per_second: 0,
            punt_burst: 0,
            // As daemons have it.
            strangers_per_second: 10_000,
            seed: 0,
        };
        Ok(Self {
            engine: Engine::new(WorkerId(0), config, vec![0; layout.len()]),
            next_hops: NextHops::default(),
            out: Outcome::new(),
            rx: std::array::from_fn(|_| Vec::with_capacity(count)),
            tx: std::array::from_fn(|_| Vec::with_capacity(count)),
            free,
            pages,
            now: 1,
        })
    }

    /// Everything from the ports' rings to the ports' rings.
    pub(super) fn forward(&mut self, rules: &Rules) {
        let mut burst = Burst::new();
        while self.rx.iter().any(|rx| !rx.is_empty()) {
            for (port, rx) in (0..).map(PortId).zip(&mut self.rx) {
                let left = rx.len().saturating_sub(BURST_MAX);
                burst.extend(rx.drain(left..));
                self.engine.receive(rules, self.now, port, &mut burst, &mut self.out, &mut NoTap);
            }
            self.free.append(&mut self.out.free);
            self.free.extend(self.out.strangers.drain(..).map(|stranger| stranger.frame));
            for (port, tx) in (0..).map(PortId).zip(&mut self.tx) {
                let hops = &self.next_hops;
                self.engine.transmit(
                    rules,
                    hops,
                    self.now,
                    port,
                    BURST_MAX,
                    &mut burst,
                    &mut self.out,
                    &mut NoTap,
                );
                tx.extend(burst.drain(..));
            }
        }
        // What the last bursts left.
        for (port, tx) in (0..).map(PortId).zip(&mut self.tx) {
            while self.engine.queued(port) > 0 {
                let hops = &self.next_hops;
                self.engine.transmit(
                    rules,
                    hops,
                    self.now,
                    port,
                    BURST_MAX,
                    &mut burst,
                    &mut self.out,
                    &mut NoTap,
                );
                tx.extend(burst.drain(..));
            }
        }
    }
}
