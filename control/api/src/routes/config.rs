//! The running configuration: what it is, how it came about, and how it becomes another one.

use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Path, Query, Toml, etag};
use crate::page::{Asked, Page};
use crate::problem::{Flaw, Kind, Problem};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use domain::Tree;
use domain::tree::{Difference, Place, TreeError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::Committed;
use store::Commit;
use utoipa::{IntoParams, ToSchema};

/// Media type of TOML.
pub(crate) const TOML: &str = "application/toml";

/// How a tree is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    Json,
    Toml,
}

/// Which part of a tree is asked for, and how it shall be written.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ShowQuery {
    /// Where, as in `vswitch.red.vif.2`; empty: all.
    #[serde(default)]
    pub(crate) place: String,
    /// How; else as `Accept` says, or JSON.
    pub(crate) format: Option<Format>,
}

/// One place that differs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Difference)]
pub(crate) struct DifferenceBody {
    /// Where.
    place: String,
    /// What was there, passwords left out.
    #[schema(value_type = Option<Value>)]
    old: Option<Value>,
    /// What is there from then on, passwords left out.
    #[schema(value_type = Option<Value>)]
    new: Option<Value>,
}

impl From<Difference> for DifferenceBody {
    fn from(difference: Difference) -> Self {
        let Difference { place, old, new } = difference;
        Self { place: place.to_string(), old, new }
    }
}

/// What came of a commit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Committed)]
pub(crate) struct CommittedBody {
    /// Its number; the last one's, if nothing was to be changed.
    commit: u64,
    /// Generation of the spec that it made.
    generation: u64,
    /// Whether anything was changed.
    changed: bool,
    /// When it goes back by itself, Unix milliseconds.
    confirm_until: Option<u64>,
}

impl From<Committed> for CommittedBody {
    fn from(committed: Committed) -> Self {
        let Committed { commit, generation, changed, confirm_until } = committed;
        Self { commit, generation, changed, confirm_until }
    }
}

/// What made the configuration what it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Commit)]
pub(crate) struct CommitBody {
    /// Its number.
    pub(crate) id: u64,
    /// When, Unix milliseconds.
    pub(crate) at: u64,
    /// Who.
    pub(crate) author: String,
    /// Why, in the author's words.
    pub(crate) comment: String,
}

impl From<&Commit> for CommitBody {
    fn from(commit: &Commit) -> Self {
        let Commit { id, at, author, comment, changes: _ } = commit;
        Self { id: *id, at: *at, author: author.clone(), comment: comment.clone() }
    }
}

/// A commit, and what it changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CommitDiff {
    /// The commit.
    commit: CommitBody,
    /// Where, and what.
    changes: Vec<DifferenceBody>,
}

/// The running configuration, or a part of it, passwords left out.
#[utoipa::path(
    get, path = "/config", tag = "configuration", params(ShowQuery),
    responses((
        status = 200, description = "What is there. `ETag` is the last commit's number.",
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
        let state = api.service().state();
        let shown = shown(&who.caller.grant.view(&state.tree), &query, &headers)?;
        Ok((etag(state.commit), shown).into_response())
    })
    .await
}

/// A part of a tree, as it is asked for.
pub(crate) fn shown(
    tree: &Tree,
    query: &ShowQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let place = place(&query.place)?;
    let value = tree.show(&place);
    let value = value.ok_or_else(|| Problem::not_found("place", &place))?;
    let accepts_toml = || {
        let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        accepted.is_some_and(|accepted| accepted.starts_with(TOML))
    };
    match query.format {
        Some(Format::Toml) => toml_at(&place, value),
        None if accepts_toml() => toml_at(&place, value),
        Some(Format::Json) | None => Ok(Json(value).into_response()),
    }
}

/// A part of a tree as TOML, with the tables around it.
fn toml_at(place: &Place, mut value: Value) -> Result<Response, Problem> {
    strip(&mut value);
    for name in place.names().iter().rev() {
        value = Value::Object([(name.clone(), value)].into_iter().collect());
    }
    let text = toml::to_string(&value);
    let text = text.map_err(|error| Problem::new(Kind::NotAcceptable, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, TOML)], text).into_response())
}

