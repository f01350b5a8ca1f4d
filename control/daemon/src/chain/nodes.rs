//! The nodes that the configuration names, attached.

use chain_node::attach::{Link, steward_said};
use chain_node::lightning::{Channels, Lightning};
use chain_node::{
    Backoff, Credentials, Endpoint, Filter, Limits, Node as _, NodeError, Pktd, Rpc, Secret, Trust,
    Wallet, Watch,
};
use domain::tree::{Node, NodeKind};
use follow::{NodeId, Said};
use primitives::network::Network;
use sha2::{Digest as _, Sha256};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinHandle;

/// Transactions that wait for a block, of a node, that are looked at.
const WAITING_MAX: usize = 1000;

/// Where what nodes say is heard.
pub(super) type Ear = mpsc::Sender<(NodeId, Said)>;

/// A node by its name, as long as the configuration names it so.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: NodeId,
    pub(super) config: Node,
    pub(super) client: Client,
    /// Why it was of no use when it was last asked; `None`: it was.
    trouble: Trouble,
    /// The look at it that is going on.
    probe: Option<JoinHandle<()>>,
}

/// Of what use it is.
#[derive(Clone, Debug)]
pub(super) enum Client {
    Full {
        endpoint: Endpoint,
        link: Arc<Link>,
        pktd: Arc<Pktd>,
    },
    Wallet(Arc<Wallet>),
    Lightning(Arc<Bolt>),
    /// Its configuration cannot work.
    Unusable,
}

/// A Lightning node; what it is, is found out when it is needed.
#[derive(Debug)]
pub(super) struct Bolt {
    endpoint: Endpoint,
    network: Network,
    found: OnceCell<Lightning>,
}

impl Bolt {
    pub(super) async fn get(&self) -> Result<&Lightning, NodeError> {
        let detect = || {
            let endpoint = self.endpoint.clone();
            Lightning::detect(endpoint, Limits::default(), self.network, Channels::Small)
        };
        self.found.get_or_try_init(detect).await
    }
}

/// What is wrong with a node; whoever asks it says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    name: String,
    why: Arc<Mutex<Option<String>>>,
}

