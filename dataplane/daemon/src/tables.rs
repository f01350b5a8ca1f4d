//! What the management thread publishes to workers and the slow path, as one value.

use crate::keys::Identities;
use crate::taps::Watch;
use engine::{Leases, NextHops, Rules, ToldLinks};
use std::sync::Arc;

/// Adopted between bursts, whole.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    /// The spec, compiled.
    pub(crate) rules: Arc<Rules>,
    /// The leases that hold.
    pub(crate) leases: Arc<Leases>,
    /// Links whose neighbours tell claims, and are told.
    pub(crate) told: Arc<ToldLinks>,
    /// Next hops of UDP links.
    pub(crate) next_hops: Arc<NextHops>,
    /// By port id: whether the device is up.
    pub(crate) ports_up: Arc<[bool]>,
    /// Private keys that vswitches may have.
    pub(crate) identities: Arc<Identities>,
    /// Who watches what; `None` costs nothing.
    pub(crate) watch: Option<Arc<Watch>>,
}
