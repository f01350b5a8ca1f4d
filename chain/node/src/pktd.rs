//! A PKT full node: pktd and its successor.

use crate::answer::{
    self, BestBlock, Broadcast, Info, NodeStatus, RawBlock, Steward, StewardAnswer, Tip,
};
use crate::error::{Lie, NodeError, code};
use crate::node::Node;
use crate::rpc::{BATCH_MAX, Call, Rpc};
use primitives::bitcoin::block::Header;
use primitives::bitcoin::{BlockHash, Transaction, Txid};
use serde_json::{Value, json};

/// A node's JSON-RPC with the types of its chain.
#[derive(Debug)]
pub struct Pktd {
    name: String,
    rpc: Rpc,
}

impl Pktd {
    /// `name`: the operator's for it.
    #[must_use]
    pub fn new(name: String, rpc: Rpc) -> Self {
        Self { name, rpc }
    }

    /// For calls that are not here.
    #[must_use]
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn status(&self) -> Result<NodeStatus, NodeError> {
        // pktd of 2021 may die of `getblockchaininfo` and hang on `getpeerinfo`.
        let magic = self.rpc.call(&Call::new("getcurrentnet", [])).await?;
        let info: Info = self.rpc.call(&Call::new("getinfo", [])).await?;
        Ok(NodeStatus { magic, blocks: info.blocks, peers: info.connections })
    }

    /// The block of its best chain at `height`; `None` above its tip.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn id_at(&self, height: u32) -> Result<Option<BlockHash>, NodeError> {
        let call = Call::new("getblockhash", [json!(height)]);
        absent_if(self.rpc.call(&call).await, code::OUT_OF_RANGE)
    }

    /// Who is steward after its tip.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn steward(&self) -> Result<Steward, NodeError> {
        let answer: StewardAnswer = self.rpc.call(&Call::new("getnetworksteward", [])).await?;
        Ok(Steward::try_from(answer)?)
    }

    /// Tries a second over the last `blocks`, as the node reckons.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn network_rate(&self, blocks: u32) -> Result<f64, NodeError> {
        self.rpc.call(&Call::new("getnetworkhashps", [json!(blocks), json!(-1)])).await
    }
}

impl Node for Pktd {
    fn name(&self) -> &str {
        &self.name
    }

    async fn tip(&self) -> Result<Tip, NodeError> {
        let best: BestBlock = self.rpc.call(&Call::new("getbestblock", [])).await?;
        Ok(best.into())
    }

    async fn headers(&self, locator: &[BlockHash]) -> Result<Vec<Header>, NodeError> {
        let call = Call::new("getheaders", [json!(locator), json!(answer::no_block())]);
        // A node at its tip may say that it has none, or nothing.
        let texts: Option<Vec<String>> = self.rpc.call(&call).await?;
        Ok(answer::headers(&texts.unwrap_or_default())?)
    }

    async fn block(&self, id: BlockHash) -> Result<Option<RawBlock>, NodeError> {
        let call = Call::new("getblock", [json!(id), Value::from(false)]);
        let text: Option<String> = absent_if(self.rpc.call(&call).await, code::NOT_FOUND)?;
        text.map(|text| answer::block(&text, id)).transpose().map_err(NodeError::from)
    }

    async fn mempool(&self) -> Result<Vec<Txid>, NodeError> {
        self.rpc.call(&Call::new("getrawmempool", [])).await
    }

    async fn transactions(&self, ids: &[Txid]) -> Result<Vec<Option<Transaction>>, NodeError> {
        let mut found = Vec::new();
        for ids in ids.chunks(BATCH_MAX) {
            let call = |id| Call::new("getrawtransaction", [json!(id), json!(0)]);
            let calls: Vec<_> = ids.iter().map(call).collect();
            let texts = self.rpc.batch::<String>(&calls).await?;
            for (text, id) in texts.into_iter().zip(ids) {
                let text = absent_if(text, code::NOT_FOUND)?;
                let transaction = text.map(|text| answer::transaction_of(&text, *id));
                found.push(transaction.transpose()?);
            }
        }
        Ok(found)
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<Broadcast, NodeError> {
        let call = Call::new("sendrawtransaction", [json!(answer::to_hex(transaction))]);
        let asked = transaction.compute_txid();
        match self.rpc.call::<Txid>(&call).await {
            Ok(got) if got == asked => Ok(Broadcast::Taken),
            Ok(got) => Err(Lie::OtherTransaction { asked, got }.into()),
            Err(error) => answer::broadcast(error),
        }
    }
}

/// An error that says that something is not there is an answer.
fn absent_if<T>(answer: Result<T, NodeError>, absent: i64) -> Result<Option<T>, NodeError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(NodeError::Refused { refusal, .. }) if refusal.code == absent => Ok(None),
        Err(error) => Err(error),
    }
}
