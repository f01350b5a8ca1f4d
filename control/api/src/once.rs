//! Requests that may be sent again: `Idempotency-Key`.

use crate::auth::Who;
use crate::extract::unread;
use crate::problem::Problem;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use service::Once;

/// Name of the header.
pub(crate) const HEADER: &str = "idempotency-key";
/// Longest key, bytes.
const KEY_LEN_MAX: usize = 128;

/// Makes the request one that is done once, if it says so.
pub(crate) async fn once(request: Request, next: Next) -> Response {
    match with_once(request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn with_once(request: Request) -> Result<Request, Problem> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(key) = key(request.headers())?.filter(|_| !is_safe) else { return Ok(request) };
    let (parts, body) = request.into_parts();
    // Bounded as its route bounds it.
    let mut whole = Request::from_parts(parts.clone(), body);
    *whole.extensions_mut() = parts.extensions.clone();
    let bytes = Bytes::from_request(whole, &()).await.map_err(unread)?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let once = Once::new(&key, &[parts.method.as_str().as_bytes(), target.as_bytes(), &bytes]);
    let mut request = Request::from_parts(parts, Body::from(bytes));
    if let Some(who) = request.extensions_mut().get_mut::<Who>() {
        who.caller.once = Some(once);
    }
    Ok(request)
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=KEY_LEN_MAX).contains(&key.len()));
    let allowed = format!("1 to {KEY_LEN_MAX} visible characters");
    match key {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Problem::invalid("Idempotency-Key", format!("{value:?}"), allowed)),
    }
}
