//! Three namespaces in a row, the flood, and what arrives.

use super::VethBenchError;
use io::IoError;
use io::live::{LiveFrames, Stop, Template};
use io::netdev::Netdev;
use lab::{End, LabError, Namespace};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;

/// Device and address of each end.
const WEST: (&str, [u8; 6]) = ("w0", [2, 0, 0, 0, 1, 1]);
const BOX_WEST: (&str, [u8; 6]) = ("p0", [2, 0, 0, 0, 1, 2]);
const BOX_EAST: (&str, [u8; 6]) = ("p1", [2, 0, 0, 0, 2, 1]);
const EAST: (&str, [u8; 6]) = ("e0", [2, 0, 0, 0, 2, 2]);

/// The network.
pub(super) struct Net {
    west: Namespace,
    pub(super) middle: Namespace,
    _east: Namespace,
    /// Of the devices in the east.
    counters: File,
}

impl Net {
    pub(super) fn new() -> Result<Self, VethBenchError> {
        let (west, middle, east) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        let end = |namespace, (name, mac)| End { namespace, name, mac };
        lab::veth(end(&middle, BOX_WEST), end(&west, WEST), 1500, 1)?;
        lab::veth(end(&middle, BOX_EAST), end(&east, EAST), 1500, 1)?;
        let counters = east.run(|| File::open("/proc/thread-self/net/dev"))?;
        let counters = counters.map_err(VethBenchError::Sink)?;
        Ok(Self { west, middle, _east: east, counters })
    }

    /// The flood: all templates in turn.
    pub(super) fn live(&self, templates: &[Template]) -> Result<LiveFrames, VethBenchError> {
        let order: Vec<usize> = (0..templates.len()).collect();
        let live = self.west.run(|| LiveFrames::new(&Netdev::find(WEST.0)?, templates, &order))?;
        Ok(live?)
    }

    /// Does `work` while the flood comes in from the west.
    pub(super) fn flooded<T: Send>(
        &self,
        live: &LiveFrames,
        core: usize,
        work: impl FnOnce() -> Result<T, VethBenchError>,
    ) -> Result<T, VethBenchError> {
        let stop = Stop::new();
        thread::scope(|scope| {
            let flood = scope.spawn(|| {
                self.west.run(|| {
                    crate::rounds::move_to(core);
                    live.run(None, &stop)
                })
            });
            // The flood ends also when the work panics.
            let result = {
                let _end = EndOfFlood(&stop);
                work()
            };
            let ended: Result<Result<_, IoError>, LabError> = match flood.join() {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            ended??;
            result
        })
    }

    /// Frames that the sink got so far.
    pub(super) fn sink_frames(&self) -> Result<u64, VethBenchError> {
        // Read again from its start, the kernel writes it anew.
        let mut table = [0; 4096];
        let len = self.counters.read_at(&mut table, 0).map_err(VethBenchError::Sink)?;
        let table = String::from_utf8_lossy(&table[..len]);
        let row = table.lines().find_map(|line| line.trim().strip_prefix("e0:"));
        let frames = row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok());
        frames.ok_or_else(|| VethBenchError::Sink(std::io::ErrorKind::NotFound.into()))
    }
}

struct EndOfFlood<'a>(&'a Stop);

impl Drop for EndOfFlood<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
