//! Who is on the box, and how much each has. Tenants are made and changed in the configuration (`tenant.NAME`).

use super::config::PageQuery;
use super::me::QuotaBody;
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Path, Query};
use crate::page::Page;
use crate::problem::Problem;
use axum::extract::State;
use dataplane_api::TenantId;
use serde::Serialize;
use service::State as BoxState;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(crate) struct TenantBody {
    /// Name.
    name: String,
    /// Its number, for good.
    id: u32,
    /// How much it may have.
    quota: QuotaBody,
    /// How much it has.
    #[serde(flatten)]
    used: Used,
}

/// How much a tenant has.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Used {
    /// Virtual switches.
    vswitches: usize,
    /// Vifs, over all of them.
    vifs: usize,
    /// Logins, over all of them.
    logins: usize,
    /// Leases that have not ended.
    leases: usize,
}

fn used(state: &BoxState) -> BTreeMap<&str, Used> {
    let tenants = &state.tree.tenants;
    let mut all: BTreeMap<&str, Used> = BTreeMap::new();
    for vswitch in state.tree.vswitches.values() {
        let used = all.entry(&vswitch.tenant).or_default();
        used.vswitches += 1;
        used.vifs += vswitch.vifs.len();
        used.logins += vswitch.logins.len();
    }
    let names: BTreeMap<_, _> = tenants.iter().map(|(name, it)| (TenantId(it.id), name)).collect();
    for (_, lease, _) in state.leases.iter() {
        if let Some(name) = lease.owner.and_then(|owner| names.get(&owner)) {
            all.entry(name).or_default().leases += 1;
        }
    }
    all
}

fn bodies(state: &BoxState, who: &Who) -> Vec<TenantBody> {
    let used = used(state);
    let seen = state.tree.tenants.iter().filter(|(name, _)| who.caller.grant.sees_tenant(name));
    seen.map(|(name, tenant)| TenantBody {
        name: name.clone(),
        id: tenant.id,
        quota: tenant.quota.clone().into(),
        used: used.get(name.as_str()).copied().unwrap_or_default(),
    })
    .collect()
}

/// Tenants that who asks may see, by name.
#[utoipa::path(
    get, path = "/tenants", tag = "tenants", params(PageQuery),
    responses((status = 200, body = Page<TenantBody>)),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<TenantBody>>, Problem> {
    let asked = query.asked()?;
    let page = api.run(move |service, _| Ok(asked.of(bodies(&service.state(), &who)))).await?;
    Ok(Json(page))
}

/// A tenant.
#[utoipa::path(
    get, path = "/tenants/{name}", tag = "tenants",
    params(("name" = String, Path, description = "Name of the tenant")),
    responses((status = 200, body = TenantBody)),
)]
pub(crate) async fn one(
    State(api): State<Api>,
    who: Who,
    Path(name): Path<String>,
) -> Result<Json<TenantBody>, Problem> {
    let all = api.run(move |service, _| Ok(bodies(&service.state(), &who))).await?;
    let found = all.into_iter().find(|tenant| tenant.name == name);
    found.map(Json).ok_or_else(|| Problem::not_found("tenant", &name))
}
