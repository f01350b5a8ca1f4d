//! What the workers that send on one port have in common. Times are in 2⁻⁸ ns.

use std::fmt::Debug;

/// How one worker stands in the priority class of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its place in the calendar's own time while it has packets waiting.
    pub served: Option<u64>,
    /// Bytes that wait.
    pub bytes: u64,
}

/// One worker's side of a port that it shares with others. What it reads may be a little old.
pub trait PortShare: Debug + Send {
    /// When the port will have sent all that was handed to it.
    fn clock(&self) -> u64;

    /// Hands over what takes `time` to send, at `now`; the clock after that.
    fn charge(&self, now: u64, time: u64) -> u64;

    /// Tells the others how this worker stands.
    fn tell(&self, standing: Standing);

    /// How the others stand: the least place of those that have packets waiting, and the sum of the bytes.
    fn others(&self) -> Standing;
}
