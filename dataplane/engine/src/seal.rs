//! Seal: protect packets for their links when they leave, so that nonces leave in order and drops cost no crypto.

use crate::Burst;
use crate::open::Work;
use crate::sessions::{SessionNews, Sessions, Which};
use arrayvec::ArrayVec;
use crypt::aead::Aead;
use dataplane_api::limits::BURST_MAX;
use dataplane_api::{DropReason, VifId, VswitchId};
use wire::buf::Packet;

/// A frame of a burst that is to be sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framed {
    /// Place in the burst.
    pub(crate) index: u8,
    /// Of its link's record.
    pub(crate) slot: u32,
    pub(crate) vif: VifId,
    pub(crate) epoch: u8,
    pub(crate) vswitch: VswitchId,
    /// For the tap.
    pub(crate) packet: u32,
}

/// Those of one burst, in order.
pub(crate) type FramedBurst = ArrayVec<Framed, BURST_MAX>;

/// Makes a data packet of `frame`, which [`seal`] then seals, and gives it its number.
///
/// # Errors
/// [`DropReason::LinkDown`]: the link has no session, or its numbers are used up. [`DropReason::EgressMtu`]: no room
/// around it, which a frame within the buffer contract has.
#[inline]
pub(crate) fn frame<F: Packet>(
    sessions: &mut Sessions,
    (vif, epoch): (VifId, u8),
    frame: &mut F,
    news: &mut Vec<SessionNews>,
) -> Result<(), DropReason> {
    let link = sessions.of_mut(vif, epoch);
    let session = link.and_then(|link| link.get_mut(Which::Current)).ok_or(DropReason::LinkDown)?;
    if session.is_old() {
        sessions.tell_old(vif, epoch, news);
        return frame_old(sessions, (vif, epoch), frame);
    }
    if session.frame(frame) { Ok(()) } else { Err(DropReason::EgressMtu) }
}

/// The same for a session near its end.
#[cold]
fn frame_old<F: Packet>(
    sessions: &mut Sessions,
    (vif, epoch): (VifId, u8),
    frame: &mut F,
) -> Result<(), DropReason> {
    let link = sessions.of_mut(vif, epoch);
    let session = link.and_then(|link| link.get_mut(Which::Current)).ok_or(DropReason::LinkDown)?;
    if session.frame(frame) { Ok(()) } else { Err(DropReason::LinkDown) }
}

/// Seals the framed packets of a burst, all at once.
pub(crate) fn seal<F: Packet>(
    aead: &mut Aead,
    sessions: &Sessions,
    burst: &mut Burst<F>,
    framed: &FramedBurst,
) {
    let mut work = Work::default();
    let mut frames = burst.iter_mut().enumerate();
    for Framed { index, vif, epoch, .. } in framed.iter().copied() {
        // Both are in order, so one walk meets every packet.
        let Some((at, frame)) = frames.find(|(at, _)| *at == usize::from(index)) else { break };
        let session = sessions.of(vif, epoch).and_then(|link| link.get(Which::Current));
        if let Some(session) = session
            && let Some(job) = session.seal_job(frame.bytes_mut())
        {
            work.add(session.cipher(), at, job);
        }
    }
    work.seal(aead);
}
