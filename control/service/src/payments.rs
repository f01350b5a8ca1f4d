//! Leases that are paid for from outside, and what payments do that chains tell of.
//!
//! | what happens | what it does |
//! |---|---|
//! | seen | set aside for whose it is; an order that has enough keeps its offer for `market.hold_ms` |
//! | deep enough | posted; the order's lease is sold, and given to what was ordered, in the same transaction |
//! | too little | the tenant's; the order waits for the rest while its offer stands |
//! | too much, twice | what is above the price is the tenant's |
//! | too late | the tenant's; the lease is not sold |
//! | to nothing that is known | nobody's, until somebody decides |
//! | taken back before it was posted | given back; the order waits |
//! | taken back after | out of what the tenant has; where that is not enough, the lease that was bought with it ends and what it cost for the time given up goes back first; what is still missing is owed |
//!
//! A payment is its source: told of again, in any order, it does what it did once.

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::leases::BuyLease;
use crate::step::{Service, Step};
use dataplane_api::TenantId;
use domain::leases::{Binding, Paid};
use domain::money::{Business, Purse, source};
use domain::{LeaseId, State as LeaseState, Time};
use follow::event::{Event, Payment as Told};
use ledger::{Action, Amount, Books, Movement, Source, UnitId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{EndedLease, Order, OrderState, PayTo, Payment, PaymentState};

/// What a payment is watched for: what a chain is given, and gives back with each payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// An order.
    Order(u64),
    /// What a tenant has.
    Tenant(TenantId),
}

impl Watched {
    /// As a chain keeps it.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Order(id) => format!("order:{id}").into_bytes(),
            Self::Tenant(id) => format!("tenant:{}", id.0).into_bytes(),
        }
    }

    /// From what a chain gave back; `None`: it is none of ours.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = std::str::from_utf8(bytes).ok()?.split_once(':')?;
        match kind {
            "order" => Some(Self::Order(id.parse().ok()?)),
            "tenant" => Some(Self::Tenant(TenantId(id.parse().ok()?))),
            _ => None,
        }
    }
}

/// An order for a lease, paid from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewOrder {
    /// What, for whom, in which unit.
    pub buy: BuyLease,
    /// Where it will be paid.
    pub pay_to: PayTo,
    /// What it is given to as soon as it is paid.
    pub binding: Option<Binding>,
}

impl Service {
    /// What an order would cost, if who asks may make it and there is room. It books nothing.
    ///
    /// # Errors
    /// As those of [`Self::order`].
    pub fn order_price(&self, caller: &Caller, buy: &BuyLease) -> Result<Amount, ServiceError> {
        caller.grant.may_change("leases")?;
        let is_there = self.state().tree.tenants.contains_key(&buy.tenant);
        if !is_there || !caller.grant.sees_tenant(&buy.tenant) {
            let name = buy.tenant.clone();
            return Err(ServiceError::NotFound { what: "tenant", name });
        }
        let price = self.quote(&buy.ask, &buy.unit)?.quote.total;
        within(price, buy.most)?;
        Ok(price)
    }

    /// Books room for a lease until its payment is seen, or the offer ends.
    ///
    /// # Errors
    /// [`ServiceError::Lease`], [`ServiceError::Quote`], [`ServiceError::NotFound`].
    pub fn order(&self, now: Time, caller: &Caller, new: &NewOrder) -> Result<Order, ServiceError> {
        self.change(now, caller, |step| {
            let NewOrder { buy, pay_to, binding } = new;
            let tenant = step.acting_for(&buy.tenant)?;
            if let Some(binding) = binding
                && !caller.grant.sees_vswitch(&step.before.tree, &binding.vswitch)
            {
                let name = binding.vswitch.clone();
                return Err(ServiceError::NotFound { what: "vswitch", name });
            }
            let tree = step.tree();
            let price = tree.quote(&buy.ask.side, &buy.unit, buy.ask.slot, buy.ask.bytes_per_s)?;
            within(price.total, buy.most)?;
            let lease = step.offer(&buy.ask, now.after(tree.settings.market.offer_ms))?;
            let order = Order {
                id: step.tables.next_order()?,
                tenant,
                lease,
                unit: step.unit(&buy.unit)?,
                price: price.total,
                pay_to: pay_to.clone(),
                created: now,
                binding: binding.clone(),
                state: OrderState::Waiting,
            };
            let kept = order.clone();
            step.write_also(move |tables| tables.put_order(&kept));
            let detail =
                format!("lease {lease} for {} smallest units of {}", price.total, buy.unit);
            step.audit("order.new", Some(&buy.tenant), order.id, detail);
            Ok(order)
        })
    }

