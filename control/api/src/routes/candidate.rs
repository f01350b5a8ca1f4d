//! The candidate: what somebody is about to change. Each token has one of its own.

use super::config::{CommittedBody, DifferenceBody, ShowQuery, place, shown, tree};
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{IfMatch, Json, Query, Toml, etag};
use crate::problem::{Flaw, Problem};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::Edit;
use utoipa::ToSchema;

/// Most edits of one request.
const EDITS_MAX: usize = 1000;

/// The candidate, or a part of it, passwords left out.
#[utoipa::path(
    get, path = "/config/candidate", tag = "configuration", params(ShowQuery),
    responses((
        status = 200, description = "What would be there. `ETag` is the candidate's version.",
        content((Value = "application/json"), (String = "application/toml")),
        headers(("etag" = String)),
    )),
)]
pub(crate) async fn show(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<ShowQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    api.blocking(move |api| {
        let pending = api.service().candidate(&who.caller)?;
        let shown = shown(&pending.candidate, &query, &headers)?;
        Ok((etag(pending.version), shown).into_response())
    })
    .await
}

/// Edits of a candidate: all are made, or none.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edits {
    /// One after the other.
    #[schema(max_items = 1000)]
    edits: Vec<EditBody>,
}

/// A change of a candidate.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = Edit)]
pub(crate) enum EditBody {
    /// Puts a value at a place; tables above it are made.
    Set {
        /// Where, as in `vswitch.red.vif.2.mtu`.
        place: String,
        /// What.
        #[schema(value_type = Value)]
        value: Value,
    },
    /// Takes away what is at a place.
    Delete {
        /// Where.
        place: String,
    },
}

impl EditBody {
    fn read(self) -> Result<Edit, Problem> {
        Ok(match self {
            Self::Set { place: at, value } => Edit::Set { place: place(&at)?, value },
            Self::Delete { place: at } => Edit::Delete { place: place(&at)? },
        })
    }
}

/// A candidate after it was changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    /// Grows with each change; the `ETag`.
    version: u64,
}

fn changed(version: u64) -> Response {
    (etag(version), Json(Version { version })).into_response()
}

/// Changes the candidate place by place.
#[utoipa::path(
    patch, path = "/config/candidate", tag = "configuration", request_body = Edits,
    params(("if-match" = Option<String>, Header, description = "`ETag` of the candidate that was seen")),
    responses((status = 200, body = Version, headers(("etag" = String)))),
)]
pub(crate) async fn edit(
    State(api): State<Api>,
    who: Who,
    IfMatch(expected): IfMatch,
    Json(Edits { edits }): Json<Edits>,
) -> Result<Response, Problem> {
    if edits.len() > EDITS_MAX {
        return Err(Problem::invalid("edits", edits.len(), format!("at most {EDITS_MAX}")));
    }
    let edits: Vec<_> = edits.into_iter().map(EditBody::read).collect::<Result<_, _>>()?;
    let version =
        api.run(move |service, now| service.edit(now, &who.caller, expected, &edits)).await?;
    Ok(changed(version))
}

/// Makes the candidate another tree. Passwords that it says were not shown stay what they are.
#[utoipa::path(
    put, path = "/config/candidate", tag = "configuration",
    params(("if-match" = Option<String>, Header, description = "`ETag` of the candidate that was seen")),
    request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = Version, headers(("etag" = String)))),
)]
pub(crate) async fn replace(
    State(api): State<Api>,
    who: Who,
    IfMatch(expected): IfMatch,
    Toml(text): Toml,
) -> Result<Response, Problem> {
    let version = api.blocking(move |api| {
        let tree = tree(&text)?;
        Ok(api.service().replace_candidate(api.now(), &who.caller, expected, &tree)?)
    });
    Ok(changed(version.await?))
}

