//! Papers: invoices from receipts, and statements of accounts.

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::state::State;
use crate::step::Service;
use dataplane_api::{Receipt as SignedReceipt, TenantId};
use domain::money::{Business, Purse, source};
use domain::{Booking, Lease, LeaseId, PortSide, Time};
use ledger::invoice::{Heading, Invoice, Metered, Tariff, invoice};
use ledger::receipt::{Digest, Receipt, Traffic, Usage};
use ledger::statement::{Statement, statement};
use ledger::{AccountId, Action, Amount, Balance, Movement, Record, Unit, UnitId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Digest as _;
use std::collections::BTreeMap;
use store::Tables;

/// Receipts of one lease in one invoice: ten years of minutes.
const RECEIPTS_MAX: u32 = 5_300_000;

/// For whom, in what and for when an invoice shall be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceAsked {
    /// Name of the tenant.
    pub tenant: String,
    /// Code of the unit.
    pub unit: String,
    /// Begin of the period, Unix milliseconds; `None`: where the last one ended.
    pub from: Option<u64>,
    /// End of the period.
    pub until: u64,
}

/// Of what and for when a statement is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementAsked {
    /// Number of the account.
    pub account: AccountId,
    /// Begin of the period, Unix milliseconds.
    pub from: u64,
    /// End of the period.
    pub until: u64,
}

impl Service {
    /// Writes an invoice for what a tenant's leases carried above their guarantees, and books it as owed. Periods of a
    /// tenant do not overlap, so that nothing is charged twice.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::Invalid`], [`ServiceError::Invoice`] if receipts do not follow one another.
    pub fn write_invoice(
        &self,
        now: Time,
        caller: &Caller,
        asked: &InvoiceAsked,
    ) -> Result<Value, ServiceError> {
        caller.grant.may_operate("writing invoices")?;
        self.change(now, caller, |step| {
            let InvoiceAsked { tenant: name, unit: code, from, until } = asked;
            let (tenant, unit) = (step.tenant(name)?, step.unit(code)?);
            let last = step.tables.invoiced_until(tenant.0, unit.0)?;
            let from = from.or(last).unwrap_or(0);
            if last.is_some_and(|last| from < last) || *until > now.0 {
                let found = format!("{from} to {until}");
                let expected =
                    format!("from {} or later, until {} at most", last.unwrap_or(0), now.0);
                return Err(ServiceError::Invalid { what: "period", found, expected });
            }
            let number = step.tables.next_invoice()?;
            let heading = Heading {
                number,
                tenant: tenant.0,
                tenant_name: name.clone(),
                unit,
                from,
                until: *until,
            };
            let made = written(&step.before, step.tables, heading.clone(), code, tenant)?;
            let body = json(&made, &named_unit(&step.before, unit)?)?;
            step.open(Purse::Owed(tenant).opening(unit));
            step.open(Purse::Revenue.opening(unit));
            if made.total > Amount::ZERO {
                let debit = Purse::Owed(tenant).account(unit);
                let credit = Purse::Revenue.account(unit);
                let movement = Movement { debit, credit, amount: made.total };
                let by = source("invoice", number)?;
                step.transfer(by, Business::Invoice.with(number), Action::Move(movement));
            }
            let text = body.to_string();
            step.write_also(move |tables| tables.put_invoice(&heading, &text));
            step.audit("ledger.invoice", Some(name), number, format!("{} in all", made.total));
            Ok(body)
        })
    }

