//! Emptying ports and vswitches before maintenance.

use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Path};
use crate::problem::Problem;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use service::{Drain, Drained};
use utoipa::ToSchema;

/// What can be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DrainKind {
    Port,
    Vswitch,
}

fn drain(kind: DrainKind, name: String) -> Drain {
    match kind {
        DrainKind::Port => Drain::Port(name),
        DrainKind::Vswitch => Drain::Vswitch(name),
    }
}

/// Something that is being emptied.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Drain)]
pub(crate) struct DrainBody {
    /// What it is.
    kind: DrainKind,
    /// Its name.
    name: String,
}

/// All that is being emptied.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Drains {
    /// By kind and name.
    drains: Vec<DrainBody>,
}

/// A lease that is still there.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DrainedLease {
    /// Its number.
    id: u32,
    /// Until when its owner was promised it, Unix milliseconds.
    end: u64,
}

/// A vswitch that is still there.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DrainedVswitch {
    /// Its name.
    name: String,
    /// How many of its vifs are there.
    vifs: usize,
}

/// What is still there.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Drained)]
pub(crate) struct DrainedBody {
    /// It is being emptied.
    is_on: bool,
    /// Leases that hold or will.
    leases: Vec<DrainedLease>,
    /// Vswitches with vifs there.
    vswitches: Vec<DrainedVswitch>,
}

fn body(is_on: bool, drained: Drained) -> DrainedBody {
    let lease = |(id, end): (domain::LeaseId, u64)| DrainedLease { id: id.0, end };
    let vswitch = |(name, vifs)| DrainedVswitch { name, vifs };
    DrainedBody {
        is_on,
        leases: drained.leases.into_iter().map(lease).collect(),
        vswitches: drained.vifs.into_iter().map(vswitch).collect(),
    }
}

/// What is being emptied. To a tenant: ports, and its own vswitches.
#[utoipa::path(
    get, path = "/drains", tag = "drain", responses((status = 200, body = Drains)),
)]
pub(crate) async fn list(State(api): State<Api>, who: Who) -> Json<Drains> {
    let state = api.service().state();
    let drains = state.draining.iter().filter_map(|drain| match drain {
        Drain::Port(name) => Some(DrainBody { kind: DrainKind::Port, name: name.clone() }),
        Drain::Vswitch(name) => {
            let is_seen = who.caller.grant.sees_vswitch(&state.tree, name);
            is_seen.then(|| DrainBody { kind: DrainKind::Vswitch, name: name.clone() })
        }
    });
    Json(Drains { drains: drains.collect() })
}

/// What is still on a port or a vswitch. Not for tenants.
#[utoipa::path(
    get, path = "/drains/{kind}/{name}", tag = "drain",
    params(("kind" = DrainKind, Path, description = "What it is"), ("name" = String, Path, description = "Its name")),
    responses((status = 200, body = DrainedBody)),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    who: Who,
    Path((kind, name)): Path<(DrainKind, String)>,
) -> Result<Json<DrainedBody>, Problem> {
    let drained = api.run(move |service, _| {
        who.caller.grant.may_see_box("what is on a port")?;
        let what = drain(kind, name);
        Ok(body(service.state().draining.contains(&what), service.drained(&what)))
    });
    Ok(Json(drained.await?))
}

/// Begins emptying something: nothing new goes there.
#[utoipa::path(
    put, path = "/drains/{kind}/{name}", tag = "drain",
    params(("kind" = DrainKind, Path, description = "What it is"), ("name" = String, Path, description = "Its name")),
    responses((status = 200, body = DrainedBody)),
)]
pub(crate) async fn begin(
    State(api): State<Api>,
    who: Who,
    Path((kind, name)): Path<(DrainKind, String)>,
) -> Result<Json<DrainedBody>, Problem> {
    set(&api, who, drain(kind, name), true).await
}

/// Ends emptying something.
#[utoipa::path(
    delete, path = "/drains/{kind}/{name}", tag = "drain",
    params(("kind" = DrainKind, Path, description = "What it is"), ("name" = String, Path, description = "Its name")),
    responses((status = 200, body = DrainedBody)),
)]
pub(crate) async fn finish(
    State(api): State<Api>,
    who: Who,
    Path((kind, name)): Path<(DrainKind, String)>,
) -> Result<Json<DrainedBody>, Problem> {
    set(&api, who, drain(kind, name), false).await
}

async fn set(api: &Api, who: Who, what: Drain, is_on: bool) -> Result<Json<DrainedBody>, Problem> {
    let drained = api.run(move |service, now| service.drain(now, &who.caller, &what, is_on));
    Ok(Json(body(is_on, drained.await?)))
}