/// TOML has no nothing.
fn strip(value: &mut Value) {
    match value {
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            table.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(crate) fn place(text: &str) -> Result<Place, Problem> {
    text.parse::<Place>().map_err(|error| Problem::new(Kind::Invalid, error.to_string()))
}

/// Reads a tree, and says the line where it does not read.
pub(crate) fn tree(text: &str) -> Result<Tree, Problem> {
    Tree::from_toml(text).map_err(|error| match &error {
        TreeError::Text(at) => {
            let before = at.span().and_then(|span| text.get(..span.start));
            let line = before.map(|before| before.matches('\n').count() + 1);
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            Problem::new(Kind::Invalid, format!("{line}{}", at.message()))
        }
        TreeError::Schema(_) => error.into(),
    })
}

/// How a configuration is applied.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApplyQuery {
    /// Why.
    #[serde(default)]
    comment: String,
    /// It goes back by itself unless it is confirmed within so many seconds.
    #[param(minimum = 1, maximum = 86_400)]
    confirm_s: Option<u64>,
}

/// Makes a tree the running configuration, as far as who asks may change it. If it is already, nothing is done.
#[utoipa::path(
    post, path = "/config/apply", tag = "configuration", params(ApplyQuery),
    request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = CommittedBody)),
)]
pub(crate) async fn apply(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<ApplyQuery>,
    Toml(text): Toml,
) -> Result<Json<CommittedBody>, Problem> {
    let committed = api.blocking(move |api| {
        let (tree, ApplyQuery { comment, confirm_s }) = (tree(&text)?, query);
        let within = confirm_s.map(|seconds| seconds.saturating_mul(1000));
        Ok(api.service().apply(api.now(), &who.caller, &tree, &comment, within)?)
    });
    Ok(Json(committed.await?.into()))
}

/// What applying a configuration would do.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Applicable {
    /// What would change; none: it runs already.
    changes: Vec<DifferenceBody>,
    /// What would be wrong with it; none: it may be applied, unless the dataplane refuses.
    problems: Vec<Flaw>,
}

/// What applying a configuration would change. Nothing is done.
#[utoipa::path(
    post, path = "/config/apply/check", tag = "configuration",
    request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = Applicable)),
)]
pub(crate) async fn check(
    State(api): State<Api>,
    who: Who,
    Toml(text): Toml,
) -> Result<Json<Applicable>, Problem> {
    let found = api.blocking(move |api| {
        let tree = tree(&text)?;
        Ok(api.service().check_apply(&who.caller, &tree)?)
    });
    let (changes, problems) = found.await?;
    Ok(Json(Applicable {
        changes: changes.into_iter().map(Into::into).collect(),
        problems: problems.into_iter().map(Into::into).collect(),
    }))
}

/// Lets the last commit stay.
#[utoipa::path(
    post, path = "/config/confirm", tag = "configuration",
    responses((status = 200, body = CommittedBody)),
)]
pub(crate) async fn confirm(
    State(api): State<Api>,
    who: Who,
) -> Result<Json<CommittedBody>, Problem> {
    let committed = api.run(move |service, now| service.confirm(now, &who.caller)).await?;
    Ok(Json(committed.into()))
}

/// Where to go back to.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// Number of the commit after which it was as it shall be; 0: before the first. One of the last 50.
    to: u64,
    /// Why.
    #[serde(default)]
    comment: String,
}

/// Makes the configuration what it was after an earlier commit. It becomes a commit of its own.
#[utoipa::path(
    post, path = "/config/rollback", tag = "configuration", request_body = Rollback,
    responses((status = 200, body = CommittedBody)),
)]
pub(crate) async fn rollback(
    State(api): State<Api>,
    who: Who,
    Json(back): Json<Rollback>,
) -> Result<Json<CommittedBody>, Problem> {
    let committed =
        api.run(move |service, now| service.rollback(now, &who.caller, back.to, &back.comment));
    Ok(Json(committed.await?.into()))
}

/// Which page.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Most items of the page; 100 if nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    pub(crate) fn asked(&self) -> Result<Asked, Problem> {
        Asked::new(self.limit, self.cursor.as_deref())
    }
}

/// Commits, newest first: a tenant's token sees its own.
#[utoipa::path(
    get, path = "/config/history", tag = "configuration", params(PageQuery),
    responses((status = 200, body = Page<CommitBody>)),
)]
pub(crate) async fn history(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<CommitBody>>, Problem> {
    let asked = query.asked()?;
    let found =
        api.run(move |service, _| service.commits(&who.caller, asked.before(), asked.fetch()));
    let page = asked.descending(found.await?, |commit| commit.id, |it| CommitBody::from(&it));
    Ok(Json(page))
}

/// What a commit changed.
#[utoipa::path(
    get, path = "/config/history/{id}", tag = "configuration",
    params(("id" = u64, Path, description = "Number of the commit")),
    responses((status = 200, body = CommitDiff)),
)]
pub(crate) async fn commit_diff(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u64>,
) -> Result<Json<CommitDiff>, Problem> {
    let found = api.run(move |service, _| service.commit_diff(&who.caller, id));
    let (commit, changes) = found.await?;
    let changes = changes.into_iter().map(Into::into).collect();
    Ok(Json(CommitDiff { commit: CommitBody::from(&commit), changes }))
}
