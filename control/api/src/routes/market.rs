//! What is for sale, what it costs, and buying it.

use super::leases::{DirectionBody, LeaseBody, side};
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Path, Query};
use crate::problem::{Problem, time};
use axum::extract::State;
use axum::http::StatusCode;
use domain::terms::Burst;
use domain::{Ask, LeaseId, Slot, Time};
use ledger::Amount;
use serde::{Deserialize, Serialize};
use service::{BuyLease, OfferLease, Priced};
use utoipa::{IntoParams, ToSchema};

/// How much burst a lease shall have.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Burst)]
pub(crate) enum BurstBody {
    /// As usual for the rate, as far as there is room.
    #[default]
    Usual,
    /// So many bytes, as far as there is room.
    UpTo(u64),
    /// So many bytes or nothing.
    Exactly(u64),
}

/// What somebody wants to lease.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Ask)]
pub(crate) struct AskBody {
    /// Name of the port.
    port: String,
    /// Which way.
    direction: DirectionBody,
    /// First instant, Unix milliseconds.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    start: u64,
    /// First instant after it.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    end: u64,
    /// Guaranteed, bytes of wire a second.
    bytes_per_s: u64,
    /// How much at once; `usual` if nothing is said.
    #[serde(default)]
    burst: BurstBody,
}

impl AskBody {
    fn read(self) -> Result<Ask, Problem> {
        let Self { port, direction, start, end, bytes_per_s, burst } = self;
        let slot = Slot { start: time("start", start)?, end: time("end", end)? };
        let burst = match burst {
            BurstBody::Usual => Burst::Usual,
            BurstBody::UpTo(bytes) => Burst::UpTo(bytes),
            BurstBody::Exactly(bytes) => Burst::Exactly(bytes),
        };
        Ok(Ask { side: side(port, direction), slot, bytes_per_s, burst })
    }
}

/// What somebody wants to know the price of.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuoteAsked {
    /// The lease.
    ask: AskBody,
    /// Code of the unit.
    unit: String,
}

/// What one price makes of a lease.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct QuotePart {
    /// Name of the price.
    price: String,
    /// From when on it applies.
    start: u64,
    /// Until when.
    end: u64,
    /// How much that is, smallest units.
    #[schema(value_type = String)]
    amount: Amount,
}

/// What a lease would be and cost. It books nothing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Quoted {
    /// What it would cost, smallest units.
    #[schema(value_type = String)]
    total: Amount,
    /// For each price that applies, in order of time.
    parts: Vec<QuotePart>,
    /// The burst that it would have, bytes.
    burst_bytes: u64,
    /// Until when its room would be held.
    held_until: u64,
}

/// What a lease would be and cost. If there is no room, the problem says what is short, when, and which slot would fit.
#[utoipa::path(
    post, path = "/leases/quote", tag = "market", request_body = QuoteAsked,
    responses((status = 200, body = Quoted)),
)]
pub(crate) async fn quote(
    State(api): State<Api>,
    _: Who,
    Json(QuoteAsked { ask, unit }): Json<QuoteAsked>,
) -> Result<Json<Quoted>, Problem> {
    let ask = ask.read()?;
    let Priced { booking, quote } = api.run(move |service, _| service.quote(&ask, &unit)).await?;
    let part = |part: domain::tree::QuotePart| QuotePart {
        price: part.price,
        start: part.slot.start.0,
        end: part.slot.end.0,
        amount: part.amount,
    };
    Ok(Json(Quoted {
        total: quote.total,
        parts: quote.parts.into_iter().map(part).collect(),
        burst_bytes: booking.share.burst_bytes,
        held_until: booking.held_until.0,
    }))
}

/// What is to be bought.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Name of the tenant.
    tenant: String,
    /// The lease.
    ask: AskBody,
    /// Code of the unit to pay in.
    unit: String,
    /// Most that it may cost, smallest units.
    #[schema(value_type = Option<String>)]
    most: Option<Amount>,
}

impl Order {
    pub(crate) fn read(self) -> Result<BuyLease, Problem> {
        let Self { tenant, ask, unit, most } = self;
        Ok(BuyLease { tenant, ask: ask.read()?, unit, most })
    }
}

