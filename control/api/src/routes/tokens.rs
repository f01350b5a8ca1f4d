//! Tokens: who may talk to the box.

use super::config::PageQuery;
use super::me::GrantBody;
use crate::app::Api;
use crate::auth::Who;
use crate::extract::{Json, Path, Query};
use crate::page::Page;
use crate::problem::{Problem, time};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use service::NewToken;
use store::Token;
use utoipa::ToSchema;

/// A token, without what is secret of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenBody {
    /// Its number, for good.
    id: u32,
    /// How people call it.
    name: String,
    /// What it is good for.
    grant: GrantBody,
    /// When it was made, Unix milliseconds.
    created: u64,
    /// When it ends by itself.
    expires: Option<u64>,
    /// When it was taken back.
    revoked: Option<u64>,
}

impl From<Token> for TokenBody {
    fn from(token: Token) -> Self {
        let Token { id, name, grant, created, expires, revoked } = token;
        Self { id, name, grant: grant.into(), created, expires, revoked }
    }
}

/// Tokens that who asks may see, by number.
#[utoipa::path(
    get, path = "/tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, body = Page<TokenBody>)),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    who: Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<TokenBody>>, Problem> {
    let asked = query.asked()?;
    let all = api.run(move |service, _| service.tokens(&who.caller)).await?;
    Ok(Json(asked.of(all.into_iter().map(Into::into))))
}

/// What a token shall be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
pub(crate) struct NewTokenBody {
    /// How people call it: 1 to 64 letters, digits, `-`, `_`, `.`, `@`.
    name: String,
    /// What it is good for: no more than who asks has.
    grant: GrantBody,
    /// When it ends by itself, Unix milliseconds; none: never.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    expires: Option<u64>,
}

/// A new token. It is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeToken {
    /// Its number.
    id: u32,
    /// The token itself.
    token: String,
}

/// Makes a token. It is shown once; asked for again, also with the same idempotency key, there is none.
#[utoipa::path(
    post, path = "/tokens", tag = "tokens", request_body = NewTokenBody,
    responses((status = 201, body = MadeToken)),
)]
pub(crate) async fn make(
    State(api): State<Api>,
    who: Who,
    Json(new): Json<NewTokenBody>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    let expires = new.expires.map(|expires| time("expires", expires)).transpose()?;
    let new = NewToken {
        name: new.name,
        grant: new.grant.into(),
        expires: expires.map(|expires| expires.0),
    };
    let (id, secret) =
        api.run(move |service, now| service.new_token(now, &who.caller, &new)).await?;
    Ok((StatusCode::CREATED, Json(MadeToken { id, token: secret.0.to_string() })))
}

/// Takes a token back, at once.
#[utoipa::path(
    delete, path = "/tokens/{id}", tag = "tokens",
    params(("id" = u32, Path, description = "Number of the token")),
    responses((status = 204, description = "It holds no longer")),
)]
pub(crate) async fn revoke(
    State(api): State<Api>,
    who: Who,
    Path(id): Path<u32>,
) -> Result<StatusCode, Problem> {
    api.run(move |service, now| service.revoke_token(now, &who.caller, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
