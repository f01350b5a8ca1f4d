//! Admit: what the tenant's policy and the egress link let through.

use crate::rules::Record;
use dataplane_api::DropReason;

/// Whether a packet of `len` bytes may go from `ingress` to `egress`.
///
/// # Errors
/// [`DropReason::Policy`], [`DropReason::EgressMtu`].
#[inline]
pub(crate) fn admit(ingress: &Record, egress: &Record, len: usize) -> Result<(), DropReason> {
    if !ingress.allows(egress) {
        return Err(DropReason::Policy);
    }
    is_fitting(egress, len)
}

/// Whether a packet of `len` bytes may leave by a link, as far as its length goes.
///
/// # Errors
/// [`DropReason::EgressMtu`].
#[inline]
pub(crate) fn is_fitting(egress: &Record, len: usize) -> Result<(), DropReason> {
    if len > egress.mtu() {
        return Err(DropReason::EgressMtu);
    }
    Ok(())
}
