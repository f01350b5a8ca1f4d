//! Who did what.

use super::config::PageQuery;
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Query};
use crate::page::Page;
use crate::problem::Problem;
use axum::extract::State;
use serde::Serialize;
use store::{AuditEntry, AuditRecord};
use utoipa::ToSchema;

/// What somebody did.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AuditRecord)]
pub(crate) struct AuditBody {
    /// Its place, from 1.
    sequence: u64,
    /// When, Unix milliseconds.
    at: u64,
    /// Who.
    who: String,
    /// Whose business it was, besides the box's own.
    tenant: Option<String>,
    /// What, e.g. `config.commit`.
    action: String,
    /// To what.
    subject: String,
    /// In words.
    detail: String,
    /// SHA-256 over the digest of the record before and this one, 64 hexadecimal digits.
    digest: String,
}

impl From<AuditRecord> for AuditBody {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { sequence, entry, digest } = record;
        let AuditEntry { at, who, tenant, action, subject, detail } = entry;
        Self { sequence, at, who, tenant, action, subject, detail, digest }
    }
}

/// Who did what, newest first: a tenant sees what is its business.
#[utoipa::path(
    get, path = "/audit", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<AuditBody>)),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AuditBody>>, Problem> {
    let asked = query.asked()?;
    let found =
        api.run(move |service, _| service.audit(&who.caller, asked.before(), asked.fetch()));
    Ok(Json(asked.descending(found.await?, |record| record.sequence, Into::into)))
}
