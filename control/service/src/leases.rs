//! Leases as a business: offer, quote, buy, renew, bind, split, hand over, end.
//!
//! A tenant acts on its own leases and pays from what it has paid in; the operator acts for any. Room, money and
//! ownership change in one step.

use crate::caller::Caller;
use crate::drain::Drain;
use crate::error::ServiceError;
use crate::state::State;
use crate::step::{Service, Step};
use dataplane_api::TenantId;
use domain::leases::{Binding, LeaseError, Paid};
use domain::money::{Business, Purse, source};
use domain::terms::Share;
use domain::tree::Quote;
use domain::{Ask, Booking, Lease, LeaseId, PortSide, Slot, State as LeaseState, Time};
use ledger::{Action, Amount, Movement, UnitId};
use serde::{Deserialize, Serialize};
use store::{EndedLease, Order, OrderState};

/// Most steps of a calendar that are told at once.
const STEPS_MAX: usize = 10_000;

/// What is to be leased, and in which unit it is paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuyLease {
    /// Name of the tenant.
    pub tenant: String,
    /// What.
    pub ask: Ask,
    /// Code of the unit.
    pub unit: String,
    /// Most that it may cost, smallest units; `None`: whatever it costs.
    pub most: Option<Amount>,
}

/// What is offered for sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferLease {
    /// What.
    pub ask: Ask,
    /// When the offer ends; `None`: after the box's usual time.
    pub until: Option<Time>,
}

/// What a lease would be and cost. It books nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Priced {
    /// The room it would take.
    pub booking: Booking,
    /// What it would cost.
    pub quote: Quote,
}

/// A lease, as people look at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// Its number.
    pub id: LeaseId,
    /// Name of the tenant whose it is; its number if it has no name any more.
    pub owner: Option<String>,
    /// How far it is.
    pub lease: Lease,
    /// The room it takes.
    pub booking: Booking,
}

impl Service {
    /// What a lease would be and cost.
    ///
    /// # Errors
    /// [`ServiceError::Lease`] says what is short, where, and which slot would fit; [`ServiceError::Quote`].
    pub fn quote(&self, ask: &Ask, unit: &str) -> Result<Priced, ServiceError> {
        let state = self.state();
        expect_open(&state, &ask.side.port)?;
        let booking = state.leases.calendar().quote(ask).map_err(LeaseError::from)?;
        let quote = state.tree.quote(&ask.side, unit, ask.slot, ask.bytes_per_s)?;
        Ok(Priced { booking, quote })
    }

