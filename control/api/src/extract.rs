//! What handlers take from requests. Whatever does not read is a [`Problem`].

use crate::auth::Who;
use crate::problem::{Kind, Problem};
use axum::Json as AxumJson;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Media types that TOML is sent as.
const TOML_TYPES: [&str; 2] = ["application/toml", "text/toml"];

/// A JSON body, of a request or of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = AxumJson::<T>::from_request(request, state).await;
        read.map(|AxumJson(value)| Self(value)).map_err(|rejection| {
            let kind = match rejection.status() {
                StatusCode::UNPROCESSABLE_ENTITY => Kind::Invalid,
                StatusCode::UNSUPPORTED_MEDIA_TYPE => Kind::MediaType,
                StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
                _ => Kind::Malformed,
            };
            Problem::new(kind, rejection.body_text())
        })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        AxumJson(self.0).into_response()
    }
}

/// A TOML body, as text.
#[derive(Clone, Debug)]
pub(crate) struct Toml(pub(crate) String);

impl<S: Send + Sync> FromRequest<S> for Toml {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let sent = request.headers().get(header::CONTENT_TYPE);
        let sent = sent.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = sent.split(';').next().unwrap_or_default().trim();
        if !TOML_TYPES.iter().any(|known| known.eq_ignore_ascii_case(media_type)) {
            let detail = format!("content type {sent:?}; expected {}", TOML_TYPES[0]);
            return Err(Problem::new(Kind::MediaType, detail));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        let text = String::from_utf8(bytes.into());
        text.map(Self)
            .map_err(|error| Problem::new(Kind::Malformed, error.utf8_error().to_string()))
    }
}

pub(crate) fn unread(rejection: BytesRejection) -> Problem {
    let kind = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Kind::TooLarge
    } else {
        Kind::Malformed
    };
    Problem::new(kind, rejection.body_text())
}

/// What stands behind `?`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = AxumQuery::<T>::from_request_parts(parts, state).await;
        let malformed = |text: String| Problem::new(Kind::Malformed, text);
        read.map(|AxumQuery(value)| Self(value))
            .map_err(|rejection| malformed(rejection.body_text()))
    }
}

/// What of the path is a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = AxumPath::<T>::from_request_parts(parts, state).await;
        let malformed = |text: String| Problem::new(Kind::Malformed, text);
        read.map(|AxumPath(value)| Self(value))
            .map_err(|rejection| malformed(rejection.body_text()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let who = parts.extensions.get::<Self>().cloned();
        who.ok_or_else(|| Problem::internal(&"a handler stands outside of authentication"))
    }
}

/// The version in `If-Match`; `None`: any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IfMatch(pub(crate) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        if value.as_bytes() == b"*" {
            return Ok(Self(None));
        }
        let text = value.to_str().ok().map(str::trim).unwrap_or_default();
        let detail = "If-Match: expected \"NUMBER\" as in ETag, or *";
        let tag = text.strip_prefix("W/").unwrap_or(text);
        let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        let tag = tag.ok_or_else(|| Problem::new(Kind::Malformed, detail))?;
        match tag.parse().ok().filter(|_| text.starts_with('"')) {
            Some(version) => Ok(Self(Some(version))),
            // An entity tag that was never given out is of nothing that is there.
            None => Err(Problem::new(Kind::Version, detail)),
        }
    }
}

/// `ETag` of a version.
pub(crate) fn etag(version: u64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{version}\""))]
}