    /// An order, if who asks may see it.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn order_by_id(&self, caller: &Caller, id: u64) -> Result<Order, ServiceError> {
        let none = || ServiceError::NotFound { what: "order", name: id.to_string() };
        let own = caller.grant.only_tenant_id(&self.state().tree);
        let order = self.read(|tables| Ok(tables.order(id)?))?;
        order.filter(|order| own.is_none_or(|own| order.tenant == own)).ok_or_else(none)
    }

    /// Orders before a number, newest first, that who asks may see.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn orders(
        &self,
        caller: &Caller,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Order>, ServiceError> {
        let own = caller.grant.only_tenant_id(&self.state().tree).map(|own| own.0);
        self.read(|tables| Ok(tables.orders(own, before, limit)?))
    }

    /// Payments, newest first, that who asks may see.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn payments(
        &self,
        caller: &Caller,
        skip: u32,
        limit: u32,
    ) -> Result<Vec<Payment>, ServiceError> {
        let own = caller.grant.only_tenant_id(&self.state().tree).map(|own| own.0);
        self.read(|tables| Ok(tables.payments(own, skip, limit)?))
    }

    /// Does what a chain's event does. `records`: what its follower must remember of it, kept in the same transaction,
    /// so that it is neither forgotten nor told of twice.
    ///
    /// # Errors
    /// [`ServiceError`]; nothing was done, and it is to be told again.
    pub fn chain_event(
        &self,
        now: Time,
        event: Option<&Event>,
        records: &[(String, Option<Vec<u8>>)],
    ) -> Result<(), ServiceError> {
        let caller = Caller::switchyard();
        let with = |binds: bool| {
            self.change(now, &caller, |step| {
                let records = records.to_vec();
                step.write_also(move |tables| {
                    let put = |(name, value): &(String, Option<Vec<u8>>)| {
                        tables.put_chain_record(name, value.as_deref())
                    };
                    records.iter().try_for_each(put)
                });
                match event {
                    None | Some(Event::Clock(_)) => Ok(()),
                    Some(Event::Seen(told)) => step.payment_came(told, 0, binds),
                    Some(Event::Confirmed { payment, confirmations }) => {
                        step.payment_came(payment, *confirmations, binds)
                    }
                    Some(Event::Reverted(told)) => step.payment_gone(told),
                }
            })
        };
        // Whatever is wrong with what the lease shall be given to, the payment counts: it is given later.
        with(true).or_else(|error| {
            let is_binding = matches!(
                error,
                ServiceError::Problems(_)
                    | ServiceError::Lease(_)
                    | ServiceError::Dataplane(_)
                    | ServiceError::Unconfirmed { .. }
            );
            if is_binding { with(false) } else { Err(error) }
        })
    }
}

