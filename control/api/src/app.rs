//! The API as a whole: what it stands on, and its routes.

use crate::auth::{Auth, authenticate};
use crate::cache::Cache;
use crate::chain::Chain;
use crate::events::Events;
use crate::live::Live;
use crate::once::once;
use crate::openapi::{finished, head};
use crate::problem::{Kind, Problem};
use crate::routes;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use domain::Time;
use service::{Service, ServiceError};
use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// Longest body that is a configuration, bytes.
const CONFIG_LEN_MAX: usize = 32 << 20;
/// Longest other body, bytes.
const BODY_LEN_MAX: usize = 64 << 10;
/// How long an answer may take to begin.
const ANSWER: Duration = Duration::from_secs(30);
/// The same where the whole store is read.
const ANSWER_SLOW: Duration = Duration::from_secs(600);

/// What the API must be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// User that the process runs as: whoever is that user is the owner.
    pub own_uid: u32,
    /// Directory in which backups are made; `None`: none are.
    pub backups: Option<PathBuf>,
    /// Version of the program.
    pub version: String,
}

/// Reads the wall clock.
pub type Clock = Box<dyn Fn() -> Time + Send + Sync>;

/// The HTTP API over a service.
#[derive(Clone, Debug)]
pub struct Api(Arc<Parts>);

struct Parts {
    service: Arc<Service>,
    live: Arc<dyn Live>,
    chain: Arc<dyn Chain>,
    clock: Clock,
    settings: Settings,
    auth: Auth,
    cache: Cache,
    events: Events,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// There is no randomness, without which nobody can be told from who guesses.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no randomness: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

impl Api {
    /// The API over a service, a running dataplane and a chain.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new(
        service: Arc<Service>,
        live: Arc<dyn Live>,
        chain: Arc<dyn Chain>,
        clock: Clock,
        settings: Settings,
    ) -> Result<Self, NoRandomness> {
        let (auth, cache, events) = (Auth::new()?, Cache::default(), Events::new(&service));
        Ok(Self(Arc::new(Parts { service, live, chain, clock, settings, auth, cache, events })))
    }

    /// All routes. Every request must have its [`crate::Peer`] among its extensions.
    pub fn router(&self) -> Router {
        let (router, _) = documented().split_for_parts();
        let no_store = HeaderValue::from_static("no-store");
        let no_sniff = HeaderValue::from_static("nosniff");
        router
            .fallback(not_found)
            .method_not_allowed_fallback(not_allowed)
            .layer(middleware::from_fn_with_state(self.clone(), authenticate))
            .layer(middleware::from_fn(in_time))
            .route("/api/v1/openapi.json", axum::routing::get(document))
            .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, no_store))
            .layer(SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, no_sniff))
            .layer(CatchPanicLayer::custom(panicked))
            .with_state(self.clone())
    }

    /// Watches what happens, for [`Self::router`]'s events and rates, until `stop`; all streams end then.
    pub async fn watch(self, stop: impl Future<Output = ()>) {
        crate::events::watch(&self, stop).await;
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub(crate) fn events(&self) -> &Events {
        &self.0.events
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.0.service
    }

    pub(crate) fn live(&self) -> &Arc<dyn Live> {
        &self.0.live
    }

    pub(crate) fn chain(&self) -> &Arc<dyn Chain> {
        &self.0.chain
    }

    pub(crate) fn now(&self) -> Time {
        (self.0.clock)()
    }

    /// Asks the service, where waiting harms nobody.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Service, Time) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.blocking(|api| Ok(ask(api.service(), api.now())?)).await
    }

    /// Does something that waits.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let api = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&api)).await;
        done.map_err(|error| Problem::internal(&error))?
    }
}

/// The API's document, OpenAPI 3.1.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, document) = documented().split_for_parts();
    finished(document)
}

fn documented() -> OpenApiRouter<Api> {
    let large = bounded(routes::large(), CONFIG_LEN_MAX);
    let small = bounded(routes::small(), BODY_LEN_MAX);
    OpenApiRouter::with_openapi(head()).nest("/api/v1", large.merge(small))
}

fn bounded(routes: OpenApiRouter<Api>, len_max: usize) -> OpenApiRouter<Api> {
    routes.layer(middleware::from_fn(once)).layer(DefaultBodyLimit::max(len_max))
}

/// It is the same for everybody, and made once: nobody is asked who he is for it.
static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| openapi().to_pretty_json().unwrap_or_default());

async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("{}: there is no such resource", uri.path()))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::Method, format!("{method} is no method of {}", uri.path()))
}

async fn in_time(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_slow = path.ends_with("/db/check") || path.ends_with("/backups");
    let within = if is_slow { ANSWER_SLOW } else { ANSWER };
    match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer within {} s", within.as_secs());
            Problem::new(Kind::Timeout, detail).into_response()
        }
    }
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    Problem::internal(&"a handler panicked").into_response()
}
