//! Leases, and what their owners do with them.

use super::config::PageQuery;
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Path, Query};
use crate::page::Page;
use crate::problem::{Problem, time};
use axum::extract::State;
use dataplane_api::Direction;
use domain::leases::Binding;
use domain::{Booking, Lease, LeaseId, PortSide, State as LeaseState};
use ledger::Amount;
use serde::{Deserialize, Serialize};
use service::LeaseView;
use std::collections::BTreeSet;
use store::EndedLease;
use utoipa::ToSchema;

/// Which way, seen from the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Direction)]
pub(crate) enum DirectionBody {
    Out,
    In,
}

impl From<Direction> for DirectionBody {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Out => Self::Out,
            Direction::In => Self::In,
        }
    }
}

impl From<DirectionBody> for Direction {
    fn from(direction: DirectionBody) -> Self {
        match direction {
            DirectionBody::Out => Self::Out,
            DirectionBody::In => Self::In,
        }
    }
}

/// How far a lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateBody {
    Offered,
    Sold,
    Bound,
    Active,
    Grace,
    Ended,
}

/// What a lease is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Binding)]
pub(crate) struct BindingBody {
    /// Name of the vswitch.
    vswitch: String,
    /// Numbers of the vifs that share the lease.
    vifs: BTreeSet<u16>,
    /// Weight in what guarantees leave over, bytes a second; none: the rate. 0: what is above the guarantee is free.
    #[serde(default)]
    weight: Option<u64>,
    /// Most that leaves at all, bytes of wire a second; 0 or none: no bound.
    #[serde(default)]
    ceiling: Option<u64>,
    /// Packets leave in the order they came, whatever they are to the lease.
    #[serde(default)]
    preserve_order: bool,
}

impl From<Binding> for BindingBody {
    fn from(binding: Binding) -> Self {
        let Binding { vswitch, vifs, weight, ceiling, preserve_order } = binding;
        Self { vswitch, vifs, weight, ceiling, preserve_order }
    }
}

impl From<BindingBody> for Binding {
    fn from(binding: BindingBody) -> Self {
        let BindingBody { vswitch, vifs, weight, ceiling, preserve_order } = binding;
        Self { vswitch, vifs, weight, ceiling, preserve_order }
    }
}

/// What was paid for a lease.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Paid)]
pub(crate) struct PaidBody {
    /// Number of the unit.
    unit: u32,
    /// Smallest units.
    #[schema(value_type = String)]
    amount: Amount,
}

/// A lease.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Lease)]
pub(crate) struct LeaseBody {
    /// Its number.
    pub(crate) id: u32,
    /// How far it is.
    pub(crate) state: StateBody,
    /// When the offer ends, while it is one; when it ended, if it has. Unix milliseconds, as all times.
    until: Option<u64>,
    /// Name of the tenant whose it is, once sold; its number if it has no name any more.
    pub(crate) owner: Option<String>,
    /// Name of the port.
    port: String,
    /// Which way.
    direction: DirectionBody,
    /// First instant.
    start: u64,
    /// First instant after it.
    end: u64,
    /// Guaranteed, bytes of wire a second.
    bytes_per_s: u64,
    /// At once, bytes.
    burst_bytes: u64,
    /// Until when its room is kept for a late renewal.
    grace_until: u64,
    /// Until when its room is held for its holder, who must have decided at `lapses`.
    held_until: u64,
    /// When the holder must have decided.
    lapses: u64,
    /// What it is for, once bound.
    binding: Option<BindingBody>,
    /// What was paid for it.
    paid: Option<PaidBody>,
}

impl LeaseBody {
    fn new(id: LeaseId, owner: Option<String>, lease: Lease, booking: Booking) -> Self {
        let (state, until) = match lease.state {
            LeaseState::Offered { until } => (StateBody::Offered, Some(until.0)),
            LeaseState::Sold => (StateBody::Sold, None),
            LeaseState::Bound => (StateBody::Bound, None),
            LeaseState::Active => (StateBody::Active, None),
            LeaseState::Grace => (StateBody::Grace, None),
        };
        let paid = lease.paid.map(|paid| PaidBody { unit: paid.unit.0, amount: paid.amount });
        Self {
            id: id.0,
            state,
            until,
            owner,
            port: booking.side.port,
            direction: booking.side.direction.into(),
            start: booking.slot.start.0,
            end: booking.slot.end.0,
            bytes_per_s: booking.share.bytes_per_s,
            burst_bytes: booking.share.burst_bytes,
            grace_until: booking.grace_until.0,
            held_until: booking.held_until.0,
            lapses: booking.lapses.0,
            binding: lease.binding.map(Into::into),
            paid,
        }
    }
}

impl From<LeaseView> for LeaseBody {
    fn from(view: LeaseView) -> Self {
        Self::new(view.id, view.owner, view.lease, view.booking)
    }
}

/// Leases that have not ended and that who asks may see, by number: a tenant sees its own, and what is offered.
#[utoipa::path(
    get, path = "/leases", tag = "leases", params(PageQuery),
    responses((status = 200, body = Page<LeaseBody>)),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<LeaseBody>>, Problem> {
    let asked = query.asked()?;
    let from = LeaseId(u32::try_from(asked.from()).unwrap_or(u32::MAX));
    let found =
        api.run(move |service, _| Ok(service.leases(&who.caller, from, asked.fetch() as usize)));
    Ok(Json(asked.ascending(found.await?, |view| view.id.0.into(), Into::into)))
}

