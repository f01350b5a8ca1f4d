//! REST with errors in JSON, and streams of a JSON text a line.

use super::message::{Failure, Line};
use crate::endpoint::Endpoint;
use crate::error::NodeError;
use crate::http::{self, Answer, Limits, Opened, Question};
use crate::json;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of a line at most.
const LINE_LEN_MAX: usize = 1 << 20;

/// A server, and how long and how much.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) endpoint: Endpoint,
    pub(super) limits: Limits,
}

impl Rest {
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: &str,
    ) -> Result<T, NodeError> {
        let question = Question { method: Method::GET, path: path.to_owned(), body: Vec::new() };
        read(&http::ask(&self.endpoint, &self.limits, question).await?, name)
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<T, NodeError> {
        read(&http::ask(&self.endpoint, &self.limits, posted(path, body)).await?, name)
    }

    /// As [`Rest::post`], where the answer may take `wait` longer.
    pub(super) async fn post_and_wait<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<T, NodeError> {
        let limits = Limits { call: self.limits.call.saturating_add(wait), ..self.limits };
        read(&http::ask(&self.endpoint, &limits, posted(path, body)).await?, name)
    }

    /// Begins to read a stream; with a `body`: of a POST.
    pub(super) async fn stream<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Lines<T>, NodeError> {
        let get = || Question { method: Method::GET, path: path.to_owned(), body: Vec::new() };
        let question = body.map_or_else(get, |body| posted(path, body));
        let opening = Opened::ask(&self.endpoint, &self.limits, question);
        let late = |_late| NodeError::Timeout { what: "answer", limit: self.limits.call };
        let mut opened = timeout(self.limits.call, opening).await.map_err(late)??;
        if opened.status.is_success() {
            return Ok(Lines { name, opened, read: Vec::new(), kind: PhantomData });
        }
        let first = timeout(self.limits.call, opened.next()).await.map_err(late)??;
        let body = first.map(|bytes| bytes.slice(..bytes.len().min(4096)).to_vec());
        let answer = Answer { status: opened.status, body: body.unwrap_or_default() };
        Err(failed(&answer, name))
    }
}

fn posted(path: &str, body: &Value) -> Question {
    let body = body.to_string().into_bytes();
    Question { method: Method::POST, path: path.to_owned(), body }
}

fn read<T: DeserializeOwned>(answer: &Answer, name: &'static str) -> Result<T, NodeError> {
    if answer.status.is_success() { json::read(&answer.body) } else { Err(failed(answer, name)) }
}

/// The server's own reason if it is one.
fn failed(answer: &Answer, name: &'static str) -> NodeError {
    match json::read::<Failure>(&answer.body) {
        Ok(failure) if ![401, 503].contains(&answer.status.as_u16()) => failure.refused(name),
        _ => answer.error(),
    }
}

/// A stream of messages.
#[derive(Debug)]
pub(super) struct Lines<T> {
    name: &'static str,
    opened: Opened,
    read: Vec<u8>,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next message. The caller holds the time.
    pub(super) async fn next(&mut self) -> Result<T, NodeError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let line = std::mem::replace(&mut self.read, rest);
                if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                    return message(&line, self.name);
                }
            }
            if self.read.len() > LINE_LEN_MAX {
                return Err(NodeError::TooLong { max: LINE_LEN_MAX });
            }
            match self.opened.next().await? {
                Some(bytes) => self.read.extend_from_slice(&bytes),
                // The last line need not have an end.
                None if self.read.iter().any(|byte| !byte.is_ascii_whitespace()) => {
                    return message(&std::mem::take(&mut self.read), self.name);
                }
                None => return Err(NodeError::Closed),
            }
        }
    }
}

/// What is in a line of a stream.
pub(super) fn message<T: DeserializeOwned>(
    line: &[u8],
    name: &'static str,
) -> Result<T, NodeError> {
    let line: Line<T> = json::read(line)?;
    match (line.result, line.error) {
        (Some(message), None) => Ok(message),
        (_, Some(failure)) => Err(failure.refused(name)),
        (None, None) => Err(NodeError::Closed),
    }
}
