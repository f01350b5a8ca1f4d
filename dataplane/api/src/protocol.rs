//! Messages on the management socket: a u32 little-endian length, then postcard. The first message each way is
//! [`Hello`]; a side that reads another version closes.

use crate::status::{LeaseStatus, LinkStatus, RouterStatus};
use crate::{
    DropReason, Generation, PortId, Receipt, Secret, Spec, Status, VifId, WorkerId, limits,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of everything in this crate that crosses the socket or shared memory.
pub const API_VERSION: u32 = 5;

/// First message of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`API_VERSION`] of the sender.
    pub version: u32,
}

/// From the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Make it so; answered by [`Reply::Accepted`] or [`Reply::Refused`].
    Apply(Spec),
    /// The spec in force.
    Spec,
    /// The observed state.
    Status,
    /// From now on send packets that match; ends with the connection.
    Tap(TapFilter),
    /// Send a switch ping from a vswitch along a path, answered by [`Reply::Pong`] or [`Reply::NoPong`].
    Ping {
        /// Name of the vswitch to send from.
        vswitch: String,
        /// Path: begins with the vswitch's own director.
        label: u64,
        /// How long to wait.
        timeout_ms: u32,
    },
    /// Keep this private key (64 hexadecimal digits) for vswitches; answered by [`Reply::Key`]. It is never shown again.
    AddKey(Secret),
    /// Forget the private key of this public key; answered by [`Reply::Key`].
    RemoveKey(String),
    /// The observed state of links, answered by [`Reply::Links`].
    Links,
    /// Leases and what they gave, answered by [`Reply::Leases`].
    Leases,
    /// Receipts that end after `after`, Unix milliseconds, oldest first, at most [`RECEIPTS_MAX`]; answered by
    /// [`Reply::Receipts`].
    Receipts {
        /// End of the last receipt that is known.
        after: u64,
        /// Of this lease alone.
        lease: Option<u32>,
    },
    /// What the routers of vswitches are up to, answered by [`Reply::Routers`].
    Routers,
    /// Whose private keys are here, answered by [`Reply::Keys`].
    Keys,
    /// The observed state without vswitches and vifs, for who asks every second; answered by [`Reply::Status`].
    Brief,
}

/// Receipts in one reply.
pub const RECEIPTS_MAX: usize = 10_000;

/// From the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The spec is stored and published; workers adopt it between bursts.
    Accepted(Generation),
    /// Nothing changed, and why.
    Refused(String),
    /// The spec in force.
    Spec(Spec),
    /// The observed state.
    Status(Box<Status>),
    /// One step of a tapped packet.
    Tap(TapRecord),
    /// The ping came back.
    Pong {
        /// Round trip.
        nanos: u64,
        /// Protocol version of the answering node.
        version: u32,
    },
    /// It did not, in time.
    NoPong,
    /// The public key of the private one that was kept or forgotten.
    Key(String),
    /// Links with keys, by vif.
    Links(Vec<LinkStatus>),
    /// Leases, in the order of the spec.
    Leases(Vec<LeaseStatus>),
    /// Receipts, oldest first.
    Receipts(Vec<Receipt>),
    /// Routers, by vswitch.
    Routers(Vec<RouterStatus>),
    /// The public keys of the private ones that are kept, in order.
    Keys(Vec<String>),
}

/// Which packets to show. All that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapFilter {
    /// Label as received.
    pub label: Option<u64>,
    /// Ingress or egress vif.
    pub vif: Option<VifId>,
    /// Ingress or egress port.
    pub port: Option<PortId>,
    /// Drop reason.
    pub reason: Option<DropReason>,
    /// Bytes of each frame to carry; 0 for a trace without bytes.
    pub snap_len: u16,
    /// Most records a second.
    pub rate_max: u32,
}

/// What happened to a packet at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapRecord {
    /// CLOCK_MONOTONIC of the burst, nanoseconds.
    pub at_ns: u64,
    /// Worker that saw it.
    pub worker: WorkerId,
    /// Same for all records of one packet on one worker.
    pub packet: u64,
    /// What happened.
    pub event: TapEvent,
    /// Length of the frame.
    pub frame_len: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// One step of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TapEvent {
    /// Received on a port, as it came.
    Received {
        /// Where.
        port: PortId,
    },
    /// Its link was found.
    Classified {
        /// The ingress vif.
        vif: VifId,
    },
    /// One switch step was taken.
    Switched {
        /// Ingress vif of this step.
        from: VifId,
        /// Egress vif.
        to: VifId,
        /// Label before.
        label_in: u64,
        /// Label after.
        label_out: u64,
        /// Bits consumed.
        bits: u8,
    },
    /// Handed to another worker.
    HandedOff {
        /// To whom.
        to: WorkerId,
    },
    /// Put into an egress queue.
    Queued {
        /// Egress vif.
        vif: VifId,
    },
    /// Given to the NIC, as it leaves.
    Sent {
        /// Egress port.
        port: PortId,
        /// Egress vif.
        vif: VifId,
    },
    /// Handed to the slow path: a control message for the vswitch itself.
    Punted {
        /// Ingress vif.
        vif: VifId,
    },
    /// Dropped.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Ingress (or egress, once queued) vif, where known.
        vif: Option<VifId>,
        /// Port it came in on, where it was dropped before a vif was known.
        port: Option<PortId>,
    },
}

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Longer than any message may be.
    #[error("message of {0} bytes: at most {max} are allowed", max = limits::MESSAGE_LEN_MAX)]
    TooLong(usize),
    /// Not a message of this version.
    #[error("message does not decode: {0}")]
    Malformed(#[from] postcard::Error),
}

/// `message` with its length in front.
///
/// # Errors
/// [`ProtocolError::TooLong`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ProtocolError> {
    let mut bytes = postcard::to_extend(message, vec![0; 4])?;
    let len = bytes.len() - 4;
    let prefix = u32::try_from(len).ok().filter(|_| len <= limits::MESSAGE_LEN_MAX);
    bytes[..4].copy_from_slice(&prefix.ok_or(ProtocolError::TooLong(len))?.to_le_bytes());
    Ok(bytes)
}

/// The first whole message in `bytes` and how many bytes it took, or `None` if more bytes are needed.
///
/// # Errors
/// [`ProtocolError`]; the connection is of no more use then.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, ProtocolError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let len = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
    if len > limits::MESSAGE_LEN_MAX {
        return Err(ProtocolError::TooLong(len));
    }
    let Some(body) = rest.get(..len) else { return Ok(None) };
    Ok(Some((postcard::from_bytes(body)?, 4 + len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_once_it_is_whole() {
        let request = Request::Ping { vswitch: "red".into(), label: 0x13, timeout_ms: 5 };
        let bytes = encode(&request).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode::<Request>(&bytes[..cut]).unwrap().is_none());
        }
        assert_eq!(decode::<Request>(&bytes).unwrap(), Some((request, bytes.len())));
    }

    #[test]
    fn a_hostile_length_is_refused_before_it_is_waited_for() {
        assert!(decode::<Request>(&u32::MAX.to_le_bytes()).is_err());
        assert!(decode::<Request>(&[1, 0, 0, 0, 0xff]).is_err());
    }
}
