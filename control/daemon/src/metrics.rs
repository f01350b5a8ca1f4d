//! Numbers for Prometheus, taken when they are asked for.
//!
//! Labels are bounded by the configuration: ports, workers, tenants, drop reasons, states. Vswitches, vifs and leases
//! have none of their own, but for as many leases as the configuration asks for.

mod render;

use crate::clock;
use crate::dataplane::Window;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use control_api::{Chain, ChainStatus, Live};
use dataplane_api::status::{LeaseStatus, LinkStatus};
use dataplane_client::Snapshot;
use domain::Time;
use service::{Service, State};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What OpenMetrics text is called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page that scrapers read.
#[derive(Debug)]
pub(crate) struct Page {
    service: Arc<Service>,
    window: Arc<Window>,
    chain: Arc<dyn Chain>,
    database: PathBuf,
    top_leases: usize,
    /// One scrape at a time: more would only ask the dataplane more.
    turn: Mutex<()>,
}

/// All that the numbers are made of, at one moment.
#[derive(Debug)]
pub(crate) struct Scrape {
    now: Time,
    state: Arc<State>,
    store_bytes: u64,
    /// What the running dataplane says; `None`: it is away.
    running: Option<Running>,
    /// How the chain stands; `None`: what follows it does not answer.
    chain: Option<ChainStatus>,
    /// Leases with numbers of their own.
    top_leases: usize,
}

/// What the running dataplane says.
#[derive(Debug)]
struct Running {
    snapshot: Snapshot,
    links: Vec<LinkStatus>,
    leases: Vec<LeaseStatus>,
}

impl Page {
    pub(crate) fn new(
        service: Arc<Service>,
        window: Arc<Window>,
        chain: Arc<dyn Chain>,
        database: PathBuf,
        top_leases: usize,
    ) -> Self {
        Self { service, window, chain, database, top_leases, turn: Mutex::default() }
    }

    /// `/metrics`, and nothing else.
    pub(crate) fn router(self) -> Router {
        let page = Arc::new(self);
        Router::new().route("/metrics", get(move || Arc::clone(&page).answer()))
    }

    async fn answer(self: Arc<Self>) -> Response {
        let text = tokio::task::spawn_blocking(move || self.scrape().render()).await;
        match text {
            Ok(Ok(text)) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
            Ok(Err(std::fmt::Error)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn scrape(&self) -> Scrape {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Scrape {
            now: clock::now(),
            state: self.service.state(),
            store_bytes: store_bytes(&self.database),
            running: self.running(),
            chain: self.chain.status().ok(),
            top_leases: self.top_leases,
        }
    }

    fn running(&self) -> Option<Running> {
        let snapshot = self.window.snapshot().ok()?;
        let links = self.window.links().ok()?;
        let leases = if self.top_leases > 0 { self.window.leases().ok()? } else { Vec::new() };
        Some(Running { snapshot, links, leases })
    }
}

/// Bytes of the database and of its journal.
fn store_bytes(database: &Path) -> u64 {
    let mut journal = database.as_os_str().to_owned();
    journal.push("-wal");
    let len = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    len(database) + len(Path::new(&journal))
}
