//! A node attached to whoever follows the chain: its questions are answered, and news are passed on.

use crate::answer::Steward;
use crate::error::{NodeError, Standing};
use crate::http::Guard;
use crate::lightning::{self, Invoice};
use crate::node::Node;
use crate::watch::{News, Watch};
use follow::{Ask, InvoiceState, NodeId, Said};
use tokio::sync::mpsc;
use tracing::warn;

/// Questions that wait: there is one at a time.
const ASKS_MAX: usize = 1;

/// A node that is being asked. Nothing is asked any more when it goes.
#[derive(Debug)]
pub struct Link {
    asks: mpsc::Sender<Ask>,
    _task: Guard,
}

impl Link {
    /// Attaches `node` as number `id`. What it says, asked or by its news, goes to `said`; while that is full, nothing
    /// is asked and no news are read.
    #[must_use]
    pub fn attach(
        id: NodeId,
        node: impl Node + 'static,
        news: Option<Watch>,
        said: mpsc::Sender<(NodeId, Said)>,
    ) -> Self {
        let (asks, questions) = mpsc::channel(ASKS_MAX);
        Self { asks, _task: Guard(tokio::spawn(converse(id, node, news, questions, said))) }
    }

    /// Asks; what comes of it is said. `false`: there is a question already.
    #[must_use]
    pub fn ask(&self, ask: Ask) -> bool {
        self.asks.try_send(ask).is_ok()
    }
}

async fn converse(
    id: NodeId,
    node: impl Node,
    mut news: Option<Watch>,
    mut questions: mpsc::Receiver<Ask>,
    said: mpsc::Sender<(NodeId, Said)>,
) {
    loop {
        let next = async {
            match &mut news {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            question = questions.recv() => match question {
                Some(question) => Some(answer(&node, &question).await),
                None => return,
            },
            news = next => match news {
                Some(news) => told(&node, news).await,
                None => return,
            },
        };
        if let Some(told) = told
            && said.send((id, told)).await.is_err()
        {
            return;
        }
    }
}

/// A question, put to a node.
pub async fn answer(node: &impl Node, ask: &Ask) -> Said {
    let said = match ask {
        Ask::Tip => node.tip().await.map(|tip| Said::Tip(tip.id)),
        Ask::Headers(locator) => node.headers(locator).await.map(Said::Headers),
        Ask::Block(id) => {
            let found = node.block(*id).await;
            found.map(|found| found.map_or(Said::NoBlock, |raw| Said::Block(raw.bytes)))
        }
    };
    said.unwrap_or_else(|error| failed(node.name(), &error))
}

fn failed(name: &str, error: &NodeError) -> Said {
    warn!(node = name, "{error}");
    match error.standing() {
        Standing::Answers | Standing::Vanished => Said::Failed,
        Standing::Broken | Standing::Lying => Said::Garbage,
    }
}

/// News, as what it says. After a block was taken back, and after a connection was lost, the tip is asked for.
async fn told(node: &impl Node, news: News) -> Option<Said> {
    match news {
        News::Connected { id, .. } => Some(Said::Tip(id)),
        News::Attached | News::Disconnected { .. } => Some(answer(node, &Ask::Tip).await),
        News::Waiting(transaction) => Some(Said::Transaction(transaction)),
        // The block is asked for as a whole, and a lost connection says nothing.
        News::Filtered { .. } | News::Lost => None,
    }
}

/// What a Lightning node says of an invoice of its own.
#[must_use]
pub fn invoice_said(invoice: &Invoice) -> Said {
    let (units, state) = match &invoice.state {
        lightning::InvoiceState::Open => (0, InvoiceState::Open),
        lightning::InvoiceState::Accepted { paid, .. } => (paid.units(), InvoiceState::Accepted),
        lightning::InvoiceState::Settled { paid, preimage } => {
            (paid.units(), InvoiceState::Settled { preimage: *preimage.expose() })
        }
        lightning::InvoiceState::Cancelled => (0, InvoiceState::Canceled),
    };
    Said::Invoice { hash: invoice.hash.0, units, state }
}

/// What a node says of the Network Steward.
#[must_use]
pub fn steward_said(steward: Steward) -> Said {
    Said::Steward { script: steward.script, against: steward.disapproval }
}
