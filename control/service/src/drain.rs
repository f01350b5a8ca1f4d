//! Emptying a port or a vswitch before maintenance: nothing new goes there, and what is still there is told.

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::step::Service;
use domain::{LeaseId, State as LeaseState, Time};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use store::Fact;

/// What is being emptied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drain {
    /// A port, by name.
    Port(String),
    /// A vswitch, by name.
    Vswitch(String),
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(name) => write!(f, "port {name}"),
            Self::Vswitch(name) => write!(f, "vswitch {name}"),
        }
    }
}

/// What is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Leases that hold or will, and until when their owners were promised it, Unix milliseconds.
    pub leases: Vec<(LeaseId, u64)>,
    /// Vswitches with vifs there, and how many.
    pub vifs: Vec<(String, usize)>,
}

impl Service {
    /// Begins or ends emptying something, and says what is still there.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`].
    pub fn drain(
        &self,
        now: Time,
        caller: &Caller,
        what: &Drain,
        is_on: bool,
    ) -> Result<Drained, ServiceError> {
        caller.grant.may_operate("draining")?;
        self.change(now, caller, |step| {
            let tree = step.tree();
            let (kind, name, is_there) = match what {
                Drain::Port(name) => ("port", name, step.before.ports.contains_key(name)),
                Drain::Vswitch(name) => ("vswitch", name, tree.vswitches.contains_key(name)),
            };
            if !is_there && is_on {
                return Err(ServiceError::NotFound { what: kind, name: name.clone() });
            }
            let mut draining = (*step.before.draining).clone();
            if is_on {
                draining.insert(what.clone());
            } else {
                draining.remove(what);
            }
            let draining = Arc::new(draining);
            let kept = Arc::clone(&draining);
            step.write_also(move |tables| tables.set_fact(Fact::Draining, &*kept));
            step.state_also(move |state| state.draining = draining);
            step.audit("drain", None, what, if is_on { "on" } else { "off" });
            Ok(Drained { leases: leases(step.leases(), what), vifs: vifs(&tree, what) })
        })
    }

    /// What is still on something.
    #[must_use]
    pub fn drained(&self, what: &Drain) -> Drained {
        let state = self.state();
        Drained { leases: leases(&state.leases, what), vifs: vifs(&state.tree, what) }
    }
}

fn leases(leases: &domain::Leases, what: &Drain) -> Vec<(LeaseId, u64)> {
    let is_there = |lease: &domain::Lease, booking: &domain::Booking| match what {
        Drain::Port(name) => {
            booking.side.port == *name && !matches!(lease.state, LeaseState::Offered { .. })
        }
        Drain::Vswitch(name) => {
            lease.binding.as_ref().is_some_and(|binding| binding.vswitch == *name)
        }
    };
    let there = leases.iter().filter(|(_, lease, booking)| is_there(lease, booking));
    there.map(|(id, _, booking)| (id, booking.slot.end.0)).collect()
}

fn vifs(tree: &domain::Tree, what: &Drain) -> Vec<(String, usize)> {
    let count = |(name, vswitch): (&String, &Arc<domain::tree::Vswitch>)| {
        let count = match what {
            Drain::Vswitch(wanted) if wanted == name => vswitch.vifs.len(),
            Drain::Vswitch(_) => 0,
            Drain::Port(port) => {
                let links = vswitch.vifs.values().filter_map(|vif| vif.link.as_ref());
                links.filter(|link| domain::tree::port_of(link) == port).count()
            }
        };
        (count > 0).then(|| (name.clone(), count))
    };
    tree.vswitches.iter().filter_map(count).collect()
}