/// Leases that have ended, the last one made first.
#[utoipa::path(
    get, path = "/leases/ended", tag = "leases", params(PageQuery),
    responses((status = 200, body = Page<LeaseBody>)),
)]
pub(crate) async fn ended(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<LeaseBody>>, Problem> {
    let asked = query.asked()?;
    let before = u32::try_from(asked.before()).unwrap_or(u32::MAX);
    let (found, names) = api
        .run(move |service, _| {
            let names = service.state().tree.tenants.clone();
            Ok((service.ended_leases(&who.caller, before, asked.fetch())?, names))
        })
        .await?;
    let show = |ended: EndedLease| {
        let owner = ended.lease.owner.map(|owner| {
            let found = names.iter().find(|(_, tenant)| tenant.id == owner.0);
            found.map_or_else(|| owner.0.to_string(), |(name, _)| name.clone())
        });
        let body = LeaseBody::new(ended.id, owner, ended.lease, ended.booking);
        LeaseBody { state: StateBody::Ended, until: Some(ended.at), ..body }
    };
    Ok(Json(asked.descending(found, |ended| ended.id.0.into(), show)))
}

/// A lease that has not ended.
#[utoipa::path(
    get, path = "/leases/{id}", tag = "leases",
    params(("id" = u32, Path, description = "Number of the lease")),
    responses((status = 200, body = LeaseBody)),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u32>,
) -> Result<Json<LeaseBody>, Problem> {
    let view = api.run(move |service, _| service.lease(&who.caller, LeaseId(id))).await?;
    Ok(Json(view.into()))
}

/// Until when a lease is renewed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renewal {
    /// Its new end, Unix milliseconds.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    end: u64,
    /// Code of the unit to pay in; none: the one in which it was paid for.
    unit: Option<String>,
}

/// Renews a lease, for what the time between costs.
#[utoipa::path(
    post, path = "/leases/{id}/renew", tag = "leases", request_body = Renewal,
    params(("id" = u32, Path, description = "Number of the lease")),
    responses((status = 200, body = LeaseBody)),
)]
pub(crate) async fn renew(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u32>,
    Json(renewal): Json<Renewal>,
) -> Result<Json<LeaseBody>, Problem> {
    let end = time("end", renewal.end)?;
    let view = api.run(move |service, now| {
        service.renew(now, &who.caller, LeaseId(id), end, renewal.unit.as_deref())
    });
    Ok(Json(view.await?.into()))
}

/// Gives a lease to vifs of one of its owner's vswitches, for good.
#[utoipa::path(
    post, path = "/leases/{id}/bind", tag = "leases", request_body = BindingBody,
    params(("id" = u32, Path, description = "Number of the lease")),
    responses((status = 200, body = LeaseBody)),
)]
pub(crate) async fn bind(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u32>,
    Json(binding): Json<BindingBody>,
) -> Result<Json<LeaseBody>, Problem> {
    let binding = Binding::from(binding);
    let view =
        api.run(move |service, now| service.bind(now, &who.caller, LeaseId(id), &binding)).await?;
    Ok(Json(view.into()))
}

/// Where a lease is split.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Split {
    /// The second begins at this time, Unix milliseconds.
    At(u64),
    /// The second has so many bytes a second of the rate.
    BytesPerS(u64),
}

/// Both parts of a lease.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Halves {
    /// The one that was there, less than it was.
    first: LeaseBody,
    /// The new one.
    second: LeaseBody,
}

/// Makes two leases of one that is sold and not bound: in time, or in rate.
#[utoipa::path(
    post, path = "/leases/{id}/split", tag = "leases", request_body = Split,
    params(("id" = u32, Path, description = "Number of the lease")),
    responses((status = 200, body = Halves)),
)]
pub(crate) async fn split(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u32>,
    Json(split): Json<Split>,
) -> Result<Json<Halves>, Problem> {
    if let Split::At(at) = split {
        time("at", at)?;
    }
    let halves = api.run(move |service, now| match split {
        Split::At(at) => service.split_at(now, &who.caller, LeaseId(id), domain::Time(at)),
        Split::BytesPerS(rate) => service.split_rate(now, &who.caller, LeaseId(id), rate),
    });
    let [first, second] = halves.await?;
    Ok(Json(Halves { first: first.into(), second: second.into() }))
}

/// To whom a lease is handed over.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandOver {
    /// Name of the tenant.
    to: String,
}

/// Hands a lease that is not bound over to another tenant.
#[utoipa::path(
    post, path = "/leases/{id}/hand-over", tag = "leases", request_body = HandOver,
    params(("id" = u32, Path, description = "Number of the lease")),
    responses((status = 200, body = LeaseBody)),
)]
pub(crate) async fn hand_over(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u32>,
    Json(HandOver { to }): Json<HandOver>,
) -> Result<Json<LeaseBody>, Problem> {
    let view =
        api.run(move |service, now| service.hand_over(now, &who.caller, LeaseId(id), &to)).await?;
    Ok(Json(view.into()))
}

/// When a lease ends.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    /// Unix milliseconds; none: now.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    at: Option<u64>,
}

/// What is given back.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Refund {
    /// Smallest units of the unit in which the lease was paid for.
    #[schema(value_type = String)]
    refund: Amount,
}

/// Ends a lease early, or withdraws an offer. What the market's rule says of the time given up is given back.
#[utoipa::path(
    post, path = "/leases/{id}/end", tag = "leases", request_body = End,
    params(("id" = u32, Path, description = "Number of the lease")),
    responses((status = 200, body = Refund)),
)]
pub(crate) async fn end(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u32>,
    Json(End { at }): Json<End>,
) -> Result<Json<Refund>, Problem> {
    let at = at.map(|at| time("at", at)).transpose()?;
    let refund =
        api.run(move |service, now| service.end(now, &who.caller, LeaseId(id), at.unwrap_or(now)));
    Ok(Json(Refund { refund: refund.await? }))
}

/// A side of a port.
pub(crate) fn side(port: String, direction: DirectionBody) -> PortSide {
    PortSide { port, direction: direction.into() }
}
