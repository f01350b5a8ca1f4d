//! What holds, as one value.

use crate::drain::Drain;
use dataplane_api::Direction;
use domain::{Leases, PortSide, PortTerms, Tree};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{Confirm, Fact, StoreError, Tables};

/// Everything that is decided by. A reader keeps it as long as it likes; who changes makes another.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The running configuration.
    pub tree: Arc<Tree>,
    /// Leases that have not ended.
    pub leases: Arc<Leases>,
    /// Number of the last commit; 0: there was none.
    pub commit: u64,
    /// A commit that goes back by itself.
    pub confirm: Option<Confirm>,
    /// Number of the next lease.
    pub next_lease: u32,
    /// Generation of the spec that these make.
    pub generation: u64,
    /// What is being emptied.
    pub draining: Arc<BTreeSet<Drain>>,
    /// The dataplane's ports and their MTU, as it last said.
    pub ports: Arc<BTreeMap<String, u16>>,
    /// How the dataplane stands to it.
    pub dataplane: DataplaneState,
}

/// How the dataplane stands to what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DataplaneState {
    /// It answers.
    pub is_there: bool,
    /// Its process; 0: never seen.
    pub pid: u32,
    /// Newest spec that it accepted.
    pub accepted: u64,
    /// Why it does not have what is wanted, in words.
    pub trouble: Option<String>,
}

impl State {
    /// As the store has it.
    pub(crate) fn load(tables: Tables<'_>) -> Result<Self, StoreError> {
        let tree = tables.tree()?;
        let ports: BTreeMap<String, u16> = tables.fact(Fact::Ports)?.unwrap_or_default();
        let leases = tables.leases(&terms(&tree, &ports))?;
        Ok(Self {
            tree: Arc::new(tree),
            leases: Arc::new(leases),
            commit: tables.last_commit()?,
            confirm: tables.fact::<Option<Confirm>>(Fact::Confirm)?.flatten(),
            next_lease: tables.fact(Fact::NextLease)?.unwrap_or(1),
            generation: tables.fact(Fact::Generation)?.unwrap_or(0),
            draining: Arc::new(tables.fact(Fact::Draining)?.unwrap_or_default()),
            ports: Arc::new(ports),
            dataplane: DataplaneState::default(),
        })
    }
}

/// What of each side is for sale.
pub(crate) fn terms(tree: &Tree, mtus: &BTreeMap<String, u16>) -> BTreeMap<PortSide, PortTerms> {
    let mut terms = BTreeMap::new();
    for (name, port) in &tree.ports {
        // Before the dataplane was ever seen: what Ethernet has.
        let of = port.terms(mtus.get(name).copied().unwrap_or(1500));
        for direction in [Direction::Out, Direction::In] {
            terms.insert(PortSide { port: name.clone(), direction }, of);
        }
    }
    terms
}
