//! The two loops that are compared: the pipeline, and nothing but the ports.

use super::VethBenchError;
use crate::processor::cycles;
use crate::rounds::quantile;
use crate::tenants::{PORTS, TenantBox};
use dataplane_api::counters::Layout;
use dataplane_api::{PortId, WorkerId};
use engine::{Engine, EngineConfig, NextHops, NoTap, Outcome};
use io::af_xdp::{AfXdp, AfXdpConfig};
use io::netdev::Netdev;
use io::xdp::{Attachment, PortFilter};
use io::{Burst, Frame, Pool, Port, Umem};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use sync::counters::Bank;
use wire::buf::Packet;

/// Frames that a time in user space is averaged over: one interrupt spoils one slice.
const SLICE: usize = 1024;
/// Frames that are held against the twin.
const LOOKED_AT: u64 = 4096;
/// Entries of the rings.
const ENTRIES: u32 = 2048;

/// Both ports of the box.
pub(super) struct Ports<'m> {
    pool: Pool<'m>,
    ports: [AfXdp<'m>; PORTS as usize],
    _attachments: [Attachment; PORTS as usize],
}

impl<'m> Ports<'m> {
    /// Opens them, in the namespace of the box.
    pub(super) fn open(umem: &'m Umem, filter: &PortFilter) -> Result<Self, VethBenchError> {
        let mut pool = umem.frames()?;
        let config = AfXdpConfig {
            queue: 0,
            rx_entries: ENTRIES,
            tx_entries: ENTRIES,
            tx_pending_max: ENTRIES as usize,
        };
        let attach = |name| -> Result<Attachment, VethBenchError> {
            let mut attachment = Attachment::attach(&Netdev::find(name)?)?;
            attachment.add(filter)?;
            Ok(attachment)
        };
        let (west, east) = (attach("p0")?, attach("p1")?);
        let p0 = AfXdp::open(umem, &mut pool, &west, None, config)?;
        let p1 = AfXdp::open(umem, &mut pool, &east, Some(p0.socket()), config)?;
        Ok(Self { pool, ports: [p0, p1], _attachments: [west, east] })
    }
}

/// What one round did.
pub(super) struct Round {
    frames: usize,
    /// TSC cycles in system calls.
    system: u64,
}

/// A loop between the ports.
pub(super) trait Forwarder<'m> {
    /// For messages.
    fn name(&self) -> &'static str;
    /// Once around.
    fn round(&mut self, ports: &mut Ports<'m>) -> Round;
    /// Gives back the frames that it holds.
    fn settle(&mut self, ports: &mut Ports<'m>);
}

/// One stretch of forwarding.
#[derive(Debug)]
pub(super) struct Stretch {
    length: Duration,
    /// TSC cycles a frame in user space, by slice.
    pub(super) slices: Vec<f64>,
}

/// What a stretch comes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) mpps: f64,
    pub(super) user_cycles: f64,
}

impl Stretch {
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(super) fn window(&self, arrived: u64) -> Window {
        Window {
            mpps: arrived as f64 / self.length.as_secs_f64() / 1e6,
            user_cycles: quantile(&self.slices, 0.5),
        }
    }
}

impl Window {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    pub(super) fn mean(windows: &[Self]) -> Self {
        let mean =
            |of: fn(&Self) -> f64| windows.iter().map(of).sum::<f64>() / windows.len() as f64;
        Self { mpps: mean(|window| window.mpps), user_cycles: mean(|window| window.user_cycles) }
    }
}

/// Goes around for `length`. Rounds that move nothing are not counted.
#[expect(clippy::cast_precision_loss, reason = "some thousand cycles")]
pub(super) fn forward<'m>(
    forwarder: &mut impl Forwarder<'m>,
    ports: &mut Ports<'m>,
    length: Duration,
) -> Stretch {
    let mut slices = Vec::with_capacity(1 << 14);
    let start = Instant::now();
    let (mut frames, mut user) = (0, 0);
    loop {
        let before = cycles();
        let round = forwarder.round(ports);
        let spent = cycles() - before;
        if round.frames > 0 {
            frames += round.frames;
            user += spent.saturating_sub(round.system);
        }
        if frames >= SLICE || round.frames == 0 {
            if frames >= SLICE {
                slices.push(user as f64 / frames as f64);
                (frames, user) = (0, 0);
            }
            // A slice takes about a millisecond.
            if start.elapsed() >= length {
                return Stretch { length: start.elapsed(), slices };
            }
        }
    }
}

fn timed_flush(port: &mut AfXdp<'_>) -> u64 {
    let before = cycles();
    port.flush();
    cycles() - before
}

/// From port 0 to port 1, swapping MAC addresses as testpmd does: the least that a forwarder does.
#[derive(Default)]
pub(super) struct Bare<'m> {
    burst: Burst<Frame<'m>>,
}

