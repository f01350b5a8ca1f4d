//! Admit: what the tenant's policy and the egress link let through.

use crate::rules::Record;
use dataplane_api::DropReason;

/// In which order a packet leaves its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// No lease: what is left of the port.
    Free,
}

/// The class of a packet of `len` bytes from `ingress` to `egress`.
///
/// # Errors
/// [`DropReason::Policy`], [`DropReason::EgressMtu`].
#[inline]
pub(crate) fn admit(ingress: &Record, egress: &Record, len: usize) -> Result<Class, DropReason> {
    if !ingress.allows(egress) {
        return Err(DropReason::Policy);
    }
    if len > egress.mtu() {
        return Err(DropReason::EgressMtu);
    }
    Ok(Class::Free)
}
