//! JSON-RPC 1.0 as pktd and pktwallet speak it: POST to `/`, 200 even for errors, a connection for each call.

use crate::endpoint::Endpoint;
use crate::error::{NodeError, Refusal, Text};
use crate::http::{self, Limits, Question};
use crate::json;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls of a batch at most.
pub const BATCH_MAX: usize = 100;

/// A node's JSON-RPC.
#[derive(Debug)]
pub struct Rpc {
    endpoint: Endpoint,
    limits: Limits,
    next_id: AtomicU64,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name.
    pub method: &'static str,
    /// In order.
    pub params: Vec<Value>,
}

impl Call {
    /// A call of `method` with an array of `params`.
    #[must_use]
    pub fn new<const N: usize>(method: &'static str, params: [Value; N]) -> Self {
        Self { method, params: params.into() }
    }

    pub(crate) fn to_json(&self, id: u64) -> Value {
        json!({"jsonrpc": "1.0", "id": id, "method": self.method, "params": self.params})
    }
}

impl Rpc {
    /// Talks to `endpoint`; connects when something is asked.
    #[must_use]
    pub fn new(endpoint: Endpoint, limits: Limits) -> Self {
        Self { endpoint, limits, next_id: AtomicU64::new(1) }
    }

    /// Whom it talks to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How long and how much.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Calls, and reads the result as a `T`.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T, NodeError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = self.post(&call.to_json(id)).await?;
        result(&body, call.method, id)
    }

    /// Calls all of `calls` (100 at most) at once. The outer error is the batch's, an inner one that of a call.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn batch<T: DeserializeOwned>(
        &self,
        calls: &[Call],
    ) -> Result<Vec<Result<T, NodeError>>, NodeError> {
        let calls = calls.get(..BATCH_MAX).unwrap_or(calls);
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.next_id.fetch_add(calls.len() as u64, Ordering::Relaxed);
        let asked: Vec<_> = calls.iter().zip(first..).map(|(call, id)| call.to_json(id)).collect();
        let body = self.post(&Value::from(asked)).await?;
        let methods: Vec<_> = calls.iter().map(|call| call.method).collect();
        results(&body, &methods, first)
    }

    async fn post(&self, body: &Value) -> Result<Vec<u8>, NodeError> {
        let body = body.to_string().into_bytes();
        let question = Question { method: Method::POST, path: "/".to_owned(), body };
        let answer = http::ask(&self.endpoint, &self.limits, question).await?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(answer.error()) }
    }
}

/// An answer as it comes, its result not yet looked into.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Failure>,
    /// Not looked into either: it is a number of ours, or it is wrong.
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// `stack` and whatever else stays unread.
#[derive(Deserialize)]
pub(crate) struct Failure {
    code: i64,
    #[serde(default)]
    message: String,
}

impl Failure {
    pub(crate) fn refused(&self, method: &'static str) -> NodeError {
        NodeError::Refused { method, refusal: Refusal::new(self.code, &self.message) }
    }
}

impl Envelope<'_> {
    fn id(&self) -> Option<u64> {
        self.id.and_then(|id| id.get().parse().ok())
    }

    fn other_than(&self, asked: u64) -> NodeError {
        NodeError::OtherRequest { asked, got: Text::new(self.id.map_or("none", RawValue::get)) }
    }

    /// `null` is a result too: that of calls which have nothing to say.
    fn result<T: DeserializeOwned>(&self, method: &'static str) -> Result<T, NodeError> {
        if let Some(failure) = &self.error {
            return Err(failure.refused(method));
        }
        json::read(self.result.map_or("null", RawValue::get).as_bytes())
    }
}

/// The result in an answer to request `id`, a call of `method`.
///
/// # Errors
/// See [`NodeError`].
pub fn result<T: DeserializeOwned>(
    body: &[u8],
    method: &'static str,
    id: u64,
) -> Result<T, NodeError> {
    let text = text(body)?;
    let envelope: Envelope<'_> = read_borrowed(text)?;
    if envelope.id() != Some(id) {
        // Errors before the request was understood have no id.
        return Err(match &envelope.error {
            Some(failure) if envelope.id.is_none() => failure.refused(method),
            _ => envelope.other_than(id),
        });
    }
    envelope.result(method)
}

