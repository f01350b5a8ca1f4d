//! Three namespaces, the frames, and what came of them.

use super::FloodBenchError;
use crate::engine::ethernet;
use crate::processor::real_time_at;
use crate::rounds::move_to;
use crate::switch::header;
use io::live::{LiveFrames, Stop, Template};
use io::netdev::Netdev;
use lab::{End, Namespace};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use traffic::WireEnd;
use traffic::af_packet::AfPacket;
use wire::scheme::Scheme;

/// Devices of the box, and what is behind them.
pub(super) const BOX: [&str; 3] = ["p0", "p1", "p2"];
const ENDS: [&str; 3] = ["w0", "e1", "e2"];
/// Real-time priorities: whoever sends frames, and who disturbs the worker.
const SENDER: i32 = 1;
const FOREIGN: i32 = 10;

/// The network.
pub(super) struct Net {
    west: Namespace,
    pub(super) middle: Namespace,
    _east: Namespace,
    pub(super) live: LiveFrames,
    /// Of the devices in the west, and in the east.
    counters: [File; 2],
}

/// Frames so far, or in a stretch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    leased_sent: u64,
    leased_came: u64,
    flood_sent: u64,
    flood_came: u64,
    /// Of both, what the veth between did not take.
    refused: u64,
    took: Duration,
}

/// A station: the box's own on a port, or the neighbour behind a link there.
pub(super) fn station(tenant: u8, port: u8, is_box: bool) -> [u8; 6] {
    [2, u8::from(is_box), 0, 0, tenant, port]
}

impl Net {
    pub(super) fn new() -> Result<Self, FloodBenchError> {
        let (west, middle, east) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        for (number, (own, other)) in (0_u8..).zip(BOX.iter().zip(ENDS)) {
            let there = if number == 0 { &west } else { &east };
            let mac = |is_box| [2, 0xee, 0, 0, u8::from(is_box), number];
            let left = End { namespace: &middle, name: own, mac: mac(true) };
            lab::veth(left, End { namespace: there, name: other, mac: mac(false) }, 1500, 1)?;
        }
        let templates = [0, 1].map(|tenant| Template { frame: frame(tenant), stamp: None });
        let live = west.run(|| LiveFrames::new(&Netdev::find(ENDS[0])?, &templates, &[1]))??;
        let open = |namespace: &Namespace| -> Result<File, FloodBenchError> {
            let file = namespace.run(|| File::open("/proc/thread-self/net/dev"))?;
            file.map_err(system("read a device's counters"))
        };
        let counters = [open(&west)?, open(&east)?];
        Ok(Self { west, middle, _east: east, live, counters })
    }

    /// Sends for so long; how long it was.
    pub(super) fn flooded(
        &self,
        core: usize,
        length: Duration,
    ) -> Result<Duration, FloodBenchError> {
        let stop = Stop::new();
        thread::scope(|scope| {
            let begun = Instant::now();
            let flood = scope.spawn(|| {
                self.west.run(|| {
                    move_to(core);
                    // As it may: a note says so where it may not.
                    real_time_at(SENDER);
                    self.live.run(None, &stop)
                })
            });
            thread::sleep(length);
            stop.stop();
            match flood.join() {
                Ok(ended) => ended??,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            Ok(begun.elapsed())
        })
    }

    /// Does `work` while somebody on `core` sends a frame of his own into the port now and then.
    pub(super) fn with_foreign<T>(
        &self,
        core: usize,
        pause: Duration,
        work: &mut dyn FnMut() -> Result<T, FloodBenchError>,
    ) -> Result<T, FloodBenchError> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let foreign = scope.spawn(|| {
                self.west.run(|| -> Result<(), FloodBenchError> {
                    move_to(core);
                    real_time_at(FOREIGN);
                    let sender = AfPacket::open(ENDS[0]);
                    let mut sender = sender.map_err(system("open a packet socket"))?;
                    while !over.load(Ordering::Relaxed) {
                        // Where there is no room, it comes with the next.
                        sender.offer(&foreign());
                        sender.flush();
                        thread::sleep(pause);
                    }
                    Ok(())
                })
            });
            let result = work();
            over.store(true, Ordering::Relaxed);
            match foreign.join() {
                Ok(ended) => ended??,
                Err(panic) => std::panic::resume_unwind(panic),
            }
            result
        })
    }

    /// Frames so far.
    pub(super) fn count(&self) -> Result<Counted, FloodBenchError> {
        let sent = self.live.sent()?;
        let of = |at: usize| sent.get(at).copied().unwrap_or(0);
        // Received frames are the second column of a row, sent ones that were dropped the thirteenth.
        let column = |file: usize, device: &str, at: usize| -> Result<u64, FloodBenchError> {
            let mut table = [0; 4096];
            let len = self.counters[file].read_at(&mut table, 0);
            let len = len.map_err(system("read a device's counters"))?;
            let table = String::from_utf8_lossy(&table[..len]);
            let row = table
                .lines()
                .find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'))
                .and_then(|row| row.split_whitespace().nth(at)?.parse().ok());
            row.ok_or_else(|| {
                system("read a device's counters")(std::io::ErrorKind::NotFound.into())
            })
        };
        Ok(Counted {
            leased_sent: of(0),
            flood_sent: of(1),
            leased_came: column(1, ENDS[1], 1)?,
            flood_came: column(1, ENDS[2], 1)?,
            refused: column(0, ENDS[0], 11)?,
            took: Duration::ZERO,
        })
    }
}

impl Counted {
    pub(super) fn since(self, before: &Self, took: Duration) -> Self {
        Self {
            leased_sent: self.leased_sent - before.leased_sent,
            leased_came: self.leased_came - before.leased_came,
            flood_sent: self.flood_sent - before.flood_sent,
            flood_came: self.flood_came - before.flood_came,
            refused: self.refused - before.refused,
            took,
        }
    }

    pub(super) fn leased_lost(&self) -> u64 {
        self.leased_sent.saturating_sub(self.leased_came)
    }

    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(super) fn leased_loss(&self) -> f64 {
        self.leased_lost() as f64 / self.leased_sent.max(1) as f64
    }

    /// Frames a second that came to the box, all that was refused taken off.
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(super) fn flood_rate(&self) -> f64 {
        self.flood_sent.saturating_sub(self.refused) as f64 / self.took.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(super) fn flood_through(&self) -> f64 {
        self.flood_came as f64 / self.flood_sent.max(1) as f64
    }
}

/// From a tenant's vif on port 0 to its other one, 60 bytes.
fn frame(tenant: u8) -> Vec<u8> {
    let label = Scheme::f4().peer_label(super::tested::VIF_OUT).unwrap_or_default();
    ethernet(station(tenant, 0, true), station(tenant, 0, false), header(label), 0).to_vec()
}

/// To everybody: the box leaves it to its kernel.
fn foreign() -> [u8; 60] {
    let mut frame = [0xff; 60];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

pub(super) fn system(attempt: &'static str) -> impl Fn(std::io::Error) -> FloodBenchError {
    move |error| FloodBenchError::System { attempt, error }
}