impl<'m> Forwarder<'m> for Bare<'m> {
    fn name(&self) -> &'static str {
        "the bare loop"
    }

    fn round(&mut self, ports: &mut Ports<'m>) -> Round {
        let [rx, tx] = &mut ports.ports;
        tx.reclaim(&mut ports.pool);
        rx.receive(&mut ports.pool, &mut self.burst);
        for frame in &mut self.burst {
            if let Some((destination, rest)) = frame.bytes_mut().split_first_chunk_mut::<6>()
                && let Some(source) = rest.first_chunk_mut::<6>()
            {
                std::mem::swap(destination, source);
            }
        }
        let frames = tx.transmit(&mut self.burst);
        // What found no room is lost, as testpmd loses it.
        self.burst.drain(..).for_each(|frame| ports.pool.put(frame));
        Round { frames, system: timed_flush(tx) }
    }

    fn settle(&mut self, ports: &mut Ports<'m>) {
        self.burst.drain(..).for_each(|frame| ports.pool.put(frame));
    }
}

/// The pipeline, around it what a worker of the dataplane does in a round: both ports, both directions, clock and
/// shared counters.
pub(super) struct Switching<'a, 'm> {
    at: &'a TenantBox,
    engine: Engine<Frame<'m>, Bank<'static>>,
    next_hops: NextHops,
    out: Outcome<Frame<'m>>,
    rx: Burst<Frame<'m>>,
    sending: Burst<Frame<'m>>,
    start: Instant,
}

impl<'a, 'm> Switching<'a, 'm> {
    pub(super) fn new(at: &'a TenantBox) -> Self {
        let layout = Layout { ports: PORTS.into(), vifs: 65_536, vswitches: 4096 };
        let config = EngineConfig {
            layout,
            queue_frames: 1024,
            guaranteed_frames: 8,
            vswitch_frames: 1024,
            punts_per_second: 0,
            punt_burst: 0,
            strangers_per_second: 0,
            seed: 0,
        };
        let slots: Vec<AtomicU64> = (0..layout.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            at,
            engine: Engine::new(WorkerId(0), config, Bank::new(slots.leak())),
            next_hops: NextHops::default(),
            out: Outcome::new(),
            rx: Burst::new(),
            sending: Burst::new(),
            start: Instant::now(),
        }
    }

    /// Forwards some frames and holds each against what is due.
    pub(super) fn look(
        &mut self,
        ports: &mut Ports<'m>,
        due: &[Vec<u8>],
    ) -> Result<(), VethBenchError> {
        let (mut all, mut wrong) = (0, 0);
        // The flood takes a moment to start.
        while all < LOOKED_AT && self.start.elapsed() < Duration::from_secs(2) {
            self.round_with(ports, |frame| {
                let number = frame.bytes().get(32..36).and_then(|number| number.first_chunk());
                let number = number.map_or(usize::MAX, |n| u32::from_be_bytes(*n) as usize);
                all += 1;
                wrong += u64::from(due.get(number).is_none_or(|due| due != frame.bytes()));
            });
        }
        match (all, wrong) {
            (0, _) => Err(VethBenchError::Nothing { what: self.name() }),
            (_, 0) => Ok(()),
            (all, wrong) => Err(VethBenchError::Wrong { wrong, all }),
        }
    }

    #[inline]
    fn round_with(&mut self, ports: &mut Ports<'m>, mut see: impl FnMut(&Frame<'m>)) -> Round {
        let rules = &self.at.rules;
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for (id, port) in (0..).map(PortId).zip(&mut ports.ports) {
            port.reclaim(&mut ports.pool);
            if port.receive(&mut ports.pool, &mut self.rx) > 0 {
                self.engine.receive(rules, now, id, &mut self.rx, &mut self.out, &mut NoTap);
                settle(&mut self.out, &mut ports.pool);
            }
        }
        let mut round = Round { frames: 0, system: 0 };
        for (id, port) in (0..).map(PortId).zip(&mut ports.ports) {
            if self.engine.queued(id) > 0 {
                port.reclaim(&mut ports.pool);
            }
            loop {
                let room = port.room();
                if room == 0 || self.engine.queued(id) == 0 {
                    break;
                }
                let (hops, sending) = (&self.next_hops, &mut self.sending);
                self.engine.transmit(
                    rules,
                    hops,
                    now,
                    id,
                    room,
                    sending,
                    &mut self.out,
                    &mut NoTap,
                );
                settle(&mut self.out, &mut ports.pool);
                sending.iter().for_each(&mut see);
                round.frames += port.transmit(&mut self.sending);
                self.sending.drain(..).for_each(|frame| ports.pool.put(frame));
            }
            round.system += timed_flush(port);
        }
        round
    }
}

impl<'m> Forwarder<'m> for Switching<'_, 'm> {
    fn name(&self) -> &'static str {
        "the box"
    }

    fn round(&mut self, ports: &mut Ports<'m>) -> Round {
        self.round_with(ports, |_| {})
    }

    fn settle(&mut self, ports: &mut Ports<'m>) {
        while self.engine.frames_held() > 0 {
            let reason = dataplane_api::DropReason::Stopping;
            self.engine.drop_queued(None, reason, &mut self.out, &mut NoTap);
            settle(&mut self.out, &mut ports.pool);
        }
    }
}

/// Frames that the engine is done with. Nothing in this traffic is punted or handed on; if it is, its frame is lost to
/// the pool, and the box shows it by forwarding less.
#[inline]
fn settle<'m>(out: &mut Outcome<Frame<'m>>, pool: &mut Pool<'m>) {
    out.free.drain(..).for_each(|frame| pool.put(frame));
    out.punts.clear();
    out.hand_offs.clear();
}