impl Step<'_> {
    /// A payment was seen, or is so deep.
    fn payment_came(
        &mut self,
        told: &Told,
        confirmations: u32,
        binds: bool,
    ) -> Result<(), ServiceError> {
        let known = self.tables.payment(told.source.as_bytes())?;
        let Some(mut payment) = self.payment_of(told, known)? else { return Ok(()) };
        if payment.state == PaymentState::Reverted {
            payment.state = PaymentState::Pending;
            payment.round += 1;
            self.pend(told, &payment)?;
        }
        payment.confirmations = confirmations;
        let is_deep = confirmations >= self.before.tree.settings.market.confirmations;
        if is_deep && payment.state == PaymentState::Pending {
            payment.state = PaymentState::Posted;
            let post = Action::Post { pending: entry(told, payment.round, "pend")?, amount: None };
            self.transfer(entry(told, payment.round, "post")?, deposit(&payment), post);
            let detail = format!("{} smallest units by {}", payment.amount, payment.chain);
            let tenant = payment.tenant.and_then(|tenant| self.name_of(tenant));
            self.audit("payment.posted", tenant.as_deref(), &payment.source, detail);
        }
        if let Some(order) = payment.order {
            self.look_at_order(order, &payment, binds)?;
        }
        self.keep_payment(told, payment);
        Ok(())
    }

    /// A payment as it is known, or as it is from now on: not yet in the books. `None`: it is in nothing that the box
    /// has a unit for.
    fn payment_of(
        &mut self,
        told: &Told,
        known: Option<Payment>,
    ) -> Result<Option<Payment>, ServiceError> {
        if known.is_some() {
            return Ok(known);
        }
        let Some(unit) = self.before.tree.units.get(&told.asset).map(|unit| UnitId(unit.id)) else {
            let detail = format!(
                "{} smallest units of {:?}, which is no unit here",
                told.amount, told.asset
            );
            self.audit("payment.unknown", None, hex(told.source.as_bytes()), detail);
            return Ok(None);
        };
        if told.amount == 0 {
            return Ok(None);
        }
        let (tenant, order) = match Watched::from_bytes(&told.watch) {
            Some(Watched::Order(id)) => match self.tables.order(id)? {
                // What is paid in something else pays nothing, but is the tenant's.
                Some(order) => (Some(order.tenant), (order.unit == unit).then_some(id)),
                None => (None, None),
            },
            Some(Watched::Tenant(id)) => (Some(id), None),
            None => (None, None),
        };
        Ok(Some(Payment {
            source: hex(told.source.as_bytes()),
            chain: told.chain.clone(),
            tenant,
            order,
            unit,
            amount: Amount(told.amount),
            first: self.now,
            confirmations: 0,
            round: 0,
            // As if it had been taken back: it is set aside next.
            state: PaymentState::Reverted,
        }))
    }

    /// Sets a payment aside.
    fn pend(&mut self, told: &Told, payment: &Payment) -> Result<(), ServiceError> {
        let purse = purse(payment.tenant);
        self.open(Purse::Outside.opening(payment.unit));
        self.open(purse.opening(payment.unit));
        let debit = Purse::Outside.account(payment.unit);
        let credit = purse.account(payment.unit);
        let movement = Movement { debit, credit, amount: payment.amount };
        let pend = Action::Pend { movement, until: None };
        self.transfer(entry(told, payment.round, "pend")?, deposit(payment), pend);
        Ok(())
    }

    /// A payment is no longer there.
    fn payment_gone(&mut self, told: &Told) -> Result<(), ServiceError> {
        let Some(mut payment) = self.tables.payment(told.source.as_bytes())? else { return Ok(()) };
        let tenant = payment.tenant.and_then(|tenant| self.name_of(tenant));
        match payment.state {
            PaymentState::Reverted => return Ok(()),
            PaymentState::Pending => {
                let void = Action::Void { pending: entry(told, payment.round, "pend")? };
                self.transfer(entry(told, payment.round, "void")?, deposit(&payment), void);
            }
            PaymentState::Posted => self.take_back(told, &payment)?,
        }
        let detail = format!("{} smallest units by {}", payment.amount, payment.chain);
        self.audit("payment.reverted", tenant.as_deref(), &payment.source, detail);
        payment.state = PaymentState::Reverted;
        payment.confirmations = 0;
        if let Some(order) = payment.order
            && let Some(mut order) = self.tables.order(order)?
            && order.state == OrderState::Seen
        {
            order.state = OrderState::Waiting;
            self.write_also(move |tables| tables.put_order(&order));
        }
        self.keep_payment(told, payment);
        Ok(())
    }

    /// Takes what was posted out of the books again.
    fn take_back(&mut self, told: &Told, payment: &Payment) -> Result<(), ServiceError> {
        let (unit, round) = (payment.unit, payment.round);
        let Some(tenant) = payment.tenant else {
            return self.move_back(told, round, "back", Purse::Unclaimed, unit, payment.amount);
        };
        let mut has = self.available(tenant, unit)?;
        if has < payment.amount
            && let Some(order) = payment.order
        {
            has = Amount(has.0.saturating_add(self.end_unpaid(order)?.0));
        }
        let taken = has.min(payment.amount);
        let missing = Amount(payment.amount.0 - taken.0);
        self.move_back(told, round, "back", Purse::Tenant(tenant), unit, taken)?;
        self.open(Purse::Owed(tenant).opening(unit));
        self.move_back(told, round, "owed", Purse::Owed(tenant), unit, missing)
    }

    fn move_back(
        &mut self,
        told: &Told,
        round: u32,
        kind: &str,
        from: Purse,
        unit: UnitId,
        amount: Amount,
    ) -> Result<(), ServiceError> {
        if amount > Amount::ZERO {
            let (debit, credit) = (from.account(unit), Purse::Outside.account(unit));
            let by = entry(told, round, kind)?;
            let action = Action::Move(Movement { debit, credit, amount });
            self.transfer(by, Business::Reversal.with(0), action);
        }
        Ok(())
    }

    /// What a tenant can still spend.
    fn available(&self, tenant: TenantId, unit: UnitId) -> Result<Amount, ServiceError> {
        let account = self.tables.account(Purse::Tenant(tenant).account(unit))?;
        let available = account.and_then(|account| account.balance.available(account.opening.rule));
        Ok(available.unwrap_or_default())
    }

    /// Ends the lease of an order that is no longer paid for; what the time given up cost goes back.
    fn end_unpaid(&mut self, id: u64) -> Result<Amount, ServiceError> {
        let Some(mut order) =
            self.tables.order(id)?.filter(|order| order.state == OrderState::Paid)
        else {
            return Ok(Amount::ZERO);
        };
        order.state = OrderState::Reverted;
        let (lease, tenant, unit) = (order.lease, order.tenant, order.unit);
        let name = self.name_of(tenant);
        self.audit("order.reverted", name.as_deref(), id, format!("lease {lease} ends"));
        self.write_also(move |tables| tables.put_order(&order));
        let now = self.now;
        let Ok((held, booking)) = self.leases().lease(lease) else { return Ok(Amount::ZERO) };
        // Whoever has it now paid the tenant, not the box: it goes all the same.
        let back = held.paid.filter(|paid| paid.unit == unit);
        let back = back.map_or(Amount::ZERO, |paid| paid.refund(booking.slot, now, 1_000_000));
        let is_bound = held.binding.is_some();
        if let Some((ended, booking)) = self.leases().end(now, lease, now)? {
            self.touch(lease, is_bound);
            self.ended(EndedLease { id: lease, at: now.0, lease: ended, booking });
        }
        if back > Amount::ZERO {
            let debit = Purse::Revenue.account(unit);
            let movement =
                Movement { debit, credit: Purse::Tenant(tenant).account(unit), amount: back };
            let purpose = Business::Refund.with(lease.0.into());
            self.transfer(source("unpaid", id)?, purpose, Action::Move(movement));
        }
        Ok(back)
    }

    /// Whether an order has enough now. `latest`: the payment of this step, as it will be.
    fn look_at_order(
        &mut self,
        id: u64,
        latest: &Payment,
        binds: bool,
    ) -> Result<(), ServiceError> {
        let Some(mut order) = self.tables.order(id)? else { return Ok(()) };
        if !matches!(order.state, OrderState::Waiting | OrderState::Seen) {
            return Ok(());
        }
        let (mut seen, mut posted) = (0_u128, 0_u128);
        let others = self.tables.payments_for(id)?;
        let others = others.iter().filter(|payment| payment.source != latest.source);
        for payment in others.chain([latest]) {
            let amount = payment.amount.0;
            match payment.state {
                PaymentState::Pending => seen = seen.saturating_add(amount),
                PaymentState::Posted => posted = posted.saturating_add(amount),
                PaymentState::Reverted => {}
            }
        }
        let stands = self.offer_stands(order.lease);
        let before = order.state;
        if posted >= order.price.0 {
            order.state = if stands { OrderState::Paid } else { OrderState::Late };
            if stands {
                self.sell_paid(&order, binds)?;
            }
        } else if seen.saturating_add(posted) >= order.price.0 && stands {
            let until = self.now.after(self.before.tree.settings.market.hold_ms);
            let (now, lease) = (self.now, order.lease);
            self.leases().extend_offer(now, lease, until)?;
            self.touch(lease, false);
            order.state = OrderState::Seen;
        }
        if order.state != before {
            let tenant = self.name_of(order.tenant);
            self.audit("order", tenant.as_deref(), id, format!("{:?}", order.state));
            self.write_also(move |tables| tables.put_order(&order));
        }
        Ok(())
    }

    fn offer_stands(&mut self, lease: LeaseId) -> bool {
        let now = self.now;
        self.leases().lease(lease).is_ok_and(|(lease, booking)| {
            matches!(lease.state, LeaseState::Offered { until } if now < until.min(booking.slot.end))
        })
    }

    /// Sells an order's lease for the price that it was ordered at.
    fn sell_paid(&mut self, order: &Order, binds: bool) -> Result<(), ServiceError> {
        let Order { id: _, tenant, lease, unit, price, .. } = *order;
        let now = self.now;
        self.leases().sell(now, lease, tenant)?;
        self.leases().pay(lease, Paid { unit, amount: price })?;
        self.touch(lease, false);
        let by = source("lease", lease)?;
        self.charge(tenant, unit, price, by, Business::Lease.with(lease.0.into()));
        if let Some(binding) = order.binding.as_ref().filter(|_| binds) {
            self.expect_confirmed()?;
            self.leases().bind(now, lease, binding.clone())?;
            let (tree, ports) = (self.tree(), std::sync::Arc::clone(&self.before.ports));
            let problems = tree.check_lease(&ports, self.leases(), lease);
            if !problems.is_empty() {
                return Err(ServiceError::Problems(problems));
            }
            self.touch(lease, true);
        }
        Ok(())
    }

    fn keep_payment(&mut self, told: &Told, payment: Payment) {
        let source = told.source.as_bytes().to_vec();
        self.write_also(move |tables| tables.put_payment(&source, &payment));
    }
}

fn within(price: Amount, most: Option<Amount>) -> Result<(), ServiceError> {
    match most.filter(|most| price > *most) {
        Some(most) => {
            let (found, expected) = (price.to_string(), format!("at most {most}"));
            Err(ServiceError::Invalid { what: "price", found, expected })
        }
        None => Ok(()),
    }
}

fn purse(tenant: Option<TenantId>) -> Purse {
    tenant.map_or(Purse::Unclaimed, Purse::Tenant)
}

fn deposit(payment: &Payment) -> ledger::Purpose {
    Business::Deposit.with(payment.order.unwrap_or(0))
}

/// Source of what a payment does in the books; it comes, and may be taken back, more than once.
fn entry(told: &Told, round: u32, kind: &str) -> Result<Source, ServiceError> {
    let digest = Sha256::digest(told.source.as_bytes());
    Ok(source("payment", format!("{}:{round}:{kind}", hex(&digest)))?)
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