    /// Pays what a tenant owes from what it has paid in. Returns how much that was.
    ///
    /// # Errors
    /// [`ServiceError::Books`] if there is not enough, [`ServiceError::NotFound`].
    pub fn settle(
        &self,
        now: Time,
        caller: &Caller,
        tenant: &str,
        unit: &str,
    ) -> Result<Amount, ServiceError> {
        caller.grant.may_change("what is owed")?;
        if !caller.grant.sees_tenant(tenant) {
            return Err(ServiceError::NotFound { what: "tenant", name: tenant.to_owned() });
        }
        self.change(now, caller, |step| {
            let (id, unit_id) = (step.tenant(tenant)?, step.unit(unit)?);
            let owed = Purse::Owed(id).account(unit_id);
            let account = ledger::Books::account(&step.tables, owed)?;
            let net = account.map(|account| account.balance.net()).unwrap_or_default();
            if !net.is_negative {
                return Ok(Amount::ZERO);
            }
            step.open(Purse::Tenant(id).opening(unit_id));
            let debit = Purse::Tenant(id).account(unit_id);
            let movement = Movement { debit, credit: owed, amount: net.amount };
            // The books say what was settled last, so no two settlements are the same.
            let records = ledger::Books::head(&step.tables)?.records;
            let by = source("settle", format!("{}:{records}", owed.0))?;
            step.transfer(by, Business::Settlement.with(0), Action::Move(movement));
            step.audit("ledger.settle", Some(tenant), unit, net.amount);
            Ok(net.amount)
        })
    }

    /// Invoices before a number, newest first, at most `limit`, that who asks may see.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn invoices(
        &self,
        caller: &Caller,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Value>, ServiceError> {
        let tenant = caller.grant.only_tenant_id(&self.state().tree).map(|tenant| tenant.0);
        self.read(|tables| Ok(tables.invoices(tenant, before, limit)?))
    }

    /// An invoice, as it was written.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn invoice(&self, caller: &Caller, number: u64) -> Result<Value, ServiceError> {
        let found = self.invoices(caller, number.saturating_add(1), 1)?.pop();
        let is_it = |invoice: &Value| invoice.get("number").and_then(Value::as_u64) == Some(number);
        let none = || ServiceError::NotFound { what: "invoice", name: number.to_string() };
        found.filter(is_it).ok_or_else(none)
    }

    /// What moved on an account, and the unit it is in.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn statement(
        &self,
        caller: &Caller,
        asked: &StatementAsked,
    ) -> Result<(Statement, Unit), ServiceError> {
        let state = self.state();
        let StatementAsked { account, from, until } = *asked;
        let none = || ServiceError::NotFound { what: "account", name: account.to_string() };
        if let Some(own) = caller.grant.only_tenant_id(&state.tree) {
            let is_own = match Purse::of(account).ok_or_else(none)?.0 {
                Purse::Tenant(tenant) | Purse::Owed(tenant) => tenant == own,
                Purse::Outside | Purse::Revenue | Purse::Unclaimed => false,
            };
            if !is_own {
                return Err(none());
            }
        }
        self.read(|tables| {
            let found = ledger::Books::account(&tables, account)?.ok_or_else(none)?;
            let records = tables.records_of(account)?;
            let made = statement(&found.opening, from, until, Balance::default(), &records)?;
            Ok((made, named_unit(&state, found.opening.unit)?))
        })
    }

    /// Receipts of a lease that begin in a period, as the dataplane signed them, if who asks may see them.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub fn receipts(
        &self,
        caller: &Caller,
        lease: LeaseId,
        from: u64,
        until: u64,
        limit: u32,
    ) -> Result<Vec<SignedReceipt>, ServiceError> {
        let state = self.state();
        let none = || ServiceError::NotFound { what: "lease", name: lease.to_string() };
        self.read(|tables| {
            if let Some(own) = caller.grant.only_tenant_id(&state.tree) {
                let holds = state.leases.lease(lease).ok().map(|(lease, _)| lease.owner);
                let held = || {
                    let ended = tables.ended_leases(Some(own.0), lease.0.saturating_add(1), 1)?;
                    Ok::<_, ServiceError>(ended.into_iter().find(|ended| ended.id == lease))
                };
                let owner = match holds {
                    Some(owner) => owner,
                    None => held()?.and_then(|ended| ended.lease.owner),
                };
                if owner != Some(own) {
                    return Err(none());
                }
            }
            Ok(tables.receipts(lease.0, from, until, limit)?)
        })
    }

    /// Records of the books from a sequence on, at most `limit`.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    pub fn records(
        &self,
        caller: &Caller,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Record>, ServiceError> {
        caller.grant.may_see_box("the whole ledger")?;
        self.read(|tables| Ok(tables.records(from, limit)?))
    }
}