impl Trouble {
    pub(super) fn get(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a question went; what is new is logged.
    pub(super) fn note<T>(&self, answer: &Result<T, impl ToString>) {
        let new = answer.as_ref().err().map(ToString::to_string);
        let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*why, &new) {
            (Some(_), None) => tracing::info!(node = self.name, "answers again"),
            (None, Some(error)) => tracing::warn!(node = self.name, "{error}"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        *why = new;
    }
}

/// The number that a follower knows a name by.
pub(super) fn id_of(name: &str) -> NodeId {
    let digest = Sha256::digest(name.as_bytes());
    let bytes = digest.first_chunk().copied().unwrap_or_default();
    NodeId(u32::from_be_bytes(bytes))
}

impl Attached {
    pub(super) fn new(
        name: &str,
        config: &Node,
        network: &Network,
        filter: &[String],
        ear: &Ear,
    ) -> Self {
        let (id, trouble) = (id_of(name), Trouble { name: name.to_owned(), why: Arc::default() });
        let client = match endpoint(config) {
            Ok(endpoint) => client(id, name, config.kind, endpoint, network, filter, ear),
            Err(error) => {
                trouble.note(&Err::<(), _>(error));
                Client::Unusable
            }
        };
        Self { id, config: config.clone(), client, trouble, probe: None }
    }

    pub(super) fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Attaches a full node again, so that it tells of other addresses. Whether there is one: what it was being asked is
    /// forgotten.
    pub(super) fn filter(&mut self, name: &str, filter: &[String], ear: &Ear) -> bool {
        let Client::Full { endpoint, link, .. } = &mut self.client else { return false };
        *link = Arc::new(attach(self.id, name, endpoint, filter, ear));
        true
    }

    /// Looks whether it is there, unless such a look is still going on.
    pub(super) fn look(&mut self, ear: &Ear) {
        if self.probe.as_ref().is_some_and(|probe| !probe.is_finished()) {
            return;
        }
        let (client, trouble, ear, id) =
            (self.client.clone(), self.trouble.clone(), ear.clone(), self.id);
        self.probe = Some(tokio::spawn(async move {
            match client {
                Client::Full { pktd, .. } => {
                    // How it stands is for the follower to say.
                    let _asked = look_around(id, &pktd, &ear).await;
                }
                Client::Wallet(wallet) => trouble.note(&wallet.tip().await),
                Client::Lightning(bolt) => trouble.note(&ready(&bolt).await),
                Client::Unusable => {}
            }
        }));
    }
}

/// What a full node says beside its chain: the steward, and what waits for a block. News may have come before the node was
/// asked for them.
async fn look_around(id: NodeId, pktd: &Pktd, ear: &Ear) -> Result<(), NodeError> {
    let mut said = vec![steward_said(pktd.steward().await?)];
    let mut waiting = pktd.mempool().await?;
    waiting.truncate(WAITING_MAX);
    let waiting = pktd.transactions(&waiting).await?;
    said.extend(waiting.into_iter().flatten().map(Said::Transaction));
    for said in said {
        if ear.send((id, said)).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn ready(bolt: &Bolt) -> Result<(), String> {
    let told = |error: NodeError| error.to_string();
    let status = bolt.get().await.map_err(told)?.status().await.map_err(told)?;
    match (status.is_unlocked, status.is_ready) {
        (false, _) => Err("its wallet is locked".into()),
        (true, false) => Err("it is not ready yet".into()),
        (true, true) => Ok(()),
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(probe) = &self.probe {
            probe.abort();
        }
    }
}

fn client(
    id: NodeId,
    name: &str,
    kind: NodeKind,
    endpoint: Endpoint,
    network: &Network,
    filter: &[String],
    ear: &Ear,
) -> Client {
    let rpc = || Rpc::new(endpoint.clone(), Limits::default());
    match kind {
        NodeKind::Pktd => Client::Full {
            link: Arc::new(attach(id, name, &endpoint, filter, ear)),
            pktd: Arc::new(Pktd::new(name.to_owned(), rpc())),
            endpoint,
        },
        NodeKind::Pktwallet => Client::Wallet(Arc::new(Wallet::new(rpc(), *network))),
        NodeKind::Lightning => {
            let found = OnceCell::new();
            Client::Lightning(Arc::new(Bolt { endpoint, network: *network, found }))
        }
    }
}

fn attach(id: NodeId, name: &str, endpoint: &Endpoint, filter: &[String], ear: &Ear) -> Link {
    let limits = Limits::default();
    let pktd = Pktd::new(name.to_owned(), Rpc::new(endpoint.clone(), limits));
    let filter = Filter { addresses: filter.to_vec() };
    let watch = Watch::start(endpoint.clone(), limits, filter, Backoff::usual(id.0.into()));
    Link::attach(id, pktd, Some(watch), ear.clone())
}

fn endpoint(node: &Node) -> Result<Endpoint, chain_node::error::ConfigError> {
    let Node { kind, url, user, password, certificate } = node;
    let trust = certificate.as_ref().map(|pem| Trust::from_pem(pem.as_bytes())).transpose()?;
    let password = password.as_ref().map(|password| password.0.clone());
    let credentials = match (kind, user, password) {
        (_, _, None) => Credentials::None,
        (NodeKind::Lightning, _, Some(macaroon)) => Credentials::Macaroon(Secret::new(macaroon)),
        (_, Some(user), Some(password)) => {
            Credentials::Basic { user: user.clone(), password: Secret::new(password) }
        }
        (_, None, Some(cookie)) => Credentials::from_cookie(&cookie).unwrap_or(Credentials::None),
    };
    Endpoint::new(url, trust, &credentials)
}

/// Does something with a node beside the follower, and notes how it went.
pub(super) fn apart<T>(
    trouble: Trouble,
    question: impl Future<Output = Result<T, NodeError>> + Send + 'static,
) {
    tokio::spawn(async move { trouble.note(&question.await.map(drop)) });
}