    /// What is free on a side of a port, from each instant on at which that changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn calendar(
        &self,
        side: &PortSide,
        slot: Slot,
    ) -> Result<Vec<(Time, Share)>, ServiceError> {
        let state = self.state();
        if state.leases.calendar().terms(side).is_none() {
            return Err(ServiceError::NotFound { what: "port for sale", name: side.port.clone() });
        }
        let mut steps = state.leases.calendar().free_steps(side, slot);
        steps.truncate(STEPS_MAX);
        Ok(steps)
    }

    /// Buys a lease from what the tenant has paid in.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::Quote`], [`ServiceError::Books`] if there is not enough, [`ServiceError::Forbidden`].
    pub fn buy(
        &self,
        now: Time,
        caller: &Caller,
        order: &BuyLease,
    ) -> Result<LeaseView, ServiceError> {
        self.change(now, caller, |step| {
            let tenant = step.acting_for(&order.tenant)?;
            let id = step.offer(&order.ask, now.after(1))?;
            step.sell(id, tenant, &order.unit, order.most)?;
            let detail = format!("{} {} bytes/s", order.ask.side, order.ask.bytes_per_s);
            step.audit("lease.buy", Some(&order.tenant), id, detail);
            step.view(id)
        })
    }

    /// Offers a lease for sale.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::Forbidden`].
    pub fn offer(
        &self,
        now: Time,
        caller: &Caller,
        offer: &OfferLease,
    ) -> Result<LeaseView, ServiceError> {
        caller.grant.may_operate("offering leases")?;
        self.change(now, caller, |step| {
            let usual = now.after(step.before.tree.settings.market.offer_ms);
            let id = step.offer(&offer.ask, offer.until.unwrap_or(usual))?;
            step.audit("lease.offer", None, id, &offer.ask.side);
            step.view(id)
        })
    }

    /// Sells what is offered: for its price in a unit, or, by the operator, for nothing (`unit` is `None`).
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::Quote`], [`ServiceError::Books`], [`ServiceError::Forbidden`].
    pub fn sell(
        &self,
        now: Time,
        caller: &Caller,
        id: LeaseId,
        tenant: &str,
        unit: Option<&str>,
    ) -> Result<LeaseView, ServiceError> {
        self.change(now, caller, |step| {
            let to = step.acting_for(tenant)?;
            let before = std::sync::Arc::clone(&step.before);
            let (lease, _) = step.leases().lease(id).map_err(|_ended| none(id))?;
            if !sees(&before, caller, lease) {
                return Err(none(id));
            }
            // What somebody ordered waits for his payment, and for nobody else's.
            let is_open = |order: &Order| {
                matches!(order.state, OrderState::Waiting | OrderState::Seen) && order.tenant != to
            };
            if step.tables.order_of(id)?.as_ref().is_some_and(is_open) {
                return Err(none(id));
            }
            match unit {
                Some(unit) => step.sell(id, to, unit, None)?,
                None => {
                    caller.grant.may_operate("leases for nothing")?;
                    step.leases().sell(now, id, to)?;
                    step.touch(id, false);
                }
            }
            step.audit("lease.sell", Some(tenant), id, unit.unwrap_or("for nothing"));
            step.view(id)
        })
    }

    /// Renews a lease to a later end, for what the time between costs in the unit in which it was paid for.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::Quote`], [`ServiceError::Books`], [`ServiceError::NotFound`].
    pub fn renew(
        &self,
        now: Time,
        caller: &Caller,
        id: LeaseId,
        end: Time,
        unit: Option<&str>,
    ) -> Result<LeaseView, ServiceError> {
        self.change(now, caller, |step| {
            let (lease, booking) = step.own(id)?;
            step.expect_confirmed()?;
            expect_open(&step.before, &booking.side.port)?;
            let owner = lease.owner.ok_or_else(|| none(id))?;
            let slot = Slot { start: booking.slot.end, end };
            step.leases().renew(now, id, end)?;
            let unit = match (unit, lease.paid) {
                (Some(unit), _) => Some(unit.to_owned()),
                (None, Some(paid)) => Some(step.unit_code(paid.unit)?),
                // Given for nothing, and so is the rest, by who may.
                (None, None) => {
                    caller.grant.may_operate("renewing for nothing")?;
                    None
                }
            };
            if let Some(unit) = unit {
                let name = format!("{id}:{}", end.0);
                let price = step.before.tree.quote(
                    &booking.side,
                    &unit,
                    slot,
                    booking.share.bytes_per_s,
                )?;
                let unit = step.unit(&unit)?;
                let by = source("renew", name)?;
                step.charge(owner, unit, price.total, by, Business::Renewal.with(id.0.into()));
                step.leases().pay(id, Paid { unit, amount: price.total })?;
            }
            step.touch(id, lease.binding.is_some());
            let tenant = step.name_of(owner);
            step.audit("lease.renew", tenant.as_deref(), id, format!("until {end}"));
            step.view(id)
        })
    }

    /// Gives a lease to vifs of one of its owner's vswitches, for good.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::Problems`], [`ServiceError::NotFound`], [`ServiceError::Dataplane`].
    pub fn bind(
        &self,
        now: Time,
        caller: &Caller,
        id: LeaseId,
        binding: &Binding,
    ) -> Result<LeaseView, ServiceError> {
        self.change(now, caller, |step| {
            let (lease, _) = step.own(id)?;
            step.expect_confirmed()?;
            let vswitch = &binding.vswitch;
            if !caller.grant.sees_vswitch(&step.before.tree, vswitch) {
                return Err(ServiceError::NotFound { what: "vswitch", name: vswitch.clone() });
            }
            step.leases().bind(now, id, binding.clone())?;
            let (tree, ports) = (step.tree(), std::sync::Arc::clone(&step.before.ports));
            let problems = tree.check_lease(&ports, step.leases(), id);
            if !problems.is_empty() {
                return Err(ServiceError::Problems(problems));
            }
            step.touch(id, true);
            let tenant = lease.owner.and_then(|owner| step.name_of(owner));
            let vifs: Vec<_> = binding.vifs.iter().map(u16::to_string).collect();
            step.audit(
                "lease.bind",
                tenant.as_deref(),
                id,
                format!("{vswitch} {}", vifs.join(" ")),
            );
            step.view(id)
        })
    }

    /// Makes two leases of one: the second from a time on.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::NotFound`].
    pub fn split_at(
        &self,
        now: Time,
        caller: &Caller,
        id: LeaseId,
        at: Time,
    ) -> Result<[LeaseView; 2], ServiceError> {
        self.change(now, caller, |step| {
            let (lease, _) = step.own(id)?;
            let second = step.new_lease();
            step.leases().split_at(now, id, at, second)?;
            step.was_split(&lease, id, second, format!("at {at}"))
        })
    }

    /// Makes two leases of one: the second with so much of the rate.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::NotFound`].
    pub fn split_rate(
        &self,
        now: Time,
        caller: &Caller,
        id: LeaseId,
        bytes_per_s: u64,
    ) -> Result<[LeaseView; 2], ServiceError> {
        self.change(now, caller, |step| {
            let (lease, _) = step.own(id)?;
            let second = step.new_lease();
            step.leases().split_rate(now, id, bytes_per_s, second)?;
            step.was_split(&lease, id, second, format!("{bytes_per_s} bytes/s"))
        })
    }

    /// Hands a lease over to another tenant.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::NotFound`].
    pub fn hand_over(
        &self,
        now: Time,
        caller: &Caller,
        id: LeaseId,
        to: &str,
    ) -> Result<LeaseView, ServiceError> {
        self.change(now, caller, |step| {
            let (lease, _) = step.own(id)?;
            let to_id = step.tenant(to)?;
            step.leases().hand_over(now, id, to_id)?;
            step.touch(id, false);
            let from = lease.owner.and_then(|owner| step.name_of(owner));
            step.audit("lease.hand_over", from.as_deref(), id, format!("to {to}"));
            step.audit("lease.hand_over", Some(to), id, "taken over");
            step.view(id)
        })
    }

    /// Ends a lease early, or withdraws an offer: what the market's rule says of what was paid for the time given up
    /// goes back to its owner. Returns what went back.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::NotFound`].
    pub fn end(
        &self,
        now: Time,
        caller: &Caller,
        id: LeaseId,
        at: Time,
    ) -> Result<Amount, ServiceError> {
        self.change(now, caller, |step| {
            let (lease, booking) = step.own(id)?;
            let at = at.max(now);
            if let LeaseState::Offered { .. } = lease.state {
                caller.grant.may_operate("withdrawing offers")?;
            }
            let refund_ppm = step.before.tree.settings.market.refund_ppm;
            let refund =
                lease.paid.map(|paid| (paid.unit, paid.refund(booking.slot, at, refund_ppm)));
            let ended = step.leases().end(now, id, at)?;
            step.touch(id, lease.binding.is_some());
            if let Some((lease, booking)) = ended {
                step.ended(EndedLease { id, at: now.0, lease, booking });
            }
            let mut given = Amount::ZERO;
            if let (Some((unit, amount)), Some(owner)) = (refund, lease.owner)
                && amount > Amount::ZERO
            {
                given = amount;
                step.open(Purse::Tenant(owner).opening(unit));
                step.open(Purse::Revenue.opening(unit));
                let debit = Purse::Revenue.account(unit);
                let movement =
                    Movement { debit, credit: Purse::Tenant(owner).account(unit), amount };
                let by = source("refund", format!("{id}:{}", booking.slot.end.0))?;
                step.transfer(by, Business::Refund.with(id.0.into()), Action::Move(movement));
            }
            let tenant = lease.owner.and_then(|owner| step.name_of(owner));
            step.audit("lease.end", tenant.as_deref(), id, format!("at {at}, {given} given back"));
            Ok(given)
        })
    }

    /// A lease, if who asks may see it.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn lease(&self, caller: &Caller, id: LeaseId) -> Result<LeaseView, ServiceError> {
        let state = self.state();
        let (lease, booking) = state.leases.lease(id).map_err(|_ended| none(id))?;
        if !sees(&state, caller, lease) {
            return Err(none(id));
        }
        Ok(lease_view(&state, id, lease, booking))
    }

    /// Leases from `from` on that who asks may see, by number, at most `limit`: a tenant sees its own, and what is
    /// offered.
    #[must_use]
    pub fn leases(&self, caller: &Caller, from: LeaseId, limit: usize) -> Vec<LeaseView> {
        let state = self.state();
        let all = state.leases.iter().filter(|(id, ..)| *id >= from);
        let seen = all.filter(|(_, lease, _)| sees(&state, caller, lease));
        seen.take(limit)
            .map(|(id, lease, booking)| lease_view(&state, id, lease, booking))
            .collect()
    }

    /// Leases that have ended, below a number, newest first.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn ended_leases(
        &self,
        caller: &Caller,
        before: u32,
        limit: u32,
    ) -> Result<Vec<EndedLease>, ServiceError> {
        let owner = caller.grant.only_tenant_id(&self.state().tree).map(|owner| owner.0);
        self.read(|tables| Ok(tables.ended_leases(owner, before, limit)?))
    }
}