/// Buys a lease from what the tenant has paid in.
#[utoipa::path(
    post, path = "/leases", tag = "market", request_body = Order,
    responses((status = 201, body = LeaseBody)),
)]
pub(crate) async fn buy(
    State(api): State<Api>,
    who: Who,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<LeaseBody>), Problem> {
    let order = order.read()?;
    let view = api.run(move |service, now| service.buy(now, &who.caller, &order)).await?;
    Ok((StatusCode::CREATED, Json(view.into())))
}

/// What is offered for sale.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Offer {
    /// The lease.
    ask: AskBody,
    /// When the offer ends, Unix milliseconds; none: after the box's usual time.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    until: Option<u64>,
}

/// Offers a lease for sale, and books its room.
#[utoipa::path(
    post, path = "/leases/offers", tag = "market", request_body = Offer,
    responses((status = 201, body = LeaseBody)),
)]
pub(crate) async fn offer(
    State(api): State<Api>,
    who: Who,
    Json(Offer { ask, until }): Json<Offer>,
) -> Result<(StatusCode, Json<LeaseBody>), Problem> {
    let until = until.map(|until| time("until", until)).transpose()?;
    let offer = OfferLease { ask: ask.read()?, until };
    let view = api.run(move |service, now| service.offer(now, &who.caller, &offer)).await?;
    Ok((StatusCode::CREATED, Json(view.into())))
}

/// To whom an offer is sold.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sale {
    /// Name of the tenant.
    tenant: String,
    /// Code of the unit to pay in; none: for nothing, which the operator alone may.
    unit: Option<String>,
}

/// Sells what is offered.
#[utoipa::path(
    post, path = "/leases/{id}/sell", tag = "market", request_body = Sale,
    params(("id" = u32, Path, description = "Number of the lease")),
    responses((status = 200, body = LeaseBody)),
)]
pub(crate) async fn sell(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u32>,
    Json(Sale { tenant, unit }): Json<Sale>,
) -> Result<Json<LeaseBody>, Problem> {
    let view = api.run(move |service, now| {
        service.sell(now, &who.caller, LeaseId(id), &tenant, unit.as_deref())
    });
    Ok(Json(view.await?.into()))
}

/// For when a calendar is asked.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CalendarQuery {
    /// First instant, Unix milliseconds; now if nothing is said.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    from: Option<u64>,
    /// First instant after it; all that is to come if nothing is said.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    until: Option<u64>,
}

/// What is free from an instant on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FreeStep {
    /// From when on, until the next step, Unix milliseconds.
    from: u64,
    /// Free, bytes of wire a second.
    bytes_per_s: u64,
    /// Free, bytes of burst.
    burst_bytes: u64,
}

/// What is free on a side of a port.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Calendar)]
pub(crate) struct CalendarBody {
    /// In order of time, at most 10 000: beyond, ask from the last one on.
    steps: Vec<FreeStep>,
}

/// What is free on a side of a port, from each instant on at which that changes.
#[utoipa::path(
    get, path = "/calendar/{port}/{direction}", tag = "market",
    params(
        ("port" = String, Path, description = "Name of the port"),
        ("direction" = DirectionBody, Path, description = "Which way"),
        CalendarQuery,
    ),
    responses((status = 200, body = CalendarBody)),
)]
pub(crate) async fn calendar(
    State(api): State<Api>,
    _: Who,
    Path((port, direction)): Path<(String, DirectionBody)>,
    Query(CalendarQuery { from, until }): Query<CalendarQuery>,
) -> Result<Json<CalendarBody>, Problem> {
    let start = from.map(|from| time("from", from)).transpose()?;
    let end = until.map_or(Ok(Time::MAX), |until| time("until", until))?;
    let steps = api.run(move |service, now| {
        service.calendar(&side(port, direction), Slot { start: start.unwrap_or(now), end })
    });
    let step = |(from, free): (Time, domain::Share)| FreeStep {
        from: from.0,
        bytes_per_s: free.bytes_per_s,
        burst_bytes: free.burst_bytes,
    };
    Ok(Json(CalendarBody { steps: steps.await?.into_iter().map(step).collect() }))
}
