//! The chain that orders are paid by: one thread that follows it through the nodes that the configuration names.
//!
//! ```text
//! tree.node ─► nodes: links, wallets, Lightning ─► follower ─► Follow ─► events, records ─► Service (one transaction)
//! POST /orders ─► Counter ─► till: an address, an invoice ──┘ watches            └► asks ─► links
//! ```
//!
//! A node that vanishes, lies or stalls is named, and takes nothing away: what is in the books goes by the best chain
//! that was verified.

mod anchor;
mod follower;
mod invoices;
mod nodes;
mod report;
mod till;

use crate::config;
use anyhow::Context;
use control_api::{Chain, ChainError, ChainStatus, PayBy, Till};
use follower::Follower;
use ledger::Amount;
use service::Service;
use std::sync::Arc;
use std::sync::mpsc::{Sender as Reply, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use store::Order;
use tokio::sync::{mpsc, watch};

/// Requests that wait.
const REQUESTS_MAX: usize = 64;
/// How long an answer may take: longer than a wallet's and a Lightning node's together.
const ANSWER: Duration = Duration::from_secs(25);

/// What is asked of the thread.
enum Request {
    Till { by: PayBy, unit: String, price: Amount, reply: Reply<Result<Till, ChainError>> },
    Watch { order: Box<Order>, reply: Reply<Result<(), ChainError>> },
    GiveBack(Till),
    Status(Reply<Result<ChainStatus, ChainError>>),
}

/// Where the thread is asked.
#[derive(Clone, Debug)]
pub(crate) struct Counter(mpsc::Sender<Request>);

/// Goes on from what the store remembers, in a thread of its own, until `stop`.
///
/// # Errors
/// An anchor or records that are none.
pub(crate) fn start(
    service: &Arc<Service>,
    config: &config::Chain,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<(Counter, JoinHandle<()>)> {
    let follower = Follower::open(Arc::clone(service), config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("start threads")?;
    let (requests, asked) = mpsc::channel(REQUESTS_MAX);
    let work = move || {
        runtime.block_on(follower.run(asked, stop));
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new().name("chain".into()).spawn(work);
    Ok((Counter(requests), thread.context("start threads")?))
}

impl Counter {
    fn ask<T>(
        &self,
        request: impl FnOnce(Reply<Result<T, ChainError>>) -> Request,
    ) -> Result<T, ChainError> {
        let (reply, answer) = channel();
        let busy = |_| ChainError::Away("its thread is busy".into());
        self.0.try_send(request(reply)).map_err(busy)?;
        let late = |_| ChainError::Away(format!("no answer within {} s", ANSWER.as_secs()));
        answer.recv_timeout(ANSWER).map_err(late)?
    }
}

impl Chain for Counter {
    fn till(&self, by: PayBy, unit: &str, price: Amount) -> Result<Till, ChainError> {
        self.ask(|reply| Request::Till { by, unit: unit.to_owned(), price, reply })
    }

    fn watch(&self, order: &Order) -> Result<(), ChainError> {
        self.ask(|reply| Request::Watch { order: Box::new(order.clone()), reply })
    }

    fn give_back(&self, till: &Till) {
        // One that is not given back ends by itself.
        let _sent = self.0.try_send(Request::GiveBack(till.clone()));
    }

    fn status(&self) -> Result<ChainStatus, ChainError> {
        self.ask(Request::Status)
    }
}
