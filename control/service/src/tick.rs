//! What time does, and what the dataplane brings: commits that go back, leases that begin and end, receipts, a
//! dataplane that came back.

use crate::caller::Caller;
use crate::dataplane::DataplaneError;
use crate::error::ServiceError;
use crate::state::{State, terms};
use crate::step::Service;
use domain::leases::Change;
use domain::{Leases, Time};
use std::sync::Arc;
use store::{EndedLease, Fact};

/// Receipts that are fetched at a time, at most; the next time brings the rest.
const FETCHES_MAX: u32 = 16;

impl Service {
    /// Does what is due. To be called once a second or so, and at start.
    ///
    /// # Errors
    /// The first [`ServiceError`]; the rest was tried all the same, and all of it will be again.
    pub fn tick(&self, now: Time) -> Result<(), ServiceError> {
        let reverted = self.revert_unconfirmed(now).map(drop);
        let advanced = self.advance(now);
        let expired = self.expire(now);
        reverted.and(advanced).and(expired)
    }

    /// When time alone does something next.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let state = self.state();
        let confirm = state.confirm.map(|confirm| Time(confirm.until));
        confirm.into_iter().chain(state.leases.next_due()).min()
    }

    /// Lets happen to leases what is due.
    fn advance(&self, now: Time) -> Result<(), ServiceError> {
        if self.state().leases.next_due().is_none_or(|due| due > now) {
            return Ok(());
        }
        self.change(now, &Caller::switchyard(), |step| {
            let happened = step.leases().advance(now);
            for happened in happened {
                match happened.what {
                    // The dataplane begins and ends leases by its own clock, from the spec that it has.
                    Change::Began | Change::Grace | Change::Lapsed => {
                        step.touch(happened.lease, false)
                    }
                    Change::Ended(ended) => {
                        let (lease, booking) = *ended;
                        let tenant = lease.owner.and_then(|owner| step.name_of(owner));
                        step.audit(
                            "lease.ended",
                            tenant.as_deref(),
                            happened.lease,
                            "its time is over",
                        );
                        let (id, at) = (happened.lease, happened.at.0);
                        step.ended(EndedLease { id, at, lease, booking });
                    }
                }
            }
            Ok(())
        })
    }

    /// Lets pending transfers void that are due.
    fn expire(&self, now: Time) -> Result<(), ServiceError> {
        let is_due = |tables: store::Tables<'_>| Ok(ledger::Books::due(&tables, now.0)?);
        if self.read(is_due)?.is_empty() {
            return Ok(());
        }
        self.change(now, &Caller::switchyard(), |step| step.post_nothing())
    }

    /// Looks after the dataplane: whether it is there, and has what is wanted. To be called once a second or so, and
    /// at start.
    ///
    /// # Errors
    /// [`ServiceError::Store`]; that the dataplane is away is a state.
    pub fn tend_dataplane(&self) -> Result<(), ServiceError> {
        let mut desk = self.desk();
        let mut state = State::clone(&self.state());
        let facts = match desk.dataplane.facts() {
            Ok(facts) => facts,
            Err(error) => {
                state.dataplane.is_there = false;
                state.dataplane.trouble = Some(error.to_string());
                self.set_state(state);
                return Ok(());
            }
        };
        let was_there = state.dataplane.is_there;
        state.dataplane.is_there = true;
        state.dataplane.pid = facts.pid;
        state.dataplane.accepted = facts.accepted.0;
        if facts.ports != *state.ports {
            desk.store.write(|tables| tables.set_fact(Fact::Ports, &facts.ports))?;
            let old = terms(&state.tree, &state.ports);
            state.ports = Arc::new(facts.ports);
            let leases: &mut Leases = Arc::make_mut(&mut state.leases);
            for (side, new) in terms(&state.tree, &state.ports) {
                if old.get(&side) != Some(&new) {
                    let _misfits = leases.set_terms(&side, new);
                }
            }
        }
        // A box that was never configured from here is left as it is.
        let is_configured = state.commit > 0;
        if is_configured && facts.accepted.0 != state.generation {
            // Somebody else sent a spec, or the process has an older one: ours counts, with a generation above.
            state.generation = state.generation.max(facts.accepted.0.saturating_add(1));
            desk.store.write(|tables| tables.set_fact(Fact::Generation, &state.generation))?;
            state.send(desk.dataplane.as_mut());
        } else if !was_there || state.dataplane.trouble.is_some() {
            state.dataplane.trouble = None;
        }
        self.set_state(state);
        Ok(())
    }

    /// Fetches receipts that are not here yet. To be called once a minute or so.
    ///
    /// # Errors
    /// [`ServiceError::Store`]; that the dataplane is away is a state.
    pub fn fetch_receipts(&self) -> Result<u64, ServiceError> {
        let mut fetched = 0;
        for _ in 0..FETCHES_MAX {
            let mut desk = self.desk();
            let after: u64 =
                desk.store.read(|tables| tables.fact(Fact::ReceiptsUntil))?.unwrap_or(0);
            let receipts = match desk.dataplane.receipts(after) {
                Ok(receipts) => receipts,
                Err(DataplaneError::Away(_) | DataplaneError::Refused(_)) => break,
            };
            let Some(last) = receipts.iter().map(|receipt| receipt.until).max() else { break };
            if last <= after {
                break;
            }
            fetched += receipts.len() as u64;
            desk.store.write(|tables| {
                tables.put_receipts(&receipts)?;
                tables.set_fact(Fact::ReceiptsUntil, &last)
            })?;
        }
        Ok(fetched)
    }
}