/// The results in an answer to a batch of `methods`, whose requests have ids from `first_id` on. They may come in any
/// order.
///
/// # Errors
/// See [`NodeError`]; a request without an answer, or with two, is [`NodeError::OtherRequest`].
pub fn results<T: DeserializeOwned>(
    body: &[u8],
    methods: &[&'static str],
    first_id: u64,
) -> Result<Vec<Result<T, NodeError>>, NodeError> {
    let text = text(body)?;
    let envelopes: Vec<Envelope<'_>> = read_borrowed(text)?;
    let mut by_place: Vec<Option<Result<T, NodeError>>> = methods.iter().map(|_| None).collect();
    for envelope in &envelopes {
        let place = envelope.id().and_then(|id| id.checked_sub(first_id));
        let place = place.and_then(|place| usize::try_from(place).ok());
        let found = place.and_then(|place| Some((by_place.get_mut(place)?, methods.get(place)?)));
        match found {
            Some((slot, method)) if slot.is_none() => *slot = Some(envelope.result(method)),
            _ => return Err(envelope.other_than(first_id)),
        }
    }
    let missing = |place: usize| NodeError::OtherRequest {
        asked: first_id.saturating_add(place as u64),
        got: Text::new("none"),
    };
    let answers = by_place.into_iter().enumerate();
    answers.map(|(place, answer)| answer.ok_or_else(|| missing(place))).collect()
}

pub(crate) fn text(body: &[u8]) -> Result<&str, NodeError> {
    std::str::from_utf8(body).map_err(|error| NodeError::Shape {
        place: Text::new("."),
        reason: Text::new(&error.to_string()),
    })
}

/// As [`json::read`], for what borrows.
pub(crate) fn read_borrowed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, NodeError> {
    json::check_bounds(text.as_bytes())?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let value =
        serde_path_to_error::deserialize(&mut parser).map_err(|error| json::shape(&error))?;
    parser.end().map_err(|error| json::shape_at_end(&error))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_something_else_are_refused() {
        let ok = |text: &str| result::<u64>(text.as_bytes(), "m", 7);
        assert!(matches!(ok(r#"{"result":5,"error":null,"id":7}"#), Ok(5)));
        for other in [
            r#"{"result":5,"error":null,"id":8}"#,
            r#"{"result":5,"error":null}"#,
            r#"{"result":5,"id":"7"}"#,
        ] {
            assert!(matches!(ok(other), Err(NodeError::OtherRequest { .. })), "{other}");
        }
        for wrong in [
            "",
            "5",
            r#"{"result":"5","id":7}"#,
            r#"{"id":7}"#,
            r#"{"error":5,"id":7}"#,
            "{\"id\":7}x",
        ] {
            assert!(matches!(ok(wrong), Err(NodeError::Shape { .. })), "{wrong}");
        }
        let refused = ok(
            r#"{"result":null,"error":{"code":-5,"message":"x ErrY(-5): z","stack":["s"]},"id":7}"#,
        );
        let Err(NodeError::Refused { refusal, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((refusal.code, refusal.name.as_str()), (-5, "ErrY"));
    }

    #[test]
    fn batches_are_put_in_order_and_must_be_complete() {
        let read = |text: &str| results::<u64>(text.as_bytes(), &["a", "b"], 3);
        let answers = read(r#"[{"result":2,"id":4},{"result":null,"error":{"code":-1},"id":3}]"#);
        let answers = answers.unwrap();
        assert!(
            matches!(&answers[..], [Err(NodeError::Refused { method: "a", .. }), Ok(2)]),
            "{answers:?}"
        );
        for wrong in [
            r#"[{"result":2,"id":4}]"#,
            r#"[{"result":2,"id":4},{"result":2,"id":4}]"#,
            r#"[{"result":2,"id":3},{"result":2,"id":4},{"result":2,"id":5}]"#,
            "[]",
        ] {
            assert!(matches!(read(wrong), Err(NodeError::OtherRequest { .. })), "{wrong}");
        }
        assert!(matches!(read(r#"{"result":2,"id":3}"#), Err(NodeError::Shape { .. })));
    }
}