/// An invoice over all leases of a tenant, those that have ended too.
fn written(
    state: &State,
    tables: Tables<'_>,
    heading: Heading,
    code: &str,
    tenant: TenantId,
) -> Result<Invoice, ServiceError> {
    let Heading { from, until, .. } = heading;
    let mut leases: BTreeMap<LeaseId, (Lease, Booking)> = BTreeMap::new();
    for (id, lease, booking) in state.leases.iter() {
        leases.insert(id, (lease.clone(), booking.clone()));
    }
    for ended in tables.ended_leases(Some(tenant.0), u32::MAX, u32::MAX)? {
        if ended.booking.grace_until.0 > from {
            leases.insert(ended.id, (ended.lease, ended.booking));
        }
    }
    leases.retain(|_, (lease, _)| lease.owner == Some(tenant) && lease.binding.is_some());
    let mut rows = Vec::new();
    for (id, (_, booking)) in leases {
        let Some(tariff) = tariff(state, &booking.side, code, from) else { continue };
        let last = tables.receipt_before(id.0, from)?.as_ref().map(unsigned);
        let signed = tables.receipts(id.0, from, until, RECEIPTS_MAX)?;
        let receipts: Vec<_> = signed.iter().map(unsigned).collect();
        rows.push((id.0, tariff, last, receipts));
    }
    let metered: Vec<_> = rows
        .iter()
        .map(|(lease, tariff, last, receipts)| Metered {
            lease: *lease,
            tariff: *tariff,
            last: last.as_ref(),
            receipts,
        })
        .collect();
    Ok(invoice(heading, &[], &metered)?)
}

/// What metered traffic costs on a side, by the price at a time.
fn tariff(state: &State, side: &PortSide, unit: &str, at: u64) -> Option<Tariff> {
    let mut prices = state.tree.prices.values();
    let price = prices.find(|price| {
        let slot = price.slot();
        price.port == side.port
            && price.direction == side.direction
            && price.unit == unit
            && (slot.start.0..slot.end.0).contains(&at)
    });
    price?.metered
}

/// A receipt as the ledger has it: its vswitch's key and digests as they are, volumes by what they cost.
fn unsigned(signed: &SignedReceipt) -> Receipt {
    let traffic = |volume: dataplane_api::status::Volume| Traffic {
        packets: volume.packets,
        bytes: volume.bytes,
    };
    let totals = &signed.totals;
    let dropped = traffic(totals.above_ceiling).plus(traffic(totals.no_room)).unwrap_or_default();
    Receipt {
        issuer: Digest(sha2::Sha256::digest(signed.vswitch.as_bytes()).into()),
        lease: signed.lease,
        from: signed.from,
        until: signed.until,
        usage: Usage {
            guaranteed: traffic(totals.guaranteed),
            priority: traffic(totals.priority),
            free: traffic(totals.free),
            dropped,
        },
        previous: digest(&signed.previous),
        digest: digest(&signed.digest),
    }
}

/// 64 hexadecimal digits; zeros for what are none, which then follows nothing.
fn digest(text: &str) -> Digest {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    Digest(bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
}

fn named_unit(state: &State, unit: UnitId) -> Result<Unit, ServiceError> {
    let found = state.tree.units.iter().find(|(_, asset)| asset.id == unit.0);
    let none = || ServiceError::NotFound { what: "unit", name: unit.to_string() };
    let (code, asset) = found.ok_or_else(none)?;
    Unit::new(code, asset.per_whole).map_err(|error| ServiceError::Internal(error.to_string()))
}

fn json(invoice: &Invoice, unit: &Unit) -> Result<Value, ServiceError> {
    let mut text = Vec::new();
    invoice.json(unit, &mut text).map_err(|error| ServiceError::Internal(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| ServiceError::Internal(error.to_string()))
}
