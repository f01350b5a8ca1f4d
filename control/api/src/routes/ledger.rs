//! The books: accounts, what came in and went out by hand, records.

use super::config::PageQuery;
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Query};
use crate::page::Page;
use crate::problem::Problem;
use axum::extract::State;
use domain::money::Business;
use ledger::{AccountId, Amount, Balance, Movement, Record};
use serde::{Deserialize, Serialize};
use service::{AccountView, Deposit};
use utoipa::ToSchema;

/// What an account holds, smallest units.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub(crate) struct BalanceBody {
    /// Posted credits less posted debits; with `-` in front if there are more debits.
    net: Net,
    /// Debits that wait.
    #[schema(value_type = String)]
    debits_pending: Amount,
    /// Debits that are done.
    #[schema(value_type = String)]
    debits_posted: Amount,
    /// Credits that wait.
    #[schema(value_type = String)]
    credits_pending: Amount,
    /// Credits that are done.
    #[schema(value_type = String)]
    credits_posted: Amount,
}

/// A number of smallest units that may be below nothing.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(value_type = String)]
pub(crate) struct Net(ledger::account::Net);

impl Serialize for Net {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", self.0.sign(), self.0.amount))
    }
}

impl From<Balance> for BalanceBody {
    fn from(balance: Balance) -> Self {
        let Balance { debits_pending, debits_posted, credits_pending, credits_posted } = balance;
        let net = Net(balance.net());
        Self { net, debits_pending, debits_posted, credits_pending, credits_posted }
    }
}

/// An account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct AccountBody {
    /// Its number, in decimal digits.
    id: String,
    /// What it is: `outside`, `revenue`, `tenant`, `owed`, `unclaimed`.
    kind: &'static str,
    /// Name of the tenant whose it is.
    tenant: Option<String>,
    /// Code of the unit.
    unit: Option<String>,
    /// What it holds.
    balance: BalanceBody,
    /// What may still be spent, where that is bounded.
    #[schema(value_type = Option<String>)]
    available: Option<Amount>,
}

impl From<AccountView> for AccountBody {
    fn from(view: AccountView) -> Self {
        let AccountView { account, kind, tenant, unit } = view;
        let balance = account.balance;
        Self {
            id: account.opening.id.to_string(),
            kind,
            tenant,
            unit,
            balance: balance.into(),
            available: balance.available(account.opening.rule),
        }
    }
}

/// Accounts that who asks may see, by number.
#[utoipa::path(
    get, path = "/ledger/accounts", tag = "ledger", params(PageQuery),
    responses((status = 200, body = Page<AccountBody>)),
)]
pub(crate) async fn accounts(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AccountBody>>, Problem> {
    let asked = query.asked()?;
    let from = AccountId(asked.from());
    let found = api.run(move |service, _| service.accounts(&who.caller, from, asked.fetch()));
    Ok(Json(asked.ascending(found.await?, |view| view.account.opening.id.0, Into::into)))
}

/// Money that came in for a tenant, or went out.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Deposit)]
pub(crate) struct DepositBody {
    /// Name of the tenant.
    tenant: String,
    /// Code of the unit.
    unit: String,
    /// Smallest units.
    #[schema(value_type = String)]
    amount: Amount,
    /// What it is called where it came from, 1 to 100 bytes; each counts once.
    reference: String,
}

impl From<DepositBody> for Deposit {
    fn from(body: DepositBody) -> Self {
        let DepositBody { tenant, unit, amount, reference } = body;
        Self { tenant, unit, amount, reference }
    }
}

/// Money came in for a tenant. Sent again with the same reference, nothing is done.
#[utoipa::path(
    post, path = "/ledger/deposits", tag = "ledger", request_body = DepositBody,
    responses((status = 200, description = "What the tenant has", body = BalanceBody)),
)]
pub(crate) async fn deposit(
    State(api): State<Api>,
    who: Who,
    Json(deposit): Json<DepositBody>,
) -> Result<Json<BalanceBody>, Problem> {
    let deposit = Deposit::from(deposit);
    let balance = api.run(move |service, now| service.deposit(now, &who.caller, &deposit)).await?;
    Ok(Json(balance.into()))
}

/// Money of a tenant went out. Sent again with the same reference, nothing is done.
#[utoipa::path(
    post, path = "/ledger/withdrawals", tag = "ledger", request_body = DepositBody,
    responses((status = 200, description = "What the tenant has", body = BalanceBody)),
)]
pub(crate) async fn withdraw(
    State(api): State<Api>,
    who: Who,
    Json(deposit): Json<DepositBody>,
) -> Result<Json<BalanceBody>, Problem> {
    let deposit = Deposit::from(deposit);
    let balance = api.run(move |service, now| service.withdraw(now, &who.caller, &deposit)).await?;
    Ok(Json(balance.into()))
}

/// A transfer as the books keep it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Record)]
pub(crate) struct RecordBody {
    /// Its place among all records, from 0.
    sequence: u64,
    /// When it was taken, Unix milliseconds.
    at: u64,
    /// Where it comes from, hexadecimal digits.
    source: String,
    /// What it is for, in a word.
    purpose: &'static str,
    /// Which piece of it: a lease, an invoice.
    subject: u64,
    /// How it stands: `done`, `pending`, `posted`, `voided`, `expired`.
    state: &'static str,
    /// What it moved.
    moved: Option<MovementBody>,
}

/// What a transfer moved.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Movement)]
pub(crate) struct MovementBody {
    /// Account that gave, decimal digits.
    debit: String,
    /// Account that got.
    credit: String,
    /// Smallest units.
    #[schema(value_type = String)]
    amount: Amount,
}

impl From<Record> for RecordBody {
    fn from(record: Record) -> Self {
        let Record { transfer, at, sequence, moved, state } = record;
        let state = match state {
            ledger::State::Done => "done",
            ledger::State::Pending => "pending",
            ledger::State::Posted(_) => "posted",
            ledger::State::Voided(_) => "voided",
            ledger::State::Expired => "expired",
        };
        let moved = moved.map(|Movement { debit, credit, amount }| MovementBody {
            debit: debit.to_string(),
            credit: credit.to_string(),
            amount,
        });
        let purpose = Business::name(transfer.purpose);
        let subject = transfer.purpose.subject;
        let source = transfer.source.to_string();
        Self { sequence, at, source, purpose, subject, state, moved }
    }
}

/// Records of the books, by sequence. Not for tenants: they have statements.
#[utoipa::path(
    get, path = "/ledger/records", tag = "ledger", params(PageQuery),
    responses((status = 200, body = Page<RecordBody>)),
)]
pub(crate) async fn records(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<RecordBody>>, Problem> {
    let asked = query.asked()?;
    let found =
        api.run(move |service, _| service.records(&who.caller, asked.from(), asked.fetch()));
    Ok(Json(asked.ascending(found.await?, |record| record.sequence, Into::into)))
}
