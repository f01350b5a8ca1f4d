//! Money: what came in and went out by hand, and what accounts hold.

use crate::caller::Caller;
use crate::error::ServiceError;
use crate::leases::tenant_name;
use crate::state::State;
use crate::step::Service;
use domain::Time;
use domain::money::{Business, Purse, source};
use ledger::{Account, Action, Amount, Balance, Movement};
use serde::{Deserialize, Serialize};

/// Longest name of a movement by hand, bytes.
const REFERENCE_LEN_MAX: usize = 100;

/// Money that came in for a tenant, or went out, as the operator says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposit {
    /// Name of the tenant.
    pub tenant: String,
    /// Code of the unit.
    pub unit: String,
    /// Smallest units.
    pub amount: Amount,
    /// What it is called where it came from; each counts once.
    pub reference: String,
}

/// An account, as people look at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountView {
    /// As the ledger has it.
    pub account: Account,
    /// What it is: `outside`, `revenue`, `tenant`, `owed`, `unclaimed`.
    pub kind: &'static str,
    /// Name of the tenant whose it is.
    pub tenant: Option<String>,
    /// Code of the unit.
    pub unit: Option<String>,
}

impl Service {
    /// Money came in for a tenant.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], [`ServiceError::Books`].
    pub fn deposit(
        &self,
        now: Time,
        caller: &Caller,
        deposit: &Deposit,
    ) -> Result<Balance, ServiceError> {
        caller.grant.may_operate("deposits")?;
        self.by_hand(now, caller, deposit, Business::Deposit)
    }

    /// Money of a tenant went out.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], [`ServiceError::Books`] if there is not enough.
    pub fn withdraw(
        &self,
        now: Time,
        caller: &Caller,
        deposit: &Deposit,
    ) -> Result<Balance, ServiceError> {
        caller.grant.may_operate("withdrawals")?;
        self.by_hand(now, caller, deposit, Business::Withdrawal)
    }

    fn by_hand(
        &self,
        now: Time,
        caller: &Caller,
        deposit: &Deposit,
        business: Business,
    ) -> Result<Balance, ServiceError> {
        let Deposit { tenant, unit, amount, reference } = deposit;
        if reference.is_empty() || reference.len() > REFERENCE_LEN_MAX {
            let (found, expected) =
                (format!("{} bytes", reference.len()), format!("1 to {REFERENCE_LEN_MAX}"));
            return Err(ServiceError::Invalid { what: "reference", found, expected });
        }
        let account = self.change(now, caller, |step| {
            let (tenant_id, unit_id) = (step.tenant(tenant)?, step.unit(unit)?);
            let purse = Purse::Tenant(tenant_id);
            let (outside, own) = (Purse::Outside.account(unit_id), purse.account(unit_id));
            step.open(Purse::Outside.opening(unit_id));
            step.open(purse.opening(unit_id));
            let (kind, debit, credit) = if business == Business::Withdrawal {
                ("withdrawal", own, outside)
            } else {
                ("deposit", outside, own)
            };
            let movement = Movement { debit, credit, amount: *amount };
            step.transfer(source(kind, reference)?, business.with(0), Action::Move(movement));
            let detail = format!("{amount} smallest units of {unit}");
            step.audit(&format!("ledger.{kind}"), Some(tenant), reference, detail);
            Ok(own)
        })?;
        let found = self.read(|tables| Ok(ledger::Books::account(&tables, account)?))?;
        Ok(found.map(|account| account.balance).unwrap_or_default())
    }

    /// Accounts that who asks may see, from a number on, at most `limit`.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn accounts(
        &self,
        caller: &Caller,
        from: ledger::AccountId,
        limit: u32,
    ) -> Result<Vec<AccountView>, ServiceError> {
        let state = self.state();
        let Some(own) = caller.grant.only_tenant_id(&state.tree) else {
            let found = self.read(|tables| Ok(tables.accounts(from, limit)?))?;
            return Ok(found.into_iter().map(|account| view(&state, account)).collect());
        };
        let units = state.tree.units.values().map(|unit| ledger::UnitId(unit.id));
        let ids = units.flat_map(|unit| {
            [Purse::Tenant(own), Purse::Owed(own)].map(|purse| purse.account(unit))
        });
        let mut ids: Vec<_> = ids.filter(|id| *id >= from).collect();
        ids.sort_unstable();
        self.read(|tables| {
            let mut found = Vec::new();
            for id in ids.into_iter().take(limit as usize) {
                found.extend(ledger::Books::account(&tables, id)?);
            }
            Ok(found.into_iter().map(|account| view(&state, account)).collect())
        })
    }
}

fn view(state: &State, account: Account) -> AccountView {
    let (kind, tenant, unit) = match Purse::of(account.opening.id) {
        None => ("unknown", None, None),
        Some((purse, unit)) => match purse {
            Purse::Outside => ("outside", None, Some(unit)),
            Purse::Revenue => ("revenue", None, Some(unit)),
            Purse::Unclaimed => ("unclaimed", None, Some(unit)),
            Purse::Tenant(tenant) => ("tenant", Some(tenant), Some(unit)),
            Purse::Owed(tenant) => ("owed", Some(tenant), Some(unit)),
        },
    };
    let code = |unit: ledger::UnitId| {
        let found = state.tree.units.iter().find(|(_, asset)| asset.id == unit.0);
        found.map(|(code, _)| code.clone())
    };
    let tenant = tenant.map(|id| tenant_name(state, id).unwrap_or_else(|| id.0.to_string()));
    AccountView { account, kind, tenant, unit: unit.and_then(code) }
}
