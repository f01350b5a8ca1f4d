//! The dataplane, as far as decisions need it.

use dataplane_api::{Generation, Receipt, Spec};
use std::collections::BTreeMap;
use std::fmt;

/// What the process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its ports, and the MTU of each.
    pub ports: BTreeMap<String, u16>,
    /// Newest spec that it accepted.
    pub accepted: Generation,
    /// Which process it is: another one has forgotten nothing, but must be looked at again.
    pub pid: u32,
}

/// Why the dataplane did not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataplaneError {
    /// It said no, and changed nothing.
    #[error("the dataplane refuses: {0}")]
    Refused(String),
    /// It is not there, or does not answer. It goes on with the spec that it has.
    #[error("the dataplane is away: {0}")]
    Away(String),
}

/// Who moves packets.
pub trait Dataplane: Send + fmt::Debug {
    /// Makes `spec` the spec in force: all of it, or nothing.
    ///
    /// # Errors
    /// [`DataplaneError`].
    fn apply(&mut self, spec: Spec) -> Result<(), DataplaneError>;

    /// What it is.
    ///
    /// # Errors
    /// [`DataplaneError::Away`].
    fn facts(&mut self) -> Result<Facts, DataplaneError>;

    /// Receipts that end after `after` (Unix milliseconds), oldest first, a part of them if there are many.
    ///
    /// # Errors
    /// [`DataplaneError::Away`].
    fn receipts(&mut self, after: u64) -> Result<Vec<Receipt>, DataplaneError>;
}
