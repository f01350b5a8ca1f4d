//! Leases that are paid for from outside: orders, what was paid, and the chain that tells of it.

use super::config::PageQuery;
use super::leases::BindingBody;
use super::market::Order as Wanted;
use crate::app::Api;
use crate::auth::Who;
use crate::chain::{ChainStatus, PayBy, Till};
use crate::extract::{Json, Path, Query};
use crate::page::Page;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use domain::Tree;
use ledger::{Amount, UnitId};
use serde::{Deserialize, Serialize};
use service::NewOrder;
use store::{Order, OrderState, PayTo, Payment, PaymentState};
use utoipa::ToSchema;

/// What is ordered, and how it will be paid.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderAsked {
    /// The lease, for whom, in which unit, for how much at most.
    buy: Wanted,
    /// By which way.
    #[serde(default)]
    pay_by: PayBy,
    /// What the lease is given to as soon as it is paid.
    #[serde(default)]
    binding: Option<BindingBody>,
}

/// Where an order is paid.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = PayTo)]
pub(crate) enum PayToBody {
    /// To an address, with as many transactions as it takes.
    Address {
        /// Name of the chain.
        chain: String,
        /// The address.
        address: String,
    },
    /// By an invoice.
    Invoice {
        /// Name of the chain.
        chain: String,
        /// The payment request.
        request: String,
        /// Its payment hash, hexadecimal.
        hash: String,
    },
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OrderState)]
pub(crate) enum OrderStateBody {
    /// For its payment.
    Waiting,
    /// Enough was seen, and is not confirmed yet: the offer stands longer.
    Seen,
    /// The lease is the tenant's.
    Paid,
    /// Paid when the offer was over: the money is the tenant's.
    Late,
    /// Its payment was taken back, and the lease with it.
    Reverted,
}

/// A lease that is paid for from outside.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PaidOrder)]
pub(crate) struct OrderBody {
    /// Its number.
    id: u64,
    /// Name of the tenant; its number if it has no name any more.
    tenant: String,
    /// Number of the lease, whose room is held as long as the offer stands.
    lease: u32,
    /// Code of the unit; its number if it has no code any more.
    unit: String,
    /// What it costs, smallest units.
    #[schema(value_type = String)]
    price: Amount,
    /// Where it is paid.
    pay_to: PayToBody,
    /// When it was made, Unix milliseconds.
    created: u64,
    /// How far it is.
    state: OrderStateBody,
    /// What the lease is given to as soon as it is paid.
    binding: Option<BindingBody>,
    /// Why it is not paid by the way that was asked for; only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    reason: Option<String>,
}

/// How far a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentState)]
pub(crate) enum PaymentStateBody {
    /// Set aside, until it is deep enough.
    Pending,
    /// In the books.
    Posted,
    /// Taken back by its chain.
    Reverted,
}

/// Money that came from outside.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub(crate) struct PaymentBody {
    /// Where it comes from, hexadecimal: never the same for two payments.
    source: String,
    /// Name of the chain.
    chain: String,
    /// Name of the tenant whose money it is; none: nobody knows.
    tenant: Option<String>,
    /// Number of the order that it is for; none: for the tenant to spend.
    order: Option<u64>,
    /// Code of the unit; its number if it has no code any more.
    unit: String,
    /// How much, smallest units.
    #[schema(value_type = String)]
    amount: Amount,
    /// When it was told of first, Unix milliseconds.
    first: u64,
    /// How deep it is, as last told.
    confirmations: u32,
    /// How far it is.
    state: PaymentStateBody,
}

impl OrderBody {
    fn new(order: Order, tree: &Tree, reason: Option<String>) -> Self {
        let Order { id, tenant, lease, unit, price, pay_to, created, binding, state } = order;
        Self {
            id,
            tenant: tenant_name(tree, tenant.0),
            lease: lease.0,
            unit: unit_code(tree, unit),
            price,
            pay_to: match pay_to {
                PayTo::Address { chain, address } => PayToBody::Address { chain, address },
                PayTo::Invoice { chain, request, hash } => {
                    PayToBody::Invoice { chain, request, hash }
                }
            },
            created: created.0,
            state: match state {
                OrderState::Waiting => OrderStateBody::Waiting,
                OrderState::Seen => OrderStateBody::Seen,
                OrderState::Paid => OrderStateBody::Paid,
                OrderState::Late => OrderStateBody::Late,
                OrderState::Reverted => OrderStateBody::Reverted,
            },
            binding: binding.map(BindingBody::from),
            reason,
        }
    }
}

