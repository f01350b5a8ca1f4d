//! The running dataplane, as far as people may look at it: what it is, what it counts, what it sees.

use dataplane_api::protocol::{TapFilter, TapRecord};
use dataplane_api::status::{LeaseStatus, LinkStatus};
use dataplane_api::{DropReason, PortId, Status, VifId, VswitchId, WorkerId};
use std::fmt;
use std::time::Duration;

/// Why there is nothing to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// It is not there, or does not answer.
    #[error("the dataplane is away: {0}")]
    Away(String),
    /// It says no, e.g. because too many watch packets already.
    #[error("the dataplane refuses: {0}")]
    Refused(String),
}

/// Whoever can look at the running dataplane. Calls may block: they are made where that harms nobody.
pub trait Live: Send + Sync + fmt::Debug {
    /// What it is and does.
    ///
    /// # Errors
    /// [`LiveError`].
    fn status(&self) -> Result<Status, LiveError>;

    /// Its links with keys.
    ///
    /// # Errors
    /// [`LiveError`].
    fn links(&self) -> Result<Vec<LinkStatus>, LiveError>;

    /// Its leases, and what they gave.
    ///
    /// # Errors
    /// [`LiveError`].
    fn leases(&self) -> Result<Vec<LeaseStatus>, LiveError>;

    /// Its counters as they stand, those of all workers added up.
    ///
    /// # Errors
    /// [`LiveError`].
    fn counters(&self) -> Result<Counters, LiveError>;

    /// Watches packets from now on, until what it returns is dropped.
    ///
    /// # Errors
    /// [`LiveError`].
    fn tap(&self, filter: &TapFilter) -> Result<Box<dyn Tap>, LiveError>;
}

/// Packets as they pass.
pub trait Tap: Send {
    /// The next step of a packet; `None`: none came within so long.
    ///
    /// # Errors
    /// [`LiveError`]; nothing more comes then.
    fn next_within(&mut self, within: Duration) -> Result<Option<TapRecord>, LiveError>;
}

/// Counters as they stood at one moment. They only grow, until the process is another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// When, Unix milliseconds.
    pub at: u64,
    /// Of which process.
    pub pid: u32,
    /// By port.
    pub ports: Vec<(PortId, Traffic)>,
    /// By vif.
    pub vifs: Vec<(VifId, Traffic)>,
    /// Drops of packets whose vswitch was not known (yet), by port; reasons that never were are left out.
    pub port_drops: Vec<(PortId, Vec<(DropReason, u64)>)>,
    /// Drops by vswitch.
    pub vswitch_drops: Vec<(VswitchId, Vec<(DropReason, u64)>)>,
    /// By worker.
    pub workers: Vec<(WorkerId, WorkerCounts)>,
}

/// What came in and went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets or frames that came in.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets or frames that went out.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
}

/// What a worker counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Rounds of its loop.
    pub rounds: u64,
    /// Rounds that moved nothing.
    pub idle_rounds: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Packets handed to another worker.
    pub handed_off: u64,
    /// Packets handed to the slow path.
    pub punted: u64,
    /// Frames on its free list now.
    pub frames_free: u64,
    /// Frames in its queues now.
    pub frames_queued: u64,
}
