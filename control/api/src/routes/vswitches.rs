//! Moving a vswitch to another box: its entry, the numbers of its vifs, its policy.
//!
//! Its private key does not move by this API: it never leaves the dataplane. Whoever has it gives it to the other box by
//! the owner's `keys` command there.

use super::config::tree;
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{IfMatch, Json, Path, etag};
use crate::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::Tree;
use domain::access::{Forbidden, Role};
use domain::tree::{Place, Policy, Vswitch};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::{Edit, ServiceError};
use std::sync::Arc;
use utoipa::ToSchema;

/// How a vswitch is exported.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportAsked {
    /// With the passwords of its logins and links: for its tenant and the owner alone. It is audited.
    #[serde(default)]
    secrets: bool,
}

/// A vswitch on its way to another box.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Exported {
    /// Name of the vswitch.
    name: String,
    /// Schema of the configuration.
    schema: u32,
    /// A configuration with nothing but the vswitch and its policy, TOML. The private key is not in it.
    toml: String,
    /// Neighbours that came by themselves, and the numbers that their vifs have here.
    learned: Vec<Learned>,
}

/// A neighbour that came by itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Learned {
    /// Number of its vif.
    number: u16,
    /// Key of its node, `.k` form.
    key: String,
    /// Login by which it came.
    user: Option<String>,
}

/// A vswitch as another box can import it.
#[utoipa::path(
    post, path = "/vswitches/{name}/export", tag = "vswitches", request_body = ExportAsked,
    params(("name" = String, Path, description = "Name of the vswitch")),
    responses((status = 200, body = Exported)),
)]
pub(crate) async fn export(
    State(api): State<Api>,
    who: Who,
    Path(name): Path<String>,
    Json(ExportAsked { secrets }): Json<ExportAsked>,
) -> Result<Json<Exported>, Problem> {
    let exported = api.blocking(move |api| {
        let (service, grant) = (api.service(), &who.caller.grant);
        let state = service.state();
        let vswitch = state.tree.vswitches.get(&name);
        let vswitch = vswitch.filter(|_| grant.sees_vswitch(&state.tree, &name));
        let vswitch = vswitch.ok_or_else(|| Problem::not_found("vswitch", &name))?;
        let part = part(&state.tree, &name, vswitch);
        let part = if secrets {
            if !matches!(grant.role, Role::Owner | Role::Tenant) {
                let what = "passwords";
                let forbidden = Forbidden::Role { what, role: grant.role };
                return Err(ServiceError::from(forbidden).into());
            }
            let tenant = Some(vswitch.tenant.as_str());
            service.note(
                api.now(),
                &who.caller,
                "vswitch.export",
                tenant,
                &name,
                "with passwords",
            )?;
            part
        } else {
            part.without_secrets()
        };
        let toml = part.to_toml().map_err(|error| Problem::internal(&error))?;
        // What came by itself is known only while the dataplane is there.
        let learned = learned(api, &name).unwrap_or_default();
        Ok(Exported { name, schema: part.schema, toml, learned })
    });
    Ok(Json(exported.await?))
}

/// A tree with one vswitch, and the policy that it uses.
fn part(tree: &Tree, name: &str, vswitch: &Vswitch) -> Tree {
    let mut part = Tree::default();
    let policy = vswitch.policy.as_ref().and_then(|policy| tree.policies.get_key_value(policy));
    part.policies.extend(policy.map(|(name, policy)| (name.clone(), policy.clone())));
    part.vswitches.insert(name.to_owned(), Arc::new(vswitch.clone()));
    part
}

fn learned(api: &Api, name: &str) -> Result<Vec<Learned>, Problem> {
    let (now, live) = (api.now(), api.live().as_ref());
    let (status, links) = (api.cache().status(now, live)?, api.cache().links(now, live)?);
    let vswitch = status.vswitches.iter().find(|vswitch| vswitch.name == name);
    let Some(vswitch) = vswitch.map(|vswitch| vswitch.id) else { return Ok(Vec::new()) };
    let of_link = |link: &dataplane_api::status::LinkStatus| {
        let vif = status.vifs.iter().find(|vif| vif.id == link.vif && vif.vswitch == vswitch)?;
        let (key, user) = (link.key.clone(), link.user.clone());
        Some(Learned { number: vif.number, key, user })
    };
    Ok(links.iter().filter(|link| link.learned).filter_map(of_link).collect())
}

/// A vswitch that comes from another box.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    /// `toml` of the export.
    toml: String,
    /// Name of the tenant whose it shall be; none: as it was.
    tenant: Option<String>,
    /// Name that it shall have; none: as it was.
    name: Option<String>,
}

/// The candidate with what came.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Imported {
    /// Version of the candidate.
    version: u64,
    /// Entries that were put into it.
    places: Vec<String>,
}

/// Puts an exported vswitch, and its policy if there is none of that name, into the candidate: to be looked at and
/// committed. Passwords that were not exported must be set before; its private key comes by the owner's `keys` command.
#[utoipa::path(
    post, path = "/vswitches/import", tag = "vswitches", request_body = Import,
    params(("if-match" = Option<String>, Header, description = "`ETag` of the candidate that was seen")),
    responses((status = 200, body = Imported, headers(("etag" = String)))),
)]
pub(crate) async fn import(
    State(api): State<Api>,
    who: Who,
    IfMatch(expected): IfMatch,
    Json(import): Json<Import>,
) -> Result<Response, Problem> {
    let imported = api.blocking(move |api| {
        let service = api.service();
        let edits = edits(import, &who.caller.grant.view(&service.state().tree))?;
        let version = service.edit(api.now(), &who.caller, expected, &edits)?;
        let place = |edit: &Edit| match edit {
            Edit::Set { place, .. } | Edit::Delete { place } => place.to_string(),
        };
        Ok(Imported { version, places: edits.iter().map(place).collect() })
    });
    let imported = imported.await?;
    Ok((etag(imported.version), Json(imported)).into_response())
}

fn edits(import: Import, view: &Tree) -> Result<Vec<Edit>, Problem> {
    let Import { toml, tenant, name } = import;
    let mut part = tree(&toml)?;
    let (is_one, found) = (part.vswitches.len() == 1, part.vswitches.len());
    let Some((old_name, mut vswitch)) = part.vswitches.pop_first().filter(|_| is_one) else {
        return Err(Problem::invalid("toml", format!("{found} vswitches"), "one vswitch"));
    };
    let allowed = Tree { policies: part.policies.clone(), ..Tree::default() };
    if part != allowed {
        return Err(Problem::invalid("toml", "other tables", "a vswitch and its policy"));
    }
    if let Some(tenant) = tenant {
        Arc::make_mut(&mut vswitch).tenant = tenant;
    }
    let mut edits = Vec::new();
    for (name, policy) in part.policies {
        if !view.policies.contains_key(&name) {
            let policy = Policy { tenant: Some(vswitch.tenant.clone()), ..policy };
            edits.push(set(&at("policy", &name), &policy)?);
        }
    }
    edits.push(set(&at("vswitch", &name.unwrap_or(old_name)), &vswitch)?);
    Ok(edits)
}

fn at(table: &str, name: &str) -> Place {
    Place::root().at(table).at(name)
}

fn set(place: &Place, value: &impl Serialize) -> Result<Edit, Problem> {
    let value: Value = serde_json::to_value(value).map_err(|error| Problem::internal(&error))?;
    Ok(Edit::Set { place: place.clone(), value })
}
