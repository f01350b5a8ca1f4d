//! Who asks, and how the box stands.

use crate::app::Api;
use crate::auth::Who;
use crate::extract::Json;
use axum::extract::State;
use domain::access::{Grant, Role};
use domain::tree::Quota;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// A role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub(crate) enum RoleBody {
    Owner,
    Operator,
    Tenant,
    Auditor,
}

impl From<Role> for RoleBody {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Operator => Self::Operator,
            Role::Tenant => Self::Tenant,
            Role::Auditor => Self::Auditor,
        }
    }
}

impl From<RoleBody> for Role {
    fn from(role: RoleBody) -> Self {
        match role {
            RoleBody::Owner => Self::Owner,
            RoleBody::Operator => Self::Operator,
            RoleBody::Tenant => Self::Tenant,
            RoleBody::Auditor => Self::Auditor,
        }
    }
}

/// How much a tenant or token may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Quota)]
pub(crate) struct QuotaBody {
    /// Virtual switches.
    pub(crate) vswitches: u32,
    /// Vifs, over all of them.
    pub(crate) vifs: u32,
    /// Logins, over all of them.
    pub(crate) logins: u32,
    /// Ports that it may have links on; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ports: Option<BTreeSet<String>>,
}

impl From<Quota> for QuotaBody {
    fn from(quota: Quota) -> Self {
        let Quota { vswitches, vifs, logins, ports } = quota;
        Self { vswitches, vifs, logins, ports }
    }
}

impl From<QuotaBody> for Quota {
    fn from(quota: QuotaBody) -> Self {
        let QuotaBody { vswitches, vifs, logins, ports } = quota;
        Self { vswitches, vifs, logins, ports }
    }
}

/// What somebody may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Grant)]
pub(crate) struct GrantBody {
    /// As what.
    pub(crate) role: RoleBody,
    /// Which tenant: of a tenant's token, and of no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// Of the tenant's vswitches these alone; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vswitches: Option<BTreeSet<String>>,
    /// Less than the tenant's own quota; none: as much as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quota: Option<QuotaBody>,
}

impl From<Grant> for GrantBody {
    fn from(grant: Grant) -> Self {
        let Grant { role, tenant, vswitches, quota } = grant;
        Self { role: role.into(), tenant, vswitches, quota: quota.map(Into::into) }
    }
}

impl From<GrantBody> for Grant {
    fn from(grant: GrantBody) -> Self {
        let GrantBody { role, tenant, vswitches, quota } = grant;
        Self { role: role.into(), tenant, vswitches, quota: quota.map(Into::into) }
    }
}

/// Who asks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Whoami {
    /// The author of what he does.
    name: String,
    /// `token`, `unix` or `certificate`.
    by: &'static str,
    /// What he may.
    grant: GrantBody,
    /// Number of his token.
    token: Option<u32>,
    /// When his token ends by itself, Unix milliseconds.
    expires: Option<u64>,
}

/// Who asks, and what he may.
#[utoipa::path(get, path = "/whoami", tag = "box", responses((status = 200, body = Whoami)))]
pub(crate) async fn whoami(who: Who) -> Json<Whoami> {
    let Who { caller, token, by } = who;
    Json(Whoami {
        name: caller.name,
        by,
        grant: caller.grant.into(),
        token: token.map(|(id, _)| id),
        expires: token.and_then(|(_, expires)| expires),
    })
}

/// A commit that goes back by itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ConfirmBody {
    /// Its number.
    commit: u64,
    /// When it goes back, Unix milliseconds.
    until: u64,
}

/// How the dataplane stands to what is wanted. To tenants only whether it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DataplaneState)]
pub(crate) struct DataplaneBody {
    /// It answers.
    pub(crate) is_there: bool,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Newest spec that it accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<u64>,
    /// Why it does not have what is wanted, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

impl DataplaneBody {
    pub(crate) fn new(state: &service::DataplaneState, grant: &Grant) -> Self {
        let sees = grant.only_tenant().is_none();
        Self {
            is_there: state.is_there,
            pid: sees.then_some(state.pid),
            accepted: sees.then_some(state.accepted),
            trouble: state.trouble.clone().filter(|_| sees),
        }
    }
}

/// How the box stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BoxStatus)]
pub(crate) struct StatusBody {
    /// Version of the program.
    version: String,
    /// How people call the box.
    name: String,
    /// Its time, Unix milliseconds.
    now: u64,
    /// Number of the last commit; 0: there was none.
    commit: u64,
    /// A commit that waits to be confirmed.
    confirm: Option<ConfirmBody>,
    /// Generation of the spec that is wanted.
    generation: u64,
    /// How the dataplane stands to it.
    dataplane: DataplaneBody,
    /// Ports of the dataplane and their MTU.
    ports: BTreeMap<String, u16>,
}

/// How the box stands.
#[utoipa::path(get, path = "/status", tag = "box", responses((status = 200, body = StatusBody)))]
pub(crate) async fn status(State(api): State<Api>, who: Who) -> Json<StatusBody> {
    let state = api.service().state();
    Json(StatusBody {
        version: api.settings().version.clone(),
        name: state.tree.settings.name.clone(),
        now: api.now().0,
        commit: state.commit,
        confirm: state.confirm.map(|it| ConfirmBody { commit: it.commit, until: it.until }),
        generation: state.generation,
        dataplane: DataplaneBody::new(&state.dataplane, &who.caller.grant),
        ports: (*state.ports).clone(),
    })
}