/// Gives up the candidate.
#[utoipa::path(
    delete, path = "/config/candidate", tag = "configuration",
    params(("if-match" = Option<String>, Header, description = "`ETag` of the candidate that was seen")),
    responses((status = 204, description = "There is none any more")),
)]
pub(crate) async fn discard(
    State(api): State<Api>,
    who: Who,
    IfMatch(expected): IfMatch,
) -> Result<StatusCode, Problem> {
    api.run(move |service, now| service.discard(now, &who.caller, expected)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a candidate differs from what runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CandidateDiff {
    /// Version of the candidate.
    version: u64,
    /// Where, and what.
    changes: Vec<DifferenceBody>,
    /// What somebody else changed meanwhile: a rebase takes it in.
    conflicts: Vec<String>,
}

/// How the candidate differs from what runs.
#[utoipa::path(
    get, path = "/config/candidate/diff", tag = "configuration",
    responses((status = 200, body = CandidateDiff, headers(("etag" = String)))),
)]
pub(crate) async fn diff(State(api): State<Api>, who: Who) -> Result<Response, Problem> {
    let diff = api.run(move |service, _| {
        let pending = service.candidate(&who.caller)?;
        Ok(CandidateDiff {
            version: pending.version,
            changes: pending.diff().into_iter().map(Into::into).collect(),
            conflicts: pending.conflicts.iter().map(ToString::to_string).collect(),
        })
    });
    let diff = diff.await?;
    Ok((etag(diff.version), Json(diff)).into_response())
}

/// What is wrong with a candidate.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Validated {
    /// None: it may be committed, unless the dataplane refuses.
    problems: Vec<Flaw>,
}

/// What would be wrong with the candidate.
#[utoipa::path(
    post, path = "/config/candidate/validate", tag = "configuration",
    responses((status = 200, body = Validated)),
)]
pub(crate) async fn validate(State(api): State<Api>, who: Who) -> Result<Json<Validated>, Problem> {
    let problems = api.run(move |service, _| service.validate(&who.caller)).await?;
    Ok(Json(Validated { problems: problems.into_iter().map(Into::into).collect() }))
}

/// What came of a rebase.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Rebased)]
pub(crate) struct RebasedBody {
    /// Version of the candidate.
    version: u64,
    /// What was given up, because others changed it.
    dropped: Vec<String>,
}

/// Takes what others changed into the candidate. Where both changed something, theirs stays.
#[utoipa::path(
    post, path = "/config/candidate/rebase", tag = "configuration",
    responses((status = 200, body = RebasedBody, headers(("etag" = String)))),
)]
pub(crate) async fn rebase(State(api): State<Api>, who: Who) -> Result<Response, Problem> {
    let rebased = api.run(move |service, now| service.rebase(now, &who.caller)).await?;
    let dropped = rebased.dropped.iter().map(ToString::to_string).collect();
    let version = rebased.version;
    Ok((etag(version), Json(RebasedBody { version, dropped })).into_response())
}

/// How a candidate becomes the running configuration.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitAsked {
    /// Why, at most 1024 bytes.
    #[serde(default)]
    comment: String,
    /// It goes back by itself unless it is confirmed within so many seconds.
    #[schema(minimum = 1, maximum = 86_400)]
    confirm_s: Option<u64>,
}

/// Makes the candidate the running configuration.
#[utoipa::path(
    post, path = "/config/candidate/commit", tag = "configuration", request_body = CommitAsked,
    params(("if-match" = Option<String>, Header, description = "`ETag` of the candidate that was seen")),
    responses((status = 200, body = CommittedBody)),
)]
pub(crate) async fn commit(
    State(api): State<Api>,
    who: Who,
    IfMatch(expected): IfMatch,
    Json(asked): Json<CommitAsked>,
) -> Result<Json<CommittedBody>, Problem> {
    let committed = api.run(move |service, now| {
        let within = asked.confirm_s.map(|seconds| seconds.saturating_mul(1000));
        service.commit(now, &who.caller, expected, &asked.comment, within)
    });
    Ok(Json(committed.await?.into()))
}