impl PaymentBody {
    fn new(payment: Payment, tree: &Tree) -> Self {
        let Payment { source, chain, tenant, order, unit, amount, first, confirmations, .. } =
            payment;
        Self {
            source,
            chain,
            tenant: tenant.map(|tenant| tenant_name(tree, tenant.0)),
            order,
            unit: unit_code(tree, unit),
            amount,
            first: first.0,
            confirmations,
            state: match payment.state {
                PaymentState::Pending => PaymentStateBody::Pending,
                PaymentState::Posted => PaymentStateBody::Posted,
                PaymentState::Reverted => PaymentStateBody::Reverted,
            },
        }
    }
}

fn tenant_name(tree: &Tree, id: u32) -> String {
    let named = tree.tenants.iter().find(|(_, tenant)| tenant.id == id);
    named.map_or_else(|| id.to_string(), |(name, _)| name.clone())
}

fn unit_code(tree: &Tree, id: UnitId) -> String {
    let named = tree.units.iter().find(|(_, unit)| unit.id == id.0);
    named.map_or_else(|| id.0.to_string(), |(code, _)| code.clone())
}

/// Orders a lease: its room is held until its payment is seen, or the offer ends. It is the tenant's when as much as it
/// costs is confirmed.
#[utoipa::path(
    post, path = "/orders", tag = "market", request_body = OrderAsked,
    responses((status = 201, body = OrderBody)),
)]
pub(crate) async fn order(
    State(api): State<Api>,
    who: Who,
    Json(OrderAsked { buy, pay_by, binding }): Json<OrderAsked>,
) -> Result<(StatusCode, Json<OrderBody>), Problem> {
    let buy = buy.read()?;
    let binding = binding.map(Into::into);
    let made = api.blocking(move |api| {
        let (service, chain) = (api.service(), api.chain());
        let price = service.order_price(&who.caller, &buy)?;
        let till = chain.till(pay_by, &buy.unit, price)?;
        let Till { pay_to, reason } = till.clone();
        // What the invoice says is what it costs.
        let buy = service::BuyLease { most: Some(price), ..buy };
        let new = NewOrder { buy, pay_to, binding };
        let order = match service.order(api.now(), &who.caller, &new) {
            Ok(order) => order,
            Err(error) => {
                chain.give_back(&till);
                return Err(error.into());
            }
        };
        // The same request again has the order that it made first, and its place.
        if order.pay_to != new.pay_to {
            chain.give_back(&till);
        }
        chain.watch(&order)?;
        Ok(OrderBody::new(order, &service.state().tree, reason))
    });
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Orders, newest first.
#[utoipa::path(
    get, path = "/orders", tag = "market", params(PageQuery),
    responses((status = 200, body = Page<OrderBody>)),
)]
pub(crate) async fn orders(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<OrderBody>>, Problem> {
    let asked = query.asked()?;
    let page = api.run(move |service, _| {
        let found = service.orders(&who.caller, asked.before(), asked.fetch())?;
        let state = service.state();
        let show = |order| OrderBody::new(order, &state.tree, None);
        Ok(asked.descending(found, |order| order.id, show))
    });
    Ok(Json(page.await?))
}

/// An order, and how far it is.
#[utoipa::path(
    get, path = "/orders/{id}", tag = "market",
    params(("id" = u64, Path, description = "Number of the order")),
    responses((status = 200, body = OrderBody)),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u64>,
) -> Result<Json<OrderBody>, Problem> {
    let order = api.run(move |service, _| {
        let order = service.order_by_id(&who.caller, id)?;
        Ok(OrderBody::new(order, &service.state().tree, None))
    });
    Ok(Json(order.await?))
}

/// Payments that came from outside, newest first.
#[utoipa::path(
    get, path = "/payments", tag = "market", params(PageQuery),
    responses((status = 200, body = Page<PaymentBody>)),
)]
pub(crate) async fn payments(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<PaymentBody>>, Problem> {
    let asked = query.asked()?;
    let page = api.run(move |service, _| {
        let skip = u32::try_from(asked.from()).unwrap_or(u32::MAX);
        let found = service.payments(&who.caller, skip, asked.fetch())?;
        let state = service.state();
        Ok(asked.skipped(found, |payment| PaymentBody::new(payment, &state.tree)))
    });
    Ok(Json(page.await?))
}

/// The chain that payments come by: the verified best chain, the attached nodes and what they are called, the Network
/// Steward, mining.
#[utoipa::path(
    get, path = "/chain", tag = "market",
    responses((status = 200, body = ChainStatus)),
)]
pub(crate) async fn chain(State(api): State<Api>, who: Who) -> Result<Json<ChainStatus>, Problem> {
    let status = api.blocking(move |api| {
        let mut status = api.chain().status()?;
        // What the box is attached to is its own business; the chain is everybody's.
        if who.caller.grant.may_see_box("nodes").is_err() {
            status.nodes.clear();
            status.steward.contradicted_by.clear();
            status.trouble = None;
        }
        Ok(status)
    });
    Ok(Json(status.await?))
}
