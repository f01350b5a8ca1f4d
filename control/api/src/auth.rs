//! Who asks: a token, or the connection itself.
//!
//! A token is verified slowly, on purpose; so a token that was verified is remembered by a keyed digest of it, and looked
//! up in the store at each request, so that one that is taken back holds no longer. Guessing is bounded by peer.

use crate::app::Api;
use crate::failures::{Failures, Source};
use crate::peer::{Client, Peer};
use crate::problem::{Kind, Problem};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::Time;
use domain::access::Grant;
use hmac::{Hmac, KeyInit, Mac};
use service::Caller;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use store::Token;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Tokens that are remembered.
const KNOWN_MAX: usize = 4096;
/// Tokens that are verified at the same time: each takes a core and 19 MiB for some 30 ms.
const VERIFIED_AT_ONCE: usize = 2;
/// Longest token that is looked at, bytes; ours have 67 at most.
const TOKEN_LEN_MAX: usize = 128;

/// Who asks, and why he is believed.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) caller: Caller,
    /// Number of his token, and when it ends by itself.
    pub(crate) token: Option<(u32, Option<u64>)>,
    /// `token`, `unix` or `certificate`.
    pub(crate) by: &'static str,
}

/// What is remembered of those who asked.
pub(crate) struct Auth {
    key: Zeroizing<[u8; 32]>,
    known: Mutex<BTreeMap<[u8; 32], u32>>,
    failures: Mutex<Failures>,
    verifying: Semaphore,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth")
    }
}

impl Auth {
    /// # Errors
    /// There is no randomness.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut())?;
        Ok(Self {
            key,
            known: Mutex::default(),
            failures: Mutex::default(),
            verifying: Semaphore::new(VERIFIED_AT_ONCE),
        })
    }

    fn digest(&self, token: &str) -> [u8; 32] {
        // A key of any length is taken.
        let mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref());
        mac.map_or([0; 32], |mac| mac.chain_update(token).finalize().into_bytes().into())
    }

    fn known(&self, digest: &[u8; 32]) -> Option<u32> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).copied()
    }

    fn remember(&self, digest: [u8; 32], id: u32) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        while known.len() >= KNOWN_MAX {
            // Digests are random, and so is who must be verified again.
            known.pop_first();
        }
        known.insert(digest, id);
    }

    fn forget(&self, digest: &[u8; 32]) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out who asks, or refuses; nothing behind it is reached by who is nobody.
pub(crate) async fn authenticate(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Response {
    let who = match Asking::read(&request) {
        Ok(asking) => who(&api, asking).await,
        Err(problem) => Err(problem),
    };
    match who {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn who(api: &Api, asking: Asking) -> Result<Who, Problem> {
    let Asking { peer, token, is_of_site } = asking;
    if let Some(token) = token {
        return by_token(api, &peer, token).await;
    }
    match peer {
        Peer::Unix { uid } if uid == 0 || uid == api.settings().own_uid => Ok(Who {
            // No token has a name with a space.
            caller: caller(format!("uid {uid}"), Grant::owner()),
            token: None,
            by: "unix",
        }),
        Peer::Tls { client: Some(Client { grant: Some(_), .. }), .. } if is_of_site => {
            let detail = "a page of a site that changes something needs a token";
            Err(Problem::new(Kind::Forbidden, detail))
        }
        Peer::Tls { client: Some(Client { subject, grant: Some(grant) }), .. } => {
            let caller = caller(format!("cert {subject}"), grant);
            Ok(Who { caller, token: None, by: "certificate" })
        }
        Peer::Unix { .. } | Peer::Tcp { .. } | Peer::Tls { .. } => {
            let detail = "expected a header `Authorization: Bearer TOKEN`";
            Err(Problem::new(Kind::Unauthorized, detail))
        }
    }
}

/// What a request says of who sent it.
struct Asking {
    peer: Peer,
    token: Option<Zeroizing<String>>,
    /// A page in a browser changes something: its certificate is shown to whatever page asks.
    is_of_site: bool,
}

impl Asking {
    fn read(request: &Request) -> Result<Self, Problem> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Problem::internal(&"a request without its peer"))?;
        let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_of_site = !is_safe && request.headers().contains_key(header::ORIGIN);
        Ok(Self { peer, token: bearer(request.headers())?, is_of_site })
    }
}

fn caller(name: String, grant: Grant) -> Caller {
    Caller { name, grant, once: None }
}

/// The token in the request; `None`: there is none.
fn bearer(headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = token.filter(|token| token.len() <= TOKEN_LEN_MAX);
    token.map(|token| Some(Zeroizing::new(token.to_owned()))).ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(Kind::Unauthorized, "the token is none, or does not hold any more")
}

async fn by_token(api: &Api, peer: &Peer, text: Zeroizing<String>) -> Result<Who, Problem> {
    let auth = api.auth();
    let digest = auth.digest(&text);
    if let Some(id) = auth.known(&digest) {
        if let Some(token) = api.run(move |service, now| service.token_holds(now, id)).await? {
            return Ok(of_token(token));
        }
        auth.forget(&digest);
        return Err(unknown());
    }
    let (now, source) = (api.now(), Source::of(peer));
    // Charged before, so that many at once count as many.
    auth.failures().charge(now, source).map_err(|retry_after_s| {
        Problem::too_many("too many tokens that do not hold came from there", retry_after_s)
    })?;
    let turn = auth.verifying.acquire().await;
    let turn = turn.map_err(|closed| Problem::internal(&closed))?;
    let verified = api.run(move |service, now| service.verify_token(now, &text)).await?;
    drop(turn);
    let Some(token) = verified else { return Err(unknown()) };
    auth.failures().refund(now, source);
    auth.remember(digest, token.id);
    Ok(of_token(token))
}

fn of_token(token: Token) -> Who {
    let Token { id, name, grant, expires, .. } = token;
    // Names of tokens may be used again; what is kept by name (candidates, replies) belongs to one token.
    Who { caller: caller(format!("{name}#{id}"), grant), token: Some((id, expires)), by: "token" }
}

impl Who {
    /// Whether he still is who he was when he asked: for what takes long.
    pub(crate) async fn still_holds(&self, api: &Api) -> bool {
        let Some((id, _)) = self.token else { return true };
        let holds = api.run(move |service, now: Time| service.token_holds(now, id)).await;
        matches!(holds, Ok(Some(_)))
    }
}