impl Step<'_> {
    /// A lease, if who asks may act on it.
    fn own(&mut self, id: LeaseId) -> Result<(Lease, Booking), ServiceError> {
        self.caller.grant.may_change("leases")?;
        let only = self.caller.grant.only_tenant_id(&self.before.tree);
        let (lease, booking) = self.leases().lease(id).map_err(|_ended| none(id))?;
        if only.is_some() && lease.owner != only {
            return Err(none(id));
        }
        Ok((lease.clone(), booking.clone()))
    }

    /// The tenant for whom somebody acts.
    pub(crate) fn acting_for(&self, tenant: &str) -> Result<TenantId, ServiceError> {
        self.caller.grant.may_change("leases")?;
        if !self.caller.grant.sees_tenant(tenant) {
            return Err(ServiceError::NotFound { what: "tenant", name: tenant.to_owned() });
        }
        self.tenant(tenant)
    }

    /// The number of a tenant.
    pub(crate) fn tenant(&self, name: &str) -> Result<TenantId, ServiceError> {
        let tenant = self.before.tree.tenants.get(name).map(|tenant| TenantId(tenant.id));
        tenant.ok_or_else(|| ServiceError::NotFound { what: "tenant", name: name.to_owned() })
    }

    /// The name of a tenant.
    pub(crate) fn name_of(&self, id: TenantId) -> Option<String> {
        tenant_name(&self.before, id)
    }

    /// The number of a unit.
    pub(crate) fn unit(&self, code: &str) -> Result<UnitId, ServiceError> {
        let unit = self.before.tree.units.get(code).map(|unit| UnitId(unit.id));
        unit.ok_or_else(|| ServiceError::NotFound { what: "unit", name: code.to_owned() })
    }

    /// The code of a unit.
    fn unit_code(&self, unit: UnitId) -> Result<String, ServiceError> {
        let found = self.before.tree.units.iter().find(|(_, asset)| asset.id == unit.0);
        let code = found.map(|(code, _)| code.clone());
        code.ok_or_else(|| ServiceError::NotFound { what: "unit", name: unit.to_string() })
    }

    /// Books room for a lease.
    pub(crate) fn offer(&mut self, ask: &Ask, until: Time) -> Result<LeaseId, ServiceError> {
        expect_open(&self.before, &ask.side.port)?;
        self.expect_confirmed()?;
        let (id, now) = (self.new_lease(), self.now);
        self.leases().offer(now, id, ask, until)?;
        self.touch(id, false);
        Ok(id)
    }

    /// Sells what is offered for its price.
    fn sell(
        &mut self,
        id: LeaseId,
        to: TenantId,
        unit: &str,
        most: Option<Amount>,
    ) -> Result<(), ServiceError> {
        let now = self.now;
        let (_, booking) = self.leases().lease(id)?;
        let (side, slot, rate) = (booking.side.clone(), booking.slot, booking.share.bytes_per_s);
        let price = self.before.tree.quote(&side, unit, slot, rate)?.total;
        if let Some(most) = most.filter(|most| price > *most) {
            let (found, expected) = (price.to_string(), format!("at most {most}"));
            return Err(ServiceError::Invalid { what: "price", found, expected });
        }
        let unit = self.unit(unit)?;
        self.leases().sell(now, id, to)?;
        self.leases().pay(id, Paid { unit, amount: price })?;
        self.touch(id, false);
        self.charge(to, unit, price, source("lease", id)?, Business::Lease.with(id.0.into()));
        Ok(())
    }

    /// Moves a price from a tenant to the box.
    pub(crate) fn charge(
        &mut self,
        tenant: TenantId,
        unit: UnitId,
        amount: Amount,
        by: ledger::Source,
        purpose: ledger::Purpose,
    ) {
        self.open(Purse::Tenant(tenant).opening(unit));
        self.open(Purse::Revenue.opening(unit));
        if amount > Amount::ZERO {
            let debit = Purse::Tenant(tenant).account(unit);
            let movement = Movement { debit, credit: Purse::Revenue.account(unit), amount };
            self.transfer(by, purpose, Action::Move(movement));
        }
    }

    fn was_split(
        &mut self,
        lease: &Lease,
        id: LeaseId,
        second: LeaseId,
        how: String,
    ) -> Result<[LeaseView; 2], ServiceError> {
        self.touch(id, false);
        self.touch(second, false);
        let tenant = lease.owner.and_then(|owner| self.name_of(owner));
        self.audit("lease.split", tenant.as_deref(), id, format!("{how}: lease {second}"));
        Ok([self.view(id)?, self.view(second)?])
    }

    fn view(&mut self, id: LeaseId) -> Result<LeaseView, ServiceError> {
        let (lease, booking) = self.leases().lease(id)?;
        let (lease, booking) = (lease.clone(), booking.clone());
        Ok(lease_view(&self.before, id, &lease, &booking))
    }
}

fn none(id: LeaseId) -> ServiceError {
    ServiceError::NotFound { what: "lease", name: id.to_string() }
}

/// That a port is not being emptied.
fn expect_open(state: &State, port: &str) -> Result<(), ServiceError> {
    let drain = Drain::Port(port.to_owned());
    if state.draining.contains(&drain) {
        Err(ServiceError::Drained(drain.to_string()))
    } else {
        Ok(())
    }
}

fn sees(state: &State, caller: &Caller, lease: &Lease) -> bool {
    let Some(own) = caller.grant.only_tenant_id(&state.tree) else { return true };
    lease.owner.is_none_or(|owner| owner == own)
}

pub(crate) fn tenant_name(state: &State, id: TenantId) -> Option<String> {
    let found = state.tree.tenants.iter().find(|(_, tenant)| tenant.id == id.0);
    found.map(|(name, _)| name.clone())
}

fn lease_view(state: &State, id: LeaseId, lease: &Lease, booking: &Booking) -> LeaseView {
    let name = |owner: TenantId| tenant_name(state, owner).unwrap_or_else(|| owner.0.to_string());
    LeaseView { id, owner: lease.owner.map(name), lease: lease.clone(), booking: booking.clone() }
}
